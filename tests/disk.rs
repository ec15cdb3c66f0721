//! The disk tier over kills, full disks and damage: real processes, real files.
//!
//! A test runs this same program again as a child (`LARDER_DISK_CHILD` names what it does); the
//! child prints what the writer acknowledged, and is killed while it works.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use larder::cache::disk::{Disk, DiskConfig, DiskState, Put};
use larder::observe::metrics::Metrics;

#[path = "support/mount.rs"]
#[expect(unreachable_pub, reason = "the black-box tests use it, too")]
mod mount;

use mount::Mount;

const MIB: u64 = 1 << 20;
const CHILD: &str = "LARDER_DISK_CHILD";
const WAIT: Duration = Duration::from_mins(1);

fn config(dir: &Path, capacity: u64) -> DiskConfig {
    DiskConfig { store_wait: Duration::from_secs(30), ..DiskConfig::new(dir, capacity) }
}

fn open(config: DiskConfig) -> (Disk, Arc<Metrics>) {
    let metrics = Metrics::new(1);
    (Disk::open(config, metrics.clone(), &tokio::runtime::Handle::current()), metrics)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < WAIT, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// What is stored under `key`.
async fn load(disk: &Disk, key: &[u8]) -> Option<Bytes> {
    disk.load(key, || false).await.map(|copy| copy.value)
}

async fn ready(disk: &Disk) {
    until("ready", || disk.state() == DiskState::Ready).await;
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap()
}

/// Bytes that follow from key and version, so that any other ones show.
fn value(key: u64, version: u64, len: usize) -> Bytes {
    let mut state = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ version ^ 0x5bd1_e995;
    let mut bytes = Vec::with_capacity(len + 16);
    bytes.extend_from_slice(&key.to_le_bytes());
    bytes.extend_from_slice(&version.to_le_bytes());
    while bytes.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(len.max(16));
    bytes.into()
}

/// The version of a value read, if it is one of ours, whole.
fn version_of(key: u64, bytes: &[u8]) -> u64 {
    let version = u64::from_le_bytes(bytes[8..16].try_into().unwrap());
    assert_eq!(bytes, &value(key, version, bytes.len())[..], "key {key}: wrong bytes");
    version
}

/// Numbers below a bound, the same for the same `LARDER_SEED`, which is printed.
fn seeded() -> impl FnMut(usize) -> usize {
    let seed = std::env::var("LARDER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| u64::from(std::process::id()) * 7_919);
    println!("LARDER_SEED={seed}");
    let mut state = seed | 1;
    move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    }
}

/// Whether the long forms of the tests are asked for.
fn long() -> bool {
    std::env::var_os("LARDER_TEST_LONG").is_some_and(|v| v != "0" && !v.is_empty())
}

fn name(key: u64) -> Bytes {
    Bytes::from(format!("http://example.com/{key}"))
}

/// The child's work: `what dir capacity count size max_objects` (0: as many as fit).
fn be_the_child(task: &str) {
    let words: Vec<&str> = task.split(' ').collect();
    let number = |n: usize| words[n].parse::<u64>().unwrap();
    let (dir, capacity, count) = (words[1], number(2), number(3));
    let size = usize::try_from(number(4)).unwrap();
    let updates = words[0] == "update";
    let runtime = runtime();
    let max_objects = Some(number(5)).filter(|max| *max > 0);
    let config = DiskConfig { max_objects, ..config(Path::new(dir), capacity) };
    let (disk, metrics) = runtime.block_on(async { open(config) });
    runtime.block_on(ready(&disk));
    let next = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..4_u64)
        .map(|thread| {
            let (disk, next, handle) = (disk.clone(), next.clone(), runtime.handle().clone());
            std::thread::spawn(move || {
                handle.block_on(async {
                    let mut turn = 0;
                    loop {
                        let n = next.fetch_add(1, Ordering::Relaxed);
                        if n >= count {
                            return;
                        }
                        turn += 1;
                        // Updates: each thread has 64 keys of its own, so that versions go up.
                        let (key, version) =
                            if updates { (thread * 64 + turn % 64, turn) } else { (n, 0) };
                        let told = Box::new(move |yes: bool| {
                            if yes {
                                // One write a line: a kill cuts no line in two.
                                let line = format!("{key} {version}\n");
                                let _ = std::io::stdout().write_all(line.as_bytes());
                            }
                        });
                        let put = disk.put(name(key), value(key, version, size), Some(told)).await;
                        assert_eq!(put, Put::Queued);
                        if updates {
                            // Old copies are written again when they are asked for.
                            for other in [key ^ 1, key ^ 1, n % 256] {
                                let _ = load(&disk, &name(other)).await;
                            }
                        }
                    }
                });
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    runtime.block_on(disk.flush());
    assert_eq!(metrics.disk.dropped_behind.get() + metrics.disk.overflows(), 0);
    println!("all");
    loop {
        std::thread::park();
    }
}

/// Runs when this program is a child, and does nothing otherwise.
#[test]
fn child() {
    if let Ok(task) = std::env::var(CHILD) {
        be_the_child(&task);
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill(); // SIGKILL
        let _ = self.0.wait();
    }
}

/// Starts a child, kills it after `lines` acknowledgements (or all), and returns those, in order.
fn acknowledged(task: &str, lines: usize) -> Vec<(u64, u64)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, task)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let mut child = Killed(child);
    let mut seen = Vec::new();
    let mut killed = false;
    // To the end: what was written to the pipe before the kill was acknowledged, too.
    for line in BufReader::new(stdout).lines() {
        let Ok(line) = line else { break };
        let mut words = line.split(' ').map(str::parse::<u64>);
        if let (Some(Ok(key)), Some(Ok(version)), None) = (words.next(), words.next(), words.next())
        {
            seen.push((key, version));
        }
        if !killed && (seen.len() >= lines || line == "all") {
            child.0.kill().unwrap();
            killed = true;
        }
    }
    assert!(killed, "the child ended by itself");
    seen
}

#[test]
fn every_acknowledged_object_survives_a_kill() {
    let mut random = seeded();
    let mut moments = vec![20_000, 7_000];
    if long() {
        moments.extend((0..10).map(|_| 100 + random(19_000)));
    }
    for lines in moments {
        let dir = tempfile::tempdir().unwrap();
        let task = format!("store {} {} 20000 4000 0", dir.path().display(), 256 * MIB);
        let seen = acknowledged(&task, lines);
        assert!(seen.len() >= lines);
        runtime().block_on(async {
            let (disk, metrics) = open(config(dir.path(), 256 * MIB));
            ready(&disk).await;
            for (key, _) in &seen {
                let found = load(&disk, &name(*key)).await;
                version_of(*key, &found.unwrap_or_else(|| panic!("{key} is gone")));
            }
            assert_eq!(metrics.disk.corrupt.get(), 0);
            disk.close(WAIT).await;
        });
    }
}

/// What was acknowledged last is there: everything that lies in the last (capacity - 2 blocks)
/// bytes written. Two blocks: one is kept clean, one is only begun.
#[test]
fn after_wrapping_twice_the_youngest_survive() {
    let dir = tempfile::tempdir().unwrap();
    let (capacity, block) = (32 * MIB, 4 * MIB);
    let task = format!("store {} {capacity} 20000 4000 0", dir.path().display());
    let seen = acknowledged(&task, 18_000);
    // 4000 bytes take a page each, 170 of them an index page, and a block's tail may stay empty.
    // What was on its way when the kill came (up to a batch) takes its place, too.
    let batch = block / 2;
    let safe = usize::try_from((capacity - 2 * block - batch) / 4096 * 165 / 170).unwrap();
    runtime().block_on(async {
        // Reading must not move anything.
        let (disk, metrics) = open(DiskConfig { keep_hot: false, ..config(dir.path(), capacity) });
        ready(&disk).await;
        let mut found = 0;
        for (age, (key, _)) in seen.iter().rev().enumerate() {
            match load(&disk, &name(*key)).await {
                Some(bytes) => {
                    version_of(*key, &bytes);
                    found += 1;
                }
                None => assert!(age >= safe, "{key}, the {age}th youngest of {safe}, is gone"),
            }
        }
        assert!(found < seen.len(), "it did not wrap");
        assert_eq!(metrics.disk.corrupt.get(), 0);
        // And it still takes stores: recovery left a clean block.
        for key in 100_000..104_000 {
            assert_eq!(disk.put(name(key), value(key, 1, 4000), None).await, Put::Queued);
        }
        disk.flush().await;
        assert_eq!(metrics.disk.written.get(), 4_000);
        disk.close(WAIT).await;
    });
}

/// Killed while the oldest blocks are emptied, which goes on all the time.
#[test]
fn with_a_bound_on_entries_the_youngest_survive_a_kill() {
    const MAX: usize = 3_000;
    let mut random = seeded();
    for _ in 0..if long() { 20 } else { 3 } {
        let dir = tempfile::tempdir().unwrap();
        let task = format!("store {} {} 20000 2000 {MAX}", dir.path().display(), 16 * MIB);
        let lines = 8_000 + random(10_000);
        let seen = acknowledged(&task, lines);
        let config = DiskConfig {
            max_objects: Some(MAX as u64),
            keep_hot: false,
            ..config(dir.path(), 16 * MIB)
        };
        runtime().block_on(async {
            let (disk, metrics) = open(config);
            ready(&disk).await;
            assert!(disk.objects() <= MAX as u64, "{}", disk.objects());
            // A block of 2 MiB goes at a time, 512 of them at most, and a batch of 256 may have been
            // written that was not acknowledged.
            for (age, (key, _)) in seen.iter().rev().enumerate() {
                match load(&disk, &name(*key)).await {
                    Some(bytes) => drop(version_of(*key, &bytes)),
                    None => assert!(age + 512 + 256 >= MAX, "killed at {lines}: {key}, {age}"),
                }
            }
            assert_eq!(metrics.disk.corrupt.get(), 0);
            disk.close(WAIT).await;
        });
    }
}

#[test]
fn an_older_copy_never_comes_back() {
    // Killed at different moments; the small disk wraps many times, or there are too many entries
    // for it to do so.
    let mut random = seeded();
    let mut moments = vec![(900, 0), (5_000, 0), (12_000, 200), (17_000, 0)];
    if long() {
        moments.extend((0..30).map(|n| (100 + random(17_000), [0, 150, 300][n % 3])));
    }
    for (lines, max) in moments {
        let dir = tempfile::tempdir().unwrap();
        let task = format!("update {} {} 40000 9000 {max}", dir.path().display(), 8 * MIB);
        let seen = acknowledged(&task, lines);
        let mut newest: HashMap<u64, u64> = HashMap::new();
        for (key, version) in seen {
            let known = newest.entry(key).or_default();
            *known = version.max(*known);
        }
        runtime().block_on(async {
            let (disk, _) = open(config(dir.path(), 8 * MIB));
            ready(&disk).await;
            let mut found = 0;
            for (key, version) in &newest {
                if let Some(bytes) = load(&disk, &name(*key)).await {
                    let got = version_of(*key, &bytes);
                    assert!(got >= *version, "killed at {lines}, key {key}: {got} after {version}");
                    found += 1;
                }
            }
            assert!(found > 0);
            disk.close(WAIT).await;
        });
    }
}

#[test]
fn a_burst_of_large_values_is_all_there() {
    let dir = tempfile::tempdir().unwrap();
    let task = format!("store {} {} 120 {MIB} 0", dir.path().display(), 256 * MIB);
    let seen = acknowledged(&task, 120);
    assert_eq!(seen.len(), 120, "the child makes sure that nothing was dropped");
    runtime().block_on(async {
        let (disk, _) = open(config(dir.path(), 256 * MIB));
        ready(&disk).await;
        for (key, _) in seen {
            version_of(key, &load(&disk, &name(key)).await.expect("acknowledged"));
        }
        disk.close(WAIT).await;
    });
}

#[test]
fn changed_sizes_between_openings_are_handled() {
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let sizes = [
            (32 * MIB, None, 0),
            (64 * MIB, Some(4 * MIB), 1000), // grown, with blocks as before: all is kept
            (16 * MIB, None, 0),
            (16 * MIB, Some(MIB), 0),
            (16 * MIB, Some(MIB), 1000),
        ];
        for (capacity, block_size, kept) in sizes {
            let (disk, metrics) = open(DiskConfig { block_size, ..config(dir.path(), capacity) });
            ready(&disk).await;
            let mut found = 0;
            for key in 0..1000 {
                if let Some(bytes) = load(&disk, &name(key)).await {
                    version_of(key, &bytes);
                    found += 1;
                }
            }
            assert_eq!(found, kept, "{capacity} {block_size:?}");
            for key in 0..1000 {
                assert_eq!(disk.put(name(key), value(key, 1, 3000), None).await, Put::Queued);
            }
            disk.flush().await;
            assert!(metrics.disk.written.get() >= 1000);
            disk.close(WAIT).await;
            let files = std::fs::read_dir(dir.path().join("blocks")).unwrap();
            let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
            assert_eq!(bytes, capacity);
        }
    });
}

