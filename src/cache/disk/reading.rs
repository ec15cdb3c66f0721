//! One read for all who look up a key at the same time.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::OnceCell;

/// The reads under way, by key.
#[derive(Default)]
pub(super) struct Readings {
    by_key: Mutex<HashMap<Bytes, Arc<Reading>>>,
}

struct Reading {
    /// How often the key had changed when it began: who comes after a change reads anew.
    changes: u32,
    result: OnceCell<Option<Read>>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) value: Bytes,
    /// About where it was written.
    pub(super) position: u64,
}

/// One who waits for a read, or does it. Others join for as long as none who has the result was
/// dropped. Dropped before, it leaves nothing behind: another one who waits does the read instead.
pub(super) struct Reader<'a> {
    readings: &'a Readings,
    key: Bytes,
    reading: Arc<Reading>,
}

impl Readings {
    /// Joins the read of `key` that began after as many `changes`, or begins one.
    pub(super) fn join(&self, key: &[u8], changes: u32) -> Reader<'_> {
        let mut by_key = self.by_key.lock();
        if let Some((key, reading)) = by_key.get_key_value(key)
            && reading.changes == changes
        {
            return Reader { readings: self, key: key.clone(), reading: reading.clone() };
        }
        let key = Bytes::copy_from_slice(key);
        let reading = Arc::new(Reading { changes, result: OnceCell::new() });
        by_key.insert(key.clone(), reading.clone());
        Reader { readings: self, key, reading }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.by_key.lock().len()
    }
}

impl Reader<'_> {
    /// What was read: by `read`, if nobody else does it already.
    pub(super) async fn result<R>(&self, read: impl FnOnce() -> R) -> Option<Read>
    where
        R: Future<Output = Option<Read>>,
    {
        self.reading.result.get_or_init(read).await.clone()
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let mut by_key = self.readings.by_key.lock();
        // Ours and the map's: nobody else waits.
        let last = Arc::strong_count(&self.reading) <= 2;
        if (last || self.reading.result.initialized())
            && by_key.get(&self.key).is_some_and(|known| Arc::ptr_eq(known, &self.reading))
        {
            by_key.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[expect(clippy::unnecessary_wraps, reason = "as a read gives it")]
    fn read(value: &'static str) -> Option<Read> {
        Some(Read { value: Bytes::from_static(value.as_bytes()), position: 0 })
    }

    #[tokio::test]
    async fn who_waits_reads_when_the_reader_leaves() {
        let readings = Readings::default();
        let second = readings.join(b"k", 0);
        let mut waiting = {
            let first = readings.join(b"k", 0);
            let mut reading = Box::pin(first.result(pending));
            assert!(poll(reading.as_mut()).is_pending());
            let mut waiting = Box::pin(second.result(|| ready(read("v"))));
            assert!(poll(waiting.as_mut()).is_pending(), "it waits for the first");
            waiting
        };
        assert_eq!(waiting.as_mut().await, read("v"));
        drop(waiting);
        // Until it is dropped, who comes has the same.
        assert_eq!(readings.join(b"k", 0).result(pending).await, read("v"));
        drop(second);
        assert_eq!(readings.len(), 0);
    }

    #[tokio::test]
    async fn who_comes_after_a_change_reads_anew() {
        let readings = Readings::default();
        let first = readings.join(b"k", 0);
        let mut old = pin!(first.result(pending));
        assert!(poll(old.as_mut()).is_pending());
        let second = readings.join(b"k", 1);
        assert_eq!(second.result(|| ready(read("new"))).await, read("new"));
        drop(second);
        assert_eq!(readings.len(), 0);
    }

    #[test]
    fn a_read_that_nobody_waits_for_is_forgotten() {
        let readings = Readings::default();
        let first = readings.join(b"k", 0);
        drop(readings.join(b"k", 0));
        assert_eq!(readings.len(), 1);
        drop(first);
        assert_eq!(readings.len(), 0);
    }
}
