//! br and zstd beside gzip: who gets which, and what is kept.

use std::process::Command;

use crate::support::{Ask, Gate, Larder, Origin, Setup, noise, text};

const CSS: &[&str] = &[
    "cache-control: max-age=60",
    "content-type: text/css",
    "etag: \"v1\"",
    "last-modified: Mon, 01 Jan 2024 00:00:00 GMT",
    "accept-ranges: bytes",
];
const ALL: &str = "[compression]\ncodings = [\"zstd\", \"br\", \"gzip\"]\n";

fn taking(accept: &str) -> Ask {
    Ask::get("/").with("Accept-Encoding", accept)
}

#[test]
fn each_client_gets_what_it_weighs_most_of_one_entry() {
    let body = text(20_000);
    let origin = Origin::serving(CSS, body.clone());
    let larder = Larder::with(&origin, ALL);
    for round in 0..2 {
        for (case, accept, want) in [
            ("a browser", "gzip, deflate, br, zstd", Some("zstd")),
            ("an older one", "gzip, deflate, br", Some("br")),
            ("an old one", "gzip, deflate", Some("gzip")),
            ("by weight", "zstd;q=0.1, br;q=0.2, gzip;q=0.3", Some("gzip")),
            ("by weight, br", "zstd;q=0.1, br, gzip;q=0.3", Some("br")),
            ("one refused", "zstd;q=0, *", Some("br")),
            ("two refused", "zstd;q=0, br;q=0, *;q=0.5", Some("gzip")),
            ("identity liked more", "br;q=0.5, identity", None),
            ("another", "deflate", None),
            ("identity", "identity", None),
            ("nothing", "", None),
        ] {
            let answer = larder.ask(&taking(accept)).expect(200);
            assert_eq!(answer.header("content-encoding"), want, "{case}: {answer:?}");
            assert!(answer.decoded() == body, "{case}");
            let vary = answer.all("vary").join(",").to_lowercase();
            assert!(vary.contains("accept-encoding"), "{case}: {answer:?}");
            let etag = if want.is_some() { "W/\"v1\"" } else { "\"v1\"" };
            assert_eq!(answer.header("etag"), Some(etag), "{case}: {answer:?}");
            assert_eq!(answer.header("accept-ranges").is_some(), want.is_none(), "{case}");
            if round == 1 {
                assert!(answer.was_hit(), "{case}: {answer:?}");
                let len = answer.header("content-length").expect("a length");
                assert_eq!(len, answer.body.len().to_string(), "{case}");
            }
        }
    }
    assert_eq!(origin.count(), 1, "one fetch for all codings");
    let metrics = larder.metrics();
    assert_eq!(metrics.count("larder_cache_compressed_total", &[]), 3, "each made once");
    assert_eq!(metrics.count("larder_cache_objects", &[("tier", "memory")]), 1, "one entry");
}

#[test]
fn settings_decide_what_is_made() {
    let body = text(20_000);
    let origin = Origin::serving(CSS, body.clone());
    for (case, config, want) in [
        ("by default", "", Some("gzip")),
        ("br only", "[compression]\ncodings = [\"br\"]\n", Some("br")),
        ("in this order", "[compression]\ncodings = [\"gzip\", \"br\"]\n", Some("gzip")),
        ("in that order", "[compression]\ncodings = [\"br\", \"gzip\"]\n", Some("br")),
        ("none", "[compression]\ncodings = []\n", None),
    ] {
        let larder = Larder::with(&origin, config);
        for _ in 0..2 {
            let answer = larder.ask(&taking("gzip, deflate, br, zstd")).expect(200);
            assert_eq!(answer.header("content-encoding"), want, "{case}: {answer:?}");
            assert!(answer.decoded() == body, "{case}");
        }
    }
    let sizes = ["0", "11"].map(|level| {
        let config = format!("[compression]\ncodings = [\"br\"]\nbr_level = {level}\n");
        let larder = Larder::with(&origin, &config);
        larder.ask(&taking("br")).expect(200);
        larder.ask(&taking("br")).expect(200).body.len()
    });
    assert!(sizes[1] < sizes[0], "br_level counts: {sizes:?}");
}

