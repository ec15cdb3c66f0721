//! A 206 of the origin: what it is good for (RFC 9111 §3.3, §3.4), and how it is kept.

use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE};
use http::{HeaderMap, Response};
use http_body::Body as _;

use crate::cache::entry::{Entry, Fields, StoredBody};
use crate::cache::pieces::{Piece, Pieces, Place, Segments};
use crate::cache::tiers::{Found, Lookup, Tiers, ToDisk};
use crate::proxy::fill::{Filling, Plan, entry_id};
use crate::semantics::content_range::ContentRange;
use crate::semantics::range::Strong;
use crate::semantics::spans::Span;
use crate::semantics::time::Timestamp;
use crate::semantics::{date, encoding, guard, key, validation, vary};
use crate::upstream::ResponseBody;

/// What a 206 is.
pub(super) enum Verdict {
    /// A part that can be kept: of what is held already, or by itself.
    Part(ContentRange),
    /// Not of the representation that is held.
    Foreign,
    /// It contradicts itself, or does not say what it holds: neither kept nor relabelled.
    Wrong,
}

/// Judges a 206. `base`: what is held, for which `expected` was asked.
pub(super) fn judge(response: &Response<ResponseBody>, base: Option<(&Found, Span)>) -> Verdict {
    let Some(range) = ContentRange::of(response.headers()) else { return Verdict::Wrong };
    if response.body().size_hint().exact().is_some_and(|len| len != range.span.len()) {
        return Verdict::Wrong;
    }
    let Some((base, expected)) = base else { return Verdict::Part(range) };
    let entry = &base.entry;
    let same = Strong::of_fields(response.headers())
        .is_some_and(|strong| Some(strong) == Strong::of(&entry.stored));
    let whole = ContentRange { span: expected, complete: entry.identity.len() };
    let coding = response.headers().get(CONTENT_ENCODING); // needs not be told again
    let same = same && (coding.is_none() || coding == entry.fields.get(&CONTENT_ENCODING));
    if same && range == whole { Verdict::Part(range) } else { Verdict::Foreign }
}

/// The header fields that a part is stored with: those of the whole, put over what was held.
pub(super) fn fields_of_whole(
    plan: &Plan,
    base: Option<&Found>,
    update: &HeaderMap,
    now: Timestamp,
) -> HeaderMap {
    let mut update = update.clone();
    encoding::drop_digests_of_content(&mut update);
    let Some(base) = base else {
        update.remove(CONTENT_RANGE);
        update.remove(CONTENT_LENGTH);
        return update;
    };
    let held = base.entry.fields.to_map();
    let mut merged = validation::merge_304(&held, &update);
    guard::keep_allowed_origin(&plan.request_fields, &held, &update, &mut merged);
    if !merged.contains_key(DATE) {
        merged.insert(DATE, date::format(now)); // the stored one told an older time
    }
    merged
}

/// Puts `new` pieces to what is stored of the same representation by now, or stores them by
/// themselves. `None`: they are not kept, and nothing of them is left behind.
pub(super) async fn store(
    plan: &Plan,
    filling: &Filling,
    new: Vec<Piece>,
    position: u64,
) -> Option<Vec<ToDisk>> {
    let (tiers, len) = (&plan.worker.house.tiers, filling.len?);
    let _one = tiers.combining.lock().await;
    let current = match tiers.lookup(&filling.place, &plan.request_fields, false).await {
        Lookup::Found(found) => Some(found),
        Lookup::Missing { .. } => None,
    };
    let held = current.as_ref().filter(|found| is_same(plan, found, filling, len));
    let older = current
        .as_ref()
        .is_some_and(|found| found.entry.stored.response_time > filling.stored.response_time);
    if (held.is_none() && older) || held.is_some_and(|found| found.entry.identity.is_whole()) {
        discard(tiers, &new);
        return None;
    }
    let limit = plan.view.snapshot.cache.segment_size;
    let none = || Pieces::none(len);
    let before = held.map_or_else(none, |found| found.entry.identity.pieces().into_owned());
    let mut pieces = new.iter().fold(before.clone(), |all, piece| all.with(piece.clone(), limit));
    let stored =
        if spill(tiers, &mut pieces, limit).await && is_still(plan, filling, current.as_ref()) {
            admit(plan, filling, held, pieces.clone(), position).await
        } else {
            None
        };
    let used = if stored.is_some() { &pieces } else { &before };
    forget_unused(tiers, before.segments().chain(segments(&new)).chain(pieces.segments()), used);
    stored
}

