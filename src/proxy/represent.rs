//! In which form a client gets a representation: as the origin sent it, coded by Larder, or with
//! the origin's coding taken off (DESIGN D6).

use http::header::{
    ACCEPT_RANGES, AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION, DATE,
    ETAG, EXPIRES, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use crate::cache::entry::Fields;
use crate::proxy::ask::Ask;
use crate::proxy::body::Source;
use crate::proxy::decode::DecodedBody;
use crate::semantics::coding::Coding;
use crate::semantics::stored::Stored;
use crate::semantics::time::Timestamp;
use crate::semantics::validation::{self, Precondition};
use crate::semantics::{digits, encoding};

/// Fields that an answer from the store gets beside the stored ones: Age, Content-Length, Vary,
/// Cache-Status, Via, Connection. A map doubles: too many here are another KiB of it.
const EXTRA: usize = 6;

/// What is done to a body for one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Nothing.
    AsSent,
    /// Larder puts this coding on.
    Coded(Coding),
    /// Larder takes the origin's coding off.
    Decoded(Coding),
}

impl Form {
    /// The form for this client of a response that may be decoded from `decodes`; `made` tells the
    /// codings that Larder has for it.
    pub(super) fn of(ask: &Ask, decodes: Option<Coding>, made: impl Fn(Coding) -> bool) -> Self {
        match decodes {
            Some(coding) if ask.must_decode(coding) => Self::Decoded(coding),
            Some(_) => Self::AsSent,
            None => ask.coding(made).map_or(Self::AsSent, Self::Coded),
        }
    }

    /// The coding that Larder put on, for the log.
    pub(super) fn coding(self) -> Option<&'static str> {
        match self {
            Self::Coded(coding) => Some(coding.as_str()),
            Self::AsSent | Self::Decoded(_) => None,
        }
    }

    /// Makes the origin's header fields those of this form.
    pub(super) fn fit(self, fields: &mut HeaderMap) {
        match self {
            Self::AsSent => return,
            Self::Coded(coding) => {
                fields.insert(CONTENT_ENCODING, coding.value());
            }
            Self::Decoded(_) => {
                fields.remove(CONTENT_ENCODING);
                for digest in &encoding::DIGESTS {
                    fields.remove(digest);
                }
            }
        }
        fields.remove(ACCEPT_RANGES);
        fields.remove(CONTENT_LENGTH);
        if let Some(weak) = fields.get(ETAG).map(encoding::weaken) {
            fields.insert(ETAG, weak);
        }
    }

    /// `source` as this form has it, where that is made on the way: decoded.
    pub(super) fn body(self, ask: &Ask, source: Source) -> Source {
        let Self::Decoded(coding) = self else { return source };
        let limit = ask.view.snapshot.compression.max_decoded;
        Source::Decoded(Box::new(DecodedBody::new(source, coding, limit)))
    }
}

/// A stored response that is being answered with.
pub(super) struct Representation<'a> {
    pub(super) stored: &'a Stored,
    pub(super) fields: &'a Fields,
    pub(super) compressible: bool,
    pub(super) decodes: Option<Coding>,
    /// Length of the body as the origin sent it, where that is known.
    pub(super) len: Option<u64>,
    pub(super) form: Form,
}

impl Representation<'_> {
    /// Which form this one has depends on what the client takes.
    fn negotiated(&self, ask: &Ask) -> bool {
        let compression = &ask.view.snapshot.compression;
        if self.decodes.is_some() {
            return compression.max_decoded > 0;
        }
        self.compressible
            && !compression.codings.is_empty()
            && self.len.is_none_or(|len| len >= compression.min_size)
    }

    pub(super) fn head(&self, ask: &Ask, now: Timestamp) -> Response<Source> {
        let mut response = Response::new(Source::Empty);
        if let Ok(status) = StatusCode::from_u16(self.stored.status) {
            *response.status_mut() = status;
        }
        let fields = response.headers_mut();
        self.fields.write_to(fields, EXTRA);
        if self.negotiated(ask) {
            add_vary(fields);
        }
        self.form.fit(fields);
        fields.insert(AGE, digits::value(self.stored.age(now).as_secs()));
        response
    }

    /// The answer to a request whose preconditions hold or fail here (RFC 9110 §13.2.2).
    pub(super) fn conditional(&self, ask: &Ask, now: Timestamp) -> Option<Response<Source>> {
        let asks = ask.asked.has_if_none_match || ask.asked.has_if_match;
        // A POST whose answer is stored has been done: whether it should be was the origin's to say.
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

/// The coding depends on what the client takes; said once, and not beside `*`.
pub(super) fn add_vary(fields: &mut HeaderMap) {
    const MEMBER: HeaderValue = HeaderValue::from_static("Accept-Encoding");
    let names = |member: &[u8]| {
        let member = member.trim_ascii();
        member == b"*" || member.eq_ignore_ascii_case(b"accept-encoding")
    };
    match fields.entry(VARY) {
        header::Entry::Vacant(none) => drop(none.insert(MEMBER)),
        header::Entry::Occupied(mut said) => {
            let mut members = said.iter().flat_map(|line| line.as_bytes().split(|b| *b == b','));
            if !members.any(names) {
                said.append(MEMBER);
            }
        }
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
