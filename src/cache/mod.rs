//! What is stored, where, and what of it still counts.

pub mod purge;
pub mod uncacheable;
