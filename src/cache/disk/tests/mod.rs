//! The disk tier with real files, in one process. Kills and restarts are in `tests/disk.rs`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Instant;

use super::*;

mod cap;
mod hot;

const MIB: u64 = 1 << 20;

fn open(dir: &std::path::Path, capacity: u64) -> (Disk, Arc<Metrics>) {
    open_with(DiskConfig::new(dir, capacity))
}

fn open_with(config: DiskConfig) -> (Disk, Arc<Metrics>) {
    let metrics = Metrics::new(1);
    (Disk::open(config, metrics.clone(), &tokio::runtime::Handle::current()), metrics)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "in vain: {what}");
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

async fn put(disk: &Disk, key: &str, value: &[u8]) -> Put {
    disk.put(Bytes::copy_from_slice(key.as_bytes()), Bytes::copy_from_slice(value), None).await
}

/// What the callbacks said, by [yes, no].
fn ear() -> (Arc<[AtomicUsize; 2]>, impl Fn() -> Option<OnDisk>) {
    let heard: Arc<[AtomicUsize; 2]> = Arc::default();
    let make = heard.clone();
    (heard, move || {
        let heard = make.clone();
        Some(Box::new(move |yes: bool| {
            heard[usize::from(!yes)].fetch_add(1, Ordering::SeqCst);
        }) as OnDisk)
    })
}

