//! What an origin sends (RFC 9112 §4, §6.3).

use http::Method;

use super::bytes::{is_value, list};
use super::chunked::Chunked;
use super::head::{Coding, Framing, Lines, Values, field};
use super::{Scan, Violation, WireLimits};

/// Follows one upstream connection. Each request is announced by [`Self::expect`]; without one,
/// every byte is a surplus.
#[derive(Debug)]
pub struct ResponseScanner {
    limits: WireLimits,
    state: State,
    asked: Asked,
}

/// What the answer's framing depends on.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    head_method: bool,
    upgrade: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Nothing is due.
    Idle,
    Head(Head),
    Length(u64),
    Chunked(Chunked),
    ToClose,
    Tunnel,
    Broken {
        what: Violation,
        in_head: bool,
    },
}

impl ResponseScanner {
    /// For a fresh connection: nothing is due yet.
    pub fn new(limits: WireLimits) -> Self {
        Self { limits, state: State::Idle, asked: Asked::default() }
    }

    /// A request goes out: one final response to it is due. `upgrade`: it asks to switch
    /// protocols, so that a 101 may come. What is broken or read to the close stays so.
    pub fn expect(&mut self, method: &Method, upgrade: bool) {
        if matches!(self.state, State::Idle) {
            self.asked = Asked { head_method: method == Method::HEAD, upgrade };
            self.state = State::Head(Head::default());
        }
    }

    /// The verdict on what was read; after [`Scan::Partial`] with the bytes held back before it.
    /// [`Scan::Upgrade`] never comes: a 101 that was asked for makes the rest pass.
    #[inline]
    pub fn feed(&mut self, bytes: &[u8]) -> Scan {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            if rest.is_empty() && !matches!(self.state, State::Broken { .. }) {
                return Scan::Pass;
            }
            match &mut self.state {
                State::Idle => return self.break_off(at, Violation::Surplus, false),
                State::Head(head) => match head.read(rest, &self.limits) {
                    Ok(false) => return Scan::Partial { from: at },
                    Ok(true) => {
                        let head = *head;
                        match self.after_head(&head) {
                            Ok(state) => self.state = state,
                            Err(what) => return self.break_off(at, what, true),
                        }
                        at += head.lines.position();
                    }
                    Err(what) => return self.break_off(at, what, true),
                },
                State::Length(left) => {
                    let here = rest.len() as u64;
                    if *left > here {
                        *left -= here;
                        return Scan::Pass;
                    }
                    at += *left as usize; // at most what is here
                    self.state = State::Idle;
                }
                State::Chunked(chunked) => match chunked.feed(rest, &self.limits) {
                    Ok(None) => return Scan::Pass,
                    Ok(Some(end)) => {
                        at += end;
                        self.state = State::Idle;
                    }
                    Err((bad, what)) => return self.break_off(at + bad, what, false),
                },
                State::ToClose | State::Tunnel => return Scan::Pass,
                State::Broken { what, in_head } => {
                    return Scan::Bad { at, what: *what, in_head: *in_head };
                }
            }
        }
    }

    /// Whether nothing is due: the last response ended exactly, and nothing came after it. Only
    /// then may the connection carry another request.
    pub fn complete(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    /// Whether the body is ended by the connection's close, so that the close is its clean end.
    pub fn reads_to_close(&self) -> bool {
        matches!(self.state, State::ToClose)
    }

    /// Whether a 101 that was asked for has come.
    pub fn tunnelled(&self) -> bool {
        matches!(self.state, State::Tunnel)
    }

    /// Whether a head is due or under way.
    pub fn in_head(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    /// What follows a complete head (RFC 9112 §6.3).
    fn after_head(&self, head: &Head) -> Result<State, Violation> {
        head.framing.check(head.old_version)?;
        match head.framing.coding {
            Coding::OthersThenChunked => return Err(Violation::UnknownCoding),
            Coding::Several => return Err(Violation::SeveralCodings),
            Coding::Absent | Coding::Chunked => {}
            // `chunked, chunked` and `chunked,`: readers differ on where that body ends.
            _ if head.ends_in_chunked => return Err(Violation::Coding),
            // Does not end in chunked: read to the close.
            _ => {}
        }
        Ok(match head.status {
            101 if self.asked.upgrade => State::Tunnel,
            101 => return Err(Violation::UnaskedUpgrade),
            100..=199 => State::Head(Head::default()),
            204 | 304 => State::Idle,
            _ if self.asked.head_method => State::Idle,
            _ => match (head.framing.coding, head.framing.length) {
                (Coding::Chunked, _) => State::Chunked(Chunked::new(Values::Lenient)),
                (Coding::Absent, Some(0)) => State::Idle,
                (Coding::Absent, Some(length)) => State::Length(length),
                _ => State::ToClose,
            },
        })
    }

    #[cold]
    fn break_off(&mut self, at: usize, what: Violation, in_head: bool) -> Scan {
        self.state = State::Broken { what, in_head };
        Scan::Bad { at, what, in_head }
    }
}

/// A response head as far as it was read.
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    lines: Lines,
    /// Zero: the status line was not read yet.
    status: u16,
    old_version: bool,
    framing: Framing,
    ends_in_chunked: bool,
}

impl Head {
    /// Whether the head is complete.
    #[inline]
    fn read(&mut self, head: &[u8], limits: &WireLimits) -> Result<bool, Violation> {
        if self.status == 0 {
            // Told at the first byte: what is no HTTP at all may never send a line end.
            if head.first().is_some_and(|first| *first != b'H') {
                return Err(Violation::StatusLine);
            }
            let Some(line) = self.lines.next(head, limits)? else { return Ok(false) };
            (self.status, self.old_version) = status_line(line)?;
        }
        while let Some(line) = self.lines.next(head, limits)? {
            if line.is_empty() {
                return Ok(true);
            }
            self.lines.count_field(limits)?;
            let (name, value) = field(line, Values::Lenient)?;
            self.framing.take(name, value)?;
            if name.len() == 17 && name.eq_ignore_ascii_case(b"transfer-encoding") {
                let last = list(value).next_back();
                self.ends_in_chunked = last.is_some_and(|l| l.eq_ignore_ascii_case(b"chunked"));
            }
        }
        Ok(false)
    }
}

/// Status and whether it is HTTP/1.0.
fn status_line(line: &[u8]) -> Result<(u16, bool), Violation> {
    let (version, rest) = line.split_at_checked(8).ok_or(Violation::StatusLine)?;
    let old_version = match version {
        b"HTTP/1.1" => false,
        b"HTTP/1.0" => true,
        _ => return Err(Violation::StatusLine),
    };
    let [b' ', digits @ ..] = rest else { return Err(Violation::StatusLine) };
    let (digits, reason) = digits.split_at_checked(3).ok_or(Violation::StatusLine)?;
    if !digits.iter().all(u8::is_ascii_digit) || !is_value(reason) {
        return Err(Violation::StatusLine);
    }
    let status = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    if status < 100 || !matches!(reason, [] | [b' ', ..]) {
        return Err(Violation::StatusLine);
    }
    Ok((status, old_version))
}
