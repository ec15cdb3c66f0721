//! May this response be kept? (RFC 9111 §3)

use std::time::Duration;

use http::header::{CONTENT_LOCATION, ETAG, LAST_MODIFIED, SET_COOKIE};
use http::{HeaderMap, StatusCode};

use super::cache_control::ResponseDirectives;
use super::date;
use super::etag::EntityTag;
use super::freshness;
use super::groups;
use super::invalidation;
use super::policy::{ClientDirectives, Policy};
use super::request::{Asked, AskedMethod};
use super::stored::Stored;
use super::tags::Tags;
use super::targeted::Said;
use super::time::{DeltaSeconds, Timestamp};
use super::vary;

/// Why a response is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoStore {
    /// Only answers to GET are stored.
    Method,
    /// The request had content, which the key does not hold.
    RequestBody,
    /// The request said no-store.
    RequestNoStore,
    /// The status code depends on the request's fields, or is none.
    Status,
    /// The response said no-store.
    NoStore,
    /// The response said private.
    Private,
    /// The response said must-understand, and its status code is not understood.
    MustUnderstand,
    /// The request had Authorization, and the response does not allow to share its answer.
    Authorization,
    /// The response sets a cookie.
    SetCookie,
    /// `Vary: *`.
    VaryStar,
    /// A 304 changed what a stored response is selected by.
    VaryChanged,
    /// It could only be guessed how long it is fresh, and the request had a Cookie.
    Cookie,
    /// It is not fresh, and nothing else could be done with it.
    NoLifetime,
    /// An error that speaks of who asked, or of the form of the request ([`super::guard`]).
    SenderError,
    /// The request's form may have brought the answer about, and is no part of the key.
    OddRequest,
    /// A page under a file's name, whose freshness could only be guessed.
    TypeMismatch,
    /// The request was personal, and its path one by which caches are deceived.
    PathConfusion,
}

impl NoStore {
    /// In a word: `detail` of Cache-Status.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::RequestBody => "request-body",
            Self::RequestNoStore => "request-no-store",
            Self::Status => "status",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::MustUnderstand => "must-understand",
            Self::Authorization => "authorization",
            Self::SetCookie => "set-cookie",
            Self::VaryStar => "vary-star",
            Self::VaryChanged => "vary-changed",
            Self::Cookie => "cookie",
            Self::NoLifetime => "no-lifetime",
            Self::SenderError => "sender-error",
            Self::OddRequest => "odd-request",
            Self::TypeMismatch => "type-mismatch",
            Self::PathConfusion => "path-confusion",
        }
    }

    /// The reason lies in the request: another's answer may be stored, and what is stored
    /// already stays (no hit-for-miss).
    pub const fn by_request(self) -> bool {
        matches!(
            self,
            Self::Method
                | Self::RequestBody
                | Self::RequestNoStore
                | Self::Authorization
                | Self::Cookie
                | Self::SenderError
                | Self::OddRequest
                | Self::PathConfusion
        )
    }
}

/// Whether the answer to `asked` may be stored for others, and what is remembered of it then.
/// `headers` are end to end, as they would be stored. Never for 1xx, 206 and 304.
pub fn storable(
    asked: &Asked,
    status: u16,
    headers: &HeaderMap,
    policy: &Policy,
    request_time: Timestamp,
    response_time: Timestamp,
) -> Result<Stored, NoStore> {
    if asked.method != AskedMethod::Get {
        return Err(NoStore::Method);
    }
    judge(asked, status, headers, policy, request_time, response_time)
}

/// The same for the answer to a POST, which is stored for GET where the origin says that it is
/// what GET would bring: by its Content-Location, and for how long, in so many words (RFC 9110
/// §9.3.3). `target` is the URL part of the request's key.
pub fn storable_post(
    asked: &Asked,
    status: u16,
    target: &[u8],
    headers: &HeaderMap,
    policy: &Policy,
    request_time: Timestamp,
    response_time: Timestamp,
) -> Result<Stored, NoStore> {
    let itself = invalidation::named(target, headers, &CONTENT_LOCATION);
    if status != 200 || itself.as_deref() != Some(target) {
        return Err(NoStore::Method);
    }
    let asked = as_get(asked);
    let stored = judge(&asked, status, headers, policy, request_time, response_time)?;
    if stored.heuristic || stored.lifetime <= stored.initial_age {
        return Err(NoStore::NoLifetime);
    }
    Ok(stored)
}

