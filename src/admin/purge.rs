//! The body of `POST /api/purge`: exactly one of `url` and `all`, and perhaps `soft`.

use http::StatusCode;
use serde_json::{Map, Value};

use crate::admin::control::{PurgeRequest, PurgeWhat};
use crate::admin::problem::Problem;

/// Kinds of purges that have their names already and their effect later.
const LATER: [&str; 4] = ["prefix", "glob", "tag", "host"];

/// Reads the body. Nothing is guessed: what is not understood purges nothing.
pub fn parse(body: &[u8]) -> Result<PurgeRequest, Problem> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| bad(format!("the body is no JSON: {error}")))?;
    let Value::Object(fields) = value else {
        return Err(bad("the body must be a JSON object, such as {\"url\": \"http://host/path\"}"));
    };
    for name in fields.keys() {
        if LATER.contains(&name.as_str()) {
            let name = LATER.iter().find(|kind| *kind == name).unwrap_or(&"this");
            return Err(bad(format!("purging by {name} is not in this version: use url or all")));
        }
        if !["url", "all", "soft"].contains(&name.as_str()) {
            return Err(bad("unknown field in the body: known are url, all and soft"));
        }
    }
    Ok(PurgeRequest { what: what(&fields)?, soft: soft(&fields)? })
}

fn what(fields: &Map<String, Value>) -> Result<PurgeWhat, Problem> {
    match (fields.get("url"), fields.get("all")) {
        (Some(Value::String(url)), None) => checked(url).map(PurgeWhat::Url),
        (Some(_), None) => Err(bad("url must be a string")),
        (None, Some(Value::Bool(true))) => Ok(PurgeWhat::All),
        (None, Some(_)) => Err(bad("all must be true where it is given")),
        _ => Err(bad("exactly one of url and all is needed")),
    }
}

fn soft(fields: &Map<String, Value>) -> Result<bool, Problem> {
    match fields.get("soft") {
        None => Ok(false),
        Some(Value::Bool(soft)) => Ok(*soft),
        Some(_) => Err(bad("soft must be true or false")),
    }
}

/// A URL that could be a key's: else the purge would be recorded and never match.
fn checked(url: &str) -> Result<String, Problem> {
    let whole = ["http://", "https://"].iter().any(|scheme| {
        url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    if !whole && !url.starts_with('/') {
        return Err(bad("url must begin with http://, https:// or / (which means every host)"));
    }
    if url.contains('#') {
        return Err(bad("url must not have a fragment (#): it is never sent"));
    }
    if !url.bytes().all(|byte| byte.is_ascii_graphic() || byte >= 0x80) {
        return Err(bad("url must not have blanks or control characters: write them as %XX"));
    }
    if http::Uri::try_from(url).is_err() {
        return Err(bad(
            "no client can ask for this url: write `<`, `>`, `\"` and the like as %XX",
        ));
    }
    Ok(url.into())
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies() {
        let url = |text: &str, soft| Ok(PurgeRequest { what: PurgeWhat::Url(text.into()), soft });
        for (case, body, want) in [
            ("a url", r#"{"url": "http://a/b?c"}"#, url("http://a/b?c", false)),
            ("every host", r#"{"url": "/b", "soft": true}"#, url("/b", true)),
            ("all", r#"{"all": true}"#, Ok(PurgeRequest { what: PurgeWhat::All, soft: false })),
            ("nothing", "", Err("no JSON")),
            ("no object", "[]", Err("object")),
            ("empty", "{}", Err("exactly one")),
            ("both", r#"{"url": "/", "all": true}"#, Err("exactly one")),
            ("not all", r#"{"all": false}"#, Err("must be true")),
            ("no string", r#"{"url": 1}"#, Err("must be a string")),
            ("softly", r#"{"all": true, "soft": 1}"#, Err("true or false")),
            ("misspelt", r#"{"al": true}"#, Err("unknown field")),
            ("later", r#"{"tag": "a"}"#, Err("by tag is not in this version")),
            ("a part of a url", r#"{"url": "a/b"}"#, Err("must begin")),
            ("a fragment", r#"{"url": "/a#b"}"#, Err("fragment")),
            ("no target", r#"{"url": "/a?q=\"b\""}"#, Err("as %XX")),
            ("a line end", r#"{"url": "/a\nb"}"#, Err("control")),
        ] {
            match (parse(body.as_bytes()), want) {
                (Ok(got), Ok(want)) => assert_eq!(got, want, "{case}"),
                (Err(problem), Err(part)) => {
                    assert!(problem.detail.contains(part), "{case}: {}", problem.detail);
                    assert_eq!(problem.status, StatusCode::BAD_REQUEST, "{case}");
                }
                (got, _) => panic!("{case}: {got:?}"),
            }
        }
    }
}
