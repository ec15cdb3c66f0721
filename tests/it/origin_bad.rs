//! Malformed and missing answers of the origin: 502 or 504, never passed on, never stored.

use std::time::{Duration, Instant};

use crate::support::{Ask, Ending, Larder, Origin, SOON, Setup, eventually};

/// `raw` as the whole answer of the origin must never reach a client or the cache.
fn refuses(case: &str, raw: &str) {
    let origin = Origin::sending(raw);
    let larder = Larder::in_front_of(&origin);
    for _ in 0..2 {
        let answer = larder.get("/");
        let broken = !answer.is_whole() && answer.ending != Ending::TimedOut;
        assert!(answer.status == 502 || broken, "{case}: {answer:?}");
        assert!(!answer.was_hit(), "{case}");
    }
    assert!(origin.count() >= 2, "{case}: it was not stored");
}

#[test]
fn malformed_heads_are_502() {
    let ok = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n";
    for (case, raw) in [
        ("no HTTP", "hello\r\n\r\n".to_owned()),
        ("nothing", String::new()),
        ("half a head", "HTTP/1.1 200 OK\r\ncache-control: max".into()),
        ("a status of two digits", "HTTP/1.1 20 OK\r\ncontent-length: 0\r\n\r\n".into()),
        ("a status of four digits", "HTTP/1.1 2000 OK\r\ncontent-length: 0\r\n\r\n".into()),
        ("a status of letters", "HTTP/1.1 abc OK\r\ncontent-length: 0\r\n\r\n".into()),
        ("status 099", "HTTP/1.1 099 OK\r\ncontent-length: 0\r\n\r\n".into()),
        ("another version", "HTTP/3.0 200 OK\r\ncontent-length: 0\r\n\r\n".into()),
        (
            "length and coding",
            format!("{ok}content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ),
        ("two lengths", format!("{ok}content-length: 5\r\ncontent-length: 6\r\n\r\nhello!")),
        ("a negative length", format!("{ok}content-length: -5\r\n\r\nhello")),
        ("a length with a sign", format!("{ok}content-length: +5\r\n\r\nhello")),
        ("a length over 2^64", format!("{ok}content-length: 18446744073709551621\r\n\r\nhello")),
        ("bare CR", format!("{ok}x: a\rb\r\ncontent-length: 5\r\n\r\nhello")),
        ("NUL", format!("{ok}x: a\0b\r\ncontent-length: 5\r\n\r\nhello")),
        ("obs-fold", format!("{ok}x: a\r\n b\r\ncontent-length: 5\r\n\r\nhello")),
        ("space before the colon", format!("{ok}content-length : 5\r\n\r\nhello")),
        ("no colon", format!("{ok}nonsense\r\ncontent-length: 5\r\n\r\nhello")),
        (
            "101 unasked",
            "HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhi".into(),
        ),
        (
            "a huge head",
            format!("{ok}x: {}\r\ncontent-length: 5\r\n\r\nhello", "a".repeat(1 << 20)),
        ),
    ] {
        refuses(case, &raw);
    }
}

#[test]
fn malformed_chunking_never_ends_cleanly_and_is_not_stored() {
    let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n";
    for (case, body) in [
        ("no number", "xyz\r\nhello\r\n0\r\n\r\n"),
        ("a sign", "+5\r\nhello\r\n0\r\n\r\n"),
        ("more data than said", "3\r\nhello\r\n0\r\n\r\n"),
        ("LF after the size", "5\nhello\r\n0\r\n\r\n"),
        ("LF after the data", "5\r\nhello\n0\r\n\r\n"),
        ("no last chunk", "5\r\nhello\r\n"),
        ("half a chunk", "5\r\nhel"),
        ("half of the end", "5\r\nhello\r\n0\r\n"),
        ("a size over 2^64", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ] {
        refuses(case, &format!("{head}{body}"));
    }
}

#[test]
fn extensions_and_trailers_of_the_origin_have_bounds() {
    let head = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n";
    let extension = "x".repeat(100_000);
    let trailers = "X-Trailer: 1\r\n".repeat(5000);
    for (case, body) in [
        ("a huge extension", format!("5;{extension}\r\nhello\r\n0\r\n\r\n")),
        ("extensions huge together", {
            format!("{}0\r\n\r\n", format!("1;{}\r\na\r\n", "x".repeat(500)).repeat(20))
        }),
        ("huge trailers", format!("5\r\nhello\r\n0\r\n{trailers}\r\n")),
        ("a folded trailer", "5\r\nhello\r\n0\r\nX: 1\r\n 2\r\n\r\n".into()),
        ("a trailer that frames", "5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n".into()),
        ("CR alone in a trailer", "5\r\nhello\r\n0\r\nX: a\rb\r\n\r\n".into()),
    ] {
        refuses(case, &format!("{head}{body}"));
    }
    let few = "2;a=b\r\nhe\r\n3;c\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\n";
    let origin = Origin::sending(format!("{head}{few}"));
    let larder = Larder::in_front_of(&origin);
    assert_eq!(larder.get("/").expect(200).text(), "hello");
    assert!(larder.await_hit(&Ask::get("/")).is_whole());
}

/// HEAD, 204 and 304 have no content, whatever their fields say; bytes that follow are surplus.
#[test]
fn a_body_where_none_can_be_is_never_the_next_answer() {
    let poison = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 6\r\n\r\npoison";
    for (case, method, status) in
        [("HEAD", "HEAD", "200 OK"), ("204", "GET", "204 No Content"), ("304", "GET", "304 Not")]
    {
        for at_once in [true, false] {
            let origin = Origin::new(move |_, reply| {
                let len = poison.len();
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {len}\r\n\r\n");
                if at_once {
                    reply.raw(format!("{head}{poison}"));
                } else {
                    reply.raw(head);
                    // Long enough that it comes by itself, on an idle connection.
                    std::thread::sleep(Duration::from_millis(20));
                    reply.raw(poison);
                }
            });
            let larder = Setup::new(&origin.url()).without_disk().workers(1).start();
            let mut client = larder.connect();
            for n in 0..10 {
                let ask = Ask::new(method, &format!("/{n}"));
                let answer = client.ask(&ask.with("If-None-Match", "\"1\""));
                let fine = answer.status == 502 || status.starts_with(&answer.status.to_string());
                assert!(fine && !answer.text().contains("poison"), "{case} {at_once}: {answer:?}");
                assert!(!at_once || answer.status == 502, "{case}: {answer:?}");
                // What comes after the next request went out is its answer, to all that can be
                // seen: so the next one is asked when the surplus has come.
                eventually("the connection to be closed", SOON, || {
                    larder.metrics().count("larder_upstream_connections", &[]) == 0
                });
            }
            assert_eq!(origin.connections(), origin.count(), "{case} {at_once}: none used again");
        }
    }
}

#[test]
fn an_old_origin_with_a_coding_is_502() {
    refuses(
        "HTTP/1.0 with Transfer-Encoding",
        "HTTP/1.0 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\n",
    );
}

#[test]
fn an_origin_that_never_reads_an_upload_is_504() {
    let origin = Origin::at_head(|_, reply| {
        std::thread::sleep(SOON); // reads nothing: what is under test ends long before
        reply.close();
    });
    let config =
        format!("[[upstream]]\nurl = \"{}\"\nfirst_byte_timeout = \"500ms\"\n", origin.url());
    let larder = Larder::with(&origin, &config);
    let start = Instant::now();
    let mut client = larder.connect();
    client.send(Ask::post("/", vec![b'x'; 64 << 20]).bytes());
    let answer = client.answer("POST").expect(504);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert!(answer.header("proxy-status").is_some_and(|v| v.contains("http_response_timeout")));
}

#[test]
fn a_body_shorter_than_said_breaks_the_client() {
    refuses(
        "short",
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 9\r\n\r\nhello",
    );
}

#[test]
fn surplus_bytes_are_never_the_next_answer() {
    // At once: what comes later, when the next request is out, looks like its answer to anybody.
    let origin = Origin::new(|seen, reply| {
        let (name, len) = (&seen.target, seen.target.len());
        let own = format!(
            "HTTP/1.1 200 OK\r\ncache-control: no-store\r\ncontent-length: {len}\r\n\r\n{name}"
        );
        reply.raw(own + "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison");
    });
    let larder = Larder::in_front_of(&origin);
    for n in 0..20 {
        let answer = larder.get(&format!("/{n}"));
        assert!(!answer.text().contains("poison"), "{answer:?}");
        assert_eq!(answer.expect(200).text(), format!("/{n}"), "the answer itself is whole");
    }
}

#[test]
fn an_answer_longer_than_said_ends_where_it_says() {
    let origin = Origin::sending(
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 5\r\n\r\nhello, world",
    );
    let larder = Larder::in_front_of(&origin);
    for hit in [false, true] {
        let answer = larder.get("/").expect(200);
        assert_eq!((answer.text(), answer.was_hit()), ("hello".to_owned(), hit), "{answer:?}");
    }
    assert_eq!(origin.count(), 1, "and what it says is stored");
}

#[test]
fn a_coding_that_does_not_end_in_chunked_is_read_to_the_close() {
    let origin = Origin::sending(
        "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ntransfer-encoding: identity\r\n\r\nhello",
    );
    let larder = Larder::in_front_of(&origin);
    let first = larder.get("/").expect(200);
    assert_eq!(first.body, b"hello");
    let second = larder.get("/").expect(200);
    assert_eq!(second.body, b"hello");
    assert!(second.header("transfer-encoding").is_none_or(|v| v == "chunked"), "{second:?}");
}

#[test]
fn strange_but_harmless_values_pass() {
    let origin = Origin::new(|_, reply| {
        reply
            .ok(&["cache-control: max-age=60", "x-strange: \"\\ {[()]} ;;,,=", "date: never"], "x");
    });
    let larder = Larder::in_front_of(&origin);
    let answer = larder.get("/").expect(200);
    assert_eq!(answer.header("x-strange"), Some("\"\\ {[()]} ;;,,="));
}

#[test]
fn a_body_to_the_close_is_whole_and_stored() {
    let origin =
        Origin::sending("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n\r\nto the close");
    let larder = Larder::in_front_of(&origin);
    assert_eq!(larder.get("/").expect(200).body, b"to the close");
    let second = larder.get("/").expect(200);
    assert_eq!(second.body, b"to the close");
    assert!(second.was_hit(), "{second:?}");
}

#[test]
fn a_dead_origin_is_502_with_a_reason() {
    let mut origin = Origin::serving(&[], "x");
    let larder = Larder::in_front_of(&origin);
    origin.stop();
    let answer = larder.get("/").expect(502);
    let proxy_status = answer.header("proxy-status").expect("Proxy-Status");
    assert!(
        proxy_status.starts_with("larder") && proxy_status.contains("error="),
        "{proxy_status}"
    );
    assert!(!answer.body.is_empty(), "a small problem body");
    assert!(answer.header("content-type").is_some_and(|t| t.contains("json")), "{answer:?}");
    let errors = larder.metrics().count("larder_upstream_errors_total", &[]);
    assert!(errors >= 1);
    origin.start_again();
    larder.get("/").expect(200);
}

#[test]
fn a_slow_origin_is_504() {
    let origin = Origin::new(|_, reply| {
        reply.await_close(Duration::from_secs(20));
        reply.close();
    });
    let config =
        format!("[[upstream]]\nurl = \"{}\"\nfirst_byte_timeout = \"300ms\"\n", origin.url());
    let larder = Larder::with(&origin, &config);
    let start = Instant::now();
    let answer = larder.get("/").expect(504);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert!(answer.header("proxy-status").is_some_and(|v| v.contains("error=")), "{answer:?}");
}

#[test]
fn an_unroutable_origin_is_refused_in_time() {
    // 192.0.2.0/24 is for documentation: nobody answers there (RFC 5737).
    let config = "[[upstream]]\nurl = \"http://192.0.2.1:9\"\nconnect_timeout = \"300ms\"\n";
    let larder = Setup::new("http://192.0.2.1:9").config(config).without_disk().start();
    let start = Instant::now();
    let answer = larder.get("/");
    assert!(matches!(answer.status, 502 | 504), "{answer:?}");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}