/// The GET that a POST's answer is stored for.
pub fn as_get(post: &Asked) -> Asked {
    Asked { method: AskedMethod::Get, has_body: false, ..*post }
}

/// What is remembered of `stored` after a 304, with header fields as [`super::validation::merge_304`]
/// made them. On `Err` the merged response answers this request and is not stored: the copy is
/// dropped, but where [`NoStore::by_request`] it stays as it was.
pub fn refreshed(
    stored: &Stored,
    merged_headers: &HeaderMap,
    policy: &Policy,
    asked: &Asked,
    request_time: Timestamp,
    response_time: Timestamp,
) -> Result<Stored, NoStore> {
    if !asked.is_read() {
        return Err(NoStore::Method);
    }
    let now = judge(asked, stored.status, merged_headers, policy, request_time, response_time)?;
    Ok(now.tagged_as(stored, merged_headers))
}

fn judge(
    asked: &Asked,
    status: u16,
    headers: &HeaderMap,
    policy: &Policy,
    request_time: Timestamp,
    response_time: Timestamp,
) -> Result<Stored, NoStore> {
    let date = freshness::date(headers, response_time);
    let mut said = Said::of(headers, &policy.targeted, date);
    if policy.route.force {
        said.directives.allow_storing();
    }
    let directives = &said.directives;
    refuse(asked, status, headers, directives, policy)?;
    let mut stored = facts(status, headers, &said, request_time, response_time);
    let by_rule = policy.route.lifetime(status).is_some();
    match freshness::explicit_lifetime(&said, headers, date) {
        // To have no freshness is no word for sharing, where it is a rule that gives some.
        Some(lifetime) if !by_rule || !lifetime.is_zero() => stored.lifetime = lifetime,
        _ if !by_rule => guess(&mut stored, asked, headers, directives, policy)?,
        _ if policy.route.force => {}
        // The origin has not said that it is for all: as careful as with a guess.
        _ if asked.has_cookie || asked.authorised => return Err(NoStore::Cookie),
        _ => stored.heuristic = true,
    }
    policy.route.apply(&mut stored);
    if directives.no_cache {
        stored.lifetime = Duration::ZERO;
    }
    if is_of_use(&stored, policy) { Ok(stored) } else { Err(NoStore::NoLifetime) }
}

/// What a response says of itself, but for how long it is fresh.
fn facts(
    status: u16,
    headers: &HeaderMap,
    said: &Said,
    request_time: Timestamp,
    response_time: Timestamp,
) -> Stored {
    let directives = &said.directives;
    let date = freshness::date(headers, response_time);
    let last_modified = headers.get(LAST_MODIFIED).and_then(date::parse);
    Stored {
        status,
        request_time,
        response_time,
        date,
        initial_age: freshness::initial_age(headers, date, request_time, response_time),
        lifetime: Duration::ZERO,
        heuristic: false,
        must_revalidate: directives.forbids_stale(),
        no_cache: directives.no_cache,
        no_transform: directives.no_transform,
        immutable: directives.immutable,
        stale_if_error: directives.stale_if_error,
        stale_while_revalidate: directives.stale_while_revalidate,
        etag: headers.get(ETAG).and_then(|tag| EntityTag::parse(tag.as_bytes())),
        last_modified,
        validator: headers.contains_key(ETAG) || last_modified.is_some(),
        groups: groups::of_response(headers),
        tags: Tags::of_response(headers),
    }
}

/// What is told of a validated response to the one request that it answers, where it may not be
/// stored as it is now.
pub fn unstored(
    status: u16,
    headers: &HeaderMap,
    policy: &Policy,
    request_time: Timestamp,
    response_time: Timestamp,
) -> Stored {
    let date = freshness::date(headers, response_time);
    let said = Said::of(headers, &policy.targeted, date);
    let stored = facts(status, headers, &said, request_time, response_time);
    let lifetime = freshness::explicit_lifetime(&said, headers, date);
    Stored { lifetime: lifetime.filter(|_| !stored.no_cache).unwrap_or_default(), ..stored }
}

