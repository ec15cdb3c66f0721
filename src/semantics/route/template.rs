//! Where a rule redirects to, and what it makes of a path.

use super::super::key::Scheme;

/// A text with places to be filled in: `https://www.example.org{uri}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Scheme,
    Host,
    BareHost,
    Path,
    Query,
    Uri,
    Rest,
}

/// What is filled in.
#[derive(Debug, Clone, Copy)]
pub struct Filling<'a> {
    /// `{scheme}`.
    pub scheme: Scheme,
    /// `{host}`, with its port; `{bare_host}` is the same without `www.` before it.
    pub authority: &'a str,
    /// `{path}`; with the query `{uri}`.
    pub path: &'a str,
    /// `{query}`, with its `?` where there is one.
    pub query: &'a str,
    /// `{rest}`: what the star at the end of the rule's path stands for.
    pub rest: &'a str,
}

impl Template {
    /// As it is written.
    ///
    /// # Errors
    /// What would be right.
    pub fn new(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((front, behind)) = rest.split_once('{') {
            parts.push(Part::Text(front.to_owned()));
            let (name, after) =
                behind.split_once('}').ok_or("expected a \"}\" behind each \"{\"")?;
            parts.push(match name {
                "scheme" => Part::Scheme,
                "host" => Part::Host,
                "bare_host" => Part::BareHost,
                "path" => Part::Path,
                "query" => Part::Query,
                "uri" => Part::Uri,
                "rest" => Part::Rest,
                _ => {
                    return Err(format!(
                        "unknown \"{{{name}}}\"; known are {{scheme}}, {{host}}, {{bare_host}}, \
                         {{path}}, {{query}}, {{uri}} and {{rest}}"
                    ));
                }
            });
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
        let plain = |part: &Part| match part {
            Part::Text(text) => text.bytes().all(|b| b.is_ascii_graphic()),
            _ => true,
        };
        if parts.is_empty() || !parts.iter().all(plain) {
            return Err("expected printable ASCII without spaces".to_owned());
        }
        Ok(Self { parts })
    }

    /// It uses `{rest}`.
    pub fn uses_rest(&self) -> bool {
        self.parts.contains(&Part::Rest)
    }

    /// It is a path that no client can turn into another host's: `/` and something of its own.
    pub fn is_path(&self) -> bool {
        let Some(Part::Text(text)) = self.parts.first() else { return false };
        let hosts = [Part::Scheme, Part::Host, Part::BareHost];
        text.starts_with('/')
            && !text.starts_with("//")
            && !text.starts_with("/\\")
            && (text.len() > 1 || self.parts.len() == 1)
            && !self.parts.iter().any(|part| hosts.contains(part))
    }

    /// It is a URL whose host the rule or the request's own host decides, not its path.
    pub fn is_url(&self) -> bool {
        let (authority, behind) = match &*self.parts {
            [Part::Text(text), behind @ ..] => {
                let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
                let Some(rest) = rest else { return false };
                (rest, behind)
            }
            [Part::Scheme, Part::Text(text), behind @ ..] => {
                let Some(rest) = text.strip_prefix("://") else { return false };
                (rest, behind)
            }
            _ => return false,
        };
        if authority.contains('/') {
            return !authority.starts_with('/');
        }
        // The path must begin before anything that is not a host's: `{uri}` and `{path}` do.
        match behind {
            [Part::Host | Part::BareHost, after @ ..] => ends_host(after),
            after => !authority.is_empty() && ends_host(after),
        }
    }

    /// Filled in.
    pub fn fill(&self, with: &Filling<'_>) -> String {
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Scheme => out.push_str(with.scheme.as_str()),
                Part::Host => out.push_str(with.authority),
                Part::BareHost => {
                    out.push_str(with.authority.strip_prefix("www.").unwrap_or(with.authority));
                }
                Part::Path => out.push_str(with.path),
                Part::Query => out.push_str(with.query),
                Part::Uri => out.extend([with.path, with.query]),
                Part::Rest => out.push_str(with.rest),
            }
        }
        out
    }
}

fn ends_host(after: &[Part]) -> bool {
    match after.first() {
        None | Some(Part::Uri | Part::Path) => true,
        Some(Part::Text(text)) => text.starts_with('/'),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_filled_in() {
        let with = Filling {
            scheme: Scheme::Https,
            authority: "www.a.org:81",
            path: "/old/x",
            query: "?q=1",
            rest: "x",
        };
        for (text, want) in [
            ("https://b.org{uri}", "https://b.org/old/x?q=1"),
            ("{scheme}://{bare_host}{path}", "https://a.org:81/old/x"),
            ("/new/{rest}{query}", "/new/x?q=1"),
            ("https://{host}/", "https://www.a.org:81/"),
        ] {
            assert_eq!(Template::new(text).unwrap().fill(&with), want, "{text}");
        }
    }

    #[test]
    fn templates_with_a_rest() {
        assert!(Template::new("/new/{rest}").unwrap().uses_rest());
        assert!(!Template::new("/new{uri}").unwrap().uses_rest());
    }

    /// No client can choose the host that it is sent to.
    #[test]
    fn what_leads_to_other_hosts_is_known() {
        for (text, path, url) in [
            ("/new{path}", true, false),
            ("/", true, false),
            ("{uri}", false, false),
            ("/{rest}", false, false),
            ("/a", true, false),
            ("/a/{host}", false, false),
            ("/a{query}", true, false),
            ("//b.org", false, false),
            ("/\\b.org", false, false),
            ("https://b.org", false, true),
            ("https://b.org{uri}", false, true),
            ("https://b.org/{rest}", false, true),
            ("https://b.org{rest}", false, false),
            ("https://b.org{query}", false, false),
            ("https://{rest}/", false, false),
            ("https:///x", false, false),
            ("https:///", false, false),
            ("https://", false, false),
            ("https://{host}", false, true),
            ("https://b.org{host}", false, true),
            ("https://{uri}", false, false),
            ("https://b.org/", false, true),
            ("{scheme}://www.{host}{uri}", false, true),
            ("{scheme}://{bare_host}{rest}", false, false),
            ("{scheme}{host}", false, false),
            ("ftp://b.org", false, false),
        ] {
            let template = Template::new(text).unwrap();
            assert_eq!((template.is_path(), template.is_url()), (path, url), "{text}");
        }
        for wrong in ["", "/a b", "/{", "/{nothing}", "/\u{e9}", "/\r\nx: y"] {
            assert!(Template::new(wrong).is_err(), "{wrong}");
        }
    }
}
