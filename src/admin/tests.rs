//! The admin port over real sockets: each door, each path, each limit.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::runtime::Runtime;

use super::control::{
    BoxFuture, DiskShown, PurgeAnswer, PurgeRequest, Purges, Readiness, ReloadAnswer,
    UpstreamShown, WouldHit,
};
use super::entries::{Entries, EntryShown, Listing};
use super::stats::Stats;
use super::{Control, Server, Settings, bind, serve};
use crate::cache::purge::{Class, Listed, What};
use crate::config::snapshot::{Admin, Secret};
use crate::observe::metrics::Metrics;
use crate::proxy::explain::{Explanation, Question};

/// A Larder in small: it keeps purges, and its configuration can be broken.
struct Small {
    metrics: Arc<Metrics>,
    purges: Mutex<Vec<PurgeRequest>>,
    draining: AtomicBool,
    broken: AtomicBool,
    slow: Mutex<Duration>,
}

impl Control for Small {
    fn ready(&self) -> Readiness {
        let draining = self.draining.load(Ordering::Relaxed);
        Readiness {
            ready: !draining,
            reasons: draining.then(|| "draining".to_owned()).into_iter().collect(),
            upstream: UpstreamShown::Up,
            disk: DiskShown::Recovering,
        }
    }

    fn stats(&self) -> Stats {
        Stats::of(&self.metrics, self.ready())
    }

    fn purge(&self, request: PurgeRequest) -> BoxFuture<'_, Result<PurgeAnswer, String>> {
        Box::pin(async move {
            let slow = *self.slow.lock();
            tokio::time::sleep(slow).await;
            let mut purges = self.purges.lock();
            let unheard = request.what == What::url("/outstanding");
            purges.push(request);
            let outstanding = unheard.then(|| "redis".to_owned()).into_iter().collect();
            Ok(PurgeAnswer { position: purges.len() as u64, outstanding })
        })
    }

    fn would_hit(&self, what: &What) -> Result<WouldHit, String> {
        let memory = u64::from(*what == What::Everything);
        Ok(WouldHit { memory, disk: None, note: "a note".to_owned() })
    }

    fn purges(&self, limit: usize) -> Purges {
        let what = What::Named(Class::Tag, b"a".to_vec());
        let one = Listed { position: 1 << 60, what, soft: true };
        Purges { newest: vec![one; limit.min(3)], records: 7 }
    }

    fn list(&self, listing: &Listing) -> Result<Entries, String> {
        let note = Some(format!("{listing:?}"));
        Ok(Entries { entries: Vec::new(), next: None, note })
    }

    fn show(&self, _: Vec<u8>) -> BoxFuture<'_, Vec<EntryShown>> {
        Box::pin(async { Vec::new() })
    }

    fn explain(&self, _: Question) -> BoxFuture<'_, Result<Explanation, String>> {
        Box::pin(async { Err("a Larder in small cannot explain".to_owned()) })
    }

    fn reload(&self) -> BoxFuture<'_, Result<ReloadAnswer, String>> {
        Box::pin(async {
            if self.broken.load(Ordering::Relaxed) {
                return Err("config.toml:3: unknown key `memroy`".to_owned());
            }
            Ok(ReloadAnswer { changed: vec!["log.level: info -> debug".into()] })
        })
    }

    fn config(&self) -> String {
        "listen = \"127.0.0.1:8080\"\n".into()
    }
}

struct Office {
    runtime: Runtime,
    control: Arc<Small>,
    token: Arc<Mutex<Option<&'static str>>>,
    server: Option<Server>,
    port: u16,
}

struct Said {
    status: u16,
    head: String,
    body: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (its_name, value) = line.split_once(": ")?;
            its_name.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

impl Office {
    fn open_on(ip: &str, token: Option<&'static str>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let metrics = Metrics::new(1);
        let control = Arc::new(Small {
            metrics: Arc::clone(&metrics),
            purges: Mutex::default(),
            draining: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            slow: Mutex::default(),
        });
        let bound = bind(SocketAddr::new(ip.parse().unwrap(), 0)).unwrap();
        let (addr, token) = (bound.addr(), Arc::new(Mutex::new(token)));
        let token_now = Arc::clone(&token);
        let settings: Settings = Arc::new(move || Admin {
            listen: addr,
            token: token_now.lock().map(Secret::new),
            hosts: vec!["larder.internal".into()],
        });
        let shown: Arc<dyn Control> = Arc::clone(&control) as _;
        let server = serve(bound, runtime.handle(), shown, settings, metrics).unwrap();
        Self { runtime, control, token, server: Some(server), port: addr.port() }
    }