/// What forbids storing, whatever the freshness.
fn refuse(
    asked: &Asked,
    status: u16,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    policy: &Policy,
) -> Result<(), NoStore> {
    if !is_keepable(status) {
        return Err(NoStore::Status);
    }
    // §5.2.2.3: with must-understand, no-store is for caches that do not know the directive.
    if directives.must_understand {
        if !is_understood(status) {
            return Err(NoStore::MustUnderstand);
        }
    } else if directives.no_store {
        return Err(NoStore::NoStore);
    }
    if directives.private {
        return Err(NoStore::Private);
    }
    if sets_cookie(headers, policy) {
        return Err(NoStore::SetCookie);
    }
    if vary::is_star(headers) {
        return Err(NoStore::VaryStar);
    }
    if asked.has_body {
        return Err(NoStore::RequestBody);
    }
    if asked.directives.no_store && policy.client_directives != ClientDirectives::Ignore {
        return Err(NoStore::RequestNoStore);
    }
    // §3.5; s-maxage=0 (or no number) shares nothing that would be worth the risk.
    let shared = directives.public
        || directives.must_revalidate
        || directives.s_maxage.is_some_and(|secs| secs > DeltaSeconds::ZERO);
    if asked.authorised && !shared {
        return Err(NoStore::Authorization);
    }
    Ok(())
}

/// The one place that decides on Set-Cookie.
fn sets_cookie(headers: &HeaderMap, policy: &Policy) -> bool {
    !policy.share_set_cookie && headers.contains_key(SET_COOKIE)
}

/// Freshness where the origin gave none. What an origin wants validated (no-cache) or shared
/// (public) may be kept without any; otherwise only a guess that makes it fresh. The guess for an
/// error is a short one: what a client has provoked, others must not see for long.
fn guess(
    stored: &mut Stored,
    asked: &Asked,
    headers: &HeaderMap,
    directives: &ResponseDirectives,
    policy: &Policy,
) -> Result<(), NoStore> {
    let is_error = stored.status >= 400;
    let longest = if is_error { policy.heuristic_errors } else { Duration::MAX };
    // An error has no default: it must have been given a Last-Modified, as few provoked ones are.
    let allowed = (directives.public || is_heuristically_cacheable(stored.status))
        && (!is_error || (longest > Duration::ZERO && stored.last_modified.is_some()));
    if !allowed {
        return Err(NoStore::NoLifetime);
    }
    let personal = asked.has_cookie || asked.authorised;
    if !personal {
        let guess = freshness::heuristic_lifetime(headers, stored.date, policy);
        stored.lifetime = guess.min(longest);
        stored.heuristic = true;
    }
    if stored.lifetime > stored.initial_age || directives.no_cache || directives.public {
        Ok(())
    } else if personal {
        Err(NoStore::Cookie)
    } else {
        Err(NoStore::NoLifetime)
    }
}

/// It can be served, validated, or served stale: by a window of its own, or, where it was meant to
/// be fresh for a while, when the origin cannot be reached.
fn is_of_use(stored: &Stored, policy: &Policy) -> bool {
    let fresh = stored.lifetime > stored.initial_age;
    let window = stored.stale_if_error.max(stored.stale_while_revalidate).unwrap_or_default();
    let was_fresh = stored.lifetime > Duration::ZERO && policy.keep_stale > Duration::ZERO;
    let stale = (window > DeltaSeconds::ZERO || was_fresh) && !stored.forbids_stale();
    // Errors are kept for their time only.
    fresh || (stored.status < 400 && (stored.validator || stale))
}

/// Final, and not the answer to a precondition or range of one request.
fn is_keepable(status: u16) -> bool {
    (200..600).contains(&status) && !matches!(status, 206 | 304 | 412 | 416 | 417)
}

