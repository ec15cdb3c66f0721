//! For how long a stored response is fresh, and what a client may say to that.

use std::time::{Duration, Instant};

use crate::support::{Ask, Larder, Origin, SOON, eventually};

#[test]
fn age_is_counted_from_the_origins_own() {
    let origin = Origin::serving(&["cache-control: max-age=600", "age: 100"], "x");
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    let hit = larder.get("/").expect(200);
    let age: u64 = hit.header("age").expect("Age").parse().expect("a number");
    assert!((100..110).contains(&age), "{age}");
    let ttl = hit.cache_status().split("ttl=").nth(1).expect("ttl");
    let ttl: i64 = ttl.split(';').next().unwrap_or_default().trim().parse().expect("a number");
    assert!((490..=500).contains(&ttl), "{ttl}");
}

#[test]
fn a_stored_response_ends_when_its_lifetime_does() {
    let origin = Origin::serving(&["cache-control: max-age=60", "age: 58"], "x");
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    assert!(larder.get("/").was_hit());
    let start = Instant::now();
    eventually("the stored response to be stale", SOON, || !larder.get("/").was_hit());
    assert!(start.elapsed() >= Duration::from_millis(500), "too early");
    assert!(start.elapsed() < Duration::from_secs(5), "too late");
}

#[test]
fn what_counts_as_fresh() {
    const FUTURE: &str = "expires: Fri, 01 Jan 2100 00:00:00 GMT";
    for (case, headers, fresh) in [
        ("max-age", &["cache-control: max-age=60"][..], true),
        ("s-maxage beats max-age", &["cache-control: max-age=0, s-maxage=60"], true),
        ("Expires", &[FUTURE], true),
        ("max-age beats Expires", &["cache-control: max-age=0", FUTURE], false),
        ("Age beyond it", &["cache-control: max-age=60", "age: 61"], false),
        ("quoted", &["cache-control: max-age=\"60\""], true),
        ("huge", &["cache-control: max-age=99999999999999999999"], true),
        ("negative", &["cache-control: max-age=-1"], false),
        ("a fraction", &["cache-control: max-age=1.5"], false),
        ("two lines", &["cache-control: public", "cache-control: max-age=60"], true),
        ("no-cache", &["cache-control: no-cache, max-age=60"], false),
        ("an unknown directive", &["cache-control: max-age=60, community=\"UCI\""], true),
    ] {
        let origin = Origin::new(move |_, reply| reply.ok(headers, "x"));
        let larder = Larder::in_front_of(&origin);
        larder.get("/").expect(200);
        let answer = larder.get("/").expect(200);
        assert_eq!(answer.was_hit(), fresh, "{case}: {answer:?}");
    }
}

#[test]
fn last_modified_gives_heuristic_freshness_but_not_to_cookies() {
    let headers = &["last-modified: Sat, 01 Jan 2000 00:00:00 GMT"];
    for (case, name, hit) in
        [("plain", "X-Any", true), ("Cookie", "Cookie", false), ("login", "Authorization", false)]
    {
        let origin = Origin::serving(headers, "x");
        let larder = Larder::in_front_of(&origin);
        larder.ask(&Ask::get("/").with(name, "a=1")).expect(200);
        let answer = larder.get("/").expect(200);
        assert_eq!(answer.was_hit(), hit, "{case}: {answer:?}");
    }
}

#[test]
fn client_directives_are_limited_to_one_forced_fetch_a_second() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    let forced = Ask::get("/").with("Cache-Control", "no-cache");
    let start = Instant::now();
    let first = larder.ask(&forced).expect(200);
    assert!(!first.was_hit(), "a reload gets through: {first:?}");
    for _ in 0..20 {
        larder.ask(&forced).expect(200);
    }
    let most = 2 + start.elapsed().as_secs() as usize + 1;
    assert!(origin.count() <= most, "{} fetches in {:?}", origin.count(), start.elapsed());
    assert!(larder.get("/").was_hit());
}

#[test]
fn client_directives_can_be_honoured_or_ignored() {
    for (setting, fetches) in [("honour", 6), ("ignore", 1)] {
        let origin = Origin::serving(&["cache-control: max-age=60"], "x");
        let config = format!("[cache]\nclient_directives = \"{setting}\"\n");
        let larder = Larder::with(&origin, &config);
        larder.get("/").expect(200);
        for directive in ["no-cache", "max-age=0", "no-cache, no-store", "max-age=0", "no-cache"] {
            larder.ask(&Ask::get("/").with("Cache-Control", directive)).expect(200);
        }
        assert_eq!(origin.count(), fetches, "{setting}");
    }
}

