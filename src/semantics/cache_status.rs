//! Cache-Status (RFC 9211), written from a [`Decision`].

use http::HeaderValue;

use super::decision::{Decision, Outcome};
use super::digits::Digits;
use super::key;

/// Room for every value without a key: the names below, three numbers and a short detail.
const SHORT: usize = 160;

/// Writes the value behind what `out` holds: `larder; hit; ttl=59`. With `key` also the URL of
/// the stored response's key.
pub fn write(decision: &Decision, key: Option<&[u8]>, out: &mut Vec<u8>) {
    put(decision, key, &mut |bytes| out.extend_from_slice(bytes));
}

/// The value as a header field's, with one allocation of its own size where there is no key.
pub fn value(decision: &Decision, key: Option<&[u8]>) -> HeaderValue {
    let mut room = [0; SHORT];
    let mut len = 0;
    let mut fits = true;
    put(decision, key, &mut |bytes: &[u8]| match room
        .get_mut(len..)
        .and_then(|rest| rest.get_mut(..bytes.len()))
    {
        Some(place) => {
            place.copy_from_slice(bytes);
            len += bytes.len();
        }
        None => fits = false,
    });
    let made = if fits {
        HeaderValue::from_bytes(room.get(..len).unwrap_or_default())
    } else {
        let mut long = Vec::new();
        write(decision, key, &mut long);
        HeaderValue::from_maybe_shared(bytes::Bytes::from(long))
    };
    made.unwrap_or(HeaderValue::from_static("larder"))
}

fn put(decision: &Decision, key: Option<&[u8]>, out: &mut impl FnMut(&[u8])) {
    out(b"larder");
    match (decision.fwd, decision.outcome) {
        (Some(fwd), _) => {
            out(b"; fwd=");
            out(fwd.as_str().as_bytes());
            if let Some(status) = decision.fwd_status {
                out(b"; fwd-status=");
                put_integer(i64::from(status), out);
            }
        }
        // What was answered without the origin (RFC 9211 §2.1).
        (None, Outcome::Hit | Outcome::Stale) => out(b"; hit"),
        (None, _) => {}
    }
    if decision.stored {
        out(b"; stored");
    }
    if decision.collapsed {
        out(b"; collapsed");
    }
    if let Some(ttl) = decision.ttl {
        out(b"; ttl=");
        put_integer(ttl, out);
    }
    if let Some(key) = key {
        out(b"; key=");
        put_string(key::url_part(key), out);
    }
    if let Some(detail) = decision.detail {
        out(b"; detail=");
        if is_token(detail.as_bytes()) {
            out(detail.as_bytes());
        } else {
            put_string(detail.as_bytes(), out);
        }
    }
}

/// At most 15 digits, as structured fields have it (RFC 9651 §3.3.1).
fn put_integer(number: i64, out: &mut impl FnMut(&[u8])) {
    if number < 0 {
        out(b"-");
    }
    let number = number.unsigned_abs().min(999_999_999_999_999);
    out(Digits::of(number).as_bytes());
}

/// A token of structured fields (RFC 9651 §3.3.4).
fn is_token(text: &[u8]) -> bool {
    text.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'*')
        && text.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(b))
}

/// A string of structured fields; what is not printable ASCII is written as `%XX`.
fn put_string(text: &[u8], out: &mut impl FnMut(&[u8])) {
    out(b"\"");
    for byte in text.iter().copied() {
        match byte {
            b'"' | b'\\' => out(&[b'\\', byte]),
            b' '..=b'~' => out(&[byte]),
            _ => {
                let hex = |half: u8| if half < 10 { b'0' + half } else { b'A' + half - 10 };
                out(&[b'%', hex(byte >> 4), hex(byte & 15)]);
            }
        }
    }
    out(b"\"");
}

#[cfg(test)]
mod tests {
    use super::super::decision::Fwd;
    use super::*;

    #[test]
    fn values() {
        let new = Decision::new;
        let fwd = Decision::forwarded;
        let long = "x".repeat(SHORT);
        let long_key = format!("http://a/{long}");
        let long_value = format!("larder; hit; key=\"{long_key}\"");
        for (case, decision, key, want) in [
            ("hit", Decision { ttl: Some(59), ..new(Outcome::Hit) }, None, "larder; hit; ttl=59"),
            (
                "stale",
                Decision { ttl: Some(-5), ..new(Outcome::Stale) },
                None,
                "larder; hit; ttl=-5",
            ),
            (
                "stored miss",
                Decision { stored: true, ..fwd(Outcome::Miss, Fwd::UriMiss) },
                None,
                "larder; fwd=uri-miss; stored",
            ),
            (
                "waited for another's",
                Decision { collapsed: true, ..fwd(Outcome::Miss, Fwd::VaryMiss) },
                None,
                "larder; fwd=vary-miss; collapsed",
            ),
            (
                "validated",
                Decision {
                    fwd_status: Some(304),
                    ttl: Some(60),
                    ..fwd(Outcome::Revalidated, Fwd::Stale)
                },
                None,
                "larder; fwd=stale; fwd-status=304; ttl=60",
            ),
            (
                "with a reason",
                fwd(Outcome::Pass, Fwd::Method).because("no-store"),
                None,
                "larder; fwd=method; detail=no-store",
            ),
            (
                "a reason of words",
                new(Outcome::Error).because("a \"b\""),
                None,
                "larder; detail=\"a \\\"b\\\"\"",
            ),
            ("zero", Decision { ttl: Some(0), ..new(Outcome::Hit) }, None, "larder; hit; ttl=0"),
            (
                "for ever",
                Decision { ttl: Some(i64::MIN), ..new(Outcome::Hit) },
                None,
                "larder; hit; ttl=-999999999999999",
            ),
            (
                "key",
                new(Outcome::Hit),
                Some("http://a/\"\u{e4}\0hb"),
                "larder; hit; key=\"http://a/\\\"%C3%A4\"",
            ),
            ("a long key", new(Outcome::Hit), Some(&long_key), &long_value),
        ] {
            let mut out = Vec::new();
            write(&decision, key.map(str::as_bytes), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), want, "{case}");
            assert_eq!(value(&decision, key.map(str::as_bytes)), want, "{case}");
        }
    }

    #[test]
    fn what_is_a_token() {
        for (text, want) in
            [("a", true), ("*a", true), ("a1:/", true), ("1a", false), (":a", false), ("", false)]
        {
            assert_eq!(is_token(text.as_bytes()), want, "{text:?}");
        }
    }
}
