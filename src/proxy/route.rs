//! The rule that a request meets: chosen once, before the key is built; what it makes of the
//! request; and answers of its own.

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri, request};

use crate::config::route::{Answer as OwnAnswer, Edits, Routes, Rule};
use crate::observe::metrics::Metrics;
use crate::proxy::ask::Ask;
use crate::proxy::body::Source;
use crate::proxy::error::ProxyError;
use crate::proxy::respond::Answer;
use crate::proxy::worker::View;
use crate::semantics::decision::{Decision, Outcome};
use crate::semantics::key::{self, Added, Scheme};
use crate::semantics::request::Asked;
use crate::semantics::route::matcher::Facts;
use crate::semantics::route::pattern::{Glob, normal_path};
use crate::semantics::route::template::Filling;
use crate::semantics::{digits, unkeyed};

/// The rules, each with the view of those who meet it.
pub struct Rules {
    routes: Arc<Routes>,
    views: Box<[Arc<View>]>,
}

impl Rules {
    /// `None`: there are none.
    pub fn of(routes: Arc<Routes>, metrics: &Metrics) -> Option<Self> {
        if routes.rules.is_empty() {
            return None;
        }
        let views = routes.rules.iter().map(|rule| View::of_rule(rule, metrics)).collect();
        Some(Self { routes, views })
    }

    /// The view of the first that a request meets.
    pub fn choose(
        &self,
        scheme: Scheme,
        authority: &str,
        target: &str,
        method: &Method,
        headers: &HeaderMap,
    ) -> Option<&Arc<View>> {
        self.views.get(number(&self.routes, scheme, authority, target, method, headers)?)
    }
}

/// The number of the first rule that a request meets.
pub fn number(
    routes: &Routes,
    scheme: Scheme,
    authority: &str,
    target: &str,
    method: &Method,
    headers: &HeaderMap,
) -> Option<usize> {
    let authority = key::without_default_port(scheme, authority);
    let path = normal_path(split(target).0);
    routes.index.find(&Facts { scheme, authority, path: &path, method, headers })
}

/// Path and query, the latter with its `?`.
fn split(target: &str) -> (&str, &str) {
    target.split_at(memchr::memchr(b'?', target.as_bytes()).unwrap_or(target.len()))
}

/// A target as `rule` keys it, and as it is forwarded, where either is not what the client sent.
pub fn targets(rule: &Rule, target: &str) -> (Option<String>, Option<String>) {
    let keyed = if rule.query.is_idle() { None } else { rule.query.apply(target) };
    let Some(template) = &rule.rewrite else { return (keyed.clone(), keyed) };
    let (path, query) = split(keyed.as_deref().unwrap_or(target));
    let path = normal_path(path);
    let rest = rest(rule, &path);
    let filling = Filling { scheme: Scheme::Http, authority: "", path: &path, query, rest };
    let mut forwarded = template.fill(&filling);
    if !forwarded.contains('?') {
        forwarded.push_str(query);
    }
    (keyed, Some(forwarded))
}

/// What the star at the end of the path that was met stands for.
fn rest<'a>(rule: &Rule, path: &'a str) -> &'a str {
    let met = |glob: &Glob| glob.rest(path);
    rule.matcher.paths.iter().find_map(met).unwrap_or_default()
}

/// Writes what `rule` adds to the key.
pub fn add_to_key(rule: &Rule, headers: &HeaderMap, key: &mut Vec<u8>) {
    if !rule.adds_to_key() {
        return;
    }
    let own = rule.marks_key.then_some(Added::Route(&rule.name));
    let fields = rule.key_headers.iter().map(|name| Added::Header(name, headers));
    let cookies = rule.cookies.keyed(headers).map(|(name, value)| Added::Cookie(name, value));
    key::add(own.into_iter().chain(fields).chain(cookies), key);
}

/// Makes a request what its rule says, before it is judged: as if it had been sent so.
///
/// # Errors
/// The rule makes no valid target of it.
pub fn prepare(
    rule: &Rule,
    target: Option<String>,
    head: &mut request::Parts,
) -> Result<(), ProxyError> {
    if let Some(target) = target {
        const REASON: &str = "the route makes no valid target of this one";
        let invalid = ProxyError::BadRequest { status: 400, reason: REASON };
        head.uri = Uri::try_from(target).map_err(|_| invalid)?;
    }
    rule.request.drop.iter().for_each(|name| drop(head.headers.remove(name)));
    if rule.cookies.drops() && unkeyed::concerns(&head.method) {
        rule.cookies.drop_from(&mut head.headers);
    }
    Ok(())
}

/// What the rule sets and decides once the request has been judged. A word on why, where it goes
/// past the cache.
pub fn finish(
    rule: &Rule,
    view: &View,
    head: &mut request::Parts,
    asked: &mut Asked,
) -> Option<&'static str> {
    let by_cookie = asked.has_cookie && rule.cookies.bypasses(&head.headers);
    set(&rule.request, &mut head.headers); // the same for all: no client's credentials
    if view.policy.route.force {
        (asked.authorised, asked.has_cookie, asked.directives.no_store) = (false, false, false);
    }
    if rule.cache_off {
        return Some("route-off");
    }
    by_cookie.then_some("route-cookie")
}

/// Makes an answer of the origin what the rule says, before it is judged.
pub fn edit_answer(view: &View, fields: &mut HeaderMap) {
    let Some(rule) = &view.rule else { return };
    rule.response.drop.iter().for_each(|name| drop(fields.remove(name)));
    set(&rule.response, fields);
}

fn set(edits: &Edits, fields: &mut HeaderMap) {
    for (name, value) in &edits.set {
        fields.insert(name.clone(), value.clone());
    }
}

/// The answer that the rule gives itself, if it does.
pub fn answer(ask: &Ask) -> Option<Result<Answer, ProxyError>> {
    let rule = ask.view.rule.as_ref()?;
    let mut response = Response::new(Source::Empty);
    let detail = match rule.answer.as_ref()? {
        OwnAnswer::Redirect(status, template) => {
            let client = ask.client();
            if client.authority.is_empty() {
                let refusal = ProxyError::BadRequest { status: 400, reason: "host-missing" };
                return Some(Err(refusal));
            }
            let target = ask.head.uri.path_and_query().map_or("/", |target| target.as_str());
            let (path, query) = split(target);
            let normal = normal_path(path);
            let (scheme, authority) = (client.scheme, &*client.authority);
            let rest = rest(rule, &normal);
            let location = template.fill(&Filling { scheme, authority, path, query, rest });
            *response.status_mut() = code(*status);
            if let Ok(location) = HeaderValue::from_str(&location) {
                response.headers_mut().insert(LOCATION, location);
            }
            response.headers_mut().insert(CONTENT_LENGTH, digits::value(0));
            "route-redirect"
        }
        OwnAnswer::Fixed { status, content_type, body } => {
            *response.status_mut() = code(*status);
            let fields = response.headers_mut();
            fields.insert(CONTENT_TYPE, content_type.clone());
            fields.insert(CONTENT_LENGTH, digits::value(body.len() as u64));
            *response.body_mut() = Source::Full(body.clone());
            "route-answer"
        }
    };
    set(&rule.response, response.headers_mut());
    if ask.asked.has_body {
        ask.conn.close_after_answer(); // nobody reads it
    }
    if ask.upgrade.is_some() {
        ask.conn.decide_upgrade(false);
    }
    let decision = Decision::new(Outcome::Pass).because(detail);
    Some(Ok(Answer { response, decision, origin_ns: 0, coding: None }))
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or_default()
}
