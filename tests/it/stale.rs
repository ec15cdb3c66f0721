//! Stale answers: when the origin is dead, when it fails, and never where that is forbidden.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::support::{Ask, Gate, Larder, Origin, SOON, eventually};

/// Stores `/` (stale at once) from an origin that then dies; answers what comes after.
fn after_death(headers: &'static [&'static str], config: &str) -> (Larder, crate::support::Answer) {
    let mut origin = Origin::serving(headers, "old");
    let larder = Larder::with(&origin, config);
    larder.get("/").expect(200);
    origin.stop();
    let answer = larder.get("/");
    (larder, answer)
}

#[test]
fn a_dead_origin_brings_stale_content() {
    let (larder, answer) = after_death(&["cache-control: max-age=1", "age: 5", "etag: \"1\""], "");
    let answer = answer.expect(200);
    assert_eq!(answer.body, b"old");
    assert!(answer.cache_status().contains("stale"), "{answer:?}");
    let age: u64 = answer.header("age").expect("Age").parse().expect("a number");
    assert!(age >= 5);
    assert_eq!(larder.metrics().count("larder_requests_total", &[("cache", "stale")]), 1);
}

#[test]
fn never_against_the_origins_word() {
    for headers in [
        &["cache-control: max-age=1, must-revalidate", "age: 5", "etag: \"1\""][..],
        &["cache-control: max-age=1, proxy-revalidate", "age: 5", "etag: \"1\""],
        &["cache-control: s-maxage=1", "age: 5", "etag: \"1\""],
        &["cache-control: no-cache", "etag: \"1\""],
        &["cache-control: max-age=1, no-store", "age: 5"],
    ] {
        let (_, answer) = after_death(headers, "");
        assert!(matches!(answer.status, 502 | 504), "{headers:?}: {answer:?}");
    }
}

#[test]
fn not_past_keep_stale() {
    let headers = &["cache-control: max-age=1", "age: 100", "etag: \"1\""];
    let (_, answer) = after_death(headers, "[cache]\nkeep_stale = \"10s\"\n");
    answer.expect(502);
    let (_, answer) = after_death(headers, "[cache]\nkeep_stale = \"1h\"\n");
    answer.expect(200);
}

#[test]
fn an_origin_that_breaks_off_before_its_head_counts_as_dead() {
    let broken = Arc::new(AtomicU16::new(0));
    let now = Arc::clone(&broken);
    let origin = Origin::new(move |_, reply| {
        if now.load(Ordering::SeqCst) == 1 {
            reply.reset();
        } else {
            reply.ok(&["cache-control: max-age=1", "age: 5", "etag: \"1\""], "old");
        }
    });
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    broken.store(1, Ordering::SeqCst);
    assert_eq!(larder.get("/").expect(200).body, b"old");
}

#[test]
fn errors_bring_stale_content_only_by_stale_if_error() {
    for (case, cache_control, request, want) in [
        ("allowed", "cache-control: max-age=1, stale-if-error=1000", "", 200),
        ("over its time", "cache-control: max-age=1, stale-if-error=2", "", 500),
        ("not allowed", "cache-control: max-age=1", "", 500),
        ("by the client", "cache-control: max-age=1", "stale-if-error=1000", 200),
        ("forbidden", "cache-control: max-age=1, must-revalidate, stale-if-error=1000", "", 500),
    ] {
        let status = Arc::new(AtomicU16::new(200));
        let now = Arc::clone(&status);
        let origin = Origin::new(move |_, reply| {
            reply.answer(
                now.load(Ordering::SeqCst),
                &[cache_control, "age: 50", "etag: \"1\""],
                "body",
            );
        });
        let larder = Larder::in_front_of(&origin);
        larder.get("/").expect(200);
        status.store(500, Ordering::SeqCst);
        let ask = if request.is_empty() {
            Ask::get("/")
        } else {
            Ask::get("/").with("Cache-Control", request)
        };
        let answer = larder.ask(&ask);
        assert_eq!(answer.status, want, "{case}: {answer:?}");
        status.store(200, Ordering::SeqCst);
        larder.get("/").expect(200);
    }
}

#[test]
fn stale_while_revalidate_answers_at_once_and_refreshes_behind() {
    let origin = Origin::new(|_, reply| {
        let cache_control = "cache-control: max-age=1, stale-while-revalidate=1000";
        reply.ok(&[cache_control, "age: 5", "etag: \"1\""], "x");
    });
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    let stale = larder.get("/").expect(200);
    assert!(stale.header("age").is_some(), "from the cache: {stale:?}");
    eventually("a fetch behind the client's back", SOON, || origin.count() >= 2);
}

#[test]
fn a_404_is_an_answer_and_replaces_what_was() {
    let status = Arc::new(AtomicU16::new(200));
    let now = Arc::clone(&status);
    let origin = Origin::new(move |_, reply| {
        reply.answer(
            now.load(Ordering::SeqCst),
            &["cache-control: max-age=1", "age: 5", "etag: \"1\""],
            "x",
        );
    });
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    status.store(404, Ordering::SeqCst);
    larder.get("/").expect(404);
}

#[test]
fn the_window_of_stale_while_revalidate_ends() {
    for (case, window, stale) in [("within", 60, true), ("behind it", 2, false)] {
        let said = format!("cache-control: max-age=1, stale-while-revalidate={window}");
        let origin = Origin::new(move |seen, reply| {
            let again = seen.header("if-none-match").is_some();
            reply.ok(&[&said, "age: 5", "etag: \"1\""], if again { "new" } else { "old" });
        });
        let larder = Larder::in_front_of(&origin);
        larder.get("/").expect(200);
        let second = larder.get("/").expect(200);
        assert_eq!(second.text(), if stale { "old" } else { "new" }, "{case}: {second:?}");
        assert_eq!(second.forwarded().is_none(), stale, "{case}: {second:?}");
    }
}

#[test]
fn many_who_get_it_stale_make_one_fetch_behind() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::new(move |seen, reply| {
        if seen.header("if-none-match").is_some() {
            held.pass();
            reply.ok(&["cache-control: max-age=60", "etag: \"2\""], "new");
        } else {
            let said = "cache-control: max-age=1, stale-while-revalidate=1000";
            reply.ok(&[said, "age: 5", "etag: \"1\""], "old");
        }
    });
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    for _ in 0..20 {
        assert_eq!(larder.get("/").expect(200).text(), "old");
    }
    eventually("the fetch behind", SOON, || origin.count() == 2);
    gate.open();
    eventually("what it brought", SOON, || larder.get("/").text() == "new");
    assert_eq!(origin.count(), 2);
}
