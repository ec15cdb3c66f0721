//! The access log: one line a request, never in the data plane's way.

use std::sync::Arc;
use std::time::Duration;

use crate::config::snapshot::{AccessTarget, LogFormat};
use crate::observe::metrics::Metrics;
use crate::observe::record::Record;

/// Takes finished requests and writes a line for each.
#[derive(Debug, Default)]
pub struct AccessLog {}

/// Why the access log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum AccessLogError {
    /// The target cannot be written to.
    #[error("cannot open the access log {target} (`log.access`)")]
    Open {
        /// Path, or `standard output`.
        target: String,
        /// The cause.
        source: std::io::Error,
    },
    /// No thread for the writer.
    #[error("cannot start the access log's thread")]
    Thread(#[source] std::io::Error),
}

impl AccessLog {
    /// No access log.
    pub fn off() -> Self {
        Self {}
    }

    /// Opens `target` and starts the writer; workers are numbered from 0.
    pub fn start(
        _target: &AccessTarget,
        _format: LogFormat,
        _workers: usize,
        _metrics: Arc<Metrics>,
    ) -> Result<Self, AccessLogError> {
        Ok(Self {})
    }

    /// Writes one line for `record`, a request of worker number `worker`.
    pub fn log(&self, _worker: usize, _record: &Record) {}

    /// Opens the file anew (after a rotation); nothing for standard output.
    pub fn reopen(&self) {}

    /// Writes what is buffered and ends the writer; false: not done within `deadline`.
    pub fn close(&self, _deadline: Duration) -> bool {
        true
    }
}
