//! `larder check`: is the configuration right, what holds, and where is each value from?

use std::process::ExitCode;

use crate::cli::{complain, refused, say};
use crate::config::memory::MemoryPlan;
use crate::config::{self, Flags, Sources, effective, machine};

/// Prints the effective configuration (standard output) and what is wrong or odd (standard
/// error).
pub fn check(flags: Flags) -> ExitCode {
    let loaded = match config::load(Sources::of_process(flags)) {
        Ok(loaded) => loaded,
        Err(error) => return refused(&error),
    };
    for warning in &loaded.warnings {
        complain(format_args!("warning: {warning}"));
    }
    if let Some(warning) = loaded.snapshot.cache.dir.as_deref().and_then(machine::directory_warning)
    {
        complain(format_args!("warning: {warning}"));
    }
    say(effective::render(&loaded).trim_end());
    say("");
    for line in MemoryPlan::of(&loaded.snapshot).lines() {
        say(format_args!("# {line}"));
    }
    ExitCode::SUCCESS
}
