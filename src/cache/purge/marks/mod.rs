//! What the records come to: for each name and key the newest position, and the floors. No I/O.
//!
//! - `held`: the marks of one class by their names; `prefixes` and `globs`: those that are not
//!   found by a look-up.

mod globs;
mod held;
mod prefixes;

use std::collections::HashMap;

use self::globs::Globs;
use self::held::{Held, Names};
use self::prefixes::Prefixes;
use super::record::{Kind, OVERHEAD, Record};
use super::terms::{Class, Subject, hosts_of, is_path, path_of};
use super::{MAX_GLOBS, Verdict};
use crate::semantics::key;

/// The records that still count, bounded in number and bytes.
#[derive(Debug)]
pub(super) struct Marks {
    urls: Names,
    hosts: Names,
    tags: Names,
    prefixes: Prefixes,
    globs: Globs,
    superseded: HashMap<Box<[u8]>, u64>,
    /// The newest record of each class, and of superseded keys: most copies need not look further.
    newest: Newest,
    /// What was fetched before this is gone.
    hard_floor: u64,
    /// What was fetched before this is stale.
    soft_floor: u64,
    records: usize,
    bytes: usize,
    max_records: usize,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct Newest {
    urls: u64,
    hosts: u64,
    tags: u64,
    prefixes: u64,
    globs: u64,
    superseded: u64,
}

impl Newest {
    fn of(&mut self, class: Class) -> &mut u64 {
        match class {
            Class::Url => &mut self.urls,
            Class::Host => &mut self.hosts,
            Class::Tag => &mut self.tags,
            Class::Prefix => &mut self.prefixes,
            Class::Glob => &mut self.globs,
        }
    }
}

impl Marks {
    pub(super) fn new(max_records: usize, max_bytes: usize) -> Self {
        Self {
            urls: Names::default(),
            hosts: Names::default(),
            tags: Names::default(),
            prefixes: Prefixes::default(),
            globs: Globs::default(),
            superseded: HashMap::new(),
            newest: Newest::default(),
            hard_floor: 0,
            soft_floor: 0,
            records: 0,
            bytes: 0,
            max_records: max_records.max(1),
            max_bytes: max_bytes.max(1),
        }
    }

    /// Takes a record in, in whatever order. Over the bounds, the oldest half becomes a floor.
    pub(super) fn apply(&mut self, record: &Record<'_>) {
        let position = record.position;
        match record.what {
            Kind::Purged(class, name, soft) => self.mark(class, name, soft, position),
            Kind::Everything { soft: false } => {
                self.hard_floor = self.hard_floor.max(position);
                self.forget(position, position);
            }
            Kind::Everything { soft: true } => self.raise_soft_floor(position),
            Kind::Superseded { key } if position > self.hard_floor => {
                self.newest.superseded = self.newest.superseded.max(position);
                if let Some(newest) = self.superseded.get_mut(key) {
                    *newest = position.max(*newest);
                } else {
                    self.superseded.insert(key.into(), position);
                    self.records += 1;
                    self.bytes += OVERHEAD + key.len();
                }
            }
            Kind::Superseded { .. } | Kind::Retired | Kind::Opened => {}
        }
        while self.records > self.max_records || self.bytes > self.max_bytes {
            self.halve();
        }
        if self.globs.len() > MAX_GLOBS {
            let positions = self.globs.all().flat_map(|(_, mark)| mark.parts()).map(|part| part.0);
            self.raise_floors(positions.collect());
        }
    }

    fn mark(&mut self, class: Class, name: &[u8], soft: bool, position: u64) {
        if position <= self.hard_floor || (soft && position <= self.soft_floor) {
            return;
        }
        let Some(mark) = self.held_mut(class).mark(name) else {
            // Not to be understood, from a newer version perhaps: it may have meant anything.
            return self.raise_soft_floor(position);
        };
        let before = mark.records();
        mark.set(soft, position);
        let after = mark.records();
        self.held_mut(class).noted(name, position);
        let newest = self.newest.of(class);
        *newest = position.max(*newest);
        self.records = self.records + after - before;
        self.bytes =
            self.bytes + after * (OVERHEAD + name.len()) - before * (OVERHEAD + name.len());
    }

    fn held_mut(&mut self, class: Class) -> &mut dyn Held {
        match class {
            Class::Url => &mut self.urls,
            Class::Host => &mut self.hosts,
            Class::Tag => &mut self.tags,
            Class::Prefix => &mut self.prefixes,
            Class::Glob => &mut self.globs,
        }
    }

    fn held(&self, class: Class) -> &dyn Held {
        match class {
            Class::Url => &self.urls,
            Class::Host => &self.hosts,
            Class::Tag => &self.tags,
            Class::Prefix => &self.prefixes,
            Class::Glob => &self.globs,
        }
    }

    /// Everything fetched before `position` is stale from now on.
    pub(super) fn raise_soft_floor(&mut self, position: u64) {
        self.soft_floor = self.soft_floor.max(position);
        // Hard records still say more than the floor.
        self.forget(0, position);
    }

