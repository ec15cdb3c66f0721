use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;
use proptest::sample::select;

use super::super::super::key::Scheme;
use super::super::pattern::{Condition, Glob};
use super::*;

fn rule(host: &str, path: &str, method: &str, header: &str) -> Matcher {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Matcher {
        hosts: some(host).iter().filter_map(|host| Host::new(host)).collect(),
        paths: some(path).iter().map(|path| Glob::new(path)).collect(),
        methods: some(method).iter().filter_map(|method| method.parse().ok()).collect(),
        headers: some(header).iter().filter_map(|text| Condition::new(text)).collect(),
        scheme: None,
    }
}

const HOSTS: &[&str] = &["", "a.org", "b.a.org", "*.a.org", "*.org", "a.org:81"];
const AUTHORITIES: &[&str] = &["a.org", "b.a.org", "c.b.a.org", "a.org:81", "org"];

proptest! {
    /// The index finds what asking each in turn finds.
    #[test]
    fn the_first_that_matches_is_found(
        rules in proptest::collection::vec(
            (select(HOSTS), "|/|/a|/a/\\*|/\\*|\\*b|/a\\*b|/a/b\\*|\\*/b\\*",
             "|GET|POST", "|x|!x|x: 1|x: \\*1|y"), 0..90),
        host in select(AUTHORITIES), path in "/[ab/]{0,5}",
        x in proptest::option::of("1|2|21"), y in any::<bool>(), post in any::<bool>(),
    ) {
        let rules: Vec<_> = rules.iter().map(|(h, p, m, f)| rule(h, p, m, f)).collect();
        let mut headers = HeaderMap::new();
        if let Some(x) = &x {
            headers.insert("x", HeaderValue::from_str(x).unwrap());
        }
        if y {
            headers.insert("y", HeaderValue::from_static(""));
        }
        let method = if post { Method::POST } else { Method::GET };
        let facts = Facts {
            scheme: Scheme::Http, authority: host, path: &path, method: &method, headers: &headers,
        };
        let want = rules.iter().position(|rule| rule.matches(&facts));
        prop_assert_eq!(Index::new(rules).find(&facts), want);
    }
}

#[test]
fn no_rule_is_none() {
    let (headers, method) = (HeaderMap::new(), Method::GET);
    let facts = Facts {
        scheme: Scheme::Http,
        authority: "a",
        path: "/",
        method: &method,
        headers: &headers,
    };
    assert_eq!(Index::new(Vec::new()).find(&facts), None);
    let many = vec![rule("b", "", "", ""); MAX_RULES - 1];
    let last = [many, vec![rule("", "", "", "")]].concat();
    assert_eq!(Index::new(last).find(&facts), Some(MAX_RULES - 1));
}

/// Too much in a set only costs time, since each rule is asked in the end: so the sets are looked
/// at themselves.
fn set(rules: &[usize]) -> Set {
    let mut set = Set::default();
    for rule in rules {
        set.insert(*rule);
    }
    set
}

#[test]
fn sets_are_cut_and_united() {
    assert_eq!(MAX_RULES, 1024);
    let (one, two) = (set(&[0, 63, 64, 1023]), set(&[1, 64, 1023]));
    let (mut cut, mut united) = (one, one);
    cut.cut(&two);
    united.unite(&two);
    assert_eq!(cut.iter().collect::<Vec<_>>(), [64, 1023]);
    assert_eq!(united.iter().collect::<Vec<_>>(), [0, 1, 63, 64, 1023]);
    assert_eq!(set(&[MAX_RULES]), Set::default());
}

#[test]
fn the_sets_of_beginnings() {
    let named = [("a", 0), ("b", 1), ("abc", 2), ("a", 3), ("abcd", 4), ("ab", 5)];
    let named = named.map(|(text, rule)| (text.as_bytes().into(), rule));
    let beginnings = Beginnings::of(named.into());
    for (text, want) in [
        ("a", Some(&[0, 3][..])),
        ("aa", Some(&[0, 3])),
        ("abb", Some(&[0, 3, 5])),
        ("abcd", Some(&[0, 2, 3, 4, 5])),
        ("abce", Some(&[0, 2, 3, 5])),
        ("bx", Some(&[1])),
        ("c", None),
        ("", None),
    ] {
        let bytes = text.as_bytes();
        let found = beginnings.find(|front| front > bytes, |front| bytes.starts_with(front));
        assert_eq!(found.copied(), want.map(set), "{text}");
    }
}

#[test]
fn the_sets_of_hosts() {
    let hosts = ["a.org", "*.a.org", "", "a.org:81", "*.org"].map(|host| rule(host, "", "", ""));
    let hosts = Hosts::of(&hosts);
    for (authority, want) in [
        ("a.org", &[0, 2, 4][..]),
        ("a.org:81", &[0, 2, 3, 4]),
        ("b.a.org:9", &[1, 2, 4]),
        ("c.b.a.org", &[1, 2, 4]),
        ("org", &[2]),
    ] {
        assert_eq!(hosts.find(authority), set(want), "{authority}");
    }
    let exact = Hosts::of(&[rule("a.org", "", "", "")]);
    assert_eq!((exact.find("a.org"), exact.find("b.a.org")), (set(&[0]), set(&[])));
}

#[test]
fn the_sets_of_paths() {
    let paths = ["/a*.css", "/a*", "*.js", "/a", "", "*s"].map(|path| rule("", path, "", ""));
    let paths = Paths::of(&paths);
    for (path, want) in [
        ("/a/x.css", &[0, 1, 4, 5][..]),
        ("/a/x.js", &[1, 2, 4, 5]),
        ("/b.js", &[2, 4, 5]),
        ("/a", &[1, 3, 4]),
        ("/a.tx", &[1, 4]),
        ("/b.css", &[4, 5]),
        ("s", &[4, 5]),
    ] {
        assert_eq!(paths.find(path), set(want), "{path}");
    }
    assert!(paths.ends.is_some() && Paths::of(&[rule("", "/a*", "", "")]).ends.is_none());
}

#[test]
fn the_sets_of_methods_and_header_fields() {
    let (any, named) = methods(&["GET", "", "POST", "GET"].map(|method| rule("", "", method, "")));
    assert_eq!(any, set(&[1]));
    assert_eq!(named, [(Method::GET, set(&[0, 1, 3])), (Method::POST, set(&[1, 2]))]);

    let headers =
        Headers::of(&["x: 1", "x", "!x", "yy", "x: *1"].map(|field| rule("", "", "", field)));
    assert_eq!(headers.lengths, 0b110);
    for (fields, want) in [
        (&[][..], &[2][..]),
        (&[("x", "1")], &[0, 1, 2, 4]),
        (&[("x", " 1 "), ("z", "")], &[0, 1, 2, 4]),
        (&[("x", "2")], &[1, 2, 4]),
        (&[("yy", "1"), ("zz", "")], &[2, 3]),
    ] {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_static(value));
        }
        let method = Method::GET;
        let facts = Facts {
            scheme: Scheme::Http,
            authority: "a",
            path: "/",
            method: &method,
            headers: &map,
        };
        assert_eq!(headers.find(&facts), set(want), "{fields:?}");
    }
    let long: HeaderName = "x".repeat(65).parse().unwrap();
    assert_eq!((bit(&long), bit(&HeaderName::from_static("x"))), (2, 2));
}
