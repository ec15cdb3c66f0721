//! What no decent app or client does with ranges: wrong 206s are passed on as they are and never
//! kept, odd Ranges cost nobody anything.

use crate::support::{Ask, Content, Ending, Larder, Origin, SOON, eventually, noise};

const LEN: usize = 1000;

fn range(range: &str) -> Ask {
    Ask::get("/").with("Range", &format!("bytes={range}"))
}

/// Answers a Range with 206, these field lines and this body, all else with the whole.
fn answering(fields: &[&str], part: &[u8], chunked: bool) -> Origin {
    let fields: Vec<String> = fields.iter().map(|&field| field.into()).collect();
    let part = part.to_vec();
    Origin::new(move |seen, reply| {
        let mut lines = vec!["cache-control: max-age=60", "etag: \"v1\""];
        if seen.header("range").is_none() {
            return reply.ok(&lines, noise(LEN, 1));
        }
        lines.extend(fields.iter().map(String::as_str));
        if chunked {
            reply.start(206, &lines);
            reply.chunk(&part);
            reply.end(&[]);
        } else {
            reply.answer(206, &lines, &part);
        }
    })
}

#[test]
fn a_wrong_206_is_passed_on_as_it_is_and_not_kept() {
    let multipart = "content-type: multipart/byteranges; boundary=x";
    for (case, fields) in [
        ("no Content-Range", &[][..]),
        ("length unknown", &["content-range: bytes 0-99/*"]),
        ("unsatisfied", &["content-range: bytes */1000"]),
        ("backwards", &["content-range: bytes 99-0/1000"]),
        ("beyond the end", &["content-range: bytes 0-99/50"]),
        ("more than came", &["content-range: bytes 0-199/1000"]),
        ("fewer than came", &["content-range: bytes 0-49/1000"]),
        (
            "beyond all numbers",
            &["content-range: bytes 0-18446744073709551615/18446744073709551616"],
        ),
        ("another unit", &["content-range: lines 0-99/1000"]),
        ("two of them", &["content-range: bytes 0-99/1000", "content-range: bytes 100-199/1000"]),
        ("several parts", &[multipart]),
    ] {
        let part = noise(100, 2);
        let origin = answering(fields, &part, false);
        let larder = Larder::in_front_of(&origin);
        for n in 1..=2 {
            let answer = larder.ask(&range("0-99")).expect(206);
            assert!(answer.is_whole() && answer.body == part, "{case}: {answer:?}");
            let says: Vec<&str> =
                fields.iter().filter_map(|field| field.strip_prefix("content-range: ")).collect();
            assert_eq!(answer.all("content-range"), says, "{case}: not relabelled");
            assert_eq!(answer.all("content-length"), ["100"], "{case}");
            assert!(!answer.was_stored() && !answer.was_hit(), "{case}: {answer:?}");
            assert_eq!(origin.count(), n, "{case}");
        }
        let whole = larder.get("/").expect(200);
        assert!(whole.body == noise(LEN, 1) && !whole.was_hit(), "{case}: {whole:?}");
    }
}

#[test]
fn several_parts_of_the_origin_are_passed_on_and_not_kept() {
    let parts = "--x\r\ncontent-range: bytes 0-1/1000\r\n\r\nab\r\n\
                 --x\r\ncontent-range: bytes 500-501/1000\r\n\r\ncd\r\n--x--\r\n";
    let kind = "multipart/byteranges; boundary=x";
    let origin = answering(&[&format!("content-type: {kind}")], parts.as_bytes(), false);
    let larder = Larder::in_front_of(&origin);
    for n in 1..=2 {
        let answer = larder.ask(&range("0-1,500-501")).expect(206);
        assert_eq!(answer.header("content-type"), Some(kind));
        assert!(answer.is_whole() && answer.text() == parts, "{answer:?}");
        assert!(!answer.was_stored() && origin.count() == n, "{answer:?}");
        assert_eq!(origin.last().header("range"), Some("bytes=0-1,500-501"));
    }
    assert!(larder.get("/").expect(200).body == noise(LEN, 1));
}

