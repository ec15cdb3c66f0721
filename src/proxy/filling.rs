//! What a fill has for those who wait: a response that is being stored while it streams, or what
//! became of it instead.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response};

use crate::cache::entry::{Entry, EntryId, Fields};
use crate::cache::flight::stream::{End, Stream};
use crate::cache::tiers::Selected;
use crate::clock;
use crate::proxy::error::ProxyError;
use crate::semantics::coding::Coding;
use crate::semantics::policy::Policy;
use crate::semantics::spans::Span;
use crate::semantics::stored::Stored;
use crate::semantics::tags;
use crate::semantics::time::Timestamp;
use crate::upstream::ResponseBody;

/// What a flight shares with all who wait for it.
pub enum Shared {
    /// A response that is being stored while it streams.
    Filling(Box<Filling>),
    /// The stored response was validated and is fresh again.
    Validated {
        /// What is stored now.
        entry: Arc<Entry>,
        /// How the origin said so: 304, or 200 to a HEAD.
        status: u16,
        /// Fields of the origin's answer for the leader alone.
        withheld: HeaderMap,
    },
    /// The origin answered with an error status: stale content if that is allowed, else each
    /// asks for itself.
    OriginError(u16),
    /// The origin gave no answer.
    Failed(ProxyError),
}

/// A response that is being stored while it streams.
pub struct Filling {
    /// What RFC 9111 decisions need.
    pub stored: Stored,
    /// The header fields as they are sent.
    pub fields: Fields,
    /// Fields for the leader alone, which are not stored.
    pub withheld: HeaderMap,
    /// Length of the whole body, where that is known.
    pub len: Option<u64>,
    /// Larder may code the body.
    pub compressible: bool,
    /// What the origin sends of the body, part by part: all of it, or what was missing.
    pub gaps: Box<[Gap]>,
    /// Holds the rest, as far as it is wanted.
    pub base: Option<Arc<Entry>>,
    /// All who wait here asked for this part.
    pub part: Option<Span>,
    /// The whole in the coding that the leader's client gets, if there is one.
    pub coded: Option<Coded>,
    /// The primary key under which it is stored.
    pub place: Bytes,
    /// Names the response.
    pub id: EntryId,
    /// What the response varies on, and the leader's values for it.
    pub varies: Option<Varies>,
    /// What the origin took to its head, in nanoseconds.
    pub origin_ns: u64,
    /// Where the purge log stood when the fetch began.
    pub position: u64,
}

/// A part of a body that is coming in.
pub struct Gap {
    /// Its first byte.
    pub from: u64,
    /// The one behind its last, where that is known.
    pub to: Option<u64>,
    /// Names its segments.
    pub id: EntryId,
    /// The bytes as the origin sends them.
    pub stream: Arc<Stream>,
}

impl Gap {
    /// How long it is, where that is known.
    pub(super) fn len(&self) -> Option<u64> {
        self.to.map(|to| to.saturating_sub(self.from))
    }
}

/// A body that is being coded as it comes in.
pub struct Coded {
    /// How.
    pub coding: Coding,
    /// Names its segments.
    pub id: EntryId,
    /// What has come out.
    pub stream: Arc<Stream>,
}

/// The selecting fields of a response and the values it was selected by.
#[derive(Debug, Clone)]
pub struct Varies {
    /// The selecting header fields.
    pub names: Box<[HeaderName]>,
    /// The generation of a new list of them.
    pub generation: u64,
    /// The normalised values of the request that was answered.
    pub values: Bytes,
}

impl Varies {
    pub(super) fn selected(&self) -> Selected<'_> {
        Selected { names: &self.names, generation: self.generation, values: &self.values }
    }
}

/// An answer for the leader alone.
pub struct Private {
    /// The origin's answer.
    pub response: Response<ResponseBody>,
    /// When the origin was asked.
    pub asked_at: Timestamp,
    /// What the origin took to its head, in nanoseconds.
    pub origin_ns: u64,
    /// Why it is not shared.
    pub reason: &'static str,
}

impl Filling {
    fn streams(&self) -> impl Iterator<Item = &Arc<Stream>> {
        let coded = self.coded.as_ref().map(|coded| &coded.stream);
        self.gaps.iter().map(|gap| &gap.stream).chain(coded)
    }

    pub(super) fn end(&self, end: &End) {
        self.streams().for_each(|stream| stream.end(end.clone()));
    }

    pub(super) fn readers(&self) -> usize {
        self.streams().map(|stream| stream.readers()).sum()
    }

    /// It broke off.
    pub(super) fn is_broken(&self) -> bool {
        self.gaps.iter().any(|gap| gap.stream.is_broken())
    }

    /// `span` has come already, or will within the next `ahead` bytes.
    pub(super) fn reaches(&self, span: Span, ahead: u64) -> bool {
        self.gaps.iter().all(|gap| {
            let to = gap.to.unwrap_or(u64::MAX);
            let wanted = Span::new(gap.from, to).and_then(|gap| gap.intersection(span));
            let come = gap.from.saturating_add(gap.stream.head()).saturating_add(ahead);
            wanted.is_none_or(|wanted| wanted.from() <= come)
        })
    }
}

/// A fill that is dropped midway ends nothing cleanly; one that has ended is not changed.
pub(super) struct EndBroken<'a>(pub(super) &'a Filling);

impl Drop for EndBroken<'_> {
    fn drop(&mut self) {
        self.0.end(&End::Broken);
    }
}

/// Header fields as they are kept, and sent.
pub(super) fn copied(policy: &Policy, mut fields: HeaderMap) -> Fields {
    if !policy.keep_tags {
        tags::strip(&mut fields);
    }
    Fields::copied(&fields)
}

pub(super) fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| clock::monotonic_ns())
}

pub(super) fn entry_id() -> EntryId {
    let (a, b) = (random().to_le_bytes(), random().to_le_bytes());
    let mut id = [0; 16];
    for (place, byte) in id.iter_mut().zip(a.into_iter().chain(b)) {
        *place = byte;
    }
    id
}
