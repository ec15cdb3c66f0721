//! Rules by route: which one a request meets, and what it changes. Plain values; `config::route`
//! makes them of what the user writes.
//!
//! - [`pattern`]: hosts, paths and header fields that a rule is for.
//! - [`matcher`]: all that one rule asks for; [`index`]: the first of many that a request meets.
//! - [`overrides`]: what a rule changes of storing and freshness.
//! - [`query`] and [`cookies`]: what of them is keyed and forwarded.
//! - [`template`]: where a rule redirects to, and what it makes of a path.

pub mod cookies;
pub mod index;
pub mod matcher;
pub mod overrides;
pub mod pattern;
pub mod query;
pub mod template;
