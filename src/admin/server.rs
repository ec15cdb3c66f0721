//! The admin port's listener and its connections: few, short and bounded in every wait.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;

use crate::admin::control::Control;
use crate::admin::doors::Path;
use crate::admin::router::Router;
use crate::config::snapshot::Admin;
use crate::observe::metrics::Metrics;

/// Connections at once; one more is closed.
pub(crate) const CONNECTIONS: usize = 128;
/// From a connection's begin, or an answer's end, to the end of the next request's head.
const HEADER_TIME: Duration = Duration::from_secs(15);
/// How long a connection may live before it is asked to end, so that none that stands still
/// holds its place; a scraper simply opens the next one.
const LIFE: Duration = Duration::from_secs(50);
/// How long a request under way may take then, a purge's bound included.
const LAST_ANSWER: Duration = Duration::from_secs(35);
/// How long a connection without a request gets: hyper leaves a fresh one open (hyper#2730).
const GRACE: Duration = Duration::from_millis(200);
/// Bytes of a request head from which hyper refuses to read on (431); what one read brings beyond
/// it may still pass.
const HEAD_MAX: usize = 32 * 1024;

/// Gives the settings in force: asked at each request, so that a changed token counts at once.
pub type Settings = Arc<dyn Fn() -> Admin + Send + Sync>;

/// Why the admin port is not there.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be listened on.
    #[error("cannot listen on {addr} for the admin port (`admin.listen`)")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// The cause; most often the port is taken.
        source: std::io::Error,
    },
    /// The runtime does not take the listener.
    #[error("cannot serve the admin port")]
    Serve(#[source] std::io::Error),
}

/// A listener that is bound and does not serve yet; clients wait in its queue.
#[derive(Debug)]
pub struct Bound {
    listener: StdListener,
    addr: SocketAddr,
}

impl Bound {
    /// The address, with the port that was taken where 0 was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Listens on `addr`; port 0 takes a free one.
pub fn bind(addr: SocketAddr) -> Result<Bound, AdminError> {
    let error = |source| AdminError::Bind { addr, source };
    // std sets SO_REUSEADDR and not SO_REUSEPORT: a port of a running Larder stays its own, one
    // of a Larder that just ended is free.
    let listener = StdListener::bind(addr).map_err(error)?;
    listener.set_nonblocking(true).map_err(error)?;
    let addr = listener.local_addr().map_err(error)?;
    Ok(Bound { listener, addr })
}

/// The running admin port.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    stop: watch::Sender<bool>,
    connections: Arc<Semaphore>,
    accepting: JoinHandle<()>,
}

/// Serves `bound` on `runtime` (the back room).
pub fn serve(
    bound: Bound,
    runtime: &Handle,
    control: Arc<dyn Control>,
    settings: Settings,
    metrics: Arc<Metrics>,
) -> Result<Server, AdminError> {
    let listener = {
        let _entered = runtime.enter();
        TcpListener::from_std(bound.listener).map_err(AdminError::Serve)?
    };
    let (stop, stopped) = watch::channel(false);
    let connections = Arc::new(Semaphore::new(CONNECTIONS));
    let router = Arc::new(Router { control, settings, metrics });
    let accepting = accept(listener, bound.addr, router, Arc::clone(&connections), stopped);
    let accepting = runtime.spawn(accepting);
    Ok(Server { addr: bound.addr, stop, connections, accepting })
}

impl Server {
    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Stops accepting, lets running requests end; false: some did not within `deadline`.
    /// Dropped midway, the port stays closed and connections end by their own limits.
    pub async fn stop(self, deadline: Duration) -> bool {
        self.stop.send_replace(true);
        let all = u32::try_from(CONNECTIONS).unwrap_or(u32::MAX);
        let ended = async {
            let accepting = self.accepting.await;
            self.connections.acquire_many(all).await.is_ok() && accepting.is_ok()
        };
        tokio::time::timeout(deadline, ended).await.unwrap_or(false)
    }
}

async fn accept(
    listener: TcpListener,
    addr: SocketAddr,
    router: Arc<Router>,
    connections: Arc<Semaphore>,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                // No place: closed at once. A probe then sees a failure rather than a wait.
                let Ok(place) = Arc::clone(&connections).try_acquire_owned() else { continue };
                let path = Path { listener: addr.ip(), peer: peer.ip() };
                tokio::spawn(connection(stream, path, Arc::clone(&router), place, stopped.clone()));
            }
            Err(error) => {
                // A client that was gone again, or no descriptor left: then trying at once would
                // only burn a core.
                tracing::debug!(%error, "the admin port could not accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    path: Path,
    router: Arc<Router>,
    place: OwnedSemaphorePermit,
    mut stopped: watch::Receiver<bool>,
) {
    let busy = Arc::new(AtomicBool::new(false));
    let busy_too = Arc::clone(&busy);
    let service = service_fn(move |request| {
        let (router, busy) = (Arc::clone(&router), Arc::clone(&busy_too));
        async move {
            busy.store(true, Ordering::Relaxed);
            let answer = router.answer(request, path).await;
            busy.store(false, Ordering::Relaxed);
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let asked_to_end = tokio::select! {
        // Errors are the client's: it broke off, or sent no HTTP.
        _ = connection.as_mut() => false,
        () = tokio::time::sleep(LIFE) => true,
        _ = stopped.wait_for(|stop| *stop) => true,
    };
    if asked_to_end {
        connection.as_mut().graceful_shutdown();
        let ended = tokio::time::timeout(GRACE, connection.as_mut()).await.is_ok();
        if !ended && busy.load(Ordering::Relaxed) {
            let _ = tokio::time::timeout(LAST_ANSWER, connection).await;
        }
    }
    drop(place);
}
