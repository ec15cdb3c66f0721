//! Telling what happens: metrics, access log, system figures. Looks on; never in the way.

pub mod record;
