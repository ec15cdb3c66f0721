//! All that one rule asks of a request.

use http::{HeaderMap, Method};

use super::super::key::Scheme;
use super::pattern::{Condition, Glob, Host};

/// What rules judge a request by: what is keyed and forwarded, not what the client may claim.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The scheme that the client used.
    pub scheme: Scheme,
    /// The authority that it used, lower case.
    pub authority: &'a str,
    /// The path without the query, as [`super::pattern::normal_path`] has it.
    pub path: &'a str,
    /// The method.
    pub method: &'a Method,
    /// The header fields, end to end.
    pub headers: &'a HeaderMap,
}

/// A rule's conditions: all must hold, of each list one; what is empty asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matcher {
    /// Hosts.
    pub hosts: Vec<Host>,
    /// Paths.
    pub paths: Vec<Glob>,
    /// Methods.
    pub methods: Vec<Method>,
    /// Header fields: all of these.
    pub headers: Vec<Condition>,
    /// The scheme.
    pub scheme: Option<Scheme>,
}

impl Matcher {
    /// Whether the request is one of those meant.
    pub fn matches(&self, facts: &Facts<'_>) -> bool {
        fn any<T>(list: &[T], fits: impl Fn(&T) -> bool) -> bool {
            list.is_empty() || list.iter().any(fits)
        }
        self.scheme.is_none_or(|scheme| scheme == facts.scheme)
            && any(&self.methods, |method| method == facts.method)
            && any(&self.hosts, |host| host.matches(facts.authority))
            && any(&self.paths, |path| path.matches(facts.path))
            && self.headers.iter().all(|condition| condition.holds(facts.headers))
    }

    /// Every request that `other` is for is this rule's, as far as that can be told simply.
    pub fn covers(&self, other: &Self) -> bool {
        fn all<T>(wide: &[T], narrow: &[T], covers: impl Fn(&T, &T) -> bool) -> bool {
            let covered = |one: &T| wide.iter().any(|over| covers(over, one));
            wide.is_empty() || (!narrow.is_empty() && narrow.iter().all(covered))
        }
        (self.scheme.is_none() || self.scheme == other.scheme)
            && all(&self.methods, &other.methods, |one, two| one == two)
            && all(&self.hosts, &other.hosts, Host::covers)
            && all(&self.paths, &other.paths, Glob::covers)
            && self.headers.iter().all(|one| other.headers.contains(one))
    }

    /// Whether it is chosen by the key's URL alone. Where not, two requests for one URL may meet
    /// different rules, and what those forward and store must be told apart.
    pub fn is_by_url(&self) -> bool {
        let reads = [Method::GET, Method::HEAD];
        let all = reads.iter().all(|read| self.methods.contains(read));
        let none = !reads.iter().any(|read| self.methods.contains(read));
        self.headers.is_empty() && (all || none)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covered_rules_never_match() {
        let rule = |host: &[&str], path: &[&str], header: &[&str]| Matcher {
            hosts: host.iter().map(|host| Host::new(host).unwrap()).collect(),
            paths: path.iter().map(|path| Glob::new(path)).collect(),
            headers: header.iter().map(|text| Condition::new(text).unwrap()).collect(),
            ..Matcher::default()
        };
        for (case, wide, narrow, want) in [
            ("all", rule(&[], &[], &[]), rule(&["a"], &["/x"], &[]), true),
            ("prefix", rule(&[], &["/a/*"], &[]), rule(&[], &["/a/b"], &[]), true),
            ("one of two not", rule(&[], &["/a/*"], &[]), rule(&[], &["/a/b", "/c"], &[]), false),
            ("any path", rule(&[], &["/a/*"], &[]), rule(&[], &[], &[]), false),
            ("host", rule(&["*.a.org"], &[], &[]), rule(&["b.a.org"], &[], &[]), true),
            ("header", rule(&[], &[], &["x"]), rule(&[], &[], &[]), false),
            ("more headers", rule(&[], &[], &["x"]), rule(&[], &[], &["x", "y"]), true),
        ] {
            assert_eq!(wide.covers(&narrow), want, "{case}");
        }
    }

    #[test]
    fn methods_and_schemes_are_covered_too() {
        let rule = |scheme, methods: &[Method]| Matcher {
            scheme,
            methods: methods.into(),
            ..Matcher::default()
        };
        let both = [Method::GET, Method::HEAD];
        let one = &both[..1];
        for (case, wide, narrow, want) in [
            ("any scheme", rule(None, &[]), rule(Some(Scheme::Http), &[]), true),
            ("the same", rule(Some(Scheme::Http), &[]), rule(Some(Scheme::Http), &[]), true),
            ("another", rule(Some(Scheme::Http), &[]), rule(Some(Scheme::Https), &[]), false),
            ("any for one", rule(Some(Scheme::Http), &[]), rule(None, &[]), false),
            ("a method", rule(None, &both), rule(None, one), true),
            ("any method", rule(None, one), rule(None, &[]), false),
            ("another method", rule(None, one), rule(None, &[Method::POST]), false),
        ] {
            assert_eq!(wide.covers(&narrow), want, "{case}");
        }
    }

    #[test]
    fn of_each_list_one_must_fit() {
        let rule = Matcher {
            hosts: vec![Host::new("a").unwrap(), Host::new("b").unwrap()],
            paths: vec![Glob::new("/x"), Glob::new("/y*")],
            methods: vec![Method::GET, Method::PUT],
            headers: ["x", "y"].map(|text| Condition::new(text).unwrap()).into(),
            scheme: Some(Scheme::Https),
        };
        let mut headers = HeaderMap::new();
        headers.append("x", http::HeaderValue::from_static("1"));
        let half = headers.clone();
        headers.append("y", http::HeaderValue::from_static("1"));
        let get = &Method::GET;
        let all = |scheme, authority, path, method, headers| {
            rule.matches(&Facts { scheme, authority, path, method, headers })
        };
        assert!(all(Scheme::Https, "b", "/yes", get, &headers));
        assert!(all(Scheme::Https, "a", "/x", &Method::PUT, &headers));
        assert!(!all(Scheme::Http, "b", "/yes", get, &headers));
        assert!(!all(Scheme::Https, "c", "/yes", get, &headers));
        assert!(!all(Scheme::Https, "b", "/z", get, &headers));
        assert!(!all(Scheme::Https, "b", "/yes", &Method::POST, &headers));
        assert!(!all(Scheme::Https, "b", "/yes", get, &half));
    }

    #[test]
    fn chosen_by_the_url() {
        let by = |methods: &[Method]| Matcher { methods: methods.into(), ..Matcher::default() };
        assert!(by(&[]).is_by_url() && by(&[Method::POST]).is_by_url());
        assert!(by(&[Method::GET, Method::HEAD]).is_by_url() && !by(&[Method::GET]).is_by_url());
        let headers = vec![Condition::new("x").unwrap()];
        assert!(!Matcher { headers, ..Matcher::default() }.is_by_url());
    }
}
