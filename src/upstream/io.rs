//! One connection's bytes: what hyper reads has passed the [`ResponseScanner`] first.
//!
//! hyper's client accepts or hides much that a proxy must not (PITFALLS 37). So each byte from
//! the origin is checked before hyper sees it; a violation or a byte that nobody asked for is a
//! read error, and the connection is never used again. An answer longer than its Content-Length
//! says ends where it says, and so does the connection.
//!
//! The socket lives in the [`Wire`], which the driver of the connection (through [`Io`]) and its
//! user share: the user looks for a close or for unasked bytes before it sends, can close the
//! socket at once, and learns afterwards what went wrong. Both run on the same worker, so the
//! lock is never waited for on the usual path.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use http::header::UPGRADE;
use http::{Method, Request};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connect::Stream;
use super::error::{BoxError, UpstreamError};
use super::scanned::{Scanned, scan};
use super::slots::Slot;
use crate::clock;
use crate::observe::metrics::Metrics;
use crate::semantics::wire::{ResponseScanner, WireLimits};

/// A larger response head is malformed.
pub(super) const HEAD_SIZE: usize = 64 * 1024;

/// What a response may have: as D12 bounds requests.
const LIMITS: WireLimits = WireLimits {
    head_size: HEAD_SIZE,
    head_fields: 100,
    target_size: 0,
    chunk_ext: 4 * 1024,
    trailers: 16 * 1024,
};

/// How much is read at once while a head is incomplete.
const HELD_READ: usize = 8 * 1024;

/// How far the running request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Sent {
    /// There is none.
    Nothing,
    /// Part of it is given to hyper; there is more, or was when hyper last asked.
    Some,
    /// As `Some`, and it is the client that keeps us waiting.
    AwaitingClient,
    /// All of it is given to hyper.
    All,
    /// Its body broke off: the origin must not take what it has for the whole.
    Failed,
}

/// One connection, as its driver and its user see it.
pub(super) struct Wire {
    guarded: Mutex<Guarded>,
    sent: AtomicU8,
    /// When the request last moved on ([`clock::monotonic_ms`]).
    moved_ms: AtomicU64,
    metrics: Arc<Metrics>,
}

struct Guarded {
    /// `None` once closed.
    stream: Option<Stream>,
    /// The place under `max_connections` that this connection takes.
    slot: Option<Slot>,
    scanner: ResponseScanner,
    /// Method and whether an upgrade is asked for, until the request's first bytes are written:
    /// an answer before that is unasked.
    asked: Option<(Method, bool)>,
    /// Bytes of the running exchange were read.
    received: bool,
    /// Bytes of the running exchange were written.
    wrote: bool,
    /// A write failed; what the origin said before may still be readable (hyper#3078).
    write_failed: bool,
    /// What the origin did wrong.
    violation: Option<&'static str>,
    /// An answer was longer than it said: nothing more is read.
    surplus: bool,
    /// What the client's body did wrong.
    request_error: Option<BoxError>,
    /// The beginning of a head that is not complete yet.
    held: BytesMut,
    /// Scanned, and waiting for hyper to take it.
    passed: BytesMut,
}

impl Wire {
    /// Takes over a fresh socket, counted from now on.
    pub(super) fn new(stream: Stream, slot: Slot, metrics: Arc<Metrics>) -> Arc<Self> {
        metrics.upstream.connections.add(1);
        Arc::new(Self {
            guarded: Mutex::new(Guarded {
                stream: Some(stream),
                slot: Some(slot),
                scanner: ResponseScanner::new(LIMITS),
                asked: None,
                received: false,
                wrote: false,
                write_failed: false,
                violation: None,
                surplus: false,
                request_error: None,
                held: BytesMut::new(),
                passed: BytesMut::new(),
            }),
            sent: AtomicU8::new(Sent::Nothing as u8),
            moved_ms: AtomicU64::new(clock::monotonic_ms()),
            metrics,
        })
    }

