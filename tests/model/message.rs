//! Requests and replies as the model has them: field lines in order, nothing parsed.

use std::fmt;

/// Milliseconds since the epoch, or a span of them.
pub type Millis = u64;

/// Field lines; names in lower case.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    /// All lines of one field as one value (RFC 9110 §5.3).
    pub fn text(&self, name: &str) -> Option<String> {
        let lines: Vec<_> = self.0.iter().filter(|(n, _)| n == name).map(|(_, v)| &**v).collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }

    pub fn add(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.add(name, value);
        self
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| n != name);
    }

    /// A directive of Cache-Control: `None` where it is not there, else its argument or "".
    pub fn directive(&self, name: &str) -> Option<String> {
        let value = self.text("cache-control")?;
        value.split(',').find_map(|member| {
            let (own, argument) = member.trim().split_once('=').unwrap_or((member.trim(), ""));
            (own == name).then(|| argument.to_owned())
        })
    }

    pub fn says(&self, directive: &str) -> bool {
        self.directive(directive).is_some()
    }

    /// A directive's seconds, in milliseconds.
    pub fn span(&self, directive: &str) -> Option<Millis> {
        Some(self.directive(directive)?.parse::<u64>().ok()? * 1000)
    }

    /// A field's date, in seconds since the epoch.
    pub fn date(&self, name: &str) -> Option<u64> {
        let time = httpdate::parse_http_date(&self.text(name)?).ok()?;
        time.duration_since(std::time::UNIX_EPOCH).ok().map(|since| since.as_secs())
    }
}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(|(n, v)| format!("{n}: {v}")).collect();
        write!(f, "[{}]", lines.join(" | "))
    }
}

/// A date as HTTP writes it.
pub fn http_date(secs: u64) -> String {
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(secs))
}

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ask {
    pub method: &'static str,
    pub path: String,
    pub fields: Fields,
}

/// Preconditions and ranges: about what the client has, not about what it wants.
const CONDITIONS: [&str; 6] =
    ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range", "range"];

impl Ask {
    /// A GET for the whole of the same.
    pub fn whole(&self) -> Self {
        let mut ask = Self { method: "GET", ..self.clone() };
        for name in CONDITIONS {
            ask.fields.remove(name);
        }
        ask
    }

    pub fn is_conditional(&self) -> bool {
        self.fields.has("if-none-match") || self.fields.has("if-modified-since")
    }

    pub fn is_personal(&self) -> bool {
        self.fields.has("cookie") || self.fields.has("authorization")
    }
}

/// A response. Its content tells which one it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    pub status: u16,
    pub fields: Fields,
    pub content: String,
}
