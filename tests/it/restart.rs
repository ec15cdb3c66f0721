//! What is still there after an end, an expected one or kill -9; and what must not be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::support::{Ask, Larder, Origin, SOON, Setup, eventually, noise, text, within};

pub const STORED: &[&str] =
    &["cache-control: max-age=6000", "content-type: text/css", "etag: \"1\""];

#[test]
fn after_sigterm_it_is_still_a_hit_from_disk() {
    let body = text(20_000);
    let mut origin = Origin::serving(STORED, body.clone());
    let larder = Setup::new(&origin.url()).start_with_disk();
    larder.get("/a").expect(200);
    larder.ask(&Ask::get("/gzip").with("Accept-Encoding", "gzip")).expect(200);
    let larder = larder.restart();
    origin.stop();
    let hit = larder.get("/a").expect(200);
    assert!(hit.was_hit(), "{hit:?}");
    assert!(hit.body == body);
    let gzip = larder.ask(&Ask::get("/gzip").with("Accept-Encoding", "gzip")).expect(200);
    assert!(gzip.was_hit() && gzip.is_gzip(), "{gzip:?}");
    assert!(gzip.decoded() == body);
    assert!(larder.metrics().count("larder_disk_hits_total", &[]) >= 1, "from disk");
}

#[test]
fn after_kill_9_it_is_still_a_hit_from_disk() {
    let small = noise(1000, 20);
    let large = noise(2 << 20, 21);
    let (s, l) = (small.clone(), large.clone());
    let mut origin = Origin::new(move |seen, reply| {
        reply.ok(STORED, if seen.path() == "/small" { &s } else { &l });
    });
    let larder = Setup::new(&origin.url()).start_with_disk();
    for target in ["/small", "/large"] {
        larder.get(target).expect(200);
        larder.await_hit(&Ask::get(target));
    }
    larder.await_all_on_disk();
    let larder = larder.kill_and_restart();
    origin.stop();
    for (target, body) in [("/small", small), ("/large", large)] {
        let hit = larder.get(target).expect(200);
        assert!(hit.was_hit(), "{target}: {:?}", hit.headers);
        assert!(hit.body == body, "{target}");
    }
}

#[test]
fn age_goes_on_over_a_restart() {
    let origin = Origin::serving(&["cache-control: max-age=1000", "age: 500"], "x");
    let larder = Setup::new(&origin.url()).start_with_disk();
    larder.get("/").expect(200);
    let larder = larder.restart();
    let age: u64 = larder.get("/").header("age").expect("Age").parse().expect("a number");
    assert!((500..600).contains(&age), "{age}");
}

/// Asks for `/0` to `/n-1`, in about this order, over `threads` connections.
pub fn fetch_all(larder: &Larder, n: usize, threads: usize) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut client = larder.connect();
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    if number >= n {
                        break;
                    }
                    client.ask(&Ask::get(&format!("/{number}"))).expect(200);
                }
            });
        }
    });
}

fn body_of(target: &str) -> Vec<u8> {
    let n: u64 = target.trim_start_matches('/').parse().unwrap_or(0);
    noise(500 + (n as usize * 37) % 3000, n + 1)
}

pub fn numbered() -> Origin {
    Origin::new(|seen, reply| reply.ok(STORED, body_of(seen.path())))
}

/// How many of these are answered without the origin; each that is must be right.
pub fn kept(larder: &Larder, range: std::ops::Range<usize>) -> usize {
    let mut client = larder.connect();
    let mut kept = 0;
    for n in range {
        let target = format!("/{n}");
        let ask = Ask::get(&target).with("Cache-Control", "only-if-cached");
        let answer = client.ask(&ask);
        if answer.status == 504 {
            continue;
        }
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        assert!(answer.body == body_of(&target), "{target}: a wrong body");
        kept += 1;
    }
    kept
}

pub fn await_writer(larder: &Larder, objects: u64) -> u64 {
    let mut dropped = 0;
    eventually("the writer to be done", SOON * 2, || {
        let metrics = larder.metrics();
        dropped = metrics.count("larder_disk_drops_total", &[]);
        metrics.count("larder_disk_written_total", &[]) + dropped >= objects
    });
    dropped
}

#[test]
fn twenty_thousand_objects_outlive_kill_9() {
    const OBJECTS: usize = 20_000;
    let mut origin = numbered();
    let setup = Setup::new(&origin.url()).workers(4).env("LARDER_CACHE__DISK", "512MiB");
    let larder = setup.start_with_disk();
    fetch_all(&larder, OBJECTS, 8);
    let dropped = await_writer(&larder, OBJECTS as u64);
    let larder = larder.kill_and_restart();
    origin.stop();
    let kept = kept(&larder, 0..OBJECTS);
    assert!(kept + dropped as usize >= OBJECTS, "{kept} kept, {dropped} dropped and counted");
    assert!(kept >= OBJECTS / 2, "{kept} kept: the writer should keep up");
}

