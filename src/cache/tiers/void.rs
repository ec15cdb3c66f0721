//! What is not to be used any more: by a purge, by an unsafe method, by its cache group.

use bytes::Bytes;

use super::Tiers;
use crate::cache::entry::Entry;
use crate::cache::purge::Verdict;
use crate::semantics::key;

impl Tiers {
    /// What the purge log says of `entry` under `key`, which was fetched or checked last at `base`.
    pub(super) fn verdict(&self, key: &[u8], entry: &Entry, base: u64) -> Verdict {
        match self.purges.verdict(key, entry.position, base) {
            Verdict::Purged => Verdict::Purged,
            _ if self.is_void(key, entry, base) => Verdict::Purged,
            verdict => verdict,
        }
    }

    /// A group that `entry` belongs to was made void after `base` (RFC 9875).
    pub(super) fn is_void(&self, key: &[u8], entry: &Entry, base: u64) -> bool {
        let groups = &entry.stored.groups;
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
