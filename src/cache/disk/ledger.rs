//! What the disk holds, block by block, in the order in which foyer writes and evicts them.
//!
//! A *position* is how many bytes had been written before: the smaller, the older a copy is. It
//! tells which copies are soon to be evicted, and outlives the store that counts it.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::cache::disk::scan::Content;

/// How far writing has come. Cheap to ask: lookups do.
#[derive(Debug, Default)]
pub(super) struct Wear {
    written: AtomicU64,
    median: AtomicU64,
    old_before: AtomicU64,
}

impl Wear {
    /// The position of what is written next.
    pub(super) fn position(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Copies written before this position are in the older half of a disk that is nearly full;
    /// 0 while there is room.
    pub(super) fn old_before(&self) -> u64 {
        self.old_before.load(Ordering::Relaxed)
    }

    /// About where a copy is of which only this is known.
    pub(super) fn position_of(&self, old: bool) -> u64 {
        let median = self.median.load(Ordering::Relaxed);
        match (old, self.old_before()) {
            (true, _) => 0,
            (false, 0) => median,
            (false, _) => u64::midpoint(median, self.position()),
        }
    }
}

/// The blocks of an open store.
#[derive(Debug)]
pub(super) struct Ledger {
    wear: Arc<Wear>,
    /// Blocks in all.
    total: usize,
    /// Entries at most.
    max_objects: u64,
    blocks: Mutex<Blocks>,
}

#[derive(Debug, Default)]
struct Blocks {
    /// As found when the disk was opened: what each block holds, until it is known to be full.
    found: Vec<(u64, Content)>,
    /// Oldest first.
    full: VecDeque<Full>,
    /// Of the block that is being written.
    open: Content,
    open_began: u64,
    /// Clean blocks when last told.
    clean: usize,
}

#[derive(Debug)]
struct Full {
    block: u32,
    /// The number of its first entry, for those found when the disk was opened.
    age: u64,
    /// The position at which it begins.
    began: u64,
    /// `None`: not looked up yet; its entries still count with the block that is being written.
    content: Option<Content>,
    /// Its entries were forgotten, for there were too many.
    emptied: bool,
}

impl Ledger {
    /// Of a store with as many blocks as `found`, by each the number of its first entry, and what
    /// it holds.
    pub(super) fn new(found: Vec<(u64, Content)>, max_objects: u64, wear: Arc<Wear>) -> Self {
        wear.old_before.store(0, Ordering::Relaxed);
        let total = found.len();
        let blocks = Mutex::new(Blocks { found, ..Blocks::default() });
        Self { wear, total, max_objects, blocks }
    }

    /// foyer found something in `block` when it recovered; told in any order.
    pub(super) fn recovered(&self, block: u32) {
        let blocks = &mut *self.blocks.lock();
        let found = blocks.found.get_mut(block as usize).map(std::mem::take);
        let (age, content) = found.unwrap_or_default();
        let at = blocks.full.partition_point(|other| other.age <= age);
        let full = Full { block, age, began: 0, content: Some(content), emptied: false };
        blocks.full.insert(at, full);
    }

    /// Recovery is over.
    pub(super) fn opened(&self) {
        let blocks = &mut *self.blocks.lock();
        blocks.found = Vec::new();
        let mut position = self.wear.position();
        for full in &mut blocks.full {
            full.began = position;
            position += full.content.as_ref().map_or(0, |content| content.bytes);
        }
        blocks.open_began = position;
        self.wear.written.store(position, Ordering::Relaxed);
    }

    /// `block` is full: the next is begun.
    pub(super) fn filled(&self, block: u32) {
        let blocks = &mut *self.blocks.lock();
        let began = std::mem::replace(&mut blocks.open_began, self.wear.position());
        blocks.full.push_back(Full { block, age: 0, began, content: None, emptied: false });
    }

    /// `block` is being evicted.
    pub(super) fn evicted(&self, block: u32) {
        self.blocks.lock().full.retain(|full| full.block != block);
    }

    /// The block to evict.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.blocks.lock().full.front().map(|full| full.block)
    }

    /// Takes in how many blocks are `clean`, and calls `mark` for each of those that are old.
    pub(super) fn mark_old(&self, clean: usize, mut mark: impl FnMut(u32)) {
        let blocks = &mut *self.blocks.lock();
        blocks.clean = clean;
        for block in self.find_old(blocks) {
            mark(block);
        }
    }

