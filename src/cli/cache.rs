//! `larder cache …`: the running Larder's cache.

use std::process::ExitCode;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::cli::args::{CacheAction, Purge};
use crate::cli::client::{Answer, Client, ClientError};
use crate::cli::{USAGE, complain, refused, say, warm};
use crate::config::Flags;

/// Asks the admin port and prints its answer; warms through the proxy itself.
pub fn cache(flags: &Flags, action: &CacheAction) -> ExitCode {
    if let CacheAction::Warm(wanted) = action {
        return warm::warm(flags, wanted);
    }
    let client = match Client::of_process(flags) {
        Ok(client) => client,
        Err(error) => return refused(&error),
    };
    let answer = match action {
        CacheAction::Stats => client.get("/api/stats"),
        CacheAction::Clear => client.post("/api/purge", &json!({ "all": true })),
        CacheAction::Purge(purge) => {
            let http = |url: &str| ["http://", "https://"].iter().any(|s| url.starts_with(s));
            if let Some(url) = purge.url.as_ref().filter(|url| !http(url) && !url.starts_with('/'))
            {
                complain(format_args!(
                    "\"{url}\" is neither a whole URL (http://example.org/news) nor a path (/news)"
                ));
                return ExitCode::from(USAGE);
            }
            client.post("/api/purge", &body(purge))
        }
        CacheAction::List { host, prefix, tag, limit, after } => {
            let named = [("host", host), ("prefix", prefix), ("tag", tag), ("after", after)];
            let named = named.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
            client.get(&query(&format!("/api/entries?limit={limit}"), named))
        }
        CacheAction::Show { url } => client.get(&query("/api/entries?", [("url", url)])),
        CacheAction::Explain { url, headers, method, fetch, json } => {
            let named = [("url", url), ("method", method)].into_iter();
            let named = named.chain(headers.iter().map(|field| ("header", field)));
            let path = query(&format!("/api/explain?fetch={fetch}"), named);
            let answer = client.get(&path);
            return report_as(&client, answer, if *json { readable } else { explained });
        }
        CacheAction::Purges { limit } => client.get(&format!("/api/purges?limit={limit}")),
        CacheAction::Warm(_) => return ExitCode::from(USAGE), // never: it has returned
    };
    report(&client, answer)
}

fn body(purge: &Purge) -> Value {
    let Purge { url, prefix, glob, tag, host, all, soft, dry_run } = purge;
    let mut body = json!({ "soft": soft, "dry_run": dry_run });
    let named = [("url", url), ("prefix", prefix), ("glob", glob), ("tag", tag), ("host", host)];
    for (kind, name) in named.into_iter().filter_map(|(kind, name)| Some((kind, name.as_ref()?))) {
        body[kind] = json!(name);
    }
    if *all {
        body["all"] = json!(true);
    }
    body
}

/// A path with further parameters, encoded.
fn query<'a>(path: &str, named: impl IntoIterator<Item = (&'a str, &'a String)>) -> String {
    let mut path = path.to_owned();
    for (name, value) in named {
        let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
        let between = if path.ends_with('?') { "" } else { "&" };
        path.extend([between, name, "=", &value.to_string()]);
    }
    path
}

fn report(client: &Client, answer: Result<Answer, ClientError>) -> ExitCode {
    report_as(client, answer, readable)
}

fn report_as(
    client: &Client,
    answer: Result<Answer, ClientError>,
    written: impl Fn(&str) -> String,
) -> ExitCode {
    match answer {
        // 202: taken in, but not everywhere yet.
        Ok(answer) if matches!(answer.status, 200 | 202) => {
            say(written(&answer.body));
            ExitCode::SUCCESS
        }
        Ok(answer) => {
            let hint = match answer.status {
                401 | 403 if !client.has_token() => "; is LARDER_ADMIN__TOKEN set?",
                _ => "",
            };
            complain(format_args!(
                "{} answered {}{hint}: {}",
                client.address(),
                answer.status,
                answer.reason()
            ));
            ExitCode::FAILURE
        }
        Err(error) => {
            complain(error);
            ExitCode::FAILURE
        }
    }
}

/// JSON with a line for each field; anything else as it is.
fn readable(body: &str) -> String {
    let value = serde_json::from_str::<serde_json::Value>(body);
    let pretty = value.ok().and_then(|value| serde_json::to_string_pretty(&value).ok());
    pretty.unwrap_or_else(|| body.trim_end().to_owned())
}

/// An explanation for people: the reason first.
fn explained(body: &str) -> String {
    let Ok(told) = serde_json::from_str::<Value>(body) else { return readable(body) };
    let mut text = vec![word(&told["answer"]), String::new()];
    let mut part = |title: &str, value: &Value| {
        let lines = match value {
            Value::Null => return,
            Value::Array(lines) => lines.iter().map(word).collect(),
            Value::Object(fields) => {
                fields.iter().map(|(name, value)| format!("{name}: {}", word(value))).collect()
            }
            one => vec![word(one)],
        };
        for (n, line) in lines.iter().enumerate() {
            text.push(format!("{:<13} {line}", if n == 0 { title } else { "" }));
        }
    };
    part("Cache-Status", &told["cache_status"]);
    part("key", &told["key"]);
    for (title, name) in [
        ("", "key_from"),
        ("rule", "rule"),
        ("tiers", "tiers"),
        ("stored", "stored"),
        ("freshness", "freshness"),
        ("notes", "notes"),
    ] {
        part(title, &told[name]);
    }
    let fetched = &told["fetched"];
    if fetched.is_object() {
        part("the app now", &fetched["answer"]);
        for name in ["status", "fields", "freshness"] {
            part("", &fetched[name]);
        }
    }
    text.join("\n")
}

/// A value as it is read: text without quotes.
fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}
