//! What a hit is made of, step by step: `cargo bench --bench micro`.

use std::error::Error;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Request, request};

use larder::cache::disk::Disk;
use larder::cache::entry::{Entry, Fields, Slot, StoredBody};
use larder::cache::flight::Flights;
use larder::cache::flight::windows::Windows;
use larder::cache::hash::KeyedHasher;
use larder::cache::memory::Memory;
use larder::cache::purge::{Class, MAX_BYTES, MAX_RECORDS, PurgeLog, What};
use larder::cache::tiers::Tiers;
use larder::cache::uncacheable::Uncacheable;
use larder::config::machine::Machine;
use larder::config::{Flags, Live, Loaded, Sources, load};
use larder::observe::access_log::AccessLog;
use larder::observe::metrics::Metrics;
use larder::proxy::ask::Ask;
use larder::proxy::conn::Conn;
use larder::proxy::recode::Recodings;
use larder::proxy::respond;
use larder::proxy::worker::{House, View, Worker};
use larder::semantics::decision::{Decision, Outcome};
use larder::semantics::headers::{Pseudonym, strip_hop_by_hop};
use larder::semantics::key::{self, Scheme};
use larder::semantics::policy::{ClientDirectives, Policy};
use larder::semantics::request::Asked;
use larder::semantics::reuse::reuse;
use larder::semantics::route::index::Index;
use larder::semantics::route::matcher::{Facts, Matcher};
use larder::semantics::route::overrides::Overrides;
use larder::semantics::route::pattern::{Condition, Glob, Host};
use larder::semantics::stored::Stored;
use larder::semantics::tags::{FIELDS, Tags};
use larder::semantics::time::Timestamp;
use larder::semantics::unkeyed::Unkeyed;
use larder::semantics::wire::{RequestScanner, WireLimits};
use larder::semantics::{cache_status, freshness};
use larder::upstream::{Pool, Shared};
use tokio::runtime::{Handle, Runtime};

/// A head of some 200 bytes, as clients without cookies send it.
const HEAD: &[u8] = b"GET /articles/2026/how-caches-age?page=2 HTTP/1.1\r\n\
    Host: www.example.org\r\n\
    User-Agent: benchmark/1.0 (Linux x86_64)\r\n\
    Accept: text/html,*/*;q=0.8\r\n\
    Accept-Encoding: identity\r\n\
    Connection: keep-alive\r\n\r\n";
const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

/// What the pure room is asked on the way of a hit.
fn decisions(c: &mut Criterion) {
    let mut group = c.benchmark_group("semantics");
    let fields = request().headers;
    group.bench_function("asked", |b| {
        b.iter(|| Asked::of(&http::Method::GET, black_box(&fields), false));
    });
    group.bench_function("key", |b| {
        let mut key = Vec::with_capacity(128);
        b.iter(|| {
            key.clear();
            let (host, path) = black_box(("www.example.org", "/articles/2026/how-caches-age"));
            key::primary(Scheme::Http, host, path, Some(host), &mut key);
            black_box(key.len())
        });
    });
    group.bench_function("reuse", |b| {
        let asked = Asked::of(&http::Method::GET, &fields, false);
        let (stored, policy) = (stored(), policy());
        b.iter(|| reuse(black_box(&stored), black_box(&asked), &policy, false, None, NOW));
    });
    group.bench_function("cache_status", |b| {
        let mut decision = Decision::new(Outcome::Hit);
        decision.ttl = Some(3599);
        b.iter(|| cache_status::value(black_box(&decision), None));
    });
    group.bench_function("strip_hop_by_hop", |b| {
        let stripped = |mut fields: HeaderMap| {
            strip_hop_by_hop(&mut fields);
            fields
        };
        b.iter_batched(|| fields.clone(), stripped, BatchSize::SmallInput);
    });
    group.bench_function("drop_unkeyed", |b| {
        let (unkeyed, mut fields) = (Unkeyed::new(&[], &[]), fields.clone());
        b.iter(|| unkeyed.drop_from(black_box(&mut fields)));
    });
    group.finish();
}

