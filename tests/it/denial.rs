//! Cache-poisoned denial of service: an error that one request brought about is never what the
//! others get. By bare sockets, looked at from both sides.

use crate::support::{Ask, Gate, Larder, Origin, SOON, eventually};

/// What servers put on every answer, their error pages included (`Header always set …`).
const ALWAYS: &str = "cache-control: public, max-age=3600";

/// An app behind servers as they are: with limits lower than Larder's, a firewall, and their
/// freshness on every answer.
fn touchy() -> Origin {
    Origin::new(|seen, reply| {
        let size: usize = seen.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let longest = seen.headers.iter().map(|(_, value)| value.len()).max().unwrap_or(0);
        let agent = seen.all("user-agent").join(",");
        let odd = |text: &&str| !text.is_ascii() || text.contains(['\t', '{']);
        let status = match seen {
            _ if longest > 8190 => 400,
            _ if size > 7000 => 431,
            _ if seen.headers.len() > 80 => 400,
            _ if agent.contains("sqlmap") => 403,
            _ if agent.contains("<script>") => 406,
            _ if seen.headers.iter().any(|(_, value)| odd(&value.as_str())) => 500,
            _ if seen.all("x-sharp").len() > 1 => 502,
            _ if seen.all("content-type").len() == 1 && seen.method == "GET" => 415,
            _ if seen.all("content-encoding").len() == 1 => 400,
            _ if seen.header("cookie").is_some_and(|cookie| cookie.contains("broken")) => 400,
            _ if seen.header("authorization").is_some_and(|value| value == "evil") => 500,
            _ if seen.header("x-limit") == Some("reached") => 429,
            _ if seen.header("accept") == Some("none/none") => 406,
            _ if seen.header("x-early") == Some("1") => 425,
            _ if seen.header("range").is_some() => 416,
            _ if seen.header("if-match").is_some() => 412,
            _ if seen.header("expect").is_some() => 417,
            _ if seen.all("x-http-method-override").len() == 1 => 405,
            _ => 200,
        };
        reply.answer(status, &[ALWAYS, "content-type: text/html"], format!("page {status}"));
    })
}

#[test]
fn an_error_that_a_request_provoked_reaches_nobody_else() {
    let origin = touchy();
    let larder = Larder::in_front_of(&origin);
    let many = (0..80).fold(Ask::get(""), |ask, n| ask.with(&format!("X-{n}"), "1"));
    let get = || Ask::get("");
    for (n, (case, ask, status)) in [
        ("an oversized field", get().with("X-Oversized", &"x".repeat(10_000)), 400),
        (
            "an oversized head",
            get().with("X-A", &"x".repeat(4000)).with("X-B", &"x".repeat(4000)),
            431,
        ),
        ("many fields", many, 400),
        ("a tool that a firewall knows", get().with("User-Agent", "sqlmap/1"), 403),
        ("a script", get().with("User-Agent", "<script>"), 406),
        ("not ASCII", get().with("X-Name", "\u{e9}"), 500),
        ("a tab", get().with("X-Name", "a\tb"), 500),
        ("a template", get().with("X-Name", "{{7*7}}"), 500),
        ("a field said twice", get().with("X-Sharp", "1").with("X-Sharp", "2"), 502),
        ("a type without content", get().with("Content-Type", "x/y"), 415),
        ("a coding without content", get().with("Content-Encoding", "gzip"), 400),
        ("a broken cookie", get().with("Cookie", "id=broken"), 400),
        ("a broken authorisation", get().with("Authorization", "evil"), 500),
        ("a rate limit", get().with("X-Limit", "reached"), 429),
        ("nothing acceptable", get().with("Accept", "none/none"), 406),
        ("too early", get().with("X-Early", "1"), 425),
        ("a range", get().with("Range", "bytes=99999-"), 416),
        ("a precondition", get().with("If-Match", "\"x\""), 412),
        ("HEAD with a range", Ask::head("").with("Range", "bytes=99999-"), 416),
    ]
    .into_iter()
    .enumerate()
    {
        let target = format!("/{n}");
        let attack = larder.ask(&ask.target(&target));
        assert_eq!(attack.status, status, "{case}: {attack:?}");
        assert_eq!(origin.last().target, target, "{case}: the origin was asked");
        assert!(!attack.was_stored() && !attack.was_hit(), "{case}: {attack:?}");
        let victim = larder.get(&target);
        assert_eq!((victim.status, &*victim.text()), (200, "page 200"), "{case}: {victim:?}");
        assert!(larder.get(&target).was_hit(), "{case}: and the page is kept");
        let again = larder.ask(&ask.target(&target));
        assert!(again.was_hit() || again.status == status, "{case}: {again:?}");
        assert_eq!(larder.get(&target).status, 200, "{case}: nor is it replaced");
    }
}

