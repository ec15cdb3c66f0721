//! Real apps behind it, with a real client: python3's http.server and curl.

use std::fs;
use std::io::Read;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use crate::support::process::Process;
use crate::support::{SOON, Setup, eventually, text};

/// Files that were changed long ago, so that heuristic freshness has something to go by.
fn site(dir: &std::path::Path) -> Vec<u8> {
    let page = text(20_000);
    let path = dir.join("page.html");
    fs::write(&path, &page).expect("written");
    let file = fs::File::options().write(true).open(&path).expect("opened");
    file.set_modified(UNIX_EPOCH + Duration::from_hours(24 * 365 * 30)).expect("an old date");
    page
}

/// `python3 ...` with its port, as it said itself.
fn python(args: &[&str], dir: &std::path::Path) -> (Process, u16) {
    let mut command = Command::new("python3");
    command.arg("-u").args(args).current_dir(dir);
    let process = Process::start(&mut command, dir, "python");
    let mut port = None;
    eventually("python3 to listen", SOON, || {
        let said = process.stdout();
        port = said.split("port ").nth(1).and_then(|rest| {
            rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|p| p.parse().ok())
        });
        port.is_some()
    });
    (process, port.expect("a port"))
}

fn curl(args: &[&str]) -> (String, Vec<u8>) {
    let out = Command::new("curl").args(["-sS", "-i", "--max-time", "20"]).args(args).output();
    let out = out.expect("curl: ./tests/run installs it");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let at = out.stdout.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&out.stdout[..at]).into_owned();
    (head, out.stdout[at + 4..].to_vec())
}

fn has(head: &str, line: &str) -> bool {
    head.to_lowercase().lines().any(|l| l.starts_with(line))
}

#[test]
fn python_http_server_behind_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let page = site(dir.path());
    let (app, port) = python(&["-m", "http.server", "0", "--bind", "127.0.0.1"], dir.path());
    let larder = Setup::new(&format!("http://127.0.0.1:{port}")).start_with_disk();
    let url = format!("http://{}/page.html", larder.proxy);
    let (head, body) = curl(&[&url]);
    assert!(has(&head, "http/1.1 200"), "{head}");
    assert!(body == page);
    let (head, body) = curl(&[&url]);
    assert!(has(&head, "cache-status: larder; hit"), "{head}");
    assert!(body == page);
    let (head, coded) = curl(&["-H", "Accept-Encoding: gzip", &url]);
    assert!(has(&head, "content-encoding: gzip"), "{head}");
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&coded[..]).read_to_end(&mut plain).expect("gzip");
    assert!(plain == page);
    let out = Command::new("curl").args(["-sS", "--compressed", &url]).output().expect("curl");
    assert!(out.stdout == page, "curl decodes it to the same");
    assert_eq!(app.stderr().matches("GET /page.html").count(), 1, "{}", app.stderr());
    let larder = larder.restart();
    let (head, body) = curl(&[
        &format!("http://{}/page.html", larder.proxy),
        "-H",
        &format!("Host: {}", &url[7..url.len() - 10]),
    ]);
    assert!(has(&head, "cache-status: larder; hit"), "after a restart: {head}");
    assert!(body == page);
}

const SMALL_APP: &str = r#"
import http.server, sys
class App(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = b'{"items": [' + b'"something to eat", ' * 500 + b'"end"]}'
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Cache-Control", "max-age=60")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), App)
print("port", server.server_address[1], flush=True)
server.serve_forever()
"#;

#[test]
fn a_small_app_that_sends_cache_control() {
    let dir = tempfile::tempdir().expect("a directory");
    let (app, port) = python(&["-c", SMALL_APP], dir.path());
    let larder = Setup::new(&format!("http://127.0.0.1:{port}")).without_disk().start();
    let url = format!("http://{}/menu", larder.proxy);
    let (head, first) = curl(&["--compressed", &url]);
    assert!(has(&head, "content-encoding: gzip"), "{head}");
    let (head, second) = curl(&["--compressed", &url]);
    assert!(has(&head, "cache-status: larder; hit"), "{head}");
    assert!(first == second && first.starts_with(b"{\"items\""));
    assert_eq!(app.stderr().matches("GET /menu").count(), 1, "{}", app.stderr());
    let (head, body) = curl(&["-d", "a new dish", &url]);
    assert!(head.contains("201") && body == b"a new dish", "{head}");
    let (head, _) = curl(&[&url]);
    assert!(has(&head, "cache-status: larder; fwd="), "invalidated by the POST: {head}");
}