/// The price of looking at each byte before hyper does.
fn scan(c: &mut Criterion) {
    let mut group = c.benchmark_group("scan");
    group.throughput(Throughput::Bytes(HEAD.len() as u64));
    let mut scanner = RequestScanner::new(WireLimits::default());
    group.bench_function("request_head", |b| b.iter(|| scanner.feed(black_box(HEAD))));
    group.finish();
}

/// Flat from a thousand objects to a hundred thousand, but for what the CPU's caches hold.
fn memory_hit(c: &mut Criterion) {
    let mut group = c.benchmark_group("memory_hit");
    let fields = request().headers;
    for objects in [1_000, 100_000] {
        let tiers = tiers(objects);
        assert_eq!(tiers.memory.objects(), objects, "some were evicted: misses would be measured");
        let keys: Vec<_> = (0..objects).map(object_key).collect();
        // A stride prime to both sizes: neighbours in time are none in memory.
        let mut at = 0;
        group.bench_function(BenchmarkId::from_parameter(objects), |b| {
            b.iter(|| {
                at = (at + 7_919) % keys.len();
                keys.get(at).and_then(|key| tiers.peek(black_box(key), &fields)).is_some()
            });
        });
    }
    group.finish();
}

/// From the entry that was found to hyper's response.
fn respond_from_entry(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime can be had");
    let worker = worker(runtime.handle()).expect("the configuration holds");
    let entry = entry(worker.house.tiers.purges.position());
    let ask = ask().expect("the configuration holds");
    c.bench_function("respond/from_entry", |b| {
        b.iter(|| {
            let decision = Decision::new(Outcome::Hit);
            respond::from_entry(black_box(&ask), &worker, black_box(&entry), decision, NOW)
        });
    });
}

/// Which of many rules a request meets, where it is the last: as good as flat, or a hit pays.
fn route(c: &mut Criterion) {
    let mut group = c.benchmark_group("route");
    let head = request();
    for rules in [1, 500] {
        let index = Index::new(mixed_rules(rules));
        let facts = Facts {
            scheme: Scheme::Http,
            authority: "www.example.org",
            path: head.uri.path(),
            method: &head.method,
            headers: &head.headers,
        };
        assert_eq!(index.find(&facts), Some(rules - 1));
        group.bench_function(BenchmarkId::from_parameter(rules), |b| {
            b.iter(|| index.find(black_box(&facts)));
        });
    }
    group.finish();
}

/// Rules of all kinds, of which the last is the one for [`request`].
fn mixed_rules(count: usize) -> Vec<Matcher> {
    let others = (0..count - 1).map(|n| {
        let (mut rule, host) = (Matcher::default(), |text: String| Host::new(&text));
        match n % 8 {
            0 => rule.hosts.extend(host(format!("site{n}.example.org"))),
            1 => rule.hosts.extend(host(format!("*.site{n}.example.org"))),
            2 => rule.paths.push(Glob::new(&format!("/articles/{n}"))),
            3 => rule.paths.push(Glob::new(&format!("/articles/{n}/*"))),
            4 => rule.paths.push(Glob::new(&format!("*.x{n}"))),
            5 => rule.paths.push(Glob::new(&format!("/articles/*/page-{n}"))),
            6 => rule.headers.extend(Condition::new(&format!("X-Tenant: t{n}"))),
            _ => {
                rule.methods.push(http::Method::POST);
                rule.paths.push(Glob::new("/articles/*"));
            }
        }
        rule
    });
    let last = Matcher {
        hosts: Host::new("www.example.org").into_iter().collect(),
        paths: vec![Glob::new("/articles/*")],
        ..Matcher::default()
    };
    others.chain([last]).collect()
}

