//! A stored response: what lookups find (DESIGN D3).
//!
//! Nothing of hyper's is kept: header values and body chunks are slices of a connection's read
//! buffer and would pin it. Names and values are copied once into one exact allocation, and a hit
//! builds its header map from slices of that.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cache::pieces::{Piece, Pieces, Place, Segments};
use crate::semantics::coding::Coding;
use crate::semantics::encoding;
use crate::semantics::spans::Span;
use crate::semantics::stored::Stored;
use crate::semantics::time::Timestamp;

/// A random name, of a response or of a run of segments.
pub type EntryId = [u8; 16];

/// Header fields in exact allocations, in the order in which the origin sent them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fields {
    list: Box<[(HeaderName, HeaderValue)]>,
    /// Bytes of all names and values.
    bytes: usize,
}

impl Fields {
    /// Copies the fields of `map`.
    pub fn copied(map: &HeaderMap) -> Self {
        let values: usize = map.values().map(HeaderValue::len).sum();
        let mut block = BytesMut::with_capacity(values);
        let mut bytes = 0;
        let mut list = Vec::with_capacity(map.len());
        for (name, value) in map {
            block.extend_from_slice(value.as_bytes());
            let own = HeaderValue::from_maybe_shared(block.split().freeze());
            // The bytes were a valid value a moment ago, so this never falls back.
            let own = own.unwrap_or_else(|_| HeaderValue::from_static(""));
            bytes += name.as_str().len() + own.len();
            // A name parsed from a read buffer is a slice of that buffer.
            let name = HeaderName::from_bytes(name.as_str().as_bytes()).unwrap_or(name.clone());
            list.push((name, own));
        }
        Self { list: list.into_boxed_slice(), bytes }
    }

    /// All fields.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&HeaderName, &HeaderValue)> + Clone {
        self.list.iter().map(|(name, value)| (name, value))
    }

    /// The fields as a map.
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        self.write_to(&mut map, 0);
        map
    }

    /// Adds the fields to `map`, which then has room for `extra` more.
    pub fn write_to(&self, map: &mut HeaderMap, extra: usize) {
        map.reserve(self.list.len() + extra);
        for (name, value) in &self.list {
            map.append(name.clone(), value.clone());
        }
    }

    /// The first value of `name`.
    pub fn get(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.list.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// All values of `name`.
    pub fn get_all<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a HeaderValue> {
        self.list.iter().filter(move |(own, _)| own == name).map(|(_, value)| value)
    }

    /// The coding that may be taken off the content that they describe.
    pub fn decodable(&self, stored: &Stored) -> Option<Coding> {
        let lines = self.iter().filter(|(name, _)| **name == CONTENT_ENCODING);
        let lines = lines.map(|(_, value)| value);
        encoding::decodable(stored.status, stored.no_transform, lines)
    }

    /// Memory that the fields take, in bytes.
    pub fn weight(&self) -> usize {
        self.list.len() * size_of::<(HeaderName, HeaderValue)>() + self.bytes
    }
}

/// One body of a stored response, in one content coding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredBody {
    /// Kept with the entry.
    Inline(Bytes),
    /// Kept in segments, in part, or both.
    Pieces(Arc<Pieces>),
}

impl StoredBody {
    /// The body whose pieces these are.
    pub fn of(pieces: Pieces) -> Self {
        match (pieces.is_whole(), pieces.only()) {
            (true, Some(Place::Inline(bytes))) => Self::Inline(bytes.clone()),
            _ => Self::Pieces(Arc::new(pieces)),
        }
    }

    /// The body that lies in these segments from its first byte to its last.
    pub fn segmented(segments: Segments) -> Self {
        let piece = Piece { span: segments.span, place: Place::Segments(segments) };
        Self::of(Pieces::none(segments.span.to()).with(piece, 0))
    }

    /// Length of the whole body in bytes, held or not.
    pub fn len(&self) -> u64 {
        match self {
            Self::Inline(bytes) => bytes.len() as u64,
            Self::Pieces(pieces) => pieces.len(),
        }
    }

    /// True for a body without a byte.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every byte of it is held.
    pub fn is_whole(&self) -> bool {
        match self {
            Self::Inline(_) => true,
            Self::Pieces(pieces) => pieces.is_whole(),
        }
    }

