//! Rules by route: which one is met, and what it does to storing, freshness and answers. By bare
//! sockets, looked at from both sides.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Ask, Larder, Origin, SOON, Setup, eventually};

/// An app that says what it was asked for and nothing of freshness.
fn silent() -> Origin {
    Origin::new(|seen, reply| {
        reply.ok(&["content-type: text/plain"], format!("{} {}", seen.method, seen.target));
    })
}

#[test]
fn the_first_rule_that_a_request_meets_holds_alone() {
    let origin = silent();
    let larder = Larder::with(
        &origin,
        r#"
        [[route]]
        name = "host"
        host = ["shop.test", "*.shop.test"]
        ttl = "1h"
        [[route]]
        name = "exact"
        path = "/exact"
        ttl = "1h"
        [[route]]
        name = "off"
        path = "/api/private/*"
        cache = "off"
        [[route]]
        name = "prefix"
        path = "/api/*"
        ttl = "1h"
        [[route]]
        name = "end"
        path = ["*.css", "/img/*.png"]
        ttl = "1h"
        [[route]]
        name = "header"
        header = ["X-Beta: 1*", "!X-Old"]
        ttl = "1h"
        [[route]]
        name = "method"
        method = "POST"
        cache = "off"
        "#,
    );
    let get = Ask::get;
    for (case, ask, route, kept) in [
        ("no rule", get("/x"), "default", false),
        ("host", get("/x").with("Host", "Shop.test:8080"), "host", true),
        ("below it", get("/x").with("Host", "a.b.shop.test"), "host", true),
        ("another host", get("/x").with("Host", "workshop.test"), "default", false),
        ("exact", get("/exact?q"), "exact", true),
        ("exact and more", get("/exact/"), "default", false),
        ("prefix", get("/api/x"), "prefix", true),
        ("the first of two", get("/api/private/x"), "off", false),
        ("spelt otherwise", get("/%61pi/./private/x"), "off", false),
        ("by a way round", get("/api/public/../private/x"), "off", false),
        ("by its end", get("/a/b.css?v=1"), "end", true),
        ("beginning and end", get("/img/a/b.png"), "end", true),
        ("end alone", get("/b.png"), "default", false),
        ("header", get("/y").with("X-Beta", "12"), "header", true),
        ("another value", get("/y").with("X-Beta", "2"), "default", false),
        (
            "what must not be there",
            get("/z").with("X-Beta", "1").with("X-Old", ""),
            "default",
            false,
        ),
        ("method", Ask::post("/x", "body"), "method", false),
    ] {
        let before = larder.metrics().count("larder_requests_total", &[("route", route)]);
        assert_eq!(larder.keeps(&ask), kept, "{case}: {ask:?}");
        eventually(&format!("two more of {route} for {case}"), SOON, || {
            larder.metrics().count("larder_requests_total", &[("route", route)]) == before + 2
        });
    }
}

#[test]
fn lifetimes_of_a_rule_outrank_the_origins() {
    let origin = Origin::new(|seen, reply| {
        let (status, directives) = seen.path().trim_start_matches('/').split_once('/').unwrap();
        let said = format!("cache-control: {}", directives.replace('+', ", "));
        let lines: &[&str] = if directives == "-" { &[] } else { &[&said] };
        reply.answer(status.parse().unwrap(), lines, "x");
    });
    let larder = Larder::with(
        &origin,
        r#"
        [[route]]
        host = "app.test"
        ttl = "1h"
        status_ttl = ["404: 10s", "5xx: 20s"]
        [[route]]
        host = "force.test"
        cache = "force"
        ttl = "1h"
        [[route]]
        host = "none.test"
        ttl = "0s"
        "#,
    );
    for (case, host, target, ttl) in [
        ("nothing said", "app.test", "/200/-", Some(3600)),
        ("shorter", "app.test", "/200/max-age=5", Some(3600)),
        ("a code", "app.test", "/404/-", Some(10)),
        ("a class", "app.test", "/503/max-age=600", Some(20)),
        ("another code", "app.test", "/405/-", None),
        ("no-store", "app.test", "/200/no-store+max-age=60", None),
        ("private", "app.test", "/200/private", None),
        ("forced", "force.test", "/200/no-store+private+no-cache", Some(3600)),
        ("none", "none.test", "/200/max-age=60", None),
    ] {
        let ask = Ask::get(target).with("Host", host);
        let before = origin.count();
        larder.ask(&ask);
        let second = larder.ask(&ask);
        assert_eq!(second.was_hit(), ttl.is_some(), "{case}: {second:?}");
        assert_eq!(origin.count() - before, if ttl.is_some() { 1 } else { 2 }, "{case}");
        if let Some(ttl) = ttl {
            let said = second.header("cache-status").unwrap_or_default().to_owned();
            let left: u64 =
                said.split("ttl=").nth(1).unwrap().split(';').next().unwrap().parse().unwrap();
            assert!((ttl - 5..=ttl).contains(&left), "{case}: {said}");
        }
    }
    let personal = Ask::get("/200/-").with("Host", "app.test").with("Cookie", "s=1");
    assert!(!larder.ask(&personal).was_hit(), "the origin has not said that it is for all");
    let forced = Ask::get("/200/-").with("Host", "force.test").with("Cookie", "s=1");
    assert!(larder.keeps(&forced), "but the rule has");
}

