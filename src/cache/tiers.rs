//! The tiers in their order: memory, then disk; what is found below is promoted (DESIGN D4).
//!
//! A copy counts only if no purge is newer than its fetch (D7); that is decided here, once, for
//! whatever tier it came from.
//!
//! - `hot`: what is asked for in memory is kept on disk, too.
//! - `incomplete`: entries of which a part is missing.
//! - `inventory`: what is stored, looked at without using it.
//! - `segments`: the parts of large bodies.
//! - `terms`: what goes in and out.
//! - `void`: what is not to be used any more.

mod hot;
mod incomplete;
mod inventory;
mod segments;
mod terms;
mod void;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};

use crate::cache::codec;
use crate::cache::disk::{Disk, DiskCopy, DiskState, OnDisk, Put};
use crate::cache::entry::{Entry, Known, Slot, Variants};
use crate::cache::memory::Memory;
use crate::cache::purge::{PurgeLog, Ticket, Verdict};
use crate::cache::queries::Queries;
use crate::cache::searches::Searches;
use crate::cache::tiers::incomplete::Incomplete;
use crate::cache::tiers::terms::Counted;
use crate::observe::metrics::Metrics;
use crate::semantics::{key, language, vary};

pub use crate::cache::tiers::inventory::{Inspected, Page, Seen};
pub use crate::cache::tiers::terms::{Found, Lookup, Selected, ToDisk};

/// The tiers.
pub struct Tiers {
    /// The memory tier.
    pub memory: Memory,
    /// The disk tier.
    pub disk: Disk,
    /// What was invalidated.
    pub purges: PurgeLog,
    /// Where responses lie because of No-Vary-Search.
    pub searches: Searches,
    /// What answers to QUERY are named.
    pub queries: Queries,
    /// A change of a key's list of variants reads it first: one at a time.
    variant_lists: tokio::sync::Mutex<()>,
    /// Who puts parts to what is stored reads it first: one at a time.
    pub combining: tokio::sync::Mutex<()>,
    incomplete: Incomplete,
    metrics: Arc<Metrics>,
}

impl Tiers {
    /// Puts the tiers together.
    pub fn new(memory: Memory, disk: Disk, purges: PurgeLog, metrics: Arc<Metrics>) -> Self {
        let (searches, queries, variant_lists, combining, incomplete) = Default::default();
        Self {
            memory,
            disk,
            purges,
            searches,
            queries,
            variant_lists,
            combining,
            incomplete,
            metrics,
        }
    }

    /// All that lookups find has been handed to the disk's writer.
    pub fn are_written_behind(&self) -> bool {
        self.metrics.disk.write_behind.get() == 0
    }

    fn to_disk(&self, key: Bytes, slot: Slot, ticket: Option<Ticket>) -> ToDisk {
        ToDisk { key, slot, ticket, _counted: Counted::among(&self.metrics) }
    }

    /// What the memory tier has under `primary` for a request with the header fields `request`.
    pub fn peek(&self, primary: &[u8], request: &HeaderMap) -> Option<Found> {
        let found = match self.memory.get(primary)? {
            Slot::Entry(entry) => self.checked(primary, entry, None),
            Slot::Variants(list) => {
                let variant = variant_key(primary, &list.names, list.generation, request);
                let Slot::Entry(entry) = self.memory.get(&variant)? else { return None };
                self.checked(&variant, entry, Some(variant.clone()))
            }
            Slot::Segment(_) => None,
        }?;
        if found.entry.copied() < self.disk.old_before() {
            hot::keep(self, primary, &found);
        }
        Some(found)
    }

    /// What is stored under `primary` for a request with the header fields `request`; `languages`:
    /// also what was fetched for another Accept-Language, where it fits. And what was fetched for
    /// another query, where that makes no difference.
    pub async fn lookup(&self, primary: &[u8], request: &HeaderMap, languages: bool) -> Lookup {
        let own = self.lookup_at(primary, request, languages).await;
        if matches!(own, Lookup::Missing { .. })
            && let Some(alias) = self.searches.alias(primary)
            && let Lookup::Found(mut found) = self.lookup_at(&alias, request, languages).await
        {
            found.variant.get_or_insert(alias);
            return Lookup::Found(found);
        }
        own
    }