/// Purges that are all newer than all objects and reach none of them (issue: 5,000 URLs, 3,000 tags,
/// 1,500 prefixes, 500 globs). Two stores are measured in turns, as the machine's mood changes: what
/// a hit costs once each object was checked, and, apart, the first pass that checks them; then
/// what the memory of a further million purges comes to.
fn purges(_: &mut Criterion) {
    let objects: u64 =
        std::env::var("LARDER_BENCH_OBJECTS").ok().and_then(|n| n.parse().ok()).unwrap_or(500_000);
    let (plain, purged) = (tagged(objects), tagged(objects));
    let keys: Vec<_> = (0..objects).map(object_key).collect();
    let fields = request().headers;
    let pass = |tiers: &Tiers, from: usize, hits: usize| {
        let began = Instant::now();
        let mut found = 0;
        for n in 0..hits {
            let key = keys.get((from + n).wrapping_mul(7_919) % keys.len());
            found += usize::from(key.and_then(|key| tiers.peek(black_box(key), &fields)).is_some());
        }
        assert_eq!(found, hits, "a purge reached what it must not, or something was evicted");
        began.elapsed().as_nanos() as f64 / hits as f64
    };
    let all = keys.len();
    let (cold, _) = (pass(&plain, 0, all), pass(&purged, 0, all));
    for n in 0..10_000 {
        purged.purges.purge(&no_object(n), n % 2 == 0).expect("a purge");
    }
    let first = pass(&purged, 0, all);
    let mut ratios = Vec::new();
    let mut sums = [0.0; 2];
    for round in 0..40 {
        let hits = 100_000;
        let (one, other) = if round % 2 == 0 { (&plain, &purged) } else { (&purged, &plain) };
        let (a, b) = (pass(one, round * hits, hits), pass(other, round * hits, hits));
        let (without, with) = if round % 2 == 0 { (a, b) } else { (b, a) };
        ratios.push(with / without);
        sums = [sums[0] + without / 40.0, sums[1] + with / 40.0];
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    println!("purges/objects                  {objects}");
    println!("purges/hit without              {:.0} ns (first pass {cold:.0} ns)", sums[0]);
    println!("purges/hit with 10,000 checked  {:.0} ns, median ratio {median:.3}", sums[1]);
    println!("purges/first pass               {first:.0} ns a hit");
    let (before, began) = (resident_kib(), Instant::now());
    for n in 10_000..1_010_000 {
        purged.purges.purge(&no_object(n), n % 2 == 0).expect("a purge");
    }
    let grown = resident_kib().saturating_sub(before);
    let each = began.elapsed().as_secs_f64() * 1e6 / 1e6;
    println!("purges/1,000,000 further        {grown} KiB more resident, {each:.1} us each");
    assert!(grown < 32 << 10, "within 32 MiB");
}

/// Of twenty: ten URLs, six tags, three prefixes, one glob. None is an object's.
fn no_object(n: u64) -> What {
    let (class, name) = match n % 20 {
        0..10 => (Class::Url, format!("http://www.example.org/purged/{n}")),
        10..16 => (Class::Tag, format!("purged-{n}")),
        16..19 => (Class::Prefix, format!("http://www.example.org/purged/{n}/")),
        _ => (Class::Glob, format!("http://www.example.org/*/{n}/img-??.{{png,jpg}}")),
    };
    What::Named(class, name.into_bytes())
}

fn resident_kib() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * 4
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = decisions, scan, memory_hit, respond_from_entry, route, purges
}
criterion_main!(benches);

fn request() -> request::Parts {
    Request::get("/articles/2026/how-caches-age?page=2")
        .header("host", "www.example.org")
        .header("user-agent", "benchmark/1.0 (Linux x86_64)")
        .header("accept", "text/html,*/*;q=0.8")
        .header("accept-encoding", "identity")
        .header("connection", "keep-alive")
        .body(())
        .expect("a valid request")
        .into_parts()
        .0
}

fn response_fields() -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert("content-type", HeaderValue::from_static("text/plain"));
    fields.insert("cache-control", HeaderValue::from_static("max-age=3600"));
    fields.insert("date", HeaderValue::from_static("Fri, 15 Jan 2027 08:00:00 GMT"));
    fields
}

fn stored() -> Stored {
    Stored {
        status: 200,
        request_time: NOW,
        response_time: NOW,
        date: freshness::date(&response_fields(), NOW),
        initial_age: Duration::ZERO,
        lifetime: Duration::from_hours(1),
        heuristic: false,
        must_revalidate: false,
        no_cache: false,
        no_transform: false,
        immutable: false,
        stale_if_error: None,
        stale_while_revalidate: None,
        etag: None,
        last_modified: None,
        validator: false,
        groups: Vec::new(),
        tags: Tags::default(),
    }
}

