//! What the origin's word that a stored response still holds does to it (RFC 9111 §4.3.4, §4.3.5).

use std::sync::Arc;

use http::StatusCode;
use http::header::DATE;

use crate::cache::entry::{Entry, Fields};
use crate::cache::flight::{Fill, Head};
use crate::cache::tiers::Found;
use crate::proxy::fill::{Arrived, Plan, Shared, random};
use crate::semantics::search::Variance;
use crate::semantics::{date, guard, key, storable, validation, withheld};

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
    if key::is_search_alias(&key)
        && !Variance::of(&merged).is_some_and(|variance| {
            key.starts_with(&tiers.searches.place(&plan.primary, variance, random()))
        })
    {
        // It no longer stands for other queries.
        tiers.remove(&key);
        tell(Arc::new(new));
        return true;
    }
    match tiers.admit(key, new) {
        Ok((new, to_disk)) => {
            tell(new);
            tiers.write_behind([to_disk]).await;
        }
        Err(new) => tell(new),
    }
    true
}