#[test]
fn a_206_that_is_longer_or_shorter_than_it_says_is_not_kept() {
    for (case, len) in [("shorter", 60), ("longer", 140)] {
        let part = noise(len, 2);
        let origin = answering(&["content-range: bytes 0-99/1000"], &part, true);
        let larder = Larder::in_front_of(&origin);
        for n in 1..=2 {
            let answer = larder.ask(&range("0-99"));
            assert_eq!(answer.status, 206, "{case}: {answer:?}");
            assert!(part.starts_with(&answer.body) && answer.body.len() <= 100, "{case}");
            if len < 100 {
                assert_ne!(answer.ending, Ending::Complete, "{case}: {answer:?}");
            }
            eventually("the fetch to end", SOON, || {
                larder.metrics().count("larder_flights", &[]) == 0
            });
            assert_eq!(origin.count(), n, "{case}: not kept");
        }
    }
}

#[test]
fn another_part_than_was_asked_for_is_that_part() {
    let part = noise(50, 2);
    let origin = answering(&["content-range: bytes 200-249/1000"], &part, false);
    let larder = Larder::in_front_of(&origin);
    let answer = larder.ask(&range("0-99")).expect(206);
    assert_eq!(answer.header("content-range"), Some("bytes 200-249/1000"));
    assert!(answer.body == part);
    let again = larder.ask(&range("200-249")).expect(206);
    assert!(again.was_hit() && again.body == part, "{again:?}");
}

#[test]
fn a_206_that_nobody_asked_for_is_not_kept() {
    let origin = Origin::new(|_, reply| {
        let fields = ["cache-control: max-age=60", "etag: \"v1\"", "content-range: bytes 0-4/10"];
        reply.answer(206, &fields, "01234");
    });
    let larder = Larder::in_front_of(&origin);
    for n in 1..=2 {
        let answer = larder.get("/").expect(206);
        assert_eq!(
            (answer.header("content-range"), &*answer.body),
            (Some("bytes 0-4/10"), &b"01234"[..])
        );
        assert!(!answer.was_stored(), "{answer:?}");
        assert_eq!(origin.count(), n);
    }
}

#[test]
fn a_416_of_the_origin_is_not_kept() {
    let origin = Content::new(noise(LEN, 1), "\"v1\"").origin();
    let larder = Larder::in_front_of(&origin);
    for n in 1..=2 {
        let answer = larder.ask(&range("1000-")).expect(416);
        assert_eq!(answer.header("content-range"), Some("bytes */1000"));
        assert!(!answer.was_stored(), "{answer:?}");
        assert_eq!(origin.count(), n);
    }
    assert!(larder.get("/").expect(200).body == noise(LEN, 1));
}

#[test]
fn a_416_from_the_store_tells_of_no_content() {
    let fields =
        ["cache-control: max-age=60", "content-encoding: gzip", "content-type: text/plain"];
    let origin = Content::new(noise(LEN, 1), "\"v1\"").with(&fields).origin();
    let larder = Larder::in_front_of(&origin);
    let takes = |ask: Ask| ask.with("Accept-Encoding", "gzip");
    larder.ask(&takes(Ask::get("/"))).expect(200);
    let answer = larder.ask(&takes(range("1000-"))).expect(416);
    assert!(answer.was_hit() && answer.body.is_empty(), "{answer:?}");
    for name in ["content-encoding", "content-type"] {
        assert_eq!(answer.header(name), None, "{answer:?}");
    }
}

