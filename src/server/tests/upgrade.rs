//! Nothing behind a request for an upgrade is read before that is decided (PITFALLS 42).

use super::*;

const ASK: &str = "GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

#[test]
fn what_follows_an_accepted_upgrade_is_a_tunnel() {
    let server = Server::new();
    let mut client = server.client();
    // Looks like a request, but is none of HTTP's business any more.
    client.send(format!("{}{ASK}{}", get("/"), get("/inside")));
    assert_eq!(client.status(), 200);
    let head = client.head().unwrap();
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(!head.contains("close"), "{head}");
    client.send("\0\r\nmore");
    client.0.shutdown(std::net::Shutdown::Write).unwrap();
    let echo = String::from_utf8(client.rest()).unwrap();
    assert_eq!(echo, format!("{}\0\r\nmore", get("/inside")));
    assert_eq!(*server.shared.paths.lock(), ["/", "/tunnel"]);
    eventually("the tunnel to be counted out", || server.metrics.server.tunnels.get() == 0);
}

#[test]
fn what_follows_a_refused_upgrade_is_a_request() {
    let server = Server::new();
    let mut client = server.client();
    let ask = ASK.replace("/tunnel", "/gate");
    client.send(format!("{ask}{}", get("/next")));
    eventually("the request to wait", || server.shared.waiting.load(Ordering::SeqCst) == 1);
    client.send(get("/last"));
    assert_eq!(*server.shared.paths.lock(), ["/gate"]);
    server.shared.gate.add_permits(1);
    for _ in 0..3 {
        assert_eq!(client.status(), 200);
    }
    assert_eq!(*server.shared.paths.lock(), ["/gate", "/next", "/last"]);
    assert_eq!(client.send(format!("{ASK}hi")).head().unwrap()[9..12], *"101");
    let mut echo = [0; 2];
    client.0.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"hi");
}

#[test]
fn a_bad_request_behind_a_refused_upgrade_is_found() {
    let server = Server::new();
    let mut client = server.client();
    let ask = ASK.replace("/tunnel", "/plain");
    client.send(format!("{ask}GET / HTTP/1.1\nHost: a\n\n{}", get("/behind")));
    assert_eq!(client.status(), 200);
    assert_eq!(client.status(), 400);
    assert_eq!(client.rest(), b"");
    assert_eq!(*server.shared.paths.lock(), ["/plain"]);
}

#[test]
fn a_connection_ends_in_order_although_hyper_takes_its_end_for_an_upgrade() {
    let server = Server::new();
    for ask in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: echo\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nUpgrade: h2c\r\n\r\n",
        "CONNECT a:80 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    ] {
        let mut client = server.client();
        client.send(ask).send("unread");
        let rest = client.rest();
        assert!(rest.starts_with(b"HTTP/1.1 200"), "{ask}: {}", String::from_utf8_lossy(&rest));
    }
}
