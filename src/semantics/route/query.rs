//! Which parameters of a query are keyed, and so forwarded.

use super::pattern::Glob;

/// Parameters that mark where a visitor came from, and that apps leave alone.
pub const TRACKING: [&str; 22] = [
    "utm_*",
    "gclid",
    "gclsrc",
    "gbraid",
    "wbraid",
    "dclid",
    "fbclid",
    "msclkid",
    "twclid",
    "ttclid",
    "igshid",
    "yclid",
    "mc_cid",
    "mc_eid",
    "_ga",
    "_gl",
    "_hsenc",
    "_hsmi",
    "mkt_tok",
    "srsltid",
    "li_fat_id",
    "vero_id",
];

/// What a rule does to queries. What is dropped is neither keyed nor forwarded: an app that saw it
/// could put it into what is stored for those who did not send it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueryRule {
    /// Dropped, by name.
    pub drop: Vec<Glob>,
    /// Dropped but for these.
    pub keep: Option<Vec<Glob>>,
    /// Put in the order of their names; those of one name stay as they are.
    pub sort: bool,
}

impl QueryRule {
    /// Nothing is done.
    pub fn is_idle(&self) -> bool {
        self.drop.is_empty() && self.keep.is_none() && !self.sort
    }

    /// A target as it is keyed and forwarded; `None`: as it is.
    pub fn apply(&self, target: &str) -> Option<String> {
        let (path, query) = target.split_once('?')?;
        let all: Vec<&str> = query.split('&').collect();
        let mut kept: Vec<&str> =
            all.iter().copied().filter(|parameter| self.keeps(name(parameter))).collect();
        if self.sort {
            kept.sort_by_key(|parameter| name(parameter)); // stable
        }
        if kept == all {
            return None;
        }
        let mut out = String::with_capacity(target.len());
        out.push_str(path);
        for (nth, parameter) in kept.iter().enumerate() {
            out.push(if nth == 0 { '?' } else { '&' });
            out.push_str(parameter);
        }
        Some(out)
    }

    fn keeps(&self, name: &str) -> bool {
        let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        let among = |globs: &[Glob]| globs.iter().any(|glob| glob.matches(&decoded));
        !among(&self.drop) && self.keep.as_ref().is_none_or(|keep| among(keep))
    }
}

fn name(parameter: &str) -> &str {
    parameter.split('=').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_do_nothing() {
        assert!(QueryRule::default().is_idle());
        let globs = || vec![Glob::new("a")];
        for rule in [
            QueryRule { drop: globs(), ..QueryRule::default() },
            QueryRule { keep: Some(Vec::new()), ..QueryRule::default() },
            QueryRule { sort: true, ..QueryRule::default() },
            QueryRule { drop: globs(), keep: Some(globs()), sort: true },
        ] {
            assert!(!rule.is_idle(), "{rule:?}");
        }
        let both = QueryRule { drop: globs(), keep: Some(globs()), sort: false };
        assert_eq!(both.apply("/?a=1&b").as_deref(), Some("/"), "dropped in spite of all");
    }

    #[test]
    fn queries() {
        let globs = |names: &[&str]| names.iter().map(|name| Glob::new(name)).collect::<Vec<_>>();
        let drop = QueryRule { drop: globs(&["utm_*", "x"]), ..QueryRule::default() };
        let keep = QueryRule { keep: Some(globs(&["page"])), ..QueryRule::default() };
        let nothing = QueryRule { keep: Some(Vec::new()), ..QueryRule::default() };
        let sort = QueryRule { sort: true, ..QueryRule::default() };
        for (case, rule, target, want) in [
            ("dropped", &drop, "/a?utm_source=1&b=2&x", Some("/a?b=2")),
            ("all dropped", &drop, "/a?x=1", Some("/a")),
            ("encoded", &drop, "/a?%75tm_source=1&b", Some("/a?b")),
            ("nothing to drop", &drop, "/a?b=2&xx=1", None),
            ("no query", &drop, "/a", None),
            ("a value is no name", &drop, "/a?b=x", None),
            ("kept", &keep, "/a?b=1&page=2&c", Some("/a?page=2")),
            ("none kept", &nothing, "/a?b=1", Some("/a")),
            ("sorted", &sort, "/a?b=2&a=1&b=1", Some("/a?a=1&b=2&b=1")),
            ("sorted already", &sort, "/a?a=1&b=2&b=1", None),
            ("a question mark in it", &sort, "/a?b?&a", Some("/a?a&b?")),
        ] {
            assert_eq!(rule.apply(target).as_deref(), want, "{case}: {target}");
        }
    }
}
