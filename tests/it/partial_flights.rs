//! Fetches of parts under way: who may share them, and what becomes of those that fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::{Ask, Content, Ending, Gate, Larder, Origin, SOON, Setup, eventually, noise};

const LEN: usize = 1000;

fn range(range: &str) -> Ask {
    Ask::get("/").with("Range", &format!("bytes={range}"))
}

fn content() -> Content {
    Content::new(noise(LEN, 1), "\"v1\"")
}

/// Holds every answer back until the gate is open.
fn gated(content: Content) -> (Origin, Gate) {
    let gate = Gate::default();
    let pass = gate.clone();
    let origin = Origin::new(move |seen, reply| {
        pass.pass();
        content.answer(seen, reply);
    });
    (origin, gate)
}

#[test]
fn a_part_is_shared_by_those_alone_who_asked_for_it() {
    let body = noise(LEN, 1);
    let (origin, gate) = gated(content());
    let larder = Larder::in_front_of(&origin);
    let (own, shares) = (true, false);
    let asks = [
        ("leader", own, range("0-99"), 206, 0..100),
        ("the same", shares, range("0-99"), 206, 0..100),
        ("the same again", shares, range("0-99"), 206, 0..100),
        ("another part", own, range("200-299"), 206, 200..300),
        ("with If-Range", own, range("0-99").with("If-Range", "\"v1\""), 206, 0..100),
        ("with another", own, range("0-99").with("If-Range", "\"v0\""), 200, 0..LEN),
        ("permitted", own, range("0-99").with("Authorization", "Basic eA=="), 206, 0..100),
        ("all", own, Ask::get("/").with("If-None-Match", "\"v0\""), 200, 0..LEN),
        ("all, too", shares, Ask::get("/"), 200, 0..LEN),
        ("not modified", shares, Ask::get("/").with("If-None-Match", "\"v1\""), 304, 0..0),
        ("HEAD", own, Ask::head("/"), 200, 0..0),
    ];
    let mut clients = Vec::new();
    let collapsed = || larder.metrics().count("larder_collapsed_requests_total", &[]);
    for (case, is_own, ask, ..) in &asks {
        let before = (origin.count(), collapsed());
        let mut client = larder.connect();
        client.send(ask.bytes());
        clients.push(client);
        eventually(case, SOON, || (origin.count(), collapsed()) != before);
        let asked = origin.count() > before.0;
        assert_eq!(asked, *is_own, "{case}: asks the origin");
    }
    gate.open();
    for (client, (case, _, ask, status, bytes)) in clients.iter_mut().zip(&asks) {
        let answer = client.answer(&ask.method);
        assert_eq!(answer.status, *status, "{case}: {answer:?}");
        assert!(answer.is_whole() && answer.body == body[bytes.clone()], "{case}: {answer:?}");
        if *status == 206 {
            let says = format!("bytes {}-{}/{LEN}", bytes.start, bytes.end - 1);
            assert_eq!(answer.header("content-range"), Some(&*says), "{case}");
        }
    }
}

#[test]
fn a_leader_that_leaves_takes_nothing_with_it() {
    let (origin, gate) = gated(content());
    let larder = Larder::in_front_of(&origin);
    let mut leader = larder.connect();
    leader.send(range("0-99").bytes());
    origin.await_count(1);
    let mut follower = larder.connect();
    follower.send(range("0-99").bytes());
    eventually("a follower", SOON, || {
        larder.metrics().count("larder_collapsed_requests_total", &[]) == 1
    });
    drop(leader);
    gate.open();
    let answer = follower.answer("GET").expect(206);
    assert!(answer.is_whole() && answer.body == noise(LEN, 1)[..100], "{answer:?}");
    assert_eq!(origin.count(), 1);
    assert!(larder.await_hit(&range("0-99")).was_hit());
}

