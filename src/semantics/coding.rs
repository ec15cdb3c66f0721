//! Content codings (RFC 9110 §8.4.1, RFC 7932, RFC 8878): which there are, which a client takes,
//! and which one it gets.

use http::header::ACCEPT_ENCODING;
use http::{HeaderMap, HeaderValue};

/// A content coding that is known here: it can be made and undone. The numbers are part of what
/// is stored; 0 is no coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Coding {
    /// RFC 1952.
    Gzip = 1,
    /// RFC 7932.
    Br = 2,
    /// RFC 8878.
    Zstd = 3,
}

impl Coding {
    /// All of them, by their numbers.
    pub const ALL: [Self; 3] = [Self::Gzip, Self::Br, Self::Zstd];

    /// As header fields write it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Br => "br",
            Self::Zstd => "zstd",
        }
    }

    /// The one with this number.
    pub fn numbered(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|coding| *coding as u8 == number)
    }

    /// By its name, in any letter case; `x-gzip` is gzip (RFC 9110 §8.4.1.3).
    pub fn named(name: &[u8]) -> Option<Self> {
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL.into_iter().find(|coding| is(coding.as_str()))
    }

    /// The coding of content whose Content-Encoding has these lines, where it has exactly one, and
    /// that one known.
    pub fn of<'a>(mut lines: impl Iterator<Item = &'a HeaderValue>) -> Option<Self> {
        match (lines.next(), lines.next()) {
            (Some(line), None) => Self::named(line.as_bytes().trim_ascii()),
            _ => None,
        }
    }

    /// As the value of Content-Encoding.
    pub const fn value(self) -> HeaderValue {
        HeaderValue::from_static(self.as_str())
    }
}

/// What a client takes (RFC 9110 §12.5.3): weights in thousandths, 0 for what it does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Accepted {
    weights: [u16; Coding::ALL.len()],
    /// What it says of identity by name.
    identity: Option<u16>,
}

impl Accepted {
    /// Reads Accept-Encoding. Without it, and for members that are malformed, only identity is
    /// taken: that is always understood.
    pub fn of(headers: &HeaderMap) -> Self {
        if !headers.keys().any(|name| *name == ACCEPT_ENCODING) {
            return Self::default();
        }
        let mut named = [None; Coding::ALL.len()];
        let (mut identity, mut any) = (None, None);
        for line in headers.get_all(ACCEPT_ENCODING) {
            for member in line.as_bytes().split(|b| *b == b',') {
                let mut parts = member.splitn(2, |b| *b == b';');
                let name = parts.next().unwrap_or_default().trim_ascii();
                let Some(weight) = weight(parts.next()) else { continue };
                let slot = match Coding::named(name) {
                    Some(coding) => named.get_mut(coding as usize - 1),
                    None if name.eq_ignore_ascii_case(b"identity") => Some(&mut identity),
                    None if name == b"*" => Some(&mut any),
                    None => None,
                };
                if let Some(slot) = slot {
                    *slot = (*slot).max(Some(weight));
                }
            }
        }
        Self { weights: named.map(|own| own.or(any).unwrap_or(0)), identity }
    }

    /// Can be sent content in `coding`.
    pub fn can_take(&self, coding: Coding) -> bool {
        self.weight(coding) > 0
    }

    /// Gets `coding` where there is a choice: it is taken, and not liked less than identity.
    pub fn prefers(&self, coding: Coding) -> bool {
        self.can_take(coding) && self.weight(coding) >= self.identity.unwrap_or(0)
    }

    /// What it gets of `offered`: what it likes best, among equals the first. `None`: identity.
    pub fn best(&self, offered: impl IntoIterator<Item = Coding>) -> Option<Coding> {
        let mut best: Option<Coding> = None;
        for coding in offered.into_iter().filter(|coding| self.prefers(*coding)) {
            if best.is_none_or(|known| self.weight(coding) > self.weight(known)) {
                best = Some(coding);
            }
        }
        best
    }

    /// The Accept-Encoding that the origin is asked with: the same for all clients that get the
    /// same, so that it selects among few variants (DESIGN D6).
    pub fn for_origin(&self) -> &'static str {
        let [gzip, br, zstd] = Coding::ALL.map(|coding| self.prefers(coding));
        match (gzip, br, zstd) {
            (false, false, false) => "identity",
            (true, false, false) => "gzip",
            (false, true, false) => "br",
            (false, false, true) => "zstd",
            (true, true, false) => "gzip, br",
            (true, false, true) => "gzip, zstd",
            (false, true, true) => "br, zstd",
            (true, true, true) => "gzip, br, zstd",
        }
    }

    fn weight(&self, coding: Coding) -> u16 {
        self.weights.get(coding as usize - 1).copied().unwrap_or(0)
    }
}

/// A weight in thousandths; `None` where it is none. Without one: 1000.
pub(super) fn weight(parameter: Option<&[u8]>) -> Option<u16> {
    let Some(parameter) = parameter else { return Some(1000) };
    let [b'q' | b'Q', b'=', number @ ..] = parameter.trim_ascii() else { return None };
    let (whole, fraction) = match number {
        [whole] => (whole, &[][..]),
        [whole, b'.', fraction @ ..] if fraction.len() <= 3 => (whole, fraction),
        _ => return None,
    };
    if !matches!(whole, b'0' | b'1') || !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |nth: usize| fraction.get(nth).map_or(0, |digit| u16::from(digit - b'0'));
    let weight = u16::from(whole - b'0') * 1000 + digit(0) * 100 + digit(1) * 10 + digit(2);
    (weight <= 1000).then_some(weight)
}