#[test]
fn a_failure_that_a_request_provoked_is_not_that_of_who_waits_with_it() {
    for (case, malformed) in [("the app resets", false), ("the app answers no HTTP", true)] {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::new(move |seen, reply| {
            if seen.header("x-oversized").is_none() {
                return reply.ok(&[ALWAYS], "page");
            }
            held.pass();
            if malformed {
                reply.raw("no HTTP at all\r\n\r\n");
            }
            reply.reset();
        });
        let larder = Larder::in_front_of(&origin);
        let mut attacker = larder.connect();
        attacker.send(Ask::get("/").with("X-Oversized", &"x".repeat(9000)).bytes());
        origin.await_count(1);
        let mut victims: Vec<_> = (0..10).map(|_| larder.connect()).collect();
        for victim in &mut victims {
            victim.send(Ask::get("/").bytes());
        }
        eventually("all to wait with it", SOON, || {
            larder.metrics().count("larder_collapsed_requests_total", &[]) == 10
        });
        gate.open();
        assert_eq!(attacker.answer("GET").status, 502, "{case}");
        for victim in &mut victims {
            let answer = victim.answer("GET");
            assert_eq!((answer.status, &*answer.text()), (200, "page"), "{case}: {answer:?}");
        }
        let plain = origin.seen().iter().filter(|s| s.header("x-oversized").is_none()).count();
        assert_eq!(plain, 1, "{case}: one asks for all");
    }
}

#[test]
fn a_forced_error_does_not_replace_what_is_stored() {
    let origin = touchy();
    let larder = Larder::with(&origin, "[cache]\nclient_directives = \"honour\"\n");
    larder.get("/").expect(200);
    for (case, name, value, status) in [
        ("oversized", "X-Oversized", "x".repeat(10_000), 400),
        ("a firewall's", "User-Agent", "sqlmap".into(), 403),
        ("not ASCII", "X-Name", "\u{e9}".into(), 200),
    ] {
        let ask = Ask::get("/").with(name, &value).with("Cache-Control", "no-cache");
        let before = origin.count();
        let attack = larder.ask(&ask);
        assert!(attack.status == status || attack.status == 500, "{case}: {attack:?}");
        assert_eq!(origin.count(), before + 1, "{case}: forced");
        let victim = larder.get("/");
        assert_eq!((victim.status, victim.was_hit()), (200, true), "{case}: {victim:?}");
    }
}

#[test]
fn a_plain_request_s_error_is_kept_for_as_long_as_the_app_says() {
    let origin = Origin::new(|seen, reply| {
        let status = seen.target.trim_matches('/').parse().unwrap_or(200);
        reply.answer(status, &["cache-control: max-age=60"], "x");
    });
    let larder = Larder::in_front_of(&origin);
    let agent = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0";
    for (status, kept) in [
        (400, true),
        (404, true),
        (410, true),
        (451, true),
        (500, true),
        (503, true),
        (401, false),
        (403, false),
        (406, false),
        (408, false),
        (413, false),
        (415, false),
        (421, false),
        (425, false),
        (429, false),
        (431, false),
        (511, false),
    ] {
        let ask = Ask::get(&format!("/{status}")).with("User-Agent", agent).with("Accept", "*/*");
        let first = larder.ask(&ask).expect(status);
        assert_eq!(first.was_stored(), kept, "{status}: {first:?}");
        assert_eq!(first.cache_status().contains("sender-error"), !kept, "{status}: {first:?}");
        assert_eq!(larder.ask(&ask).expect(status).was_hit(), kept, "{status}");
    }
    // What is not there is not there for the logged in either; any other error may be theirs.
    for (status, kept) in [(404, true), (410, true), (400, false), (500, false)] {
        let ask = Ask::get(&format!("/{status}/")).with("Cookie", "id=1");
        let first = larder.ask(&ask).expect(status);
        assert_eq!(first.was_stored(), kept, "{status} with a Cookie: {first:?}");
    }
}

