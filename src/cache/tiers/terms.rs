//! What goes in and out of the tiers.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderName;

use crate::cache::entry::{Entry, Slot, Variants};
use crate::cache::purge::Ticket;
use crate::observe::metrics::Metrics;

/// What a lookup found.
#[derive(Debug)]
pub enum Lookup {
    /// A stored response that no purge forbids.
    Found(Found),
    /// Nothing for this request.
    Missing {
        /// The list of selecting fields, where the key has one: something is stored for others.
        variants: Option<Arc<Variants>>,
    },
}

/// A stored response and where it lies.
#[derive(Debug, Clone)]
pub struct Found {
    /// The response.
    pub entry: Arc<Entry>,
    /// A soft purge made it stale.
    pub stale: bool,
    /// The key of the variant, or alias (No-Vary-Search); `None`: it lies at the primary key.
    pub variant: Option<Bytes>,
}

/// Something that lookups find already and that the disk has yet to get.
pub struct ToDisk {
    pub(super) key: Bytes,
    pub(super) slot: Slot,
    /// Logged for the copy that this one replaces.
    pub(super) ticket: Option<Ticket>,
    /// Counted until it is with the disk's writer.
    pub(super) _counted: Counted,
}

/// One of those that are counted, until it is dropped.
pub(super) struct Counted(Arc<Metrics>);

impl Counted {
    pub(super) fn among(metrics: &Arc<Metrics>) -> Self {
        metrics.disk.write_behind.add(1);
        Self(metrics.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.disk.write_behind.add(-1);
    }
}

/// By what a response was selected among its key's variants.
#[derive(Debug, Clone, Copy)]
pub struct Selected<'a> {
    /// The selecting header fields.
    pub names: &'a [HeaderName],
    /// The generation of the list, if it is a new one.
    pub generation: u64,
    /// Their normalised values in the request.
    pub values: &'a Bytes,
}
