//! The running configuration: one [`Snapshot`] at a time, exchanged as a whole or not at all.
//!
//! A thread of its own watches the directory of the file (inotify) and polls a fingerprint of
//! it, which also sees what inotify does not: a network file system, a Kubernetes ConfigMap's
//! symlink swap further up, a watch that could not be set. SIGHUP and [`Live::reload`] read the
//! file anew, too. A file that is being written is waited for.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecursiveMode, Watcher};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use toml::de::DeTable;

use crate::config::effective::Diff;
use crate::config::load::{Loaded, Sources, load_bytes, read_bounded};
use crate::config::mistake::{ConfigError, Mistake, Place};
use crate::config::snapshot::Snapshot;
use crate::observe::metrics::{Alert, Metrics};

/// How often the fingerprint is taken.
const POLL: Duration = Duration::from_secs(1);
/// Polls that read the file itself after a change: a second edit within the file system's
/// timestamp granularity leaves the fingerprint as it is.
const POLLS_AFTER_CHANGE: u32 = 3;
/// How often a file that may still be being written is looked at.
const STEP: Duration = Duration::from_millis(25);
/// Equal looks until a file counts as written: 75 ms.
const STEADY: u32 = 3;
/// The same for one that ends in the middle of something: 250 ms.
const STEADY_BROKEN: u32 = 10;
/// The same for one that is empty or gone: 500 ms, a slow editor's truncate and write.
const STEADY_EMPTY: u32 = 20;
/// Looks until a file that keeps changing is left to the next poll.
const LOOKS: u32 = 120;

/// The configuration of the running process.
#[derive(Debug)]
pub struct Live {
    current: Arc<ArcSwap<Snapshot>>,
    changes: watch::Sender<Arc<Snapshot>>,
    sources: Sources,
    metrics: Arc<Metrics>,
    seen: Mutex<Seen>,
}

/// The files as they were when last looked at.
#[derive(Debug, Default)]
struct Seen {
    /// `admin.token_file`, which counts as part of the configuration.
    token_file: Option<PathBuf>,
    fingerprint: Vec<Option<Fingerprint>>,
    contents: Option<u64>,
    polls_after_change: u32,
}

/// What a change of a file shows in.
#[derive(Debug, PartialEq, Eq)]
struct Fingerprint {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What the files hold; an unreadable one holds its error's kind.
type Contents = Vec<Result<Vec<u8>, io::ErrorKind>>;

impl Live {
    /// Takes over a loaded configuration and begins to watch it. `handle` hears SIGHUP.
    pub fn start(loaded: Loaded, metrics: Arc<Metrics>, handle: &Handle) -> Arc<Self> {
        let token_file = loaded.written.admin.token_file.as_ref().map(|given| given.value.clone());
        let live = Arc::new(Self {
            current: Arc::new(ArcSwap::new(Arc::clone(&loaded.snapshot))),
            changes: watch::Sender::new(loaded.snapshot),
            sources: loaded.sources,
            metrics,
            // With no contents seen, the first poll compares the file with what was loaded: an
            // edit between the two is not lost.
            seen: Mutex::new(Seen { token_file, ..Seen::default() }),
        });
        live.hear_hangup(handle);
        if live.sources.file.is_some() {
            live.watch();
        }
        live
    }

    /// The configuration now.
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// A view for one worker, which costs a pointer's comparison to bring up to date.
    pub fn cached(&self) -> arc_swap::Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>> {
        arc_swap::Cache::new(Arc::clone(&self.current))
    }

    /// Tells of each configuration that takes effect from now on.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.changes.subscribe()
    }

    /// Reads the files again, whether they changed or not. Blocks for as long as they take to
    /// settle (75 ms, at most 3 s): not for a worker's thread.
    pub fn reload(&self) -> Result<Diff, ConfigError> {
        let mut seen = self.seen.lock();
        let contents = settle(&self.files(&seen)).unwrap_or_else(|latest| latest);
        seen.contents = Some(hash(&contents));
        self.take(&mut seen, &contents)
    }

