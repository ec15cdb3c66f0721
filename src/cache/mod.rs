//! What is stored, where, and what of it still counts.
