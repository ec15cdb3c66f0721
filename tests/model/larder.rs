//! The Larders under test: one in this process, whose clock can be stepped, and the real binary.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::Request;
use hyper::body::Incoming;
use larder::cache::disk::DiskState;
use larder::cache::purge::What;
use larder::cli::rooms::{self, Rooms};
use larder::clock;
use larder::config::{self, Flags, Live, Sources, machine::Machine};
use larder::observe::access_log::AccessLog;
use larder::observe::metrics::Metrics;
use larder::proxy::body::Body;
use larder::proxy::conn::Conn;
use larder::proxy::reply::Reply;
use larder::proxy::service;
use larder::proxy::worker::Worker;
use larder::server::{self, Listeners, Serve, Workers};
use larder::upstream::Pool;
use tokio::runtime::Runtime;

use super::message::Millis;
use super::reference::{Client, Settings};
use crate::support::{self, Setup, eventually};

/// How long anything that should happen soon may take.
const SOON: Duration = Duration::from_secs(30);
const HOST: &str = "http://app.test";

/// A Larder, and the time that it sees.
pub trait World {
    fn now(&self) -> Millis;
    fn wait(&mut self, span: Millis);
    fn addr(&self) -> SocketAddr;
    /// Returns when nothing is being fetched any more.
    fn settle(&self);
    /// `path`: `None` for everything.
    fn purge(&self, path: Option<&str>, soft: bool);
    fn restart(&mut self);
    /// What may tell why it answered as it did.
    fn condition(&self) -> String;
}

/// How it is set.
#[derive(Clone, Debug)]
pub struct Kind {
    pub settings: Settings,
    /// Small enough that most is read from the disk.
    pub small_memory: bool,
}

impl Kind {
    fn environment(&self, cache: &Path) -> Vec<(String, OsString)> {
        let Settings { client, keep_stale, share_set_cookie } = &self.settings;
        let client = match client {
            Client::Honour => "honour",
            Client::Limit => "limit",
            Client::Ignore => "ignore",
        };
        let memory = if self.small_memory { "1MiB" } else { "64MiB" };
        let settings = [
            ("LARDER_WORKERS", "2".to_owned()),
            ("LARDER_CACHE__DIR", cache.display().to_string()),
            ("LARDER_CACHE__DISK", "64MiB".to_owned()),
            ("LARDER_CACHE__MEMORY", memory.to_owned()),
            ("LARDER_CACHE__KEEP_STALE", format!("{keep_stale}ms")),
            ("LARDER_CACHE__CLIENT_DIRECTIVES", client.to_owned()),
            ("LARDER_CACHE__SHARE_SET_COOKIE", share_set_cookie.to_string()),
            // A store that waits for long never gives up the disk on a busy machine.
            ("LARDER_CACHE__STORE_WAIT", "10s".to_owned()),
        ];
        settings.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
    }
}

/// All of Larder but its process: real sockets, a real disk, and a clock that is stepped forward.
pub struct InProcess {
    sources: Sources,
    running: Option<Running>,
    _dir: tempfile::TempDir,
}

struct Running {
    rooms: Rooms,
    workers: Workers,
    back_room: Runtime,
}

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

impl InProcess {
    pub fn start(kind: &Kind, upstream: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("larder-model-").tempdir().expect("a directory");
        let environment = kind.environment(dir.path());
        let flags = Flags {
            listen: Some("127.0.0.1:0".into()),
            upstream: Some(upstream.into()),
            ..Flags::default()
        };
        let machine = Machine::here(&environment);
        let sources = Sources { file: None, environment, flags, machine };
        let running = Some(Running::start(&sources));
        Self { sources, running, _dir: dir }
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("running")
    }
}

