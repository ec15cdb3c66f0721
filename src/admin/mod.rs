//! The admin port: metrics, health and control, on a listener of its own.

pub mod control;
pub mod stats;