fn policy() -> Policy {
    Policy {
        default_ttl: Duration::ZERO,
        heuristic_errors: Duration::from_secs(10),
        keep_stale: Duration::from_hours(24),
        share_set_cookie: false,
        keep_tags: false,
        client_directives: ClientDirectives::Limit,
        targeted: Vec::new(),
        route: Overrides::NONE,
    }
}

fn entry(position: u64) -> Entry {
    let body = StoredBody::Inline(Bytes::from_static(&[b'x'; 1024]));
    Entry::new(stored(), Fields::copied(&response_fields()), body, position)
}

fn object_key(number: u64) -> Bytes {
    Bytes::from(format!("http://www.example.org/objects/{number}"))
}

/// A memory tier with room for all of `objects`, without a disk.
fn tiers(objects: u64) -> Tiers {
    filled(objects, 1 << 30, |_| Tags::default())
}

/// The same with two tags an object.
fn tagged(objects: u64) -> Tiers {
    filled(objects, 8 << 30, |number| {
        let mut fields = HeaderMap::new();
        let tags = format!("section-{} article-{number}", number % 100);
        fields.extend(HeaderValue::from_str(&tags).map(|tags| (FIELDS[0].clone(), tags)));
        Tags::of_response(&fields)
    })
}

fn filled(objects: u64, capacity: u64, tags: impl Fn(u64) -> Tags) -> Tiers {
    let metrics = Metrics::new(1);
    let memory = Memory::new(capacity, KeyedHasher::new([7; 16]), &metrics);
    let purges = PurgeLog::in_memory(MAX_RECORDS, MAX_BYTES);
    let tiers = Tiers::new(memory, Disk::off(), purges, metrics);
    for number in 0..objects {
        let mut entry = entry(tiers.purges.position());
        entry.stored.tags = tags(number);
        tiers.memory.insert(object_key(number), Slot::Entry(Arc::new(entry)));
    }
    tiers
}

fn loaded() -> Result<Loaded, Box<dyn Error>> {
    let flags = Flags { upstream: Some("http://127.0.0.1:3000".into()), ..Flags::default() };
    let machine = Machine { cores: 1, memory: None, descriptors: None, cache_dir: None };
    Ok(load(Sources { file: None, environment: Vec::new(), flags, machine })?)
}

/// A worker as it is when it has nothing to do.
fn worker(handle: &Handle) -> Result<Arc<Worker>, Box<dyn Error>> {
    let metrics = Metrics::new(1);
    let house = House {
        live: Live::start(loaded()?, metrics.clone(), handle),
        tiers: Arc::new(tiers(1)),
        flights: Flights::new(Arc::new(Windows::new(1 << 20, 1 << 10)), metrics.clone()),
        uncacheable: Uncacheable::new(1),
        refused: Uncacheable::new(1),
        recodings: Recodings::default(),
        metrics: metrics.clone(),
        log: Arc::new(AccessLog::off()),
        via: Pseudonym::new("larder-bench")?,
    };
    let pool = Pool::new(0, &Shared::new(), metrics);
    Ok(Worker::new(0, Arc::new(house), pool))
}

/// A request as the proxy has it when it has found something.
fn ask() -> Result<Ask, Box<dyn Error>> {
    let loaded = loaded()?;
    let mut head = request();
    strip_hop_by_hop(&mut head.headers);
    Ok(Ask {
        query: None,
        view: View::of(loaded.snapshot, &Metrics::new(1)),
        conn: Arc::new(Conn::new(Some(IpAddr::V4(Ipv4Addr::LOCALHOST)), false)),
        asked: Asked::of(&head.method, &head.headers, false),
        head,
        upgrade: None,
        authority: None,
        scheme: Scheme::Http,
        said_authority: None,
        dropped: false,
        accepted: OnceLock::new(),
        expects: None,
        past_cache: None,
    })
}
