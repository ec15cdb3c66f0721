//! What foyer's block files begin with, read without foyer: which entries a block holds.
//!
//! A block is a row of blobs, each an index page and the entries that it tells of:
//!
//! ```text
//! sum (8) | count (4) | count x { hash (8) | number (8) | offset (4) | length (4) } | entries
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::cache::disk::geometry::{BLOB_INDEX, Geometry, PAGE};

/// How foyer names its files: this and eight digits.
const BLOCK_PREFIX: &str = "foyer-storage-direct-fs-";
/// foyer's index page: sum (8), count (4), then entries of 24 bytes.
const INDEX_HEADER: usize = 12;
const INDEX_ENTRY: usize = 24;

/// What a block holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Content {
    /// A part of each entry's hash, replaced ones included, in the order in which they lie there.
    pub(super) hashes: Vec<u32>,
    /// Bytes that the entries take.
    pub(super) bytes: u64,
}

impl Content {
    /// The part of a hash that is kept.
    pub(super) fn short(hash: u64) -> u32 {
        hash as u32
    }

    pub(super) fn add(&mut self, hash: u64, bytes: u64) {
        self.hashes.push(Self::short(hash));
        self.bytes += bytes;
    }

    pub(super) fn objects(&self) -> u64 {
        self.hashes.len() as u64
    }

    /// Takes out as many entries as `first` has, which come first.
    pub(super) fn take_first(&mut self, first: &Self) {
        self.hashes.drain(..first.hashes.len().min(self.hashes.len()));
        self.bytes = self.bytes.saturating_sub(first.bytes);
    }
}

/// The block files as they were found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// By block: the number of its first entry (0: it has none), and what it holds.
    pub(super) blocks: Vec<(u64, Content)>,
}

impl Scan {
    /// Looks at every block's index pages, as foyer's recovery will do again.
    pub(super) fn of(dir: &Path, geometry: &Geometry) -> io::Result<Self> {
        let mut scan = Self::default();
        for number in 0..geometry.blocks() {
            let mut content = Content::default();
            let mut first = 0;
            each_entry(&block_path(dir, number), geometry.block, |entry| {
                if first == 0 {
                    first = entry.number.max(1);
                }
                content.add(entry.hash, entry.bytes);
            })?;
            scan.blocks.push((first, content));
        }
        Ok(scan)
    }

    /// Entries, replaced ones included.
    pub(super) fn objects(&self) -> u64 {
        self.blocks.iter().map(|(_, content)| content.objects()).sum()
    }

    /// foyer always keeps one block clean or is about to; killed in between, it recovers with none
    /// and then waits for one for ever. The oldest one goes, as it was about to. So do the oldest
    /// ones while there are more than `max_objects` entries.
    pub(super) fn make_room(&mut self, dir: &Path, max_objects: u64) -> io::Result<()> {
        let clean = |(number, (first, _)): (usize, &(u64, Content))| {
            *first == 0 && is_clean(&block_path(dir, number))
        };
        let mut one_clean = self.blocks.iter().enumerate().any(clean);
        while !one_clean || self.objects() > max_objects {
            // One without an entry that foyer might not take for clean is the oldest of all.
            let in_use = self.blocks.iter().enumerate();
            let in_use = in_use.filter(|(_, (first, _))| !one_clean || *first > 0);
            let Some((oldest, _)) = in_use.min_by_key(|(_, (first, _))| *first) else { break };
            empty_block(&block_path(dir, oldest))?;
            if let Some(block) = self.blocks.get_mut(oldest) {
                *block = Default::default();
            }
            one_clean = true;
        }
        Ok(())
    }
}

/// The hashes of all entries of a block.
pub(super) fn hashes_of(path: &Path, block: usize) -> io::Result<Vec<u64>> {
    let mut hashes = Vec::new();
    each_entry(path, block, |entry| hashes.push(entry.hash))?;
    Ok(hashes)
}

/// What a block holds.
pub(super) fn content_of(path: &Path, block: usize) -> io::Result<Content> {
    let mut content = Content::default();
    each_entry(path, block, |entry| content.add(entry.hash, entry.bytes))?;
    Ok(content)
}

/// Makes foyer take a block for clean when it is opened next.
pub(super) fn empty_block(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all_at(&[0; PAGE], 0)
}

pub(super) fn block_path(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("{BLOCK_PREFIX}{number:08}"))
}

/// The number in a block file's name; `None`: the file is none of foyer's.
pub(super) fn block_number(name: &str) -> Option<usize> {
    let digits = name.strip_prefix(BLOCK_PREFIX)?;
    let own = digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_digit());
    own.then(|| digits.parse().ok()).flatten()
}

/// Whether foyer is sure to take this block for clean.
fn is_clean(path: &Path) -> bool {
    let mut head = [0; INDEX_HEADER];
    match File::open(path).and_then(|file| file.read_exact_at(&mut head, 0)) {
        Ok(()) => head == [0; INDEX_HEADER],
        Err(error) => {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
        }
    }
}

struct Indexed {
    hash: u64,
    number: u64,
    /// Whole pages.
    bytes: u64,
}

