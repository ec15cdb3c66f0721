//! The body of a flight: a list of chunks that one fill writes and many readers read.
//!
//! Kept whole while it is small; of a larger one only a window stays, and a reader that falls
//! behind the window reads from the store instead. A body that is not kept in the store is paced
//! by its fastest reader, so that it never takes more memory than the window.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use parking_lot::Mutex;

use crate::cache::flight::windows::Windows;

/// How a body ended.
#[derive(Debug, Clone)]
pub enum End {
    /// Exactly, with these trailers.
    Complete(Option<Arc<HeaderMap>>),
    /// Before its end; no reader's message may end cleanly.
    Broken,
}

/// What a reader gets.
#[derive(Debug)]
pub enum Next {
    /// More of the body.
    Chunk(Bytes),
    /// The reader is behind the window; the store has the body from here on.
    Behind,
    /// The end.
    End(End),
}

#[derive(Debug, Default)]
struct Reader {
    offset: u64,
    waker: Option<Waker>,
    /// The slot is free.
    gone: bool,
}

#[derive(Debug)]
struct State {
    chunks: VecDeque<Bytes>,
    /// Offset in the body of the first chunk kept.
    base: u64,
    /// Offset in the body behind the last chunk.
    head: u64,
    end: Option<End>,
    readers: Vec<Reader>,
    fill: Option<Waker>,
    /// The body is kept in the store, so the fill need not wait for readers.
    kept: bool,
}

/// A body that is being filled.
#[derive(Debug)]
pub struct Stream {
    state: Mutex<State>,
    window: u64,
    windows: Arc<Windows>,
}

impl Stream {
    /// An empty body. At most `window` bytes stay readable here, fewer while all `windows` hold too
    /// much; `kept`: all of it goes into the store, too.
    pub fn new(window: u64, kept: bool, windows: Arc<Windows>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                chunks: VecDeque::new(),
                base: 0,
                head: 0,
                end: None,
                readers: Vec::new(),
                fill: None,
                kept,
            }),
            window: window.max(1),
            windows,
        })
    }

    /// Adds `chunk` for all readers.
    pub fn push(&self, chunk: Bytes) {
        if chunk.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        state.head += chunk.len() as u64;
        self.windows.hold(chunk.len() as u64);
        state.chunks.push_back(chunk);
        let window = self.windows.allowed(self.window);
        let before = state.base;
        while state.head - state.base > window && state.chunks.len() > 1 {
            if let Some(first) = state.chunks.pop_front() {
                state.base += first.len() as u64;
            }
        }
        self.windows.release(state.base - before);
        state.wake_readers();
    }

    /// Ends the body for all readers.
    pub fn end(&self, end: End) {
        let mut state = self.state.lock();
        if state.end.is_none() {
            state.end = Some(end);
        }
        state.wake_readers();
    }

    /// The body is not kept in the store after all: from now on its fastest reader paces it.
    pub fn not_kept(&self) {
        self.state.lock().kept = false;
    }

    /// Ready when the fill may push more: always for a body that is kept, otherwise while its
    /// fastest reader is within half a window, as far as that may be full now.
    pub fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        let fastest =
            (state.readers.iter().filter(|reader| !reader.gone)).map(|reader| reader.offset).max();
        let behind = state.head.saturating_sub(fastest.unwrap_or(state.head));
        if state.kept || behind <= self.windows.allowed(self.window) / 2 {
            return Poll::Ready(());
        }
        state.fill = Some(cx.waker().clone());
        Poll::Pending
    }

    /// How many read now.
    pub fn readers(&self) -> usize {
        self.state.lock().readers.iter().filter(|reader| !reader.gone).count()
    }

    /// How much of the body has come.
    pub fn head(&self) -> u64 {
        self.state.lock().head
    }

    /// It ended before its end.
    pub fn is_broken(&self) -> bool {
        matches!(self.state.lock().end, Some(End::Broken))
    }

    /// A reader from the body's beginning.
    pub fn reader(self: &Arc<Self>) -> StreamReader {
        self.reader_at(0)
    }

    /// A reader from `offset` on, which may have come already or not.
    pub fn reader_at(self: &Arc<Self>, offset: u64) -> StreamReader {
        let mut state = self.state.lock();
        let free = state.readers.iter().position(|reader| reader.gone);
        let index = free.unwrap_or(state.readers.len());
        let reader = Reader { offset, ..Reader::default() };
        match state.readers.get_mut(index) {
            Some(slot) => *slot = reader,
            None => state.readers.push(reader),
        }
        drop(state);
        StreamReader { stream: self.clone(), index, finished: false }
    }
}