#[test]
fn what_an_origin_calls_personal_reaches_no_follower() {
    for (case, control) in
        [("no-store", "cache-control: no-store"), ("private", "cache-control: private")]
    {
        let (origin, gate) = gated(content().with(&[control]));
        let larder = Larder::in_front_of(&origin);
        let mut clients: Vec<_> = (0..3).map(|_| larder.connect()).collect();
        clients[0].send(range("0-99").bytes());
        origin.await_count(1);
        for client in &mut clients[1..] {
            client.send(range("0-99").bytes());
        }
        eventually("two followers", SOON, || {
            larder.metrics().count("larder_collapsed_requests_total", &[]) == 2
        });
        gate.open();
        for client in &mut clients {
            let answer = client.answer("GET").expect(206);
            assert!(!answer.was_stored() && answer.body.len() == 100, "{case}: {answer:?}");
        }
        assert_eq!(origin.count(), 3, "{case}: each its own");
        assert!(!larder.ask(&range("0-99")).was_hit(), "{case}");
    }
}

#[test]
fn a_purge_outlives_the_completion_that_began_before_it() {
    let body = noise(LEN, 1);
    for (case, ask) in [("a part", range("0-199")), ("all", Ask::get("/"))] {
        let gate = Gate::default();
        let pass = gate.clone();
        let origin = Origin::new(move |seen, reply| {
            if seen.header("if-range").is_some() {
                pass.pass();
            }
            content().answer(seen, reply);
        });
        let larder = Larder::in_front_of(&origin);
        larder.ask(&range("0-99")).expect(206);
        let mut client = larder.connect();
        client.send(ask.bytes());
        origin.await_count(2);
        larder.admin_post("/api/purge", r#"{"url": "/"}"#).expect(200);
        gate.open();
        let answer = client.answer("GET");
        assert!(answer.is_whole() && body.starts_with(&answer.body), "{case}: {answer:?}");
        for text in ["0-99", "100-199"] {
            let again = larder.ask(&range(text));
            assert!(!again.was_hit(), "{case}: what was purged is not used: {again:?}");
        }
    }
}

#[test]
fn a_part_that_breaks_off_is_not_kept() {
    let body = noise(LEN, 1);
    let sent = body.clone();
    let origin = Origin::new(move |seen, reply| {
        if seen.path() == "/broken" && seen.header("if-range").is_none() {
            reply.raw("HTTP/1.1 206 Part\r\ncontent-range: bytes 0-99/1000\r\netag: \"v1\"\r\n");
            reply.raw("cache-control: max-age=60\r\ncontent-length: 100\r\n\r\n");
            reply.raw(&sent[..60]);
            reply.close();
        } else {
            content().answer(seen, reply);
        }
    });
    let larder = Larder::in_front_of(&origin);
    for _ in 0..2 {
        let broken = larder.ask(&range("0-99").target("/broken"));
        assert!(broken.status == 206 && broken.ending != Ending::Complete, "{broken:?}");
        assert!(broken.body == body[..broken.body.len()]);
    }
    assert_eq!(origin.count(), 2, "nothing was kept of it");
}

#[test]
fn a_completion_that_breaks_off_spoils_nothing() {
    let body = noise(LEN, 1);
    let broken = Arc::new(AtomicUsize::new(0));
    let (count, sent) = (broken.clone(), body.clone());
    let origin = Origin::new(move |seen, reply| {
        let breaks = seen.header("if-range").is_some() && count.fetch_add(1, Ordering::SeqCst) == 0;
        if breaks {
            reply.raw("HTTP/1.1 206 Part\r\ncontent-range: bytes 100-999/1000\r\netag: \"v1\"\r\n");
            reply.raw("cache-control: max-age=60\r\ncontent-length: 900\r\n\r\n");
            reply.raw(&sent[100..600]);
            reply.close();
        } else {
            content().answer(seen, reply);
        }
    });
    let larder = Larder::in_front_of(&origin);
    larder.ask(&range("0-99")).expect(206);
    let cut = larder.get("/");
    assert!(cut.status == 200 && cut.ending != Ending::Complete, "{cut:?}");
    assert!(cut.body == body[..cut.body.len()]);
    assert!(larder.ask(&range("0-99")).was_hit(), "what was held is still good");
    let whole = larder.get("/").expect(200);
    assert!(whole.is_whole() && whole.body == body, "{whole:?}");
    let last = origin.last();
    assert_eq!(last.header("range"), Some("bytes=100-"), "nothing was kept of what broke off");
}

#[test]
fn a_representation_that_changes_between_two_gaps_breaks_off() {
    let (old, new) = (noise(LEN, 1), noise(LEN, 2));
    let count = AtomicUsize::new(0);
    let then = Content::new(new.clone(), "\"v2\"");
    let origin = Origin::new(move |seen, reply| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        if number < 3 { content() } else { then.clone() }.answer(seen, reply);
    });
    let larder = Larder::in_front_of(&origin);
    larder.ask(&range("100-199")).expect(206);
    larder.ask(&range("300-399")).expect(206);
    let mixed = larder.get("/"); // 0-99 as before; 200-299 is another's by now
    assert!(mixed.ending != Ending::Complete, "never a clean end: {mixed:?}");
    assert!(old.starts_with(&mixed.body), "nor a byte of the other");
    let whole = larder.get("/").expect(200);
    assert!(whole.is_whole() && whole.body == new, "{:?}", whole.headers);
    let part = larder.ask(&range("100-199")).expect(206);
    assert!(part.body == new[100..200], "{part:?}");
}

