//! Larder: a caching reverse proxy that runs beside any HTTP app.
//!
//! A request walks through the house in one direction:
//!
//! ```text
//! listener - connection - request - key - lookup --hit----------------> respond - record
//! server/    server/      proxy/   proxy/ cache/                        proxy/    observe/
//!                                           | miss, stale                 ^
//!                                           |- join a fill in flight -----|
//!                                           '- upstream - storable? - store
//!                                              upstream/  semantics/  cache/
//! ```
//!
//! - [`semantics`]: the pure room, RFC 9110/9111 decisions without I/O or clock.
//! - [`cache`], [`upstream`], [`server`]: machine rooms; [`proxy`] is the one path through them.
//! - [`admin`], [`observe`], [`cli`]: the office, which looks on.
//! - [`config`]: what the user writes, and what the code reads of it.
//! - [`clock`] and [`sys`]: the only files that read a clock or ask the operating system for
//!   what needs `unsafe` elsewhere.
//!
//! A module imports only what stands to its left: `semantics < cache < upstream < proxy <
//! server < admin < cli` (`tests/structure.rs` keeps it so).

pub mod admin;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod config;
pub mod observe;
pub mod proxy;
pub mod semantics;
pub mod server;
pub mod sys;
pub mod upstream;
