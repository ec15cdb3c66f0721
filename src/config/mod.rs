//! What the user writes, what the code reads, and the way from the one to the other.

pub mod snapshot;
