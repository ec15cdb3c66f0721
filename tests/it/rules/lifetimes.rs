//! What is kept, for how long, and what becomes of it then.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{MINUTE, Rule, SILENT, app};
use crate::support::{Answer, Ask, Larder, Origin, SOON, eventually, text};

/// Seconds of freshness that are left.
#[track_caller]
fn left(answer: &Answer) -> i64 {
    let said = answer.cache_status();
    let ttl = said.split("; ").find_map(|parameter| parameter.strip_prefix("ttl="));
    ttl.and_then(|ttl| ttl.parse().ok()).unwrap_or_else(|| panic!("no ttl in {said}"))
}

/// An app that answers `/status/directives`, `-` for none.
fn saying() -> Origin {
    Origin::new(|seen, reply| {
        let mut parts = seen.path().rsplit('/');
        let directives = parts.next().unwrap_or_default().replace('+', ", ");
        let status = parts.next().and_then(|status| status.parse().ok()).unwrap_or(200);
        let said = format!("cache-control: {directives}");
        let fields: &[&str] = if directives == "-" { &[] } else { &[&said] };
        reply.answer(status, fields, "x");
    })
}

/// Which targets are kept, and for how many seconds.
#[track_caller]
fn are_kept(larder: &Larder, targets: &[(&str, Option<i64>)]) {
    for (target, want) in targets {
        let ask = Ask::get(target);
        assert_eq!(larder.keeps(&ask), want.is_some(), "{target}");
        if let Some(want) = want {
            let left = left(&larder.ask(&ask));
            assert!((want - 20..=*want).contains(&left), "{target}: {left}");
        }
    }
}

pub fn cache(rule: &Rule<'_>) {
    let origin = saying();
    let larder = rule.before(&origin);
    are_kept(
        &larder,
        &[
            ("/live/200/max-age=60", None),
            ("/legacy/200/no-store+private", Some(300)),
            ("/200/max-age=60", Some(60)),
            ("/200/no-store", None),
        ],
    );
    let anna = Ask::get("/legacy/200/no-cache").with("Authorization", "Basic eA==");
    assert!(larder.keeps(&anna), "forced, whoever asks");
}

pub fn ttl(rule: &Rule<'_>) {
    let origin = saying();
    let larder = rule.before(&origin);
    are_kept(
        &larder,
        &[
            ("/assets/200/-", Some(2_592_000)),
            ("/assets/200/max-age=5", Some(2_592_000)),
            ("/assets/301/-", Some(2_592_000)),
            ("/assets/404/-", None),
            ("/assets/200/private", None),
            ("/assets/200/no-store", None),
            ("/200/-", None),
        ],
    );
    let anna = |target: &str| Ask::get(target).with("Cookie", "id=anna");
    assert!(!larder.ask(&anna("/assets/200/-")).was_hit(), "the app has not said it is for all");
    assert!(!larder.keeps(&anna("/assets/200/max-age=0")), "nor so");
    assert!(larder.ask(&anna("/assets/200/max-age=5")).was_hit(), "but so");
}

pub fn status_ttl(rule: &Rule<'_>) {
    let origin = saying();
    let larder = rule.before(&origin);
    are_kept(
        &larder,
        &[
            ("/404/-", Some(10)),
            ("/410/max-age=5", Some(3600)),
            ("/403/-", None),
            ("/404/no-store", None),
            ("/200/-", None),
        ],
    );
    // For a second: a busy machine may need several tries to ask twice in one.
    eventually("an error to be kept", SOON, || larder.keeps(&Ask::get("/503/-")));
    eventually("its end", SOON, || !larder.get("/503/-").was_hit());
}

/// Stale from the start; the second time it is asked the app is broken.
fn failing() -> Origin {
    let turn = AtomicUsize::new(0);
    Origin::new(move |seen, reply| {
        let lines = ["cache-control: max-age=1", "age: 5"];
        let strict = ["cache-control: max-age=1, must-revalidate", "age: 5", "etag: \"1\""];
        match (seen.path(), turn.fetch_add(1, Ordering::SeqCst)) {
            ("/strict", 0) => reply.ok(&strict, "strict"),
            (_, 0 | 1) => reply.ok(&lines, "old"),
            _ => reply.answer(503, &[], "broken"),
        }
    })
}

pub fn stale_while_revalidate(rule: &Rule<'_>) {
    let origin = failing();
    let larder = rule.before(&origin);
    larder.get("/strict").expect(200);
    larder.get("/").expect(200);
    let stale = larder.get("/").expect(200);
    assert!(stale.was_hit() && stale.text() == "old", "{stale:?}");
    assert!(stale.cache_status().contains("detail=stale-while-revalidate"), "{stale:?}");
    origin.await_count(3);
    assert_eq!(larder.get("/strict").forwarded(), Some("stale"), "the app forbids it");
}

