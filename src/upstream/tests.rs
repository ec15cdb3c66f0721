//! Against raw origins that say byte for byte what a test scripts, on real sockets.

mod exchange;
mod faults;
mod origin;
mod pooling;
