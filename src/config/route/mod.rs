//! `[[route]]`: rules by host, path, method and header field.
//!
//! - [`written`]: as the user writes them; `read` walks through the file.
//! - here: as they are meant. A rule carries a whole configuration of its own, the common one with
//!   what differs: whoever answers a request reads the one it was given and asks no further.
//! - `tell`: for `larder check` and reloads.
//!
//! Bounds and what rules out what: `config::validate`.

mod read;
pub mod tell;
pub mod written;

use std::sync::Arc;

use http::{HeaderName, HeaderValue};

use crate::config::mistake::Place;
use crate::config::snapshot::Snapshot;
use crate::semantics::route::cookies::Cookies;
use crate::semantics::route::index::Index;
use crate::semantics::route::matcher::Matcher;
use crate::semantics::route::query::QueryRule;
use crate::semantics::route::template::Template;

/// All rules, in their order.
#[derive(Debug, Default)]
pub struct Routes {
    /// Finds the first that a request meets.
    pub index: Index,
    /// The rules by their numbers in it.
    pub rules: Vec<Arc<Rule>>,
}

/// As they were written; what they inherit is compared where it is written.
impl PartialEq for Routes {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, other): (&Arc<Rule>, &Arc<Rule>)| {
            one.name == other.name && one.meant() == other.meant()
        };
        self.rules.len() == other.rules.len() && self.rules.iter().zip(&other.rules).all(same)
    }
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Its name: the label `route`.
    pub name: String,
    /// What it is for.
    pub matcher: Matcher,
    /// Its keys as they were written.
    pub written: Vec<WrittenKey>,
    /// Where it begins in the file.
    pub place: Place,
    /// The configuration of its requests.
    pub snapshot: Arc<Snapshot>,
    /// The cache is neither asked nor filled.
    pub cache_off: bool,
    /// The URL does not tell that a request meets it: it is part of the key.
    pub marks_key: bool,
    /// What of a query is keyed and forwarded.
    pub query: QueryRule,
    /// What cookies do.
    pub cookies: Cookies,
    /// Header fields that are part of the key.
    pub key_headers: Vec<HeaderName>,
    /// What is done to the header fields of requests.
    pub request: Edits,
    /// What is done to the header fields of the origin's answers, as if it had sent them so.
    pub response: Edits,
    /// The path that the origin is asked for.
    pub rewrite: Option<Template>,
    /// What is answered without asking anybody.
    pub answer: Option<Answer>,
}

impl Rule {
    fn meant(&self) -> impl PartialEq {
        let keys = self.written.iter().map(|key| (key.key.clone(), key.text.clone()));
        keys.collect::<Vec<_>>()
    }

    /// It adds something to the key.
    pub fn adds_to_key(&self) -> bool {
        self.marks_key || !self.key_headers.is_empty() || !self.cookies.vary.is_empty()
    }
}

/// A key of a rule.
#[derive(Debug, Clone)]
pub struct WrittenKey {
    /// Its name.
    pub key: String,
    /// Its value as it stands in the file: `${VAR}` is not put in, which may be a secret.
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

/// What is done to header fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    /// Dropped.
    pub drop: Vec<HeaderName>,
    /// Set, in the place of what was sent.
    pub set: Vec<(HeaderName, HeaderValue)>,
}

/// An answer of Larder's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// To another URL.
    Redirect(u16, Template),
    /// This.
    Fixed {
        /// Its status code.
        status: u16,
        /// Its Content-Type.
        content_type: HeaderValue,
        /// Its content.
        body: bytes::Bytes,
    },
}
