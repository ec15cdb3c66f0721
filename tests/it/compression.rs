//! gzip by Larder.

use crate::support::{Ask, Larder, Origin, noise, text};

const CSS: &[&str] = &["cache-control: max-age=60", "content-type: text/css", "etag: \"v1\""];

fn gzip() -> Ask {
    Ask::get("/").with("Accept-Encoding", "gzip, deflate, br")
}

#[test]
fn compressible_bodies_are_gzipped_once_and_equal_after_decoding() {
    let body = text(20_000);
    let origin = Origin::serving(CSS, body.clone());
    let larder = Larder::in_front_of(&origin);
    let mut sizes = Vec::new();
    for n in 0..5 {
        let answer = larder.ask(&gzip()).expect(200);
        assert!(answer.is_gzip(), "{answer:?}");
        assert_eq!(answer.decoded(), body);
        assert!(answer.body.len() < body.len() / 4, "{} bytes", answer.body.len());
        assert!(answer.all("vary").join(",").to_lowercase().contains("accept-encoding"));
        assert_eq!(answer.header("etag"), Some("W/\"v1\""), "no strong ETag for two codings");
        assert_ne!(answer.header("accept-ranges"), Some("bytes"));
        if n > 0 {
            assert!(answer.was_hit(), "{answer:?}");
            let len = answer.header("content-length").expect("a length");
            assert_eq!(len, answer.body.len().to_string());
        }
        sizes.push(answer.body.len());
    }
    let metrics = larder.metrics();
    assert_eq!(metrics.count("larder_cache_compressed_total", &[]), 1, "compressed once");
    assert_eq!(origin.count(), 1);
}

#[test]
fn who_refuses_gzip_gets_identity_from_the_same_entry() {
    let body = text(20_000);
    let origin = Origin::serving(CSS, body.clone());
    let larder = Larder::in_front_of(&origin);
    larder.ask(&gzip()).expect(200);
    for (case, accept, coded) in [
        ("identity", "identity", false),
        ("weight zero", "gzip;q=0", false),
        ("star refused", "*;q=0, identity", false),
        ("only br", "br", false),
        ("empty", "", false),
        ("star", "*", true),
        ("weighted", "br;q=1, gzip;q=0.5", true),
        ("in capitals", "GZIP", true),
        ("x-gzip", "x-gzip", true),
        ("identity preferred", "identity;q=1, gzip;q=0.1", false),
    ] {
        let answer = larder.ask(&Ask::get("/").with("Accept-Encoding", accept)).expect(200);
        assert_eq!(answer.is_gzip(), coded, "{case}: {answer:?}");
        assert_eq!(answer.decoded(), body, "{case}");
        assert!(answer.was_hit(), "{case}: {answer:?}");
    }
    let none = larder.get("/").expect(200);
    assert!(!none.is_gzip(), "{none:?}");
    assert!(none.all("vary").join(",").to_lowercase().contains("accept-encoding"), "{none:?}");
    assert_eq!(origin.count(), 1);
}

#[test]
fn what_gains_nothing_stays_as_it_is() {
    for (case, headers, body) in [
        ("small", &["cache-control: max-age=60", "content-type: text/css"][..], text(500)),
        ("an image", &["cache-control: max-age=60", "content-type: image/png"], noise(9000, 8)),
        ("no type", &["cache-control: max-age=60"], text(9000)),
        (
            "no-transform",
            &["cache-control: max-age=60, no-transform", "content-type: text/css"],
            text(9000),
        ),
        (
            "coded already",
            &["cache-control: max-age=60", "content-type: text/css", "content-encoding: br"],
            text(9000),
        ),
    ] {
        let sent = body.clone();
        let origin = Origin::new(move |_, reply| reply.ok(headers, &sent));
        let larder = Larder::in_front_of(&origin);
        for _ in 0..2 {
            let answer = larder.ask(&gzip()).expect(200);
            assert!(!answer.is_gzip(), "{case}: {answer:?}");
            assert!(answer.body == body, "{case}");
        }
    }
}

#[test]
fn compression_can_be_turned_off() {
    let origin = Origin::serving(CSS, text(9000));
    let larder = Larder::with(&origin, "[compression]\ncodings = []\n");
    assert!(!larder.ask(&gzip()).expect(200).is_gzip());
    assert!(!larder.ask(&gzip()).expect(200).is_gzip());
}

#[test]
fn the_origins_own_gzip_is_passed_and_never_sent_to_who_refuses_it() {
    let body = text(9000);
    let plain = body.clone();
    let origin = Origin::new(move |seen, reply| {
        let accepts = seen.all("accept-encoding").iter().any(|v| v.contains("gzip"));
        let headers =
            ["cache-control: max-age=60", "content-type: text/css", "vary: Accept-Encoding"];
        if accepts {
            use std::io::Write;
            let mut coder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            coder.write_all(&plain).expect("gzip");
            let coded = coder.finish().expect("gzip");
            reply.ok(&[&headers[..], &["content-encoding: gzip"]].concat(), coded);
        } else {
            reply.ok(&headers, &plain);
        }
    });
    let larder = Larder::in_front_of(&origin);
    for _ in 0..2 {
        assert_eq!(larder.ask(&gzip()).expect(200).decoded(), body);
        let identity = larder.ask(&Ask::get("/").with("Accept-Encoding", "identity")).expect(200);
        assert!(!identity.is_gzip(), "{identity:?}");
        assert!(identity.body == body);
    }
}

#[test]
fn head_says_what_get_would() {
    let origin = Origin::serving(CSS, text(9000));
    let larder = Larder::in_front_of(&origin);
    larder.ask(&gzip()).expect(200);
    let get = larder.ask(&gzip()).expect(200);
    let head = larder.ask(&Ask::head("/").with("Accept-Encoding", "gzip")).expect(200);
    for name in ["content-length", "content-encoding", "etag", "vary", "content-type"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
    }
}

#[test]
fn uncacheable_bodies_are_gzipped_on_their_way() {
    let body = text(50_000);
    let origin =
        Origin::serving(&["cache-control: no-store", "content-type: text/html"], body.clone());
    let larder = Larder::in_front_of(&origin);
    let answer = larder.ask(&gzip()).expect(200);
    assert_eq!(answer.decoded(), body);
    assert!(answer.is_gzip(), "{answer:?}");
}
