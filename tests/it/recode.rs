//! Codings on large bodies that were stored without: who comes first decides nothing.

use std::sync::Arc;
use std::thread;

use crate::support::{Answer, Ask, Larder, Origin, SOON, Setup, eventually};

const TEXT: &[&str] = &["cache-control: max-age=600", "content-type: text/plain", "etag: \"v1\""];

/// Text in many segments, which shrinks, but not to nothing.
fn numbers(len: usize) -> Vec<u8> {
    let numbers = (0..).map(|n: u32| format!("{} ", n.wrapping_mul(2_654_435_761) >> 12));
    numbers.flat_map(String::into_bytes).take(len).collect()
}

fn accepting(codings: &str) -> Ask {
    Ask::get("/").with("Accept-Encoding", codings)
}

fn compressed(larder: &Larder) -> u64 {
    larder.metrics().count("larder_cache_compressed_total", &[])
}

#[track_caller]
fn check_coded(answer: &Answer, coding: &str, plain: &[u8], case: &str) {
    assert_eq!(answer.header("content-encoding"), Some(coding), "{case}: {:?}", answer.headers);
    assert!(answer.was_hit() && answer.is_whole(), "{case}: {:?}", answer.headers);
    assert!(answer.decoded() == plain, "{case}: the body differs");
    assert!(answer.body.len() < plain.len() * 3 / 4, "{case}: {} bytes", answer.body.len());
    assert_eq!(answer.header("etag"), Some("W/\"v1\""), "{case}: no strong ETag for two bodies");
    assert!(answer.all("vary").join(",").to_lowercase().contains("accept-encoding"), "{case}");
    assert_ne!(answer.header("accept-ranges"), Some("bytes"), "{case}");
}

#[track_caller]
fn check_plain(larder: &Larder, body: &[u8], case: &str) {
    let plain = larder.get("/").expect(200);
    assert!(plain.was_hit() && plain.body == body, "{case}: plain: {:?}", plain.headers);
    assert_eq!(plain.header("content-encoding"), None, "{case}");
    assert_eq!(plain.header("etag"), Some("\"v1\""), "{case}");
    assert!(plain.all("vary").join(",").to_lowercase().contains("accept-encoding"), "{case}");
    let part = larder.ask(&accepting("gzip, br, zstd").with("Range", "bytes=262000-263000"));
    assert_eq!(part.status, 206, "{case}: {:?}", part.headers);
    assert!(part.was_hit() && part.body == body[262_000..=263_000], "{case}: a part is as it is");
    assert_eq!(part.header("content-encoding"), None, "{case}");
    assert_eq!(part.header("etag"), Some("\"v1\""), "{case}");
}

#[test]
fn a_large_body_that_was_stored_plain_is_coded_for_who_comes_later() {
    let body = numbers(3_000_000);
    for (case, coding, disk) in [
        ("gzip, on disk", "gzip", true),
        ("br, on disk", "br", true),
        ("zstd, on disk", "zstd", true),
        ("gzip, in memory", "gzip", false),
    ] {
        let mut origin = Origin::serving(TEXT, body.clone());
        let setup = Setup::new(&origin.url())
            .config("[compression]\ncodings = [\"gzip\", \"br\", \"zstd\"]\n")
            .env("LARDER_CACHE__MEMORY", "64MiB");
        let larder = if disk { setup.start_with_disk() } else { setup.without_disk().start() };
        assert!(larder.get("/").expect(200).was_stored(), "{case}");
        let first = larder.ask(&accepting(coding)).expect(200);
        check_coded(&first, coding, &body, case);
        assert_eq!(first.header("content-length"), None, "{case}: made on the way");
        assert_eq!(compressed(&larder), 1, "{case}");
        for turn in 0..3 {
            let later = larder.ask(&accepting(coding)).expect(200);
            check_coded(&later, coding, &body, &format!("{case}, {turn} later"));
            let len = later.header("content-length").map(str::to_owned);
            assert_eq!(len, Some(later.body.len().to_string()), "{case}: from the store");
            assert!(later.body == first.body, "{case}: the same one");
        }
        let head = larder.ask(&Ask::head("/").with("Accept-Encoding", coding)).expect(200);
        assert_eq!(head.header("content-encoding"), Some(coding), "{case}: {head:?}");
        let known = accepting(coding).with("If-None-Match", "W/\"v1\"");
        assert_eq!(larder.ask(&known).status, 304, "{case}");
        check_plain(&larder, &body, case);
        assert_eq!((compressed(&larder), origin.count()), (1, 1), "{case}: once for all");
        if disk {
            larder.await_all_on_disk();
            let larder = larder.kill_and_restart();
            origin.stop();
            check_coded(&larder.ask(&accepting(coding)).expect(200), coding, &body, "killed");
            check_plain(&larder, &body, "killed");
            assert_eq!(compressed(&larder), 0, "{case}: from the disk");
        }
    }
}

#[test]
fn a_crowd_has_a_large_stored_body_coded_once() {
    const CROWD: usize = 40;
    let body = Arc::new(numbers(4_000_000));
    let origin = Origin::serving(TEXT, body.to_vec());
    let larder = Setup::new(&origin.url()).start_with_disk();
    assert!(larder.get("/").expect(200).was_stored());
    let mut clients: Vec<_> = (0..CROWD).map(|_| larder.connect()).collect();
    for client in &mut clients {
        client.send(accepting("gzip").bytes());
    }
    let readers = clients.into_iter().map(|mut client| {
        let body = body.clone();
        thread::spawn(move || check_coded(&client.answer("GET"), "gzip", &body, "of a crowd"))
    });
    let readers: Vec<_> = readers.collect();
    for reader in readers {
        reader.join().expect("a reader");
    }
    assert_eq!((compressed(&larder), origin.count()), (1, 1));
    check_plain(&larder, &body, "after a crowd");
}

#[test]
fn who_leaves_does_not_end_the_coding_of_a_large_body() {
    let body = numbers(6_000_000);
    let origin = Origin::serving(TEXT, body.clone());
    let larder = Setup::new(&origin.url()).start_with_disk();
    assert!(larder.get("/").expect(200).was_stored());
    let mut client = larder.connect();
    client.send(accepting("gzip").bytes());
    assert!(client.head().expect(200).is_gzip());
    drop(client);
    eventually("a coded body in the store", SOON, || compressed(&larder) == 1);
    let later = larder.ask(&accepting("gzip")).expect(200);
    check_coded(&later, "gzip", &body, "later");
    assert!(later.header("content-length").is_some(), "from the store: {:?}", later.headers);
    assert_eq!(compressed(&larder), 1);
}

#[test]
fn what_may_not_be_coded_stays_as_it_is() {
    let body = numbers(1_000_000);
    for (case, fields) in [
        ("no-transform", &["cache-control: max-age=600, no-transform", "content-type: text/css"]),
        ("no text", &["cache-control: max-age=600", "content-type: video/mp4"]),
    ] {
        let origin = Origin::serving(fields, body.clone());
        let larder = Setup::new(&origin.url()).start_with_disk();
        larder.get("/").expect(200);
        let answer = larder.ask(&accepting("gzip")).expect(200);
        assert!(answer.was_hit() && answer.body == body, "{case}: {:?}", answer.headers);
        assert_eq!(answer.header("content-encoding"), None, "{case}");
    }
}
