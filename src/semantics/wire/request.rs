//! What a client sends (RFC 9112 §3, §6.3).

use http::Uri;

use super::bytes::{is_plain_target, is_tchar, list, token_length};
use super::chunked::Chunked;
use super::head::{Coding, Framing, Lines, Values, field};
use super::{Scan, Violation, WireLimits};

/// Empty lines that may stand before a request line (RFC 9112 §2.2).
const BLANK_LINES: u8 = 4;
/// [`Uri`] takes no longer one.
const TARGET_MOST: usize = 65_534;

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
        let target_size = limits.target_size.min(TARGET_MOST);
        let limits = WireLimits { target_size, ..limits };
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
        loop {
            let (name, value) = match self.lines.plain_field(head, limits) {
                Some(field) => {
                    self.lines.count_field(limits)?;
                    field
                }
                None => match self.lines.next(head, limits)? {
                    None => return Ok(false),
                    Some([]) => return self.check().map(|()| true),
                    Some(line) => {
                        self.lines.count_field(limits)?;
                        field(line, Values::Strict)?
                    }
                },
            };
            self.take(name, value)?;
        }
    }

    #[inline]
    fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), Violation> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.host {
                    return Err(Violation::SeveralHosts);
                }
                if !value.iter().all(|b| IN_HOST.get(usize::from(*b)) == Some(&true)) {
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
        self.framing.length.map(Body::Length)
    }

    /// HTTP/1.0 cannot be upgraded (RFC 9110 §7.8).
    fn asks_for_upgrade(&self) -> bool {
        self.connection_upgrade && self.protocol && !self.old_version
    }
}

/// No more than keeps a Host from being taken for something else; whether it is a valid
/// authority is decided where the target is.
static IN_HOST: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = b' ' as usize + 1;
    while byte < 256 {
        table[byte] = !matches!(byte as u8, 0x7f | b'/' | b'?' | b'#' | b'@' | b'\\');
        byte += 1;
    }
    table
};

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
    if target.first() != Some(&b'/') || !is_plain_target(target) {
        check_target(target)?;
    }
    Ok(old_version)
}