/// RFC 9110 §15.1, without 206.
fn is_heuristically_cacheable(status: u16) -> bool {
    matches!(status, 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Status codes whose rules of caching are known here (those of RFC 9110 §15).
fn is_understood(status: u16) -> bool {
    StatusCode::from_u16(status).is_ok_and(|code| code.canonical_reason().is_some())
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};
    use proptest::prelude::*;

    use super::super::stored::tests::{POLICY, at};
    use super::*;

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn get(lines: &[(&'static str, &str)]) -> Asked {
        Asked::of(&Method::GET, &map(lines), false)
    }

    fn judged(asked: &Asked, status: u16, lines: &[(&'static str, &str)]) -> Result<u64, NoStore> {
        let stored = storable(asked, status, &map(lines), &POLICY, at(0), at(0))?;
        Ok(stored.lifetime.as_secs())
    }

    const CC: &str = "cache-control";
    const MINUTE: (&str, &str) = (CC, "max-age=60");
    /// 100 seconds before `at(0)`, that is 1970-01-12T13:46:40Z.
    const MODIFIED: (&str, &str) = ("last-modified", "Mon, 12 Jan 1970 13:45:00 GMT");

    #[test]
    fn responses() {
        let asked = get(&[]);
        for (case, status, lines, want) in [
            ("max-age", 200, &[MINUTE][..], Ok(60)),
            ("shared lifetime wins", 200, &[(CC, "max-age=60, s-maxage=5")], Ok(5)),
            ("nothing", 200, &[], Err(NoStore::NoLifetime)),
            ("a tag alone", 200, &[("etag", "\"a\"")], Err(NoStore::NoLifetime)),
            ("Last-Modified", 200, &[MODIFIED], Ok(10)),
            (
                "no-store beats public",
                200,
                &[(CC, "public, max-age=6, no-store")],
                Err(NoStore::NoStore),
            ),
            ("private", 200, &[(CC, "private, max-age=6")], Err(NoStore::Private)),
            ("private with names", 200, &[(CC, "private=\"a\", max-age=6")], Ok(6)),
            ("Set-Cookie", 200, &[MINUTE, ("set-cookie", "a=b")], Err(NoStore::SetCookie)),
            (
                "public Set-Cookie",
                200,
                &[(CC, "public, max-age=6"), ("set-cookie", "a=b")],
                Err(NoStore::SetCookie),
            ),
            ("Vary: *", 200, &[MINUTE, ("vary", "accept, *")], Err(NoStore::VaryStar)),
            ("no-cache with a tag", 200, &[(CC, "no-cache"), ("etag", "\"a\"")], Ok(0)),
            (
                "no-cache outranks max-age",
                200,
                &[(CC, "no-cache, max-age=6"), ("etag", "\"a\"")],
                Ok(0),
            ),
            (
                "no-cache without validator",
                200,
                &[(CC, "no-cache, max-age=6")],
                Err(NoStore::NoLifetime),
            ),
            ("max-age=0 with a tag", 200, &[(CC, "max-age=0"), ("etag", "\"a\"")], Ok(0)),
            ("max-age=0 alone", 200, &[(CC, "max-age=0")], Err(NoStore::NoLifetime)),
            ("max-age=0, stale-if-error", 200, &[(CC, "max-age=0, stale-if-error=9")], Ok(0)),
            (
                "and must-revalidate",
                200,
                &[(CC, "max-age=0, stale-if-error=9, must-revalidate")],
                Err(NoStore::NoLifetime),
            ),
            ("arrived stale: for when the origin is gone", 200, &[MINUTE, ("age", "60")], Ok(60)),
            ("400 arrived stale", 400, &[MINUTE, ("age", "60")], Err(NoStore::NoLifetime)),
            ("399 arrived stale", 399, &[MINUTE, ("age", "60")], Ok(60)),
            ("404 arrived stale", 404, &[MINUTE, ("age", "60")], Err(NoStore::NoLifetime)),
            ("Expires passed", 200, &[("expires", "0")], Err(NoStore::NoLifetime)),
            ("must-understand", 200, &[(CC, "must-understand, no-store, max-age=6")], Ok(6)),
            (
                "not understood",
                299,
                &[(CC, "must-understand, max-age=6")],
                Err(NoStore::MustUnderstand),
            ),
            ("misspelt is unknown", 200, &[(CC, "s-max-age=60")], Err(NoStore::NoLifetime)),
            ("unknown status", 299, &[MINUTE], Ok(60)),
            ("unknown status, guess", 299, &[MODIFIED], Err(NoStore::NoLifetime)),
            ("302 with max-age", 302, &[MINUTE], Ok(60)),
            ("302 by guess", 302, &[MODIFIED], Err(NoStore::NoLifetime)),
            ("302 public by guess", 302, &[(CC, "public"), MODIFIED], Ok(10)),
            ("301 by guess", 301, &[MODIFIED], Ok(10)),
            ("404 with max-age", 404, &[MINUTE], Ok(60)),
            ("404 by guess", 404, &[MODIFIED], Ok(7)),
            ("410 by guess", 410, &[MODIFIED], Ok(7)),
            ("404 with a tag", 404, &[("etag", "\"a\"")], Err(NoStore::NoLifetime)),
            ("404 with nothing", 404, &[], Err(NoStore::NoLifetime)),
            ("404 public alone", 404, &[(CC, "public")], Err(NoStore::NoLifetime)),
            ("400 by guess", 400, &[MODIFIED], Err(NoStore::NoLifetime)),
            ("403 by guess", 403, &[MODIFIED], Err(NoStore::NoLifetime)),
            ("599 by guess", 599, &[MODIFIED], Err(NoStore::NoLifetime)),
            ("599 public by guess", 599, &[(CC, "public"), MODIFIED], Ok(7)),
            ("404 no-cache", 404, &[(CC, "no-cache"), MODIFIED], Err(NoStore::NoLifetime)),
            (
                "404 with a tag, stale",
                404,
                &[(CC, "max-age=0"), ("etag", "\"a\"")],
                Err(NoStore::NoLifetime),
            ),
            ("500 with max-age", 500, &[MINUTE], Ok(60)),
            ("500 no-cache", 500, &[(CC, "no-cache"), ("etag", "\"a\"")], Err(NoStore::NoLifetime)),
            ("503", 503, &[MODIFIED], Err(NoStore::NoLifetime)),
            ("interim", 103, &[MINUTE], Err(NoStore::Status)),
            ("206", 206, &[MINUTE], Err(NoStore::Status)),
            ("304", 304, &[MINUTE], Err(NoStore::Status)),
            ("412", 412, &[MINUTE], Err(NoStore::Status)),
            ("416", 416, &[MINUTE], Err(NoStore::Status)),
            ("no status code", 999, &[MINUTE], Err(NoStore::Status)),
        ] {
            assert_eq!(judged(&asked, status, lines), want, "{case}: {status} {lines:?}");
        }
    }

    #[test]
    fn requests() {
        let auth = ("authorization", "Basic eA==");
        let cookie = ("cookie", "a=b");
        for (case, request, lines, want) in [
            ("Authorization", &[auth][..], &[MINUTE][..], Err(NoStore::Authorization)),
            ("public", &[auth], &[(CC, "public, max-age=6")], Ok(6)),
            ("must-revalidate", &[auth], &[(CC, "must-revalidate, max-age=6")], Ok(6)),
            ("s-maxage", &[auth], &[(CC, "s-maxage=6")], Ok(6)),
            ("bad s-maxage", &[auth], &[(CC, "s-maxage=x")], Err(NoStore::Authorization)),
            (
                "proxy-revalidate",
                &[auth],
                &[(CC, "proxy-revalidate, max-age=6")],
                Err(NoStore::Authorization),
            ),
            (
                "a guess with Authorization",
                &[auth],
                &[(CC, "must-revalidate"), MODIFIED],
                Err(NoStore::Cookie),
            ),
            ("Cookie, explicit", &[cookie], &[MINUTE], Ok(60)),
            ("Cookie, a guess", &[cookie], &[MODIFIED], Err(NoStore::Cookie)),
            ("Cookie, to be validated", &[cookie], &[(CC, "no-cache"), ("etag", "\"a\"")], Ok(0)),
            ("no-store", &[(CC, "no-store")], &[MINUTE], Err(NoStore::RequestNoStore)),
            ("no-cache may store", &[(CC, "no-cache")], &[MINUTE], Ok(60)),
            ("Range of a whole answer", &[("range", "bytes=0-1")], &[MINUTE], Ok(60)),
        ] {
            let got = judged(&get(request), 200, lines);
            assert_eq!(got, want, "{case}: {request:?} {lines:?}");
            assert!(want.err().is_none_or(NoStore::by_request), "{case}");
        }
        for method in [Method::HEAD, Method::POST, Method::OPTIONS] {
            let asked = Asked::of(&method, &HeaderMap::new(), false);
            assert_eq!(judged(&asked, 200, &[MINUTE]), Err(NoStore::Method), "{method}");
        }
        let with_body = Asked::of(&Method::GET, &HeaderMap::new(), true);
        assert_eq!(judged(&with_body, 200, &[MINUTE]), Err(NoStore::RequestBody));
    }

    #[test]
    fn the_answer_to_a_post_is_stored_for_get_where_it_says_so() {
        const TARGET: &[u8] = b"http://a.org/x?q";
        let cl = |value| ("content-location", value);
        let public = (CC, "public");
        for (case, status, lines, want) in [
            ("itself", 200, &[MINUTE, cl("/x?q")][..], Ok(60)),
            ("itself, absolute", 200, &[MINUTE, cl("http://a.org:80/x?q")], Ok(60)),
            ("another", 200, &[MINUTE, cl("/x")], Err(NoStore::Method)),
            ("another host", 200, &[MINUTE, cl("http://b.org/x?q")], Err(NoStore::Method)),
            ("not said", 200, &[MINUTE], Err(NoStore::Method)),
            ("created", 201, &[MINUTE, cl("/x?q")], Err(NoStore::Method)),
            ("a guess", 200, &[MODIFIED, cl("/x?q")], Err(NoStore::NoLifetime)),
            ("no freshness", 200, &[public, cl("/x?q")], Err(NoStore::NoLifetime)),
            ("stale", 200, &[MINUTE, ("age", "60"), cl("/x?q")], Err(NoStore::NoLifetime)),
            ("private", 200, &[(CC, "private, max-age=6"), cl("/x?q")], Err(NoStore::Private)),
        ] {
            let asked = Asked::of(&Method::POST, &HeaderMap::new(), true);
            let got = storable_post(&asked, status, TARGET, &map(lines), &POLICY, at(0), at(0));
            assert_eq!(got.map(|stored| stored.lifetime.as_secs()), want, "{case}: {lines:?}");
        }
        let authorised = Asked::of(&Method::POST, &map(&[("authorization", "Basic eA==")]), true);
        let fields = map(&[MINUTE, cl("/x?q")]);
        let got = storable_post(&authorised, 200, TARGET, &fields, &POLICY, at(0), at(0));
        assert_eq!(got, Err(NoStore::Authorization));
    }

    #[test]
    fn settings() {
        let ask = |asked: &Asked, lines: &[(&'static str, &str)], policy: &Policy| {
            storable(asked, 200, &map(lines), policy, at(0), at(0)).map(|s| s.lifetime.as_secs())
        };
        let ttl = Policy { default_ttl: Duration::from_secs(9), ..POLICY };
        let cookie = get(&[("cookie", "a=b")]);
        assert_eq!(ask(&get(&[]), &[], &ttl), Ok(9));
        assert_eq!(ask(&cookie, &[], &ttl), Err(NoStore::Cookie), "default_ttl is a guess");
        assert_eq!(ask(&get(&[]), &[(CC, "max-age=6")], &ttl), Ok(6));
        let strict = Policy { heuristic_errors: Duration::ZERO, ..POLICY };
        for (policy, want) in
            [(&POLICY, Ok(())), (&strict, Err(NoStore::NoLifetime)), (&ttl, Ok(()))]
        {
            let got = storable(&get(&[]), 404, &map(&[MODIFIED]), policy, at(0), at(0));
            assert_eq!(got.map(|_| ()), want);
        }
        let personal = storable(&cookie, 404, &map(&[MODIFIED]), &strict, at(0), at(0));
        assert_eq!(
            personal,
            Err(NoStore::NoLifetime),
            "no guess at all: not for the Cookie's sake"
        );
        let silent = storable(&get(&[]), 404, &map(&[]), &ttl, at(0), at(0));
        assert_eq!(silent, Err(NoStore::NoLifetime), "default_ttl is for no error");
        let prompt = Policy { keep_stale: Duration::ZERO, ..POLICY };
        let arrived_stale = [MINUTE, ("age", "60")];
        assert_eq!(ask(&get(&[]), &arrived_stale, &POLICY), Ok(60));
        assert_eq!(ask(&get(&[]), &arrived_stale, &prompt), Err(NoStore::NoLifetime));
        let shared = Policy { share_set_cookie: true, ..POLICY };
        assert_eq!(ask(&get(&[]), &[MINUTE, ("set-cookie", "a=b")], &shared), Ok(60));
        let ignoring = Policy { client_directives: ClientDirectives::Ignore, ..POLICY };
        assert_eq!(ask(&get(&[(CC, "no-store")]), &[MINUTE], &ignoring), Ok(60));
    }

    #[test]
    fn a_304_brings_a_new_life_unless_it_forbids_storing() {
        let asked = get(&[]);
        let fields = map(&[MINUTE, ("etag", "W/\"a\"")]);
        let stored = storable(&asked, 203, &fields, &POLICY, at(0), at(1)).unwrap();
        assert_eq!(stored.initial_age, Duration::from_secs(1));
        assert!(stored.etag.as_ref().is_some_and(EntityTag::is_weak));
        let later = refreshed(&stored, &fields, &POLICY, &asked, at(90), at(90)).unwrap();
        assert_eq!((later.status, later.response_time), (203, at(90)));
        assert!(later.is_fresh(at(149)) && !later.is_fresh(at(150)));
        let private = map(&[(CC, "private")]);
        let refused = refreshed(&stored, &private, &POLICY, &asked, at(90), at(90));
        assert_eq!(refused, Err(NoStore::Private));
        let head = Asked::of(&Method::HEAD, &HeaderMap::new(), false);
        assert!(refreshed(&stored, &fields, &POLICY, &head, at(90), at(90)).is_ok());
    }

    proptest! {
        #[test]
        fn what_forbids_storing_holds_whatever_else_is_said(
            status in 100..700_u16, cc in "[a-z=0-9, \"]{0,40}", request_cc in "[a-z=0-9, \"]{0,40}",
            age in "[0-9a-z]{0,5}",
        ) {
            let asked = get(&[(CC, &request_cc)]);
            let cc = cc.replace('"', "");
            let lines = [(CC, &*format!("{cc},no-store")), ("age", &age), ("etag", "\"a\"")];
            if !cc.contains("must-understand") {
                prop_assert!(judged(&asked, status, &lines).is_err());
            }
            let cookie = [(CC, &*cc), ("set-cookie", "a=b"), MINUTE];
            prop_assert!(judged(&asked, status, &cookie).is_err());
        }
    }

    #[test]
    fn reasons_in_words() {
        use NoStore::{
            Authorization, Cookie, Method, MustUnderstand, NoLifetime, OddRequest, PathConfusion,
            Private, RequestBody, RequestNoStore, SenderError, SetCookie, Status, TypeMismatch,
            VaryChanged, VaryStar,
        };
        for (reason, by_request, word) in [
            (Method, true, "method"),
            (RequestBody, true, "request-body"),
            (RequestNoStore, true, "request-no-store"),
            (Status, false, "status"),
            (NoStore::NoStore, false, "no-store"),
            (Private, false, "private"),
            (MustUnderstand, false, "must-understand"),
            (Authorization, true, "authorization"),
            (SetCookie, false, "set-cookie"),
            (VaryStar, false, "vary-star"),
            (VaryChanged, false, "vary-changed"),
            (Cookie, true, "cookie"),
            (NoLifetime, false, "no-lifetime"),
            (SenderError, true, "sender-error"),
            (OddRequest, true, "odd-request"),
            (TypeMismatch, false, "type-mismatch"),
            (PathConfusion, true, "path-confusion"),
        ] {
            assert_eq!((reason.as_str(), reason.by_request()), (word, by_request), "{reason:?}");
        }
    }

    #[test]
    fn what_is_told_of_a_response_that_is_not_stored() {
        for (case, lines, want) in [
            ("its lifetime", &[MINUTE][..], 60),
            ("none of its own", &[], 0),
            ("to be validated each time", &[(CC, "no-cache, max-age=60")], 0),
            ("no guess", &[MODIFIED], 0),
        ] {
            let told = unstored(203, &map(lines), &POLICY, at(1), at(2));
            assert_eq!(told.lifetime.as_secs(), want, "{case}");
            assert_eq!((told.status, told.request_time), (203, at(1)), "{case}");
            assert_eq!((told.response_time, told.date), (at(2), at(2)), "{case}");
        }
    }

    #[test]
    fn the_get_of_a_post_has_its_fields_and_no_content() {
        let lines = [("cookie", "a=b"), (CC, "max-age=1"), ("if-match", "*")];
        let post = Asked::of(&Method::POST, &map(&lines), true);
        assert_eq!(as_get(&post), get(&lines));
    }
}
