//! Guards of what is stored for everybody: answers that RFC 9111 would let a cache keep, and that
//! one client could bring about for the others (web cache poisoning, cache-poisoned denial of
//! service) or be made to leave for a stranger (web cache deception).
//!
//! Asked once an answer, after [`super::storable`], with the request as it was forwarded.

use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CONTENT_TYPE, ORIGIN, VARY};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::request::Asked;
use super::storable::NoStore;
use super::stored::Stored;
use super::{key, unkeyed};

/// Heads that every origin takes: the smallest limits known are 8 KiB in all (Tomcat, Apache's
/// fields) and 100 fields, and Larder adds some of its own.
const PLAIN_SIZE: usize = 4096;
const PLAIN_FIELDS: usize = 50;

/// Whether an answer that could be stored is no danger to others. `primary`: the key of what was
/// asked for; `request`: its fields as the origin saw them, but for those that Larder adds.
pub fn harmless(
    asked: &Asked,
    primary: &[u8],
    request: &HeaderMap,
    stored: &Stored,
    response: &HeaderMap,
) -> Result<(), NoStore> {
    well_named(request)?;
    let by_name = request.keys().any(is_credential);
    if by_name && stored.heuristic {
        return Err(NoStore::Authorization);
    }
    let personal = by_name || asked.has_cookie || asked.authorised;
    if stored.status >= 400 {
        error(stored.status, personal, request)?;
    }
    deception(key::path(primary), personal, stored, response)
}

/// Gateways fold names with other characters than letters, digits and hyphens into others: what is
/// Accept-Language to the app was none to us. Neither an answer nor a 304 to such a request is
/// stored.
pub fn well_named(request: &HeaderMap) -> Result<(), NoStore> {
    if request.keys().any(unkeyed::is_odd_name) { Err(NoStore::OddRequest) } else { Ok(()) }
}

/// Tells the app who asks, by its name (`X-Api-Key`, `X-Auth-Token`): as little a reason to guess
/// at freshness as a Cookie is.
fn is_credential(name: &HeaderName) -> bool {
    const WORDS: [&[u8]; 6] = [b"api-key", b"apikey", b"auth", b"token", b"session", b"secret"];
    WORDS.iter().any(|word| memchr::memmem::find(name.as_str().as_bytes(), word).is_some())
}

/// Errors that the request brought about by what is no part of the key. Explicit freshness is no
/// permission: servers put it on every answer, their error pages included.
fn error(status: u16, personal: bool, request: &HeaderMap) -> Result<(), NoStore> {
    if is_of_sender(status) {
        return Err(NoStore::SenderError);
    }
    if is_odd(request) {
        return Err(NoStore::OddRequest);
    }
    // What is not there is not there for all; any other error may come of the cookie.
    if personal && !matches!(status, 404 | 410) {
        return Err(NoStore::Cookie);
    }
    Ok(())
}

/// Status codes that speak of who asked, or of the form of the request, rather than of what was
/// asked for. Not 400, which many apps use of their parameters: there the request's form decides.
fn is_of_sender(status: u16) -> bool {
    matches!(status, 401..=403 | 406..=408 | 411..=413 | 415..=417 | 421..=431 | 494..=498 | 511)
}

/// A request that may itself be the reason of an error: large, with unusual characters in it, or
/// with fields that its kind does not have.
fn is_odd(request: &HeaderMap) -> bool {
    let size: usize = request.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    size > PLAIN_SIZE
        || request.len() > PLAIN_FIELDS
        || request.values().any(is_odd_value)
        || request.keys().any(|name| {
            describes_content(name) || (!is_list(name) && request.get_all(name).iter().count() > 1)
        })
}

/// Not plain ASCII, or with what parsers and firewalls stumble over.
fn is_odd_value(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    bytes.iter().any(|b| !matches!(b, b' '..=b'~') || br"<>{}\$'".contains(b))
        || bytes.windows(2).any(|pair| pair == b"..")
}

/// Of content that a read does not have (what has some is never stored).
fn describes_content(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("content-") || matches!(name, "trailer" | "max-forwards")
}

/// May come in several lines (RFC 9110 §5.3, RFC 9113 §8.2.3).
fn is_list(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("accept")
        || name.starts_with("sec-ch-")
        || name.starts_with("if-")
        || matches!(name, "cache-control" | "pragma" | "cookie" | "via" | "x-forwarded-for")
}

