//! QUERY: a read whose content is part of the key.

use crate::support::{Ask, Larder, Origin, Setup};

/// Answers a QUERY with what it was asked.
fn echoing() -> Origin {
    Origin::new(|seen, reply| {
        let asked = String::from_utf8_lossy(&seen.body).into_owned();
        let kind = seen.header("content-type").unwrap_or("none").to_owned();
        let answer = format!("{} {kind}: {asked}", seen.method);
        reply.ok(&["cache-control: max-age=60", "etag: \"1\""], answer);
    })
}

fn query(target: &str, kind: &str, body: impl AsRef<[u8]>) -> Ask {
    Ask::new("QUERY", target).with("Content-Type", kind).body(body)
}

#[test]
fn the_same_question_is_answered_once() {
    let origin = echoing();
    let larder = Larder::in_front_of(&origin);
    let first = larder.ask(&query("/q", "a/b", "one")).expect(200);
    assert!(first.was_stored(), "{first:?}");
    assert_eq!(first.text(), "QUERY a/b: one");
    for (case, ask, hit, text) in [
        ("the same", query("/q", "a/b", "one"), true, "QUERY a/b: one"),
        ("another content", query("/q", "a/b", "two"), false, "QUERY a/b: two"),
        ("another type", query("/q", "a/c", "one"), false, "QUERY a/c: one"),
        (
            "another coding",
            query("/q", "a/b", "one").with("Content-Encoding", "x"),
            false,
            "QUERY a/b: one",
        ),
        ("another URL", query("/r", "a/b", "one"), false, "QUERY a/b: one"),
        ("no content", Ask::new("QUERY", "/q").with("Content-Type", "a/b"), false, "QUERY a/b: "),
        ("GET", Ask::get("/q"), false, "GET none: "),
        ("and again", query("/q", "a/b", "two"), true, "QUERY a/b: two"),
    ] {
        let answer = larder.ask(&ask).expect(200);
        assert_eq!((answer.was_hit(), answer.text()), (hit, text.into()), "{case}: {answer:?}");
    }
    let same = query("/q", "a/b", "one").with("If-None-Match", "\"1\"");
    let unchanged = larder.ask(&same);
    assert!(unchanged.status == 304 && unchanged.was_hit(), "{unchanged:?}");
}

#[test]
fn a_question_that_comes_in_pieces_is_the_same() {
    let origin = echoing();
    let larder = Larder::in_front_of(&origin);
    larder.ask(&query("/q", "a/b", "one")).expect(200);
    let head = "QUERY /q HTTP/1.1\r\nHost: app.test\r\nContent-Type: a/b\r\n";
    let raw = format!("{head}Transfer-Encoding: chunked\r\n\r\n2\r\non\r\n1\r\ne\r\n0\r\n\r\n");
    let mut client = larder.connect();
    client.send(raw);
    let answer = client.answer("QUERY").expect(200);
    assert!(answer.was_hit(), "{answer:?}");
    assert_eq!(answer.text(), "QUERY a/b: one");
    client.send("GET /q HTTP/1.1\r\nHost: app.test\r\n\r\n");
    assert_eq!(client.answer("GET").expect(200).text(), "GET none: ", "the connection goes on");
}

#[test]
fn a_long_question_is_passed_on_whole() {
    let origin = echoing();
    let larder = Larder::with(&origin, "[cache]\nquery_body = \"1KiB\"\n");
    for (case, len, hit) in
        [("as long as may be", 1024, true), ("longer", 1025, false), ("much", 500_000, false)]
    {
        let asked = "x".repeat(len);
        let want = format!("QUERY a/b: {asked}");
        for round in [false, hit] {
            let answer = larder.ask(&query("/q", "a/b", &asked)).expect(200);
            assert_eq!(answer.was_hit(), round, "{case}: {}", answer.cache_status());
            assert!(answer.text() == want, "{case}");
        }
    }
    let chunk = "y".repeat(3000);
    let head = "QUERY /q HTTP/1.1\r\nHost: app.test\r\nContent-Type: a/b\r\n";
    let raw = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\nbb8\r\n{chunk}\r\nbb8\r\n{chunk}\r\n0\r\n\r\n"
    );
    let answer = larder.send(raw).expect(200);
    assert!(answer.text() == format!("QUERY a/b: {chunk}{chunk}"), "of unknown length");
    let off = Larder::with(&origin, "[cache]\nquery_body = 0\n");
    for _ in 0..2 {
        let answer = off.ask(&query("/q", "a/b", "one")).expect(200);
        assert!(!answer.was_hit() && answer.text() == "QUERY a/b: one", "{answer:?}");
    }
}

#[test]
fn what_breaks_off_or_is_too_large_is_no_question() {
    let origin = echoing();
    let larder = Larder::with(&origin, "[limits]\nbody_size = \"4KiB\"\n");
    let head = "QUERY /q HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = larder.connect();
    client.send(format!("{head}5\r\nhel"));
    client.finish_sending();
    let answer = client.answer("QUERY");
    assert!(answer.status == 400 || !answer.is_whole(), "{answer:?}");
    let malformed = larder.send(format!("{head}zz\r\nhello\r\n0\r\n\r\n"));
    assert_eq!(malformed.status, 400, "{malformed:?}");
    assert_eq!(larder.ask(&query("/q", "a/b", vec![b'x'; 5000])).status, 413);
    assert_eq!(origin.count(), 0, "the origin saw none of it");
}

#[test]
fn writes_and_purges_reach_answers_to_queries() {
    let origin = echoing();
    let larder = Larder::in_front_of(&origin);
    let ask = || larder.ask(&query("/q", "a/b", "one")).expect(200).was_hit();
    assert!(!ask() && ask());
    larder.ask(&Ask::post("/q", "new")).expect(200);
    assert!(!ask() && ask(), "a write");
    larder.admin_post("/api/purge", "{\"url\": \"/q\"}").expect(200);
    assert!(!ask() && ask(), "a purge");
}

#[test]
fn answers_to_queries_do_not_outlive_a_restart() {
    let origin = echoing();
    let larder = Setup::new(&origin.url()).start_with_disk();
    larder.ask(&query("/q", "a/b", "one")).expect(200);
    larder.await_on_disk(1);
    let larder = larder.restart();
    larder.await_disk();
    // A write that came before the first QUERY would not have been recorded.
    assert!(!larder.ask(&query("/q", "a/b", "one")).expect(200).was_hit());
}
