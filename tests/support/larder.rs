//! The real binary as a process, in front of an origin.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::answer::Answer;
use super::client::{Ask, Client};
use super::metrics::Metrics;
use super::origin::Origin;
use super::process::{Process, Signal};
use super::{SOON, eventually, within};

/// The binary under test: the one just built, or what LARDER_TEST_BINARY names (a release build).
pub fn binary() -> PathBuf {
    let built = || PathBuf::from(env!("CARGO_BIN_EXE_larder"));
    std::env::var_os("LARDER_TEST_BINARY").map_or_else(built, PathBuf::from)
}

/// How a Larder is to be started. Each start of the same setup uses the same directory.
#[derive(Debug, Clone)]
pub struct Setup {
    upstream: String,
    config: String,
    env: BTreeMap<String, String>,
    args: Vec<String>,
    dir: Arc<TempDir>,
}

impl Setup {
    /// In front of this URL, with a directory of its own and a small disk tier.
    pub fn new(upstream: &str) -> Self {
        let dir = tempfile::Builder::new().prefix("larder-test-").tempdir().expect("a directory");
        let setup = Self {
            upstream: upstream.into(),
            config: String::new(),
            env: BTreeMap::new(),
            args: Vec::new(),
            dir: Arc::new(dir),
        };
        let cache = setup.cache_dir().display().to_string();
        setup
            .env("LARDER_WORKERS", &super::workers().to_string())
            .env("LARDER_CACHE__DIR", &cache)
            .env("LARDER_CACHE__DISK", "128MiB")
    }

    /// What config.toml says.
    pub fn config(mut self, text: &str) -> Self {
        self.config = text.into();
        self
    }

    /// An environment variable; it outranks config.toml.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.into(), value.into());
        self
    }

    /// One more argument of `run`.
    pub fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.into());
        self
    }

    /// The upstream is said by config.toml only.
    pub fn without_upstream_flag(mut self) -> Self {
        self.upstream.clear();
        self
    }

    /// No disk tier.
    pub fn without_disk(self) -> Self {
        self.env("LARDER_CACHE__DISK", "0")
    }

    /// This many workers.
    pub fn workers(self, n: usize) -> Self {
        self.env("LARDER_WORKERS", &n.to_string())
    }

    /// The directory of this setup.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The cache's directory.
    pub fn cache_dir(&self) -> PathBuf {
        self.dir().join("cache")
    }

    /// Its config.toml.
    pub fn config_file(&self) -> PathBuf {
        self.dir().join("config").join("config.toml")
    }

    /// The command line, with config.toml written.
    pub fn command(&self) -> Command {
        let file = self.config_file();
        std::fs::create_dir_all(file.parent().expect("a parent")).expect("a directory");
        if !file.exists() {
            std::fs::write(&file, &self.config).expect("config.toml written");
        }
        let mut command = Command::new(binary());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LARDER_") {
                command.env_remove(name);
            }
        }
        command.args(["run", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]);
        command.arg("--config").arg(file);
        if !self.upstream.is_empty() {
            command.arg("--upstream").arg(&self.upstream);
        }
        command.args(&self.args).envs(&self.env).current_dir(self.dir());
        command
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub fn start(&self) -> Larder {
        let larder = self.start_unready();
        eventually("/readyz to say 200", SOON, || larder.admin_get("/readyz").status == 200);
        larder
    }

    /// Starts it and waits until its disk tier is ready, too.
    #[track_caller]
    pub fn start_with_disk(&self) -> Larder {
        let larder = self.start();
        larder.await_disk();
        larder
    }

    /// Starts it and waits until it listens.
    #[track_caller]
    pub fn start_unready(&self) -> Larder {
        let mut process = Process::start(&mut self.command(), self.dir(), "larder");
        let mut addrs = None;
        let came = within(SOON, || {
            addrs = addresses(&process.stderr());
            addrs.is_some() || !process.is_running()
        });
        let Some((proxy, admin)) = addrs.or_else(|| addresses(&process.stderr())) else {
            panic!("no listening line (in time: {came}): {}", process.stderr());
        };
        Larder { setup: self.clone(), process, proxy, admin }
    }
}

/// The addresses in `listening proxy=ADDR admin=ADDR`.
fn addresses(stderr: &str) -> Option<(SocketAddr, SocketAddr)> {
    let line = stderr.lines().find(|l| l.contains("listening proxy="))?;
    let value = |key: &str| {
        let word = line.split_whitespace().find_map(|w| w.strip_prefix(key))?;
        word.trim_matches('"').parse().ok()
    };
    Some((value("proxy=")?, value("admin=")?))
}

/// A running Larder. Dropped, it is killed.
#[derive(Debug)]
pub struct Larder {
    /// How it was started.
    pub setup: Setup,
    /// Its process.
    pub process: Process,
    /// Where the proxy listens.
    pub proxy: SocketAddr,
    /// Where the admin port listens.
    pub admin: SocketAddr,
}

