//! What Larder tells the origin of the client, and what it believes of a proxy before it.

use crate::support::{Ask, Larder, Origin};

const STORED: &[&str] = &["cache-control: max-age=60"];

#[test]
fn the_origin_learns_who_asked() {
    let origin = Origin::serving(STORED, "x");
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    let seen = origin.last();
    assert_eq!(seen.header("host"), Some("app.test"), "Host is preserved");
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-real-ip"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("app.test"));
    let forwarded = seen.header("forwarded").expect("Forwarded");
    assert!(forwarded.contains("for=127.0.0.1") && forwarded.contains("proto=http"), "{forwarded}");
    assert!(seen.header("via").is_some_and(|v| v.starts_with("1.1 ")), "{seen:?}");
}

#[test]
fn a_trusted_proxy_is_believed_and_appended_to() {
    let origin = Origin::serving(STORED, "x");
    let larder = Larder::in_front_of(&origin);
    let ask = Ask::get("/")
        .with("X-Forwarded-For", "203.0.113.7")
        .with("X-Forwarded-Proto", "https")
        .with("X-Forwarded-Host", "www.example.test");
    larder.ask(&ask).expect(200);
    let seen = origin.last();
    assert_eq!(seen.header("x-forwarded-for"), Some("203.0.113.7, 127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("https"));
    assert_eq!(seen.header("x-forwarded-host"), Some("www.example.test"));
    let forwarded = seen.header("forwarded").expect("Forwarded");
    assert!(forwarded.contains("proto=https"), "{forwarded}");
}

#[test]
fn a_stranger_is_not() {
    let origin = Origin::serving(STORED, "x");
    let larder = Larder::with(&origin, "trusted_proxies = [\"203.0.113.0/24\"]\n");
    let ask = Ask::get("/")
        .with("X-Forwarded-For", "203.0.113.7")
        .with("X-Forwarded-Proto", "https")
        .with("X-Forwarded-Host", "evil.test")
        .with("X-Real-IP", "203.0.113.7")
        .with("Forwarded", "for=203.0.113.7;proto=https;host=evil.test");
    larder.ask(&ask).expect(200);
    let seen = origin.last();
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("app.test"));
    assert_eq!(seen.header("x-real-ip"), Some("127.0.0.1"));
    assert!(!seen.header("forwarded").unwrap_or_default().contains("203.0.113.7"), "{seen:?}");
    assert!(larder.get("/").was_hit(), "and it poisoned no key");
}

#[test]
fn an_app_that_redirects_to_https_does_not_loop() {
    let origin = Origin::new(|seen, reply| {
        if seen.header("x-forwarded-proto") == Some("https") {
            reply.ok(STORED, "secure");
        } else {
            let location = format!("location: https://app.test{}", seen.target);
            reply.answer(301, &["cache-control: max-age=60", &location], "");
        }
    });
    let larder = Larder::in_front_of(&origin);
    let https = Ask::get("/").with("X-Forwarded-Proto", "https");
    for round in 0..3 {
        let plain = larder.get("/").expect(301);
        assert_eq!(plain.header("location"), Some("https://app.test/"));
        let secure = larder.ask(&https).expect(200);
        assert_eq!(secure.body, b"secure", "http and https never share an entry");
        assert_eq!(secure.was_hit(), round > 0);
    }
    let by_forwarded = Ask::get("/").with("Forwarded", "for=192.0.2.1;proto=https");
    assert!(larder.ask(&by_forwarded).expect(200).was_hit(), "Forwarded says the same");
}

#[test]
fn what_is_not_exactly_one_value_counts_as_not_sent() {
    let origin = Origin::serving(&["cache-control: no-store"], "x");
    let larder = Larder::in_front_of(&origin);
    for (name, value) in [
        ("X-Forwarded-Proto", "https, http"),
        ("X-Forwarded-Proto", "gopher"),
        ("X-Forwarded-Proto", ""),
        ("X-Forwarded-Host", "a.test, b.test"),
        ("X-Forwarded-Host", "a b"),
        ("X-Forwarded-Host", "user@a.test"),
    ] {
        larder.ask(&Ask::get("/").with(name, value)).expect(200);
        let seen = origin.last();
        assert_eq!(seen.header("x-forwarded-proto"), Some("http"), "{name}: {value}");
        assert_eq!(seen.header("x-forwarded-host"), Some("app.test"), "{name}: {value}");
    }
}

#[test]
fn hop_by_hop_fields_stay_on_their_hop() {
    let origin = Origin::new(|_, reply| {
        reply.ok(
            &["connection: X-Secret", "x-secret: 1", "keep-alive: timeout=5", "x-kept: 1"],
            "x",
        );
    });
    let larder = Larder::in_front_of(&origin);
    let ask = Ask::get("/")
        .with("Connection", "keep-alive, X-Mine, Host, Content-Length, X-Forwarded-For, Via")
        .with("X-Mine", "1")
        .with("Keep-Alive", "timeout=5")
        .with("Proxy-Connection", "keep-alive")
        .with("Proxy-Authorization", "Basic eDp5")
        .with("TE", "gzip")
        .with("X-Kept", "1");
    let answer = larder.ask(&ask).expect(200);
    for name in ["x-secret", "keep-alive"] {
        assert!(answer.all(name).is_empty(), "{name}: {answer:?}");
    }
    assert_eq!(answer.header("x-kept"), Some("1"));
    let seen = origin.last();
    for name in ["x-mine", "keep-alive", "proxy-connection"] {
        assert!(seen.all(name).is_empty(), "{name}: {seen:?}");
    }
    assert!(!seen.all("te").contains(&"gzip"));
    assert_eq!(seen.header("x-kept"), Some("1"));
    assert_eq!(seen.header("host"), Some("app.test"), "Connection cannot name Host");
    assert!(seen.header("x-forwarded-for").is_some(), "nor what Larder adds");
    assert!(seen.header("via").is_some());
}

#[test]
fn a_loop_is_508() {
    let origin = Origin::serving(&[], "x");
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    let via = origin.last().header("via").expect("Via").to_owned();
    larder.ask(&Ask::get("/").with("Via", &via)).expect(508);
    larder.ask(&Ask::get("/").with("Via", "1.1 another")).expect(200);
    assert!(origin.last().all("via").join(", ").contains("1.1 another"), "appended to");
}

#[test]
fn max_forwards_is_honoured() {
    let origin = Origin::serving(&[], "from the origin");
    let larder = Larder::in_front_of(&origin);
    let zero = larder.ask(&Ask::new("OPTIONS", "/").with("Max-Forwards", "0"));
    assert!(zero.status < 500 && zero.text() != "from the origin", "{zero:?}");
    assert_eq!(origin.count(), 0, "it ends here");
    larder.ask(&Ask::new("OPTIONS", "/").with("Max-Forwards", "5")).expect(200);
    assert_eq!(origin.last().header("max-forwards"), Some("4"));
    larder.ask(&Ask::new("OPTIONS", "*")).expect(200);
    assert_eq!(origin.last().target, "*");
}

#[test]
fn host_can_be_set_for_the_upstream() {
    let origin = Origin::serving(STORED, "x");
    let config = format!("[[upstream]]\nurl = \"{}\"\nhost = \"inner.test\"\n", origin.url());
    let larder = Larder::with(&origin, &config);
    larder.get("/").expect(200);
    assert_eq!(origin.last().header("host"), Some("inner.test"));
    assert_eq!(origin.last().header("x-forwarded-host"), Some("app.test"));
}
