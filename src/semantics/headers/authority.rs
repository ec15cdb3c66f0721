//! Host and port, as Host and targets write them (RFC 9110 §4.2, RFC 3986 §3.2).

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// A DNS name is shorter; a port has five digits.
const LONGEST: usize = 255 + 6;

/// What a byte is in a host name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Unreserved characters and sub-delimiters but for the comma, in lower case.
    Plain,
    Upper,
    Other,
}

static CLASSES: [Class; 256] = {
    let mut table = [Class::Other; 256];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = match byte as u8 {
            b'A'..=b'Z' => Class::Upper,
            b'a'..=b'z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'!'
            | b'$'
            | b'&'
            | b'\''
            | b'('
            | b')'
            | b'*'
            | b'+'
            | b';'
            | b'=' => Class::Plain,
            _ => Class::Other,
        };
        byte += 1;
    }
    table
};

fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Other)
}

/// One valid `host[:port]`, in lower case; borrowed where it is so already. `None` for user
/// information, lists, an empty host, an empty or too large port. A comma, which RFC 3986 would
/// allow in a name, is refused: it would make one host of a list of them.
pub fn parse(text: &str) -> Option<Cow<'_, str>> {
    if text.len() > LONGEST {
        return None;
    }
    let bytes = text.as_bytes();
    let plain = bytes.iter().position(|b| class(*b) != Class::Plain).unwrap_or(bytes.len());
    let (host, port) = bytes.split_at_checked(plain)?;
    // Nearly always that was the host.
    if !host.is_empty() && is_port(port) {
        return Some(Cow::Borrowed(text));
    }
    parse_odd(text)
}

/// The same for whatever it may be.
fn parse_odd(text: &str) -> Option<Cow<'_, str>> {
    let host_end = match text.strip_prefix('[') {
        Some(_) => text.find(']')? + 1,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at_checked(host_end)?;
    let valid = match host.strip_prefix('[') {
        Some(literal) => literal.strip_suffix(']')?.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && is_name(host.as_bytes()),
    };
    if !valid || !is_port(port.as_bytes()) {
        return None;
    }
    let upper = text.bytes().any(|b| b.is_ascii_uppercase());
    Some(if upper { Cow::Owned(text.to_ascii_lowercase()) } else { Cow::Borrowed(text) })
}

/// Nothing, or a colon and a number of 16 bits.
fn is_port(text: &[u8]) -> bool {
    let [b':', digits @ ..] = text else { return text.is_empty() };
    if !matches!(digits.len(), 1..=5) || !digits.iter().all(u8::is_ascii_digit) {
        return false;
    }
    digits.iter().fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0')) <= 0xffff
}

fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    while let [byte, after @ ..] = rest {
        rest = match (byte, after) {
            (b'%', [high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                after
            }
            (byte, _) if class(*byte) != Class::Other => after,
            _ => return false,
        };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities() {
        for (case, text, want) in [
            ("name", "a.org", Some("a.org")),
            ("capitals", "A.Org:80", Some("a.org:80")),
            ("underscore, as Compose names have", "my_app:3000", Some("my_app:3000")),
            ("IPv4", "127.0.0.1:1", Some("127.0.0.1:1")),
            ("IPv6", "[::1]", Some("[::1]")),
            ("IPv6 and port", "[2001:DB8::1]:8080", Some("[2001:db8::1]:8080")),
            ("one capital", "A", Some("a")),
            ("escaped", "a%2fb", Some("a%2fb")),
            ("no digit, then one", "a%zf", None),
            ("a digit, then none", "a%2z", None),
            ("half escaped", "a%2", None),
            ("IPv6 without brackets", "::1", None),
            ("no address in brackets", "[a]", None),
            ("open bracket", "[::1", None),
            ("behind the bracket", "[::1]x", None),
            ("empty", "", None),
            ("only a port", ":80", None),
            ("empty port", "a:", None),
            ("port too large", "a:65536", None),
            ("signed port", "a:+80", None),
            ("two ports", "a:80:81", None),
            ("user", "u@a", None),
            ("path", "a/b", None),
            ("query", "a?b", None),
            ("space", "a b", None),
            ("list", "a,b", None),
            ("NUL", "a\0b", None),
            ("not ASCII", "ä.org", None),
        ] {
            assert_eq!(parse(text).as_deref(), want, "{case}: {text:?}");
        }
        assert!(matches!(parse("a.org"), Some(Cow::Borrowed(_))), "nothing to change, no copy");
        assert_eq!(parse(&"a".repeat(LONGEST + 1)), None);
    }

    #[test]
    fn the_longest() {
        let authority = |name| format!("{}:65535", "a".repeat(name));
        assert!(parse(&authority(255)).is_some());
        assert!(parse(&authority(256)).is_none());
    }
}
