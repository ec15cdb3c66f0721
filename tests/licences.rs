//! Every dependency's licence allows what Larder does with it. Works offline: `cargo metadata`
//! reads what Cargo.lock pins. (Advisories need a database that is fetched; `deny.toml` is there
//! for `cargo deny check` where that can be had.)

use std::process::Command;

/// Licences that go with "Apache-2.0 OR MIT".
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether an SPDX expression can be met by allowed licences alone.
fn allowed(expression: &str) -> bool {
    // The old form `A/B` means OR. AND binds closer than OR; parentheses only group alternatives.
    let flat = expression.replace('/', " OR ").replace(['(', ')'], " ");
    let is = |licence: &str| ALLOWED.contains(&licence.trim());
    if expression.contains('(') && expression.contains(" AND ") {
        // `(A OR B) AND C`: every part must have an allowed alternative.
        return expression
            .split(" AND ")
            .all(|part| part.replace(['(', ')'], " ").split(" OR ").any(is));
    }
    flat.split(" OR ").any(|alternative| alternative.split(" AND ").all(is))
}

#[test]
fn licences_of_all_dependencies_are_allowed() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .args(["--filter-platform", &host(), "--manifest-path"])
        .arg(manifest)
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("valid JSON");
    let packages = metadata["packages"].as_array().expect("a list of packages");
    assert!(packages.len() > 100, "only {} packages were looked at", packages.len());
    let refused: Vec<String> = packages
        .iter()
        .filter(|package| !allowed(package["license"].as_str().unwrap_or("none")))
        .map(|package| {
            format!("{} {}: {}", package["name"], package["version"], package["license"])
        })
        .collect();
    assert!(refused.is_empty(), "not among the allowed licences:\n{}", refused.join("\n"));
}

#[test]
fn expressions_are_read_right() {
    for (expression, want) in [
        ("MIT", true),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
        ("(MIT OR Apache-2.0) AND GPL-3.0", false),
        ("none", false),
    ] {
        assert_eq!(allowed(expression), want, "{expression}");
    }
}

/// This machine's target: only its dependencies were fetched.
fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().expect("rustc runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("host: "));
    line.expect("rustc tells its host").to_owned()
}
