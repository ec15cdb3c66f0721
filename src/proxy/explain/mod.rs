//! Why would a request be answered as it is? Walks the same way as [`super::service`], by the same
//! decisions, and touches nothing (DESIGN D10).
//!
//! - `terms`: what is asked, and what is said. `rule`: what the rule does. `fetched`: what the
//!   origin has to say.

mod fetched;
mod rule;
mod terms;

use std::collections::BTreeSet;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Request, request};

use crate::cache::purge::{Listed, Subject, Verdict, What};
use crate::cache::tiers::{Inspected, Seen};
use crate::clock;
use crate::config::route::tell;
use crate::proxy::ask::Ask;
use crate::proxy::conn::Conn;
use crate::proxy::error::ProxyError;
use crate::proxy::worker::Worker;
use crate::proxy::{admission, parts, purge, route, service};
use crate::semantics::decision::{Decision, Fwd, Outcome};
use crate::semantics::reuse::{self, Reuse};
use crate::semantics::tags::Tags;
use crate::semantics::time::Timestamp;
use crate::semantics::{cache_status, key, words};

pub use terms::{Explanation, Fetched, Question};

static PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// URLs that are named beside the one asked for, at most.
const NAMED: usize = 3;

/// Explains what would become of a request by a client that is nobody's proxy; of one for https as
/// a trusted proxy would pass it on.
///
/// # Errors
/// It is no request at all.
pub async fn explain(worker: &Arc<Worker>, question: Question) -> Result<Explanation, String> {
    let view = worker.view();
    let https = question.url.scheme_str() == Some("https");
    let mut head = head(&question, https)?;
    let conn = Arc::new(Conn::new(None, https));
    let mut primary = Vec::new();
    let names: Vec<HeaderName> = head.headers.keys().cloned().collect();
    let has_body = head.headers.contains_key(TRANSFER_ENCODING)
        || head.headers.get(CONTENT_LENGTH).is_some_and(|len| len != "0");
    let admitted = admission::admit(worker, &view, &conn, &mut head, has_body, &mut primary);
    let dropped: Vec<String> = names
        .into_iter()
        .filter(|name| !head.headers.contains_key(name))
        .map(|name| name.to_string())
        .collect();
    let mut ask = match admitted {
        Ok(admitted) => Ask::new(view.clone(), conn, head, admitted),
        Err(error) => return Ok(refused(error, primary)),
    };
    ask.settle_cookies();
    let now = clock::now();
    let mut told = Explanation::new(&ask, primary);
    told.rule = tell::met(ask.view.rule.as_deref(), view.snapshot.routes.rules.len());
    rule::keyed(&ask, question.url.path_and_query().map_or("/", |sent| sent.as_str()), &mut told);
    if !dropped.is_empty() {
        let dropped = dropped.join(", ");
        told.notes.push(format!("dropped from the request, being no part of the key: {dropped}"));
    }
    let own = route::answer(&ask);
    let is_own = own.is_some();
    if let Some(own) = own {
        rule::answered(&ask, own, &mut told);
    } else if ask.is_for_the_cache() {
        look_up(worker, &ask, &mut told, now).await;
    } else {
        passed(&ask, &mut told);
    }
    if question.fetch && !is_own {
        fetched::ask_origin(worker, &ask, &mut told).await;
    }
    let status = cache_status::value(&told.decision, None);
    status.to_str().unwrap_or_default().clone_into(&mut told.cache_status);
    Ok(told)
}

fn head(question: &Question, https: bool) -> Result<request::Parts, String> {
    let authority = question.url.authority().ok_or("the URL has no host")?.as_str();
    let target = question.url.path_and_query().map_or("/", |target| target.as_str());
    let mut request = Request::new(());
    *request.method_mut() = question.method.clone();
    *request.uri_mut() = target.parse().map_err(|error| format!("the URL: {error}"))?;
    let fields = request.headers_mut();
    *fields = question.headers.clone();
    let host = HeaderValue::from_str(authority).map_err(|error| format!("the host: {error}"))?;
    fields.entry(HOST).or_insert(host);
    if https {
        fields.insert(PROTO.clone(), HeaderValue::from_static("https"));
    }
    Ok(request.into_parts().0)
}

