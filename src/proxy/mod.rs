//! The data plane's one path: from a request to its answer.
pub mod conn;
