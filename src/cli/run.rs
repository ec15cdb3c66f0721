//! `larder run`: builds the rooms, serves, and ends gracefully.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::admin;
use crate::cache::budget::Budget;
use crate::cli::complain;
use crate::cli::control::Office;
use crate::cli::rooms::{self, Rooms};
use crate::clock;
use crate::config::{Live, Loaded};
use crate::observe::access_log::AccessLog;
use crate::observe::events::Events;
use crate::observe::metrics::Metrics;
use crate::proxy::body::Body;
use crate::proxy::conn::Conn;
use crate::proxy::reply::Reply;
use crate::proxy::service;
use crate::proxy::worker::Worker;
use crate::server::{self, Listeners, Serve, Workers};
use crate::sys;
use crate::upstream::Pool;

/// What the store may take to write out what it has been given.
const FLUSH_LIMIT: Duration = Duration::from_secs(5);
/// What the access log may take to write its last lines.
const LOG_LIMIT: Duration = Duration::from_secs(1);

/// Serves until it is told to end: 0 after a graceful end, 1 where it could not serve.
pub fn run(loaded: Loaded) -> ExitCode {
    clock::mark_start();
    match serve(loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            complain(message);
            ExitCode::FAILURE
        }
    }
}

/// The causes of `error` in one line: what failed, then why.
fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        line.push_str(": ");
        line.push_str(&source.to_string());
        cause = source.source();
    }
    line
}

fn serve(loaded: Loaded) -> Result<(), String> {
    let snapshot = loaded.snapshot.clone();
    let metrics = Metrics::new(snapshot.workers);
    let (events, last_words) =
        Events::start(snapshot.log.format, &snapshot.log.level, metrics.clone())
            .map_err(|error| chain(&error))?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    warn_of_descriptors(snapshot.limits.connections, sys::raise_descriptor_limit());
    let (access, format) = (&snapshot.log.access, snapshot.log.format);
    let log = AccessLog::start(access, format, snapshot.workers, metrics.clone())
        .map_err(|error| chain(&error))?;
    let log = Arc::new(log);
    let listeners =
        Listeners::bind(snapshot.listen, snapshot.workers).map_err(|error| chain(&error))?;
    let bound = admin::bind(snapshot.admin.listen).map_err(|error| chain(&error))?;
    let back_room = back_room()?;
    let mut signals = Signals::new(&back_room)?;
    let live = Live::start(loaded, metrics.clone(), back_room.handle());
    let rooms = rooms::build(&live, &metrics, &log, back_room.handle());
    let workers = start_workers(listeners, &rooms)?;
    let office = Arc::new(Office::new(live.clone(), metrics.clone(), rooms.clone()));
    follow_changes(back_room.handle(), &live, events, log.clone(), office.clone());
    share_memory(back_room.handle(), rooms.budget.clone());
    let admin =
        admin::serve(bound, back_room.handle(), office.clone(), settings(&live), metrics.clone())
            .map_err(|error| chain(&error))?;
    last_words.say(format_args!("listening proxy={} admin={}", workers.addr(), admin.addr()));
    back_room.block_on(signals.wait());
    office.draining();
    let deadline = live.current().drain_timeout;
    back_room.block_on(async {
        tokio::select! {
            () = end(workers, &rooms, deadline) => {}
            () = signals.wait() => tracing::warn!("second signal: ending at once"),
        }
    });
    drop(admin);
    log.close(LOG_LIMIT);
    back_room.shutdown_background();
    Ok(())
}

/// Finishes what is in flight, then writes the store out.
async fn end(workers: Workers, rooms: &Rooms, deadline: Duration) {
    tracing::info!(?deadline, "draining");
    workers.drain();
    let report = workers.join(deadline).await;
    if report.cut > 0 || report.lost > 0 {
        tracing::warn!(cut = report.cut, lost = report.lost, "the drain ended at its deadline");
    }
    rooms.house.tiers.close(FLUSH_LIMIT).await;
    tracing::info!("stopped");
}

/// The back room: whatever is not the data plane.
fn back_room() -> Result<Runtime, String> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(64)
        .thread_name("larder-back")
        .enable_all()
        .build()
        .map_err(|error| format!("no threads for the back room: {error}"))
}

fn start_workers(listeners: Listeners, rooms: &Rooms) -> Result<Workers, String> {
    let house = rooms.house.clone();
    let live = house.live.clone();
    let limits = move || live.current().limits.clone();
    let metrics = house.metrics.clone();
    let shared = rooms.upstreams.clone();
    let make = move |id| {
        let pool = Pool::new(id, &shared, house.metrics.clone());
        Arc::new(Service(Worker::new(id, house.clone(), pool)))
    };
    server::start(listeners, limits, &metrics, make).map_err(|error| chain(&error))
}

fn settings(live: &Arc<Live>) -> admin::Settings {
    let live = live.clone();
    Arc::new(move || live.current().admin.clone())
}

/// What follows a configuration that took effect, a rotated log and a stepped clock.
fn follow_changes(
    handle: &Handle,
    live: &Arc<Live>,
    events: Events,
    log: Arc<AccessLog>,
    office: Arc<Office>,
) {
    let mut changes = live.subscribe();
    handle.spawn(async move {
        while changes.changed().await.is_ok() {
            let level = changes.borrow_and_update().log.level.clone();
            if let Err(error) = events.set_level(&level) {
                tracing::warn!(%error, "the level of events stays as it was");
            }
        }
    });
    handle.spawn(async move {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
        while hangup.recv().await.is_some() {
            log.reopen();
        }
    });
    handle.spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            clock::follow_wall_clock();
            office.watch();
        }
    });
}

/// Gives the memory tier what the others leave, about once a second.
fn share_memory(handle: &Handle, budget: Arc<Budget>) {
    handle.spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let budget = budget.clone();
            let _ = tokio::task::spawn_blocking(move || budget.rebalance()).await;
        }
    });
}

/// A connection takes a descriptor, a miss another; the store has one open file a block.
fn warn_of_descriptors(connections: usize, limit: Option<u64>) {
    let Some(limit) = limit else { return };
    let wanted = u64::try_from(connections).unwrap_or(u64::MAX).saturating_add(256);
    if wanted > limit {
        tracing::warn!(
            limit,
            connections,
            "fewer descriptors than limits.connections asks for: raise `ulimit -n` \
             (LimitNOFILE= in systemd) or lower limits.connections"
        );
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new(runtime: &Runtime) -> Result<Self, String> {
        let _inside = runtime.enter();
        let listen = |kind| signal(kind).map_err(|error| format!("no signals: {error}"));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A worker of the data plane as the server calls it.
struct Service(Arc<Worker>);

impl Serve for Service {
    type Body = Body;

    fn call(&self, conn: &Arc<Conn>, request: Request<Incoming>) -> Reply<Body> {
        service::call(&self.0, conn, request)
    }

    fn is_settled(&self) -> bool {
        self.0.is_settled()
    }
}
