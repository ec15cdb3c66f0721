//! One large object: memory, disk, ranges, restarts, kills.

use crate::body::{Body, MIB, ask_for_room, size, start};
use crate::support::origin::Seen;
use crate::support::reply::Reply;
use crate::support::{Ask, Ending, Gate, Larder, Origin, SOON, Setup};
use crate::turn;

const FIELDS: &[&str] =
    &["cache-control: max-age=86400", "etag: \"v1\"", "content-type: video/mp4"];

/// With a disk for the object, and the memory of the default.
fn setup(origin: &Origin) -> Setup {
    let setup = Setup::new(&origin.url());
    ask_for_room(setup.dir());
    // A store waits for a busy disk longer than it would by default: that a slow disk keeps less is
    // not what is looked at here.
    let config = format!("[cache]\nmax_object = {}\nstore_wait = \"10s\"\n", size());
    let disk = 2 * size() + 512 * MIB;
    setup
        .config(&config)
        .env("LARDER_CACHE__MEMORY", "64MiB")
        .env("LARDER_CACHE__DISK", &disk.to_string())
}

fn origin(answer: impl Fn(&Body, &Seen, &mut Reply) + Send + Sync + 'static) -> Origin {
    let body = Body::new();
    Origin::new(move |seen, reply| answer(&body, seen, reply))
}

/// Resident memory may rise by 32 MiB beyond what the memory tier holds. In it: what waits for the
/// disk (6 flush buffers of 1.4 MiB), the flight's window (4 MiB), read-ahead, the buffers of a
/// few connections, and what the allocator has not given back. The tier itself holds little here:
/// an object over a sixteenth of it stays out, and of one whose length is not known no more than
/// that goes in before it shows.
struct Memory {
    idle: u64,
}

impl Memory {
    fn of(larder: &Larder) -> Self {
        larder.get("/warm-up").expect(200);
        Self { idle: larder.process.rss() }
    }

    #[track_caller]
    fn check(&self, larder: &Larder, what: &str) {
        let tier = larder.metrics().count("larder_cache_bytes", &[("tier", "memory")]);
        let grown = larder.process.most_rss().saturating_sub(self.idle);
        let (kib, of) = (grown >> 10, self.idle >> 10);
        println!("{what}: +{kib} KiB at most over {of} KiB idle; memory tier {} KiB", tier >> 10);
        assert!(grown <= 32 * MIB + tier, "{what}: RSS grew by {kib} KiB");
        assert!(tier <= 8 * MIB, "{what}: {tier} bytes of it in the memory tier");
    }
}

/// Parts at both ends, within a segment, over the border of two, and over many.
fn parts(len: u64) -> Vec<String> {
    let segment = 256 << 10;
    let middle = len / 2 / segment * segment;
    [
        (0, 0),
        (0, 99),
        (middle + 10, middle + 1000),
        (middle - 5, middle + 5),
        (middle - 1, middle + 5 * segment),
        (len - 1, len - 1),
        (len - 100_000, len + 100_000),
    ]
    .into_iter()
    .map(|(from, to)| format!("bytes={from}-{to}"))
    .chain([format!("bytes={}-", len - 300_000), "bytes=-1".into(), "bytes=-1000000".into()])
    .collect()
}

/// Every kind of part comes from the store, and is right.
#[track_caller]
fn check_parts(larder: &Larder, body: &Body, target: &str, len: u64, of: &str) {
    for range in parts(len) {
        let part = body.read_part(larder, target, &range, len);
        assert!(part.was_hit(), "{range}: {:?}", part.headers);
    }
    let spans = [10..20, len / 2..len / 2 + 300_000, len - 5..len];
    let range: Vec<_> = spans.iter().map(|s| format!("{}-{}", s.start, s.end - 1)).collect();
    let range = format!("bytes={}", range.join(","));
    let several = larder.ask(&Ask::get(target).with("Range", &range));
    assert_eq!(several.status, 206, "{:?}", several.headers);
    assert!(several.was_hit() && several.is_whole(), "{:?}", several.headers);
    let kind = several.header("content-type").expect("a type");
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect(kind);
    let mut want = Vec::new();
    for span in spans {
        let (from, to) = (span.start, span.end - 1);
        let separator = if want.is_empty() { "--" } else { "\r\n--" };
        let head = format!("{separator}{boundary}\r\ncontent-type: {of}\r\n");
        want.extend_from_slice(head.as_bytes());
        want.extend_from_slice(
            format!("content-range: bytes {from}-{to}/{len}\r\n\r\n").as_bytes(),
        );
        want.extend_from_slice(&body.bytes(span));
    }
    want.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert!(several.body == want, "several parts");
    let beyond = larder.ask(&Ask::get(target).with("Range", &format!("bytes={len}-")));
    assert_eq!(beyond.status, 416, "{beyond:?}");
}