#[test]
fn head_conditionals_and_ranges_of_each_coding() {
    let body = text(20_000);
    let origin = Origin::serving(CSS, body.clone());
    let larder = Larder::with(&origin, ALL);
    larder.get("/").expect(200);
    for coding in ["zstd", "br", "gzip"] {
        let get = larder.ask(&taking(coding)).expect(200);
        assert_eq!(get.header("content-encoding"), Some(coding));
        let head = larder.ask(&Ask::head("/").with("Accept-Encoding", coding)).expect(200);
        for name in ["content-length", "content-encoding", "etag", "vary", "content-type"] {
            assert_eq!(head.header(name), get.header(name), "{coding}: {name}");
        }
        for tag in ["W/\"v1\"", "\"v1\"", "*"] {
            let same = larder.ask(&taking(coding).with("If-None-Match", tag)).expect(304);
            assert_eq!(same.header("etag"), Some("W/\"v1\""), "{coding}: {same:?}");
            let vary = same.all("vary").join(",").to_lowercase();
            assert!(vary.contains("accept-encoding"), "{coding}: {same:?}");
        }
        let part = larder.ask(&taking(coding).with("Range", "bytes=5-9")).expect(206);
        assert_eq!(part.header("content-encoding"), None, "{coding}: as the app sent it");
        assert_eq!(part.body, &body[5..10], "{coding}");
        assert_eq!(part.header("etag"), Some("\"v1\""), "{coding}: {part:?}");
        let weak = taking(coding).with("Range", "bytes=5-9").with("If-Range", "W/\"v1\"");
        let whole = larder.ask(&weak).expect(200);
        assert!(whole.decoded() == body, "{coding}: a weak tag allows no part");
    }
    assert_eq!(origin.count(), 1);
}

#[test]
fn what_must_stay_as_it_is_does() {
    for (case, line, ask) in [
        ("the app says no-transform", "cache-control: max-age=60, no-transform", None),
        ("the client does", "cache-control: max-age=60", Some("no-transform")),
        ("a digest", "content-digest: sha-256=:x:", None),
    ] {
        let origin = Origin::new(move |_, reply| {
            reply.ok(&["cache-control: max-age=60", "content-type: text/css", line], text(9000));
        });
        let larder = Larder::with(&origin, ALL);
        for _ in 0..2 {
            let accept = taking("br, gzip, zstd");
            let accept = match ask {
                Some(directive) => accept.with("Cache-Control", directive),
                None => accept,
            };
            let answer = larder.ask(&accept).expect(200);
            assert_eq!(answer.header("content-encoding"), None, "{case}: {answer:?}");
            assert!(answer.body == text(9000), "{case}");
        }
    }
}

#[test]
fn the_app_s_own_codings_are_kept_as_they_are() {
    let body = text(9000);
    let plain = body.clone();
    let origin = Origin::new(move |seen, reply| {
        let accept = seen.header("accept-encoding").unwrap_or_default().to_owned();
        let fields =
            ["cache-control: max-age=60", "content-type: text/css", "vary: Accept-Encoding"];
        match ["br", "zstd", "gzip"].into_iter().find(|coding| accept.contains(coding)) {
            Some(coding) => {
                let line = format!("content-encoding: {coding}");
                let etag = format!("etag: \"{coding}\"");
                let fields = [&fields[..], &[&line, &etag]].concat();
                reply.ok(&fields, crate::support::coded(&plain, coding));
            }
            None => reply.ok(&[&fields[..], &["etag: \"plain\""]].concat(), &plain),
        }
    });
    let larder = Larder::with(&origin, ALL);
    for round in 0..2 {
        for (accept, want, asked) in [
            ("zstd, br, gzip", Some("br"), "gzip, br, zstd"),
            ("gzip, deflate", Some("gzip"), "gzip"),
            ("zstd;q=0.5, gzip", Some("zstd"), "gzip, zstd"),
            ("identity", None, "identity"),
        ] {
            let answer = larder.ask(&taking(accept)).expect(200);
            assert_eq!(answer.header("content-encoding"), want, "{accept}: {answer:?}");
            assert!(answer.decoded() == body, "{accept}");
            assert_eq!(answer.was_hit(), round == 1, "{accept}: {answer:?}");
            let etag = format!("\"{}\"", want.unwrap_or("plain"));
            assert_eq!(answer.header("etag"), Some(&*etag), "{accept}: untouched");
            if round == 0 {
                assert_eq!(origin.last().header("accept-encoding"), Some(asked), "{accept}");
            }
        }
    }
    assert_eq!(origin.count(), 4, "each variant once");
    assert_eq!(larder.metrics().count("larder_cache_compressed_total", &[]), 0);
}

