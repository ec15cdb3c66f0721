//! Parts of responses: stored, combined, completed and served (RFC 9110 §14, RFC 9111 §3.3, §3.4).

use crate::support::{Answer, Ask, Content, Larder, Origin, Seen, Setup, coded, noise};

pub const LEN: usize = 1000;

pub fn range(range: &str) -> Ask {
    Ask::get("/").with("Range", &format!("bytes={range}"))
}

/// The bytes of `body` from `from` to `to`, as a 206 that says so.
#[track_caller]
pub fn is_part(answer: &Answer, body: &[u8], from: usize, to: usize) {
    assert_eq!(answer.status, 206, "{answer:?}");
    let says = format!("bytes {from}-{}/{}", to - 1, body.len());
    assert_eq!(answer.header("content-range"), Some(&*says), "{answer:?}");
    assert_eq!(answer.header("content-length"), Some(&*(to - from).to_string()), "{answer:?}");
    assert!(answer.is_whole() && answer.body == body[from..to], "{from}-{to}: {answer:?}");
}

#[track_caller]
pub fn is_all(answer: &Answer, body: &[u8]) {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-range"), None, "{answer:?}");
    assert_eq!(answer.header("content-length"), Some(&*body.len().to_string()), "{answer:?}");
    assert!(answer.is_whole() && answer.body == body, "other bytes: {:?}", answer.headers);
}

/// What the origin was asked for last: Range, If-Range, If-None-Match.
pub fn last(origin: &Origin) -> [Option<String>; 3] {
    let seen: Seen = origin.last();
    ["range", "if-range", "if-none-match"].map(|name| seen.header(name).map(str::to_owned))
}

pub fn asked<'a>(range: impl Into<Option<&'a str>>, if_range: Option<&str>) -> [Option<String>; 3] {
    [range.into().map(|range| format!("bytes={range}")), if_range.map(str::to_owned), None]
}

pub const V1: Option<&str> = Some("\"v1\"");

#[test]
fn what_is_held_is_served_and_what_is_not_is_asked_for() {
    let body = noise(LEN, 1);
    let origin = Content::new(body.clone(), "\"v1\"").origin();
    let larder = Larder::in_front_of(&origin);
    for (case, text, (from, to), asks) in [
        ("first", "0-99", (0, 100), Some(asked("0-99", None))),
        ("the same", "0-99", (0, 100), None),
        ("some of it", "10-19", (10, 20), None),
        ("overlapping", "50-149", (50, 150), Some(asked("100-149", V1))),
        ("across both", "90-149", (90, 150), None),
        ("a suffix", "-10", (990, 1000), Some(asked("990-", V1))),
        ("to the end", "995-", (995, 1000), None),
        ("a shorter suffix", "-5", (995, 1000), None),
        ("beyond the end", "990-5000", (990, 1000), None),
        ("around what is held", "140-999", (140, 1000), Some(asked("150-989", V1))),
        ("a longer suffix", "-5000", (0, 1000), None),
    ] {
        let before = origin.count();
        let answer = larder.ask(&range(text));
        is_part(&answer, &body, from, to);
        assert_eq!(answer.was_hit(), asks.is_none(), "{case}: {answer:?}");
        assert_eq!(origin.count() - before, usize::from(asks.is_some()), "{case}");
        if let Some(asks) = asks {
            assert_eq!(last(&origin), asks, "{case}");
        }
    }
    let whole = larder.get("/");
    is_all(&whole, &body);
    assert!(whole.was_hit(), "its parts make it whole: {whole:?}");
    let beyond = larder.ask(&range("1000-"));
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */1000")));
    assert!(beyond.was_hit(), "{beyond:?}");
}

