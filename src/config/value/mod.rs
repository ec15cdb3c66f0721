//! How one value is read: from the file's TOML, or as text from the environment or a flag.
//!
//! Every type answers a value that it cannot take with what it would take instead.

mod address;
pub mod route;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use http::HeaderName;
use toml::de::DeValue;
use tracing_subscriber::EnvFilter;

use crate::config::mistake::nearest;
use crate::config::snapshot::{AccessTarget, ClientDirectives, LogFormat, Secret};
use crate::semantics::coding::Coding;
use crate::semantics::unkeyed;

pub use address::{Listen, Networks, OriginUrl};

/// A value before it is understood.
#[derive(Debug)]
pub enum Raw<'a> {
    /// As it stands in the file.
    Toml(&'a DeValue<'a>),
    /// From the environment, a flag, or a string of the file with `${VAR}` in it: numbers and
    /// lists are written in it as text, too.
    Text(&'a str),
}

impl Raw<'_> {
    /// The text of a string, wherever it is from.
    fn text(&self) -> Option<&str> {
        match self {
            Self::Toml(value) => value.as_str(),
            Self::Text(text) => Some(text),
        }
    }

    /// A whole number: TOML's, or a text of digits (with `_` between them, as in TOML).
    fn whole(&self) -> Option<u64> {
        match self {
            Self::Toml(value) => {
                let integer = value.as_integer()?;
                u64::from_str_radix(integer.as_str(), integer.radix()).ok()
            }
            Self::Text(text) => text.trim().replace('_', "").parse().ok(),
        }
    }

    /// The items of a list: TOML's array of strings, or a text with commas.
    fn items(&self) -> Option<Vec<&str>> {
        match self {
            Self::Toml(value) => {
                value.as_array()?.iter().map(|item| item.get_ref().as_str()).collect()
            }
            Self::Text(text) => {
                Some(text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect())
            }
        }
    }

    /// What was found, for messages. Secrets are never read through this.
    fn found(&self) -> String {
        match self {
            Self::Toml(value) => match value {
                DeValue::String(text) => format!("\"{text}\""),
                DeValue::Integer(number) => number.to_string(),
                DeValue::Float(number) => number.to_string(),
                DeValue::Boolean(value) => value.to_string(),
                DeValue::Datetime(_) => "a date".to_owned(),
                DeValue::Array(_) => "a list".to_owned(),
                DeValue::Table(_) => "a table".to_owned(),
            },
            Self::Text("") => "nothing".to_owned(),
            Self::Text(text) => format!("\"{text}\""),
        }
    }

    fn expected(&self, what: &str) -> String {
        format!("expected {what}, found {}", self.found())
    }
}

/// A type that settings have.
pub trait Setting: Sized {
    /// Reads it; `Err`: what was expected and what was found.
    fn read(raw: &Raw<'_>) -> Result<Self, String>;
}

/// Bytes: a whole number, or "64KiB", "2GiB", "10MB".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub u64);

const A_SIZE: &str = "a size in bytes such as 65536, \"64KiB\" or \"10MB\"";

impl Setting for Size {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let sized = raw.whole().or_else(|| {
            let text = raw.text()?.trim();
            // bytesize takes "k" for 1000 and "-1" for 0: only whole, named units are meant here.
            let named =
                text.ends_with(['b', 'B']) && text.starts_with(|c: char| c.is_ascii_digit());
            named.then(|| ByteSize::from_str(text).ok())?.map(|size| size.as_u64())
        });
        sized.map(Self).ok_or_else(|| raw.expected(A_SIZE))
    }
}

/// The size of the memory tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemorySize {
    /// As the machine allows.
    Auto,
    /// So many bytes.
    Bytes(u64),
}

impl Setting for MemorySize {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        if raw.text().is_some_and(|text| text.trim() == "auto") {
            return Ok(Self::Auto);
        }
        Size::read(raw)
            .map(|size| Self::Bytes(size.0))
            .map_err(|_| raw.expected("\"auto\" or a size such as 67108864, \"64MiB\" or \"1GB\""))
    }
}

impl Setting for Duration {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let text = raw.text().map(str::trim);
        text.and_then(|text| humantime::parse_duration(text).ok()).ok_or_else(|| {
            let mut message = raw.expected("a duration such as \"250ms\", \"30s\" or \"1h\"");
            if let Some(number) = raw.whole().filter(|number| *number > 0) {
                let _ = write!(message, "; a number needs its unit: \"{number}s\"?");
            }
            message
        })
    }
}

/// A whole number; bounds are checked by `validate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amount(pub u64);