    fn open() -> Self {
        Self::open_on("127.0.0.1", None)
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    /// Sends bytes as they are, reads to the close.
    fn raw(&self, request: &str) -> Said {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Said { status, head: head.into(), body: body.into() }
    }

    fn send(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Said {
        let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
        if !headers.iter().any(|line| line.starts_with("Host:")) {
            request.push_str("Host: 127.0.0.1\r\n");
        }
        for line in headers {
            request.push_str(line);
            request.push_str("\r\n");
        }
        if !body.is_empty() {
            let length = body.len();
            request.push_str("Content-Length: ");
            request.push_str(&length.to_string());
            request.push_str("\r\n");
        }
        self.raw(&format!("{request}\r\n{body}"))
    }

    fn get(&self, path: &str) -> Said {
        self.send("GET", path, &[], "")
    }

    fn post(&self, path: &str, body: &str) -> Said {
        self.send("POST", path, &["Content-Type: application/json"], body)
    }
}

#[test]
fn every_get_answers() {
    let office = Office::open();
    for (path, media_type, part) in [
        ("/", "text/html; charset=utf-8", "/api/stats"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8", "larder_build_info{"),
        ("/healthz", "text/plain; charset=utf-8", "ok"),
        ("/readyz", "text/plain; charset=utf-8", "ready upstream=up disk=recovering"),
        ("/api/stats", "application/json", "\"hit_ratio\""),
        ("/api/config", "application/json", "127.0.0.1:8080"),
    ] {
        let said = office.get(path);
        assert_eq!(said.status, 200, "{path}: {}", said.body);
        assert_eq!(said.field("content-type"), Some(media_type), "{path}");
        assert!(said.body.contains(part), "{path}: {}", said.body);
        assert_eq!(said.field("cache-control"), Some("no-store"), "{path}");
        assert_eq!(said.field("x-frame-options"), Some("DENY"), "{path}");
        let head = office.send("HEAD", path, &[], "");
        assert_eq!((head.status, head.body.as_str()), (200, ""), "HEAD {path}");
    }
}

#[test]
fn readiness_is_for_machines_and_people() {
    let office = Office::open();
    assert_eq!(office.get("/readyz").body, "ready upstream=up disk=recovering\n");
    office.control.draining.store(true, Ordering::Relaxed);
    let said = office.get("/readyz");
    assert_eq!(
        (said.status, &*said.body),
        (503, "not ready upstream=up disk=recovering\ndraining\n")
    );
    let said = office.send("GET", "/readyz", &["Accept: application/json"], "");
    assert_eq!(said.status, 503);
    assert_eq!(said.json()["disk"], "recovering");
    assert_eq!(said.json()["reasons"][0], "draining");
    assert_eq!(office.get("/healthz").status, 200);
}

#[test]
fn metrics_come_in_the_format_asked_for() {
    let office = Office::open();
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5";
    let said = office.send("GET", "/metrics", &[accept], "");
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(said.field("content-type"), Some(media_type));
    assert!(said.body.ends_with("# EOF\n"));
}

#[test]
fn stats_tell_what_was_counted() {
    let office = Office::open();
    office.control.metrics.origin(0, Some(200), 2_000_000);
    office.control.metrics.origin(0, None, 2_000_000);
    let stats = office.get("/api/stats").json();
    assert_eq!(stats["origin"]["requests"]["count"], 2);
    assert_eq!(stats["origin"]["errors"], 1);
    assert_eq!(stats["requests"]["total"], 0);
    assert_eq!(stats["requests"]["hit_ratio"], Value::Null);
    assert_eq!(stats["readiness"]["disk"], "recovering");
    assert!(stats["process"]["resident_bytes"].as_u64() > Some(0));
}

#[test]
fn purges_reach_the_control() {
    let office = Office::open();
    let said = office.post("/api/purge", r#"{"url": "http://a/b"}"#);
    assert_eq!((said.status, &said.json()["position"]), (200, &"1".into()));
    assert_eq!(said.json()["recorded"]["url"], "http://a/b");
    let said = office.post("/api/purge", r#"{"all": true, "soft": true}"#);
    assert_eq!((said.status, &said.json()["recorded"]["all"]), (200, &true.into()));
    let said = office.post("/api/purge", r#"{"url": "/outstanding"}"#);
    assert_eq!((said.status, &said.json()["outstanding"][0]), (202, &"redis".into()));
    let purges = office.control.purges.lock();
    let url = |text: &str| What::url(text);
    let want = [
        PurgeRequest { what: url("http://a/b"), soft: false, dry_run: false },
        PurgeRequest { what: What::Everything, soft: true, dry_run: false },
        PurgeRequest { what: url("/outstanding"), soft: false, dry_run: false },
    ];
    assert_eq!(*purges, want);
}

#[test]
fn a_dry_run_counts_and_records_nothing() {
    let office = Office::open();
    let said = office.post("/api/purge", r#"{"all": true, "dry_run": true}"#).json();
    assert_eq!(said["would_hit"]["memory"], 1);
    assert_eq!(said["would_purge"]["all"], true);
    assert_eq!(said["recorded"], Value::Null);
    assert!(office.control.purges.lock().is_empty());
}

#[test]
fn purges_are_listed() {
    let office = Office::open();
    let said = office.get("/api/purges?limit=2").json();
    assert_eq!(said["purges"].as_array().map(Vec::len), Some(2));
    let want = serde_json::json!({ "tag": "a", "soft": true, "position": "1152921504606846976" });
    assert_eq!((&said["purges"][0], &said["records"]), (&want, &7.into()));
}

#[test]
fn what_is_wrong_is_a_problem_and_purges_nothing() {
    let office = Office::open();
    let json = "Content-Type: application/json";
    let all = r#"{"all": true}"#;
    let large = format!("{{\"url\": \"/{}\"}}", "x".repeat(70_000));
    for (case, method, path, headers, body, status) in [
        ("unknown path", "GET", "/api/nothing", vec![], "", 404),
        ("a purge by GET", "GET", "/api/purge", vec![json], "", 405),
        ("a purge by PUT", "PUT", "/api/purge", vec![json], all, 405),
        ("a preflight", "OPTIONS", "/api/purge", vec![], "", 405),
        ("writing stats", "POST", "/api/stats", vec![json], "{}", 405),
        ("writing metrics", "DELETE", "/metrics", vec![], "", 405),
        ("a form", "POST", "/api/purge", vec!["Content-Type: text/plain"], all, 415),
        ("no content type", "POST", "/api/purge", vec![], all, 415),
        ("no JSON", "POST", "/api/purge", vec![json], "all", 400),
        ("a purge of nothing", "POST", "/api/purge", vec![json], r#"{"tag": ""}"#, 400),
        ("writing purges", "POST", "/api/purges", vec![json], "{}", 405),
        ("no number", "GET", "/api/purges?limit=x", vec![], "", 400),
        ("unknown filter", "GET", "/api/entries?path=/a", vec![], "", 400),
        ("an empty filter", "GET", "/api/entries?tag=", vec![], "", 400),
        ("a url and a filter", "GET", "/api/entries?url=http://a/&tag=b", vec![], "", 400),
        ("no question", "GET", "/api/explain", vec![], "", 400),
        ("an odd question", "GET", "/api/explain?url=http://a/", vec![], "", 400),
        ("half a url", "GET", "/api/entries?url=/a", vec![], "", 400),
        ("too large", "POST", "/api/purge", vec![json], &large, 413),
        ("a foreign Host", "POST", "/api/purge", vec![json, "Host: evil.example"], all, 421),
        (
            "a foreign Origin",
            "POST",
            "/api/purge",
            vec![json, "Origin: http://evil.example"],
            all,
            403,
        ),
        ("a foreign page", "GET", "/api/stats", vec!["Sec-Fetch-Site: cross-site"], "", 403),
        ("a page by a foreign Host", "GET", "/", vec!["Host: evil.example"], "", 421),
        ("nothing by a foreign Host", "GET", "/x", vec!["Host: evil.example"], "", 421),
    ] {
        let said = office.send(method, path, &headers, body);
        assert_eq!(said.status, status, "{case}: {}", said.body);
        assert_eq!(said.field("content-type"), Some("application/problem+json"), "{case}");
        assert_eq!(said.json()["status"], status, "{case}");
        assert!(!said.body.contains("evil") && !said.body.contains("nothing\""), "{case} echoes");
        if status == 405 {
            let want = if path == "/api/purge" { "POST" } else { "GET, HEAD" };
            assert_eq!(said.field("allow"), Some(want), "{case}");
        }
    }
    assert!(office.control.purges.lock().is_empty());
}

#[test]
fn a_reload_says_what_changed_or_what_is_wrong() {
    let office = Office::open();
    let said = office.post("/api/config/reload", "");
    assert_eq!(
        (said.status, &said.json()["changed"][0]),
        (200, &"log.level: info -> debug".into())
    );
    office.control.broken.store(true, Ordering::Relaxed);
    let said = office.post("/api/config/reload", "{}");
    assert_eq!(said.status, 422);
    assert!(said.body.contains("config.toml:3"), "{}", said.body);
    assert_eq!(office.get("/api/config/reload").status, 405);
}

#[test]
fn a_listener_for_all_needs_the_token() {
    let office = Office::open_on("0.0.0.0", Some("s3cret"));
    for path in ["/metrics", "/healthz", "/readyz"] {
        let said = office.send("GET", path, &["Host: pod.example"], "");
        assert_eq!(said.status, 200, "{path} is open to any Host");
    }
    for path in ["/", "/api/stats", "/api/config", "/nothing"] {
        let said = office.get(path);
        assert_eq!(said.status, 401, "{path}");
        assert_eq!(said.field("www-authenticate"), Some("Bearer realm=\"larder\""), "{path}");
    }
    let with = |token: &str| {
        office.send("GET", "/api/stats", &[&format!("Authorization: Bearer {token}")], "").status
    };
    assert_eq!((with("s3cret"), with("s3cre"), with("")), (200, 401, 401));
    // A changed token counts at once, and none at all shuts the door.
    *office.token.lock() = Some("another");
    assert_eq!((with("s3cret"), with("another")), (401, 200));
    *office.token.lock() = None;
    assert_eq!((with("another"), with("")), (403, 403));
}

#[test]
fn a_second_listener_on_the_port_is_an_error_that_names_it() {
    let office = Office::open();
    let addr = SocketAddr::from(([127, 0, 0, 1], office.port));
    let error = bind(addr).unwrap_err();
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
}

#[test]
fn what_is_no_http_is_closed_and_oversized_heads_are_refused() {
    let office = Office::open();
    assert_eq!(office.raw("\x16\x03\x01 hello\r\n\r\n").status, 400);
    let head = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    let mut stream = office.connect();
    // It may close while we still write.
    let _ = stream.write_all(head.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(office.get("/healthz").status, 200);
}

#[test]
fn connections_over_the_limit_are_closed_and_others_go_on() {
    let office = Office::open();
    let open: Vec<TcpStream> = (0..super::server::CONNECTIONS).map(|_| office.connect()).collect();
    // All have their place once the last one answers.
    let mut last = open.last().unwrap();
    last.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut first_bytes = [0_u8; 15];
    last.read_exact(&mut first_bytes).unwrap();
    assert_eq!(&first_bytes, b"HTTP/1.1 200 OK");
    let mut surplus = office.connect();
    let mut nothing = Vec::new();
    assert_eq!(surplus.read_to_end(&mut nothing).unwrap_or(0), 0);
    drop(open);
    let began = crate::clock::monotonic_ms();
    loop {
        let mut stream = office.connect();
        let _ = stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        if answer.starts_with(b"HTTP/1.0 200") || answer.starts_with(b"HTTP/1.1 200") {
            break;
        }
        assert!(crate::clock::monotonic_ms() - began < 10_000, "no place comes free");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn stopping_lets_the_last_answer_out_and_closes_idle_connections() {
    let mut office = Office::open();
    *office.control.slow.lock() = Duration::from_millis(400);
    let fresh = office.connect();
    let mut idle = office.connect();
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut first_bytes = [0_u8; 15];
    idle.read_exact(&mut first_bytes).unwrap();
    let mut busy = office.connect();
    let body = r#"{"all": true}"#;
    let request = format!(
        "POST /api/purge HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        body.len()
    );
    busy.write_all(request.as_bytes()).unwrap();
    // The interim answer says that the request has begun.
    let mut interim = [0_u8; 25];
    busy.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    busy.write_all(body.as_bytes()).unwrap();
    let server = office.server.take().unwrap();
    let stopped = office.runtime.block_on(server.stop(Duration::from_secs(10)));
    assert!(stopped, "all connections ended");
    let mut answer = String::new();
    busy.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert_eq!(office.control.purges.lock().len(), 1);
    drop((fresh, idle));
    assert!(TcpStream::connect(("127.0.0.1", office.port)).is_err());
}
