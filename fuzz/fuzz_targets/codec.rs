//! The codec: what was written reads back, and nothing that was damaged reads as something else.

#![no_main]

use std::sync::Arc;
use std::time::Duration;

use arbitrary::Arbitrary;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use larder::cache::codec;
use larder::cache::entry::{Entry, Fields, Known, Slot, StoredBody, Variants};
use larder::cache::pieces::{Piece, Pieces, Place, Segments};
use larder::semantics::coding::Coding;
use larder::semantics::etag::EntityTag;
use larder::semantics::spans::Span;
use larder::semantics::stored::Stored;
use larder::semantics::time::{DeltaSeconds, Timestamp};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    slot: Kind<'a>,
    damage: Damage,
    raw: &'a [u8],
}

#[derive(Debug, Arbitrary)]
enum Kind<'a> {
    Entry(Box<Parts<'a>>),
    Variants { names: Vec<&'a [u8]>, generation: u64, known: Vec<(&'a [u8], Option<&'a str>)> },
    Segment(&'a [u8]),
}

#[derive(Debug, Arbitrary)]
struct Parts<'a> {
    status: u16,
    times: [u32; 4],
    spans: [Option<u32>; 3],
    flags: [bool; 5],
    tag: &'a [u8],
    fields: Vec<(&'a [u8], &'a [u8])>,
    body: &'a [u8],
    pieces: Option<(u64, Vec<Part<'a>>)>,
    coded: [Option<&'a [u8]>; 3],
    id: [u8; 16],
    position: u64,
}

/// A piece of a body, behind so many bytes that are not held.
#[derive(Debug, Arbitrary)]
enum Part<'a> {
    Inline(u32, &'a [u8]),
    Segments { gap: u32, len: u32, cut: (u32, u32), segment: u32, id: [u8; 16] },
}

#[derive(Debug, Arbitrary)]
enum Damage {
    None,
    Flip(usize, u8),
    Cut(usize),
    More(u8),
    Swap(usize, usize),
}

impl Parts<'_> {
    fn entry(&self) -> Entry {
        let [a, b, c, d] = self.times.map(u64::from);
        let [if_error, while_revalidating, _] =
            self.spans.map(|s| s.map(|s| DeltaSeconds::new(s.into())));
        let [heuristic, must_revalidate, no_cache, validator, compressible] = self.flags;
        let stored = Stored {
            status: self.status,
            request_time: Timestamp::from_millis(a),
            response_time: Timestamp::from_millis(b),
            date: Timestamp::from_secs(c),
            initial_age: Duration::from_millis(d),
            lifetime: Duration::from_millis(a),
            heuristic,
            must_revalidate,
            no_cache,
            no_transform: heuristic,
            immutable: validator,
            stale_if_error: if_error,
            stale_while_revalidate: while_revalidating,
            etag: EntityTag::parse(self.tag),
            last_modified: self.spans[2].map(|secs| Timestamp::from_secs(secs.into())),
            validator,
            groups: Vec::new(),
            tags: Default::default(),
        };
        let mut map = HeaderMap::new();
        for (name, value) in &self.fields {
            let pair = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value));
            if let (Ok(name), Ok(value)) = pair {
                map.append(name, value);
            }
        }
        let inline = || StoredBody::Inline(Bytes::copy_from_slice(self.body));
        let body = self.pieces.as_ref().and_then(|(more, parts)| pieces(*more, parts));
        let body = body.map_or_else(inline, StoredBody::of);
        let mut entry = Entry::new(stored, Fields::copied(&map), body, self.position);
        let codings = [Coding::Gzip, Coding::Br, Coding::Zstd].into_iter().zip(self.coded);
        entry.coded = codings
            .filter_map(|(coding, body)| {
                Some((coding, StoredBody::Inline(Bytes::copy_from_slice(body?))))
            })
            .collect();
        entry.id = self.id;
        entry.compressible = compressible;
        entry
    }
}

/// `parts`, and `more` bytes behind them.
fn pieces(more: u64, parts: &[Part<'_>]) -> Option<Pieces> {
    let mut list = Vec::new();
    let mut at: u64 = 0;
    for part in parts {
        let (span, place) = match part {
            Part::Inline(gap, bytes) => {
                let from = at + u64::from(*gap);
                let span = Span::new(from, from + bytes.len() as u64)?;
                (span, Place::Inline(Bytes::copy_from_slice(bytes)))
            }
            Part::Segments { gap, len, cut: (front, back), segment, id } => {
                let from = at + u64::from(*gap);
                let run = Span::new(from, from + u64::from(*len))?;
                let own = Span::new(
                    run.from() + u64::from(*front),
                    run.to().checked_sub((*back).into())?,
                )?;
                let segment = (*segment).max(1);
                (own, Place::Segments(Segments { id: *id, span: run, segment }))
            }
        };
        at = span.to();
        list.push(Piece { span, place });
    }
    Pieces::of(at.checked_add(more)?, list)
}

fn is_same(one: &Slot, other: &Slot) -> bool {
    match (one, other) {
        (Slot::Segment(one), Slot::Segment(other)) => one == other,
        (Slot::Variants(one), Slot::Variants(other)) => one == other,
        (Slot::Entry(one), Slot::Entry(other)) => {
            one.stored == other.stored
                && one.fields == other.fields
                && one.identity == other.identity
                && one.coded == other.coded
                && one.compressible == other.compressible
                && one.id == other.id
                && one.position == other.position
        }
        _ => false,
    }
}

fuzz_target!(|input: Input| {
    let _ = codec::decode(&Bytes::copy_from_slice(input.raw));
    let slot = match &input.slot {
        Kind::Entry(parts) => Slot::Entry(Arc::new(parts.entry())),
        Kind::Variants { names, generation, known } => Slot::Variants(Arc::new(Variants {
            names: names.iter().filter_map(|name| HeaderName::from_bytes(name).ok()).collect(),
            generation: *generation,
            known: (known.iter())
                .map(|(values, language)| Known {
                    values: Bytes::copy_from_slice(values),
                    language: language.map(Into::into),
                })
                .collect(),
        })),
        Kind::Segment(bytes) => Slot::Segment(Bytes::copy_from_slice(bytes)),
    };
    let written = codec::encode(&slot).expect("small enough");
    let read = codec::decode(&written).expect("as it was written");
    assert!(is_same(&read, &slot));
    assert_eq!(codec::encode(&read).expect("small enough"), written, "one form for each");
    let mut bytes = written.to_vec();
    match input.damage {
        Damage::None => {}
        Damage::Flip(at, bit) => {
            let at = at % bytes.len();
            bytes[at] ^= 1 << (bit % 8);
        }
        Damage::Cut(to) => bytes.truncate(to % (bytes.len() + 1)),
        Damage::More(byte) => bytes.push(byte),
        Damage::Swap(one, other) => {
            let len = bytes.len();
            bytes.swap(one % len, other % len);
        }
    }
    if bytes != written {
        let read = codec::decode(&Bytes::from(bytes));
        assert!(read.is_err(), "damaged, and read as {read:?}");
    }
});
