//! The first of many rules that a request meets, without looking at each.
//!
//! Each kind of condition has an index from what a request has to the set of rules that this may
//! satisfy. The sets are cut, and the few rules that are left are asked in their order.

use std::collections::HashMap;

use http::{HeaderName, Method};

use super::matcher::{Facts, Matcher};
use super::pattern::{Host, Test, without_port};

const WORDS: usize = 16;

/// Rules at most.
pub const MAX_RULES: usize = WORDS * 64;

/// A set of rules by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Set([u64; WORDS]);

impl Set {
    fn insert(&mut self, rule: usize) {
        if let Some(word) = self.0.get_mut(rule / 64) {
            *word |= 1 << (rule % 64);
        }
    }

    fn unite(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own |= other);
    }

    fn cut(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(own, other)| *own &= other);
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(at, mut word)| {
            std::iter::from_fn(move || {
                let bit = word.trailing_zeros() as usize;
                word &= word.wrapping_sub(1);
                (bit < 64).then_some(at * 64 + bit)
            })
        })
    }
}

/// Sets by what a text begins with.
#[derive(Debug, Default)]
struct Beginnings {
    /// Sorted. Each with the rules of all that it begins with itself, and the longest of those.
    entries: Vec<(Box<[u8]>, Set, Option<usize>)>,
}

impl Beginnings {
    fn of(mut named: Vec<(Box<[u8]>, usize)>) -> Self {
        named.sort();
        let mut entries: Vec<(Box<[u8]>, Set, Option<usize>)> = Vec::new();
        for (text, rule) in named {
            if let Some((last, set, _)) = entries.last_mut()
                && *last == text
            {
                set.insert(rule);
                continue;
            }
            let mut parent = entries.len().checked_sub(1);
            while let Some((front, _, above)) = parent.and_then(|at| entries.get(at)) {
                if text.starts_with(front) {
                    break;
                }
                parent = *above;
            }
            let mut set = Set::default();
            set.insert(rule);
            entries.push((text, set, parent));
        }
        for at in 0..entries.len() {
            let above =
                entries.get(at).and_then(|entry| entries.get(entry.2?)).map(|above| above.1);
            if let (Some(above), Some(entry)) = (above, entries.get_mut(at)) {
                entry.1.unite(&above); // complete already: what is shorter sorts before
            }
        }
        Self { entries }
    }

    /// The set of the longest; `behind`: it sorts behind the text, `begins`: the text begins so.
    fn find(&self, behind: impl Fn(&[u8]) -> bool, begins: impl Fn(&[u8]) -> bool) -> Option<&Set> {
        // All that lies between a beginning of the text and the text begins with it, too.
        let mut at = self.entries.partition_point(|entry| !behind(&entry.0)).checked_sub(1);
        while let Some((front, set, above)) = at.and_then(|at| self.entries.get(at)) {
            if begins(front) {
                return Some(set);
            }
            at = *above;
        }
        None
    }
}

/// Rules in their order, compiled.
#[derive(Debug, Default)]
pub struct Index {
    rules: Box<[Matcher]>,
    all: Set,
    hosts: Option<Hosts>,
    paths: Option<Paths>,
    methods: Option<(Set, Vec<(Method, Set)>)>,
    headers: Option<Headers>,
}

#[derive(Debug, Default)]
struct Hosts {
    any: Set,
    exact: HashMap<Box<str>, Set>,
    below: HashMap<Box<str>, Set>,
}

#[derive(Debug, Default)]
struct Paths {
    any: Set,
    exact: HashMap<Box<str>, Set>,
    beginnings: Beginnings,
    /// Of texts read backwards. None: no rule asks for an end.
    ends: Option<Beginnings>,
    /// Those that ask for no end, or for a path as a whole.
    any_end: Set,
}

#[derive(Debug, Default)]
struct Headers {
    /// Those that ask for none that is there.
    any: Set,
    /// By the first that a rule asks for.
    named: HashMap<HeaderName, Named>,
    /// Bit n: a name of n bytes (modulo 64) is among them.
    lengths: u64,
}

#[derive(Debug, Default)]
struct Named {
    any: Set,
    valued: HashMap<Box<[u8]>, Set>,
}

impl Index {
    /// Of the first [`MAX_RULES`] of `rules`.
    pub fn new(mut rules: Vec<Matcher>) -> Self {
        rules.truncate(MAX_RULES);
        let mut all = Set::default();
        (0..rules.len()).for_each(|rule| all.insert(rule));
        let asked = |asks: fn(&Matcher) -> bool| rules.iter().any(asks);
        Self {
            hosts: asked(|rule| !rule.hosts.is_empty()).then(|| Hosts::of(&rules)),
            paths: asked(|rule| !rule.paths.is_empty()).then(|| Paths::of(&rules)),
            methods: asked(|rule| !rule.methods.is_empty()).then(|| methods(&rules)),
            headers: asked(|rule| !rule.headers.is_empty()).then(|| Headers::of(&rules)),
            all,
            rules: rules.into(),
        }
    }

