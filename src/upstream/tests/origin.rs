//! A scripted origin, and what the tests share.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::config::snapshot::{Address, Upstream};
use crate::observe::metrics::Metrics;
use crate::upstream::{BoxError, Pool, RequestBody, ResponseBody, Shared, UpstreamError};

/// What a bounded wait may take at most before a test fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The origin's side of one connection.
pub(super) struct Peer<S = TcpStream>(pub(super) S);

impl<S: AsyncRead + AsyncWriteExt + Unpin> Peer<S> {
    /// Reads a request's head, and no more; empty at the connection's end.
    pub(super) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.0.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => break,
            }
        }
        String::from_utf8(head).unwrap()
    }

    pub(super) async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref()).await;
        let _ = self.0.flush().await;
    }

    pub(super) async fn read(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.0.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    /// All that still comes; an error when the connection is reset instead of closed.
    pub(super) async fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.0.read_to_end(&mut bytes).await.map(|_| bytes)
    }
}

/// A listener that runs a script for each connection; the script gets the connection's number.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _stops: tokio::task::JoinSet<()>,
}

impl Origin {
    pub(super) async fn start<F>(script: impl Fn(usize, Peer) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&connections);
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let mut running = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                running.spawn(script(seen.fetch_add(1, Ordering::SeqCst), Peer(stream)));
            }
        });
        Self { address, connections, _stops: tasks }
    }

    /// Answers each request on each connection with the same bytes.
    pub(super) async fn saying(bytes: &'static str) -> Self {
        Self::start(move |_, mut peer| async move {
            while !peer.head().await.is_empty() {
                peer.say(bytes).await;
            }
        })
        .await
    }

    /// Connections it has seen.
    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(super) fn config(&self) -> Upstream {
        upstream(Address::Tcp { host: self.address.ip().to_string(), port: self.address.port() })
    }

    pub(super) fn upstream(&self) -> Arc<Upstream> {
        Arc::new(self.config())
    }
}

pub(super) fn upstream(address: Address) -> Upstream {
    Upstream {
        name: "default".into(),
        url: "http://origin".into(),
        address,
        host: Some(HeaderValue::from_static("origin")),
        max_connections: 100,
        connect_timeout: PATIENCE,
        first_byte_timeout: PATIENCE,
        between_bytes_timeout: PATIENCE,
        idle_timeout: PATIENCE,
    }
}

pub(super) fn pool() -> (Pool, Arc<Metrics>) {
    let metrics = Metrics::new(1);
    (Pool::new(0, &Shared::new(), Arc::clone(&metrics)), metrics)
}

pub(super) fn request(method: Method, body: RequestBody) -> Request<RequestBody> {
    let mut request = Request::new(body);
    *request.method_mut() = method;
    request
}

pub(super) fn get() -> Request<RequestBody> {
    request(Method::GET, RequestBody::Empty)
}

/// The whole body as text.
pub(super) async fn text(response: Response<ResponseBody>) -> Result<String, UpstreamError> {
    let body = response.into_body().collect().await?.to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

/// Sends, and reads the whole body as text.
pub(super) async fn fetch(
    pool: &Pool,
    to: &Arc<Upstream>,
    request: Request<RequestBody>,
) -> Result<String, UpstreamError> {
    tokio::time::timeout(PATIENCE, async { text(pool.send(to, request).await?).await })
        .await
        .expect("an end within the bound")
}

/// Polls until `what` holds.
pub(super) async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

type Piece = Result<Frame<Bytes>, BoxError>;

/// A client's body, fed by the test.
pub(super) fn fed() -> (UnboundedSender<Piece>, RequestBody) {
    struct Fed(UnboundedReceiver<Piece>);
    impl Body for Fed {
        type Data = Bytes;
        type Error = BoxError;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Piece>> {
            self.0.poll_recv(cx)
        }
    }
    let (feed, fed) = unbounded_channel();
    (feed, RequestBody::stream(Fed(fed)))
}

/// A piece of body to feed.
#[expect(clippy::unnecessary_wraps, reason = "what is fed may be an error, too")]
pub(super) fn data(bytes: &'static str) -> Piece {
    Ok(Frame::data(Bytes::from_static(bytes.as_bytes())))
}