#[test]
fn a_whole_is_completed_by_what_is_missing() {
    let body = noise(LEN, 2);
    for (case, held, asks) in [
        ("its end", &["0-599"][..], &["600-"][..]),
        ("its beginning", &["300-"], &["0-299"]),
        ("its middle", &["0-99", "900-999"], &["100-899"]),
        ("two gaps", &["100-199", "300-999"], &["0-99", "200-299"]),
        ("many gaps, in one", &["100-109", "200-209", "300-309", "400-409", "500-509"], &["0-"]),
        (
            "many between what is held",
            &["0-9", "100-109", "200-209", "300-309", "400-409", "500-509", "990-999"],
            &["10-989"],
        ),
    ] {
        let origin = Content::new(body.clone(), "\"v1\"").origin();
        let larder = Larder::in_front_of(&origin);
        for part in held {
            larder.ask(&range(part)).expect(206);
        }
        let before = origin.count();
        let whole = larder.get("/");
        is_all(&whole, &body);
        assert_eq!(whole.forwarded(), Some("partial"), "{case}: {whole:?}");
        let seen: Vec<_> = origin.seen()[before..]
            .iter()
            .map(|seen| {
                assert_eq!(seen.header("if-range"), V1, "{case}");
                seen.header("range").unwrap_or_default().to_owned()
            })
            .collect();
        let want: Vec<_> = asks.iter().map(|part| format!("bytes={part}")).collect();
        assert_eq!(seen, want, "{case}");
        let again = larder.await_hit(&Ask::get("/"));
        is_all(&again, &body);
    }
}

#[test]
fn stale_parts_are_validated() {
    let body = noise(LEN, 8);
    let stale = ["cache-control: max-age=1", "age: 5"];
    let fields = |no_cache: bool| if no_cache { &["cache-control: no-cache"][..] } else { &stale };
    for (case, no_cache) in [("expired", false), ("no-cache", true)] {
        let origin = Content::new(body.clone(), "\"v1\"").with(fields(no_cache)).origin();
        let larder = Larder::in_front_of(&origin);
        is_part(&larder.ask(&range("0-99")), &body, 0, 100);
        let same = larder.ask(&range("0-99"));
        is_part(&same, &body, 0, 100);
        assert!(same.cache_status().contains("fwd-status=304"), "{case}: {same:?}");
        let [_, if_range, if_none_match] = last(&origin);
        assert_eq!((if_range, if_none_match.as_deref()), (None, V1), "{case}");
        // What completes it validates it, too.
        is_part(&larder.ask(&range("0-199")), &body, 0, 200);
        assert_eq!(last(&origin), asked("100-199", V1), "{case}");
        let head = larder.ask(&Ask::head("/")).expect(200);
        assert_eq!(head.header("content-length"), Some("1000"), "{case}: {head:?}");
    }
}

#[test]
fn stale_parts_stand_in_for_an_origin_that_is_away() {
    let body = noise(LEN, 9);
    for (case, control, stands_in) in [
        ("expired", "cache-control: max-age=1", true),
        ("must-revalidate", "cache-control: max-age=1, must-revalidate", false),
        ("no-cache", "cache-control: no-cache", false),
    ] {
        let mut origin = Content::new(body.clone(), "\"v1\"").with(&[control, "age: 5"]).origin();
        let larder = Larder::in_front_of(&origin);
        is_part(&larder.ask(&range("0-99")), &body, 0, 100);
        origin.stop();
        let held = larder.ask(&range("10-19"));
        if stands_in {
            is_part(&held, &body, 10, 20);
        } else {
            assert!(matches!(held.status, 502..=504), "{case}: {held:?}");
        }
        for ask in [range("10-199"), Ask::get("/")] {
            let more = larder.ask(&ask);
            assert!(matches!(more.status, 502..=504), "{case}: {ask:?} {more:?}");
        }
        origin.start_again();
        is_part(&larder.ask(&range("0-199")), &body, 0, 200);
    }
}

#[test]
fn if_range_of_stored_parts() {
    const DATE: &str = "Sat, 01 Jan 2000 00:00:00 GMT";
    let body = noise(LEN, 10);
    for (case, condition, part) in [
        ("same tag", "\"v1\"", true),
        ("other tag", "\"v2\"", false),
        ("weak tag", "W/\"v1\"", false),
        ("same date", DATE, true),
        ("other date", "Sat, 01 Jan 2000 00:00:01 GMT", false),
    ] {
        let fields = ["cache-control: max-age=60", &format!("last-modified: {DATE}")];
        let origin = Content::new(body.clone(), "\"v1\"").with(&fields).origin();
        let larder = Larder::in_front_of(&origin);
        larder.ask(&range("0-99")).expect(206);
        let answer = larder.ask(&range("10-19").with("If-Range", condition));
        if part {
            is_part(&answer, &body, 10, 20);
            assert!(answer.was_hit(), "{case}: {answer:?}");
        } else {
            is_all(&answer, &body);
            assert_eq!(last(&origin), asked("100-", V1), "{case}: only what is missing");
        }
        let only = larder.ask(&Ask::get("/").with("If-Range", condition));
        is_all(&only, &body); // nothing to be conditional
    }
}

