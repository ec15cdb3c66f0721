//! Adding a coded body to what is stored: once, for all who come later (DESIGN D6).

use std::sync::Arc;

use bytes::Bytes;

use crate::cache::entry::{Entry, StoredBody};
use crate::cache::tiers::Found;
use crate::proxy::ask::Ask;
use crate::proxy::compress::encode_whole;
use crate::proxy::worker::Worker;
use crate::semantics::coding::Coding;

/// This client takes gzip, `entry` may be coded and is worth it. Bodies in segments are coded
/// only while they come in: later it would take reading all of them at once.
pub fn is_wanted(ask: &Ask, entry: &Entry) -> bool {
    entry.compressible
        && ask.view.gzip
        && matches!(entry.identity, StoredBody::Inline(_))
        && entry.identity.len() >= ask.view.snapshot.compression.min_size
        && ask.takes_gzip()
}

/// The entry with a gzip body beside the other. While somebody else makes it, or if it fails, the
/// entry as it is: its identity body is right for every client.
pub async fn add_gzip(
    worker: &Arc<Worker>,
    ask: &Ask,
    primary: &[u8],
    found: &Found,
) -> Arc<Entry> {
    let entry = &found.entry;
    let StoredBody::Inline(body) = &entry.identity else { return entry.clone() };
    if !entry.claim_coding() {
        return entry.clone();
    }
    let (body, levels) = (body.clone(), ask.view.snapshot.compression.levels);
    let coded =
        tokio::task::spawn_blocking(move || encode_whole(&body, Coding::Gzip, &levels)).await;
    let Ok(Ok(gzip)) = coded else { return entry.clone() };
    worker.house.metrics.cache.compressed.inc();
    // A newer response may have been stored meanwhile: it must not be replaced by this one.
    let latest = worker.house.tiers.peek(primary, &ask.head.headers);
    if !latest.is_some_and(|latest| Arc::ptr_eq(&latest.entry, entry)) {
        return entry.clone();
    }
    let key = found.variant.clone().unwrap_or_else(|| Bytes::copy_from_slice(primary));
    let tiers = worker.house.tiers.clone();
    match tiers.admit(key, entry.with_gzip(StoredBody::Inline(gzip))) {
        Ok((entry, to_disk)) => {
            tokio::spawn(async move { tiers.write_behind([to_disk]).await });
            entry
        }
        Err(entry) => entry,
    }
}
