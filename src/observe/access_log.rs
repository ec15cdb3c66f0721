//! The access log: one line a request, never in the data plane's way.
//!
//! Each worker appends to a buffer of its own, and one thread writes all buffers out. It is woken
//! when a buffer gets its first line, waits a moment so that more come along (or until a buffer
//! has plenty), swaps the buffers for empty ones and writes. A buffer that is full (the target is slower than the requests, or
//! blocks) drops lines and counts them; so does a target that cannot be written.

use std::fs::{File, OpenOptions};
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use http::request;
use parking_lot::{Condvar, Mutex};

use crate::clock;
use crate::config::snapshot::{AccessTarget, LogFormat};
use crate::observe::line;
use crate::observe::metrics::{Alert, Metrics};
use crate::observe::noted::Noted;
use crate::observe::record::Record;
use crate::observe::target::Target;
use crate::observe::write::Stamp;

/// What a worker's buffer holds at most, in bytes: at 300 bytes a line, 3,500 lines.
const BUFFER_MAX: usize = 1 << 20;
/// How long the writer lets lines gather, in milliseconds.
const BATCH_MS: u64 = 50;
/// Bytes of a worker at which it waits no longer: what is written while it is still in the
/// processor's cache costs less, and a fast worker would fill its buffer within a batch.
const BATCH_SIZE: usize = 64 << 10;

/// Takes finished requests and writes a line for each.
#[derive(Debug, Default)]
pub struct AccessLog {
    /// None: off.
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    shared: Arc<Shared>,
    format: LogFormat,
    writer: Thread,
    /// Kept so that the thread is not detached before [`AccessLog::close`].
    handle: Mutex<Option<JoinHandle<()>>>,
}

/// Why the access log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum AccessLogError {
    /// The target cannot be written to.
    #[error("cannot open the access log {target} (`log.access`)")]
    Open {
        /// Path, or `standard output`.
        target: String,
        /// The cause.
        source: std::io::Error,
    },
    /// No thread for the writer.
    #[error("cannot start the access log's thread")]
    Thread(#[source] std::io::Error),
}

/// What workers and writer share.
#[derive(Debug)]
struct Shared {
    buffers: Box<[Buffer]>,
    metrics: Arc<Metrics>,
    stop: AtomicBool,
    reopen: AtomicBool,
    /// The writer waits for a first line.
    asleep: AtomicBool,
    /// A buffer has plenty.
    hurry: AtomicBool,
    ended: Mutex<bool>,
    ended_signal: Condvar,
}

impl Shared {
    /// Wakes the writer, if it waits for this: for a first line, or for `plenty`.
    fn wake(&self, writer: &Thread, plenty: bool) {
        if plenty {
            self.hurry.store(true, Ordering::Release);
        }
        if self.asleep.swap(false, Ordering::AcqRel) || plenty {
            writer.unpark();
        }
    }
}

/// A worker's lines that wait to be written; on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Buffer(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    bytes: Vec<u8>,
    stamp: Stamp,
}

impl AccessLog {
    /// No access log.
    pub fn off() -> Self {
        Self::default()
    }

    /// Opens `target` and starts the writer; workers are numbered from 0. Call it after the
    /// process has set its signal mask and limits: the writer is a thread.
    pub fn start(
        target: &AccessTarget,
        format: LogFormat,
        workers: usize,
        metrics: Arc<Metrics>,
    ) -> Result<Self, AccessLogError> {
        let (file, path) = match target {
            AccessTarget::Off => return Ok(Self::off()),
            AccessTarget::Stdout => {
                // Its own descriptor, so that std's line buffer and lock stay out of the way.
                let stdout = std::io::stdout().as_fd().try_clone_to_owned();
                let open = |source| open_error("standard output", source);
                (File::from(stdout.map_err(open)?), None)
            }
            AccessTarget::File(path) => {
                let open = |source| open_error(&path.display().to_string(), source);
                (append_to(path).map_err(open)?, Some(path.clone()))
            }
        };
        Self::write_to(Target::new(file), path, format, workers, metrics)
    }

