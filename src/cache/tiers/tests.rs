//! The tiers together, on real files.

use std::path::Path;

use http::HeaderValue;

use super::*;
use crate::cache::disk::DiskConfig;
use crate::cache::entry::{Fields, StoredBody};
use crate::cache::hash::KeyedHasher;
use crate::cache::pieces::Segments;
use crate::semantics::policy::Policy;
use crate::semantics::request::Asked;
use crate::semantics::spans::Span;
use crate::semantics::storable;
use crate::semantics::time::Timestamp;

const MIB: u64 = 1 << 20;

async fn tiers(dir: &Path, memory: u64) -> (Arc<Tiers>, Arc<Metrics>) {
    let metrics = Metrics::new(1);
    let config = DiskConfig {
        store_wait: Duration::from_secs(30),
        block_size: Some(MIB),
        ..DiskConfig::new(dir, 16 * MIB)
    };
    let disk = Disk::open(config, metrics.clone(), &tokio::runtime::Handle::current());
    for _ in 0..10_000 {
        if disk.state() == DiskState::Ready {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(disk.state(), DiskState::Ready);
    let memory = Memory::new(memory, KeyedHasher::new([7; 16]), &metrics);
    let purges = PurgeLog::in_memory(1000, 1 << 20);
    (Arc::new(Tiers::new(memory, disk, purges, metrics.clone())), metrics)
}

fn entry(tiers: &Tiers, body: StoredBody, id: u8) -> Entry {
    let mut fields = HeaderMap::new();
    fields.insert("cache-control", HeaderValue::from_static("max-age=6000"));
    let now = Timestamp::from_millis(1_000_000);
    let asked = Asked::of(&http::Method::GET, &HeaderMap::new(), false);
    let stored = storable::storable(&asked, 200, &fields, &Policy::BARE, now, now).unwrap();
    let mut entry = Entry::new(stored, Fields::copied(&fields), body, tiers.purges.position());
    entry.id = [id; 16];
    entry
}

async fn store(tiers: &Tiers, key: &str, body: StoredBody, id: u8) {
    let key = Bytes::copy_from_slice(key.as_bytes());
    let (_, to_disk) = tiers.admit(key, entry(tiers, body, id)).unwrap();
    tiers.write_behind([to_disk]).await;
}

fn inline(len: usize) -> StoredBody {
    StoredBody::Inline(Bytes::from(vec![b'x'; len]))
}

fn segmented(len: u64, segment: u32) -> StoredBody {
    let span = Span::new(0, len).unwrap();
    StoredBody::segmented(Segments { id: [9; 16], span, segment })
}

async fn found(tiers: &Tiers, key: &str) -> Option<Found> {
    if let Some(found) = tiers.peek(key.as_bytes(), &HeaderMap::new()) {
        return Some(found);
    }
    match tiers.lookup(key.as_bytes(), &HeaderMap::new(), false).await {
        Lookup::Found(found) => Some(found),
        Lookup::Missing { .. } => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_without_its_parts_is_a_miss_and_a_newer_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (tiers, _) = tiers(dir.path(), MIB).await;
    for (id, in_memory) in [(1, true), (2, false)] {
        store(&tiers, "k", segmented(10, 4), id).await;
        tiers.disk.flush().await;
        if !in_memory {
            tiers.memory.remove(b"k");
        }
        tiers.lost_part(&[9; 16]);
        assert!(found(&tiers, "k").await.is_some(), "another one lies there: {in_memory}");
        tiers.lost_part(&[id; 16]);
        assert!(found(&tiers, "k").await.is_none(), "{in_memory}");
        assert!(!tiers.may_hold(b"k"), "{in_memory}");
    }
    store(&tiers, "k", segmented(10, 4), 3).await;
    assert!(found(&tiers, "k").await.is_some());
    tiers.close(Duration::from_secs(10)).await;
}

/// Never read from disk, for it never leaves memory: only hits in memory keep its copy.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_hit_in_memory_stays_on_a_disk_that_wraps_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (tiers, metrics) = tiers(dir.path(), 4 * MIB).await;
    let segments = |n: u32| key::segment(&[9; 16], n);
    for n in 0..3 {
        tiers.store_segment(&[9; 16], n, Bytes::from(vec![n as u8; 20_000]), true).await;
    }
    store(&tiers, "hot", inline(500), 0).await;
    store(&tiers, "large", segmented(60_000, 20_000), 9).await;
    store(&tiers, "cold", inline(500), 0).await;
    let pages = 16 * MIB / 4096;
    for n in 0..2 * pages + pages / 2 {
        store(&tiers, &format!("other {n}"), inline(1000), 0).await;
        if n % 32 == 0 {
            tiers.disk.flush().await;
            for key in ["hot", "large"] {
                assert!(tiers.peek(key.as_bytes(), &HeaderMap::new()).is_some(), "{key}, {n}");
            }
            for n in 0..3 {
                tiers.memory.get(&segments(n)).expect("read with every hit");
            }
        }
    }
    tiers.disk.flush().await;
    assert_eq!(metrics.disk.reads.get(), 0);
    let rewritten = metrics.disk.rewritten.get();
    assert!((2 * 5..=5 * 7).contains(&rewritten), "{rewritten} for five values, five halves");
    tiers.close(Duration::from_secs(10)).await;
    drop(tiers);

    let (tiers, _) = self::tiers(dir.path(), 4 * MIB).await;
    let there = |key: &'static str| {
        let tiers = tiers.clone();
        async move { found(&tiers, key).await.is_some() }
    };
    assert!(there("hot").await && there("large").await && !there("cold").await);
    for n in 0..3 {
        let segment = tiers.segment(&[9; 16], n, false).await;
        assert_eq!(segment.as_deref(), Some(vec![n as u8; 20_000].as_slice()), "segment {n}");
    }
    tiers.close(Duration::from_secs(10)).await;
}

/// Each object once, more of them than memory holds, from a disk that is full.
#[tokio::test(flavor = "multi_thread")]
async fn a_scan_of_a_full_disk_rewrites_next_to_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (tiers, metrics) = tiers(dir.path(), MIB).await;
    for n in 0..5000 {
        store(&tiers, &format!("k{n}"), inline(1000), 0).await;
    }
    tiers.disk.flush().await;
    assert!(tiers.disk.takes_again(1000), "there is an allowance to be spent");
    let mut there = 0;
    for n in 0..5000 {
        there += u64::from(found(&tiers, &format!("k{n}")).await.is_some());
    }
    let rewritten = metrics.disk.rewritten.get();
    assert!(there > 3000 && rewritten * 50 <= there, "{rewritten} of {there}");
    tiers.close(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_requests_at_once_read_the_disk_once() {
    let dir = tempfile::tempdir().unwrap();
    let (tiers, metrics) = tiers(dir.path(), MIB).await;
    store(&tiers, "k", inline(100_000), 0).await;
    tiers.disk.flush().await;
    for round in 1..=20 {
        tiers.memory.remove(b"k");
        let asking: Vec<_> = (0..100)
            .map(|_| {
                let tiers = tiers.clone();
                tokio::spawn(async move { found(&tiers, "k").await.is_some() })
            })
            .collect();
        for asked in asking {
            assert!(asked.await.unwrap());
        }
        // Whoever does not share the read finds in memory what it brought.
        assert_eq!(metrics.disk.reads.get(), round);
    }
    tiers.close(Duration::from_secs(10)).await;
}

/// Between being found and being with the disk's writer, a response may be withdrawn or replaced.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_late_brings_nothing_back() {
    let dir = tempfile::tempdir().unwrap();
    let (tiers, _) = tiers(dir.path(), MIB).await;
    let admit = |id| tiers.admit("k".into(), entry(&tiers, inline(10), id)).unwrap().1;
    let on_disk = async || {
        tiers.disk.flush().await;
        tiers.memory.remove(b"k");
        found(&tiers, "k").await.map(|found| found.entry.id[0])
    };
    let late = admit(1);
    tiers.memory.remove(b"k"); // evicted: nobody but the writer-to-be knows of it
    tiers.withdraw(b"k");
    tiers.write_behind([late]).await;
    assert_eq!(on_disk().await, None, "withdrawn");
    let (older, newer) = (admit(2), admit(3));
    tiers.write_behind([newer]).await;
    tiers.write_behind([older]).await;
    assert_eq!(on_disk().await, Some(3), "the newest, whoever is written last");
    tiers.close(Duration::from_secs(10)).await;
}
