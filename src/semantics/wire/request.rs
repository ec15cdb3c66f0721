//! What a client sends (RFC 9112 §3, §6.3).

use super::bytes::{is_target, is_tchar, list, token_length};
use super::chunked::Chunked;
use super::head::{Coding, Framing, Lines, Values, field};
use super::{Scan, Violation, WireLimits};

/// Empty lines that may stand before a request line (RFC 9112 §2.2).
const BLANK_LINES: u8 = 4;

/// Follows one client connection, message by message.
#[derive(Debug)]
pub struct RequestScanner {
    limits: WireLimits,
    state: State,
    heads: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Between { blank: u8 },
    Head(Head),
    Body { body: Body, upgrade: bool },
    Undecided,
    Tunnel,
    Broken { what: Violation, in_head: bool },
}

#[derive(Debug, Clone, Copy)]
enum Body {
    Length(u64),
    Chunked(Chunked),
}

impl RequestScanner {
    /// For a fresh connection.
    pub fn new(limits: WireLimits) -> Self {
        Self { limits, state: State::Between { blank: 0 }, heads: 0 }
    }

    /// The verdict on what was read; after [`Scan::Partial`] with the bytes held back before it.
    #[inline]
    pub fn feed(&mut self, bytes: &[u8]) -> Scan {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            match &mut self.state {
                State::Between { blank } => match rest {
                    [] => return Scan::Pass,
                    [b'\r'] => return Scan::Partial { from: at },
                    [b'\r', b'\n', ..] if *blank < BLANK_LINES => {
                        *blank += 1;
                        at += 2;
                    }
                    // Seen at its first byte, so that TLS on the plain port is told at once.
                    [first, ..] if is_tchar(*first) => self.state = State::Head(Head::default()),
                    [b'\n', ..] => return self.break_off(at, Violation::BareLf, true),
                    _ => return self.break_off(at, Violation::RequestLine, true),
                },
                State::Head(head) => match head.read(rest, &self.limits) {
                    Ok(false) => return Scan::Partial { from: at },
                    Ok(true) => {
                        at += head.lines.position();
                        let (body, upgrade) = (head.body(), head.asks_for_upgrade());
                        self.heads += 1;
                        self.state = match body {
                            Some(body) => State::Body { body, upgrade },
                            None => after_message(upgrade),
                        };
                    }
                    Err(what) => return self.break_off(at, what, true),
                },
                State::Body { .. } if rest.is_empty() => return Scan::Pass,
                State::Body { body: Body::Length(left), upgrade } => {
                    let here = rest.len() as u64;
                    if *left > here {
                        *left -= here;
                        return Scan::Pass;
                    }
                    at += *left as usize; // at most what is here
                    self.state = after_message(*upgrade);
                }
                State::Body { body: Body::Chunked(chunked), upgrade } => {
                    match chunked.feed(rest, &self.limits) {
                        Ok(None) => return Scan::Pass,
                        Ok(Some(end)) => {
                            at += end;
                            self.state = after_message(*upgrade);
                        }
                        Err((bad, what)) => return self.break_off(at + bad, what, false),
                    }
                }
                State::Undecided => return Scan::Upgrade { at },
                State::Tunnel => return Scan::Pass,
                State::Broken { what, in_head } => {
                    return Scan::Bad { at, what: *what, in_head: *in_head };
                }
            }
        }
    }

    /// Heads so far, complete or bad.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether the last message ended and none has begun.
    pub fn between_messages(&self) -> bool {
        matches!(self.state, State::Between { .. } | State::Undecided)
    }

    /// Whether a head has begun and is not complete.
    pub fn in_head(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    /// The upgrade was refused: what follows are requests again.
    pub fn resume(&mut self) {
        if matches!(self.state, State::Undecided) {
            self.state = State::Between { blank: 0 };
        }
    }

    /// The upgrade was accepted: what follows is none of HTTP's business.
    pub fn tunnel(&mut self) {
        if matches!(self.state, State::Undecided) {
            self.state = State::Tunnel;
        }
    }

    #[cold]
    fn break_off(&mut self, at: usize, what: Violation, in_head: bool) -> Scan {
        self.heads += u64::from(in_head);
        self.state = State::Broken { what, in_head };
        Scan::Bad { at, what, in_head }
    }
}

fn after_message(upgrade: bool) -> State {
    if upgrade { State::Undecided } else { State::Between { blank: 0 } }
}

/// A request head as far as it was read.
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    lines: Lines,
    /// The request line was read.
    begun: bool,
    old_version: bool,
    host: bool,
    framing: Framing,
    /// Connection names `upgrade`.
    connection_upgrade: bool,
    /// Upgrade names a protocol besides h2c, which is never passed on.
    protocol: bool,
}

