//! Header fields that an intermediary takes out, puts in and reads for itself.
//!
//! - [`hop_by_hop`]: what ends at a connection (RFC 9110 §7.6.1).
//! - [`via`]: who passed a message on, and loops (§7.6.3).
//! - [`forwarded`]: X-Forwarded-*, Forwarded, X-Real-IP, and what they say of the client.
//! - [`authority`]: host and port.
//! - [`seen`]: which of these a request has at all.

pub mod authority;
pub mod forwarded;
pub mod hop_by_hop;
pub mod seen;
pub mod via;

pub use forwarded::{ClientView, client_view};
pub use hop_by_hop::{end_to_end, strip_hop_by_hop};
pub use seen::Seen;
pub use via::Pseudonym;