#[test]
fn who_takes_br_gets_its_bytes_as_they_come() {
    for (case, cache) in
        [("kept", "cache-control: max-age=60"), ("not kept", "cache-control: no-store")]
    {
        for coding in ["zstd", "br", "gzip"] {
            let gate = Gate::default();
            let held = gate.clone();
            let origin = Origin::new(move |_, reply| {
                reply.start(200, &[cache, "content-type: text/html"]);
                reply.chunk(text(3000));
                held.pass();
                reply.chunk(text(3000));
                reply.end(&[]);
            });
            let larder = Larder::with(&origin, ALL);
            let mut client = larder.connect();
            client.send(taking(coding).bytes());
            let mut answer = client.head();
            assert_eq!(answer.header("content-encoding"), Some(coding), "{case}: {answer:?}");
            let first = client.chunk().expect("a chunk").expect("one comes before the end");
            assert!(!first.is_empty(), "{case}, {coding}");
            answer.body = first;
            gate.open();
            while let Some(chunk) = client.chunk().expect("a chunk") {
                answer.body.extend_from_slice(&chunk);
            }
            assert!(answer.decoded() == [text(3000), text(3000)].concat(), "{case}, {coding}");
        }
    }
}

#[test]
fn every_coding_comes_back_from_disk() {
    let small = text(20_000);
    // Text that takes several segments however it is coded.
    let large: Vec<u8> =
        noise(600_000, 7).iter().flat_map(|b| format!("{b:02x}").into_bytes()).collect();
    let (sent, sent_large) = (small.clone(), large.clone());
    let origin = Origin::new(move |seen, reply| match seen.path() {
        "/" => reply.ok(CSS, &sent),
        _ => reply.ok(CSS, &sent_large),
    });
    let larder = Setup::new(&origin.url()).config(ALL).start_with_disk();
    for coding in ["gzip", "br", "zstd"] {
        larder.ask(&taking(coding)).expect(200);
    }
    let big = Ask::get("/large").with("Accept-Encoding", "br");
    assert!(larder.ask(&big).expect(200).decoded() == large);
    larder.await_hit(&big);
    let asked = origin.count();
    let larder = larder.restart();
    for coding in ["gzip", "br", "zstd"] {
        let answer = larder.ask(&taking(coding)).expect(200);
        assert!(answer.was_hit(), "{coding}: {answer:?}");
        assert_eq!(answer.header("content-encoding"), Some(coding));
        assert!(answer.decoded() == small, "{coding}");
    }
    let answer = larder.ask(&big).expect(200);
    assert!(answer.was_hit() && answer.decoded() == large, "{:?}", answer.headers);
    assert_eq!(answer.header("content-encoding"), Some("br"));
    assert_eq!(origin.count(), asked);
    assert_eq!(larder.metrics().count("larder_cache_compressed_total", &[]), 0, "none made again");
}

#[test]
fn a_purge_takes_every_coding_with_it() {
    let origin = Origin::serving(CSS, text(20_000));
    let larder = Larder::with(&origin, ALL);
    for coding in ["gzip", "br", "zstd"] {
        larder.ask(&taking(coding)).expect(200);
    }
    larder.admin_post("/api/purge", "{\"url\": \"/\"}").expect(200);
    for (n, coding) in ["br", "gzip", "zstd"].into_iter().enumerate() {
        assert_eq!(larder.ask(&taking(coding)).expect(200).was_hit(), n > 0, "{coding}");
    }
    assert_eq!(origin.count(), 2);
}

#[test]
fn curl_reads_what_it_is_sent() {
    let body = text(50_000);
    let origin = Origin::serving(CSS, body.clone());
    let larder = Larder::with(&origin, ALL);
    let url = format!("http://{}/", larder.proxy);
    let version = Command::new("curl").arg("--version").output().expect("curl starts");
    let features = String::from_utf8_lossy(&version.stdout).into_owned();
    for round in 0..2 {
        for (coding, feature) in [("zstd", "zstd"), ("br", "brotli"), ("gzip", "libz")] {
            if !features.contains(feature) {
                continue;
            }
            let accept = format!("Accept-Encoding: {coding}");
            let output = Command::new("curl")
                .args(["-sS", "--compressed", "-D", "/dev/stderr", "-H", &accept, &url])
                .output()
                .expect("curl starts");
            let head = String::from_utf8_lossy(&output.stderr).to_lowercase();
            assert!(output.status.success(), "{coding}: {head}");
            assert!(head.contains(&format!("content-encoding: {coding}\r\n")), "{round}: {head}");
            assert!(
                output.stdout == body,
                "{coding}, round {round}: {} bytes",
                output.stdout.len()
            );
        }
    }
    assert_eq!(origin.count(), 1);
}
