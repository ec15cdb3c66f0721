//! From what was found or fetched to the answer that a client gets.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_RANGE, CONTENT_TYPE, DATE, ETAG, EXPIRES, IF_RANGE, RANGE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Body as _;

use crate::cache::entry::{Entry, Fields, StoredBody};
use crate::cache::tiers::{Part, Tiers};
use crate::proxy::ask::Ask;
use crate::proxy::body::{FlightReader, Source};
use crate::proxy::compress::EncodedBody;
use crate::proxy::fill::{Filling, Private};
use crate::proxy::segments::{Extent, SegmentReader};
use crate::semantics::coding::Coding;
use crate::semantics::decision::{Decision, Outcome};
use crate::semantics::range::RangeAnswer;
use crate::semantics::stored::Stored;
use crate::semantics::time::Timestamp;
use crate::semantics::validation::Precondition;
use crate::semantics::{encoding, headers, range, validation};

/// An answer and how it came about.
pub struct Answer {
    /// The answer, but for what every one gets (Via, Cache-Status).
    pub response: Response<Source>,
    /// What was decided.
    pub decision: Decision,
    /// What the origin took to its head, in nanoseconds; 0: it was not asked.
    pub origin_ns: u64,
    /// The coding that Larder put on it.
    pub coding: Option<&'static str>,
}

/// A stored response that is being answered with.
struct Representation<'a> {
    stored: &'a Stored,
    fields: &'a Fields,
    compressible: bool,
    /// Length of the body as the origin sent it, where that is known.
    len: Option<u64>,
    gzip: bool,
}

impl Representation<'_> {
    /// Larder negotiates the coding of this one.
    fn negotiated(&self, ask: &Ask) -> bool {
        self.compressible
            && ask.view.gzip
            && self.len.is_none_or(|len| len >= ask.view.snapshot.compression.min_size)
    }

    fn head(&self, ask: &Ask, now: Timestamp) -> Response<Source> {
        let mut response = Response::new(Source::Empty);
        if let Ok(status) = StatusCode::from_u16(self.stored.status) {
            *response.status_mut() = status;
        }
        let mut fields = self.fields.to_map(8);
        if self.negotiated(ask) {
            add_vary(&mut fields);
        }
        if self.gzip {
            code(&mut fields);
        }
        fields.insert(AGE, HeaderValue::from(self.stored.age(now).as_secs()));
        *response.headers_mut() = fields;
        response
    }

    /// The answer to a request whose preconditions hold or fail here (RFC 9110 §13.2.2).
    fn conditional(&self, ask: &Ask, now: Timestamp) -> Option<Response<Source>> {
        let asks = ask.asked.has_if_none_match || ask.asked.has_if_match;
        // A POST has been done when its answer is stored: whether it should be was the origin's to say.
        if !asks || !ask.asked.is_read() || self.stored.status != 200 {
            return None;
        }
        let fields = &ask.head.headers;
        let (etag, modified) = (self.stored.etag.as_ref(), self.stored.modified());
        match validation::precondition(fields, etag, modified, true) {
            Precondition::NotModified => {
                let mut response = self.head(ask, now);
                not_modified(&mut response);
                Some(response)
            }
            Precondition::Failed => {
                let mut response = Response::new(Source::Empty);
                *response.status_mut() = StatusCode::PRECONDITION_FAILED;
                Some(response)
            }
            Precondition::Proceed => None,
        }
    }
}

/// The fields of a body that Larder has gzipped (DESIGN D6).
fn code(fields: &mut HeaderMap) {
    fields.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    fields.remove(ACCEPT_RANGES);
    fields.remove(CONTENT_LENGTH);
    if let Some(weak) = fields.get(ETAG).map(encoding::weaken) {
        fields.insert(ETAG, weak);
    }
}

