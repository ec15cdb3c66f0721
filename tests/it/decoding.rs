//! What the app sends coded although a client cannot take it: decoded on the way, bounded.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{
    Ask, Ending, Gate, Larder, Origin, SOON, Setup, coded, eventually, noise, text,
};

const CODINGS: [&str; 3] = ["gzip", "br", "zstd"];

/// An app that codes whatever it is asked for, for everybody, and says no Vary.
fn stubborn(coding: &'static str, cache: &'static str, plain: Vec<u8>) -> Origin {
    let body = coded(&plain, coding);
    let line = format!("content-encoding: {coding}");
    Origin::new(move |_, reply| {
        let fields = [
            cache,
            &line,
            "content-type: text/css",
            "etag: \"v1\"",
            "accept-ranges: bytes",
            "content-digest: sha-256=:x:",
        ];
        reply.ok(&fields, &body);
    })
}

#[test]
fn each_client_gets_what_it_can_read() {
    let body = text(30_000);
    for coding in CODINGS {
        for (case, cache, kept) in [
            ("kept", "cache-control: max-age=60", true),
            ("not kept", "cache-control: no-store", false),
        ] {
            let origin = stubborn(coding, cache, body.clone());
            let larder = Larder::in_front_of(&origin);
            for round in 0..2 {
                for (accept, takes) in [
                    (coding, true),
                    ("gzip, br, zstd;q=0.5", true),
                    ("identity", false),
                    ("", false),
                    ("deflate", false),
                    ("*;q=0, identity", false),
                ] {
                    let why = format!("{coding}, {case}, {accept:?}, round {round}");
                    let ask = Ask::get("/").with("Accept-Encoding", accept);
                    let answer = larder.ask(&ask).expect(200);
                    let want = takes.then_some(coding);
                    assert_eq!(answer.header("content-encoding"), want, "{why}: {answer:?}");
                    assert!(answer.is_whole() && answer.decoded() == body, "{why}: {answer:?}");
                    assert_eq!(answer.was_hit(), kept && (round, accept) != (0, coding), "{why}");
                    let vary = answer.all("vary").join(",").to_lowercase();
                    assert!(vary.contains("accept-encoding"), "{why}: {answer:?}");
                    let etag = if takes { "\"v1\"" } else { "W/\"v1\"" };
                    assert_eq!(answer.header("etag"), Some(etag), "{why}: {answer:?}");
                    for name in ["content-digest", "accept-ranges", "content-length"] {
                        assert_eq!(
                            answer.header(name).is_some(),
                            takes,
                            "{why}, {name}: {answer:?}"
                        );
                    }
                    let head = Ask::head("/").with("Accept-Encoding", accept);
                    let head = larder.ask(&head).expect(200);
                    for name in ["content-encoding", "content-length", "etag", "vary"] {
                        assert_eq!(head.header(name), answer.header(name), "{why}: HEAD, {name}");
                    }
                }
            }
            if kept {
                assert_eq!(origin.count(), 1, "{coding}: one entry for all");
            }
        }
    }
}

#[test]
fn conditionals_and_ranges_of_what_is_decoded() {
    let body = text(30_000);
    for coding in CODINGS {
        let sent = coded(&body, coding);
        let origin = stubborn(coding, "cache-control: max-age=60", body.clone());
        let larder = Larder::in_front_of(&origin);
        let plain = larder.get("/").expect(200);
        assert!(plain.body == body);
        let same = Ask::get("/").with("If-None-Match", plain.header("etag").expect("a tag"));
        assert_eq!(larder.ask(&same).expect(304).header("etag"), Some("W/\"v1\""));
        // Parts are of what the app sent: who cannot read them gets the whole.
        let range = Ask::get("/").with("Range", "bytes=2-5");
        let whole = larder.ask(&range).expect(200);
        assert!(whole.body == body && whole.header("content-range").is_none(), "{whole:?}");
        let part = larder.ask(&range.with("Accept-Encoding", coding)).expect(206);
        assert_eq!(part.header("content-encoding"), Some(coding), "{part:?}");
        assert_eq!(part.body, &sent[2..6], "{coding}");
        assert_eq!(origin.count(), 1);
    }
}

#[test]
fn what_may_not_be_decoded_stays_coded() {
    let body = text(30_000);
    for (case, config, cache, ask) in [
        ("the app says no-transform", "", "cache-control: max-age=60, no-transform", None),
        ("the client does", "", "cache-control: max-age=60", Some("no-transform")),
        ("by the setting", "[compression]\nmax_decoded = 0\n", "cache-control: max-age=60", None),
        ("passed on", "", "cache-control: no-store, no-transform", None),
    ] {
        let origin = stubborn("br", cache, body.clone());
        let larder = Larder::with(&origin, config);
        for _ in 0..2 {
            let get = match ask {
                Some(directive) => Ask::get("/").with("Cache-Control", directive),
                None => Ask::get("/"),
            };
            let answer = larder.ask(&get).expect(200);
            assert_eq!(answer.header("content-encoding"), Some("br"), "{case}: {answer:?}");
            assert_eq!(answer.header("etag"), Some("\"v1\""), "{case}");
            assert!(answer.decoded() == body, "{case}");
        }
    }
    // Two codings, an unknown one, and parts cannot be taken off.
    for (case, status, lines) in [
        ("two", 200, &["content-encoding: gzip, br"][..]),
        ("unknown", 200, &["content-encoding: deflate"]),
        ("a part", 206, &["content-encoding: br", "content-range: bytes 0-3/9"]),
    ] {
        let origin = Origin::new(move |_, reply| reply.answer(status, lines, "abcd"));
        let larder = Larder::in_front_of(&origin);
        let answer = larder.ask(&Ask::get("/").with("Range", "bytes=0-3")).expect(status);
        assert!(answer.header("content-encoding").is_some(), "{case}: {answer:?}");
        assert_eq!(answer.body, b"abcd", "{case}");
    }
}

