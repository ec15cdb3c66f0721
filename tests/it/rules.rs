//! docs/rules.md: each key of `[[route]]` with its example, loaded as it stands there and tried: what
//! the rule is for, and what stays as it was.

use std::sync::LazyLock;

use ::larder::config::file::Section as _;
use ::larder::config::route::written::Keys;

use crate::support::page::{Page, Section};
use crate::support::{Ask, Larder, Origin};

mod conditions;
mod cookies;
mod edits;
mod lifetimes;
mod ways;

static PAGE: LazyLock<Page> = LazyLock::new(|| Page::read("docs/rules.md", "### "));

/// One test for each key.
macro_rules! rules {
    ($($module:ident: $($name:ident)*;)*) => {
        const TESTED: &[&str] = &[$($(stringify!($name)),*),*];
        $($(
            #[test]
            fn $name() {
                $module::$name(&Rule(PAGE.section(stringify!($name))));
            }
        )*)*
    };
}

rules! {
    conditions: name host path method header scheme;
    lifetimes: cache ttl status_ttl stale_while_revalidate stale_if_error keep_stale default_ttl
        client_directives max_object max_variants share_set_cookie compress;
    cookies: ignore_cookies vary_cookies bypass_cookies analytics_cookies;
    edits: drop_query keep_query drop_tracking sort_query key_headers set_request_headers
        drop_request_headers set_response_headers drop_response_headers;
    ways: upstream rewrite redirect redirect_status answer answer_type answer_body;
}

/// A key that the configuration knows and docs/rules.md does not: add its section there, and its test
/// here.
#[test]
fn each_key_is_documented_and_tried() {
    let sorted = |mut keys: Vec<&'static str>| {
        keys.sort_unstable();
        keys
    };
    let known = sorted(Keys::default().keys().to_vec());
    assert_eq!(sorted(PAGE.headings()), known, "docs/rules.md");
    assert_eq!(sorted(TESTED.to_vec()), known, "tests/it/rules.rs");
    for section in &PAGE.sections {
        let key = &section.heading;
        for part in ["**Default:**", "**RFC 9111:**"] {
            assert!(section.text.contains(part), "{key}: no {part}");
        }
        let shown = section.only("toml").lines().any(|line| line.starts_with(&format!("{key} = ")));
        assert!(shown, "{key}: its example does not show it");
    }
}

struct Rule<'a>(&'a Section);

impl Rule<'_> {
    /// A Larder with its example.
    #[track_caller]
    fn before(&self, origin: &Origin) -> Larder {
        Larder::with(origin, self.0.only("toml"))
    }
}

/// A page, and nothing said of freshness.
const SILENT: &[&str] = &["content-type: text/html"];
/// A page that is fresh for a minute.
const MINUTE: &[&str] = &["content-type: text/html", "cache-control: max-age=60"];

/// An app that says what it was asked for.
fn app(lines: &'static [&'static str]) -> Origin {
    Origin::new(move |seen, reply| {
        reply.ok(lines, format!("{} for {}", seen.target, seen.all("cookie").join("; ")));
    })
}

/// Asks each in turn: what reaches the app as told is a miss, `None` is a hit.
#[track_caller]
fn forwarded(larder: &Larder, origin: &Origin, asks: &[(Ask, Option<&str>)]) {
    for (ask, want) in asks {
        let before = origin.count();
        let answer = larder.ask(ask).expect(200);
        assert_eq!(answer.was_hit(), want.is_none(), "{ask:?}: {answer:?}");
        assert_eq!(origin.count() - before, usize::from(want.is_some()), "{ask:?}");
        if let Some(target) = want {
            assert_eq!(origin.last().target, *target, "{ask:?}");
        }
    }
}
