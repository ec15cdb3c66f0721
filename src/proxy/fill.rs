//! The fill of a flight: asks the origin, decides what the answer is good for, tells the
//! followers, and streams the body to them and into the store (DESIGN D5).
//!
//! A task of its own on the leader's worker: a client that leaves takes nothing with it. Dropping
//! it midway (at the end of a drain) breaks every reader's message and stores nothing.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{DATE, VARY};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, response};
use http_body::Body as _;
use tokio::sync::oneshot;

use crate::cache::entry::{Entry, EntryId, Fields};
use crate::cache::flight::stream::End;
use crate::cache::flight::{Fill, Head};
use crate::cache::tiers::Found;
use crate::clock;
use crate::proxy::error::ProxyError;
use crate::proxy::filling::EndBroken;
pub use crate::proxy::filling::{Filling, Private, Shared, Varies};
use crate::proxy::pump::Pump;
use crate::proxy::worker::{View, Worker};
use crate::semantics::coding::Coding;
use crate::semantics::request::Asked;
use crate::semantics::search::Variance;
use crate::semantics::stored::Stored;
use crate::semantics::time::Timestamp;
use crate::semantics::vary::VaryRule;
use crate::semantics::{date, encoding, guard, headers, key, storable, validation, vary, withheld};
use crate::upstream::{RequestBody, ResponseBody};

/// What a fill needs to know of the request that began it.
pub struct Plan {
    /// The worker it runs on.
    pub worker: Arc<Worker>,
    /// The configuration of the request.
    pub view: Arc<View>,
    /// The primary key.
    pub primary: Bytes,
    /// The request as RFC 9111 sees it.
    pub asked: Asked,
    /// The request's header fields as the origin gets them, for Vary.
    pub request_fields: HeaderMap,
    /// A client's own directives forced this fetch.
    pub forced: bool,
    /// What the leader's client gets where Larder makes it.
    pub coding: Option<Coding>,
    /// The origin has answered for this URL in codings of its own.
    pub origin_codes: bool,
    /// The stored response that is validated.
    pub stale: Option<Found>,
}

/// Asks the origin with `request` and fills the flight. `unconditional`: the same without
/// validators, for an origin that validates something else. `private` takes an answer that only
/// the leader may have.
pub async fn run(
    plan: Plan,
    mut fill: Fill<Shared>,
    mut request: Request<RequestBody>,
    mut unconditional: Option<Request<RequestBody>>,
    private: oneshot::Sender<Private>,
) {
    let house = plan.worker.house.clone();
    let position = house.tiers.purges.position();
    loop {
        let asked_at = clock::now();
        let began = clock::monotonic_ns();
        let sent = plan.worker.pool.send(&plan.view.snapshot.upstream, request).await;
        let origin_ns = clock::monotonic_ns().saturating_sub(began);
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => {
                tracing::debug!(%error, "the origin gave no answer");
                fill.land(); // first: who asks again because of it must not join it again
                fill.tell(Head::Shared(Arc::new(Shared::Failed(ProxyError::from(&error)))));
                return;
            }
        };
        // What is judged is what would be stored.
        headers::strip_hop_by_hop(response.headers_mut());
        let arrived = Arrived { response, asked_at, at: clock::now(), origin_ns, position };
        let status = arrived.response.status();
        let validates = status == StatusCode::NOT_MODIFIED
            || (status == StatusCode::OK && plan.asked.is_head()); // RFC 9111 §4.3.5
        if let (true, Some(stale)) = (validates, &plan.stale) {
            if validated(&plan, &fill, &arrived, stale).await {
                return;
            }
            if status == StatusCode::OK {
                // The origin has something else by now.
                house.tiers.remove(stale.variant.as_ref().unwrap_or(&plan.primary));
            } else if let Some(again) = unconditional.take() {
                // It validated something that is not stored here: ask for the whole.
                request = again;
                continue;
            }
        }
        return answered(&plan, fill, arrived, private).await;
    }
}

/// Fills the flight with an answer that has come already: a POST's, which is stored for GET. What
/// it invalidated must have been invalidated before.
pub async fn keep(
    plan: Plan,
    fill: Fill<Shared>,
    answer: Private,
    stored: Stored,
    withheld: HeaderMap,
    private: oneshot::Sender<Private>,
) {
    let Private { mut response, asked_at, origin_ns, .. } = answer;
    let position = plan.worker.house.tiers.purges.position();
    let at = stored.response_time;
    let arrived = |response| Arrived { response, asked_at, at, origin_ns, position };
    match fits(&plan, &response) {
        Ok(()) => fill_body(&plan, fill, arrived(response), stored, withheld).await,
        Err(word) => {
            response.headers_mut().extend(withheld);
            let _ = private.send(arrived(response).private(word));
            fill.tell(Head::Released(word));
        }
    }
}

/// An answer of the origin and when it came.
struct Arrived {
    response: Response<ResponseBody>,
    asked_at: Timestamp,
    at: Timestamp,
    origin_ns: u64,
    position: u64,
}

