//! The fill of a flight: asks the origin, and decides what the answer is good for; its body is
//! `inflow`'s (DESIGN D5).
//!
//! A task of its own on the leader's worker: a client that leaves takes nothing with it. Dropping
//! it midway (at the end of a drain) breaks every reader's message and stores nothing.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body as _;
use tokio::sync::oneshot;

use crate::cache::entry::Entry;
use crate::cache::flight::{Fill, Head};
use crate::cache::tiers::Found;
use crate::clock;
use crate::proxy::error::ProxyError;
pub use crate::proxy::filling::{Filling, Private, Shared, Varies};
pub(super) use crate::proxy::filling::{copied, entry_id, random};
use crate::proxy::inflow::{self, Part};
use crate::proxy::partial::{self, Verdict};
use crate::proxy::refill::Refill;
use crate::proxy::route;
use crate::proxy::worker::{View, Worker};
use crate::semantics::coding::Coding;
use crate::semantics::request::Asked;
use crate::semantics::search::Variance;
use crate::semantics::spans::Span;
use crate::semantics::storable::NoStore;
use crate::semantics::stored::Stored;
use crate::semantics::time::Timestamp;
use crate::semantics::{encoding, guard, headers, key, storable, validation, vary, withheld};
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
    /// The query of its URL, and nothing else, tells what is asked: No-Vary-Search can be followed.
    pub by_query: bool,
    /// A client's own directives forced this fetch.
    pub forced: bool,
    /// What the leader's client gets where Larder makes it.
    pub coding: Option<Coding>,
    /// The origin has answered for this URL in codings of its own.
    pub origin_codes: bool,
    /// The stored response that is validated.
    pub stale: Option<Found>,
    /// A part is asked for: a 206 is good for something.
    pub asks_part: bool,
    /// What is held in part, to be completed by `gaps`.
    pub base: Option<Found>,
    /// What is missing of it; the first is asked for.
    pub gaps: Vec<Span>,
    /// How the others are asked for.
    pub refill: Option<Arc<Refill>>,
    /// What is answered with, where it is a part of `base`.
    pub part: Option<Span>,
    /// The key by which others look for the whole.
    pub whole_key: Bytes,
}

/// Asks the origin with `request` and fills the flight. `anew`: the same as if nothing were held,
/// for an origin that has something else by now. `private` takes an answer that only the leader
/// may have.
pub async fn run(
    plan: Plan,
    mut fill: Fill<Shared>,
    mut request: Request<RequestBody>,
    mut anew: Option<Request<RequestBody>>,
    private: oneshot::Sender<Private>,
) {
    let house = plan.worker.house.clone();
    let mut base = plan.base.as_ref();
    loop {
        // Of each request anew: what is withdrawn before the second is none of its answer's.
        let position = house.tiers.purges.position();
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
        let at = clock::now();
        headers::receive(response.headers_mut(), at);
        route::edit_answer(&plan.view, response.headers_mut());
        let arrived = Arrived { response, asked_at, at, origin_ns, position };
        let status = arrived.response.status();
        let validates = status == StatusCode::NOT_MODIFIED
            || (status == StatusCode::OK && plan.asked.is_head()); // RFC 9111 §4.3.5
        if let (true, Some(stale)) = (validates, &plan.stale) {
            if validated(&plan, &fill, &arrived, stale).await {
                return;
            }
            if status == StatusCode::OK {
                // The origin has something else by now.
                house.tiers.withdraw(stale.variant.as_ref().unwrap_or(&plan.primary));
            } else if let Some(again) = anew.take() {
                // It validated something that is not stored here.
                request = again;
                continue;
            }
        }
        if plan.asks_part && status == StatusCode::OK {
            fill.also(plan.whole_key.clone()); // it is what others wait for
        }
        if (plan.asks_part || base.is_some()) && status == StatusCode::PARTIAL_CONTENT {
            match part(&plan, base, arrived) {
                Came::Part(arrived, part) => {
                    return inflow::parts(&plan, fill, arrived, *part).await;
                }
                Came::Private(answer) => {
                    let _ = private.send(answer);
                    return fill.tell(Head::Released("not-kept"));
                }
                Came::Foreign => {}
            }
        } else if base.is_none() || !speaks_of_part(status) {
            return answered(&plan, fill, arrived, private).await;
        }
        // What is held is not what the origin has.
        if let Some(outdated) = base.take() {
            house.tiers.withdraw(outdated.variant.as_ref().unwrap_or(&plan.primary));
        }
        match anew.take() {
            Some(again) => request = again,
            None => return, // never: there is one where something is held
        }
    }
}

