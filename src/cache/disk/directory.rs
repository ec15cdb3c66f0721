//! The cache directory: whose it is, and what it was made for.
//!
//! ```text
//! hash.key     the key of the hash (cache::hash)
//! disk.lock    locked while a process uses the disk tier
//! disk.marker  what the blocks were written with
//! purge.log    what was purged (cache::purge)
//! deploy       what was deployed at the last start (cli)
//! blocks/      foyer's files, one a block; nothing else in it is touched
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, statfs};

use crate::cache::disk::DiskConfig;
use crate::cache::disk::geometry::{Geometry, PAGE};
use crate::cache::disk::scan::{Scan, block_number};
use crate::cache::hash::{KeyedHasher, stored_key};
use crate::cache::purge;

/// Version of the marker, and of how this room writes entries.
const FORMAT: u32 = 1;
/// File systems that are a poor home for a cache, by `f_type`.
const POOR_HOMES: [(i64, &str); 6] = [
    (0x0102_1994, "tmpfs (it lives in memory)"),
    (0x794c_7630, "overlayfs (it ends with the container)"),
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB2"),
    (0x6573_5546, "FUSE"),
];

/// Why the directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It belongs to another process.
    #[error("another process uses {0}")]
    Locked(
        /// The directory.
        PathBuf,
    ),
    /// The file system refused.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried: `open`, `lock` …
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The directory, ours for as long as this lives.
#[derive(Debug)]
pub(super) struct Directory {
    dir: PathBuf,
    blocks: PathBuf,
    hasher: KeyedHasher,
    _lock: File,
}

impl Directory {
    /// Makes the directory if need be and takes it for this process. Blocks on the disk.
    pub(super) fn claim(dir: &Path) -> Result<Self, DirectoryError> {
        let blocks = dir.join("blocks");
        if !dir.is_dir() {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
            made.map_err(io_error("make", dir))?;
        }
        let path = dir.join("disk.lock");
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        let lock = options.open(&path).map_err(io_error("open", &path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(DirectoryError::Locked(dir.to_path_buf()));
            }
            Err(error) => return Err(io_error("lock", &path)(error.into())),
        }
        if !blocks.is_dir() {
            let made = DirBuilder::new().mode(0o700).create(&blocks);
            made.map_err(io_error("make", &blocks))?;
        }
        fs::set_permissions(&blocks, Permissions::from_mode(0o700))
            .map_err(io_error("protect", &blocks))?;
        let hasher = KeyedHasher::new(stored_key(dir).map_err(io_error("keep the key in", dir))?);
        warn_of_poor_home(dir);
        Ok(Self { dir: dir.to_path_buf(), blocks, hasher, _lock: lock })
    }

    /// Removes the purge log: it does not know what this process has purged.
    pub(super) fn forget_purges(&self) {
        let path = self.dir.join(purge::FILE);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(%error, path = %path.display(), "an outdated purge log stays");
        }
    }

    /// Where foyer's files are.
    pub(super) fn blocks(&self) -> &Path {
        &self.blocks
    }

    pub(super) fn hasher(&self) -> KeyedHasher {
        self.hasher.clone()
    }

    /// Removes what does not go with the configuration and looks at what is left. Blocks on the
    /// disk.
    pub(super) fn prepare(
        &self,
        config: &DiskConfig,
        geometry: &Geometry,
    ) -> Result<Scan, DirectoryError> {
        let path = self.dir.join("disk.marker");
        let wanted = Marker {
            format: FORMAT,
            codec: config.codec_version,
            key: self.hasher.fingerprint(),
            block: geometry.block,
            capacity: geometry.capacity,
        };
        let found = Marker::read(&path);
        if found.as_ref() != Some(&wanted) {
            // Growing keeps what there is. Shrinking must not: the files that go may hold newer
            // copies than those that stay.
            let keep = found.as_ref().is_some_and(|found| wanted.only_grew_from(found));
            if !keep {
                if found.is_some() {
                    tracing::info!(?found, ?wanted, "the disk cache is made anew");
                }
                self.remove_blocks(0)?;
            }
            wanted.write(&path)?;
        }
        self.remove_blocks(geometry.blocks())?;
        let mut scan = Scan::of(&self.blocks, geometry).map_err(io_error("read", &self.blocks))?;
        let max_objects = config.max_objects.unwrap_or(u64::MAX);
        scan.make_room(&self.blocks, max_objects).map_err(io_error("write to", &self.blocks))?;
        Ok(scan)
    }

    /// Writes and removes `len` bytes, to see whether that can be done. Blocks on the disk.
    pub(super) fn probe(&self, len: usize) -> Result<(), DirectoryError> {
        let path = self.blocks.join("probe");
        let written = (|| {
            let mut options = OpenOptions::new();
            options.create(true).truncate(true).write(true).mode(0o600);
            let mut file = options.open(&path)?;
            let page = [0x5a_u8; PAGE];
            for _ in 0..len.div_ceil(PAGE) {
                file.write_all(&page)?;
            }
            Ok(())
        })();
        let _ = fs::remove_file(&path);
        written.map_err(io_error("write to", &self.blocks))
    }

    /// Removes foyer's files from number `from` on.
    fn remove_blocks(&self, from: usize) -> Result<(), DirectoryError> {
        let entries = fs::read_dir(&self.blocks).map_err(io_error("list", &self.blocks))?;
        for entry in entries {
            let entry = entry.map_err(io_error("list", &self.blocks))?;
            if entry.file_name().to_str().and_then(block_number).is_some_and(|n| n >= from) {
                fs::remove_file(entry.path()).map_err(io_error("remove", &entry.path()))?;
            }
        }
        Ok(())
    }
}