/// Web cache deception: a stranger has somebody open `/account/x.css`, and the app answers with
/// the account. By guess nothing is stored under a name that belies it. What the origin itself
/// calls fresh is stored for anonymous requests, whose answer tells nothing of anybody; where the
/// request was personal, freshness that the origin gives by the look of the path is no permission.
fn deception(
    path: &[u8],
    personal: bool,
    stored: &Stored,
    response: &HeaderMap,
) -> Result<(), NoStore> {
    if !personal && !stored.heuristic {
        return Ok(());
    }
    let decoded: Vec<u8> = percent_encoding::percent_decode(path).collect();
    let belied = is_static(&decoded) && is_page_or_data(response);
    if belied && !personal {
        return Err(NoStore::TypeMismatch);
    }
    if personal && (belied || is_confusable(path, &decoded)) {
        return Err(NoStore::PathConfusion);
    }
    Ok(())
}

/// A path that origins and what stands before them read differently: characters that end or part
/// a path, encoded or not, and dot segments.
fn is_confusable(path: &[u8], decoded: &[u8]) -> bool {
    const ENCODED: [&[u8]; 8] = [b"%2f", b"%5c", b"%3b", b"%3f", b"%23", b"%25", b"%0a", b"%00"];
    let encoded =
        path.windows(3).any(|three| ENCODED.iter().any(|known| known.eq_ignore_ascii_case(three)));
    let dots = decoded.split(|b| matches!(b, b'/' | b'\\')).any(|s| matches!(s, b"." | b".."));
    encoded || dots || path.iter().any(|b| matches!(b, b';' | b'\\'))
}

/// The name of a file that is the same for everybody, by its extension.
fn is_static(decoded: &[u8]) -> bool {
    const EXTENSIONS: [&str; 47] = [
        "7z", "apk", "avi", "avif", "bin", "bmp", "bz2", "class", "css", "csv", "doc", "docx",
        "dmg", "eot", "eps", "exe", "flac", "gif", "gz", "ico", "iso", "jar", "jpeg", "jpg", "js",
        "map", "mid", "mjs", "mkv", "mp3", "mp4", "ogg", "otf", "pdf", "png", "ppt", "rar", "svg",
        "tar", "tif", "ttf", "webm", "webp", "woff", "woff2", "xls", "zip",
    ];
    let name = decoded.rsplit(|b| matches!(b, b'/' | b'\\' | b';')).next().unwrap_or_default();
    let Some(dot) = memchr::memrchr(b'.', name) else { return false };
    let extension = name.get(dot + 1..).unwrap_or_default();
    EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known.as_bytes()))
}

/// What an app answers with for a person: a page or an API's data. No type at all is read as one.
fn is_page_or_data(response: &HeaderMap) -> bool {
    let Some(kind) = response.get(CONTENT_TYPE) else { return true };
    let kind = kind.as_bytes().split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    let kind = kind.to_ascii_lowercase();
    matches!(&*kind, b"" | b"text/html" | b"application/xhtml+xml" | b"application/json")
        || kind.ends_with(b"+json")
}

/// The answer repeats the request's Origin without saying that it varies on it. Stored as it is it
/// would shut out every other origin; it is kept as if it did say so.
pub fn reflects_origin(request: &HeaderMap, response: &HeaderMap) -> bool {
    let Some(origin) = request.get(ORIGIN) else { return false };
    response.get_all(ACCESS_CONTROL_ALLOW_ORIGIN).iter().any(|allowed| allowed == origin)
        && !varies_on_origin(response)
}

/// Says that it varies on Origin.
fn varies_on_origin(response: &HeaderMap) -> bool {
    let mut members =
        response.get_all(VARY).iter().flat_map(|line| line.as_bytes().split(|b| *b == b','));
    members.any(|member| member.trim_ascii().eq_ignore_ascii_case(b"origin"))
}

