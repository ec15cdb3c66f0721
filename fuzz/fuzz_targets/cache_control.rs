//! Cache-Control of both sides: what was written is what is read, and nothing that a peer writes
//! takes back what stands beside it.

#![no_main]

use arbitrary::Arbitrary;
use http::HeaderMap;
use http::header::CACHE_CONTROL;
use larder::semantics::cache_control::{RequestDirectives, ResponseDirectives};
use larder::semantics::time::DeltaSeconds;
use larder_fuzz::{field, joined};
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
enum Input<'a> {
    Raw(&'a [u8]),
    Written(Vec<Directive>),
}

#[derive(Debug, Arbitrary)]
struct Directive {
    name: Name,
    capitals: bool,
    quoted: bool,
    seconds: u64,
    space: (bool, bool),
    /// An empty member follows.
    comma: bool,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Name {
    Public,
    NoStore,
    NoTransform,
    MustRevalidate,
    ProxyRevalidate,
    MustUnderstand,
    Immutable,
    MaxAge,
    SMaxage,
    StaleWhileRevalidate,
    StaleIfError,
    Unknown,
}

impl Name {
    fn text(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::NoStore => "no-store",
            Self::NoTransform => "no-transform",
            Self::MustRevalidate => "must-revalidate",
            Self::ProxyRevalidate => "proxy-revalidate",
            Self::MustUnderstand => "must-understand",
            Self::Immutable => "immutable",
            Self::MaxAge => "max-age",
            Self::SMaxage => "s-maxage",
            Self::StaleWhileRevalidate => "stale-while-revalidate",
            Self::StaleIfError => "stale-if-error",
            Self::Unknown => "unknown",
        }
    }
}

fuzz_target!(|input: Input| match input {
    Input::Raw(text) => raw(&field(&CACHE_CONTROL, text)),
    Input::Written(directives) => written(&directives),
});

fn raw(headers: &HeaderMap) {
    let said = ResponseDirectives::parse(headers);
    let asked = RequestDirectives::parse(headers);
    for span in [said.max_age, said.s_maxage, said.stale_if_error, asked.max_age, asked.max_stale] {
        assert!(span.is_none_or(|span| span <= DeltaSeconds::FOREVER));
    }
    let odd = headers.values().any(|line| line.as_bytes().contains(&b'"'));
    if !odd {
        let one = joined(&CACHE_CONTROL, headers);
        assert_eq!(ResponseDirectives::parse(&one), said, "one line or several");
        assert_eq!(RequestDirectives::parse(&one), asked, "one line or several");
    }
    // Whatever stands before it, in another line or in the same.
    for mut more in [headers.clone(), joined(&CACHE_CONTROL, headers)] {
        let last = more.get_all(CACHE_CONTROL).iter().next_back().map(|line| line.as_bytes());
        let strict = "no-store, private, no-cache, max-age=0, must-revalidate";
        let line = [last.unwrap_or_default(), b", ", strict.as_bytes()].concat();
        if odd {
            more.append(CACHE_CONTROL, strict.parse().expect("plain"));
        } else {
            more.insert(CACHE_CONTROL, line.try_into().expect("of valid lines"));
        }
        let stricter = ResponseDirectives::parse(&more);
        assert!(stricter.no_store && stricter.private && stricter.no_cache);
        assert!(stricter.forbids_stale() && stricter.max_age == Some(DeltaSeconds::ZERO));
        let stricter = RequestDirectives::parse(&more);
        assert!(stricter.no_store && stricter.no_cache);
        assert_eq!(stricter.max_age, Some(DeltaSeconds::ZERO));
    }
}

fn written(directives: &[Directive]) {
    let mut text = String::new();
    let mut want = ResponseDirectives::default();
    let smaller = |place: &mut Option<DeltaSeconds>, seconds: u64| {
        let new = DeltaSeconds::new(seconds);
        *place = Some(place.map_or(new, |known| known.min(new)));
    };
    for (nth, directive) in directives.iter().enumerate() {
        if nth > 0 {
            text.push_str(if directive.space.0 { " ,\t" } else { "," });
        }
        if directive.comma {
            text.push_str(", ,");
        }
        let name = directive.name.text();
        text.push_str(&if directive.capitals { name.to_uppercase() } else { name.to_owned() });
        let seconds = directive.seconds;
        let mut argument = || {
            text.push_str(&if directive.quoted {
                format!("=\"{seconds}\"")
            } else {
                format!("={seconds}")
            });
        };
        match directive.name {
            Name::Public => want.public = true,
            Name::NoStore => want.no_store = true,
            Name::NoTransform => want.no_transform = true,
            Name::MustRevalidate => want.must_revalidate = true,
            Name::ProxyRevalidate => want.proxy_revalidate = true,
            Name::MustUnderstand => want.must_understand = true,
            Name::Immutable => want.immutable = true,
            Name::MaxAge => {
                argument();
                smaller(&mut want.max_age, seconds);
            }
            Name::SMaxage => {
                argument();
                smaller(&mut want.s_maxage, seconds);
            }
            Name::StaleWhileRevalidate => {
                argument();
                smaller(&mut want.stale_while_revalidate, seconds);
            }
            Name::StaleIfError => {
                argument();
                smaller(&mut want.stale_if_error, seconds);
            }
            Name::Unknown => argument(),
        }
        if directive.space.1 {
            text.push(' ');
        }
    }
    let headers = field(&CACHE_CONTROL, text.as_bytes());
    assert_eq!(ResponseDirectives::parse(&headers), want, "{text}");
}
