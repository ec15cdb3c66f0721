//! What an origin sends (RFC 9112 §4, §6.3).

use http::Method;

use super::bytes::{is_value, list};
use super::chunked::Chunked;
use super::head::{Coding, Framing, Lines, Values, field};
use super::{Scan, Violation, WireLimits};

/// Interim responses to one request at most: whoever sends more never comes to the answer.
const INTERIM_MOST: u16 = 1000;

/// Follows one upstream connection. Each request is announced by [`Self::expect`]; without one,
/// every byte is a surplus.
#[derive(Debug)]
pub struct ResponseScanner {
    limits: WireLimits,
    state: State,
    asked: Asked,
    /// Interim responses so far.
    interim: u16,
    /// The last body ended where Content-Length said.
    by_length: bool,
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
        let asked = Asked::default();
        Self { limits, state: State::Idle, asked, interim: 0, by_length: false }
    }

    /// A request goes out: one final response to it is due. `upgrade`: it asks to switch
    /// protocols, so that a 101 may come. What is broken or read to the close stays so.
    pub fn expect(&mut self, method: &Method, upgrade: bool) {
        if matches!(self.state, State::Idle) {
            self.asked = Asked { head_method: method == Method::HEAD, upgrade };
            self.state = State::Head(Head::default());
            self.interim = 0;
            self.by_length = false;
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
                State::Idle => {
                    let longer = self.by_length;
                    let what = if longer { Violation::LongerThanSaid } else { Violation::Surplus };
                    return self.break_off(at, what, false);
                }
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
                    self.by_length = true;
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
    fn after_head(&mut self, head: &Head) -> Result<State, Violation> {
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
            100..=199 => {
                self.interim += 1;
                if self.interim > INTERIM_MOST {
                    return Err(Violation::TooManyInterim);
                }
                State::Head(Head::default())
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// How a response ended, as the upstream room would ask.
    #[derive(Debug, PartialEq, Eq)]
    enum End {
        Exact,
        ToClose,
        Open,
        Tunnel,
        Bad(Violation),
    }
    use End::{Bad, Exact, Open, ToClose};

    fn end(method: &Method, upgrade: bool, stream: &str) -> End {
        let mut scanner = ResponseScanner::new(WireLimits::default());
        scanner.expect(method, upgrade);
        match scanner.feed(stream.as_bytes()) {
            Scan::Bad { what, .. } => Bad(what),
            Scan::Pass if scanner.complete() => Exact,
            Scan::Pass if scanner.reads_to_close() => ToClose,
            Scan::Pass if scanner.tunnelled() => End::Tunnel,
            Scan::Pass | Scan::Partial { .. } => Open,
            Scan::Upgrade { .. } => panic!("no upgrade in responses"),
        }
    }

    #[test]
    fn status_lines() {
        for (case, line, want) in [
            ("plain", "HTTP/1.1 200 OK", Exact),
            ("empty reason", "HTTP/1.1 200 ", Exact),
            ("no reason", "HTTP/1.1 200", Exact),
            ("reason with obs-text", "HTTP/1.1 404 Pas trouv\u{e9}", Exact),
            ("old version", "HTTP/1.0 200 OK", Exact),
            ("unknown status", "HTTP/1.1 799 Odd", Exact),
            ("version 2", "HTTP/2.0 200 OK", Bad(Violation::StatusLine)),
            ("no version", "200 OK", Bad(Violation::StatusLine)),
            ("ICY", "ICY 200 OK", Bad(Violation::StatusLine)),
            ("two digits", "HTTP/1.1 20 OK", Bad(Violation::StatusLine)),
            ("four digits", "HTTP/1.1 2000 OK", Bad(Violation::StatusLine)),
            ("below 100", "HTTP/1.1 099 No", Bad(Violation::StatusLine)),
            ("letters", "HTTP/1.1 2xx OK", Bad(Violation::StatusLine)),
            ("two spaces", "HTTP/1.1  200 OK", Bad(Violation::StatusLine)),
            ("NUL in reason", "HTTP/1.1 200 \0", Bad(Violation::StatusLine)),
            ("CR in reason", "HTTP/1.1 200 a\rb", Bad(Violation::StatusLine)),
            ("empty line before", "\r\nHTTP/1.1 200 OK", Bad(Violation::StatusLine)),
        ] {
            let stream = format!("{line}\r\nContent-Length: 0\r\n\r\n");
            assert_eq!(end(&Method::GET, false, &stream), want, "{case}: {line:?}");
        }
    }

    #[test]
    fn framing() {
        use Violation as V;
        for (case, stream, want) in [
            ("length", "200 OK\r\nContent-Length: 2\r\n\r\nab", Exact),
            ("length short", "200 OK\r\nContent-Length: 3\r\n\r\nab", Open),
            ("length surplus", "200 OK\r\nContent-Length: 1\r\n\r\nab", Bad(V::LongerThanSaid)),
            ("chunked", "200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", Exact),
            (
                "chunked surplus",
                "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\na",
                Bad(V::Surplus),
            ),
            ("chunked badly", "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\na", Bad(V::BareLf)),
            (
                "odd trailer value",
                "200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: \x01\r\n\r\n",
                Exact,
            ),
            ("to close", "200 OK\r\n\r\nabc", ToClose),
            ("other coding", "200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc", ToClose),
            ("chunked not last", "200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nabc", ToClose),
            ("empty coding", "200 OK\r\nTransfer-Encoding:\r\n\r\nabc", ToClose),
            (
                "others then chunked",
                "200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
                Bad(V::UnknownCoding),
            ),
            (
                "chunked twice",
                "200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
                Bad(V::Coding),
            ),
            (
                "comma after chunked",
                "200 OK\r\nTransfer-Encoding: chunked,\r\n\r\n",
                Bad(V::Coding),
            ),
            (
                "two codings",
                "200 OK\r\nTransfer-Encoding: a\r\nTransfer-Encoding: chunked\r\n\r\n",
                Bad(V::SeveralCodings),
            ),
            (
                "both",
                "200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
                Bad(V::LengthAndCoding),
            ),
            (
                "two lengths",
                "200 OK\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
                Bad(V::SeveralLengths),
            ),
            ("bad length", "200 OK\r\nContent-Length: 1,1\r\n\r\na", Bad(V::Length)),
            ("no content", "204 No Content\r\n\r\n", Exact),
            ("no content, surplus", "204 No Content\r\n\r\nx", Bad(V::Surplus)),
            ("not modified", "304 Not Modified\r\nContent-Length: 5\r\n\r\n", Exact),
            ("interim", "100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: a\r\n\r\n", Open),
            ("interim, final", "100 Continue\r\n\r\nHTTP/1.1 204 No\r\n\r\n", Exact),
            ("unasked 101", "101 Switching\r\nUpgrade: x\r\n\r\n", Bad(V::UnaskedUpgrade)),
            ("odd value", "200 OK\r\nX: a\x01b\r\nContent-Length: 0\r\n\r\n", Exact),
            ("NUL in value", "200 OK\r\nX: a\0b\r\n\r\n", Bad(V::Nul)),
            ("bare CR in value", "200 OK\r\nX: a\rb\r\n\r\n", Bad(V::BareCr)),
            ("bare LF", "200 OK\nX: a\r\n\r\n", Bad(V::BareLf)),
            ("obs-fold", "200 OK\r\nX: a\r\n b\r\n\r\n", Bad(V::ObsFold)),
            ("space before colon", "200 OK\r\nX : a\r\n\r\n", Bad(V::SpaceBeforeColon)),
        ] {
            let stream = format!("HTTP/1.1 {stream}");
            assert_eq!(end(&Method::GET, false, &stream), want, "{case}: {stream:?}");
        }
        let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert_eq!(end(&Method::GET, false, old), Bad(V::CodingInOldVersion));
    }

    #[test]
    fn head_has_no_body_and_a_101_that_was_asked_for_is_a_tunnel() {
        let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(end(&Method::HEAD, false, length), Exact);
        let coding = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(end(&Method::HEAD, false, coding), Exact);
        let close = "HTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(end(&Method::HEAD, false, close), Exact);
        let switch = "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n\0\n\r";
        assert_eq!(end(&Method::GET, true, switch), End::Tunnel);
        let refused = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(end(&Method::GET, true, refused), Exact);
    }

    #[test]
    fn an_answer_that_only_ever_begins_is_given_up() {
        let interim = |n| "HTTP/1.1 102 Processing\r\n\r\n".repeat(n);
        let enough = format!("{}HTTP/1.1 204 No\r\n\r\n", interim(1000));
        assert_eq!(end(&Method::GET, false, &enough), Exact);
        assert_eq!(end(&Method::GET, false, &interim(1001)), Bad(Violation::TooManyInterim));
        let mut scanner = ResponseScanner::new(WireLimits::default());
        for _ in 0..3 {
            scanner.expect(&Method::GET, false);
            assert_eq!(scanner.feed(enough.as_bytes()), Scan::Pass, "counted for each request");
        }
    }

    #[test]
    fn bytes_that_nobody_asked_for_are_a_surplus() {
        let mut scanner = ResponseScanner::new(WireLimits::default());
        assert!(scanner.complete());
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        scanner.expect(&Method::GET, false);
        assert!(!scanner.complete());
        assert_eq!(scanner.feed(answer), Scan::Pass);
        assert!(scanner.complete());
        scanner.expect(&Method::HEAD, false);
        assert_eq!(scanner.feed(answer), Scan::Pass);
        assert!(scanner.complete());
        let surplus = Scan::Bad { at: 0, what: Violation::Surplus, in_head: false };
        assert_eq!(scanner.feed(answer), surplus);
        assert!(!scanner.complete());
        scanner.expect(&Method::GET, false);
        assert_eq!(scanner.feed(answer), surplus, "a broken connection stays broken");
    }

    #[test]
    fn a_head_is_due_until_it_is_there() {
        let mut scanner = ResponseScanner::new(WireLimits::default());
        assert!(!scanner.in_head());
        scanner.expect(&Method::GET, false);
        assert!(scanner.in_head());
        let _ = scanner.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n");
        assert!(!scanner.in_head());
    }

    #[test]
    fn only_transfer_encoding_tells_what_comes_last() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\
            Content-Languages: chunked\r\n\r\nabc";
        assert_eq!(end(&Method::GET, false, head), ToClose);
    }
}