/// The answer is about the part that Larder asked for: of no use to the client.
fn speaks_of_part(status: StatusCode) -> bool {
    matches!(status, StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::NOT_MODIFIED)
}

/// What a 206 is good for.
enum Came<'a> {
    /// It is stored.
    Part(Arrived, Box<Part<'a>>),
    /// It is passed on as it is.
    Private(Private),
    /// It is no answer to the client, nor does it complete what is held.
    Foreign,
}

fn part<'a>(plan: &Plan, base: Option<&'a Found>, mut arrived: Arrived) -> Came<'a> {
    let held = base.zip(plan.gaps.first().copied());
    let range = match partial::judge(&arrived.response, held) {
        Verdict::Part(range) => range,
        Verdict::Wrong if base.is_none() => {
            return Came::Private(arrived.private("content-range"));
        }
        Verdict::Wrong | Verdict::Foreign => return Came::Foreign,
    };
    let policy = &plan.view.policy;
    let mut withheld = withheld::take(arrived.response.headers_mut(), policy);
    let mut fields = partial::fields_of_whole(plan, base, arrived.response.headers(), arrived.at);
    if base.is_some() {
        withheld.extend(withheld::take_after_304(&mut fields, policy));
    }
    let judged = judged(plan, 200, &fields, arrived.asked_at, arrived.at)
        .and_then(|stored| fits(plan, &arrived.response, Some(range.complete)).map(|()| stored));
    match judged {
        Ok(stored) => {
            plan.worker.house.uncacheable.remove(&plan.primary);
            let stored = match base {
                Some(base) => stored.tagged_as(&base.entry.stored, &fields),
                None => stored,
            };
            let (span, complete) = (range.span, range.complete);
            let part = Part { stored, fields, withheld, span, complete, base };
            Came::Part(arrived, Box::new(part))
        }
        Err(_) if base.is_some() => Came::Foreign,
        Err(reason) => {
            arrived.response.headers_mut().extend(withheld);
            remember(plan, &reason, arrived.at);
            Came::Private(arrived.private(reason.word))
        }
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
    match fits(&plan, &response, None) {
        Ok(()) => inflow::whole(&plan, fill, arrived(response), stored, withheld).await,
        Err(reason) => {
            response.headers_mut().extend(withheld);
            let _ = private.send(arrived(response).private(reason.word));
            fill.tell(Head::Released(reason.word));
        }
    }
}

/// An answer of the origin and when it came.
pub(super) struct Arrived {
    pub(super) response: Response<ResponseBody>,
    asked_at: Timestamp,
    at: Timestamp,
    pub(super) origin_ns: u64,
    pub(super) position: u64,
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
    let withheld = withheld::take_after_304(&mut merged, &plan.view.policy);
    let tell = |entry: Arc<Entry>| {
        let status = status.as_u16();
        fill.tell(Head::Shared(Arc::new(Shared::Validated { entry, status, withheld })));
    };
    let (tiers, policy) = (&plan.worker.house.tiers, &plan.view.policy);
    let key = stale.variant.clone().unwrap_or_else(|| plan.primary.clone());
    let refreshed = refreshed(plan, arrived, entry, &key, &held, &merged);
    let fields = copied(policy, merged.clone());
    let stored = match refreshed {
        Ok(stored) => stored,
        Err(why) => {
            // What the origin says now forbids keeping it; what was validated is still sent.
            if !why.by_request() {
                tiers.withdraw(&key);
            }
            let status = entry.stored.status;
            let stored = storable::unstored(status, &merged, policy, arrived.asked_at, arrived.at);
            tell(Arc::new(entry.refreshed(stored, fields, arrived.position)));
            return true;
        }
    };
    let new = entry.refreshed(stored, fields, arrived.position);
    match tiers.admit(key, new) {
        Ok((new, to_disk)) => {
            tell(new);
            tiers.write_behind([to_disk]).await;
        }
        Err(new) => tell(new),
    }
    true
}

