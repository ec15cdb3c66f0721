//! What goes into the log and what comes out of it.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use globset::{Glob, GlobBuilder, GlobMatcher};

use super::record::{Kind, Record};
use super::{MAX_GLOB, MAX_NAME};
use crate::semantics::key;
use crate::semantics::tags::Tags;

/// By what a purge names its copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The URL of a key (up to its first NUL), with all its variants.
    Url,
    /// The authority in a key's URL; without a port: whatever port.
    Host,
    /// A tag that the response came with.
    Tag,
    /// What the URL begins with.
    Prefix,
    /// What the URL looks like.
    Glob,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Url, Self::Host, Self::Tag, Self::Prefix, Self::Glob];

    /// As the admin API names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Host => "host",
            Self::Tag => "tag",
            Self::Prefix => "prefix",
            Self::Glob => "glob",
        }
    }
}

/// What is to be purged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// What has this name. A URL, prefix or glob that begins with '/' is about path and query, on
    /// every host.
    Named(Class, Vec<u8>),
    /// A cache group (RFC 9875) by its name as keys have it: the origin, a NUL, `g`, the name.
    Group(Vec<u8>),
    /// All that was fetched before.
    Everything,
}

impl What {
    /// A URL, or a path on every host.
    pub fn url(url: impl Into<Vec<u8>>) -> Self {
        Self::Named(Class::Url, url.into())
    }

    /// Whether the log takes it.
    ///
    /// # Errors
    /// It is empty, too long, or no glob.
    pub fn check(&self) -> Result<(), PurgeError> {
        let (Self::Named(_, name) | Self::Group(name)) = self else { return Ok(()) };
        if name.is_empty() {
            return Err(PurgeError::Empty);
        }
        let Self::Named(Class::Glob, text) = self else {
            return if name.len() > MAX_NAME { Err(PurgeError::TooLong) } else { Ok(()) };
        };
        if text.len() > MAX_GLOB {
            return Err(PurgeError::TooLong);
        }
        // A glob may be right and its automaton too large.
        let set = globset::GlobSet::builder().add(glob(text)?).build();
        set.map(drop).map_err(|error| PurgeError::Glob(error.kind().to_string()))
    }

    pub(super) fn kind(&self, soft: bool) -> Kind<'_> {
        match self {
            Self::Named(class, name) => Kind::Purged(*class, name, soft),
            Self::Group(name) => Kind::Purged(Class::Url, name, soft),
            Self::Everything => Kind::Everything { soft },
        }
    }

    /// What finds out whether a copy would be purged by this.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn matcher(&self) -> Result<Matcher<'_>, PurgeError> {
        self.check()?;
        let glob = match self {
            Self::Named(Class::Glob, text) => Some(glob(text)?.compile_matcher()),
            _ => None,
        };
        Ok(Matcher { what: self, glob })
    }
}

/// Compiles a glob: `*` and `?` stop at a slash, `**` does not; `[a-z]`, `{a,b}`; a backslash takes
/// the meaning from what follows.
pub(super) fn glob(text: &[u8]) -> Result<Glob, PurgeError> {
    let text =
        std::str::from_utf8(text).map_err(|_| PurgeError::Glob("it is not in UTF-8".to_owned()))?;
    GlobBuilder::new(text)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map_err(|error| PurgeError::Glob(error.kind().to_string()))
}

/// Finds out whether copies would be purged, one by one.
#[derive(Debug)]
pub struct Matcher<'a> {
    what: &'a What,
    glob: Option<GlobMatcher>,
}

impl Matcher<'_> {
    /// Whether this copy would be.
    pub fn matches(&self, copy: Subject<'_>) -> bool {
        let url = key::url_part(copy.key);
        let (class, name) = match self.what {
            What::Everything => return true,
            What::Group(_) => return false, // told by what the copy says of itself
            What::Named(class, name) => (*class, name.as_slice()),
        };
        match class {
            Class::Host => hosts_of(url).any(|host| host == name),
            Class::Tag => copy.tags.iter().any(|tag| tag.as_bytes() == name),
            Class::Url => about(name, url) == name,
            Class::Prefix => about(name, url).starts_with(name),
            Class::Glob => {
                let subject = about(name, url);
                self.glob.as_ref().is_some_and(|glob| glob.is_match(path(subject)))
            }
        }
    }
}

/// What of `url` a name is compared with.
fn about<'a>(name: &[u8], url: &'a [u8]) -> &'a [u8] {
    if is_path(name) { path_of(url).unwrap_or_default() } else { url }
}

