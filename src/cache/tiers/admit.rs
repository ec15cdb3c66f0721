//! Taking responses in: what lookups find from now on, and what the disk gets after that.

use std::sync::Arc;

use bytes::Bytes;

use super::{Selected, Tiers, ToDisk, hot};
use crate::cache::codec;
use crate::cache::disk::{OnDisk, Put};
use crate::cache::entry::{Entry, EntryId, Known, Slot, Variants};
use crate::cache::purge::Verdict;
use crate::semantics::{key, language};

impl Tiers {
    /// Takes `entry` in under `key`: from now on lookups find it. Gives it back where a purge is
    /// newer than its fetch. What is returned beside it goes to [`Self::write_behind`].
    pub fn admit(&self, key: Bytes, mut entry: Entry) -> Result<(Arc<Entry>, ToDisk), Arc<Entry>> {
        let replaces = self.memory.get(&key).is_some() || self.disk.may_contain(&key);
        let mut ticket = None;
        if replaces && self.has_disk() {
            // The copy on disk must not come back after a kill, so its key goes into the log
            // before the new copy is used.
            let logged = self.purges.supersede(&key);
            if self.purges.admits(&logged, entry.position) != Verdict::Valid
                || self.is_void(&key, &entry, entry.position)
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
        self.memory.insert(key.clone(), Slot::Entry(entry.clone()));
        self.metrics.cache.stored.inc();
        Ok((entry.clone(), ToDisk { key, slot: Slot::Entry(entry), ticket }))
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
        behind.push(ToDisk { key: primary, slot, ticket: None });
        Some(behind)
    }

    /// Hands what was admitted to the disk's writer, which is waited for no longer than
    /// `store_wait`; past that it stays in memory only.
    pub async fn write_behind(&self, to_disk: impl IntoIterator<Item = ToDisk>) {
        for ToDisk { key, slot, ticket } in to_disk {
            let on_disk = hot::on_disk(self, &slot, ticket);
            self.write(key, &slot, on_disk).await;
        }
    }

    pub(super) async fn write(&self, key: Bytes, slot: &Slot, on_disk: Option<OnDisk>) -> bool {
        if !self.has_disk() {
            return false;
        }
        match codec::encode(slot) {
            Ok(bytes) => self.disk.put(key, bytes, on_disk).await == Put::Queued,
            Err(_) => false,
        }
    }

    /// Forgets the entry `id`, of which a part turned out to be missing, if that is what lies at
    /// `key`: the next request for it is a miss.
    pub async fn forget(&self, key: &[u8], id: &EntryId) {
        if let Some(Slot::Entry(entry)) = self.slot(key).await
            && entry.id == *id
        {
            self.remove(key);
        }
    }
}