    /// This request comes next. Call before it is given to hyper.
    pub(super) fn expect<B>(&self, request: &Request<B>) {
        let upgrade = request.headers().contains_key(UPGRADE);
        let mut guarded = self.guarded.lock();
        guarded.asked = Some((request.method().clone(), upgrade));
        guarded.received = false;
        guarded.wrote = false;
    }

    /// Is the idle connection still open, with nothing to read? One `recv` that takes nothing:
    /// tokio's own view may lag behind, and a response that lies there unasked would be taken
    /// for the answer to the next request.
    pub(super) fn is_quiet(&self) -> bool {
        let guarded = self.guarded.lock();
        let Some(stream) = &guarded.stream else { return false };
        if guarded.violation.is_some() || guarded.surplus || guarded.write_failed {
            return false;
        }
        let mut byte = [std::mem::MaybeUninit::uninit(); 1];
        // The socket does not block.
        stream.socket().peek(&mut byte).is_err_and(|e| e.kind() == io::ErrorKind::WouldBlock)
    }

    /// Both messages ended exactly, and nothing else was seen.
    pub(super) fn is_reusable(&self) -> bool {
        let guarded = self.guarded.lock();
        self.state() == Sent::All as u8
            && guarded.stream.is_some()
            && guarded.violation.is_none()
            && !guarded.surplus
            && !guarded.write_failed
            && guarded.held.is_empty()
            && guarded.passed.is_empty()
            && guarded.scanner.complete()
    }

    /// Have the running exchange's bytes been written, read? (written, read)
    pub(super) fn touched(&self) -> (bool, bool) {
        let guarded = self.guarded.lock();
        (guarded.wrote, guarded.received)
    }