    fn write_to(
        target: Target,
        path: Option<PathBuf>,
        format: LogFormat,
        workers: usize,
        metrics: Arc<Metrics>,
    ) -> Result<Self, AccessLogError> {
        let shared = Arc::new(Shared {
            buffers: (0..workers.max(1)).map(|_| Buffer::default()).collect(),
            metrics,
            stop: AtomicBool::new(false),
            reopen: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            hurry: AtomicBool::new(false),
            ended: Mutex::new(false),
            ended_signal: Condvar::new(),
        });
        let writer = Writer { shared: Arc::clone(&shared), target, path, spare: Vec::new() };
        let handle = std::thread::Builder::new()
            .name("access-log".into())
            .spawn(move || writer.run())
            .map_err(AccessLogError::Thread)?;
        let writer = handle.thread().clone();
        let handle = Mutex::new(Some(handle));
        Ok(Self { running: Some(Running { shared, format, writer, handle }) })
    }

    /// What the line of a request with this head will say of it.
    pub fn note(&self, head: &request::Parts, peer: Option<IpAddr>) -> Noted {
        match &self.running {
            Some(running) => Noted::of(running.format, head, peer),
            None => Noted::default(),
        }
    }

    /// Writes one line for `record`, a request of worker number `worker`. Never waits for the
    /// target: what does not fit is dropped and counted.
    pub fn log(&self, worker: usize, record: &Record) {
        let Some(running) = &self.running else { return };
        let buffers = &running.shared.buffers;
        let Some(buffer) = buffers.get(worker).or(buffers.last()) else { return };
        let mut lines = buffer.0.lock();
        let lines = &mut *lines;
        if lines.bytes.len() >= BUFFER_MAX {
            running.shared.metrics.log_dropped.inc();
            return;
        }
        let before = lines.bytes.len();
        line::write(running.format, record, &mut lines.stamp, &mut lines.bytes);
        if before == 0 {
            running.shared.wake(&running.writer, false);
        } else if before < BATCH_SIZE && lines.bytes.len() >= BATCH_SIZE {
            running.shared.wake(&running.writer, true);
        }
    }

    /// Opens the file anew, after a rotation; nothing for standard output. Returns at once; lines
    /// of the next moment may still go to the old file.
    pub fn reopen(&self) {
        if let Some(running) = &self.running {
            running.shared.reopen.store(true, Ordering::Release);
            running.writer.unpark();
        }
    }

    /// Writes what is buffered and ends the writer; false: not done within `deadline` (the target
    /// blocks), the rest is lost. Lines logged afterwards are lost, too.
    pub fn close(&self, deadline: Duration) -> bool {
        let Some(running) = &self.running else { return true };
        running.shared.stop.store(true, Ordering::Release);
        running.writer.unpark();
        let mut ended = running.shared.ended.lock();
        if !*ended {
            running.shared.ended_signal.wait_for(&mut ended, deadline);
        }
        let done = *ended;
        drop(ended);
        if let Some(handle) = running.handle.lock().take().filter(|_| done) {
            // It has said that it ends: this waits for nothing more.
            let _ = handle.join();
        }
        done
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.close(Duration::from_millis(500));
    }
}

fn append_to(path: &PathBuf) -> std::io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

fn open_error(target: &str, source: std::io::Error) -> AccessLogError {
    AccessLogError::Open { target: target.into(), source }
}

/// The thread that writes.
struct Writer {
    shared: Arc<Shared>,
    target: Target,
    /// None: standard output.
    path: Option<PathBuf>,
    /// Swapped with a worker's buffer, so that both keep their allocation.
    spare: Vec<u8>,
}

impl Writer {
    fn run(mut self) {
        let mut failing = false;
        loop {
            let stop = self.shared.stop.load(Ordering::Acquire);
            let wrote = self.drain(&mut failing);
            if self.shared.reopen.swap(false, Ordering::AcqRel) {
                self.reopen();
            }
            if stop {
                break;
            }
            if !wrote {
                self.wait_for_a_line();
            }
            self.let_gather();
        }
        *self.shared.ended.lock() = true;
        self.shared.ended_signal.notify_all();
    }

