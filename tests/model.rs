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

use std::sync::Mutex;
use std::time::UNIX_EPOCH;

use model::larder::{InProcess, Kind, Spawned};
use model::reference::{Client, Settings};
use model::script::Mix;

const SECOND: u64 = 1000;
const DAY: u64 = 86_400 * SECOND;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Another each time, unless it is given. Printed before anything is done with it.
fn seed() -> u64 {
    let now = UNIX_EPOCH.elapsed().expect("after 1970").as_nanos();
    let seed = number("LARDER_MODEL_SEED").unwrap_or(now as u64);
    println!("LARDER_MODEL_SEED={seed}");
    seed
}

fn steps(default: usize) -> usize {
    number("LARDER_MODEL_STEPS").map_or(default, |n| n as usize)
}

/// One clock a process: where tests share one, they take turns.
static CLOCK: Mutex<()> = Mutex::new(());

/// A clock that is stepped: days pass at no cost.
fn in_process(kind: &Kind) {
    const WAITS: [u64; 20] = [
        SECOND / 2,
        SECOND / 2,
        SECOND,
        SECOND,
        SECOND,
        SECOND,
        SECOND,
        SECOND,
        2 * SECOND,
        2 * SECOND,
        2 * SECOND,
        2 * SECOND,
        4 * SECOND,
        4 * SECOND,
        4 * SECOND,
        9 * SECOND,
        9 * SECOND,
        31 * SECOND,
        70 * SECOND,
        DAY,
    ];
    let _mine = CLOCK.lock();
    let steps = steps(if support::long() { 100_000 } else { 5000 });
    let mix = Mix { pages: 5, wait_every: 5, waits: &WAITS, restart_every: 1500 };
    let tally = model::run(kind, &mix, seed(), steps, InProcess::start);
    println!("{tally}");
    assert!(tally.unjudged * 50 <= tally.steps, "too busy a machine: {tally}");
    if steps >= 20_000 {
        let deaf = kind.settings.client == Client::Ignore;
        tally.assert_everything_happened(deaf.then_some("only if cached"));
    }
}

fn kind(client: Client, keep_stale: u64, share_set_cookie: bool, small_memory: bool) -> Kind {
    Kind { settings: Settings { client, keep_stale, share_set_cookie }, small_memory }
}

#[test]
fn model_as_it_comes() {
    in_process(&kind(Client::Limit, DAY, false, false));
}

#[test]
fn model_mostly_from_disk() {
    in_process(&kind(Client::Honour, DAY, false, true));
}

#[test]
fn model_without_stale_answers() {
    in_process(&kind(Client::Honour, 0, true, false));
}

#[test]
fn model_deaf_to_clients() {
    in_process(&kind(Client::Ignore, 30 * SECOND, false, true));
}

#[test]
fn model_of_shared_cookies() {
    in_process(&kind(Client::Limit, 5 * SECOND, true, false));
}

/// The binary, and the time that passes for everybody: fewer steps, many between two waits.
#[test]
fn model_of_the_binary() {
    let steps = steps(if support::long() { 8000 } else { 800 });
    let mix = Mix { pages: 60, wait_every: 150, waits: &[1100, 2100], restart_every: 400 };
    let kind = kind(Client::Limit, DAY, false, false);
    let tally = model::run(&kind, &mix, seed(), steps, Spawned::start);
    println!("{tally}");
    assert!(tally.unjudged * 10 <= tally.steps, "too busy a machine: {tally}");
}
