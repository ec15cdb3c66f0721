//! What a fill has for those who wait: a response that is being stored while it streams, or what
//! became of it instead.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response};

use crate::cache::entry::{Entry, EntryId, Fields};
use crate::cache::flight::stream::{End, Stream};
use crate::cache::tiers::Selected;
use crate::proxy::error::ProxyError;
use crate::semantics::coding::Coding;
use crate::semantics::stored::Stored;
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
    /// Length of the body, where the head tells it.
    pub len: Option<u64>,
    /// Larder may code the body.
    pub compressible: bool,
    /// The body as the origin sends it.
    pub identity: Arc<Stream>,
    /// The same in the coding that the leader's client gets, if there is one.
    pub coded: Option<(Coding, Arc<Stream>)>,
    /// The primary key under which it is stored.
    pub place: Bytes,
    /// Names the segments.
    pub id: EntryId,
    /// The body is stored in segments as it arrives.
    pub segmented: bool,
    /// What the response varies on, and the leader's values for it.
    pub varies: Option<Varies>,
    /// What the origin took to its head, in nanoseconds.
    pub origin_ns: u64,
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
    pub(super) fn end(&self, end: &End) {
        if let Some((_, coded)) = &self.coded {
            coded.end(end.clone());
        }
        self.identity.end(end.clone());
    }

    pub(super) fn readers(&self) -> usize {
        self.identity.readers() + self.coded.as_ref().map_or(0, |(_, coded)| coded.readers())
    }
}

/// A fill that is dropped midway ends nothing cleanly; one that has ended is not changed.
pub(super) struct EndBroken<'a>(pub(super) &'a Filling);

impl Drop for EndBroken<'_> {
    fn drop(&mut self) {
        self.0.end(&End::Broken);
    }
}
