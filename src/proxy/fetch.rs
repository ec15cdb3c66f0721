//! Asking the origin for the cache's sake: one fetch per object, shared by all who want it
//! (DESIGN D5).

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::cache::flight::{Fill, Head, Joined};
use crate::cache::tiers::Found;
use crate::clock;
use crate::proxy::ask::Ask;
use crate::proxy::error::ProxyError;
use crate::proxy::fill::{self, Filling, Plan, Private, Shared};
use crate::proxy::interim::{self, Relay};
use crate::proxy::respond::{self, Answer};
use crate::proxy::wanted::Goal;
pub use crate::proxy::wanted::Wanted;
use crate::proxy::worker::Worker;
use crate::proxy::{forward, parts};
use crate::semantics::decision::{Decision, Fwd, Outcome};
use crate::semantics::range::RangeAnswer;
use crate::semantics::reuse::{self, Failure, Reuse};
use crate::semantics::stored::Stored;
use crate::semantics::vary;

/// Followers whose request the answer does not fit fly again; past this many times, alone.
const MAX_LEGS: usize = 3;

/// Fetches what is wanted, or joins who does.
///
/// # Errors
/// Where the origin gave nothing to send and nothing stale may be sent instead.
pub async fn fetch(
    worker: &Arc<Worker>,
    ask: &Ask,
    primary: &[u8],
    wanted: Wanted,
) -> Result<Answer, ProxyError> {
    let fetched = lead_or_follow(worker, ask, primary, wanted).await;
    interim::written(&ask.conn).await;
    fetched
}

async fn lead_or_follow(
    worker: &Arc<Worker>,
    ask: &Ask,
    primary: &[u8],
    mut wanted: Wanted,
) -> Result<Answer, ProxyError> {
    if wanted.goal(ask) == Goal::Pass {
        // An answer without the body fills nothing.
        let private = forward::pass(worker, ask, forward::read(ask).1, None, "head").await?;
        let decision = wanted.decision(Outcome::Miss);
        return Ok(respond::from_origin(ask, private, decision));
    }
    let house = &worker.house;
    let max_wait = ask.view.snapshot.cache.max_wait;
    let mut known = house.uncacheable.get(primary, clock::now());
    let (mut failed_before, mut outdated) = (false, false);
    for leg in 0..=MAX_LEGS {
        let goal = wanted.goal(ask);
        let alone = leg == MAX_LEGS || known.is_some() || is_for_one(ask, &wanted);
        if goal == Goal::Part
            && !alone
            && let Some(answer) = from_the_whole(worker, ask, primary, &wanted).await
        {
            return Ok(answer);
        }
        let name = wanted.flight_key(ask, primary, goal);
        let joined = if alone {
            let (fill, flight) = house.flights.solo();
            Joined::Leader(fill, flight)
        } else {
            house.flights.join(&name)
        };
        let (flight, mut private, collapsed) = match joined {
            Joined::Leader(fill, flight) => {
                // Of those who ask again together another may have been faster.
                if (failed_before || outdated)
                    && let Some(answer) = fetched_meanwhile(worker, ask, primary)
                {
                    return Ok(answer);
                }
                let relay = Relay::open(worker, ask).await;
                let private = launch(worker, ask, primary, &wanted, fill, relay.as_ref());
                (flight, Some(private), false)
            }
            Joined::Follower(flight) => {
                house.metrics.cache.collapsed.inc();
                (flight, None, true)
            }
        };
        let head = if collapsed {
            timeout(max_wait, flight.head()).await.unwrap_or(Head::Released("max-wait"))
        } else {
            flight.head().await
        };
        match head {
            Head::Shared(shared) => {
                match use_shared(worker, ask, primary, &shared, &wanted, collapsed) {
                    // One of those who waited asks for all: nothing was sent to them yet.
                    Err(error) if collapsed && !failed_before && error.may_be_provoked() => {
                        failed_before = true;
                    }
                    Err(error) => return Err(error),
                    Ok(Used::Answer(answer)) => return Ok(*answer),
                    Ok(Used::OtherVariant(names, generation)) => {
                        wanted.selected_by(names, generation);
                    }
                    // The purge may be older than this request: it gets nothing from before it.
                    Ok(Used::Outdated) => {
                        house.flights.outdated(&name, &flight);
                        outdated = true;
                    }
                    Ok(Used::AskAgain) => match receive(private.take()).await {
                        Some(private) => return Ok(passed(ask, private, &wanted)),
                        None => known = Some("not-shared"),
                    },
                }
            }
            Head::Released(reason) => {
                if let Some(private) = receive(private.take()).await {
                    return Ok(passed(ask, private, &wanted));
                }
                house.metrics.cache.released.inc();
                known = Some(reason);
            }
            Head::Abandoned | Head::Pending => {}
        }
    }
    Err(ABANDONED)
}

