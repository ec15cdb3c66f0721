//! The `larder` binary: parses the command line and calls into [`larder::cli`].

fn main() {}
