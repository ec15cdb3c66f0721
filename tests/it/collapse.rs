//! One fetch for many requests at the same time (request collapsing).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::{
    Answer, Ask, Client, Ending, Gate, Larder, Origin, SOON, Setup, eventually, noise, within,
};

/// A crowd: half on new connections, half on connections that were used before.
fn crowd(larder: &Larder, size: usize) -> Vec<Client> {
    let mut clients: Vec<_> = (0..size).map(|_| larder.connect()).collect();
    for client in clients.iter_mut().take(size / 2) {
        client.ask(&Ask::get("/warm")).expect(200);
    }
    clients
}

fn answers(clients: Vec<Client>) -> Vec<Answer> {
    let readers: Vec<_> =
        clients.into_iter().map(|mut c| thread::spawn(move || c.answer("GET"))).collect();
    readers.into_iter().map(|r| r.join().expect("a reader")).collect()
}

#[test]
fn a_hundred_requests_for_one_slow_object_reach_the_origin_once() {
    let gate = Gate::default();
    let held = gate.clone();
    let body = noise(100_000, 1);
    let sent = body.clone();
    let origin = Origin::new(move |seen, reply| {
        if seen.path() == "/slow" {
            held.pass();
        }
        reply.ok(&["cache-control: max-age=60"], &sent);
    });
    let larder = Setup::new(&origin.url()).without_disk().workers(2).start();
    let mut clients = crowd(&larder, 100);
    for client in &mut clients {
        client.send(Ask::get("/slow").bytes());
    }
    eventually("the origin to be asked", SOON, || origin.count_of("/slow") == 1);
    gate.open();
    for answer in answers(clients) {
        assert_eq!(answer.status, 200);
        assert!(answer.is_whole());
        assert!(answer.body == body, "a body differs");
    }
    assert_eq!(origin.count_of("/slow"), 1);
}

#[test]
fn a_hundred_requests_for_what_is_only_on_disk_read_it_once() {
    let body = noise(100_000, 2);
    let sent = body.clone();
    let mut origin = Origin::new(move |_, reply| reply.ok(&["cache-control: max-age=600"], &sent));
    let larder = Setup::new(&origin.url()).workers(2).start_with_disk();
    for n in 0..5 {
        larder.get(&format!("/{n}")).expect(200);
    }
    let larder = larder.restart();
    origin.stop();
    for n in 0..5 {
        let mut clients: Vec<_> = (0..100).map(|_| larder.connect()).collect();
        for client in &mut clients {
            client.send(Ask::get(&format!("/{n}")).bytes());
        }
        assert!(answers(clients).iter().all(|answer| answer.was_hit() && answer.body == body));
        assert_eq!(larder.metrics().count("larder_disk_reads_total", &[]), n + 1);
    }
}

#[test]
fn followers_say_that_they_waited() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::new(move |_, reply| {
        held.pass();
        reply.ok(&["cache-control: max-age=60"], "x");
    });
    let larder = Larder::in_front_of(&origin);
    let mut clients = [larder.connect(), larder.connect()];
    for client in &mut clients {
        client.send(Ask::get("/").bytes());
    }
    eventually("a collapsed request", SOON, || {
        larder.metrics().count("larder_collapsed_requests_total", &[]) == 1
    });
    gate.open();
    let statuses = clients.each_mut().map(|c| c.answer("GET").cache_status().to_owned());
    let collapsed = statuses.iter().filter(|s| s.contains("collapsed")).count();
    assert_eq!(collapsed, 1, "{statuses:?}");
}

#[test]
fn a_private_answer_sends_all_to_the_origin_at_the_same_time() {
    const CROWD: usize = 100;
    let gate = Gate::default();
    let held = gate.clone();
    let all_there = Arc::new(AtomicUsize::new(0));
    let here = Arc::clone(&all_there);
    let origin = Origin::new(move |seen, reply| {
        if seen.path() == "/mine" {
            let number = here.fetch_add(1, Ordering::SeqCst);
            if number == 0 {
                held.pass();
            } else {
                // Answers only once all the others are here, too: they must come concurrently.
                within(SOON, || here.load(Ordering::SeqCst) == CROWD);
            }
        }
        let user = seen.header("x-user").unwrap_or_default().to_owned();
        reply.ok(&["cache-control: private"], user);
    });
    let larder = Setup::new(&origin.url()).without_disk().workers(2).start();
    let mut clients = crowd(&larder, CROWD);
    for (n, client) in clients.iter_mut().enumerate() {
        client.send(Ask::get("/mine").with("X-User", &n.to_string()).bytes());
    }
    eventually("the origin to be asked", SOON, || origin.count_of("/mine") >= 1);
    let start = Instant::now();
    gate.open();
    for (n, answer) in answers(clients).into_iter().enumerate() {
        assert_eq!(answer.clone().expect(200).text(), n.to_string(), "{answer:?}");
    }
    assert_eq!(origin.count_of("/mine"), CROWD);
    assert!(origin.most_at_once() >= CROWD - 1, "at most {} at once", origin.most_at_once());
    assert!(start.elapsed() < SOON, "they went one after the other: {:?}", start.elapsed());
}

