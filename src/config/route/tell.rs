//! Rules as people are told of them: by `larder check`, and what a reload changed.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use super::{Routes, Rule};
use crate::config::mistake::Place;

/// The rules as a file that would load.
pub fn render(routes: &Routes) -> String {
    let mut out = String::new();
    for rule in &routes.rules {
        let _ = writeln!(out, "\n[[route]]{}", comment(&rule.place));
        if !rule.written.iter().any(|key| key.key == "name") {
            let _ = writeln!(out, "name = \"{}\"  # by its number", rule.name);
        }
        for key in &rule.written {
            let _ = writeln!(out, "{} = {}{}", key.key, key.text, comment(&key.place));
        }
    }
    out
}

/// The rule that a request meets, of `all`, with its keys as they were written; or that it meets
/// none.
pub fn met(rule: Option<&Rule>, all: usize) -> String {
    let Some(rule) = rule else {
        return match all {
            0 => "none: there is no [[route]]".to_owned(),
            1 => "none: the one [[route]] is for other requests".to_owned(),
            _ => format!("none: all {all} [[route]] are for other requests"),
        };
    };
    let keys = rule.written.iter().filter(|key| key.key != "name");
    let keys: Vec<String> = keys.map(|key| format!("{} = {}", key.key, key.text)).collect();
    format!("\"{}\" ({}): {}", rule.name, rule.place, keys.join(", "))
}

fn comment(place: &Place) -> String {
    match place {
        Place::File(at) => format!("  # {}:{}", at.path.display(), at.line),
        place => format!("  # {place}"),
    }
}

/// What a reload did to the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RouteChange {
    /// A new one.
    Added(String),
    /// Gone.
    Removed(String),
    /// The same name, and other values of these keys.
    Changed(String, Vec<String>),
    /// The same rules in another order.
    Reordered,
}

impl fmt::Display for RouteChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(name) => write!(f, "route {name}: added"),
            Self::Removed(name) => write!(f, "route {name}: removed"),
            Self::Changed(name, keys) => write!(f, "route {name}: {} changed", keys.join(", ")),
            Self::Reordered => f.write_str("routes: reordered"),
        }
    }
}

/// From `old` to `new`.
pub fn changes(old: &Routes, new: &Routes) -> Vec<RouteChange> {
    let named = |routes: &Routes| -> HashMap<String, Arc<Rule>> {
        routes.rules.iter().map(|rule| (rule.name.clone(), rule.clone())).collect()
    };
    let (before, after) = (named(old), named(new));
    let mut changes = Vec::new();
    for rule in &old.rules {
        match after.get(&rule.name) {
            None => changes.push(RouteChange::Removed(rule.name.clone())),
            Some(now) => {
                let keys = differing(rule, now);
                if !keys.is_empty() {
                    changes.push(RouteChange::Changed(rule.name.clone(), keys));
                }
            }
        }
    }
    let added = new.rules.iter().filter(|rule| !before.contains_key(&rule.name));
    changes.extend(added.map(|rule| RouteChange::Added(rule.name.clone())));
    let order = |of: &Routes, among: &HashMap<String, Arc<Rule>>| -> Vec<String> {
        let common = of.rules.iter().filter(|rule| among.contains_key(&rule.name));
        common.map(|rule| rule.name.clone()).collect()
    };
    if order(old, &after) != order(new, &before) {
        changes.push(RouteChange::Reordered);
    }
    changes
}

/// The keys that differ.
fn differing(old: &Rule, new: &Rule) -> Vec<String> {
    let text = |rule: &Rule, name: &str| {
        rule.written.iter().find(|key| key.key == name).map(|key| key.text.clone())
    };
    let mut names: Vec<&String> =
        old.written.iter().chain(&new.written).map(|key| &key.key).collect();
    names.sort();
    names.dedup();
    let differs = |name: &&String| text(old, name) != text(new, name);
    names.into_iter().filter(differs).cloned().collect()
}
