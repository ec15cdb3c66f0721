//! Web cache poisoning: nothing that one client sends, and that is no part of the key, may choose
//! what another gets. By bare sockets, looked at from both sides.

use crate::support::larder::larder;
use crate::support::{Ask, Larder, Origin};

const STORED: &[&str] = &["cache-control: max-age=60"];
const STRANGERS: &str = "trusted_proxies = [\"203.0.113.0/24\"]\n";

/// Fields that apps and frameworks are known to write into their answers.
const REFLECTED: [&str; 10] = [
    "X-Forwarded-Server",
    "X-Forwarded-Scheme",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Host",
    "X-Original-URL",
    "X-Rewrite-URL",
    "X-HTTP-Method",
    "X-HTTP-Method-Override",
    "X-Method-Override",
];

/// An app that writes its whole request into a page that may be kept.
fn mirror() -> Origin {
    Origin::new(|seen, reply| {
        reply.ok(STORED, format!("{} {} {:?}", seen.method, seen.target, seen.headers));
    })
}

#[test]
fn reflected_fields_are_dropped_whoever_sends_them() {
    for (who, config) in [("a trusted peer", ""), ("a stranger", STRANGERS)] {
        let origin = mirror();
        let larder = Larder::with(&origin, config);
        for (n, name) in REFLECTED.into_iter().enumerate() {
            let target = format!("/{n}");
            let head = larder.ask(&Ask::head(&target).with(name, "evil"));
            assert_eq!(origin.last().header(name), None, "{who}, {name}: HEAD");
            assert!(head.cache_status().contains("unkeyed-dropped"), "{who}, {name}: {head:?}");
            let shouted = name.to_uppercase();
            let twice = Ask::get(&target).with(&shouted, "evil").with(name, "evil");
            let attack = larder.ask(&twice).expect(200);
            let seen = origin.last();
            assert_eq!(
                (&*seen.method, seen.all(name).len()),
                ("GET", 0),
                "{who}, {name}: {seen:?}"
            );
            assert!(attack.was_stored(), "{who}, {name}: {attack:?}");
            assert!(attack.cache_status().ends_with("detail=unkeyed-dropped"), "{attack:?}");
            let victim = larder.get(&target).expect(200);
            assert!(victim.was_hit(), "{who}, {name}: {victim:?}");
            assert!(!victim.text().contains("evil"), "{who}, {name}: {}", victim.text());
        }
    }
}

#[test]
fn where_nothing_is_stored_they_pass() {
    let origin = mirror();
    let larder = Larder::in_front_of(&origin);
    larder.ask(&Ask::post("/", "x").with("X-HTTP-Method-Override", "PUT")).expect(200);
    assert_eq!(origin.last().header("x-http-method-override"), Some("PUT"));
    let upgrade = Ask::get("/socket").with("Connection", "upgrade").with("Upgrade", "websocket");
    larder.ask(&upgrade.with("X-Forwarded-Prefix", "/app")).expect(200);
    assert_eq!(origin.last().header("x-forwarded-prefix"), Some("/app"), "no answer of it is kept");
    assert!(!larder.get("/socket").was_hit());
}

#[test]
fn a_setting_adds_fields_or_lets_them_through() {
    let origin = mirror();
    let config =
        "[cache]\ndrop_unkeyed = [\"X-Theme\"]\nallow_unkeyed = [\"x-forwarded-prefix\"]\n";
    let larder = Larder::with(&origin, config);
    let ask = Ask::get("/").with("X-Theme", "evil").with("X-Forwarded-Prefix", "/app");
    larder.ask(&ask.with("X-Host", "evil")).expect(200);
    let seen = origin.last();
    assert_eq!(seen.header("x-theme"), None);
    assert_eq!(seen.header("x-host"), None);
    assert_eq!(seen.header("x-forwarded-prefix"), Some("/app"));
    for (case, value, said) in [
        ("what Larder writes", "drop_unkeyed = [\"X-Forwarded-Host\"]", "written by Larder itself"),
        ("no name", "allow_unkeyed = [\"X Y\"]", "expected a list of"),
    ] {
        let file = larder.setup.dir().join("bad.toml");
        std::fs::write(&file, format!("upstream = \"{}\"\n[cache]\n{value}\n", origin.url()))
            .expect("written");
        let output = larder_check(&file.display().to_string());
        assert!(output.contains(said), "{case}: {output}");
    }
}

