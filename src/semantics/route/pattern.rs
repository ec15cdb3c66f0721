//! What a rule's conditions are written with.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};

/// A text in which `*` stands for any run of characters, an empty one too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob {
    /// What stands between the stars; one part alone: no star.
    parts: Box<[Box<str>]>,
}

impl Glob {
    /// As it is written.
    pub fn new(text: &str) -> Self {
        Self { parts: text.split('*').map(Into::into).collect() }
    }

    /// What `text` begins with wherever it matches.
    pub fn prefix(&self) -> &str {
        self.parts.first().map_or("", |part| part)
    }

    /// What `text` ends with wherever it matches.
    pub fn suffix(&self) -> &str {
        self.parts.last().map_or("", |part| part)
    }

    /// It matches one text only.
    pub fn is_exact(&self) -> bool {
        self.parts.len() == 1
    }

    /// A beginning alone, whatever follows.
    pub fn is_prefix(&self) -> bool {
        matches!(&*self.parts, [_, last] if last.is_empty())
    }

    /// A star alone.
    pub fn is_star(&self) -> bool {
        self.is_prefix() && self.prefix().is_empty()
    }

    /// Whether `text` is one of those meant.
    pub fn matches(&self, text: &str) -> bool {
        let (Some((first, rest)), text) = (self.parts.split_first(), text.as_bytes()) else {
            return false;
        };
        let Some((last, middle)) = rest.split_last() else { return text == first.as_bytes() };
        let Some(mut left) = text.strip_prefix(first.as_bytes()) else { return false };
        for part in middle {
            let Some(at) = memchr::memmem::find(left, part.as_bytes()) else { return false };
            left = left.get(at + part.len()..).unwrap_or_default();
        }
        left.ends_with(last.as_bytes())
    }

    /// What the star at the end of a mere beginning stands for in `text`.
    pub fn rest<'t>(&self, text: &'t str) -> Option<&'t str> {
        text.strip_prefix(self.prefix()).filter(|_| self.is_prefix())
    }

    /// Every text that `other` matches is matched, as far as that can be told simply.
    pub fn covers(&self, other: &Self) -> bool {
        self == other
            || (self.is_prefix() && other.prefix().starts_with(self.prefix()))
            || (other.is_exact() && self.matches(other.prefix()))
    }
}

/// Hosts that a rule is for: one (of any port, unless one is said), or all below a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// Exactly this, lower case.
    Exact(Box<str>),
    /// `*.example.org`, as `example.org`: whatever ends in it behind a dot.
    Below(Box<str>),
}

impl Host {
    /// As it is written. `None`: it is no host, nor `*.` and one.
    pub fn new(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (name, below) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (&*text, false),
        };
        let name = super::super::headers::authority::parse(name).filter(|name| !name.is_empty())?;
        let name: Box<str> = Some(name.as_ref()).filter(|name| !name.contains('*'))?.into();
        Some(if below { Self::Below(name) } else { Self::Exact(name) })
    }

    /// Whether `authority` (lower case) is one of those meant.
    pub fn matches(&self, authority: &str) -> bool {
        let fits = |authority: &str| match self {
            Self::Exact(host) => authority == &**host,
            Self::Below(domain) => {
                authority.strip_suffix(&**domain).is_some_and(|front| front.ends_with('.'))
            }
        };
        fits(authority) || fits(without_port(authority))
    }

    /// Every host that `other` matches is matched.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Below(domain), Self::Below(other)) => domain == other || self.matches(other),
            (_, Self::Exact(host)) => self.matches(host),
            (Self::Exact(_), Self::Below(_)) => false,
        }
    }
}

/// The host of an authority.
pub fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// A condition on a header field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The field.
    pub name: HeaderName,
    /// What it must be.
    pub test: Test,
}

/// What a header field must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// There.
    Present,
    /// Not there.
    Absent,
    /// One of its lines is like this.
    Like(Glob),
}

impl Condition {
    /// As it is written: `Name`, `!Name`, or `Name: value` with `*` in the value.
    pub fn new(text: &str) -> Option<Self> {
        let (name, test) = match (text.split_once(':'), text.strip_prefix('!')) {
            (Some((name, value)), None) => (name, Test::Like(Glob::new(value.trim()))),
            (None, Some(name)) => (name, Test::Absent),
            (None, None) => (text, Test::Present),
            (Some(_), Some(_)) => return None,
        };
        let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
        Some(Self { name, test })
    }

    /// Whether it holds.
    pub fn holds(&self, headers: &HeaderMap) -> bool {
        match &self.test {
            Test::Present => headers.contains_key(&self.name),
            Test::Absent => !headers.contains_key(&self.name),
            Test::Like(glob) => {
                let mut lines = headers.get_all(&self.name).iter();
                lines.any(|line| line.to_str().is_ok_and(|line| glob.matches(line.trim())))
            }
        }
    }
}

/// A path as rules see it: what RFC 3986 §6.2.2 calls equivalent is one. Encoded letters, digits,
/// `-._~` are decoded and dot segments resolved, so that no spelling of a path slips past the
/// rule for it. Borrowed where there is nothing to do.
pub fn normal_path(path: &str) -> Cow<'_, str> {
    let mut normal = Cow::Borrowed(path);
    if memchr::memchr(b'%', path.as_bytes()).is_some() {
        normal = Cow::Owned(decoded(path));
    }
    if memchr::memmem::find(normal.as_bytes(), b"/.").is_some() {
        let resolved = super::super::invalidation::without_dots(&normal);
        normal = Cow::Owned(resolved);
    }
    normal
}

