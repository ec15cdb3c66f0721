//! What of requests and answers is dropped and set: for the key, for the app, for all decisions.

use super::{MINUTE, Rule, app, forwarded};
use crate::support::{Ask, Origin};

/// Each target in turn, with what the app was asked for; `None`: it was a hit.
#[track_caller]
fn queries(rule: &Rule<'_>, targets: &[(&str, Option<&str>)]) {
    let origin = app(MINUTE);
    let larder = rule.before(&origin);
    let asks: Vec<_> = targets.iter().map(|(target, want)| (Ask::get(target), *want)).collect();
    forwarded(&larder, &origin, &asks);
}

pub fn drop_query(rule: &Rule<'_>) {
    queries(
        rule,
        &[
            ("/?campaign_a=1&id=7", Some("/?id=7")),
            ("/?id=7&ref=x", None),
            ("/?id=7&reference=x", Some("/?id=7&reference=x")),
            ("/?ref", Some("/")),
            ("/", None),
        ],
    );
}

pub fn keep_query(rule: &Rule<'_>) {
    queries(
        rule,
        &[
            ("/search?q=tea&x=1", Some("/search?q=tea")),
            ("/search?y=2&q=tea", None),
            ("/search?q=tea&page=2", Some("/search?q=tea&page=2")),
            ("/other?x=1", Some("/other?x=1")),
        ],
    );
}

pub fn drop_tracking(rule: &Rule<'_>) {
    queries(
        rule,
        &[
            ("/?utm_source=m&gclid=1&id=7", Some("/?id=7")),
            ("/?id=7&fbclid=2", None),
            ("/?id=7&utmost=1", Some("/?id=7&utmost=1")),
        ],
    );
}

pub fn sort_query(rule: &Rule<'_>) {
    queries(
        rule,
        &[
            ("/?b=2&a=1&b=1", Some("/?a=1&b=2&b=1")),
            ("/?b=2&b=1&a=1", None),
            ("/?a=1&b=1&b=2", Some("/?a=1&b=1&b=2")),
        ],
    );
}

pub fn key_headers(rule: &Rule<'_>) {
    let origin = app(MINUTE);
    let larder = rule.before(&origin);
    let version = |value: &str| Ask::get("/").with("X-Api-Version", value);
    forwarded(
        &larder,
        &origin,
        &[
            (version("1"), Some("/")),
            (version("2"), Some("/")),
            (Ask::get("/"), Some("/")),
            (version("1"), None),
            (Ask::get("/").with("X-Other", "1"), None),
        ],
    );
}

/// An app whose answers depend on these fields, and say so.
fn selecting() -> Origin {
    Origin::new(|seen, reply| {
        let fields = ["x-site", "x-debug-user", "authorization"];
        let said = fields.map(|name| seen.all(name).join(","));
        reply.ok(&["cache-control: max-age=60", "vary: X-Site, X-Debug-User"], said.join("|"));
    })
}

pub fn set_request_headers(rule: &Rule<'_>) {
    let origin = selecting();
    let larder = rule.before(&origin);
    assert_eq!(larder.get("/").expect(200).text(), "shop||");
    let pretending = larder.ask(&Ask::get("/").with("X-Site", "evil"));
    assert!(pretending.was_hit() && pretending.text() == "shop||", "{pretending:?}");
    assert_eq!(origin.count(), 1);
}

pub fn drop_request_headers(rule: &Rule<'_>) {
    let origin = selecting();
    let larder = rule.before(&origin);
    for (name, value) in [("Authorization", "Basic eA=="), ("X-Debug-User", "anna")] {
        let answer = larder.ask(&Ask::get("/").with(name, value)).expect(200);
        assert_eq!(answer.text(), "||", "{name}");
    }
    assert_eq!(origin.count(), 1, "one copy for all");
    let kept = larder.ask(&Ask::get("/").with("X-Site", "a")).expect(200);
    assert_eq!(kept.text(), "a||", "others stay");
}

pub fn set_response_headers(rule: &Rule<'_>) {
    let origin = Origin::serving(&["cache-control: private", "etag: \"1\""], "x");
    let larder = rule.before(&origin);
    assert!(larder.keeps(&Ask::get("/feed")));
    let answer = larder.get("/feed");
    assert_eq!(answer.header("cache-control"), Some("max-age=60"), "browsers are told the same");
    assert_eq!(answer.header("etag"), Some("\"1\""));
    assert!(!larder.keeps(&Ask::get("/other")));
}

pub fn drop_response_headers(rule: &Rule<'_>) {
    const SAID: &[&str] = &["cache-control: max-age=60", "set-cookie: s=1", "server: x"];
    let origin = Origin::serving(SAID, "x");
    let larder = rule.before(&origin);
    for hit in [false, true] {
        let answer = larder.get("/public/a").expect(200);
        let left = (answer.header("set-cookie"), answer.header("server"));
        assert_eq!((answer.was_hit(), left), (hit, (None, None)), "{answer:?}");
    }
    let other = larder.get("/a").expect(200);
    assert_eq!((other.header("set-cookie"), other.was_stored()), (Some("s=1"), false));
}
