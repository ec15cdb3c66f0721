//! A scripted origin: a real HTTP/1.1 server on port 0, a thread a connection, that records
//! every request and answers as its handler says, also as no decent server would.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::eventually;
use super::reply::Reply;

/// A request as the origin saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The target as written.
    pub target: String,
    /// Every field line in order.
    pub headers: Vec<(String, String)>,
    /// The body without framing, as far as it came.
    pub body: Vec<u8>,
    /// Trailer field lines.
    pub trailers: Vec<(String, String)>,
    /// The body came to its end.
    pub whole: bool,
    /// Number of the connection it came on, from 0.
    pub connection: usize,
}

impl Seen {
    /// The value of the one field line with this name; fails on several.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} came {} times: {self:?}", all.len());
        all.first().copied()
    }

    /// The values of all field lines with this name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
            .collect()
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// Holds handlers back until it is opened.
#[derive(Debug, Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Waits until it is open, at most a minute.
    pub fn pass(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(open, Duration::from_mins(1), |open| !*open).unwrap());
    }

    /// Opens it for good.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

type Handler = dyn Fn(&Seen, &mut Reply) + Send + Sync;

struct Shared {
    seen: Mutex<Vec<Seen>>,
    streams: Mutex<Vec<TcpStream>>,
    connections: AtomicUsize,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
    stopped: AtomicBool,
    /// The handler runs before the body has come.
    at_head: bool,
    handler: Box<Handler>,
}

/// The origin. Dropped, it stops.
pub struct Origin {
    addr: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Option<thread::JoinHandle<()>>,
}

impl Origin {
    /// Answers as `handler` says, which runs once a request, after its body has come.
    pub fn new(handler: impl Fn(&Seen, &mut Reply) + Send + Sync + 'static) -> Self {
        Self::start(false, handler)
    }

    /// Answers as `handler` says, which runs as soon as a request's head has come: nothing is said
    /// to Expect, and the body is the handler's to read, or it closes.
    pub fn at_head(handler: impl Fn(&Seen, &mut Reply) + Send + Sync + 'static) -> Self {
        Self::start(true, handler)
    }

    fn start(at_head: bool, handler: impl Fn(&Seen, &mut Reply) + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            streams: Mutex::default(),
            connections: AtomicUsize::new(0),
            at_once: AtomicUsize::new(0),
            most_at_once: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            at_head,
            handler: Box::new(handler),
        });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let addr = listener.local_addr().expect("its address");
        let acceptor = Some(accept(listener, Arc::clone(&shared)));
        Self { addr, shared, acceptor }
    }

    /// Answers everything with 200, these field lines and this body.
    pub fn serving(headers: &'static [&'static str], body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self::new(move |_, reply| reply.ok(headers, &body))
    }

    /// Answers each connection's first request with these bytes and closes.
    pub fn sending(raw: impl Into<Vec<u8>>) -> Self {
        let raw = raw.into();
        Self::new(move |_, reply| {
            reply.raw(&raw);
            reply.close();
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many requests it has seen.
    pub fn count(&self) -> usize {
        self.shared.seen.lock().unwrap().len()
    }

    /// How many requests for this path it has seen.
    pub fn count_of(&self, path: &str) -> usize {
        self.shared.seen.lock().unwrap().iter().filter(|s| s.path() == path).count()
    }

    /// The last request.
    #[track_caller]
    pub fn last(&self) -> Seen {
        self.shared.seen.lock().unwrap().last().cloned().expect("the origin was asked")
    }

    /// Waits until it has seen `n` requests.
    #[track_caller]
    pub fn await_count(&self, n: usize) {
        eventually(&format!("{n} requests at the origin"), super::SOON, || self.count() >= n);
    }

    /// The largest number of requests it was busy with at one time.
    pub fn most_at_once(&self) -> usize {
        self.shared.most_at_once.load(Ordering::SeqCst)
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Stops listening and breaks every connection: the origin is dead.
    pub fn stop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr); // wakes the acceptor
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for stream in self.shared.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Listens again at the same address.
    pub fn start_again(&mut self) {
        self.shared.stopped.store(false, Ordering::SeqCst);
        let listener = TcpListener::bind(self.addr).expect("the same port");
        self.acceptor = Some(accept(listener, Arc::clone(&self.shared)));
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept(listener: TcpListener, shared: Arc<Shared>) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            if shared.stopped.load(Ordering::SeqCst) {
                return;
            }
            let number = shared.connections.fetch_add(1, Ordering::SeqCst);
            let _ = stream.set_nodelay(true);
            let _ = stream.set_read_timeout(Some(Duration::from_mins(2)));
            if let Ok(other) = stream.try_clone() {
                shared.streams.lock().unwrap().push(other);
            }
            let shared = Arc::clone(&shared);
            thread::spawn(move || serve(stream, number, &shared));
        }
    })
}

fn serve(stream: TcpStream, connection: usize, shared: &Shared) {
    let mut reply = Reply::new(stream);
    while let Some(seen) = reply.request(connection, shared.at_head) {
        let whole = seen.whole;
        reply.head_only = seen.method == "HEAD";
        let now = shared.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        shared.most_at_once.fetch_max(now, Ordering::SeqCst);
        shared.seen.lock().unwrap().push(seen.clone());
        if whole || shared.at_head {
            (shared.handler)(&seen, &mut reply);
        }
        shared.at_once.fetch_sub(1, Ordering::SeqCst);
        if reply.closing || !(whole || shared.at_head) {
            break;
        }
    }
    reply.shut();
}
