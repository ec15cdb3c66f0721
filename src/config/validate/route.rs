//! Bounds of `[[route]]`, and what of it rules out what.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, HOST, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderName, HeaderValue};

use crate::config::file::{File, Given};
use crate::config::mistake::Place;
use crate::config::route::written::{Keys, Route};
use crate::config::route::{Answer, Edits, Routes, Rule};
use crate::config::snapshot::Snapshot;
use crate::config::validate::{Check, KIB, value};
use crate::config::value::route::{CacheMode, Lines};
use crate::config::value::show_bytes;
use crate::semantics::route::cookies::{Analytics, Cookies};
use crate::semantics::route::index::{Index, MAX_RULES};
use crate::semantics::route::matcher::Matcher;
use crate::semantics::route::pattern::Glob;
use crate::semantics::route::query::{QueryRule, TRACKING};
use crate::semantics::route::template::Template;
use crate::semantics::time::DeltaSeconds;
use crate::semantics::unkeyed;

const YEAR: Duration = Duration::from_hours(366 * 24);
const BODY_LIMIT: usize = 64 * KIB as usize;

impl Check<'_> {
    /// The rules, each with a configuration of its own made of `base`.
    pub(super) fn routes(&mut self, written: &File, base: &Snapshot) -> Routes {
        if let Some(one) = written.routes.get(MAX_RULES) {
            self.refuse(&one.place, format!("at most {MAX_RULES} [[route]] are taken"));
        }
        let mut rules: Vec<Arc<Rule>> = Vec::new();
        let mut names = HashMap::from([("default".to_owned(), Place::Default)]);
        for (number, route) in written.routes.iter().take(MAX_RULES).enumerate() {
            let rule = self.rule(number + 1, route, base);
            let place = route.keys.name.as_ref().map_or(&route.place, |given| &given.place);
            if let Some(first) = names.get(&rule.name) {
                let what = match first {
                    Place::Default => "is what requests without a route are called".to_owned(),
                    first => format!("is the name of the one at {first}, too"),
                };
                self.refuse(place, format!("route `{}`: that {what}; choose another", rule.name));
            }
            names.insert(rule.name.clone(), place.clone());
            if let Some(first) = rules.iter().find(|first| first.matcher.covers(&rule.matcher)) {
                let at = match &route.place {
                    Place::Default => String::new(),
                    place => format!(" ({place})"),
                };
                self.warnings.push(format!(
                    "route `{}`{at} never matches: `{}` before it is for all of its requests",
                    rule.name, first.name
                ));
            }
            rules.push(Arc::new(rule));
        }
        let matchers = rules.iter().map(|rule| rule.matcher.clone()).collect();
        Routes { index: Index::new(matchers), rules }
    }

    fn rule(&mut self, number: usize, route: &Route, base: &Snapshot) -> Rule {
        let keys = &route.keys;
        let name =
            keys.name.as_ref().map_or_else(|| format!("route-{number}"), |g| g.value.0.clone());
        let matcher = Matcher {
            hosts: keys.host.as_ref().map(|g| g.value.0.clone()).unwrap_or_default(),
            paths: keys.path.as_ref().map(|g| g.value.0.clone()).unwrap_or_default(),
            methods: keys.method.as_ref().map(|g| g.value.0.clone()).unwrap_or_default(),
            headers: keys.header.as_ref().map(|g| g.value.0.clone()).unwrap_or_default(),
            scheme: keys.scheme.as_ref().map(|g| g.value),
        };
        if route
            .written
            .iter()
            .all(|key| ["name", "host", "path", "method", "header", "scheme"].contains(&&*key.key))
        {
            self.warnings.push(format!("route `{name}` ({}) changes nothing", route.place));
        }
        let cache = value(keys.cache.as_ref(), CacheMode::On);
        Rule {
            cache_off: cache == CacheMode::Off,
            marks_key: !matcher.is_by_url(),
            query: query(keys),
            cookies: Cookies {
                ignore: keys.ignore_cookies.as_ref().map(|g| g.value.0.clone()).unwrap_or_default(),
                vary: keys.vary_cookies.as_ref().map(|g| g.value.0.clone()).unwrap_or_default(),
                bypass: keys.bypass_cookies.as_ref().map(|g| g.value.0.clone()).unwrap_or_default(),
                analytics: value(keys.analytics_cookies.as_ref(), Analytics::default()),
            },
            key_headers: self.field_names("key_headers", keys.key_headers.as_ref(), false),
            request: Edits {
                drop: self.field_names(
                    "drop_request_headers",
                    keys.drop_request_headers.as_ref(),
                    true,
                ),
                set: self.lines("set_request_headers", keys.set_request_headers.as_ref(), true),
            },
            response: Edits {
                drop: self.field_names(
                    "drop_response_headers",
                    keys.drop_response_headers.as_ref(),
                    true,
                ),
                set: self.lines("set_response_headers", keys.set_response_headers.as_ref(), false),
            },
            rewrite: self.rewrite(keys, &matcher),
            answer: self.answer(keys, &matcher),
            snapshot: Arc::new(self.own(keys, cache, base)),
            written: route.written.clone(),
            place: route.place.clone(),
            name,
            matcher,
        }
    }

    /// The configuration of the rule's requests.
    fn own(&mut self, keys: &Keys, mode: CacheMode, base: &Snapshot) -> Snapshot {
        let mut own = base.clone();
        let cache = &mut own.cache;
        let wait = |check: &mut Self, name: &str, given: Option<&Given<Duration>>| {
            let wait =
                check.wait(&format!("route.{name}"), given, Duration::ZERO, Duration::ZERO..=YEAR);
            given.map(|_| wait)
        };
        let secs = |wait: Duration| DeltaSeconds::new(wait.as_secs());
        cache.route.ttl = wait(self, "ttl", keys.ttl.as_ref());
        cache.route.stale_while_revalidate =
            wait(self, "stale_while_revalidate", keys.stale_while_revalidate.as_ref()).map(secs);
        cache.route.stale_if_error =
            wait(self, "stale_if_error", keys.stale_if_error.as_ref()).map(secs);
        cache.keep_stale =
            wait(self, "keep_stale", keys.keep_stale.as_ref()).unwrap_or(cache.keep_stale);
        cache.default_ttl =
            wait(self, "default_ttl", keys.default_ttl.as_ref()).unwrap_or(cache.default_ttl);
        if let Some(given) = &keys.status_ttl {
            if given.value.0.iter().any(|(_, ttl)| *ttl > YEAR) {
                self.refuse(
                    &given.place,
                    "`route.status_ttl`: a lifetime is at most a year".to_owned(),
                );
            }
            cache.route.status_ttl.clone_from(&given.value.0);
        }
        cache.route.force = mode == CacheMode::Force;
        let lives = keys.ttl.is_some() || keys.status_ttl.is_some() || !cache.default_ttl.is_zero();
        if let Some(given) = keys.cache.as_ref().filter(|_| cache.route.force && !lives) {
            let what = "`route.cache` is \"force\", and nothing says for how long; add ttl = \"…\"";
            self.refuse(&given.place, what.to_owned());
        }
        if let Some(given) = &keys.max_object {
            let (size, most) =
                (given.value.0, if cache.disk > 0 { cache.disk } else { cache.memory });
            if size > most {
                let (found, most) = (show_bytes(size), show_bytes(most));
                self.refuse(
                    &given.place,
                    format!("`route.max_object` is {found}; it must be at most {most}"),
                );
            }
            cache.max_object = size;
        }
        cache.max_variants = self.amount(
            "route.max_variants",
            keys.max_variants.as_ref(),
            cache.max_variants,
            1..=10_000,
        );
        cache.client_directives = value(keys.client_directives.as_ref(), cache.client_directives);
        cache.share_set_cookie = value(keys.share_set_cookie.as_ref(), cache.share_set_cookie);
        match &keys.compress {
            Some(Given { value: false, .. }) => own.compression.codings.clear(),
            Some(Given { value: true, place }) if own.compression.codings.is_empty() => {
                let what = "`route.compress` is true, but `compression.codings` is empty";
                self.refuse(place, what.to_owned());
            }
            _ => {}
        }
        if let Some(given) = &keys.upstream {
            let known = || std::iter::once(&base.upstream).chain(&base.upstreams);
            if let Some(upstream) = known().find(|upstream| upstream.name == given.value.0) {
                own.upstream = upstream.clone();
            } else {
                let names: Vec<_> = known().map(|upstream| upstream.name.as_str()).collect();
                let what = format!(
                    "`route.upstream`: there is no [[upstream]] of the name \"{}\"; known are {}",
                    given.value.0,
                    names.join(", ")
                );
                self.refuse(&given.place, what);
            }
        }
        own
    }

    fn field_names(
        &mut self,
        key: &str,
        given: Option<&Given<Vec<HeaderName>>>,
        edited: bool,
    ) -> Vec<HeaderName> {
        let Some(given) = given else { return Vec::new() };
        for name in given.value.iter().filter(|name| edited && is_framing(name)) {
            self.refuse(&given.place, format!("`route.{key}`: {name} is Larder's own to write"));
        }
        given.value.clone()
    }

    fn lines(
        &mut self,
        key: &str,
        given: Option<&Given<Lines>>,
        of_request: bool,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let Some(given) = given else { return Vec::new() };
        let ours = |name: &HeaderName| is_framing(name) || (of_request && unkeyed::is_ours(name));
        for (name, _) in given.value.0.iter().filter(|(name, _)| ours(name)) {
            let hint = if *name == HOST { "; [[upstream]] has a key `host`" } else { "" };
            self.refuse(
                &given.place,
                format!("`route.{key}`: {name} is Larder's own to write{hint}"),
            );
        }
        given.value.0.clone()
    }

    fn rewrite(&mut self, keys: &Keys, matcher: &Matcher) -> Option<Template> {
        let given = keys.rewrite.as_ref()?;
        if !given.value.is_path() {
            let what = "`route.rewrite`: expected a path such as \"/v2{path}\" or \"/v2/{rest}\"";
            self.refuse(&given.place, what.to_owned());
        }
        self.rest("rewrite", given, matcher);
        Some(given.value.clone())
    }

    /// `{rest}` is what the star at the end of the path stands for: there must be one.
    fn rest(&mut self, key: &str, given: &Given<Template>, matcher: &Matcher) {
        let known = !matcher.paths.is_empty() && matcher.paths.iter().all(Glob::is_prefix);
        if given.value.uses_rest() && !known {
            let what = format!("`route.{key}`: {{rest}} needs a path that ends in its only star");
            self.refuse(&given.place, what);
        }
    }

    fn answer(&mut self, keys: &Keys, matcher: &Matcher) -> Option<Answer> {
        if let Some(given) = &keys.redirect {
            if !given.value.is_path() && !given.value.is_url() {
                let what = "`route.redirect`: expected a URL such as \"https://example.org{uri}\" or \
                            a path such as \"/new/{rest}\", whose host no client can choose";
                self.refuse(&given.place, what.to_owned());
            }
            self.rest("redirect", given, matcher);
            if let Some(other) = &keys.answer {
                self.refuse(&other.place, "a route redirects or answers, not both".to_owned());
            }
            let status = keys.redirect_status.as_ref();
            if let Some(given) = status.filter(|g| ![301, 302, 307, 308].contains(&g.value.0)) {
                let what = "`route.redirect_status`: expected 301, 302, 307 or 308".to_owned();
                self.refuse(&given.place, what);
            }
            let status = status.map_or(302, |given| given.value.0 as u16);
            return Some(Answer::Redirect(status, given.value.clone()));
        }
        if let Some(given) = &keys.redirect_status {
            self.refuse(&given.place, "`route.redirect_status` needs redirect = \"…\"".to_owned());
        }
        let Some(given) = &keys.answer else {
            let left = [keys.answer_type.as_ref(), keys.answer_body.as_ref()];
            for other in left.into_iter().flatten() {
                self.refuse(&other.place, "an answer needs its status: answer = 200".to_owned());
            }
            return None;
        };
        let status = given.value.0;
        if !(200..600).contains(&status) || [204, 206, 304].contains(&status) {
            let what = "`route.answer`: expected a status code from 200 to 599 that has content";
            self.refuse(&given.place, what.to_owned());
        }
        let body = value(keys.answer_body.as_ref(), String::new());
        if let Some(given) = keys.answer_body.as_ref().filter(|_| body.len() > BODY_LIMIT) {
            self.refuse(&given.place, "`route.answer_body` is at most 64KiB".to_owned());
        }
        let content_type = keys.answer_type.as_ref().map(|given| {
            HeaderValue::from_str(&given.value).unwrap_or_else(|_| {
                let what = "`route.answer_type`: expected a type such as \"text/html\"".to_owned();
                self.refuse(&given.place, what);
                PLAIN
            })
        });
        let content_type = content_type.unwrap_or(PLAIN);
        Some(Answer::Fixed { status: status as u16, content_type, body: Bytes::from(body) })
    }
}

fn query(keys: &Keys) -> QueryRule {
    let tracking = value(keys.drop_tracking.as_ref(), false);
    let known = TRACKING.iter().filter(|_| tracking).map(|name| Glob::new(name));
    let named = keys.drop_query.iter().flat_map(|given| given.value.0.clone());
    QueryRule {
        drop: known.chain(named).collect(),
        keep: keys.keep_query.as_ref().map(|given| given.value.0.clone()),
        sort: value(keys.sort_query.as_ref(), false),
    }
}

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Of a message on its way rather than of what it says: no rule's to write.
fn is_framing(name: &HeaderName) -> bool {
    const FRAMING: [HeaderName; 10] = [
        CONNECTION,
        CONTENT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_RANGE,
        HOST,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
        VIA,
    ];
    FRAMING.contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "age" | "expect")
}
