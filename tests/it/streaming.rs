//! Bodies as streams: both ways, with trailers, and held back by nobody.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::support::{Ask, Ending, Gate, Larder, Origin, SOON, Setup, eventually, noise};

#[test]
fn server_sent_events_come_one_by_one_with_gzip_on() {
    for accept in ["identity", "gzip"] {
        let gates: Vec<Gate> = (0..4).map(|_| Gate::default()).collect();
        let held = gates.clone();
        let origin = Origin::new(move |_, reply| {
            reply.start(200, &["content-type: text/event-stream", "cache-control: no-cache"]);
            for (n, gate) in held.iter().enumerate() {
                gate.pass();
                reply.chunk(format!("data: event {n} {}\n\n", "x".repeat(2000)));
            }
            reply.end(&[]);
        });
        let larder = Larder::in_front_of(&origin);
        let mut client = larder.connect();
        let ask = Ask::get("/events").with("Accept", "text/event-stream");
        client.send(ask.with("Accept-Encoding", accept).bytes());
        let head = client.head().expect(200);
        let mut plain = flate2::write::GzDecoder::new(Vec::new());
        for (n, gate) in gates.iter().enumerate() {
            gate.open();
            let end = format!("event {n} {}\n\n", "x".repeat(2000));
            loop {
                let chunk = client.chunk().expect("in time").expect("not the last");
                if head.is_gzip() {
                    plain.write_all(&chunk).and_then(|()| plain.flush()).expect("gzip");
                } else {
                    plain.get_mut().extend_from_slice(&chunk);
                }
                if plain.get_ref().ends_with(end.as_bytes()) {
                    break;
                }
            }
        }
        assert_eq!(client.chunk(), Ok(None));
    }
}

#[test]
fn a_cacheable_stream_reaches_its_client_before_it_is_whole() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::new(move |_, reply| {
        reply.start(200, &["cache-control: max-age=60", "content-type: application/octet-stream"]);
        reply.chunk("first");
        held.pass();
        reply.chunk("second");
        reply.end(&[]);
    });
    let larder = Larder::in_front_of(&origin);
    let mut clients = [larder.connect(), larder.connect()];
    for client in &mut clients {
        client.send(Ask::get("/").bytes());
        client.head().expect(200);
        assert_eq!(client.chunk().unwrap().unwrap(), b"first");
    }
    gate.open();
    for client in &mut clients {
        assert_eq!(client.chunk().unwrap().unwrap(), b"second");
        assert_eq!(client.chunk(), Ok(None));
    }
    assert_eq!(origin.count(), 1, "the second joined the running fetch");
}

#[test]
fn an_upload_reaches_the_origin_while_it_is_sent() {
    let origin = Origin::new(|seen, reply| {
        reply.ok(&[], format!("{} {:?}", seen.body.len(), seen.trailers));
    });
    let larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    client.send("POST /up HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n");
    client.send("Trailer: X-Sum\r\n\r\n");
    for _ in 0..100 {
        client.send(format!("{:x}\r\n", 10_000));
        client.send(noise(10_000, 4));
        client.send("\r\n");
    }
    client.send("0\r\nX-Sum: 42\r\n\r\n");
    let answer = client.answer("POST").expect(200);
    assert!(answer.text().starts_with("1000000 "), "{}", answer.text());
    let seen = origin.last();
    assert_eq!(seen.body, noise(10_000, 4).repeat(100));
    let trailer = seen.trailers.first().map(|(n, v)| (n.to_lowercase(), v.clone()));
    assert_eq!(trailer, Some(("x-sum".to_owned(), "42".to_owned())), "trailers reach the origin");
}

#[test]
fn trailers_of_the_origin_reach_the_client() {
    for cache_control in ["no-store", "max-age=60"] {
        let header = format!("cache-control: {cache_control}");
        let origin = Origin::new(move |_, reply| {
            reply.start(200, &[&header, "trailer: X-Sum"]);
            reply.chunk("body");
            reply.end(&["X-Sum: 42"]);
        });
        let larder = Larder::in_front_of(&origin);
        let answer = larder.ask(&Ask::get("/").with("TE", "trailers")).expect(200);
        assert_eq!(answer.body, b"body");
        let trailer = answer.trailers.first().map(|(n, v)| (n.to_lowercase(), v.clone()));
        assert_eq!(trailer, Some(("x-sum".into(), "42".into())), "{cache_control}: {answer:?}");
    }
}

#[test]
fn a_throttled_client_gets_a_large_hit_byte_for_byte() {
    let body = noise(5 << 20, 5);
    let sent = body.clone();
    let origin = Origin::new(move |_, reply| reply.ok(&["cache-control: max-age=60"], &sent));
    let larder = Setup::new(&origin.url()).start_with_disk();
    assert!(larder.get("/big").expect(200).body == body);
    let hit = larder.await_hit(&Ask::get("/big"));
    assert!(hit.body == body, "a quick client");
    let mut client = larder.connect();
    client.send(Ask::get("/big").bytes());
    let head = client.head().expect(200);
    assert!(head.was_hit(), "{head:?}");
    let mut got = Vec::new();
    let mut pauses = 0;
    while got.len() < body.len() {
        if pauses < 100 {
            std::thread::sleep(Duration::from_millis(5)); // the throttle itself, not a wait
            pauses += 1;
        }
        let some = client.exactly((body.len() - got.len()).min(32_768)).expect("more of it");
        got.extend_from_slice(&some);
    }
    assert!(got == body, "a slow client");
}