#[cfg(test)]
mod tests {
    use super::Coding::{Br, Gzip, Zstd};
    use super::*;

    fn map(name: &'static str, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    #[test]
    fn codings_by_weight() {
        for (case, lines, best, asked) in [
            ("absent", &[][..], None, "identity"),
            ("empty", &[""], None, "identity"),
            ("gzip", &["gzip"], Some(Gzip), "gzip"),
            ("a browser", &["gzip, deflate, br, zstd"], Some(Zstd), "gzip, br, zstd"),
            ("an older one", &["gzip, deflate, br"], Some(Br), "gzip, br"),
            ("zstd and gzip", &["zstd, gzip"], Some(Zstd), "gzip, zstd"),
            ("zstd and br", &["zstd, br"], Some(Zstd), "br, zstd"),
            ("zstd", &["zstd"], Some(Zstd), "zstd"),
            ("the old name", &["x-gzip"], Some(Gzip), "gzip"),
            ("capitals", &["GZip;Q=0.5"], Some(Gzip), "gzip"),
            ("refused", &["gzip;q=0"], None, "identity"),
            ("refused, in full", &["gzip;q=0.000"], None, "identity"),
            ("a thousandth", &["gzip;q=0.001"], Some(Gzip), "gzip"),
            ("any", &["*"], Some(Zstd), "gzip, br, zstd"),
            ("any but zstd", &["*, zstd;q=0"], Some(Br), "gzip, br"),
            ("only gzip", &["gzip, identity;q=0"], Some(Gzip), "gzip"),
            ("only gzip, by any", &["gzip, *;q=0"], Some(Gzip), "gzip"),
            ("nothing at all", &["*;q=0"], None, "identity"),
            ("identity liked more", &["gzip;q=0.5, identity;q=0.8"], None, "identity"),
            ("between them", &["gzip;q=0.5, br, identity;q=0.8"], Some(Br), "br"),
            ("gzip liked more", &["gzip;q=0.8, identity;q=0.5"], Some(Gzip), "gzip"),
            (
                "the weight outranks our order",
                &["zstd;q=0.5, gzip, br;q=0.9"],
                Some(Gzip),
                "gzip, br, zstd",
            ),
            ("less than any", &["gzip;q=0.5, *"], Some(Zstd), "gzip, br, zstd"),
            ("another only", &["deflate"], None, "identity"),
            ("in a second line", &["br", "gzip"], Some(Br), "gzip, br"),
            ("no weight", &["gzip;q=x"], None, "identity"),
            ("too heavy", &["gzip;q=1.5"], None, "identity"),
            ("too exact", &["gzip;q=0.1234"], None, "identity"),
            ("spaces", &["br , gzip ; q=1"], Some(Br), "gzip, br"),
            ("a longer name", &["gzipped"], None, "identity"),
        ] {
            let accepted = Accepted::of(&map("accept-encoding", lines));
            assert_eq!(accepted.best([Zstd, Br, Gzip]), best, "{case}: {lines:?}");
            assert_eq!(accepted.for_origin(), asked, "{case}: {lines:?}");
            // What is asked for is read back as the same.
            let again = Accepted::of(&map("accept-encoding", &[asked]));
            assert_eq!(again.for_origin(), asked, "{case}");
        }
    }

    #[test]
    fn the_first_offered_among_equals() {
        let all = Accepted::of(&map("accept-encoding", &["gzip, br, zstd"]));
        assert_eq!(all.best([Br, Zstd, Gzip]), Some(Br));
        assert_eq!(all.best([Gzip]), Some(Gzip));
        assert_eq!(all.best([]), None);
        let reluctant = Accepted::of(&map("accept-encoding", &["gzip;q=0.1, identity"]));
        assert!(reluctant.can_take(Gzip) && !reluctant.prefers(Gzip));
        assert!(!reluctant.can_take(Br));
    }

    #[test]
    fn the_coding_of_content() {
        for (case, lines, want) in [
            ("none", &[][..], None),
            ("gzip", &["gzip"], Some(Gzip)),
            ("the old name", &["X-GZIP"], Some(Gzip)),
            ("br", &[" br "], Some(Br)),
            ("two", &["gzip, br"], None),
            ("in two lines", &["gzip", "br"], None),
            ("unknown", &["deflate"], None),
        ] {
            let headers = map("content-encoding", lines);
            assert_eq!(Coding::of(headers.values()), want, "{case}");
        }
        for coding in Coding::ALL {
            assert_eq!(Coding::numbered(coding as u8), Some(coding));
            assert_eq!(Coding::named(coding.as_str().as_bytes()), Some(coding));
        }
        assert_eq!(Coding::numbered(0), None);
    }

    #[test]
    fn values_name_their_coding() {
        for coding in Coding::ALL {
            let value = coding.value();
            assert_eq!(value, coding.as_str());
            assert_eq!(Coding::of([&value].into_iter()), Some(coding));
        }
    }

    #[test]
    fn thousandths() {
        for (text, want) in [("q=0.123", 123), ("q=0.045", 45), ("q=0.9", 900), ("Q=1.000", 1000)] {
            assert_eq!(weight(Some(text.as_bytes())), Some(want), "{text}");
        }
    }
}
