//! What a hit allocates. Time is not to be measured in a test; this can be, and exactly: it is
//! what grows back first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test that fails says so by panicking, and documents itself by its name"
)]
#![allow(unsafe_code, reason = "an allocator that counts is an unsafe trait to implement")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use larder::config::machine::Machine;
use larder::config::{self, Flags, Sources};
use rustix::process::{Signal, getpid, kill_process};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is left to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

const BODY: [u8; 1024] = [b'x'; 1024];

/// A whole Larder in this process, its defaults on, the access log to a file: one worker answers
/// 4,000 hits on one connection. Other threads allocate as well, but not by the request.
#[test]
fn a_hit_takes_at_most_seven_allocations() {
    const HITS: u64 = 4_000;
    const MOST: u64 = 7;
    let dir = tempfile::tempdir().unwrap();
    let origin = origin();
    let (listen, admin) = (free_address(), free_address());
    let environment = [
        ("LARDER_LISTEN", listen.clone()),
        ("LARDER_ADMIN__LISTEN", admin),
        ("LARDER_CACHE__DIR", dir.path().join("cache").display().to_string()),
        ("LARDER_LOG__ACCESS", dir.path().join("access.log").display().to_string()),
        ("LARDER_WORKERS", "1".into()),
    ];
    let loaded = config::load(Sources {
        file: None,
        environment: environment.map(|(name, value)| (name.into(), value.into())).into(),
        flags: Flags { upstream: Some(format!("http://{origin}")), ..Flags::default() },
        machine: Machine { cores: 1, memory: None, descriptors: None, cache_dir: None },
    })
    .unwrap();
    let larder = std::thread::spawn(move || larder::cli::run::run(loaded));

    let mut client = connected(&listen);
    let mut buffer = vec![0; 64 << 10];
    let request = format!("GET /a HTTP/1.1\r\nHost: {listen}\r\n\r\n");
    let mut hit = || {
        client.write_all(request.as_bytes()).unwrap();
        let mut len = client.read(&mut buffer).unwrap();
        let is_at = |buffer: &[u8], what: &[u8]| buffer.windows(what.len()).position(|w| w == what);
        while is_at(&buffer[..len], b"\r\n\r\n").is_none_or(|at| len < at + 4 + BODY.len()) {
            len += client.read(&mut buffer[len..]).unwrap();
        }
        is_at(&buffer[..len], b"; hit").is_some()
    };
    for _ in 0..200 {
        hit(); // the first ones fill the cache, buffers and pools
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let hits = (0..HITS).filter(|_| hit()).count() as u64;
    let took = ALLOCATIONS.load(Ordering::Relaxed) - before;
    assert_eq!(hits, HITS, "all were answered from the cache");
    assert!(took / HITS <= MOST, "{} allocations a hit", took as f64 / HITS as f64);

    drop(client);
    kill_process(getpid(), Signal::TERM).unwrap();
    larder.join().unwrap();
}

/// Answers every request with the same kilobyte, good for an hour.
fn origin() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                head.push(byte[0]);
            }
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: max-age=3600\r\n\
                  Connection: close\r\nContent-Length: 1024\r\n\r\n",
            );
            let _ = stream.write_all(&BODY);
        }
    });
    address
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn connected(address: &str) -> TcpStream {
    let began = Instant::now();
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => {
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                return stream;
            }
            Err(error) if began.elapsed() > Duration::from_secs(20) => panic!("{error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
