//! What the rule that a request meets does to it.

use super::terms::Explanation;
use crate::config::route::Answer as OwnAnswer;
use crate::proxy::ask::Ask;
use crate::proxy::error::ProxyError;
use crate::proxy::respond::Answer;
use crate::semantics::key;

/// How the key came about: its path and query, and what the rule adds to them.
pub(super) fn keyed(ask: &Ask, sent: &str, told: &mut Explanation) {
    let rule = ask.view.rule.as_deref();
    let keyed = String::from_utf8_lossy(key::target(&told.key)).into_owned();
    told.key_from.push(if keyed == sent {
        format!("path and query {sent}: as sent, so that each other query is another key")
    } else {
        format!("path and query {keyed}: what the rule leaves of {sent}")
    });
    let Some(rule) = rule else { return };
    if rule.marks_key {
        told.key_from.push(format!("the rule {}: the URL does not tell that it is met", rule.name));
    }
    for name in &rule.key_headers {
        told.key_from.push(format!("the header field {name}: key_headers of the rule"));
    }
    for (name, value) in rule.cookies.keyed(&ask.head.headers) {
        let value = value.map_or("not sent".to_owned(), |value| format!("\"{value}\""));
        told.key_from.push(format!("the cookie {name}, {value}: vary_cookies of the rule"));
    }
    let target = ask.head.uri.path_and_query().map_or("/", |target| target.as_str());
    if target != keyed {
        told.notes.push(format!("the app is asked for {target}, as the rule rewrites it"));
    }
}

/// What is said of the answer that the rule gives itself.
pub(super) fn answered(ask: &Ask, own: Result<Answer, ProxyError>, told: &mut Explanation) {
    let name = ask.view.rule.as_ref().map_or("", |rule| rule.name.as_str());
    let answer = match own {
        Ok(answer) => answer,
        Err(error) => {
            told.answer = format!("refused with {}: {error}", error.status().as_u16());
            return;
        }
    };
    let status = answer.response.status().as_u16();
    let location = answer.response.headers().get(http::header::LOCATION);
    let location = location.and_then(|to| to.to_str().ok());
    told.decision = answer.decision;
    told.answer = match (ask.view.rule.as_ref().and_then(|rule| rule.answer.as_ref()), location) {
        (Some(OwnAnswer::Redirect(..)), Some(to)) => {
            format!("redirected with {status} to {to} by the rule {name}; the app is not asked")
        }
        _ => format!("answered with {status} by the rule {name}; the app is not asked"),
    };
}
