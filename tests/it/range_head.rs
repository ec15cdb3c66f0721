//! HEAD and Range from a stored GET.

use crate::support::{Ask, Larder, Origin, Setup, noise};

const HEADERS: &[&str] = &["cache-control: max-age=60", "etag: \"v1\""];

#[test]
fn head_is_answered_from_a_stored_get() {
    let origin = Origin::serving(HEADERS, "hello");
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    let mut client = larder.connect();
    let head = client.ask(&Ask::head("/")).expect(200);
    assert!(head.was_hit(), "{head:?}");
    assert_eq!(head.header("content-length"), Some("5"));
    assert_eq!(client.ask(&Ask::get("/")).expect(200).body, b"hello", "no body before this one");
    assert_eq!(origin.count(), 1);
}

#[test]
fn a_head_answer_is_never_taken_for_a_get() {
    let origin = Origin::serving(HEADERS, "hello");
    let larder = Larder::in_front_of(&origin);
    larder.ask(&Ask::head("/")).expect(200);
    assert_eq!(larder.get("/").expect(200).body, b"hello");
}

#[test]
fn ranges_come_from_a_stored_whole() {
    let body = noise(10_000, 9);
    let origin = Origin::serving(HEADERS, body.clone());
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    for (case, range, want) in [
        ("first bytes", "bytes=0-99", Some(0..100)),
        ("in the middle", "bytes=5000-5999", Some(5000..6000)),
        ("to the end", "bytes=9990-", Some(9990..10_000)),
        ("suffix", "bytes=-10", Some(9990..10_000)),
        ("beyond the end", "bytes=9990-20000", Some(9990..10_000)),
        ("a longer suffix", "bytes=-20000", Some(0..10_000)),
        ("one byte", "bytes=0-0", Some(0..1)),
        ("unknown unit", "lines=1-2", None),
        ("backwards", "bytes=5-2", None),
        ("nonsense", "bytes=a-b", None),
    ] {
        let answer = larder.ask(&Ask::get("/").with("Range", range));
        assert!(answer.was_hit(), "{case}: {answer:?}");
        let Some(want) = want else {
            assert_eq!(answer.status, 200, "{case}: an invalid Range counts as none");
            assert!(answer.body == body, "{case}");
            continue;
        };
        assert_eq!(answer.status, 206, "{case}: {:?}", answer.headers);
        let content_range = format!("bytes {}-{}/10000", want.start, want.end - 1);
        assert_eq!(answer.header("content-range"), Some(&*content_range), "{case}");
        assert_eq!(answer.header("content-length"), Some(&*want.len().to_string()), "{case}");
        assert!(answer.body == body[want], "{case}");
    }
    let beyond = larder.ask(&Ask::get("/").with("Range", "bytes=10000-"));
    assert_eq!(beyond.status, 416, "{beyond:?}");
    assert_eq!(beyond.header("content-range"), Some("bytes */10000"));
    assert_eq!(origin.count(), 1);
}

#[test]
fn if_range_decides_between_part_and_whole() {
    let origin = Origin::serving(HEADERS, "0123456789");
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    for (case, if_range, status) in [
        ("same", "\"v1\"", 206),
        ("other", "\"v2\"", 200),
        ("weak never", "W/\"v1\"", 200),
        ("a date without one", "Sat, 01 Jan 2000 00:00:00 GMT", 200),
    ] {
        let ask = Ask::get("/").with("Range", "bytes=0-1").with("If-Range", if_range);
        let answer = larder.ask(&ask);
        assert_eq!(answer.status, status, "{case}: {answer:?}");
    }
}

#[test]
fn a_range_of_what_is_not_stored_is_right_and_spoils_nothing() {
    let body = noise(10_000, 10);
    let sent = body.clone();
    let origin = Origin::new(move |seen, reply| {
        if seen.header("range") == Some("bytes=100-199") {
            let headers = ["cache-control: max-age=60", "content-range: bytes 100-199/10000"];
            reply.answer(206, &headers, &sent[100..200]);
        } else {
            reply.ok(&["cache-control: max-age=60"], &sent);
        }
    });
    let larder = Larder::in_front_of(&origin);
    let part = larder.ask(&Ask::get("/").with("Range", "bytes=100-199"));
    assert_eq!(part.status, 206, "{part:?}");
    assert!(part.body == body[100..200]);
    let whole = larder.get("/").expect(200);
    assert!(whole.body == body, "a part was never taken for the whole");
    assert!(larder.get("/").expect(200).body == body);
}

#[test]
fn ranges_of_a_large_object_come_from_its_segments() {
    let body = noise(3 << 20, 11);
    let origin = Origin::serving(HEADERS, body.clone());
    let larder = Setup::new(&origin.url()).start_with_disk();
    larder.get("/").expect(200);
    larder.await_hit(&Ask::get("/"));
    for (from, to) in
        [(0, 99), (262_000, 263_000), (1 << 20, (2 << 20) + 5), (3_145_700, 3_145_727)]
    {
        let answer = larder.ask(&Ask::get("/").with("Range", &format!("bytes={from}-{to}")));
        assert_eq!(answer.status, 206, "{:?}", answer.headers);
        assert!(answer.body == body[from..=to], "{from}-{to}");
    }
    assert_eq!(origin.count(), 1);
}

#[test]
fn head_tells_whether_what_is_stored_still_holds() {
    for (case, answer, holds) in [
        ("304", (304, &["etag: \"1\"", "cache-control: max-age=60", "x-new: 1"][..]), true),
        ("the same", (200, &["etag: \"1\"", "cache-control: max-age=60", "x-new: 1"]), true),
        ("another tag", (200, &["etag: \"2\"", "cache-control: max-age=60", "x-new: 1"]), false),
        ("no validator", (200, &["cache-control: max-age=60", "x-new: 1"]), false),
    ] {
        let origin = Origin::new(move |seen, reply| match &*seen.method {
            "HEAD" => reply.answer(answer.0, answer.1, "body"),
            _ => reply.ok(&["etag: \"1\"", "cache-control: max-age=1", "age: 5"], "body"),
        });
        let larder = Larder::in_front_of(&origin);
        larder.get("/").expect(200);
        let head = larder.ask(&Ask::head("/")).expect(200);
        assert_eq!(head.header("x-new"), Some("1"), "{case}: {head:?}");
        let seen = origin.last();
        assert_eq!(
            (&*seen.method, seen.header("if-none-match")),
            ("HEAD", Some("\"1\"")),
            "{case}"
        );
        let get = larder.get("/").expect(200);
        assert_eq!(get.was_hit(), holds, "{case}: {get:?}");
        assert_eq!(get.header("x-new").is_some(), holds, "{case}: {get:?}");
        assert_eq!(get.body, b"body", "{case}");
    }
}

#[test]
fn what_head_found_to_have_changed_is_not_served_for_want_of_better() {
    let mut origin = Origin::new(|seen, reply| {
        let tag = if seen.method == "HEAD" { "etag: \"2\"" } else { "etag: \"1\"" };
        reply.ok(&[tag, "cache-control: max-age=1", "age: 5"], "body");
    });
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    larder.ask(&Ask::head("/")).expect(200);
    origin.stop();
    larder.get("/").expect(502);
}