#[test]
fn head_and_conditions_need_no_body() {
    let origin = Content::new(noise(LEN, 11), "\"v1\"").origin();
    let larder = Larder::in_front_of(&origin);
    larder.ask(&range("0-99")).expect(206);
    let mut client = larder.connect();
    for (case, ask, status) in [
        ("HEAD", Ask::head("/"), 200),
        ("HEAD with Range", Ask::head("/").with("Range", "bytes=500-599"), 200),
        ("same tag", Ask::get("/").with("If-None-Match", "\"v1\""), 304),
        ("same tag, other part", range("500-599").with("If-None-Match", "\"v1\""), 304),
    ] {
        let answer = client.ask(&ask).expect(status);
        assert!(answer.was_hit(), "{case}: {answer:?}");
        assert!(answer.header("content-range").is_none(), "{case}: {answer:?}");
        if status == 200 {
            assert_eq!(answer.header("content-length"), Some("1000"), "{case}: {answer:?}");
        }
    }
    assert_eq!(origin.count(), 1);
    let changed = larder.ask(&range("500-599").with("If-None-Match", "\"v0\""));
    assert_eq!((changed.status, origin.count()), (206, 2), "{changed:?}");
}

#[test]
fn several_ranges_of_what_is_held() {
    let body = noise(LEN, 12);
    let fields = ["cache-control: max-age=60", "content-type: text/plain"];
    let origin = Content::new(body.clone(), "\"v1\"").with(&fields).origin();
    let larder = Larder::in_front_of(&origin);
    larder.ask(&range("0-499")).expect(206);
    let answer = larder.ask(&range("400-409, 0-4,200-299")).expect(206);
    assert!(answer.was_hit() && answer.header("content-range").is_none(), "{answer:?}");
    let kind = answer.header("content-type").unwrap_or_default();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect(kind);
    let mut want = Vec::new();
    for (from, to) in [(400, 410), (0, 5), (200, 300)] {
        let head = format!(
            "\r\n--{boundary}\r\ncontent-type: text/plain\r\ncontent-range: bytes {from}-{}/1000\r\n\r\n",
            to - 1
        );
        want.extend_from_slice(head.as_bytes());
        want.extend_from_slice(&body[from..to]);
    }
    want.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert!(answer.body == want[2..], "{}", answer.text());
    assert_eq!(answer.header("content-length"), Some(&*answer.body.len().to_string()));
    is_part(&larder.ask(&range("0-99,50-199")), &body, 0, 200);
    is_part(&larder.ask(&range("0-9,20-29")), &body, 0, 30);
    assert_eq!(origin.count(), 1);
    // What is not held is the origin's to answer; this one sends all, of which the parts are cut.
    let answer = larder.ask(&range("0-9,600-699,650-749")).expect(206);
    assert_eq!(last(&origin), asked("0-9,600-749", None));
    assert!(answer.is_whole() && answer.header("content-range").is_none(), "{answer:?}");
    assert_eq!(origin.count(), 2);
    is_all(&larder.await_hit(&Ask::get("/")), &body);
}