#[test]
fn large_bodies_are_decoded_from_segments_and_while_they_come() {
    // Several segments, however it is coded.
    let body: Vec<u8> =
        noise(700_000, 9).iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect();
    for coding in CODINGS {
        let gate = Gate::default();
        let held = gate.clone();
        let sent = coded(&body, coding);
        let line = format!("content-encoding: {coding}");
        let asked = AtomicUsize::new(0);
        let origin = Origin::new(move |_, reply| {
            let middle = sent.len() / 2;
            reply.start(200, &["cache-control: max-age=60", "content-type: text/css", &line]);
            reply.chunk(&sent[..middle]);
            if asked.fetch_add(1, Ordering::SeqCst) == 0 {
                held.pass();
            }
            reply.chunk(&sent[middle..]);
            reply.end(&[]);
        });
        let larder = Setup::new(&origin.url()).start_with_disk();
        let mut clients = [larder.connect(), larder.connect(), larder.connect()];
        clients[0].send(Ask::get("/").bytes());
        let head = clients[0].head();
        assert_eq!(head.header("content-encoding"), None, "{coding}: {head:?}");
        let mut got = clients[0].chunk().expect("a chunk").expect("before the end");
        clients[1].send(Ask::get("/").bytes());
        clients[2].send(Ask::get("/").with("Accept-Encoding", coding).bytes());
        gate.open();
        while let Some(chunk) = clients[0].chunk().expect("a chunk") {
            got.extend_from_slice(&chunk);
        }
        assert!(got == body, "{coding}: {} bytes as they came", got.len());
        for client in &mut clients[1..] {
            let answer = client.answer("GET");
            assert!(
                answer.is_whole() && answer.decoded() == body,
                "{coding}: {:?}",
                answer.headers
            );
        }
        let hit = larder.await_hit(&Ask::get("/"));
        assert!(hit.is_whole() && hit.body == body, "{coding}: from segments");
        larder.await_on_disk(1);
        let larder = larder.restart();
        let hit = larder.get("/").expect(200);
        assert!(hit.was_hit() && hit.body == body, "{coding}: {:?}", hit.headers);
        assert_eq!(origin.count(), 1, "{coding}");
    }
}

#[test]
fn a_broken_or_lying_body_never_ends_cleanly() {
    let whole = text(300_000);
    for coding in CODINGS {
        for (case, sent) in [
            ("cut off", {
                let sent = coded(&whole, coding);
                sent[..sent.len() / 2].to_vec()
            }),
            ("not coded at all", b"\xffwho says that this is coded\x00\xff".to_vec()),
        ] {
            for cache in ["cache-control: max-age=60", "cache-control: no-store"] {
                let (sent, line) = (sent.clone(), format!("content-encoding: {coding}"));
                let origin = Origin::new(move |_, reply| {
                    reply.ok(&[cache, "content-type: text/css", &line], &sent);
                });
                let larder = Larder::in_front_of(&origin);
                for _ in 0..2 {
                    let answer = larder.get("/");
                    assert_ne!(answer.ending, Ending::Complete, "{coding}, {case}, {cache}");
                    assert!(
                        whole.starts_with(&answer.body),
                        "{coding}, {case}: what came is right"
                    );
                    // Who takes the coding gets the app's bytes, and can tell for itself.
                    let raw = larder.ask(&Ask::get("/").with("Accept-Encoding", coding));
                    assert!(raw.is_whole(), "{coding}, {case}, {cache}: {raw:?}");
                }
            }
        }
    }
}

#[test]
fn a_bomb_costs_little() {
    let bomb = |coding| coded(&vec![b'x'; 256 << 20], coding);
    for (coding, config) in
        [("br", ""), ("zstd", ""), ("gzip", "[compression]\nmax_decoded = \"10MB\"\n")]
    {
        let sent = bomb(coding);
        let line = format!("content-encoding: {coding}");
        let origin = Origin::new(move |_, reply| {
            reply.ok(&["cache-control: max-age=60", "content-type: text/css", &line], &sent);
        });
        let larder = Larder::with(&origin, config);
        let before = larder.metrics().count("process_resident_memory_bytes", &[]);
        for _ in 0..3 {
            let mut client = larder.connect();
            client.patience(Duration::from_secs(20));
            let answer = client.ask(&Ask::get("/"));
            let broken = matches!(answer.ending, Ending::Closed | Ending::Reset);
            assert!(broken, "{coding}: {:?}", answer.ending);
            assert!(answer.body.len() <= 16 << 20, "{coding}: {} bytes", answer.body.len());
        }
        let after = larder.metrics().count("process_resident_memory_bytes", &[]);
        let grown = after.saturating_sub(before);
        assert!(grown < 48 << 20, "{coding}: {grown} bytes more");
        eventually("it is told", SOON, || {
            larder.events().contains("decodes to more than is allowed")
        });
        larder.ask(&Ask::head("/")).expect(200);
    }
}

#[test]
fn an_empty_body_that_says_it_is_coded_is_empty() {
    for cache in ["cache-control: max-age=60", "cache-control: no-store"] {
        let origin = Origin::new(move |_, reply| {
            reply.ok(&[cache, "content-encoding: gzip", "content-type: text/css"], "");
        });
        let larder = Larder::in_front_of(&origin);
        for _ in 0..2 {
            let answer = larder.get("/").expect(200);
            assert!(answer.is_whole() && answer.body.is_empty(), "{answer:?}");
        }
    }
}
