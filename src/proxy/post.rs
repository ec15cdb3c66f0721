//! The answer to a POST, which GET may get, too.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::cache::flight::Head;
use crate::clock;
use crate::proxy::ask::Ask;
use crate::proxy::error::ProxyError;
use crate::proxy::fetch::{self, ABANDONED};
use crate::proxy::fill::{self, Plan, Private, Shared};
use crate::proxy::respond::{self, Answer};
use crate::proxy::worker::Worker;
use crate::semantics::decision::{Decision, Fwd, Outcome};
use crate::semantics::storable::NoStore;
use crate::semantics::{guard, headers, key, storable, withheld};

/// Answers a POST, and stores the answer for GET where the origin says that it is what GET would
/// bring (RFC 9110 §9.3.3). What the POST made void has been invalidated.
pub async fn answer(
    worker: &Arc<Worker>,
    ask: &Ask,
    primary: &[u8],
    mut answer: Private,
) -> Result<Answer, ProxyError> {
    let policy = &ask.view.policy;
    let at = clock::now();
    headers::receive(answer.response.headers_mut(), at);
    let withheld = withheld::take(answer.response.headers_mut(), policy);
    let judged = storable::storable_post(
        &ask.asked,
        answer.response.status().as_u16(),
        key::url_part(primary),
        answer.response.headers(),
        policy,
        answer.asked_at,
        at,
    );
    let request = &ask.head.headers;
    let asked = storable::as_get(&ask.asked);
    let judged = judged.and_then(|stored| {
        if ask.view.unkeyed.are_in(request) {
            return Err(NoStore::OddRequest); // a GET's would have been dropped
        }
        guard::harmless(&asked, primary, request, &stored, answer.response.headers())?;
        Ok(stored)
    });
    let decision = Decision::forwarded(Outcome::Pass, Fwd::Method);
    let Ok(stored) = judged else {
        answer.response.headers_mut().extend(withheld);
        return Ok(respond::from_origin(ask, answer, decision));
    };
    let plan = Plan { asked, ..fetch::plan(worker, ask, primary) };
    let (fill, flight) = worker.house.flights.solo();
    let (tell, private) = oneshot::channel();
    tokio::spawn(fill::keep(plan, fill, answer, stored, withheld, tell));
    if let Head::Shared(shared) = flight.head().await
        && let Shared::Filling(filling) = &*shared
    {
        let answer = respond::from_filling(ask, worker, filling, decision, clock::now());
        return Ok(fetch::with(answer, &filling.withheld, false));
    }
    let private = fetch::receive(Some(private)).await.ok_or(ABANDONED)?;
    Ok(respond::from_origin(ask, private, decision))
}
