//! What is stored, for whom, and under which key.

use crate::support::{Ask, Larder, Origin};

#[test]
fn second_request_is_a_hit_with_the_same_bytes() {
    let origin = Origin::serving(&["cache-control: max-age=60", "x-app: kept"], "hello");
    let larder = Larder::in_front_of(&origin);
    let first = larder.get("/a").expect(200);
    assert_eq!(first.forwarded(), Some("uri-miss"), "{first:?}");
    assert!(first.was_stored(), "{first:?}");
    let second = larder.get("/a").expect(200);
    assert!(second.was_hit(), "{second:?}");
    assert_eq!(second.body, b"hello");
    assert_eq!(second.header("x-app"), Some("kept"));
    assert_eq!(second.header("content-length"), Some("5"));
    assert!(second.header("age").is_some(), "{second:?}");
    assert_eq!(origin.count(), 1);
}

#[test]
fn chunked_answers_are_stored_too() {
    let origin = Origin::new(|_, reply| {
        reply.start(200, &["cache-control: max-age=60"]);
        reply.chunk("one ");
        reply.chunk("two");
        reply.end(&[]);
    });
    let larder = Larder::in_front_of(&origin);
    assert_eq!(larder.get("/").expect(200).body, b"one two");
    let second = larder.get("/").expect(200);
    assert!(second.was_hit(), "{second:?}");
    assert_eq!(second.body, b"one two");
}

#[test]
fn what_may_not_be_stored_is_fetched_each_time() {
    for (case, headers) in [
        ("no-store", &["cache-control: no-store, max-age=60"][..]),
        ("private", &["cache-control: private, max-age=60"]),
        ("private in capitals", &["Cache-Control: PRIVATE, Max-Age=60"]),
        ("Set-Cookie", &["cache-control: max-age=60", "set-cookie: s=1"]),
        ("Vary: *", &["cache-control: max-age=60", "vary: *"]),
        ("nothing said", &[]),
        ("Expires in the past", &["expires: Thu, 01 Jan 1970 00:00:00 GMT"]),
        ("Expires: 0", &["expires: 0"]),
        ("misspelt", &["cache-control: maxage=60"]),
        ("s-maxage=0 before max-age", &["cache-control: s-maxage=0, max-age=60"]),
        ("two different max-age", &["cache-control: max-age=60, max-age=0"]),
        ("206 unasked", &["cache-control: no-store"]),
    ] {
        let origin = Origin::new(move |_, reply| reply.ok(headers, "mine"));
        let larder = Larder::in_front_of(&origin);
        for _ in 0..3 {
            let answer = larder.get("/").expect(200);
            assert!(!answer.was_hit(), "{case}: {answer:?}");
            assert_eq!(answer.body, b"mine", "{case}");
        }
        assert_eq!(origin.count(), 3, "{case}");
    }
}

#[test]
fn set_cookie_reaches_only_its_own_client() {
    let origin = Origin::new(|seen, reply| {
        let user = seen.header("x-user").unwrap_or("none").to_owned();
        let cookie = format!("set-cookie: session={user}");
        reply.ok(&["cache-control: public, max-age=60", &cookie], user);
    });
    let larder = Larder::in_front_of(&origin);
    for user in ["alice", "bob", "carol"] {
        let answer = larder.ask(&Ask::get("/").with("X-User", user)).expect(200);
        assert_eq!(answer.header("set-cookie"), Some(&*format!("session={user}")));
        assert_eq!(answer.text(), user);
    }
}

#[test]
fn set_cookie_is_shared_where_the_setting_says_so() {
    let origin = Origin::serving(&["cache-control: max-age=60", "set-cookie: theme=dark"], "x");
    let larder = Larder::with(&origin, "[cache]\nshare_set_cookie = true\n");
    larder.get("/").expect(200);
    let second = larder.get("/").expect(200);
    assert!(second.was_hit(), "{second:?}");
    assert_eq!(second.header("set-cookie"), Some("theme=dark"));
}

#[test]
fn authorised_answers_are_shared_only_where_the_origin_allows() {
    for (case, cache_control, shared) in [
        ("max-age alone", "cache-control: max-age=60", false),
        ("public", "cache-control: public, max-age=60", true),
        ("s-maxage", "cache-control: s-maxage=60", true),
        ("must-revalidate", "cache-control: must-revalidate, max-age=60", true),
    ] {
        let origin = Origin::new(move |_, reply| reply.ok(&[cache_control], "x"));
        let larder = Larder::in_front_of(&origin);
        larder.ask(&Ask::get("/").with("Authorization", "Basic YTpi")).expect(200);
        let answer = larder.get("/").expect(200);
        assert_eq!(answer.was_hit(), shared, "{case}: {answer:?}");
    }
}

#[test]
fn an_authorised_request_does_not_get_what_another_stored_for_all_to_validate() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "public page");
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    // RFC 9111 §3.5 restricts storing, not reuse: the stored answer serves it.
    let answer = larder.ask(&Ask::get("/").with("Authorization", "Bearer x")).expect(200);
    assert!(answer.was_hit(), "{answer:?}");
}

#[test]
fn explicit_freshness_holds_with_a_cookie() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::in_front_of(&origin);
    larder.ask(&Ask::get("/").with("Cookie", "a=1")).expect(200);
    assert!(larder.ask(&Ask::get("/").with("Cookie", "a=2")).expect(200).was_hit());
}

