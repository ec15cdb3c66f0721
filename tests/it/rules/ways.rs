//! Other apps, other paths, and answers of Larder's own.

use super::{MINUTE, Rule, app};
use crate::support::{Ask, Origin};

pub fn upstream(rule: &Rule<'_>) {
    let (first, blog) = (Origin::serving(MINUTE, "app"), Origin::serving(MINUTE, "blog"));
    let larder = rule.0.before(&[&first, &blog]);
    for (target, want) in [("/blog/a", "blog"), ("/blog", "app"), ("/blog/../a", "app")] {
        assert_eq!(larder.get(target).expect(200).text(), want, "{target}");
        assert!(larder.get(target).was_hit(), "{target}");
    }
}

pub fn rewrite(rule: &Rule<'_>) {
    let origin = app(MINUTE);
    let larder = rule.before(&origin);
    assert_eq!(larder.get("/blog/a/b?c").expect(200).text(), "/wordpress/a/b?c for ");
    assert!(larder.get("/blog/a/b?c").was_hit());
    assert!(!larder.get("/wordpress/a/b?c").was_hit(), "kept by the client's path");
    assert_eq!(larder.get("/other/a").expect(200).text(), "/other/a for ");
}

pub fn redirect(rule: &Rule<'_>) {
    let origin = app(MINUTE);
    let larder = rule.before(&origin);
    let answer = larder.ask(&Ask::get("/a?b=c").with("Host", "www.example.org")).expect(302);
    assert_eq!(answer.header("location"), Some("https://example.org/a?b=c"));
    assert_eq!(origin.count(), 0);
    larder.ask(&Ask::get("/").with("Host", "example.org")).expect(200);
}

pub fn redirect_status(rule: &Rule<'_>) {
    let origin = app(MINUTE);
    let larder = rule.before(&origin);
    for ask in [Ask::get("/old/a/b?c"), Ask::post("/old/a/b?c", "x")] {
        let answer = larder.ask(&ask).expect(308);
        assert_eq!(answer.header("location"), Some("/new/a/b?c"));
    }
    assert_eq!(origin.count(), 0);
    larder.get("/new/a/b?c").expect(200);
}

pub fn answer(rule: &Rule<'_>) {
    let origin = app(MINUTE);
    let larder = rule.before(&origin);
    for ask in [Ask::get("/gone/a"), Ask::head("/gone/a"), Ask::post("/gone/a", "x")] {
        let answer = larder.ask(&ask).expect(410);
        assert_eq!(answer.header("cache-control"), Some("max-age=3600"));
        assert_eq!(answer.text(), "");
    }
    assert!(!larder.keeps(&Ask::get("/gone/a")), "nothing to keep");
    assert_eq!(origin.count(), 0);
    larder.get("/gone").expect(200);
}

pub fn answer_type(rule: &Rule<'_>) {
    let origin = app(MINUTE);
    let larder = rule.before(&origin);
    let answer = larder.get("/status.json").expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.json()["well"], true);
    assert_eq!(larder.get("/other").expect(200).text(), "/other for ");
}

pub fn answer_body(rule: &Rule<'_>) {
    let origin = app(MINUTE);
    let larder = rule.before(&origin);
    let answer = larder.get("/robots.txt").expect(200);
    assert_eq!(answer.text(), "User-agent: *\nDisallow: /search\n");
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(larder.get("/other").expect(200).text(), "/other for ");
}
