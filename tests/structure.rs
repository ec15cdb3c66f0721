//! Keeps the house in order: which room may import which, what the pure room may not touch, how
//! long a file may be. Reads the sources as text; needs nothing built.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test that fails says so by panicking, and documents itself by its name"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Each room with what it may import beside itself (DESIGN: one direction, no way back).
const ROOMS: [(&str, &[&str]); 11] = [
    ("semantics", &[]),
    ("clock", &["semantics"]),
    ("sys", &[]),
    ("config", &["semantics", "clock", "sys"]),
    ("observe", &["semantics", "config", "clock", "sys"]),
    ("cache", &["semantics", "config", "observe", "clock", "sys"]),
    ("upstream", &["semantics", "config", "observe", "clock", "sys", "cache"]),
    ("proxy", &["semantics", "config", "observe", "clock", "sys", "cache", "upstream"]),
    ("server", &["semantics", "config", "observe", "clock", "sys", "cache", "upstream", "proxy"]),
    (
        "admin",
        &["semantics", "config", "observe", "clock", "sys", "cache", "upstream", "proxy", "server"],
    ),
    (
        "cli",
        &[
            "semantics",
            "config",
            "observe",
            "clock",
            "sys",
            "cache",
            "upstream",
            "proxy",
            "server",
            "admin",
        ],
    ),
];

/// The one part of `observe` that every room but the pure one may write to.
const METRICS: &str = "crate::observe::metrics";

/// What the pure room has no business with.
const IMPURE: [&str; 8] = [
    "tokio::",
    "std::fs",
    "std::net::Tcp",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::thread",
    "async fn",
    "static mut",
];

/// Lines of a file before its tests.
const LONGEST: usize = 420;

/// A longer file must give its reason in a comment that begins so.
const EXCUSE: &str = "// Longer than 400 lines: ";

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every `.rs` file below `dir`, with its path relative to it.
fn files(dir: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("readable");
                found.push((path.strip_prefix(dir).expect("below it").to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// The room a file belongs to; `None` for lib.rs and main.rs, which see everything.
fn room(path: &Path) -> Option<&'static str> {
    let first = path.components().next()?.as_os_str().to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    ROOMS.iter().map(|(room, _)| *room).find(|room| *room == name)
}

/// A file of tests alone: `tests.rs`, or below a directory `tests`.
fn is_tests(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "tests.rs")
}

/// The code without comments and without the tests at its end.
fn code(text: &str) -> String {
    let code = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    let code = code.map(|line| line.split("//").next().unwrap_or_default());
    code.collect::<Vec<_>>().join("\n")
}

/// The rooms that code names by `crate::room` or in `crate::{room, …}`.
fn imports(code: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            names.extend(group_heads(group));
        } else {
            names.push(head(rest));
        }
    }
    names
}

fn head(path: &str) -> String {
    path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The first names of `a::b, c::{d, e}, f}…`.
fn group_heads(group: &str) -> Vec<String> {
    let (mut depth, mut heads, mut at_start) = (0_usize, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => at_start = true,
            c if at_start && !c.is_whitespace() => {
                heads.push(head(&group[at..]));
                at_start = false;
            }
            _ => {}
        }
    }
    heads
}

/// Everything that is against the rules in the sources below `dir`.
fn violations(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files(dir) {
        let Some(room) = room(&path).filter(|_| !is_tests(&path)) else { continue };
        let allowed = ROOMS.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, a)| *a);
        let (code, shown) = (code(&text), path.display());
        let metrics = if room == "semantics" { "crate::" } else { METRICS };
        for import in imports(&code.replace(metrics, "crate::")) {
            let known = ROOMS.iter().any(|(name, _)| *name == import);
            if known && import != room && !allowed.contains(&import.as_str()) {
                found.push(format!("{shown}: {room} must not import {import}"));
            }
        }
        if room == "semantics" {
            let impure = IMPURE.iter().filter(|word| code.contains(**word));
            found.extend(impure.map(|word| format!("{shown}: {word} in the pure room")));
        }
        if room != "sys" && (code.contains("unsafe {") || code.contains("unsafe fn")) {
            found.push(format!("{shown}: unsafe outside of sys.rs"));
        }
    }
    found
}

#[test]
fn rooms_import_in_one_direction_only() {
    let found = violations(&sources());
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn every_file_has_a_home() {
    for (path, _) in files(&sources()) {
        let top = path == Path::new("lib.rs") || path == Path::new("main.rs");
        assert!(top || room(&path).is_some(), "{} belongs to no room", path.display());
    }
}

#[test]
fn no_file_is_too_long_without_a_reason() {
    for (path, text) in files(&sources()) {
        if path.file_name().is_some_and(|name| name == "tests.rs") {
            continue;
        }
        let lines = text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count();
        let excused = text.contains(EXCUSE) || is_tests(&path);
        assert!(lines <= LONGEST || excused, "{}: {lines} lines before its tests", path.display());
    }
}

#[test]
fn a_planted_violation_is_found() {
    for (file, line, what) in [
        ("cache/planted.rs", "use crate::proxy::service::Service;", "cache must not import proxy"),
        ("semantics/planted.rs", "use crate::config::snapshot::Snapshot;", "import config"),
        ("semantics/planted.rs", "pub fn f() { std::thread::yield_now() }", "in the pure room"),
        ("proxy/planted.rs", "use crate::{cache::Entry, server::start};", "import server"),
        ("config/planted.rs", "fn f() -> crate::observe::Metrics { todo!() }", "import observe"),
        (
            "observe/planted.rs",
            "use crate::{\n    config,\n    cache::{Entry},\n};",
            "import cache",
        ),
        ("cache/planted.rs", "fn f() { unsafe { g() } }", "unsafe outside"),
    ] {
        let copy = tempfile::tempdir().expect("a directory");
        for (path, text) in files(&sources()) {
            let to = copy.path().join(path);
            fs::create_dir_all(to.parent().expect("a parent")).expect("a directory");
            fs::write(to, text).expect("written");
        }
        let before = violations(copy.path()).len();
        fs::write(copy.path().join(file), format!("{line}\n")).expect("written");
        let found = violations(copy.path());
        assert_eq!(found.len(), before + 1, "{line}: {found:?}");
        assert!(
            found.iter().any(|v| v.contains("planted") && v.contains(what)),
            "{line}: {found:?}"
        );
    }
}

#[test]
fn comments_and_tests_are_no_imports() {
    let text = "// use crate::cli;\n/// [`crate::proxy`]\nfn f() {}\n#[cfg(test)]\nmod tests { use crate::cli; }";
    assert!(imports(&code(text)).is_empty());
}
