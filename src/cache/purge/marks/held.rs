//! The marks of one class, by their names.

use std::collections::HashMap;
use std::fmt::Debug;

use super::is_path;
use crate::cache::purge::Verdict;

/// The newest records of one name; zero: none. A hard one makes older soft ones moot.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mark {
    hard: u64,
    soft: u64,
}

impl Mark {
    pub(super) fn records(self) -> usize {
        usize::from(self.hard != 0) + usize::from(self.soft != 0)
    }

    pub(super) fn set(&mut self, soft: bool, position: u64) {
        let newest = if soft { &mut self.soft } else { &mut self.hard };
        *newest = position.max(*newest);
        if self.soft <= self.hard {
            self.soft = 0;
        }
    }

    /// Drops a hard record up to one position, a soft one up to another.
    pub(super) fn forget(&mut self, hard: u64, soft: u64) {
        if self.hard <= hard {
            self.hard = 0;
        }
        if self.soft <= soft {
            self.soft = 0;
        }
    }

    /// What it says of a copy that was fetched, or checked last, at `base`.
    pub(super) fn says(self, base: u64) -> Verdict {
        if self.hard > base {
            Verdict::Purged
        } else if self.soft > base {
            Verdict::Stale
        } else {
            Verdict::Valid
        }
    }

    /// Its records: position, and whether it is a soft one.
    pub(super) fn parts(self) -> impl Iterator<Item = (u64, bool)> {
        [(self.hard, false), (self.soft, true)].into_iter().filter(|(position, _)| *position != 0)
    }
}

/// Marks by their names.
pub(super) trait Held: Debug {
    /// The mark of `name`, a new one if there was none; `None` where it is no name of this class.
    fn mark(&mut self, name: &[u8]) -> Option<&mut Mark>;

    /// The mark of `name` has got this position.
    fn noted(&mut self, _name: &[u8], _position: u64) {}

    /// Keeps what `keep` says.
    fn retain(&mut self, keep: &mut dyn FnMut(&[u8], &mut Mark) -> bool);

    /// All marks.
    fn all(&self) -> Box<dyn Iterator<Item = (&[u8], Mark)> + '_>;
}

/// Marks that are found by their very names.
#[derive(Debug, Default)]
pub(super) struct Names {
    marks: HashMap<Box<[u8]>, Mark>,
    /// Names that begin with '/': zero saves a look-up.
    paths: usize,
}

impl Names {
    pub(super) fn says(&self, name: &[u8], base: u64) -> Verdict {
        self.marks.get(name).map_or(Verdict::Valid, |mark| mark.says(base))
    }

    pub(super) fn has_paths(&self) -> bool {
        self.paths > 0
    }
}

impl Held for Names {
    fn mark(&mut self, name: &[u8]) -> Option<&mut Mark> {
        if !self.marks.contains_key(name) {
            self.marks.insert(name.into(), Mark::default());
            self.paths += usize::from(is_path(name));
        }
        self.marks.get_mut(name)
    }

    fn retain(&mut self, keep: &mut dyn FnMut(&[u8], &mut Mark) -> bool) {
        self.marks.retain(|name, mark| keep(name, mark));
        self.paths = self.marks.keys().filter(|name| is_path(name)).count();
    }

    fn all(&self) -> Box<dyn Iterator<Item = (&[u8], Mark)> + '_> {
        Box::new(self.marks.iter().map(|(name, mark)| (&**name, *mark)))
    }
}
