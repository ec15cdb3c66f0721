//! Looking at what is stored without using it: nothing is promoted, forgotten or taken for asked
//! for. (Reading one key from memory counts as one use of it.)

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;

use super::{Tiers, fitting_variants};
use crate::cache::codec;
use crate::cache::entry::{Entry, Slot, Variants};
use crate::cache::purge::{Matcher, PurgeError, Subject, Verdict, What};
use crate::semantics::key;

/// A stored response as it was seen.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The key that it lies at.
    pub key: Bytes,
    /// The response.
    pub entry: Arc<Entry>,
    /// What the purge log says of it.
    pub verdict: Verdict,
    /// It is in memory.
    pub in_memory: bool,
    /// It is on disk, or waits to be written: as far as can be told without reading it.
    pub on_disk: bool,
}

/// Responses in memory, by their keys.
#[derive(Debug)]
pub struct Page {
    /// In the order of their keys.
    pub entries: Vec<Seen>,
    /// There are more behind the last.
    pub more: bool,
}

/// What a request would find.
#[derive(Debug, Default)]
pub struct Inspected {
    /// The response for it, purged or not.
    pub seen: Option<Seen>,
    /// The list of selecting fields, where the key has one.
    pub variants: Option<Arc<Variants>>,
    /// It lies at an alias (No-Vary-Search).
    pub by_alias: bool,
}

impl Tiers {
    /// Responses in memory that all of `filters` match, at most `limit`, whose keys come behind
    /// `after`. Takes as long as looking at all of them.
    ///
    /// # Errors
    /// A filter is no purge either.
    pub fn list(
        &self,
        filters: &[What],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Page, PurgeError> {
        let matchers: Vec<Matcher<'_>> =
            filters.iter().map(What::matcher).collect::<Result<_, _>>()?;
        let mut found: BTreeMap<Bytes, Arc<Entry>> = BTreeMap::new();
        self.memory.each(|key, entry| {
            let copy = Subject { key, tags: &entry.stored.tags };
            if after.is_none_or(|after| key > after) && matchers.iter().all(|one| one.matches(copy))
            {
                found.insert(Bytes::copy_from_slice(key), entry.clone());
                if found.len() > limit.saturating_add(1) {
                    found.pop_last();
                }
            }
        });
        let more = found.len() > limit;
        let entries = found.into_iter().take(limit).map(|(key, entry)| self.seen(key, entry, true));
        Ok(Page { entries: entries.collect(), more })
    }

    /// All that is stored for `url` (as keys have it), in memory and, as far as its key leads there,
    /// on disk.
    pub async fn show(&self, url: &[u8]) -> Vec<Seen> {
        let mut found: BTreeMap<Bytes, Seen> = BTreeMap::new();
        self.memory.each(|key, entry| {
            if key::url_part(key) == url {
                let key = Bytes::copy_from_slice(key);
                found.insert(key.clone(), self.seen(key, entry.clone(), true));
            }
        });
        let mut keys = vec![Bytes::copy_from_slice(url)];
        if let Some(Slot::Variants(list)) = self.look(url).await {
            let known = list.known.iter();
            keys.extend(known.map(|one| key::variant(url, list.generation, &one.values)));
        }
        for key in keys {
            if !found.contains_key(&key)
                && let Some(Slot::Entry(entry)) = self.look(&key).await
            {
                found.insert(key.clone(), self.seen(key, entry, false));
            }
        }
        found.into_values().collect()
    }

    /// What [`Tiers::lookup`] would find for a request, and what a purge keeps it from finding.
    pub async fn inspect(&self, primary: &[u8], request: &HeaderMap, languages: bool) -> Inspected {
        let own = self.inspect_at(primary, request, languages).await;
        let usable = own.seen.as_ref().is_some_and(|seen| seen.verdict < Verdict::Purged);
        if !usable && let Some(alias) = self.searches.alias(primary) {
            let other = self.inspect_at(&alias, request, languages).await;
            if other.seen.is_some() {
                return Inspected { by_alias: true, ..other };
            }
        }
        own
    }

    async fn inspect_at(&self, primary: &[u8], request: &HeaderMap, languages: bool) -> Inspected {
        let list = match self.look(primary).await {
            Some(Slot::Entry(entry)) => {
                let seen = self.seen_at(Bytes::copy_from_slice(primary), entry);
                return Inspected { seen: Some(seen), ..Inspected::default() };
            }
            Some(Slot::Variants(list)) => list,
            _ => return Inspected::default(),
        };
        let mut inspected = Inspected { variants: Some(list.clone()), ..Inspected::default() };
        for key in fitting_variants(primary, &list, request, languages) {
            if let Some(Slot::Entry(entry)) = self.look(&key).await {
                let seen = self.seen_at(key, entry);
                let usable = seen.verdict < Verdict::Purged;
                inspected.seen = Some(seen);
                if usable {
                    break;
                }
            }
        }
        inspected
    }

    async fn look(&self, key: &[u8]) -> Option<Slot> {
        if let Some(slot) = self.memory.get(key) {
            return Some(slot);
        }
        let copy = self.disk.load(key, || false).await?;
        codec::decode(&copy.value).ok()
    }

    fn seen_at(&self, key: Bytes, entry: Arc<Entry>) -> Seen {
        let in_memory = self.memory.contains(&key);
        self.seen(key, entry, in_memory)
    }

    fn seen(&self, key: Bytes, entry: Arc<Entry>, in_memory: bool) -> Seen {
        let verdict = self.verdict(&key, &entry, entry.position.max(entry.checked_to()));
        let on_disk = self.disk.may_contain(&key);
        Seen { key, entry, verdict, in_memory, on_disk }
    }
}
