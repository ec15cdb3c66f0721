//! Interim responses (1xx): passed on as they come, to who asked, never stored (RFC 9110 §15.2).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{Ask, Client, Ending, Gate, Larder, Origin, SOON, Setup, eventually, noise};

const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";

/// The next head as it came, interim or final.
fn head(client: &mut Client) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(client.exactly(1).unwrap_or_else(|e| {
            panic!("{e:?} after {}", String::from_utf8_lossy(&head));
        }));
    }
    String::from_utf8(head).unwrap()
}

/// The names and values of a head's field lines, in lower case.
fn fields(head: &str) -> Vec<String> {
    head.trim_end().lines().skip(1).map(str::to_lowercase).collect()
}

#[test]
fn two_early_hints_come_before_the_answer_and_never_cut_into_pipelined_ones() {
    let gates: Arc<Vec<Gate>> = Arc::new((0..6).map(|_| Gate::default()).collect());
    let held = Arc::clone(&gates);
    let next = AtomicUsize::new(0);
    let origin = Origin::new(move |seen, reply| match seen.path() {
        "/slow" => {
            let gate = next.fetch_add(2, Ordering::SeqCst);
            reply.raw(
                "HTTP/1.1 103 Early Hints\r\nLink: </1>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
                 Keep-Alive: timeout=5\r\nX-My-Header: test\r\nLink: </2>\r\n\r\n",
            );
            held[gate].pass();
            reply.raw("HTTP/1.1 103 Early Hints\r\nLink: </3>\r\n\r\n");
            held[gate + 1].pass();
            reply.ok(&["cache-control: no-store"], "slow");
        }
        _ => reply.ok(&["cache-control: max-age=600"], "stored"),
    });
    let larder = Larder::in_front_of(&origin);
    larder.get("/hit").expect(200);
    larder.await_hit(&Ask::get("/hit"));
    let mut client = larder.connect();
    for round in 0..3 {
        // All in one go, a hit before and two behind.
        let hit = Ask::get("/hit").bytes();
        client.send([&hit[..], &Ask::get("/slow").bytes(), &hit, &hit].concat());
        let first = client.answer("GET").expect(200);
        assert!(first.was_hit() && first.interim.is_empty(), "{first:?}");
        let hints = head(&mut client);
        assert!(hints.starts_with("HTTP/1.1 103 Early Hints\r\n"), "{hints}");
        let fields = fields(&hints);
        assert_eq!(fields[..3], ["link: </1>", "link: </2>", "x-my-header: test"], "{hints}");
        assert!(fields[3].starts_with("via: 1.1 larder"), "{hints}");
        assert_eq!(fields.len(), 4, "nothing hop by hop: {hints}");
        gates[2 * round].open();
        let hints = head(&mut client);
        assert!(hints.contains("103 Early Hints\r\nlink: </3>\r\n"), "{hints}");
        gates[2 * round + 1].open();
        let answer = client.answer("GET").expect(200);
        assert_eq!((answer.text().as_str(), answer.interim.len()), ("slow", 0));
        for _ in 0..2 {
            let hit = client.answer("GET").expect(200);
            assert!(hit.was_hit() && hit.interim.is_empty() && hit.text() == "stored", "{hit:?}");
        }
    }
}

/// What the public suite's `interim-*` tests demand, byte for byte as its server writes it.
#[test]
fn the_final_answer_is_stored_without_what_came_before() {
    let origin = Origin::new(|_, reply| {
        let last = "HTTP/1.1 200 OK\r\nCache-Control: max-age=100000\r\nContent-Length: 5\r\n\r\n";
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-My-Header: test\r\n\r\n";
        // In one write, so that all of it is there when the first is read.
        reply.raw(format!("HTTP/1.1 102 Processing\r\n\r\n{hints}{last}final"));
    });
    let larder = Larder::in_front_of(&origin);
    let first = larder.get("/").expect(200);
    assert_eq!((first.interim.as_slice(), first.text().as_str()), (&[102, 103][..], "final"));
    assert!(first.was_stored() && first.header("x-my-header").is_none(), "{first:?}");
    let second = larder.await_hit(&Ask::get("/"));
    assert_eq!((second.interim.as_slice(), second.text().as_str()), (&[][..], "final"));
    assert!(second.all("x-my-header").is_empty() && second.all("link").is_empty(), "{second:?}");
    assert_eq!(origin.count(), 1);
}