    fn hear_hangup(self: &Arc<Self>, handle: &Handle) {
        let _in_runtime = handle.enter();
        let mut hangups = match signal(SignalKind::hangup()) {
            Ok(hangups) => hangups,
            Err(error) => {
                tracing::warn!(%error, "SIGHUP will not reload the configuration");
                return;
            }
        };
        let live = Arc::downgrade(self);
        handle.spawn(async move {
            while hangups.recv().await.is_some() {
                let Some(live) = live.upgrade() else { return };
                tracing::info!("SIGHUP: reading the configuration again");
                // It logs and counts its own outcome; a panic would have been logged as well.
                let _ = tokio::task::spawn_blocking(move || live.reload().is_ok()).await;
            }
        });
    }

    /// Starts the watching thread, which ends within a second of the last other owner.
    fn watch(self: &Arc<Self>) {
        let live = Arc::downgrade(self);
        let file = self.sources.file.clone().unwrap_or_default();
        let spawned =
            std::thread::Builder::new().name("larder-config".to_owned()).spawn(move || {
                let (events, watcher) = watch_directories(&file);
                look_on(&live, &events);
                drop(watcher);
            });
        if let Err(error) = spawned {
            tracing::warn!(%error, "the configuration file is not watched; SIGHUP still reloads it");
        }
    }

    /// One look at the files; with `told`, whatever their fingerprint says.
    fn look(&self, told: bool) {
        let mut seen = self.seen.lock();
        let files = self.files(&seen);
        let fingerprint: Vec<_> = files.iter().map(|file| fingerprint(file)).collect();
        if told || fingerprint != seen.fingerprint {
            seen.polls_after_change = POLLS_AFTER_CHANGE;
        } else if seen.polls_after_change == 0 {
            return;
        } else {
            seen.polls_after_change -= 1;
        }
        seen.fingerprint = fingerprint;
        if seen.contents == Some(hash(&read(&files))) {
            return;
        }
        // One that keeps changing is looked at again by the next poll.
        let Ok(contents) = settle(&files) else { return };
        let hashed = hash(&contents);
        let before = seen.contents.replace(hashed);
        let known = match before {
            Some(before) => before == hashed,
            // The first look: only an edit since the start is news.
            None => self.is_as_loaded(&contents),
        };
        if known {
            return;
        }
        // It has logged and counted what became of it.
        let _ = self.take(&mut seen, &contents);
    }

    /// True where the contents make the configuration that runs.
    fn is_as_loaded(&self, contents: &Contents) -> bool {
        self.load(contents).is_ok_and(|loaded| *loaded.snapshot == *self.current.load_full())
    }

    fn files(&self, seen: &Seen) -> Vec<PathBuf> {
        self.sources.file.iter().chain(&seen.token_file).cloned().collect()
    }

    fn load(&self, contents: &Contents) -> Result<Loaded, ConfigError> {
        let file = self.sources.file.as_ref().and(contents.first()).map(|bytes| match bytes {
            Ok(bytes) => Ok(bytes.clone()),
            Err(kind) => Err(io::Error::from(*kind)),
        });
        load_bytes(self.sources.clone(), file)
    }

    /// Puts new contents into effect, or refuses them; logs and counts either.
    fn take(&self, seen: &mut Seen, contents: &Contents) -> Result<Diff, ConfigError> {
        let taken = self.load(contents).and_then(|loaded| {
            let diff = Diff::between(&self.current.load(), &loaded.snapshot);
            refuse_restarts(&diff, &loaded)?;
            Ok((loaded, diff))
        });
        match taken {
            Ok((loaded, diff)) => {
                for warning in &loaded.warnings {
                    tracing::warn!("{warning}");
                }
                if diff.is_empty() {
                    tracing::info!("configuration read again: nothing changed");
                } else {
                    tracing::info!("configuration reloaded: {diff}");
                }
                seen.token_file =
                    loaded.written.admin.token_file.as_ref().map(|given| given.value.clone());
                self.current.store(Arc::clone(&loaded.snapshot));
                self.changes.send_replace(loaded.snapshot);
                self.metrics.reloads_ok.inc();
                self.metrics.alert(Alert::ConfigRefused, false);
                Ok(diff)
            }
            Err(error) => {
                self.metrics.reloads_refused.inc();
                self.metrics.alert(Alert::ConfigRefused, true);
                for mistake in &error.mistakes {
                    tracing::error!("configuration refused, the running one stays: {mistake}");
                }
                Err(error)
            }
        }
    }
}

