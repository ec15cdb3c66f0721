//! What is not to be used any more: by a purge, by an unsafe method, by its cache group.

use bytes::Bytes;

use super::Tiers;
use crate::cache::entry::Entry;
use crate::cache::purge::{Class, PurgeError, Subject, Verdict, What};
use crate::semantics::key;
use crate::semantics::stored::Stored;

impl Tiers {
    /// What the purge log says of `entry` under `key`, which was fetched or checked last at `base`.
    pub(super) fn verdict(&self, key: &[u8], entry: &Entry, base: u64) -> Verdict {
        let copy = Subject { key, tags: &entry.stored.tags };
        match self.purges.verdict(copy, entry.position, base) {
            Verdict::Purged => Verdict::Purged,
            _ if self.is_void(key, &entry.stored, base) => Verdict::Purged,
            verdict => verdict,
        }
    }

    /// Purges; in force at once, and on disk when this returns. Blocks for the disk.
    ///
    /// # Errors
    /// As [`PurgeLog::purge`].
    ///
    /// [`PurgeLog::purge`]: crate::cache::purge::PurgeLog::purge
    pub fn purge(&self, what: &What, soft: bool) -> Result<u64, PurgeError> {
        if let What::Named(Class::Url, url) = what {
            // What lies under a query that stands for this one, first: the last is the answer.
            for alias in self.searches.urls(url) {
                self.purges.purge(&What::url(alias), soft)?;
            }
        }
        self.purges.purge(what, soft)
    }

    /// The responses in memory that this purge would reach, variants one by one; those not counted
    /// that are purged already.
    ///
    /// # Errors
    /// It is no purge.
    pub fn count(&self, what: &What) -> Result<u64, PurgeError> {
        let aliases = match what {
            What::Named(Class::Url, url) => self.searches.urls(url),
            _ => Vec::new(),
        };
        let aliases: Vec<What> = aliases.into_iter().map(What::url).collect();
        let all = std::iter::once(what).chain(&aliases).map(What::matcher);
        let matchers = all.collect::<Result<Vec<_>, _>>()?;
        let mut count = 0;
        self.memory.each(|key, entry| {
            let copy = Subject { key, tags: &entry.stored.tags };
            let base = entry.position.max(entry.checked_to());
            count += u64::from(
                matchers.iter().any(|one| one.matches(copy))
                    && self.verdict(key, entry, base) != Verdict::Purged,
            );
        });
        Ok(count)
    }

    /// No purge is newer than the fetch of what has come for `key`, which began at `position`: it
    /// may answer a request that began after that, too.
    pub fn is_current(&self, key: &[u8], stored: &Stored, position: u64) -> bool {
        let copy = Subject { key, tags: &stored.tags };
        self.purges.purged(copy, position) == Verdict::Valid && !self.is_void(key, stored, position)
    }

    /// A group that it belongs to was made void after `base` (RFC 9875).
    pub(super) fn is_void(&self, key: &[u8], stored: &Stored, base: u64) -> bool {
        let groups = &stored.groups;
        !groups.is_empty()
            && self.purges.is_void(groups.iter().map(|name| key::group(key, name)), base)
    }

    /// Forgets the copy at `key` for good: the origin says by now that it may not be kept. The disk
    /// only loses sight of what is deleted, so the key goes into the log, too.
    pub fn withdraw(&self, key: &[u8]) {
        if self.may_hold(key) || !self.are_written_behind() {
            let _ = self.purges.supersede(key); // nothing comes in its place
        }
        self.remove(key);
    }

    /// An unsafe method has changed what lies at `url` (RFC 9111 §4.4): its copies, variants
    /// included, are not used any more, nor is what is being fetched now. Recorded only where
    /// there may be a copy, or, with `filling`, where one may be coming in.
    pub fn invalidate(&self, url: &[u8], filling: bool) {
        for url in [Some(Bytes::copy_from_slice(url)), self.searches.alias(url)].iter().flatten() {
            if filling || self.queries.any() || self.may_hold(url) {
                self.purges.invalidate(key::url_part(url));
                self.remove(url);
            }
        }
    }

    /// The same of all that belongs to the group `name` on the origin of `primary` (RFC 9875).
    pub fn invalidate_group(&self, primary: &[u8], name: &str) {
        self.purges.invalidate(&key::group(primary, name));
    }
}
