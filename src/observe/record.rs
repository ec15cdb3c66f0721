//! One finished request, as metrics and the access log take it.

use http::Method;

use crate::observe::noted::Noted;
use crate::semantics::decision::{Decision, Outcome};
use crate::semantics::time::Timestamp;

/// What is known of a request once its answer has been sent (or given up).
#[derive(Debug)]
pub struct Record {
    /// What the access log says of the request itself.
    pub noted: Noted,
    /// Its method.
    pub method: Method,
    /// The route that it met, by [`super::metrics::Metrics::route`]; 0: none.
    pub route: u16,
    /// Status code sent to the client.
    pub status: u16,
    /// What was decided.
    pub decision: Decision,
    /// Body bytes received from the client.
    pub bytes_in: u64,
    /// Body bytes sent to the client.
    pub bytes_out: u64,
    /// When the last byte of the answer was sent.
    pub ended: Timestamp,
    /// From the end of the request's head to then, in nanoseconds.
    pub duration_ns: u64,
    /// What the origin took to its head, in nanoseconds; 0: it was not asked.
    pub origin_ns: u64,
    /// Content coding of the answer, if Larder made it.
    pub coding: Option<&'static str>,
    /// The answer broke off before its end.
    pub aborted: bool,
}

impl Record {
    /// The record of a request that was just taken up: nothing has become of it yet.
    pub fn new(noted: Noted, method: Method) -> Self {
        Self {
            noted,
            method,
            route: 0,
            status: 0,
            decision: Decision::new(Outcome::Error),
            bytes_in: 0,
            bytes_out: 0,
            ended: Timestamp::EPOCH,
            duration_ns: 0,
            origin_ns: 0,
            coding: None,
            aborted: false,
        }
    }
}