fn counts(heard: &[AtomicUsize; 2]) -> (usize, usize) {
    (heard[0].load(Ordering::SeqCst), heard[1].load(Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_found_before_and_after_it_is_written_and_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, metrics) = open(dir.path(), 16 * MIB);
    // At once: it waits for the recovery.
    assert_eq!(put(&disk, "a", b"1").await, Put::Queued);
    assert_eq!(load(&disk, b"a").await.unwrap(), "1");
    assert!(disk.may_contain(b"a"));
    ready(&disk).await;
    disk.flush().await;
    assert_eq!(metrics.disk.written.get(), 1);
    assert_eq!(load(&disk, b"a").await.unwrap(), "1");
    assert_eq!(load(&disk, b"b").await, None);
    assert!(!disk.may_contain(b"b"));
    assert_eq!((disk.objects(), disk.bytes()), (1, 4096));
    disk.close(Duration::from_secs(5)).await;
    assert_eq!(put(&disk, "c", b"3").await, Put::Off);
    assert_eq!(load(&disk, b"a").await, None);

    let (disk, _) = open(dir.path(), 16 * MIB);
    ready(&disk).await;
    assert_eq!(load(&disk, b"a").await.unwrap(), "1");
    assert_eq!((disk.objects(), disk.bytes()), (1, 4096));
    disk.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_wins_and_deletes_hold() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, _) = open(dir.path(), 16 * MIB);
    ready(&disk).await;
    let (heard, ear) = ear();
    for n in 0..200_u32 {
        let value = Bytes::copy_from_slice(&n.to_le_bytes());
        assert_eq!(disk.put(Bytes::from_static(b"k"), value.clone(), ear()).await, Put::Queued);
        assert_eq!(load(&disk, b"k").await.unwrap(), value);
        if n % 7 == 0 {
            disk.delete(b"k");
            assert_eq!(load(&disk, b"k").await, None, "{n}");
            assert!(!disk.may_contain(b"k"));
        }
        if n % 11 == 0 {
            disk.flush().await;
            let now = load(&disk, b"k").await;
            assert_eq!(now, (n % 7 != 0).then_some(value), "{n}");
        }
    }
    disk.flush().await;
    assert_eq!(load(&disk, b"k").await.unwrap(), 199_u32.to_le_bytes().as_slice());
    let (yes, no) = counts(&heard);
    assert_eq!(yes + no, 200, "everybody was told once");
    assert!(yes > 0 && no > 0);
    disk.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_is_refused_and_takes_the_older_copy_along() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, metrics) = open(dir.path(), 16 * MIB);
    ready(&disk).await;
    let largest = vec![7; disk.max_value()];
    assert_eq!(put(&disk, "k", &largest).await, Put::Queued);
    disk.flush().await;
    assert_eq!(metrics.disk.written.get(), 1);
    assert_eq!(load(&disk, b"k").await.unwrap(), largest);
    let (heard, ear) = ear();
    let larger = Bytes::from(vec![7; disk.max_value() + 4096]);
    assert_eq!(disk.put(Bytes::from_static(b"k"), larger, ear()).await, Put::TooLarge);
    assert_eq!(counts(&heard), (0, 1));
    assert_eq!(metrics.disk.dropped_too_large.get(), 1);
    assert_eq!(load(&disk, b"k").await, None);
    disk.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_is_written_or_counted() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        DiskConfig { store_wait: Duration::ZERO, ..DiskConfig::new(dir.path(), 256 * MIB) };
    let (disk, metrics) = open_with(config);
    ready(&disk).await;
    let (heard, ear) = ear();
    let mut behind = 0;
    for n in 0..100_u32 {
        let value = Bytes::from(vec![n as u8; 1 << 20]);
        match disk.put(Bytes::from(format!("k{n}")), value, ear()).await {
            Put::Queued => {}
            Put::Behind => behind += 1,
            other => panic!("{other:?}"),
        }
    }
    disk.flush().await;
    let (yes, no) = counts(&heard);
    assert_eq!((yes + no, no as u64), (100, behind));
    assert_eq!(metrics.disk.dropped_behind.get(), behind);
    assert_eq!(metrics.disk.written.get(), yes as u64);
    assert_eq!(metrics.disk.overflows(), 0);
    assert_eq!(metrics.disk.pending_bytes.get(), 0);
    let mut found = 0;
    for n in 0..100_u32 {
        if let Some(value) = load(&disk, format!("k{n}").as_bytes()).await {
            assert!(value.len() == 1 << 20 && value.iter().all(|b| *b == n as u8));
            found += 1;
        }
    }
    assert_eq!(found, yes);
    disk.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_one_runs_off_and_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let (first, _) = open(dir.path(), 16 * MIB);
    ready(&first).await;
    let _ = put(&first, "a", b"1").await;
    first.flush().await;
    let (second, metrics) = open(dir.path(), 16 * MIB);
    until("off", || second.state() == DiskState::Off).await;
    assert!(second.reason().unwrap().contains("another process"));
    assert_eq!(put(&second, "a", b"2").await, Put::Off);
    assert_eq!(load(&second, b"a").await, None);
    assert_eq!(metrics.disk.failures.get(), 0);
    first.close(Duration::from_secs(5)).await;
    ready(&second).await;
    // It was told of a newer one that it could not keep: the older one must not come back.
    assert_eq!(load(&second, b"a").await, None);
    second.close(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_hundred_lookups_at_once_are_one_read() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, _) = open(dir.path(), 16 * MIB);
    let value = vec![7; 100_000];
    let _ = put(&disk, "a", &value).await;
    disk.flush().await;
    disk.close(Duration::from_secs(5)).await;
    let (disk, metrics) = open(dir.path(), 16 * MIB);
    ready(&disk).await;
    for round in 1..=3 {
        let lookup = || Box::pin(disk.load(b"a", || false));
        let mut lookups: Vec<_> = std::iter::repeat_with(lookup).take(100).collect();
        let mut copies = Vec::new();
        // All ask before the first has its answer, or while it still has it.
        std::future::poll_fn(|cx| {
            lookups.retain_mut(|lookup| match lookup.as_mut().poll(cx) {
                Poll::Ready(copy) => {
                    copies.push(copy);
                    false
                }
                Poll::Pending => true,
            });
            Poll::Ready(())
        })
        .await;
        for lookup in lookups {
            copies.push(lookup.await);
        }
        assert!(copies.iter().flatten().filter(|copy| copy.value == value).count() == 100);
        assert_eq!(metrics.disk.reads.get(), round);
    }
    assert_eq!(load(&disk, b"b").await, None);
    assert_eq!(metrics.disk.reads.get(), 3, "what the index does not know is not read");
    assert_eq!(metrics.disk.hits.get(), 300);
    assert!(metrics.disk.io_read_bytes.get() >= 3 * 100_000, "foyer's own counter");
    disk.close(Duration::from_secs(5)).await;
}

