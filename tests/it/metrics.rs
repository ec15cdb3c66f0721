//! `/metrics`: exact, well formed, and of bounded size.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use crate::support::metrics::Metrics;
use crate::support::{Ask, Client, Larder, Origin, SOON, eventually, within};

const THREADS: usize = 8;

/// What one thread did and saw.
#[derive(Default)]
struct Tally {
    outcomes: [u64; 6], // hit, stale, revalidated, miss, pass, error
    body_in: u64,
    body_out: u64,
    sent: u64,
    received: u64,
}

const OUTCOMES: [&str; 6] = ["hit", "stale", "revalidated", "miss", "pass", "error"];

impl Tally {
    fn ask(&mut self, client: &mut Client, ask: &Ask, outcome: &str, status: u16, body_in: usize) {
        let answer = client.ask(ask);
        assert_eq!(answer.status, status, "{outcome}: {ask:?}: {answer:?}");
        let index = OUTCOMES.iter().position(|o| *o == outcome).expect("an outcome");
        self.outcomes[index] += 1;
        self.body_in += body_in as u64;
        self.body_out += answer.body.len() as u64;
    }

    /// 1,250 requests of known outcome on one connection, all on paths of its own.
    fn run(larder: &Larder, thread: usize) -> Self {
        let mut tally = Self::default();
        let mut client = larder.connect();
        let mut ask = |ask: Ask, outcome: &str, status: u16, body_in: usize| {
            tally.ask(&mut client, &ask, outcome, status, body_in);
        };
        for n in 0..100 {
            ask(Ask::get(&format!("/fresh/{thread}/{n}")), "miss", 200, 0);
        }
        for n in 0..800 {
            ask(Ask::get(&format!("/fresh/{thread}/{}", n % 100)), "hit", 200, 0);
        }
        for n in 0..50 {
            ask(Ask::head(&format!("/fresh/{thread}/{n}")), "hit", 200, 0);
        }
        ask(Ask::get(&format!("/etag/{thread}")), "miss", 200, 0);
        for _ in 0..49 {
            ask(Ask::get(&format!("/etag/{thread}")), "revalidated", 200, 0);
        }
        ask(Ask::get(&format!("/old/{thread}")), "miss", 200, 0);
        for _ in 0..49 {
            let stale = Ask::get(&format!("/old/{thread}")).with("Cache-Control", "max-stale");
            ask(stale, "stale", 200, 0);
        }
        for n in 0..100 {
            ask(Ask::post(&format!("/post/{thread}"), vec![b'x'; n]), "pass", 200, n);
        }
        for n in 0..100 {
            let only = Ask::get(&format!("/none/{thread}/{n}"));
            ask(only.with("Cache-Control", "only-if-cached"), "error", 504, 0);
        }
        tally.sent = client.sent;
        tally.received = client.received;
        tally
    }
}

#[test]
fn ten_thousand_mixed_requests_are_counted_exactly() {
    let origin = Origin::new(|seen, reply| {
        let body = "x".repeat(seen.target.len() * 10);
        match seen.path().split('/').nth(1) {
            Some("fresh") => reply.ok(&["cache-control: max-age=600"], body),
            Some("etag") if seen.header("if-none-match").is_some() => {
                reply.answer(304, &["cache-control: max-age=1", "age: 5", "etag: \"1\""], "");
            }
            Some("etag") => {
                reply.ok(&["cache-control: max-age=1", "age: 5", "etag: \"1\""], body);
            }
            Some("old") => reply.ok(&["cache-control: max-age=1", "age: 5", "etag: \"1\""], body),
            _ => reply.ok(&[], body),
        }
    });
    let larder = Larder::in_front_of(&origin);
    let tallies: Vec<_> = thread::scope(|scope| {
        let larder = &larder;
        let threads: Vec<_> =
            (0..THREADS).map(|n| scope.spawn(move || Tally::run(larder, n))).collect();
        threads.into_iter().map(|t| t.join().expect("a client")).collect()
    });
    let sum = |of: fn(&Tally) -> u64| tallies.iter().map(of).sum::<u64>();
    let all: u64 = tallies.iter().flat_map(|t| t.outcomes).sum();
    assert_eq!(all, 10_000);
    let counted = |m: &Metrics| m.count("larder_requests_total", &[]);
    within(SOON, || counted(&larder.metrics()) >= all);
    let metrics = larder.metrics();
    for (index, outcome) in OUTCOMES.into_iter().enumerate() {
        let want: u64 = tallies.iter().map(|t| t.outcomes[index]).sum();
        let have = metrics.count("larder_requests_total", &[("cache", outcome)]);
        assert_eq!(have, want, "cache={outcome}");
    }
    for (method, status, want) in [("POST", "2xx", 800), ("HEAD", "2xx", 400), ("GET", "5xx", 800)]
    {
        let labels = [("method", method), ("status", status), ("route", "default")];
        assert_eq!(metrics.count("larder_requests_total", &labels), want, "{method} {status}");
    }
    assert_eq!(metrics.count("larder_origin_requests_total", &[]), origin.count() as u64);
    assert_eq!(metrics.count("larder_request_duration_seconds_count", &[]), all);
    assert_eq!(metrics.count("larder_origin_duration_seconds_count", &[]), origin.count() as u64);
    assert_eq!(metrics.count("larder_request_bytes_total", &[]), sum(|t| t.body_in));
    assert_eq!(metrics.count("larder_response_bytes_total", &[]), sum(|t| t.body_out));
    let socket = |way| metrics.count("larder_socket_bytes_total", &[("direction", way)]);
    assert_eq!(socket("in"), sum(|t| t.sent), "bytes from clients");
    assert_eq!(socket("out"), sum(|t| t.received), "bytes to clients");
    let entries = metrics.count("larder_cache_objects", &[("tier", "memory")]);
    assert!(entries >= 800, "{entries} objects in memory");
    assert!(metrics.count("larder_cache_bytes", &[("tier", "memory")]) > 0);
    eventually("no open connection", SOON, || {
        larder.metrics().count("larder_connections", &[]) == 0
    });
}