pub(super) fn is_path(name: &[u8]) -> bool {
    name.first() == Some(&b'/')
}

/// Path and query of `scheme://authority/path?query`.
pub(super) fn path_of(url: &[u8]) -> Option<&[u8]> {
    let authority = memchr::memmem::find(url, b"://")? + 3;
    let slash = memchr::memchr(b'/', url.get(authority..)?)?;
    url.get(authority + slash..)
}

/// The authority in a URL, and, where it has a port, that without it.
pub(super) fn hosts_of(url: &[u8]) -> impl Iterator<Item = &[u8]> {
    let rest = memchr::memmem::find(url, b"://").and_then(|at| url.get(at + 3..));
    let end = rest.and_then(|rest| memchr::memchr(b'/', rest));
    let authority = rest.map(|rest| end.and_then(|end| rest.get(..end)).unwrap_or(rest));
    let portless = authority.and_then(|authority| {
        let colon = memchr::memrchr(b':', authority)?;
        // The colons of an IPv6 address are within brackets.
        let is_port = authority.get(colon..).is_some_and(|port| !port.contains(&b']'));
        authority.get(..colon).filter(|_| is_port)
    });
    [authority, portless].into_iter().flatten()
}

/// Bytes as globs take them.
pub(super) fn path(bytes: &[u8]) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt as _;
    std::path::Path::new(std::ffi::OsStr::from_bytes(bytes))
}

/// A copy as records meet it.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its key.
    pub key: &'a [u8],
    /// The tags that it came with.
    pub tags: &'a Tags,
}

/// What the log says of a copy; what says more is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[must_use]
pub enum Verdict {
    /// No record applies.
    Valid,
    /// To be validated with the origin before it is used.
    Stale,
    /// Not to be used at all.
    Purged,
}

/// Why a purge failed. Callers answer it; the cache goes on.
#[derive(Debug, thiserror::Error)]
pub enum PurgeError {
    /// The log cannot be opened: the caller may go on with one in memory.
    #[error("cannot open the purge log {}", path.display())]
    Open {
        /// The log's file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The purge holds from now on, but a restart may forget it: disk full or failing.
    #[error("purged, but the purge log cannot be written: a restart may forget it")]
    NotDurable {
        /// The purge's position.
        position: u64,
        /// What the system said.
        source: io::Error,
    },
    /// Longer than [`MAX_NAME`], or a glob longer than [`MAX_GLOB`].
    #[error("more than {MAX_NAME} bytes (a glob: {MAX_GLOB}) cannot be purged")]
    TooLong,
    /// Nothing would be purged, or everything.
    #[error("it is empty")]
    Empty,
    /// No glob.
    #[error("it is no glob: {0}")]
    Glob(String),
}

/// A record that older copies of a key are dead, until [`super::PurgeLog::retire`].
#[derive(Debug)]
#[must_use]
pub struct Ticket {
    pub(super) position: u64,
    pub(super) key: Box<[u8]>,
}

impl Ticket {
    /// The record's position: what the superseding copy carries as its fetch position from now
    /// on, once [`super::PurgeLog::admits`] has said that it is valid.
    pub fn position(&self) -> u64 {
        self.position
    }
}

/// A record as the admin API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The record's position.
    pub position: u64,
    /// What was purged.
    pub what: What,
    /// Whether what it applies to may be revalidated.
    pub soft: bool,
}

impl Listed {
    /// `None` for a key that was superseded: nobody has purged anything.
    pub(super) fn of(record: &Record<'_>) -> Option<Self> {
        let (what, soft) = match record.what {
            // No URL holds a NUL.
            Kind::Purged(Class::Url, url, soft) if url.contains(&0) => {
                (What::Group(url.to_vec()), soft)
            }
            Kind::Purged(class, name, soft) => (What::Named(class, name.to_vec()), soft),
            Kind::Everything { soft } => (What::Everything, soft),
            Kind::Superseded { .. } | Kind::Retired | Kind::Opened => return None,
        };
        Some(Self { position: record.position, what, soft })
    }

    /// By what, as the admin API names it.
    pub fn kind(&self) -> &'static str {
        match &self.what {
            What::Named(class, _) => class.as_str(),
            What::Group(_) => "group",
            What::Everything => "everything",
        }
    }

    /// What was purged, as it is read.
    pub fn name(&self) -> Cow<'_, str> {
        match &self.what {
            What::Named(_, name) | What::Group(name) => String::from_utf8_lossy(name),
            What::Everything => Cow::Borrowed("everything"),
        }
    }
}