#[test]
fn every_way_to_the_origin_passes_them_on() {
    let origin = Origin::new(|seen, reply| {
        reply.raw("HTTP/1.1 100 Continue\r\n\r\n");
        reply.raw(HINTS);
        if seen.header("if-none-match").is_some() {
            return reply.answer(304, &["cache-control: no-cache", "etag: \"1\""], "");
        }
        reply.ok(&["cache-control: no-cache", "etag: \"1\""], "final");
    });
    let larder = Larder::in_front_of(&origin);
    for (case, ask) in [
        ("a miss", Ask::get("/")),
        ("a validation", Ask::get("/")),
        ("HEAD", Ask::head("/head")),
        ("a range", Ask::get("/range").with("Range", "bytes=0-1")),
        ("POST", Ask::post("/post", "body")),
        ("authorised", Ask::get("/mine").with("Authorization", "x")),
        ("an upgrade refused", {
            Ask::get("/ws").with("Connection", "upgrade").with("Upgrade", "websocket")
        }),
    ] {
        // The origin knows no ranges: Larder cuts the part out of the whole.
        let answer = larder.ask(&ask).expect(if case == "a range" { 206 } else { 200 });
        assert_eq!(answer.interim, [103], "{case}: the 100 is between Larder and the app");
    }
    assert_eq!(larder.get("/").interim, [103], "validated again");
}

#[test]
fn an_upload_that_waits_for_100_gets_both() {
    let origin = Origin::new(|seen, reply| {
        reply.raw(HINTS);
        reply.ok(&[], &seen.body);
    });
    let larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    let ask = "POST / HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n";
    client.send(format!("{ask}\r\n"));
    assert!(head(&mut client).starts_with("HTTP/1.1 100 "));
    client.send("hello");
    let answer = client.answer("POST").expect(200);
    assert_eq!((answer.interim.as_slice(), answer.text().as_str()), (&[103][..], "hello"));
}