#[test]
fn a_damaged_disk_never_gives_a_wrong_value() {
    let mut random = seeded();
    let dir = tempfile::tempdir().unwrap();
    runtime().block_on(async {
        let (mut gone, mut corrupt) = (0, 0);
        for round in 0..8 {
            let (disk, metrics) = open(config(dir.path(), 16 * MIB));
            ready(&disk).await;
            for key in 0..1000 {
                let len = 100 + (usize::try_from(key).unwrap() * 37) % 9000;
                assert_eq!(disk.put(name(key), value(key, round, len), None).await, Put::Queued);
            }
            disk.flush().await;
            // Half the rounds damage it while it is open, the others before it is opened.
            if round % 2 == 0 {
                disk.close(WAIT).await;
            }
            for entry in std::fs::read_dir(dir.path().join("blocks")).unwrap() {
                let path = entry.unwrap().path();
                let mut bytes = std::fs::read(&path).unwrap();
                for _ in 0..400 {
                    let at = random(bytes.len());
                    bytes[at] ^= 1 << random(8);
                }
                if round >= 4 {
                    bytes[random(4096)] ^= 0xff; // an index page, too
                }
                std::fs::write(&path, &bytes).unwrap();
            }
            let (disk, metrics) = if round % 2 == 0 {
                let opened = open(config(dir.path(), 16 * MIB));
                ready(&opened.0).await;
                opened
            } else {
                (disk, metrics)
            };
            for key in 0..1000 {
                match load(&disk, &name(key)).await {
                    Some(bytes) => drop(version_of(key, &bytes)),
                    None => gone += 1,
                }
            }
            corrupt += metrics.disk.corrupt.get();
            disk.close(WAIT).await;
        }
        assert!(gone > 100 && corrupt > 100, "{gone} gone, {corrupt} found corrupt");
    });
}

