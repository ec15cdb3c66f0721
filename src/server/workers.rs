//! The workers: a thread, a current-thread runtime and a listening socket each (DESIGN D1).

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, warn};

use super::Serve;
use super::connection;
use super::listeners::{Listeners, ServerError};
use super::worker::{LimitsSource, Worker};
use crate::config::snapshot::Limits;
use crate::observe::metrics::Metrics;

/// How long accepting pauses after a failure that is not of one connection (descriptors, memory):
/// first, and at most.
const BACK_OFF: Duration = Duration::from_millis(10);
const BACK_OFF_MOST: Duration = Duration::from_secs(1);
/// How long a drain waits, once all connections have ended, for what is done behind answers.
const SETTLE_LIMIT: Duration = Duration::from_secs(1);
const SETTLE_TICK: Duration = Duration::from_millis(1);
/// How long a worker may take to stop once its connections were cut.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Serving,
    Draining,
    Over,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainReport {
    /// Connections, tunnels included, that were cut at the deadline.
    pub cut: usize,
    /// Workers that did not stop in time or had died.
    pub lost: usize,
}

/// The running workers. Dropped without [`Workers::join`], they end at once.
#[derive(Debug)]
pub struct Workers {
    addr: SocketAddr,
    stage: watch::Sender<Stage>,
    running: Vec<(JoinHandle<()>, oneshot::Receiver<usize>)>,
}

/// Starts one worker a listener. `limits` is asked about four times a second; a connection keeps
/// the size limits that it began with, times change under way. `make` is called once on each
/// worker's thread, in its runtime, with the worker's number from 0.
pub fn start<S: Serve>(
    listeners: Listeners,
    limits: impl Fn() -> Limits + Send + Sync + 'static,
    metrics: &Arc<Metrics>,
    make: impl Fn(usize) -> Arc<S> + Send + Sync + 'static,
) -> Result<Workers, ServerError> {
    let addr = listeners.addr();
    let (stage, _) = watch::channel(Stage::Serving);
    let limits: LimitsSource = Arc::new(limits);
    let make = Arc::new(make);
    let connections = Arc::new(AtomicUsize::new(0));
    let mut running = Vec::new();
    for (number, socket) in listeners.into_sockets().into_iter().enumerate() {
        let worker =
            Worker::new(Arc::clone(metrics), Arc::clone(&limits), Arc::clone(&connections));
        let stage = stage.subscribe();
        let make = Arc::clone(&make);
        let started = start_one(number, socket, move |listener| async move {
            let serve = make(number);
            run(&worker, listener, stage, &serve).await
        });
        running.push(started.map_err(|source| ServerError::Worker { worker: number, source })?);
    }
    Ok(Workers { addr, stage, running })
}

/// A thread that runs `work` on a runtime of its own and tells what it returned.
fn start_one<W: Future<Output = usize>>(
    number: usize,
    socket: StdListener,
    work: impl FnOnce(TcpListener) -> W + Send + 'static,
) -> io::Result<(JoinHandle<()>, oneshot::Receiver<usize>)> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let listener = {
        let _inside = runtime.enter();
        TcpListener::from_std(socket)
    };
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => {
            runtime.shutdown_background(); // dropping it inside another one would panic
            return Err(error);
        }
    };
    let (done, report) = oneshot::channel();
    let name = format!("larder-worker-{number}");
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        let cut = run_to_end(runtime, work(listener));
        let _ = done.send(cut);
    })?;
    Ok((thread, report))
}

fn run_to_end(runtime: Runtime, work: impl Future<Output = usize>) -> usize {
    let cut = runtime.block_on(work);
    // Drops what is left, connections included, and waits for no name lookup.
    runtime.shutdown_background();
    cut
}

