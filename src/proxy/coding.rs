//! Adding a coded body to what is stored: once, for all who come later (DESIGN D6).

use std::sync::Arc;

use bytes::Bytes;

use crate::cache::entry::{Entry, EntryId, StoredBody};
use crate::cache::tiers::{Found, Tiers, ToDisk};
use crate::proxy::ask::Ask;
use crate::proxy::compress::encode_whole;
use crate::proxy::worker::Worker;
use crate::semantics::coding::Coding;

/// The coding that this client would get, where `entry` may be coded and is worth it, but has no
/// body in it. One in segments is [`recode`](super::recode)'s to make.
pub fn missing(ask: &Ask, entry: &Entry) -> Option<Coding> {
    let worth_it = entry.compressible
        && entry.identity.is_whole()
        && entry.identity.len() >= ask.view.snapshot.compression.min_size;
    let coding = worth_it.then(|| ask.coding(|_| true))??;
    entry.body_in(coding).is_none().then_some(coding)
}

/// The entry with a body in `coding` beside the others. While somebody else makes it, or if it
/// fails, the entry as it is: some body of it is right for every client.
pub async fn add(
    worker: &Arc<Worker>,
    ask: &Ask,
    primary: &[u8],
    found: &Found,
    coding: Coding,
) -> Arc<Entry> {
    let entry = &found.entry;
    let StoredBody::Inline(body) = &entry.identity else { return entry.clone() };
    if !entry.claim_coding(coding) {
        return entry.clone();
    }
    let (body, levels) = (body.clone(), ask.view.snapshot.compression.levels);
    let coded = tokio::task::spawn_blocking(move || encode_whole(&body, coding, &levels)).await;
    let Ok(Ok(coded)) = coded else { return entry.clone() };
    worker.house.metrics.cache.compressed.inc();
    let key = found.variant.clone().unwrap_or_else(|| Bytes::copy_from_slice(primary));
    let tiers = worker.house.tiers.clone();
    match put(&tiers, key, &entry.id, coding, StoredBody::Inline(coded)) {
        Some((entry, to_disk)) => {
            tokio::spawn(async move { tiers.write_behind([to_disk]).await });
            entry
        }
        None => entry.clone(),
    }
}

/// Puts `body` in `coding` to the response `id` at `key`. A newer one may have been stored
/// meanwhile: it must not be replaced by this one. The same with another coding or a new life may
/// be.
pub(super) fn put(
    tiers: &Tiers,
    key: Bytes,
    id: &EntryId,
    coding: Coding,
    body: StoredBody,
) -> Option<(Arc<Entry>, ToDisk)> {
    let latest = tiers.held(&key).filter(|latest| latest.id == *id)?;
    tiers.admit(key, latest.with_coded(coding, body)).ok()
}
