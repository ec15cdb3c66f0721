//! Keys and values as foyer writes them.
//!
//! foyer checks a sum of its own over what it wrote; ours goes over key and value together and is
//! made when the entry is stored, so that it also covers the way through memory.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, Hasher};
use std::io::{Read, Write};

use bytes::Bytes;
use equivalent::Equivalent;
use foyer::{Code, Error, ErrorKind};
use siphasher::sip::SipHasher13;
use twox_hash::XxHash3_64;

use crate::cache::disk::geometry::PAGE;
use crate::cache::hash::KeyedHasher;

/// What foyer puts before each entry.
const FOYER_HEADER: usize = 36;
/// Length of a key; sum and length of a value.
const OUR_HEADERS: usize = 4 + 8 + 4;
/// No entry can be larger, whatever its length field says.
const MAX_LEN: u32 = 1 << 30;

/// Hashes and compares as its bytes do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct DiskKey(pub(super) Bytes);

/// A key of which only the hash is known: enough for foyer to delete it.
pub(super) struct Hashed(pub(super) u64);

impl Hash for Hashed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.0.into());
    }
}

impl Equivalent<DiskKey> for Hashed {
    fn equivalent(&self, _: &DiskKey) -> bool {
        false
    }
}

/// Finds keys by the directory's keyed hash, and [`Hashed`] by the hash that it is.
#[derive(Debug, Clone)]
pub(super) struct IndexHasher(pub(super) KeyedHasher);

pub(super) struct IndexHash {
    keyed: SipHasher13,
    known: Option<u64>,
}

impl BuildHasher for IndexHasher {
    type Hasher = IndexHash;

    fn build_hasher(&self) -> IndexHash {
        IndexHash { keyed: self.0.build_hasher(), known: None }
    }
}

impl Hasher for IndexHash {
    fn write(&mut self, bytes: &[u8]) {
        self.keyed.write(bytes);
    }

    /// Bytes never come this way.
    fn write_u128(&mut self, hash: u128) {
        self.known = Some(hash as u64);
    }

    fn finish(&self) -> u64 {
        self.known.unwrap_or_else(|| self.keyed.finish())
    }
}

/// A value and the sum over it and its key.
#[derive(Debug, Clone)]
pub(super) struct DiskValue {
    sum: u64,
    bytes: Bytes,
}

/// A value that was read from disk.
pub(super) struct Loaded {
    pub(super) value: Bytes,
    /// Its block is among the next to be evicted.
    pub(super) old: bool,
}

/// Bytes that an entry takes on disk.
pub(super) fn size_on_disk(key: &[u8], value: &[u8]) -> usize {
    key.len()
        .saturating_add(value.len())
        .saturating_add(FOYER_HEADER + OUR_HEADERS)
        .checked_next_multiple_of(PAGE)
        .unwrap_or(usize::MAX)
}

impl DiskValue {
    pub(super) fn new(key: &[u8], bytes: Bytes) -> Self {
        Self { sum: sum(key, &bytes), bytes }
    }

    /// The value, if it is what was stored under `key`.
    pub(super) fn checked(self, key: &[u8]) -> Option<Bytes> {
        (self.sum == sum(key, &self.bytes)).then_some(self.bytes)
    }
}

fn sum(key: &[u8], value: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(key), value)
}

impl Borrow<[u8]> for DiskKey {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl Code for DiskKey {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        write_bytes(writer, &self.0)
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        read_bytes(reader).map(Self)
    }

    fn estimated_size(&self) -> usize {
        self.0.len() + 4
    }
}

impl Code for DiskValue {
    fn encode(&self, writer: &mut impl Write) -> foyer::Result<()> {
        writer.write_all(&self.sum.to_le_bytes()).map_err(Error::io_error)?;
        write_bytes(writer, &self.bytes)
    }

    fn decode(reader: &mut impl Read) -> foyer::Result<Self> {
        let mut sum = [0; 8];
        reader.read_exact(&mut sum).map_err(Error::io_error)?;
        Ok(Self { sum: u64::from_le_bytes(sum), bytes: read_bytes(reader)? })
    }

    fn estimated_size(&self) -> usize {
        self.bytes.len() + 12
    }
}

fn write_bytes(writer: &mut impl Write, bytes: &[u8]) -> foyer::Result<()> {
    let len = u32::try_from(bytes.len())
        .map_err(|_| Error::new(ErrorKind::OutOfRange, "entry larger than 4 GiB"))?;
    writer.write_all(&len.to_le_bytes()).map_err(Error::io_error)?;
    writer.write_all(bytes).map_err(Error::io_error)
}

fn read_bytes(reader: &mut impl Read) -> foyer::Result<Bytes> {
    let mut len = [0; 4];
    reader.read_exact(&mut len).map_err(Error::io_error)?;
    let len = u32::from_le_bytes(len);
    if len > MAX_LEN {
        return Err(Error::new(ErrorKind::OutOfRange, "length field out of bounds"));
    }
    // foyer has checked its sum by now, so that the length is what was written.
    let mut bytes = Vec::with_capacity(len as usize);
    reader.take(u64::from(len)).read_to_end(&mut bytes).map_err(Error::io_error)?;
    if bytes.len() < len as usize {
        return Err(Error::new(ErrorKind::OutOfRange, "entry shorter than its length field"));
    }
    Ok(Bytes::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read(key: Vec<u8>, value: Vec<u8>) {
            let written = DiskValue::new(&key, Bytes::from(value.clone()));
            let mut bytes = Vec::new();
            written.encode(&mut bytes).unwrap();
            DiskKey(Bytes::from(key.clone())).encode(&mut bytes).unwrap();
            prop_assert!(bytes.len() + FOYER_HEADER <= size_on_disk(&key, &value));
            let mut rest = bytes.as_slice();
            let read = DiskValue::decode(&mut rest).unwrap();
            prop_assert_eq!(&DiskKey::decode(&mut rest).unwrap().0[..], &key[..]);
            prop_assert_eq!(read.checked(&key).unwrap(), value);
        }

        #[test]
        fn nothing_that_was_damaged_is_read(
            key: Vec<u8>, value: Vec<u8>, at: prop::sample::Index, flip in 1_u8..
        ) {
            let mut bytes = Vec::new();
            DiskValue::new(&key, Bytes::from(value)).encode(&mut bytes).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let read = DiskValue::decode(&mut bytes.as_slice()).ok();
            prop_assert_eq!(read.and_then(|value| value.checked(&key)), None);
        }
    }

    #[test]
    fn a_hash_stands_for_its_key() {
        let hasher = IndexHasher(KeyedHasher::new([7; 16]));
        let (key, hash) = (DiskKey(Bytes::from_static(b"k")), hasher.hash_one(b"k".as_slice()));
        assert_eq!(hasher.hash_one(&key), hash);
        assert_eq!(hasher.hash_one(Hashed(hash)), hash);
        assert_ne!(hasher.hash_one(b"l".as_slice()), hash);
    }

    #[test]
    fn another_key_does_not_do() {
        let value = DiskValue::new(b"a", Bytes::from_static(b"x"));
        assert_eq!(value.checked(b"b"), None);
    }
}
