//! Host and port, as Host and targets write them (RFC 9110 §4.2, RFC 3986 §3.2).

use std::borrow::Cow;
use std::net::Ipv6Addr;

/// A DNS name is shorter; a port has five digits.
const LONGEST: usize = 255 + 6;

/// One valid `host[:port]`, in lower case; borrowed where it is so already. `None` for user
/// information, lists, an empty host, an empty or too large port. A comma, which RFC 3986 would
/// allow in a name, is refused: it would make one host of a list of them.
pub fn parse(text: &str) -> Option<Cow<'_, str>> {
    if text.len() > LONGEST {
        return None;
    }
    let (host, port) = split(text)?;
    let valid = match host.strip_prefix('[') {
        Some(literal) => literal.strip_suffix(']')?.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && is_name(host.as_bytes()),
    };
    let port_valid = port.is_none_or(|port| {
        port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
    });
    if !valid || !port_valid {
        return None;
    }
    let upper = text.bytes().any(|b| b.is_ascii_uppercase());
    Some(if upper { Cow::Owned(text.to_ascii_lowercase()) } else { Cow::Borrowed(text) })
}

fn split(text: &str) -> Option<(&str, Option<&str>)> {
    let host_end = if text.starts_with('[') { text.find(']')? + 1 } else { 0 };
    let colon = text.get(host_end..)?.find(':').map(|at| at + host_end);
    match colon {
        None => Some((text, None)),
        Some(at) => Some((text.get(..at)?, Some(text.get(at + 1..)?))),
    }
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
            (byte, _) if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(byte) => after,
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
            ("escaped", "a%2fb", Some("a%2fb")),
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
}
