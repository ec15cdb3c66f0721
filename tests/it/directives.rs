//! What an origin may say of its answers: targeted fields, field names, must-understand and more.

use crate::support::{Ask, Gate, Larder, Origin, SOON, eventually};

/// Whether a second request is a hit where the origin answers with `headers`.
fn is_kept(larder_config: &str, status: u16, headers: &[&'static str]) -> bool {
    let headers = headers.to_vec();
    let origin = Origin::new(move |_, reply| reply.answer(status, &headers, "x"));
    let larder = Larder::with(&origin, larder_config);
    larder.get("/").expect(status);
    let second = larder.get("/").expect(status);
    assert_eq!(second.was_hit(), origin.count() == 1, "{second:?}");
    second.was_hit()
}

#[test]
fn a_targeted_field_outranks_cache_control_and_expires() {
    const FUTURE: &str = "expires: Thu, 18 Aug 2050 02:01:18 GMT";
    for (case, headers, kept) in [
        ("alone", &["cdn-cache-control: max-age=60"][..], true),
        ("over no-store", &["cache-control: no-store", "cdn-cache-control: max-age=60"], true),
        ("over private", &["cache-control: private", "cdn-cache-control: max-age=60"], true),
        ("over Expires", &["expires: 0", "cdn-cache-control: max-age=60"], true),
        ("shorter", &["cache-control: max-age=60", "cdn-cache-control: max-age=0"], false),
        ("no-store", &["cache-control: max-age=60", "cdn-cache-control: no-store"], false),
        ("private", &["cache-control: max-age=60", "cdn-cache-control: private"], false),
        ("Expires does not count", &[FUTURE, "cdn-cache-control: max-age=0"], false),
        ("older than it says", &["age: 90", "cdn-cache-control: max-age=60"], false),
        ("two lines", &["cdn-cache-control: foo", "cdn-cache-control: max-age=60"], true),
        ("2^31", &["cdn-cache-control: max-age=2147483648"], true),
        ("more than that", &["cdn-cache-control: max-age=99999999999"], true),
        ("malformed", &["cache-control: no-store", "cdn-cache-control: max-age=60, &&"], false),
        ("another type", &["cache-control: no-store", "cdn-cache-control: max-age=\"60\""], false),
        ("malformed hides nothing", &["cache-control: max-age=60", "cdn-cache-control: ="], true),
        ("not in the list", &["cache-control: no-store", "surrogate-control: max-age=60"], false),
    ] {
        assert_eq!(is_kept("", 200, headers), kept, "{case}: {headers:?}");
    }
}

#[test]
fn the_list_of_targeted_fields_is_the_users() {
    let list =
        "[cache]\ntargeted = [\"My-Cache-Control\", \"Surrogate-Control\", \"X-Accel-Expires\"]\n";
    for (case, headers, kept) in [
        ("an own field", &["my-cache-control: max-age=60"][..], true),
        ("Surrogate-Control", &["surrogate-control: max-age=60", "cache-control: private"], true),
        ("aimed at another", &["surrogate-control: max-age=60;other"], false),
        ("X-Accel-Expires", &["x-accel-expires: 60", "cache-control: no-store"], true),
        ("X-Accel-Expires: 0", &["x-accel-expires: 0", "cache-control: max-age=60"], false),
        ("the first in the list", &["my-cache-control: max-age=0", "x-accel-expires: 60"], false),
        ("no longer in it", &["cdn-cache-control: max-age=60"], false),
    ] {
        assert_eq!(is_kept(list, 200, headers), kept, "{case}: {headers:?}");
    }
    assert!(!is_kept("[cache]\ntargeted = []\n", 200, &["cdn-cache-control: max-age=60"]));
}

#[test]
fn must_understand_is_for_known_status_codes() {
    for (case, status, headers, kept) in [
        ("known", 200, &["cache-control: max-age=60, no-store, must-understand"], true),
        ("unknown", 299, &["cache-control: max-age=60, no-store, must-understand"], false),
        ("without no-store", 299, &["cache-control: max-age=60, must-understand"], false),
        ("not asked for", 299, &["cache-control: max-age=60"], true),
    ] {
        assert_eq!(is_kept("", status, headers), kept, "{case}: {status} {headers:?}");
    }
}

#[test]
fn fields_that_private_and_no_cache_name_reach_one_client_and_no_store() {
    for directive in ["private", "no-cache"] {
        let said = format!("cache-control: max-age=60, {directive}=\"x-a, Set-Cookie\"");
        let headers = [said, "x-a: 1".into(), "x-b: 2".into(), "set-cookie: s=1".into()];
        let origin = Origin::new(move |_, reply| {
            reply.ok(&headers.each_ref().map(String::as_str), "x");
        });
        let larder = Larder::in_front_of(&origin);
        let first = larder.get("/").expect(200);
        assert_eq!((first.header("x-a"), first.header("set-cookie")), (Some("1"), Some("s=1")));
        let second = larder.get("/").expect(200);
        assert!(second.was_hit(), "{directive}: {second:?}");
        assert_eq!((second.header("x-a"), second.header("set-cookie")), (None, None));
        assert_eq!(second.header("x-b"), Some("2"));
    }
}

#[test]
fn nobody_who_waits_with_the_first_gets_the_fields_meant_for_it() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Origin::new(move |_, reply| {
        opened.pass();
        reply.ok(&["cache-control: max-age=60, private=\"x-a\"", "x-a: 1"], "x");
    });
    let larder = Larder::in_front_of(&origin);
    let seen = std::thread::scope(|scope| {
        let asks: Vec<_> = (0..6).map(|_| scope.spawn(|| larder.get("/").expect(200))).collect();
        eventually("five wait", SOON, || {
            larder.metrics().count("larder_collapsed_requests_total", &[]) >= 5
        });
        gate.open();
        asks.into_iter().map(|ask| ask.join().unwrap()).collect::<Vec<_>>()
    });
    let with = seen.iter().filter(|answer| answer.header("x-a").is_some()).count();
    assert_eq!((with, origin.count()), (1, 1), "{seen:?}");
}