/// A 304 for `stale`, or a HEAD's 200: refreshes what is stored. False where it is about something
/// else.
async fn validated(plan: &Plan, fill: &Fill<Shared>, arrived: &Arrived, stale: &Found) -> bool {
    let update = arrived.response.headers();
    let entry = &stale.entry;
    let held = entry.fields.to_map();
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

/// Any other answer.
async fn answered(
    plan: &Plan,
    fill: Fill<Shared>,
    mut arrived: Arrived,
    private: oneshot::Sender<Private>,
) {
    let house = &plan.worker.house;
    let status = arrived.response.status().as_u16();
    if status >= 500 && plan.stale.is_some() {
        let _ = private.send(arrived.private("origin-error"));
        fill.tell(Head::Shared(Arc::new(Shared::OriginError(status))));
        return;
    }
    let withheld = withheld::take(arrived.response.headers_mut(), &plan.view.policy);
    match keepable(plan, &arrived) {
        Ok(stored) => {
            house.uncacheable.remove(&plan.primary);
            fill_body(plan, fill, arrived, stored, withheld).await;
        }
        Err(reason) => {
            arrived.response.headers_mut().extend(withheld);
            if reason.of_response {
                let until = arrived.at + plan.view.snapshot.cache.uncacheable_ttl;
                house.uncacheable.insert(&plan.primary, reason.word, until);
                if let Some(stale) = &plan.stale
                    && arrived.response.status().is_success()
                {
                    // The origin has replaced it by something that may not be kept.
                    house.tiers.remove(stale.variant.as_ref().unwrap_or(&plan.primary));
                }
            }
            let _ = private.send(arrived.private(reason.word));
            fill.tell(Head::Released(reason.word));
        }
    }
}

/// Why an answer is not kept.
struct NotKept {
    word: &'static str,
    /// The next request would not be kept either.
    of_response: bool,
}

fn keepable(plan: &Plan, arrived: &Arrived) -> Result<Stored, NotKept> {
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
fn fits(plan: &Plan, response: &Response<ResponseBody>) -> Result<(), &'static str> {
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

impl Arrived {
    fn private(self, reason: &'static str) -> Private {
        let Self { response, asked_at, origin_ns, .. } = self;
        Private { response, asked_at, origin_ns, reason }
    }
}

/// By what the response was selected. Larder answers for Accept-Encoding itself where it makes the
/// codings, unless the origin makes some of this URL's.
fn varies(plan: &Plan, fields: &HeaderMap, compressible: bool) -> Option<Varies> {
    let negotiates =
        compressible && !plan.view.snapshot.compression.codings.is_empty() && !plan.origin_codes;
    let VaryRule::On(names) = vary::parse(fields, negotiates) else { return None };
    let mut values = Vec::with_capacity(64);
    vary::selecting_values(&names, &plan.request_fields, &mut values);
    Some(Varies { names, generation: random(), values: values.into() })
}

fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| clock::monotonic_ns())
}

fn entry_id() -> EntryId {
    let (a, b) = (random().to_le_bytes(), random().to_le_bytes());
    let mut id = [0; 16];
    for (place, byte) in id.iter_mut().zip(a.into_iter().chain(b)) {
        *place = byte;
    }
    id
}

/// Streams the body to the readers and into the store.
async fn fill_body(
    plan: &Plan,
    mut fill: Fill<Shared>,
    arrived: Arrived,
    stored: Stored,
    withheld: HeaderMap,
) {
    let house = &plan.worker.house;
    let (tiers, snapshot) = (&house.tiers, &plan.view.snapshot);
    let (head, body) = arrived.response.into_parts();
    let response::Parts { headers: mut origin_fields, .. } = head;
    if guard::reflects_origin(&plan.request_fields, &origin_fields) {
        origin_fields.append(VARY, HeaderValue::from_static("Origin"));
    }
    let len = body.size_hint().exact();
    let compressible = stored.status == 200 && encoding::compressible(&origin_fields);
    let worth_it = compressible && len.is_none_or(|len| len >= snapshot.compression.min_size);
    let coding = plan.coding.filter(|_| worth_it);
    let segment = snapshot.cache.segment_size;
    let segmented = len.is_none_or(|len| len > segment);
    let window = snapshot.cache.window.max(segment.saturating_mul(2));
    let place = match Variance::of(&origin_fields) {
        Some(variance) => tiers.searches.place(&plan.primary, variance, random()),
        None => plan.primary.clone(),
    };
    if place != plan.primary && tiers.may_hold(&plan.primary) {
        tiers.remove(&plan.primary); // it would be found first
    }
    let filling = Filling {
        place,
        fields: Fields::copied(&origin_fields),
        withheld,
        stored,
        len,
        compressible,
        identity: fill.stream(window, true),
        coded: coding.map(|coding| (coding, fill.stream(window, true))),
        id: entry_id(),
        segmented,
        varies: varies(plan, &origin_fields, compressible),
        origin_ns: arrived.origin_ns,
    };
    drop(origin_fields);
    let shared = Arc::new(Shared::Filling(Box::new(filling)));
    fill.tell(Head::Shared(shared.clone()));
    let Shared::Filling(filling) = shared.as_ref() else { return };
    let _guard = EndBroken(filling);
    let mut pump = Pump::new(plan, filling, tiers);
    let end = pump.run(body).await;
    let complete = matches!(end, End::Complete(_));
    if !complete {
        pump.discard();
    } else if let Some(to_disk) = pump.keep(arrived.position).await {
        fill.land();
        filling.end(&end);
        tiers.write_behind(to_disk).await;
        return;
    }
    fill.land();
    filling.end(&end);
}
