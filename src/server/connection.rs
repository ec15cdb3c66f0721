//! One client connection: hyper between the [`Socket`] and the service.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use tokio::net::TcpStream;
use tracing::debug;

use super::Serve;
use super::io::Socket;
use super::timers::Watch;
use super::worker::Registration;
use crate::config::snapshot::Limits;
use crate::proxy::conn::Conn;
use crate::proxy::reply::Reply;

/// hyper's header fields live on the stack up to this many, on the heap beyond.
const FIELDS_ON_STACK: usize = 100;
/// What hyper's buffers may hold beside a head of the largest size.
const BUFFER_SLACK: usize = 16 << 10;
/// hyper's buffers may grow to this in any case: they are what large bodies pass through.
const BUFFER_MIN: usize = 128 << 10;

/// Serves one connection to its end. Dropped midway it is reset.
pub(super) fn serve<S: Serve>(
    serve: Arc<S>,
    stream: TcpStream,
    peer: SocketAddr,
    registration: Registration,
) -> impl Future<Output = ()> + Send {
    let watch = Arc::clone(registration.watch());
    let conn = Arc::new(Conn::new(Some(peer.ip().to_canonical()), false));
    let limits = watch.worker().limits();
    let socket = Socket::new(stream, Arc::clone(&conn), registration, &limits);
    let line = Line(Arc::new(Shared { serve, conn, watch: Arc::clone(&watch) }));
    let connection = http(&limits).serve_connection(socket, line).with_upgrades();
    async move {
        poll_fn(|cx| {
            watch.register(cx.waker());
            Poll::Ready(())
        })
        .await;
        match connection.await {
            Ok(()) => {
                if let Some(parked) = watch.take_parked() {
                    let _ = parked.close_in_order().await;
                }
            }
            Err(error) => {
                debug!(%peer, error = &error as &dyn std::error::Error, "connection broke off");
            }
        }
    }
}

/// hyper without timers: those are ours ([`super::timers`]).
fn http(limits: &Limits) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.keep_alive(true)
        // A client that shuts down its side is answered all the same: the socket keeps its end of
        // input back meanwhile, and unlike hyper's half_close notices a reset.
        .half_close(false)
        .header_read_timeout(None)
        .max_buf_size(limits.head_size.saturating_add(BUFFER_SLACK).max(BUFFER_MIN));
    if limits.head_fields > FIELDS_ON_STACK {
        http.max_headers(limits.head_fields);
    }
    http
}

/// hyper's service: one connection's requests.
struct Line<S>(Arc<Shared<S>>);

/// What they share.
struct Shared<S> {
    serve: Arc<S>,
    conn: Arc<Conn>,
    watch: Arc<Watch>,
}

impl<S: Serve> Service<Request<Incoming>> for Line<S> {
    type Response = Response<Answer<S>>;
    type Error = Infallible;
    type Future = Answering<S>;

    fn call(&self, request: Request<Incoming>) -> Answering<S> {
        let busy = Busy::begin(&self.0);
        match self.0.serve.call(&self.0.conn, request) {
            Reply::Now(response) => Answering::Done(Some(busy.answers(response))),
            Reply::Later(reply) => Answering::Waiting(reply, Some(busy)),
        }
    }
}

/// A [`Reply`] on its way.
enum Answering<S: Serve> {
    Done(Option<Response<Answer<S>>>),
    Waiting(Pin<Box<dyn Future<Output = Response<S::Body>> + Send>>, Option<Busy<S>>),
}

impl<S: Serve> Future for Answering<S> {
    type Output = Result<Response<Answer<S>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = match &mut *self {
            Self::Done(answer) => answer.take(),
            Self::Waiting(reply, busy) => {
                let response = ready!(reply.as_mut().poll(cx));
                busy.take().map(|busy| busy.answers(response))
            }
        };
        match answer {
            Some(answer) => Poll::Ready(Ok(answer)),
            None => Poll::Pending, // it was given out before: nobody asks again
        }
    }
}

/// A request under way; ends when its answer was handed over whole or given up.
struct Busy<S>(Arc<Shared<S>>);

impl<S> Busy<S> {
    fn begin(line: &Arc<Shared<S>>) -> Self {
        line.watch.begin();
        Self(Arc::clone(line))
    }
}

impl<S: Serve> Busy<S> {
    /// The request's answer as the connection sends it.
    fn answers(self, mut response: Response<S::Body>) -> Response<Answer<S>> {
        let Shared { conn, watch, .. } = &*self.0;
        let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        conn.decide_upgrade(switching);
        // hyper closes, too, when a body is not read to its end, but does not say so.
        let last =
            conn.closes_after_answer() || watch.worker().draining_since() != 0 || watch.in_body();
        if last && !switching {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response.map(|body| Answer { body, busy: self })
    }
}

impl<S> Drop for Busy<S> {
    fn drop(&mut self) {
        self.0.watch.end();
    }
}

/// An answer's body, which keeps its connection busy until it ends.
struct Answer<S: Serve> {
    body: S::Body,
    busy: Busy<S>,
}

impl<S: Serve> Body for Answer<S> {
    type Data = Bytes;
    type Error = <S::Body as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Err(_))) = frame {
            self.busy.0.conn.break_off();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