/// What is not shared anyway is not waited for, nor does anybody wait for it: a HEAD's answer,
/// what is fetched with a personal permission, and what must be validated for each.
fn is_for_one(ask: &Ask, wanted: &Wanted) -> bool {
    let unshared =
        |found: &Found| !reuse::may_be_shared(&found.entry.stored, &ask.asked, &ask.view.policy);
    ask.asked.authorised || ask.asked.is_head() || wanted.stale.as_ref().is_some_and(unshared)
}

/// A part of what somebody fetches whole, where it has come already or is about to.
async fn from_the_whole(
    worker: &Arc<Worker>,
    ask: &Ask,
    primary: &[u8],
    wanted: &Wanted,
) -> Option<Answer> {
    let flight = worker.house.flights.find(&wanted.whole_key(ask, primary))?;
    let cache = &ask.view.snapshot.cache;
    let Head::Shared(shared) = timeout(cache.max_wait, flight.head()).await.ok()? else {
        return None;
    };
    let Shared::Filling(filling) = &*shared else { return None };
    let near = match parts::asked_for(ask, &filling.stored, filling.len?) {
        RangeAnswer::Part(span) => filling.reaches(span, cache.window),
        RangeAnswer::Whole | RangeAnswer::Unsatisfiable => true,
        RangeAnswer::Parts(spans) => spans.iter().all(|span| filling.reaches(*span, cache.window)),
    };
    if !near || filling.is_broken() {
        return None;
    }
    match use_shared(worker, ask, primary, &shared, wanted, true) {
        Ok(Used::Answer(answer)) => {
            worker.house.metrics.cache.collapsed.inc();
            Some(*answer)
        }
        _ => None,
    }
}

pub(super) const ABANDONED: ProxyError = ProxyError::Upstream {
    status: 502,
    reason: "the fetch was abandoned",
    proxy_error: "proxy_internal_error",
    unreachable: false,
};

pub(super) async fn receive(private: Option<oneshot::Receiver<Private>>) -> Option<Private> {
    private?.await.ok()
}

/// What the leader got for itself: not stored, and why.
fn passed(ask: &Ask, private: Private, wanted: &Wanted) -> Answer {
    let mut decision = wanted.decision(Outcome::Miss);
    decision.detail = Some(private.reason);
    respond::from_origin(ask, private, decision)
}

/// What another has fetched since this request looked for it.
fn fetched_meanwhile(worker: &Arc<Worker>, ask: &Ask, primary: &[u8]) -> Option<Answer> {
    let found = worker.house.tiers.peek(primary, &ask.head.headers)?;
    let (stored, forced, now) = (&found.entry.stored, found.entry.last_forced(), clock::now());
    let reuse = reuse::reuse(stored, &ask.asked, &ask.view.policy, found.stale, forced, now);
    let usable = reuse == Reuse::Fresh && parts::lacking(ask, &found.entry).is_empty();
    let decision = Decision::new(Outcome::Hit);
    usable.then(|| respond::from_entry(ask, worker, &found.entry, decision, now))
}

/// Begins the fill as a task of its own.
fn launch(
    worker: &Arc<Worker>,
    ask: &Ask,
    primary: &[u8],
    wanted: &Wanted,
    fill: Fill<Shared>,
    relay: Option<&Relay>,
) -> oneshot::Receiver<Private> {
    let (tell, private) = oneshot::channel();
    let goal = wanted.goal(ask);
    let (request, anew) = wanted.requests(worker, ask, goal, relay);
    let plan = wanted.plan(worker, ask, goal, plan(worker, ask, primary));
    tokio::spawn(fill::run(plan, fill, request, anew, tell));
    private
}

/// For a request that found nothing stored.
pub(super) fn plan(worker: &Arc<Worker>, ask: &Ask, primary: &[u8]) -> Plan {
    Plan {
        worker: worker.clone(),
        view: ask.view.clone(),
        primary: Bytes::copy_from_slice(primary),
        asked: ask.asked,
        request_fields: ask.head.headers.clone(),
        by_query: ask.query.is_none(),
        forced: false,
        coding: ask.coding(|_| true),
        origin_codes: false,
        stale: None,
        asks_part: false,
        base: None,
        gaps: Vec::new(),
        refill: None,
        part: None,
        whole_key: Bytes::new(),
    }
}

enum Used {
    Answer(Box<Answer>),
    /// Selected by other values: these are the names, and the list's generation.
    OtherVariant(Box<[HeaderName]>, u64),
    /// Not for this request.
    AskAgain,
    /// Purged since its fetch began.
    Outdated,
}

