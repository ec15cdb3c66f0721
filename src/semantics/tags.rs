//! Tags by which an origin ties responses together, to purge them at once: Surrogate-Key, separated
//! by blanks, and Cache-Tag, separated by commas. No standard has them; CDNs do.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

/// The fields that hold tags.
pub static FIELDS: [HeaderName; 2] = [SURROGATE_KEY, CACHE_TAG];

const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// What all HTML has as a tag beside what the origin says: it names the other files of a site, and
/// is what a deploy makes stale.
pub const HTML: &str = "larder:html";

/// The tags of a response. Their letter case counts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tags(Box<str>);

impl Tags {
    /// No tags.
    pub fn none() -> &'static Self {
        static NONE: std::sync::OnceLock<Tags> = std::sync::OnceLock::new();
        NONE.get_or_init(Self::default)
    }

    /// The tags of a response, [`HTML`] among them where it is some, each once. All of them: one
    /// left out would be a purge that leaves something behind.
    pub fn of_response(headers: &HeaderMap) -> Self {
        let html = headers.get(CONTENT_TYPE).is_some_and(is_html).then_some(HTML);
        if html.is_none() && !Self::are_in(headers) {
            return Self::default();
        }
        Self::of(headers, html)
    }

    /// The tags that a request to purge names as a response would.
    pub fn of_request(headers: &HeaderMap) -> Self {
        Self::of(headers, None)
    }

    fn of(headers: &HeaderMap, more: Option<&str>) -> Self {
        let mut tags: Vec<&str> = more.into_iter().collect();
        for name in &FIELDS {
            let commas = *name == CACHE_TAG;
            for line in headers.get_all(name) {
                let line = std::str::from_utf8(line.as_bytes()).unwrap_or_default();
                let tags_of_line =
                    line.split(|c| if commas { c == ',' } else { c == ' ' || c == '\t' });
                tags.extend(tags_of_line.map(str::trim).filter(|tag| !tag.is_empty()));
            }
        }
        tags.sort_unstable();
        tags.dedup();
        Self(tags.join(SEPARATOR).into())
    }

    /// Whether a response says anything of tags.
    pub fn are_in(headers: &HeaderMap) -> bool {
        FIELDS.iter().any(|name| headers.contains_key(name))
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split(SEPARATOR).filter(|tag| !tag.is_empty())
    }

    /// Memory that they take, in bytes.
    pub fn weight(&self) -> usize {
        self.0.len()
    }
}

fn is_html(kind: &HeaderValue) -> bool {
    let kind = kind.as_bytes().split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    [&b"text/html"[..], b"application/xhtml+xml"].iter().any(|one| kind.eq_ignore_ascii_case(one))
}

/// What no field value holds.
const SEPARATOR: &str = "\n";

/// Takes the fields out of what goes to a client.
pub fn strip(headers: &mut HeaderMap) {
    for name in &FIELDS {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn tags(lines: &[(&'static str, &str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Tags::of_response(&headers).iter().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn tags_of_a_response() {
        for (case, lines, want) in [
            ("none", &[][..], &[][..]),
            ("blanks", &[("surrogate-key", "b  a\tc")], &["a", "b", "c"]),
            ("a comma is a part of a key", &[("surrogate-key", "a,b c")], &["a,b", "c"]),
            ("commas", &[("cache-tag", "a, b,,c ")], &["a", "b", "c"]),
            ("a blank is a part of a tag", &[("cache-tag", "a b, c")], &["a b", "c"]),
            ("lines are one list", &[("cache-tag", "a"), ("cache-tag", "b")], &["a", "b"]),
            ("both fields", &[("cache-tag", "a,b"), ("surrogate-key", "b c")], &["a", "b", "c"]),
            ("letter case counts", &[("cache-tag", "a,A")], &["A", "a"]),
            ("beyond ASCII", &[("cache-tag", "käse")], &["käse"]),
            ("empty", &[("cache-tag", " , ")], &[]),
            ("a page", &[("content-type", "Text/HTML; charset=utf-8")], &[HTML]),
            ("an older page", &[("content-type", "application/xhtml+xml")], &[HTML]),
            ("a script", &[("content-type", "text/javascript")], &[]),
            (
                "a page with tags",
                &[("content-type", "text/html"), ("cache-tag", "a,z")],
                &["a", HTML, "z"],
            ),
        ] {
            assert_eq!(tags(lines), want, "{case}");
        }
    }

    #[test]
    fn a_request_names_only_what_it_says() {
        let mut headers = HeaderMap::new();
        headers.append("content-type", HeaderValue::from_static("text/html"));
        assert_eq!(Tags::of_request(&headers), Tags::default());
        headers.append("cache-tag", HeaderValue::from_static("a"));
        assert_eq!(Tags::of_request(&headers).iter().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn they_take_the_memory_of_their_letters() {
        let mut headers = HeaderMap::new();
        assert_eq!(Tags::of_response(&headers).weight(), 0);
        headers.append("cache-tag", HeaderValue::from_static("one, three"));
        assert_eq!(Tags::of_response(&headers).weight(), "one\nthree".len());
        assert!(std::ptr::eq(Tags::none(), Tags::none()), "no memory for none, however often");
    }

    #[test]
    fn only_their_fields_say_anything_of_tags() {
        let mut headers = HeaderMap::new();
        headers.append("content-type", HeaderValue::from_static("text/html"));
        assert!(!Tags::are_in(&headers));
        headers.append("surrogate-key", HeaderValue::from_static(""));
        assert!(Tags::are_in(&headers), "nothing is something, too");
    }

    #[test]
    fn clients_do_not_see_them() {
        let mut headers = HeaderMap::new();
        headers.append("surrogate-key", HeaderValue::from_static("a"));
        headers.append("cache-tag", HeaderValue::from_static("a"));
        headers.append("cache-tag", HeaderValue::from_static("b"));
        headers.append("etag", HeaderValue::from_static("\"1\""));
        strip(&mut headers);
        assert_eq!(headers.len(), 1);
    }
}
