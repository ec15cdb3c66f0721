//! Has something else been deployed behind Larder since its last start?

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use crate::cache::purge::{Class, PurgeLog, What};
use crate::semantics::tags::HTML;

/// Beside the cache: what was deployed at the last start.
const FILE: &str = "deploy";

/// Where `id` is not that of the last start, all HTML stored until now is stale: it names files that
/// may have other names by now. The purge is on disk before the id is, so that a crash in between
/// only purges twice.
pub(super) fn note(dir: &Path, id: &str, purges: &PurgeLog) {
    let file = dir.join(FILE);
    let last = match fs::read(&file) {
        Ok(last) if last == id.as_bytes() => return,
        Ok(last) => Some(last),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "what was deployed last is not known");
            Some(Vec::new())
        }
    };
    if let Some(last) = last {
        let html = What::Named(Class::Tag, HTML.as_bytes().to_vec());
        let last = String::from_utf8_lossy(&last);
        match purges.purge(&html, true) {
            Ok(_) => {
                tracing::info!(%last, now = id, "another deploy: HTML is validated before use");
            }
            Err(error) => return tracing::error!(%error, "HTML of the last deploy may stay fresh"),
        }
    }
    if let Err(error) = write(&file, id) {
        tracing::warn!(file = %file.display(), %error, "this deploy cannot be remembered");
    }
}

fn write(file: &Path, id: &str) -> io::Result<()> {
    let new = file.with_extension("new");
    let mut out = fs::File::create(&new)?;
    out.write_all(id.as_bytes())?;
    out.sync_all()?;
    fs::rename(new, file)
}