#[test]
fn hints_before_a_tunnel_come_before_its_101() {
    let origin = Origin::new(|_, reply| {
        reply.raw(HINTS);
        reply.raw(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        let bytes = reply.read(SOON);
        reply.raw(bytes);
        reply.close();
    });
    let larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    let ask = Ask::get("/ws").with("Connection", "upgrade").with("Upgrade", "websocket");
    client.send(ask.bytes());
    assert!(head(&mut client).starts_with("HTTP/1.1 103 "));
    assert!(head(&mut client).starts_with("HTTP/1.1 101 "));
    client.send("frame");
    assert_eq!(client.exactly(5).unwrap(), b"frame");
}

#[test]
fn an_http_1_0_client_gets_none() {
    let origin = Origin::new(|_, reply| {
        reply.raw(HINTS);
        reply.ok(&["cache-control: no-store"], "final");
    });
    let larder = Larder::in_front_of(&origin);
    for method in ["GET", "POST"] {
        let ask = format!("{method} / HTTP/1.0\r\nHost: app.test\r\nContent-Length: 0\r\n\r\n");
        let answer = larder.send(ask).expect(200);
        assert_eq!((answer.interim.as_slice(), answer.text().as_str()), (&[][..], "final"));
    }
}

#[test]
fn who_joins_a_fetch_gets_none() {
    let (early, late) = (Gate::default(), Gate::default());
    let held = (early.clone(), late.clone());
    let origin = Origin::new(move |_, reply| {
        reply.raw(HINTS);
        held.0.pass();
        reply.raw(HINTS);
        held.1.pass();
        reply.ok(&["cache-control: max-age=60"], "final");
    });
    let larder = Larder::in_front_of(&origin);
    let mut leader = larder.connect();
    leader.send(Ask::get("/").bytes());
    assert!(head(&mut leader).starts_with("HTTP/1.1 103 "));
    let mut follower = larder.connect();
    follower.send(Ask::get("/").bytes());
    let waits = || larder.metrics().count("larder_collapsed_requests_total", &[]) == 1;
    eventually("the second to wait for the first", SOON, waits);
    early.open();
    assert!(head(&mut leader).starts_with("HTTP/1.1 103 "));
    late.open();
    let answer = follower.answer("GET").expect(200);
    assert_eq!((answer.interim.as_slice(), answer.text().as_str()), (&[][..], "final"));
    assert!(leader.answer("GET").expect(200).interim.is_empty(), "both were read");
    assert_eq!(origin.count(), 1);
}

/// The answer before still fills every buffer when the hints come.
#[test]
fn a_slow_client_gets_every_byte_in_order() {
    let big = noise(8 << 20, 31);
    let sent = big.clone();
    let hinted = Arc::new(AtomicUsize::new(0));
    let done = Arc::clone(&hinted);
    let origin = Origin::new(move |seen, reply| {
        if seen.path() == "/big" {
            return reply.ok(&["cache-control: no-store"], &sent);
        }
        for n in 0..5 {
            let link = "x".repeat(2000);
            reply.raw(format!("HTTP/1.1 103 Early Hints\r\nLink: {n}{link}\r\n\r\n"));
        }
        done.fetch_add(1, Ordering::SeqCst);
        reply.ok(&["cache-control: no-store"], "final");
    });
    let larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    let pair = [Ask::get("/big").bytes(), Ask::get("/hints").bytes()].concat();
    client.send(pair.repeat(3));
    for round in 0..3 {
        let answer = client.head().expect(200);
        assert!(answer.interim.is_empty());
        let mut got = Vec::new();
        while got.len() < big.len() {
            // The throttle itself, not a wait: what is not read yet blocks Larder's writes.
            std::thread::sleep(Duration::from_millis(2));
            let more = client.exactly((big.len() - got.len()).min(128 << 10)).expect("more of it");
            got.extend(more);
        }
        assert!(got == big, "round {round}: a hint has cut into the body");
        let answer = client.answer("GET").expect(200);
        assert_eq!((answer.interim.len(), answer.text().as_str()), (5, "final"), "round {round}");
    }
    assert_eq!(hinted.load(Ordering::SeqCst), 3);
}

#[test]
fn a_malformed_one_is_502_and_ends_the_connection_to_the_origin() {
    for (case, interim) in [
        ("bare LF", "HTTP/1.1 103 Early Hints\nLink: </a>\r\n\r\n"),
        ("obs-fold", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n ;b\r\n\r\n"),
        ("bare CR", "HTTP/1.1 103 Early Hints\r\nLink: a\rb\r\n\r\n"),
        ("no colon", "HTTP/1.1 103 Early Hints\r\nLink\r\n\r\n"),
        ("a body", "HTTP/1.1 103 Early Hints\r\nContent-Length: 4\r\n\r\nbody"),
        ("both lengths", {
            "HTTP/1.1 103 Hi\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"
        }),
    ] {
        let last = "HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 1\r\n\r\nx";
        let origin = Origin::sending(format!("{HINTS}{interim}{last}"));
        let larder = Larder::in_front_of(&origin);
        for _ in 0..2 {
            let answer = larder.get("/");
            assert_eq!(answer.status, 502, "{case}: {answer:?}");
            assert!(answer.interim.iter().all(|status| *status == 103), "{case}: {answer:?}");
        }
        assert_eq!(origin.count(), 2, "{case}: nothing of it was stored");
        assert_eq!(larder.metrics().count("larder_upstream_connections", &[]), 0, "{case}");
    }
}

#[test]
fn sixteen_are_enough_and_a_flood_is_502() {
    let origin = Origin::new(|seen, reply| {
        if seen.path() == "/many" {
            let last = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfinal";
            return reply.raw(format!("{}{last}", HINTS.repeat(40)));
        }
        let flood = HINTS.repeat(100);
        for _ in 0..1000 {
            reply.raw(&flood);
            if reply.await_close(Duration::from_millis(1)) {
                break;
            }
        }
        reply.close();
    });
    let larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    for _ in 0..3 {
        let answer = client.ask(&Ask::get("/many")).expect(200);
        assert_eq!((answer.interim.len(), answer.text().as_str()), (16, "final"));
    }
    let answer = client.ask(&Ask::get("/flood")).expect(502);
    assert!(answer.interim.len() <= 16, "{answer:?}");
    assert!(answer.header("proxy-status").unwrap().contains("http_protocol_error"), "{answer:?}");
    assert_eq!(client.ask(&Ask::get("/many")).expect(200).text(), "final", "the client stays");
}

#[test]
fn a_client_that_left_and_one_that_is_answered_stale_get_none() {
    let gate = Gate::default();
    let held = gate.clone();
    let asked = AtomicUsize::new(0);
    let origin = Origin::new(move |seen, reply| match seen.path() {
        "/swr" if asked.fetch_add(1, Ordering::SeqCst) == 0 => {
            let stale = "cache-control: max-age=1, stale-while-revalidate=600";
            reply.ok(&[stale, "age: 10"], "old");
        }
        "/swr" => {
            reply.raw(HINTS);
            held.pass();
            reply.raw(HINTS);
            reply.ok(&["cache-control: max-age=60"], "new");
        }
        "/left" => {
            reply.raw(HINTS);
            reply.await_close(Duration::from_millis(300));
            reply.raw(HINTS.repeat(30));
            reply.ok(&["cache-control: max-age=60"], "left");
        }
        _ => reply.ok(&["cache-control: max-age=60"], "stored"),
    });
    let larder = Setup::new(&origin.url()).without_disk().workers(1).start();
    larder.get("/swr").expect(200);
    larder.get("/hit").expect(200);
    let mut client = larder.connect();
    for _ in 0..20 {
        let answer = client.ask(&Ask::get("/swr")).expect(200);
        assert_eq!((answer.interim.len(), answer.text().as_str()), (0, "old"));
        let answer = client.ask(&Ask::get("/hit")).expect(200);
        assert_eq!((answer.interim.len(), answer.text().as_str()), (0, "stored"));
    }
    origin.await_count(3);
    gate.open();
    eventually("the new one to be stored", SOON, || {
        let answer = client.ask(&Ask::get("/swr")).expect(200);
        assert!(answer.interim.is_empty(), "{answer:?}");
        answer.text() == "new"
    });
    let mut leaver = larder.connect();
    leaver.send(Ask::get("/left").bytes());
    assert!(head(&mut leaver).starts_with("HTTP/1.1 103 "));
    drop(leaver);
    let (answer, rest) = (larder.get("/hit").expect(200), client.ask(&Ask::get("/hit")));
    assert!(
        answer.interim.is_empty() && rest.interim.is_empty() && rest.ending == Ending::Complete
    );
}
