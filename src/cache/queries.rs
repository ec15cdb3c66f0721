//! Names for answers to QUERY.

use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderMap;

use crate::clock;
use crate::semantics::key;

/// How answers to QUERY are named. What lies under a URL does not tell of them, so that every
/// write is recorded from the first QUERY on; their generation is this process's, since before
/// that none was.
#[derive(Debug)]
pub struct Queries {
    generation: u64,
    any: AtomicBool,
}

impl Default for Queries {
    fn default() -> Self {
        let generation = getrandom::u64().unwrap_or_else(|_| clock::monotonic_ns());
        Self { generation, any: AtomicBool::new(false) }
    }
}

impl Queries {
    /// Makes the primary key of a URL that of a QUERY to it.
    pub fn name(&self, request: &HeaderMap, content: &[u8], primary: &mut Vec<u8>) {
        self.any.store(true, Ordering::Relaxed);
        key::add_content(request, content, self.generation, primary);
    }

    /// There may be some.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }
}