#[test]
fn stale_windows_of_a_rule() {
    let turn = AtomicUsize::new(0);
    let origin = Origin::new(move |_, reply| {
        let lines = ["cache-control: max-age=1", "age: 5", "etag: \"a\""];
        match turn.fetch_add(1, Ordering::SeqCst) {
            0 | 1 => reply.ok(&lines, "x"),
            _ => reply.answer(503, &[], "broken"),
        }
    });
    let larder = Larder::with(
        &origin,
        "[[route]]\npath = \"/w\"\nstale_while_revalidate = \"1h\"\n[[route]]\npath = \"/e\"\nstale_if_error = \"1h\"\n",
    );
    larder.get("/w").expect(200);
    larder.get("/e").expect(200);
    let stale = larder.get("/w").expect(200);
    assert_eq!(stale.text(), "x");
    assert!(stale.header("cache-status").unwrap().contains("stale-while-revalidate"), "{stale:?}");
    origin.await_count(3);
    let error = larder.get("/e").expect(200);
    assert!(error.header("cache-status").unwrap().contains("stale-if-error"), "{error:?}");
}

#[test]
fn past_the_cache_nothing_is_looked_up_or_kept() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::with(&origin, "[[route]]\npath = \"/off/*\"\ncache = \"off\"\n");
    for n in 1..=3 {
        let answer = larder.get("/off/x").expect(200);
        assert!(!answer.was_hit() && !answer.was_stored(), "{answer:?}");
        let said = answer.header("cache-status").unwrap();
        assert!(said.contains("fwd=bypass") && said.contains("detail=route-off"), "{said}");
        assert_eq!(origin.count(), n);
    }
    assert!(larder.keeps(&Ask::get("/on")));
    // Only-if-cached asks of a cache what this request has none of.
    let only = Ask::get("/off/x").with("Cache-Control", "only-if-cached");
    larder.ask(&only).expect(200);
}

#[test]
fn redirects_and_fixed_answers_ask_nobody() {
    let origin = silent();
    let larder = Larder::with(
        &origin,
        r#"
        [[route]]
        name = "www"
        host = "www.site.test"
        redirect = "https://{bare_host}{uri}"
        redirect_status = 301
        [[route]]
        name = "moved"
        path = "/old/*"
        redirect = "/new/{rest}{query}"
        redirect_status = 308
        [[route]]
        name = "gone"
        path = "/gone"
        answer = 410
        answer_type = "text/html"
        answer_body = "<p>gone</p>"
        set_response_headers = ["X-Why: moved on"]
        "#,
    );
    for (case, target, host, status, location) in [
        ("canonical host", "/a?b=c", "www.site.test", 301, Some("https://site.test/a?b=c")),
        (
            "two slashes",
            "//evil.test/",
            "www.site.test",
            301,
            Some("https://site.test//evil.test/"),
        ),
        ("prefix", "/old/a/b?c", "app.test", 308, Some("/new/a/b?c")),
        ("a host as rest", "/old//evil.test", "app.test", 308, Some("/new//evil.test")),
        ("fixed", "/gone", "app.test", 410, None),
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let ask = Ask::new(method, target).with("Host", host);
            let answer = larder.ask(&ask);
            assert_eq!(answer.status, status, "{case}, {method}: {answer:?}");
            assert_eq!(answer.header("location"), location, "{case}, {method}");
            if status == 410 {
                assert_eq!(answer.header("x-why"), Some("moved on"));
                assert_eq!(answer.header("content-length"), Some("11"));
                let body = if method == "HEAD" { "" } else { "<p>gone</p>" };
                assert_eq!(answer.text(), body, "{method}");
            }
        }
    }
    assert_eq!(origin.count(), 0);
    // What follows a body that nobody reads is no request.
    let mut client = larder.connect();
    client.send("POST /gone HTTP/1.1\r\nHost: a\r\nContent-Length: 60\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer("POST").status, 410);
    client.send("GET /after HTTP/1.1\r\nHost: a\r\n\r\n");
    let _ = client.rest();
    assert_eq!(origin.count_of("/smuggled"), 0);
}

