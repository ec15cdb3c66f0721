//! Via: who passed a message on (RFC 9110 §7.6.3).

use http::header::{InvalidHeaderValue, VIA};
use http::{HeaderMap, HeaderValue, Version};

/// The name by which this process knows itself in Via, and the values it writes, made once.
#[derive(Debug, Clone)]
pub struct Pseudonym {
    name: Box<str>,
    http10: HeaderValue,
    http11: HeaderValue,
}

impl Pseudonym {
    /// Of a name that is a token, such as `larder-1a2b3c4d`: another for each process, so that
    /// two Larders in a row are no loop.
    pub fn new(name: &str) -> Result<Self, InvalidHeaderValue> {
        Ok(Self {
            name: name.into(),
            http10: HeaderValue::from_str(&format!("1.0 {name}"))?,
            http11: HeaderValue::from_str(&format!("1.1 {name}"))?,
        })
    }

    /// Adds this process to a message that was received in `version`.
    pub fn append(&self, headers: &mut HeaderMap, version: Version) {
        let value = match version {
            Version::HTTP_09 | Version::HTTP_10 => &self.http10,
            _ => &self.http11,
        };
        headers.append(VIA, value.clone());
    }

    /// The message has been here before.
    pub fn is_loop(&self, headers: &HeaderMap) -> bool {
        headers.get_all(VIA).iter().any(|line| {
            let members = line.as_bytes().split(|b| *b == b',');
            members.filter_map(received_by).any(|by| by.eq_ignore_ascii_case(self.name.as_bytes()))
        })
    }
}

/// The second word of a member: `1.1 name (comment)`.
fn received_by(member: &[u8]) -> Option<&[u8]> {
    let mut words =
        member.split(|b| matches!(b, b' ' | b'\t' | b'(')).filter(|word| !word.is_empty());
    words.nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_our_own_name_only() {
        let own = Pseudonym::new("larder-1a").unwrap();
        for (case, lines, want) in [
            ("none", &[][..], false),
            ("ours", &["1.1 larder-1a"], true),
            ("with protocol and comment", &["HTTP/1.1 Larder-1a(x)"], true),
            ("in a list", &["1.0 fred, 1.1 larder-1a , 1.1 x"], true),
            ("in a second line", &["1.0 fred", "1.1 larder-1a"], true),
            ("another Larder", &["1.1 larder-1b"], false),
            ("a longer name", &["1.1 larder-1ab, 1.1 x.larder-1a"], false),
            ("in a comment", &["1.1 fred (larder-1a)"], false),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(VIA, HeaderValue::from_static(line));
            }
            assert_eq!(own.is_loop(&headers), want, "{case}");
            own.append(&mut headers, Version::HTTP_11);
            assert!(own.is_loop(&headers), "{case}: once passed on");
            assert_eq!(headers.get_all(VIA).iter().count(), lines.len() + 1, "{case}");
        }
        let mut old = HeaderMap::new();
        own.append(&mut old, Version::HTTP_10);
        assert_eq!(old.get(VIA).unwrap(), "1.0 larder-1a");
        assert!(Pseudonym::new("a\nb").is_err());
    }
}