#[test]
fn an_origin_answer_in_many_pieces_is_stored_right() {
    let body = noise(600_000, 6);
    let sent = body.clone();
    let origin = Origin::new(move |_, reply| {
        reply.start(200, &["cache-control: max-age=60"]);
        for (n, piece) in sent.chunks(1777).enumerate() {
            reply.chunk(piece);
            if n % 50 == 0 {
                std::thread::yield_now();
            }
        }
        reply.end(&[]);
    });
    let larder = Setup::new(&origin.url()).start_with_disk();
    assert!(larder.get("/").expect(200).body == body, "first");
    assert!(larder.await_hit(&Ask::get("/")).body == body, "stored");
}

#[test]
fn a_request_body_that_breaks_off_resets_the_origin() {
    let origin = Origin::new(|_, reply| reply.ok(&[], "never"));
    let larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    client.send("POST / HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("5\r\nhello\r\n");
    eventually("the origin to be connected to", SOON, || origin.connections() > 0);
    drop(client);
    origin.await_count(1);
    assert!(!origin.last().whole, "the body must not seem whole");
    larder.get("/next").expect(200);
}

#[test]
fn a_client_that_leaves_frees_the_origin() {
    let origin = Origin::new(|_, reply| {
        reply.start(200, &["cache-control: no-store"]);
        let start = Instant::now();
        while start.elapsed() < SOON {
            reply.chunk(noise(10_000, 7));
            if reply.await_close(Duration::from_millis(1)) {
                break;
            }
        }
        reply.close();
    });
    let larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    client.send(Ask::get("/").bytes());
    client.head().expect(200);
    client.chunk().expect("a chunk");
    drop(client);
    eventually("no fetch to be left", SOON, || {
        larder.metrics().count("larder_connections", &[]) == 0
    });
}

#[test]
fn a_body_cut_short_by_a_slow_origin_does_not_end_cleanly() {
    let origin = Origin::new(|_, reply| {
        reply.start(200, &["cache-control: no-store"]);
        reply.chunk("begun");
        reply.await_close(SOON);
        reply.close();
    });
    let config =
        format!("[[upstream]]\nurl = \"{}\"\nbetween_bytes_timeout = \"300ms\"\n", origin.url());
    let larder = Larder::with(&origin, &config);
    let answer = larder.get("/");
    assert!(!answer.is_whole() || answer.status == 504, "{answer:?}");
    assert_ne!(answer.ending, Ending::TimedOut);
}

/// An event stream has an idle bound of its own: not the origin's pace, but the tunnels' bound.
#[test]
fn an_event_stream_may_pause_for_longer_than_other_bodies_but_not_for_ever() {
    for accept in ["identity", "gzip"] {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::new(move |_, reply| {
            reply.start(200, &["content-type: text/event-stream", "cache-control: no-cache"]);
            reply.chunk("data: 1\n\n");
            held.pass();
            reply.chunk("data: 2\n\n");
            reply.await_close(SOON);
            reply.close();
        });
        let config = format!(
            "[[upstream]]\nurl = \"{}\"\nbetween_bytes_timeout = \"200ms\"\n\
             [limits]\ntunnel_timeout = \"2s\"\nidle_timeout = \"200ms\"\nwrite_timeout = \"200ms\"\n",
            origin.url()
        );
        let larder = Larder::with(&origin, &config);
        let mut client = larder.connect();
        client.send(Ask::get("/").with("Accept-Encoding", accept).bytes());
        client.head().expect(200);
        client.chunk().expect("in time").expect("the first event");
        // The pause is what is tested: longer than every other bound.
        std::thread::sleep(Duration::from_millis(700));
        gate.open();
        client.chunk().expect("after a pause").expect("the second event");
        let paused = Instant::now();
        let end = loop {
            match client.chunk() {
                Ok(Some(_)) => {}
                end => break end,
            }
        };
        assert!(end.is_err(), "{accept}: no clean end: {end:?}");
        let paused = paused.elapsed();
        assert!(paused > Duration::from_secs(1) && paused < Duration::from_secs(20), "{paused:?}");
    }
}

/// As `nc -N` does: the client says that it is done, and still wants its answers.
#[test]
fn a_client_that_shuts_down_its_side_gets_its_answers() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::new(move |seen, reply| {
        if seen.path() == "/slow" {
            held.pass();
        }
        reply.ok(&["cache-control: max-age=60"], &seen.target);
    });
    let larder = Larder::in_front_of(&origin);
    larder.get("/hit").expect(200);
    let mut client = larder.connect();
    let asks = ["/slow", "/hit", "/miss"].map(|target| Ask::get(target).bytes());
    client.send([asks.concat(), Ask::post("/post", "body").bytes()].concat());
    client.finish_sending();
    origin.await_count(2);
    gate.open();
    for target in ["/slow", "/hit", "/miss", "/post"] {
        assert_eq!(client.answer("GET").expect(200).text(), target);
    }
    assert_eq!(client.rest(), (Vec::new(), Ending::Closed));
    // Unless it is not done at all.
    let mut client = larder.connect();
    client.send("POST /cut HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf");
    client.finish_sending();
    let answer = client.answer("POST");
    assert!(matches!(answer.status, 0 | 400), "{answer:?}");
    eventually("the origin to be told", SOON, || {
        origin.seen().iter().all(|seen| seen.path() != "/cut" || !seen.whole)
            && larder.metrics().count("larder_connections", &[]) == 0
    });
}
