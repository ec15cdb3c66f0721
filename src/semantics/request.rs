//! What a request asks for, and where it says it goes.

use std::borrow::Cow;

use http::header::{
    AUTHORIZATION, CACHE_CONTROL, COOKIE, EXPECT, HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE, PRAGMA, RANGE,
};
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use super::cache_control::RequestDirectives;
use super::headers::authority;
use super::policy::{ClientDirectives, Policy};

/// The methods that differ to a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AskedMethod {
    /// GET.
    Get,
    /// HEAD: answered from what GET stored.
    Head,
    /// Any other: forwarded.
    Other {
        /// Safe (RFC 9110 §9.2.1): OPTIONS and TRACE. What is not known is unsafe.
        safe: bool,
    },
}

/// What decisions need to know of a request. Taken from the header fields that are forwarded,
/// that is with hop-by-hop fields stripped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Its method.
    pub method: AskedMethod,
    /// Its Cache-Control or Pragma.
    pub directives: RequestDirectives,
    /// It carries Authorization.
    pub authorised: bool,
    /// It carries a Cookie.
    pub has_cookie: bool,
    /// It carries Range.
    pub has_range: bool,
    /// It carries content.
    pub has_body: bool,
    /// It carries If-Match or If-Unmodified-Since, which the origin evaluates (RFC 9111 §4.3.2).
    pub has_if_match: bool,
    /// It carries If-None-Match or If-Modified-Since, which a stored response answers.
    pub has_if_none_match: bool,
}

impl Asked {
    /// In one walk over the header fields, without allocating.
    pub fn of(method: &Method, headers: &HeaderMap, has_body: bool) -> Self {
        let mut asked = Self {
            method: match *method {
                Method::GET => AskedMethod::Get,
                Method::HEAD => AskedMethod::Head,
                _ => AskedMethod::Other { safe: method.is_safe() },
            },
            directives: RequestDirectives::default(),
            authorised: false,
            has_cookie: false,
            has_range: false,
            has_body,
            has_if_match: false,
            has_if_none_match: false,
        };
        let (mut cache_control, mut pragma) = (false, false);
        for (name, value) in headers {
            match *name {
                CACHE_CONTROL => {
                    cache_control = true;
                    asked.directives.add_line(value);
                }
                PRAGMA => pragma = true,
                AUTHORIZATION => asked.authorised = true,
                COOKIE => asked.has_cookie = true,
                RANGE => asked.has_range = true,
                IF_MATCH | IF_UNMODIFIED_SINCE => asked.has_if_match = true,
                IF_NONE_MATCH | IF_MODIFIED_SINCE => asked.has_if_none_match = true,
                _ => {}
            }
        }
        if pragma && !cache_control {
            headers.get_all(PRAGMA).iter().for_each(|line| asked.directives.add_pragma(line));
        }
        asked
    }

    /// GET or HEAD: what the cache may answer.
    pub fn is_read(&self) -> bool {
        matches!(self.method, AskedMethod::Get | AskedMethod::Head)
    }

    /// HEAD: answered without content.
    pub fn is_head(&self) -> bool {
        self.method == AskedMethod::Head
    }

    /// Safe (RFC 9110 §9.2.1): changes nothing at the origin.
    pub fn is_safe(&self) -> bool {
        self.is_read() || self.method == AskedMethod::Other { safe: true }
    }

    /// Content is to be left as it is (RFC 9111 §5.2.1.6).
    pub fn no_transform(&self, policy: &Policy) -> bool {
        self.directives.no_transform && policy.client_directives != ClientDirectives::Ignore
    }

    /// Where nothing stored can be used, the answer is 504 (RFC 9111 §5.2.1.7).
    pub fn only_if_cached(&self, policy: &Policy) -> bool {
        self.directives.only_if_cached && policy.client_directives != ClientDirectives::Ignore
    }
}

/// Where a request goes, as the client said it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target<'a> {
    /// Host and port, lower case; empty only for HTTP/1.0 without Host.
    pub authority: Cow<'a, str>,
    /// Begins with `/`; or `*` for OPTIONS.
    pub path_and_query: Cow<'a, str>,
}

/// Why a request's target is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadRequest {
    /// HTTP/1.1 without Host.
    HostMissing,
    /// More than one Host.
    HostRepeated,
    /// Host is no authority.
    HostInvalid,
    /// The target has a form that its method does not allow, or no valid authority.
    Target,
    /// An absolute target of another scheme than http or https.
    Scheme,
    /// User information in the target.
    UserInfo,
    /// CONNECT: Larder is no forward proxy.
    Connect,
    /// TRACE would show fields that are not the client's.
    Trace,
}

