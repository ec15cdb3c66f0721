//! Values that say where something is: addresses, the app's URL, networks, host names.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Uri};
use ipnet::IpNet;

use crate::config::snapshot::Address;
use crate::config::value::{Raw, Setting};

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

impl Setting for Listen {
    fn read(raw: &Raw<'_>) -> Result<Self, String> {
        let example = "an address and port such as \"127.0.0.1:8080\" or \"[::]:8080\"";
        let Some(text) = raw.text().map(str::trim) else {
            let mut message = raw.expected(example);
            if let Some(port) = raw.whole().and_then(|port| u16::try_from(port).ok()) {
                let _ = write!(message, "; every address is \"0.0.0.0:{port}\"");
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
            let _ = write!(message, "; every address is \"0.0.0.0:{port}\"");
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
        // Not repeated: it may be a password.
        if written.contains("://") && written.contains('@') {
            return Err("a user or password in the upstream's URL is not supported".to_owned());
        }
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
                let _ = write!(message, "; did you mean \"http://{written}\"?");
            }
            return Err(message);
        }
        let Ok(uri) = written.parse::<Uri>() else { return Err(raw.expected(wanted)) };
        let Some(authority) = uri.authority() else { return Err(raw.expected(wanted)) };
        if !matches!(uri.path_and_query().map(PathAndQuery::as_str), None | Some("" | "/")) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use toml::de::DeValue;

    fn text<T: Setting>(text: &str) -> Result<T, String> {
        T::read(&Raw::Text(text))
    }

    fn toml<T: Setting>(text: &str) -> Result<T, String> {
        let value = DeValue::parse(text).unwrap();
        T::read(&Raw::Toml(value.get_ref()))
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
    fn networks_come_from_arrays_and_from_commas() {
        let want = Networks(vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
        assert_eq!(toml("[\"10.1.2.3/8\", \"::1\"]"), Ok(want.clone()));
        assert_eq!(text("10.0.0.0/8, ::1"), Ok(want));
        assert_eq!(text(""), Ok(Networks(vec![])));
        assert!(toml::<Networks>("[\"ten\"]").unwrap_err().ends_with("found \"ten\" in it"));
    }
}
