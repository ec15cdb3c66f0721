//! The command line.

use std::fs;
use std::process::Output;

use crate::support::larder::larder;
use crate::support::process::Signal;
use crate::support::{Larder, Origin, SOON, Setup, eventually};

fn stderr(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

fn stdout(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn check(text: &str) -> Output {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("config.toml");
    fs::write(&file, text).expect("written");
    larder(&["check", "--config", &file.display().to_string()])
}

#[test]
fn check_takes_what_is_right() {
    let out =
        check("upstream = \"http://127.0.0.1:3000\"\n[cache]\nmemory = \"32MiB\"\ndisk = 0\n");
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    assert!(stdout(&out).contains("127.0.0.1:3000"), "the effective configuration: {out:?}");
}

#[test]
fn check_takes_the_reference_as_it_stands() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/config.toml");
    let out = larder(&["check", "--config", file]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
}

#[test]
fn check_refuses_what_is_wrong_with_line_and_remedy() {
    for (case, text, line, hints) in [
        ("unknown key", "[cache]\nmemroy = \"1MiB\"\n", 2, &["memroy", "memory"][..]),
        ("unknown table", "\n[cahce]\n", 2, &["cahce", "cache"]),
        ("bad size", "[cache]\nmemory = \"lots\"\n", 2, &["lots", "MiB"]),
        ("bad duration", "drain_timeout = \"soon\"\n", 1, &["soon", "30s"]),
        ("bad URL", "upstream = \"ftp://x\"\n", 1, &["ftp", "http://"]),
        ("URL with a path", "upstream = \"http://x/y\"\n", 1, &["http"]),
        ("bad address", "listen = \"8080\"\n", 1, &["8080"]),
        ("bad network", "trusted_proxies = [\"10.0.0.0/33\"]\n", 1, &["10.0.0.0/33"]),
        ("bad choice", "[cache]\nclient_directives = \"no\"\n", 2, &["honour", "limit", "ignore"]),
        ("bad level", "[compression]\nlevel = 12\n", 2, &["12", "9"]),
        (
            "block size over an eighth of the disk",
            "[cache]\ndisk = \"64MiB\"\nblock_size = \"16MiB\"\n",
            3,
            &["`cache.block_size` is 16MiB", "at most an eighth of `cache.disk`, 8MiB"],
        ),
        (
            "block size out of bounds",
            "[cache]\nblock_size = \"64KiB\"\n",
            2,
            &["`cache.block_size` is 64KiB", "from 1MiB to 1GiB"],
        ),
        (
            "block size of half pages",
            "[cache]\nblock_size = 1050624\n",
            2,
            &["`cache.block_size` is 1026KiB", "a multiple of 4KiB"],
        ),
        ("no TOML", "listen = \n", 1, &[]),
    ] {
        let out = check(text);
        let said = stderr(&out);
        assert_eq!(out.status.code(), Some(2), "{case}: {out:?}");
        assert!(said.contains(&format!("config.toml:{line}")), "{case}: {said}");
        for hint in hints {
            assert!(said.contains(hint), "{case}: {hint} in {said}");
        }
    }
}

#[test]
fn check_reports_all_mistakes_at_once() {
    let out = check("drain_timeout = \"soon\"\n[cache]\nmemroy = 1\nmax_object = \"x\"\n");
    let said = stderr(&out);
    for line in [1, 3, 4] {
        assert!(said.contains(&format!("config.toml:{line}")), "{line}: {said}");
    }
}

#[test]
fn check_explains_which_rule_a_request_meets() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("config.toml");
    let rules = r#"upstream = "http://127.0.0.1:3000"
[[route]]
name = "admin"
path = "/admin/*"
cache = "off"
[[route]]
name = "beta"
path = "/shop/*"
header = ["X-Beta: 1"]
ttl = "1m"
[[route]]
name = "shop"
path = "/shop/*"
rewrite = "/store/{rest}"
drop_tracking = true
max_object = "1MiB"
"#;
    std::fs::write(&file, rules).expect("written");
    let file = file.display().to_string();
    let explain =
        |more: &[&str]| larder(&[&["check", "--config", &file, "--explain"], more].concat());
    for (case, args, first, more) in [
        ("none", &["http://a.org/x"][..], "none: all 3 [[route]]", ""),
        ("by its path", &["http://a.org/%61dmin/x"], "\"admin\" (", "cache = \"off\""),
        ("by a header", &["http://a.org/shop/x", "-H", "X-Beta: 1"], "\"beta\" (", "ttl = \"1m\""),
        (
            "the next",
            &["http://a.org/shop/x?utm_source=y&a=1"],
            "\"shop\" (",
            "keyed as /shop/x?a=1\nthe app is asked for /store/x?a=1\ncache.max_object = \"1MiB\", for others",
        ),
    ] {
        let out = explain(args);
        assert!(out.status.success(), "{case}: {}", stderr(&out));
        assert!(stdout(&out).starts_with(first), "{case}: {}", stdout(&out));
        assert!(stdout(&out).contains(more), "{case}: {}", stdout(&out));
    }
    for (case, args) in [
        ("a path", &["/x"][..]),
        ("no URL", &["a.org"]),
        ("a user", &["http://me@a.org/"]),
        ("no header", &["http://a.org/", "-H", "x"]),
        ("no method", &["http://a.org/", "-X", "G T"]),
    ] {
        assert_eq!(explain(args).status.code(), Some(2), "{case}");
    }
}

#[test]
fn a_missing_file_is_code_2() {
    let out = larder(&["check", "--config", "/nonexistent/config.toml"]);
    assert_eq!(out.status.code(), Some(2), "{out:?}");
    assert!(stderr(&out).contains("/nonexistent/config.toml"));
}

#[test]
fn wrong_usage_is_code_2() {
    for args in [&["frobnicate"][..], &["run", "--nonsense"], &["cache"], &["run", "--listen", "x"]]
    {
        let out = larder(args);
        assert_eq!(out.status.code(), Some(2), "{args:?}: {out:?}");
        assert!(!out.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn help_and_version_are_code_0() {
    for args in [&["--help"][..], &["run", "--help"], &["cache", "--help"], &["--version"]] {
        let out = larder(args);
        assert_eq!(out.status.code(), Some(0), "{args:?}: {out:?}");
        assert!(!out.stdout.is_empty(), "{args:?}");
    }
}

#[test]
fn a_refused_config_ends_run_with_code_2() {
    let setup = Setup::new("http://127.0.0.1:1").config("[cache]\nmemroy = 1\n");
    let out = setup.command().output().expect("it ends");
    assert_eq!(out.status.code(), Some(2), "{out:?}");
    assert!(stderr(&out).contains("config.toml:2"), "{}", stderr(&out));
}

#[test]
fn the_environment_is_read_and_its_mistakes_named() {
    let bad = Setup::new("http://127.0.0.1:1").env("LARDER_CACHE__MEMORY", "lots");
    let out = bad.command().output().expect("it ends");
    assert_eq!(out.status.code(), Some(2), "{out:?}");
    assert!(stderr(&out).contains("LARDER_CACHE__MEMORY"), "{}", stderr(&out));
    // What Kubernetes sets for a Service named larder is a warning at most.
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Setup::new(&origin.url())
        .without_disk()
        .env("LARDER_PORT", "tcp://10.0.0.1:80")
        .env("LARDER_SERVICE_HOST", "10.0.0.1")
        .env("LARDER_DEBUG_HEADERS", "true")
        .start();
    assert!(larder.get("/").expect(200).cache_status().contains("key="));
}

#[test]
fn flags_win_over_environment_over_file() {
    let origin = Origin::serving(&["cache-control: no-store"], "right");
    let config = "upstream = \"http://127.0.0.1:1\"\n";
    let setup =
        Setup::new(&origin.url()).config(config).env("LARDER_UPSTREAM", "http://127.0.0.1:2");
    assert_eq!(setup.without_disk().start().get("/").expect(200).body, b"right");
    let by_env = Setup::new("").config(config).env("LARDER_UPSTREAM", &origin.url());
    assert_eq!(by_env.without_disk().start().get("/").expect(200).body, b"right");
}

#[test]
fn health_says_whether_it_is_well() {
    let origin = Origin::serving(&[], "x");
    let running = Larder::in_front_of(&origin);
    let admin = running.admin.to_string();
    let out = larder(&["health", "--admin", &admin]);
    assert_eq!(out.status.code(), Some(0), "{out:?}");
    drop(running);
    let out = larder(&["health", "--admin", &admin]);
    assert_eq!(out.status.code(), Some(1), "{out:?}");
}

#[test]
fn demo_once_shows_a_miss_and_a_hit() {
    let out = larder(&["demo", "--once"]);
    let said = stdout(&out);
    assert_eq!(out.status.code(), Some(0), "{said}{}", stderr(&out));
    assert!(said.contains("MISS") && said.contains("HIT"), "{said}");
    assert!(said.contains("gzip") && said.contains("ms"), "{said}");
    assert!(said.contains("larder; hit"), "its Cache-Status: {said}");
}

#[test]
fn run_without_a_command_is_run() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = std::process::Command::new(crate::support::larder::binary());
    command.args(["--upstream", &origin.url(), "--listen=127.0.0.1:0", "--admin=127.0.0.1:0"]);
    command.env("LARDER_CACHE__DISK", "0").current_dir(dir.path());
    let mut process = crate::support::process::Process::start(&mut command, dir.path(), "larder");
    eventually("the listening line", SOON, || {
        process.stderr().contains("listening proxy=127.0.0.1:")
    });
    process.signal(Signal::TERM);
    assert_eq!(process.wait(SOON).and_then(|s| s.code()), Some(0));
}
