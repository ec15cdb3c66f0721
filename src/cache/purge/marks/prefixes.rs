//! Prefixes in their order, so that those of a URL are found in a few steps.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::held::{Held, Mark};
use crate::cache::purge::Verdict;

#[derive(Debug, Default)]
pub(super) struct Prefixes(BTreeMap<Box<[u8]>, Mark>);

impl Prefixes {
    /// What the prefixes of `url` say. Each step goes down to the longest name that can still be
    /// one: at most as many as `url` has bytes, nearly always one or two.
    pub(super) fn says(&self, url: &[u8], base: u64) -> Verdict {
        let mut worst = Verdict::Valid;
        let mut upto = Bound::Included(url);
        while let Some((name, mark)) = self.0.range::<[u8], _>((Bound::Unbounded, upto)).next_back()
        {
            let common = name.iter().zip(url).take_while(|(one, other)| one == other).count();
            if common < name.len() {
                // A prefix that sorts before `name` is one of what they have in common, too.
                upto = Bound::Included(url.get(..common).unwrap_or_default());
                continue;
            }
            worst = worst.max(mark.says(base));
            if worst == Verdict::Purged {
                break;
            }
            upto = Bound::Excluded(url.get(..common).unwrap_or_default());
        }
        worst
    }
}

impl Held for Prefixes {
    fn mark(&mut self, name: &[u8]) -> Option<&mut Mark> {
        Some(self.0.entry(name.into()).or_default())
    }

    fn retain(&mut self, keep: &mut dyn FnMut(&[u8], &mut Mark) -> bool) {
        self.0.retain(|name, mark| keep(name, mark));
    }

    fn all(&self) -> Box<dyn Iterator<Item = (&[u8], Mark)> + '_> {
        Box::new(self.0.iter().map(|(name, mark)| (&**name, *mark)))
    }
}