    fn wait_for_a_line(&self) {
        let shared = &self.shared;
        shared.asleep.store(true, Ordering::Release);
        // Whoever wrote a line before that has woken nobody.
        let nothing = shared.buffers.iter().all(|buffer| buffer.0.lock().bytes.is_empty());
        if nothing && !shared.stop.load(Ordering::Acquire) {
            std::thread::park();
        }
        shared.asleep.store(false, Ordering::Release);
    }

    /// Waits until a batch is due.
    fn let_gather(&self) {
        let due = clock::monotonic_ms() + BATCH_MS;
        let shared = &self.shared;
        while !shared.stop.load(Ordering::Acquire) && !shared.hurry.swap(false, Ordering::AcqRel) {
            match due.saturating_sub(clock::monotonic_ms()) {
                0 => break,
                left => std::thread::park_timeout(Duration::from_millis(left)),
            }
        }
    }

    /// Writes what the buffers hold; false: nothing.
    fn drain(&mut self, failing: &mut bool) -> bool {
        let mut any = false;
        for buffer in &self.shared.buffers {
            self.spare.clear();
            std::mem::swap(&mut self.spare, &mut buffer.0.lock().bytes);
            if self.spare.is_empty() {
                continue;
            }
            any = true;
            let result = self.target.write(&self.spare, &self.shared.stop);
            let failed = result.is_err();
            if let Err(left) = result {
                self.shared.metrics.log_dropped.add(left.lines());
                if !*failing {
                    let error = left.error;
                    tracing::error!(%error, "the access log cannot be written; its lines are dropped and counted");
                }
            } else if *failing {
                tracing::info!("the access log can be written again");
            }
            if failed != *failing {
                self.shared.metrics.alert(Alert::AccessLogFailing, failed);
                *failing = failed;
            }
        }
        // One burst should not hold its memory for ever.
        if self.spare.capacity() > BUFFER_MAX / 4 && self.spare.len() < BUFFER_MAX / 16 {
            self.spare = Vec::new();
        }
        any
    }

    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match append_to(path) {
            Ok(file) => self.target = Target::new(file),
            Err(error) => {
                let path = path.display();
                tracing::error!(%error, %path, "cannot reopen the access log; the old file is kept");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::path::Path;

    use super::*;
    use crate::semantics::decision::{Decision, Outcome};

    fn record(path: &str) -> Record {
        let head = http::Request::builder().uri(path).body(()).unwrap().into_parts().0;
        Record {
            status: 200,
            decision: Decision::new(Outcome::Hit),
            bytes_out: 3,
            duration_ns: 1000,
            ..Record::new(Noted::of(LogFormat::Json, &head, None), head.method)
        }
    }

    fn eventually(what: &str, mut is: impl FnMut() -> bool) {
        let began = clock::monotonic_ms();
        while !is() {
            assert!(clock::monotonic_ms() - began < 10_000, "waited in vain for: {what}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn lines(path: &Path) -> Vec<String> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn to_file(path: &Path, workers: usize) -> (AccessLog, Arc<Metrics>) {
        let metrics = Metrics::new(workers);
        let target = AccessTarget::File(path.into());
        let log = AccessLog::start(&target, LogFormat::Json, workers, metrics.clone()).unwrap();
        (log, metrics)
    }

    #[test]
    fn every_line_of_every_worker_is_written_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let (log, metrics) = to_file(&path, 3);
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let log = &log;
                scope.spawn(move || {
                    for n in 0..500 {
                        log.log(worker, &record(&format!("/{worker}/{n}")));
                    }
                });
            }
        });
        assert!(log.close(Duration::from_secs(10)));
        let lines = lines(&path);
        let paths: std::collections::HashSet<String> = lines
            .iter()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["path"].to_string()
            })
            .collect();
        assert_eq!((lines.len(), paths.len()), (2000, 2000));
        assert_eq!(metrics.log_dropped.get(), 0);
    }

    #[test]
    fn a_single_line_is_written_without_a_second_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let (log, _) = to_file(&path, 1);
        for n in 1..4 {
            log.log(0, &record("/"));
            eventually("the line", || lines(&path).len() == n);
        }
    }

    #[test]
    fn plenty_is_written_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let (log, metrics) = to_file(&path, 1);
        let long = record(&format!("/{}", "x".repeat(4000)));
        let began = clock::monotonic_ms();
        let rounds = 100;
        for n in 1..=rounds {
            for _ in 0..=BATCH_SIZE / 4000 {
                log.log(0, &long);
            }
            let least = (n * BATCH_SIZE) as u64;
            eventually("the lines", || path.metadata().unwrap().len() >= least);
        }
        let took = clock::monotonic_ms() - began;
        assert!(took < rounds as u64 * BATCH_MS * 4 / 5, "{took} ms: each waited for its batch");
        assert_eq!(metrics.log_dropped.get(), 0);
    }

    #[test]
    fn after_a_rotation_lines_go_to_the_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
        let (log, _) = to_file(&path, 1);
        log.log(0, &record("/before"));
        eventually("the first line", || lines(&path).len() == 1);
        std::fs::rename(&path, &old).unwrap();
        log.reopen();
        eventually("the new file", || path.exists());
        log.log(0, &record("/after"));
        eventually("the second line", || lines(&path).len() == 1);
        assert!(lines(&old)[0].contains("/before") && lines(&path)[0].contains("/after"));
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error_with_its_path() {
        let target = AccessTarget::File("/nonexistent/access.log".into());
        let error = AccessLog::start(&target, LogFormat::Json, 1, Metrics::new(1)).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/access.log"), "{error}");
    }

    #[test]
    fn a_full_disk_drops_and_counts() {
        let (log, metrics) = to_file(Path::new("/dev/full"), 1);
        for _ in 0..10 {
            log.log(0, &record("/"));
        }
        assert!(log.close(Duration::from_secs(10)));
        assert_eq!(metrics.log_dropped.get(), 10);
        assert!(metrics.alert_active(Alert::AccessLogFailing));
    }

    /// A pipe as `larder | head -1` leaves it, and one that nobody reads.
    fn to_pipe(workers: usize) -> (AccessLog, Arc<Metrics>, std::io::PipeReader) {
        let (reader, writer) = std::io::pipe().unwrap();
        let metrics = Metrics::new(workers);
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let (target, format) = (Target::new(file), LogFormat::Human);
        let log = AccessLog::write_to(target, None, format, workers, metrics.clone()).unwrap();
        (log, metrics, reader)
    }

    #[test]
    fn a_reader_that_went_away_drops_and_counts() {
        let (log, metrics, reader) = to_pipe(1);
        drop(reader);
        for n in 1..=3 {
            log.log(0, &record("/"));
            eventually("the drop", || metrics.log_dropped.get() == n);
        }
        assert!(metrics.alert_active(Alert::AccessLogFailing));
    }

    #[test]
    fn a_reader_that_stands_still_never_blocks_a_worker() {
        let (log, metrics, reader) = to_pipe(1);
        let long = record(&format!("/{}", "x".repeat(4000)));
        // 1 MiB in the buffer, 1 MiB with the writer, 64 KiB in the pipe: 2000 lines do not fit.
        let mut logged = 0_u64;
        eventually("a dropped line", || {
            log.log(0, &long);
            logged += 1;
            metrics.log_dropped.get() > 0
        });
        assert!(!log.close(Duration::from_millis(50)), "the pipe is full: no end yet");
        let read = std::thread::spawn(move || BufReader::new(reader).lines().count() as u64);
        assert!(log.close(Duration::from_secs(10)));
        drop(log);
        assert_eq!(read.join().unwrap() + metrics.log_dropped.get(), logged);
    }
}
