//! No-Vary-Search: which parts of a query make no difference to the response
//! (draft-ietf-httpbis-no-vary-search).

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode, percent_encode};
use sfv::{BareItem, Dictionary, InnerList, Item, ListEntry, Parser};

static NO_VARY_SEARCH: HeaderName = HeaderName::from_static("no-vary-search");

/// More than this of the field is not worth having in a table.
const MAX_BYTES: usize = 2048;

/// What is written as it is in a canonical query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'*');

/// What of a query a response varies on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variance {
    /// The order of keys makes no difference.
    any_order: bool,
    params: Params,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Params {
    /// All but these make a difference.
    AllBut(Vec<Vec<u8>>),
    /// None but these make a difference.
    NoneBut(Vec<Vec<u8>>),
}

impl Variance {
    /// Of a response's header fields. `None`: it says nothing, or nothing that can be followed, and
    /// all of the query makes a difference.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        if !headers.contains_key(&NO_VARY_SEARCH) {
            return None;
        }
        let lines: Vec<&[u8]> =
            headers.get_all(&NO_VARY_SEARCH).iter().map(HeaderValue::as_bytes).collect();
        let written = lines.join(&b", "[..]);
        if written.len() > MAX_BYTES {
            return None;
        }
        let said: Dictionary = Parser::new(&written).parse().ok()?;
        let any_order = match said.get("key-order") {
            None => false,
            Some(order) => boolean(order)?,
        };
        let except = match said.get("except") {
            None => None,
            Some(ListEntry::InnerList(names)) => Some(keys(names)?),
            Some(ListEntry::Item(_)) => return None,
        };
        let params = match said.get("params") {
            Some(ListEntry::InnerList(names)) => Params::AllBut(keys(names)?),
            Some(all) if boolean(all)? => {
                return Some(Self {
                    any_order,
                    params: Params::NoneBut(except.unwrap_or_default()),
                });
            }
            Some(_) | None => Params::AllBut(Vec::new()),
        };
        let varies_on_all = params == Params::AllBut(Vec::new()) && !any_order;
        // `except` means something only beside `params` alone.
        (except.is_none() && !varies_on_all).then_some(Self { any_order, params })
    }

    /// The query (without `?`) that stands for all that make no difference to this one.
    pub fn canonical(&self, query: &[u8]) -> Vec<u8> {
        let mut pairs: Vec<_> = pairs(query).filter(|(key, _)| self.counts(key)).collect();
        if self.any_order {
            pairs.sort_by(|(one, _), (other, _)| one.cmp(other)); // stable: values keep theirs
        }
        let written = |text: &[u8]| Cow::from(percent_encode(text, PLAIN)).into_owned();
        let pairs: Vec<String> = (pairs.iter())
            .map(|(key, value)| format!("{}={}", written(key), written(value)))
            .collect();
        pairs.join("&").into_bytes()
    }

    fn counts(&self, key: &[u8]) -> bool {
        match &self.params {
            Params::AllBut(names) => !names.iter().any(|name| name == key),
            Params::NoneBut(names) => names.iter().any(|name| name == key),
        }
    }
}

fn boolean(entry: &ListEntry) -> Option<bool> {
    match entry {
        ListEntry::Item(Item { bare_item: BareItem::Boolean(value), .. }) => Some(*value),
        _ => None,
    }
}

/// Keys as a query has them, decoded; `None` where one is no string.
fn keys(list: &InnerList) -> Option<Vec<Vec<u8>>> {
    let key = |item: &Item| match &item.bare_item {
        BareItem::String(name) => Some(decoded(name.as_str().as_bytes())),
        _ => None,
    };
    list.items.iter().map(key).collect()
}

/// Keys and values of a query (application/x-www-form-urlencoded).
fn pairs(query: &[u8]) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    query.split(|b| *b == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let mut parts = pair.splitn(2, |b| *b == b'=');
        let mut part = || decoded(parts.next().unwrap_or_default());
        (part(), part())
    })
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let spaced: Vec<u8> = text.iter().map(|b| if *b == b'+' { b' ' } else { *b }).collect();
    percent_decode(&spaced).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn variance(field: &str) -> Option<Variance> {
        let mut headers = HeaderMap::new();
        headers.insert(&NO_VARY_SEARCH, HeaderValue::from_str(field).unwrap());
        Variance::of(&headers)
    }

    #[test]
    fn queries_that_make_no_difference() {
        for (case, field, one, other, same) in [
            ("a name", "params=(\"utm\")", "a=1&utm=2", "utm=3&a=1", true),
            ("without it", "params=(\"utm\")", "a=1&utm=2", "a=1", true),
            ("nothing else", "params=(\"utm\")", "utm=2", "", true),
            ("another name", "params=(\"utm\")", "a=1", "a=2", false),
            ("order counts", "params=(\"utm\")", "a=1&b=2", "b=2&a=1", false),
            ("order does not", "key-order", "a=1&b=2", "b=2&a=1", true),
            ("but of the same key's values", "key-order", "a=1&a=2", "a=2&a=1", false),
            ("none", "params", "a=1", "b=2", true),
            ("none but", "params, except=(\"a\")", "a=1&b=2", "a=1&c=3", true),
            ("none but, another", "params, except=(\"a\")", "a=1", "a=2", false),
            ("encodings", "params=(\"u m\")", "a=%41&u+m=1", "a=A&u%20m=2", true),
            ("encoded names", "params=(\"u%6D\")", "um=1", "", true),
            ("no value is an empty one", "key-order", "a", "a=", true),
            ("absent is not empty", "key-order", "a=", "", false),
            ("a separator within", "key-order", "a=1%26b=2", "a=1&b=2", false),
        ] {
            let variance = variance(field).unwrap_or_else(|| panic!("{case}: {field}"));
            let canonical = |query: &str| variance.canonical(query.as_bytes());
            assert_eq!(canonical(one) == canonical(other), same, "{case}: {one} {other}");
        }
    }

    #[test]
    fn what_cannot_be_followed_counts_as_not_sent() {
        for field in [
            "",
            "params=?0",
            "key-order=?0",
            "params=()",
            "params=(a)",
            "params=\"a\"",
            "params=5",
            "key-order=yes",
            "except=(\"a\")",
            "params=(\"a\"), except=(\"b\")",
            "params, except=\"a\"",
            "params=(\"a\"), key-order=5",
            "params=(",
        ] {
            assert_eq!(variance(field), None, "{field}");
        }
        assert_eq!(Variance::of(&HeaderMap::new()), None);
        assert_eq!(variance(&format!("params=(\"{}\")", "x".repeat(MAX_BYTES))), None);
        assert!(variance("params=(\"a\"), unknown=5").is_some());
    }

    proptest! {
        #[test]
        fn what_is_canonical_stays_so_and_loses_nothing_that_counts(
            query in "[a-c=&%+ \u{e9}]{0,20}",
        ) {
            let variance = variance("params=(\"a\"), key-order").unwrap();
            let once = variance.canonical(query.as_bytes());
            prop_assert_eq!(variance.canonical(&once), once.clone(), "{}", query);
            let count = |query: &[u8]| pairs(query).filter(|(key, _)| key != b"a").count();
            prop_assert_eq!(count(&once), count(query.as_bytes()));
        }
    }

    #[test]
    fn as_long_as_may_be() {
        let frame = "params=(\"\")".len();
        let said = |len| variance(&format!("params=(\"{}\")", "x".repeat(len - frame)));
        assert!(said(MAX_BYTES).is_some());
        assert_eq!(said(MAX_BYTES + 1), None);
    }
}