#[test]
fn a_disk_that_wrapped_round_twice_keeps_the_newest() {
    const OBJECTS: usize = 40_000;
    let mut origin = numbered();
    let setup = Setup::new(&origin.url()).workers(4).env("LARDER_CACHE__DISK", "64MiB");
    let larder = setup.start_with_disk();
    fetch_all(&larder, OBJECTS, 8);
    let dropped = await_writer(&larder, OBJECTS as u64);
    let larder = larder.kill_and_restart();
    origin.stop();
    // At most 8 KiB an object on disk: a quarter of the disk is 2,000 objects.
    let newest = kept(&larder, OBJECTS - 2000..OBJECTS);
    assert!(newest + dropped as usize >= 2000, "{newest} of the newest 2,000, {dropped} dropped");
    kept(&larder, 0..OBJECTS - 2000);
}

/// Only hits in memory, which do not look at the disk: its copies must not age away all the same.
#[test]
fn what_is_asked_for_outlives_a_disk_that_wraps_twice_and_kill_9() {
    const OBJECTS: usize = 10_000; // of a page of disk each, of 4,096
    let mut origin = Origin::new(|seen, reply| match seen.path() {
        "/varied" => {
            let body = format!("for {}", seen.header("x-a").unwrap_or_default());
            reply.ok(&["cache-control: max-age=6000", "vary: X-A"], body);
        }
        path => reply.ok(STORED, noise(1000, path.len() as u64)),
    });
    let setup = Setup::new(&origin.url())
        .env("LARDER_CACHE__DISK", "16MiB")
        .env("LARDER_CACHE__MEMORY", "8MiB");
    let larder = setup.start_with_disk();
    let mut client = larder.connect();
    let varied = Ask::get("/varied").with("X-A", "1");
    for ask in [&Ask::get("/hot"), &varied, &Ask::get("/cold")] {
        client.ask(ask).expect(200);
    }
    for n in 0..OBJECTS {
        client.ask(&Ask::get(&format!("/{n}"))).expect(200);
        if n % 50 == 0 {
            assert!(client.ask(&Ask::get("/hot")).was_hit(), "{n}");
            assert!(client.ask(&varied).was_hit(), "{n}");
        }
    }
    let metrics = larder.metrics();
    assert_eq!(metrics.count("larder_disk_reads_total", &[]), 0);
    let rewritten = metrics.count("larder_disk_rewritten_total", &[]);
    assert!((6..60).contains(&rewritten), "{rewritten} of {OBJECTS}");
    await_writer(&larder, OBJECTS as u64);
    let larder = larder.kill_and_restart();
    origin.stop();
    assert!(larder.get("/hot").was_hit());
    assert_eq!(larder.ask(&varied).expect(200).text(), "for 1");
    assert!(!larder.get("/cold").was_hit());
}

/// Reading everything on a full disk once must not write it again.
#[test]
fn a_scan_of_a_full_disk_writes_next_to_nothing() {
    const OBJECTS: usize = 6_000;
    let mut origin = numbered();
    let setup = Setup::new(&origin.url())
        .env("LARDER_CACHE__DISK", "16MiB")
        .env("LARDER_CACHE__MEMORY", "4MiB");
    let larder = setup.start_with_disk();
    fetch_all(&larder, OBJECTS, 2);
    await_writer(&larder, OBJECTS as u64);
    let written = |larder: &Larder| {
        let metrics = larder.metrics();
        let rewritten = metrics.count("larder_disk_rewritten_total", &[]);
        (rewritten, metrics.count("larder_disk_io_bytes_total", &[("op", "write")]))
    };
    let before = written(&larder);
    origin.stop();
    // Right away, with all that may be written again to be spent, and after a restart.
    let there = kept(&larder, 0..OBJECTS) as u64;
    larder.await_all_on_disk();
    let after = written(&larder);
    println!("{there} there; rewritten, bytes written: {before:?}, then {after:?}");
    assert!(there > 2500, "{there}");
    assert!((after.0 - before.0) * 50 <= there, "rewritten: {before:?}, then {after:?}");
    assert!(after.1 - before.1 <= (16 << 20) / 50, "written: {before:?}, then {after:?}");
    let larder = larder.restart();
    assert!(kept(&larder, 0..OBJECTS) > 2500);
    assert_eq!(written(&larder), (0, 0));
}

/// An origin whose every answer is a new version, fresh for long.
fn versions() -> (Origin, Arc<AtomicUsize>) {
    let version = Arc::new(AtomicUsize::new(0));
    let next = Arc::clone(&version);
    let origin = Origin::new(move |_, reply| {
        let version = next.fetch_add(1, Ordering::SeqCst) + 1;
        reply.ok(&["cache-control: max-age=6000"], version.to_string());
    });
    (origin, version)
}

