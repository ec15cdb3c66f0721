//! Conditional requests: the client's at Larder, and Larder's at the origin.

use crate::support::{Ask, Larder, Origin};

const OLD: &str = "Sat, 01 Jan 2000 00:00:00 GMT";

#[test]
fn a_client_that_has_it_gets_304() {
    let headers = &[
        "cache-control: max-age=60",
        "etag: \"v1\"",
        "last-modified: Sat, 01 Jan 2000 00:00:00 GMT",
    ];
    let origin = Origin::serving(headers, "x");
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    for (case, name, value, status) in [
        ("same", "If-None-Match", "\"v1\"", 304),
        ("weak compare", "If-None-Match", "W/\"v1\"", 304),
        ("in a list", "If-None-Match", "\"v0\", \"v1\"", 304),
        ("any", "If-None-Match", "*", 304),
        ("other", "If-None-Match", "\"v2\"", 200),
        ("unmodified", "If-Modified-Since", OLD, 304),
        ("modified", "If-Modified-Since", "Fri, 01 Jan 1999 00:00:00 GMT", 200),
        ("no date", "If-Modified-Since", "yesterday", 200),
    ] {
        let answer = larder.ask(&Ask::get("/").with(name, value));
        assert_eq!(answer.status, status, "{case}: {answer:?}");
        assert!(answer.was_hit(), "{case}: {answer:?}");
        if status == 304 {
            assert!(answer.body.is_empty());
            assert_eq!(answer.header("etag"), Some("\"v1\""), "{case}");
        }
    }
    let both = Ask::get("/").with("If-None-Match", "\"v2\"").with("If-Modified-Since", OLD);
    larder.ask(&both).expect(200);
    assert_eq!(origin.count(), 1);
}

#[test]
fn a_stale_response_is_validated_by_etag() {
    let origin = Origin::new(|seen, reply| {
        if seen.header("if-none-match") == Some("\"v1\"") {
            reply.answer(304, &["cache-control: max-age=60", "etag: \"v1\"", "x-new: yes"], "");
        } else {
            reply.ok(&["cache-control: max-age=1", "age: 5", "etag: \"v1\"", "x-new: no"], "body");
        }
    });
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    let second = larder.get("/").expect(200);
    assert_eq!(second.body, b"body");
    assert_eq!(second.forwarded(), Some("stale"), "{second:?}");
    assert_eq!(second.header("x-new"), Some("yes"), "the 304's fields are taken over");
    let third = larder.get("/").expect(200);
    assert!(third.was_hit(), "fresh again: {third:?}");
    assert_eq!(third.header("x-new"), Some("yes"));
    assert_eq!(third.header("content-length"), Some("4"));
    assert_eq!(origin.count(), 2);
}

#[test]
fn a_stale_response_is_validated_by_last_modified() {
    let origin = Origin::new(|seen, reply| {
        if seen.header("if-modified-since") == Some(OLD) {
            reply.answer(304, &["cache-control: max-age=60"], "");
        } else {
            let modified = format!("last-modified: {OLD}");
            reply.ok(&["cache-control: max-age=1", "age: 5", &modified], "body");
        }
    });
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    assert_eq!(larder.get("/").expect(200).body, b"body");
    assert!(larder.get("/").expect(200).was_hit());
}

#[test]
fn a_changed_response_replaces_the_stale_one() {
    let origin = Origin::new(|seen, reply| {
        if seen.header("if-none-match").is_some() {
            reply.ok(&["cache-control: max-age=60", "etag: \"v2\""], "new");
        } else {
            reply.ok(&["cache-control: max-age=1", "age: 5", "etag: \"v1\""], "old");
        }
    });
    let larder = Larder::in_front_of(&origin);
    assert_eq!(larder.get("/").expect(200).body, b"old");
    assert_eq!(larder.get("/").expect(200).body, b"new");
    let third = larder.get("/").expect(200);
    assert!(third.was_hit());
    assert_eq!(third.body, b"new");
}

#[test]
fn the_clients_validator_does_not_shape_what_is_stored() {
    let origin = Origin::new(|seen, reply| {
        if seen.header("if-none-match") == Some("\"v1\"") {
            reply.answer(304, &["cache-control: max-age=60", "etag: \"v1\""], "");
        } else {
            reply.ok(&["cache-control: max-age=60", "etag: \"v1\""], "whole");
        }
    });
    let larder = Larder::in_front_of(&origin);
    let first = larder.ask(&Ask::get("/").with("If-None-Match", "\"v1\""));
    assert_eq!(first.status, 304, "{first:?}");
    let second = larder.get("/").expect(200);
    assert_eq!(second.body, b"whole", "a 304 is never stored as the representation");
}

#[test]
fn a_foreign_304_freshens_nothing() {
    let origin = Origin::new(|seen, reply| {
        if seen.header("if-none-match").is_some() {
            reply.answer(304, &["cache-control: max-age=60", "etag: \"other\""], "");
        } else {
            reply.ok(&["cache-control: max-age=1", "age: 5", "etag: \"v1\""], "body");
        }
    });
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    let answer = larder.get("/");
    assert!(answer.status == 200 || answer.status == 502, "{answer:?}");
    assert!(!larder.get("/").was_hit(), "it was not refreshed");
}

#[test]
fn a_response_that_must_be_validated_is_each_time() {
    let origin = Origin::new(|seen, reply| {
        let headers = &["cache-control: no-cache", "etag: \"v1\""];
        if seen.header("if-none-match") == Some("\"v1\"") {
            reply.answer(304, headers, "");
        } else {
            reply.ok(headers, "body");
        }
    });
    let larder = Larder::in_front_of(&origin);
    for n in 1..=4 {
        assert_eq!(larder.get("/").expect(200).body, b"body");
        assert_eq!(origin.count(), n);
    }
    let validations = origin.seen().iter().filter(|s| s.header("if-none-match").is_some()).count();
    assert_eq!(validations, 3, "stored once, validated after");
}

#[test]
fn the_origin_is_asked_with_its_own_validators_though_the_client_sees_weak_ones() {
    let body = crate::support::text(4000);
    let sent = body.clone();
    let origin = Origin::new(move |seen, reply| {
        let headers =
            &["cache-control: max-age=1", "age: 5", "etag: \"v1\"", "content-type: text/css"];
        if seen.header("if-none-match") == Some("\"v1\"") {
            reply.answer(304, headers, "");
        } else {
            reply.ok(headers, &sent);
        }
    });
    let larder = Larder::in_front_of(&origin);
    let gzip = Ask::get("/").with("Accept-Encoding", "gzip");
    for _ in 0..3 {
        let answer = larder.ask(&gzip).expect(200);
        assert_eq!(answer.decoded(), body);
        assert_eq!(answer.header("etag"), Some("W/\"v1\""), "{answer:?}");
    }
    assert_eq!(origin.last().header("if-none-match"), Some("\"v1\""));
    let had_it = gzip.clone().with("If-None-Match", "W/\"v1\"");
    assert_eq!(larder.ask(&had_it).status, 304);
}

#[test]
fn preconditions_that_fail_at_the_origin_reach_the_client() {
    let origin = Origin::new(|seen, reply| {
        if seen.header("if-match").is_some() {
            reply.answer(412, &[], "no");
        } else {
            reply.ok(&["cache-control: max-age=60", "etag: \"v1\""], "x");
        }
    });
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    larder.ask(&Ask::new("PUT", "/").with("If-Match", "\"v0\"").body("y")).expect(412);
    larder.ask(&Ask::get("/").with("If-Match", "\"v0\"")).expect(412);
    larder.ask(&Ask::get("/")).expect(200);
}