#[test]
fn a_rule_names_another_origin_and_another_path() {
    let (first, second) = (
        silent(),
        Origin::new(|seen, reply| {
            reply.ok(
                &["cache-control: max-age=60"],
                format!("second {} {}", seen.target, seen.header("host").unwrap()),
            );
        }),
    );
    let config = format!(
        "[[upstream]]\nurl = \"{}\"\n[[upstream]]\nname = \"two\"\nurl = \"{}\"\nhost = \"two.test\"\n\
         [[route]]\npath = \"/blog/*\"\nupstream = \"two\"\nrewrite = \"/wp/{{rest}}\"\n\
         [[route]]\nheader = \"X-Canary\"\nupstream = \"two\"\n",
        first.url(),
        second.url()
    );
    let larder = Setup::new("").config(&config).without_disk().start();
    assert_eq!(larder.get("/x").expect(200).text(), "GET /x");
    assert_eq!(larder.get("/blog/a?b").expect(200).text(), "second /wp/a?b two.test");
    assert!(larder.get("/blog/a?b").was_hit());
    assert!(!larder.get("/wp/a?b").was_hit(), "the key is what the client asked for");
    // By a header: the URL alone does not tell them apart, the key does.
    let canary = Ask::get("/y").with("X-Canary", "1");
    assert_eq!(larder.ask(&canary).expect(200).text(), "second /y two.test");
    assert_eq!(larder.get("/y").expect(200).text(), "GET /y");
    assert!(larder.ask(&canary).was_hit());
    let answer = larder.admin_post("/api/purge", "{\"url\": \"http://app.test/y\"}");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!larder.ask(&canary).was_hit(), "one purge for all copies of a URL");
}

#[test]
fn a_write_makes_void_what_another_rule_has_stored() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::with(
        &origin,
        "[[route]]\nheader = \"X-Mobile\"\nttl = \"1h\"\n[[route]]\nmethod = \"POST\"\nmax_variants = 3\n",
    );
    let mobile = Ask::get("/x").with("X-Mobile", "1");
    assert!(larder.keeps(&mobile));
    larder.ask(&Ask::post("/x", "change")).expect(200);
    assert!(!larder.ask(&mobile).was_hit());
}

#[test]
fn a_reload_tells_what_became_of_the_rules() {
    let origin = silent();
    let rule = |name: &str, ttl: &str| {
        format!("[[route]]\nname = \"{name}\"\npath = \"/{name}\"\nttl = \"{ttl}\"\n")
    };
    let larder = Larder::with(&origin, &[rule("a", "1h"), rule("b", "1h")].concat());
    assert!(larder.keeps(&Ask::get("/a")) && !larder.keeps(&Ask::get("/c")));
    std::fs::write(larder.setup.config_file(), [rule("c", "1h"), rule("b", "2h")].concat())
        .unwrap();
    let want = "route a: removed; route b: ttl changed; route c: added";
    eventually("the reload", SOON, || larder.events().contains(want));
    assert!(larder.keeps(&Ask::get("/c")));
    let broken = "[[route]]\nname = \"c\"\nttl = \"soon\"\n";
    std::fs::write(larder.setup.config_file(), broken).unwrap();
    eventually("the refusal", SOON, || {
        larder.events().contains("`route.ttl`: expected a duration")
    });
    assert!(larder.get("/c").was_hit(), "the rules stay as they were");
}