#[test]
fn many_complete_the_same_at_once() {
    let body = noise(1 << 20, 3);
    let origin = Content::new(body.clone(), "\"v1\"").origin();
    let larder = Setup::new(&origin.url()).start_with_disk();
    thread::scope(|scope| {
        for n in 0..16_usize {
            let (larder, body) = (&larder, &body);
            scope.spawn(move || {
                let mut client = larder.connect();
                for round in 0..8_usize {
                    let from = (n * 8 + round) * 7919 % body.len();
                    let to = (from + 100_000).min(body.len());
                    let answer = client.ask(&range(&format!("{from}-{}", to - 1))).expect(206);
                    assert!(answer.is_whole() && answer.body == body[from..to], "{from}-{to}");
                }
            });
        }
    });
    let whole = larder.get("/").expect(200);
    assert!(whole.is_whole() && whole.body == body, "{:?}", whole.headers);
    assert!(larder.await_hit(&Ask::get("/")).body == body);
}

#[test]
fn the_last_bytes_of_what_is_being_filled_do_not_wait_for_all() {
    let body = noise(2 << 20, 4);
    let gate = Gate::default();
    let (pass, sent) = (gate.clone(), Content::new(body.clone(), "\"v1\""));
    let origin = Origin::new(move |seen, reply| {
        if seen.header("range").is_some() {
            return sent.answer(seen, reply);
        }
        reply.raw("HTTP/1.1 200 OK\r\netag: \"v1\"\r\ncache-control: max-age=60\r\n");
        reply.raw(format!("content-length: {}\r\n\r\n", sent.body.len()));
        reply.raw(&sent.body[..100_000]);
        pass.pass();
        reply.raw(&sent.body[100_000..]);
    });
    let config = "[cache]\nwindow = \"1MiB\"\n";
    let larder = Setup::new(&origin.url()).config(config).start_with_disk();
    let mut first = larder.connect();
    first.send(Ask::get("/").bytes());
    assert_eq!(first.head().status, 200);
    let come = larder.ask(&range("0-999")).expect(206);
    assert!(come.body == body[..1000], "{come:?}");
    assert_eq!(origin.count(), 1, "it has come already");
    let end = larder.ask(&range("-1000")).expect(206);
    assert!(end.body == body[body.len() - 1000..], "{end:?}");
    assert_eq!(origin.last().header("range"), Some("bytes=-1000"));
    gate.open();
    assert_eq!(first.exactly(body.len()).map(|all| all == body), Ok(true));
    let whole = larder.await_hit(&Ask::get("/"));
    assert!(whole.body == body, "the part that came meanwhile has not taken its place");
}
