//! From what was found or fetched to the answer that a client gets.

use std::collections::VecDeque;
use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;

use crate::cache::entry::{Entry, EntryId, StoredBody};
use crate::cache::flight::stream::StreamReader;
use crate::proxy::ask::Ask;
use crate::proxy::assembly::Assembly;
use crate::proxy::body::Source;
use crate::proxy::compress::EncodedBody;
use crate::proxy::fill::{Filling, Private};
use crate::proxy::flight_reader::{FlightReader, Kept};
use crate::proxy::parts::{self, Cut, Shelf};
use crate::proxy::recode::Coming;
use crate::proxy::represent::{Form, Representation, add_vary};
use crate::proxy::worker::Worker;
use crate::semantics::cache_control::ResponseDirectives;
use crate::semantics::decision::{Decision, Outcome};
use crate::semantics::digits::{self, Digits};
use crate::semantics::range::RangeAnswer;
use crate::semantics::spans::Span;
use crate::semantics::time::Timestamp;
use crate::semantics::{encoding, headers, tags};

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

/// Answers from a stored response, of which [`parts::lacking`] finds nothing missing.
pub fn from_entry(
    ask: &Ask,
    worker: &Arc<Worker>,
    entry: &Entry,
    decision: Decision,
    now: Timestamp,
) -> Answer {
    from_entry_or(ask, worker, entry, None, decision, now)
}

/// The same; `coming` is its body in another coding, which is not stored yet.
pub fn from_entry_or(
    ask: &Ask,
    worker: &Arc<Worker>,
    entry: &Entry,
    coming: Option<Coming>,
    mut decision: Decision,
    now: Timestamp,
) -> Answer {
    // A purge may have made it stale before its time.
    let left = entry.stored.remaining(now);
    let stale = decision.outcome == Outcome::Stale;
    decision.ttl = Some(left).filter(|left| !stale || *left < 0);
    let form = match (&*entry.coded, entry.decodes, &coming) {
        ([], None, None) => Form::AsSent, // nothing to choose from
        (_, decodes, coming) => Form::of(ask, decodes, |coding| {
            entry.body_in(coding).is_some() || coming.as_ref().is_some_and(|c| c.coding == coding)
        }),
    };
    let coming = coming.filter(|coming| form == Form::Coded(coming.coding));
    let body = match form {
        Form::Coded(coding) => entry.body_in(coding).unwrap_or(&entry.identity), // chosen by it
        _ => &entry.identity,
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
    let shelf = || Shelf::of(worker, ask, entry.id, &entry.stored, Some(entry.identity.len()));
    let len = body.len();
    let wanted = match form {
        Form::AsSent => parts::asked_for(ask, &entry.stored, len),
        _ => RangeAnswer::Whole,
    };
    let cut = match wanted {
        RangeAnswer::Part(span) => Cut::one(&mut response, span, len),
        RangeAnswer::Parts(spans) => Cut::several(&mut response, spans, len),
        RangeAnswer::Unsatisfiable => {
            parts::unsatisfiable(&mut response, len);
            return Answer { response, decision, origin_ns: 0, coding };
        }
        RangeAnswer::Whole => {
            let known = coming.is_none() && !matches!(form, Form::Decoded(_));
            if known && response.status() != StatusCode::NO_CONTENT {
                let len = Digits::of(len);
                // Nearly always the stored field says so itself.
                let stored = entry.fields.get(&CONTENT_LENGTH).filter(|_| form == Form::AsSent);
                if stored.is_none_or(|stored| stored != len.as_bytes()) {
                    response.headers_mut().insert(CONTENT_LENGTH, len.to_value());
                }
            }
            if !ask.asked.is_head() {
                let source = match (coming, body) {
                    (Some(coming), _) => coded_flight(&shelf(), coming.id, coming.reader),
                    (None, StoredBody::Inline(bytes)) => Source::Full(bytes.clone()),
                    (None, body) => shelf().whole(body, !matches!(form, Form::Coded(_))),
                };
                *response.body_mut() = form.body(ask, source);
            }
            return Answer { response, decision, origin_ns: 0, coding };
        }
    };
    let (shelf, pieces) = (shelf(), body.pieces());
    *response.body_mut() = cut.source(|span, chunks| shelf.held(&pieces, span, chunks));
    Answer { response, decision, origin_ns: 0, coding }
}

/// Answers from a response that is still coming in.
pub fn from_filling(
    ask: &Ask,
    worker: &Arc<Worker>,
    filling: &Filling,
    mut decision: Decision,
    now: Timestamp,
) -> Answer {
    decision.ttl = Some(filling.stored.remaining(now));
    decision.stored = true;
    let made = |coding| filling.coded.as_ref().is_some_and(|own| own.coding == coding);
    let decodes = filling.fields.decodable(&filling.stored);
    let form = match filling.part {
        Some(_) => Form::AsSent,
        None => Form::of(ask, decodes, made),
    };
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
    let shelf = Shelf::of(worker, ask, filling.id, &filling.stored, filling.len);
    let wanted = match (form, filling.part, filling.len) {
        (_, Some(part), _) => RangeAnswer::Part(part),
        (Form::AsSent, None, Some(len)) => parts::asked_for(ask, &filling.stored, len),
        _ => RangeAnswer::Whole,
    };
    let len = filling.len.unwrap_or_default(); // parts are of a known whole only
    let cut = match wanted {
        RangeAnswer::Part(span) => Cut::one(&mut response, span, len),
        RangeAnswer::Parts(spans) => Cut::several(&mut response, spans, len),
        RangeAnswer::Unsatisfiable => {
            parts::unsatisfiable(&mut response, len);
            return Answer { response, decision, origin_ns, coding };
        }
        RangeAnswer::Whole => {
            if let (Form::AsSent, Some(len)) = (form, filling.len) {
                response.headers_mut().insert(CONTENT_LENGTH, digits::value(len));
            }
            if !ask.asked.is_head() {
                *response.body_mut() = form.body(ask, whole_filling(&shelf, filling, form));
            }
            return Answer { response, decision, origin_ns, coding };
        }
    };
    if !ask.asked.is_head() {
        *response.body_mut() = cut.source(|span, chunks| shelf.coming(filling, span, chunks));
    }
    Answer { response, decision, origin_ns, coding }
}

/// All of what is coming in, in the coding that Larder makes if that is the form.
fn whole_filling(shelf: &Shelf<'_>, filling: &Filling, form: Form) -> Source {
    if let (Form::Coded(_), Some(coded)) = (form, &filling.coded) {
        return coded_flight(shelf, coded.id, coded.stream.reader());
    }
    if let (None, [only]) = (&filling.base, &*filling.gaps) {
        let kept = shelf.kept(only.id, only.len());
        let reader = FlightReader::new(only.stream.reader(), 0, only.len(), kept);
        return Source::Flight(Box::new(reader));
    }
    let (mut chunks, len) = (VecDeque::new(), filling.len.unwrap_or_default());
    if let Some(all) = Span::new(0, len) {
        shelf.coming(filling, all, &mut chunks);
    }
    Source::Assembly(Box::new(Assembly::new(chunks, len)))
}

/// All of what is coming out of a coder. The origin cannot send it again.
fn coded_flight(shelf: &Shelf<'_>, id: EntryId, reader: StreamReader) -> Source {
    let kept = Kept { refill: None, ..shelf.kept(id, None) };
    Source::Flight(Box::new(FlightReader::new(reader, 0, None, kept)))
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
    if !ask.view.policy.keep_tags {
        tags::strip(&mut fields);
    }
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