    async fn lookup_at(&self, primary: &[u8], request: &HeaderMap, languages: bool) -> Lookup {
        let variants = match self.slot(primary).await {
            Some(Slot::Entry(entry)) => {
                return self
                    .checked(primary, entry, None)
                    .map_or(Lookup::Missing { variants: None }, Lookup::Found);
            }
            Some(Slot::Variants(variants)) => variants,
            _ => return Lookup::Missing { variants: None },
        };
        for variant in fitting_variants(primary, &variants, request, languages) {
            if let Some(found) = self.variant(variant).await {
                return Lookup::Found(found);
            }
        }
        Lookup::Missing { variants: Some(variants) }
    }

    async fn variant(&self, variant: Bytes) -> Option<Found> {
        let Some(Slot::Entry(entry)) = self.slot(&variant).await else { return None };
        self.checked(&variant, entry, Some(variant.clone()))
    }

    /// The response that lies at exactly `key` in memory, whatever the purge log says of it.
    pub fn held(&self, key: &[u8]) -> Option<Arc<Entry>> {
        match self.memory.get(key)? {
            Slot::Entry(entry) => Some(entry),
            Slot::Variants(_) | Slot::Segment(_) => None,
        }
    }

    /// Is anything stored for the URL of `primary`, as far as can be told without reading?
    pub fn may_hold(&self, primary: &[u8]) -> bool {
        self.memory.get(primary).is_some() || self.disk.may_contain(primary)
    }

    async fn slot(&self, key: &[u8]) -> Option<Slot> {
        if let Some(slot) = self.memory.get(key) {
            return Some(slot);
        }
        if !self.disk.may_contain(key) {
            return None;
        }
        let changes = self.disk.changes(key);
        let copy = self.disk.load(key, || self.memory.contains(key)).await;
        // Whoever shared the read may have been faster.
        if let Some(slot) = self.memory.get(key) {
            return Some(slot);
        }
        let copy = copy?;
        let slot = self.decode(key, &copy)?;
        self.memory.insert(Bytes::copy_from_slice(key), slot.clone());
        // A newer copy may have come in meanwhile, and this one have taken its place in memory. Its
        // record tells until it is on disk, and then there was a change: in this order.
        let superseded = match &slot {
            Slot::Entry(entry) => {
                self.verdict(key, entry, entry.checked_to().max(entry.position)) == Verdict::Purged
            }
            Slot::Variants(_) | Slot::Segment(_) => false,
        };
        if superseded || self.disk.changes(key) != changes {
            self.memory.remove(key);
        }
        Some(slot)
    }

    /// A slot as it lies on disk; what does not decode counts as missing.
    fn decode(&self, key: &[u8], copy: &DiskCopy<'_>) -> Option<Slot> {
        match codec::decode(&copy.value) {
            Ok(slot) => {
                if let Slot::Entry(entry) = &slot {
                    entry.set_copied(copy.position);
                }
                Some(slot)
            }
            Err(error) => {
                tracing::debug!(%error, "a stored response was thrown away");
                self.metrics.disk.corrupt.inc();
                self.disk.delete(key);
                None
            }
        }
    }

    fn checked(&self, key: &[u8], entry: Arc<Entry>, variant: Option<Bytes>) -> Option<Found> {
        if self.incomplete.any() && entry.is_segmented() && self.incomplete.contains(&entry.id) {
            self.remove(key);
            return None;
        }
        let position = self.purges.position();
        if entry.checked_to() >= position {
            return Some(Found { entry, stale: false, variant });
        }
        let base = entry.position.max(entry.checked_to());
        match self.verdict(key, &entry, base) {
            Verdict::Valid => {
                entry.set_checked(position);
                Some(Found { entry, stale: false, variant })
            }
            Verdict::Stale => Some(Found { entry, stale: true, variant }),
            Verdict::Purged => {
                self.metrics.cache.purged.inc();
                self.memory.remove(key);
                self.disk.delete(key);
                None
            }
        }
    }

    /// Takes `entry` in under `key`: from now on lookups find it. Gives it back where a purge is
    /// newer than its fetch. What is returned beside it goes to [`Self::write_behind`].
    pub fn admit(&self, key: Bytes, mut entry: Entry) -> Result<(Arc<Entry>, ToDisk), Arc<Entry>> {
        let replaces = self.memory.get(&key).is_some() || self.disk.may_contain(&key);
        let mut ticket = None;
        if replaces && self.has_disk() {
            // The copy on disk must not come back after a kill, so its key goes into the log
            // before the new copy is used.
            let logged = self.purges.supersede(&key);
            if self.purges.admits(&logged, &entry.stored.tags, entry.position) != Verdict::Valid
                || self.is_void(&key, &entry.stored, entry.position)
            {
                return Err(Arc::new(entry));
            }
            entry.position = logged.position();
            entry.set_checked(logged.position());
            ticket = Some(logged);
        } else if self.verdict(&key, &entry, entry.position) != Verdict::Valid {
            return Err(Arc::new(entry));
        }
        let entry = Arc::new(entry);
        // Counted as waiting before it is found.
        let to_disk = self.to_disk(key.clone(), Slot::Entry(entry.clone()), ticket);
        self.memory.insert(key, Slot::Entry(entry.clone()));
        self.metrics.cache.stored.inc();
        Ok((entry, to_disk))
    }

