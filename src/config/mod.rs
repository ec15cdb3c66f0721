//! What the user writes, what the code reads, and the way from the one to the other.
//!
//! - [`file`]: the settings as written, each with the place it came from; its fields' comments
//!   are the reference.
//! - [`value`]: how a single value is read from the file, the environment or a flag.
//! - [`load`]: file, environment and flags laid over each other; every mistake in one run.
//!   (`document` walks the file.)
//! - [`machine`]: what defaults follow from.
//! - [`memory`]: how the one budget of memory is shared out.
//! - [`validate`]: bounds, defaults and what follows from the machine.
//! - [`snapshot`]: the result: immutable, what the rest of the house reads.
//! - [`effective`]: a snapshot as a list of keys, for `larder check` and for diffs.
//! - [`route`]: rules by host, path, method and header field.
//! - [`live`]: the running configuration and its reloads.
//! - [`mistake`]: what was wrong, where, and what would be right.
//!
//! The file is read by hand over `toml`'s spanned document, not by a derived `Deserialize`:
//! serde stops at the first mistake, and a run here reports all of them.

mod document;
pub mod effective;
pub mod file;
pub mod live;
pub mod load;
pub mod machine;
pub mod memory;
pub mod mistake;
pub mod route;
pub mod snapshot;
pub mod validate;
pub mod value;

pub use effective::Diff;
pub use live::Live;
pub use load::{Flags, Loaded, Sources, load};
pub use mistake::{ConfigError, Mistake, Place};
pub use snapshot::Snapshot;
