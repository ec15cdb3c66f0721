//! The `larder` binary: parses the command line and calls into [`larder::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    larder::cli::main()
}
