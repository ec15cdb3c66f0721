//! POST: passed on, and its answer stored for GET where the origin says that it is that.

use std::sync::Arc;

use http::HeaderMap;
use tokio::sync::oneshot;

use crate::cache::flight::{Fill, Head};
use crate::clock;
use crate::proxy::ask::Ask;
use crate::proxy::error::ProxyError;
use crate::proxy::fetch;
use crate::proxy::fill::{Arrived, Plan, Private, Shared, fill_body, fits};
use crate::proxy::respond::{self, Answer};
use crate::proxy::worker::Worker;
use crate::semantics::decision::{Decision, Fwd, Outcome};
use crate::semantics::storable::NoStore;
use crate::semantics::stored::Stored;
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
    headers::strip_hop_by_hop(answer.response.headers_mut());
    let withheld = withheld::take(answer.response.headers_mut(), policy);
    let judged = storable::storable_post(
        &ask.asked,
        answer.response.status().as_u16(),
        key::url_part(primary),
        answer.response.headers(),
        policy,
        answer.asked_at,
        clock::now(),
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
    tokio::spawn(keep(plan, fill, answer, stored, withheld, tell));
    if let Head::Shared(shared) = flight.head().await
        && let Shared::Filling(filling) = &*shared
    {
        let answer =
            respond::from_filling(ask, &worker.house.tiers, filling, decision, clock::now());
        return Ok(fetch::with(answer, &filling.withheld, false));
    }
    let private = private.await.map_err(|_| fetch::ABANDONED)?;
    Ok(respond::from_origin(ask, private, decision))
}

/// Fills the flight with an answer that has come already: a POST's, which is stored for GET. What
/// it invalidated must have been invalidated before.
async fn keep(
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