impl Setting for Amount {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        raw.whole().map(Self).ok_or_else(|| raw.expected("a whole number"))
    }
}

impl Setting for bool {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let value = match raw {
            Raw::Toml(value) => value.as_bool(),
            Raw::Text(text) => text.trim().parse().ok(),
        };
        value.ok_or_else(|| raw.expected("true or false"))
    }
}

impl Setting for Vec<Coding> {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let example = "a list of \"gzip\", \"br\" and \"zstd\", or []";
        let items = raw.items().ok_or_else(|| raw.expected(example))?;
        let mut codings = Vec::new();
        for item in items {
            let known = Coding::ALL.into_iter().find(|coding| coding.as_str() == item);
            let Some(coding) = known else {
                return Err(format!("expected {example}, found \"{item}\" in it"));
            };
            if !codings.contains(&coding) {
                codings.push(coding);
            }
        }
        Ok(codings)
    }
}

/// Names of unkeyed request header fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnkeyedNames(pub Vec<HeaderName>);

impl Setting for UnkeyedNames {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let names = field_names(raw, "X-Forwarded-Prefix")?;
        match names.iter().find(|name| unkeyed::is_ours(name)) {
            Some(name) => {
                Err(format!("\"{name}\" is written by Larder itself, from what is keyed"))
            }
            None => Ok(Self(names)),
        }
    }
}

impl Setting for Vec<HeaderName> {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        field_names(raw, "CDN-Cache-Control")
    }
}

fn field_names(raw: &Raw<'_>, such_as: &str) -> Result<Vec<HeaderName>, String> {
    let example = format!("a list of header names such as [\"{such_as}\"], or []");
    let items = raw.items().ok_or_else(|| raw.expected(&example))?;
    let name = |item: &str| {
        HeaderName::from_bytes(item.as_bytes())
            .map_err(|_| format!("expected {example}, found \"{item}\" in it"))
    };
    items.into_iter().map(name).collect()
}

/// One of a few words; a near one is proposed.
fn word<T: Copy>(raw: &Raw<'_>, known: &[(&str, T)]) -> Result<T, String> {
    let text = raw.text().map(str::trim);
    if let Some((_, value)) = known.iter().find(|(name, _)| Some(*name) == text) {
        return Ok(*value);
    }
    let quoted: Vec<String> = known.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let mut message = raw.expected(&match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    });
    if let Some(near) = text.and_then(|text| nearest(text, known.iter().map(|(name, _)| *name))) {
        let _ = write!(message, "; did you mean \"{near}\"?");
    }
    Err(message)
}

impl Setting for ClientDirectives {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        word(raw, &[("honour", Self::Honour), ("limit", Self::Limit), ("ignore", Self::Ignore)])
    }
}

impl Setting for LogFormat {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        word(raw, &[("json", Self::Json), ("human", Self::Human)])
    }
}

impl Setting for AccessTarget {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        match raw.text().map(str::trim) {
            Some("stdout") => Ok(Self::Stdout),
            Some("off") => Ok(Self::Off),
            Some(path) if path.contains('/') && !path.contains('\0') => {
                Ok(Self::File(expand(path)?))
            }
            _ => Err(raw.expected("\"stdout\", \"off\" or a path with a \"/\" in it")),
        }
    }
}

/// The events to be logged, as `tracing`'s filter reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLevel(pub String);

impl Setting for EventLevel {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        const LEVELS: [(&str, ()); 6] =
            [("error", ()), ("warn", ()), ("info", ()), ("debug", ()), ("trace", ()), ("off", ())];
        let text = raw.text().map(str::trim).unwrap_or_default();
        // A lone word would be taken for a module's name: it must be a level. Directives such as
        // "info,larder::cache=debug" are the filter's own business.
        if !text.contains(['=', ',']) {
            word(raw, &LEVELS)?;
        } else if let Err(error) = EnvFilter::builder().parse(text) {
            return Err(format!(
                "{}: {error}",
                raw.expected("a level or a filter such as \"info,larder::cache=debug\"")
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// A name for logs and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name(pub String);

impl Setting for Name {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        match raw.text() {
            Some(text) if (1..=64).contains(&text.len()) && text.chars().all(allowed) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err(raw.expected("a name of at most 64 letters, digits, \"-\", \"_\" and \".\"")),
        }
    }
}

impl Setting for PathBuf {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        match raw.text() {
            Some(text) if !text.is_empty() && !text.contains('\0') => expand(text),
            _ => Err(raw.expected("a path")),
        }
    }
}

/// `~` is the shell's: here it would become a directory of that name.
fn expand(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix('~') {
        Some(rest) => Err(format!("\"~\" is not expanded; write \"${{HOME}}{rest}\"")),
        None => Ok(Path::new(text).to_owned()),
    }
}

impl Setting for Secret {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let visible = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
        // What was found is not repeated: it may be the secret, mistyped.
        raw.text()
            .map(str::trim)
            .filter(visible)
            .map(Self::new)
            .ok_or_else(|| "expected a token: printable ASCII without spaces".to_owned())
    }
}

/// Writes bytes as a person would: "64KiB", "10MB", "1000".
pub fn show_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 6] = [
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("GB", 1_000_000_000),
        ("KiB", 1 << 10),
        ("MB", 1_000_000),
        ("KB", 1_000),
    ];
    let unit = UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

