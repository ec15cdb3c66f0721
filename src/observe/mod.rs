//! Telling what happens: metrics, access log, system figures. Looks on; never in the way.

pub mod access_log;
pub mod metrics;
pub mod record;