impl Larder {
    /// In front of an origin, with defaults, from memory only.
    #[track_caller]
    pub fn in_front_of(origin: &Origin) -> Self {
        Setup::new(&origin.url()).without_disk().start()
    }

    /// In front of an origin, with this config.toml, from memory only.
    #[track_caller]
    pub fn with(origin: &Origin, config: &str) -> Self {
        Setup::new(&origin.url()).config(config).without_disk().start()
    }

    /// A new connection to the proxy.
    #[track_caller]
    pub fn connect(&self) -> Client {
        Client::connect(self.proxy)
    }

    /// One GET on a connection of its own.
    #[track_caller]
    pub fn get(&self, target: &str) -> Answer {
        self.ask(&Ask::get(target))
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn ask(&self, ask: &Ask) -> Answer {
        self.connect().ask(ask)
    }

    /// These bytes on a connection of their own, and everything that comes back.
    #[track_caller]
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> Answer {
        let mut client = self.connect();
        client.send(bytes);
        client.answer("GET")
    }

    /// Asks twice: true if the second answer came from the cache.
    #[track_caller]
    pub fn keeps(&self, ask: &Ask) -> bool {
        let first = self.ask(ask);
        let second = self.ask(ask);
        assert_eq!(first.status, second.status, "{ask:?}");
        second.was_hit()
    }

    /// Asks until an answer is a hit.
    #[track_caller]
    pub fn await_hit(&self, ask: &Ask) -> Answer {
        let mut last = None;
        eventually(&format!("a hit for {ask:?}"), SOON, || last.insert(self.ask(ask)).was_hit());
        last.expect("it was asked")
    }

    /// One request to the admin port.
    pub fn admin_ask(&self, ask: &Ask) -> Answer {
        Client::connect(self.admin).ask(ask)
    }

    /// A GET on the admin port.
    pub fn admin_get(&self, target: &str) -> Answer {
        self.admin_ask(&Ask::get(target).with("Host", "localhost"))
    }

    /// POST of JSON on the admin port.
    pub fn admin_post(&self, target: &str, json: &str) -> Answer {
        let ask = Ask::post(target, json).with("Host", "localhost");
        self.admin_ask(&ask.with("Content-Type", "application/json"))
    }

    /// What it counted.
    #[track_caller]
    pub fn metrics(&self) -> Metrics {
        Metrics::parse(&self.admin_get("/metrics").expect(200).text())
    }

    /// Waits for `disk=ready`.
    #[track_caller]
    pub fn await_disk(&self) {
        eventually("disk=ready", SOON, || self.admin_get("/readyz").text().contains("disk=ready"));
    }

    /// Waits until at least `n` entries are known to be on disk.
    #[track_caller]
    pub fn await_on_disk(&self, n: u64) {
        eventually(&format!("{n} entries on disk"), SOON, || self.on_disk() >= n);
    }

    /// Waits until all that lookups find is on disk, too (lists of variants included).
    #[track_caller]
    pub fn await_all_on_disk(&self) {
        eventually("all to be on disk", SOON, || {
            let metrics = self.metrics();
            // In the order in which they come by.
            ["larder_disk_write_behind", "larder_disk_pending_bytes"]
                .iter()
                .all(|name| metrics.count(name, &[]) == 0)
        });
    }

    /// Entries that are known to have come to the disk since the start.
    pub fn on_disk(&self) -> u64 {
        self.metrics().count("larder_disk_written_total", &[])
    }

    /// What it wrote to standard error.
    pub fn events(&self) -> String {
        self.process.stderr()
    }

    /// Sends SIGTERM and waits for its end.
    #[track_caller]
    pub fn stop(mut self) -> ExitStatus {
        self.process.signal(Signal::TERM);
        let ended = self.process.wait(Duration::from_mins(1));
        ended.unwrap_or_else(|| panic!("it did not end after SIGTERM: {}", self.events()))
    }

    /// SIGTERM, then a new one in the same directory, its disk ready.
    #[track_caller]
    pub fn restart(self) -> Self {
        let setup = self.setup.clone();
        let status = self.stop();
        assert!(status.success(), "SIGTERM: {status}");
        setup.start_with_disk()
    }

    /// kill -9, then a new one in the same directory, its disk ready.
    #[track_caller]
    pub fn kill_and_restart(mut self) -> Self {
        let setup = self.setup.clone();
        self.process.kill();
        setup.start_with_disk()
    }
}

/// Runs the binary with these arguments to its end.
#[track_caller]
pub fn larder(args: &[&str]) -> Output {
    command().args(args).output().expect("larder starts")
}

/// The binary, without this process's own settings.
pub fn command() -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LARDER_") {
            command.env_remove(name);
        }
    }
    command
}
