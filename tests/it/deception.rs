//! Web cache deception: what an app gave one person is never what a stranger finds under a path
//! that looks like a file's. By bare sockets, looked at from both sides.

use crate::support::{Ask, Larder, Origin};

const GUESSED: &str = "last-modified: Mon, 01 Jan 2024 00:00:00 GMT";
const STORED: &str = "cache-control: max-age=3600";

/// An app that answers everything below /account with the page of whoever is logged in, and gives
/// freshness by the look of the path, as servers before apps are told to.
fn app(freshness: &'static str, kind: &'static str) -> Origin {
    Origin::new(move |seen, reply| {
        let who = seen.header("cookie").unwrap_or("nobody");
        reply.ok(&[freshness, kind], format!("the account of {who}"));
    })
}

const DECEPTIVE: [(&str, &str); 14] = [
    ("a file below", "/account/x.css"),
    ("with a query", "/account/x.js?a=1"),
    ("in capitals", "/account/X.JPG"),
    ("a font", "/account/x.woff2"),
    ("behind a semicolon", "/account;x.css"),
    ("behind an encoded one", "/account%3bx.css"),
    ("behind an encoded slash", "/account%2fx.css"),
    ("encoded twice", "/account%252fx.css"),
    ("behind an encoded ?", "/account%3fx.css"),
    ("behind an encoded #", "/account%23x.css"),
    ("behind a NUL", "/account%00x.css"),
    ("behind a line end", "/account%0ax.css"),
    ("an encoded dot", "/account/x%2ecss"),
    ("with matrix parameters", "/account;a=b/x.png"),
];

const CONFUSING: [(&str, &str); 6] = [
    ("up from files", "/static/..%2faccount"),
    ("dot segments", "/static/../account"),
    ("encoded dots", "/static/%2e%2e/account"),
    ("a backslash", "/static/..%5caccount"),
    ("a parameter", "/account;jsessionid=1"),
    ("encoded twice", "/static/..%252faccount"),
];

#[test]
fn a_person_s_page_is_found_by_no_stranger() {
    for (freshness, kind) in [
        (GUESSED, "content-type: text/html; charset=utf-8"),
        (STORED, "content-type: text/html; charset=utf-8"),
        (STORED, "content-type: application/json"),
        (STORED, "x-no-type: 1"),
    ] {
        let origin = app(freshness, kind);
        let larder = Larder::in_front_of(&origin);
        for (case, target) in DECEPTIVE.into_iter().chain(CONFUSING) {
            let victim = larder.ask(&Ask::get(target).with("Cookie", "alice")).expect(200);
            assert_eq!(victim.text(), "the account of alice", "{case}: {freshness}");
            assert!(!victim.was_stored(), "{case}: {freshness}: {victim:?}");
            let word = if freshness == STORED { "path-confusion" } else { "cookie" };
            assert!(victim.cache_status().contains(word), "{case}: {victim:?}");
            let before = origin.count();
            let stranger = larder.get(target).expect(200);
            assert_eq!(stranger.text(), "the account of nobody", "{case}: {freshness}");
            assert_eq!(origin.count(), before + 1, "{case}: {freshness}: the origin was asked");
            assert_eq!(origin.last().target, target, "{case}: exactly what the client sent");
        }
    }
}

#[test]
fn authorisation_that_the_path_s_freshness_would_share_is_not() {
    let origin = Origin::new(|seen, reply| {
        let who = seen.header("authorization").unwrap_or("nobody");
        let fields = ["cache-control: public, s-maxage=3600", "content-type: text/html"];
        reply.ok(&fields, format!("the account of {who}"));
    });
    let larder = Larder::in_front_of(&origin);
    for (case, target) in DECEPTIVE {
        let victim = larder.ask(&Ask::get(target).with("Authorization", "alice")).expect(200);
        assert!(!victim.was_stored(), "{case}: {victim:?}");
        assert_eq!(larder.get(target).text(), "the account of nobody", "{case}");
    }
    larder.ask(&Ask::get("/shared").with("Authorization", "alice")).expect(200);
    assert!(larder.get("/shared").was_hit(), "elsewhere the app's word holds");
}

#[test]
fn a_key_of_an_api_s_own_is_no_reason_to_guess() {
    let origin = Origin::new(|seen, reply| {
        let who = seen.header("x-api-key").unwrap_or("nobody");
        reply.ok(&[GUESSED, "content-type: application/json"], format!("data of {who}"));
    });
    let larder = Larder::in_front_of(&origin);
    let victim = larder.ask(&Ask::get("/data").with("X-Api-Key", "alice")).expect(200);
    assert!(!victim.was_stored(), "{victim:?}");
    assert!(victim.cache_status().ends_with("detail=authorization"), "{victim:?}");
    assert_eq!(larder.get("/data").text(), "data of nobody");
}