#[test]
fn an_update_and_kill_9_never_bring_the_older_copy_back() {
    let rounds = if crate::support::long() { 50 } else { 6 };
    let (origin, _) = versions();
    let setup = Setup::new(&origin.url()).config("[cache]\nclient_directives = \"honour\"\n");
    let mut larder = setup.start_with_disk();
    for round in 0..rounds {
        let first: usize = larder.get("/").expect(200).text().parse().expect("a number");
        within(SOON / 10, || larder.on_disk() >= 1);
        let updated = match round % 3 {
            0 => larder.ask(&Ask::get("/").with("Cache-Control", "no-cache")),
            1 => {
                larder.ask(&Ask::post("/", "x")).expect(200);
                larder.get("/")
            }
            _ => {
                larder.admin_post("/api/purge", "{\"url\": \"/\"}").expect(200);
                larder.get("/")
            }
        };
        let served: usize = updated.expect(200).text().parse().expect("a number");
        assert!(served > first, "round {round}");
        larder = larder.kill_and_restart();
        let after: usize = larder.get("/").expect(200).text().parse().expect("a number");
        assert!(after >= served, "round {round}: {after} came back after {served}");
    }
}

#[test]
fn an_invalidation_and_kill_9_never_bring_it_back() {
    let (origin, _) = versions();
    let setup = Setup::new(&origin.url());
    let larder = setup.start_with_disk();
    larder.get("/").expect(200);
    larder.await_on_disk(1);
    larder.ask(&Ask::post("/", "x")).expect(200);
    let larder = larder.kill_and_restart();
    let after = larder.get("/").expect(200);
    assert!(!after.was_hit(), "{after:?}");
}

/// What the disk's writer has no time for stays away; what it replaced must not come back.
#[test]
fn an_update_that_the_disk_dropped_and_kill_9_never_bring_the_older_copy_back() {
    let version = Arc::new(AtomicUsize::new(0));
    let next = Arc::clone(&version);
    let origin = Origin::new(move |seen, reply| {
        if seen.path().starts_with("/load") {
            return reply.ok(&["cache-control: max-age=6000"], noise(200_000, 3));
        }
        let version = next.fetch_add(1, Ordering::SeqCst) + 1;
        reply.ok(&["cache-control: max-age=6000"], version.to_string());
    });
    let config = "[cache]\nclient_directives = \"honour\"\nstore_wait = \"0s\"\n";
    let setup = Setup::new(&origin.url()).config(config).env("LARDER_CACHE__MEMORY", "8MiB");
    let mut larder = setup.start_with_disk();
    let mut dropped = 0;
    for round in 0..4 {
        larder.get("/").expect(200);
        within(SOON / 10, || larder.on_disk() >= 1);
        let stop = AtomicBool::new(false);
        let served = thread::scope(|scope| {
            for n in 0..6 {
                let (stop, mut client) = (&stop, larder.connect());
                scope.spawn(move || {
                    for m in 0.. {
                        if stop.load(Ordering::SeqCst) {
                            break;
                        }
                        client.ask(&Ask::get(&format!("/load/{round}/{n}/{m}"))).expect(200);
                    }
                });
            }
            let drops = || larder.metrics().count("larder_disk_drops_total", &[]);
            let mut served = 0;
            for _ in 0..100 {
                let before = drops();
                let update = larder.ask(&Ask::get("/").with("Cache-Control", "no-cache"));
                served = update.expect(200).text().parse().expect("a number");
                if drops() > before + 5 {
                    break; // all around it was dropped
                }
            }
            dropped += drops();
            stop.store(true, Ordering::SeqCst);
            served
        });
        larder = larder.kill_and_restart();
        let after: usize = larder.get("/").expect(200).text().parse().expect("a number");
        assert!(after >= served, "round {round}: {after} came back after {served}");
    }
    assert!(dropped > 20, "{dropped} dropped: there was no overflow");
}

/// foyer's own log of what was deleted forgets beyond a page of it (256): it is not relied upon.
#[test]
fn three_hundred_purges_hold_over_two_restarts() {
    const OBJECTS: usize = 330;
    let mut origin = numbered();
    let larder = Setup::new(&origin.url()).start_with_disk();
    fetch_all(&larder, OBJECTS, 2);
    await_writer(&larder, OBJECTS as u64);
    for n in 0..300 {
        larder.admin_post("/api/purge", &format!("{{\"url\": \"/{n}\"}}")).expect(200);
    }
    origin.stop();
    let larder = larder.kill_and_restart();
    assert_eq!((kept(&larder, 0..300), kept(&larder, 300..OBJECTS)), (0, 30));
    let larder = larder.restart();
    assert_eq!((kept(&larder, 0..300), kept(&larder, 300..OBJECTS)), (0, 30));
}
