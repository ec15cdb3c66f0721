//! `kill -9` of a process that purges: the test's own program, started again as a child.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use super::*;

const CHILD: &str = "LARDER_TEST_PURGE_CHILD";

fn open(path: &Path) -> PurgeLog {
    // Few records and bytes, so that the log is also rewritten while it is killed.
    PurgeLog::open(Some(path), MAX_RECORDS, MAX_BYTES).unwrap()
}

/// No test of its own: what the child does. It acknowledges on standard output what holds.
#[test]
fn child_that_purges_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let log = open(Path::new(&path));
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nstart {}", log.position()).unwrap();
    for n in 0u64.. {
        match n % 3 {
            0 => {
                let url = format!("http://h/purged/{n}");
                log.purge(&What::url(url.clone()), false).unwrap();
                writeln!(out, "\ndead {url}").unwrap();
            }
            1 => {
                let key = format!("http://h/superseded/{n}");
                let _kept = log.supersede(key.as_bytes());
                writeln!(out, "\ndead {key}").unwrap();
            }
            _ => {
                let ticket = log.supersede(format!("http://h/retired/{n}").as_bytes());
                log.retire(ticket);
            }
        }
        writeln!(out, "\nposition {}", log.position()).unwrap();
        if n % 50 == 49 {
            log.log.rewrite().unwrap();
        }
    }
}

#[test]
fn what_was_acknowledged_before_a_kill_holds_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("purge.log");
    let mut dead: Vec<(String, u64)> = Vec::new();
    let mut newest = 0;
    // Killed after so many lines: early, in the midst of a rewriting, late.
    for lines in [3, 40, 95, 99, 100, 101, 102, 103, 250, 333] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["cache::purge::kill::child_that_purges_until_it_is_killed", "--exact"])
            .arg("--nocapture")
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut start = 0;
        let mut take = |line: &str| match line.split_once(' ') {
            Some(("start", position)) => start = position.parse().unwrap(),
            Some(("dead", key)) => dead.push((key.to_owned(), start)),
            Some(("position", position)) => newest = position.parse().unwrap(),
            _ => {}
        };
        let known = ["start ", "dead ", "position "];
        let is_known = |line: &String| known.iter().any(|word| line.starts_with(word));
        said.by_ref().map_while(Result::ok).filter(is_known).take(lines).for_each(|l| take(&l));
        child.kill().unwrap();
        child.wait().unwrap();
        // What was still in the pipe was acknowledged, too; a last line may be cut off.
        let rest: Vec<String> = said.map_while(Result::ok).filter(is_known).collect();
        rest.iter().rev().skip(1).rev().for_each(|line| take(line));

        let log = open(&path);
        assert!(log.position() > newest, "after {lines} lines: positions only grow");
        for (key, start) in &dead {
            let verdict = log.says(key.as_bytes(), *start, 0);
            assert_eq!(verdict, Verdict::Purged, "{key} after {lines} lines");
        }
        assert_eq!(log.says(b"http://h/other", newest, 0), Verdict::Valid, "no damage");
    }
    assert!(dead.len() > 300, "{}", dead.len());
}
