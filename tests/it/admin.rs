//! The admin port and its doors.

use crate::support::{Ask, Larder, Origin};

fn larder(config: &str) -> (Origin, Larder) {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::with(&origin, config);
    (origin, larder)
}

#[test]
fn health_and_readiness_say_so() {
    let (_origin, larder) = larder("");
    larder.admin_get("/healthz").expect(200);
    let ready = larder.admin_get("/readyz").expect(200).text();
    assert!(ready.contains("disk=off"), "{ready}");
    assert!(ready.contains("upstream="), "{ready}");
}

#[test]
fn stats_are_json() {
    let (_origin, larder) = larder("");
    larder.get("/").expect(200);
    larder.get("/").expect(200);
    let stats = larder.admin_get("/api/stats").expect(200);
    assert!(stats.header("content-type").is_some_and(|t| t.starts_with("application/json")));
    assert!(stats.json().is_object(), "{}", stats.text());
}

#[test]
fn unknown_paths_are_404_problems() {
    let (_origin, larder) = larder("");
    let answer = larder.admin_get("/api/nothing").expect(404);
    let kind = answer.header("content-type").unwrap_or_default();
    assert!(kind.starts_with("application/problem+json"), "{kind}");
}

#[test]
fn hosts_that_are_not_this_machine_are_refused() {
    let (_origin, larder) = larder("[admin]\nhosts = [\"admin.test\"]\n");
    for (host, served) in [
        ("localhost", true),
        ("localhost:9180", true),
        ("127.0.0.1:9180", true),
        ("[::1]:9180", true),
        ("admin.test", true),
        ("evil.test", false),
        ("localhost.evil.test", false),
    ] {
        let answer = larder.admin_ask(&Ask::get("/api/stats").with("Host", host));
        assert_eq!(answer.status == 200, served, "{host}: {answer:?}");
        let metrics = larder.admin_ask(&Ask::get("/metrics").with("Host", host));
        assert_eq!(metrics.status, 200, "metrics answer any Host");
        assert_eq!(larder.admin_ask(&Ask::get("/healthz").with("Host", host)).status, 200);
    }
}

#[test]
fn a_web_page_elsewhere_cannot_purge() {
    let (_origin, larder) = larder("");
    larder.get("/").expect(200);
    let post = || Ask::post("/api/purge", "{\"all\": true}").with("Host", "localhost");
    let json = || post().with("Content-Type", "application/json");
    for (case, ask) in [
        ("no type", post()),
        ("a form", post().with("Content-Type", "application/x-www-form-urlencoded")),
        ("plain text", post().with("Content-Type", "text/plain")),
        ("a foreign origin", json().with("Origin", "http://evil.test")),
        ("a null origin", json().with("Origin", "null")),
        ("cross-site", json().with("Sec-Fetch-Site", "cross-site")),
        (
            "a foreign host",
            Ask::post("/api/purge", "{\"all\": true}")
                .with("Host", "evil.test")
                .with("Content-Type", "application/json"),
        ),
    ] {
        let answer = larder.admin_ask(&ask);
        assert!((400..500).contains(&answer.status), "{case}: {answer:?}");
        assert!(larder.get("/").was_hit(), "{case}");
    }
    larder.admin_ask(&json()).expect(200);
    assert!(!larder.get("/").was_hit());
}

#[test]
fn a_token_that_is_set_is_asked_for_where_it_should_be() {
    // On loopback the token is not needed (D12); it must never be wrong, though.
    let (_origin, larder) = larder("[admin]\ntoken = \"s3cret-token-of-the-test\"\n");
    larder.admin_get("/metrics").expect(200);
    larder.admin_get("/healthz").expect(200);
    larder.admin_get("/readyz").expect(200);
    let right = Ask::get("/api/stats").with("Host", "localhost");
    let answer = larder.admin_ask(&right.with("Authorization", "Bearer s3cret-token-of-the-test"));
    answer.expect(200);
    let logs = format!("{}{}", larder.process.stdout(), larder.events());
    assert!(!logs.contains("s3cret-token-of-the-test"), "never logged");
}

#[test]
fn malformed_requests_to_the_admin_port_hurt_nobody() {
    let (_origin, larder) = larder("");
    for raw in [
        "nonsense\r\n\r\n",
        "GET /metrics HTTP/1.1\r\n\r\n",
        "POST /api/purge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n",
        "GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let mut client = crate::support::Client::connect(larder.admin);
        client.patience(std::time::Duration::from_secs(2));
        client.send(raw);
        let answer = client.answer("GET");
        assert!(!answer.text().contains("root:"), "{raw}");
    }
    larder.admin_get("/healthz").expect(200);
}

#[test]
fn the_proxy_port_serves_no_admin() {
    let (origin, larder) = larder("");
    for target in ["/metrics", "/api/stats", "/readyz"] {
        assert_eq!(larder.get(target).expect(200).body, b"x", "{target} is the app's");
    }
    assert_eq!(origin.count(), 3);
    let purge = larder.ask(&Ask::new("PURGE", "/metrics"));
    assert!(purge.status == 200 || purge.status >= 400, "{purge:?}");
}
