//! Disks that fail, fill up, belong to another or have changed: it runs on from memory, and nothing
//! wrong is served.

use std::fs;

use super::restart::{STORED, await_writer, fetch_all, kept, numbered};
use crate::support::mount::Mount;
use crate::support::{Ask, Larder, Origin, SOON, Setup, eventually, noise, within};

#[test]
fn damaged_files_are_never_served() {
    let mut origin = numbered();
    let setup = Setup::new(&origin.url());
    let larder = setup.start_with_disk();
    fetch_all(&larder, 500, 2);
    await_writer(&larder, 500);
    assert!(larder.stop().success());
    let damaged = damage(&setup.cache_dir(), 0);
    assert!(damaged > 0, "there was something to damage");
    let larder = setup.start();
    larder.get("/1").expect(200);
    within(SOON, || larder.admin_get("/readyz").text().contains("disk=ready"));
    origin.stop();
    kept(&larder, 0..500);
}

/// Nothing tells whether a part that comes later belongs to it.
const UNVALIDATED: &[&str] = &["Cache-Control: max-age=6000", "Content-Type: text/plain"];
/// Its tag does.
const VALIDATED: &[&str] =
    &["Cache-Control: max-age=6000", "Content-Type: text/plain", "ETag: \"1\""];

/// What is stored in segments on disk, of which those from `from` on are damaged.
fn damaged_from(from: usize, fields: &'static [&'static str]) -> (Origin, Setup, Larder, Vec<u8>) {
    let body = noise(3 << 20, 40);
    let sent = body.clone();
    let origin = Origin::new(move |seen, reply| match seen.header("range") {
        None => reply.ok(fields, &sent),
        Some(range) => {
            let range = range.strip_prefix("bytes=").expect("in bytes");
            let (from, to) = range.split_once('-').expect("from and to");
            let from: usize = from.parse().expect("a number");
            let to = to.parse().unwrap_or(sent.len() - 1);
            let content_range = format!("Content-Range: bytes {from}-{to}/{}", sent.len());
            let fields: Vec<_> = fields.iter().copied().chain([content_range.as_str()]).collect();
            reply.answer(206, &fields, &sent[from..=to]);
        }
    });
    let setup = Setup::new(&origin.url()).env("LARDER_CACHE__MEMORY", "8MiB");
    let larder = setup.start_with_disk();
    larder.get("/large").expect(200);
    eventually("all of it on disk", SOON, || {
        larder.on_disk() >= 2 && larder.metrics().count("larder_disk_pending_bytes", &[]) == 0
    });
    assert!(larder.get("/large").was_hit());
    assert!(damage(&setup.cache_dir(), from) > 1000);
    (origin, setup, larder, body)
}

/// It is wanted as it was stored, and in a coding that is yet to be made of that.
fn as_stored_and_coded() -> [Ask; 2] {
    ["identity", "gzip"].map(|coding| Ask::get("/large").with("Accept-Encoding", coding))
}

#[test]
fn what_is_gone_from_its_first_byte_on_is_a_miss() {
    for ask in as_stored_and_coded() {
        let (origin, _setup, larder, body) = damaged_from(0, UNVALIDATED);
        for hit in [false, true] {
            let answer = larder.ask(&ask).expect(200);
            assert_eq!(answer.was_hit(), hit, "{ask:?}");
            assert!(answer.is_whole() && answer.decoded() == body, "hit: {hit}, {ask:?}");
        }
        assert_eq!(origin.count_of("/large"), 2, "{ask:?}");
    }
}

#[test]
fn a_segment_that_is_gone_breaks_one_answer_and_makes_the_next_a_miss() {
    for ask in as_stored_and_coded() {
        let (origin, _setup, larder, body) = damaged_from(3 << 19, UNVALIDATED);
        assert!(!larder.ask(&ask).expect(200).is_whole(), "{ask:?}");
        assert_eq!(origin.count_of("/large"), 1, "{ask:?}");
        for hit in [false, true] {
            let answer = larder.ask(&ask).expect(200);
            assert_eq!(answer.was_hit(), hit, "{ask:?}");
            assert!(answer.is_whole() && answer.decoded() == body, "hit: {hit}, {ask:?}");
        }
        assert_eq!(origin.count_of("/large"), 2, "{ask:?}");
    }
}

#[test]
fn segments_that_are_gone_are_fetched_again_where_a_strong_validator_tells_that_they_fit() {
    for ask in as_stored_and_coded() {
        let (origin, _setup, larder, body) = damaged_from(3 << 19, VALIDATED);
        let answer = larder.ask(&ask).expect(200);
        assert!(answer.is_whole() && answer.decoded() == body, "{ask:?}");
        let asked = origin.last();
        assert_eq!(asked.header("if-range"), Some("\"1\""), "{ask:?}");
        assert!(asked.header("range").is_some_and(|range| range.starts_with("bytes=")));
        eventually("what came again is stored", SOON, || {
            let before = origin.count_of("/large");
            let answer = larder.ask(&ask).expect(200);
            assert!(answer.was_hit() && answer.is_whole() && answer.decoded() == body, "{ask:?}");
            origin.count_of("/large") == before
        });
    }
}

