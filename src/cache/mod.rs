//! What is stored, where, and what of it still counts.

pub mod disk;
pub mod hash;

pub use hash::hash_key;
