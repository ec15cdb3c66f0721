//! What lines are written to by a thread that may wait for it: a file, a pipe, a terminal.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long is waited for a target that would block before it is tried again.
const BUSY: Duration = Duration::from_millis(5);

/// Where lines go.
#[derive(Debug)]
pub(super) struct Target {
    file: File,
    /// The last write ended within a line: the next one begins on a new one.
    torn: bool,
}

/// What was not written, and why.
pub(super) struct Left<'a> {
    bytes: &'a [u8],
    pub(super) error: io::Error,
}

impl Left<'_> {
    /// Lines whose end is among it.
    pub(super) fn lines(&self) -> u64 {
        memchr::memchr_iter(b'\n', self.bytes).count() as u64
    }
}

impl Target {
    pub(super) fn new(file: File) -> Self {
        Self { file, torn: false }
    }

    /// Writes all of `bytes`, waiting for as long as it takes; once `stop` is set, no longer than
    /// a second where that can be helped.
    ///
    /// # Errors
    /// As much as went is written; what is left, with the error.
    pub(super) fn write<'a>(&mut self, bytes: &'a [u8], stop: &AtomicBool) -> Result<(), Left<'a>> {
        let mut left = bytes;
        if self.torn {
            match self.file.write_all(b"\n") {
                Ok(()) => self.torn = false,
                Err(error) => return Err(Left { bytes: left, error }),
            }
        }
        let mut patience = 200_u32;
        while !left.is_empty() {
            let error = match self.file.write(left) {
                Ok(0) => ErrorKind::WriteZero.into(),
                Ok(n) => {
                    left = left.get(n..).unwrap_or_default();
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            // A pipe shared with a process that made it non-blocking: wait for its reader.
            let busy = error.kind() == ErrorKind::WouldBlock;
            if busy && (patience > 0 || !stop.load(Ordering::Acquire)) {
                patience = patience.saturating_sub(1);
                std::thread::sleep(BUSY);
                continue;
            }
            let written = bytes.len() - left.len();
            self.torn = written > 0 && bytes.get(written - 1) != Some(&b'\n');
            return Err(Left { bytes: left, error });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_torn_by_an_error_does_not_spoil_the_next() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let mut target = Target { file: path.reopen().unwrap(), torn: true };
        assert!(target.write(b"next\n", &AtomicBool::new(false)).is_ok());
        assert_eq!(std::fs::read(path.path()).unwrap(), b"\nnext\n");
    }
}
