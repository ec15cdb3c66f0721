//! Purges by the admin port and by the command line.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

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

/// Purges by each kind: its body, and which of [`stored_by_kind`] it reaches.
const KINDS: [(&str, &[&str]); 10] = [
    (r#""url": "http://app.test/news/1""#, &["/news/1"]),
    (r#""prefix": "http://app.test/news""#, &["/news/1", "/news/2?p=1"]),
    (r#""prefix": "/news/2?""#, &["/news/2?p=1"]),
    (r#""glob": "http://app.test/*/1""#, &["/news/1", "/img/1"]),
    (r#""glob": "/news/2?p=[0-9]""#, &["/news/2?p=1"]),
    (r#""tag": "news""#, &["/news/1", "/news/2?p=1"]),
    (r#""tag": "one""#, &["/news/1", "/img/1"]),
    (r#""host": "APP.test""#, &["/news/1", "/news/2?p=1", "/img/1", "/other"]),
    (r#""host": "app.test:81""#, &[]),
    (r#""all": true"#, &["/news/1", "/news/2?p=1", "/img/1", "/other"]),
];

const TARGETS: [&str; 4] = ["/news/1", "/news/2?p=1", "/img/1", "/other"];

/// Each target in two variants, with tags in both fields, and with a validator.
fn tagged() -> Origin {
    Origin::new(|seen, reply| {
        let mut fields = vec!["cache-control: max-age=600", "etag: \"1\"", "vary: x-a"];
        if seen.target.starts_with("/news") {
            fields.push("surrogate-key: news all");
        }
        if seen.path().ends_with("/1") {
            fields.push("cache-tag: one, all");
        }
        if seen.header("if-none-match") == Some("\"1\"") {
            reply.answer(304, &["etag: \"1\""], "");
        } else {
            reply.ok(&fields, "x");
        }
    })
}

fn variant(target: &str, value: &str) -> Ask {
    Ask::get(target).with("X-A", value)
}

fn store_by_kind(larder: &Larder) {
    for target in TARGETS {
        for value in ["1", "2"] {
            larder.ask(&variant(target, value)).expect(200);
            larder.await_hit(&variant(target, value));
        }
    }
}

fn check(larder: &Larder, purge: &str, reached: &[&str], soft: bool) {
    for target in TARGETS {
        for value in ["1", "2"] {
            let answer = larder.ask(&variant(target, value)).expect(200);
            let case = format!("{purge}, {target} {value}: {}", answer.cache_status());
            if !reached.contains(&target) {
                assert!(answer.was_hit(), "{case}");
            } else if soft {
                assert_eq!(answer.forwarded(), Some("stale"), "{case}");
                assert!(answer.cache_status().contains("purged"), "{case}");
            } else {
                assert!(matches!(answer.forwarded(), Some("uri-miss" | "vary-miss")), "{case}");
            }
        }
    }
}

#[test]
fn each_kind_reaches_what_it_names_with_all_variants() {
    let origin = tagged();
    for (purge, reached) in KINDS {
        for soft in [false, true] {
            let larder = Larder::in_front_of(&origin);
            store_by_kind(&larder);
            let dry = format!("{{{purge}, \"dry_run\": true}}");
            let counted = larder.admin_post("/api/purge", &dry).expect(200).json();
            let case = format!("{purge} {soft}");
            assert_eq!(counted["would_hit"]["memory"], 2 * reached.len(), "{case}: {counted}");
            assert_eq!(counted["would_hit"]["disk"], 0, "{case}: {counted}");
            for target in TARGETS {
                assert!(larder.ask(&variant(target, "1")).was_hit(), "{case}: dry");
            }
            let body = format!("{{{purge}, \"soft\": {soft}}}");
            let said = larder.admin_post("/api/purge", &body).expect(200).json();
            assert_eq!(said["recorded"]["soft"], soft, "{said}");
            let listed = larder.admin_get("/api/purges").expect(200).json();
            assert_eq!(listed["purges"][0]["position"], said["position"], "{listed}");
            let kind = purge.split('"').nth(1).expect("a kind");
            assert_eq!(listed["purges"][0][kind], said["recorded"][kind], "{listed}");
            check(&larder, purge, reached, soft);
            for target in TARGETS {
                let answer = larder.ask(&variant(target, "1"));
                assert!(answer.was_hit(), "{case}: stored or validated anew");
                for field in ["surrogate-key", "cache-tag"] {
                    assert_eq!(answer.header(field), None, "{case}");
                }
            }
            if soft {
                // The 304 said nothing of tags: they are kept.
                larder.admin_post("/api/purge", r#"{"tag": "all"}"#).expect(200);
                assert!(!larder.ask(&variant("/news/1", "1")).was_hit(), "{case}");
                assert!(larder.ask(&variant("/other", "1")).was_hit(), "{case}");
            }
        }
    }
}

#[test]
fn each_kind_holds_over_sigterm_and_kill_9() {
    let origin = tagged();
    for (purge, reached) in KINDS {
        for (soft, kill) in [(false, true), (true, false), (true, true)] {
            let larder = Setup::new(&origin.url()).start_with_disk();
            store_by_kind(&larder);
            larder.await_all_on_disk();
            let body = format!("{{{purge}, \"soft\": {soft}}}");
            larder.admin_post("/api/purge", &body).expect(200);
            let larder = if kill { larder.kill_and_restart() } else { larder.restart() };
            let listed = larder.admin_get("/api/purges").expect(200).text();
            assert!(listed.contains(&format!("\"soft\":{soft}")), "{listed}");
            check(&larder, &format!("{purge}, killed: {kill}"), reached, soft);
        }
    }
}

#[test]
fn a_fetch_that_began_before_a_purge_of_any_kind_is_not_kept_as_fresh() {
    for (purge, reached) in KINDS {
        if !reached.contains(&"/news/1") {
            continue;
        }
        for soft in [false, true] {
            let gate = Gate::default();
            let held = gate.clone();
            let origin = Origin::new(move |_, reply| {
                held.pass();
                let tags = "cache-tag: news, one";
                reply.ok(&["cache-control: max-age=60", tags], "x");
            });
            let larder = Larder::in_front_of(&origin);
            let mut client = larder.connect();
            client.send(Ask::get("/news/1").bytes());
            origin.await_count(1);
            let body = format!("{{{purge}, \"soft\": {soft}}}");
            larder.admin_post("/api/purge", &body).expect(200);
            gate.open();
            client.answer("GET").expect(200);
            assert!(!larder.get("/news/1").was_hit(), "{purge}: from before the purge");
            assert!(larder.await_hit(&Ask::get("/news/1")).was_hit());
        }
    }
}

/// A request that begins after the purge's answer must not get what was asked for before it, though
/// it is still coming in.
#[test]
fn nobody_joins_a_fetch_that_began_before_a_purge() {
    for (purge, reached) in KINDS {
        if !reached.contains(&"/news/1") {
            continue;
        }
        for soft in [false, true] {
            let gate = Gate::default();
            let (held, count) = (gate.clone(), AtomicUsize::new(0));
            let origin = Origin::new(move |_, reply| {
                let version = count.fetch_add(1, Ordering::SeqCst);
                if version == 0 {
                    held.pass();
                }
                let fields = ["cache-control: max-age=60", "cache-tag: news, one"];
                reply.ok(&fields, version.to_string().as_str());
            });
            let larder = Larder::in_front_of(&origin);
            let mut before = larder.connect();
            before.send(Ask::get("/news/1").bytes());
            origin.await_count(1);
            let body = format!("{{{purge}, \"soft\": {soft}}}");
            larder.admin_post("/api/purge", &body).expect(200);
            let mut after: Vec<_> = (0..4).map(|_| larder.connect()).collect();
            for client in &mut after {
                client.send(Ask::get("/news/1").bytes());
            }
            eventually("them to wait for the fetch", SOON, || {
                larder.metrics().count("larder_collapsed_requests_total", &[]) == 4
            });
            gate.open();
            assert_eq!(before.answer("GET").expect(200).text(), "0", "{purge}");
            for client in &mut after {
                assert_eq!(client.answer("GET").expect(200).text(), "1", "{purge}, soft: {soft}");
            }
            assert_eq!(larder.await_hit(&Ask::get("/news/1")).text(), "1");
            assert_eq!(origin.count(), 2, "they share one fetch again");
        }
    }
}

/// Clients that never pause, an origin whose answer grows: whoever asks after a purge's answer gets
/// nothing older than what the origin said when the purge began.
#[test]
fn under_load_nothing_from_before_a_purge_is_served_after_it() {
    let version = Arc::new(AtomicUsize::new(0));
    let now = version.clone();
    let origin = Origin::new(move |_, reply| {
        let fields = ["cache-control: max-age=600", "cache-tag: news, one"];
        reply.ok(&fields, now.load(Ordering::SeqCst).to_string().as_str());
    });
    let larder = Setup::new(&origin.url()).start_with_disk();
    let (floor, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let served: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let (mut client, mut served) = (larder.connect(), 0);
                    while !stop.load(Ordering::SeqCst) {
                        let least = floor.load(Ordering::SeqCst);
                        let answer = client.ask(&Ask::get("/news/1")).expect(200);
                        let got: usize = answer.text().parse().expect("a number");
                        assert!(got >= least, "{got} after the purge of {least}: {answer:?}");
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        for round in 0..60 {
            let (purge, reached) = KINDS[round % KINDS.len()];
            if !reached.contains(&"/news/1") {
                continue;
            }
            let new = version.fetch_add(1, Ordering::SeqCst) + 1;
            let body = format!("{{{purge}, \"soft\": {}}}", round % 3 == 0);
            let done = larder.admin_post("/api/purge", &body);
            floor.store(new, Ordering::SeqCst);
            done.expect(200);
            larder.await_hit(&Ask::get("/news/1"));
        }
        stop.store(true, Ordering::SeqCst);
        clients.into_iter().map(|client| client.join().expect("no stale answer")).sum()
    });
    assert!(served > 100, "{served} requests were no load");
}

#[test]
fn tags_are_kept_in_answers_where_that_is_configured() {
    let origin = Origin::new(|seen, reply| {
        let cache = if seen.target == "/private" { "private" } else { "max-age=60" };
        reply.ok(&[&format!("cache-control: {cache}"), "surrogate-key: a b", "cache-tag: c"], "x");
    });
    for (keep, want) in [(false, None), (true, Some("a b"))] {
        let larder = Larder::with(&origin, &format!("[cache]\nkeep_tags = {keep}\n"));
        for (case, ask) in [
            ("a miss", Ask::get("/")),
            ("a hit", Ask::get("/")),
            ("what is not stored", Ask::get("/private")),
            ("what is passed on", Ask::post("/", "x")),
        ] {
            let answer = larder.ask(&ask).expect(200);
            assert_eq!(answer.header("surrogate-key"), want, "{case}");
            assert_eq!(answer.header("cache-tag").is_some(), keep, "{case}");
        }
        larder.admin_post("/api/purge", r#"{"tag": "c"}"#).expect(200);
        assert!(!larder.get("/").was_hit());
    }
}

#[test]
fn the_command_line_purges_by_each_kind() {
    let origin = tagged();
    let larder = Larder::in_front_of(&origin);
    let admin = larder.admin.to_string();
    for (args, reached) in [
        (&["http://app.test/news/1"][..], &["/news/1"][..]),
        (&["--prefix", "/news"], &["/news/1", "/news/2?p=1"]),
        (&["--glob", "/*/1"], &["/news/1", "/img/1"]),
        (&["--tag", "news"], &["/news/1", "/news/2?p=1"]),
        (&["--host", "app.test"], &TARGETS),
        (&["--all", "--soft"], &TARGETS),
    ] {
        store_by_kind(&larder);
        let command = |more: &[&str]| {
            let out = run(&[&["cache", "purge", "--admin", &admin], args, more].concat());
            assert!(out.status.success(), "{args:?}: {out:?}");
            String::from_utf8_lossy(&out.stdout).into_owned()
        };
        let counted = command(&["--dry-run"]);
        let want = format!("\"memory\": {}", 2 * reached.len());
        assert!(counted.contains(&want), "{args:?}: {counted}");
        command(&[]);
        check(&larder, &format!("{args:?}"), reached, args.contains(&"--soft"));
    }
    let out = run(&["cache", "purges", "--admin", &admin, "--limit", "1"]);
    let listed = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success() && listed.contains("\"all\": true"), "{out:?}");
    let out = run(&["cache", "purge", "--glob", "/[", "--admin", &admin]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    assert!(said.contains("glob") && said.contains("/news/**"), "what would be right: {said}");
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

#[test]
fn the_method_purge_is_refused_by_default_and_never_forwarded() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::in_front_of(&origin);
    larder.get("/a").expect(200);
    let refused = larder.ask(&Ask::new("PURGE", "/a")).expect(405);
    assert!(refused.header("allow").is_some(), "{refused:?}");
    assert!(larder.get("/a").was_hit());
    assert_eq!(origin.count(), 1);
}

#[test]
fn the_method_purge_purges_a_url_with_all_variants_for_whom_it_is_allowed() {
    let origin = tagged();
    let larder = Larder::with(&origin, "purge_networks = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n");
    store_by_kind(&larder);
    let seen = origin.count();
    for (case, ask) in [
        (
            "by a proxy for a stranger",
            Ask::new("PURGE", "/news/1").with("X-Forwarded-For", "203.0.113.9"),
        ),
        (
            "by a proxy for a stranger who says otherwise",
            Ask::new("PURGE", "/news/1").with("X-Forwarded-For", "10.0.0.1, 203.0.113.9, 10.0.0.2"),
        ),
        ("by a proxy that does not say", Ask::new("PURGE", "/news/1").with("Via", "1.1 front")),
    ] {
        assert_eq!(larder.ask(&ask).status, 405, "{case}");
        check(&larder, case, &[], false);
    }
    let inside = Ask::new("PURGE", "/news/2?p=1").with("X-Forwarded-For", "10.0.0.1");
    assert_eq!(larder.ask(&inside).expect(200).text(), "purged\n");
    assert_eq!(origin.count(), seen, "never forwarded");
    check(&larder, "by a proxy for somebody inside", &["/news/2?p=1"], false);
    larder.ask(&Ask::new("PURGE", "/news/1")).expect(200);
    check(&larder, "directly", &["/news/1"], false);
    let elsewhere = Ask::new("PURGE", "/img/1").with("Host", "other.test");
    larder.ask(&elsewhere).expect(200);
    check(&larder, "another host", &[], false);
    larder.ask(&Ask::new("PURGE", "/").with("Surrogate-Key", "one")).expect(200);
    check(&larder, "by tag", &["/news/1", "/img/1"], false);
    let listed = larder.admin_get("/api/purges").expect(200).json();
    assert_eq!(listed["purges"][0]["tag"], "one", "{listed}");
}

#[test]
fn the_method_purge_is_for_configured_networks_only() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::with(&origin, "purge_networks = [\"192.0.2.0/24\"]\n");
    larder.get("/a").expect(200);
    larder.ask(&Ask::new("PURGE", "/a")).expect(405);
    let claimed = Ask::new("PURGE", "/a").with("X-Forwarded-For", "192.0.2.1");
    larder.ask(&claimed).expect(405);
    assert!(larder.get("/a").was_hit());
}
