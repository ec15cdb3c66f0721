//! RFC 9110/9111 decisions. Pure: no I/O, no clock, no globals; `now` is an argument.

pub mod decision;
pub mod time;
pub mod wire;
