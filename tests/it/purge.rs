//! Purges by the admin port and by the command line.

use crate::support::larder::larder as run;
use crate::support::{Ask, Gate, Larder, Origin, SOON, Setup, eventually};

fn stored(larder: &Larder) {
    for target in ["/a", "/b", "/a?x=1"] {
        larder.get(target).expect(200);
        assert!(larder.get(target).was_hit(), "{target}");
    }
    larder.ask(&Ask::get("/a").with("Host", "other.test")).expect(200);
}

#[test]
fn a_url_is_purged_and_nothing_else() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::in_front_of(&origin);
    stored(&larder);
    let said =
        larder.admin_post("/api/purge", r#"{"url": "http://app.test/a"}"#).expect(200).text();
    // A string: the number has more than the 53 bits that JavaScript reads.
    let position = said.split_once(r#""position":""#).expect("a position as a string").1;
    let digits = position.split('"').next().and_then(|digits| digits.parse::<u64>().ok());
    assert!(digits.is_some_and(|position| position > 1 << 53), "{said}");
    assert!(larder.get("/a?x=1").was_hit());
    assert!(larder.get("/b").was_hit());
    assert!(larder.ask(&Ask::get("/a").with("Host", "other.test")).was_hit());
    assert!(!larder.get("/a").was_hit());
    assert!(larder.get("/a").was_hit(), "stored anew");
}

#[test]
fn a_path_means_every_host() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::in_front_of(&origin);
    stored(&larder);
    larder.admin_post("/api/purge", r#"{"url": "/a"}"#).expect(200);
    assert!(!larder.get("/a").was_hit());
    assert!(!larder.ask(&Ask::get("/a").with("Host", "other.test")).was_hit());
    assert!(larder.get("/b").was_hit());
}

#[test]
fn everything_is_purged_with_every_variant() {
    let origin = Origin::serving(&["cache-control: max-age=60", "vary: X-A"], "x");
    let larder = Larder::in_front_of(&origin);
    for value in ["1", "2"] {
        larder.ask(&Ask::get("/").with("X-A", value)).expect(200);
    }
    larder.admin_post("/api/purge", r#"{"all": true}"#).expect(200);
    for value in ["1", "2"] {
        assert!(!larder.ask(&Ask::get("/").with("X-A", value)).was_hit());
    }
}

#[test]
fn a_soft_purge_makes_stale_and_is_validated() {
    let origin = Origin::new(|seen, reply| {
        let headers = &["cache-control: max-age=60", "etag: \"1\""];
        if seen.header("if-none-match") == Some("\"1\"") {
            reply.answer(304, headers, "");
        } else {
            reply.ok(headers, "x");
        }
    });
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    larder.admin_post("/api/purge", r#"{"url": "/", "soft": true}"#).expect(200);
    let answer = larder.get("/").expect(200);
    assert_eq!(answer.forwarded(), Some("stale"), "{answer:?}");
    assert_eq!(origin.last().header("if-none-match"), Some("\"1\""));
    assert!(larder.get("/").was_hit(), "validated, so fresh again");
}

#[test]
fn a_fetch_that_began_before_a_purge_is_not_kept() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::new(move |_, reply| {
        held.pass();
        reply.ok(&["cache-control: max-age=60"], "x");
    });
    let larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    client.send(Ask::get("/").bytes());
    origin.await_count(1);
    larder.admin_post("/api/purge", r#"{"url": "/"}"#).expect(200);
    gate.open();
    client.answer("GET").expect(200);
    assert!(!larder.get("/").was_hit(), "its content may be from before the purge");
}

#[test]
fn a_purge_holds_over_kill_9() {
    let origin = Origin::serving(&["cache-control: max-age=600"], "x");
    let larder = Setup::new(&origin.url()).start_with_disk();
    larder.get("/a").expect(200);
    larder.get("/b").expect(200);
    larder.await_on_disk(2);
    larder.admin_post("/api/purge", r#"{"url": "/a"}"#).expect(200);
    let larder = larder.kill_and_restart();
    assert!(!larder.get("/a").was_hit());
    assert!(larder.get("/b").was_hit());
}

#[test]
fn the_command_line_purges_clears_and_shows() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::in_front_of(&origin);
    let admin = larder.admin.to_string();
    stored(&larder);
    let out = run(&["cache", "stats", "--admin", &admin]);
    assert!(out.status.success(), "{out:?}");
    assert!(!out.stdout.is_empty());
    let out = run(&["cache", "purge", "http://app.test/a", "--admin", &admin]);
    assert!(out.status.success(), "{out:?}");
    assert!(!larder.get("/a").was_hit());
    assert!(larder.get("/b").was_hit());
    let out = run(&["--admin", &admin, "cache", "clear"]);
    assert!(out.status.success(), "{out:?}");
    assert!(!larder.get("/b").was_hit());
    drop(larder);
    let out = run(&["cache", "clear", "--admin", &admin]);
    assert_eq!(out.status.code(), Some(1), "nobody there: {out:?}");
}

#[test]
fn what_is_no_purge_is_refused_with_a_problem() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    for json in [
        "",
        "{}",
        "[]",
        "{\"url\": 5}",
        "{\"nothing\": \"/\"}",
        "{\"url\": \"/\"",
        "{\"all\": false}",
    ] {
        let answer = larder.admin_post("/api/purge", json);
        assert!((400..500).contains(&answer.status), "{json}: {answer:?}");
        let kind = answer.header("content-type").unwrap_or_default();
        assert!(kind.starts_with("application/problem+json"), "{json}: {kind}");
    }
    assert!(larder.get("/").was_hit());
    assert!(matches!(larder.admin_get("/api/purge").status, 200 | 405), "never by GET");
    assert!(larder.get("/").was_hit());
}

#[test]
fn purges_are_counted() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::in_front_of(&origin);
    for n in 1..=3 {
        larder.admin_post("/api/purge", r#"{"all": true}"#).expect(200);
        eventually("the purge to be counted", SOON, || {
            larder.metrics().count("larder_purges_total", &[]) == n
        });
    }
}
