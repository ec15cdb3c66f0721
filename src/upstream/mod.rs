//! Connections to the origin.
//!
//! ```text
//! Pool::send - checkout an idle connection, or a slot and connect - exchange - ResponseBody
//!              pool.rs                       slots.rs connect.rs   connection.rs   body.rs
//!                 ^--------------- both messages ended exactly ---------------------'
//! ```
//!
//! - [`Pool`]: one a worker; idle connections belong to it, newest first. [`Shared`] counts
//!   connections over all workers and holds `max_connections`.
//! - `connection`: one hyper HTTP/1.1 connection, driven by a task of its own; dropping its
//!   handle closes it.
//! - `io`: hyper reads only what [`ResponseScanner`](crate::semantics::wire::ResponseScanner)
//!   let pass (`scanned`); a connection with anything malformed, surplus or unasked on it is closed.
//! - `request`: body and framing of what is sent. [`ResponseBody`]: what comes back.
//! - [`UpstreamError`]: why not.
//!
//! Called by `proxy::forward` and by fills; knows nothing of caching.

mod body;
mod connect;
mod connection;
mod error;
mod io;
mod pool;
mod request;
mod scanned;
mod slots;
#[cfg(test)]
mod tests;

pub use body::ResponseBody;
pub use error::{BoxError, UpstreamError};
pub use pool::{Pool, Shared};
pub use request::RequestBody;

/// The tunnel behind a 101: resolves once hyper has let go of the connection. Awaiting it before
/// the answer's head went to the client is fine; the origin's first bytes are kept.
pub fn upgrade(
    response: &mut http::Response<ResponseBody>,
) -> impl Future<Output = Result<hyper::upgrade::Upgraded, UpstreamError>> + Send + use<> {
    let upgraded = hyper::upgrade::on(response);
    async move { upgraded.await.map_err(|_| UpstreamError::Closed) }
}
