//! Black-box tests: the real binary before a scripted origin, grouped by what a user sees.

#![allow(
    dead_code,
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

#[path = "../support/mod.rs"]
mod support;

mod admin;
mod budget;
mod caching;
mod cli;
mod codings;
mod collapse;
mod compression;
mod deception;
mod decoding;
mod denial;
mod deploy;
mod directives;
mod disk_faults;
mod drain;
mod early;
mod entries;
mod events;
mod expect;
mod explain;
mod explain_page;
mod forwarded;
mod freshness;
mod interim;
mod invalidation;
mod keys;
mod limits;
mod memory;
mod metrics;
mod origin_bad;
mod partial;
mod partial_flights;
mod partial_joined;
mod partial_odd;
mod partial_random;
mod poisoning;
mod purge;
mod query;
mod range_head;
mod real_app;
mod recipes;
mod recode;
mod reload;
mod requests_bad;
mod restart;
mod route;
mod route_keys;
mod rules;
mod search;
mod stale;
mod streaming;
mod upgrade;
mod upstream;
mod validation;
mod vary;
mod warm;