fn larder_check(file: &str) -> String {
    let output = larder(&["check", "--config", file]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_dropped_field_selects_no_variant() {
    let origin = Origin::new(|seen, reply| {
        let host = seen.header("x-host").unwrap_or("none").to_owned();
        reply.ok(&["cache-control: max-age=60", "vary: X-Host"], host);
    });
    let larder = Larder::in_front_of(&origin);
    assert_eq!(larder.ask(&Ask::get("/").with("X-Host", "evil")).text(), "none");
    assert!(larder.get("/").was_hit(), "judged is what was forwarded");
    assert!(larder.ask(&Ask::get("/").with("X-Host", "other")).was_hit());
    assert_eq!(origin.count(), 1);
}

#[test]
fn names_that_gateways_fold_into_others_poison_nothing() {
    let origin = mirror();
    let larder = Larder::with(&origin, STRANGERS);
    // To CGI, WSGI and PHP these are what Larder writes itself.
    for name in
        ["X_Forwarded_Host", "X_Forwarded-Proto", "X_Real_IP", "Content_Length", "X.Real.IP"]
    {
        for ask in [Ask::get("/twin"), Ask::post("/twin", "x")] {
            larder.ask(&ask.with(name, "evil")).expect(200);
            assert_eq!(origin.last().header(name), None, "{name}");
        }
    }
    // Others reach the app, for whom they may be meant, but their answers are for nobody else.
    for (n, name) in
        ["Accept_Language", "X_Original_URL", "api_key", "X!Y", "Cookie."].into_iter().enumerate()
    {
        let target = format!("/{n}");
        let attack = larder.ask(&Ask::get(&target).with(name, "evil")).expect(200);
        assert!(attack.text().contains("evil"), "{name} passes: {attack:?}");
        assert!(attack.cache_status().ends_with("detail=odd-request"), "{name}: {attack:?}");
        let victim = larder.get(&target).expect(200);
        assert!(victim.was_stored() && !victim.text().contains("evil"), "{name}: {victim:?}");
        assert!(larder.get(&target).was_hit());
    }
}

#[test]
fn a_304_to_a_request_with_folded_names_freshens_nothing() {
    let origin = Origin::new(|seen, reply| {
        let mood = format!("x-mood: {}", seen.header("x_mood").unwrap_or("good"));
        let fields = ["cache-control: max-age=1", "age: 5", "etag: \"a\"", &mood];
        match seen.header("if-none-match") {
            Some(_) => reply.answer(304, &fields, ""),
            None => reply.ok(&fields, "x"),
        }
    });
    let larder = Larder::with(&origin, "[cache]\nkeep_stale = \"1h\"\n");
    larder.get("/").expect(200);
    larder.ask(&Ask::get("/").with("X_Mood", "evil")).expect(200);
    assert_eq!(origin.last().header("if-none-match"), Some("\"a\""));
    let stored = larder.ask(&Ask::get("/").with("Cache-Control", "max-stale"));
    assert!(stored.was_hit(), "{stored:?}");
    assert_eq!(stored.header("x-mood"), Some("good"), "{stored:?}");
}

#[test]
fn what_larder_writes_is_keyed_or_not_believed() {
    for (who, config, believed) in [("trusted", "", true), ("a stranger", STRANGERS, false)] {
        let origin = mirror();
        let larder = Larder::with(&origin, config);
        let first = larder.get("/").expect(200);
        assert!(first.was_stored());
        for (case, name, value) in [
            ("host", "X-Forwarded-Host", "evil.test"),
            ("scheme", "X-Forwarded-Proto", "https"),
            ("Forwarded", "Forwarded", "host=other.test;proto=https"),
        ] {
            let before = origin.count();
            let attack = larder.ask(&Ask::get("/").with(name, value)).expect(200);
            assert_eq!(attack.was_hit(), !believed, "{who}, {case}: {attack:?}");
            assert_eq!(origin.count(), before + usize::from(believed), "{who}, {case}");
            let victim = larder.get("/").expect(200);
            assert!(victim.was_hit() && victim.body == first.body, "{who}, {case}: {victim:?}");
        }
        // Two words of one peer that contradict each other: one of them is keyed and forwarded.
        let both = Ask::get("/two")
            .with("X-Forwarded-Host", "one.test")
            .with("Forwarded", "host=evil.test;proto=https");
        larder.ask(&both).expect(200);
        let seen = origin.last();
        let forwarded = seen.header("forwarded").expect("Forwarded").to_owned();
        let host = if believed { "one.test" } else { "app.test" };
        assert_eq!(seen.header("x-forwarded-host"), Some(host), "{who}");
        assert!(forwarded.contains(host) && !forwarded.contains("evil"), "{who}: {forwarded}");
    }
}

#[test]
fn connection_cannot_take_away_what_is_judged() {
    let guessed = &["last-modified: Mon, 01 Jan 2024 00:00:00 GMT"];
    let origin = Origin::new(move |seen, reply| match seen.path() {
        "/guess" => reply.ok(guessed, format!("for {:?}", seen.header("cookie"))),
        "/vary" => {
            let value = seen.header("x-a").unwrap_or("none").to_owned();
            reply.ok(&["cache-control: max-age=60", "vary: X-A"], value);
        }
        _ => reply.ok(STORED, format!("for {:?}", seen.header("authorization"))),
    });
    let larder = Larder::in_front_of(&origin);
    for (case, target, name) in
        [("Cookie", "/guess", "Cookie"), ("Authorization", "/max-age", "Authorization")]
    {
        let ask = Ask::get(target).with("Connection", &format!("keep-alive, {name}"));
        let attack = larder.ask(&ask.with(name, "secret")).expect(200);
        assert_eq!(origin.last().header(name), Some("secret"), "{case} stays");
        assert!(!attack.was_stored(), "{case}: {attack:?}");
        let victim = larder.get(target).expect(200);
        assert_eq!(victim.text(), "for None", "{case}: {victim:?}");
    }
    // What may be named is gone before it selects anything.
    let ask = Ask::get("/vary").with("Connection", "X-A").with("X-A", "1");
    assert_eq!(larder.ask(&ask).text(), "none");
    assert_eq!(origin.last().header("x-a"), None);
    assert!(larder.get("/vary").was_hit(), "stored for who sends no X-A");
    let with = larder.ask(&Ask::get("/vary").with("X-A", "1")).expect(200);
    assert_eq!(with.text(), "1", "{with:?}");
}

#[test]
fn content_of_a_get_decides_for_nobody() {
    let origin = Origin::new(|seen, reply| {
        reply.ok(STORED, format!("page for {:?}", String::from_utf8_lossy(&seen.body)));
    });
    let larder = Larder::in_front_of(&origin);
    let chunked = "GET /p HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n\
                   4\r\nevil\r\n0\r\n\r\n";
    let sized = Ask::get("/p").body("evil").bytes();
    for round in ["before anything is stored", "while it is stored"] {
        for (case, raw) in [("chunked", chunked.as_bytes()), ("with a length", &sized)] {
            let before = origin.count();
            let attack = larder.send(raw).expect(200);
            assert_eq!(attack.text(), "page for \"evil\"", "{case}, {round}: passed as it is");
            assert_eq!(origin.count(), before + 1, "{case}, {round}");
            assert_eq!(origin.last().body, b"evil", "{case}, {round}");
            assert!(!attack.was_stored() && !attack.was_hit(), "{case}, {round}: {attack:?}");
        }
        let victim = larder.get("/p").expect(200);
        assert_eq!(victim.text(), "page for \"\"", "{round}: {victim:?}");
    }
    assert!(larder.get("/p").was_hit());
}

#[test]
fn an_origin_that_names_who_may_read_is_kept_for_each_of_them() {
    let origin = Origin::new(|seen, reply| match (seen.path(), seen.header("origin")) {
        ("/any", _) => reply.ok(&[STORED, &["access-control-allow-origin: *"]].concat(), "x"),
        ("/validated", asker) => {
            let allowed = format!("access-control-allow-origin: {}", asker.unwrap_or("nobody"));
            let fields = ["cache-control: max-age=1", "age: 5", "etag: \"a\"", &allowed];
            match seen.header("if-none-match") {
                Some(_) => reply.answer(304, &fields, ""),
                None => reply.ok(&fields, "x"),
            }
        }
        (_, None) => reply.ok(STORED, "x"),
        (_, Some(asker)) => {
            let allowed = format!("access-control-allow-origin: {asker}");
            reply.ok(&["cache-control: max-age=60", &allowed], "x");
        }
    });
    let larder = Larder::in_front_of(&origin);
    let from = |target: &str, asker: &str| larder.ask(&Ask::get(target).with("Origin", asker));
    for round in 0..2 {
        for asker in ["https://evil.test", "https://app.test", "null"] {
            let answer = from("/", asker).expect(200);
            assert_eq!(answer.header("access-control-allow-origin"), Some(asker), "{answer:?}");
            assert_eq!(answer.was_hit(), round == 1, "{asker}: {answer:?}");
            assert!(answer.all("vary").contains(&"Origin"), "said to caches behind: {answer:?}");
        }
    }
    assert_eq!(origin.count(), 3);
    from("/any", "https://evil.test").expect(200);
    assert!(from("/any", "https://app.test").was_hit(), "the same for all");
    // Stored for who names no origin; a 304 for one of them changes nothing for the others.
    let plain = larder.get("/validated").expect(200);
    assert_eq!(plain.header("access-control-allow-origin"), Some("nobody"));
    from("/validated", "https://evil.test").expect(200);
    assert_eq!(origin.last().header("if-none-match"), Some("\"a\""));
    let stored = larder.ask(&Ask::get("/validated").with("Cache-Control", "max-stale"));
    assert!(stored.was_hit(), "{stored:?}");
    assert_eq!(stored.header("access-control-allow-origin"), Some("nobody"), "{stored:?}");
}

#[test]
fn unkeyed_fields_that_an_app_uses_need_its_vary() {
    // Explicit freshness without Vary is the app's word that all get the same: said in the README.
    let origin = Origin::new(|seen, reply| {
        let language = seen.header("accept-language").unwrap_or("none").to_owned();
        match seen.path() {
            "/said" => reply.ok(&["cache-control: max-age=60", "vary: Accept-Language"], language),
            _ => reply.ok(STORED, language),
        }
    });
    let larder = Larder::in_front_of(&origin);
    let ask = |target: &str, language: &str| {
        larder.ask(&Ask::get(target).with("Accept-Language", language)).text()
    };
    assert_eq!((ask("/said", "evil"), ask("/said", "de")), ("evil".into(), "de".into()));
    assert_eq!((ask("/", "de"), ask("/", "en")), ("de".into(), "de".into()));
}
