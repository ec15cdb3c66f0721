//! Large objects, and slow ones that many want at once: streamed in bounded memory, kept in
//! segments, served from a real disk in parts, over restarts and kills (DESIGN D3, D5).
//!
//! The object has 96 MiB, and 1 GiB in the long form (`LARDER_TEST_LONG=1`). Nothing here ever
//! holds it: what a byte must be follows from where it stands.
//!
//! - `body`: the object, the origin that has it, and the client that checks it as it comes.
//! - `objects`: memory, disk, ranges, restarts, kills.
//! - `crowd`: two hundred clients on one slow object, and what becomes of the slow ones, of the
//!   first, and of all when the origin breaks off.

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

#[path = "large/body.rs"]
mod body;
#[path = "large/crowd.rs"]
mod crowd;
#[path = "large/objects.rs"]
mod objects;
#[path = "support/mod.rs"]
mod support;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tests that measure take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}
