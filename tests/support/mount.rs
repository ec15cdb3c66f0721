//! A small file system of one's own.

use std::path::Path;
use std::process::Command;

/// A tmpfs, gone when dropped.
#[derive(Debug)]
pub struct Mount(tempfile::TempDir);

impl Mount {
    /// One with these options; `None` (and a word about it) where this user cannot mount.
    pub fn new(options: &str) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "larder-test"]).arg(dir.path());
        if mount.status().is_ok_and(|status| status.success()) {
            return Some(Self(dir));
        }
        println!("skipped: this user cannot mount a tmpfs");
        None
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Changes its options.
    pub fn remount(&self, options: &str) {
        let status = Command::new("mount").args(["-o", options]).arg(self.0.path()).status();
        assert!(status.expect("mount runs").success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}