/// Changes are counted for several keys together: those of others must not make a miss.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_stored_is_found_while_much_else_changes() {
    const OVER: usize = usize::MAX;
    let dir = tempfile::tempdir().unwrap();
    let (disk, _) = open(dir.path(), 64 * MIB);
    ready(&disk).await;
    assert_eq!(put(&disk, "kept", b"value").await, Put::Queued);
    disk.flush().await;
    // As much as a fast writer changes during one read: more, as when the machine stops the reader
    // for long, and nothing would be left to tell its change from others'.
    let one_less = |left: usize| (1..OVER).contains(&left).then(|| left - 1);
    let allowed = Arc::new(AtomicUsize::new(0));
    let (other, left) = (disk.clone(), allowed.clone());
    let busy = std::thread::spawn(move || {
        let mut changes = 0_u64;
        loop {
            match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less) {
                Ok(_) => {
                    other.delete(&changes.to_le_bytes());
                    changes += 1;
                }
                Err(0) => std::thread::yield_now(),
                Err(_) => return changes,
            }
        }
    });
    let mut missed = 0;
    for _ in 0..3000 {
        allowed.store(300, Ordering::Relaxed);
        missed += usize::from(load(&disk, b"kept").await.is_none());
    }
    allowed.store(OVER, Ordering::Relaxed);
    let changes = busy.join().unwrap();
    assert!(changes > 3000, "{changes} changes meanwhile");
    assert_eq!(missed, 0, "of 3000 while {changes} others changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn deletes_during_recovery_hold() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, _) = open(dir.path(), 16 * MIB);
    for n in 0..500 {
        assert_eq!(put(&disk, &format!("k{n}"), b"old").await, Put::Queued);
    }
    disk.flush().await;
    disk.close(Duration::from_secs(5)).await;
    let (disk, _) = open(dir.path(), 16 * MIB);
    for n in 0..500 {
        match n % 3 {
            0 => disk.delete(format!("k{n}").as_bytes()),
            1 => assert_eq!(put(&disk, &format!("k{n}"), b"new").await, Put::Queued),
            _ => {}
        }
    }
    ready(&disk).await;
    disk.flush().await;
    for n in 0..500 {
        let found = load(&disk, format!("k{n}").as_bytes()).await;
        let wanted = [None, Some("new"), Some("old")][n % 3];
        assert_eq!(found.as_deref(), wanted.map(str::as_bytes), "k{n}");
    }
    disk.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_and_writers_of_the_same_keys_never_go_back() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, metrics) = open(dir.path(), 8 * MIB);
    ready(&disk).await;
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let latest: Arc<[AtomicU32; 8]> = Arc::default();
    let mut tasks = Vec::new();
    for key in 0..8_usize {
        let (disk, latest, stop) = (disk.clone(), latest.clone(), stop.clone());
        tasks.push(tokio::spawn(async move {
            for n in 1..=400_u32 {
                let mut value = vec![0; 5000];
                value[..4].copy_from_slice(&n.to_le_bytes());
                let _ = disk.put(Bytes::from(format!("k{key}")), value.into(), None).await;
                latest[key].store(n, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
            stop.store(true, Ordering::SeqCst);
        }));
    }
    for reader in 0..4_usize {
        let (disk, latest, stop) = (disk.clone(), latest.clone(), stop.clone());
        tasks.push(tokio::spawn(async move {
            let mut key = reader;
            while !stop.load(Ordering::SeqCst) {
                key = (key + 3) % 8;
                let at_least = latest[key].load(Ordering::SeqCst);
                if let Some(value) = load(&disk, format!("k{key}").as_bytes()).await {
                    let n = u32::from_le_bytes(value[..4].try_into().unwrap());
                    assert!(n >= at_least, "k{key}: {n} after {at_least}");
                }
                tokio::task::yield_now().await; // what waits is found without waiting
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(metrics.disk.corrupt.get(), 0);
    disk.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_quick_closes_under_load_end_in_time() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..50_u64 {
        let (disk, _) = open(dir.path(), 16 * MIB);
        if round % 3 != 0 {
            ready(&disk).await;
        }
        let load: Vec<_> = (0..4)
            .map(|task| {
                let disk = disk.clone();
                tokio::spawn(async move {
                    for n in 0.. {
                        let key = Bytes::from(format!("{task}/{}", n % 50));
                        let _ = load(&disk, &key).await;
                        match disk.put(key, Bytes::from(vec![1; 9000]), None).await {
                            Put::Off => return,
                            _ => tokio::task::yield_now().await,
                        }
                    }
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(round % 10)).await;
        let began = Instant::now();
        disk.close(Duration::from_secs(10)).await;
        assert!(began.elapsed() < Duration::from_secs(9), "round {round}: {:?}", began.elapsed());
        assert!(*disk.shared.as_ref().unwrap().ended.borrow(), "round {round}");
        for task in load {
            task.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_room_takes_no_newer_ones_place() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        DiskConfig { store_wait: Duration::from_secs(30), ..DiskConfig::new(dir.path(), 64 * MIB) };
    let (disk, _) = open_with(config);
    ready(&disk).await;
    let large = Bytes::from(vec![7; disk.max_value()]);
    let mut waited = 0;
    while waited < 3 {
        let mut late = Box::pin(disk.put(Bytes::from_static(b"k"), large.clone(), None));
        let polled = std::future::poll_fn(|cx| Poll::Ready(late.as_mut().poll(cx))).await;
        if polled.is_pending() {
            disk.delete(b"k");
            assert_eq!(late.await, Put::Outdated);
            assert_eq!(load(&disk, b"k").await, None);
            waited += 1;
        }
    }
    disk.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_sizes_and_no_disk_are_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, _) = open(dir.path(), 0);
    assert_eq!(disk.state(), DiskState::Off);
    let (disk, _) =
        open_with(DiskConfig { block_size: Some(3), ..DiskConfig::new(dir.path(), 16 * MIB) });
    assert_eq!(disk.state(), DiskState::Off);
    let off = Disk::off();
    assert_eq!(put(&off, "a", b"1").await, Put::Off);
    assert_eq!(load(&off, b"a").await, None);
    off.delete(b"a");
    off.flush().await;
    off.close(Duration::from_secs(1)).await;
    for capacity in [512 << 10, 1_000_001, 5 * MIB + 17] {
        let dir = tempfile::tempdir().unwrap();
        let (disk, metrics) = open(dir.path(), capacity);
        ready(&disk).await;
        let mut queued = 0;
        for n in 0..600 {
            match put(&disk, &format!("k{n}"), &[1; 2000]).await {
                Put::Queued => queued += 1,
                // On a busy machine, after a quarter of a second; and counted.
                other => assert_eq!(other, Put::Behind),
            }
        }
        disk.flush().await;
        assert_eq!(metrics.disk.dropped_behind.get(), 600 - queued, "{capacity}");
        assert_eq!(metrics.disk.written.get(), queued, "{capacity}");
        assert_eq!(put(&disk, "last", &[1; 2000]).await, Put::Queued);
        disk.flush().await;
        assert!(load(&disk, b"last").await.is_some());
        disk.close(Duration::from_secs(5)).await;
    }
}
