//! What is asked for in memory is kept on disk, too: its copy there ages whatever is asked for, and
//! is written again when a hit finds it in the older half (DESIGN D4).
//!
//! Every hit looks (two loads and a comparison), so nothing needs to sweep the memory tier.

use std::sync::Arc;

use bytes::Bytes;

use crate::cache::codec;
use crate::cache::disk::OnDisk;
use crate::cache::entry::{Entry, Slot};
use crate::cache::purge::Ticket;
use crate::cache::tiers::{Found, Tiers};
use crate::semantics::key;

/// Writes what a hit found under `primary` to the disk's young end, as far as the disk takes it
/// now; the next hit tries again. Never waits.
#[cold]
pub(super) fn keep(tiers: &Tiers, primary: &[u8], found: &Found) {
    let entry = &found.entry;
    let key = found.variant.as_deref().unwrap_or(primary);
    let segments = segments_in_memory(tiers, entry);
    let len = entry.weight() + segments.iter().map(|(_, slot)| slot.weight()).sum::<usize>();
    let copied = entry.copied();
    if !tiers.disk.takes_again(len) || !entry.claim_copy(copied) {
        return;
    }
    let slot = Slot::Entry(entry.clone());
    let is_it = |slot: &Slot| matches!(slot, Slot::Entry(now) if Arc::ptr_eq(now, entry));
    if !write(tiers, Bytes::copy_from_slice(key), &slot, is_it) {
        entry.set_copied(copied);
        return;
    }
    for (key, slot) in segments {
        write(tiers, key, &slot, |_| true);
    }
    // The list that leads to it is hit as often, and does not tell.
    if found.variant.is_some()
        && let Some(list @ Slot::Variants(_)) = tiers.memory.get(primary)
    {
        let is_it = |slot: &Slot| matches!((slot, &list), (Slot::Variants(now), Slot::Variants(list)) if Arc::ptr_eq(now, list));
        write(tiers, Bytes::copy_from_slice(primary), &list, is_it);
    }
}

/// Writes `slot` again, unless something else has taken its place: what `is_it` says of what is in
/// memory after the changes were counted. (A newer one comes to memory first, then to the disk.)
fn write(tiers: &Tiers, key: Bytes, slot: &Slot, is_it: impl FnOnce(&Slot) -> bool) -> bool {
    let changes = tiers.disk.changes(&key);
    if !tiers.memory.get(&key).as_ref().is_some_and(is_it) {
        return false;
    }
    let told = on_disk(tiers, slot, None);
    codec::encode(slot).is_ok_and(|bytes| tiers.disk.put_again(key, bytes, changes, told))
}

/// What is done when `slot` is on disk: its entry learns where, and what was logged for the copy
/// that it replaces is retired.
pub(super) fn on_disk(tiers: &Tiers, slot: &Slot, ticket: Option<Ticket>) -> Option<OnDisk> {
    let entry = match slot {
        Slot::Entry(entry) => Some(Arc::downgrade(entry)),
        Slot::Variants(_) | Slot::Segment(_) => None,
    };
    if entry.is_none() && ticket.is_none() {
        return None;
    }
    let (disk, purges) = (tiers.disk.clone(), tiers.purges.clone());
    Some(Box::new(move |written| {
        if !written {
            return;
        }
        if let Some(entry) = entry.and_then(|entry| entry.upgrade()) {
            entry.set_copied(disk.position());
        }
        if let Some(ticket) = ticket {
            purges.retire(ticket);
        }
    }))
}

/// The segments of `entry`, where they live in memory and are not seen by the disk either.
fn segments_in_memory(tiers: &Tiers, entry: &Entry) -> Vec<(Bytes, Slot)> {
    let coded = entry.coded.iter().map(|(_, body)| body);
    let most = tiers.memory_object_max();
    let mut found = Vec::new();
    for body in std::iter::once(&entry.identity).chain(coded).filter(|body| body.len() <= most) {
        for run in body.segments() {
            let keys = (0..run.count()).map(|n| key::segment(&run.id, n));
            found.extend(keys.filter_map(|key| Some((key.clone(), tiers.memory.get(&key)?))));
        }
    }
    found
}
