//! Whom a rule is for. The examples give a `ttl` to an app that says nothing.

use super::{Rule, SILENT, app};
use crate::support::{Ask, SOON, eventually};

#[track_caller]
fn meet(rule: &Rule<'_>, requests: &[(Ask, bool)]) {
    let origin = app(SILENT);
    let larder = rule.before(&origin);
    for (ask, meets) in requests {
        assert_eq!(larder.keeps(ask), *meets, "{ask:?}");
    }
}

fn at(host: &str) -> Ask {
    Ask::get("/").with("Host", host)
}

pub fn name(rule: &Rule<'_>) {
    let origin = app(SILENT);
    let larder = rule.before(&origin);
    larder.get("/assets/x").expect(200);
    larder.get("/other").expect(200);
    eventually("one of each", SOON, || {
        let of = |route| larder.metrics().count("larder_requests_total", &[("route", route)]);
        of("assets") == 1 && of("default") == 1
    });
}

pub fn host(rule: &Rule<'_>) {
    meet(
        rule,
        &[
            (at("shop.example"), true),
            (at("Shop.Example:8080"), true),
            (at("eu.shop.example"), true),
            (at("myshop.example"), false),
            (at("shop.example.org"), false),
        ],
    );
}

pub fn path(rule: &Rule<'_>) {
    meet(
        rule,
        &[
            (Ask::get("/about?x"), true),
            (Ask::get("/about/"), false),
            (Ask::get("/api/a/b"), true),
            (Ask::get("/%61pi/../api/a"), true),
            (Ask::get("/api"), false),
            (Ask::get("/a/b.css.map"), false),
        ],
    );
}

pub fn method(rule: &Rule<'_>) {
    let origin = app(SILENT);
    let larder = rule.before(&origin);
    assert!(larder.keeps(&Ask::get("/")) && larder.ask(&Ask::head("/")).was_hit());
    larder.ask(&Ask::post("/", "x")).expect(200);
    assert!(!larder.get("/").was_hit(), "a write under no rule makes void what one has kept");
    eventually("the POST to be counted", SOON, || {
        larder.metrics().count("larder_requests_total", &[("route", "default")]) == 1
    });
}

pub fn header(rule: &Rule<'_>) {
    let beta = || Ask::get("/").with("X-Beta", "1.5");
    let old = beta().with("X-Old", "");
    let other = Ask::get("/").with("X-Beta", "2");
    meet(rule, &[(beta(), true), (Ask::get("/"), false), (other, false), (old, false)]);
}

pub fn scheme(rule: &Rule<'_>) {
    let origin = app(SILENT);
    let larder = rule.before(&origin);
    let answer = larder.get("/a?b").expect(302);
    assert_eq!(answer.header("location"), Some("https://app.test/a?b"));
    let by_tls = Ask::get("/a?b").with("X-Forwarded-Proto", "https");
    larder.ask(&by_tls).expect(200);
}
