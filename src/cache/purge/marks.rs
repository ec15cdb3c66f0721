//! What the records come to: for each URL and key the newest position, and the floors. No I/O.

use std::collections::HashMap;

use super::Verdict;
use super::record::{Kind, OVERHEAD, Record};

/// The records that still count, bounded in number and bytes.
#[derive(Debug)]
pub(super) struct Marks {
    urls: HashMap<Box<[u8]>, Mark>,
    superseded: HashMap<Box<[u8]>, u64>,
    /// Records in `urls` that begin with '/': zero saves a look-up.
    paths: usize,
    /// What was fetched before this is gone.
    hard_floor: u64,
    /// What was fetched before this is stale.
    soft_floor: u64,
    records: usize,
    bytes: usize,
    max_records: usize,
    max_bytes: usize,
}

/// The newest records of one URL; zero: none. A hard one makes older soft ones moot.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    hard: u64,
    soft: u64,
}

impl Mark {
    fn records(self) -> usize {
        usize::from(self.hard != 0) + usize::from(self.soft != 0)
    }
}

impl Marks {
    pub(super) fn new(max_records: usize, max_bytes: usize) -> Self {
        Self {
            urls: HashMap::new(),
            superseded: HashMap::new(),
            paths: 0,
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
            Kind::Url { url, soft } => self.apply_url(url, soft, position),
            Kind::Everything { soft: false } => {
                self.hard_floor = self.hard_floor.max(position);
                self.forget(position, position);
            }
            Kind::Everything { soft: true } => self.raise_soft_floor(position),
            Kind::Superseded { key } if position > self.hard_floor => {
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
    }

    fn apply_url(&mut self, url: &[u8], soft: bool, position: u64) {
        if position <= self.hard_floor || (soft && position <= self.soft_floor) {
            return;
        }
        if !self.urls.contains_key(url) {
            self.urls.insert(url.into(), Mark::default());
            self.paths += usize::from(is_path(url));
        }
        let Some(mark) = self.urls.get_mut(url) else { return };
        let before = mark.records();
        if soft {
            mark.soft = mark.soft.max(position);
        } else {
            mark.hard = mark.hard.max(position);
        }
        if mark.soft <= mark.hard {
            mark.soft = 0;
        }
        let after = mark.records();
        self.records = self.records + after - before;
        self.bytes = self.bytes + after * (OVERHEAD + url.len()) - before * (OVERHEAD + url.len());
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
    pub(super) fn verdict(&self, key: &[u8], base: u64) -> Verdict {
        match self.superseded.get(key) {
            Some(position) if *position > base => Verdict::Purged,
            _ => self.purged(key, base),
        }
    }

    /// Whether exactly this name has been made void after `base`: a group's, which is no URL's.
    pub(super) fn is_void(&self, name: &[u8], base: u64) -> bool {
        self.urls.get(name).is_some_and(|mark| mark.hard > base)
    }

    /// What [`Self::verdict`] says, without regard to superseded keys.
    pub(super) fn purged(&self, key: &[u8], base: u64) -> Verdict {
        if base < self.hard_floor {
            return Verdict::Purged;
        }
        let mut stale = base < self.soft_floor;
        if !self.urls.is_empty() {
            let url = memchr::memchr(0, key).and_then(|end| key.get(..end)).unwrap_or(key);
            let path = if self.paths > 0 { path_of(url) } else { None };
            for mark in [Some(url), path].into_iter().flatten().filter_map(|u| self.urls.get(u)) {
                if mark.hard > base {
                    return Verdict::Purged;
                }
                stale |= mark.soft > base;
            }
        }
        if stale { Verdict::Stale } else { Verdict::Valid }
    }

    /// What a new log must say to say the same, floors first.
    pub(super) fn live(&self) -> impl Iterator<Item = Record<'_>> {
        let floors = [(self.hard_floor, false), (self.soft_floor, true)];
        let floors = floors
            .into_iter()
            .filter(|(position, _)| *position != 0)
            .map(|(position, soft)| Record { position, what: Kind::Everything { soft } });
        let urls = self.urls.iter().flat_map(|(url, mark)| {
            [(mark.hard, false), (mark.soft, true)]
                .into_iter()
                .filter(|(position, _)| *position != 0)
                .map(move |(position, soft)| Record { position, what: Kind::Url { url, soft } })
        });
        let superseded = self
            .superseded
            .iter()
            .map(|(key, position)| Record { position: *position, what: Kind::Superseded { key } });
        floors.chain(urls).chain(superseded)
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
        let mut positions: Vec<u64> = self
            .live()
            .filter(|record| !matches!(record.what, Kind::Everything { .. }))
            .map(|record| record.position)
            .collect();
        if positions.is_empty() {
            (self.records, self.bytes) = (0, 0);
            return;
        }
        let middle = positions.len() / 2;
        let (_, middle, _) = positions.select_nth_unstable(middle);
        let floor = *middle;
        self.soft_floor = self.soft_floor.max(floor);
        self.forget(floor, floor);
        tracing::warn!(floor, "purge log full: what was fetched before its newer half is stale");
    }

    /// Drops hard records (superseded keys among them) up to one position, soft ones up to another.
    fn forget(&mut self, hard: u64, soft: u64) {
        let (mut records, mut bytes, mut paths) = (0, 0, 0);
        self.urls.retain(|url, mark| {
            if mark.hard <= hard {
                mark.hard = 0;
            }
            if mark.soft <= soft {
                mark.soft = 0;
            }
            records += mark.records();
            bytes += mark.records() * (OVERHEAD + url.len());
            let keep = mark.records() > 0;
            paths += usize::from(keep && is_path(url));
            keep
        });
        self.superseded.retain(|key, position| {
            let keep = *position > hard;
            records += usize::from(keep);
            bytes += if keep { OVERHEAD + key.len() } else { 0 };
            keep
        });
        (self.records, self.bytes, self.paths) = (records, bytes, paths);
    }
}

fn is_path(url: &[u8]) -> bool {
    url.first() == Some(&b'/')
}

/// Path and query of `scheme://authority/path?query`.
pub(super) fn path_of(url: &[u8]) -> Option<&[u8]> {
    let authority = memchr::memmem::find(url, b"://")? + 3;
    let slash = memchr::memchr(b'/', url.get(authority..)?)?;
    url.get(authority + slash..)
}
