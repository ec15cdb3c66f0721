//! A bound on the number of entries.

use super::*;

const MAX: u64 = 1500;

/// 16 MiB in blocks of 1 MiB, some 250 entries of a page each, of which memory has room for `max`.
fn open_capped(dir: &std::path::Path, max: Option<u64>) -> (Disk, Arc<Metrics>) {
    open_with(DiskConfig {
        block_size: Some(MIB),
        max_objects: max,
        keep_hot: false,
        store_wait: Duration::from_secs(30),
        ..DiskConfig::new(dir, 16 * MIB)
    })
}

/// Those of the keys `range` that are there, each right; the index must agree.
async fn there(disk: &Disk, range: std::ops::Range<u32>) -> Vec<u32> {
    let mut there = Vec::new();
    for n in range {
        let key = format!("k{n}");
        match load(disk, key.as_bytes()).await {
            Some(value) => {
                assert_eq!(value, n.to_le_bytes().repeat(500), "k{n}");
                there.push(n);
            }
            None => assert!(!disk.may_contain(key.as_bytes()), "the index still knows k{n}"),
        }
    }
    there
}

async fn store(disk: &Disk, n: u32) {
    assert_eq!(put(disk, &format!("k{n}"), &n.to_le_bytes().repeat(500)).await, Put::Queued);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_entries_than_there_may_be_and_the_youngest_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, metrics) = open_capped(dir.path(), Some(MAX));
    ready(&disk).await;
    let batch = disk.shared.as_ref().unwrap().geometry.flush_buffer as u64 / 4096;
    for n in 0..10_000 {
        store(&disk, n).await;
        if n % 100 == 0 {
            assert!(disk.objects() <= MAX + batch, "{} at {n}", disk.objects());
        }
    }
    disk.flush().await;
    assert_eq!(metrics.disk.write_errors.get() + metrics.disk.failures.get(), 0);
    assert!(disk.objects() <= MAX && disk.bytes() <= MAX * 4096, "{}", disk.objects());
    // All but the block that went last.
    let found = there(&disk, 0..10_000).await;
    assert!(found.len() > 1500 - 260 && found.len() <= 1500, "{}", found.len());
    assert_eq!(found, (10_000 - found.len() as u32..10_000).collect::<Vec<_>>());
    assert_eq!(metrics.disk.corrupt.get(), 0);
    assert!(metrics.disk.emptied.get() > 20, "{}", metrics.disk.emptied.get());
    disk.close(Duration::from_secs(5)).await;

    // What was emptied does not come back, whatever fits now.
    let (disk, _) = open_capped(dir.path(), None);
    ready(&disk).await;
    assert_eq!(there(&disk, 0..10_000).await, found);
    for n in 10_000..12_000 {
        store(&disk, n).await;
    }
    disk.flush().await;
    let grown = there(&disk, 0..12_000).await;
    assert!(grown.len() > 3000, "{}", grown.len());
    disk.close(Duration::from_secs(5)).await;

    // With less room than what lies there takes, the oldest goes before the index is read.
    let (disk, metrics) = open_capped(dir.path(), Some(600));
    ready(&disk).await;
    assert_eq!(metrics.disk.emptied.get(), 0);
    let found = there(&disk, 0..12_000).await;
    assert!(found.len() > 600 - 260 && found.len() <= 600, "{}", found.len());
    assert_eq!(found.last(), Some(&11_999));
    disk.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_again_outlives_its_first_block() {
    let dir = tempfile::tempdir().unwrap();
    let (disk, _) = open_capped(dir.path(), Some(MAX));
    ready(&disk).await;
    for n in 0..6000 {
        store(&disk, n).await;
        if n % 300 == 0 {
            // Some two blocks' worth of writes apart: always in a block of its own.
            let _ = put(&disk, "again", &n.to_le_bytes()).await;
            disk.flush().await;
        }
        let again = load(&disk, b"again").await;
        assert_eq!(again.as_deref(), Some((n / 300 * 300).to_le_bytes().as_slice()), "{n}");
    }
    disk.close(Duration::from_secs(5)).await;
}
