//! The body of `POST /api/purge`: one of `url`, `prefix`, `glob`, `tag`, `host` and `all`, and
//! perhaps `soft` and `dry_run`.

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::admin::control::PurgeRequest;
use crate::admin::problem::Problem;
use crate::cache::purge::{Class, Listed, What};
use crate::semantics::key;

/// Reads the body. Nothing is guessed: what is not understood purges nothing.
pub fn parse(body: &[u8]) -> Result<PurgeRequest, Problem> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| bad(format!("the body is no JSON: {error}")))?;
    let Value::Object(fields) = value else {
        return Err(bad("the body must be a JSON object, such as {\"url\": \"http://host/path\"}"));
    };
    let class = |name: &str| Class::ALL.into_iter().find(|class| class.as_str() == name);
    if fields
        .keys()
        .any(|name| class(name).is_none() && !["all", "soft", "dry_run"].contains(&name.as_str()))
    {
        let known = "url, prefix, glob, tag, host, all, soft and dry_run";
        return Err(bad(format!("unknown field in the body: known are {known}")));
    }
    let (soft, dry_run) = (flag(&fields, "soft")?, flag(&fields, "dry_run")?);
    Ok(PurgeRequest { what: what(&fields)?, soft, dry_run })
}

fn what(fields: &Map<String, Value>) -> Result<What, Problem> {
    let mut named = Class::ALL
        .into_iter()
        .filter_map(|class| fields.get(class.as_str()).map(|value| (class, value)));
    match (named.next(), named.next(), fields.get("all")) {
        (Some((class, Value::String(name))), None, None) => checked(class, name),
        (Some((class, _)), None, None) => Err(bad(format!("{} must be a string", class.as_str()))),
        (None, None, Some(Value::Bool(true))) => Ok(What::Everything),
        (None, None, Some(_)) => Err(bad("all must be true where it is given")),
        _ => Err(bad("exactly one of url, prefix, glob, tag, host and all is needed")),
    }
}

fn flag(fields: &Map<String, Value>, name: &str) -> Result<bool, Problem> {
    match fields.get(name) {
        None => Ok(false),
        Some(Value::Bool(set)) => Ok(*set),
        Some(_) => Err(bad(format!("{name} must be true or false"))),
    }
}

/// A name that could be that of something stored: else the purge would be recorded and never match.
fn checked(class: Class, name: &str) -> Result<What, Problem> {
    let kind = class.as_str();
    if name.is_empty() {
        return Err(bad(format!("{kind} is empty; {{\"all\": true}} purges everything")));
    }
    let what = match class {
        Class::Tag => tag(name)?.into(),
        Class::Host => host(name)?.into(),
        Class::Url | Class::Prefix => {
            shape(kind, name)?;
            if class == Class::Url { key::url(name) } else { key::prefix(name) }
        }
        Class::Glob => {
            characters(kind, name)?;
            if !name.starts_with(['/', '*', '?', '[', '{']) && !begins_with_scheme(name) {
                return Err(bad("glob must begin with http, / (which means every host) or **"));
            }
            key::glob(name)
        }
    };
    let what = What::Named(class, what);
    what.check().map_err(|error| {
        let example = if class == Class::Glob {
            ": right would be http://host/img/*.png, or /news/** for every host"
        } else {
            ""
        };
        bad(format!("{kind}: {error}{example}"))
    })?;
    Ok(what)
}

fn begins_with_scheme(name: &str) -> bool {
    name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("http"))
}

