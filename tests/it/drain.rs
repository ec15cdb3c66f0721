//! The end of a process: in order, in time, and at once when asked twice.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::support::process::Signal;
use crate::support::{Ask, Client, Gate, Larder, Origin, SOON, Setup, eventually};

#[test]
fn what_is_in_flight_is_finished_and_the_exit_code_is_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::new(move |_, reply| {
            reply.start(200, &["cache-control: no-store"]);
            reply.chunk("before ");
            held.pass();
            reply.chunk("after");
            reply.end(&[]);
        });
        let mut larder = Setup::new(&origin.url()).start_with_disk();
        let mut client = larder.connect();
        client.send(Ask::get("/").bytes());
        client.head().expect(200);
        assert_eq!(client.chunk().unwrap().unwrap(), b"before ");
        larder.process.signal(signal);
        let proxy = larder.proxy;
        eventually("no new connection to be taken", SOON, || TcpStream::connect(proxy).is_err());
        assert!(larder.process.is_running(), "it waits for the request");
        gate.open();
        assert_eq!(client.chunk().unwrap().unwrap(), b"after");
        assert_eq!(client.chunk(), Ok(None));
        let status = larder.process.wait(SOON).expect("it ends");
        assert_eq!(status.code(), Some(0), "{}", larder.events());
    }
}

#[test]
fn idle_connections_do_not_hold_it_up() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::in_front_of(&origin);
    let mut idle: Vec<_> = (0..20).map(|_| larder.connect()).collect();
    for client in idle.iter_mut().take(10) {
        client.ask(&Ask::get("/")).expect(200);
    }
    let start = Instant::now();
    assert!(larder.stop().success());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn drain_timeout_is_the_end_of_patience() {
    let origin = Origin::new(|_, reply| {
        reply.await_close(SOON);
        reply.close();
    });
    let mut larder = Larder::with(&origin, "drain_timeout = \"500ms\"\n");
    let mut client = larder.connect();
    client.send(Ask::get("/").bytes());
    origin.await_count(1);
    let start = Instant::now();
    larder.process.signal(Signal::TERM);
    let status = larder.process.wait(SOON).expect("it ends");
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(status.code(), Some(0), "{}", larder.events());
    assert!(!client.answer("GET").is_whole() || client.is_closed());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let origin = Origin::new(|_, reply| {
        reply.await_close(SOON);
        reply.close();
    });
    let mut larder = Setup::new(&origin.url()).start_with_disk();
    let mut client = larder.connect();
    client.send(Ask::get("/").bytes());
    origin.await_count(1);
    larder.process.signal(Signal::TERM);
    let proxy = larder.proxy;
    eventually("no new connection to be taken", SOON, || TcpStream::connect(proxy).is_err());
    assert!(larder.process.is_running());
    let start = Instant::now();
    larder.process.signal(Signal::TERM);
    larder.process.wait(SOON).expect("it ends");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn readyz_says_no_while_it_drains() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::new(move |_, reply| {
        held.pass();
        reply.ok(&["cache-control: no-store"], "x");
    });
    let mut larder = Larder::in_front_of(&origin);
    let mut client = larder.connect();
    client.send(Ask::get("/").bytes());
    origin.await_count(1);
    larder.process.signal(Signal::TERM);
    eventually("503", SOON, || larder.admin_get("/readyz").status == 503);
    assert_eq!(larder.admin_get("/healthz").status, 200, "it is well, though");
    gate.open();
    let last = client.answer("GET").expect(200);
    assert_eq!(last.header("connection").map(str::to_lowercase).as_deref(), Some("close"));
    assert_eq!(larder.process.wait(SOON).and_then(|s| s.code()), Some(0));
}

/// Asks without an end; what fails after the signal is no matter, it only must not hang.
fn hammer(addr: std::net::SocketAddr, thread: usize, stop: &AtomicBool) {
    let mut n = 0;
    while !stop.load(Ordering::SeqCst) {
        if TcpStream::connect(addr).is_err() {
            return;
        }
        let mut client = Client::connect(addr);
        for _ in 0..50 {
            n += 1;
            let target = format!("/{thread}/{}", n % 500);
            if stop.load(Ordering::SeqCst) || client.ask(&Ask::get(&target)).status != 200 {
                break;
            }
        }
    }
}

#[test]
fn shutdowns_under_load_all_end_in_time() {
    let rounds = if crate::support::long() { 200 } else { 20 };
    let origin = Origin::new(|seen, reply| {
        reply.ok(&["cache-control: max-age=60"], seen.path().repeat(200));
    });
    let setup = Setup::new(&origin.url()).env("LARDER_CACHE__MEMORY", "8MiB");
    for round in 0..rounds {
        let mut larder = setup.start();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for thread in 0..4 {
                let (stop, addr) = (&stop, larder.proxy);
                scope.spawn(move || {
                    // A connection refused by the end of the process is no failure here.
                    let _ = std::panic::catch_unwind(|| hammer(addr, thread, stop));
                });
            }
            eventually("some load", SOON, || {
                larder.metrics().count("larder_requests_total", &[]) > 50 + round
            });
            larder.process.signal(Signal::TERM);
            let ended = larder.process.wait(SOON);
            stop.store(true, Ordering::SeqCst);
            let status = ended.unwrap_or_else(|| panic!("round {round}: it hangs"));
            assert_eq!(status.code(), Some(0), "round {round}: {}", larder.events());
        });
    }
}
