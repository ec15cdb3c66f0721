//! Accept-Language, and which stored response fits it although it was fetched for another list
//! (RFC 9110 §12.5.4, RFC 9111 §4.1).

use http::header::{ACCEPT_LANGUAGE, CONTENT_LANGUAGE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::coding;
use super::vary;

/// What a list of languages asks for: language ranges in lower case with their weights in
/// thousandths, the most wanted first, those wanted alike by name.
#[derive(Debug, PartialEq, Eq)]
struct Wanted(Vec<(String, u16)>);

impl Wanted {
    /// Of a value of Accept-Language; `None` where a member is malformed.
    fn parse(value: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(value).ok()?;
        let members = text.split(',').map(str::trim).filter(|member| !member.is_empty());
        let read = |member: &str| {
            let (range, weight) = match member.split_once(';') {
                Some((range, weight)) => (range.trim_end(), Some(weight.as_bytes())),
                None => (member, None),
            };
            let known = |b: u8| b.is_ascii_alphanumeric() || b"-*".contains(&b);
            let valid = !range.is_empty() && range.bytes().all(known);
            Some((valid.then(|| range.to_ascii_lowercase())?, coding::weight(weight)?))
        };
        let mut list: Vec<_> = members.map(read).collect::<Option<_>>()?;
        list.sort_unstable_by(|(one, a), (other, b)| b.cmp(a).then_with(|| one.cmp(other)));
        Some(Self(list))
    }

    /// The language that is wanted more than any other, if it is one.
    fn first(&self) -> Option<&str> {
        match self.0.as_slice() {
            [(first, weight), rest @ ..]
                if *weight > 0 && rest.first().is_none_or(|(_, next)| next < weight) =>
            {
                Some(first)
            }
            _ => None,
        }
    }
}

/// The language of a response, in lower case, where Content-Language names exactly one.
pub fn of_content<'a>(mut lines: impl Iterator<Item = &'a HeaderValue>) -> Option<Box<str>> {
    let (line, None) = (lines.next()?, lines.next()) else { return None };
    let tag = line.to_str().ok()?.trim();
    let one = !tag.is_empty() && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    one.then(|| tag.to_ascii_lowercase().into())
}

/// The field that [`of_content`] reads.
pub const FIELD: HeaderName = CONTENT_LANGUAGE;

/// A stored variant that answers `request` as well as the origin would, though its list of
/// languages was another: of those with the same values of all other selecting fields, one in the
/// language that is wanted most, or one that does not tell its language and was fetched for the
/// same list in another order. `known` gives the values as [`vary::selecting_values`] wrote them,
/// and the language.
pub fn fitting<'a, V: AsRef<[u8]>>(
    names: &[HeaderName],
    request: &HeaderMap,
    known: impl IntoIterator<Item = (&'a V, Option<&'a str>)>,
) -> Option<&'a V> {
    let place = names.iter().position(|name| *name == ACCEPT_LANGUAGE)?;
    let mut values = Vec::with_capacity(64);
    vary::selecting_values(names, request, &mut values);
    let asked: Vec<Option<&[u8]>> = vary::components(&values).collect();
    let wanted = Wanted::parse((*asked.get(place)?)?)?;
    let fits = |(values, language): &(&V, Option<&str>)| {
        let own: Vec<Option<&[u8]>> = vary::components(values.as_ref()).collect();
        let others = own.len() == asked.len()
            && (0..asked.len()).all(|nth| nth == place || own.get(nth) == asked.get(nth));
        others
            && if let Some(language) = language {
                wanted.first() == Some(language)
            } else {
                let list = own.get(place).copied().flatten();
                list.and_then(Wanted::parse).is_some_and(|own| own == wanted)
            }
    };
    known.into_iter().find(fits).map(|(values, _)| values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    const AL: &str = "accept-language";

    #[test]
    fn a_stored_variant_fits() {
        let names = [ACCEPT_LANGUAGE, HeaderName::from_static("x")];
        for (case, stored, language, asked, want) in [
            ("order", &[(AL, "en, de")][..], None, &[(AL, "de, en")][..], true),
            ("letter case", &[(AL, "EN, de")], None, &[(AL, "de, eN")], true),
            ("order of weights", &[(AL, "en;q=0.5, de")], None, &[(AL, "de, en;q=0.5")], true),
            ("another weight", &[(AL, "en;q=0.5, de")], None, &[(AL, "de, en;q=0.6")], false),
            ("one more", &[(AL, "en, de")], None, &[(AL, "de, en, fr")], false),
            ("the most wanted", &[(AL, "en, de")], Some("de"), &[(AL, "fr;q=0.5, de")], true),
            ("less wanted", &[(AL, "en, de")], Some("de"), &[(AL, "fr, de;q=0.5")], false),
            ("wanted alike", &[(AL, "en, de")], Some("de"), &[(AL, "fr, de")], false),
            ("order, but it tells", &[(AL, "en, de")], Some("en"), &[(AL, "de, en")], false),
            ("of a region", &[(AL, "en")], Some("de-ch"), &[(AL, "de")], false),
            ("refused", &[(AL, "en")], Some("de"), &[(AL, "de;q=0")], false),
            ("nothing asked", &[(AL, "en")], Some("en"), &[], false),
            ("nothing asked then", &[], Some("en"), &[(AL, "en")], true),
            ("malformed", &[(AL, "a b, c")], None, &[(AL, "c, a b")], false),
            (
                "another field differs",
                &[(AL, "en, de"), ("x", "1")],
                None,
                &[(AL, "de, en")],
                false,
            ),
            (
                "another field is the same",
                &[(AL, "en, de"), ("x", "1")],
                None,
                &[(AL, "de, en"), ("x", "1")],
                true,
            ),
        ] {
            let mut values = Vec::new();
            vary::selecting_values(&names, &headers(stored), &mut values);
            let got = fitting(&names, &headers(asked), [(&values, language)]);
            assert_eq!(got.is_some(), want, "{case}: {stored:?} {language:?} {asked:?}");
        }
        let values = Vec::new();
        let elsewhere = [HeaderName::from_static("x")];
        assert_eq!(fitting(&elsewhere, &headers(&[(AL, "en")]), [(&values, Some("en"))]), None);
    }

    #[test]
    fn one_language_is_told_or_none() {
        for (case, lines, want) in [
            ("one", &["De-CH"][..], Some("de-ch")),
            ("two", &["de, en"], None),
            ("two lines", &["de", "en"], None),
            ("none", &[], None),
            ("empty", &[""], None),
        ] {
            let lines: Vec<_> = lines.iter().map(|line| HeaderValue::from_static(line)).collect();
            assert_eq!(of_content(lines.iter()).as_deref(), want, "{case}");
        }
    }
}
