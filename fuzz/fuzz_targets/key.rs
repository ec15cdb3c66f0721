//! Keys: two requests share one only if they mean the same, and no two kinds of keys meet.

#![no_main]

use arbitrary::Arbitrary;
use http::HeaderMap;
use larder::semantics::headers::authority;
use larder::semantics::key::{self, Scheme};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
struct Named<'a> {
    https: bool,
    authority: &'a str,
    path: &'a str,
    host: Option<&'a str>,
    generation: u64,
    values: &'a [u8],
}

/// What a request means: what must differ where keys differ.
#[derive(Debug, PartialEq, Eq)]
struct Meaning {
    https: bool,
    authority: String,
    path: String,
    /// The Host that is forwarded, where it is another.
    host: Option<String>,
}

impl Named<'_> {
    fn scheme(&self) -> Scheme {
        if self.https { Scheme::Https } else { Scheme::Http }
    }

    /// `None`: no request that is let in has such parts.
    fn meaning(&self) -> Option<Meaning> {
        let port = if self.https { ":443" } else { ":80" };
        let canonical = |written: &str| {
            let valid = authority::parse(written)?.into_owned();
            Some(valid.strip_suffix(port).map(str::to_owned).unwrap_or(valid))
        };
        let authority = canonical(self.authority)?;
        let target = self.path.starts_with('/') && self.path.bytes().all(|b| b.is_ascii_graphic());
        let host = match self.host {
            Some(host) => Some(canonical(host)?).filter(|host| *host != authority),
            None => None,
        };
        target.then(|| Meaning { https: self.https, authority, path: self.path.into(), host })
    }

    fn key(&self) -> Vec<u8> {
        let mut key = Vec::new();
        key::primary(self.scheme(), self.authority, self.path, self.host, &mut key);
        key
    }
}

fuzz_target!(|input: (Named, Named, [u8; 16], u32, &str)| {
    let (one, other, id, index, group) = input;
    let (Some(meant), Some(also)) = (one.meaning(), other.meaning()) else { return };
    let (first, second) = (one.key(), other.key());
    assert_eq!(first == second, meant == also, "{one:?} {other:?}");
    let scheme = if meant.https { "https" } else { "http" };
    let url = format!("{scheme}://{}{}", meant.authority, meant.path);
    assert_eq!(key::url_part(&first), url.as_bytes());
    let path = meant.path.split('?').next().unwrap_or_default();
    assert_eq!(key::path(&first), path.as_bytes());
    if !url.contains('#') {
        assert_eq!(key::url(&url), url.as_bytes(), "what a person writes");
    }
    // Variants, aliases, segments and groups.
    let variant = key::variant(&first, one.generation, one.values);
    let another = key::variant(&second, other.generation, other.values);
    let same = meant == also && one.generation == other.generation && one.values == other.values;
    assert_eq!(variant == another, same, "{one:?} {other:?}");
    assert_eq!(key::url_part(&variant), key::url_part(&first), "purged with its URL");
    let segment = key::segment(&id, index);
    assert!(key::url_part(&segment).is_empty(), "a segment is no URL's");
    let group = key::group(&first, group);
    let canonical: Vec<u8> = one.values.iter().copied().filter(u8::is_ascii_graphic).collect();
    let alias = key::search_alias(&first, &canonical, one.generation);
    assert!(key::is_search_alias(&alias) && !key::is_search_alias(&first));
    // A part and a QUERY: of the same values, the same only where all of it is.
    let part = key::part(&first, b"bytes=0-1", b"");
    let mut query = first.clone();
    key::add_content(&HeaderMap::new(), one.values, one.generation, &mut query);
    let mut also = second.clone();
    key::add_content(&HeaderMap::new(), other.values, other.generation, &mut also);
    assert_eq!(query == also, same, "{one:?} {other:?}");
    assert_eq!(key::url_part(&query), key::url_part(&first), "purged with its URL");
    let keys = [&first[..], &variant, &segment, &group, &alias, &part, &query];
    for (nth, key) in keys.iter().enumerate() {
        assert!(!keys[nth + 1..].contains(key), "two kinds meet: {keys:?}");
    }
});
