//! Telling what happens: metrics, access log, events, system figures. Looks on; never in the way.
//!
//! - [`metrics`]: every number ([`counts`], and by worker [`shard`], [`histogram`]);
//!   [`exposition`] writes them down for a scrape, [`text`] turns that into the older format.
//! - [`access_log`]: a line for each finished request: what was [`noted`] when it came and the
//!   [`record`] of what became of it, put together by [`line`], letter by letter by `write`.
//! - [`events`]: what Larder has to say about itself, on standard error, by way of `backlog`.
//! - `target`: what both are written to.
//! - [`system`]: the process as the operating system sees it.

pub mod access_log;
mod backlog;
pub mod counts;
pub mod events;
pub mod exposition;
pub mod histogram;
pub mod line;
pub mod metrics;
pub mod noted;
pub mod record;
pub mod shard;
pub mod system;
mod target;
pub mod text;
mod write;
