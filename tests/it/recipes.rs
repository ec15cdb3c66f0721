//! The recipes of docs/recipes.md: each configuration as it stands there, before a real origin. First
//! its session is typed into a shell; then the test looks for what the recipe promises, and for
//! what it must not do.

use std::sync::LazyLock;

use crate::support::page::{Page, Section};
use crate::support::{Answer, Ask, Larder, Origin, Seen};

mod apps;
mod hosts;
mod pages;
mod people;
mod stale;

static PAGE: LazyLock<Page> = LazyLock::new(|| Page::read("docs/recipes.md", "## "));

/// One test for each heading.
macro_rules! recipes {
    ($($heading:literal => $module:ident::$name:ident,)*) => {
        const TESTED: &[&str] = &[$($heading),*];
        $(
            #[test]
            fn $name() {
                $module::$name(&Recipe(PAGE.section($heading)));
            }
        )*
    };
}

recipes! {
    "A static site" => pages::static_site,
    "A single-page app" => pages::single_page_app,
    "WordPress" => people::wordpress,
    "A JSON API" => apps::json_api,
    "Images" => pages::images,
    "GraphQL by GET" => apps::graphql,
    "Signed URLs" => apps::signed_urls,
    "Logged-in users" => people::logged_in_users,
    "A/B tests by a cookie" => people::ab_tests,
    "Languages" => pages::languages,
    "One host name for all (www, https)" => hosts::canonical_host,
    "Tracking parameters" => pages::tracking_parameters,
    "Remembering what is not there" => stale::negative_caching,
    "A slow report page" => stale::slow_report,
    "An app that falls over" => stale::falls_over,
    "An app that sets cookies everywhere" => people::cookies_everywhere,
    "An app that says nothing of freshness" => apps::says_nothing,
    "Mobile and desktop" => pages::mobile_and_desktop,
    "A page for maintenance" => hosts::maintenance,
    "Admins past the cache" => people::admins,
    "Several sites" => hosts::several_sites,
    "Moving away from an old app" => hosts::old_app,
    "API versions in a header" => apps::api_versions,
    "Purging by tag from a CMS" => stale::tags,
}

#[test]
fn each_recipe_has_a_test_and_each_test_its_recipe() {
    assert_eq!(PAGE.headings(), TESTED);
    assert!(TESTED.len() >= 20);
    for section in &PAGE.sections {
        for part in ["**When:**", "**See it work:**", "**Limits:**"] {
            assert!(section.text.contains(part), "{}: no {part}", section.heading);
        }
    }
}

struct Recipe<'a>(&'a Section);

impl Recipe<'_> {
    /// A Larder with its configuration, its session typed.
    #[track_caller]
    fn before(&self, origins: &[&Origin]) -> Larder {
        let larder = self.0.before(origins);
        self.0.type_session(PAGE.opening.only("sh"), &larder);
        larder
    }
}

/// An app that says nothing but the types of its answers, and what it was asked for by whom.
fn silent() -> Origin {
    saying(&[])
}

/// The same with more field lines.
fn saying(lines: &'static [&'static str]) -> Origin {
    Origin::new(move |seen, reply| {
        let kind = content_type(seen.path());
        reply.ok(&[&[&*kind], lines].concat(), told(seen));
    })
}

fn content_type(path: &str) -> String {
    let kind = match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "css" => "text/css",
        "js" => "text/javascript",
        "pdf" => "application/pdf",
        _ if path.starts_with("/api/") => "application/json",
        _ => "text/html",
    };
    format!("content-type: {kind}")
}

fn told(seen: &Seen) -> String {
    format!("{} {} for {}", seen.method, seen.target, seen.all("cookie").join("; "))
}

fn with_cookie(target: &str, cookie: &str) -> Ask {
    Ask::get(target).with("Cookie", cookie)
}

/// How long what is kept for this target may be sent past its freshness: behind it asked for again,
/// and where the app fails. In seconds.
#[track_caller]
fn windows(larder: &Larder, target: &str) -> [Option<u64>; 2] {
    larder.get(target);
    let told = larder.admin_get(&format!("/api/explain?url=http://app.test{target}")).expect(200);
    ["stale-while-revalidate: ", "stale-if-error: "].map(|window| {
        let lines = told.json()["freshness"].as_array().cloned().unwrap_or_default();
        let mut values = lines.iter().filter_map(|line| line.as_str()?.strip_prefix(window));
        values.next().and_then(|value| value.strip_suffix(" s")?.parse().ok())
    })
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// What the app says to Anna, whose name is in the request, reaches nobody else; and she never
/// gets what was kept for the others.
#[track_caller]
fn keeps_to_herself(larder: &Larder, anna: &Ask, others: &[&Ask]) {
    let says_anna = |answer: &Answer| answer.text().contains("anna");
    assert!(says_anna(&larder.ask(anna)), "{anna:?}");
    for other in others.iter().chain(others) {
        assert!(!says_anna(&larder.ask(other)), "{other:?}");
    }
    let again = larder.ask(anna);
    assert!(says_anna(&again) && !again.was_hit(), "{anna:?}: {again:?}");
}
