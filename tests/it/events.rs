//! Events on standard error, whoever reads them or not.

use std::io::{BufRead, BufReader, PipeReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::metrics::Metrics;
use crate::support::{Ask, Client, Larder, Origin, SOON, Setup, eventually};

/// A Larder whose standard error is a pipe that only the test reads, up to its last line so far.
struct Piped {
    child: Child,
    stderr: BufReader<PipeReader>,
    proxy: SocketAddr,
    admin: SocketAddr,
}

impl Piped {
    fn start(setup: &Setup) -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let child = {
            let mut command: Command = setup.command();
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writer);
            command.spawn().expect("larder starts") // the command, and its end of the pipe, go
        };
        let mut stderr = BufReader::new(reader);
        let mut line = String::new();
        while !line.contains("listening proxy=") {
            line.clear();
            assert!(stderr.read_line(&mut line).expect("its events") > 0, "it ended early");
        }
        let address = |key: &str| {
            let word = line.split_whitespace().find_map(|word| word.strip_prefix(key));
            word.expect("an address").parse().expect("an address")
        };
        let (proxy, admin) = (address("proxy="), address("admin="));
        Self { child, stderr, proxy, admin }
    }

    fn metrics(&self) -> Metrics {
        let ask = Ask::get("/metrics").with("Host", "localhost");
        Metrics::parse(&Client::connect(self.admin).ask(&ask).expect(200).text())
    }

    /// SIGTERM, and the time to its end.
    fn stop(&mut self) -> (std::process::ExitStatus, Duration) {
        let start = Instant::now();
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("a signal");
        let mut status = None;
        eventually("its end", SOON, || {
            status = self.child.try_wait().expect("its status");
            status.is_some()
        });
        (status.expect("a status"), start.elapsed())
    }
}

impl Drop for Piped {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_standard_error_that_nobody_reads_stalls_nothing() {
    let origin = Origin::new(|seen, reply| match seen.path() {
        "/hit" => reply.ok(&["cache-control: max-age=600"], "stored"),
        _ => reply.reset(), // each one an event at level debug
    });
    let setup =
        Setup::new(&origin.url()).without_disk().workers(1).env("LARDER_LOG__LEVEL", "debug");
    let mut larder = Piped::start(&setup);
    let mut client = Client::connect(larder.proxy);
    client.ask(&Ask::get("/hit")).expect(200);
    let mut longest = Duration::ZERO;
    let mut dropped = 0;
    for n in 0..100_000 {
        let start = Instant::now();
        client.ask(&Ask::get(&format!("/{n}"))).expect(502);
        let hit = client.ask(&Ask::get("/hit")).expect(200);
        assert!(hit.was_hit(), "{hit:?}");
        longest = longest.max(start.elapsed());
        if n % 500 == 0 {
            dropped = larder.metrics().count("larder_events_dropped_total", &[]);
            if dropped > 1000 {
                break;
            }
        }
    }
    assert!(dropped > 1000, "the pipe is full, and what came after it was dropped: {dropped}");
    assert!(longest < Duration::from_secs(5), "{longest:?}");
    let (status, took) = larder.stop();
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(10), "nobody reads its last words, either: {took:?}");
    // What was written is whole lines.
    let mut rest = String::new();
    larder.stderr.read_to_string(&mut rest).expect("text");
    let lines: Vec<&str> = rest.lines().collect();
    assert!(lines.len() > 100, "{}", lines.len());
    for line in &lines[..lines.len() - 1] {
        serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    }
}

#[test]
fn the_last_words_are_written_before_the_end() {
    let origin = Origin::serving(&[], "x");
    for _ in 0..5 {
        let setup = Setup::new(&origin.url()).without_disk().env("LARDER_LOG__LEVEL", "debug");
        let mut larder = Piped::start(&setup);
        let (status, _) = larder.stop();
        assert_eq!(status.code(), Some(0));
        let mut rest = String::new();
        larder.stderr.read_to_string(&mut rest).expect("text");
        let last = rest.lines().last().unwrap_or_default();
        assert!(last.contains("\"stopped\"") && rest.ends_with('\n'), "{rest}");
    }
}

#[test]
fn an_error_is_there_at_once_and_none_is_dropped() {
    let origin = Origin::serving(&[], "x");
    let larder = Larder::with(&origin, "[limits]\nconnections = 100\n");
    std::fs::write(larder.setup.config_file(), "nonsense = 1\n").expect("written");
    let line = || larder.events().lines().find(|l| l.contains("nonsense")).map(str::to_owned);
    eventually("the mistake to be told", SOON, || line().is_some());
    assert!(larder.metrics().has("larder_events_dropped_total"));
    assert_eq!(larder.metrics().count("larder_events_dropped_total", &[]), 0);
}