    /// Takes `entry` in as a variant of `primary`: the variant first, then the list that leads to
    /// it. Where the list has the same names already, its generation goes on.
    pub async fn admit_variant(
        &self,
        primary: Bytes,
        selected: Selected<'_>,
        entry: Entry,
        max_variants: usize,
    ) -> Option<Vec<ToDisk>> {
        let _one = self.variant_lists.lock().await;
        let (generation, mut known) = match self.slot(&primary).await {
            Some(Slot::Variants(list)) if *list.names == *selected.names => {
                (list.generation, list.known.clone())
            }
            _ => (selected.generation, Vec::new()),
        };
        let variant = key::variant(&primary, generation, selected.values);
        let language = language::of_content(entry.fields.get_all(&language::FIELD));
        let new = Known { values: selected.values.clone(), language };
        let (_, to_disk) = self.admit(variant, entry).ok()?;
        let mut behind = vec![to_disk];
        if known.contains(&new) {
            return Some(behind);
        }
        known.retain(|one| one.values != new.values);
        while known.len() >= max_variants.max(1) {
            self.remove(&key::variant(&primary, generation, &known.remove(0).values));
        }
        known.push(new);
        let names = selected.names.into();
        let slot = Slot::Variants(Arc::new(Variants { names, generation, known }));
        self.memory.insert(primary.clone(), slot.clone());
        behind.push(self.to_disk(primary, slot, None));
        Some(behind)
    }

    /// Hands what was admitted to the disk's writer, which is waited for no longer than
    /// `store_wait`; past that it stays in memory only.
    pub async fn write_behind(&self, to_disk: impl IntoIterator<Item = ToDisk>) {
        for ToDisk { key, slot, ticket, _counted } in to_disk {
            if self.memory.get(&key).is_some_and(|newest| !newest.is(&slot)) {
                continue; // the newer one is written, if it is not yet
            }
            let on_disk = hot::on_disk(self, &slot, ticket);
            self.write(key, &slot, on_disk).await;
        }
    }

    async fn write(&self, key: Bytes, slot: &Slot, on_disk: Option<OnDisk>) -> bool {
        if !self.has_disk() {
            return false;
        }
        match codec::encode(slot) {
            Ok(bytes) => self.disk.put(key, bytes, on_disk).await == Put::Queued,
            Err(_) => false,
        }
    }

    /// Forgets what lies at `key`.
    pub fn remove(&self, key: &[u8]) {
        self.memory.remove(key);
        self.disk.delete(key);
    }

    /// A disk tier takes what is stored now.
    pub fn has_disk(&self) -> bool {
        matches!(self.disk.state(), DiskState::Ready | DiskState::Recovering)
    }

    /// Ends the disk tier within `deadline`; nothing is looked up or stored any more.
    pub async fn close(&self, deadline: Duration) {
        self.disk.close(deadline).await;
    }
}

/// The keys of the variants of `primary` that will do for `request`, the best first.
fn fitting_variants<'a>(
    primary: &'a [u8],
    list: &'a Variants,
    request: &'a HeaderMap,
    languages: bool,
) -> impl Iterator<Item = Bytes> + 'a {
    let selected =
        std::iter::once_with(|| Some(variant_key(primary, &list.names, list.generation, request)));
    let by_language = std::iter::once_with(move || {
        let known = list.known.iter().map(|one| (&one.values, one.language.as_deref()));
        let values = language::fitting(&list.names, request, known).filter(|_| languages)?;
        Some(key::variant(primary, list.generation, values))
    });
    selected.chain(by_language).flatten()
}

/// The key of the variant of `primary` that `request` selects.
pub fn variant_key(
    primary: &[u8],
    names: &[HeaderName],
    generation: u64,
    request: &HeaderMap,
) -> Bytes {
    let mut values = Vec::with_capacity(64);
    vary::selecting_values(names, request, &mut values);
    key::variant(primary, generation, &values)
}

#[cfg(test)]
mod tests;