#[test]
fn a_304_that_sets_a_cookie_sets_it_for_one_client_and_freshens_for_all() {
    let origin = Origin::new(|seen, reply| {
        if seen.header("if-none-match").is_some() {
            let fields =
                ["cache-control: max-age=60", "etag: \"v1\"", "set-cookie: s=1", "x-new: 1"];
            reply.answer(304, &fields, "");
        } else {
            reply.ok(&["cache-control: max-age=1", "age: 5", "etag: \"v1\""], "body");
        }
    });
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    let own = larder.get("/").expect(200);
    assert_eq!((own.header("set-cookie"), own.header("x-new")), (Some("s=1"), Some("1")));
    let other = larder.get("/").expect(200);
    assert!(other.was_hit(), "{other:?}");
    assert_eq!((other.header("set-cookie"), other.header("x-new")), (None, Some("1")));
}

#[test]
fn a_newer_answer_that_may_not_be_stored_ends_the_older_one() {
    let origin = Origin::new(|seen, reply| {
        if seen.header("cache-control").is_some() {
            reply.ok(&["cache-control: no-store"], "new");
        } else {
            reply.ok(&["cache-control: max-age=60"], "old");
        }
    });
    let larder = Larder::in_front_of(&origin);
    assert_eq!(larder.get("/").expect(200).text(), "old");
    let forced = larder.ask(&Ask::get("/").with("Cache-Control", "no-cache")).expect(200);
    assert_eq!(forced.text(), "new");
    // RFC 9111 §5.2.2.5 forbids storing the answer; what it replaced at the origin is not used.
    let third = larder.get("/").expect(200);
    assert!(!third.was_hit(), "the origin has replaced it: {third:?}");
}

#[test]
fn an_age_beyond_2_31_is_very_old_and_nothing_more() {
    for (case, age, kept) in [
        ("2^31 - 1", "age: 2147483647", false),
        ("2^31", "age: 2147483648", false),
        ("beyond", "age: 2147483649", false),
        ("beyond 2^64", "age: 99999999999999999999999", false),
        ("not that old", "age: 3000", true),
    ] {
        assert_eq!(is_kept("", 200, &["cache-control: max-age=3600", age]), kept, "{case}");
    }
}
