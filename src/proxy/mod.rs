//! The data plane's one path: from a request to its answer.
//!
//! - [`service`]: the order of things, and the only place that knows it; its [`reply`] is given at
//!   once where memory has the answer.
//! - [`admission`]: is this a request to take up, and where does it go? [`ask`]: as it walks on; [`worker`]: what a worker has at hand for it.
//! - [`fetch`]: one fetch per object; [`fill`]: the task that does it; `pump` moves the body,
//!   through a [`sink`] into the store.
//! - [`respond`]: from what was found or fetched to the answer; [`body`] and [`segments`] give its
//!   bytes, [`compress`], [`coding`] and [`decode`] put codings on and off.
//! - [`forward`]: the request as the origin gets it; [`interim`]: what the origin says before its
//!   answer; [`upgrade`]: tunnels.
//! - [`error`]: what Larder answers itself; [`conn`]: what it shares with the server of one
//!   connection.

pub mod admission;
pub mod ask;
pub mod body;
pub mod coding;
pub mod compress;
pub mod conn;
pub mod decode;
pub mod error;
pub mod fetch;
pub mod fill;
pub mod filling;
pub mod forward;
pub mod interim;
mod pump;
pub mod reply;
mod represent;
pub mod respond;
pub mod segments;
pub mod service;
pub mod sink;
pub mod upgrade;
pub mod worker;
