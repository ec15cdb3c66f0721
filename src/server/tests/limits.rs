//! Time limits and the number of connections.

use super::*;

fn short(change: impl FnOnce(&mut Limits)) -> Server {
    let mut limits = generous();
    change(&mut limits);
    Server::with(1, limits)
}

const SHORT: Duration = Duration::from_millis(200);

#[test]
fn a_head_that_trickles_in_is_answered_408() {
    let server = short(|limits| limits.header_timeout = SHORT);
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\n");
    let (head, _) = client.answer().unwrap();
    assert!(head.starts_with("HTTP/1.1 408"), "{head}");
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(client.rest(), b"");
    // Each byte comes in time, the head does not.
    let mut client = server.client();
    client.send(get("/"));
    assert_eq!(client.status(), 200);
    let begun = Instant::now();
    for byte in get("/late").bytes().cycle() {
        if begun.elapsed() > SHORT * 5 || client.0.write_all(&[byte]).is_err() {
            break;
        }
        client.0.set_nonblocking(true).unwrap();
        let answered = client.0.peek(&mut [0]).is_ok();
        client.0.set_nonblocking(false).unwrap();
        if answered {
            break;
        }
        std::thread::sleep(Duration::from_millis(30));
    }
    assert_eq!(client.status(), 408);
}

#[test]
fn an_idle_connection_is_closed_quietly() {
    let server = short(|limits| limits.idle_timeout = SHORT);
    let mut fresh = server.client();
    let mut used = server.client();
    assert_eq!(used.send(get("/")).status(), 200);
    assert_eq!(fresh.rest(), b"");
    assert_eq!(used.rest(), b"");
    eventually("both to be counted out", || server.metrics.server.connections.get() == 0);
}

#[test]
fn a_busy_connection_is_not_idle() {
    let server = short(|limits| limits.idle_timeout = SHORT);
    let mut client = server.client();
    client.send(get("/gate"));
    std::thread::sleep(SHORT * 4);
    server.shared.gate.add_permits(1);
    assert_eq!(client.status(), 200);
}

#[test]
fn a_half_closed_client_does_not_stay_for_ever() {
    let server = short(|limits| limits.idle_timeout = SHORT);
    let mut client = server.client();
    client.send(get("/gate"));
    client.0.shutdown(std::net::Shutdown::Write).unwrap();
    eventually("the request to wait", || server.shared.waiting.load(Ordering::SeqCst) == 1);
    eventually("the connection to end", || server.metrics.server.connections.get() == 0);
}

#[test]
fn a_body_that_stands_still_is_answered_408() {
    let server = short(|limits| limits.body_timeout = SHORT);
    let mut client = server.client();
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    let (head, _) = client.answer().unwrap();
    assert!(head.starts_with("HTTP/1.1 408"), "{head}");
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    let server = short(|limits| limits.write_timeout = SHORT);
    let mut client = server.client();
    client.send(get("/big"));
    eventually("the answer to begin", || client.0.peek(&mut [0]).is_ok());
    eventually("the connection to end", || server.metrics.server.connections.get() == 0);
    let mut rest = Vec::new();
    let error = client.0.read_to_end(&mut rest).expect_err("no clean end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "after {} bytes", rest.len());
}

#[test]
fn connections_over_the_limit_are_closed_at_once() {
    let server = short(|limits| limits.connections = 3);
    let mut kept: Vec<_> = (0..3).map(|_| server.client()).collect();
    for client in &mut kept {
        assert_eq!(client.send(get("/")).status(), 200);
    }
    assert_eq!(server.client().rest(), b"");
    assert_eq!(server.metrics.server.refused.get(), 1);
    kept.pop();
    eventually("a place to be free", || server.metrics.server.connections.get() == 2);
    assert_eq!(server.client().send(get("/")).status(), 200);
    assert_eq!(kept[0].send(get("/")).status(), 200);
}

#[test]
fn a_silent_tunnel_ends() {
    let server = short(|limits| limits.tunnel_timeout = SHORT);
    let mut client = server.client();
    client.send("GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert!(client.head().unwrap().starts_with("HTTP/1.1 101"));
    let begun = Instant::now();
    while begun.elapsed() < SHORT * 3 {
        client.send("tick");
        let mut echo = [0; 4];
        client.0.read_exact(&mut echo).unwrap();
        std::thread::sleep(SHORT / 10);
    }
    assert_eq!(server.metrics.server.tunnels.get(), 1);
    assert!(matches!(client.0.read(&mut [0]), Ok(0) | Err(_)));
    eventually("the tunnel to be counted out", || {
        server.metrics.server.tunnels.get() == 0 && server.metrics.server.connections.get() == 0
    });
}
