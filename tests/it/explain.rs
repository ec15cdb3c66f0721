//! Explanations, and what the data plane then does: they must agree.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::larder::larder as run;
use crate::support::{Ask, Larder, Origin, SOON, Setup, eventually};

/// The request, as the admin port is asked about it.
fn question(target: &str, method: &str, headers: &[(&str, &str)]) -> String {
    let mut query = format!("/api/explain?method={method}&url=http://app.test{}", encoded(target));
    for (name, value) in headers {
        query.push_str(&format!("&header={}", encoded(&format!("{name}: {value}"))));
    }
    query
}

fn encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        write!(encoded, "%{byte:02x}").expect("written");
    }
    encoded
}

fn explain(larder: &Larder, target: &str, method: &str, headers: &[(&str, &str)]) -> Value {
    larder.admin_get(&question(target, method, headers)).expect(200).json()
}

/// Asks for the explanation, then sends the request: why the origin is asked, and whether it was a
/// hit, must be what was explained. Returns the reason.
#[track_caller]
fn agree(larder: &Larder, target: &str, method: &str, headers: &[(&str, &str)]) -> String {
    let told = explain(larder, target, method, headers);
    let mut ask = Ask::new(method, target);
    for (name, value) in headers {
        ask = ask.with(name, value);
    }
    let answer = larder.ask(&ask);
    let case = format!("{method} {target}: {told} but {answer:?}");
    assert_eq!(told["decision"]["fwd"].as_str(), answer.forwarded(), "{case}");
    assert_eq!(told["decision"]["outcome"] == "hit", answer.was_hit(), "{case}");
    if let Some(detail) = told["decision"]["detail"].as_str() {
        let said = format!("detail={detail}");
        assert!(answer.cache_status().contains(&said), "{case}");
    }
    told["answer"].as_str().expect("a reason").to_owned()
}

/// By its path: what typical apps say.
fn app() -> Origin {
    Origin::new(|seen, reply| match seen.path() {
        "/plain" | "/page" => reply.ok(&["cache-control: max-age=600"], "x"),
        "/silent" => reply.ok(&[], "x"),
        "/private" => reply.ok(&["cache-control: private, max-age=600"], "x"),
        "/no-store" => reply.ok(&["cache-control: no-store"], "x"),
        "/cookies" => reply.ok(&["cache-control: max-age=600", "set-cookie: a=1"], "x"),
        "/guess" => {
            reply.ok(&["last-modified: Mon, 01 Jan 2024 00:00:00 GMT", "etag: \"1\""], "x");
        }
        "/varied" => reply.ok(&["cache-control: max-age=600", "vary: Accept-Language"], "x"),
        "/star" => reply.ok(&["cache-control: max-age=600", "vary: *"], "x"),
        "/short" => reply.ok(&["cache-control: max-age=1", "etag: \"1\""], "x"),
        "/checked" => reply.ok(&["cache-control: no-cache", "etag: \"1\""], "x"),
        "/large" => reply.ok(&["cache-control: max-age=600"], "x".repeat(100_000).as_str()),
        "/moved" => reply.answer(301, &["location: /plain", "cache-control: max-age=600"], ""),
        "/found" => reply.answer(302, &["location: /plain"], ""),
        "/tagged" => reply.ok(&["cache-control: max-age=600", "surrogate-key: a"], "x"),
        _ => reply.answer(404, &[], ""),
    })
}

