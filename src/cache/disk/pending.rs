//! What waits for the writer, by key; the newest wins. Pure bookkeeping under the caller's lock.
//!
//! A key may have one entry in the batch that is being written and a newer one that waits. When a
//! newer one takes an older one's place, those who wait to hear of the older one hear of the
//! newer: what they ask is whether anything older still can come back.

use std::collections::{HashMap, HashSet, VecDeque};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::cache::disk::OnDisk;

/// Keys remembered while there is no store to delete them in. Beyond it all is forgotten.
const MAX_FORGOTTEN: usize = 65_536;
/// And the bytes of those keys.
const MAX_FORGOTTEN_BYTES: usize = 8 << 20;

#[derive(Default)]
pub(super) struct Pending {
    slots: HashMap<Bytes, Slot>,
    queue: VecDeque<Item>,
    bytes: usize,
    forgotten: HashSet<Bytes>,
    forgotten_bytes: usize,
    /// More was forgotten than fits: nothing that the disk holds can be trusted.
    forgot_all: bool,
}

#[derive(Default)]
struct Slot {
    waiting: Option<Entry>,
    flying: Option<Flying>,
}

/// An entry that waits.
pub(super) struct Entry {
    pub(super) value: Bytes,
    /// Bytes on disk.
    pub(super) size: usize,
    told: Vec<OnDisk>,
    /// Given back when the entry is gone.
    _room: OwnedSemaphorePermit,
}

/// An entry in the batch that is being written.
struct Flying {
    entry: Entry,
    /// Neither replaced nor deleted since.
    live: bool,
}

enum Item {
    Key(Bytes),
    Flush(oneshot::Sender<()>),
}

/// What waits under a key.
pub(super) enum Waiting {
    /// This, not on disk yet.
    Value(Bytes),
    /// Deleted while it was being written: whatever the disk says is wrong.
    Gone,
    /// Nothing: ask the disk.
    Unknown,
}

/// The next thing for the writer.
pub(super) enum Next {
    /// Write this.
    Write { key: Bytes, value: Bytes, size: usize },
    /// Tell this one that all before it is done.
    Flush(oneshot::Sender<()>),
    /// What comes next does not fit the batch.
    Full,
    /// Nothing waits.
    Nothing,
}

/// How a written entry ended.
pub(super) enum Settled {
    /// It was still the newest: ask the store whether it has it, then tell these.
    Newest(Vec<OnDisk>),
    /// It was deleted meanwhile, and nothing newer waits: these are to be told no.
    Deleted(Vec<OnDisk>),
    /// A newer one waits, and will tell.
    Replaced,
}

impl Pending {
    pub(super) fn get(&self, key: &[u8]) -> Waiting {
        match self.slots.get(key) {
            None => Waiting::Unknown,
            Some(Slot { waiting: Some(entry), .. }) => Waiting::Value(entry.value.clone()),
            Some(Slot { flying: Some(Flying { entry, live: true }), .. }) => {
                Waiting::Value(entry.value.clone())
            }
            Some(_) => Waiting::Gone,
        }
    }

    /// Bytes on disk that what waits and what is being written will take.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Queues an entry. Anything older must have been removed.
    pub(super) fn queue(
        &mut self,
        key: Bytes,
        value: Bytes,
        size: usize,
        told: Vec<OnDisk>,
        room: OwnedSemaphorePermit,
    ) {
        self.bytes += size;
        self.queue.push_back(Item::Key(key.clone()));
        let slot = self.slots.entry(key).or_default();
        let older = slot.waiting.replace(Entry { value, size, told, _room: room });
        self.bytes -= older.map_or(0, |older| older.size);
    }

    /// Takes `key` out of what waits, marks what is being written, and returns who waited to hear
    /// of the former.
    pub(super) fn remove(&mut self, key: &[u8]) -> Vec<OnDisk> {
        let Some(slot) = self.slots.get_mut(key) else { return Vec::new() };
        let told = slot.waiting.take().map_or_else(Vec::new, |entry| {
            self.bytes -= entry.size;
            entry.told
        });
        match &mut slot.flying {
            Some(flying) => flying.live = false,
            None => drop(self.slots.remove(key)),
        }
        // A key that is stored and deleted again and again while nothing is written leaves its
        // places in the queue behind.
        if self.queue.len() > 2 * self.slots.len() + 1024 {
            let slots = &self.slots;
            self.queue.retain(|item| match item {
                Item::Key(key) => slots.get(key).is_some_and(|slot| slot.waiting.is_some()),
                Item::Flush(_) => true,
            });
        }
        told
    }