    /// The older half, once the disk is nearly full. (foyer may tell of a full block before it has
    /// taken the next clean one: so not at the last one.)
    fn find_old(&self, blocks: &Blocks) -> Vec<u32> {
        let live: Vec<&Full> = blocks.full.iter().filter(|full| !full.emptied).collect();
        let (old, young) = live.split_at(live.len() / 2);
        let median = young.first().map_or(blocks.open_began, |full| full.began);
        self.wear.median.store(median, Ordering::Relaxed);
        let nearly = |part: u64, whole: u64| part >= whole - whole / 4;
        let full =
            blocks.clean <= (self.total / 4).max(1) || nearly(blocks.objects(), self.max_objects);
        self.wear.old_before.store(if full { median } else { 0 }, Ordering::Relaxed);
        if full { old.iter().map(|full| full.block).collect() } else { Vec::new() }
    }

    /// These are on disk now: by entry its hash and the bytes that it takes.
    pub(super) fn wrote(&self, entries: impl IntoIterator<Item = (u64, usize)>) {
        let blocks = &mut *self.blocks.lock();
        let before = blocks.open.bytes;
        for (hash, bytes) in entries {
            blocks.open.add(hash, bytes as u64);
        }
        self.wear.written.fetch_add(blocks.open.bytes - before, Ordering::Relaxed);
    }

    /// Full blocks whose content is not known yet.
    pub(super) fn unknown(&self) -> Vec<u32> {
        let blocks = self.blocks.lock();
        let unknown = blocks.full.iter().filter(|full| full.content.is_none());
        unknown.map(|full| full.block).collect()
    }

    /// Now it is: what it holds is no more in the block that is being written.
    pub(super) fn know(&self, block: u32, mut content: Content) {
        let blocks = &mut *self.blocks.lock();
        if let Some(full) = blocks.full.iter_mut().find(|full| full.block == block) {
            blocks.open.take_first(&content);
            content.hashes.shrink_to_fit();
            full.content = Some(content);
        }
    }

    /// The block to empty, if there are more entries than there may be.
    pub(super) fn surplus(&self) -> Option<u32> {
        let blocks = self.blocks.lock();
        if blocks.objects() <= self.max_objects {
            return None;
        }
        blocks.full.iter().find(|full| !full.emptied).map(|full| full.block)
    }

    /// Leaves of `hashes`, which `block` holds, those of which nothing newer has a copy.
    pub(super) fn only_in(&self, block: u32, hashes: &mut Vec<u64>) {
        let blocks = self.blocks.lock();
        let of_block: HashSet<u32> = hashes.iter().map(|hash| Content::short(*hash)).collect();
        let newer = blocks.full.iter().skip_while(|full| full.block != block).skip(1);
        let newer = newer.filter_map(|full| full.content.as_ref()).chain([&blocks.open]);
        let newer = newer.flat_map(|content| &content.hashes);
        let kept: HashSet<u32> = newer.filter(|hash| of_block.contains(hash)).copied().collect();
        hashes.retain(|hash| !kept.contains(&Content::short(*hash)));
    }

    /// What `block` held was forgotten.
    pub(super) fn emptied(&self, block: u32) {
        let blocks = &mut *self.blocks.lock();
        if let Some(full) = blocks.full.iter_mut().find(|full| full.block == block) {
            full.emptied = true;
            full.content = Some(Content::default());
        }
        self.find_old(blocks);
    }

    /// The disk was emptied.
    pub(super) fn clear(&self) {
        let blocks = &mut *self.blocks.lock();
        blocks.open = Content::default();
        for full in &mut blocks.full {
            full.emptied = true;
            full.content = Some(Content::default());
        }
    }

    /// Entries, replaced ones included until their block goes.
    pub(super) fn objects(&self) -> u64 {
        self.blocks.lock().objects()
    }

    /// Bytes that those take.
    pub(super) fn bytes(&self) -> u64 {
        let blocks = self.blocks.lock();
        blocks.contents().map(|content| content.bytes).sum()
    }
}

impl Blocks {
    fn contents(&self) -> impl Iterator<Item = &Content> {
        let full = self.full.iter().filter_map(|full| full.content.as_ref());
        full.chain([&self.open])
    }