    /// What is held, in pieces.
    pub fn pieces(&self) -> Cow<'_, Pieces> {
        match self {
            Self::Pieces(pieces) => Cow::Borrowed(pieces),
            Self::Inline(bytes) => {
                let none = Pieces::none(bytes.len() as u64);
                Cow::Owned(match Span::new(0, none.len()) {
                    Some(span) => none.with(Piece { span, place: Place::Inline(bytes.clone()) }, 0),
                    None => none,
                })
            }
        }
    }

    /// The runs of segments that it lies in.
    pub fn segments(&self) -> impl Iterator<Item = Segments> {
        let pieces = match self {
            Self::Inline(_) => None,
            Self::Pieces(pieces) => Some(pieces.segments()),
        };
        pieces.into_iter().flatten()
    }

    fn weight(&self) -> usize {
        match self {
            Self::Inline(bytes) => bytes.len(),
            Self::Pieces(pieces) => pieces.weight(),
        }
    }
}

/// A stored response: one head and a body for each coding that was made of it (D6).
#[derive(Debug)]
pub struct Entry {
    /// What RFC 9111 decisions need, parsed.
    pub stored: Stored,
    /// The header fields as they are sent.
    pub fields: Fields,
    /// The body as the origin sent it; a 200's may be held in part only (RFC 9111 §3.3).
    pub identity: StoredBody,
    /// The same in the codings that Larder has made of it, each once.
    pub coded: Box<[(Coding, StoredBody)]>,
    /// The coding that the origin put on, where it may be taken off for who cannot take it.
    pub decodes: Option<Coding>,
    /// True where Larder may code the body: by its type, its directives and its own coding.
    pub compressible: bool,
    /// Names the response: with another life, or another body in a coding, it is still this one.
    pub id: EntryId,
    /// The purge log's position when the fetch began (D7).
    pub position: u64,
    /// The purge log's position up to which this entry was found valid.
    checked: AtomicU64,
    /// When a client last forced a fetch or validation, in ms since the epoch; 0: never.
    forced: AtomicU64,
    /// Codings that somebody is making, by the bit of their number.
    making: AtomicU8,
    /// Where on disk its copy was written, the smaller the older; [`Entry::NO_COPY`]: nowhere.
    copied: AtomicU64,
}

impl Entry {
    /// The position of an entry without a copy on disk that could grow old.
    pub const NO_COPY: u64 = u64::MAX;

    /// A new entry, fetched when the purge log stood at `position`.
    pub fn new(stored: Stored, fields: Fields, identity: StoredBody, position: u64) -> Self {
        let decodes = fields.decodable(&stored);
        Self {
            stored,
            fields,
            identity,
            coded: Box::default(),
            decodes,
            compressible: false,
            id: [0; 16],
            position,
            checked: AtomicU64::new(position),
            forced: AtomicU64::new(0),
            making: AtomicU8::new(0),
            copied: AtomicU64::new(Self::NO_COPY),
        }
    }

    /// The same response with other metadata: after a validation, at log position `position`.
    #[must_use]
    pub fn refreshed(&self, stored: Stored, fields: Fields, position: u64) -> Self {
        let decodes = fields.decodable(&stored);
        Self {
            stored,
            fields,
            identity: self.identity.clone(),
            coded: self.coded.clone(),
            decodes,
            compressible: self.compressible,
            id: self.id,
            position,
            checked: AtomicU64::new(position),
            forced: AtomicU64::new(self.forced.load(Ordering::Relaxed)),
            making: AtomicU8::new(0),
            copied: AtomicU64::new(Self::NO_COPY),
        }
    }

    /// The body that Larder has made in `coding`.
    pub fn body_in(&self, coding: Coding) -> Option<&StoredBody> {
        self.coded.iter().find(|(own, _)| *own == coding).map(|(_, body)| body)
    }

    /// The same response with a body in `coding` beside the others.
    #[must_use]
    pub fn with_coded(&self, coding: Coding, body: StoredBody) -> Self {
        let mut entry = self.refreshed(self.stored.clone(), self.fields.clone(), self.position);
        let others = self.coded.iter().filter(|(own, _)| *own != coding).cloned();
        entry.coded = others.chain([(coding, body)]).collect();
        entry.checked.store(self.checked_to(), Ordering::Relaxed);
        entry
    }

    /// The purge log's position up to which this entry was found valid.
    pub fn checked_to(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }

    /// Remembers that the entry is valid up to `position`.
    pub fn set_checked(&self, position: u64) {
        self.checked.fetch_max(position, Ordering::Relaxed);
    }

    /// When a client last forced a fetch or a validation.
    pub fn last_forced(&self) -> Option<Timestamp> {
        let millis = self.forced.load(Ordering::Relaxed);
        (millis != 0).then(|| Timestamp::from_millis(millis))
    }

    /// Remembers that a client forces a fetch or a validation now.
    pub fn set_forced(&self, now: Timestamp) {
        self.forced.store(now.as_millis(), Ordering::Relaxed);
    }