impl BadRequest {
    /// The status code of the answer.
    pub const fn status(self) -> u16 {
        match self {
            Self::Connect => 501,
            Self::Trace => 405,
            _ => 400,
        }
    }

    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HostMissing => "host-missing",
            Self::HostRepeated => "host-repeated",
            Self::HostInvalid => "host-invalid",
            Self::Target => "target-invalid",
            Self::Scheme => "target-scheme",
            Self::UserInfo => "target-userinfo",
            Self::Connect => "connect",
            Self::Trace => "trace",
        }
    }
}

/// Where the request goes (RFC 9112 §3.2 and §3.3). An absolute target's authority outranks Host
/// (§3.2.2), yet Host must be there, once and valid. Borrows where nothing is to be changed.
pub fn target<'a>(
    method: &Method,
    uri: &'a Uri,
    headers: &'a HeaderMap,
    version: Version,
) -> Result<Target<'a>, BadRequest> {
    match *method {
        Method::CONNECT => return Err(BadRequest::Connect),
        Method::TRACE => return Err(BadRequest::Trace),
        _ => {}
    }
    let host = host(headers, version)?;
    let authority = match (uri.scheme_str(), uri.authority()) {
        (None, None) => host,
        (Some("http" | "https"), Some(authority)) if authority.as_str().contains('@') => {
            return Err(BadRequest::UserInfo);
        }
        (Some("http" | "https"), Some(written)) => {
            authority::parse(written.as_str()).ok_or(BadRequest::Target)?
        }
        (Some(_), _) => return Err(BadRequest::Scheme),
        (None, Some(_)) => return Err(BadRequest::Target),
    };
    let path_and_query = match uri.path_and_query().map_or("/", |path| path.as_str()) {
        "*" if *method == Method::OPTIONS && uri.authority().is_none() => Cow::Borrowed("*"),
        path if path.starts_with('/') => Cow::Borrowed(path),
        // http://host?query: the path is empty, which is `/` (RFC 9110 §4.2.3).
        query if query.starts_with('?') => Cow::Owned(format!("/{query}")),
        _ => return Err(BadRequest::Target),
    };
    Ok(Target { authority, path_and_query })
}

fn host(headers: &HeaderMap, version: Version) -> Result<Cow<'_, str>, BadRequest> {
    let mut lines = hosts(headers);
    let Some(line) = lines.next() else {
        return match version {
            Version::HTTP_09 | Version::HTTP_10 => Ok(Cow::Borrowed("")),
            _ => Err(BadRequest::HostMissing),
        };
    };
    if lines.next().is_some() {
        return Err(BadRequest::HostRepeated);
    }
    let text = line.to_str().map_err(|_| BadRequest::HostInvalid)?;
    authority::parse(text).ok_or(BadRequest::HostInvalid)
}

/// The client wants to hear 100 before it sends its body (RFC 9110 §10.1.1).
pub fn expects_continue(headers: &HeaderMap, version: Version) -> bool {
    let asks = |line: &http::HeaderValue| {
        let mut members = line.as_bytes().split(|b| *b == b',').map(<[u8]>::trim_ascii);
        members.any(|member| member.eq_ignore_ascii_case(b"100-continue"))
    };
    version == Version::HTTP_11 && headers.get_all(EXPECT).iter().any(asks)
}

/// Host, as often as it is there. A walk: a request has too few fields for a hash to pay.
fn hosts(headers: &HeaderMap) -> impl Iterator<Item = &HeaderValue> {
    headers.iter().filter(|(name, _)| **name == HOST).map(|(_, value)| value)
}

/// Host says exactly this.
pub fn host_is(headers: &HeaderMap, authority: &str) -> bool {
    hosts(headers).next().is_some_and(|host| host == authority)
}

/// What Max-Forwards asks of an intermediary (RFC 9110 §7.6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxForwards {
    /// Not given, not valid, or the method does not know it.
    Unlimited,
    /// It is zero: answer as if this were the origin.
    AnswerHere,
    /// Forward with this value.
    Forward(u64),
}