/// Flips a byte in every KiB of each large file below `dir`, `from` there on; answers how many.
fn damage(dir: &std::path::Path, from: usize) -> usize {
    let mut flipped = 0;
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            flipped += damage(&path, from);
            continue;
        }
        let mut bytes = fs::read(&path).expect("readable");
        if bytes.len() < 1 << 20 {
            continue;
        }
        for at in (from + 512..bytes.len().min(8 << 20)).step_by(1024) {
            bytes[at] ^= 0x55;
            flipped += 1;
        }
        fs::write(&path, bytes).expect("writable");
    }
    flipped
}

#[test]
fn a_directory_that_cannot_be_used_means_memory_only() {
    let origin = Origin::serving(STORED, "x");
    let setup = Setup::new(&origin.url());
    fs::write(setup.dir().join("file"), "no directory").expect("written");
    let dir = setup.dir().join("file").join("cache").display().to_string();
    let larder = setup.env("LARDER_CACHE__DIR", &dir).start();
    larder.get("/").expect(200);
    assert!(larder.get("/").was_hit(), "from memory");
    eventually("disk=off", SOON, || larder.admin_get("/readyz").text().contains("disk=off"));
    eventually("a warning", SOON, || larder.events().to_lowercase().contains("warn"));
    let alert = larder.metrics().sum("larder_alert_active", &[("alert", "disk_off")]);
    assert!((alert - 1.0).abs() < f64::EPSILON, "{alert}");
}

#[test]
fn a_second_process_on_the_same_directory_runs_from_memory_and_says_so() {
    let origin = Origin::serving(STORED, "x");
    let setup = Setup::new(&origin.url());
    let first = setup.start_with_disk();
    first.get("/").expect(200);
    first.await_on_disk(1);
    let other = Setup::new(&origin.url());
    let dir = setup.cache_dir().display().to_string();
    let second = other.env("LARDER_CACHE__DIR", &dir).start();
    eventually("disk=off", SOON, || second.admin_get("/readyz").text().contains("disk=off"));
    eventually("it says so", SOON, || second.events().contains("cache"));
    second.get("/").expect(200);
    assert!(second.get("/").was_hit());
    drop(second);
    assert!(first.restart().get("/").was_hit(), "the first was not harmed");
}

#[test]
fn a_changed_geometry_is_noticed_and_handled() {
    let origin = numbered();
    let mut setup = Setup::new(&origin.url());
    for (disk, block) in [
        ("128MiB", "16MiB"),
        ("64MiB", "4MiB"),
        ("256MiB", "16MiB"),
        ("256MiB", "8MiB"),
        ("256MiB", "32MiB"),
    ] {
        setup = setup.env("LARDER_CACHE__DISK", disk).env("LARDER_CACHE__BLOCK_SIZE", block);
        let larder = setup.start_with_disk();
        fetch_all(&larder, 300, 2);
        kept(&larder, 0..300);
        assert!(larder.stop().success(), "{disk} {block}");
    }
}

#[test]
fn foreign_files_in_the_directory_are_left_alone() {
    let origin = Origin::serving(STORED, "x");
    let setup = Setup::new(&origin.url());
    fs::create_dir_all(setup.cache_dir()).expect("a directory");
    let foreign = setup.cache_dir().join("family-photo.jpg");
    fs::write(&foreign, "dear").expect("written");
    let larder = setup.start_with_disk();
    larder.get("/").expect(200);
    assert!(larder.restart().get("/").was_hit());
    assert_eq!(fs::read(&foreign).expect("still there"), b"dear");
}

/// Requests go on whatever the disk says, those that are not stored, too; and it comes back.
#[test]
fn a_full_disk_fails_no_request_and_is_used_again_when_there_is_room() {
    let Some(mount) = Mount::new("size=24m") else { return };
    let origin = Origin::new(|seen, reply| {
        let n: u64 = seen.path().trim_start_matches('/').parse().unwrap_or(0);
        let private = ["cache-control: no-store"];
        let fields = if n.is_multiple_of(5) { &private[..] } else { STORED };
        reply.ok(fields, noise(9000, n));
    });
    let dir = mount.path().join("cache").display().to_string();
    let setup = Setup::new(&origin.url())
        .env("LARDER_CACHE__DIR", &dir)
        .env("LARDER_CACHE__DISK", "64MiB")
        .env("LARDER_CACHE__MEMORY", "8MiB");
    let larder = setup.start_with_disk();
    let alert = || larder.metrics().count("larder_alert_active", &[("alert", "disk_off")]);
    let mut client = larder.connect();
    let mut n = 0;
    eventually("the disk to be full", SOON * 2, || {
        for _ in 0..100 {
            n += 1;
            let answer = client.ask(&Ask::get(&format!("/{n}"))).expect(200);
            assert!(answer.body == noise(9000, n), "{n}");
        }
        alert() == 1
    });
    assert!(larder.admin_get("/readyz").text().contains("disk=off"));
    assert!(larder.metrics().count("larder_disk_errors_total", &[("op", "write")]) > 0);
    eventually("it says so", SOON, || larder.events().contains("No space"));
    assert!(larder.ask(&Ask::post("/", "x")).status == 200, "what is not cached at all");
    mount.remount("remount,size=128m");
    eventually("the disk to be used again", SOON * 2, || alert() == 0);
    assert!(larder.admin_get("/readyz").text().contains("disk=ready"));
    let on_disk = larder.on_disk();
    client.ask(&Ask::get("/1000001")).expect(200);
    larder.await_on_disk(on_disk + 1);
}