impl Workers {
    /// Where they listen.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.running.len()
    }

    /// Stops accepting and lets connections end: the next answer is the last, idle ones close
    /// after a short grace. Returns at once.
    pub fn drain(&self) {
        self.advance(Stage::Draining);
    }

    /// Drains, waits for the last connection to end, and cuts what is left after `deadline`
    /// (counted from this call). Dropped midway, the workers end at once.
    pub async fn join(self, deadline: Duration) -> DrainReport {
        self.advance(Stage::Draining);
        let deadline = Instant::now() + deadline;
        let mut report = DrainReport::default();
        let mut late = Vec::new();
        let Self { stage, running, .. } = self;
        for (thread, mut done) in running {
            match timeout_at(deadline, &mut done).await {
                Ok(result) => report.add(thread, result.ok()),
                Err(_) => late.push((thread, done)),
            }
        }
        stage.send_replace(Stage::Over);
        for (thread, done) in late {
            let result = timeout(STOP_LIMIT, done).await;
            report.add(thread, result.ok().and_then(Result::ok));
        }
        report
    }

    fn advance(&self, to: Stage) {
        self.stage.send_if_modified(|stage| {
            let advances = *stage < to;
            *stage = (*stage).max(to);
            advances
        });
    }
}

impl DrainReport {
    fn add(&mut self, thread: JoinHandle<()>, cut: Option<usize>) {
        match cut {
            Some(cut) if thread.join().is_ok() => self.cut += cut, // it had nothing left to do
            _ => self.lost += 1,
        }
    }
}

/// Accepts and serves until the drain is over; how many connections were still open then.
async fn run<S: Serve>(
    worker: &Arc<Worker>,
    listener: TcpListener,
    mut stage: watch::Receiver<Stage>,
    serve: &Arc<S>,
) -> usize {
    accept_until_drain(worker, &listener, &mut stage, serve).await;
    worker.begin_drain();
    accept_the_queue(worker, listener, serve);
    let ended = async {
        worker.emptied().await;
        let settled = async {
            while !serve.is_settled() {
                sleep(SETTLE_TICK).await;
            }
        };
        let _ = timeout(SETTLE_LIMIT, settled).await; // what is lost then is fetched again
    };
    tokio::select! {
        () = ended => {}
        // An error means that nobody will join us.
        _ = stage.wait_for(|stage| *stage == Stage::Over) => {}
    }
    worker.open()
}

async fn accept_until_drain<S: Serve>(
    worker: &Arc<Worker>,
    listener: &TcpListener,
    stage: &mut watch::Receiver<Stage>,
    serve: &Arc<S>,
) {
    let mut back_off = BACK_OFF;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stage.wait_for(|stage| *stage != Stage::Serving) => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                back_off = BACK_OFF;
                begin(worker, stream, peer, serve);
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                warn!(%error, "cannot accept connections; trying again in {back_off:?}");
                tokio::select! {
                    _ = stage.wait_for(|stage| *stage != Stage::Serving) => return,
                    () = sleep(back_off) => {}
                }
                back_off = (back_off * 2).min(BACK_OFF_MOST);
            }
        }
    }
}

/// Closing one of several SO_REUSEPORT sockets resets what waits in its queue (PITFALLS 38).
fn accept_the_queue<S: Serve>(worker: &Arc<Worker>, listener: TcpListener, serve: &Arc<S>) {
    // Asks the kernel itself: tokio only says what it was last told.
    let listener = match listener.into_std() {
        Ok(listener) => listener,
        Err(error) => return debug!(%error, "cannot look into the queue"),
    };
    loop {
        match listener.accept() {
            Ok((stream, peer)) => {
                let stream =
                    stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
                if let Ok(stream) = stream {
                    begin(worker, stream, peer, serve);
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => return,
        }
    }
}

fn begin<S: Serve>(worker: &Arc<Worker>, stream: TcpStream, peer: SocketAddr, serve: &Arc<S>) {
    if let Some(registration) = worker.enter() {
        tokio::spawn(connection::serve(Arc::clone(serve), stream, peer, registration));
    }
}

/// Whether `accept` failed for a connection that is gone, rather than for want of something.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    let gone = [
        Errno::PROTO,
        Errno::NETDOWN,
        Errno::NOPROTOOPT,
        Errno::HOSTDOWN,
        Errno::NONET,
        Errno::HOSTUNREACH,
        Errno::OPNOTSUPP,
        Errno::NETUNREACH,
    ];
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
        || Errno::from_io_error(error).is_some_and(|errno| gone.contains(&errno))
}