#[test]
fn hosts_paths_and_queries_do_not_mix() {
    let origin = Origin::new(|seen, reply| {
        let name = format!("{}{}", seen.header("host").unwrap_or("?"), seen.target);
        reply.ok(&["cache-control: max-age=60"], name);
    });
    let larder = Larder::in_front_of(&origin);
    let asks = [
        ("a.test", "/"),
        ("b.test", "/"),
        ("a.test:8080", "/"),
        ("a.test", "/x"),
        ("a.test", "/X"),
        ("a.test", "/?"),
        ("a.test", "/?a=1&b=2"),
        ("a.test", "/?b=2&a=1"),
        ("a.test", "/%2e"),
        ("a.test", "/x/"),
        ("a.test", "//x"),
    ];
    for round in 0..2 {
        for (host, target) in asks {
            let answer = larder.ask(&Ask::get(target).with("Host", host)).expect(200);
            assert_eq!(answer.text(), format!("{host}{target}"));
            assert_eq!(answer.was_hit(), round == 1, "{host}{target}: {answer:?}");
        }
    }
}

#[test]
fn host_case_and_default_port_are_one_key() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::in_front_of(&origin);
    larder.ask(&Ask::get("/").with("Host", "app.test")).expect(200);
    for host in ["APP.test", "app.test:80"] {
        let answer = larder.ask(&Ask::get("/").with("Host", host)).expect(200);
        assert!(answer.was_hit(), "{host}: {answer:?}");
    }
}

#[test]
fn absolute_form_is_the_same_object() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::in_front_of(&origin);
    larder.ask(&Ask::get("/a").with("Host", "app.test")).expect(200);
    let answer = larder.ask(&Ask::get("http://app.test/a").with("Host", "app.test")).expect(200);
    assert!(answer.was_hit(), "{answer:?}");
    let other = larder.ask(&Ask::get("http://other.test/a").with("Host", "app.test")).expect(200);
    assert!(!other.was_hit(), "the target's authority outranks Host: {other:?}");
    assert_eq!(origin.last().header("host"), Some("other.test"));
    assert_eq!(origin.last().target, "/a", "origin-form to the origin");
}

#[test]
fn post_is_passed_and_never_answered_from_the_cache() {
    let origin = Origin::new(|seen, reply| {
        reply.ok(&["cache-control: max-age=60"], &seen.body);
    });
    let larder = Larder::in_front_of(&origin);
    for body in ["one", "two"] {
        let answer = larder.ask(&Ask::post("/", body)).expect(200);
        assert_eq!(answer.text(), body);
        assert_eq!(answer.forwarded(), Some("method"), "{answer:?}");
    }
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "SNOWFLAKE"] {
        let answer = larder.ask(&Ask::new(method, "/").body("b")).expect(200);
        assert_eq!(answer.text(), "b", "{method}");
        assert_eq!(origin.last().method, method);
    }
}

#[test]
fn a_hit_for_a_request_with_a_body_leaves_the_connection_in_order() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "stored");
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    let mut client = larder.connect();
    // The body looks like a request: nobody may take it for one (CVE-2025-4366).
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";
    let answer = client.ask(&Ask::get("/").body(smuggled)).expect(200);
    assert_eq!(answer.body, b"stored");
    if answer.header("connection") != Some("close") {
        let next = client.ask(&Ask::get("/"));
        assert!(next.status == 200 || next.status == 0, "{next:?}");
        if next.status == 200 {
            assert_eq!(next.body, b"stored");
        }
    }
    assert_eq!(origin.count_of("/smuggled"), 0);
}

#[test]
fn many_statuses_are_stored_by_explicit_freshness() {
    for status in [200, 203, 204, 301, 302, 307, 308, 404, 405, 410, 414, 501] {
        let origin = Origin::new(move |_, reply| {
            reply.answer(status, &["cache-control: max-age=60", "location: /x"], "body");
        });
        let larder = Larder::in_front_of(&origin);
        larder.get("/").expect(status);
        let second = larder.get("/").expect(status);
        assert!(second.was_hit(), "{status}: {second:?}");
    }
}

#[test]
fn field_lines_come_back_as_the_origin_sent_them() {
    let headers = &["cache-control: max-age=60", "x-two: a", "x-two: b", "x-bytes: \u{e9}t\u{e9}"];
    let origin = Origin::serving(headers, "x");
    let larder = Larder::in_front_of(&origin);
    for answer in [larder.get("/"), larder.get("/")] {
        assert_eq!(answer.all("x-two"), ["a", "b"]);
        assert_eq!(answer.header("x-bytes"), Some("\u{e9}t\u{e9}"));
    }
    assert_eq!(origin.count(), 1);
}

#[test]
fn one_connection_serves_many_requests() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    for n in 0..50 {
        let answer = client.ask(&Ask::get(&format!("/{}", n % 5))).expect(200);
        assert_eq!(answer.was_hit(), n >= 5, "{n}: {answer:?}");
    }
    // Pipelined requests are answered in order.
    client
        .send([Ask::get("/0").bytes(), Ask::get("/new").bytes(), Ask::get("/1").bytes()].concat());
    for (target, hit) in [("/0", true), ("/new", false), ("/1", true)] {
        assert_eq!(client.answer("GET").expect(200).was_hit(), hit, "{target}");
    }
    assert!(origin.connections() <= 6, "the origin's connections are reused");
}

#[test]
fn http_1_0_is_served_and_closed_unless_it_asks() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::in_front_of(&origin);
    for _ in 0..2 {
        let mut client = larder.connect();
        client.send("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n");
        let answer = client.answer("GET").expect(200);
        assert_eq!(answer.body, b"x");
        assert!(answer.header("transfer-encoding").is_none());
        assert!(client.is_closed());
    }
}
