//! What it keeps in memory, and what it must not.

use crate::support::{Ask, Origin, Setup, noise};

#[test]
fn ten_thousand_small_objects_take_little_more_than_their_weight() {
    const OBJECTS: u64 = 10_000;
    // Everything over one keep-alive connection: what is stored must not pin its buffers.
    let origin = Origin::new(|seen, reply| {
        let n: u64 = seen.path().trim_start_matches('/').parse().unwrap_or(0);
        reply.ok(&["cache-control: max-age=6000", "content-type: image/png"], noise(1024, n));
    });
    let setup = Setup::new(&origin.url()).without_disk().workers(1);
    let larder = setup.env("LARDER_CACHE__MEMORY", "64MiB").start();
    let mut client = larder.connect();
    for _ in 0..100 {
        client.ask(&Ask::get("/0")).expect(200);
    }
    let weight =
        |m: &crate::support::metrics::Metrics| m.sum("larder_cache_bytes", &[("tier", "memory")]);
    let (weight_before, rss_before) = (weight(&larder.metrics()), larder.process.rss());
    for n in 1..=OBJECTS {
        client.ask(&Ask::get(&format!("/{n}"))).expect(200);
    }
    assert!(origin.connections() <= 2, "{} connections", origin.connections());
    let weights = weight(&larder.metrics()) - weight_before;
    let grown = larder.process.rss().saturating_sub(rss_before) as f64;
    assert!(weights >= (OBJECTS * 1024) as f64, "all are there: {weights}");
    assert!(grown <= 1.5 * weights, "RSS grew by {grown} for weights of {weights}");
    for n in [1, OBJECTS / 2, OBJECTS] {
        assert!(client.ask(&Ask::get(&format!("/{n}"))).was_hit(), "/{n}");
    }
}

#[test]
fn the_memory_tier_keeps_to_its_capacity() {
    let origin = Origin::new(|seen, reply| {
        let n: u64 = seen.path().trim_start_matches('/').parse().unwrap_or(0);
        reply.ok(&["cache-control: max-age=6000"], noise(10_000, n));
    });
    let setup = Setup::new(&origin.url()).without_disk();
    let larder = setup.env("LARDER_CACHE__MEMORY", "16MiB").start();
    let mut client = larder.connect();
    for n in 0..4000 {
        client.ask(&Ask::get(&format!("/{n}"))).expect(200);
    }
    let metrics = larder.metrics();
    let bytes = metrics.sum("larder_cache_bytes", &[("tier", "memory")]);
    assert!(bytes <= f64::from(16 << 20) * 1.01, "{bytes}");
    assert!(metrics.count("larder_cache_evictions_total", &[]) > 100);
}

#[test]
fn a_large_object_passes_without_being_held() {
    const SIZE: usize = 200 << 20;
    let chunk = noise(1 << 20, 30);
    let origin = Origin::new(move |_, reply| {
        reply.start(200, &["cache-control: max-age=60", "content-type: video/mp4"]);
        for _ in 0..SIZE >> 20 {
            reply.chunk(&chunk);
        }
        reply.end(&[]);
    });
    let larder = Setup::new(&origin.url()).start_with_disk();
    larder.get("/warm-up").expect(200);
    let before = larder.process.rss();
    let mut client = larder.connect();
    client.send(Ask::get("/video").bytes());
    client.head().expect(200);
    let (mut got, mut most) = (0, 0);
    while let Some(chunk) = client.chunk().expect("more of it") {
        got += chunk.len();
        most = most.max(larder.process.rss());
    }
    assert_eq!(got, SIZE);
    let grown = most.saturating_sub(before) >> 20;
    assert!(grown < 100, "RSS grew by {grown} MiB for an object of 200 MiB");
}

#[test]
fn idle_it_is_small() {
    let origin = Origin::serving(&[], "x");
    let setup = Setup::new(&origin.url()).env("LARDER_CACHE__DISK", "1GiB");
    let larder = setup.start_with_disk();
    let rss = larder.process.rss() >> 20;
    let limit = if cfg!(debug_assertions) { 60 } else { 20 };
    assert!(rss <= limit, "{rss} MiB");
}