const NONE: [u16; 0] = [];
const ERRORS: [u16; 16] =
    [400, 401, 403, 404, 405, 410, 414, 429, 431, 451, 500, 501, 502, 503, 504, 599];

/// The errors of [`ERRORS`] that are stored of an origin that sends `fields` with each.
fn stored_errors(fields: &'static [&'static str], config: &str) -> Vec<u16> {
    let origin = Origin::new(move |seen, reply| {
        reply.answer(seen.target.trim_matches('/').parse().unwrap_or(200), fields, "x");
    });
    let larder = Larder::with(&origin, config);
    let stored = ERRORS.into_iter().filter(|status| {
        let target = format!("/{status}");
        let first = larder.get(&target).expect(*status);
        assert!(!first.was_hit(), "{status}: {first:?}");
        let before = origin.count();
        let second = larder.get(&target).expect(*status);
        assert_eq!(second.was_hit(), origin.count() == before, "{status}: {second:?}");
        let ttl = second.cache_status().split("ttl=").nth(1).and_then(|ttl| ttl.parse().ok());
        assert!(!second.was_hit() || ttl.is_some_and(|ttl: u64| ttl <= 10), "{second:?}");
        second.was_hit()
    });
    stored.collect()
}

#[test]
fn errors_without_explicit_freshness_are_not_stored_or_for_a_moment() {
    const DATED: &[&str] =
        &["last-modified: Mon, 01 Jan 2024 00:00:00 GMT", "etag: \"a\"", "content-type: x/y"];
    let ttl = "[cache]\ndefault_ttl = \"1h\"\n";
    assert_eq!(stored_errors(&["etag: \"a\""], ttl), NONE, "default_ttl is for no error");
    assert_eq!(stored_errors(&["cache-control: public"], ttl), NONE, "nor with public");
    // RFC 9110 §15.1 allows to guess; a provoked error hardly ever has a Last-Modified.
    assert_eq!(stored_errors(DATED, ttl), [404, 405, 410, 414, 501]);
    let never = "[cache]\nheuristic_errors = \"0s\"\ndefault_ttl = \"1h\"\n";
    assert_eq!(stored_errors(DATED, never), NONE);
}

#[test]
fn the_short_guess_is_for_plain_requests_only() {
    let origin = Origin::new(|seen, reply| {
        let status = seen.target.trim_matches('/').parse().unwrap_or(200);
        let fields =
            ["last-modified: Mon, 01 Jan 2024 00:00:00 GMT", "etag: \"a\"", "content-type: x/y"];
        reply.answer(status, &fields, "x");
    });
    let larder = Larder::in_front_of(&origin);
    for (case, status, name, value) in [
        ("oversized", 404, "X-Oversized", "x".repeat(10_000)),
        ("not ASCII", 410, "X-Name", "\u{e9}".into()),
        ("a path", 404, "X-Name", "../../etc/passwd".into()),
        ("a cookie", 405, "Cookie", "id=1".into()),
        ("a key", 404, "X-Api-Key", "1".into()),
    ] {
        let target = format!("/{status}/");
        let provoked = larder.ask(&Ask::get(&target).with(name, &value)).expect(status);
        assert!(!provoked.was_stored(), "{case}: {provoked:?}");
        assert!(!larder.get(&target).expect(status).was_hit(), "{case}");
        larder.admin_post("/api/purge", "{\"all\": true}").expect(200);
    }
    for status in [401, 403, 429, 431, 500, 503] {
        let answer = larder.get(&format!("/{status}")).expect(status);
        assert!(!answer.was_stored(), "{status} is never guessed at: {answer:?}");
    }
}