/// What is remembered of `entry` at `key` with the fields `merged` instead of those `held`.
fn refreshed(
    plan: &Plan,
    arrived: &Arrived,
    entry: &Entry,
    key: &Bytes,
    held: &HeaderMap,
    merged: &HeaderMap,
) -> Result<Stored, NoStore> {
    let (asked, policy) = (&plan.asked, &plan.view.policy);
    guard::well_named(&plan.request_fields)?;
    let (asked_at, at) = (arrived.asked_at, arrived.at);
    let stored = storable::refreshed(&entry.stored, merged, policy, asked, asked_at, at)?;
    let selects_by = |fields| vary::parse(fields, plan.negotiates(entry.compressible));
    let stands_for_others = || {
        let place = |of| plan.worker.house.tiers.searches.place(&plan.primary, of, random());
        Variance::of(merged).is_some_and(|variance| key.starts_with(&place(variance)))
    };
    // It was selected otherwise: not known for whom it would be right now.
    let moved = selects_by(held) != selects_by(merged)
        || (key::is_search_alias(key) && !stands_for_others());
    if moved { Err(NoStore::VaryChanged) } else { Ok(stored) }
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
            house.refused.remove(&plan.primary);
            inflow::whole(plan, fill, arrived, stored, withheld).await;
        }
        Err(reason) => {
            arrived.response.headers_mut().extend(withheld);
            remember(plan, &reason, arrived.at);
            if reason.of_response
                && let Some(held) = plan.stale.as_ref().or(plan.base.as_ref())
                && arrived.response.status().is_success()
            {
                // The origin has replaced it by something that may not be kept.
                house.tiers.withdraw(held.variant.as_ref().unwrap_or(&plan.primary));
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

/// Remembers why there is nothing stored, as long as that is thought to hold.
fn remember(plan: &Plan, reason: &NotKept, at: Timestamp) {
    let house = &plan.worker.house;
    let until = at + plan.view.snapshot.cache.uncacheable_ttl;
    let table = if reason.of_response { &house.uncacheable } else { &house.refused };
    table.insert(&plan.primary, reason.word, until);
}

/// Whether this answer would be stored, and what would be remembered of it; or why not.
pub(super) fn would_keep(
    plan: &Plan,
    mut response: Response<ResponseBody>,
    asked_at: Timestamp,
    at: Timestamp,
) -> Result<Stored, &'static str> {
    let _ = withheld::take(response.headers_mut(), &plan.view.policy);
    let arrived = Arrived { response, asked_at, at, origin_ns: 0, position: 0 };
    keepable(plan, &arrived).map_err(|reason| reason.word)
}

fn keepable(plan: &Plan, arrived: &Arrived) -> Result<Stored, NotKept> {
    let response = &arrived.response;
    let (status, fields) = (response.status().as_u16(), response.headers());
    let stored = judged(plan, status, fields, arrived.asked_at, arrived.at)?;
    fits(plan, response, None)?;
    Ok(stored)
}

/// Whether a response with this status and these header fields may be stored.
fn judged(
    plan: &Plan,
    status: u16,
    fields: &HeaderMap,
    asked_at: Timestamp,
    at: Timestamp,
) -> Result<Stored, NotKept> {
    let (asked, policy) = (&plan.asked, &plan.view.policy);
    storable::storable(asked, status, fields, policy, asked_at, at)
        .and_then(|stored| {
            guard::harmless(asked, &plan.primary, &plan.request_fields, &stored, fields)
                .map(|()| stored)
        })
        .map_err(|why| NotKept { word: why.as_str(), of_response: !why.by_request() })
}

/// Whether there is room for the answer, and an end to it. `whole`: how long the whole is of which
/// it is a part.
fn fits(plan: &Plan, response: &Response<ResponseBody>, whole: Option<u64>) -> Result<(), NotKept> {
    let because = |word| Err(NotKept { word, of_response: true });
    let cache = &plan.view.snapshot.cache;
    if encoding::streams(response.headers()) {
        return because("event-stream");
    }
    let tiers = &plan.worker.house.tiers;
    match whole.or(response.body().size_hint().exact()) {
        Some(len) if len > cache.max_object || !tiers.can_keep(len) => because("too-large"),
        _ => Ok(()),
    }
}

impl Arrived {
    fn private(self, reason: &'static str) -> Private {
        let Self { response, asked_at, origin_ns, .. } = self;
        Private { response, asked_at, origin_ns, reason }
    }
}