impl Head {
    /// Whether the head is complete.
    #[inline]
    fn read(&mut self, head: &[u8], limits: &WireLimits) -> Result<bool, Violation> {
        if !self.begun {
            let line = self.lines.next(head, limits).map_err(|what| match what {
                // Whatever fills the first line is the target.
                Violation::HeadTooLarge => Violation::TargetTooLong,
                other => other,
            })?;
            let Some(line) = line else { return Ok(false) };
            self.old_version = request_line(line, limits)?;
            self.begun = true;
        }
        while let Some(line) = self.lines.next(head, limits)? {
            if line.is_empty() {
                self.check()?;
                return Ok(true);
            }
            self.lines.count_field(limits)?;
            let (name, value) = field(line, Values::Strict)?;
            self.take(name, value)?;
        }
        Ok(false)
    }

    #[inline]
    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), Violation> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.host {
                    return Err(Violation::SeveralHosts);
                }
                if !value.iter().all(|b| may_stand_in_host(*b)) {
                    return Err(Violation::Host);
                }
                self.host = true;
                Ok(())
            }
            7 if name.eq_ignore_ascii_case(b"upgrade") => {
                self.protocol |= list(value).any(|protocol| !protocol.eq_ignore_ascii_case(b"h2c"));
                Ok(())
            }
            10 if name.eq_ignore_ascii_case(b"connection") => {
                self.connection_upgrade |=
                    list(value).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
                Ok(())
            }
            _ => self.framing.take(name, value),
        }
    }

    fn check(&self) -> Result<(), Violation> {
        self.framing.check(self.old_version)?;
        match self.framing.coding {
            Coding::Absent | Coding::Chunked => {}
            Coding::Others | Coding::OthersThenChunked => return Err(Violation::UnknownCoding),
            Coding::ChunkedNotLast | Coding::Malformed => return Err(Violation::Coding),
            Coding::Several => return Err(Violation::SeveralCodings),
        }
        if !self.host && !self.old_version {
            return Err(Violation::NoHost);
        }
        Ok(())
    }

    fn body(&self) -> Option<Body> {
        if self.framing.coding == Coding::Chunked {
            return Some(Body::Chunked(Chunked::new(Values::Strict)));
        }
        self.framing.length.filter(|length| *length > 0).map(Body::Length)
    }

    /// HTTP/1.0 cannot be upgraded (RFC 9110 §7.8).
    fn asks_for_upgrade(&self) -> bool {
        self.connection_upgrade && self.protocol && !self.old_version
    }
}

/// No more than keeps a Host from being taken for something else; whether it is a valid
/// authority is decided where the target is.
fn may_stand_in_host(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f && !matches!(byte, b'/' | b'?' | b'#' | b'@' | b'\\')
}

/// Whether the request is HTTP/1.0; `METHOD SP target SP HTTP/1.x` and nothing else.
#[inline]
fn request_line(line: &[u8], limits: &WireLimits) -> Result<bool, Violation> {
    let (method, rest) = line.split_at_checked(token_length(line)).unwrap_or_default();
    let Some((b' ', rest)) = rest.split_first() else { return Err(Violation::RequestLine) };
    if method.is_empty() {
        return Err(Violation::RequestLine);
    }
    let (target, old_version) = if let Some(target) = rest.strip_suffix(b" HTTP/1.1") {
        (target, false)
    } else if let Some(target) = rest.strip_suffix(b" HTTP/1.0") {
        (target, true)
    } else {
        return Err(no_version(rest, limits));
    };
    if target.len() > limits.target_size {
        return Err(Violation::TargetTooLong);
    }
    if target.is_empty() || !is_target(target) {
        let spaced = target.is_empty() || target.iter().any(|b| *b <= b' ');
        return Err(if spaced { Violation::RequestLine } else { Violation::Target });
    }
    Ok(old_version)
}

/// What is wrong with a request line that does not end in a version of ours.
#[cold]
fn no_version(rest: &[u8], limits: &WireLimits) -> Violation {
    let mut parts = rest.split(|b| *b == b' ');
    let target = parts.next().unwrap_or_default();
    if target.len() > limits.target_size {
        return Violation::TargetTooLong;
    }
    match (parts.next(), parts.next()) {
        (Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None)
            if major.is_ascii_digit() && minor.is_ascii_digit() && !target.is_empty() =>
        {
            Violation::Version
        }
        _ => Violation::RequestLine,
    }
}