/// The watching thread's life.
fn look_on(live: &Weak<Live>, events: &Receiver<()>) {
    if let Some(live) = live.upgrade() {
        live.look(false);
    }
    loop {
        let told = match events.recv_timeout(POLL) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => {
                // No watcher: the poll alone does.
                std::thread::sleep(POLL);
                false
            }
        };
        let Some(live) = live.upgrade() else { return };
        live.look(told);
    }
}

/// Watches the directory that the file is named in and the one that it really is in.
fn watch_directories(file: &Path) -> (Receiver<()>, Option<notify::RecommendedWatcher>) {
    let (told, events) = mpsc::sync_channel(1);
    let resolved = file.canonicalize().ok();
    let names: Vec<_> = [Some(file), resolved.as_deref()]
        .into_iter()
        .flatten()
        .filter_map(Path::file_name)
        .map(ToOwned::to_owned)
        .collect();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading the file makes events itself; other files of the directory may be logs. A
        // name that begins with two dots is what a ConfigMap swaps.
        let counts = event.is_ok_and(|event| {
            let reading = matches!(event.kind, EventKind::Access(kind) if kind != AccessKind::Close(AccessMode::Write));
            let ours = event.paths.iter().filter_map(|path| path.file_name()).any(|name| {
                names.iter().any(|known| known == name) || name.to_string_lossy().starts_with("..")
            });
            !reading && ours
        });
        if counts {
            // Full: the thread has been told already.
            let _ = told.try_send(());
        }
    });
    let mut watcher = match watcher {
        Ok(watcher) => watcher,
        Err(error) => {
            tracing::warn!(%error, "the configuration file is polled only");
            return (events, None);
        }
    };
    let mut directories: Vec<PathBuf> = [Some(file), resolved.as_deref()]
        .into_iter()
        .flatten()
        .filter_map(Path::parent)
        .map(
            |parent| {
                if parent.as_os_str().is_empty() { PathBuf::from(".") } else { parent.to_owned() }
            },
        )
        .collect();
    directories.dedup();
    for directory in directories {
        if let Err(error) = watcher.watch(&directory, RecursiveMode::NonRecursive) {
            let directory = directory.display();
            tracing::warn!(%error, %directory, "the configuration file is polled only");
        }
    }
    (events, Some(watcher))
}

/// A change that needs a restart refuses the reload as a whole: half of an edit is no
/// configuration that anybody wrote.
fn refuse_restarts(diff: &Diff, loaded: &Loaded) -> Result<(), ConfigError> {
    let whole =
        loaded.sources.file.as_deref().map_or(Place::Default, |path| {
            crate::config::mistake::SourceText::new(path, "").whole()
        });
    let mistakes: Vec<Mistake> = diff
        .needing_restart()
        .map(|changed| {
            let place = match loaded.written.place(changed.key) {
                place @ Place::File(_) => place,
                _ => whole.clone(),
            };
            let (key, old, new) = (changed.key, &changed.old, &changed.new);
            Mistake::new(
                place,
                format!("`{key}` changed from {old} to {new}, which needs a restart"),
            )
        })
        .collect();
    if mistakes.is_empty() { Ok(()) } else { Err(ConfigError { mistakes }) }
}

