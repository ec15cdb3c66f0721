//! Expect: 100-continue.

use std::time::{Duration, Instant};

use crate::support::{Ask, Ending, Gate, Larder, Origin, SOON};

#[test]
fn expect_100_continue_is_answered_before_the_body() {
    let origin = Origin::new(|seen, reply| reply.ok(&[], &seen.body));
    let larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\n");
    client.send("Content-Length: 5\r\n\r\n");
    let interim = client.exactly(12).expect("an interim answer");
    assert_eq!(interim, b"HTTP/1.1 100");
    client.send("hello");
    // The rest of the 100's head comes first; skip to the final one.
    let mut rest = Vec::new();
    while !rest.ends_with(b"hello") {
        rest.extend_from_slice(&client.some().expect("the final answer"));
    }
    let rest = String::from_utf8_lossy(&rest).into_owned();
    assert!(rest.contains("HTTP/1.1 200"), "{rest}");
    assert_eq!(origin.last().body, b"hello");
}

#[test]
fn a_refused_upload_is_not_asked_for() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::with(&origin, "[limits]\nbody_size = \"10B\"\n");
    let mut client = larder.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\n");
    client.send("Content-Length: 5000\r\n\r\n");
    let answer = client.answer("POST").expect(413);
    assert!(answer.interim.is_empty(), "no 100 before a refusal: {answer:?}");
    assert!(client.is_closed() || answer.header("connection") != Some("close"));
    assert_eq!(origin.count(), 0);
}

#[test]
fn other_expectations_are_refused_or_passed_on() {
    let origin = Origin::serving(&[], "x");
    let larder = Larder::in_front_of(&origin);
    let answer = larder.ask(&Ask::get("/").with("Expect", "the-unexpected"));
    assert!(matches!(answer.status, 200 | 417), "{answer:?}");
}

/// The head of an upload that waits to be told.
fn waiting(framing: &str) -> String {
    format!("POST /up HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\n{framing}\r\n\r\n")
}

#[test]
fn the_origin_says_when_the_body_may_come() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::at_head(move |_, reply| {
        held.pass();
        reply.raw("HTTP/1.1 100 Continue\r\n\r\n");
        let body = reply.exactly(5).expect("the body");
        reply.ok(&[], body);
    });
    let larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    client.send(waiting("Content-Length: 5"));
    origin.await_count(1);
    assert_eq!(origin.last().header("expect"), Some("100-continue"));
    client.patience(Duration::from_millis(200));
    assert_eq!(client.exactly(1), Err(Ending::TimedOut), "not before the origin has said so");
    client.patience(SOON);
    gate.open();
    assert_eq!(client.exactly(25).expect("an interim answer"), b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello");
    assert_eq!(client.answer("POST").expect(200).text(), "hello");
}

#[test]
fn a_refusal_by_the_origin_comes_without_a_100() {
    let origin = Origin::at_head(|seen, reply| {
        let status = if seen.header("content-length").is_some() { 401 } else { 417 };
        reply.answer(status, &["connection: close"], "no");
        reply.await_close(SOON);
        reply.close();
    });
    let larder = Larder::in_front_of(&origin);
    for (framing, status) in [("Content-Length: 500000", 401), ("Transfer-Encoding: chunked", 417)]
    {
        let mut client = larder.connect();
        let start = Instant::now();
        client.send(waiting(framing));
        let answer = client.answer("POST").expect(status);
        assert!(answer.interim.is_empty(), "{answer:?}");
        assert_eq!(answer.text(), "no");
        assert_eq!(answer.header("connection"), Some("close"), "its body may still come");
        assert!(start.elapsed() < Duration::from_millis(900), "{:?}", start.elapsed());
        // A client that sends all the same is not taken for a new request.
        client.send("GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n");
        assert_eq!(client.rest().0, b"");
    }
    assert_eq!(origin.count(), 2);
}

#[test]
fn an_origin_that_knows_no_expect_gets_the_body_after_a_while() {
    let origin = Origin::at_head(|_, reply| {
        let body = reply.exactly(5).expect("the body");
        reply.ok(&["connection: close"], body);
    });
    let larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    client.send(waiting("Content-Length: 5"));
    assert_eq!(client.exactly(25).expect("an interim answer"), b"HTTP/1.1 100 Continue\r\n\r\n");
    client.send("hello");
    assert_eq!(client.answer("POST").expect(200).text(), "hello");
    // A client that does not wait, either, loses nothing but that while.
    let mut client = larder.connect();
    client.send(waiting("Content-Length: 5") + "hello");
    assert_eq!(client.answer("POST").expect(200).text(), "hello");
}

#[test]
fn http_1_0_expects_nothing() {
    let origin = Origin::new(|seen, reply| reply.ok(&[], &seen.body));
    let larder = Larder::in_front_of(&origin);
    let ask =
        "POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello";
    let answer = larder.send(ask).expect(200);
    assert_eq!((answer.interim.len(), answer.text().as_str()), (0, "hello"));
    assert_eq!(origin.last().header("expect"), None);
}
