//! Ordinary requests, in ordinary and odd pieces.

use super::*;

#[test]
fn a_connection_serves_one_request_after_another() {
    let server = Server::new();
    let mut client = server.client();
    for _ in 0..3 {
        let (head, body) = client.send(get("/")).answer().unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains("\r\ndate: "), "{head}");
        assert!(!head.contains("connection: close"), "{head}");
        assert_eq!(body, b"hello");
    }
    drop(client);
    eventually("the connection to be counted out", || server.metrics.server.connections.get() == 0);
    assert_eq!(server.metrics.server.accepted.get(), 1);
    assert_eq!(server.metrics.server.socket_in.get(), 3 * get("/").len() as u64);
    assert!(server.metrics.server.socket_out.get() > 3 * 40);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::new();
    let mut client = server.client();
    let mut all = String::new();
    for n in 0..50 {
        let body = format!("body {n}");
        let length = body.len();
        all += "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: ";
        all += &[&length.to_string(), "\r\n\r\n", &body].concat();
    }
    client.send(all);
    for n in 0..50 {
        assert_eq!(client.answer().unwrap().1, format!("body {n}").into_bytes());
    }
}

#[test]
fn requests_come_in_any_pieces() {
    let server = Server::new();
    let whole = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                 5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for size in [1, 2, 3, 7, 64, 99] {
        let mut client = server.client();
        for piece in whole.as_bytes().chunks(size) {
            client.send(piece);
            std::thread::yield_now();
        }
        assert_eq!(client.answer().unwrap().1, b"hello world", "in pieces of {size}");
        assert_eq!(client.answer().unwrap().1, b"hello", "in pieces of {size}");
    }
}

#[test]
fn a_head_larger_than_one_read_is_held_back_until_it_is_whole() {
    let server = Server::new();
    let mut client = server.client();
    let filler = "x".repeat(600);
    let mut head = String::from("GET / HTTP/1.1\r\nHost: a\r\n");
    for n in 0..80 {
        head += &["X-", &n.to_string(), ": ", &filler, "\r\n"].concat();
    }
    client.send(&head);
    eventually("the head's bytes to be read", || {
        server.metrics.server.socket_in.get() == head.len() as u64
    });
    assert_eq!(server.shared.seen.load(Ordering::SeqCst), 0);
    assert_eq!(client.send("\r\n").status(), 200);
    assert_eq!(client.send(get("/")).status(), 200);
}

#[test]
fn a_large_body_passes_both_ways() {
    let server = Server::new();
    let mut client = server.client();
    let body: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    let head = format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len());
    client.send(head).send(&body);
    assert!(client.answer().unwrap().1 == body);
    assert_eq!(client.send(get("/")).status(), 200);
}

#[test]
fn a_slow_reader_gets_every_byte() {
    let server = Server::new();
    let mut client = server.client();
    client.send(get("/big"));
    let head = client.head().unwrap();
    assert!(head.contains("content-length: 5242880\r\n"), "{head}");
    for n in 0..80u8 {
        let mut piece = vec![0; 64 << 10];
        client.0.read_exact(&mut piece).unwrap();
        assert!(piece.iter().all(|byte| *byte == n), "piece {n}");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(client.send(get("/")).status(), 200);
}

#[test]
fn a_client_that_shuts_down_its_side_is_answered() {
    let server = Server::new();
    for path in ["/", "/gate", "/big"] {
        let mut client = server.client();
        client.send(get(path));
        client.0.shutdown(std::net::Shutdown::Write).unwrap();
        if path == "/gate" {
            eventually("the request to wait", || server.shared.waiting.load(Ordering::SeqCst) == 1);
            std::thread::sleep(Duration::from_millis(20)); // the end of input is surely read
            server.shared.gate.add_permits(1);
        }
        let rest = client.rest();
        assert!(rest.starts_with(b"HTTP/1.1 200"), "{path}: {} bytes", rest.len());
        assert!(path != "/big" || rest.len() > 5 << 20);
    }
    eventually("all connections to end", || server.metrics.server.connections.get() == 0);
}

#[test]
fn an_early_answer_is_seen_although_the_body_is_still_being_sent() {
    let server = Server::new();
    for round in 0..20 {
        let mut client = server.client();
        client.send("POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n");
        // Less than what is thrown away, in pieces that keep coming after the answer.
        for _ in 0..20 {
            let _ = client.0.write_all(&[b'x'; 4096]);
            std::thread::yield_now();
        }
        let (head, body) = client.answer().expect("the answer, not a reset");
        assert!(head.starts_with("HTTP/1.1 413"), "round {round}: {head}");
        assert!(head.contains("connection: close"), "round {round}: {head}");
        assert_eq!(body, b"too large");
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn an_unread_body_is_never_taken_for_a_request() {
    let server = Server::new();
    let mut client = server.client();
    let smuggled = get("/smuggled");
    let length = smuggled.len();
    client.send(format!(
        "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{smuggled}\
         GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    ));
    assert_eq!(client.status(), 413);
    let rest = client.rest(); // served or closed, both are fine
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 200"));
    assert!(!server.shared.paths.lock().contains(&"/smuggled".to_owned()));
}

#[test]
fn a_broken_answer_ends_in_a_reset() {
    let server = Server::new();
    for version in ["1.1", "1.0"] {
        let mut client = server.client();
        client.send(format!("GET /broken HTTP/{version}\r\nHost: a\r\n\r\n"));
        let mut rest = Vec::new();
        let error = client.0.read_to_end(&mut rest).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "HTTP/{version}");
    }
}

#[test]
fn a_client_that_leaves_midway_frees_its_connection() {
    let server = Server::new();
    let mut client = server.client();
    client.send(get("/gate"));
    eventually("the request to wait", || server.shared.waiting.load(Ordering::SeqCst) == 1);
    socket2::SockRef::from(&client.0).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    eventually("the connection to end", || server.metrics.server.connections.get() == 0);
}

#[test]
fn every_worker_gets_connections() {
    let server = Server::with(4, generous());
    let mut clients: Vec<_> = (0..200).map(|_| server.client()).collect();
    for client in &mut clients {
        client.send(get("/"));
    }
    for client in &mut clients {
        assert_eq!(client.status(), 200);
    }
    let by_worker = server.shared.by_worker.lock().clone();
    assert_eq!(by_worker.len(), 4, "{by_worker:?}");
    assert_eq!(by_worker.values().sum::<usize>(), 200);
    assert_eq!(server.metrics.server.connections.get(), 200);
}

#[test]
fn an_idle_connection_is_small_beside_hypers_buffers() {
    use super::super::{connection, worker::Worker};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let size = runtime.block_on(async {
        let worker = Worker::new(Metrics::new(1), Arc::new(generous), Arc::default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let service = Arc::new(Service { worker: 0, shared: Server::new().shared.clone() });
        let task = connection::serve(service, stream, peer, worker.enter().unwrap());
        std::mem::size_of_val(&task)
    });
    println!("a connection's task takes {size} bytes");
    assert!(size < 2048, "{size} bytes");
}
