//! How one value is read: from the file's TOML, or as text from the environment or a flag.
//!
//! Every type answers a value that it cannot take with what it would take instead.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use http::{HeaderValue, Uri, uri::Authority};
use ipnet::IpNet;
use toml::de::DeValue;
use tracing_subscriber::EnvFilter;

use crate::config::mistake::nearest;
use crate::config::snapshot::{AccessTarget, Address, ClientDirectives, Coding, LogFormat, Secret};

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
                message.push_str(&format!("; a number needs its unit: \"{number}s\"?"));
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

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

impl Setting for Listen {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let example = "an address and port such as \"127.0.0.1:8080\" or \"[::]:8080\"";
        let Some(text) = raw.text().map(str::trim) else {
            let mut message = raw.expected(example);
            if let Some(port) = raw.whole().and_then(|port| u16::try_from(port).ok()) {
                message.push_str(&format!("; every address is \"0.0.0.0:{port}\""));
            }
            return Err(message);
        };
        if let Ok(address) = text.parse() {
            return Ok(Self(address));
        }
        let any_or_local = text
            .strip_prefix(':')
            .map(|port| (Ipv4Addr::UNSPECIFIED, port))
            .or_else(|| text.strip_prefix("localhost:").map(|port| (Ipv4Addr::LOCALHOST, port)));
        if let Some((address, port)) = any_or_local
            && let Ok(port) = port.parse::<u16>()
        {
            return Ok(Self(SocketAddr::from((address, port))));
        }
        let mut message = raw.expected(example);
        if let Ok(port) = text.parse::<u16>() {
            message.push_str(&format!("; every address is \"0.0.0.0:{port}\""));
        }
        Err(message)
    }
}

/// The app's URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginUrl {
    /// As it was written.
    pub written: String,
    /// Where that is.
    pub address: Address,
}

impl Setting for OriginUrl {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let wanted = "a URL such as \"http://127.0.0.1:3000\" or \"unix:/run/app.sock\"";
        let Some(written) = raw.text().map(str::trim) else { return Err(raw.expected(wanted)) };
        let of = |address| Self { written: written.to_owned(), address };
        if let Some(path) = written.strip_prefix("unix:") {
            // "unix:///path" is common as well.
            let path = path.strip_prefix("//").filter(|rest| rest.starts_with('/')).unwrap_or(path);
            return if path.starts_with('/') && !path.contains('\0') {
                Ok(of(Address::Unix(PathBuf::from(path))))
            } else {
                Err(format!(
                    "expected an absolute path, \"unix:/run/app.sock\", found \"{written}\""
                ))
            };
        }
        if written.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://")) {
            return Err(format!(
                "TLS to the upstream is not supported yet (it comes in a later version); use \
                 \"http://…\" or \"unix:/path\", found \"{written}\""
            ));
        }
        if !written.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://")) {
            let mut message = raw.expected(wanted);
            if !written.contains("://") && written.parse::<Authority>().is_ok() {
                message.push_str(&format!("; did you mean \"http://{written}\"?"));
            }
            return Err(message);
        }
        let Ok(uri) = written.parse::<Uri>() else { return Err(raw.expected(wanted)) };
        let Some(authority) = uri.authority() else { return Err(raw.expected(wanted)) };
        if authority.as_str().contains('@') {
            return Err("a user or password in the upstream's URL is not supported".to_owned());
        }
        if !matches!(
            uri.path_and_query().map(http::uri::PathAndQuery::as_str),
            None | Some("" | "/")
        ) {
            return Err(format!(
                "the upstream's URL has no path: requests keep their own; write \"http://{authority}\""
            ));
        }
        let host = authority.host();
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        let port = match authority.as_str().strip_prefix(authority.host()).unwrap_or("") {
            "" => Some(80),
            port => port.strip_prefix(':').and_then(|p| p.parse::<u16>().ok()).filter(|p| *p > 0),
        };
        match port {
            Some(port) if !host.is_empty() => {
                Ok(of(Address::Tcp { host: host.to_lowercase(), port }))
            }
            _ => Err(raw.expected(wanted)),
        }
    }
}

/// Networks and single addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Networks(pub Vec<IpNet>);

impl Setting for Networks {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let example = "a list of networks such as [\"10.0.0.0/8\", \"::1\"]";
        let items = raw.items().ok_or_else(|| raw.expected(example))?;
        let network = |item: &str| {
            IpNet::from_str(item)
                .map(|network| network.trunc())
                .or_else(|_| item.parse::<IpAddr>().map(IpNet::from))
                .map_err(|_| format!("expected {example}, found \"{item}\" in it"))
        };
        items.into_iter().map(network).collect::<Result<_, _>>().map(Self)
    }
}