/// A 304 that repeats the Origin of who validated, put over a response that is stored for all
/// origins: what it allows is that origin's alone, and is not taken over.
pub fn keep_allowed_origin(
    request: &HeaderMap,
    held: &HeaderMap,
    update: &HeaderMap,
    merged: &mut HeaderMap,
) {
    if varies_on_origin(held) || !reflects_origin(request, update) {
        return;
    }
    match held.get(ACCESS_CONTROL_ALLOW_ORIGIN) {
        Some(own) => merged.insert(ACCESS_CONTROL_ALLOW_ORIGIN, own.clone()),
        None => merged.remove(ACCESS_CONTROL_ALLOW_ORIGIN),
    };
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::super::stored::tests::minute;
    use super::*;

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    fn judged(
        path: &str,
        request: &[(&'static str, &str)],
        stored: &Stored,
        response: &[(&'static str, &str)],
    ) -> Result<(), NoStore> {
        let request = map(request);
        let asked = Asked::of(&Method::GET, &request, false);
        let primary = format!("http://a.org{path}");
        harmless(&asked, primary.as_bytes(), &request, stored, &map(response))
    }

    const COOKIE: (&str, &str) = ("cookie", "id=1");
    const HTML: (&str, &str) = ("content-type", "text/html; charset=utf-8");

    #[test]
    fn errors() {
        let odd = Err(NoStore::OddRequest);
        let long = "x".repeat(PLAIN_SIZE);
        let many: Vec<_> = (0..=PLAIN_FIELDS).map(|_| ("accept", "x")).collect();
        for (case, status, request, want) in [
            ("404", 404, &[("user-agent", "curl/8.0 (x; y)")][..], Ok(())),
            ("400 of its parameters", 400, &[("accept", "*/*")], Ok(())),
            ("400 with a cookie", 400, &[COOKIE], Err(NoStore::Cookie)),
            ("404 with a cookie", 404, &[COOKIE], Ok(())),
            ("500 authorised", 500, &[("authorization", "Basic eA==")], Err(NoStore::Cookie)),
            ("a firewall's page", 403, &[], Err(NoStore::SenderError)),
            ("too many requests", 429, &[], Err(NoStore::SenderError)),
            ("too large", 431, &[], Err(NoStore::SenderError)),
            ("nginx's own", 494, &[], Err(NoStore::SenderError)),
            ("large", 404, &[("x-a", &long)], odd),
            ("large, but no error", 200, &[("x-a", &long)], Ok(())),
            ("many fields", 500, &many, odd),
            ("not ASCII", 400, &[("x-a", "\u{e9}")], odd),
            ("a tab", 400, &[("x-a", "a\tb")], odd),
            ("a script", 400, &[("user-agent", "<script>")], odd),
            ("a lookup", 500, &[("user-agent", "${jndi:ldap://x}")], odd),
            ("a path", 500, &[("accept-language", "../../etc")], odd),
            ("a type without content", 400, &[("content-type", "x")], odd),
            ("a coding without content", 500, &[("content-encoding", "x")], odd),
            ("said twice", 400, &[("user-agent", "a"), ("user-agent", "b")], odd),
            ("a list in two lines", 404, &[("accept", "a"), ("accept", "b")], Ok(())),
            ("folded by gateways", 404, &[("accept_language", "x")], odd),
            ("even where it is no error", 200, &[("accept_language", "x")], odd),
        ] {
            let stored = Stored { status, ..minute() };
            assert_eq!(judged("/", request, &stored, &[HTML]), want, "{case}: {status}");
            assert!(want.err().is_none_or(NoStore::by_request), "{case}");
        }
    }

    #[test]
    fn pages_under_the_names_of_files() {
        let (type_mismatch, confusion) = (Err(NoStore::TypeMismatch), Err(NoStore::PathConfusion));
        let css = ("content-type", "text/css");
        let json = ("content-type", "application/vnd.api+json");
        for (case, path, kind, guessed, by_cookie) in [
            ("a style sheet", "/x.css", Some(css), Ok(()), Ok(())),
            ("a page", "/account", Some(HTML), Ok(()), Ok(())),
            ("a page named css", "/account/x.css", Some(HTML), type_mismatch, confusion),
            ("with a query", "/account/x.css?a=/b", Some(HTML), type_mismatch, confusion),
            ("a file in the query only", "/account?x.css", Some(HTML), Ok(()), Ok(())),
            ("in capitals", "/account/X.JPG", Some(HTML), type_mismatch, confusion),
            ("data", "/api/me/x.png", Some(json), type_mismatch, confusion),
            ("no type", "/api/me/x.png", None, type_mismatch, confusion),
            ("another extension", "/x.html", Some(HTML), Ok(()), Ok(())),
            ("no extension", "/css", Some(HTML), Ok(()), Ok(())),
            ("behind a semicolon", "/account;x.css", Some(HTML), type_mismatch, confusion),
            ("behind an encoded one", "/account%3bx.css", Some(HTML), type_mismatch, confusion),
            ("behind a slash", "/account%2Fx.css", Some(HTML), type_mismatch, confusion),
            ("an encoded dot", "/account/x%2ecss", Some(HTML), type_mismatch, confusion),
            ("up from files", "/static/..%2faccount", Some(HTML), Ok(()), confusion),
            ("dots", "/static/../account", Some(HTML), Ok(()), confusion),
            ("encoded dots", "/static/%2e%2E/account", Some(HTML), Ok(()), confusion),
            ("encoded twice", "/static/..%252faccount", Some(HTML), Ok(()), confusion),
            ("ends early", "/account%00x.css", Some(css), Ok(()), confusion),
            ("a file by its name", "/a.b/..x/y", Some(HTML), Ok(()), Ok(())),
        ] {
            let kind: Vec<_> = kind.into_iter().collect();
            let guess = Stored { heuristic: true, ..minute() };
            assert_eq!(judged(path, &[], &guess, &kind), guessed, "{case}: a guess");
            assert_eq!(judged(path, &[], &minute(), &kind), Ok(()), "{case}: anonymous, explicit");
            assert_eq!(judged(path, &[COOKIE], &minute(), &kind), by_cookie, "{case}: Cookie");
            let auth = [("authorization", "Basic eA==")];
            assert_eq!(judged(path, &auth, &minute(), &kind), by_cookie, "{case}: Authorization");
        }
    }

    #[test]
    fn credentials_by_name() {
        let guess = Stored { heuristic: true, ..minute() };
        for (name, personal) in [
            ("x-api-key", true),
            ("x-auth-token", true),
            ("x-csrf-token", true),
            ("session-id", true),
            ("x-requested-with", false),
            ("accept", false),
        ] {
            let request = [(name, "1")];
            let kept = |want: NoStore| if personal { Err(want) } else { Ok(()) };
            assert_eq!(judged("/", &request, &guess, &[HTML]), kept(NoStore::Authorization));
            assert_eq!(judged("/", &request, &minute(), &[HTML]), Ok(()), "{name}: explicit");
            let deceived = judged("/x.css", &request, &minute(), &[HTML]);
            assert_eq!(deceived, kept(NoStore::PathConfusion), "{name}");
        }
    }

    #[test]
    fn allowed_origins() {
        let acao = "access-control-allow-origin";
        let origin = ("origin", "https://b.org");
        for (case, request, response, want) in [
            ("no Origin", &[][..], &[(acao, "https://b.org")][..], false),
            ("any", &[origin], &[(acao, "*")], false),
            ("repeated", &[origin], &[(acao, "https://b.org")], true),
            ("another", &[origin], &[(acao, "https://a.org")], false),
            ("and said", &[origin], &[(acao, "https://b.org"), ("vary", "a, ORIGIN")], false),
        ] {
            assert_eq!(reflects_origin(&map(request), &map(response)), want, "{case}");
        }
        let update = map(&[(acao, "https://b.org")]);
        for (case, held, want) in [
            ("none was stored", &[][..], None),
            ("another was", &[(acao, "*")], Some("*")),
            ("it varies", &[(acao, "https://c.org"), ("vary", "origin")], Some("https://b.org")),
        ] {
            let held = map(held);
            let mut merged = super::super::validation::merge_304(&held, &update);
            keep_allowed_origin(&map(&[origin]), &held, &update, &mut merged);
            let got = merged.get(acao).map(|value| value.to_str().unwrap());
            assert_eq!(got, want, "{case}");
        }
    }

    #[test]
    fn odd_from_just_beyond_the_bounds() {
        let value = |len| "x".repeat(len);
        let fields = |n: usize| map(&vec![("accept", "x"); n]);
        let (fits, large) = (value(PLAIN_SIZE - 3), value(PLAIN_SIZE - 2));
        for (case, request, want) in [
            ("just fits", map(&[("x-a", &fits)]), false),
            ("one byte more", map(&[("x-a", &large)]), true),
            ("as many as may be", fields(PLAIN_FIELDS), false),
            ("one more", fields(PLAIN_FIELDS + 1), true),
            ("hints", map(&[("sec-ch-ua", "a"), ("sec-ch-ua", "b")]), false),
            ("conditions", map(&[("if-none-match", "a"), ("if-none-match", "b")]), false),
        ] {
            assert_eq!(is_odd(&request), want, "{case}");
        }
    }
}