#[test]
fn request_directives_mean_what_rfc_9111_says() {
    for (case, stored_age, directive, hit) in [
        ("young enough", 10, "max-age=30", true),
        ("too old", 40, "max-age=30", false),
        ("min-fresh kept", 10, "min-fresh=30", true),
        ("min-fresh not kept", 40, "min-fresh=30", false),
        ("only-if-cached", 10, "only-if-cached", true),
        ("max-stale does not hurt", 10, "max-stale=10", true),
    ] {
        let origin = Origin::new(move |_, reply| {
            reply.ok(&["cache-control: max-age=60", &format!("age: {stored_age}")], "x");
        });
        let larder = Larder::with(&origin, "[cache]\nclient_directives = \"honour\"\n");
        larder.get("/").expect(200);
        let answer = larder.ask(&Ask::get("/").with("Cache-Control", directive)).expect(200);
        assert_eq!(answer.was_hit(), hit, "{case}: {answer:?}");
    }
}

#[test]
fn max_stale_takes_a_stale_answer() {
    let origin = Origin::serving(&["cache-control: max-age=60", "age: 70", "etag: \"1\""], "x");
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    let ask = Ask::get("/").with("Cache-Control", "max-stale=100");
    larder.ask(&ask).expect(200);
    assert_eq!(origin.count(), 1, "stale is fine with this client");
    larder.ask(&Ask::get("/").with("Cache-Control", "max-stale=5")).expect(200);
    assert_eq!(origin.count(), 2, "too stale for this one");
}

#[test]
fn only_if_cached_never_asks_the_origin() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::in_front_of(&origin);
    larder.ask(&Ask::get("/").with("Cache-Control", "only-if-cached")).expect(504);
    assert_eq!(origin.count(), 0);
}

#[test]
fn no_store_requests_leave_nothing_behind() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::in_front_of(&origin);
    larder.ask(&Ask::get("/").with("Cache-Control", "no-store")).expect(200);
    assert!(!larder.get("/").expect(200).was_hit());
}

#[test]
fn pragma_counts_only_without_cache_control() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::with(&origin, "[cache]\nclient_directives = \"honour\"\n");
    larder.get("/").expect(200);
    let both = Ask::get("/").with("Pragma", "no-cache").with("Cache-Control", "max-age=100");
    assert!(larder.ask(&both).was_hit());
    assert!(!larder.ask(&Ask::get("/").with("Pragma", "no-cache")).was_hit());
}

#[test]
fn default_ttl_applies_only_where_heuristics_may() {
    let origin = Origin::serving(&["last-modified: Sat, 01 Jan 2000 00:00:00 GMT"], "x");
    let larder = Larder::with(&origin, "[cache]\ndefault_ttl = \"1m\"\n");
    larder.ask(&Ask::get("/cookie").with("Cookie", "a=1")).expect(200);
    assert!(!larder.get("/cookie").was_hit());
    larder.get("/plain").expect(200);
    assert!(larder.get("/plain").was_hit());
}

#[test]
fn date_and_expires_are_as_the_origin_sent_them_until_a_304_brings_others() {
    const OLD: [&str; 2] =
        ["date: Fri, 01 Jan 2100 00:00:00 GMT", "expires: Sat, 02 Jan 2100 00:00:00 GMT"];
    const NEW: [&str; 2] =
        ["date: Sun, 03 Jan 2100 00:00:00 GMT", "expires: Mon, 04 Jan 2100 00:00:00 GMT"];
    let origin = Origin::new(|seen, reply| {
        if seen.header("if-none-match").is_some() {
            reply.answer(304, &[NEW[0], NEW[1], "etag: \"1\""], "");
        } else {
            reply.ok(&[OLD[0], OLD[1], "etag: \"1\""], "x");
        }
    });
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    let hit = |want: [&str; 2]| {
        let answer = larder.get("/").expect(200);
        assert!(answer.was_hit(), "{answer:?}");
        for (name, line) in ["date", "expires"].into_iter().zip(want) {
            assert_eq!(
                answer.header(name),
                line.split_once(": ").map(|(_, value)| value),
                "{name}"
            );
        }
    };
    hit(OLD);
    let forced = larder.ask(&Ask::get("/").with("Cache-Control", "no-cache")).expect(200);
    assert_eq!(forced.forwarded(), Some("request"), "{forced:?}");
    hit(NEW);
}
