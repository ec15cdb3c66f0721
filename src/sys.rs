//! What the operating system is asked for: limits of memory and descriptors, file systems.

use std::fs;
use std::io;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// No process needs more, and some systems offer a thousand million.
const DESCRIPTORS_WANTED: u64 = 1 << 20;

/// A cgroup v1 without a limit shows the largest page-aligned number; anything near it is none.
const NO_LIMIT: u64 = 1 << 60;

/// The bytes of memory that this process may use: the machine's, or its cgroup's where that is
/// less. `None`: unknown.
pub fn memory_limit() -> Option<u64> {
    let membership = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let of_group = cgroup_memory_limit(&membership, Path::new("/sys/fs/cgroup"));
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    of_group.into_iter().chain(memory_total(&meminfo)).min()
}

/// The smallest limit of the groups in `membership` (`/proc/self/cgroup`) and of those above
/// them, below the mount point `root`.
fn cgroup_memory_limit(membership: &str, root: &Path) -> Option<u64> {
    let mut limits = Vec::new();
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (mount, file) = if controllers.is_empty() {
            (root.to_owned(), "memory.max")
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        // Inside a container the path may be the host's, of which only the root is seen.
        let group = Path::new(group.trim_start_matches('/'));
        for level in group.ancestors() {
            let text = fs::read_to_string(mount.join(level).join(file)).unwrap_or_default();
            limits.extend(text.trim().parse::<u64>().ok().filter(|limit| *limit < NO_LIMIT));
        }
    }
    limits.into_iter().min()
}

fn memory_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Raises the soft limit of open descriptors as far as the hard one lets it, and answers what
/// holds then. `None`: without a limit.
pub fn raise_descriptor_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current?;
    let wanted = limit.maximum.unwrap_or(u64::MAX).min(DESCRIPTORS_WANTED);
    if wanted > current
        && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum })
            .is_ok()
    {
        return Some(wanted);
    }
    Some(current)
}

/// True for root, and for whoever acts as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What a directory lies on, as far as a cache cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// A local disk, or unknown.
    Disk,
    /// In memory: gone with the machine, and counted as memory.
    Tmpfs,
    /// A container's writable layer: slow, and gone with the container.
    Overlay,
    /// On another machine: its errors and locks are not a disk's.
    Network,
}

impl FileSystem {
    /// Why this is a poor place for a cache; `None` for a disk.
    pub fn warning(self) -> Option<&'static str> {
        match self {
            Self::Disk => None,
            Self::Tmpfs => {
                Some("is in memory (tmpfs): it counts as memory and is gone after a reboot")
            }
            Self::Overlay => Some(
                "is a container's writable layer (overlay): slow, and gone with the container; mount a volume",
            ),
            Self::Network => {
                Some("is a network file system: slow, and its locks and errors are not a disk's")
            }
        }
    }
}

/// The file system of an existing directory.
pub fn file_system(directory: &Path) -> io::Result<FileSystem> {
    let stat = rustix::fs::statfs(directory)?;
    // The magic numbers have 32 bits; the field is wider or narrower by platform.
    #[expect(clippy::allow_attributes, reason = "the cast is needed on some targets only")]
    #[allow(clippy::cast_lossless, clippy::unnecessary_cast, reason = "the field's type differs")]
    let magic = stat.f_type as u64 as u32;
    Ok(match magic {
        0x0102_1994 | 0x8584_58f6 => FileSystem::Tmpfs,   // tmpfs, ramfs
        0x794c_7630 => FileSystem::Overlay,
        0x6969              // NFS
        | 0xff53_4d42       // CIFS
        | 0xfe53_4d42       // SMB2
        | 0x517b            // SMB
        | 0x0102_1997       // 9p
        | 0x00c3_6400       // Ceph
        | 0x5346_414f       // AFS
        => FileSystem::Network,
        _ => FileSystem::Disk,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_cgroup_limit_counts_in_both_versions() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("app/memory.max", "1000\n");
        put("app/inner/memory.max", "max\n");
        put("memory/docker/x/memory.limit_in_bytes", "9223372036854771712\n");
        put("memory/memory.limit_in_bytes", "7000\n");
        for (case, membership, want) in [
            ("v2, limit above", "0::/app/inner\n", Some(1000)),
            ("v2, not limited", "0::/other\n", None),
            ("v1, limit at the root seen inside", "4:cpu,memory:/docker/x\n", Some(7000)),
            ("both", "4:memory:/\n0::/app\n", Some(1000)),
            ("nonsense", "no colons\n", None),
        ] {
            assert_eq!(cgroup_memory_limit(membership, root.path()), want, "{case}");
        }
    }

    #[test]
    fn meminfo_is_in_kibibytes() {
        assert_eq!(memory_total("MemTotal:       16 kB\nMemFree: 1 kB\n"), Some(16384));
        assert_eq!(memory_total(""), None);
    }

    #[test]
    fn raising_descriptors_twice_changes_nothing_more() {
        let first = raise_descriptor_limit();
        assert_eq!(raise_descriptor_limit(), first);
        assert!(first.is_none_or(|n| n >= 64));
    }

    #[test]
    fn a_directory_has_a_file_system() {
        let directory = tempfile::tempdir().unwrap();
        assert!(file_system(directory.path()).is_ok());
        assert!(file_system(Path::new("/nonexistent")).is_err());
        #[cfg(target_os = "linux")]
        if Path::new("/dev/shm").is_dir() {
            assert_eq!(file_system(Path::new("/dev/shm")).ok(), Some(FileSystem::Tmpfs));
        }
    }
}
