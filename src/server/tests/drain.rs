//! A graceful end loses no request.

use super::*;
use std::sync::atomic::AtomicBool;

/// A request on a connection of its own or on a kept one; `Ok(false)`: a fresh connection was
/// refused, or a kept one was closed before the request was sent.
struct Caller {
    addr: SocketAddr,
    kept: Option<Client>,
}

impl Caller {
    fn call(&mut self, path: &str, keep: bool, draining: &AtomicBool) -> Result<bool, String> {
        let fresh = self.kept.is_none();
        let mut client = match self.kept.take() {
            Some(client) => client,
            None => match TcpStream::connect(self.addr) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    Client(stream)
                }
                Err(_) => return Ok(false),
            },
        };
        let sent = client.0.write_all(get(path).as_bytes());
        let answered = sent.and_then(|()| client.0.peek(&mut [0]));
        if !matches!(answered, Ok(1)) {
            // Between the last accept and the closing of the socket the kernel may still take a
            // connection in, and resets it: no request of it was ever seen.
            let unseen = fresh && draining.load(Ordering::SeqCst);
            return if unseen { Ok(false) } else { Err(format!("no answer: {answered:?}")) };
        }
        let Some((head, _)) = client.answer() else { return Err("no answer".into()) };
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        if keep && !head.contains("connection: close") {
            self.kept = Some(client);
        }
        Ok(true)
    }
}

#[test]
fn a_drain_under_load_loses_no_request() {
    for (workers, round) in [(1, 0), (1, 1), (4, 2), (4, 3)] {
        let mut server = Server::with(workers, generous());
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let callers: Vec<_> = (0..16)
            .map(|n| {
                let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
                let mut caller = Caller { addr: server.addr, kept: None };
                std::thread::spawn(move || {
                    let path = if n % 2 == 0 { "/" } else { "/pause" };
                    let keep = n % 4 != 0;
                    let begun = Instant::now();
                    while (keep || !stop.load(Ordering::SeqCst)) && begun.elapsed() < PATIENCE {
                        if !caller.call(path, keep, &stop)? {
                            break;
                        }
                        answered.fetch_add(1, Ordering::SeqCst);
                        if stop.load(Ordering::SeqCst) && caller.kept.is_none() {
                            break;
                        }
                    }
                    Ok::<_, String>(())
                })
            })
            .collect();
        eventually("some load", || answered.load(Ordering::SeqCst) > 500);
        stop.store(true, Ordering::SeqCst);
        let begun = Instant::now();
        server.drain();
        for caller in callers {
            assert_eq!(caller.join().unwrap(), Ok(()), "round {round}");
        }
        assert!(begun.elapsed() < PATIENCE / 2, "round {round}: the callers were never told");
        assert_eq!(server.join(PATIENCE), DrainReport::default(), "round {round}");
        let seen = server.shared.seen.load(Ordering::SeqCst);
        assert_eq!(seen, answered.load(Ordering::SeqCst), "round {round}");
        assert_eq!(server.metrics.server.connections.get(), 0);
    }
}

#[test]
fn what_waits_in_the_queues_is_answered() {
    for _ in 0..5 {
        let mut server = Server::with(2, generous());
        let mut clients: Vec<_> = (0..40).map(|_| server.client()).collect();
        for client in &mut clients {
            client.send(get("/"));
        }
        server.drain();
        for client in &mut clients {
            assert_eq!(client.status(), 200);
        }
        drop(clients);
        assert_eq!(server.join(PATIENCE), DrainReport::default());
    }
}

#[test]
fn idle_connections_get_a_short_grace() {
    let mut server = Server::new();
    let mut idle = server.client();
    let mut late = server.client();
    for client in [&mut idle, &mut late] {
        assert_eq!(client.send(get("/")).status(), 200);
    }
    let begun = Instant::now();
    server.drain();
    let (head, _) = late.send(get("/")).answer().expect("an answer within the grace");
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(idle.rest(), b"");
    assert_eq!(late.rest(), b"");
    assert_eq!(server.join(PATIENCE), DrainReport::default());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn a_busy_connection_ends_with_its_answer() {
    let mut server = Server::new();
    let mut client = server.client();
    client.send(get("/gate"));
    eventually("the request to wait", || server.shared.waiting.load(Ordering::SeqCst) == 1);
    server.drain();
    eventually("the socket to close", || TcpStream::connect(server.addr).is_err());
    server.shared.gate.add_permits(1);
    let (head, body) = client.answer().unwrap();
    assert!(head.contains("connection: close"), "{head}");
    assert_eq!(body, b"through");
    assert_eq!(client.rest(), b"");
    assert_eq!(server.join(PATIENCE), DrainReport::default());
}

#[test]
fn what_is_done_behind_answers_is_waited_for_a_while() {
    for ends in [true, false] {
        let mut server = Server::new();
        let mut client = server.client();
        assert_eq!(client.send(get("/behind")).status(), 200);
        drop(client);
        server.drain();
        if ends {
            server.shared.gate.add_permits(1);
        }
        let begun = Instant::now();
        assert_eq!(server.join(PATIENCE), DrainReport::default());
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert_eq!(server.shared.behind.load(Ordering::SeqCst), usize::from(!ends), "{ends}");
    }
}

#[test]
fn what_is_left_at_the_deadline_is_cut() {
    let mut server = Server::new();
    let mut stuck = server.client();
    stuck.send(get("/gate"));
    let mut tunnel = server.client();
    tunnel.send("GET /tunnel HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    assert!(tunnel.head().unwrap().starts_with("HTTP/1.1 101"));
    eventually("the request to wait", || server.shared.waiting.load(Ordering::SeqCst) == 1);
    let begun = Instant::now();
    let report = server.join(Duration::from_millis(300));
    assert_eq!(report, DrainReport { cut: 2, lost: 0 });
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(stuck.0.read(&mut [0]).is_err(), "an unanswered request must not end cleanly");
    assert!(matches!(tunnel.0.read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn two_hundred_ends_under_load_all_come_in_time() {
    for round in 0..200 {
        let mut server = Server::with(2, generous());
        let mut clients: Vec<_> = (0..3).map(|_| server.client()).collect();
        for client in &mut clients {
            client.send(get(if round % 2 == 0 { "/pause" } else { "/gate" }));
        }
        let begun = Instant::now();
        let report = server.join(Duration::from_millis(20));
        assert_eq!(report.lost, 0, "round {round}");
        assert!(begun.elapsed() < Duration::from_secs(5), "round {round}");
    }
}