impl Setting for Vec<String> {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let example = "a list of host names such as [\"larder.example.org\"]";
        let items = raw.items().ok_or_else(|| raw.expected(example))?;
        let host = |item: &str| match item.parse::<Authority>() {
            Ok(authority) if authority.host() == item => Ok(item.to_lowercase()),
            _ => Err(format!("expected {example}, found \"{item}\" in it")),
        };
        items.into_iter().map(host).collect()
    }
}

impl Setting for Vec<Coding> {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let items = raw.items().ok_or_else(|| raw.expected("a list such as [\"gzip\"], or []"))?;
        let mut codings = Vec::new();
        for item in items {
            match item {
                "gzip" if codings.is_empty() => codings.push(Coding::Gzip),
                "gzip" => {}
                "br" | "zstd" => {
                    return Err(format!("\"{item}\" is not supported yet; use [\"gzip\"]"));
                }
                _ => return Err(format!("expected [\"gzip\"] or [], found \"{item}\" in it")),
            }
        }
        Ok(codings)
    }
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
        message.push_str(&format!("; did you mean \"{near}\"?"));
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

impl Setting for HeaderValue {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let host = raw
            .text()
            .map(str::trim)
            .filter(|text| text.parse::<Authority>().is_ok() && !text.contains('@'));
        host.and_then(|host| Self::from_str(host).ok())
            .ok_or_else(|| raw.expected("a host such as \"app.example.org\" or \"app:3000\""))
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
        assert_eq!(text("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(
            toml::<Duration>("30").unwrap_err(),
            "expected a duration such as \"250ms\", \"30s\" or \"1h\", found 30; a number needs its \
             unit: \"30s\"?"
        );
    }

    #[test]
    fn listen_takes_short_forms_and_proposes_others() {
        for (written, want) in [
            ("127.0.0.1:8080", "127.0.0.1:8080"),
            (":8080", "0.0.0.0:8080"),
            ("localhost:0", "127.0.0.1:0"),
            ("[::]:80", "[::]:80"),
        ] {
            assert_eq!(text::<Listen>(written).unwrap().0.to_string(), want);
        }
        assert!(toml::<Listen>("8080").unwrap_err().ends_with("every address is \"0.0.0.0:8080\""));
        assert!(text::<Listen>("example.org:80").is_err());
    }

    #[test]
    fn upstream_urls() {
        let tcp = |host: &str, port| Address::Tcp { host: host.to_owned(), port };
        for (written, want) in [
            ("http://127.0.0.1:3000", tcp("127.0.0.1", 3000)),
            ("http://App.Local", tcp("app.local", 80)),
            ("http://app/", tcp("app", 80)),
            ("http://[::1]:8080", tcp("::1", 8080)),
            ("unix:/run/app.sock", Address::Unix("/run/app.sock".into())),
            ("unix:///run/app.sock", Address::Unix("/run/app.sock".into())),
        ] {
            assert_eq!(text::<OriginUrl>(written).unwrap().address, want, "{written}");
        }
        for (written, want) in [
            ("https://app", "TLS to the upstream is not supported yet"),
            ("127.0.0.1:3000", "did you mean \"http://127.0.0.1:3000\"?"),
            ("http://u:p@app", "a user or password"),
            ("http://app/api", "requests keep their own; write \"http://app\""),
            ("http://app:0", "expected a URL"),
            ("http://app:99999", "expected a URL"),
            ("http://", "expected a URL"),
            ("unix:run/app.sock", "expected an absolute path"),
            ("ftp://app", "expected a URL"),
            ("", "found nothing"),
        ] {
            let message = text::<OriginUrl>(written).unwrap_err();
            assert!(message.contains(want), "{written}: {message}");
        }
    }

    #[test]
    fn lists_come_from_arrays_and_from_commas() {
        let want = Networks(vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
        assert_eq!(toml("[\"10.1.2.3/8\", \"::1\"]"), Ok(want.clone()));
        assert_eq!(text("10.0.0.0/8, ::1"), Ok(want));
        assert_eq!(text(""), Ok(Networks(vec![])));
        assert!(toml::<Networks>("[\"ten\"]").unwrap_err().ends_with("found \"ten\" in it"));
        assert_eq!(toml("[\"gzip\"]"), Ok(vec![Coding::Gzip]));
        assert_eq!(toml("[]"), Ok(Vec::<Coding>::new()));
        assert!(toml::<Vec<Coding>>("[\"br\"]").unwrap_err().contains("not supported yet"));
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
