//! A URL as it is named on the command line, or in lists of them.

use std::fmt;

use http::Uri;

/// Where it is, as clients ask for it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Url {
    pub(super) https: bool,
    pub(super) authority: String,
    /// Path and query.
    pub(super) target: String,
}

impl Url {
    /// A whole URL, or a path that is one of `base`'s. What follows a `#` is dropped.
    ///
    /// # Errors
    /// What would be right.
    pub(super) fn read(text: &str, base: Option<&Self>) -> Result<Self, String> {
        let text = text.split('#').next().unwrap_or(text).trim();
        if text.starts_with('/') {
            let base = base.ok_or("it is a path: name its host by --base http://host")?;
            let target = text.parse::<Uri>().map_err(|error| error.to_string())?.to_string();
            return Ok(Self { target, ..base.clone() });
        }
        let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err("it is no URL: http://host/path".to_owned()),
        };
        let authority = uri.authority().map(ToString::to_string).unwrap_or_default();
        if authority.contains('@') {
            return Err("it names a user, which no client may send (RFC 9110 §4.2.4)".to_owned());
        }
        let target = uri.path_and_query().map_or("/", |target| target.as_str()).to_owned();
        Ok(Self { https, authority, target })
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority, self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_and_paths() {
        let base = Url::read("https://Example.org:8443", None).unwrap();
        for (case, text, base, want) in [
            ("whole", "http://a/b?c#d", None, Ok("http://a/b?c")),
            ("without a path", "http://a", None, Ok("http://a/")),
            ("a path", "/b?c", Some(&base), Ok("https://Example.org:8443/b?c")),
            ("a path of nobody", "/b", None, Err("--base")),
            ("no URL", "example.org", None, Err("no URL")),
            ("another scheme", "ftp://a/", None, Err("no URL")),
            ("a user", "http://me:secret@a/", None, Err("names a user")),
            ("a space", "http://a/b c", None, Err("invalid")),
        ] {
            match (Url::read(text, base), want) {
                (Ok(url), Ok(want)) => assert_eq!(url.to_string(), want, "{case}"),
                (Err(error), Err(part)) => assert!(error.contains(part), "{case}: {error}"),
                (got, _) => panic!("{case}: {got:?}"),
            }
        }
    }
}
