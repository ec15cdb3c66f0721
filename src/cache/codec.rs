//! Slots as bytes, for the disk and for Redis alike (DESIGN D3).
//!
//! ```text
//! magic "LRDR" | version u8 | kind u8 | head length u32 | XXH3-64 of what follows | head | bodies
//! ```
//!
//! Kind and head length seed the hash, so that damage to them shows like any other.
//! The head is postcard; bodies stand behind it as they are, so that decoding slices them out
//! without a copy. Anything that does not read back exactly is a [`CodecError`]: to callers a
//! miss that is counted.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_64;

use crate::cache::entry::{Entry, EntryId, Fields, Known, Slot, StoredBody, Variants};
use crate::cache::pieces::{Piece, Pieces, Place, Segments};
use crate::semantics::coding::Coding;
use crate::semantics::spans::Span;
use crate::semantics::stored::Stored;

/// Version of the format; part of the disk's geometry marker too.
pub const VERSION: u8 = 6;

const MAGIC: [u8; 4] = *b"LRDR";
const PREFIX: usize = 4 + 1 + 1 + 4 + 8;

const KIND_ENTRY: u8 = 0;
const KIND_VARIANTS: u8 = 1;
const KIND_SEGMENT: u8 = 2;

/// Why bytes are no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Not ours at all, or too short.
    #[error("not a stored response")]
    Magic,
    /// Written by another version of Larder.
    #[error("stored with format {0}; this build reads {VERSION}")]
    Version(u8),
    /// Damaged.
    #[error("checksum does not match")]
    Checksum,
    /// The checksum is right, the content is not.
    #[error("stored response does not decode")]
    Content,
}

#[derive(Serialize, Deserialize)]
enum BodyHead {
    Inline(u32),
    Pieces { len: u64, list: Vec<PieceHead> },
}

/// A piece, by its first byte and the one behind its last.
#[derive(Serialize, Deserialize)]
struct PieceHead {
    span: (u64, u64),
    place: PlaceHead,
}

#[derive(Serialize, Deserialize)]
enum PlaceHead {
    /// Its bytes stand with the bodies.
    Inline,
    Segments {
        id: EntryId,
        span: (u64, u64),
        segment: u32,
    },
}

#[derive(Serialize, Deserialize)]
struct EntryHead {
    stored: Stored,
    fields: Vec<(String, Vec<u8>)>,
    identity: BodyHead,
    /// By the numbers of their codings.
    coded: Vec<(u8, BodyHead)>,
    compressible: bool,
    id: EntryId,
    position: u64,
}

#[derive(Serialize, Deserialize)]
struct VariantsHead {
    names: Vec<String>,
    generation: u64,
    known: Vec<(Vec<u8>, Option<String>)>,
}

/// Writes `slot` as bytes.
///
/// # Errors
/// [`CodecError::Content`] where a part is larger than the format can tell (4 GiB).
pub fn encode(slot: &Slot) -> Result<Bytes, CodecError> {
    match slot {
        Slot::Entry(entry) => encode_entry(entry),
        Slot::Variants(variants) => {
            let head = VariantsHead {
                names: variants.names.iter().map(|name| name.as_str().to_owned()).collect(),
                generation: variants.generation,
                known: (variants.known.iter())
                    .map(|one| (one.values.to_vec(), one.language.as_deref().map(str::to_owned)))
                    .collect(),
            };
            assemble(KIND_VARIANTS, &to_bytes(&head)?, &[])
        }
        Slot::Segment(bytes) => assemble(KIND_SEGMENT, &[], &[bytes]),
    }
}