/// What the blocks were written with.
#[derive(Debug, PartialEq, Eq)]
struct Marker {
    format: u32,
    codec: u32,
    key: u64,
    block: usize,
    capacity: usize,
}

impl Marker {
    fn text(&self) -> String {
        format!(
            "larder disk cache\nformat {}\ncodec {}\nkey {:016x}\nblock {}\ncapacity {}\n",
            self.format, self.codec, self.key, self.block, self.capacity
        )
    }

    /// `None`: there is none, or not one of ours.
    fn read(path: &Path) -> Option<Self> {
        let mut text = String::new();
        File::open(path).ok()?.take(1024).read_to_string(&mut text).ok()?;
        let mut lines = text.lines();
        if lines.next()? != "larder disk cache" {
            return None;
        }
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        Some(Self {
            format: field("format")?.parse().ok()?,
            codec: field("codec")?.parse().ok()?,
            key: u64::from_str_radix(field("key")?, 16).ok()?,
            block: field("block")?.parse().ok()?,
            capacity: field("capacity")?.parse().ok()?,
        })
    }

    fn write(&self, path: &Path) -> Result<(), DirectoryError> {
        let aside = path.with_extension("marker.new");
        fs::write(&aside, self.text()).map_err(io_error("write", &aside))?;
        fs::rename(&aside, path).map_err(io_error("write", path))
    }

    fn only_grew_from(&self, found: &Self) -> bool {
        self.capacity >= found.capacity && *self == Self { capacity: self.capacity, ..*found }
    }
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    let path = path.to_path_buf();
    move |source| DirectoryError::Io { what, path, source }
}

fn warn_of_poor_home(dir: &Path) {
    let Ok(stat) = statfs(dir) else { return };
    #[expect(clippy::unnecessary_cast, reason = "the type of f_type differs by platform")]
    let kind = stat.f_type as i64;
    if let Some((_, name)) = POOR_HOMES.iter().find(|(poor, _)| *poor == kind) {
        tracing::warn!(dir = %dir.display(), "the disk cache lies on {name}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::disk::scan::tests::fake_block;

    fn config(dir: &Path, capacity: u64) -> (DiskConfig, Geometry) {
        let config = DiskConfig::new(dir, capacity);
        let geometry = Geometry::choose(&config, 1 << 20).unwrap();
        (config, geometry)
    }

    fn left(dir: &Directory) -> Vec<String> {
        let mut left: Vec<_> = fs::read_dir(dir.blocks())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        left
    }

    #[test]
    fn one_process_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = Directory::claim(dir.path()).unwrap();
        assert!(matches!(Directory::claim(dir.path()), Err(DirectoryError::Locked(_))));
        drop(first);
        let again = Directory::claim(dir.path()).unwrap();
        let mode = fs::metadata(again.blocks()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn only_own_files_go_and_only_when_they_must() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Directory::claim(temp.path()).unwrap();
        let (small, geometry) = config(temp.path(), 1 << 20);
        dir.prepare(&small, &geometry).unwrap();
        fake_block(dir.blocks(), 0, 10);
        fs::write(dir.blocks().join("mine.txt"), "x").unwrap();
        fs::write(dir.blocks().join("foyer-storage-direct-fs-1"), "x").unwrap();
        fs::write(dir.blocks().join("foyer-storage-direct-fs-00009999"), "surplus").unwrap();
        let scan = dir.prepare(&small, &geometry).unwrap();
        assert_eq!((scan.blocks[0].0, scan.blocks[1].0), (10, 0));
        assert_eq!((scan.objects(), scan.blocks[0].1.bytes), (2, 2 * PAGE as u64));
        let foreign = ["foyer-storage-direct-fs-1", "mine.txt"].map(String::from);
        let mut kept = vec!["foyer-storage-direct-fs-00000000".to_string()];
        kept.extend(foreign.clone());
        assert_eq!(left(&dir), kept);

        // Larger with the same blocks: kept.
        let larger =
            DiskConfig { block_size: Some(128 << 10), ..DiskConfig::new(temp.path(), 2 << 20) };
        let grown = Geometry::choose(&larger, 1 << 20).unwrap();
        assert_eq!(grown.block, geometry.block);
        dir.prepare(&larger, &grown).unwrap();
        assert_eq!(left(&dir), kept);
        // Smaller, another codec, another block size: made anew.
        for config in [
            small.clone(),
            DiskConfig { codec_version: 2, ..small.clone() },
            DiskConfig { codec_version: 2, block_size: Some(64 << 10), ..small.clone() },
        ] {
            fake_block(dir.blocks(), 0, 10);
            let geometry = Geometry::choose(&config, 1 << 20).unwrap();
            dir.prepare(&config, &geometry).unwrap();
            assert_eq!(left(&dir), foreign, "{config:?}");
        }
    }

    #[test]
    fn markers_are_read_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m");
        let marker = Marker { format: 1, codec: 7, key: u64::MAX, block: 4096, capacity: 1 << 40 };
        marker.write(&path).unwrap();
        assert_eq!(Marker::read(&path), Some(marker));
        fs::write(&path, "larder disk cache\nformat x\n").unwrap();
        assert_eq!(Marker::read(&path), None);
    }
}