impl Running {
    fn start(sources: &Sources) -> Self {
        let loaded = config::load(sources.clone()).unwrap_or_else(|e| panic!("{:?}", e.mistakes));
        let snapshot = loaded.snapshot.clone();
        let metrics = Metrics::new(snapshot.workers);
        let listeners = Listeners::bind(snapshot.listen, snapshot.workers).expect("a free port");
        let back_room = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads");
        let live = Live::start(loaded, metrics.clone(), back_room.handle());
        let log = Arc::new(AccessLog::off());
        let rooms = rooms::build(&live, &metrics, &log, back_room.handle());
        let (house, upstreams) = (rooms.house.clone(), rooms.upstreams.clone());
        let limits = move || live.current().limits.clone();
        let make = move |id| {
            let pool = Pool::new(id, &upstreams, house.metrics.clone());
            Arc::new(Service(Worker::new(id, house.clone(), pool)))
        };
        let workers = server::start(listeners, limits, &metrics, make).expect("workers");
        let disk = &rooms.house.tiers.disk;
        eventually("the disk to be ready", SOON, || disk.state() == DiskState::Ready);
        Self { rooms, workers, back_room }
    }

    fn stop(self) {
        let Self { rooms, workers, back_room } = self;
        back_room.block_on(async {
            workers.drain();
            workers.join(SOON).await;
            rooms.house.tiers.close(SOON).await;
        });
        back_room.shutdown_timeout(SOON);
    }
}

impl World for InProcess {
    fn now(&self) -> Millis {
        clock::now().as_millis()
    }

    fn wait(&mut self, span: Millis) {
        clock::step_forward(Duration::from_millis(span));
    }

    fn addr(&self) -> SocketAddr {
        self.running().workers.addr()
    }

    fn settle(&self) {
        let metrics = &self.running().rooms.house.metrics;
        eventually("the flights to land", SOON, || metrics.cache.flights.get() == 0);
    }

    fn purge(&self, path: Option<&str>, soft: bool) {
        let what = path.map_or(What::Everything, |path| What::url(format!("{HOST}{path}")));
        self.running().rooms.house.tiers.purges.purge(&what, soft).expect("purged");
    }

    fn restart(&mut self) {
        self.running.take().expect("running").stop();
        self.running = Some(Running::start(&self.sources));
    }

    fn condition(&self) -> String {
        let house = &self.running().rooms.house;
        let (disk, tiers) = (&house.metrics.disk, &house.tiers);
        format!("{disk:?}, {} entries in {} bytes", tiers.disk.objects(), tiers.disk.bytes())
    }
}

impl Drop for InProcess {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }
}

/// The binary as a process, and the time that passes for everybody.
pub struct Spawned {
    larder: Option<support::Larder>,
}

impl Spawned {
    pub fn start(kind: &Kind, upstream: &str) -> Self {
        let mut setup = Setup::new(upstream);
        let cache = setup.cache_dir();
        for (name, value) in kind.environment(&cache) {
            setup = setup.env(&name, value.to_str().expect("plain"));
        }
        Self { larder: Some(setup.start_with_disk()) }
    }

    fn larder(&self) -> &support::Larder {
        self.larder.as_ref().expect("running")
    }
}

impl World for Spawned {
    fn now(&self) -> Millis {
        let now = UNIX_EPOCH.elapsed().expect("after 1970");
        u64::try_from(now.as_millis()).expect("milliseconds")
    }

    fn wait(&mut self, span: Millis) {
        std::thread::sleep(Duration::from_millis(span));
    }

    fn addr(&self) -> SocketAddr {
        self.larder().proxy
    }

    fn settle(&self) {
        let idle = || self.larder().metrics().count("larder_flights", &[]) == 0;
        eventually("the flights to land", SOON, idle);
    }

    fn purge(&self, path: Option<&str>, soft: bool) {
        let json = match path {
            Some(path) => format!(r#"{{"url": "{HOST}{path}", "soft": {soft}}}"#),
            None => format!(r#"{{"all": true, "soft": {soft}}}"#),
        };
        self.larder().admin_post("/api/purge", &json).expect(200);
    }

    fn restart(&mut self) {
        self.larder = self.larder.take().map(support::Larder::restart);
    }

    fn condition(&self) -> String {
        self.larder().events()
    }
}