#[test]
fn a_post_that_overrides_its_method_is_stored_for_nobody() {
    let origin = Origin::new(|seen, reply| {
        let fields = ["cache-control: max-age=60", "content-location: /p", "content-type: x/y"];
        let by = seen.header("x-http-method-override").or(seen.header("x_method"));
        reply.ok(&fields, format!("{} {by:?}", seen.method));
    });
    let larder = Larder::in_front_of(&origin);
    for name in ["X-HTTP-Method-Override", "X_Method"] {
        let post = Ask::post("/p", "x").with(name, "DELETE");
        let attack = larder.ask(&post).expect(200);
        assert!(attack.text().contains("DELETE") && !attack.was_stored(), "{name}: {attack:?}");
        let victim = larder.get("/p").expect(200);
        assert_eq!(victim.text(), "GET None", "{name}: {victim:?}");
        larder.admin_post("/api/purge", "{\"all\": true}").expect(200);
    }
    larder.ask(&Ask::post("/p", "x")).expect(200);
    assert!(larder.get("/p").was_hit(), "what POST brings is kept where the origin says so");
}

#[test]
fn larder_s_own_refusals_are_never_stored() {
    let mut origin = Origin::serving(&["cache-control: max-age=60"], "page");
    let larder = Larder::with(&origin, "[limits]\nhead_size = \"8KiB\"\nuri_size = \"1KiB\"\n");
    let via = {
        larder.get("/warm").expect(200);
        origin.last().header("via").expect("Via").to_owned()
    };
    let many = "X: 1\r\n".repeat(101);
    let get = "GET /p HTTP/1.1\r\nHost: app.test\r\n";
    for (case, raw, status) in [
        ("oversized", format!("{get}X: {}\r\n\r\n", "x".repeat(9000)), 431),
        ("many fields", format!("{get}{many}\r\n"), 431),
        ("a control character", format!("{get}X: a\0b\r\n\r\n"), 400),
        ("two Hosts", format!("{get}Host: app.test\r\n\r\n"), 400),
        ("framing in doubt", format!("{get}Content-Length: 0\r\nContent-Length: 1\r\n\r\n"), 400),
        ("a loop", format!("{get}Via: {via}\r\n\r\n"), 508),
        ("not in the cache", format!("{get}Cache-Control: only-if-cached\r\n\r\n"), 504),
        ("TRACE", get.replace("GET", "TRACE") + "\r\n", 405),
        ("a version", get.replace("HTTP/1.1", "HTTP/3.7") + "\r\n", 505),
    ] {
        let before = origin.count();
        let refused = larder.send(&raw);
        let near = refused.status == status || (status == 505 && refused.status == 400);
        assert!(near, "{case}: {refused:?}");
        assert_eq!(refused.header("cache-control"), Some("no-store"), "{case}: {refused:?}");
        assert_eq!(origin.count(), before, "{case}: nobody was asked");
        let target = format!("/p?{}", case.replace(' ', "-"));
        let victim = larder.get(&target).expect(200);
        assert_eq!((victim.text(), victim.was_stored()), ("page".into(), true), "{case}");
    }
    let long = format!("/{}", "x".repeat(2000));
    larder.get(&long).expect(414);
    let first = larder.get("/p").expect(200);
    assert!(first.was_stored(), "what was refused for /p is not what it gives: {first:?}");
    // Neither is what Larder says in the origin's place.
    origin.stop();
    let down = larder.get("/later").expect(502);
    assert!(!down.was_stored(), "{down:?}");
    origin.start_again();
    let up = larder.get("/later").expect(200);
    assert_eq!((up.text(), up.was_stored()), ("page".into(), true), "{up:?}");
}
