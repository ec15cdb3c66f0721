//! Bodies over the inline limit: their segments lie at keys of their own (DESIGN D3).

use bytes::Bytes;

use super::Tiers;
use crate::cache::entry::{EntryId, Slot};
use crate::semantics::key;

impl Tiers {
    /// Stores one segment of a body; `in_memory`: in the memory tier, too. False: nobody has it.
    pub async fn store_segment(
        &self,
        id: &EntryId,
        index: u32,
        bytes: Bytes,
        in_memory: bool,
    ) -> bool {
        let key = key::segment(id, index);
        let slot = Slot::Segment(bytes);
        if in_memory {
            self.memory.insert(key.clone(), slot.clone());
        }
        self.write(key, &slot, None).await || in_memory
    }

    /// Segment number `index` of a body, wherever it is.
    pub async fn segment(&self, id: &EntryId, index: u32, in_memory: bool) -> Option<Bytes> {
        let key = key::segment(id, index);
        if let Some(Slot::Segment(bytes)) = self.memory.get(&key) {
            return Some(bytes);
        }
        let copy = self.disk.load(&key, || false).await?;
        let Some(Slot::Segment(bytes)) = self.decode(&key, &copy) else { return None };
        if in_memory {
            self.memory.insert(key, Slot::Segment(bytes.clone()));
        }
        Some(bytes)
    }

    /// Whether segment number `index` of a body is somewhere, as far as can be told without reading.
    pub fn has_segment(&self, id: &EntryId, index: u32) -> bool {
        let key = key::segment(id, index);
        self.memory.contains(&key) || self.disk.may_contain(&key)
    }

    /// The largest body whose segments may live in the memory tier, in bytes: a 1 GiB object must
    /// not push everything else out.
    pub fn memory_object_max(&self) -> u64 {
        self.memory.capacity() / 16
    }

    /// The segments of so long a body live in the memory tier, too.
    pub fn keeps_in_memory(&self, len: u64) -> bool {
        len <= self.memory_object_max() || !self.has_disk()
    }

    /// A segment of the entry `id` is in no tier any more: the next request for it is a miss. (What
    /// is under way breaks off; whoever can get the segment elsewhere need not say so.)
    pub fn lost_part(&self, id: &EntryId) {
        self.incomplete.insert(id);
    }

    /// True where a body of `len` bytes can be kept whole.
    pub fn can_keep(&self, len: u64) -> bool {
        self.has_disk() || len <= self.memory.capacity() / 4
    }
}