    fn objects(&self) -> u64 {
        self.contents().map(Content::objects).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 4096 bytes an entry.
    fn content(hashes: std::ops::Range<u64>) -> Content {
        let mut content = Content::default();
        hashes.for_each(|hash| content.add(hash, 4096));
        content
    }

    fn old(ledger: &Ledger, clean: usize) -> Vec<u32> {
        let mut marked = Vec::new();
        ledger.mark_old(clean, |block| marked.push(block));
        marked
    }

    fn fill(ledger: &Ledger, block: u32, hashes: std::ops::Range<u64>) {
        ledger.wrote(hashes.clone().map(|hash| (hash, 4096)));
        ledger.filled(block);
        assert_eq!(ledger.unknown(), [block]);
        ledger.know(block, content(hashes));
    }

    #[test]
    fn what_was_found_is_in_the_order_of_its_numbers() {
        let wear = Arc::new(Wear::default());
        let found = vec![(30, content(0..3)), (0, content(0..0)), (10, content(10..14))];
        let ledger = Ledger::new(found, 100, wear.clone());
        for block in [0, 2] {
            ledger.recovered(block);
        }
        ledger.opened();
        assert_eq!((ledger.objects(), ledger.bytes()), (7, 7 * 4096));
        assert_eq!((ledger.oldest(), wear.position()), (Some(2), 7 * 4096));
        ledger.evicted(2);
        assert_eq!((ledger.oldest(), ledger.objects()), (Some(0), 3));
        // Opened anew, positions go on: what was written before is older than all.
        let again = Ledger::new(vec![(1, content(0..3))], 100, wear.clone());
        again.recovered(0);
        again.opened();
        assert_eq!(wear.position(), 10 * 4096);
    }

    #[test]
    fn the_older_half_is_old_once_the_disk_is_nearly_full() {
        let wear = Arc::new(Wear::default());
        let ledger = Ledger::new(vec![Default::default(); 8], 1000, wear.clone());
        ledger.opened();
        for block in 0..6 {
            fill(&ledger, block, u64::from(block) * 10..u64::from(block) * 10 + 10);
        }
        assert_eq!(old(&ledger, 3), [0; 0], "there is room");
        assert_eq!((wear.old_before(), wear.position_of(false)), (0, 30 * 4096));
        assert_eq!(old(&ledger, 2), [0, 1, 2]);
        assert_eq!(wear.old_before(), 30 * 4096);
        assert_eq!((wear.position_of(true), wear.position_of(false)), (0, 45 * 4096));
        ledger.evicted(0);
        ledger.evicted(1);
        assert_eq!(old(&ledger, 2), [2, 3]);
    }

    #[test]
    fn nearly_too_many_entries_are_a_nearly_full_disk() {
        let ledger = Ledger::new(vec![Default::default(); 100], 40, Arc::new(Wear::default()));
        ledger.opened();
        for block in 0..2 {
            fill(&ledger, block, u64::from(block) * 10..u64::from(block) * 10 + 10);
        }
        assert_eq!(old(&ledger, 90), [0; 0]);
        fill(&ledger, 2, 20..30);
        assert_eq!(old(&ledger, 90), [0]);
    }

    #[test]
    fn with_too_many_entries_the_oldest_block_goes_but_for_what_is_newer_elsewhere() {
        let ledger = Ledger::new(vec![Default::default(); 8], 25, Arc::new(Wear::default()));
        ledger.opened();
        fill(&ledger, 0, 0..10);
        fill(&ledger, 1, 5..15); // five of them again
        assert_eq!(ledger.surplus(), None);
        ledger.wrote([(3, 4096), (100, 4096)]); // one more again
        ledger.wrote((200..204).map(|hash| (hash, 4096)));
        assert_eq!((ledger.objects(), ledger.surplus()), (26, Some(0)));
        let mut hashes: Vec<u64> = (0..10).collect();
        ledger.only_in(0, &mut hashes);
        assert_eq!(hashes, [0, 1, 2, 4]);
        ledger.emptied(0);
        assert_eq!((ledger.objects(), ledger.surplus()), (16, None));
        assert_eq!(ledger.oldest(), Some(0), "foyer still has it to evict");
    }
}