fn encode_entry(entry: &Entry) -> Result<Bytes, CodecError> {
    let head = EntryHead {
        stored: entry.stored.clone(),
        fields: (entry.fields.iter())
            .map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec()))
            .collect(),
        identity: body_head(&entry.identity)?,
        coded: (entry.coded.iter())
            .map(|(coding, body)| Ok((*coding as u8, body_head(body)?)))
            .collect::<Result<_, CodecError>>()?,
        compressible: entry.compressible,
        id: entry.id,
        position: entry.position,
    };
    let mut bodies: Vec<&Bytes> = Vec::with_capacity(1 + entry.coded.len());
    for body in [&entry.identity].into_iter().chain(entry.coded.iter().map(|(_, body)| body)) {
        match body {
            StoredBody::Inline(bytes) => bodies.push(bytes),
            StoredBody::Pieces(pieces) => bodies.extend(pieces.iter().filter_map(inline)),
        }
    }
    assemble(KIND_ENTRY, &to_bytes(&head)?, &bodies)
}

fn inline(piece: &Piece) -> Option<&Bytes> {
    match &piece.place {
        Place::Inline(bytes) => Some(bytes),
        Place::Segments(_) => None,
    }
}

fn body_head(body: &StoredBody) -> Result<BodyHead, CodecError> {
    let pieces = match body {
        StoredBody::Inline(bytes) => {
            let len = u32::try_from(bytes.len()).map_err(|_| CodecError::Content)?;
            return Ok(BodyHead::Inline(len));
        }
        StoredBody::Pieces(pieces) => pieces,
    };
    let ends = |span: Span| (span.from(), span.to());
    let list = pieces.iter().map(|Piece { span, place }| PieceHead {
        span: ends(*span),
        place: match place {
            Place::Inline(_) => PlaceHead::Inline,
            Place::Segments(Segments { id, span, segment }) => {
                PlaceHead::Segments { id: *id, span: ends(*span), segment: *segment }
            }
        },
    });
    Ok(BodyHead::Pieces { len: pieces.len(), list: list.collect() })
}

fn to_bytes(head: &impl Serialize) -> Result<Vec<u8>, CodecError> {
    postcard::to_allocvec(head).map_err(|_| CodecError::Content)
}

fn assemble(kind: u8, head: &[u8], bodies: &[&Bytes]) -> Result<Bytes, CodecError> {
    let head_len = u32::try_from(head.len()).map_err(|_| CodecError::Content)?;
    let len: usize = bodies.iter().map(|body| body.len()).sum();
    let mut out = BytesMut::with_capacity(PREFIX + head.len() + len);
    out.put_slice(&MAGIC);
    out.put_u8(VERSION);
    out.put_u8(kind);
    out.put_u32_le(head_len);
    out.put_u64_le(0);
    out.put_slice(head);
    for body in bodies {
        out.put_slice(body);
    }
    let sum = sum(kind, head_len, out.get(PREFIX..).unwrap_or_default());
    if let Some(place) = out.get_mut(PREFIX - 8..PREFIX) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
    Ok(out.freeze())
}

/// The checksum: of `rest`, and of what tells how it is read.
fn sum(kind: u8, head_len: u32, rest: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(u64::from(kind) << 32 | u64::from(head_len), rest)
}

/// Reads a slot from `bytes`; bodies are slices of them.
///
/// # Errors
/// Whatever is not exactly what [`encode`] wrote.
pub fn decode(bytes: &Bytes) -> Result<Slot, CodecError> {
    let prefix: &[u8; PREFIX] = bytes.first_chunk().ok_or(CodecError::Magic)?;
    let [m0, m1, m2, m3, version, kind, l0, l1, l2, l3, written @ ..] = *prefix;
    if [m0, m1, m2, m3] != MAGIC {
        return Err(CodecError::Magic);
    }
    if version != VERSION {
        return Err(CodecError::Version(version));
    }
    let rest = bytes.slice(PREFIX..);
    let head_len = u32::from_le_bytes([l0, l1, l2, l3]);
    if sum(kind, head_len, &rest) != u64::from_le_bytes(written) {
        return Err(CodecError::Checksum);
    }
    let head_len = head_len as usize;
    let head = rest.get(..head_len).ok_or(CodecError::Content)?;
    let bodies = rest.slice(head_len..);
    match kind {
        KIND_ENTRY => decode_entry(head, bodies),
        KIND_VARIANTS => decode_variants(head),
        KIND_SEGMENT => Ok(Slot::Segment(bodies)),
        _ => Err(CodecError::Content),
    }
}