fn refused(error: ProxyError, key: Vec<u8>) -> Explanation {
    let decision = Decision::new(Outcome::Error).because(error.detail());
    let mut told = Explanation::empty(decision, key);
    told.answer = format!("refused with {}: {error}", error.status().as_u16());
    told
}

/// What never asks the cache.
fn passed(ask: &Ask, told: &mut Explanation) {
    let method = ask.head.method.as_str();
    if method == purge::METHOD {
        told.decision = Decision::new(Outcome::Pass).because("purge");
        told.answer = "never forwarded: PURGE purges, for clients in purge_networks".into();
        return;
    }
    let (fwd, word) =
        if ask.upgrade.is_some() { (Fwd::Bypass, "upgrade") } else { service::past_the_cache(ask) };
    told.decision = Decision::forwarded(Outcome::Pass, fwd);
    told.answer = match fwd {
        Fwd::Method if ask.asked.is_safe() => {
            format!("passed to the app: {method} is not answered from the cache")
        }
        Fwd::Method => format!(
            "passed to the app: {method} changes something, so it is never answered from the cache; \
             where it succeeds, what is stored for this URL is purged"
        ),
        _ => format!("passed to the app: {}", words::reason(word)),
    };
}

async fn look_up(worker: &Worker, ask: &Ask, told: &mut Explanation, now: Timestamp) {
    let tiers = &worker.house.tiers;
    let languages = ask.view.snapshot.cache.vary_language;
    let inspected = tiers.inspect(&told.key, &ask.head.headers, languages).await;
    told.tiers = places(&inspected);
    if inspected.by_alias {
        told.notes
            .push("found by No-Vary-Search: the path has said that this query is none".into());
    }
    let Some(seen) = inspected.seen.clone() else {
        return missing(worker, ask, &inspected, told, now);
    };
    told.freshness = words::freshness(&seen.entry.stored, &ask.view.policy.route, now);
    if seen.verdict == Verdict::Purged {
        missing(worker, ask, &inspected, told, now);
        let by = purged_by(worker, &seen);
        told.answer = format!("the app is asked: what was stored is purged, by {by}");
    } else {
        found(worker, ask, &seen, told, now);
    }
    told.stored = Some(seen);
}

fn places(inspected: &Inspected) -> Vec<String> {
    let Some(seen) = &inspected.seen else {
        let other = inspected.variants.as_ref().map(|list| {
            let names: Vec<&str> = list.names.iter().map(HeaderName::as_str).collect();
            format!("{} variant(s) for other values of {}", list.known.len(), names.join(", "))
        });
        return vec![other.unwrap_or_else(|| "memory and disk: nothing".to_owned())];
    };
    let word = |there| if there { "has it" } else { "nothing" };
    vec![format!("memory: {}", word(seen.in_memory)), format!("disk: {}", word(seen.on_disk))]
}

fn found(worker: &Worker, ask: &Ask, seen: &Seen, told: &mut Explanation, now: Timestamp) {
    let (entry, policy) = (&seen.entry, &ask.view.policy);
    let soft = seen.verdict == Verdict::Stale;
    let judged = reuse::reuse(&entry.stored, &ask.asked, policy, soft, entry.last_forced(), now);
    told.decision = judged.decision();
    let left = entry.stored.remaining(now);
    let status = match entry.stored.status {
        200 => String::new(),
        status => format!(" (a stored {status})"),
    };
    let uses = !matches!(judged, Reuse::Validate(..) | Reuse::OnlyIfCached504);
    if uses && !parts::lacking(ask, entry).is_empty() {
        told.decision = Decision::forwarded(Outcome::Miss, Fwd::Partial);
        told.answer = "the app is asked for what is missing: only a part of it is held".into();
        return;
    }
    let because = words::reason(told.decision.detail.unwrap_or_default());
    told.answer = match judged {
        Reuse::Fresh => format!("served from the cache{status}: fresh for another {left} s"),
        Reuse::StaleAllowed | Reuse::WhileRevalidate => {
            format!("served from the cache{status}: {because}")
        }
        Reuse::OnlyIfCached504 => format!("answered with 504: {because}"),
        Reuse::Validate(_, "purged") => {
            format!(
                "the app is asked whether it still holds: {because}, by {}",
                purged_by(worker, seen)
            )
        }
        Reuse::Validate(_, "expired") => {
            format!(
                "the app is asked whether it still holds: it expired {} s ago",
                left.unsigned_abs()
            )
        }
        Reuse::Validate(..) => format!("the app is asked whether it still holds: {because}"),
    };
    if uses {
        told.decision.ttl = Some(left).filter(|left| judged == Reuse::Fresh || *left < 0);
    }
}

