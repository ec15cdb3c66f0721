//! The request as the origin gets it, and the way past the cache.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, EXPECT, HOST, MAX_FORWARDS};
use http::{HeaderMap, HeaderValue, Method, Request};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::cache::entry::Fields;
use crate::clock;
use crate::proxy::ask::Ask;
use crate::proxy::error::ProxyError;
use crate::proxy::fill::Private;
use crate::proxy::interim::{self, Relay};
use crate::proxy::route;
use crate::proxy::worker::Worker;
use crate::semantics::coding::Accepted;
use crate::semantics::headers::Pseudonym;
use crate::semantics::request::{MaxForwards, max_forwards};
use crate::semantics::{headers, unkeyed, validation};
use crate::upstream::{BoxError, RequestBody, UpstreamError};

/// Header fields of `ask` for the origin: end to end, the forwarding fields written anew, the
/// codings reduced to those that Larder knows.
pub fn fields(ask: &Ask, via: &Pseudonym) -> HeaderMap {
    let mut fields = ask.head.headers.clone(); // hop-by-hop fields have gone at the door
    unkeyed::drop_twins(&mut fields);
    fields.remove(EXPECT); // other expectations are nobody's to meet
    if ask.expects.is_some() {
        fields.insert(EXPECT, HeaderValue::from_static("100-continue"));
    }
    via.append(&mut fields, ask.head.version);
    headers::forwarded::write(&mut fields, ask.conn.peer, ask.is_trusted(), &ask.client());
    if let Ok(host) = HeaderValue::from_str(ask.authority()) {
        fields.insert(HOST, host);
    }
    if let MaxForwards::Forward(left) = max_forwards(&ask.head.method, &ask.head.headers) {
        fields.insert(MAX_FORWARDS, HeaderValue::from(left));
    }
    let codings = Accepted::of(&ask.head.headers).for_origin();
    fields.insert(ACCEPT_ENCODING, HeaderValue::from_static(codings));
    fields
}

/// The same for a fetch whose answer is meant for the store: the whole representation, on the
/// condition that it has changed where `stored` is being validated.
pub fn fields_to_fill(ask: &Ask, via: &Pseudonym, stored: Option<&Fields>) -> HeaderMap {
    let mut fields = fields(ask, via);
    let held = stored.map(super::super::cache::entry::Fields::to_map).unwrap_or_default();
    validation::conditional(&held, &mut fields);
    fields
}

/// A request with `fields`, of `method`, for the target of `ask`.
pub fn request(
    ask: &Ask,
    method: Method,
    fields: HeaderMap,
    body: RequestBody,
) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = ask.head.uri.clone();
    *request.headers_mut() = fields;
    request
}

/// Method and body of a read: HEAD, GET, or QUERY with its content.
pub fn read(ask: &Ask) -> (Method, RequestBody) {
    match &ask.query {
        None if ask.asked.is_head() => (Method::HEAD, RequestBody::Empty),
        content => read_of(content.as_ref()),
    }
}

/// The same of what brings a body: GET, or QUERY with its content.
pub fn read_of(content: Option<&Bytes>) -> (Method, RequestBody) {
    match content {
        Some(content) => (Method::QUERY, RequestBody::Full(content.clone())),
        None => (Method::GET, RequestBody::Empty),
    }
}

/// Sends the request past the cache. What its answer does to the cache is the caller's.
pub async fn pass(
    worker: &Worker,
    ask: &Ask,
    body: RequestBody,
    too_large: Option<&AtomicBool>,
    reason: &'static str,
) -> Result<Private, ProxyError> {
    let fields = fields(ask, &worker.house.via);
    let mut request = request(ask, ask.head.method.clone(), fields, body);
    if let Some(relay) = Relay::open(worker, ask).await {
        relay.attach(&mut request);
    }
    let asked_at = clock::now();
    let began = clock::monotonic_ns();
    let sent = worker.pool.send(&ask.view.snapshot.upstream, request).await;
    let origin_ns = clock::monotonic_ns().saturating_sub(began);
    interim::written(&ask.conn).await;
    match sent {
        Ok(mut response) => {
            route::edit_answer(&ask.view, response.headers_mut());
            Ok(Private { response, asked_at, origin_ns, reason })
        }
        Err(UpstreamError::RequestBody(_))
            if too_large.is_some_and(|flag| flag.load(Ordering::Relaxed)) =>
        {
            Err(ProxyError::TooLarge)
        }
        Err(UpstreamError::RequestBody(_)) if ask.conn.body_fault().is_some() => {
            Err(ask.conn.body_fault().map_or(ProxyError::TooLarge, ProxyError::from))
        }
        Err(error) => Err(ProxyError::from(&error)),
    }
}

/// How long an origin is given to answer Expect; many never do (RFC 9110 §10.1.1).
const EXPECT_PATIENCE: Duration = Duration::from_secs(1);

/// A client's request body on its way to the origin: counted and limited.
pub struct Upload {
    inner: Incoming,
    left: Option<u64>,
    received: Arc<AtomicU64>,
    too_large: Arc<AtomicBool>,
    /// What is waited for before `inner` is first asked, upon which hyper tells the client to send.
    awaited: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Upload {
    /// At most `limit` bytes of `inner`; 0: as many as there are. `told`: the client waits to be
    /// asked for them, which it is when the origin wants them, or says nothing for a while.
    pub fn new(inner: Incoming, limit: u64, told: Option<Arc<Notify>>) -> Self {
        let left = (limit > 0).then_some(limit);
        let awaited = told.map(|told| -> Pin<Box<dyn Future<Output = ()> + Send>> {
            Box::pin(async move {
                let _ = timeout(EXPECT_PATIENCE, told.notified()).await;
            })
        });
        Self { inner, left, received: Arc::default(), too_large: Arc::default(), awaited }
    }

    /// Counts the bytes that have come in.
    pub fn received(&self) -> Arc<AtomicU64> {
        self.received.clone()
    }

    /// Becomes true when the limit has been passed.
    pub fn too_large(&self) -> Arc<AtomicBool> {
        self.too_large.clone()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(awaited) = &mut this.awaited {
            ready!(awaited.as_mut().poll(cx));
            this.awaited = None;
        }
        let Some(frame) = ready!(Pin::new(&mut this.inner).poll_frame(cx)) else {
            return Poll::Ready(None);
        };
        let frame = frame.map_err(BoxError::from);
        if let Ok(frame) = &frame
            && let Some(data) = frame.data_ref()
        {
            let len = data.len() as u64;
            this.received.fetch_add(len, Ordering::Relaxed);
            if let Some(left) = &mut this.left {
                let Some(rest) = left.checked_sub(len) else {
                    this.too_large.store(true, Ordering::Relaxed);
                    return Poll::Ready(Some(Err("larger than limits.body_size".into())));
                };
                *left = rest;
            }
        }
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
