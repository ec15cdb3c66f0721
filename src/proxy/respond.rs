//! From what was found or fetched to the answer that a client gets.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, IF_RANGE, RANGE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::Body as _;

use crate::cache::entry::{Entry, StoredBody};
use crate::cache::tiers::{Part, Tiers};
use crate::proxy::ask::Ask;
use crate::proxy::body::{FlightReader, Source};
use crate::proxy::compress::EncodedBody;
use crate::proxy::fill::{Filling, Private};
use crate::proxy::represent::{Form, Representation, add_vary};
use crate::proxy::segments::{Extent, SegmentReader};
use crate::semantics::cache_control::ResponseDirectives;
use crate::semantics::decision::{Decision, Outcome};
use crate::semantics::digits::{self, Digits};
use crate::semantics::range::RangeAnswer;
use crate::semantics::time::Timestamp;
use crate::semantics::{encoding, headers, range};

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
    let form = match (&*entry.coded, entry.decodes) {
        ([], None) => Form::AsSent, // nothing to choose from
        (_, decodes) => Form::of(ask, decodes, |coding| entry.body_in(coding).is_some()),
    };
    let (body, part) = match form {
        Form::Coded(coding) => match entry.body_in(coding) {
            Some(body) => (body, Part::Coded(coding)),
            None => (&entry.identity, Part::Identity), // never: the form was chosen by it
        },
        _ => (&entry.identity, Part::Identity),
    };
    let this = Representation {
        stored: &entry.stored,
        fields: &entry.fields,
        compressible: entry.compressible,
        decodes: entry.decodes,
        len: Some(entry.identity.len()),
        form,
    };
    let coding = form.coding();
    let mut response = match this.conditional(ask, now) {
        Some(response) => return Answer { response, decision, origin_ns: 0, coding },
        None => this.head(ask, now),
    };
    let mut extent = (0, body.len());
    if ask.asked.has_range && entry.stored.status == 200 && form == Form::AsSent {
        extent = match part_of(ask, entry, &mut response) {
            Ok(extent) => extent,
            Err(()) => return Answer { response, decision, origin_ns: 0, coding },
        };
    }
    if response.status() != StatusCode::NO_CONTENT && !matches!(form, Form::Decoded(_)) {
        let len = Digits::of(extent.1 - extent.0);
        // Nearly always the stored field says so itself.
        let stored = entry.fields.get(&CONTENT_LENGTH).filter(|_| form == Form::AsSent);
        if stored.is_none_or(|stored| stored != len.as_bytes()) {
            response.headers_mut().insert(CONTENT_LENGTH, len.to_value());
        }
    }
    if !ask.asked.is_head() {
        *response.body_mut() = form.body(ask, source(tiers, entry, body, part, extent));
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
    let made = |coding| filling.coded.as_ref().is_some_and(|(own, _)| *own == coding);
    let decodes = filling.fields.decodable(&filling.stored);
    let form = Form::of(ask, decodes, made);
    let this = Representation {
        stored: &filling.stored,
        fields: &filling.fields,
        compressible: filling.compressible,
        decodes,
        len: filling.len,
        form,
    };
    let (coding, origin_ns) = (form.coding(), filling.origin_ns);
    if let Some(response) = this.conditional(ask, now) {
        return Answer { response, decision, origin_ns, coding };
    }
    let mut response = this.head(ask, now);
    if let (Form::AsSent, Some(len)) = (form, filling.len) {
        response.headers_mut().insert(CONTENT_LENGTH, digits::value(len));
    }
    if !ask.asked.is_head() {
        let (stream, len, part) = match (form, &filling.coded) {
            (Form::Coded(coding), Some((_, stream))) => (stream, None, Part::Coded(coding)),
            _ => (&filling.identity, filling.len, Part::Identity),
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
        *response.body_mut() = form.body(ask, Source::Flight(Box::new(reader)));
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
    let (status, is_head) = (head.status, ask.asked.is_head());
    let has_body =
        !is_head && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED;
    let len = if is_head { content_length(&fields) } else { body.size_hint().exact() };
    let form = form_of_private(ask, status, &mut fields, len);
    form.fit(&mut fields);
    if let (Form::AsSent, true, Some(len)) = (form, has_body, len) {
        fields.insert(CONTENT_LENGTH, digits::value(len));
    }
    *response.headers_mut() = fields;
    *response.body_mut() = match form {
        _ if !has_body => Source::Empty,
        Form::Coded(coding) => {
            let levels = &ask.view.snapshot.compression.levels;
            Source::Encoded(Box::new(EncodedBody::new(body, coding, levels)))
        }
        form => form.body(ask, Source::Upstream(Box::new(body))),
    };
    Answer { response, decision, origin_ns: private.origin_ns, coding: form.coding() }
}

/// The form of what is not stored, and Vary where it depends on what the client takes.
fn form_of_private(
    ask: &Ask,
    status: StatusCode,
    fields: &mut HeaderMap,
    len: Option<u64>,
) -> Form {
    let compression = &ask.view.snapshot.compression;
    let whole = !matches!(status.as_u16(), 101 | 204 | 206 | 304);
    if !whole || len == Some(0) {
        return Form::AsSent;
    }
    let codable =
        encoding::compressible(fields) && len.is_none_or(|len| len >= compression.min_size);
    if codable && !compression.codings.is_empty() {
        add_vary(fields);
        return Form::of(ask, None, |_| true);
    }
    let no_transform = ResponseDirectives::parse(fields).no_transform;
    let lines = fields.get_all(CONTENT_ENCODING).iter();
    let decodes = encoding::decodable(status.as_u16(), no_transform, lines);
    if decodes.is_some() && compression.max_decoded > 0 {
        add_vary(fields);
        return Form::of(ask, decodes, |_| false);
    }
    Form::AsSent
}

fn content_length(fields: &HeaderMap) -> Option<u64> {
    fields.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