#[test]
fn typical_questions_get_the_true_reason() {
    let origin = app();
    let config = "[cache]\nmax_object = \"64KiB\"\n";
    let larder = Larder::with(&origin, config);
    let cookie = [("Cookie", "session=1")];
    let none: [(&str, &str); 0] = [];
    let german = [("Accept-Language", "de")];
    for (case, target, method, headers, first, then) in [
        ("what is cached", "/plain", "GET", &none[..], "nothing is stored", "fresh for another"),
        ("its HEAD", "/plain", "HEAD", &none, "fresh for another", "fresh for another"),
        (
            "a query parameter",
            "/plain?utm=1",
            "GET",
            &none,
            "this very query; the path is stored as http://app.test/plain",
            "fresh for",
        ),
        ("a cookie that does not count", "/page", "GET", &cookie, "nothing is stored", "fresh for"),
        (
            "a cookie that does",
            "/guess",
            "GET",
            &cookie,
            "nothing is stored",
            "the request has a Cookie",
        ),
        (
            "private",
            "/private",
            "GET",
            &none,
            "nothing is stored",
            "not cached: the app says private",
        ),
        (
            "no-store",
            "/no-store",
            "GET",
            &none,
            "nothing is stored",
            "not cached: the app says no-store",
        ),
        ("an app that says nothing", "/silent", "GET", &none, "nothing", "gives no freshness"),
        ("an app that sets cookies", "/cookies", "GET", &none, "nothing", "Set-Cookie"),
        ("Vary", "/varied", "GET", &none, "nothing is stored", "fresh for"),
        (
            "Vary, other values",
            "/varied",
            "GET",
            &german,
            "other values of accept-language (Vary)",
            "fresh for",
        ),
        ("Vary: *", "/star", "GET", &none, "nothing", "Vary: *"),
        ("too large", "/large", "GET", &none, "nothing", "larger than cache.max_object"),
        ("no-cache", "/checked", "GET", &none, "nothing", "validated before each use"),
        ("a redirect", "/moved", "GET", &none, "nothing is stored", "(a stored 301): fresh for"),
        ("a redirect for now", "/found", "GET", &none, "nothing is stored", "gives no freshness"),
        ("POST", "/plain", "POST", &none, "POST changes something", "POST changes something"),
        (
            "after a POST",
            "/plain",
            "GET",
            &none,
            "it was last purged by a purge of url http://app.test/plain",
            "fresh for",
        ),
        (
            "OPTIONS",
            "/plain",
            "OPTIONS",
            &none,
            "OPTIONS is not answered",
            "OPTIONS is not answered",
        ),
        (
            "a precondition",
            "/plain",
            "GET",
            &[("If-Match", "\"1\"")],
            "are the app's to judge",
            "the app's to judge",
        ),
        (
            "a reload",
            "/plain",
            "GET",
            &[("Cache-Control", "no-cache")],
            "the client says no-cache",
            "",
        ),
        (
            "a client without patience",
            "/never",
            "GET",
            &[("Cache-Control", "only-if-cached")],
            "504",
            "504",
        ),
    ] {
        let said = agree(&larder, target, method, headers);
        assert!(said.contains(first), "{case}: {said:?} does not say {first:?}");
        assert!(!said.contains('\n'), "{case}: one line");
        let said = agree(&larder, target, method, headers);
        assert!(said.contains(then), "{case}, again: {said:?} does not say {then:?}");
    }
}