fn decoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((front, behind)) = rest.split_once('%') {
        out.push_str(front);
        let code = behind.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._~".contains(b);
        if let Some(byte) = code.filter(plain) {
            out.push(char::from(byte));
            rest = behind.get(2..).unwrap_or_default();
        } else {
            out.push('%');
            rest = behind;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (glob, text, want) in [
            ("/a", "/a", true),
            ("/a", "/ab", false),
            ("/a/*", "/a/", true),
            ("/a/*", "/a", false),
            ("*.css", "/x/y.css", true),
            ("*.css", "/x/y.css?", false),
            ("/a/*.js", "/a/b/c.js", true),
            ("/a*a", "/a", false),
            ("*/x/*/y", "/x/1/x/2/y", true),
            ("*/x/*/y", "/x/y", false),
            ("*", "", true),
        ] {
            assert_eq!(Glob::new(glob).matches(text), want, "{glob} and {text}");
        }
        for (wide, narrow, want) in [
            ("/a/*", "/a/b/*", true),
            ("/a/*", "/a/*.css", true),
            ("/a/*", "/a/b", true),
            ("*.css", "/a.css", true),
            ("*.css", "/a/*.css", false),
            ("/a/b/*", "/a/*", false),
        ] {
            assert_eq!(Glob::new(wide).covers(&Glob::new(narrow)), want, "{wide} over {narrow}");
        }
    }

    #[test]
    fn hosts() {
        for (host, authority, want) in [
            ("a.org", "a.org", true),
            ("A.org", "a.org:8080", true),
            ("a.org:80", "a.org", false),
            ("a.org", "b.a.org", false),
            ("*.a.org", "b.a.org:8080", true),
            ("*.a.org", "c.b.a.org", true),
            ("*.a.org", "a.org", false),
            ("*.a.org", "xa.org", false),
            ("[::1]", "[::1]", true),
        ] {
            assert_eq!(Host::new(host).unwrap().matches(authority), want, "{host}, {authority}");
        }
        for wrong in ["", "*.", "*", "a.*", "a b", "http://a"] {
            assert_eq!(Host::new(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn shapes_of_globs() {
        for (glob, exact, prefix, star) in [
            ("/a", true, false, false),
            ("/a*", false, true, false),
            ("*", false, true, true),
            ("*a", false, false, false),
            ("/a*b*", false, false, false),
            ("**", false, false, false),
        ] {
            let made = Glob::new(glob);
            let shape = (made.is_exact(), made.is_prefix(), made.is_star());
            assert_eq!(shape, (exact, prefix, star), "{glob}");
        }
        for (glob, text, want) in [
            ("/a/*", "/a/b/c", Some("b/c")),
            ("/a/*", "/a/", Some("")),
            ("/a/*", "/b", None),
            ("/a", "/a/b", None),
            ("/a/*.css", "/a/b.css", None),
        ] {
            assert_eq!(Glob::new(glob).rest(text), want, "{glob} and {text}");
        }
        assert_eq!((Glob::new("/a*b*c").prefix(), Glob::new("/a*b*c").suffix()), ("/a", "c"));
        let same = Glob::new("/a*c");
        assert!(same.covers(&Glob::new("/a*c")) && !same.covers(&Glob::new("/a*d")));
        assert!(!Glob::new("/a").covers(&Glob::new("/a*")) && !Glob::new("/").covers(&same));
    }

    #[test]
    fn hosts_over_hosts() {
        for (wide, narrow, want) in [
            ("*.a.org", "*.a.org", true),
            ("*.a.org", "*.b.a.org", true),
            ("*.b.a.org", "*.a.org", false),
            ("*.a.org", "b.a.org", true),
            ("*.a.org", "a.org", false),
            ("a.org", "a.org:81", true),
            ("a.org:81", "a.org", false),
            ("a.org", "*.a.org", false),
            ("b.a.org", "*.a.org", false),
        ] {
            let (wide_host, host) = (Host::new(wide).unwrap(), Host::new(narrow).unwrap());
            assert_eq!(wide_host.covers(&host), want, "{wide} over {narrow}");
        }
        for (authority, want) in
            [("a:1", "a"), ("a", "a"), ("[::1]", "[::1]"), ("[::1]:80", "[::1]"), ("a:b", "a:b")]
        {
            assert_eq!(without_port(authority), want);
        }
    }

    #[test]
    fn header_conditions() {
        let mut headers = HeaderMap::new();
        headers.append("x-a", http::HeaderValue::from_static("one"));
        headers.append("x-a", http::HeaderValue::from_static("two"));
        for (text, want) in [
            ("X-A", true),
            ("!X-A", false),
            ("!X-B", true),
            ("X-B", false),
            ("x-a: two", true),
            ("x-a: t*", true),
            ("x-a: three", false),
        ] {
            assert_eq!(Condition::new(text).unwrap().holds(&headers), want, "{text}");
        }
        for wrong in ["", "!", "a b", "!x: y", ": x"] {
            assert_eq!(Condition::new(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn one_path_has_one_spelling() {
        for (path, want) in [
            ("/a/b", "/a/b"),
            ("/%61dmin", "/admin"),
            ("/a/%2e%2e/b", "/b"),
            ("/a/./b", "/a/b"),
            ("/static/../account", "/account"),
            ("/a%2Fb", "/a%2Fb"),
            ("/100%", "/100%"),
            ("/%zz%4", "/%zz%4"),
        ] {
            assert_eq!(normal_path(path), want, "{path}");
        }
    }
}
