//! The command line: one file a command.
//!
//! - [`args`]: what can be typed.
//! - [`run`]: serve, from [`rooms`], with [`control`] for the admin port; `deploy`: has another
//!   build of the app come?
//! - [`check`]: is the configuration right, and what holds?
//! - [`health`], [`cache`]: ask the running Larder, through [`client`].
//! - [`warm`]: fetches many URLs through it.
//! - [`demo`]: an app of our own and a Larder in front of it.
//!
//! Exit codes: 0 fine, 1 failed, 2 wrong usage or configuration.

pub mod args;
pub mod cache;
pub mod check;
pub mod client;
pub mod control;
pub mod demo;
mod deploy;
pub mod health;
pub mod rooms;
pub mod run;
mod url;
pub mod warm;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cli::args::{Cli, Command};
use crate::config::{self, ConfigError, Flags, Sources};

/// Wrong usage or configuration.
pub const USAGE: u8 = 2;

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // clap's own codes: 0 for --help, 2 for wrong usage. A closed pipe is no failure.
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE));
        }
    };
    let flags = Flags::from(cli.common);
    match cli.command.unwrap_or(Command::Run) {
        Command::Run => match config::load(Sources::of_process(flags)) {
            Ok(loaded) => run::run(loaded),
            Err(error) => refused(&error),
        },
        Command::Demo { once } => demo::demo(&flags, once),
        Command::Check { explain: None, .. } => check::check(flags),
        Command::Check { explain: Some(url), headers, method } => {
            check::explain(flags, &url, &headers, &method)
        }
        Command::Health => health::health(&flags),
        Command::Cache { action } => cache::cache(&flags, &action),
    }
}

/// Prints every mistake of a configuration.
fn refused(error: &ConfigError) -> ExitCode {
    for mistake in &error.mistakes {
        complain(mistake);
        if let Some(excerpt) = &mistake.excerpt {
            say_error(excerpt);
        }
    }
    ExitCode::from(USAGE)
}

/// Header fields as they are given by `-H`.
fn header_fields(lines: &[String]) -> Result<HeaderMap, String> {
    let mut fields = HeaderMap::new();
    for line in lines {
        let wrong = || format!("--header \"{line}\": it must be as in HTTP, Name: value");
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        fields.append(name, HeaderValue::from_str(value.trim()).map_err(|_| wrong())?);
    }
    Ok(fields)
}

/// `larder: …` on standard error, where a closed pipe is no reason to panic.
fn complain(what: impl std::fmt::Display) {
    say_error(format_args!("larder: {what}"));
}

fn say_error(what: impl std::fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{what}");
}

/// A line on standard output; a closed pipe is no reason to panic.
fn say(what: impl std::fmt::Display) {
    let _ = writeln!(io::stdout().lock(), "{what}");
}