/// The coding depends on what the client takes; said once, and not beside `*`.
fn add_vary(fields: &mut HeaderMap) {
    let said = fields.get_all(VARY).iter().flat_map(|line| line.as_bytes().split(|b| *b == b','));
    let names = |member: &[u8]| {
        let member = member.trim_ascii();
        member == b"*" || member.eq_ignore_ascii_case(b"accept-encoding")
    };
    if !said.into_iter().any(names) {
        fields.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

/// Fields that a 304 keeps (RFC 9110 §15.4.5), and those that caches add to.
fn belongs_to_304(name: &HeaderName) -> bool {
    [AGE, CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, VARY].contains(name)
        || matches!(name.as_str(), "cache-status" | "last-modified" | "cdn-cache-control" | "via")
}

fn not_modified(response: &mut Response<Source>) {
    let fields = std::mem::take(response.headers_mut());
    let mut kept = HeaderMap::with_capacity(8);
    for (name, value) in &fields {
        if belongs_to_304(name) {
            kept.append(name.clone(), value.clone());
        }
    }
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    *response.headers_mut() = kept;
    *response.body_mut() = Source::Empty;
}

/// Answers from a stored response.
pub fn from_entry(
    ask: &Ask,
    tiers: &Arc<Tiers>,
    entry: &Entry,
    mut decision: Decision,
    now: Timestamp,
) -> Answer {
    // A purge may have made it stale before its time.
    let left = entry.stored.remaining(now);
    let stale = decision.outcome == Outcome::Stale;
    decision.ttl = Some(left).filter(|left| !stale || *left < 0);
    let (body, part) = match &entry.gzip {
        Some(gzip) if ask.takes_gzip() => (gzip, Part::Gzip),
        _ => (&entry.identity, Part::Identity),
    };
    let this = Representation {
        stored: &entry.stored,
        fields: &entry.fields,
        compressible: entry.compressible,
        len: Some(entry.identity.len()),
        gzip: part == Part::Gzip,
    };
    let coding = this.gzip.then_some("gzip");
    let mut response = match this.conditional(ask, now) {
        Some(response) => return Answer { response, decision, origin_ns: 0, coding },
        None => this.head(ask, now),
    };
    let mut extent = (0, body.len());
    if ask.asked.has_range && entry.stored.status == 200 && !this.gzip {
        extent = match part_of(ask, entry, &mut response) {
            Ok(extent) => extent,
            Err(()) => return Answer { response, decision, origin_ns: 0, coding },
        };
    }
    if response.status() != StatusCode::NO_CONTENT {
        let len = HeaderValue::from(extent.1 - extent.0);
        response.headers_mut().insert(CONTENT_LENGTH, len);
    }
    if !ask.asked.is_head() {
        *response.body_mut() = source(tiers, entry, body, part, extent);
    }
    Answer { response, decision, origin_ns: 0, coding }
}

/// Makes `response` the part of `entry` that was asked for (RFC 9110 §14.2). `Err`: a 416.
fn part_of(ask: &Ask, entry: &Entry, response: &mut Response<Source>) -> Result<(u64, u64), ()> {
    let len = entry.identity.len();
    let request = &ask.head.headers;
    let Some(field) = request.get(RANGE).filter(|_| !ask.asked.is_head()) else {
        return Ok((0, len));
    };
    match range::resolve(field, request.get(IF_RANGE), &entry.stored, len) {
        RangeAnswer::Whole => Ok((0, len)),
        RangeAnswer::Part { start, end_inclusive: end } => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let value = format!("bytes {start}-{end}/{len}");
            if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) {
                response.headers_mut().insert(CONTENT_RANGE, value);
            }
            Ok((start, end.saturating_add(1)))
        }
        RangeAnswer::Unsatisfiable => {
            *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
            response.headers_mut().remove(CONTENT_TYPE);
            let value = format!("bytes */{len}");
            if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(value)) {
                response.headers_mut().insert(CONTENT_RANGE, value);
            }
            Err(())
        }
    }
}

