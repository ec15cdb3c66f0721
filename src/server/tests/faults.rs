//! Malformed requests get their status, and nothing behind them is served.

use super::*;

/// Sends `bytes` with a request behind them; the statuses that came back until the end.
fn statuses(server: &Server, bytes: &[u8]) -> Vec<u16> {
    let mut client = server.client();
    client.send(bytes).send(get("/behind"));
    let mut statuses = Vec::new();
    while let Some((head, _)) = client.answer() {
        statuses.push(head[9..12].parse().unwrap());
        if statuses.len() > 10 {
            break;
        }
    }
    statuses
}

#[test]
fn bad_heads_get_their_status_and_a_closed_connection() {
    let server = Server::new();
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9000));
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(101));
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(70_000));
    for (case, bytes, want) in [
        (
            "length and coding",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "two lengths",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
            400,
        ),
        ("signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc", 400),
        ("bare LF", "GET / HTTP/1.1\nHost: a\n\n", 400),
        ("bare CR", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
        ("NUL", "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
        ("obs-fold", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
        ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("no host", "GET / HTTP/1.1\r\n\r\n", 400),
        ("no name", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
        (
            "coding in HTTP/1.0",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "another coding",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            501,
        ),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        ("TLS", "\x16\x03\x01\x02\0\x01\0\x01", 400),
        ("long target", &long, 414),
        ("many fields", &many, 431),
        ("large head", &large, 431),
    ] {
        assert_eq!(statuses(&server, bytes.as_bytes()), [want], "{case}");
        // The same behind two good requests and a body: those are answered first.
        let behind = format!(
            "{}POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi{bytes}",
            get("/")
        );
        assert_eq!(statuses(&server, behind.as_bytes()), [200, 200, want], "{case}, pipelined");
    }
    assert!(!server.shared.paths.lock().contains(&"/behind".to_owned()));
    assert_eq!(server.metrics.server.malformed.get(), 34);
}

#[test]
fn a_bad_head_in_single_bytes_is_found_too() {
    let server = Server::new();
    let mut client = server.client();
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n" {
        if client.0.write_all(&[*byte]).is_err() {
            break;
        }
        std::thread::yield_now();
    }
    let (head, _) = client.answer().unwrap();
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(client.rest(), b"");
}

#[test]
fn bad_chunking_fails_the_body_and_ends_the_connection() {
    let server = Server::new();
    for (case, body) in [
        ("no size", "x\r\nhello\r\n0\r\n\r\n"),
        ("bare LF", "5\nhello\n0\n\n"),
        ("chunk longer than its size", "4\r\nhello\r\n0\r\n\r\n"),
        ("overflow", "fffffffffffffffff\r\nhello\r\n"),
    ] {
        let head = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let both = format!("{head}3\r\nabc\r\n{body}");
        assert_eq!(statuses(&server, both.as_bytes()), [400], "{case}");
        assert!(server.shared.body_error.lock().take().is_some(), "{case}");
    }
    assert!(!server.shared.paths.lock().contains(&"/behind".to_owned()));
}

#[test]
fn a_body_that_breaks_off_is_no_end() {
    let server = Server::new();
    let mut client = server.client();
    client.send("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    client.0.shutdown(std::net::Shutdown::Write).unwrap();
    let _ = client.0.read_to_end(&mut Vec::new());
    eventually("the body to fail", || server.shared.body_error.lock().is_some());
}

#[test]
fn an_error_is_seen_although_input_is_unread() {
    let server = Server::new();
    for _ in 0..20 {
        let mut client = server.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
        for _ in 0..15 {
            let _ = client.0.write_all(&[b'x'; 8192]);
            std::thread::yield_now();
        }
        assert_eq!(client.status(), 400);
        assert_eq!(client.rest(), b"");
    }
}

#[test]
fn input_behind_an_error_is_thrown_away_until_the_client_closes() {
    let server = Server::new();
    let mut client = server.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    eventually("the answer to come", || client.0.peek(&mut [0]).is_ok_and(|read| read == 1));
    for _ in 0..10 {
        client.send([b'x'; 8192]); // into a closed socket: a reset, and the answer is lost
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(client.status(), 400);
    assert_eq!(client.rest(), b"");
    assert_eq!(server.metrics.server.connections.get(), 1, "still open for what may come");
    drop(client);
    eventually("the connection to end", || server.metrics.server.connections.get() == 0);
}

/// Each answer is the service's: what hyper refuses by itself, nobody would count or log.
#[test]
fn hyper_answers_nothing_on_its_own() {
    const FORMS: [&str; 8] = [
        "GET /a?b=c HTTP/1.1\r\nHost: a.example\r\nX-Y: z\r\n\r\n",
        "HEAD http://a.example:80/b?c HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
        "POST /d HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "PUT /e HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhi\r\n0\r\nT: u\r\n\r\n",
        "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET /f HTTP/1.1\r\nHost: a\r\nConnection: upgrade, x\r\nUpgrade: y\r\n\r\n",
    ];
    let mut state = getrandom::u64().unwrap() | 1;
    println!("seed {state}");
    let server = Server::new();
    let mut pick = move |below: usize| interim::pick(&mut state, below as u64) as usize;
    let odd = b"\r\n\0 \t:;,/?#@[]<>\"`{}|\\^%0aZ\x01\x7f\x80\xc3\xa9\xff";
    for round in 0..4000 {
        let mut bytes: Vec<u8> = (0..=pick(3)).flat_map(|_| FORMS[pick(8)].bytes()).collect();
        for _ in 0..=pick(3) {
            let at = pick(bytes.len());
            let byte = if pick(4) == 0 { pick(256) as u8 } else { odd[pick(odd.len())] };
            match pick(3) {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        let before = server.shared.seen.load(Ordering::SeqCst);
        let mut client = server.client();
        client.send(&bytes);
        client.0.shutdown(std::net::Shutdown::Write).unwrap();
        let mut came = Vec::new();
        let _ = client.0.read_to_end(&mut came); // a body that broke off may end in a reset
        let answers =
            came.windows(9).filter(|bytes| bytes == b"HTTP/1.1 " || bytes == b"HTTP/1.0 ");
        let interim = came.windows(12).filter(|bytes| bytes == b"HTTP/1.1 100").count();
        let (answers, seen) =
            (answers.count() - interim, server.shared.seen.load(Ordering::SeqCst));
        let (sent, came) = (bytes.escape_ascii(), String::from_utf8_lossy(&came));
        assert!(answers as u64 <= seen - before, "round {round}: {sent}\n{came}");
    }
}
