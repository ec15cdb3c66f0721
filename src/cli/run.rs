//! `larder run`: serve.

use std::process::ExitCode;

use crate::config::Loaded;

/// Serves until it is told to end.
pub fn run(_loaded: Loaded) -> ExitCode {
    ExitCode::FAILURE
}