fn source(
    tiers: &Arc<Tiers>,
    entry: &Entry,
    body: &StoredBody,
    part: Part,
    (from, to): (u64, u64),
) -> Source {
    match body {
        StoredBody::Inline(bytes) if (from, to) == (0, body.len()) => Source::Full(bytes.clone()),
        StoredBody::Inline(bytes) => {
            let at = |offset| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            Source::Full(bytes.slice(at(from)..at(to).max(at(from))))
        }
        StoredBody::Segmented { len, segment } => {
            let in_memory = *len <= tiers.memory_object_max() || !tiers.has_disk();
            let extent = Extent { id: entry.id, part, segment: *segment, in_memory, from, to };
            Source::Segments(Box::new(SegmentReader::new(tiers.clone(), extent)))
        }
    }
}

/// Answers from a response that is still coming in.
pub fn from_filling(
    ask: &Ask,
    tiers: &Arc<Tiers>,
    filling: &Filling,
    mut decision: Decision,
    now: Timestamp,
) -> Answer {
    decision.ttl = Some(filling.stored.remaining(now));
    decision.stored = true;
    let gzip = filling.gzip.as_ref().filter(|_| ask.takes_gzip());
    let this = Representation {
        stored: &filling.stored,
        fields: &filling.fields,
        compressible: filling.compressible,
        len: filling.len,
        gzip: gzip.is_some(),
    };
    let (coding, origin_ns) = (this.gzip.then_some("gzip"), filling.origin_ns);
    if let Some(response) = this.conditional(ask, now) {
        return Answer { response, decision, origin_ns, coding };
    }
    let mut response = this.head(ask, now);
    if let (false, Some(len)) = (this.gzip, filling.len) {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(len));
    }
    if !ask.asked.is_head() {
        let (stream, len, part) = match gzip {
            Some(gzip) => (gzip, None, Part::Gzip),
            None => (&filling.identity, filling.len, Part::Identity),
        };
        let segment = ask.view.snapshot.cache.segment_size;
        let in_memory = filling.len.is_some_and(|len| len <= tiers.memory_object_max());
        let stored = Extent {
            id: filling.id,
            part,
            segment: u32::try_from(segment).unwrap_or(u32::MAX),
            in_memory,
            from: 0,
            to: 0,
        };
        let reader = FlightReader::new(stream.reader(), len, Some((tiers.clone(), stored)));
        *response.body_mut() = Source::Flight(Box::new(reader));
    }
    Answer { response, decision, origin_ns, coding }
}

/// Answers with what the origin sent to this client alone.
pub fn from_origin(ask: &Ask, private: Private, decision: Decision) -> Answer {
    let (head, mut body) = private.response.into_parts();
    if encoding::streams(&head.headers) {
        body.set_between_bytes_timeout(ask.view.snapshot.limits.tunnel_timeout);
    }
    let mut response = Response::new(Source::Empty);
    *response.status_mut() = head.status;
    let mut fields = headers::end_to_end(&head.headers);
    let len = body.size_hint().exact();
    let status = head.status;
    let has_body = !ask.asked.is_head()
        && status != StatusCode::NO_CONTENT
        && status != StatusCode::NOT_MODIFIED;
    let min_size = ask.view.snapshot.compression.min_size;
    let may_code = ask.view.gzip
        && status != StatusCode::PARTIAL_CONTENT
        && encoding::compressible(&fields)
        && len.is_none_or(|len| len >= min_size);
    if may_code {
        add_vary(&mut fields);
    }
    let gzip = may_code && has_body && ask.takes_gzip() && len != Some(0);
    if gzip {
        code(&mut fields);
    } else if has_body && let Some(len) = len {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(len));
    }
    *response.headers_mut() = fields;
    *response.body_mut() = if !has_body {
        Source::Empty
    } else if gzip {
        let levels = &ask.view.snapshot.compression.levels;
        Source::Encoded(Box::new(EncodedBody::new(body, Coding::Gzip, levels)))
    } else {
        Source::Upstream(Box::new(body))
    };
    let coding = gzip.then_some("gzip");
    Answer { response, decision, origin_ns: private.origin_ns, coding }
}
