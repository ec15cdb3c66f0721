//! What the machine has to say about a configuration.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::sys;

/// What defaults follow from. Read once: a reload must not change it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Cores that this process may use.
    pub cores: usize,
    /// Bytes of memory that it may use.
    pub memory: Option<u64>,
    /// Descriptors that it may open; `None`: unlimited.
    pub descriptors: Option<u64>,
    /// Where its cache goes when nobody says so.
    pub cache_dir: Option<PathBuf>,
}

impl Machine {
    /// This machine; raises the limit of descriptors on the way.
    pub fn here(environment: &[(String, OsString)]) -> Self {
        Self {
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory: sys::memory_limit(),
            descriptors: sys::raise_descriptor_limit(),
            cache_dir: default_cache_dir(environment, sys::is_root()),
        }
    }
}

/// systemd's `$CACHE_DIRECTORY` for a service, `/var/cache/larder` for root, else the user's.
fn default_cache_dir(environment: &[(String, OsString)], root: bool) -> Option<PathBuf> {
    let absolute = |name: &str| {
        let value = &environment.iter().find(|(known, _)| known == name)?.1;
        // systemd separates several directories with colons.
        let first = value.to_string_lossy().split(':').next().map(PathBuf::from)?;
        first.is_absolute().then_some(first)
    };
    absolute("CACHE_DIRECTORY")
        .or_else(|| root.then(|| PathBuf::from("/var/cache/larder")))
        .or_else(|| absolute("XDG_CACHE_HOME").map(|dir| dir.join("larder")))
        .or_else(|| absolute("HOME").map(|dir| dir.join(".cache/larder")))
}

/// The warning that a cache directory deserves for what it lies on; looks at the nearest
/// existing directory above it.
pub fn directory_warning(dir: &Path) -> Option<String> {
    let existing = dir.ancestors().find(|ancestor| ancestor.is_dir())?;
    let warning = sys::file_system(existing).ok()?.warning()?;
    Some(format!("the cache directory {} {warning}", dir.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_directory_is_systemds_or_roots_or_the_users() {
        let dir = |environment: &[(&str, &str)], root| {
            let environment: Vec<_> =
                environment.iter().map(|(n, v)| ((*n).to_owned(), OsString::from(v))).collect();
            default_cache_dir(&environment, root).map(|dir| dir.display().to_string())
        };
        let home = ("HOME", "/home/a");
        for (case, environment, root, want) in [
            (
                "service",
                &[("CACHE_DIRECTORY", "/var/cache/larder:/x"), home][..],
                false,
                Some("/var/cache/larder"),
            ),
            ("root", &[home], true, Some("/var/cache/larder")),
            ("XDG", &[("XDG_CACHE_HOME", "/x"), home], false, Some("/x/larder")),
            (
                "XDG must be absolute",
                &[("XDG_CACHE_HOME", "x"), home],
                false,
                Some("/home/a/.cache/larder"),
            ),
            ("nobody", &[], false, None),
        ] {
            assert_eq!(dir(environment, root).as_deref(), want, "{case}");
        }
    }
}