#[test]
fn a_page_under_a_file_s_name_is_not_kept_by_guess() {
    let origin = app(GUESSED, "content-type: text/html");
    let larder = Larder::in_front_of(&origin);
    for (case, target) in DECEPTIVE {
        for _ in 0..2 {
            let answer = larder.get(target).expect(200);
            assert!(!answer.was_stored() && !answer.was_hit(), "{case}: {answer:?}");
            assert!(answer.cache_status().contains("type-mismatch"), "{case}: {answer:?}");
        }
    }
    // default_ttl is a guess as well.
    let silent = app("x-nothing: 1", "content-type: text/html");
    let larder = Larder::with(&silent, "[cache]\ndefault_ttl = \"1h\"\n");
    let answer = larder.get("/account/x.css").expect(200);
    assert!(!answer.was_stored() && answer.cache_status().contains("type-mismatch"), "{answer:?}");
    assert!(larder.get("/account").expect(200).was_stored());
}

#[test]
fn files_are_kept_and_so_is_what_the_app_calls_fresh() {
    for (case, freshness, kind, target, cookie) in [
        ("a style sheet by guess", GUESSED, "content-type: text/css", "/x.css", false),
        ("a picture by guess", GUESSED, "content-type: image/webp", "/x.jpg", false),
        ("a page by guess", GUESSED, "content-type: text/html", "/x.html", false),
        ("a style sheet with a Cookie", STORED, "content-type: text/css", "/x.css", true),
        ("a script with a Cookie", STORED, "content-type: text/javascript", "/x.js", true),
        ("a page with a Cookie", STORED, "content-type: text/html", "/account", true),
        ("a page named css, anonymous", STORED, "content-type: text/html", "/x.css", false),
        ("an encoded slash, anonymous", STORED, "content-type: text/html", "/a%2fb", false),
    ] {
        let origin = app(freshness, kind);
        let larder = Larder::in_front_of(&origin);
        let ask = Ask::get(target);
        let ask = if cookie { ask.with("Cookie", "alice") } else { ask };
        let first = larder.ask(&ask).expect(200);
        assert!(first.was_stored(), "{case}: {first:?}");
        assert!(larder.get(target).was_hit(), "{case}");
        assert_eq!(origin.count(), 1, "{case}");
    }
}

#[test]
fn a_cookie_that_is_set_reaches_nobody_else() {
    let origin = Origin::new(|seen, reply| match (seen.path(), seen.header("if-none-match")) {
        ("/plain", _) => {
            reply.ok(&["cache-control: public, max-age=3600", "set-cookie: id=1"], "x");
        }
        ("/guess", _) => reply.ok(&[GUESSED, "set-cookie: id=1"], "x"),
        ("/trailer", _) => {
            reply.start(200, &[STORED, "trailer: Set-Cookie, X-Sum"]);
            reply.chunk("x");
            reply.end(&["set-cookie: id=1", "x-sum: 1"]);
        }
        (_, None) => reply.ok(&["cache-control: max-age=1", "age: 5", "etag: \"a\""], "x"),
        (_, Some(_)) => {
            let fields = ["cache-control: max-age=60", "etag: \"a\"", "set-cookie: id=1"];
            reply.answer(304, &fields, "");
        }
    });
    let larder = Larder::in_front_of(&origin);
    for target in ["/plain", "/guess"] {
        let first = larder.get(target).expect(200);
        assert_eq!(first.header("set-cookie"), Some("id=1"), "{target}: its own");
        assert!(first.cache_status().contains("set-cookie"), "{target}: {first:?}");
        assert!(!larder.get(target).was_hit(), "{target}");
    }
    let trailers = Ask::get("/trailer").with("TE", "trailers").with("Connection", "TE");
    let first = larder.ask(&trailers).expect(200);
    let names: Vec<_> = first.trailers.iter().map(|(name, _)| name.to_lowercase()).collect();
    assert_eq!(names, ["x-sum"], "of the fetch that others share: {first:?}");
    let later = larder.ask(&trailers).expect(200);
    assert!(later.was_hit() && later.trailers.is_empty(), "{later:?}");
    larder.get("/304").expect(200);
    // The 304's cookie is for whoever it answered; what it validated is as shareable as before.
    let validated = larder.get("/304").expect(200);
    assert_eq!(validated.header("set-cookie"), Some("id=1"), "its own: {validated:?}");
    for round in 0..3 {
        let later = larder.get("/304").expect(200);
        assert!(later.was_hit() && later.all("set-cookie").is_empty(), "{round}: {later:?}");
    }
}
