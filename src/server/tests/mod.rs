//! Real sockets on port 0, a small service, and clients that write bytes.

mod drain;
mod faults;
mod http;
mod interim;
mod limits;
mod upgrade;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ::http::{Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{DrainReport, Listeners, Serve, Workers, start};
use crate::config::snapshot::Limits;
use crate::observe::metrics::Metrics;
use crate::proxy::conn::Conn;
use crate::proxy::reply::Reply;

/// Longer than anything here takes on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) fn generous() -> Limits {
    Limits {
        connections: 10_000,
        head_size: 64 << 10,
        head_fields: 100,
        uri_size: 8 << 10,
        body_size: 0,
        header_timeout: Duration::from_mins(1),
        body_timeout: Duration::from_mins(1),
        write_timeout: Duration::from_mins(1),
        idle_timeout: Duration::from_mins(1),
        tunnel_timeout: Duration::from_hours(1),
    }
}

/// What answers in these tests, shared by all workers.
#[derive(Debug)]
pub(super) struct Shared {
    /// Requests that the service saw, faults included.
    pub(super) seen: AtomicU64,
    /// Paths as they came.
    pub(super) paths: Mutex<Vec<String>>,
    pub(super) by_worker: Mutex<HashMap<usize, usize>>,
    /// Requests for `/gate` wait for one of these.
    pub(super) gate: Arc<Semaphore>,
    /// Tasks that `/behind` has left behind, which wait for one of these, too.
    pub(super) behind: Arc<AtomicUsize>,
    pub(super) waiting: AtomicUsize,
    /// How reading the last body of `/echo` ended.
    pub(super) body_error: Mutex<Option<String>>,
}

struct Service {
    worker: usize,
    shared: Arc<Shared>,
}

impl Serve for Service {
    type Body = Pieces;

    fn call(&self, conn: &Arc<Conn>, request: Request<Incoming>) -> Reply<Pieces> {
        self.shared.seen.fetch_add(1, Ordering::SeqCst);
        *self.shared.by_worker.lock().entry(self.worker).or_default() += 1;
        if let Some(fault) = conn.next_request() {
            return Reply::Now(answer(fault.status(), fault.reason()));
        }
        let path = request.uri().path().to_owned();
        self.shared.paths.lock().push(path.clone());
        if path == "/" {
            return Reply::Now(answer(200, "hello"));
        }
        let (shared, conn) = (Arc::clone(&self.shared), Arc::clone(conn));
        Reply::Later(Box::pin(async move { shared.answer(&path, &conn, request).await }))
    }

    fn is_settled(&self) -> bool {
        self.shared.behind.load(Ordering::SeqCst) == 0
    }
}

impl Shared {
    async fn answer(
        &self,
        path: &str,
        conn: &Arc<Conn>,
        request: Request<Incoming>,
    ) -> Response<Pieces> {
        match path {
            "/echo" => match request.into_body().collect().await {
                Ok(body) => {
                    let mut response = answer(200, "");
                    *response.body_mut() = Pieces::of([body.to_bytes()]);
                    response
                }
                Err(error) => {
                    *self.body_error.lock() = Some(format!("{error:?}"));
                    match conn.body_fault() {
                        Some(fault) => answer(fault.status(), fault.reason()),
                        None => answer(400, "broken"),
                    }
                }
            },
            "/gate" => {
                self.waiting.fetch_add(1, Ordering::SeqCst);
                self.gate.acquire().await.unwrap().forget();
                answer(200, "through")
            }
            "/pause" => {
                tokio::time::sleep(Duration::from_millis(3)).await;
                answer(200, "paused")
            }
            "/hints" => {
                let (n, seed) = request.uri().query().unwrap().split_once(',').unwrap();
                interim::answer_amid_hints(conn, n.parse().unwrap(), seed.parse().unwrap()).await
            }
            "/behind" => {
                self.behind.fetch_add(1, Ordering::SeqCst);
                let (behind, gate) = (Arc::clone(&self.behind), Arc::clone(&self.gate));
                tokio::spawn(async move {
                    gate.acquire().await.unwrap().forget();
                    behind.fetch_sub(1, Ordering::SeqCst);
                });
                answer(200, "more is done behind it")
            }
            "/early" => answer(413, "too large"),
            "/big" => {
                let mut response = answer(200, "");
                *response.body_mut() = Pieces::of((0..80).map(|n| Bytes::from(vec![n; 64 << 10])));
                response
            }
            "/broken" => {
                conn.break_off();
                let mut response = answer(200, "");
                *response.body_mut() = Pieces::of([Bytes::from_static(b"half of")]);
                response.body_mut().breaks = true;
                response
            }
            "/tunnel" if request.method() == Method::GET => {
                let upgrade = hyper::upgrade::on(request);
                tokio::spawn(async move {
                    let upgraded = upgrade.await.unwrap();
                    let mut io = hyper_util::rt::TokioIo::new(upgraded);
                    let (mut from, mut to) = tokio::io::split(&mut io);
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                    let _ = tokio::io::AsyncWriteExt::shutdown(&mut io).await;
                });
                let mut response = answer(101, "");
                response.headers_mut().insert(header::CONNECTION, "upgrade".parse().unwrap());
                response.headers_mut().insert(header::UPGRADE, "echo".parse().unwrap());
                response
            }
            _ => answer(200, "hello"),
        }
    }
}

