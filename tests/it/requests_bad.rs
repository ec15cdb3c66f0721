//! Malformed requests, looked at from both sides.

use std::time::Duration;

use crate::support::{Answer, Ask, Ending, Larder, Origin, SOON, eventually};

/// What Larder answered to raw bytes, followed by a request that nobody may ever see.
fn send_with_follower(larder: &Larder, raw: &[u8]) -> (Answer, Vec<u8>, Ending) {
    let mut client = larder.connect();
    client.patience(Duration::from_secs(10));
    client.send([raw, b"GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n"].concat());
    let answer = client.answer("GET");
    let (rest, ending) = client.rest();
    (answer, rest, ending)
}

#[test]
fn malformed_heads_are_refused_and_the_connection_closes() {
    let origin = Origin::serving(&["cache-control: no-store"], "x");
    let larder = Larder::in_front_of(&origin);
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70_000));
    let long_head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(70_000));
    let many = "X: 1\r\n".repeat(101);
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n");
    let get = "GET / HTTP/1.1\r\nHost: a\r\n";
    let post = "POST / HTTP/1.1\r\nHost: a\r\n";
    for (case, raw, statuses) in [
        (
            "length and coding",
            format!("{post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            &[400][..],
        ),
        (
            "coding and length",
            format!("{post}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
            &[400],
        ),
        (
            "gzip, chunked",
            format!("{post}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
            &[400, 501],
        ),
        ("identity", format!("{post}Transfer-Encoding: identity\r\n\r\n"), &[400, 501]),
        (
            "chunked twice",
            format!("{post}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
            &[400, 501],
        ),
        (
            "chunked on two lines",
            format!(
                "{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            ),
            &[400, 501],
        ),
        ("misspelt coding", format!("{post}Transfer-Encoding: xchunked\r\n\r\n"), &[400, 501]),
        (
            "coding with a tab",
            format!("{post}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n"),
            &[400, 501],
        ),
        (
            "HTTP/1.0 with a coding",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            &[400, 501],
        ),
        ("length with a sign", format!("{post}Content-Length: +5\r\n\r\nhello"), &[400]),
        ("negative length", format!("{post}Content-Length: -5\r\n\r\n"), &[400]),
        ("length in hex", format!("{post}Content-Length: 0x5\r\n\r\nhello"), &[400]),
        ("length with a fraction", format!("{post}Content-Length: 5.0\r\n\r\nhello"), &[400]),
        ("no length", format!("{post}Content-Length: \r\n\r\n"), &[400]),
        (
            "length over 2^64",
            format!("{post}Content-Length: 18446744073709551621\r\n\r\nhello"),
            &[400, 413],
        ),
        (
            "two lengths",
            format!("{post}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"),
            &[400],
        ),
        (
            "equal lengths",
            format!("{post}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
            &[400],
        ),
        ("a list of lengths", format!("{post}Content-Length: 5, 5\r\n\r\nhello"), &[400]),
        ("no Host", "GET / HTTP/1.1\r\n\r\n".into(), &[400]),
        ("two Hosts", format!("{get}Host: b\r\n\r\n"), &[400]),
        ("two equal Hosts", format!("{get}Host: a\r\n\r\n"), &[400]),
        ("an invalid Host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n".into(), &[400]),
        ("a Host with userinfo", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n".into(), &[400]),
        ("a Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n".into(), &[400]),
        ("a Host with a bad port", "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n".into(), &[400]),
        ("bare CR", format!("{get}X: a\rb\r\n\r\n"), &[400]),
        ("bare LF", "GET / HTTP/1.1\nHost: a\n\n".into(), &[400]),
        ("one bare LF", format!("{get}X: a\nY: b\r\n\r\n"), &[400]),
        ("NUL in a value", format!("{get}X: a\0b\r\n\r\n"), &[400]),
        ("NUL in a name", format!("{get}X\0: b\r\n\r\n"), &[400]),
        ("NUL in the target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n".into(), &[400]),
        ("obs-fold", format!("{get}X: a\r\n b\r\n\r\n"), &[400]),
        ("a fold first", "GET / HTTP/1.1\r\n Host: a\r\n\r\n".into(), &[400]),
        ("space before the colon", format!("{get}X : a\r\n\r\n"), &[400]),
        ("no colon", format!("{get}nonsense\r\n\r\n"), &[400]),
        ("an empty name", format!("{get}: a\r\n\r\n"), &[400]),
        ("a space in the name", format!("{get}X Y: a\r\n\r\n"), &[400]),
        ("no version", "GET /\r\nHost: a\r\n\r\n".into(), &[400, 505]),
        ("HTTP/2.0 as text", "GET / HTTP/2.0\r\nHost: a\r\n\r\n".into(), &[400, 505]),
        ("HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n".into(), &[400, 505]),
        ("two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n".into(), &[400]),
        ("a method with a space", "G T / HTTP/1.1\r\nHost: a\r\n\r\n".into(), &[400]),
        ("a method with a colon", "GE:T / HTTP/1.1\r\nHost: a\r\n\r\n".into(), &[400]),
        ("a target with a space", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n".into(), &[400]),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}\r\n\r\n".into(), &[400]),
        ("a long target", long_target, &[414, 431]),
        ("a long head", long_head, &[431]),
        ("many fields", many, &[431]),
    ] {
        let before = origin.count();
        let (answer, rest, ending) = send_with_follower(&larder, raw.as_bytes());
        assert!(statuses.contains(&answer.status), "{case}: {answer:?}");
        assert!(answer.is_whole(), "{case}: the client sees the whole answer: {answer:?}");
        assert!(rest.is_empty(), "{case}: nothing after it: {}", String::from_utf8_lossy(&rest));
        assert_eq!(ending, Ending::Closed, "{case}: closed, not reset");
        assert_eq!(origin.count(), before, "{case}: {:?}", origin.seen().last());
    }
    assert_eq!(origin.count_of("/smuggled"), 0);
    let malformed = larder.metrics().count("larder_requests_total", &[("cache", "error")]);
    assert!(malformed > 40, "refusals are counted: {malformed}");
    larder.get("/").expect(200);
}

#[test]
fn a_target_that_no_uri_has_is_refused_by_larder_itself() {
    let origin = Origin::serving(&["cache-control: no-store"], "x");
    let larder = Larder::in_front_of(&origin);
    let before = larder.metrics();
    let refused: Vec<Vec<u8>> = [
        &b"/odd?q=\"a\""[..],
        b"/odd?<b>",
        b"/odd/<b>",
        b"/odd/`id`",
        b"/odd/caf\xe9",
        b"/odd?caf\xe9",
        b"/odd/\xff\xfe",
        b"/odd#fragment",
        b"/odd/\x7f",
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    for target in &refused {
        let shown = target.escape_ascii();
        let raw = [b"GET ", &**target, b" HTTP/1.1\r\nHost: app.test\r\n\r\n"].concat();
        let (answer, rest, ending) = send_with_follower(&larder, &raw);
        assert_eq!(answer.status, 400, "{shown}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{shown}");
        assert_eq!(answer.json()["detail"], "invalid request target", "{shown}");
        let proxy_status = answer.header("proxy-status").unwrap_or_default();
        assert!(proxy_status.starts_with("larder; error=http_request_error"), "{proxy_status}");
        assert!(answer.cache_status().starts_with("larder; "), "{shown}: {answer:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{shown}");
        assert_eq!((rest.as_slice(), ending), (&[][..], Ending::Closed), "{shown}");
    }
    // What a URI may have, if loosely, goes to the origin byte for byte.
    for target in ["/odd/{\"a\"}|\\^", "/odd?{a}|\\^`[]'", "/odd/caf\u{e9}?\u{e9}"] {
        larder.get(target).expect(200);
        assert_eq!(origin.last().target, target);
    }
    let lines = || -> Vec<serde_json::Value> {
        let out = larder.process.stdout();
        let lines = out.lines().filter(|l| l.contains("/odd") && l.contains("\"status\":400"));
        lines.map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
    };
    eventually("an access line for each", SOON, || lines().len() == refused.len());
    let line = lines().into_iter().find(|line| line["path"] == "/odd?q=%22a%22");
    let line = line.unwrap_or_else(|| panic!("no line with the quotes encoded: {:?}", lines()));
    assert_eq!((&line["method"], &line["cache"]), (&"GET".into(), &"error".into()), "{line}");
    assert_eq!(line["detail"], "bad-request");
    let after = larder.metrics();
    let grew = |name, labels: &[_]| after.count(name, labels) - before.count(name, labels);
    let n = refused.len() as u64;
    assert_eq!(grew("larder_requests_total", &[("cache", "error"), ("status", "4xx")]), n);
    assert_eq!(grew("larder_malformed_requests_total", &[]), n);
    assert_eq!(lines().len(), refused.len(), "one line each");
    assert_eq!(origin.count(), 3);
}

#[test]
fn every_refusal_is_counted_as_malformed_once() {
    let origin = Origin::serving(&[], "x");
    let larder = Larder::in_front_of(&origin);
    let raws = [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n",
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        "\x16\x03\x01\r\n",
        "HEAD / HTTP/1.1\r\nX : a\r\n\r\n",
    ];
    for (done, raw) in raws.iter().enumerate() {
        let mut client = larder.connect();
        client.send(raw);
        let answer = client.answer(if raw.starts_with("HEAD") { "HEAD" } else { "GET" });
        assert_eq!(answer.status, 400, "{raw:?}: {answer:?}");
        assert!(answer.header("proxy-status").is_some(), "{raw:?}: {answer:?}");
        let (rest, ending) = client.rest();
        assert_eq!((rest.as_slice(), ending), (&[][..], Ending::Closed), "{raw:?}");
        let metrics = larder.metrics();
        let want = done as u64 + 1;
        assert_eq!(metrics.count("larder_malformed_requests_total", &[]), want, "{raw:?}");
        assert_eq!(metrics.count("larder_requests_total", &[("cache", "error")]), want, "{raw:?}");
    }
    let heads = [("method", "HEAD"), ("status", "4xx")];
    assert_eq!(larder.metrics().count("larder_requests_total", &heads), 1, "the method is known");
}

#[test]
fn malformed_bodies_never_look_whole_to_the_origin() {
    let origin = Origin::serving(&["cache-control: no-store"], "x");
    let larder = Larder::in_front_of(&origin);
    let extension = "x".repeat(100_000);
    let trailers = "X-Trailer: 1\r\n".repeat(5000);
    for (case, body) in [
        ("no size", "\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a size that is no number", "xyz\r\nhello\r\n0\r\n\r\n".into()),
        ("a sign", "+5\r\nhello\r\n0\r\n\r\n".into()),
        ("0x", "0x5\r\nhello\r\n0\r\n\r\n".into()),
        ("a size over 2^64", "10000000000000005\r\nhello\r\n0\r\n\r\n".into()),
        ("LF after the size", "5\nhello\r\n0\r\n\r\n".into()),
        ("LF after the data", "5\r\nhello\n0\r\n\r\n".into()),
        ("LF at the end", "5\r\nhello\r\n0\n\n".into()),
        ("more data than said", "5\r\nhello!\r\n0\r\n\r\n".into()),
        ("CR alone in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n".into()),
        ("LF in an extension", "5;a\nb\r\nhello\r\n0\r\n\r\n".into()),
        ("a huge extension", format!("5;{extension}\r\nhello\r\n0\r\n\r\n")),
        ("huge trailers", format!("5\r\nhello\r\n0\r\n{trailers}\r\n")),
        ("a bad trailer", "5\r\nhello\r\n0\r\nX : 1\r\n\r\n".into()),
        ("a folded trailer", "5\r\nhello\r\n0\r\nX: 1\r\n 2\r\n\r\n".into()),
    ] {
        let before = origin.count();
        let raw =
            format!("POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let (answer, rest, _) = send_with_follower(&larder, raw.as_bytes());
        assert!(matches!(answer.status, 0 | 400 | 413 | 431), "{case}: {answer:?}");
        assert!(rest.is_empty(), "{case}: {}", String::from_utf8_lossy(&rest));
        for seen in origin.seen().iter().skip(before) {
            assert!(!seen.whole, "{case}: the origin took it for whole: {seen:?}");
        }
    }
    assert_eq!(origin.count_of("/smuggled"), 0);
}

#[test]
fn good_chunking_of_every_kind_is_taken() {
    let origin = Origin::new(|seen, reply| reply.ok(&[], &seen.body));
    let larder = Larder::in_front_of(&origin);
    for (case, body) in [
        ("plain", "5\r\nhello\r\n0\r\n\r\n"),
        ("leading zeros", "0005\r\nhello\r\n000\r\n\r\n"),
        ("an extension", "5;name=value\r\nhello\r\n0\r\n\r\n"),
        ("a trailer", "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"),
        ("two chunks", "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
    ] {
        let mut client = larder.connect();
        // Byte by byte, so that every boundary falls inside of something once.
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        for byte in head.bytes().chain(body.bytes()) {
            client.send([byte]);
        }
        let answer = client.answer("POST");
        assert_eq!(answer.status, 200, "{case}: {answer:?}");
        assert_eq!(answer.body, b"hello", "{case}");
        assert_eq!(client.ask(&Ask::get("/next")).status, 200, "{case}: the connection goes on");
    }
}

#[test]
fn a_body_over_the_limit_is_413_and_the_client_sees_it() {
    let origin = Origin::serving(&[], "x");
    let larder = Larder::with(&origin, "[limits]\nbody_size = \"1KiB\"\n");
    let answer = larder.ask(&Ask::post("/", vec![b'x'; 500_000]));
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_eq!(origin.count(), 0);
    let chunks = format!("{:x}\r\n{}\r\n0\r\n\r\n", 500_000, "x".repeat(500_000));
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = larder.send(format!("{head}{chunks}"));
    assert_eq!(answer.status, 413, "{answer:?}");
    assert!(origin.seen().iter().all(|seen| !seen.whole), "never a whole body");
}

/// A body that nobody wanted is never taken for requests (CVE-2025-4366).
#[test]
fn what_larder_answers_itself_drains_the_body_or_closes() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::in_front_of(&origin);
    let via = larder.get("/").header("via").expect("Via").to_owned();
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";
    for (case, method, field, status) in [
        ("TRACE", "TRACE", String::new(), 405),
        ("a loop", "POST", format!("Via: {via}\r\n"), 508),
        ("no scheme of ours", "POST", String::new(), 400),
        ("Max-Forwards", "OPTIONS", "Max-Forwards: 0\r\n".into(), 204),
    ] {
        let target = if status == 400 { "ftp://app.test/" } else { "/" };
        for (times, chunked) in [(1, false), (1, true), (20_000, false), (20_000, true)] {
            let body = smuggled.repeat(times);
            let (framing, body) = if chunked {
                let framed = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
                ("Transfer-Encoding: chunked".to_owned(), framed)
            } else {
                (format!("Content-Length: {}", body.len()), body)
            };
            let mut client = larder.connect();
            client.send(format!(
                "{method} {target} HTTP/1.1\r\nHost: app.test\r\n{field}{framing}\r\n\r\n"
            ));
            client.send(body);
            client.send(Ask::get("/next").bytes());
            let first = client.answer(method);
            assert_eq!(first.status, status, "{case}, {times}, {framing}: {first:?}");
            if first.header("connection") == Some("close") {
                assert_eq!(client.rest().0, b"", "{case}, {times}, {framing}");
            } else {
                let next = client.answer("GET").expect(200);
                assert_eq!(next.text(), "x", "{case}, {times}, {framing}");
            }
        }
    }
    assert_eq!(origin.count_of("/smuggled"), 0);
}

#[test]
fn error_pages_echo_nothing() {
    let origin = Origin::serving(&[], "x");
    let larder = Larder::in_front_of(&origin);
    for raw in [
        "GET /<script>alert(1)</script> HTTP/1.1\r\nHost: <script>alert(1)</script>\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: <script>alert(1)</script>\r\n\r\n",
        "TRACE /<script>alert(1)</script> HTTP/1.1\r\nHost: a\r\nX-Secret: s3cret\r\n\r\n",
        "CONNECT <script>alert(1)</script>:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let answer = larder.send(raw);
        assert!(answer.status >= 400, "{raw}: {answer:?}");
        let shown = format!("{:?}{}", answer.headers, answer.text());
        assert!(!shown.contains("script") && !shown.contains("s3cret"), "{raw}: {shown}");
    }
}

#[test]
fn connect_and_trace_are_refused() {
    let origin = Origin::serving(&[], "x");
    let larder = Larder::in_front_of(&origin);
    let addr = origin.addr();
    let connect = larder.send(format!("CONNECT {addr} HTTP/1.1\r\nHost: {addr}\r\n\r\n"));
    assert!(matches!(connect.status, 400 | 405 | 501), "{connect:?}");
    let trace = larder.send("TRACE / HTTP/1.1\r\nHost: app.test\r\nCookie: secret\r\n\r\n");
    assert!(matches!(trace.status, 405 | 501), "{trace:?}");
    assert!(!trace.text().contains("secret"));
    assert_eq!(origin.count(), 0);
}

#[test]
fn nothing_a_client_sends_chooses_where_larder_connects() {
    let origin = Origin::serving(&["cache-control: no-store"], "the app");
    let elsewhere = Origin::serving(&[], "elsewhere");
    let larder = Larder::in_front_of(&origin);
    let other = elsewhere.addr();
    for raw in [
        format!("GET http://{other}/ HTTP/1.1\r\nHost: {other}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {other}\r\n\r\n"),
        format!("GET http://user:pw@{other}/ HTTP/1.1\r\nHost: {other}\r\n\r\n"),
        format!("GET /@{other}/ HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        format!("GET //{other}/ HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        format!("GET @{other}/ HTTP/1.1\r\nHost: app.test\r\n\r\n"),
        format!("GET ftp://{other}/ HTTP/1.1\r\nHost: {other}\r\n\r\n"),
        format!("GET https://{other}/ HTTP/1.1\r\nHost: {other}\r\n\r\n"),
        format!("CONNECT {other} HTTP/1.1\r\nHost: {other}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-Host: {other}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: app.test\r\nForwarded: host=\"{other}\"\r\n\r\n"),
        format!("OPTIONS * HTTP/1.1\r\nHost: {other}\r\n\r\n"),
    ] {
        let answer = larder.send(&raw);
        let right = answer.status >= 400 || answer.text() == "the app";
        assert!(right, "{raw}: {answer:?}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn a_head_that_does_not_end_is_given_up() {
    let origin = Origin::serving(&[], "x");
    let larder = Larder::with(&origin, "[limits]\nheader_timeout = \"300ms\"\n");
    let mut client = larder.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n");
    let (rest, ending) = client.rest();
    let text = String::from_utf8_lossy(&rest);
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
    assert_ne!(ending, Ending::TimedOut);
    assert_eq!(origin.count(), 0);
}

#[test]
fn a_flood_of_bad_requests_leaves_nothing_open() {
    let origin = Origin::serving(&[], "x");
    let larder = Larder::in_front_of(&origin);
    for _ in 0..200 {
        let mut client = larder.connect();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
        assert_eq!(client.answer("GET").status, 400);
    }
    eventually("all connections to be closed", SOON, || {
        larder.metrics().count("larder_connections", &[]) == 0
    });
}
