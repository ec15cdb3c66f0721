//! What the origin would answer now, and what would become of that.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::terms::{Explanation, Fetched};
use crate::clock;
use crate::proxy::ask::Ask;
use crate::proxy::error::ProxyError;
use crate::proxy::worker::Worker;
use crate::proxy::{fetch, fill, forward, route};
use crate::semantics::{headers, storable, words};

/// Asks as a fetch would, and judges the answer as a fill does.
pub(super) async fn ask_origin(worker: &Arc<Worker>, ask: &Ask, told: &mut Explanation) {
    if !ask.is_for_the_cache() {
        told.notes.push("the app was not asked: only a GET or HEAD can be tried".to_owned());
        return;
    }
    let mut plan = fetch::plan(worker, ask, &told.key);
    plan.asked = storable::as_get(&plan.asked);
    let fields = forward::fields_to_fill(ask, &worker.house.via, None);
    let (method, body) = forward::read_of(None);
    let request = forward::request(ask, method, fields, body);
    let asked_at = clock::now();
    let sent = worker.pool.send(&ask.view.snapshot.upstream, request).await;
    let mut response = match sent {
        Ok(response) => response,
        Err(error) => {
            let answer = format!("the app gave no answer: {}", ProxyError::from(&error));
            told.fetched =
                Some(Fetched { status: None, answer, fields: Vec::new(), freshness: Vec::new() });
            return;
        }
    };
    let at = clock::now();
    headers::receive(response.headers_mut(), at);
    route::edit_answer(&ask.view, response.headers_mut());
    let status = response.status().as_u16();
    let fields = deciding(response.headers());
    let (answer, freshness) = match fill::would_keep(&plan, response, asked_at, at) {
        Ok(stored) => {
            let left = stored.remaining(at);
            let how = if left > 0 {
                format!("fresh for {left} s")
            } else {
                words::reason(if stored.no_cache { "no-cache" } else { "expired" }).to_owned()
            };
            (
                format!("would be stored: {how}"),
                words::freshness(&stored, &ask.view.policy.route, at),
            )
        }
        Err(word) => {
            if told.stored.is_none() {
                told.answer = format!("not cached: {}", words::reason(word));
                told.decision.detail = Some(word);
            }
            (format!("would not be stored: {}", words::reason(word)), Vec::new())
        }
    };
    told.fetched = Some(Fetched { status: Some(status), answer, fields, freshness });
}

/// The fields that storing and freshness depend on, as lines; a cookie's value is nobody's business.
fn deciding(fields: &HeaderMap) -> Vec<String> {
    const NAMES: [&str; 12] = [
        "age",
        "cache-control",
        "cdn-cache-control",
        "content-type",
        "date",
        "etag",
        "expires",
        "last-modified",
        "location",
        "no-vary-search",
        "surrogate-control",
        "vary",
    ];
    let shown = |(name, value): (&HeaderName, &HeaderValue)| {
        if *name == http::header::SET_COOKIE {
            return Some("set-cookie: ...".to_owned());
        }
        let value = String::from_utf8_lossy(value.as_bytes());
        NAMES.contains(&name.as_str()).then(|| format!("{name}: {value}"))
    };
    fields.iter().filter_map(shown).collect()
}
