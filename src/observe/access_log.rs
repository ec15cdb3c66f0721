//! The access log: one line a request, never in the data plane's way.

use crate::observe::record::Record;

/// Takes finished requests and writes a line for each.
#[derive(Debug, Default)]
pub struct AccessLog {}

impl AccessLog {
    /// No access log.
    pub fn off() -> Self {
        Self {}
    }

    /// Writes one line for `record`, a request of worker number `worker`.
    pub fn log(&self, _worker: usize, _record: &Record) {}
}