#[test]
fn a_large_object_streams_through_and_is_served_from_disk() {
    let _turn = turn();
    let len = size();
    let mut origin = origin(move |body, seen, reply| match seen.path() {
        "/warm-up" => reply.ok(&[], "x"),
        _ => body.answer(seen, reply, len, FIELDS),
    });
    let body = Body::new();
    let larder = setup(&origin).start_with_disk();
    let memory = Memory::of(&larder);
    let cold = body.read_whole(&mut larder.connect(), "/big", len);
    assert!(cold.was_stored() && !cold.was_hit(), "{cold:?}");
    memory.check(&larder, "cold");
    let mut client = larder.connect();
    for turn in ["second", "third"] {
        assert!(body.read_whole(&mut client, "/big", len).was_hit(), "{turn}");
    }
    memory.check(&larder, "from disk");
    check_parts(&larder, &body, "/big", len, "video/mp4");
    memory.check(&larder, "parts");
    assert_eq!(origin.count_of("/big"), 1);
    let read = larder.metrics().count("larder_disk_reads_total", &[]);
    assert!(read * (256 << 10) >= 2 * len, "{read} reads of segments");

    let larder = larder.restart();
    let memory = Memory::of(&larder);
    origin.stop();
    assert!(body.read_whole(&mut larder.connect(), "/big", len).was_hit(), "after a restart");
    check_parts(&larder, &body, "/big", len, "video/mp4");
    memory.check(&larder, "after a restart");
    let larder = larder.kill_and_restart();
    assert!(body.read_whole(&mut larder.connect(), "/big", len).was_hit(), "after a kill");
    check_parts(&larder, &body, "/big", len, "video/mp4");
}

#[test]
fn a_large_object_needs_neither_ranges_nor_a_length() {
    let _turn = turn();
    for (case, known) in [("an origin without ranges", true), ("chunked", false)] {
        let len = size();
        let origin = origin(move |body, seen, reply| match seen.path() {
            "/warm-up" => reply.ok(&[], "x"),
            _ if known => body.answer_whole(reply, len, FIELDS),
            _ => {
                reply.start(200, FIELDS);
                body.each(0..len, |piece| reply.chunk(piece));
                reply.end(&[]);
            }
        });
        let body = Body::new();
        let larder = setup(&origin).start_with_disk();
        let memory = Memory::of(&larder);
        body.read_whole(&mut larder.connect(), "/big", len);
        memory.check(&larder, &format!("{case}, cold"));
        let hit = body.read_whole(&mut larder.connect(), "/big", len);
        assert!(hit.was_hit(), "{case}: {hit:?}");
        assert_eq!(hit.header("content-length"), Some(&*len.to_string()), "{case}");
        check_parts(&larder, &body, "/big", len, "video/mp4");
        memory.check(&larder, &format!("{case}, from disk"));
        assert_eq!(origin.count_of("/big"), 1, "{case}");
    }
}

/// A fill leaves no entry before its end, so that what a kill left of it is found by nobody: it is
/// fetched anew, and whole. What was stored of it in parts meanwhile is completed.
#[test]
fn a_kill_half_way_leaves_no_wrong_byte() {
    let _turn = turn();
    let len = size();
    let cuts = [len / 8, len / 2 + 12_345, len - 1000];
    let origin = origin(move |body, seen, reply| {
        let number = seen.header("x-cut").and_then(|n| n.parse::<usize>().ok());
        let Some(cut) = number.and_then(|n| cuts.get(n)) else {
            return body.answer(seen, reply, len, FIELDS);
        };
        start(reply, len, FIELDS);
        body.each(0..*cut, |piece| reply.raw(piece));
        reply.read(SOON * 4); // until the kill ends the connection
        reply.close();
    });
    let body = Body::new();
    let mut larder = setup(&origin).start_with_disk();
    for (path, n) in [("/big", 0), ("/big", 1), ("/big", 2), ("/parts", 1)] {
        let mut client = larder.connect();
        client.send(Ask::get(path).with("X-Cut", &n.to_string()).bytes());
        let head = client.head().expect(200);
        body.read(&mut client, &head, 0..cuts[n], |_| {}).expect("so far");
        larder = larder.kill_and_restart();
        let (rest, ending) = client.rest();
        assert!(rest.is_empty() && matches!(ending, Ending::Closed | Ending::Reset), "{ending:?}");
        larder.ask(&Ask::get(path).with("Cache-Control", "only-if-cached")).expect(504);
    }
    let before = origin.count();
    let whole = body.read_whole(&mut larder.connect(), "/big", len);
    assert!(!whole.was_hit() && whole.was_stored(), "{whole:?}");
    assert_eq!(origin.last().header("range"), None, "fetched anew, and whole");
    let middle = format!("bytes={}-{}", len / 4, len / 4 + 999_999);
    assert!(!body.read_part(&larder, "/parts", &middle, len).was_hit());
    body.read_whole(&mut larder.connect(), "/parts", len);
    let asked: Vec<_> = origin.seen().into_iter().skip(before + 1).collect();
    let asked: Vec<_> = asked.iter().map(|seen| seen.header("range").unwrap_or("-")).collect();
    let (head, tail) = (len / 4 - 1, len / 4 + 1_000_000);
    let want = [&middle, &format!("bytes=0-{head}"), &format!("bytes={tail}-{}", len - 1)];
    assert!(asked.len() == 3 && asked[0] == want[0] && asked[1] == want[1], "{asked:?}");
    assert!(asked[2] == want[2] || asked[2] == format!("bytes={tail}-"), "{asked:?}");
    for path in ["/big", "/parts"] {
        assert!(body.read_whole(&mut larder.connect(), path, len).was_hit(), "{path}");
        check_parts(&larder, &body, path, len, "video/mp4");
    }
    let larder = larder.kill_and_restart();
    for path in ["/big", "/parts"] {
        assert!(body.read_whole(&mut larder.connect(), path, len).was_hit(), "{path}, killed");
    }
}