/// The newest purge that reaches `seen`.
fn purged_by(worker: &Worker, seen: &Seen) -> String {
    let copy = Subject { key: &seen.key, tags: &seen.entry.stored.tags };
    let base = seen.entry.position.max(seen.entry.checked_to());
    let newest = newest_purge(worker, copy, base, |_| true);
    newest.unwrap_or_else(|| "a write, a cache group, or a newer copy".to_owned())
}

/// In words, the newest purge after `base` that reaches `copy`, of those that `counts` says.
fn newest_purge(
    worker: &Worker,
    copy: Subject<'_>,
    base: u64,
    counts: impl Fn(&Listed) -> bool,
) -> Option<String> {
    let records = worker.house.tiers.purges.records(usize::MAX);
    let reaches = |one: &&Listed| {
        one.position > base
            && counts(one)
            && one.what.matcher().is_ok_and(|matcher| matcher.matches(copy))
    };
    let one = records.iter().find(reaches)?;
    let soft = if one.soft { ", softly" } else { "" };
    Some(match one.what {
        What::Everything => format!("a purge of everything{soft}"),
        _ => format!("a purge of {} {}{soft}", one.kind(), one.name()),
    })
}

fn missing(
    worker: &Worker,
    ask: &Ask,
    inspected: &Inspected,
    told: &mut Explanation,
    now: Timestamp,
) {
    let house = &worker.house;
    if ask.asked.only_if_cached(&ask.view.policy) {
        told.decision = Decision::new(Outcome::Error).because("only-if-cached");
        told.answer = format!("answered with 504: {}", words::reason("only-if-cached"));
        return;
    }
    let fwd = if inspected.variants.is_some() { Fwd::VaryMiss } else { Fwd::UriMiss };
    told.decision = Decision::forwarded(Outcome::Miss, fwd);
    if let Some(word) = house.uncacheable.get(&told.key, now) {
        told.decision.detail = Some(word);
        told.answer = format!("not cached: {}", words::reason(word));
        told.notes.push(
            "remembered from the app's last answer (hit-for-miss): requests for it do not wait for \
             each other until cache.uncacheable_ttl has passed"
                .to_owned(),
        );
        return;
    }
    if let Some(word) = house.refused.get(&told.key, now) {
        told.answer = format!("not stored the last time: {}", words::reason(word));
        told.notes
            .push("the reason lay in that request: another's answer may be stored".to_owned());
        return;
    }
    if let Some(list) = &inspected.variants {
        let names: Vec<&str> = list.names.iter().map(HeaderName::as_str).collect();
        let names = names.join(", ");
        told.answer = format!(
            "the app is asked: it is stored for other values of {names} (Vary), not for these"
        );
        return;
    }
    let others = other_queries(worker, &told.key);
    let nothing = Subject { key: &told.key, tags: Tags::none() };
    let last = newest_purge(worker, nothing, 0, |one| !one.soft);
    told.answer = if others.is_empty() {
        "the app is asked: nothing is stored for this URL".to_owned()
    } else {
        let others = others.join(", ");
        format!(
            "the app is asked: nothing is stored for this very query; the path is stored as {others}"
        )
    };
    if let Some(last) = last {
        told.answer.extend(["; it was last purged by ", &last]);
    }
}

/// URLs in memory that differ from `primary` in their query only.
fn other_queries(worker: &Worker, primary: &[u8]) -> Vec<String> {
    let url = key::url_part(primary);
    let path = memchr::memchr(b'?', url).and_then(|end| url.get(..end)).unwrap_or(url);
    let mut others = BTreeSet::new();
    worker.house.tiers.memory.each(|key, _| {
        let other = key::url_part(key);
        let rest = other.strip_prefix(path);
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"?")) && other != url {
            others.insert(String::from_utf8_lossy(other).into_owned());
            if others.len() > NAMED {
                others.pop_last();
            }
        }
    });
    others.into_iter().collect()
}