    /// The number of the first that the request meets.
    pub fn find(&self, facts: &Facts<'_>) -> Option<usize> {
        let mut left = self.all;
        if let Some(hosts) = &self.hosts {
            left.cut(&hosts.find(facts.authority));
        }
        if let Some(paths) = &self.paths {
            left.cut(&paths.find(facts.path));
        }
        if let Some((any, methods)) = &self.methods {
            let own = methods.iter().find(|(method, _)| method == facts.method);
            left.cut(own.map_or(any, |(_, set)| set));
        }
        if let Some(headers) = &self.headers {
            left.cut(&headers.find(facts));
        }
        left.iter().find(|at| self.rules.get(*at).is_some_and(|rule| rule.matches(facts)))
    }
}

impl Hosts {
    fn of(rules: &[Matcher]) -> Self {
        let mut hosts = Self::default();
        for (at, rule) in rules.iter().enumerate() {
            if rule.hosts.is_empty() {
                hosts.any.insert(at);
            }
            for host in &rule.hosts {
                let (map, name) = match host {
                    Host::Exact(name) => (&mut hosts.exact, name),
                    Host::Below(name) => (&mut hosts.below, name),
                };
                map.entry(name.clone()).or_default().insert(at);
            }
        }
        hosts
    }

    fn find(&self, authority: &str) -> Set {
        let mut found = self.any;
        let host = without_port(authority);
        for name in [Some(authority), (host != authority).then_some(host)].into_iter().flatten() {
            if let Some(set) = self.exact.get(name) {
                found.unite(set);
            }
            let mut rest = name;
            while !self.below.is_empty()
                && let Some((_, behind)) = rest.split_once('.')
            {
                if let Some(set) = self.below.get(behind) {
                    found.unite(set);
                }
                rest = behind;
            }
        }
        found
    }
}

impl Paths {
    fn of(rules: &[Matcher]) -> Self {
        let mut paths = Self::default();
        let (mut beginnings, mut ends) = (Vec::new(), Vec::new());
        for (at, rule) in rules.iter().enumerate() {
            if rule.paths.is_empty() {
                paths.any.insert(at);
                paths.any_end.insert(at);
            }
            for path in &rule.paths {
                if path.is_exact() {
                    paths.exact.entry(path.prefix().into()).or_default().insert(at);
                    paths.any_end.insert(at);
                    continue;
                }
                beginnings.push((path.prefix().as_bytes().into(), at));
                if path.suffix().is_empty() {
                    paths.any_end.insert(at);
                } else {
                    ends.push((path.suffix().bytes().rev().collect(), at));
                }
            }
        }
        paths.beginnings = Beginnings::of(beginnings);
        paths.ends = (!ends.is_empty()).then(|| Beginnings::of(ends));
        paths
    }

    fn find(&self, path: &str) -> Set {
        let bytes = path.as_bytes();
        let mut found = self.any;
        if let Some(set) = self.exact.get(path) {
            found.unite(set);
        }
        let begins = |front: &[u8]| bytes.starts_with(front);
        if let Some(set) = self.beginnings.find(|front| front > bytes, begins) {
            found.unite(set);
        }
        if let Some(ends) = &self.ends {
            let mut ending = self.any_end;
            let backwards = || bytes.iter().rev();
            let ends_so =
                |end: &[u8]| end.len() <= bytes.len() && backwards().zip(end).all(|(a, b)| a == b);
            if let Some(set) = ends.find(|end| end.iter().gt(backwards()), ends_so) {
                ending.unite(set);
            }
            found.cut(&ending);
        }
        found
    }
}

/// The rules for any method, and those for each that is named, with those for any.
fn methods(rules: &[Matcher]) -> (Set, Vec<(Method, Set)>) {
    let mut any = Set::default();
    let mut named: Vec<(Method, Set)> = Vec::new();
    for (at, rule) in rules.iter().enumerate() {
        if rule.methods.is_empty() {
            any.insert(at);
        }
        for method in &rule.methods {
            if let Some((_, set)) = named.iter_mut().find(|(own, _)| own == method) {
                set.insert(at);
            } else {
                let mut set = Set::default();
                set.insert(at);
                named.push((method.clone(), set));
            }
        }
    }
    for (_, set) in &mut named {
        set.unite(&any);
    }
    (any, named)
}

impl Headers {
    fn of(rules: &[Matcher]) -> Self {
        let mut headers = Self::default();
        for (at, rule) in rules.iter().enumerate() {
            let first = rule.headers.iter().find(|condition| condition.test != Test::Absent);
            let Some(condition) = first else {
                headers.any.insert(at);
                continue;
            };
            headers.lengths |= bit(&condition.name);
            let named = headers.named.entry(condition.name.clone()).or_default();
            match &condition.test {
                Test::Like(glob) if glob.is_exact() => {
                    named.valued.entry(glob.prefix().as_bytes().into()).or_default().insert(at);
                }
                _ => named.any.insert(at),
            }
        }
        headers
    }

    fn find(&self, facts: &Facts<'_>) -> Set {
        let mut found = self.any;
        for (name, value) in facts.headers {
            if self.lengths & bit(name) == 0 {
                continue;
            }
            if let Some(named) = self.named.get(name) {
                found.unite(&named.any);
                if let Some(set) = named.valued.get(value.as_bytes().trim_ascii()) {
                    found.unite(set);
                }
            }
        }
        found
    }
}

fn bit(name: &HeaderName) -> u64 {
    1 << (name.as_str().len() & 63)
}

#[cfg(test)]
mod tests;
