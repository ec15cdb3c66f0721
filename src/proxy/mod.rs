//! The data plane's one path: from a request to its answer.
//!
//! - [`service`]: the order of things, and the only place that knows it; its [`reply`] is given at
//!   once where memory has the answer.
//! - [`admission`]: is this a request to take up, and where does it go? [`route`]: which rule does
//!   it meet? [`ask`]: as it walks on;
//!   [`worker`]: what a worker has at hand for it.
//! - [`fetch`]: one fetch per object, of what is [`wanted`]; [`fill`]: the task that does it, and
//!   [`filling`]: what it has for those who wait. `inflow` brings the body in: a `pump` moves it,
//!   through a [`sink`] into the store; `partial`: what a 206 is good for.
//! - [`respond`]: from what was found or fetched to the answer; [`body`] gives its bytes. `parts`
//!   says which and where from: a [`segments`] reader, a [`flight_reader`], an [`assembly`] of
//!   both; [`refill`]: what was lost, from the origin again.
//! - [`compress`], [`coding`] and [`decode`] put codings on and off; [`recode`]: on a large stored
//!   body.
//! - [`forward`]: the request as the origin gets it; [`interim`]: what the origin says before its
//!   answer; [`query`]: reads with content; [`upgrade`]: tunnels;
//!   [`purge`]: the method PURGE; [`post`]: answers to POST.
//! - [`explain`]: the same way without walking it.
//! - [`error`]: what Larder answers itself; [`conn`]: what it shares with the server of one
//!   connection.

pub mod admission;
pub mod ask;
pub mod assembly;
pub mod body;
pub mod coding;
pub mod compress;
pub mod conn;
pub mod decode;
pub mod error;
pub mod explain;
pub mod fetch;
pub mod fill;
pub mod filling;
pub mod flight_reader;
pub mod forward;
mod inflow;
pub mod interim;
mod partial;
mod parts;
pub mod post;
mod pump;
pub mod purge;
pub mod query;
pub mod recode;
pub mod refill;
pub mod reply;
mod represent;
pub mod respond;
pub mod route;
pub mod segments;
pub mod service;
pub mod sink;
pub mod upgrade;
pub mod wanted;
pub mod worker;