/// A target that is no plain path is asked of [`Uri`] itself: what it refuses, hyper would answer
/// on its own, past everything that counts and logs.
#[cold]
fn check_target(target: &[u8]) -> Result<(), Violation> {
    if target.is_empty() || target.iter().any(|b| *b <= b' ') {
        return Err(Violation::RequestLine);
    }
    // `Uri` drops a fragment in silence.
    let odd = target.iter().any(|b| matches!(b, b'#' | 0x7f));
    if odd || Uri::try_from(target).is_err() { Err(Violation::Target) } else { Ok(()) }
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

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Option<Violation> = None;

    const LIMITS: WireLimits = WireLimits {
        head_size: 1024,
        head_fields: 8,
        target_size: 100,
        chunk_ext: 16,
        trailers: 64,
    };

    fn scanner() -> RequestScanner {
        RequestScanner::new(LIMITS)
    }

    fn violation(stream: &[u8]) -> Option<Violation> {
        match scanner().feed(stream) {
            Scan::Bad { what, .. } => Some(what),
            Scan::Pass => None,
            other => panic!("{other:?}: {}", stream.escape_ascii()),
        }
    }

    #[test]
    fn request_lines() {
        let long = format!("GET /{} HTTP/1.1", "a".repeat(100));
        let just = format!("GET /{} HTTP/1.1", "a".repeat(99));
        let huge = format!("GET /{} HTTP/1.1", "a".repeat(1100));
        for (case, line, want) in [
            ("plain", "GET / HTTP/1.1", OK),
            ("old version", "GET / HTTP/1.0", OK),
            ("unknown method", "BREW /pot HTTP/1.1", OK),
            ("asterisk", "OPTIONS * HTTP/1.1", OK),
            ("absolute", "GET http://h/a?b=c HTTP/1.1", OK),
            ("authority", "CONNECT h:443 HTTP/1.1", OK),
            ("raw utf-8", "GET /caf\u{e9} HTTP/1.1", OK),
            ("quotes in the path", "GET /{\"a\"} HTTP/1.1", OK),
            ("quotes in the query", "GET /?q=\"a\" HTTP/1.1", Some(Violation::Target)),
            ("angle brackets", "GET /<b> HTTP/1.1", Some(Violation::Target)),
            ("backtick", "GET /`id` HTTP/1.1", Some(Violation::Target)),
            ("no path", "GET a/b HTTP/1.1", Some(Violation::Target)),
            ("two ports", "GET http://h:1:2/ HTTP/1.1", Some(Violation::Target)),
            ("no authority", "GET http:///a HTTP/1.1", Some(Violation::Target)),
            ("target just fits", just.as_str(), OK),
            ("target too long", long.as_str(), Some(Violation::TargetTooLong)),
            ("target fills the head", huge.as_str(), Some(Violation::TargetTooLong)),
            ("two spaces", "GET  / HTTP/1.1", Some(Violation::RequestLine)),
            ("two spaces later", "GET /  HTTP/1.1", Some(Violation::RequestLine)),
            ("tab", "GET\t/ HTTP/1.1", Some(Violation::RequestLine)),
            ("space in target", "GET /a b HTTP/1.1", Some(Violation::RequestLine)),
            ("trailing space", "GET / HTTP/1.1 ", Some(Violation::RequestLine)),
            ("leading space", " GET / HTTP/1.1", Some(Violation::RequestLine)),
            ("no target", "GET HTTP/1.1", Some(Violation::RequestLine)),
            ("empty target", "GET  HTTP/1.1", Some(Violation::RequestLine)),
            ("no version", "GET /", Some(Violation::RequestLine)),
            ("bad method", "GE(T / HTTP/1.1", Some(Violation::RequestLine)),
            ("NUL in target", "GET /\0 HTTP/1.1", Some(Violation::RequestLine)),
            ("DEL in target", "GET /\x7f HTTP/1.1", Some(Violation::Target)),
            ("fragment", "GET /a#b HTTP/1.1", Some(Violation::Target)),
            ("HTTP/2 preface", "PRI * HTTP/2.0", Some(Violation::Version)),
            ("HTTP/0.9", "GET / HTTP/0.9", Some(Violation::Version)),
            ("HTTP/1.2", "GET / HTTP/1.2", Some(Violation::Version)),
            ("lower case", "GET / http/1.1", Some(Violation::RequestLine)),
            ("many digits", "GET / HTTP/1.10", Some(Violation::RequestLine)),
            ("no major number", "GET / HTTP/x.1", Some(Violation::RequestLine)),
            ("no minor number", "GET / HTTP/2.x", Some(Violation::RequestLine)),
            ("another version, no target", "GET  HTTP/2.0", Some(Violation::RequestLine)),
            ("no version, target just fits", &just[..104], Some(Violation::RequestLine)),
            ("no version, target too long", &long[..105], Some(Violation::TargetTooLong)),
            ("other protocol", "GET / ICY/1.1", Some(Violation::RequestLine)),
            ("bare CR", "GET /\r HTTP/1.1", Some(Violation::RequestLine)),
            ("TLS", "\x16\x03\x01", Some(Violation::RequestLine)),
        ] {
            let stream = format!("{line}\r\nHost: h\r\n\r\n");
            assert_eq!(violation(stream.as_bytes()), want, "{case}: {line:?}");
        }
    }

    /// hyper answers what `Uri` refuses itself: no such target may pass.
    #[test]
    fn a_target_passes_if_and_only_if_it_is_a_uri() {
        let forms: [&[u8]; 6] =
            [b"/a@b", b"/?a@b", b"@", b"http://a@b/", b"http://a/@", b"http://a:@/?@"];
        for byte in 0x21..=0xff_u8 {
            for form in forms {
                let target: Vec<u8> =
                    form.iter().map(|b| if *b == b'@' { byte } else { *b }).collect();
                let uri = Uri::try_from(target.as_slice()).is_ok();
                let fits = uri && !target.iter().any(|b| matches!(b, b'#' | 0x7f));
                let stream = [b"GET ", &*target, b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
                let want = if fits { OK } else { Some(Violation::Target) };
                assert_eq!(violation(&stream), want, "{}", target.escape_ascii());
            }
        }
        let mut long = b"GET /".to_vec();
        long.resize(70_000, b'a');
        long.extend_from_slice(b" HTTP/1.1\r\nHost: h\r\n\r\n");
        let limits = WireLimits { head_size: 1 << 20, target_size: 1 << 20, ..LIMITS };
        let scan = RequestScanner::new(limits).feed(&long);
        let want = Scan::Bad { at: 0, what: Violation::TargetTooLong, in_head: true };
        assert_eq!(scan, want, "longer than a URI can be");
    }

    #[test]
    fn fields_and_framing() {
        use Violation as V;
        let host = "Host: h\r\n";
        for (case, fields, want) in [
            ("tab and obs-text", "X: a\tb\u{e9}\r\n", OK),
            ("empty value", "X:\r\n", OK),
            ("NUL", "X: a\0b\r\n", Some(V::Nul)),
            ("control", "X: a\x01b\r\n", Some(V::Control)),
            ("DEL", "X: \x7f\r\n", Some(V::Control)),
            ("bare CR", "X: a\rb\r\n", Some(V::BareCr)),
            ("two CRs", "X: a\r\r\n", Some(V::BareCr)),
            ("bare LF", "X: a\n", Some(V::BareLf)),
            ("obs-fold", "X: a\r\n b\r\n", Some(V::ObsFold)),
            ("fold with tab", "X: a\r\n\tb: c\r\n", Some(V::ObsFold)),
            ("space before colon", "X : a\r\n", Some(V::SpaceBeforeColon)),
            ("tab before colon", "X\t: a\r\n", Some(V::SpaceBeforeColon)),
            ("empty name", ": a\r\n", Some(V::FieldName)),
            ("no colon", "X\r\n", Some(V::FieldName)),
            ("bad name", "X(: a\r\n", Some(V::FieldName)),
            ("NUL in name", "X\0Y: a\r\n", Some(V::Nul)),
            ("raw utf-8 in name", "\u{e9}: a\r\n", Some(V::FieldName)),
            ("chunked", "Transfer-Encoding: chunked\r\n", OK),
            ("any case", "tRANSFER-eNCODING:\tCHUNKED \r\n", OK),
            ("no body", "Content-Length: 0\r\n", OK),
            ("leading zeros", "Content-Length: 0000\r\n", OK),
            (
                "both",
                "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
                Some(V::LengthAndCoding),
            ),
            (
                "both turned",
                "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
                Some(V::LengthAndCoding),
            ),
            (
                "both, bad coding",
                "Transfer-Encoding: x\r\nContent-Length: 0\r\n",
                Some(V::LengthAndCoding),
            ),
            ("gzip", "Transfer-Encoding: gzip\r\n", Some(V::UnknownCoding)),
            ("identity", "Transfer-Encoding: identity\r\n", Some(V::UnknownCoding)),
            ("look-alike", "Transfer-Encoding: xchunked\r\n", Some(V::UnknownCoding)),
            ("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n", Some(V::UnknownCoding)),
            ("chunked, gzip", "Transfer-Encoding: chunked, gzip\r\n", Some(V::Coding)),
            ("twice in one", "Transfer-Encoding: chunked, chunked\r\n", Some(V::Coding)),
            ("comma after", "Transfer-Encoding: chunked,\r\n", Some(V::Coding)),
            ("vertical tab", "Transfer-Encoding: \x0bchunked\r\n", Some(V::Control)),
            ("quoted", "Transfer-Encoding: \"chunked\"\r\n", Some(V::Coding)),
            ("empty coding", "Transfer-Encoding:\r\n", Some(V::Coding)),
            (
                "two fields",
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                Some(V::SeveralCodings),
            ),
            ("sign", "Content-Length: +1\r\n", Some(V::Length)),
            ("negative", "Content-Length: -1\r\n", Some(V::Length)),
            ("hex", "Content-Length: 0x1\r\n", Some(V::Length)),
            ("empty length", "Content-Length:\r\n", Some(V::Length)),
            ("list", "Content-Length: 0, 0\r\n", Some(V::Length)),
            ("space inside", "Content-Length: 1 1\r\n", Some(V::Length)),
            ("overflow", "Content-Length: 99999999999999999999\r\n", Some(V::LengthOverflow)),
            ("2^63", "Content-Length: 9223372036854775808\r\n", Some(V::LengthOverflow)),
            ("equal twice", "Content-Length: 0\r\nContent-Length: 0\r\n", Some(V::SeveralLengths)),
            ("two hosts", "Host: h\r\n", Some(V::SeveralHosts)),
            ("two hosts, cases", "hOST: h\r\n", Some(V::SeveralHosts)),
            ("eight fields", "a:b\r\na:b\r\na:b\r\na:b\r\na:b\r\na:b\r\na:b\r\n", OK),
            (
                "nine fields",
                "a:b\r\na:b\r\na:b\r\na:b\r\na:b\r\na:b\r\na:b\r\na:b\r\n",
                Some(V::TooManyFields),
            ),
        ] {
            let stream = format!("POST / HTTP/1.1\r\n{host}{fields}\r\n");
            assert_eq!(violation(stream.as_bytes()), want, "{case}: {fields:?}");
        }
        for (case, fields, want) in [
            ("none", "", Some(V::NoHost)),
            ("empty", "Host:\r\n", OK),
            ("port", "Host: h:80\r\n", OK),
            ("v6", "Host: [::1]:80\r\n", OK),
            ("space", "Host: a b\r\n", Some(V::Host)),
            ("path", "Host: a/b\r\n", Some(V::Host)),
            ("userinfo", "Host: a@b\r\n", Some(V::Host)),
            ("query", "Host: a?b\r\n", Some(V::Host)),
            ("fragment", "Host: a#b\r\n", Some(V::Host)),
        ] {
            let stream = format!("GET / HTTP/1.1\r\n{fields}\r\n");
            assert_eq!(violation(stream.as_bytes()), want, "Host {case}: {fields:?}");
        }
        let old = b"GET / HTTP/1.0\r\n\r\n";
        assert_eq!(violation(old), None, "HTTP/1.0 needs no Host");
        let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert_eq!(violation(old), Some(V::CodingInOldVersion));
    }

    #[test]
    fn the_head_has_a_size() {
        let fields =
            |n: usize| format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(n));
        let empty = fields(0).len();
        assert_eq!(violation(fields(1024 - empty).as_bytes()), None);
        assert_eq!(violation(fields(1025 - empty).as_bytes()), Some(Violation::HeadTooLarge));
        let endless = &fields(2000)[..1025];
        assert_eq!(violation(endless.as_bytes()), Some(Violation::HeadTooLarge));
    }

    #[test]
    fn chunked_bodies() {
        use Violation as V;
        for (case, body, want) in [
            ("plain", "5\r\nhello\r\n0\r\n\r\n", OK),
            ("data like framing", "5\r\n\r\n0\r\n\r\n0\r\n\r\n", OK),
            ("extension", "5;a=b\r\nhello\r\n0;c\r\n\r\n", OK),
            ("space before extension", "5 ;a\r\nhello\r\n0\r\n\r\n", OK),
            ("trailers", "0\r\nX-Sum: 1\r\nY:\r\n\r\n", OK),
            ("leading zeros", "0005\r\nhello\r\n000\r\n\r\n", OK),
            ("capitals", "A\r\n0123456789\r\n0\r\n\r\n", OK),
            ("no digits", "\r\nhello", Some(V::ChunkSize)),
            ("extension only", ";a\r\n", Some(V::ChunkSize)),
            ("prefix", "0x5\r\nhello\r\n", Some(V::ChunkSize)),
            ("sign", "-5\r\n", Some(V::ChunkSize)),
            ("underscore", "1_0\r\n", Some(V::ChunkSize)),
            ("space before size", " 5\r\nhello\r\n", Some(V::ChunkSize)),
            ("space after size", "5 \r\nhello\r\n", Some(V::ChunkSize)),
            ("bare LF", "5\nhello\r\n", Some(V::BareLf)),
            ("bare LF after extension", "5;a\nhello\r\n", Some(V::BareLf)),
            ("bare CR after extension", "5;a\rb\r\nhello\r\n", Some(V::BareCr)),
            ("bare CR", "5\rhello\r\n", Some(V::BareCr)),
            ("too long", "4\r\nhello\r\n", Some(V::ChunkEnd)),
            ("bare LF after data", "5\r\nhello\n0\r\n\r\n", Some(V::ChunkEnd)),
            ("CR only after data", "5\r\nhello\r0\r\n\r\n", Some(V::ChunkEnd)),
            ("overflow", "10000000000000000\r\n", Some(V::ChunkOverflow)),
            ("nearly 2^64", "fffffffffffffffe\r\n", Some(V::ChunkOverflow)),
            ("zeros without end", "00000000000000000", Some(V::ChunkOverflow)),
            ("NUL in extension", "5;\0\r\n", Some(V::ChunkExtension)),
            ("extension too large", "5;0123456789abcdefg\r\n", Some(V::ChunkExtensionsTooLarge)),
            (
                "extensions too large together",
                "1;12345678\r\na\r\n1;12345678\r\na\r\n",
                Some(V::ChunkExtensionsTooLarge),
            ),
            ("trailer names a length", "0\r\nContent-length: 5\r\n\r\n", Some(V::TrailerForbidden)),
            (
                "trailer names a coding",
                "0\r\nTransfer-Encoding: x\r\n\r\n",
                Some(V::TrailerForbidden),
            ),
            ("trailer names a host", "0\r\nhost: x\r\n\r\n", Some(V::TrailerForbidden)),
            ("trailer names trailers", "0\r\nTrailer: x\r\n\r\n", Some(V::TrailerForbidden)),
            ("trailer fold", "0\r\nX: a\r\n b\r\n\r\n", Some(V::ObsFold)),
            ("trailer without colon", "0\r\nX\r\n\r\n", Some(V::FieldName)),
            ("trailer without name", "0\r\n: a\r\n\r\n", Some(V::FieldName)),
            ("trailer space", "0\r\nX : a\r\n\r\n", Some(V::SpaceBeforeColon)),
            ("trailer bare LF", "0\r\nX: a\n\r\n", Some(V::BareLf)),
            ("trailer bare CR", "0\r\nX: a\rb\r\n\r\n", Some(V::BareCr)),
            ("trailer NUL", "0\r\nX: \0\r\n\r\n", Some(V::Nul)),
            ("trailer control", "0\r\nX: \x02\r\n\r\n", Some(V::Control)),
            ("end with bare LF", "0\r\n\n", Some(V::BareLf)),
            ("end with bare CR", "0\r\n\rX", Some(V::BareCr)),
            (
                "trailers too large",
                "0\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n",
                Some(V::TrailersTooLarge),
            ),
            (
                "too many trailers",
                "0\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\na:\r\n\r\n",
                Some(V::TrailersTooLarge),
            ),
        ] {
            let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
            let stream = format!("{head}{body}");
            let mut scanner = scanner();
            let found = match scanner.feed(stream.as_bytes()) {
                Scan::Bad { at, what, in_head } => {
                    assert!(!in_head && at >= head.len(), "{case}: {at} {in_head}");
                    Some(what)
                }
                other => {
                    assert_eq!(other, Scan::Pass, "{case}");
                    assert!(scanner.between_messages(), "{case}: ended");
                    None
                }
            };
            assert_eq!(found, want, "{case}: {body:?}");
            assert_eq!(scanner.heads(), 1, "{case}");
        }
    }

    #[test]
    fn pipelined_messages_are_each_checked() {
        let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let post = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nGET ";
        let stream = format!("{get}{post}{get}GET / HTTP/1.1\r\n\r\n{get}");
        let mut scanner = scanner();
        let bad = get.len() * 2 + post.len();
        let want = Scan::Bad { at: bad, what: Violation::NoHost, in_head: true };
        assert_eq!(scanner.feed(stream.as_bytes()), want);
        assert_eq!(scanner.heads(), 4);
        let again = Scan::Bad { at: 0, what: Violation::NoHost, in_head: true };
        assert_eq!(scanner.feed(get.as_bytes()), again, "a broken connection stays broken");
        assert_eq!(scanner.heads(), 4);
    }

    #[test]
    fn a_few_empty_lines_may_come_before_a_request() {
        let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        assert_eq!(violation(format!("\r\n\r\n{get}\r\n{get}").as_bytes()), None);
        let many = format!("{}{get}", "\r\n".repeat(5));
        assert_eq!(violation(many.as_bytes()), Some(Violation::RequestLine));
        assert_eq!(violation(format!("\n{get}").as_bytes()), Some(Violation::BareLf));
        assert_eq!(violation(format!("\rG{get}").as_bytes()), Some(Violation::RequestLine));
        let mut scanner = scanner();
        assert_eq!(scanner.feed(b"\r"), Scan::Partial { from: 0 });
        assert!(!scanner.in_head());
    }

    #[test]
    fn an_incomplete_head_is_held_back_from_its_beginning() {
        let mut scanner = scanner();
        let get = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        let (first, second) = (get.len() + 5, get.len() * 2);
        let stream = [&get[..], &get[..]].concat();
        assert_eq!(scanner.feed(&stream[..first]), Scan::Partial { from: get.len() });
        assert!(scanner.in_head());
        assert_eq!(scanner.heads(), 1);
        assert_eq!(scanner.feed(&stream[get.len()..second]), Scan::Pass);
        assert_eq!(scanner.heads(), 2);
        assert!(scanner.between_messages());
    }

    #[test]
    fn upgrades_stop_the_scan_until_they_are_decided() {
        for (case, fields, want) in [
            ("websocket", "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n", true),
            ("two lines", "Upgrade: h2c\r\nConnection: UPGRADE\r\nUpgrade: a\r\n", true),
            ("h2c only", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n", false),
            ("no Connection", "Upgrade: websocket\r\n", false),
            ("no Upgrade", "Connection: upgrade\r\n", false),
        ] {
            let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
            let stream = format!("{head}\0\0");
            let mut scanner = scanner();
            let found = scanner.feed(stream.as_bytes());
            if !want {
                assert!(matches!(found, Scan::Bad { .. }), "{case}: {found:?}");
                continue;
            }
            assert_eq!(found, Scan::Upgrade { at: head.len() }, "{case}");
            assert_eq!(scanner.feed(b"\0\0"), Scan::Upgrade { at: 0 }, "{case}: undecided");
            scanner.tunnel();
            assert_eq!(scanner.feed(b"\0\0"), Scan::Pass, "{case}: tunnelled");
        }
        let old = b"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(scanner().feed(old), Scan::Pass, "HTTP/1.0 cannot be upgraded");
    }

    #[test]
    fn a_refused_upgrade_leaves_requests_to_scan() {
        let head = b"POST / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\
            Content-Length: 2\r\n\r\nab";
        let mut scanner = scanner();
        assert_eq!(scanner.feed(head), Scan::Upgrade { at: head.len() });
        scanner.resume();
        let scan = scanner.feed(b"GET / HTTP/1.1\r\n\r\n");
        assert_eq!(scan, Scan::Bad { at: 0, what: Violation::NoHost, in_head: true });
        assert_eq!(scanner.heads(), 2);
    }

    #[test]
    fn every_violation_has_a_status_that_refuses() {
        let mut reasons = std::collections::HashSet::new();
        for (what, status) in [
            (Violation::RequestLine, 400),
            (Violation::LengthAndCoding, 400),
            (Violation::TargetTooLong, 414),
            (Violation::HeadTooLarge, 431),
            (Violation::TooManyFields, 431),
            (Violation::UnknownCoding, 501),
            (Violation::Version, 505),
            (Violation::Surplus, 502),
        ] {
            assert_eq!(what.status(), status, "{}", what.reason());
            assert!(!what.reason().is_empty() && reasons.insert(what.reason()), "{what:?}");
        }
    }

    #[test]
    fn names_as_long_as_those_that_matter_do_not() {
        let fields = "Host: h\r\nLink: </a>\r\nReferer: websocket\r\nConnection: upgrade\r\n";
        let head = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        assert_eq!(violation(head.as_bytes()), OK, "a Link is no Host, a Referer no Upgrade");
        let fields = "Host: h\r\nUser-Agent: upgrade\r\nUpgrade: websocket\r\n";
        let head = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        assert_eq!(violation(head.as_bytes()), OK, "a User-Agent is no Connection");
    }

    #[test]
    fn between_messages_is_neither_in_a_head_nor_in_a_body() {
        let mut scanner = scanner();
        for (bytes, between) in [
            ("", true),
            ("POST / HTTP/1.1\r\nHost: h\r\n", false),
            ("Content-Length: 2\r\n\r\n", false),
            ("a", false),
            ("b", true),
            ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", true),
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", true),
        ] {
            let held =
                if bytes.starts_with("Content") { "POST / HTTP/1.1\r\nHost: h\r\n" } else { "" };
            let _ = scanner.feed(format!("{held}{bytes}").as_bytes());
            assert_eq!(scanner.between_messages(), between, "after {bytes:?}");
        }
    }

    #[test]
    fn bounds_of_chunked_bodies() {
        let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        let zeros = |n: usize| format!("{}1\r\na\r\n0\r\n\r\n", "0".repeat(n - 1));
        let extension = |n: usize| format!("0;{}\r\n\r\n", "e".repeat(n - 1));
        let trailers = |n: usize| format!("0\r\nT: {}\r\n\r\n", "t".repeat(n - 7));
        let fields = |n: usize| format!("0\r\n{}\r\n", "a:\r\n".repeat(n));
        for (case, body, want) in [
            ("digits", zeros(16), OK),
            ("a digit more", zeros(17), Some(Violation::ChunkOverflow)),
            ("extension", extension(16), OK),
            ("a longer one", extension(17), Some(Violation::ChunkExtensionsTooLarge)),
            ("trailers", trailers(64), OK),
            ("longer ones", trailers(65), Some(Violation::TrailersTooLarge)),
            ("fields", fields(8), OK),
            ("one more", fields(9), Some(Violation::TrailersTooLarge)),
        ] {
            assert_eq!(violation(format!("{head}{body}").as_bytes()), want, "{case}: {body:?}");
        }
    }
}