fn use_shared(
    worker: &Arc<Worker>,
    ask: &Ask,
    primary: &[u8],
    shared: &Shared,
    wanted: &Wanted,
    collapsed: bool,
) -> Result<Used, ProxyError> {
    let tiers = &worker.house.tiers;
    let now = clock::now();
    let came = match shared {
        Shared::Filling(filling) => Some((&*filling.place, &filling.stored, filling.position)),
        Shared::Validated { entry, .. } => Some((primary, &entry.stored, entry.position)),
        Shared::OriginError(_) | Shared::Failed(_) => None,
    };
    if collapsed
        && let Some((place, stored, position)) = came
        && ![place, primary].iter().all(|key| tiers.is_current(key, stored, position))
    {
        return Ok(Used::Outdated);
    }
    let answer = match shared {
        Shared::Filling(filling) => {
            // One flight validates what lies under an alias for all its URLs: is it theirs still?
            let place = &filling.place;
            if collapsed
                && *place != primary
                && tiers.searches.alias(primary).as_ref() != Some(place)
            {
                return Ok(Used::AskAgain);
            }
            if collapsed && let Some(other) = mismatch(ask, filling) {
                return Ok(other);
            }
            if collapsed && !is_shared(ask, &filling.stored) {
                return Ok(Used::AskAgain);
            }
            if collapsed && filling.is_broken() {
                return Err(BROKE_OFF);
            }
            let mut decision = wanted.decision(Outcome::Miss);
            decision.collapsed = collapsed;
            let answer = respond::from_filling(ask, worker, filling, decision, now);
            with(answer, &filling.withheld, collapsed)
        }
        Shared::Validated { entry, .. }
            if (collapsed && !is_shared(ask, &entry.stored))
                || !parts::lacking(ask, entry).is_empty() =>
        {
            return Ok(Used::AskAgain);
        }
        Shared::Validated { entry, status, withheld } => {
            let mut decision = wanted.decision(Outcome::Revalidated);
            decision.collapsed = collapsed;
            decision.fwd_status = Some(*status);
            with(respond::from_entry(ask, worker, entry, decision, now), withheld, collapsed)
        }
        Shared::OriginError(status) => match stale(worker, ask, wanted, Failure::Status(*status)) {
            Some(answer) => answer,
            None => return Ok(Used::AskAgain),
        },
        Shared::Failed(error) => {
            let unreachable = matches!(error, ProxyError::Upstream { unreachable: true, .. });
            let stale = unreachable.then(|| stale(worker, ask, wanted, Failure::Unreachable));
            match stale.flatten() {
                Some(answer) => answer,
                None => return Err(*error),
            }
        }
    };
    Ok(Used::Answer(Box::new(answer)))
}

/// The fetch has broken off before anything was sent to this client.
const BROKE_OFF: ProxyError = ProxyError::Upstream {
    status: 502,
    reason: "the origin broke off",
    proxy_error: "http_response_incomplete",
    unreachable: false,
};

/// What one fetch brought may answer another request, too (RFC 9111 §4): as it would from the
/// store, were it there already.
fn is_shared(ask: &Ask, stored: &Stored) -> bool {
    let now = clock::now();
    reuse::may_follow(stored, &ask.asked, &ask.view.policy, now)
}

/// The fields that are for the leader alone.
pub(super) fn with(mut answer: Answer, withheld: &HeaderMap, collapsed: bool) -> Answer {
    if !collapsed {
        for (name, value) in withheld {
            answer.response.headers_mut().append(name.clone(), value.clone());
        }
    }
    answer
}

fn mismatch(ask: &Ask, filling: &Filling) -> Option<Used> {
    let varies = filling.varies.as_ref()?;
    let mut values = Vec::with_capacity(64);
    vary::selecting_values(&varies.names, &ask.head.headers, &mut values);
    (values != varies.values).then(|| Used::OtherVariant(varies.names.clone(), varies.generation))
}

/// The stored response after all, where that is allowed (RFC 9111 §4.2.4, RFC 5861 §4).
fn stale(worker: &Arc<Worker>, ask: &Ask, wanted: &Wanted, failure: Failure) -> Option<Answer> {
    let found = wanted.stale.as_ref()?;
    let now = clock::now();
    let stored = &found.entry.stored;
    if !reuse::may_serve_stale(stored, &ask.asked, &ask.view.policy, failure, now) {
        return None;
    }
    let mut decision = wanted.decision(Outcome::Stale);
    decision.detail = Some(match failure {
        Failure::Unreachable => "origin-unreachable",
        Failure::Status(_) => "stale-if-error",
    });
    if let Failure::Status(status) = failure {
        decision.fwd_status = Some(status);
    }
    Some(respond::from_entry(ask, worker, &found.entry, decision, now))
}

/// Validates `found` without anybody waiting, unless somebody does so already (RFC 5861 §3).
pub fn in_background(worker: &Arc<Worker>, ask: &Ask, primary: &[u8], found: &Found) {
    let wanted = Wanted::validated(ask, Fwd::Stale, "stale-while-revalidate", found.clone());
    let key = wanted.flight_key(ask, primary, wanted.goal(ask));
    if let Joined::Leader(fill, _) = worker.house.flights.join(&key) {
        drop(launch(worker, ask, primary, &wanted, fill, None));
    }
}
