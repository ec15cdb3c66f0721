//! An app that knows ranges (RFC 9110 §14), as a scripted origin's handler has it.

use std::ops::Range;

use super::origin::{Origin, Seen};
use super::reply::Reply;

/// What lies at a URL: some bytes, and the entity tag that names them.
#[derive(Debug, Clone)]
pub struct Content {
    /// The bytes.
    pub body: Vec<u8>,
    /// The entity tag, with its quotes.
    pub tag: String,
    /// Other field lines of every answer.
    pub fields: Vec<String>,
}

impl Content {
    /// `body`, named by `tag`, fresh for a minute.
    pub fn new(body: impl Into<Vec<u8>>, tag: &str) -> Self {
        let fields = vec!["cache-control: max-age=60".into()];
        Self { body: body.into(), tag: tag.into(), fields }
    }

    /// With these field lines instead.
    pub fn with(mut self, fields: &[&str]) -> Self {
        self.fields = fields.iter().map(|&field| field.into()).collect();
        self
    }

    /// An origin that has just this.
    pub fn origin(self) -> Origin {
        Origin::new(move |seen, reply| self.answer(seen, reply))
    }

    /// 304, 206, 416 or 200, as the request asks. Several ranges count as none.
    pub fn answer(&self, seen: &Seen, reply: &mut Reply) {
        let len = self.body.len();
        let tag = format!("etag: {}", self.tag);
        let mut fields: Vec<&str> = self.fields.iter().map(String::as_str).collect();
        if !self.tag.is_empty() {
            fields.push(&tag);
        }
        if seen.header("if-none-match").is_some_and(|own| own == self.tag) {
            return reply.answer(304, &fields, "");
        }
        let holds = seen.header("if-range").is_none_or(|own| own == self.tag);
        let Some(range) = seen.header("range").filter(|_| holds).and_then(|r| span(r, len)) else {
            return reply.ok(&fields, &self.body);
        };
        if range.is_empty() {
            let whole = format!("content-range: bytes */{len}");
            fields.push(&whole);
            return reply.answer(416, &fields, "beyond");
        }
        let part = format!("content-range: bytes {}-{}/{len}", range.start, range.end - 1);
        fields.push(&part);
        reply.answer(206, &fields, &self.body[range]);
    }
}

/// The bytes that a Range of one part asks for; there may be none. `None`: it asks for no part.
fn span(range: &str, len: usize) -> Option<Range<usize>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let number = |text: &str| text.parse::<usize>().ok();
    let (from, to) = match (number(first), number(last)) {
        (Some(first), Some(last)) => (first, last.saturating_add(1).min(len)),
        (Some(first), None) if last.is_empty() => (first, len),
        (None, Some(last)) if first.is_empty() => (len.saturating_sub(last), len),
        _ => return None,
    };
    Some(from..to.max(from))
}
