//! An answer of the origin to a fill, and what it is good for: a validation of what is stored,
//! something to be kept, or neither.

use std::sync::Arc;

use http::header::DATE;
use http::{Response, StatusCode};
use http_body::Body as _;

use crate::cache::entry::{Entry, Fields};
use crate::cache::flight::{Fill, Head};
use crate::cache::tiers::Found;
use crate::proxy::fill::{Plan, Private, Shared};
use crate::semantics::stored::Stored;
use crate::semantics::time::Timestamp;
use crate::semantics::{date, encoding, guard, storable, validation, withheld};
use crate::upstream::ResponseBody;

/// An answer of the origin and when it came.
pub(super) struct Arrived {
    pub(super) response: Response<ResponseBody>,
    pub(super) asked_at: Timestamp,
    pub(super) at: Timestamp,
    pub(super) origin_ns: u64,
    pub(super) position: u64,
}

impl Arrived {
    /// For the leader alone, and why.
    pub(super) fn private(self, reason: &'static str) -> Private {
        let Self { response, asked_at, origin_ns, .. } = self;
        Private { response, asked_at, origin_ns, reason }
    }
}

/// A 304 for `stale`, or a HEAD's 200: refreshes what is stored. False where it is about something
/// else.
pub(super) async fn validated(
    plan: &Plan,
    fill: &Fill<Shared>,
    arrived: &Arrived,
    stale: &Found,
) -> bool {
    let update = arrived.response.headers();
    let entry = &stale.entry;
    let held = entry.fields.to_map(8);
    let status = arrived.response.status();
    let matches = match status {
        StatusCode::NOT_MODIFIED => validation::matches_304(&held, update),
        _ => validation::matches_head(&held, entry.identity.len(), update),
    };
    if !matches {
        return false;
    }
    let mut merged = validation::merge_304(&held, update);
    guard::keep_allowed_origin(&plan.request_fields, &held, update, &mut merged);
    if !merged.contains_key(DATE) {
        merged.insert(DATE, date::format(arrived.at)); // the stored one told an older time
    }
    let withheld = withheld::take_after_304(&mut merged, &plan.view.policy);
    let tell = |entry: Arc<Entry>| {
        let status = status.as_u16();
        fill.tell(Head::Shared(Arc::new(Shared::Validated { entry, status, withheld })));
    };
    let refreshed = storable::refreshed(
        &entry.stored,
        &merged,
        &plan.view.policy,
        &plan.asked,
        arrived.asked_at,
        arrived.at,
    );
    let refreshed = guard::well_named(&plan.request_fields).and(refreshed);
    let stored = match refreshed {
        Ok(stored) => stored,
        Err(why) => {
            // What the origin says now forbids keeping it; what was validated is still sent.
            if !why.by_request() {
                let key = stale.variant.as_ref().unwrap_or(&plan.primary);
                plan.worker.house.tiers.remove(key);
            }
            tell(entry.clone());
            return true;
        }
    };
    let fields = Fields::copied(&merged);
    let new = entry.refreshed(stored, fields, arrived.position);
    let tiers = &plan.worker.house.tiers;
    let key = stale.variant.clone().unwrap_or_else(|| plan.primary.clone());
    match tiers.admit(key, new) {
        Ok((new, to_disk)) => {
            tell(new);
            tiers.write_behind([to_disk]).await;
        }
        Err(new) => tell(new),
    }
    true
}

/// Why an answer is not kept.
pub(super) struct NotKept {
    pub(super) word: &'static str,
    /// The next request would not be kept either.
    pub(super) of_response: bool,
}

/// Whether the answer may be kept for others.
pub(super) fn keepable(plan: &Plan, arrived: &Arrived) -> Result<Stored, NotKept> {
    let stored = storable::storable(
        &plan.asked,
        arrived.response.status().as_u16(),
        arrived.response.headers(),
        &plan.view.policy,
        arrived.asked_at,
        arrived.at,
    )
    .and_then(|stored| {
        let (request, fields) = (&plan.request_fields, arrived.response.headers());
        guard::harmless(&plan.asked, &plan.primary, request, &stored, fields).map(|()| stored)
    })
    .map_err(|why| NotKept { word: why.as_str(), of_response: !why.by_request() })?;
    fits(plan, &arrived.response).map_err(|word| NotKept { word, of_response: true })?;
    Ok(stored)
}

/// Whether there is room for the answer, and an end to it; else why not.
pub(super) fn fits(plan: &Plan, response: &Response<ResponseBody>) -> Result<(), &'static str> {
    let cache = &plan.view.snapshot.cache;
    if encoding::streams(response.headers()) {
        return Err("event-stream");
    }
    let tiers = &plan.worker.house.tiers;
    match response.body().size_hint().exact() {
        Some(len) if len > cache.max_object || !tiers.can_keep(len) => Err("too-large"),
        _ => Ok(()),
    }
}
