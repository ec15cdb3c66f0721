//! What is asked for stays; reading everything once moves nothing.

use super::*;

const KEYS: u32 = 1100;

fn key(n: u32) -> String {
    format!("k{n}")
}

/// A disk of 4 MiB that has wrapped, so that much may be written again.
async fn full(dir: &std::path::Path) -> (Disk, Arc<Metrics>) {
    let config =
        DiskConfig { store_wait: Duration::from_secs(30), ..DiskConfig::new(dir, 4 * MIB) };
    let (disk, metrics) = open_with(config);
    ready(&disk).await;
    for n in 0..KEYS {
        assert_eq!(put(&disk, &key(n), &[1; 3000]).await, Put::Queued);
    }
    disk.flush().await;
    assert!(disk.old_before() > 0, "it is nearly full");
    (disk, metrics)
}

async fn read_all(disk: &Disk) -> u64 {
    let mut there = 0;
    for n in 0..KEYS {
        there += u64::from(load(disk, key(n).as_bytes()).await.is_some());
        if n % 50 == 0 {
            disk.flush().await; // the writer is never too busy to write again
        }
    }
    disk.flush().await;
    there
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_a_full_disk_once_rewrites_next_to_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, metrics) = full(dir.path()).await;
    let before = metrics.disk.io_write_bytes.get();
    let there = read_all(&disk).await;
    assert!(there > 700, "{there}");
    let rewritten = metrics.disk.rewritten.get();
    assert!(rewritten * 50 <= there, "{rewritten} of {there}");
    let written = metrics.disk.io_write_bytes.get() - before;
    assert!(written <= 4 * MIB / 50, "{written} bytes");
    // Again and again: no more than a sixteenth of the disk, for nothing new was written.
    for _ in 0..3 {
        read_all(&disk).await;
    }
    let rewritten = metrics.disk.rewritten.get();
    assert!(rewritten > 0 && rewritten * 4096 <= 4 * MIB / 16, "{rewritten}");
    disk.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_reopening_reading_everything_rewrites_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, _) = full(dir.path()).await;
    disk.close(Duration::from_secs(5)).await;
    let (disk, metrics) = open(dir.path(), 4 * MIB);
    ready(&disk).await;
    let there = read_all(&disk).await;
    assert!(there > 700, "{there}");
    assert_eq!(metrics.disk.rewritten.get(), 0);
    assert_eq!(metrics.disk.io_write_bytes.get(), 0);
    disk.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_stays_when_the_disk_wraps() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, metrics) = open(dir.path(), 4 * MIB);
    ready(&disk).await;
    let _ = put(&disk, "hot", b"hot").await;
    let _ = put(&disk, "cold", b"cold").await;
    // Three times round.
    for n in 0..3 * 1024 {
        let _ = put(&disk, &key(n), &[1; 3000]).await;
        if n % 16 == 0 {
            disk.flush().await;
            assert_eq!(load(&disk, b"hot").await.as_deref(), Some(b"hot".as_slice()), "{n}");
        }
    }
    disk.flush().await;
    assert_eq!(load(&disk, b"cold").await, None);
    let rewritten = metrics.disk.rewritten.get();
    assert!((3..=12).contains(&rewritten), "about once each half of the disk: {rewritten}");
    assert_eq!(metrics.disk.corrupt.get(), 0);
    assert!(disk.bytes() <= 4 * MIB && disk.bytes() > 2 * MIB, "{}", disk.bytes());
    disk.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changed_meanwhile_is_not_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, metrics) = full(dir.path()).await;
    let again = |before| {
        let value = Bytes::from_static(b"older");
        disk.put_again(Bytes::from(key(KEYS - 1)), value, before, None)
    };
    let last = key(KEYS - 1);
    let before = disk.changes(last.as_bytes());
    let _ = put(&disk, &last, b"newer").await;
    assert!(!again(before), "it waits to be written");
    disk.flush().await;
    assert!(!again(before), "it was written");
    let before = disk.changes(last.as_bytes());
    disk.delete(last.as_bytes());
    assert!(!again(before), "it was deleted");
    assert_eq!((load(&disk, last.as_bytes()).await, metrics.disk.rewritten.get()), (None, 0));
    assert!(again(disk.changes(last.as_bytes())), "but for that it would have been");
    disk.close(Duration::from_secs(5)).await;
}
