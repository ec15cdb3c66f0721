//! A body on its way from the origin to those who wait and into the store (DESIGN D5): all of it,
//! or the parts that were missing, one after the other.

use std::sync::Arc;

use http::header::VARY;
use http::{HeaderMap, HeaderValue};
use http_body::Body as _;

use crate::cache::entry::{Entry, StoredBody};
use crate::cache::flight::stream::End;
use crate::cache::flight::{Fill, Head};
use crate::cache::pieces::{Piece, Place};
use crate::cache::tiers::{Found, ToDisk};
use crate::clock;
use crate::proxy::fill::{Arrived, Filling, Plan, Shared, Varies, copied, entry_id, random};
use crate::proxy::filling::{Coded, EndBroken, Gap};
use crate::proxy::partial;
use crate::proxy::pump::Pump;
use crate::semantics::search::Variance;
use crate::semantics::spans::Span;
use crate::semantics::stored::Stored;
use crate::semantics::vary::VaryRule;
use crate::semantics::{encoding, guard, vary};
use crate::upstream::ResponseBody;

/// What of a body comes.
struct Shape {
    len: Option<u64>,
    /// Its parts that come, by first byte and the one behind the last.
    gaps: Vec<(u64, Option<u64>)>,
    /// Holds the rest, as far as it is wanted.
    base: Option<Arc<Entry>>,
    /// All that is answered with.
    part: Option<Span>,
    /// Where the purge log stood when the fetch began.
    position: u64,
}

/// A part of a body that came, and how it is to be stored.
pub(super) struct Part<'a> {
    pub(super) stored: Stored,
    /// The header fields of the whole.
    pub(super) fields: HeaderMap,
    pub(super) withheld: HeaderMap,
    pub(super) span: Span,
    /// Length of the whole.
    pub(super) complete: u64,
    /// What is held already.
    pub(super) base: Option<&'a Found>,
}

/// Streams a whole body to the readers and into the store.
pub(super) async fn whole(
    plan: &Plan,
    mut fill: Fill<Shared>,
    arrived: Arrived,
    stored: Stored,
    withheld: HeaderMap,
) {
    let (head, body) = arrived.response.into_parts();
    let len = body.size_hint().exact();
    let position = arrived.position;
    let shape = Shape { len, gaps: vec![(0, len)], base: None, part: None, position };
    let filling = open(plan, &fill, head.headers, stored, withheld, arrived.origin_ns, shape);
    let shared = Arc::new(Shared::Filling(Box::new(filling)));
    fill.tell(Head::Shared(shared.clone()));
    let Shared::Filling(filling) = shared.as_ref() else { return };
    let _guard = EndBroken(filling);
    let Some(gap) = filling.gaps.first() else { return }; // never: there is one
    let mut pump = Pump::new(plan, filling, gap);
    let end = pump.run(body).await;
    let to_disk = match (&end, pump.finish(&end).await) {
        (End::Complete(_), Some(place)) => {
            keep_whole(plan, filling, place, &mut pump, arrived.position).await
        }
        _ => None,
    };
    fill.land();
    filling.end(&end);
    plan.worker.house.tiers.write_behind(to_disk.into_iter().flatten()).await;
}

async fn keep_whole(
    plan: &Plan,
    filling: &Filling,
    place: Place,
    pump: &mut Pump<'_>,
    position: u64,
) -> Option<Vec<ToDisk>> {
    let identity = body_at(place);
    let coded = pump.finish_coded(identity.len()).await.ok()?;
    let (stored, fields) = (filling.stored.clone(), filling.fields.clone());
    let mut entry = Entry::new(stored, fields, identity, position);
    entry.coded = coded.map(|(coding, place)| (coding, body_at(place))).into_iter().collect();
    plan.admit(filling, entry).await
}

/// The body that lies there.
pub(super) fn body_at(place: Place) -> StoredBody {
    match place {
        Place::Inline(bytes) => StoredBody::Inline(bytes),
        Place::Segments(segments) => StoredBody::segmented(segments),
    }
}