    /// What the origin did wrong, if it did.
    pub(super) fn violation(&self) -> Option<&'static str> {
        self.guarded.lock().violation
    }

    /// Notes how far the request has come.
    pub(super) fn sent(&self, sent: Sent) {
        self.sent.store(sent as u8, Ordering::Relaxed);
        self.moved_ms.store(clock::monotonic_ms(), Ordering::Relaxed);
    }

    /// The client's body broke off.
    pub(super) fn request_failed(&self, error: BoxError) {
        self.guarded.lock().request_error = Some(error);
        self.sent(Sent::Failed);
    }

    /// How long the origin has kept us waiting; `None` while it is the client that does.
    pub(super) fn waited(&self) -> Option<Duration> {
        if self.state() == Sent::AwaitingClient as u8 {
            return None;
        }
        let moved = self.moved_ms.load(Ordering::Relaxed);
        Some(Duration::from_millis(clock::monotonic_ms().saturating_sub(moved)))
    }

    /// What hyper's error means, by what was seen here.
    pub(super) fn explain(&self, error: &hyper::Error) -> UpstreamError {
        let mut guarded = self.guarded.lock();
        if let Some(error) = guarded.request_error.take() {
            UpstreamError::RequestBody(error)
        } else if let Some(reason) = guarded.violation {
            UpstreamError::Malformed(reason)
        } else if error.is_parse() || error.is_parse_status() {
            guarded.violation = Some("head");
            UpstreamError::Malformed("not a valid response head")
        } else {
            UpstreamError::Closed
        }
    }

    /// Closes the socket now, whoever else holds this, and gives its slot to who waits for one.
    /// A request that is not all sent is reset: the origin must not see a clean end.
    pub(super) fn close(&self) {
        drop(self.close_keeping_slot());
    }

    /// As [`Self::close`]; the slot is the caller's, if it was still held.
    pub(super) fn close_keeping_slot(&self) -> Option<Slot> {
        let (stream, slot) = {
            let mut guarded = self.guarded.lock();
            (guarded.stream.take(), guarded.slot.take())
        };
        let stream = stream?;
        let whole = [Sent::Nothing as u8, Sent::All as u8];
        if !whole.contains(&self.state()) && matches!(stream, Stream::Tcp(_)) {
            let _ = stream.socket().set_linger(Some(Duration::ZERO));
        }
        drop(stream);
        self.metrics.upstream.connections.add(-1);
        slot
    }

    fn state(&self) -> u8 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Guarded {
    /// Reads and scans. Ready with nothing more in `buf`: the origin closed.
    fn poll_read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            if !self.passed.is_empty() {
                let n = self.passed.len().min(buf.remaining());
                buf.put_slice(&self.passed.split_to(n));
                return Poll::Ready(Ok(()));
            }
            if self.violation.is_some() || self.surplus {
                return Poll::Ready(Err(bad_data()));
            }
            let Some(stream) = &mut self.stream else { return Poll::Ready(Err(closed())) };
            if self.held.is_empty() {
                let before = buf.filled().len();
                std::task::ready!(stream.poll_read(cx, buf))?;
                let fresh = buf.filled().get(before..).unwrap_or_default();
                if fresh.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                self.received = true;
                let good = match scan(&mut self.scanner, self.asked.is_some(), fresh) {
                    Ok(Scanned { good, surplus }) => {
                        self.surplus = surplus;
                        good.min(fresh.len())
                    }
                    Err(reason) => {
                        self.violation = Some(reason);
                        buf.set_filled(before);
                        return Poll::Ready(Err(bad_data()));
                    }
                };
                if good == fresh.len() {
                    return Poll::Ready(Ok(()));
                }
                if !self.surplus {
                    self.held.extend_from_slice(fresh.get(good..).unwrap_or_default());
                }
                buf.set_filled(before + good);
                if good > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else {
                let mut room = [0_u8; HELD_READ];
                let mut more = ReadBuf::new(&mut room);
                std::task::ready!(stream.poll_read(cx, &mut more))?;
                if more.filled().is_empty() {
                    // The end in the middle of a head; hyper tells it from a clean one by itself.
                    return Poll::Ready(Ok(()));
                }
                self.held.put_slice(more.filled());
                match scan(&mut self.scanner, self.asked.is_some(), &self.held) {
                    Ok(Scanned { good, surplus }) => {
                        self.passed = self.held.split_to(good.min(self.held.len()));
                        self.surplus = surplus;
                    }
                    Err(reason) => {
                        self.violation = Some(reason);
                        return Poll::Ready(Err(bad_data()));
                    }
                }
            }
        }
    }

    /// Before the first byte of a request goes out, its answer is awaited.
    fn begin_write(&mut self) -> io::Result<&mut Stream> {
        if let Some((method, upgrade)) = self.asked.take() {
            self.scanner.expect(&method, upgrade);
        }
        self.stream.as_mut().ok_or_else(closed)
    }

    /// A failed write does not end the exchange: the origin may have answered before it closed
    /// (413 and the like). The read side finds the answer, or the end; nothing more is written.
    fn wrote(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Err(_)) = written {
            self.write_failed = true;
            return Poll::Pending;
        }
        self.wrote |= matches!(written, Poll::Ready(Ok(1..)));
        written
    }
}

fn bad_data() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "malformed response")
}

fn closed() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

/// The socket as hyper drives it. Dropping it closes the connection.
pub(super) struct Io(pub(super) Arc<Wire>);

impl Drop for Io {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.guarded.lock().poll_read(cx, buf)
    }
}

impl Io {
    fn write(
        &self,
        write: impl FnOnce(Pin<&mut (dyn AsyncWrite + Send + Unpin)>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let mut guarded = self.0.guarded.lock();
        if guarded.write_failed {
            return Poll::Pending; // the read side ends this
        }
        let written = write(guarded.begin_write()?.as_writer());
        if written.is_ready() {
            self.0.moved_ms.store(clock::monotonic_ms(), Ordering::Relaxed);
        }
        guarded.wrote(written)
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(|stream| stream.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // sockets have no buffer of their own to flush
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A request that is not all sent must not end cleanly: no FIN, `close` resets.
        let whole = [Sent::Nothing as u8, Sent::All as u8].contains(&self.0.state());
        match &mut self.0.guarded.lock().stream {
            Some(stream) if whole => stream.as_writer().poll_shutdown(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}