/// Calls `each` for every entry. A page that makes no sense ends the block, as it does in foyer's
/// recovery; a file that is not there has none.
fn each_entry(path: &Path, block: usize, mut each: impl FnMut(Indexed)) -> io::Result<()> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut page = [0; BLOB_INDEX];
    let (mut offset, mut last) = (0, 0);
    while offset + BLOB_INDEX <= block && file.read_exact_at(&mut page, offset as u64).is_ok() {
        let Some(end) = each_of_page(&page, block - offset, &mut last, &mut each) else { break };
        offset += end;
    }
    Ok(())
}

/// Where the next index page lies, seen from this one, if there is one. `last` is the number of the
/// last entry so far.
fn each_of_page(
    page: &[u8],
    room: usize,
    last: &mut u64,
    each: &mut impl FnMut(Indexed),
) -> Option<usize> {
    let count = be32(page, 8)? as usize;
    let entries = page.get(INDEX_HEADER..)?.chunks_exact(INDEX_ENTRY);
    if count == 0 || count > entries.len() {
        return None;
    }
    let mut end = 0;
    for entry in entries.take(count) {
        let (hash, number) = (be64(entry, 0)?, be64(entry, 8)?);
        let (at, len) = (be32(entry, 16)? as usize, be32(entry, 20)? as usize);
        let aligned = len.next_multiple_of(PAGE);
        if number < *last || at % PAGE != 0 || at + aligned > room || at < end {
            return None;
        }
        (*last, end) = (number, at + aligned);
        each(Indexed { hash, number, bytes: aligned as u64 });
    }
    (end > 0).then_some(end)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cache::disk::DiskConfig;

    /// A block file with two entries, numbered from `first`.
    pub(in crate::cache::disk) fn fake_block(dir: &Path, number: usize, first: u64) {
        let mut page = vec![0_u8; PAGE * 3];
        page[0] = 1;
        page[8..12].copy_from_slice(&2_u32.to_be_bytes());
        for (n, at) in [(0_u64, 12), (1, 36)] {
            page[at..at + 8].copy_from_slice(&(1000 * first + n).to_be_bytes());
            page[at + 8..at + 16].copy_from_slice(&(first + n).to_be_bytes());
            let offset = u32::try_from(PAGE).unwrap() * u32::try_from(n + 1).unwrap();
            page[at + 16..at + 20].copy_from_slice(&offset.to_be_bytes());
            page[at + 20..at + 24].copy_from_slice(&100_u32.to_be_bytes());
        }
        std::fs::write(block_path(dir, number), page).unwrap();
    }

    fn geometry(dir: &Path) -> Geometry {
        Geometry::choose(&DiskConfig::new(dir, 1 << 20), 1 << 20).unwrap()
    }

    fn firsts(scan: &Scan) -> Vec<u64> {
        scan.blocks.iter().map(|(first, _)| *first).collect()
    }

    #[test]
    fn with_no_block_clean_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let geometry = geometry(dir.path());
        for number in 0..geometry.blocks() {
            fake_block(dir.path(), number, 100 + ((number as u64 + 5) % 8) * 10);
        }
        let mut scan = Scan::of(dir.path(), &geometry).unwrap();
        assert_eq!(scan.blocks[3].0, 100);
        assert_eq!(scan.objects(), 2 * geometry.blocks() as u64);
        scan.make_room(dir.path(), u64::MAX).unwrap();
        let again = Scan::of(dir.path(), &geometry).unwrap();
        assert_eq!(again, scan);
        assert_eq!(again.blocks[3], (0, Content::default()));
        assert_eq!(
            firsts(&again).iter().filter(|first| **first > 0).count(),
            geometry.blocks() - 1
        );
    }

    #[test]
    fn with_too_many_entries_the_oldest_blocks_go() {
        let dir = tempfile::tempdir().unwrap();
        let geometry = geometry(dir.path());
        for (number, first) in [(0, 50), (1, 10), (2, 40), (4, 20), (5, 30)] {
            fake_block(dir.path(), number, first);
        }
        for (max, left) in [(10, 5), (9, 4), (5, 2), (0, 0)] {
            let mut scan = Scan::of(dir.path(), &geometry).unwrap();
            scan.make_room(dir.path(), max).unwrap();
            let again = Scan::of(dir.path(), &geometry).unwrap();
            assert_eq!(again, scan);
            let mut firsts: Vec<_> = firsts(&again).into_iter().filter(|n| *n > 0).collect();
            firsts.sort_unstable();
            assert_eq!(firsts, [10, 20, 30, 40, 50][5 - left..], "{max}");
        }
    }

    #[test]
    fn a_block_tells_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        fake_block(dir.path(), 7, 5);
        let path = block_path(dir.path(), 7);
        assert_eq!(hashes_of(&path, 64 << 10).unwrap(), [5000, 5001]);
        let want = Content { hashes: vec![5000, 5001], bytes: 2 * PAGE as u64 };
        assert_eq!(content_of(&path, 64 << 10).unwrap(), want);
        empty_block(&path).unwrap();
        assert_eq!(content_of(&path, 64 << 10).unwrap(), Content::default());
        assert_eq!(hashes_of(&block_path(dir.path(), 8), 64 << 10).unwrap(), [0; 0]);
    }
}
