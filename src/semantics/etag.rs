//! Entity tags (RFC 9110 §8.8.3).

use serde::{Deserialize, Serialize};

/// An entity tag as it was sent: `"…"` or `W/"…"`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EntityTag(Box<[u8]>);

impl EntityTag {
    /// Reads exactly one entity tag; `None` for what is none (without quotes, for instance).
    pub fn parse(value: &[u8]) -> Option<Self> {
        let opaque = opaque(value);
        let inner = opaque.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        inner.iter().copied().all(is_etagc).then(|| Self(value.into()))
    }

    /// As it was sent, with quotes and `W/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Equal representations are promised to be equivalent only, not identical.
    pub fn is_weak(&self) -> bool {
        self.0.starts_with(b"W/")
    }

    /// Weak comparison: for If-None-Match.
    pub fn weak_eq(&self, other: &[u8]) -> bool {
        opaque(&self.0) == opaque(other)
    }

    /// Strong comparison: for If-Match, If-Range and ranges.
    pub fn strong_eq(&self, other: &[u8]) -> bool {
        !self.is_weak() && *self.0 == *other
    }
}

/// The tag without `W/`.
pub fn opaque(tag: &[u8]) -> &[u8] {
    tag.strip_prefix(b"W/").unwrap_or(tag)
}

/// The entity tags of a list; members that are none are left out. Allocates nothing.
pub fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_ascii_start();
            if let Some(after) = rest.strip_prefix(b",") {
                rest = after;
                continue;
            }
            if rest.is_empty() {
                return None;
            }
            let prefix = rest.len() - opaque(rest).len();
            let end = rest.get(prefix..).and_then(|tag| {
                let inner = tag.strip_prefix(b"\"")?;
                let close = inner.iter().position(|b| !is_etagc(*b))?;
                (inner.get(close) == Some(&b'"')).then_some(prefix + close + 2)
            });
            let Some((tag, after)) = end.and_then(|end| rest.split_at_checked(end)) else {
                // No entity tag: go on behind the next comma.
                let comma = rest.iter().position(|b| *b == b',').unwrap_or(rest.len());
                rest = rest.get(comma..).unwrap_or_default();
                continue;
            };
            rest = after;
            return Some(tag);
        }
    })
}

fn is_etagc(byte: u8) -> bool {
    byte == 0x21 || (0x23..=0x7e).contains(&byte) || byte >= 0x80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_quoted() {
        for (case, text, valid) in [
            ("strong", "\"a\"", true),
            ("weak", "W/\"a\"", true),
            ("empty", "\"\"", true),
            ("small w", "w/\"a\"", false),
            ("without quotes", "a", false),
            ("single quotes", "'a'", false),
            ("quote within", "\"a\"b\"", false),
            ("space within", "\"a b\"", false),
            ("one quote", "\"", false),
            ("nothing", "", false),
        ] {
            assert_eq!(EntityTag::parse(text.as_bytes()).is_some(), valid, "{case}: {text}");
        }
    }

    #[test]
    fn comparison_is_the_table_of_rfc_9110() {
        for (one, other, strong, weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "W/\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            let tag = EntityTag::parse(one.as_bytes()).unwrap();
            assert_eq!(tag.strong_eq(other.as_bytes()), strong, "strong {one} {other}");
            assert_eq!(tag.weak_eq(other.as_bytes()), weak, "weak {one} {other}");
        }
    }

    #[test]
    fn lists_keep_commas_within_tags() {
        for (case, list, want) in [
            ("one", "\"a\"", vec!["\"a\""]),
            ("two", "\"a\", W/\"b\"", vec!["\"a\"", "W/\"b\""]),
            ("comma within", "\"a,b\",\"c\"", vec!["\"a,b\"", "\"c\""]),
            ("no tag between", "\"a\", b, \"c\"", vec!["\"a\"", "\"c\""]),
            ("empty members", ", ,\"a\",", vec!["\"a\""]),
            ("open end", "\"a\", \"b", vec!["\"a\""]),
            ("nothing", "", vec![]),
        ] {
            let got: Vec<&[u8]> = members(list.as_bytes()).collect();
            let want: Vec<&[u8]> = want.iter().map(|tag| tag.as_bytes()).collect();
            assert_eq!(got, want, "{case}: {list}");
        }
    }
}
