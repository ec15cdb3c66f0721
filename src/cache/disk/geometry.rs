//! Sizes that foyer does not panic on: it asserts, divides and waits for ever on odd ones.

use crate::cache::disk::DiskConfig;

/// foyer's unit of alignment: every entry takes whole pages.
pub(super) const PAGE: usize = 4096;
/// foyer's default for the index page of a blob, which takes its place in every block.
pub(super) const BLOB_INDEX: usize = PAGE;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
/// Smallest block: below it the index pages take too much of it.
const MIN_BLOCK: u64 = 64 * KIB;
/// foyer keeps offsets within a block in 32 bits.
const MAX_BLOCK: u64 = 1024 * MIB;
const DEFAULT_BLOCK: u64 = 16 * MIB;
/// One is written, one is kept clean, and evicting one must not cost too much of the rest.
const MIN_BLOCKS: u64 = 8;
/// Each block is an open file.
const MAX_BLOCKS: u64 = 2048;
/// With fewer descriptors than this the limit is not believed, and opening tells.
const MIN_DESCRIPTORS: u64 = 64;
const DEFAULT_BUFFER: u64 = 8 * MIB;

/// Why no disk tier can be had with these sizes.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum GeometryError {
    /// There is no room for the least number of blocks.
    #[error("a disk cache of {capacity} bytes is too small: it takes at least {least}")]
    TooSmall {
        /// What was asked for.
        capacity: u64,
        /// What it takes.
        least: u64,
    },
    /// The block size is out of bounds, or does not go with the capacity.
    #[error("a block size of {block} bytes does not do: it must be from {least} to {most}")]
    Block {
        /// What was asked for.
        block: u64,
        /// Smallest that would do.
        least: u64,
        /// Largest that would do.
        most: u64,
    },
}

/// Sizes in bytes, all multiples of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) capacity: usize,
    pub(super) block: usize,
    /// What is written at once. At most half a block, so that a batch ends at most one block and
    /// blocks become evictable in the order in which they were written.
    pub(super) flush_buffer: usize,
    /// The largest entry, header and key included.
    pub(super) max_entry: usize,
}

impl Geometry {
    /// Chooses sizes for `config` in a process that may open `descriptors` files.
    pub(super) fn choose(config: &DiskConfig, descriptors: u64) -> Result<Self, GeometryError> {
        let page = PAGE as u64;
        // No more than an eighth of the descriptors: connections need them too.
        let most_blocks = (descriptors.max(MIN_DESCRIPTORS) / 8).clamp(MIN_BLOCKS, MAX_BLOCKS);
        let capacity = config.capacity.min(most_blocks.saturating_mul(MAX_BLOCK));
        let least = MIN_BLOCK * MIN_BLOCKS;
        if capacity < least {
            return Err(GeometryError::TooSmall { capacity, least });
        }
        let smallest = MIN_BLOCK.max(capacity.div_ceil(most_blocks).next_multiple_of(page));
        let largest = MAX_BLOCK.min(capacity / MIN_BLOCKS / page * page);
        let block = match config.block_size {
            Some(block) if block < MIN_BLOCK || block > largest => {
                return Err(GeometryError::Block { block, least: smallest, most: largest });
            }
            // Too many files otherwise: larger blocks serve as well.
            Some(block) => block.next_multiple_of(page).max(smallest),
            None => DEFAULT_BLOCK.max(smallest.next_power_of_two()),
        };
        let block = block.min(largest);
        let capacity = capacity / block * block;
        let buffer = config.flush_buffer.unwrap_or(DEFAULT_BUFFER).max(4 * page);
        let buffer = buffer.min(block / 2) / page * page;
        let bytes = |n: u64| usize::try_from(n).unwrap_or(usize::MAX / 2);
        Ok(Self {
            capacity: bytes(capacity),
            block: bytes(block),
            flush_buffer: bytes(buffer),
            max_entry: bytes(buffer),
        })
    }

    /// How many blocks, and files, there are.
    pub(super) fn blocks(&self) -> usize {
        self.capacity / self.block
    }
}

/// How many files this process may open.
pub(super) fn descriptor_limit() -> u64 {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(capacity: u64, block: Option<u64>, files: u64) -> Result<Geometry, GeometryError> {
        let config = DiskConfig { block_size: block, ..DiskConfig::new("/nowhere", capacity) };
        Geometry::choose(&config, files)
    }

    #[test]
    fn blocks_follow_capacity() {
        for (capacity, block) in [
            (1024 * MIB, 16 * MIB),
            (100 * 1024 * MIB, 64 * MIB),
            (64 * MIB, 8 * MIB),
            (MIB, 128 * KIB),
            (512 * KIB, 64 * KIB),
        ] {
            let got = choose(capacity, None, 1 << 20).unwrap();
            assert_eq!(got.block as u64, block, "{capacity}");
            assert!(got.blocks() >= 8 && got.blocks() <= 2048);
        }
        // 1024 descriptors: 128 of them for blocks.
        assert!(choose(100 * 1024 * MIB, None, 1024).unwrap().blocks() <= 128);
    }

    #[test]
    fn odd_sizes_are_mended_or_refused() {
        assert_eq!(
            choose(100, None, 1024),
            Err(GeometryError::TooSmall { capacity: 100, least: 512 * KIB })
        );
        assert!(choose(64 * MIB, Some(0), 1024).is_err());
        assert!(choose(64 * MIB, Some(64 * MIB), 1024).is_err());
        for capacity in [576 * KIB + 1, MIB + 4095, 77_777_777, u64::MAX] {
            for block in [None, Some(65_537), Some(MIN_BLOCK)] {
                let got = choose(capacity, block, 1024).unwrap();
                for size in [got.capacity, got.block, got.flush_buffer, got.max_entry] {
                    assert!(size > 0 && size % PAGE == 0, "{capacity} {block:?}: {got:?}");
                }
                assert_eq!(got.capacity % got.block, 0);
                assert!(got.flush_buffer <= got.block / 2 && got.blocks() >= 8);
                assert!(got.block as u64 <= MAX_BLOCK && got.blocks() as u64 <= MAX_BLOCKS);
            }
        }
    }
}
