//! Limits and timeouts of client connections.

use std::time::{Duration, Instant};

use crate::support::larder::binary;
use crate::support::process::Process;
use crate::support::{Ask, Ending, Larder, Origin, SOON, Setup, eventually};

#[test]
fn an_idle_connection_is_closed() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::with(&origin, "[limits]\nidle_timeout = \"300ms\"\n");
    let mut client = larder.connect();
    client.ask(&Ask::get("/")).expect(200);
    let start = Instant::now();
    eventually("the idle connection to be closed", SOON, || client.is_closed());
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn a_body_that_stops_coming_is_given_up() {
    let origin = Origin::serving(&[], "x");
    let larder = Larder::with(&origin, "[limits]\nbody_timeout = \"300ms\"\n");
    let mut client = larder.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf");
    let answer = client.answer("POST");
    assert!(matches!(answer.status, 0 | 400 | 408), "{answer:?}");
    assert_ne!(answer.ending, Ending::TimedOut);
    assert!(origin.seen().iter().all(|seen| !seen.whole));
}

#[test]
fn a_client_that_reads_nothing_is_given_up() {
    let body = crate::support::noise(32 << 20, 13);
    let origin = Origin::serving(&["cache-control: no-store"], body);
    let larder = Larder::with(&origin, "[limits]\nwrite_timeout = \"500ms\"\n");
    let mut client = larder.connect();
    client.send(Ask::get("/").bytes());
    eventually("the connection to be given up", SOON, || {
        origin.count() == 1 && larder.metrics().count("larder_connections", &[]) == 0
    });
}

#[test]
fn connections_beyond_the_limit_are_closed_and_counted() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Larder::with(&origin, "[limits]\nconnections = 10\n");
    let mut first: Vec<_> = (0..10).map(|_| larder.connect()).collect();
    for client in &mut first {
        client.ask(&Ask::get("/")).expect(200);
    }
    let mut more: Vec<_> = (0..5).map(|_| larder.connect()).collect();
    for client in &mut more {
        let answer = client.ask(&Ask::get("/"));
        assert!(matches!(answer.status, 0 | 503), "{answer:?}");
    }
    for client in &mut first {
        client.ask(&Ask::get("/")).expect(200);
    }
    drop((first, more));
    eventually("room for a new one", SOON, || larder.get("/").status == 200);
    assert!(larder.metrics().count("larder_connections_refused_total", &[]) >= 1);
}

#[test]
fn a_taken_port_is_a_clear_error_and_exit_code_1() {
    let origin = Origin::serving(&[], "x");
    let larder = Larder::in_front_of(&origin);
    let dir = tempfile::tempdir().expect("a directory");
    let taken = larder.proxy.to_string();
    let mut command = std::process::Command::new(binary());
    command.args([
        "run",
        "--listen",
        &taken,
        "--admin",
        "127.0.0.1:0",
        "--upstream",
        &origin.url(),
    ]);
    command.env("LARDER_CACHE__DISK", "0").current_dir(dir.path());
    let mut second = Process::start(&mut command, dir.path(), "second");
    let status = second.wait(SOON).expect("it ends");
    assert_eq!(status.code(), Some(1), "{}", second.stderr());
    assert!(second.stderr().contains(&taken), "it names the port: {}", second.stderr());
    larder.get("/").expect(200);
}

#[test]
fn no_worker_starves_a_few_connections() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let larder = Setup::new(&origin.url()).without_disk().workers(4).start();
    let start = Instant::now();
    let mut clients: Vec<_> = (0..8).map(|_| larder.connect()).collect();
    for _ in 0..20 {
        for client in &mut clients {
            client.ask(&Ask::get("/")).expect(200);
        }
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let idle = larder.connect();
    larder.get("/").expect(200);
    drop(idle);
}

#[test]
fn the_first_answer_comes_soon_after_exec() {
    let origin = Origin::serving(&["cache-control: max-age=60"], "x");
    let limit = Duration::from_millis(if cfg!(debug_assertions) { 2000 } else { 100 });
    // The best of five: the machine may be busy with other tests.
    let best = (0..5).map(|_| {
        let setup = Setup::new(&origin.url());
        let start = Instant::now();
        let larder = setup.start_unready();
        larder.get("/").expect(200);
        start.elapsed()
    });
    let best = best.min().expect("five");
    assert!(best < limit, "{best:?}");
}