#[test]
fn a_full_disk_takes_the_tier_out_until_there_is_room() {
    let Some(mount) = Mount::new("size=24m") else { return };
    let dir = mount.path();
    let ballast = dir.join("ballast");
    std::fs::write(&ballast, vec![1; 8 << 20]).unwrap();
    runtime().block_on(async {
        let (disk, metrics) = open(config(&dir.join("cache"), 64 * MIB));
        ready(&disk).await;
        let acknowledged: Arc<std::sync::Mutex<Vec<u64>>> = Arc::default();
        let told = Arc::new(AtomicU64::new(0));
        let mut put = 0;
        for key in 0..4000 {
            let (list, told) = (acknowledged.clone(), told.clone());
            let tell = Box::new(move |yes: bool| {
                told.fetch_add(1, Ordering::SeqCst);
                if yes {
                    list.lock().unwrap().push(key);
                }
            });
            put += 1;
            if disk.put(name(key), value(key, 1, 9000), Some(tell)).await == Put::Off {
                break;
            }
        }
        until("failed", || disk.state() == DiskState::Failed).await;
        assert!(metrics.disk.write_errors.get() > 0);
        assert_eq!((metrics.disk.failures.get(), metrics.disk.ready.get()), (1, 0));
        until("all told", || told.load(Ordering::SeqCst) == put).await;
        assert!(disk.reason().unwrap().contains("No space"), "{:?}", disk.reason());
        // Stored while it is out: what the disk has of it is old.
        let first = acknowledged.lock().unwrap()[0];
        assert_eq!(disk.put(name(first), value(first, 2, 100), None).await, Put::Off);
        assert_eq!(load(&disk, &name(first)).await, None);

        std::fs::remove_file(&ballast).unwrap();
        ready(&disk).await;
        assert_eq!(metrics.disk.failures.get(), 1);
        assert_eq!(load(&disk, &name(first)).await, None, "an older copy came back");
        let keys = acknowledged.lock().unwrap().clone();
        for key in &keys[1..] {
            let bytes = load(&disk, &name(*key)).await;
            version_of(*key, &bytes.unwrap_or_else(|| panic!("{key} is gone")));
        }
        assert_eq!(disk.put(name(9_999), value(9_999, 1, 9000), None).await, Put::Queued);
        disk.flush().await;
        assert!(load(&disk, &name(9_999)).await.is_some());
        disk.close(WAIT).await;
    });
}

#[test]
fn a_directory_that_cannot_be_written_is_no_disk_until_it_can() {
    let Some(mount) = Mount::new("size=8m") else { return };
    mount.remount("remount,ro");
    runtime().block_on(async {
        let (disk, metrics) = open(config(mount.path(), 4 * MIB));
        until("failed", || disk.state() == DiskState::Failed).await;
        assert!(disk.reason().unwrap().contains("Read-only"), "{:?}", disk.reason());
        assert_eq!(disk.put(name(1), value(1, 1, 100), None).await, Put::Off);
        assert_eq!((metrics.disk.failures.get(), metrics.disk.ready.get()), (1, 0));
        mount.remount("remount,rw");
        ready(&disk).await;
        assert_eq!(disk.put(name(1), value(1, 1, 100), None).await, Put::Queued);
        disk.flush().await;
        assert_eq!(metrics.disk.written.get(), 1);
        disk.close(WAIT).await;
    });
}