/// While the origin waits in the middle of the whole, which it ends only once the parts are there.
#[test]
fn the_end_of_what_is_being_filled_comes_before_the_whole() {
    let _turn = turn();
    let len = size();
    let gate = Gate::default();
    let held = gate.clone();
    let origin = origin(move |body, seen, reply| {
        if seen.header("range").is_some() {
            return body.answer(seen, reply, len, FIELDS);
        }
        start(reply, len, FIELDS);
        body.each(0..len / 2, |piece| reply.raw(piece));
        held.pass();
        body.each(len / 2..len, |piece| reply.raw(piece));
    });
    let body = Body::new();
    let larder = setup(&origin).start_with_disk();
    let mut client = larder.connect();
    client.send(Ask::get("/big").bytes());
    let head = client.head().expect(200);
    body.read(&mut client, &head, 0..len / 2, |_| {}).expect("the first half");

    let tail = body.read_part(&larder, "/big", "bytes=-1000", len);
    assert_eq!(tail.forwarded(), Some("uri-miss"), "{tail:?}");
    assert_eq!(origin.last().header("range"), Some("bytes=-1000"));
    assert_eq!(origin.count(), 2, "for the whole and for its end");
    // What has come already needs no other request, behind the window of 4 MiB or in it.
    for range in
        ["bytes=0-999", "bytes=300000-900000", &format!("bytes={}-{}", len / 4, len / 2 - 1)]
    {
        body.read_part(&larder, "/big", range, len);
    }
    assert_eq!(origin.count(), 2);

    gate.open();
    body.read(&mut client, &head, len / 2..len, |_| {}).expect("the second half");
    assert!(body.read_whole(&mut larder.connect(), "/big", len).was_hit());
    check_parts(&larder, &body, "/big", len, "video/mp4");
    assert_eq!(origin.count(), 2);
}

/// Fetched plain, and wanted in gzip by two, of whom one does not read. What cannot be compressed
/// comes out as large as it went in: the most that there is to hold.
#[test]
fn a_large_stored_text_is_gzipped_in_bounded_memory() {
    let _turn = turn();
    let len = size() / 2;
    let fields = ["cache-control: max-age=86400", "etag: \"v1\"", "content-type: text/plain"];
    let origin = origin(move |body, seen, reply| match seen.path() {
        "/warm-up" => reply.ok(&[], "x"),
        _ => body.answer(seen, reply, len, &fields),
    });
    let body = Body::new();
    let larder = setup(&origin).start_with_disk();
    let memory = Memory::of(&larder);
    body.read_whole(&mut larder.connect(), "/big", len);
    let ask = Ask::get("/big").with("Accept-Encoding", "gzip");
    let mut idle = larder.connect();
    idle.send(ask.bytes());
    for (case, stored) in [("on the way", false), ("from disk", true)] {
        let mut client = larder.connect();
        client.send(ask.bytes());
        let head = client.head().expect(200);
        assert!(head.was_hit() && head.is_gzip(), "{case}: {head:?}");
        assert_eq!(head.header("content-length").is_some(), stored, "{case}: {head:?}");
        body.read_gzip(&mut client, &head, len);
        memory.check(&larder, case);
    }
    let head = idle.head().expect(200);
    body.read_gzip(&mut idle, &head, len);
    check_parts(&larder, &body, "/big", len, "text/plain");
    assert_eq!(larder.metrics().count("larder_cache_compressed_total", &[]), 1);
    assert_eq!(origin.count_of("/big"), 1);
}
