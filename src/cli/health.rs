//! `larder health`: is the running Larder ready? For container health checks.

use std::process::ExitCode;

use crate::cli::client::Client;
use crate::cli::{complain, refused, say};
use crate::config::Flags;

/// Exit code 0 when `/readyz` answers 200.
pub fn health(flags: &Flags) -> ExitCode {
    let client = match Client::of_process(flags) {
        Ok(client) => client,
        Err(error) => return refused(&error),
    };
    match client.get("/readyz") {
        Ok(answer) if answer.status == 200 => {
            say(answer.body.trim_end());
            ExitCode::SUCCESS
        }
        Ok(answer) => {
            complain(format_args!("not ready ({}): {}", answer.status, answer.body.trim_end()));
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}