#[test]
fn parts_of_what_the_app_has_coded() {
    let plain = noise(LEN, 13);
    let zipped = coded(&plain, "gzip");
    let fields = ["cache-control: max-age=60", "content-encoding: gzip"];
    let content = Content::new(zipped.clone(), "\"gz\"").with(&fields);
    let origin = content.origin(); // whatever the client takes
    let larder = Larder::in_front_of(&origin);
    let takes = |ask: Ask| ask.with("Accept-Encoding", "gzip");
    let answer = larder.ask(&takes(range("0-99")));
    is_part(&answer, &zipped, 0, 100);
    assert!(answer.is_gzip(), "{answer:?}");
    is_part(&larder.ask(&takes(range("50-149"))), &zipped, 50, 150);
    let whole = larder.ask(&takes(Ask::get("/")));
    assert!(whole.body == zipped && whole.is_gzip(), "{:?}", whole.headers);

    // A client that cannot take it gets it decoded, and so in whole, from parts as from all.
    for (case, text) in [("a part", "0-9"), ("held", "0-99"), ("none of it", "999999-")] {
        let larder = Larder::in_front_of(&origin);
        larder.ask(&takes(range("0-99"))).expect(206);
        let answer = larder.ask(&range(text));
        assert_eq!(answer.status, 200, "{case}: {:?}", answer.headers);
        assert!(!answer.is_gzip() && answer.is_whole() && answer.body == plain, "{case}");
    }
}

#[test]
fn a_part_tells_no_digest_of_the_whole() {
    let body = noise(LEN, 14);
    let digests =
        ["cache-control: max-age=60", "content-digest: sha-256=:AAAA:", "content-md5: AAAA"];
    let origin = Content::new(body.clone(), "\"v1\"").with(&digests).origin();
    let larder = Larder::in_front_of(&origin);
    let told = |answer: &Answer| answer.header("content-digest").is_some();
    assert!(told(&larder.get("/").expect(200)));
    let part = larder.ask(&range("0-99")).expect(206);
    assert!(part.was_hit() && !told(&part) && part.header("content-md5").is_none(), "{part:?}");
    // Nor the whole that of a part.
    let larder = Larder::in_front_of(&origin);
    larder.ask(&range("0-99")).expect(206);
    let whole = larder.get("/");
    is_all(&whole, &body);
    assert!(!told(&whole), "{whole:?}");
    let part = larder.ask(&range("0-9")).expect(206);
    assert!(part.was_hit() && !told(&part), "{part:?}");
}

#[test]
fn a_query_has_parts_of_its_own() {
    let body = noise(LEN, 15);
    let origin = Content::new(body.clone(), "\"v1\"").origin();
    let larder = Larder::in_front_of(&origin);
    let query = |text: &str, content: &str| {
        let ask = Ask::new("QUERY", "/").with("Content-Type", "a/b");
        ask.with("Range", &format!("bytes={text}")).body(content)
    };
    is_part(&larder.ask(&query("0-99", "one")), &body, 0, 100);
    let more = larder.ask(&query("0-199", "one"));
    is_part(&more, &body, 0, 200);
    let seen = origin.last();
    assert_eq!((&*seen.method, seen.header("range")), ("QUERY", Some("bytes=100-199")));
    assert_eq!(seen.body, b"one");
    assert!(larder.ask(&query("0-199", "one")).was_hit());
    assert!(!larder.ask(&query("0-199", "two")).was_hit());
    assert!(!larder.ask(&range("0-199")).was_hit());
}

#[test]
fn parts_survive_a_restart() {
    let body = noise(3 << 20, 16);
    for (case, killed) in [("SIGTERM", false), ("kill -9", true)] {
        let origin = Content::new(body.clone(), "\"v1\"").origin();
        let larder = Setup::new(&origin.url()).start_with_disk();
        is_part(&larder.ask(&range("0-99")), &body, 0, 100);
        is_part(&larder.ask(&range("1000000-1999999")), &body, 1_000_000, 2_000_000);
        larder.await_on_disk(6); // four segments, and the head twice
        let larder = if killed { larder.kill_and_restart() } else { larder.restart() };
        let before = origin.count();
        let small = larder.ask(&range("10-19"));
        is_part(&small, &body, 10, 20);
        let large = larder.ask(&range("1200000-1999999"));
        is_part(&large, &body, 1_200_000, 2_000_000);
        assert!(small.was_hit() && large.was_hit(), "{case}");
        assert_eq!(origin.count(), before, "{case}");
        is_all(&larder.get("/"), &body);
        let asks: Vec<_> = origin.seen()[before..]
            .iter()
            .map(|seen| seen.header("range").unwrap_or_default().to_owned())
            .collect();
        assert_eq!(asks, ["bytes=100-999999", "bytes=2000000-"], "{case}");
        is_all(&larder.await_hit(&Ask::get("/")), &body);
    }
}
