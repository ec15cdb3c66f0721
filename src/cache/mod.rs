//! What is stored, where, and what of it still counts.
//!
//! - [`tiers`]: memory, then disk; what is found below is promoted. The door of this room.
//! - [`entry`]: a stored response; [`pieces`]: its body, where it is held in part or in segments;
//!   [`codec`]: both as bytes.
//! - [`memory`] and [`disk`]: the tiers; [`hash`]: the keyed hasher of both.
//! - [`budget`]: one budget of memory for all of them.
//! - [`flight`]: one fetch per object, streamed to all who want it.
//! - [`purge`]: what was invalidated; [`uncacheable`]: what is not worth waiting for;
//!   [`searches`]: what lies under a query that stands for others; [`queries`]: what answers to
//!   QUERY are named.

pub mod budget;
pub mod codec;
pub mod disk;
pub mod entry;
pub mod flight;
pub mod hash;
pub mod memory;
pub mod pieces;
pub mod purge;
pub mod queries;
pub mod searches;
pub mod tiers;
pub mod uncacheable;
