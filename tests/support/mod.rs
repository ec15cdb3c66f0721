//! What the black-box tests are written with: a scripted origin, the real binary, a client on a
//! bare socket. Nothing here knows how Larder works inside.
//!
//! - [`Origin`]: a real HTTP/1.1 server that records what it sees and answers as told.
//! - [`Larder`]: the binary as a process, its logs and its metrics.
//! - [`Client`], [`Ask`], [`Answer`]: one connection, one request, and how it ended.
//! - [`Content`]: what an origin that knows ranges has at a URL.
//! - [`page::Page`]: a page of the documentation, with the configurations that it shows.
//! - [`mount::Mount`]: a small file system to be filled.
//! - [`eventually`]: waits for what must come within a bound; no test sleeps and hopes.

pub mod answer;
pub mod client;
pub mod larder;
pub mod metrics;
pub mod mount;
pub mod origin;
pub mod page;
pub mod parts;
pub mod process;
pub mod reply;

pub use answer::{Answer, Ending};
pub use client::{Ask, Client};
pub use larder::{Larder, Setup};
pub use origin::{Gate, Origin, Seen};
pub use parts::Content;

use std::time::{Duration, Instant};

/// How long anything that should happen soon may take on a busy two-core machine.
pub const SOON: Duration = Duration::from_secs(30);

/// Polls `cond` until it holds; fails with what it waited for when `limit` has passed.
#[track_caller]
pub fn eventually(what: &str, limit: Duration, mut cond: impl FnMut() -> bool) {
    assert!(within(limit, &mut cond), "waited {limit:?} in vain for {what}");
}

/// Polls `cond` until it holds or `limit` has passed: true if it did hold.
pub fn within(limit: Duration, mut cond: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if cond() {
            return true;
        }
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Asserts that `cond` goes on holding for `time`: what must not happen has tests, too.
#[track_caller]
pub fn never(what: &str, time: Duration, mut cond: impl FnMut() -> bool) {
    assert!(!within(time, &mut cond), "{what}, which must never be");
}

/// True where the long tests are asked for (`./tests/run --all`).
pub fn long() -> bool {
    std::env::var_os("LARDER_TEST_LONG").is_some_and(|v| v != "0" && !v.is_empty())
}

/// Workers of each Larder under test, unless the test itself says otherwise.
pub fn workers() -> usize {
    std::env::var("LARDER_TEST_WORKERS").ok().and_then(|v| v.parse().ok()).unwrap_or(2)
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&next().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// `body` in one of the codings, as an app would code it.
pub fn coded(body: &[u8], coding: &str) -> Vec<u8> {
    use std::io::Write as _;
    match coding {
        "gzip" => {
            let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            coder.write_all(body).expect("gzip");
            coder.finish().expect("gzip")
        }
        "br" => {
            let mut out = Vec::new();
            brotli::CompressorWriter::new(&mut out, 4096, 9, 22).write_all(body).expect("br");
            out
        }
        "zstd" => zstd::encode_all(body, 9).expect("zstd"),
        other => panic!("a coding that no test knows: {other}"),
    }
}

/// Text of about `len` bytes that compresses well.
pub fn text(len: usize) -> Vec<u8> {
    b"A larder keeps what would otherwise be fetched again. ".repeat(len / 54 + 1)
}
