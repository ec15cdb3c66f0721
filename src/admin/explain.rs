//! `GET /api/explain`: what is asked, and how the answer is written.

use http::header::{CONNECTION, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde_json::{Value, json};

use crate::admin::entries::{EntryShown, readable};
use crate::admin::problem::Problem;
use crate::admin::query::{self, bad};
use crate::proxy::explain::{Explanation, Question};
use crate::semantics::decision::Fwd;
use crate::semantics::time::Timestamp;

/// Reads `url=…&method=GET&header=Name: value&fetch=true`; `header` as often as wanted.
///
/// # Errors
/// Something in it is not understood.
pub fn parse(query: Option<&str>) -> Result<Question, Problem> {
    let (mut url, mut method, mut fetch) = (None, None, None);
    let mut headers = HeaderMap::new();
    for (name, value) in query::pairs(query.unwrap_or_default())? {
        let once = match &*name {
            "url" => &mut url,
            "method" => &mut method,
            "fetch" => &mut fetch,
            "header" => {
                let (name, value) = field(&value)?;
                headers.append(name, value);
                continue;
            }
            _ => return Err(bad("unknown parameter: known are url, method, header and fetch")),
        };
        if once.replace(value).is_some() {
            return Err(bad("a parameter of the query is there twice"));
        }
    }
    let url = url.ok_or_else(|| bad("url is needed: /api/explain?url=http://host/path"))?;
    let fetch = match fetch.as_deref() {
        None | Some("false") => false,
        Some("" | "true") => true,
        Some(_) => return Err(bad("fetch must be true or false")),
    };
    let method = match method {
        None => Method::GET,
        Some(method) => method.parse().map_err(|_| bad("method is no method"))?,
    };
    Ok(Question { method, url: whole(&url)?, headers, fetch })
}

fn whole(url: &str) -> Result<Uri, Problem> {
    let right = "url must be a whole one, as clients ask for it: http://host/path?query";
    let url: Uri = url.parse().map_err(|_| bad(right))?;
    if !matches!(url.scheme_str(), Some("http" | "https")) || url.authority().is_none() {
        return Err(bad(right));
    }
    Ok(url)
}

fn field(line: &str) -> Result<(HeaderName, HeaderValue), Problem> {
    let right = "a header must be as in HTTP: Name: value";
    let (name, value) = line.split_once(':').ok_or_else(|| bad(right))?;
    let name: HeaderName = name.trim().parse().map_err(|_| bad(right))?;
    if name == HOST || name == CONNECTION {
        return Err(bad("Host is part of url, and Connection of no interest"));
    }
    let value = HeaderValue::from_str(value.trim()).map_err(|_| bad(right))?;
    Ok((name, value))
}

/// The explanation as JSON.
pub fn shown(told: &Explanation, now: Timestamp) -> Value {
    let decision = &told.decision;
    let fetched = told.fetched.as_ref().map(|fetched| {
        json!({
            "answer": fetched.answer,
            "status": fetched.status,
            "fields": fetched.fields,
            "freshness": fetched.freshness,
        })
    });
    json!({
        "answer": told.answer,
        "decision": {
            "outcome": decision.outcome.as_str(),
            "fwd": decision.fwd.map(Fwd::as_str),
            "detail": decision.detail,
            "ttl": decision.ttl,
        },
        "cache_status": told.cache_status,
        "key": readable(&told.key),
        "key_from": told.key_from,
        "rule": told.rule,
        "tiers": told.tiers,
        "stored": told.stored.as_ref().map(|seen| EntryShown::of(seen, now)),
        "freshness": told.freshness,
        "notes": told.notes,
        "fetched": fetched,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions() {
        for (case, query, right) in [
            ("a url", "url=http://a/b?c=1", true),
            ("encoded", "url=https%3A%2F%2Fa%2Fb%3Fc%3D1%26d&fetch", true),
            ("with headers", "url=http://a/&header=Cookie: a=1&header=Accept:%20*/*", true),
            ("another method", "url=http://a/&method=POST&fetch=false", true),
            ("no url", "method=GET", false),
            ("half a url", "url=/a", false),
            ("another scheme", "url=ftp://a/", false),
            ("twice", "url=http://a/&url=http://b/", false),
            ("no header", "url=http://a/&header=Cookie", false),
            ("Host", "url=http://a/&header=Host: b", false),
            ("a line end", "url=http://a/&header=A: b%0d%0aC: d", false),
            ("no flag", "url=http://a/&fetch=maybe", false),
            ("unknown", "url=http://a/&cookie=a", false),
        ] {
            assert_eq!(parse(Some(query)).is_ok(), right, "{case}");
        }
        let question = parse(Some("url=http://a/b?c%3D1%26d&header=X-A: 1&header=X-A: 2")).unwrap();
        assert_eq!(question.url.query(), Some("c=1&d"));
        assert_eq!(question.headers.get_all("x-a").iter().count(), 2);
    }
}
