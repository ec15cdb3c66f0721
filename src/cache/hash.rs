//! The keyed hash that finds entries.
//!
//! An unkeyed hash would let whoever chooses URLs choose collisions too. The key is random, made
//! once a directory and kept beside the disk cache (`hash.key`, readable by its owner only),
//! because foyer's disk index finds entries by hash again after a restart. Without a directory
//! every process draws its own.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::hash::BuildHasher;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use siphasher::sip::SipHasher13;

/// Length of the hash key, in bytes.
pub const KEY_LEN: usize = 16;

/// The file that keeps the key, in the cache directory.
const FILE: &str = "hash.key";

/// SipHash-1-3 with a secret key.
#[derive(Clone)]
pub struct KeyedHasher {
    key: [u8; KEY_LEN],
}

impl KeyedHasher {
    /// A hasher with this key.
    pub fn new(key: [u8; KEY_LEN]) -> Self {
        Self { key }
    }

    /// A number that tells one key from another without telling the key.
    pub fn fingerprint(&self) -> u64 {
        self.hash_one("larder hash key")
    }
}

impl BuildHasher for KeyedHasher {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_key(&self.key)
    }
}

impl fmt::Debug for KeyedHasher {
    /// Never shows the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyedHasher")
    }
}

/// The key kept in `dir`, made if there is none; a random one of this process where there is no
/// directory, or where it can neither be read nor written.
pub fn hash_key(dir: Option<&Path>) -> [u8; KEY_LEN] {
    match dir.map(stored_key) {
        Some(Ok(key)) => key,
        Some(Err(error)) => {
            tracing::warn!(%error, "the hash key cannot be kept: this run uses one of its own");
            random_key()
        }
        None => random_key(),
    }
}

/// Reads the key of `dir`, or makes it. Two processes that do so at once end with the same key:
/// a new one is written aside and then linked, which fails where the name exists.
pub fn stored_key(dir: &Path) -> io::Result<[u8; KEY_LEN]> {
    let path = dir.join(FILE);
    match read_key(&path) {
        Ok(Some(key)) => return Ok(key),
        // Half a key is no key; whatever was stored under it is lost anyway.
        Ok(None) => fs::remove_file(&path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::create_dir_all(dir)?;
    let aside = dir.join(format!("{FILE}.{}.{:x}", std::process::id(), random_number()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        file.write_all(&random_key())?;
        file.sync_all()?;
        match fs::hard_link(&aside, &path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                // Some file systems know no hard links; there the last writer wins.
                fs::rename(&aside, &path)
            }
            _ => Ok(()),
        }
    })();
    let _ = fs::remove_file(&aside);
    written?;
    read_key(&path)?.ok_or_else(|| io::Error::other("hash.key has a wrong length"))
}

fn read_key(path: &Path) -> io::Result<Option<[u8; KEY_LEN]>> {
    let mut bytes = Vec::with_capacity(KEY_LEN + 1);
    fs::File::open(path)?.take(KEY_LEN as u64 + 1).read_to_end(&mut bytes)?;
    Ok(<[u8; KEY_LEN]>::try_from(bytes.as_slice()).ok())
}

fn random_key() -> [u8; KEY_LEN] {
    let mut key = [0; KEY_LEN];
    if getrandom::fill(&mut key).is_err() {
        // std's own seed is random, too, where the system's source is missing for us.
        let std = std::collections::hash_map::RandomState::new();
        let halves = [std.hash_one(1_u8), std.hash_one(2_u8)];
        for (to, from) in key.iter_mut().zip(halves.iter().flat_map(|h| h.to_le_bytes())) {
            *to = from;
        }
    }
    key
}

fn random_number() -> u64 {
    std::collections::hash_map::RandomState::new().hash_one(0_u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_keeps_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let first = hash_key(Some(dir.path()));
        assert_eq!(first, hash_key(Some(dir.path())));
        let mode = fs::metadata(dir.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left aside");
    }

    #[test]
    fn half_a_key_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(FILE), b"short").unwrap();
        let key = hash_key(Some(dir.path()));
        assert_eq!(fs::read(dir.path().join(FILE)).unwrap(), key);
    }

    #[test]
    fn keys_and_their_hashes_differ() {
        let (a, b) = (hash_key(None), hash_key(None));
        assert_ne!(a, b);
        let (a, b) = (KeyedHasher::new(a), KeyedHasher::new(b));
        assert_ne!(a.hash_one("x"), b.hash_one("x"));
        assert_ne!(a.fingerprint(), b.fingerprint());
        assert_eq!(format!("{a:?}"), "KeyedHasher");
    }

    #[test]
    fn many_at_once_agree() {
        let dir = tempfile::tempdir().unwrap();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let handles: Vec<_> =
                (0..8).map(|_| scope.spawn(|| hash_key(Some(dir.path())))).collect();
            handles.into_iter().map(|h| h.join().unwrap()).collect()
        });
        assert!(keys.windows(2).all(|pair| pair[0] == pair[1]));
    }
}
