//! Many clients on one slow object: what they get, when, and how it ends for them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::body::{Body, MIB, start};
use crate::support::reply::Reply;
use crate::support::{Ask, Client, Ending, Gate, Larder, Origin, SOON, Setup, eventually, text};
use crate::turn;

const FIELDS: &[&str] = &["cache-control: max-age=600", "etag: \"v1\"", "content-type: video/mp4"];
const TEXT: &[&str] = &["cache-control: max-age=600", "etag: \"v1\"", "content-type: text/plain"];

fn collapsed(larder: &Larder) -> u64 {
    larder.metrics().count("larder_collapsed_requests_total", &[])
}

/// When a client got its first bytes of the body, and its last.
struct Times {
    first: Instant,
    last: Instant,
}

/// 2 MiB, of which 64 KiB are due every 62.5 ms.
#[test]
fn two_hundred_clients_get_a_slow_object_as_fast_as_the_first() {
    const CLIENTS: usize = 200;
    const PIECES: u32 = 32;
    const PACE: Duration = Duration::from_micros(62_500);
    let _turn = turn();
    for (case, fields, accept) in
        [("as it is", FIELDS, None), ("gzipped on the way", TEXT, Some("gzip"))]
    {
        let body: Arc<Vec<u8>> = match accept {
            None => Body::new().bytes(0..2 * MIB).into(),
            // Numbers: they shrink, but not to nothing.
            Some(_) => (0..)
                .flat_map(|n: u32| (n.wrapping_mul(2_654_435_761)).to_string().into_bytes())
                .take(2 << 20)
                .collect::<Vec<u8>>()
                .into(),
        };
        let (sent, last_sent) = (body.clone(), Arc::new(Mutex::new(None)));
        let told = last_sent.clone();
        let origin = Origin::new(move |_, reply| {
            start(reply, sent.len() as u64, fields);
            let began = Instant::now();
            for (n, piece) in (1..).zip(sent.chunks(sent.len() / PIECES as usize)) {
                thread::sleep((PACE * n).saturating_sub(began.elapsed())); // the pace itself
                if n == PIECES {
                    *told.lock().unwrap() = Some(Instant::now());
                }
                reply.raw(piece);
            }
        });
        let larder = Setup::new(&origin.url()).start_with_disk();
        let mut ask = Ask::get("/slow");
        if let Some(accept) = accept {
            ask = ask.with("Accept-Encoding", accept);
        }
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| larder.connect()).collect();
        let began = Instant::now();
        for client in &mut clients {
            client.send(ask.bytes());
        }
        let readers = clients.into_iter().map(|mut client| {
            let len = body.len();
            thread::spawn(move || {
                client.head().expect(200);
                let mut got = client.some().expect("first bytes");
                let first = Instant::now();
                while got.len() < len && !got.ends_with(b"\r\n0\r\n\r\n") {
                    got.extend_from_slice(&client.some().expect("more"));
                }
                (Times { first, last: Instant::now() }, got)
            })
        });
        let readers: Vec<_> = readers.collect();
        let got: Vec<_> = readers.into_iter().map(|r| r.join().expect("a reader")).collect();
        let (times, got): (Vec<_>, Vec<_>) = got.into_iter().unzip();
        for got in got {
            let right = match accept {
                None => got == *body,
                Some(_) => unchunked_and_unzipped(&got) == *body,
            };
            assert!(right, "{case}: a body differs");
        }
        assert_eq!(origin.count(), 1, "{case}");
        let last_sent = last_sent.lock().unwrap().expect("it was sent");
        let late = times.iter().filter(|times| times.first >= last_sent).count();
        assert_eq!(late, 0, "{case}: clients without a byte before the origin's last");
        let origins = last_sent - began;
        let slowest = times.iter().map(|times| times.last).max().expect("clients") - began;
        println!("{case}: the origin's last byte after {origins:?}, the last client's {slowest:?}");
        assert!(origins >= Duration::from_millis(1990), "{case}: paced: {origins:?}");
        assert!(slowest <= origins.mul_f64(1.1), "{case}: {slowest:?} of {origins:?}");
    }
}