    /// True for the first caller: it makes the missing body in `coding`. Others use what there is.
    pub fn claim_coding(&self, coding: Coding) -> bool {
        let bit = 1 << coding as u8;
        self.making.fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    /// The body in `coding` is no longer being made by who has claimed it.
    pub fn release_coding(&self, coding: Coding) {
        self.making.fetch_and(!(1 << coding as u8), Ordering::Relaxed);
    }

    /// A body of it lies in segments.
    pub fn is_segmented(&self) -> bool {
        let coded = self.coded.iter().map(|(_, body)| body);
        std::iter::once(&self.identity).chain(coded).any(|body| body.segments().next().is_some())
    }

    /// Where on disk its copy was written.
    pub fn copied(&self) -> u64 {
        self.copied.load(Ordering::Relaxed)
    }

    /// Its copy on disk was written at `position`.
    pub fn set_copied(&self, position: u64) {
        self.copied.store(position, Ordering::Relaxed);
    }

    /// Takes the copy written at `position` off, to be written again: true for the first caller.
    pub fn claim_copy(&self, position: u64) -> bool {
        let (no_copy, order) = (Self::NO_COPY, Ordering::Relaxed);
        self.copied.compare_exchange(position, no_copy, order, order).is_ok()
    }

    /// Memory that the entry takes, in bytes.
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + self.fields.weight()
            + self.stored.groups.iter().map(|name| name.len() + size_of::<String>()).sum::<usize>()
            + self.stored.tags.weight()
            + self.identity.weight()
            + size_of_val(&*self.coded)
            + self.coded.iter().map(|(_, body)| body.weight()).sum::<usize>()
    }
}

/// What the primary slot of a key holds when its responses vary (D2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variants {
    /// The selecting header fields, lower case and sorted.
    pub names: Box<[HeaderName]>,
    /// Part of each variant's key; a new list has a new one, so that no older variant comes back.
    pub generation: u64,
    /// The variants stored, oldest first; bounded by `cache.max_variants`.
    pub known: Vec<Known>,
}

/// One variant of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The normalised values that select it.
    pub values: Bytes,
    /// Its language, where it tells one.
    pub language: Option<Box<str>>,
}

impl Variants {
    fn weight(&self) -> usize {
        size_of::<Self>()
            + self.names.iter().map(|name| name.as_str().len() + 40).sum::<usize>()
            + self.known.iter().map(Known::weight).sum::<usize>()
    }
}

impl Known {
    fn weight(&self) -> usize {
        size_of::<Self>() + self.values.len() + self.language.as_ref().map_or(0, |name| name.len())
    }
}

/// What a key leads to.
#[derive(Debug, Clone)]
pub enum Slot {
    /// A response.
    Entry(Arc<Entry>),
    /// The list of selecting header fields.
    Variants(Arc<Variants>),
    /// A piece of a larger body.
    Segment(Bytes),
}

impl Slot {
    /// They are one and the same, not only alike.
    pub fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Entry(one), Self::Entry(two)) => Arc::ptr_eq(one, two),
            (Self::Variants(one), Self::Variants(two)) => Arc::ptr_eq(one, two),
            (Self::Segment(one), Self::Segment(two)) => one.as_ptr() == two.as_ptr(),
            _ => false,
        }
    }

    /// Memory that the slot takes beside its key, in bytes.
    pub fn weight(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::Entry(entry) => entry.weight(),
                Self::Variants(variants) => variants.weight(),
                Self::Segment(bytes) => bytes.len(),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copied_fields_share_no_buffer_with_their_source() {
        let read_buffer = Bytes::from(vec![b'x'; 400_000]);
        let mut map = HeaderMap::new();
        let value = HeaderValue::from_maybe_shared(read_buffer.slice(10..20)).unwrap();
        map.insert("x-large", value);
        let fields = Fields::copied(&map);
        drop(map);
        assert!(read_buffer.is_unique(), "a stored field pins the read buffer");
        assert_eq!(fields.get(&HeaderName::from_static("x-large")).unwrap().len(), 10);
    }

    #[test]
    fn a_body_in_segments_is_whole_and_has_its_length() {
        let span = Span::new(0, 9).unwrap();
        let body = StoredBody::segmented(Segments { id: [7; 16], span, segment: 4 });
        assert_eq!((body.len(), body.is_whole(), body.is_empty()), (9, true, false));
        assert_eq!(body.segments().map(|run| run.count()).sum::<u32>(), 3);
        let inline = StoredBody::Inline(Bytes::from_static(b"abc"));
        assert_eq!(StoredBody::of(inline.pieces().into_owned()), inline);
        let empty = StoredBody::Inline(Bytes::new());
        assert!(empty.is_whole() && empty.pieces().is_whole());
    }
}