/// Streams parts of a body to the readers and into the store: the one that came, and those that
/// are missing behind it.
pub(super) async fn parts(plan: &Plan, mut fill: Fill<Shared>, arrived: Arrived, part: Part<'_>) {
    let Part { stored, fields, withheld, span, complete, base } = part;
    let wanted = match base {
        Some(_) => plan.gaps.clone(),
        None => vec![span],
    };
    let shape = Shape {
        len: Some(complete),
        gaps: wanted.iter().map(|gap| (gap.from(), Some(gap.to()))).collect(),
        base: base.map(|base| base.entry.clone()),
        part: match base {
            Some(_) => plan.part,
            None => Some(span),
        },
        position: arrived.position,
    };
    let filling = open(plan, &fill, fields, stored, withheld, arrived.origin_ns, shape);
    let shared = Arc::new(Shared::Filling(Box::new(filling)));
    fill.tell(Head::Shared(shared.clone()));
    let Shared::Filling(filling) = shared.as_ref() else { return };
    let _guard = EndBroken(filling);
    let mut body = Some(arrived.response.into_body());
    let (mut kept, mut end) = (Vec::new(), End::Complete(None));
    for (gap, span) in filling.gaps.iter().zip(wanted) {
        let next = match body.take() {
            Some(first) => Some(first),
            None => more(plan, span).await,
        };
        let Some(next) = next else {
            // The origin has something else, of which nothing may come behind what was sent.
            end = End::Broken;
            plan.worker.house.tiers.lost_part(&filling.id);
            partial::discard(&plan.worker.house.tiers, &kept);
            kept.clear();
            break;
        };
        let mut pump = Pump::new(plan, filling, gap);
        end = pump.run(next).await;
        let place = pump.finish(&end).await;
        kept.extend(place.map(|place| Piece { span, place }));
        if !matches!(end, End::Complete(_)) {
            break;
        }
        gap.stream.end(End::Complete(None));
    }
    let to_disk = if kept.is_empty() {
        None
    } else {
        partial::store(plan, filling, kept, arrived.position).await
    };
    fill.land();
    filling.end(&end);
    plan.worker.house.tiers.write_behind(to_disk.into_iter().flatten()).await;
}

async fn more(plan: &Plan, span: Span) -> Option<ResponseBody> {
    plan.refill.as_ref()?.get(span).await
}

/// What those who wait are told.
fn open(
    plan: &Plan,
    fill: &Fill<Shared>,
    mut fields: HeaderMap,
    stored: Stored,
    withheld: HeaderMap,
    origin_ns: u64,
    shape: Shape,
) -> Filling {
    let (tiers, snapshot) = (&plan.worker.house.tiers, &plan.view.snapshot);
    if guard::reflects_origin(&plan.request_fields, &fields) {
        fields.append(VARY, HeaderValue::from_static("Origin"));
    }
    let Shape { len, gaps, base, part, position } = shape;
    let compressible = stored.status == 200 && encoding::compressible(&fields);
    let whole = base.is_none() && part.is_none();
    let worth_it =
        whole && compressible && len.is_none_or(|len| len >= snapshot.compression.min_size);
    let window = snapshot.cache.flight_window();
    let place = match Variance::of(&fields).filter(|_| plan.by_query) {
        Some(variance) => tiers.searches.place(&plan.primary, variance, random()),
        None => plan.primary.clone(),
    };
    if place != plan.primary && tiers.may_hold(&plan.primary) {
        tiers.withdraw(&plan.primary); // it would be found first
    }
    let id = base.as_ref().map_or_else(entry_id, |base| base.id);
    let gaps = gaps.into_iter().map(|(from, to)| {
        let stream = fill.stream(window, true);
        Gap { from, to, id: entry_id(), stream }
    });
    Filling {
        place,
        withheld,
        len,
        compressible,
        gaps: gaps.collect(),
        base,
        part,
        coded: plan.coding.filter(|_| worth_it).map(|coding| {
            let stream = fill.stream(window, true);
            Coded { coding, id: entry_id(), stream }
        }),
        id,
        varies: varies(plan, &fields, compressible),
        fields: copied(&plan.view.policy, fields),
        stored,
        origin_ns,
        position,
    }
}

/// By what the response was selected.
fn varies(plan: &Plan, fields: &HeaderMap, compressible: bool) -> Option<Varies> {
    let VaryRule::On(names) = vary::parse(fields, plan.negotiates(compressible)) else {
        return None;
    };
    let mut values = Vec::with_capacity(64);
    vary::selecting_values(&names, &plan.request_fields, &mut values);
    Some(Varies { names, generation: random(), values: values.into() })
}

impl Plan {
    /// Larder answers for Accept-Encoding itself where it makes the codings, unless the origin
    /// makes some of this URL's.
    pub(super) fn negotiates(&self, compressible: bool) -> bool {
        let makes = !self.view.snapshot.compression.codings.is_empty();
        compressible && makes && !self.origin_codes
    }

    /// Takes `entry` in, as it came in by `filling`.
    pub(super) async fn admit(&self, filling: &Filling, mut entry: Entry) -> Option<Vec<ToDisk>> {
        let tiers = &self.worker.house.tiers;
        entry.compressible = filling.compressible;
        entry.id = filling.id;
        if self.forced {
            entry.set_forced(clock::now());
        }
        let place = filling.place.clone();
        match &filling.varies {
            None => tiers.admit(place, entry).ok().map(|(_, to_disk)| vec![to_disk]),
            Some(varies) => {
                let max = self.view.snapshot.cache.max_variants;
                tiers.admit_variant(place, varies.selected(), entry, max).await
            }
        }
    }
}
