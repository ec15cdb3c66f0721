//! What the scanner says of some bytes, in the words of the connection's wrapper.

use crate::semantics::wire::{ResponseScanner, Scan, Violation};

/// How far some bytes are good.
pub(super) struct Scanned {
    /// As many may be passed on; the rest is to be scanned again with what follows it.
    pub(super) good: usize,
    /// The rest is no part of any answer.
    pub(super) surplus: bool,
}

/// Scans what a connection brought. `unasked`: nothing was asked on it.
///
/// # Errors
/// What is wrong with it.
pub(super) fn scan(
    scanner: &mut ResponseScanner,
    unasked: bool,
    bytes: &[u8],
) -> Result<Scanned, &'static str> {
    if unasked {
        return Err("bytes before any request");
    }
    let (good, surplus) = match scanner.feed(bytes) {
        // `Upgrade` is for requests only: a 101 makes a tunnel, in which everything passes.
        Scan::Pass | Scan::Upgrade { .. } => (bytes.len(), false),
        Scan::Partial { from } => (from, false),
        Scan::Bad { at, what: Violation::LongerThanSaid, .. } => (at, true),
        Scan::Bad { what, .. } => return Err(what.reason()),
    };
    Ok(Scanned { good, surplus })
}