    /// Drops the record of a superseded key, unless a newer one has taken its place.
    pub(super) fn retire(&mut self, key: &[u8], position: u64) {
        if self.superseded.get(key) == Some(&position) {
            self.superseded.remove(key);
            self.records -= 1;
            self.bytes -= OVERHEAD + key.len();
        }
    }

    /// What holds for a copy that was fetched, or checked last, at `base`.
    pub(super) fn verdict(&self, copy: Subject<'_>, base: u64) -> Verdict {
        if self.newest.superseded > base
            && self.superseded.get(copy.key).is_some_and(|position| *position > base)
        {
            return Verdict::Purged;
        }
        self.purged(copy, base)
    }

    /// Whether exactly this name has been made void after `base`: a group's, which is no URL's.
    pub(super) fn is_void(&self, name: &[u8], base: u64) -> bool {
        self.urls.says(name, base) == Verdict::Purged
    }

    /// What [`Self::verdict`] says, without regard to superseded keys.
    pub(super) fn purged(&self, copy: Subject<'_>, base: u64) -> Verdict {
        if base < self.hard_floor {
            return Verdict::Purged;
        }
        let floor = if base < self.soft_floor { Verdict::Stale } else { Verdict::Valid };
        let (newest, url) = (&self.newest, key::url_part(copy.key));
        let path = || path_of(url).unwrap_or_default();
        let mut worst = floor;
        if newest.urls > base {
            worst = worst.max(self.urls.says(url, base));
            if self.urls.has_paths() {
                worst = worst.max(self.urls.says(path(), base));
            }
        }
        if newest.hosts > base {
            worst = hosts_of(url).map(|host| self.hosts.says(host, base)).fold(worst, Verdict::max);
        }
        if newest.tags > base {
            let said = copy.tags.iter().map(|tag| self.tags.says(tag.as_bytes(), base));
            worst = said.fold(worst, Verdict::max);
        }
        if newest.prefixes > base && worst < Verdict::Purged {
            worst = worst.max(self.prefixes.says(url, base)).max(self.prefixes.says(path(), base));
        }
        if newest.globs > base && worst < Verdict::Purged {
            worst = worst.max(self.globs.says(url, path(), base));
        }
        worst
    }

    /// What a new log must say to say the same, floors first.
    pub(super) fn live(&self) -> impl Iterator<Item = Record<'_>> {
        let floors = [(self.hard_floor, false), (self.soft_floor, true)];
        let floors = floors
            .into_iter()
            .filter(|(position, _)| *position != 0)
            .map(|(position, soft)| Record { position, what: Kind::Everything { soft } });
        let superseded = self
            .superseded
            .iter()
            .map(|(key, position)| Record { position: *position, what: Kind::Superseded { key } });
        floors.chain(self.purges()).chain(superseded)
    }

    /// The records of named purges.
    fn purges(&self) -> impl Iterator<Item = Record<'_>> {
        Class::ALL.into_iter().flat_map(move |class| {
            self.held(class).all().flat_map(move |(name, mark)| {
                mark.parts().map(move |(position, soft)| {
                    let what = Kind::Purged(class, name, soft);
                    Record { position, what }
                })
            })
        })
    }

    /// Records held, floors not counted.
    pub(super) fn len(&self) -> usize {
        self.records
    }

    /// Bytes of these records in a log without dead ones.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn halve(&mut self) {
        let named = self.purges().map(|record| record.position);
        let positions: Vec<u64> = named.chain(self.superseded.values().copied()).collect();
        if positions.is_empty() {
            (self.records, self.bytes) = (0, 0);
            return;
        }
        self.raise_floors(positions);
    }

    /// Makes the older half of these positions a floor.
    fn raise_floors(&mut self, mut positions: Vec<u64>) {
        let middle = positions.len() / 2;
        if middle == positions.len() {
            return;
        }
        let (_, middle, _) = positions.select_nth_unstable(middle);
        let floor = *middle;
        self.soft_floor = self.soft_floor.max(floor);
        self.forget(floor, floor);
        tracing::warn!(floor, "purge log full: what was fetched before its newer half is stale");
    }

    /// Drops hard records (superseded keys among them) up to one position, soft ones up to another.
    fn forget(&mut self, hard: u64, soft: u64) {
        let (mut records, mut bytes) = (0, 0);
        for class in Class::ALL {
            self.held_mut(class).retain(&mut |name, mark| {
                mark.forget(hard, soft);
                records += mark.records();
                bytes += mark.records() * (OVERHEAD + name.len());
                mark.records() > 0
            });
        }
        self.superseded.retain(|key, position| {
            let keep = *position > hard;
            records += usize::from(keep);
            bytes += if keep { OVERHEAD + key.len() } else { 0 };
            keep
        });
        (self.records, self.bytes) = (records, bytes);
    }
}