/// Writes a duration as it is written in the file: "250ms", "1h 30m" as "1h30m".
pub fn show_duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string().replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: Setting>(text: &str) -> Result<T, String> {
        T::read(&Raw::Text(text))
    }

    fn toml<T: Setting>(text: &str) -> Result<T, String> {
        let value = DeValue::parse(text).unwrap();
        T::read(&Raw::Toml(value.get_ref()))
    }

    #[test]
    fn sizes_are_bytes_or_units() {
        for (written, want) in [
            ("65536", 65536),
            ("\"64KiB\"", 65536),
            ("\"64 KiB\"", 65536),
            ("\"10MB\"", 10_000_000),
            ("0", 0),
            ("\"1.5GiB\"", 1_610_612_736),
            ("0x10", 16),
            ("1_000", 1000),
        ] {
            assert_eq!(toml(written), Ok(Size(want)), "{written}");
        }
        for written in ["\"64\"", "-1", "\"64K\"", "1.5", "true", "\"\"", "\"-1B\""] {
            let message = toml::<Size>(written).unwrap_err();
            assert!(message.starts_with("expected a size in bytes"), "{written}: {message}");
        }
        assert_eq!(text("64KiB"), Ok(Size(65536)));
        assert_eq!(text("4096"), Ok(Size(4096)));
    }

    #[test]
    fn a_duration_without_its_unit_is_told_so() {
        assert_eq!(toml("\"250ms\""), Ok(Duration::from_millis(250)));
        assert_eq!(toml("\"0s\""), Ok(Duration::ZERO));
        assert_eq!(text("1h"), Ok(Duration::from_hours(1)));
        assert_eq!(
            toml::<Duration>("30").unwrap_err(),
            "expected a duration such as \"250ms\", \"30s\" or \"1h\", found 30; a number needs its \
             unit: \"30s\"?"
        );
    }

    #[test]
    fn codings_are_a_list() {
        assert_eq!(toml("[\"gzip\"]"), Ok(vec![Coding::Gzip]));
        assert_eq!(toml("[]"), Ok(Vec::<Coding>::new()));
        let all = toml("[\"zstd\", \"br\", \"gzip\", \"br\"]");
        assert_eq!(all, Ok(vec![Coding::Zstd, Coding::Br, Coding::Gzip]), "best first");
        assert!(
            toml::<Vec<Coding>>("[\"brotli\"]").unwrap_err().ends_with("found \"brotli\" in it")
        );
    }

    #[test]
    fn words_and_levels_propose_the_near_one() {
        assert_eq!(text("limit"), Ok(ClientDirectives::Limit));
        assert_eq!(
            text::<ClientDirectives>("honor").unwrap_err(),
            "expected \"honour\", \"limit\" or \"ignore\", found \"honor\"; did you mean \"honour\"?"
        );
        assert_eq!(
            text("info,larder::cache=debug"),
            Ok(EventLevel("info,larder::cache=debug".into()))
        );
        assert!(text::<EventLevel>("inof").unwrap_err().ends_with("did you mean \"info\"?"));
        assert!(text::<EventLevel>("larder=loud").is_err());
    }

    #[test]
    fn a_refused_secret_is_not_repeated() {
        assert!(!text::<Secret>("hunter 2").unwrap_err().contains("hunter"));
    }

    #[test]
    fn sizes_and_durations_read_back_as_shown() {
        for bytes in [0, 1, 1000, 1024, 65536, 10_000_000, 1 << 30, 1_610_612_736, u64::MAX] {
            assert_eq!(text(&show_bytes(bytes)), Ok(Size(bytes)), "{}", show_bytes(bytes));
        }
        for ms in [0, 250, 1000, 90_000, 86_400_000] {
            let duration = Duration::from_millis(ms);
            assert_eq!(text(&show_duration(duration)), Ok(duration));
        }
    }
}