#[test]
fn promtool_finds_nothing_to_say() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    larder.get("/").expect(200);
    larder.ask(&Ask::post("/", "x")).expect(200);
    let text = larder.admin_get("/metrics").expect(200);
    assert!(text.header("content-type").is_some_and(|t| t.starts_with("text/plain")));
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: ./tests/run installs it (Debian's package prometheus)");
    promtool.stdin.take().expect("its input").write_all(&text.body).expect("written");
    let out = promtool.wait_with_output().expect("it ends");
    let said =
        format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && said.trim().is_empty(), "{said}");
    // promtool knows the same of names: each has its help and type once.
    for kind in ["# HELP ", "# TYPE "] {
        let text = text.text();
        let mut names: Vec<_> = text
            .lines()
            .filter_map(|l| l.strip_prefix(kind))
            .filter_map(|l| l.split(' ').next())
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all, "{kind}");
    }
}

#[test]
fn open_metrics_is_given_to_who_asks_for_it() {
    let origin = Origin::serving(&[], "x");
    let larder = Larder::in_front_of(&origin);
    let ask = Ask::get("/metrics").with("Accept", "application/openmetrics-text; version=1.0.0");
    let answer = larder.admin_ask(&ask).expect(200);
    assert!(
        answer.header("content-type").is_some_and(|t| t.starts_with("application/openmetrics"))
    );
    assert!(answer.text().ends_with("# EOF\n"), "{}", answer.text());
}

#[test]
fn what_should_be_there_is() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    let metrics = larder.metrics();
    for name in [
        "larder_requests_total",
        "larder_request_duration_seconds_count",
        "larder_lookup_duration_seconds_count",
        "larder_origin_requests_total",
        "larder_origin_duration_seconds_count",
        "larder_request_bytes_total",
        "larder_response_bytes_total",
        "larder_cache_bytes",
        "larder_cache_objects",
        "larder_cache_evictions_total",
        "larder_disk_drops_total",
        "larder_disk_errors_total",
        "larder_connections",
        "larder_upstream_errors_total",
        "larder_config_reloads_total",
        "larder_alert_active",
        "larder_build_info",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
    ] {
        assert!(metrics.has(name), "{name}");
    }
    assert!(metrics.sum("process_resident_memory_bytes", &[]) > 1e6);
}

#[test]
fn labels_do_not_grow_with_what_clients_send() {
    let origin = Origin::serving(&[], "x");
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    larder.ask(&Ask::new("BREW", "/").body("")).expect(200);
    let before = larder.metrics().0.len();
    for n in 0..100 {
        let ask = Ask::new(&format!("M{n}"), &format!("/{n}")).with("Host", &format!("h{n}.test"));
        larder.ask(&ask.body("")).expect(200);
    }
    let metrics = larder.metrics();
    assert_eq!(metrics.0.len(), before, "as many series as before");
    let text = larder.admin_get("/metrics").text();
    assert!(!text.contains("h42.test") && !text.contains("M42"));
}

#[test]
fn the_access_log_has_one_json_line_a_request() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "hello");
    let larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    for _ in 0..100 {
        client
            .ask(&Ask::get("/logged?a=%0a%22").with("User-Agent", "test \"agent\" \\"))
            .expect(200);
    }
    // A raw quote is refused (no URI has it in its query), and logged as what it stands for.
    client.ask(&Ask::get("/logged?a=%0a\"")).expect(400);
    let lines = || -> Vec<String> {
        larder
            .process
            .stdout()
            .lines()
            .map(str::to_owned)
            .filter(|l| l.contains("/logged"))
            .collect()
    };
    eventually("a line for each of 101", SOON, || lines().len() == 101);
    let json = |line: &String| -> serde_json::Value {
        serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))
    };
    let lines: Vec<_> = lines().iter().map(json).collect();
    assert!(lines.iter().all(serde_json::Value::is_object));
    assert_eq!(lines[99]["cache"], "hit", "{}", lines[99]);
    let (refused, status) = (&lines[100], 400);
    assert_eq!(
        (&refused["path"], &refused["status"]),
        (&"/logged?a=%0a%22".into(), &status.into())
    );
}
