//! Listeners, workers and connections.
//!
//! - [`Listeners`]: one SO_REUSEPORT socket a worker, and a clear word when the address is taken.
//! - [`Workers`]: a thread and a current-thread runtime each; accepting, draining, ending.
//! - `worker`: what the connections of one worker share.
//! - `connection`: one client connection: hyper, the service and what surrounds them.
//! - `closing`: the end of a connection that hyper lets go of.
//! - `io`: the I/O wrapper that scans each byte before hyper sees it.
//! - `timers`: idle, head, body and write time limits by a coarse clock of each worker.
//!
//! [`start`] is called by `cli::run` with something that can [`Serve`].

mod closing;
mod connection;
mod io;
mod listeners;
#[cfg(test)]
mod tests;
mod timers;
mod worker;
mod workers;

pub use listeners::{Listeners, ServerError};
pub use worker::LimitsSource;
pub use workers::{DrainReport, Workers, start};

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use hyper::body::Incoming;

use crate::proxy::conn::Conn;
use crate::proxy::reply::Reply;

/// What answers requests; one value a worker.
pub trait Serve: Send + Sync + 'static {
    /// The body of an answer. An error breaks the answer off: the connection is reset.
    type Body: http_body::Body<Data = Bytes, Error: Into<Box<dyn Error + Send + Sync>>>
        + Send
        + Unpin
        + 'static;

    /// Answers one request. Calls [`Conn::next_request`] first.
    fn call(&self, conn: &Arc<Conn>, request: Request<Incoming>) -> Reply<Self::Body>;

    /// Nothing is left to be done for requests that were answered. Asked at the end of a drain,
    /// which waits a moment for it.
    fn is_settled(&self) -> bool;
}