#[test]
fn odd_ranges_are_ignored_or_unsatisfiable_and_never_costly() {
    let many = |count: usize| vec!["0-"; count].join(",");
    let apart =
        |count: usize| (0..count).map(|n| format!("{0}-{0}", 2 * n)).collect::<Vec<_>>().join(",");
    let body = noise(LEN, 1);
    // Of what is not stored: what the client gets, and what the origin is asked for.
    for (case, text, status, asks) in [
        ("backwards", "5-4", 200, None),
        ("no number", "a-b", 200, None),
        ("only a dash", "-", 200, None),
        ("one of two backwards", "0-1,5-4", 200, None),
        ("a thousand times all", &*many(1000), 200, None),
        ("thirty times all", &*many(30), 200, None),
        ("a thousand bytes", &*apart(1000), 200, None),
        ("overlapping to one", "0-9,5-19", 206, Some("bytes=0-19")),
        ("last nothing", "-0", 416, Some("bytes=-0")),
        ("far behind", "18446744073709551615-", 416, Some("bytes=18446744073709551615-")),
        (
            "two far behind",
            "18446744073709551615-,18446744073709551615-",
            416,
            Some("bytes=18446744073709551615-"),
        ),
        (
            "to the end of all numbers",
            "990-18446744073709551615",
            206,
            Some("bytes=990-18446744073709551615"),
        ),
        (
            "all that there can be",
            "-18446744073709551615",
            206,
            Some("bytes=-18446744073709551615"),
        ),
    ] {
        let origin = Content::new(body.clone(), "\"v1\"").origin();
        let larder = Larder::in_front_of(&origin);
        for round in ["missing", "stored"] {
            let answer = larder.ask(&range(text));
            assert_eq!(answer.status, status, "{case}, {round}: {:?}", answer.headers);
            assert!(answer.is_whole(), "{case}, {round}");
            if status == 200 {
                assert!(answer.body == body, "{case}, {round}");
            }
            if round == "missing" {
                let seen = origin.last();
                assert_eq!(seen.all("range"), asks.into_iter().collect::<Vec<_>>(), "{case}");
                larder.get("/").expect(200);
                larder.await_hit(&Ask::get("/"));
            } else {
                assert!(answer.was_hit(), "{case}: {answer:?}");
            }
        }
    }
}

#[test]
fn two_ranges_lines_are_none() {
    let body = noise(LEN, 1);
    let origin = Content::new(body.clone(), "\"v1\"").origin();
    let larder = Larder::in_front_of(&origin);
    let twice = range("0-9").with("Range", "bytes=20-29");
    for _ in 0..2 {
        let answer = larder.ask(&twice).expect(200);
        assert!(answer.body == body, "{answer:?}");
    }
    assert_eq!((origin.count(), origin.last().all("range").len()), (1, 0));
}

#[test]
fn another_unit_is_not_known() {
    let origin = Content::new(noise(LEN, 1), "\"v1\"").origin();
    let larder = Larder::in_front_of(&origin);
    for _ in 0..2 {
        let answer = larder.ask(&Ask::get("/").with("Range", "lines=1-2")).expect(200);
        assert!(answer.body == noise(LEN, 1), "{answer:?}");
    }
    assert_eq!((origin.count(), origin.last().all("range").len()), (1, 0));
}

#[test]
fn tiny_parts_are_bounded() {
    let body = noise(64 << 10, 5);
    let origin = Content::new(body.clone(), "\"v1\"").origin();
    let larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    for n in 0..600_usize {
        let at = n * 100;
        let answer = client.ask(&range(&format!("{at}-{at}"))).expect(206);
        assert_eq!(answer.body, [body[at]], "{at}");
    }
    let whole = larder.get("/").expect(200);
    assert!(whole.is_whole() && whole.body == body);
    assert!(larder.await_hit(&Ask::get("/")).body == body);
}

#[test]
fn what_replaces_parts_and_may_not_be_kept_drops_them() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let origin = Origin::new(move |seen, reply| {
        if count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            Content::new(noise(LEN, 1), "\"v1\"").answer(seen, reply);
        } else {
            reply.ok(&["cache-control: no-store"], "secret");
        }
    });
    let larder = Larder::in_front_of(&origin);
    larder.ask(&range("0-99")).expect(206);
    assert_eq!(larder.get("/").expect(200).body, b"secret");
    let part = larder.ask(&range("0-99"));
    assert!(!part.was_hit(), "the origin has something else by now: {part:?}");
}
