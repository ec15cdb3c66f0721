//! What the pure core costs a request: each question is asked once on the way of a hit or a miss.
//! `cargo bench --bench micro`

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    missing_docs,
    reason = "a bench may fail loudly"
)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Method};
use larder::semantics::cache_control::{RequestDirectives, ResponseDirectives};
use larder::semantics::decision::{Decision, Outcome};
use larder::semantics::key::{Scheme, primary};
use larder::semantics::policy::{ClientDirectives, Policy};
use larder::semantics::request::Asked;
use larder::semantics::reuse::reuse;
use larder::semantics::storable::storable;
use larder::semantics::time::Timestamp;
use larder::semantics::wire::{RequestScanner, WireLimits};
use larder::semantics::{cache_status, vary};

const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

fn fields(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
        .collect()
}

/// What a browser sends.
fn request() -> HeaderMap {
    fields(&[
        ("host", "www.example.test"),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "en-GB,en;q=0.8,de;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("cookie", "session=0123456789abcdef; theme=dark"),
    ])
}

fn response() -> HeaderMap {
    fields(&[
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "public, max-age=60, s-maxage=600, stale-while-revalidate=30"),
        ("etag", "\"0123456789abcdef\""),
        ("last-modified", "Sat, 01 Jan 2000 00:00:00 GMT"),
        ("vary", "Accept-Language"),
    ])
}

fn policy() -> Policy {
    Policy {
        default_ttl: Duration::ZERO,
        keep_stale: Duration::from_hours(24),
        share_set_cookie: false,
        client_directives: ClientDirectives::Limit,
    }
}

/// Does parsing Cache-Control stay cheap as it gets longer?
fn cache_control(c: &mut Criterion) {
    let mut group = c.benchmark_group("cache_control");
    for (case, value) in [
        ("short", "max-age=60"),
        ("usual", "public, max-age=60, s-maxage=600, stale-while-revalidate=30"),
        ("odd", "x=\"a, b\", MAX-AGE=\"60\", private=\"set-cookie\", no-cache=\"x\", y, z=1"),
    ] {
        let response = fields(&[("cache-control", value)]);
        group.bench_function(BenchmarkId::new("response", case), |b| {
            b.iter(|| ResponseDirectives::parse(black_box(&response)));
        });
    }
    let request = fields(&[("cache-control", "no-cache, max-stale=60")]);
    group.bench_function("request", |b| b.iter(|| RequestDirectives::parse(black_box(&request))));
    group.finish();
}

/// What does a hit pay for its decisions?
fn decisions(c: &mut Criterion) {
    let (request, response, policy) = (request(), response(), policy());
    let asked = Asked::of(&Method::GET, &request, false);
    let stored = storable(&asked, 200, &response, &policy, NOW, NOW).expect("it may be stored");
    let mut group = c.benchmark_group("decisions");
    group.bench_function("asked", |b| {
        b.iter(|| Asked::of(black_box(&Method::GET), black_box(&request), false));
    });
    group.bench_function("reuse", |b| {
        b.iter(|| reuse(black_box(&stored), black_box(&asked), &policy, false, None, NOW));
    });
    group.bench_function("storable", |b| {
        b.iter(|| storable(&asked, 200, black_box(&response), &policy, NOW, NOW));
    });
    let mut hit = Decision::new(Outcome::Hit);
    hit.ttl = Some(599);
    group.bench_function("cache_status", |b| {
        b.iter(|| cache_status::value(black_box(&hit), None));
    });
    group.finish();
}

/// What does finding the key cost?
fn keys(c: &mut Criterion) {
    let mut group = c.benchmark_group("key");
    let mut out = Vec::with_capacity(256);
    group.bench_function("primary", |b| {
        b.iter(|| {
            out.clear();
            let target = black_box("/news/today?page=2&order=date");
            primary(Scheme::Https, black_box("www.example.test"), target, None, &mut out);
            out.len()
        });
    });
    let (request, names) = (request(), ["accept-language", "cookie"].map(|n| n.parse().unwrap()));
    group.bench_function("selecting_values", |b| {
        b.iter(|| {
            out.clear();
            vary::selecting_values(black_box(&names), black_box(&request), &mut out);
            out.len()
        });
    });
    group.finish();
}

/// How fast are requests looked over before hyper sees them?
fn scanner(c: &mut Criterion) {
    let mut head = b"GET /news/today?page=2&order=date HTTP/1.1\r\n".to_vec();
    for (name, value) in &request() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    let limits = WireLimits {
        head_size: 65_536,
        head_fields: 100,
        target_size: 16_384,
        chunk_ext: 16_384,
        trailers: 16_384,
    };
    let mut group = c.benchmark_group("scanner");
    group.throughput(Throughput::Bytes(head.len() as u64));
    let mut scanner = RequestScanner::new(limits);
    group.bench_function("request", |b| b.iter(|| scanner.feed(black_box(&head))));
    group.finish();
}

criterion_group!(benches, cache_control, decisions, keys, scanner);
criterion_main!(benches);