fn decode_entry(head: &[u8], mut bodies: Bytes) -> Result<Slot, CodecError> {
    let head: EntryHead = postcard::from_bytes(head).map_err(|_| CodecError::Content)?;
    let mut map = HeaderMap::with_capacity(head.fields.len());
    for (name, value) in &head.fields {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| CodecError::Content)?;
        let value = HeaderValue::from_bytes(value).map_err(|_| CodecError::Content)?;
        map.append(name, value);
    }
    let identity = body(head.identity, &mut bodies)?;
    let mut coded = Vec::with_capacity(head.coded.len());
    for (number, of) in head.coded {
        let coding = Coding::numbered(number).ok_or(CodecError::Content)?;
        coded.push((coding, body(of, &mut bodies)?));
    }
    if !bodies.is_empty() {
        return Err(CodecError::Content);
    }
    let mut entry = Entry::new(head.stored, Fields::copied(&map), identity, head.position);
    entry.coded = coded.into();
    entry.compressible = head.compressible;
    entry.id = head.id;
    Ok(Slot::Entry(Arc::new(entry)))
}

fn body(head: BodyHead, rest: &mut Bytes) -> Result<StoredBody, CodecError> {
    let mut take = |len: u64| {
        let len = usize::try_from(len).ok().filter(|len| *len <= rest.len());
        len.map(|len| rest.split_to(len)).ok_or(CodecError::Content)
    };
    let (len, list) = match head {
        BodyHead::Inline(len) => return Ok(StoredBody::Inline(take(u64::from(len))?)),
        BodyHead::Pieces { len, list } => (len, list),
    };
    let span = |(from, to)| Span::new(from, to).ok_or(CodecError::Content);
    let mut pieces = Vec::with_capacity(list.len());
    for head in list {
        let own = span(head.span)?;
        let place = match head.place {
            PlaceHead::Inline => Place::Inline(take(own.len())?),
            PlaceHead::Segments { id, span: run, segment } => {
                let run = span(run)?;
                if segment == 0 || !run.contains(own) {
                    return Err(CodecError::Content);
                }
                Place::Segments(Segments { id, span: run, segment })
            }
        };
        pieces.push(Piece { span: own, place });
    }
    Pieces::of(len, pieces).map(StoredBody::of).ok_or(CodecError::Content)
}

fn decode_variants(head: &[u8]) -> Result<Slot, CodecError> {
    let head: VariantsHead = postcard::from_bytes(head).map_err(|_| CodecError::Content)?;
    let names: Result<_, _> =
        head.names.iter().map(|name| HeaderName::from_bytes(name.as_bytes())).collect();
    Ok(Slot::Variants(Arc::new(Variants {
        names: names.map_err(|_| CodecError::Content)?,
        generation: head.generation,
        known: (head.known.into_iter())
            .map(|(values, language)| Known {
                values: values.into(),
                language: language.map(String::into_boxed_str),
            })
            .collect(),
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_shows() {
        let names = Box::from([HeaderName::from_static("accept")]);
        let known = vec![Known { values: Bytes::from_static(b"x"), language: None }];
        let variants = Slot::Variants(Arc::new(Variants { names, generation: 7, known }));
        for slot in
            [variants, Slot::Segment(Bytes::from_static(b"abc")), Slot::Segment(Bytes::new())]
        {
            let written = encode(&slot).unwrap();
            assert!(decode(&written).is_ok());
            for bit in 0..written.len() * 8 {
                let mut bytes = written.to_vec();
                *bytes.get_mut(bit / 8).unwrap() ^= 1 << (bit % 8);
                let read = decode(&Bytes::from(bytes));
                assert!(read.is_err(), "bit {bit} of {written:?}: {read:?}");
            }
        }
    }
}