    /// Whoever holds the receiver hears when all that waits now has been dealt with.
    pub(super) fn mark_flush(&mut self) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        self.queue.push_back(Item::Flush(tell));
        told
    }

    /// The next thing to do, if it fits into `room` bytes (or `alone`, whatever its size).
    pub(super) fn next(&mut self, room: usize, alone: bool) -> Next {
        loop {
            match self.queue.pop_front() {
                None => return Next::Nothing,
                Some(Item::Flush(tell)) => {
                    if alone {
                        return Next::Flush(tell);
                    }
                    self.queue.push_front(Item::Flush(tell));
                    return Next::Full;
                }
                Some(Item::Key(key)) => {
                    let Some(slot) = self.slots.get_mut(&key) else { continue };
                    let Some(entry) = slot.waiting.take_if(|entry| alone || entry.size <= room)
                    else {
                        if slot.waiting.is_none() {
                            continue; // deleted since
                        }
                        self.queue.push_front(Item::Key(key));
                        return Next::Full;
                    };
                    if slot.flying.is_some() {
                        // Twice in one batch: the first must be settled first.
                        slot.waiting = Some(entry);
                        self.queue.push_front(Item::Key(key));
                        return Next::Full;
                    }
                    let (value, size) = (entry.value.clone(), entry.size);
                    slot.flying = Some(Flying { entry, live: true });
                    return Next::Write { key, value, size };
                }
            }
        }
    }

    /// Whether the entry that `next` gave out for `key` is still wanted.
    pub(super) fn is_flying(&self, key: &[u8]) -> bool {
        self.slots.get(key).and_then(|slot| slot.flying.as_ref()).is_some_and(|f| f.live)
    }

    /// The batch with `key` in it was written, one way or the other.
    pub(super) fn settle(&mut self, key: &[u8]) -> Settled {
        let Some(slot) = self.slots.get_mut(key) else { return Settled::Replaced };
        let Some(Flying { entry, live }) = slot.flying.take() else { return Settled::Replaced };
        self.bytes -= entry.size;
        let settled = match &mut slot.waiting {
            Some(newer) => {
                newer.told.extend(entry.told);
                Settled::Replaced
            }
            None if live => Settled::Newest(entry.told),
            None => Settled::Deleted(entry.told),
        };
        if slot.waiting.is_none() {
            self.slots.remove(key);
        }
        settled
    }

    /// Remembers to delete `key` when there is a store again.
    pub(super) fn forget_later(&mut self, key: &[u8]) {
        if self.forgot_all || self.forgotten.contains(key) {
            return;
        }
        self.forgotten_bytes += key.len();
        self.forgotten.insert(Bytes::copy_from_slice(key));
        if self.forgotten.len() > MAX_FORGOTTEN || self.forgotten_bytes > MAX_FORGOTTEN_BYTES {
            self.forgot_all = true;
            self.forgotten = HashSet::new();
        }
    }

    /// Whether `key` will be deleted when there is a store again.
    pub(super) fn is_forgotten(&self, key: &[u8]) -> bool {
        self.forgot_all || self.forgotten.contains(key)
    }

    /// Whether the disk's whole content is to be thrown away.
    pub(super) fn forgot_all(&self) -> bool {
        self.forgot_all
    }

    /// The disk was emptied: nothing is left to delete in it.
    pub(super) fn forgot_nothing(&mut self) {
        self.forgot_all = false;
        self.take_forgotten();
    }

    /// Keys to delete in the store now.
    pub(super) fn take_forgotten(&mut self) -> HashSet<Bytes> {
        self.forgotten_bytes = 0;
        std::mem::take(&mut self.forgotten)
    }

    /// Gives up everything that waits, remembers to forget it, and returns who waited.
    pub(super) fn abandon(&mut self) -> Vec<OnDisk> {
        self.queue.clear();
        self.bytes = 0;
        let mut told = Vec::new();
        for (key, slot) in std::mem::take(&mut self.slots) {
            self.forget_later(&key);
            told.extend(slot.waiting.into_iter().flat_map(|entry| entry.told));
            told.extend(slot.flying.into_iter().flat_map(|flying| flying.entry.told));
        }
        told
    }
}
