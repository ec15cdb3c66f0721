//! What the fuzz targets have in common.

use arbitrary::Arbitrary;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The lines of `text` that are field values, each a line of the field `name`.
pub fn field(name: &HeaderName, text: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in text.split(|b| *b == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(name, value);
        }
    }
    headers
}

/// The same as one line (RFC 9110 §5.3).
pub fn joined(name: &HeaderName, headers: &HeaderMap) -> HeaderMap {
    let lines: Vec<_> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    let mut one = HeaderMap::new();
    if !lines.is_empty() {
        let value = HeaderValue::from_bytes(&lines.join(&b", "[..])).expect("of valid lines");
        one.append(name, value);
    }
    one
}

/// How a message's body is framed, as another parser's fields have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    None,
    Length(usize),
    Chunked,
    ToClose,
}

/// The end of a chunked body in `bytes`, by another parser of chunk sizes; `None`: it goes on, or
/// is none.
pub fn chunked_end(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let (begin, size) = match httparse::parse_chunk_size(bytes.get(at..)?) {
            Ok(httparse::Status::Complete(found)) => found,
            _ => return None,
        };
        at += begin;
        if size == 0 {
            break;
        }
        at = at.checked_add(usize::try_from(size).ok()?)?;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    loop {
        let rest = bytes.get(at..)?;
        let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
        at += end + 2;
        if end == 0 {
            return Some(at);
        }
    }
}

/// A part of a stream: one of those that mean something, or any bytes.
#[derive(Debug, Arbitrary)]
pub enum Piece<'a> {
    Known(u8),
    Raw(&'a [u8]),
}

/// The stream that `pieces` are; those known are taken from `known`.
pub fn stream(pieces: &[Piece<'_>], known: &[&str]) -> Vec<u8> {
    let bytes = pieces.iter().map(|piece| match piece {
        Piece::Known(nth) => known[usize::from(*nth) % known.len()].as_bytes(),
        Piece::Raw(bytes) => bytes,
    });
    bytes.collect::<Vec<_>>().concat()
}
