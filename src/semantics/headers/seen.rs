//! Which kinds of fields a request has, told in one walk: most have none of these, and to ask for
//! each by its name takes a hash a name.

use http::header::{FORWARDED, VIA};
use http::{HeaderMap, HeaderName};

use super::hop_by_hop::ends_here;

/// The kinds of fields that a request has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Fields that end at this connection, Connection itself among them.
    pub hop_by_hop: bool,
    /// Via: it has been passed on before.
    pub via: bool,
    /// What proxies say of scheme and authority: Forwarded, X-Forwarded-Proto, X-Forwarded-Host.
    pub forwarded: bool,
}

impl Seen {
    /// The kinds in `headers`.
    pub fn of(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for name in headers.keys() {
            match *name {
                VIA => seen.via = true,
                FORWARDED => seen.forwarded = true,
                _ if ends_here(name) => seen.hop_by_hop = true,
                _ => seen.forwarded |= is_x_forwarded(name),
            }
        }
        seen
    }
}

fn is_x_forwarded(name: &HeaderName) -> bool {
    matches!(name.as_str(), "x-forwarded-proto" | "x-forwarded-host")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn kinds_of_fields() {
        let hop_by_hop = Seen { hop_by_hop: true, ..Seen::default() };
        let forwarded = Seen { forwarded: true, ..Seen::default() };
        let via = Seen { via: true, ..Seen::default() };
        for (name, want) in [
            ("host", Seen::default()),
            ("x-forwarded-for", Seen::default()),
            ("x-forwarded", Seen::default()),
            ("connection", hop_by_hop),
            ("keep-alive", hop_by_hop),
            ("http2-settings", hop_by_hop),
            ("via", via),
            ("forwarded", forwarded),
            ("x-forwarded-proto", forwarded),
            ("x-forwarded-host", forwarded),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static("a"));
            assert_eq!(Seen::of(&headers), want, "{name}");
        }
        assert_eq!(Seen::of(&HeaderMap::new()), Seen::default());
    }
}