fn unchunked_and_unzipped(mut wire: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut plain = flate2::write::GzDecoder::new(Vec::new());
    loop {
        let line = wire.windows(2).position(|w| w == b"\r\n").expect("a size");
        let size = std::str::from_utf8(&wire[..line]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size");
        wire = &wire[line + 2..];
        if size == 0 {
            return plain.finish().expect("gzip");
        }
        plain.write_all(&wire[..size]).expect("gzip");
        wire = &wire[size + 2..];
    }
}

/// Eight clients that ask and do not read, beside one that does.
#[test]
fn who_does_not_read_holds_nobody_up_and_takes_no_memory() {
    const LEN: u64 = 64 * MIB;
    const IDLE: usize = 8;
    let _turn = turn();
    let (gate, body) = (Gate::default(), Body::new());
    let held = gate.clone();
    let origin = Origin::new(move |seen, reply| {
        if seen.path() == "/warm-up" {
            return reply.ok(&[], "x");
        }
        held.pass();
        body.answer_whole(reply, LEN, FIELDS);
    });
    let body = Body::new();
    let config = format!("[cache]\nmax_object = {LEN}\nstore_wait = \"10s\"\n");
    let setup = Setup::new(&origin.url()).config(&config).env("LARDER_CACHE__DISK", "256MiB");
    let larder = setup.env("LARDER_CACHE__MEMORY", "64MiB").start_with_disk();
    larder.get("/warm-up").expect(200);
    let mut idle: Vec<_> = (0..IDLE).map(|_| larder.connect()).collect();
    let mut quick = larder.connect();
    for client in idle.iter_mut().chain([&mut quick]) {
        client.send(Ask::get("/big").bytes());
    }
    eventually("all to wait for one", SOON, || collapsed(&larder) == IDLE as u64);
    let before = larder.process.rss();
    gate.open();
    let head = quick.head().expect(200);
    body.read(&mut quick, &head, 0..LEN, |_| {}).expect("the quick one has it all");
    assert!(body.read_whole(&mut larder.connect(), "/big", LEN).was_hit(), "it was stored");
    // As in `objects`: window, what waits for the disk, and buffers; a MiB for each connection.
    let tier = larder.metrics().count("larder_cache_bytes", &[("tier", "memory")]);
    let grown = larder.process.most_rss().saturating_sub(before);
    println!("RSS grew by {} KiB beside {IDLE} who did not read", grown >> 10);
    assert!(grown <= (32 + IDLE as u64) * MIB + tier, "RSS grew by {grown}");
    for client in &mut idle {
        let head = client.head().expect(200);
        body.read(client, &head, 0..LEN, |_| {}).expect("all of it, from the store");
    }
    assert_eq!(origin.count_of("/big"), 1);
}

/// An origin that sends half of a body and then waits.
fn halting(len: u64, then: impl Fn(&Body, &mut Reply) + Send + Sync + 'static) -> (Origin, Gate) {
    let (gate, body) = (Gate::default(), Body::new());
    let held = gate.clone();
    let origin = Origin::new(move |seen, reply| {
        if seen.path() == "/chunked" {
            reply.start(200, FIELDS);
            body.each(0..len / 2, |piece| reply.chunk(piece));
        } else {
            start(reply, len, if seen.path() == "/text" { TEXT } else { FIELDS });
            body.each(0..len / 2, |piece| reply.raw(piece));
        }
        held.pass();
        then(&body, reply);
    });
    (origin, gate)
}

#[test]
fn a_leader_that_leaves_in_the_middle_takes_nothing_along() {
    const LEN: u64 = 4 * MIB;
    let _turn = turn();
    let (origin, gate) = halting(LEN, |body, reply| body.each(LEN / 2..LEN, |p| reply.raw(p)));
    let larder = Setup::new(&origin.url()).start_with_disk();
    let body = Body::new();
    let half = |client: &mut Client| {
        let head = client.head().expect(200);
        body.read(client, &head, 0..LEN / 2, |_| {}).expect("the first half");
        head
    };
    let mut leader = larder.connect();
    leader.send(Ask::get("/big").bytes());
    leader.head().expect(200);
    leader.some().expect("first bytes");
    let mut followers: Vec<_> = (0..20).map(|_| larder.connect()).collect();
    for client in &mut followers {
        client.send(Ask::get("/big").bytes());
    }
    let heads: Vec<_> = followers.iter_mut().map(half).collect();
    drop(leader); // with bytes unread: a reset
    eventually("the leader to be gone", SOON, || larder.process.stdout().contains("aborted"));
    gate.open();
    for (client, head) in followers.iter_mut().zip(&heads) {
        body.read(client, head, LEN / 2..LEN, |_| {}).expect("the second half");
    }
    assert!(body.read_whole(&mut larder.connect(), "/big", LEN).was_hit());
    assert_eq!(origin.count(), 1);
}

/// Every client has had bytes of the body by then, so that nothing but its framing can tell it.
#[test]
fn an_origin_that_fails_in_the_middle_ends_nothing_cleanly() {
    const LEN: u64 = 2 * MIB;
    let _turn = turn();
    for (case, path, reset) in [
        ("closed, by length", "/big", false),
        ("reset, by length", "/big", true),
        ("closed, chunked", "/chunked", false),
        ("reset, chunked", "/chunked", true),
        ("closed, gzipped on the way", "/text", false),
    ] {
        let (origin, gate) =
            halting(LEN, move |_, reply| if reset { reply.reset() } else { reply.close() });
        let larder = Setup::new(&origin.url()).start_with_disk();
        let mut clients: Vec<_> = (0..40).map(|_| larder.connect()).collect();
        for (n, client) in clients.iter_mut().enumerate() {
            // The first one's codings are everybody's; one in eight is an HTTP/1.0 client.
            let version = if n % 8 == 7 { "1.0" } else { "1.1" };
            let head = format!("GET {path} HTTP/{version}\r\nHost: app.test\r\n");
            client.send(format!("{head}Accept-Encoding: gzip\r\n\r\n"));
        }
        let first = clients.iter_mut().map(|client| {
            let head = client.head().expect(200);
            (head.header("content-length").is_some(), client.some().expect("first bytes"))
        });
        let first: Vec<_> = first.collect();
        gate.open();
        for (n, (client, (has_length, first))) in clients.iter_mut().zip(first).enumerate() {
            let (rest, ending) = client.rest();
            let chunked_end = rest.ends_with(b"0\r\n\r\n");
            let whole = (first.len() + rest.len()) as u64 >= LEN;
            assert!(!chunked_end && !whole, "{case}: client {n} got a clean end");
            // Without a length HTTP/1.0 ends by closing: only a reset tells.
            let told = has_length || n % 8 != 7 || ending == Ending::Reset;
            assert!(told, "{case}: client {n}, HTTP/1.0: {ending:?}");
        }
        assert_eq!(origin.count(), 1, "{case}");
        larder.ask(&Ask::get(path).with("Cache-Control", "only-if-cached")).expect(504);
    }
}