/// A URL, or what one begins with.
pub fn shape(kind: &str, name: &str) -> Result<(), Problem> {
    let whole = ["http://", "https://"].iter().any(|scheme| {
        name.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    if !whole && !name.starts_with('/') {
        return Err(bad(format!(
            "{kind} must begin with http://, https:// or / (which means every host)"
        )));
    }
    characters(kind, name)?;
    if kind == Class::Url.as_str() && http::Uri::try_from(name).is_err() {
        return Err(bad(
            "no client can ask for this url: write `<`, `>`, `\"` and the like as %XX",
        ));
    }
    Ok(())
}

fn characters(kind: &str, name: &str) -> Result<(), Problem> {
    if name.contains('#') {
        return Err(bad(format!("{kind} must not have a fragment (#): it is never sent")));
    }
    if !name.bytes().all(|byte| byte.is_ascii_graphic() || byte >= 0x80) {
        return Err(bad(format!(
            "{kind} must not have blanks or control characters: write them as %XX"
        )));
    }
    Ok(())
}

fn tag(name: &str) -> Result<&str, Problem> {
    if name.trim() != name || name.contains(|c: char| c.is_control()) {
        return Err(bad("tag must be one tag as the app sends it, without blanks around it"));
    }
    Ok(name)
}

fn host(name: &str) -> Result<String, Problem> {
    let right = "right would be example.org (every port) or example.org:8080";
    if name.contains(['/', '*', '?', '#', '@']) || !name.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(bad(format!("host must be a host's name or address: {right}")));
    }
    if name.parse::<http::uri::Authority>().is_err() {
        return Err(bad(format!("host is none that a client can ask: {right}")));
    }
    if name.ends_with(":80") || name.ends_with(":443") {
        return Err(bad(format!(
            "a default port is no part of a key, so host must not have it: {right}"
        )));
    }
    Ok(name.to_ascii_lowercase())
}

/// What is, or would be, recorded: as the body of a purge has it.
pub fn shown(what: &What, soft: bool) -> Value {
    let mut shown = match what {
        What::Named(class, name) => json!({ class.as_str(): String::from_utf8_lossy(name) }),
        What::Group(name) => json!({ "group": String::from_utf8_lossy(name).replace('\0', " ") }),
        What::Everything => json!({ "all": true }),
    };
    if let Some(fields) = shown.as_object_mut() {
        fields.insert("soft".to_owned(), Value::Bool(soft));
    }
    shown
}

/// A line of `GET /api/purges`.
pub fn listed(one: &Listed) -> Value {
    let mut line = shown(&one.what, one.soft);
    if let Some(fields) = line.as_object_mut() {
        fields.insert("position".to_owned(), Value::String(one.position.to_string()));
    }
    line
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(class: Class, name: &str, soft: bool) -> PurgeRequest {
        let what = What::Named(class, name.as_bytes().to_vec());
        PurgeRequest { what, soft, dry_run: false }
    }

    #[test]
    fn bodies() {
        let everything = |dry_run| PurgeRequest { what: What::Everything, soft: false, dry_run };
        let named = |class, name, soft| Ok(request(class, name, soft));
        let url = |text, soft| named(Class::Url, text, soft);
        for (case, body, want) in [
            ("a url", r#"{"url": "http://a/b?c"}"#, url("http://a/b?c", false)),
            ("as keys have it", r#"{"url": "HTTP://A:80"}"#, url("http://a/", false)),
            ("every host", r#"{"url": "/b", "soft": true}"#, url("/b", true)),
            ("all", r#"{"all": true}"#, Ok(everything(false))),
            ("only to see", r#"{"all": true, "dry_run": true}"#, Ok(everything(true))),
            ("a prefix", r#"{"prefix": "http://A/B"}"#, named(Class::Prefix, "http://a/B", false)),
            ("half a host", r#"{"prefix": "http://A"}"#, named(Class::Prefix, "http://a", false)),
            ("a glob", r#"{"glob": "/a/*.PNG"}"#, named(Class::Glob, "/a/*.PNG", false)),
            ("any scheme", r#"{"glob": "http*://A/?"}"#, named(Class::Glob, "http*://a/?", false)),
            ("a tag", r#"{"tag": "News 1"}"#, named(Class::Tag, "News 1", false)),
            ("a host", r#"{"host": "A.org:81"}"#, named(Class::Host, "a.org:81", false)),
            ("an address", r#"{"host": "[::1]"}"#, named(Class::Host, "[::1]", false)),
            ("nothing", "", Err("no JSON")),
            ("no object", "[]", Err("object")),
            ("empty", "{}", Err("exactly one")),
            ("both", r#"{"url": "/", "all": true}"#, Err("exactly one")),
            ("two names", r#"{"url": "/", "tag": "a"}"#, Err("exactly one")),
            ("not all", r#"{"all": false}"#, Err("must be true")),
            ("no string", r#"{"url": 1}"#, Err("url must be a string")),
            ("softly", r#"{"all": true, "soft": 1}"#, Err("true or false")),
            ("misspelt", r#"{"al": true}"#, Err("unknown field")),
            ("a part of a url", r#"{"url": "a/b"}"#, Err("must begin")),
            ("a part of a prefix", r#"{"prefix": "a/b"}"#, Err("prefix must begin")),
            ("a fragment", r#"{"url": "/a#b"}"#, Err("fragment")),
            ("no target", r#"{"url": "/a?q=\"b\""}"#, Err("as %XX")),
            ("a line end", r#"{"url": "/a\nb"}"#, Err("control")),
            ("an empty prefix", r#"{"prefix": ""}"#, Err("{\"all\": true}")),
            ("an empty tag", r#"{"tag": ""}"#, Err("tag is empty")),
            ("an open class", r#"{"glob": "/[a"}"#, Err("right would be http://host/img/*.png")),
            ("an open choice", r#"{"glob": "/{a,b"}"#, Err("no glob")),
            ("a glob that matches nothing", r#"{"glob": "img/*"}"#, Err("glob must begin")),
            ("tags", r#"{"tag": " a"}"#, Err("one tag")),
            ("a url as a host", r#"{"host": "http://a/"}"#, Err("example.org (every port)")),
            ("hosts", r#"{"host": "*.a.org"}"#, Err("a host's name")),
            ("a default port", r#"{"host": "a.org:443"}"#, Err("default port")),
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