fn answer(status: u16, body: &'static str) -> Response<Pieces> {
    let mut response = Response::new(Pieces::of([Bytes::from_static(body.as_bytes())]));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// A body in pieces, which may break off behind the last one.
#[derive(Debug)]
pub(super) struct Pieces {
    left: Vec<Bytes>,
    breaks: bool,
}

impl Pieces {
    fn of(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        let mut left: Vec<_> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        left.reverse();
        Self { left, breaks: false }
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(match self.left.pop() {
            Some(piece) => Some(Ok(Frame::data(piece))),
            None if self.breaks => Some(Err(std::io::Error::other("the origin broke off"))),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty() && !self.breaks
    }

    fn size_hint(&self) -> http_body::SizeHint {
        if self.breaks {
            return http_body::SizeHint::default();
        }
        http_body::SizeHint::with_exact(self.left.iter().map(|piece| piece.len() as u64).sum())
    }
}

/// A server under test.
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    pub(super) shared: Arc<Shared>,
    pub(super) metrics: Arc<Metrics>,
    workers: Option<Workers>,
}

impl Server {
    pub(super) fn with(workers: usize, limits: Limits) -> Self {
        let listeners = Listeners::bind("127.0.0.1:0".parse().unwrap(), workers).unwrap();
        let metrics = Metrics::new(workers);
        let shared = Arc::new(Shared {
            seen: AtomicU64::new(0),
            paths: Mutex::default(),
            by_worker: Mutex::default(),
            gate: Arc::new(Semaphore::new(0)),
            behind: Arc::default(),
            waiting: AtomicUsize::new(0),
            body_error: Mutex::default(),
        });
        let make = {
            let shared = Arc::clone(&shared);
            move |worker| Arc::new(Service { worker, shared: Arc::clone(&shared) })
        };
        let workers = start(listeners, move || limits.clone(), &metrics, make).unwrap();
        Self { addr: workers.addr(), shared, metrics, workers: Some(workers) }
    }

    pub(super) fn new() -> Self {
        Self::with(1, generous())
    }

    pub(super) fn client(&self) -> Client {
        Client::to(self.addr)
    }

    pub(super) fn drain(&self) {
        self.workers.as_ref().unwrap().drain();
    }

    pub(super) fn join(&mut self, deadline: Duration) -> DrainReport {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(self.workers.take().unwrap().join(deadline))
    }
}

/// A client that writes what it likes.
pub(super) struct Client(pub(super) TcpStream);

impl Client {
    pub(super) fn to(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self(stream)
    }

    pub(super) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.0.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// One answer: head and body, by Content-Length; `None` where the connection has ended.
    pub(super) fn answer(&mut self) -> Option<(String, Vec<u8>)> {
        let head = self.head()?;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        Some((head, body))
    }

    pub(super) fn head(&mut self) -> Option<String> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            match self.0.read(&mut byte) {
                Ok(0) => {
                    assert!(head.is_empty(), "half a head: {}", String::from_utf8_lossy(&head));
                    return None;
                }
                Ok(_) => head.push(byte[0]),
                Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&head)),
            }
        }
        Some(String::from_utf8(head).unwrap())
    }

    pub(super) fn status(&mut self) -> u16 {
        let (head, _) = self.answer().expect("an answer");
        head[9..12].parse().unwrap()
    }

    /// Everything until the connection ends in order.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).unwrap();
        rest
    }
}

pub(super) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n")
}

/// Polls until `what` holds.
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