pub fn stale_if_error(rule: &Rule<'_>) {
    let origin = failing();
    let larder = rule.before(&origin);
    larder.get("/strict").expect(200);
    larder.get("/").expect(200);
    let stale = larder.get("/").expect(200);
    assert!(stale.cache_status().contains("detail=stale-if-error"), "{stale:?}");
    assert_eq!(stale.text(), "old");
    larder.get("/strict").expect(503);
}

pub fn keep_stale(rule: &Rule<'_>) {
    let mut origin = app(SILENT);
    let larder = rule.before(&origin);
    eventually("it to be kept", SOON, || larder.keeps(&Ask::get("/prices/tea")));
    assert!(!larder.keeps(&Ask::get("/other")));
    let elsewhere = Larder::with(&origin, "[[route]]\nttl = \"1s\"\n");
    eventually("it to be kept", SOON, || elsewhere.keeps(&Ask::get("/prices/tea")));
    origin.stop();
    eventually("its end", SOON, || larder.get("/prices/tea").status != 200);
    let kept = || elsewhere.get("/prices/tea").expect(200);
    eventually("a stale one", SOON, || kept().cache_status().contains("origin-unreachable"));
}

pub fn default_ttl(rule: &Rule<'_>) {
    let origin = saying();
    let larder = rule.before(&origin);
    are_kept(
        &larder,
        &[
            ("/blog/200/-", Some(60)),
            ("/blog/200/max-age=5", Some(5)),
            ("/blog/200/max-age=0", None),
            ("/blog/404/-", None),
            ("/200/-", None),
        ],
    );
    assert!(!larder.ask(&Ask::get("/blog/200/-").with("Cookie", "id=anna")).was_hit());
}

pub fn client_directives(rule: &Rule<'_>) {
    let origin = app(MINUTE);
    let larder = rule.before(&origin);
    larder.get("/").expect(200);
    for (name, value) in
        [("Cache-Control", "no-cache"), ("Pragma", "no-cache"), ("Cache-Control", "max-age=0")]
    {
        assert!(larder.ask(&Ask::get("/").with(name, value)).was_hit(), "{name}: {value}");
    }
    assert!(larder.keeps(&Ask::get("/b").with("Cache-Control", "no-store")));
    let elsewhere = Larder::in_front_of(&origin);
    elsewhere.get("/").expect(200);
    assert!(!elsewhere.ask(&Ask::get("/").with("Cache-Control", "no-cache")).was_hit());
}

pub fn max_object(rule: &Rule<'_>) {
    let origin = Origin::new(|seen, reply| {
        let len = seen.path().rsplit('/').next().and_then(|len| len.parse().ok());
        reply.ok(MINUTE, "x".repeat(len.unwrap_or_default()));
    });
    let larder = rule.before(&origin);
    for (target, kept) in
        [("/downloads/1024", true), ("/downloads/1025", false), ("/other/1025", true)]
    {
        assert_eq!(larder.keeps(&Ask::get(target)), kept, "{target}");
        let size: usize = target.rsplit('/').next().and_then(|len| len.parse().ok()).unwrap();
        assert_eq!(larder.get(target).body.len(), size, "{target}");
    }
}

pub fn max_variants(rule: &Rule<'_>) {
    let origin = Origin::serving(&["cache-control: max-age=60", "vary: X-A"], "x");
    let larder = rule.before(&origin);
    let ask = |value: &str| Ask::get("/").with("X-A", value);
    for value in ["1", "2", "3"] {
        assert!(larder.keeps(&ask(value)), "{value}");
    }
    let kept = ["3", "2", "1"].map(|value| larder.ask(&ask(value)).was_hit());
    assert_eq!(kept.iter().filter(|kept| **kept).count(), 2, "the newest two: {kept:?}");
    assert!(kept[0]);
}

pub fn share_set_cookie(rule: &Rule<'_>) {
    let origin = Origin::serving(&["cache-control: max-age=60", "set-cookie: banner=1"], "x");
    let larder = rule.before(&origin);
    assert!(larder.keeps(&Ask::get("/banner")));
    assert_eq!(larder.get("/banner").header("set-cookie"), Some("banner=1"));
    assert!(!larder.keeps(&Ask::get("/other")));
}

pub fn compress(rule: &Rule<'_>) {
    let origin =
        Origin::serving(&["cache-control: max-age=60", "content-type: text/css"], text(4000));
    let larder = rule.before(&origin);
    for _ in 0..2 {
        for (target, coded) in [("/raw/x", false), ("/x", true)] {
            let answer = larder.ask(&Ask::get(target).with("Accept-Encoding", "gzip"));
            assert_eq!(answer.is_gzip(), coded, "{target}");
            assert_eq!(answer.decoded(), text(4000), "{target}");
        }
    }
}
