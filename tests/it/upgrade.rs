//! Upgrades (WebSocket and its like) as tunnels.

use std::time::Duration;

use crate::support::process::Signal;
use crate::support::{Ask, Gate, Larder, Origin, SOON, eventually};

const HANDSHAKE: &str = "GET /ws HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
const SWITCH: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Says yes and echoes until the client is gone.
fn echo() -> Origin {
    Origin::new(|_, reply| {
        reply.raw(SWITCH);
        loop {
            let bytes = reply.read(SOON);
            if bytes.is_empty() {
                break reply.close();
            }
            reply.raw(bytes);
        }
    })
}

#[test]
fn a_tunnel_echoes_both_ways_and_ends_for_both() {
    let origin = echo();
    let larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    client.send(HANDSHAKE);
    let head = client.head();
    assert_eq!(head.status, 101, "{head:?}");
    assert_eq!(head.header("upgrade").map(str::to_lowercase).as_deref(), Some("websocket"));
    assert_eq!(
        origin.last().header("upgrade").map(str::to_lowercase).as_deref(),
        Some("websocket")
    );
    for n in 0..100 {
        // Frames that look like requests are none.
        let frame = format!("GET /{n} HTTP/1.1\r\n\r\n\0\u{1}");
        client.send(&frame);
        assert_eq!(client.exactly(frame.len()).expect("the echo"), frame.as_bytes());
    }
    let large = crate::support::noise(1 << 20, 12);
    for piece in large.chunks(65_536) {
        client.send(piece);
        assert!(client.exactly(piece.len()).expect("the echo") == piece);
    }
    eventually("one tunnel", SOON, || larder.metrics().count("larder_tunnels", &[]) == 1);
    drop(client);
    eventually("no tunnel", SOON, || larder.metrics().count("larder_tunnels", &[]) == 0);
    assert_eq!(origin.count(), 1);
}

#[test]
fn bytes_sent_before_the_101_never_reach_an_origin_that_says_no() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::new(move |seen, reply| {
        if seen.path() == "/ws" {
            held.pass();
        }
        reply.ok(&["cache-control: no-store"], seen.path());
    });
    let larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    client.send(HANDSHAKE);
    client.send("GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n");
    origin.await_count(1);
    gate.open();
    let answer = client.answer("GET").expect(200);
    assert_eq!(answer.text(), "/ws");
    // What followed was a request of its own, or refused with the connection; never raw bytes
    // on the origin's connection before its answer.
    let next = client.answer("GET");
    assert!(next.status == 0 || next.text() == "/smuggled", "{next:?}");
    for seen in origin.seen().iter().filter(|s| s.path() == "/smuggled") {
        assert!(seen.header("via").is_some(), "it went through Larder's front door: {seen:?}");
    }
}

#[test]
fn bytes_sent_early_reach_an_origin_that_says_yes_after_its_101() {
    let origin = Origin::new(|_, reply| {
        let early = reply.read(Duration::from_millis(300));
        reply.raw(SWITCH);
        let late = reply.read(SOON);
        reply.raw(format!("early={} late={}", early.len(), String::from_utf8_lossy(&late)));
        reply.close();
    });
    let larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    client.send(format!("{HANDSHAKE}first frame"));
    assert_eq!(client.head().status, 101);
    let (rest, _) = client.rest();
    assert_eq!(String::from_utf8_lossy(&rest), "early=0 late=first frame");
}

