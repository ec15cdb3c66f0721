//! Expect: 100-continue.

use crate::support::{Ask, Larder, Origin};

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
