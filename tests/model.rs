//! Larder against a small reference model of an HTTP cache: random sequences of requests,
//! answers and times, through real sockets and a real disk (`tests/model/`).
//!
//! A failure prints its seed and the shortest list of steps found that shows it. The same again:
//! `LARDER_MODEL_SEED=… cargo test --test model`; more or fewer steps: `LARDER_MODEL_STEPS=…`.

#![allow(
    dead_code,
    unused_imports,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::needless_pass_by_value,
    clippy::format_push_string,
    reason = "a test that fails says so by panicking, and documents itself by its name"
)]

#[path = "model/mod.rs"]
mod model;
#[path = "support/mod.rs"]
mod support;

use std::time::{Instant, UNIX_EPOCH};

use model::larder::{InProcess, Kind, Spawned};
use model::reference::{Client, Settings};
use model::script::Mix;

const SECOND: u64 = 1000;
const DAY: u64 = 86_400 * SECOND;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Another each time, unless it is given.
fn seed() -> u64 {
    let now = UNIX_EPOCH.elapsed().expect("after 1970").as_nanos();
    number("LARDER_MODEL_SEED").unwrap_or(now as u64)
}

fn kinds() -> [Kind; 5] {
    let kind = |client, keep_stale, share_set_cookie, small_memory| Kind {
        settings: Settings { client, keep_stale, share_set_cookie },
        small_memory,
    };
    [
        kind(Client::Limit, DAY, false, false), // as it is without any settings
        kind(Client::Honour, DAY, false, true),
        kind(Client::Honour, 0, true, false),
        kind(Client::Ignore, 30 * SECOND, false, true),
        kind(Client::Limit, 5 * SECOND, true, false),
    ]
}

/// A clock that is stepped: days pass at no cost.
#[test]
fn model_in_process() {
    let seed = seed();
    let all = if support::long() { 100_000 } else { 20_000 };
    let all = number("LARDER_MODEL_STEPS").map_or(all, |n| n as usize);
    println!("seed {seed}, {all} steps");
    const WAITS: [u64; 12] = [400, 400, 1000, 1000, 1000, 2000, 2000, 4000, 9000, 31_000, 70_000, DAY];
    let mix = Mix { pages: 8, wait_every: 4, waits: &WAITS, restart_every: 1500 };
    let kinds = kinds();
    for (nth, kind) in kinds.iter().enumerate() {
        let began = Instant::now();
        let seed = seed.wrapping_add(nth as u64);
        let tally = model::run(kind, &mix, seed, all / kinds.len(), InProcess::start);
        println!("{kind:?}: {tally:?} in {:?}", began.elapsed());
        assert!(tally.unjudged * 50 <= tally.asked, "too busy a machine: {tally:?}");
    }
}

/// The binary, and the time that passes for everybody: fewer steps, many between two waits.
#[test]
fn model_of_the_binary() {
    let seed = seed();
    let all = if support::long() { 8000 } else { 2000 };
    let all = number("LARDER_MODEL_STEPS").map_or(all, |n| n as usize);
    println!("seed {seed}, {all} steps");
    let mix = Mix { pages: 60, wait_every: 150, waits: &[1100, 2100], restart_every: 1000 };
    let tally = model::run(&kinds()[0], &mix, seed, all, Spawned::start);
    println!("{tally:?}");
    assert!(tally.unjudged * 10 <= tally.asked, "too busy a machine: {tally:?}");
}
