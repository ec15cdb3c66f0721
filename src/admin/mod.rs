//! The admin port: metrics, health and control, on a listener of its own, served by the back room.
//!
//! - [`server`]: the listener, its connections and their limits.
//! - [`router`]: which path does what.
//! - [`doors`]: who may come in. [`problem`]: what the others hear.
//! - [`control`]: what the port asks of the running Larder; [`stats`]: the figures it shows;
//!   [`purge`]: what a purge's body may say; [`query`]: the same of a query;
//!   [`entries`]: a stored response as it is shown; [`explain`]: a decision.
//!
//! The data plane never waits for any of it.

pub mod control;
pub mod doors;
pub mod entries;
pub mod explain;
pub mod problem;
pub mod purge;
pub mod query;
pub mod router;
pub mod server;
pub mod stats;

pub use control::Control;
pub use server::{AdminError, Bound, Server, Settings, bind, serve};

#[cfg(test)]
mod tests;
