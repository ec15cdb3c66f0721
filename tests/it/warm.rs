//! `larder cache warm`: by the binary, through a running Larder, with the app looked at.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::larder::{command, larder as run};
use crate::support::{Ask, Larder, Origin};

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

fn warm(larder: &Larder, source: &str, more: &[&str]) -> Output {
    let listen = larder.proxy.to_string();
    run(&[&["cache", "warm", source, "--listen", &listen], more].concat())
}

/// Keeps everything, but for what is broken.
fn app() -> Origin {
    Origin::new(|seen, reply| match seen.path() {
        path if path.starts_with("/broken") => reply.answer(500, &[], "sorry"),
        "/private" => reply.ok(&["cache-control: private"], "x"),
        "/sitemap.xml" => reply.ok(
            &["content-type: application/xml"],
            "<sitemapindex><sitemap><loc>http://app.test/pages.xml.gz</loc></sitemap>\
             <sitemap><loc>http://app.test/broken.xml</loc></sitemap></sitemapindex>",
        ),
        "/pages.xml.gz" => {
            let pages = "<urlset><url><loc>http://app.test/one</loc></url>\
                <url><loc>http://app.test/two?a=1&amp;b=2</loc></url></urlset>";
            let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            packer.write_all(pages.as_bytes()).expect("packed");
            reply.ok(&["content-type: application/gzip"], packer.finish().expect("packed"));
        }
        _ => reply.ok(&["cache-control: max-age=600"], "x"),
    })
}

#[test]
fn ten_thousand_urls_come_at_a_bounded_rate_and_what_failed_is_listed() {
    const RATE: usize = 2000;
    let times: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let noted = times.clone();
    let origin = Origin::new(move |seen, reply| {
        noted.lock().expect("whole").push(Instant::now());
        match seen.path() {
            path if path.starts_with("/broken") => reply.answer(500, &[], "sorry"),
            _ => reply.ok(&["cache-control: max-age=600"], "x"),
        }
    });
    let larder = Larder::in_front_of(&origin);
    let mut list = tempfile::NamedTempFile::new().expect("a file");
    for n in 0..9990 {
        writeln!(list, "http://app.test/page/{n}").expect("written");
    }
    for n in 0..10 {
        writeln!(list, "http://app.test/broken/{n}").expect("written");
    }
    let source = list.path().to_str().expect("plain");
    let out = warm(&larder, source, &["--rate", &RATE.to_string(), "--concurrency", "16"]);
    let (told, progress) = (text(&out.stdout), text(&out.stderr));
    assert_eq!(out.status.code(), Some(1), "{told}{progress}");
    assert!(told.starts_with("10000 requests in "), "{told}");
    assert!(told.contains(": 9990 stored, 0 were there, 0 not kept, 10 failed\n"), "{told}");
    let failed: BTreeSet<&str> =
        told.lines().filter_map(|line| line.strip_prefix("failed: ")).collect();
    let want = (0..10).map(|n| format!("http://app.test/broken/{n}: 500 Internal Server Error"));
    assert!(failed.iter().copied().eq(want.collect::<BTreeSet<_>>()), "{told}");
    assert!(progress.contains("warming: 5000 of 10000, 0 failed"), "{progress}");
    // As the app saw it: in no second more than were asked for, and what may be under way.
    let mut times = times.lock().expect("whole").clone();
    times.sort_unstable();
    assert_eq!(times.len(), 10_000);
    for window in times.windows(RATE) {
        let took = window[RATE - 1] - window[0];
        assert!(took >= Duration::from_millis(900), "{RATE} requests within {took:?}");
    }
    let again = warm(&larder, source, &["--rate", "0"]);
    let told = text(&again.stdout);
    assert!(told.contains(": 0 stored, 9990 were there, 0 not kept, 10 failed\n"), "{told}");
    assert_eq!(origin.count(), 10_010, "what is fresh costs the app nothing");
}

#[test]
fn sitemaps_are_followed_and_what_is_missing_of_them_is_told() {
    let origin = app();
    let larder = Larder::in_front_of(&origin);
    let out = warm(&larder, "http://app.test/sitemap.xml", &[]);
    let told = text(&out.stdout);
    assert_eq!(out.status.code(), Some(1), "{told}");
    assert!(told.contains("2 stored"), "{told}");
    assert!(told.contains("failed: http://app.test/broken.xml: 500"), "{told}");
    for target in ["/one", "/two?a=1&b=2"] {
        assert!(larder.ask(&Ask::get(target).with("Host", "app.test")).was_hit(), "{target}");
    }
}