#[test]
fn what_expires_and_what_is_purged_is_explained() {
    let origin = app();
    let larder = Setup::new(&origin.url()).start_with_disk();
    agree(&larder, "/short", "GET", &[]);
    eventually("it to expire", SOON, || {
        let told = explain(&larder, "/short", "GET", &[]);
        told["stored"]["state"] == "stale"
    });
    let said = agree(&larder, "/short", "GET", &[]);
    assert!(said.contains("it expired"), "{said}");
    for (purge, soft, want) in [
        (r#""tag": "a""#, false, "purged, by a purge of tag a"),
        (
            r#""prefix": "/tag""#,
            true,
            "a soft purge made it stale, by a purge of prefix /tag, softly",
        ),
        (r#""glob": "/t*""#, false, "purged, by a purge of glob /t*"),
        (r#""host": "app.test""#, false, "purged, by a purge of host app.test"),
        (r#""all": true"#, false, "purged, by a purge of everything"),
    ] {
        larder.await_hit(&Ask::get("/tagged"));
        let body = format!("{{{purge}, \"soft\": {soft}}}");
        larder.admin_post("/api/purge", &body).expect(200);
        for _ in 0..2 {
            let told = explain(&larder, "/tagged", "GET", &[]);
            let said = told["answer"].as_str().expect("a reason");
            assert!(said.contains(want), "{purge}: asking changes nothing: {told}");
        }
        agree(&larder, "/tagged", "GET", &[]);
    }
    // What is only on disk is read there, and not brought to memory.
    larder.await_on_disk(2);
    let larder = larder.restart();
    for _ in 0..2 {
        let told = explain(&larder, "/tagged", "GET", &[]);
        assert_eq!(told["stored"]["tiers"], Value::from(vec!["disk"]), "{told}");
    }
    assert!(agree(&larder, "/tagged", "GET", &[]).contains("fresh for another"));
}

#[test]
fn the_arithmetic_and_the_key_are_told() {
    let origin = app();
    let larder = Larder::in_front_of(&origin);
    larder.await_hit(&Ask::get("/plain?a=1"));
    let dropped = [("X-Forwarded-Server", "evil"), ("X-Other", "1")];
    let told = explain(&larder, "/plain?a=1", "GET", &dropped);
    assert_eq!(told["key"], "http://app.test/plain?a=1");
    assert_eq!(told["stored"]["lifetime"], 600);
    let text = told.to_string();
    for part in [
        "authority app.test",
        "path and query /plain?a=1",
        "lifetime 600 s: as the app said",
        "when it came",
        "fresh: 600 s - ",
        "no part of the key: x-forwarded-server",
        "memory: has it",
    ] {
        assert!(text.contains(part), "{part}: {told}");
    }
    let told = larder.admin_get("/api/explain?url=https://app.test/plain?a=1").expect(200).json();
    assert_eq!(told["key"], "https://app.test/plain?a=1", "another scheme is another key: {told}");
}

#[test]
fn with_fetch_the_app_is_asked_and_nothing_is_stored() {
    let count = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let origin = Origin::new(move |seen, reply| {
        counted.fetch_add(1, Ordering::SeqCst);
        let control = if seen.path() == "/a" { "max-age=60" } else { "private" };
        reply.ok(&[&format!("cache-control: {control}"), "set-cookie: secret=1"], "x");
    });
    let larder = Larder::with(&origin, "[cache]\nshare_set_cookie = true\n");
    for (target, answer, fetched) in [
        ("/a", "nothing is stored", "would be stored: fresh for "),
        ("/b", "not cached: the app says private", "would not be stored: the app says private"),
    ] {
        let path = format!("/api/explain?fetch=true&url=http://app.test{target}");
        let before = count.load(Ordering::SeqCst);
        let told = larder.admin_get(&path).expect(200).json();
        assert_eq!(count.load(Ordering::SeqCst), before + 1, "{told}");
        let said = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        assert!(said(&told["answer"]).contains(answer), "{told}");
        assert!(said(&told["fetched"]["answer"]).contains(fetched), "{told}");
        assert_eq!(told["fetched"]["status"], 200);
        assert!(!told.to_string().contains("secret"), "a cookie is nobody's business: {told}");
        assert!(!larder.get(target).was_hit(), "nothing was stored");
    }
}

#[test]
fn the_command_line_explains_with_the_reason_on_top() {
    let origin = app();
    let larder = Larder::in_front_of(&origin);
    let admin = larder.admin.to_string();
    larder.await_hit(&Ask::get("/varied"));
    let out = run(&[
        "cache",
        "explain",
        "http://app.test/varied",
        "-H",
        "Accept-Language: de",
        "--admin",
        &admin,
    ]);
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{out:?}");
    assert!(said.lines().next().is_some_and(|line| line.contains("other values of")), "{said}");
    assert!(said.contains("http://app.test/varied"), "{said}");
    let out = run(&[
        "cache",
        "explain",
        "http://app.test/private",
        "--fetch",
        "--json",
        "--admin",
        &admin,
    ]);
    let told: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!(told["fetched"]["status"], 200, "{told}");
    let out = run(&["cache", "explain", "/private", "--admin", &admin]);
    assert_eq!(out.status.code(), Some(1), "{out:?}");
    assert!(String::from_utf8_lossy(&out.stderr).contains("http://host/path"), "{out:?}");
}

#[test]
fn rules_are_explained_by_what_they_then_do() {
    let origin = app();
    let larder = Larder::with(
        &origin,
        r#"
        [[route]]
        name = "off"
        path = "/private"
        cache = "off"
        [[route]]
        name = "canonical"
        path = "/go/*"
        redirect = "https://www.app.test/{rest}"
        redirect_status = 308
        [[route]]
        name = "robots"
        path = "/robots.txt"
        answer = 200
        answer_body = "User-agent: *"
        [[route]]
        name = "shop"
        path = ["/silent", "/shop/*"]
        ttl = "1h"
        drop_tracking = true
        bypass_cookies = ["session"]
        vary_cookies = ["lang"]
        rewrite = "/plain"
        "#,
    );
    let lang = [("Cookie", "lang=de")];
    let session = [("Cookie", "session=1; lang=de")];
    for (case, target, headers, rule, reason) in [
        ("no rule", "/page", &[][..], "none: all 4", "nothing is stored"),
        ("past the cache", "/private", &[], "\"off\"", "its rule says cache = \"off\""),
        ("a redirect", "/go/a?b", &[], "\"canonical\"", "with 308 to https://www.app.test/a by"),
        (
            "its own answer",
            "/robots.txt",
            &[],
            "\"robots\"",
            "answered with 200 by the rule robots",
        ),
        ("a lifetime", "/shop/a?utm_source=x&b=1", &lang, "\"shop\"", "nothing is stored"),
        ("the same without", "/shop/a?b=1", &lang, "\"shop\"", "fresh for another 3599 s"),
        ("another cookie", "/shop/a?b=1", &[], "\"shop\"", "nothing is stored"),
        ("a session", "/shop/a?b=1", &session, "\"shop\"", "(bypass_cookies)"),
    ] {
        let told = explain(&larder, target, "GET", headers);
        assert!(told["rule"].as_str().expect("a rule").contains(rule), "{case}: {told}");
        let answer = agree(&larder, target, "GET", headers);
        assert!(answer.contains(reason), "{case}: {answer}");
    }
    let told = explain(&larder, "/shop/a?utm_source=x&b=1", "GET", &lang);
    let lines = |name: &str| told[name].to_string();
    assert!(
        lines("key_from").contains("/shop/a?b=1: what the rule leaves of /shop/a?utm"),
        "{told}"
    );
    assert!(lines("key_from").contains("the cookie lang, \\\"de\\\""), "{told}");
    assert!(lines("notes").contains("the app is asked for /plain?b=1"), "{told}");
    assert!(lines("freshness").contains("s: from when it came, by its rule (ttl"), "{told}");
}