#[test]
fn what_was_private_is_not_waited_for_again() {
    let gate = Gate::default();
    let held = gate.clone();
    let first = AtomicUsize::new(0);
    let origin = Origin::new(move |_, reply| {
        if first.fetch_add(1, Ordering::SeqCst) > 0 {
            held.pass();
        }
        reply.ok(&["cache-control: private"], "x");
    });
    let larder = Larder::in_front_of(&origin);
    larder.get("/").expect(200);
    let mut clients: Vec<_> = (0..10).map(|_| larder.connect()).collect();
    for client in &mut clients {
        client.send(Ask::get("/").bytes());
    }
    // All ten reach the origin though none of them has been answered.
    origin.await_count(11);
    gate.open();
    assert!(answers(clients).iter().all(|a| a.status == 200));
}

#[test]
fn a_leader_that_leaves_does_not_take_the_others_along() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::new(move |_, reply| {
        held.pass();
        reply.ok(&["cache-control: max-age=60"], "for all");
    });
    let larder = Larder::in_front_of(&origin);
    let mut leader = larder.connect();
    leader.send(Ask::get("/").bytes());
    origin.await_count(1);
    let mut followers: Vec<_> = (0..5).map(|_| larder.connect()).collect();
    for follower in &mut followers {
        follower.send(Ask::get("/").bytes());
    }
    eventually("five collapsed requests", SOON, || {
        larder.metrics().count("larder_collapsed_requests_total", &[]) == 5
    });
    drop(leader);
    gate.open();
    for answer in answers(followers) {
        assert_eq!(answer.expect(200).body, b"for all");
    }
    assert_eq!(origin.count(), 1);
}

#[test]
fn an_origin_that_breaks_off_breaks_every_client_and_stores_nothing() {
    for framing in ["content-length", "chunked"] {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::new(move |seen, reply| {
            if seen.path() == "/warm" {
                return reply.ok(&["cache-control: max-age=60"], "x");
            }
            held.pass();
            if framing == "chunked" {
                reply.start(200, &["cache-control: max-age=60"]);
                reply.chunk(noise(50_000, 2));
            } else {
                reply.raw("HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n");
                reply.raw("content-length: 100000\r\n\r\n");
                reply.raw(noise(50_000, 2));
            }
            reply.close();
        });
        let larder = Larder::in_front_of(&origin);
        let mut clients = crowd(&larder, 20);
        for client in &mut clients {
            client.send(Ask::get("/cut").bytes());
        }
        eventually("the origin to be asked", SOON, || origin.count_of("/cut") >= 1);
        eventually("nineteen collapsed requests", SOON, || {
            larder.metrics().count("larder_collapsed_requests_total", &[]) == 19
        });
        gate.open();
        for answer in answers(clients) {
            let refused = answer.status == 502 && answer.is_whole();
            assert!(refused || !answer.is_whole(), "{framing}: a clean end: {:?}", answer.ending);
        }
        let before = origin.count_of("/cut");
        let again = larder.get("/cut");
        assert!(!again.was_hit(), "{framing}: nothing was stored");
        assert_eq!(origin.count_of("/cut"), before + 1, "{framing}");
    }
}

#[test]
fn http_1_0_clients_of_a_broken_fetch_are_reset() {
    let origin = Origin::new(|_, reply| {
        reply.start(200, &["cache-control: max-age=60"]);
        reply.chunk("half of it");
        reply.close();
    });
    let larder = Larder::in_front_of(&origin);
    for _ in 0..3 {
        let answer = larder.send("GET / HTTP/1.0\r\nHost: app.test\r\n\r\n");
        let refused = answer.status == 502 && answer.is_whole();
        assert!(refused || answer.ending == Ending::Reset, "{answer:?}");
    }
}

#[test]
fn a_slow_reader_stops_nobody() {
    let body = noise(8 << 20, 3);
    let sent = body.clone();
    let origin = Origin::new(move |_, reply| reply.ok(&["cache-control: max-age=60"], &sent));
    let larder = Setup::new(&origin.url()).start_with_disk();
    let mut slow = larder.connect();
    slow.send(Ask::get("/big").bytes());
    slow.head();
    let quick = larder.get("/big").expect(200);
    assert!(quick.is_whole() && quick.body == body, "the quick one has it all");
    // The slow one gets all of it, too, or a broken framing; never a short clean end.
    let mut got = Vec::new();
    let ending = loop {
        match slow.some() {
            Ok(bytes) => got.extend_from_slice(&bytes),
            Err(ending) => break ending,
        }
        if got.len() >= body.len() {
            break Ending::Complete;
        }
        if got.len() < 1 << 20 {
            thread::sleep(Duration::from_millis(1));
        }
    };
    assert!(body.starts_with(&got), "what came is right");
    assert!(got.len() == body.len() || ending != Ending::Complete, "{ending:?}");
}

#[test]
fn errors_are_told_to_all_and_the_next_request_tries_again() {
    let works = Arc::new(Mutex::new(false));
    let now = Arc::clone(&works);
    let origin = Origin::new(move |_, reply| {
        if *now.lock().unwrap() {
            reply.ok(&["cache-control: max-age=60"], "x");
        } else {
            reply.reset();
        }
    });
    let larder = Larder::in_front_of(&origin);
    let mut clients: Vec<_> = (0..10).map(|_| larder.connect()).collect();
    for client in &mut clients {
        client.send(Ask::get("/").bytes());
    }
    for answer in answers(clients) {
        answer.expect(502);
    }
    *works.lock().unwrap() = true;
    larder.get("/").expect(200);
}
