//! One budget for all that it keeps in memory.

use crate::support::metrics::Metrics;
use crate::support::{Ask, Larder, Origin, SOON, Setup, eventually, noise};

fn part(metrics: &Metrics, what: &str, part: &str) -> u64 {
    metrics.count(&format!("larder_memory_{what}_bytes"), &[("part", part)])
}

fn on_disk(metrics: &Metrics) -> u64 {
    metrics.count("larder_cache_objects", &[("tier", "disk")])
}

/// Objects of 1 KiB by their number.
fn small() -> Origin {
    Origin::new(|seen, reply| {
        let n: u64 = seen.path().trim_start_matches('/').parse().unwrap_or(0);
        reply.ok(&["cache-control: max-age=6000", "content-type: image/png"], noise(1024, n));
    })
}

#[test]
fn more_small_objects_than_memory_can_index_stay_within_the_budget() {
    const BUDGET: u64 = 4 << 20;
    const OBJECTS: u64 = 24_000;
    let mut origin = small();
    let setup = Setup::new(&origin.url())
        .env("LARDER_CACHE__MEMORY", "4MiB")
        .env("LARDER_CACHE__DISK", "256MiB");
    let larder = setup.start_with_disk();
    let mut client = larder.connect();
    for n in 0..500 {
        client.ask(&Ask::get(&format!("/{n}"))).expect(200);
    }
    let before = larder.process.rss();
    let planned = part(&larder.metrics(), "budget", "index");
    let most = planned / 90;
    assert!(planned < BUDGET / 2 && most * 2 < OBJECTS, "{most} entries");
    for n in 0..OBJECTS {
        client.ask(&Ask::get(&format!("/{n}"))).expect(200);
        if n % 1000 == 0 {
            // A batch is written before the oldest go.
            let now = on_disk(&larder.metrics());
            assert!(now <= most + 200, "{now} of {most} at {n}");
        }
    }
    eventually("the writer to be done", SOON, || {
        larder.metrics().count("larder_disk_pending_bytes", &[]) == 0
    });
    let grown = larder.process.rss().saturating_sub(before);
    let metrics = larder.metrics();
    assert!(on_disk(&metrics) <= most && on_disk(&metrics) * 2 > most, "{}", on_disk(&metrics));
    assert!(part(&metrics, "used", "index") <= planned);
    assert!(metrics.count("larder_disk_emptied_blocks_total", &[]) > 0);
    let parts = ["store", "index", "flush", "flights", "connections"];
    let used: u64 = parts.iter().map(|name| part(&metrics, "used", name)).sum();
    assert!(used <= BUDGET, "{used}");
    println!("RSS {before} + {grown}, {used} used of {BUDGET}");
    assert!(grown <= 2 * BUDGET, "RSS grew by {grown} beyond {before}");

    // Killed, it reads back no more than that, and the newest are there.
    let larder = larder.kill_and_restart();
    origin.stop();
    assert!(on_disk(&larder.metrics()) <= most + 200);
    let mut client = larder.connect();
    let newest = OBJECTS - most / 2..OBJECTS;
    let hits = newest.clone().filter(|n| client.ask(&Ask::get(&format!("/{n}"))).was_hit()).count();
    assert_eq!(hits as u64, newest.end - newest.start);
    assert!(!client.ask(&Ask::get("/1")).was_hit(), "the oldest are gone");
}

/// The memory tier of 8 MiB is resized in no smaller steps.
const STEP: u64 = (8 << 20) / 64;

#[test]
fn the_memory_tier_gives_way_to_the_index_and_to_connections() {
    let origin = small();
    let setup = Setup::new(&origin.url())
        .env("LARDER_CACHE__MEMORY", "8MiB")
        .env("LARDER_CACHE__DISK", "128MiB")
        .env("LARDER_LIMITS__CONNECTIONS", "2000");
    let larder = setup.start_with_disk();
    let store = |larder: &Larder| part(&larder.metrics(), "budget", "store");
    let empty = store(&larder);
    let mut client = larder.connect();
    for n in 0..10_000 {
        client.ask(&Ask::get(&format!("/{n}"))).expect(200);
    }
    let index = part(&larder.metrics(), "used", "index");
    eventually("the memory tier to give way to the index", SOON, || {
        store(&larder) <= empty - index + STEP
    });
    let less = store(&larder);
    let idle: Vec<_> = (0..200).map(|_| larder.connect()).collect();
    eventually("the memory tier to give way to connections", SOON, || {
        let most = larder.metrics().sum("larder_cache_capacity_bytes", &[("tier", "memory")]);
        store(&larder) + (1 << 20) < less && (most - store(&larder) as f64).abs() < 1.0
    });
    let metrics = larder.metrics();
    let held = metrics.count("larder_cache_bytes", &[("tier", "memory")]);
    assert!(held <= store(&larder), "{held}");
    drop(idle);
    eventually("the memory tier to have it back", SOON, || store(&larder) + STEP >= less);
    assert!(client.ask(&Ask::get("/9999")).was_hit());
}

/// Many large bodies at once, of which no client reads any.
#[test]
fn bodies_under_way_keep_to_their_share() {
    const FLIGHTS: usize = 24;
    const SIZE: usize = 8 << 20;
    let chunk = noise(64 << 10, 7);
    let origin = Origin::new(move |_, reply| {
        reply.start(200, &["cache-control: max-age=6000", "content-type: image/png"]);
        for _ in 0..SIZE / chunk.len() {
            reply.chunk(&chunk);
        }
        reply.end(&[]);
    });
    let setup = Setup::new(&origin.url())
        .config("[cache]\nstore_wait = \"10s\"\n")
        .env("LARDER_CACHE__MEMORY", "8MiB")
        .env("LARDER_CACHE__DISK", "1GiB");
    let larder = setup.start_with_disk();
    larder.get("/warm-up").expect(200);
    let (before, share) = (larder.process.rss(), part(&larder.metrics(), "budget", "flights"));
    let mut clients: Vec<_> = (0..FLIGHTS)
        .map(|n| {
            let mut client = larder.connect();
            client.send(Ask::get(&format!("/{n}")).bytes());
            client
        })
        .collect();
    let (mut most_held, mut most_rss) = (0, 0);
    eventually("all to be stored", SOON * 2, || {
        let metrics = larder.metrics();
        most_held = most_held.max(part(&metrics, "used", "flights"));
        most_rss = most_rss.max(larder.process.rss());
        metrics.count("larder_cache_stored_total", &[]) > FLIGHTS as u64
    });
    println!("{most_held} held of {share}; RSS {before} + {}", most_rss.saturating_sub(before));
    // Two segments of 64 KiB each at the least, and a chunk.
    assert!(most_held <= share + FLIGHTS as u64 * ((3 * 64) << 10), "{most_held} of {share}");
    for client in &mut clients {
        let answer = client.answer("GET").expect(200);
        assert!(answer.is_whole() && answer.body.len() == SIZE);
    }
    assert_eq!(part(&larder.metrics(), "used", "flights"), 0);
}