#[test]
fn what_clients_asked_for_most_comes_first() {
    let origin = app();
    let larder = Larder::in_front_of(&origin);
    let line = |path: &str| format!("1.2.3.4 - - [x] \"GET {path} HTTP/1.1\" 200 5 \"-\" \"-\"\n");
    let log = [line("/rare"), line("/often"), line("/often"), line("/private")].concat();
    let mut child = command()
        .args(["cache", "warm", "-", "--base", "https://app.test", "--concurrency", "1"])
        .args(["--listen", &larder.proxy.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("larder starts");
    child.stdin.take().expect("piped").write_all(log.as_bytes()).expect("written");
    let out = child.wait_with_output().expect("it ends");
    let told = text(&out.stdout);
    assert_eq!(out.status.code(), Some(0), "{told}");
    assert!(told.contains("2 stored, 0 were there, 1 not kept, 0 failed"), "{told}");
    assert!(told.contains("not kept: 1 private"), "{told}");
    let asked: Vec<_> = origin.seen().iter().map(|seen| seen.target.clone()).collect();
    assert_eq!(asked, ["/often", "/rare", "/private"]);
    // As clients of the proxy that ends TLS ask for it, and as nobody else does.
    let often = Ask::get("/often").with("Host", "app.test");
    assert!(larder.ask(&often.clone().with("X-Forwarded-Proto", "https")).was_hit());
    assert!(!larder.ask(&often).was_hit());
}

#[test]
fn each_coding_and_header_that_is_asked_for() {
    let origin = Origin::new(|seen, reply| {
        let theme = seen.header("x-theme").unwrap_or("none").to_owned();
        reply.ok(&["cache-control: max-age=600", "vary: X-Theme, Accept-Encoding"], theme);
    });
    let larder = Larder::in_front_of(&origin);
    let mut list = tempfile::NamedTempFile::new().expect("a file");
    list.write_all(b"http://app.test/a\n").expect("written");
    let source = list.path().to_str().expect("plain");
    let both = ["--accept-encoding", "br", "--accept-encoding", "identity", "-H", "X-Theme: dark"];
    let out = warm(&larder, source, &both);
    assert!(text(&out.stdout).contains("2 requests"), "{}", text(&out.stdout));
    let seen = origin.seen();
    assert!(!seen.is_empty() && seen.iter().all(|one| one.header("x-theme") == Some("dark")));
    let dark = Ask::get("/a").with("Host", "app.test").with("X-Theme", "dark");
    assert!(larder.ask(&dark.with("Accept-Encoding", "br")).was_hit());
}

#[test]
fn what_cannot_be_done_is_told_and_why() {
    let origin = app();
    let larder = Larder::in_front_of(&origin);
    let listen = larder.proxy.to_string();
    let mut list = tempfile::NamedTempFile::new().expect("a file");
    list.write_all(b"/path\nexample.org\n").expect("written");
    let file = list.path().to_str().expect("plain");
    for (case, args, code, said) in [
        ("no such file", &["/nowhere/x", "--listen", &listen][..], 1, "/nowhere/x: No such file"),
        ("a path of nobody", &[file, "--listen", &listen], 1, "failed: /path: it is a path: name"),
        ("no URL", &[file, "--listen", &listen], 1, "failed: example.org: it is no URL"),
        (
            "nobody there",
            &["http://a.test/s.xml", "--listen", "127.0.0.1:1"],
            1,
            "no Larder listens",
        ),
        ("no header", &[file, "-H", "x"], 2, "Name: value"),
        ("no base", &[file, "--base", "x"], 2, "--base"),
        ("no rate", &[file, "--rate", "x"], 2, "--rate"),
    ] {
        let out = run(&[&["cache", "warm"], args].concat());
        let told = text(&out.stdout) + &text(&out.stderr);
        assert_eq!(out.status.code(), Some(code), "{case}: {told}");
        assert!(told.contains(said), "{case}: {told}");
    }
    let shown = warm(&larder, file, &["--base", "http://app.test", "--dry-run"]);
    assert!(text(&shown.stdout).starts_with("http://app.test/path\n"), "{}", text(&shown.stdout));
    assert_eq!(origin.count(), 0);
}
