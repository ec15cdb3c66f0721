//! How the values of a `[[route]]` are read. A list of one may be written without brackets.

use std::fmt::Write as _;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use super::{Raw, Setting, word};
use crate::semantics::key::Scheme;
use crate::semantics::route::cookies::Analytics;
use crate::semantics::route::overrides::Statuses;
use crate::semantics::route::pattern::{Condition, Glob, Host};
use crate::semantics::route::template::Template;

/// Each item of a list, or of a text that stands for a list of one.
fn each<T>(
    raw: &Raw<'_>,
    example: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, String> {
    let one = match raw {
        Raw::Toml(value) => value.as_str().map(|text| vec![text]),
        Raw::Text(_) => None,
    };
    let items = one.or_else(|| raw.items()).ok_or_else(|| raw.expected(example))?;
    let read = |item: &str| {
        read(item.trim()).ok_or_else(|| format!("expected {example}, found \"{item}\" in it"))
    };
    items.into_iter().map(read).collect()
}

/// Hosts.
#[derive(Debug, Clone)]
pub struct Hosts(pub Vec<Host>);

impl Setting for Hosts {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        each(raw, "hosts such as \"example.org\" or \"*.example.org\"", Host::new).map(Self)
    }
}

/// Paths.
#[derive(Debug, Clone)]
pub struct Paths(pub Vec<Glob>);

impl Setting for Paths {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let path = |text: &str| {
            let valid = text.starts_with(['/', '*']) && !text.contains(['?', '#', ' ']);
            valid.then(|| Glob::new(text))
        };
        each(raw, "paths such as \"/about\", \"/api/*\" or \"*.css\"", path).map(Self)
    }
}

/// Methods.
#[derive(Debug, Clone)]
pub struct Methods(pub Vec<Method>);

impl Setting for Methods {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let method = |text: &str| {
            let upper = !text.bytes().any(|b| b.is_ascii_lowercase());
            text.parse().ok().filter(|_| upper)
        };
        each(raw, "methods such as \"GET\" or \"POST\"", method).map(Self)
    }
}

/// Conditions on header fields.
#[derive(Debug, Clone)]
pub struct Conditions(pub Vec<Condition>);

impl Setting for Conditions {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let example = "header fields such as \"X-Debug\" (there), \"!X-Debug\" (not there) or \
                       \"X-Debug: 1\" (with * in the value)";
        each(raw, example, Condition::new).map(Self)
    }
}

impl Setting for Scheme {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        word(raw, &[("http", Self::Http), ("https", Self::Https)])
    }
}

/// What a route lets the cache do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheMode {
    /// As the origin says.
    On,
    /// Neither asked nor filled.
    Off,
    /// Filled whatever the origin or the request says against it.
    Force,
}

impl Setting for CacheMode {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        word(raw, &[("on", Self::On), ("off", Self::Off), ("force", Self::Force)])
    }
}

impl Setting for Analytics {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        word(raw, &[("ignore", Self::Ignore), ("drop", Self::Drop), ("count", Self::Count)])
    }
}

/// Lifetimes by status code.
#[derive(Debug, Clone)]
pub struct StatusTtls(pub Vec<(Statuses, Duration)>);

impl Setting for StatusTtls {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let pair = |text: &str| {
            let (status, ttl) = text.split_once(':')?;
            let ttl = humantime::parse_duration(ttl.trim()).ok()?;
            Some((Statuses::new(status.trim())?, ttl))
        };
        each(raw, "status codes with a duration such as \"404: 10s\" or \"5xx: 1s\"", pair)
            .map(Self)
    }
}

/// Names of cookies or parameters with stars.
#[derive(Debug, Clone)]
pub struct Names(pub Vec<Glob>);

impl Setting for Names {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let name = |text: &str| is_name(text).then(|| Glob::new(text));
        each(raw, "names such as \"page\" or \"ab_*\"", name).map(Self)
    }
}

/// Names of cookies.
#[derive(Debug, Clone)]
pub struct CookieNames(pub Vec<Box<str>>);

impl Setting for CookieNames {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let name = |text: &str| (is_name(text) && !text.contains('*')).then(|| text.into());
        each(raw, "names of cookies such as \"lang\", without stars", name).map(Self)
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && !b"=;,&\"".contains(&b))
}

/// Header fields with their values.
#[derive(Debug, Clone)]
pub struct Lines(pub Vec<(HeaderName, HeaderValue)>);

impl Setting for Lines {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let line = |text: &str| {
            let (name, value) = text.split_once(':')?;
            let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        };
        // A value may be a secret: what was found is not repeated.
        let example = "header fields with a value such as \"X-Site: shop\"";
        each(raw, example, line).map(Self).map_err(|_| format!("expected {example}"))
    }
}

impl Setting for Template {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let text = raw.text().ok_or_else(|| raw.expected("a text"))?;
        Self::new(text).map_err(|mut what| {
            let _ = write!(what, ", found \"{text}\"");
            what
        })
    }
}

impl Setting for String {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        raw.text().map(ToOwned::to_owned).ok_or_else(|| raw.expected("a text"))
    }
}
