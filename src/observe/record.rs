//! One finished request, as metrics and the access log take it.

use std::net::IpAddr;

use http::request;

use crate::semantics::decision::Decision;

/// What is known of a request once its answer has been sent (or given up).
#[derive(Debug)]
pub struct Record {
    /// The request's head as the client sent it.
    pub head: request::Parts,
    /// The client's address; `None` for a unix socket.
    pub peer: Option<IpAddr>,
    /// Status code sent to the client.
    pub status: u16,
    /// What was decided.
    pub decision: Decision,
    /// Body bytes received from the client.
    pub bytes_in: u64,
    /// Body bytes sent to the client.
    pub bytes_out: u64,
    /// From the end of the request's head to the last byte of the answer, in nanoseconds.
    pub duration_ns: u64,
    /// What the origin took to its head, in nanoseconds; 0: it was not asked.
    pub origin_ns: u64,
    /// Content coding of the answer, if Larder made it.
    pub coding: Option<&'static str>,
    /// The answer broke off before its end.
    pub aborted: bool,
}
