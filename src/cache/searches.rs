//! Which paths have said by No-Vary-Search what of their queries makes no difference, and where
//! their responses lie because of it.
//!
//! A response that says so lies under an *alias*: the key of its canonical query, with the
//! generation of what its path said. Whoever finds nothing under the request's own key looks there.
//! In memory only: after a restart a path is learned anew, with a new generation, so that nothing
//! comes back that a purge of another query's URL would have reached.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use crate::semantics::key;
use crate::semantics::search::Variance;

/// Paths remembered at most; past that all are forgotten, and learned again as they answer.
const MAX_PATHS: usize = 10_000;

/// What paths have said.
#[derive(Debug, Default)]
pub struct Searches {
    /// Zero saves a look-up, which is the usual case.
    count: AtomicUsize,
    paths: RwLock<HashMap<Box<[u8]>, Arc<Said>>>,
}

#[derive(Debug)]
struct Said {
    variance: Variance,
    generation: u64,
}

impl Said {
    fn alias(&self, primary: &[u8]) -> Bytes {
        let (_, query) = key::split_query(primary);
        key::search_alias(primary, &self.variance.canonical(query), self.generation)
    }
}

impl Searches {
    /// Where a response lies whose query makes no difference to this one's; `None`: its path has
    /// said nothing of that.
    pub fn alias(&self, primary: &[u8]) -> Option<Bytes> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        Some(self.said(&key::split_query(primary).0)?.alias(primary))
    }

    /// Where a response to the request of `primary` that says `variance` is to lie. `generation` is
    /// that of a path which says something new.
    pub fn place(&self, primary: &[u8], variance: Variance, generation: u64) -> Bytes {
        let (path, _) = key::split_query(primary);
        if let Some(said) = self.said(&path).filter(|said| said.variance == variance) {
            return said.alias(primary);
        }
        let said = Arc::new(Said { variance, generation });
        let mut paths = self.paths.write();
        if paths.len() >= MAX_PATHS {
            paths.clear();
        }
        paths.insert(path.into_boxed_slice(), said.clone());
        self.count.store(paths.len(), Ordering::Relaxed);
        said.alias(primary)
    }

    /// The URLs under which aliases of `url` lie, which is as a purge has it: with or without an
    /// origin.
    pub fn urls(&self, url: &[u8]) -> Vec<Vec<u8>> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return Vec::new();
        }
        let (path, query) = key::split_query(url);
        let any_origin = path.first() == Some(&b'/');
        let paths = self.paths.read();
        let meant = paths.iter().filter(|(known, _)| {
            key::url_part(known) == path || (any_origin && key::path(known) == path)
        });
        meant
            .map(|(known, said)| {
                let alias = [key::url_part(known), b"?", &said.variance.canonical(query)].concat();
                alias.strip_suffix(b"?").map(<[u8]>::to_vec).unwrap_or(alias)
            })
            .collect()
    }

    fn said(&self, path: &[u8]) -> Option<Arc<Said>> {
        self.paths.read().get(path).cloned()
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::*;

    fn variance(field: &'static str) -> Variance {
        let mut headers = HeaderMap::new();
        headers.insert("no-vary-search", HeaderValue::from_static(field));
        Variance::of(&headers).unwrap()
    }

    #[test]
    fn a_path_is_found_by_what_it_said_last() {
        let searches = Searches::default();
        assert_eq!(searches.alias(b"http://h/p?a=1"), None);
        let utm = || variance("params=(\"utm\")");
        let place = searches.place(b"http://h/p?a=1&utm=2", utm(), 7);
        assert_eq!(key::url_part(&place), b"http://h/p?a=1");
        for same in [&b"http://h/p?a=1"[..], b"http://h/p?utm=9&a=1"] {
            assert_eq!(searches.alias(same), Some(place.clone()));
        }
        assert_ne!(searches.alias(b"http://h/p?a=2"), Some(place.clone()));
        assert_eq!(searches.alias(b"http://h/q?a=1"), None, "another path");
        assert_eq!(searches.alias(b"http://i/p?a=1"), None, "another origin");
        assert_ne!(searches.alias(b"http://h/p\0hx?a=1"), Some(place.clone()), "another Host");
        assert_eq!(searches.place(b"http://h/p?a=1", utm(), 8), place, "it goes on");
        let new = searches.place(b"http://h/p?a=1", variance("params"), 8);
        assert_eq!(searches.alias(b"http://h/p?a=1"), Some(new.clone()));
        assert_ne!(new, place);
        let again = searches.place(b"http://h/p?a=1", utm(), 9);
        assert_ne!(again, place, "what lay there before does not come back");
    }

    #[test]
    fn purges_reach_aliases() {
        let searches = Searches::default();
        assert!(searches.urls(b"/p?a=1").is_empty());
        searches.place(b"http://h/p?a=1", variance("params=(\"utm\")"), 7);
        searches.place(b"http://i/p", variance("params"), 7);
        assert_eq!(searches.urls(b"http://h/p?utm=1&a=1"), [b"http://h/p?a=1".to_vec()]);
        assert_eq!(searches.urls(b"http://i/p?a=1"), [b"http://i/p".to_vec()]);
        assert_eq!(searches.urls(b"http://h/q"), Vec::<Vec<u8>>::new());
        let mut both = searches.urls(b"/p?a=1");
        both.sort();
        assert_eq!(both, [b"http://h/p?a=1".to_vec(), b"http://i/p".to_vec()]);
    }

    #[test]
    fn the_table_is_bounded() {
        let searches = Searches::default();
        for n in 0..=MAX_PATHS {
            searches.place(format!("http://h/{n}").as_bytes(), variance("params"), 7);
        }
        assert_eq!(searches.count.load(Ordering::Relaxed), 1);
    }
}