impl State {
    fn wake_readers(&mut self) {
        for reader in &mut self.readers {
            if let Some(waker) = reader.waker.take() {
                waker.wake();
            }
        }
    }

    fn wake_fill(&mut self) {
        if let Some(waker) = self.fill.take() {
            waker.wake();
        }
    }

    /// What stands at `offset`, which is not behind the window.
    fn chunk_at(&self, offset: u64) -> Option<Bytes> {
        // Readers are mostly at the end: look from there.
        let mut end = self.head;
        for chunk in self.chunks.iter().rev() {
            let start = end - chunk.len() as u64;
            if offset >= start {
                let skip = usize::try_from(offset - start).unwrap_or(usize::MAX);
                return (skip < chunk.len()).then(|| chunk.slice(skip..));
            }
            end = start;
        }
        None
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        self.windows.release(state.head - state.base);
    }
}

/// One reader of a [`Stream`]. Dropping it frees its place.
#[derive(Debug)]
pub struct StreamReader {
    stream: Arc<Stream>,
    index: usize,
    finished: bool,
}

impl StreamReader {
    /// The next piece of the body.
    pub fn poll_next(&mut self, cx: &Context<'_>) -> Poll<Next> {
        if self.finished {
            return Poll::Ready(Next::End(End::Complete(None)));
        }
        let mut guard = self.stream.state.lock();
        let state = &mut *guard;
        let Some(offset) = state.readers.get(self.index).map(|reader| reader.offset) else {
            return Poll::Ready(Next::End(End::Broken));
        };
        if offset < state.base {
            return Poll::Ready(Next::Behind);
        }
        if offset < state.head {
            let chunk = state.chunk_at(offset).unwrap_or_default();
            self.advance(state, chunk.len() as u64);
            return Poll::Ready(Next::Chunk(chunk));
        }
        if let Some(end) = &state.end {
            return Poll::Ready(Next::End(end.clone()));
        }
        if let Some(reader) = state.readers.get_mut(self.index) {
            reader.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Whether there is something to read, once that is known: the body may break off before.
    pub fn poll_begun(&self, cx: &Context<'_>) -> Poll<bool> {
        let mut state = self.stream.state.lock();
        if state.head > 0 || state.end.is_some() {
            return Poll::Ready(state.head > 0 || !matches!(state.end, Some(End::Broken)));
        }
        if let Some(reader) = state.readers.get_mut(self.index) {
            reader.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Where this reader stands in the body.
    pub fn offset(&self) -> u64 {
        self.stream.state.lock().readers.get(self.index).map_or(0, |reader| reader.offset)
    }

    /// Nothing more is read but the end, without trailers.
    pub fn finish(&mut self) {
        self.finished = true;
    }

    /// Goes on behind `bytes` that the reader took from the store.
    pub fn skip(&mut self, bytes: u64) {
        self.advance(&mut self.stream.state.lock(), bytes);
    }

    fn advance(&self, state: &mut State, bytes: u64) {
        if let Some(reader) = state.readers.get_mut(self.index) {
            reader.offset += bytes;
        }
        state.wake_fill();
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        let mut state = self.stream.state.lock();
        if let Some(reader) = state.readers.get_mut(self.index) {
            reader.gone = true;
            reader.waker = None;
        }
        state.wake_fill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(window: u64, kept: bool) -> Arc<Stream> {
        Stream::new(window, kept, Arc::new(Windows::unbounded()))
    }

    fn next(reader: &mut StreamReader) -> Poll<Next> {
        reader.poll_next(&Context::from_waker(Waker::noop()))
    }

    fn text(reader: &mut StreamReader) -> String {
        match next(reader) {
            Poll::Ready(Next::Chunk(chunk)) => String::from_utf8_lossy(&chunk).into_owned(),
            Poll::Ready(Next::Behind) => "behind".to_owned(),
            Poll::Ready(Next::End(End::Complete(_))) => "end".to_owned(),
            Poll::Ready(Next::End(End::Broken)) => "broken".to_owned(),
            Poll::Pending => "pending".to_owned(),
        }
    }

    #[test]
    fn a_late_reader_gets_the_whole_body() {
        let stream = alone(100, true);
        stream.push(Bytes::from_static(b"ab"));
        let mut early = stream.reader();
        assert_eq!(text(&mut early), "ab");
        assert_eq!(text(&mut early), "pending");
        stream.push(Bytes::from_static(b"cd"));
        stream.end(End::Complete(None));
        let mut late = stream.reader();
        assert_eq!([text(&mut late), text(&mut late), text(&mut late)], ["ab", "cd", "end"]);
        assert_eq!([text(&mut early), text(&mut early)], ["cd", "end"]);
    }

    #[test]
    fn a_reader_behind_the_window_is_told_so_and_can_come_back() {
        let stream = alone(4, true);
        let mut slow = stream.reader();
        for chunk in [b"aa", b"bb", b"cc"] {
            stream.push(Bytes::from_static(chunk));
        }
        assert_eq!(text(&mut slow), "behind");
        slow.skip(3);
        assert_eq!([text(&mut slow), text(&mut slow)], ["b", "cc"]);
    }

    #[test]
    fn whether_a_body_has_begun_is_told_once_it_is_known() {
        let begun = |reader: &StreamReader| reader.poll_begun(&Context::from_waker(Waker::noop()));
        for (case, chunk, end, want) in [
            ("nothing yet", "", None, Poll::Pending),
            ("a chunk", "a", None, Poll::Ready(true)),
            ("empty", "", Some(End::Complete(None)), Poll::Ready(true)),
            ("broken before", "", Some(End::Broken), Poll::Ready(false)),
            ("broken behind", "a", Some(End::Broken), Poll::Ready(true)),
        ] {
            let stream = alone(4, true);
            let reader = stream.reader();
            stream.push(Bytes::from_static(chunk.as_bytes()));
            if let Some(end) = end {
                stream.end(end);
            }
            assert_eq!(begun(&reader), want, "{case}");
        }
    }

    #[test]
    fn a_reader_may_begin_anywhere() {
        let stream = alone(4, true);
        stream.push(Bytes::from_static(b"aabb"));
        let [mut early, mut late] = [1, 5].map(|offset| stream.reader_at(offset));
        assert_eq!([text(&mut early), text(&mut late)], ["abb", "pending"]);
        stream.push(Bytes::from_static(b"c"));
        assert_eq!(text(&mut late), "pending");
        stream.push(Bytes::from_static(b"dd"));
        assert_eq!([text(&mut late), text(&mut stream.reader_at(0))], ["dd", "behind"]);
    }

    #[test]
    fn what_is_not_kept_waits_for_its_fastest_reader() {
        let stream = alone(4, false);
        let room = || stream.poll_room(&Context::from_waker(Waker::noop())).is_ready();
        let mut reader = stream.reader();
        let slow = stream.reader();
        stream.push(Bytes::from_static(b"aaa"));
        assert!(!room(), "the fastest reader is more than half a window behind");
        assert_eq!(text(&mut reader), "aaa");
        assert!(room());
        drop((reader, slow));
        assert!(room(), "nobody reads: the fill decides whether it goes on");
    }

    #[test]
    fn a_broken_body_never_ends_cleanly() {
        let stream = alone(4, true);
        let mut reader = stream.reader();
        stream.push(Bytes::from_static(b"a"));
        stream.end(End::Broken);
        stream.end(End::Complete(None));
        assert_eq!([text(&mut reader), text(&mut reader)], ["a", "broken"]);
    }

    #[test]
    fn with_too_much_in_memory_every_window_is_the_least() {
        let windows = Arc::new(Windows::new(10, 4));
        let [first, second] = [true, false].map(|kept| Stream::new(8, kept, windows.clone()));
        let room = |stream: &Stream| stream.poll_room(&Context::from_waker(Waker::noop()));
        let mut slow = first.reader();
        let mut reader = second.reader();
        for _ in 0..4 {
            first.push(Bytes::from_static(b"aa"));
        }
        assert_eq!(windows.held(), 8);
        second.push(Bytes::from_static(b"bbb"));
        assert_eq!(windows.held(), 11);
        // Too much: the one that is kept is cut down, the other waits for its reader.
        assert!(room(&second).is_pending() && room(&first).is_ready());
        first.push(Bytes::from_static(b"cc"));
        assert_eq!(windows.held(), 4 + 3);
        assert_eq!(text(&mut slow), "behind");
        assert!(room(&second).is_ready(), "there is room again");
        first.push(Bytes::from_static(b"dd"));
        assert_eq!(windows.held(), 6 + 3, "and a window grows again");
        assert_eq!(text(&mut reader), "bbb");
        assert!(room(&second).is_ready());
        drop((first, slow));
        assert_eq!(windows.held(), 3);
        drop((second, reader));
        assert_eq!(windows.held(), 0);
    }
}
