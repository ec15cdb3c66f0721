//! The `larder` binary: parses the command line and calls into [`larder::cli`].

use std::process::ExitCode;

/// glibc's allocator keeps what a burst of connections or fills has taken; jemalloc gives it back.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    larder::cli::main()
}
