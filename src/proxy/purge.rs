//! The method PURGE on the proxy's port, as nginx and Varnish are set up to have it: for
//! configured networks only, and never forwarded.

use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};

use crate::cache::purge::{Class, What};
use crate::proxy::ask::Ask;
use crate::proxy::body::Source;
use crate::proxy::error::ProxyError;
use crate::proxy::respond::Answer;
use crate::proxy::worker::Worker;
use crate::semantics::decision::{Decision, Outcome};
use crate::semantics::headers::forwarded;
use crate::semantics::key;
use crate::semantics::tags::Tags;

/// The method's name.
pub const METHOD: &str = "PURGE";

/// Purges the URL of `primary` with all its variants, or, where the request names tags as a
/// response does, all that has one of them. Dropped midway it may be recorded or not.
///
/// # Errors
/// Whoever asks is in none of `purge_networks`, or the purge could not be made to last.
pub async fn purge(worker: &Worker, ask: &Ask, primary: &[u8]) -> Result<Answer, ProxyError> {
    if !is_allowed(ask) {
        return Err(ProxyError::Method);
    }
    let tags = Tags::of_request(&ask.head.headers);
    let mut purges: Vec<What> =
        tags.iter().map(|tag| What::Named(Class::Tag, tag.as_bytes().to_vec())).collect();
    if purges.is_empty() {
        purges.push(What::url(key::url_part(primary)));
    }
    let tiers = worker.house.tiers.clone();
    let recorded = tokio::task::spawn_blocking(move || {
        purges.iter().try_for_each(|what| tiers.purge(what, false).map(drop))
    });
    match recorded.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::error!(%error, "a purge by PURGE may not last");
            return Err(ProxyError::NotPurged);
        }
        Err(_) => return Err(ProxyError::NotPurged),
    }
    worker.house.metrics.cache.purges.inc();
    let mut response = Response::new(Source::Full("purged\n".into()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let decision = Decision::new(Outcome::Pass).because("purge");
    Ok(Answer { response, decision, origin_ns: 0, coding: None })
}

/// The peer is in one of the networks, and so is everybody whom it says that it asks for: a proxy
/// in front of Larder must not lend its address to the whole world.
fn is_allowed(ask: &Ask) -> bool {
    let networks = &ask.view.snapshot.purge_networks;
    let inside = |address| networks.iter().any(|network| network.contains(&address));
    ask.conn.peer.is_some_and(inside)
        && forwarded::asks_for(&ask.head.headers).is_some_and(|all| all.into_iter().all(inside))
}
