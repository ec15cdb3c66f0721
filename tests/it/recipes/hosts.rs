//! By host and by path: to other URLs, other apps, or to nobody.

use super::{Recipe, saying, silent};
use crate::support::{Ask, Origin, SOON, eventually};

const MINUTE: &[&str] = &["cache-control: max-age=60"];

pub fn canonical_host(recipe: &Recipe<'_>) {
    let origin = saying(MINUTE);
    let larder = recipe.before(&[&origin]);
    let before = origin.count();
    for (case, host, scheme, target, to) in [
        ("www", "www.example.org", "https", "/a?b=c", "https://example.org/a?b=c"),
        ("in capitals", "WWW.Example.Org", "https", "/", "https://example.org/"),
        ("a port", "www.example.org:8443", "https", "/", "https://example.org/"),
        ("both", "www.example.org", "http", "/a", "https://example.org/a"),
        ("http", "example.org", "http", "/a", "https://example.org/a"),
        ("slashes", "www.example.org", "https", "//evil.test", "https://example.org//evil.test"),
    ] {
        let ask = Ask::get(target).with("Host", host).with("X-Forwarded-Proto", scheme);
        let answer = larder.ask(&ask).expect(301);
        assert_eq!(answer.header("location"), Some(to), "{case}");
    }
    assert_eq!(origin.count(), before, "nobody is asked");
    let right = Ask::get("/b").with("Host", "example.org").with("X-Forwarded-Proto", "https");
    assert!(larder.keeps(&right), "it does not lead round in a circle");
    assert!(larder.keeps(&Ask::get("/b").with("Host", "www.example.net")), "only this host");
}

pub fn maintenance(recipe: &Recipe<'_>) {
    let origin = Origin::new(|seen, reply| {
        assert_eq!(seen.header("x-team"), None, "the secret stays here");
        reply.ok(MINUTE, "the app");
    });
    let larder = recipe.before(&[&origin]);
    let before = origin.count();
    for ask in [
        Ask::get("/"),
        Ask::get("/a?b").with("Cookie", "session=anna"),
        Ask::get("/").with("X-Team", "guess"),
        Ask::get("/").with("X-Team", ""),
        Ask::post("/buy", "x"),
    ] {
        let answer = larder.ask(&ask).expect(503);
        assert!(answer.text().contains("Back at nine"), "{answer:?}");
        let fields = ["retry-after", "cache-control", "content-type"].map(|f| answer.header(f));
        assert_eq!(fields, [Some("3600"), Some("no-store"), Some("text/html; charset=utf-8")]);
    }
    assert_eq!(origin.count(), before, "nobody is asked");
    let team = Ask::get("/").with("X-Team", "s3cret");
    assert_eq!(larder.ask(&team).expect(200).text(), "the app");
    larder.get("/").expect(503);
    // Taken out again while it runs.
    let plain = format!("upstream = \"{}\"\n", origin.url());
    std::fs::write(larder.setup.config_file(), plain).expect("written");
    eventually("the app again", SOON, || larder.get("/").status == 200);
}

pub fn several_sites(recipe: &Recipe<'_>) {
    let answering = |name: &'static str| {
        Origin::new(move |seen, reply| {
            let host = seen.header("host").unwrap_or_default().to_owned();
            reply.ok(MINUTE, format!("{name} at {host}"));
        })
    };
    let (shop, blog) = (answering("shop"), answering("blog"));
    let larder = recipe.before(&[&shop, &blog]);
    let ask = |host: &str| Ask::get("/same").with("Host", host);
    for _ in 0..2 {
        for (host, want) in [
            ("shop.example.org", "shop at shop.example.org"),
            ("eu.shop.example.org", "shop at eu.shop.example.org"),
            ("blog.example.org", "blog at blog.example.org"),
        ] {
            assert_eq!(larder.ask(&ask(host)).expect(200).text(), want);
        }
    }
    let (shops, blogs) = (shop.count(), blog.count());
    for host in ["example.org", "shop.example.org.evil.test", "127.0.0.1", "evilshop.example.org"] {
        assert_eq!(larder.ask(&ask(host)).expect(404).text(), "There is no such site here.");
    }
    assert_eq!((shop.count(), blog.count()), (shops, blogs), "strangers reach no app");
    larder.admin_post("/api/purge", "{\"host\": \"blog.example.org\"}").expect(200);
    assert!(!larder.ask(&ask("blog.example.org")).was_hit());
    assert!(larder.ask(&ask("shop.example.org")).was_hit());
}

pub fn old_app(recipe: &Recipe<'_>) {
    let (new, old) = (saying(MINUTE), silent());
    let larder = recipe.before(&[&new, &old]);
    for (case, target, status, to) in [
        ("a moved page", "/index.php/news/a/b?c=d", 301, Some("/news/a/b?c=d")),
        ("a host as rest", "/index.php/news//evil.test", 301, Some("/news//evil.test")),
        ("the new app", "/news/a", 200, None),
    ] {
        let answer = larder.get(target).expect(status);
        assert_eq!(answer.header("location"), to, "{case}");
    }
    assert_eq!(larder.get("/news/a").text(), "GET /news/a for ");
    let docs = larder.get("/docs/a/b?c=d").expect(200);
    assert_eq!(docs.text(), "GET /index.php/documentation/a/b?c=d for ");
    assert!(larder.get("/docs/a/b?c=d").was_hit(), "by the path that visitors use");
    assert_eq!(larder.get("/docs").text(), "GET /docs for ", "the new app's");
    let out = larder.get("/docs/../admin").expect(200);
    assert_eq!(out.text(), "GET /docs/../admin for ", "no way round into the old one");
    assert!(old.seen().iter().all(|seen| seen.target.starts_with("/index.php/documentation/")));
}