fn fingerprint(file: &Path) -> Option<Fingerprint> {
    let metadata = std::fs::metadata(file).ok()?;
    Some(Fingerprint {
        device: metadata.dev(),
        inode: metadata.ino(),
        size: metadata.size(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

fn read(files: &[PathBuf]) -> Contents {
    files.iter().map(|file| read_bounded(file).map_err(|error| error.kind())).collect()
}

fn hash(contents: &Contents) -> u64 {
    let mut hasher = DefaultHasher::new();
    contents.hash(&mut hasher);
    hasher.finish()
}

/// Waits until the files stay as they are; `Err` with the latest where they never do.
fn settle(files: &[PathBuf]) -> Result<Contents, Contents> {
    let mut latest = read(files);
    let mut steady = 0;
    for _ in 0..LOOKS {
        if steady >= looks_wanted(&latest) {
            return Ok(latest);
        }
        std::thread::sleep(STEP);
        let now = read(files);
        steady = if now == latest { steady + 1 } else { 0 };
        latest = now;
    }
    Err(latest)
}

/// How many equal looks it takes to believe these contents.
fn looks_wanted(contents: &Contents) -> u32 {
    match contents.first() {
        None => 0,
        Some(Err(_)) => STEADY_EMPTY,
        Some(Ok(bytes)) if bytes.trim_ascii().is_empty() => STEADY_EMPTY,
        Some(Ok(bytes)) => match std::str::from_utf8(bytes).map(DeTable::parse) {
            Ok(Ok(_)) => STEADY,
            _ => STEADY_BROKEN,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::{Flags, load};
    use crate::config::machine::Machine;
    use std::fs;
    use std::io::Write;
    use tempfile::TempDir;

    struct Running {
        directory: TempDir,
        file: PathBuf,
        metrics: Arc<Metrics>,
        live: Arc<Live>,
        _runtime: tokio::runtime::Runtime,
    }

    fn text(stale: &str) -> String {
        format!("upstream = \"http://a\"\n[cache]\nkeep_stale = \"{stale}\"\n")
    }

    fn start(prepare: impl FnOnce(&Path) -> PathBuf) -> Running {
        let directory = tempfile::tempdir().unwrap();
        let file = prepare(directory.path());
        let machine =
            Machine { cores: 2, memory: None, descriptors: None, cache_dir: Some("/c".into()) };
        let flags = Flags::default();
        let sources = Sources { file: Some(file.clone()), environment: vec![], flags, machine };
        let metrics = Metrics::new(1);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let live = Live::start(load(sources).unwrap(), Arc::clone(&metrics), runtime.handle());
        Running { directory, file, metrics, live, _runtime: runtime }
    }

    fn plain(directory: &Path) -> PathBuf {
        let file = directory.join("config.toml");
        fs::write(&file, text("1h")).unwrap();
        file
    }

    impl Running {
        fn stale(&self) -> String {
            crate::config::value::show_duration(self.live.current().cache.keep_stale)
        }

        fn eventually(&self, what: &str, holds: impl Fn(&Self) -> bool) {
            for _ in 0..400 {
                if holds(self) {
                    return;
                }
                std::thread::sleep(Duration::from_millis(25));
            }
            let (ok, refused) = (self.metrics.reloads_ok.get(), self.metrics.reloads_refused.get());
            panic!("waited for {what}; keep_stale {}, ok {ok}, refused {refused}", self.stale());
        }
    }

    #[test]
    fn an_edit_is_taken_however_it_is_written() {
        let running = start(plain);
        fs::write(&running.file, text("2h")).unwrap();
        running.eventually("a truncating write", |r| r.stale() == "2h");
        let other = running.directory.path().join("new");
        fs::write(&other, text("3h")).unwrap();
        fs::rename(&other, &running.file).unwrap();
        running.eventually("a rename over", |r| r.stale() == "3h");
        // The same inode and the same length.
        fs::write(&running.file, text("4h")).unwrap();
        running.eventually("an edit of equal length", |r| r.stale() == "4h");
        running.eventually("the count", |r| r.metrics.reloads_ok.get() == 3);
        assert_eq!(running.metrics.reloads_refused.get(), 0);
    }

    #[test]
    fn a_config_maps_symlink_swap_counts() {
        let running = start(|directory| {
            fs::create_dir(directory.join("..1")).unwrap();
            fs::write(directory.join("..1/config.toml"), text("1h")).unwrap();
            std::os::unix::fs::symlink("..1", directory.join("..data")).unwrap();
            std::os::unix::fs::symlink("..data/config.toml", directory.join("config.toml"))
                .unwrap();
            directory.join("config.toml")
        });
        let directory = running.directory.path();
        fs::create_dir(directory.join("..2")).unwrap();
        fs::write(directory.join("..2/config.toml"), text("2h")).unwrap();
        std::os::unix::fs::symlink("..2", directory.join("..data_tmp")).unwrap();
        fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
        running.eventually("the swap", |r| r.stale() == "2h");
    }

    #[test]
    fn a_write_in_two_halves_is_one_edit() {
        let running = start(plain);
        let whole = text("2h");
        let (head, tail) = whole.split_at(whole.len() - 4);
        let mut file = fs::File::create(&running.file).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        file.write_all(head.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(60));
        file.write_all(tail.as_bytes()).unwrap();
        drop(file);
        running.eventually("the whole edit", |r| r.stale() == "2h");
        assert_eq!(running.metrics.reloads_refused.get(), 0);
    }

    #[test]
    fn a_broken_edit_is_refused_and_counted_and_mended() {
        let running = start(plain);
        for (round, broken) in ["", "upstream =", "[cache]\nmemroy = 1\n", "\0"].iter().enumerate()
        {
            fs::write(&running.file, broken).unwrap();
            let want = round as u64 + 1;
            running.eventually("the refusal", |r| r.metrics.reloads_refused.get() == want);
            assert_eq!(running.stale(), "1h", "{broken:?}");
        }
        fs::remove_file(&running.file).unwrap();
        running.eventually("the refusal of nothing", |r| r.metrics.reloads_refused.get() == 5);
        fs::write(&running.file, text("2h")).unwrap();
        running.eventually("the mended file", |r| r.stale() == "2h");
    }

    #[test]
    fn what_needs_a_restart_refuses_the_whole_edit() {
        let running = start(plain);
        let edited = format!("workers = 9\n{}", text("2h"));
        fs::write(&running.file, edited).unwrap();
        let error = running.live.reload().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{}:1:11: `workers` changed from 2 to 9, which needs a restart",
                running.file.display()
            )
        );
        assert_eq!(running.stale(), "1h");
        assert!(running.metrics.reloads_refused.get() >= 1);
    }

    #[test]
    fn a_reload_tells_what_changed_to_all_who_listen() {
        let running = start(plain);
        let mut changes = running.live.subscribe();
        let mut view = running.live.cached();
        assert_eq!(running.live.reload().unwrap(), Diff::default());
        fs::write(&running.file, text("2h")).unwrap();
        // The watcher may have been first: then there is nothing left to change.
        let diff = running.live.reload().unwrap();
        if !diff.is_empty() {
            assert_eq!(diff.to_string(), "cache.keep_stale: \"1h\" -> \"2h\"");
        }
        assert!(changes.has_changed().unwrap());
        assert_eq!(changes.borrow_and_update().cache.keep_stale, Duration::from_hours(2));
        assert_eq!(view.load().cache.keep_stale, Duration::from_hours(2));
    }

    #[test]
    fn other_files_of_the_directory_and_mere_touches_change_nothing() {
        let running = start(plain);
        for n in 0..20 {
            fs::write(running.directory.path().join("access.log"), n.to_string()).unwrap();
            fs::write(&running.file, text("1h")).unwrap();
            std::thread::sleep(Duration::from_millis(20));
        }
        fs::write(&running.file, text("2h")).unwrap();
        running.eventually("the edit", |r| r.stale() == "2h");
        assert_eq!(running.metrics.reloads_ok.get(), 1);
        assert_eq!(running.metrics.reloads_refused.get(), 0);
    }
}