/// Nothing else has taken the place of what was looked up, while the disk was waited for.
fn is_still(plan: &Plan, filling: &Filling, current: Option<&Found>) -> bool {
    let key = current.and_then(|found| found.variant.as_ref()).unwrap_or(&filling.place);
    let now = plan.worker.house.tiers.held(key);
    now.is_none_or(|now| current.is_some_and(|then| Arc::ptr_eq(&now, &then.entry)))
}

async fn admit(
    plan: &Plan,
    filling: &Filling,
    held: Option<&Found>,
    pieces: Pieces,
    position: u64,
) -> Option<Vec<ToDisk>> {
    let (stored, fields) = (filling.stored.clone(), filling.fields.clone());
    let Some(found) = held else {
        let entry = Entry::new(stored, fields, StoredBody::of(pieces), position);
        return plan.admit(filling, entry).await;
    };
    let mut entry = found.entry.refreshed(stored, fields, position);
    entry.identity = StoredBody::of(pieces);
    let key = found.variant.clone().unwrap_or_else(|| filling.place.clone());
    plan.worker.house.tiers.admit(key, entry).ok().map(|(_, to_disk)| vec![to_disk])
}

/// Of one representation, so that parts of both may be combined, and selected by the same.
fn is_same(plan: &Plan, found: &Found, filling: &Filling, len: u64) -> bool {
    let entry = &found.entry;
    let selects_by =
        |fields: &Fields| vary::parse(&fields.to_map(), plan.negotiates(filling.compressible));
    entry.stored.status == filling.stored.status
        && entry.identity.len() == len
        && Strong::of(&filling.stored)
            .is_some_and(|strong| Some(strong) == Strong::of(&entry.stored))
        && entry.fields.get(&CONTENT_ENCODING) == filling.fields.get(&CONTENT_ENCODING)
        && selects_by(&entry.fields) == selects_by(&filling.fields)
}

/// Moves inline bytes into segments of their own where they have become too many to be read and
/// written with the head. False: there was no room.
async fn spill(tiers: &Arc<Tiers>, pieces: &mut Pieces, limit: u64) -> bool {
    if pieces.inline_len() as u64 <= limit {
        return true;
    }
    let Ok(segment) = u32::try_from(limit.max(1)) else { return false };
    for (span, place) in pieces.places_mut() {
        let Place::Inline(bytes) = place else { continue };
        let id = entry_id();
        let in_memory = tiers.keeps_in_memory(span.len());
        // No longer than a segment: what is inline never is.
        if !tiers.store_segment(&id, 0, bytes.clone(), in_memory).await {
            return false;
        }
        *place = Place::Segments(Segments { id, span, segment });
    }
    true
}

fn segments(pieces: &[Piece]) -> impl Iterator<Item = Segments> {
    pieces.iter().filter_map(|piece| match piece.place {
        Place::Segments(segments) => Some(segments),
        Place::Inline(_) => None,
    })
}

/// Forgets the runs of segments that no piece lies in any more.
fn forget_unused(tiers: &Tiers, before: impl Iterator<Item = Segments>, now: &Pieces) {
    for run in before.filter(|run| !now.segments().any(|used| used.id == run.id)) {
        forget(tiers, run);
    }
}

/// Forgets the segments of pieces that are not kept.
pub(super) fn discard(tiers: &Tiers, pieces: &[Piece]) {
    segments(pieces).for_each(|run| forget(tiers, run));
}

fn forget(tiers: &Tiers, run: Segments) {
    for index in 0..run.count() {
        tiers.remove(&key::segment(&run.id, index));
    }
}
