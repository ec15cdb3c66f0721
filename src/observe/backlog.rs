//! Events on their way to standard error: whoever has something to say never waits for it.
//!
//! Lines are queued, and a thread of their own writes each as soon as it can. A reader that stands
//! still fills the queue; what does not fit any more is dropped and counted.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::observe::metrics::Metrics;
use crate::observe::target::Target;

/// What the queue holds at most, in bytes: at 250 bytes a line, a thousand lines.
const QUEUE_MAX: usize = 256 << 10;
/// As much again only for warnings and errors, so that talk does not crowd them out.
const KEPT_FOR_TROUBLE: usize = 64 << 10;

/// The queue and the thread that empties it.
#[derive(Debug, Clone)]
pub(super) struct Backlog {
    shared: Arc<Shared>,
    writer: Thread,
}

#[derive(Debug)]
struct Shared {
    queue: Mutex<Vec<u8>>,
    metrics: Arc<Metrics>,
    stop: AtomicBool,
    ended: Mutex<bool>,
    ended_signal: Condvar,
}

impl Backlog {
    /// Starts the thread that writes to `target`.
    pub(super) fn start(target: Target, metrics: Arc<Metrics>) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            metrics,
            stop: AtomicBool::new(false),
            ended: Mutex::new(false),
            ended_signal: Condvar::new(),
        });
        let writes = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("events".into()).spawn(move || writes.run(target))?;
        Ok(Self { shared, writer: thread.thread().clone() })
    }

    /// Queues a whole line, with its end.
    pub(super) fn push(&self, line: &[u8], trouble: bool) {
        let most = if trouble { QUEUE_MAX + KEPT_FOR_TROUBLE } else { QUEUE_MAX };
        let mut queue = self.shared.queue.lock();
        if queue.len() + line.len() > most {
            self.shared.metrics.events_dropped.inc();
            return;
        }
        let was_empty = queue.is_empty();
        queue.extend_from_slice(line);
        drop(queue);
        if was_empty {
            self.writer.unpark();
        }
    }

    /// Writes what is queued and ends the thread; false: not done within `deadline` (nobody
    /// reads), the rest is lost. What is said afterwards is lost, too.
    pub(super) fn close(&self, deadline: Duration) -> bool {
        self.shared.stop.store(true, Ordering::Release);
        self.writer.unpark();
        let mut ended = self.shared.ended.lock();
        if !*ended {
            self.shared.ended_signal.wait_for(&mut ended, deadline);
        }
        *ended
    }
}

impl Shared {
    fn run(&self, mut target: Target) {
        let mut lines = Vec::new();
        loop {
            let stop = self.stop.load(Ordering::Acquire);
            std::mem::swap(&mut lines, &mut *self.queue.lock());
            if !lines.is_empty() {
                if let Err(left) = target.write(&lines, &self.stop) {
                    self.metrics.events_dropped.add(left.lines()); // there is nobody to tell
                }
                lines = Vec::new(); // events are rare: a burst holds no memory
            } else if stop {
                break;
            } else {
                std::thread::park();
            }
        }
        *self.ended.lock() = true;
        self.ended_signal.notify_all();
    }
}

/// One event's line: the formatter writes it in one piece.
#[derive(Debug)]
pub(super) struct Line<'a> {
    backlog: &'a Backlog,
    trouble: bool,
}

impl io::Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.backlog.push(line, self.trouble);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Backlog {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { backlog: self, trouble: false }
    }

    fn make_writer_for(&'a self, event: &Metadata<'_>) -> Line<'a> {
        Line { backlog: self, trouble: *event.level() <= Level::WARN }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{BufRead, BufReader, PipeReader};

    use super::*;

    fn to_pipe() -> (Backlog, Arc<Metrics>, PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        let metrics = Metrics::new(1);
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let backlog = Backlog::start(Target::new(file), Arc::clone(&metrics)).unwrap();
        (backlog, metrics, reader)
    }

    #[test]
    fn each_line_is_written_at_once_and_in_order() {
        let (backlog, metrics, reader) = to_pipe();
        let mut reader = BufReader::new(reader);
        for n in 0..100 {
            backlog.push(format!("{n}\n").as_bytes(), n % 2 == 0);
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            assert_eq!(line, format!("{n}\n"));
        }
        backlog.push(b"last words\n", true);
        assert!(backlog.close(Duration::from_secs(10)));
        assert_eq!(metrics.events_dropped.get(), 0);
        drop(backlog);
        assert_eq!(reader.lines().collect::<Result<Vec<_>, _>>().unwrap(), ["last words"]);
    }

    #[test]
    fn a_reader_that_stands_still_costs_lines_but_no_time_and_no_error_is_crowded_out() {
        let (backlog, metrics, reader) = to_pipe();
        let line = [&[b'x'; 999][..], b"\n"].concat();
        let mut said = 0;
        while metrics.events_dropped.get() == 0 {
            backlog.push(&line, false);
            said += 1;
            assert!(said < 10_000, "nothing bounds it");
        }
        for _ in 0..10 {
            backlog.push(b"trouble\n", true);
        }
        assert_eq!(metrics.events_dropped.get(), 1, "there is room for trouble");
        assert!(!backlog.close(Duration::from_millis(50)), "nobody reads: no end yet");
        let read = std::thread::spawn(move || BufReader::new(reader).lines().count() as u64);
        assert!(backlog.close(Duration::from_secs(10)));
        drop(backlog);
        assert_eq!(read.join().unwrap() + metrics.events_dropped.get(), said + 10);
    }

    #[test]
    fn a_reader_that_went_away_is_survived_and_counted() {
        let (backlog, metrics, reader) = to_pipe();
        drop(reader);
        for _ in 0..3 {
            backlog.push(b"unheard\n", true);
        }
        assert!(backlog.close(Duration::from_secs(10)));
        assert_eq!(metrics.events_dropped.get(), 3);
    }
}