/// What Max-Forwards asks for.
pub fn max_forwards(method: &Method, headers: &HeaderMap) -> MaxForwards {
    if !matches!(*method, Method::OPTIONS | Method::TRACE) {
        return MaxForwards::Unlimited;
    }
    let Some(text) = headers.get("max-forwards").and_then(|value| value.to_str().ok()) else {
        return MaxForwards::Unlimited;
    };
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return MaxForwards::Unlimited;
    }
    match text.parse::<u64>().unwrap_or(u64::MAX).checked_sub(1) {
        None => MaxForwards::AnswerHere,
        Some(less) => MaxForwards::Forward(less),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn what_a_request_asks() {
        let plain = Asked::of(&Method::GET, &HeaderMap::new(), false);
        assert_eq!(plain.method, AskedMethod::Get);
        assert!(!plain.authorised && !plain.has_cookie && !plain.has_range && !plain.has_if_match);
        let fields = headers(&[
            ("pragma", "no-cache"),
            ("authorization", "Basic eA=="),
            ("cookie", "a=b"),
            ("range", "bytes=0-1"),
            ("if-match", "*"),
        ]);
        let asked = Asked::of(&Method::HEAD, &fields, true);
        assert_eq!(asked.method, AskedMethod::Head);
        assert!(asked.directives.no_cache, "Pragma counts alone");
        assert!(asked.authorised && asked.has_cookie && asked.has_range);
        assert!(asked.has_if_match && asked.has_body);
        let both = headers(&[("cache-control", "max-age=9"), ("pragma", "no-cache")]);
        let asked = Asked::of(&Method::POST, &both, false);
        assert!(!asked.directives.no_cache, "Cache-Control outranks Pragma");
        assert_eq!(asked.directives, RequestDirectives::parse(&both));
        assert_eq!(asked.method, AskedMethod::Other { safe: false });
        let safe = Asked::of(&Method::OPTIONS, &HeaderMap::new(), false);
        assert_eq!(safe.method, AskedMethod::Other { safe: true });
    }

    #[test]
    fn targets() {
        use BadRequest::{
            Connect, HostInvalid, HostMissing, HostRepeated, Scheme, Trace, UserInfo,
        };
        let (new, old) = (Version::HTTP_11, Version::HTTP_10);
        for (case, method, uri, hosts, version, want) in [
            ("origin form", "GET", "/a?b", &["Ex.org"][..], new, Ok(("ex.org", "/a?b"))),
            ("with port", "GET", "/", &["ex.org:81"], new, Ok(("ex.org:81", "/"))),
            ("address", "GET", "/", &["[::1]:81"], new, Ok(("[::1]:81", "/"))),
            ("absolute outranks", "GET", "http://B.org/x", &["a.org"], new, Ok(("b.org", "/x"))),
            ("absolute, no path", "GET", "http://b.org", &["a.org"], new, Ok(("b.org", "/"))),
            ("absolute, query", "GET", "http://b.org?q", &["a.org"], new, Ok(("b.org", "/?q"))),
            ("absolute, no Host", "GET", "http://b.org/", &[], new, Err(HostMissing)),
            ("absolute, bad Host", "GET", "http://b.org/", &["a b"], new, Err(HostInvalid)),
            ("asterisk", "OPTIONS", "*", &["a.org"], new, Ok(("a.org", "*"))),
            ("asterisk for GET", "GET", "*", &["a.org"], new, Err(BadRequest::Target)),
            ("authority form", "GET", "a.org:80", &["a.org"], new, Err(BadRequest::Target)),
            ("no Host", "GET", "/", &[], new, Err(HostMissing)),
            ("no Host in 1.0", "GET", "/", &[], old, Ok(("", "/"))),
            ("two Hosts", "GET", "/", &["a.org", "a.org"], new, Err(HostRepeated)),
            ("two Hosts in 1.0", "GET", "/", &["a.org", "b.org"], old, Err(HostRepeated)),
            ("empty Host", "GET", "/", &[""], new, Err(HostInvalid)),
            ("list in Host", "GET", "/", &["a.org, b.org"], new, Err(HostInvalid)),
            ("userinfo in Host", "GET", "/", &["u@a.org"], new, Err(HostInvalid)),
            ("path in Host", "GET", "/", &["a.org/x"], new, Err(HostInvalid)),
            ("userinfo", "GET", "http://u@b.org/", &["b.org"], new, Err(UserInfo)),
            ("another scheme", "GET", "ftp://b.org/", &["b.org"], new, Err(Scheme)),
            ("CONNECT", "CONNECT", "b.org:443", &["b.org"], new, Err(Connect)),
            ("TRACE", "TRACE", "/", &["b.org"], new, Err(Trace)),
        ] {
            let lines: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
            let (fields, uri) = (headers(&lines), uri.parse::<Uri>().unwrap());
            let method = method.parse().unwrap();
            let got = target(&method, &uri, &fields, version);
            let got = got.as_ref().map(|t| (&*t.authority, &*t.path_and_query)).map_err(|e| *e);
            assert_eq!(got, want, "{case}: {uri}");
        }
        assert_eq!((Connect.status(), Trace.status(), UserInfo.status()), (501, 405, 400));
    }

    #[test]
    fn max_forwards_counts_down() {
        use MaxForwards::{AnswerHere, Forward, Unlimited};
        for (case, method, value, want) in [
            ("counted", Method::OPTIONS, "7", Forward(6)),
            ("end", Method::OPTIONS, "0", AnswerHere),
            ("also TRACE", Method::TRACE, "0", AnswerHere),
            ("not GET", Method::GET, "0", Unlimited),
            ("no number", Method::OPTIONS, "-1", Unlimited),
            ("empty", Method::OPTIONS, "", Unlimited),
            ("large", Method::OPTIONS, "99999999999999999999999", Forward(u64::MAX - 1)),
        ] {
            assert_eq!(max_forwards(&method, &headers(&[("max-forwards", value)])), want, "{case}");
        }
        assert_eq!(max_forwards(&Method::OPTIONS, &HeaderMap::new()), Unlimited, "not given");
    }

    #[test]
    fn what_a_method_lets_one_do() {
        for (method, read, head, safe) in [
            (Method::GET, true, false, true),
            (Method::HEAD, true, true, true),
            (Method::OPTIONS, false, false, true),
            (Method::POST, false, false, false),
            (Method::from_bytes(b"BREW").unwrap(), false, false, false),
        ] {
            let asked = Asked::of(&method, &HeaderMap::new(), false);
            let got = (asked.is_read(), asked.is_head(), asked.is_safe());
            assert_eq!(got, (read, head, safe), "{method}");
        }
    }

    #[test]
    fn conditions_are_told_apart() {
        for (name, of_origin, of_cache) in [
            ("if-match", true, false),
            ("if-unmodified-since", true, false),
            ("if-none-match", false, true),
            ("if-modified-since", false, true),
            ("if-range", false, false),
        ] {
            let asked = Asked::of(&Method::GET, &headers(&[(name, "x")]), false);
            let got = (asked.has_if_match, asked.has_if_none_match);
            assert_eq!(got, (of_origin, of_cache), "{name}");
        }
    }

    #[test]
    fn directives_count_where_clients_are_heard() {
        use crate::semantics::stored::tests::POLICY;
        let of = |line| Asked::of(&Method::GET, &headers(&[("cache-control", line)]), false);
        for (setting, heard) in [
            (ClientDirectives::Honour, true),
            (ClientDirectives::Limit, true),
            (ClientDirectives::Ignore, false),
        ] {
            let policy = Policy { client_directives: setting, ..POLICY };
            assert_eq!(of("no-transform").no_transform(&policy), heard, "{setting:?}");
            assert_eq!(of("only-if-cached").only_if_cached(&policy), heard, "{setting:?}");
            assert!(!of("max-age=1").no_transform(&policy), "{setting:?}");
            assert!(!of("max-age=1").only_if_cached(&policy), "{setting:?}");
        }
    }

    #[test]
    fn refusals_in_words() {
        use BadRequest::{
            Connect, HostInvalid, HostMissing, HostRepeated, Scheme, Target, Trace, UserInfo,
        };
        for (refusal, status, word) in [
            (HostMissing, 400, "host-missing"),
            (HostRepeated, 400, "host-repeated"),
            (HostInvalid, 400, "host-invalid"),
            (Target, 400, "target-invalid"),
            (Scheme, 400, "target-scheme"),
            (UserInfo, 400, "target-userinfo"),
            (Connect, 501, "connect"),
            (Trace, 405, "trace"),
        ] {
            assert_eq!((refusal.status(), refusal.as_str()), (status, word));
        }
    }

    #[test]
    fn who_waits_for_100() {
        let (new, old) = (Version::HTTP_11, Version::HTTP_10);
        for (case, lines, version, want) in [
            ("asked", &[("expect", "100-Continue")][..], new, true),
            ("in a list", &[("expect", "x, 100-continue ")], new, true),
            ("in another line", &[("expect", "x"), ("expect", "100-continue")], new, true),
            ("of an old client", &[("expect", "100-continue")], old, false),
            ("something else", &[("expect", "100-continued")], new, false),
            ("nothing", &[], new, false),
        ] {
            assert_eq!(expects_continue(&headers(lines), version), want, "{case}");
        }
    }

    #[test]
    fn host_is_what_the_first_line_says() {
        let fields = headers(&[("accept", "b.org"), ("host", "a.org"), ("x-host", "b.org")]);
        assert!(host_is(&fields, "a.org") && !host_is(&fields, "b.org"));
        assert!(!host_is(&HeaderMap::new(), ""));
    }
}
