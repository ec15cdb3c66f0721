//! Connections to the origin: kept, closed behind our back, bounded.

use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Ask, Gate, Larder, Origin, SOON, Setup, eventually};

#[test]
fn connections_are_used_again() {
    let origin = Origin::serving(&["cache-control: no-store"], "x");
    let larder = Setup::new(&origin.url()).without_disk().workers(1).start();
    let mut client = larder.connect();
    for _ in 0..50 {
        client.ask(&Ask::get("/")).expect(200);
    }
    assert!(origin.connections() <= 2, "{} connections", origin.connections());
}

#[test]
fn a_pooled_connection_that_the_origin_closed_costs_no_request() {
    // Every connection is closed after its first answer, without saying so.
    let origin = Origin::new(|_, reply| {
        reply.ok(&["cache-control: no-store"], "x");
        reply.close();
    });
    let larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    for n in 0..200 {
        let answer = client.ask(&Ask::get("/"));
        assert_eq!(answer.status, 200, "request {n}: {answer:?}");
    }
    assert_eq!(origin.count(), 200);
}

#[test]
fn what_may_not_be_repeated_is_not() {
    let number = AtomicUsize::new(0);
    let origin = Origin::new(move |_, reply| {
        if number.fetch_add(1, Ordering::SeqCst) == 0 {
            reply.ok(&["cache-control: no-store"], "x");
        } else {
            reply.reset(); // took the request, gave no answer
        }
    });
    let larder = Setup::new(&origin.url()).without_disk().workers(1).start();
    let mut client = larder.connect();
    client.ask(&Ask::get("/")).expect(200);
    client.ask(&Ask::post("/pay", "1")).expect(502);
    assert_eq!(origin.count_of("/pay"), 1, "once is enough");
}

#[test]
fn max_connections_holds_and_the_others_wait() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::new(move |_, reply| {
        held.pass();
        reply.ok(&["cache-control: no-store"], "x");
    });
    let config = format!("[[upstream]]\nurl = \"{}\"\nmax_connections = 4\n", origin.url());
    let larder = Larder::with(&origin, &config);
    let mut clients: Vec<_> = (0..20).map(|_| larder.connect()).collect();
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(Ask::get(&format!("/{n}")).bytes());
    }
    origin.await_count(4);
    gate.open();
    for client in &mut clients {
        client.answer("GET").expect(200);
    }
    assert!(origin.most_at_once() <= 4, "{} at once", origin.most_at_once());
    assert_eq!(origin.count(), 20);
}

#[test]
fn who_waits_too_long_for_a_connection_is_told_503() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::new(move |_, reply| {
        held.pass();
        reply.ok(&["cache-control: no-store"], "x");
    });
    let settings = "max_connections = 1\nconnect_timeout = \"300ms\"\n";
    let config = format!("[[upstream]]\nurl = \"{}\"\n{settings}", origin.url());
    let larder = Larder::with(&origin, &config);
    let mut first = larder.connect();
    first.send(Ask::get("/held").bytes());
    origin.await_count(1);
    let start = Instant::now();
    for ask in [Ask::get("/waits"), Ask::post("/waits", "x")] {
        let answer = larder.ask(&ask).expect(503);
        let why = answer.header("proxy-status").unwrap_or_default();
        assert!(why.contains("error=connection_limit_reached"), "{answer:?}");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    gate.open();
    first.answer("GET").expect(200);
    larder.get("/next").expect(200);
    assert_eq!(origin.count_of("/waits"), 0);
}

#[test]
fn an_origin_on_a_unix_socket() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("app.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut head = [0; 8192];
            let _ = stream.read(&mut head);
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 4\r\n\
                  connection: close\r\n\r\nunix",
            );
        }
    });
    let larder = Setup::new(&format!("unix:{}", path.display())).without_disk().start();
    assert_eq!(larder.get("/").expect(200).body, b"unix");
    assert!(larder.get("/").was_hit());
}

#[test]
fn a_dead_origin_shows_in_readyz_without_making_it_unready() {
    let mut origin = Origin::serving(&[], "x");
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    assert!(larder.admin_get("/readyz").expect(200).text().contains("upstream=up"));
    origin.stop();
    larder.get("/down").expect(502);
    eventually("upstream=down", SOON, || {
        let answer = larder.admin_get("/readyz");
        answer.status == 200 && answer.text().contains("upstream=down")
    });
}

#[test]
fn require_upstream_makes_it_unready() {
    let mut origin = Origin::serving(&[], "x");
    let larder = Larder::with(&origin, "[readyz]\nrequire_upstream = true\n");
    larder.get("/").expect(200);
    origin.stop();
    larder.get("/down").expect(502);
    eventually("503", SOON, || larder.admin_get("/readyz").status == 503);
}