#[test]
fn h2c_and_upgrades_without_connection_are_not_forwarded() {
    let origin = Origin::serving(&["cache-control: no-store"], "plain");
    let larder = Larder::in_front_of(&origin);
    for (case, connection, upgrade) in [
        ("h2c", "Upgrade, HTTP2-Settings", "h2c"),
        ("h2c in capitals", "Upgrade, HTTP2-Settings", "H2C"),
        ("among others", "Upgrade", "h2c, websocket"),
        ("not named", "keep-alive", "websocket"),
    ] {
        let ask = Ask::get("/").with("Connection", connection).with("Upgrade", upgrade);
        let answer = larder.ask(&ask.with("HTTP2-Settings", "AAMAAABkAAQAAP__"));
        assert_eq!(answer.status, 200, "{case}: {answer:?}");
        let forwarded = origin.last().header("upgrade").unwrap_or_default().to_lowercase();
        assert!(!forwarded.contains("h2c"), "{case}: {forwarded}");
        assert!(origin.last().all("http2-settings").is_empty(), "{case}");
        if connection == "keep-alive" {
            assert_eq!(forwarded, "", "{case}");
        }
    }
}

#[test]
fn a_101_to_another_protocol_is_no_tunnel() {
    let origin = Origin::new(|_, reply| {
        reply.raw(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n",
        );
        reply.await_close(SOON);
        reply.close();
    });
    let larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    client.send(HANDSHAKE);
    assert_eq!(client.answer("GET").status, 502);
}

#[test]
fn an_upgrade_is_never_cached_nor_collapsed() {
    let origin = echo();
    let larder = Larder::in_front_of(&origin);
    let mut clients: Vec<_> = (0..5).map(|_| larder.connect()).collect();
    for client in &mut clients {
        client.send(HANDSHAKE);
        assert_eq!(client.head().status, 101);
    }
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(format!("{n}"));
        assert_eq!(client.exactly(1).expect("the echo"), n.to_string().as_bytes());
    }
    assert_eq!(origin.count(), 5);
}

#[test]
fn a_silent_tunnel_ends_by_its_own_bound() {
    let origin = echo();
    let larder = Larder::with(&origin, "[limits]\ntunnel_timeout = \"500ms\"\n");
    let mut client = larder.connect();
    client.send(HANDSHAKE);
    assert_eq!(client.head().status, 101);
    client.send("x");
    assert_eq!(client.exactly(1).expect("the echo"), b"x");
    eventually("the tunnel to end", SOON, || client.is_closed());
}

#[test]
fn an_upgrade_with_a_body_is_an_ordinary_request() {
    let origin = Origin::new(|seen, reply| reply.ok(&["cache-control: no-store"], &seen.body));
    let larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    let ask = Ask::post("/", "the body").with("Connection", "upgrade").with("Upgrade", "websocket");
    for _ in 0..2 {
        let answer = client.ask(&ask).expect(200);
        assert_eq!(answer.text(), "the body", "it reaches the origin, and its answer comes back");
        assert!(origin.last().all("upgrade").is_empty(), "{:?}", origin.last());
    }
    assert_eq!(client.ask(&Ask::get("/next")).status, 200, "the connection goes on");
}

#[test]
fn http_1_0_cannot_be_upgraded() {
    let origin = Origin::new(|seen, reply| {
        if seen.header("upgrade").is_some() {
            reply.raw(SWITCH);
            return reply.close();
        }
        reply.ok(&["cache-control: no-store"], "plain");
    });
    let larder = Larder::in_front_of(&origin);
    let answer = larder.send(HANDSHAKE.replace("HTTP/1.1", "HTTP/1.0")).expect(200);
    assert_eq!(answer.text(), "plain");
    assert!(origin.last().all("upgrade").is_empty(), "{:?}", origin.last());
}

#[test]
fn a_tunnel_still_open_at_the_drains_deadline_is_cut() {
    let origin = echo();
    let mut larder = Larder::with(&origin, "drain_timeout = \"500ms\"\n");
    let mut client = larder.connect();
    client.send(HANDSHAKE);
    assert_eq!(client.head().status, 101);
    larder.process.signal(Signal::TERM);
    eventually("no new connection to be taken", SOON, || {
        std::net::TcpStream::connect(larder.proxy).is_err()
    });
    client.send("x");
    assert_eq!(client.exactly(1).expect("the echo: it drains"), b"x");
    assert_eq!(larder.process.wait(SOON).expect("it ends").code(), Some(0), "{}", larder.events());
    assert!(client.is_closed());
}
