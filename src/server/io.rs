//! The I/O wrapper between a client's socket and hyper.
//!
//! hyper hides or accepts what a proxy must refuse (PITFALLS 37), so every byte passes a
//! [`RequestScanner`] first, and hyper sees complete and sound heads only:
//!
//! - An incomplete head is held back. One that comes in one read is passed on as it came.
//! - A bad head is replaced by a harmless stand-in, which the proxy answers with the fault's
//!   status ([`Conn::next_request`]); nothing behind it is ever taken for a request.
//! - A body with bad framing, or one that comes too slowly, fails to be read.
//! - Behind a request for an upgrade nothing is read until that is decided.
//!
//! Reads go through one buffer a thread: hyper's own cannot be looked at without `unsafe`, and
//! copying a head costs less than the cache misses that it saves. Small answers are written from
//! it, too. Other writes go straight through, but for interim responses, which hyper's server does
//! not write ([`interim`]).
//!
//! A connection that does not end in order (`poll_shutdown` to its end) is reset, so that no
//! client takes a broken answer for a whole one.

mod intake;
mod interim;

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::closing::{LINGER_BYTES, Parked};
use super::timers::{Overdue, Phase};
use super::worker::Registration;
use crate::config::snapshot::Limits;
use crate::proxy::conn::{Conn, Upgrade};
use crate::semantics::wire::{RequestScanner, WireLimits};

/// Bytes read at once at most.
const SCRATCH: usize = 64 << 10;

/// Pieces of no more than this together are written as one: `send` of one takes 180 ns less than
/// `writev` of two (of 3.6 us, loopback), and copying so few bytes takes less than that.
const GATHERED: usize = 8 << 10;

thread_local! {
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH].into_boxed_slice());
}

/// A client's socket as hyper sees it.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    scanner: RequestScanner,
    conn: Arc<Conn>,
    registration: Registration,
    mode: Mode,
    end: End,
    /// What the [`super::timers::Watch`] was told last.
    phase: Phase,
    write_blocked: bool,
    /// Bytes of an incomplete head, or what came behind a request for an upgrade.
    held: Vec<u8>,
    /// Scanned bytes that hyper had no room for, from `ready_at` on.
    ready: Vec<u8>,
    ready_at: usize,
    /// Interim responses that are being written, from `interim_at` on; they go before all else.
    interim: Vec<u8>,
    interim_at: usize,
}

/// How reading goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Scan,
    /// An upgrade was asked for and is not decided.
    Undecided,
    /// An upgrade was accepted.
    Tunnel,
    /// A stand-in was given: nothing is read behind it.
    Deaf,
    /// The body cannot be read.
    Failed(ErrorKind),
    /// The client has shut down its side.
    Finished,
    /// The connection was idle for too long: hyper is told that the client has left.
    Idled,
}

/// How the connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// The write side is shut down; so many bytes more are thrown away.
    Lingering(usize),
    /// In order: it may simply be closed.
    Done,
}

impl Socket {
    pub(super) fn new(
        stream: TcpStream,
        conn: Arc<Conn>,
        registration: Registration,
        limits: &Limits,
    ) -> Self {
        let scanner = RequestScanner::new(WireLimits {
            head_size: limits.head_size,
            head_fields: limits.head_fields,
            target_size: limits.uri_size,
            ..WireLimits::default()
        });
        Self {
            stream,
            scanner,
            conn,
            registration,
            mode: Mode::Scan,
            end: End::Open,
            phase: Phase::Quiet,
            write_blocked: false,
            held: Vec::new(),
            ready: Vec::new(),
            ready_at: 0,
            interim: Vec::new(),
            interim_at: 0,
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.registration.watch().enter(phase);
    }

    fn enter_once(&mut self, phase: Phase) {
        if self.phase != phase {
            self.enter(phase);
        }
    }

    /// Whether a body has begun that did not end yet.
    fn in_body(&self) -> bool {
        self.held.is_empty() && !self.scanner.between_messages()
    }

    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match result {
            Poll::Ready(Ok(written)) => {
                self.registration.watch().worker().count_out(written);
                if self.write_blocked {
                    self.write_blocked = false;
                    self.registration.watch().write_went_on();
                }
                if matches!(self.phase, Phase::HalfClosed | Phase::Tunnel) {
                    self.enter(self.phase); // it is not silent
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                self.write_blocked = true;
                self.registration.watch().write_blocked();
                if self.mode == Mode::Tunnel {
                    self.registration.watch().register(cx.waker());
                }
                if self.registration.watch().check() == Some(Overdue::Write) {
                    return Poll::Ready(Err(ErrorKind::TimedOut.into()));
                }
            }
        }
        result
    }

    fn begin_linger(&mut self, phase: Phase) {
        self.end = End::Lingering(LINGER_BYTES);
        self.enter(phase);
    }

    /// Throws input away until the client closes, so that it sees the answer: closing with
    /// unread input resets the connection, and an answer not yet read is lost (PITFALLS 32).
    fn linger(&mut self, cx: &mut Context<'_>, mut left: usize) -> Poll<()> {
        BUFFER.with_borrow_mut(|buffer| {
            while left > 0 {
                let mut read = ReadBuf::new(buffer);
                match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
                    Poll::Pending => {
                        self.end = End::Lingering(left);
                        match self.registration.watch().check() {
                            Some(Overdue::Linger) => break,
                            _ => return Poll::Pending,
                        }
                    }
                    Poll::Ready(Err(_)) => break,
                    Poll::Ready(Ok(())) if read.filled().is_empty() => break,
                    Poll::Ready(Ok(())) => {
                        let read = read.filled().len();
                        self.registration.watch().worker().count_in(read);
                        left = left.saturating_sub(read);
                    }
                }
            }
            Poll::Ready(())
        })
    }
}

impl hyper::rt::Read for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut to: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if to.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if this.pass_ready(&mut to) {
                return Poll::Ready(Ok(()));
            }
            let done = match this.mode {
                Mode::Scan | Mode::Tunnel => {
                    BUFFER.with_borrow_mut(|buffer| this.read_some(cx, &mut to, buffer))
                }
                Mode::Undecided => match this.conn.poll_upgrade(cx.waker()) {
                    Upgrade::Undecided => Some(Poll::Pending),
                    decided => this.decided(decided, &mut to),
                },
                Mode::Deaf => Some(Poll::Pending),
                Mode::Failed(kind) => Some(Poll::Ready(Err(kind.into()))),
                Mode::Finished => Some(this.finished()),
                Mode::Idled => Some(Poll::Ready(Ok(()))),
            };
            if let Some(done) = done {
                return done;
            }
        }
    }
}

impl hyper::rt::Write for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.write_interim(cx))?;
        let result = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.wrote(cx, result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.write_interim(cx))?;
        let few = pieces.iter().map(|piece| piece.len()).sum::<usize>() <= GATHERED;
        let stream = Pin::new(&mut this.stream);
        let result = if few {
            BUFFER.with_borrow_mut(|buffer| stream.poll_write(cx, gathered(pieces, buffer)))
        } else {
            stream.poll_write_vectored(cx, pieces)
        };
        this.wrote(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper has written all that it has.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.mode == Mode::Finished && !self.registration.watch().busy() {
            // The end of input was kept from hyper until now, and nothing else wakes it.
            if self.phase == Phase::HalfClosed {
                cx.waker().wake_by_ref();
            }
        }
        self.take_interim(cx);
        self.write_interim(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.end == End::Open {
            if this.conn.broken_off() {
                return Poll::Ready(Ok(())); // dropped as it is: reset
            }
            let shut = ready!(Pin::new(&mut this.stream).poll_shutdown(cx));
            if this.mode == Mode::Tunnel {
                return Poll::Ready(shut); // the other direction goes on
            }
            let unread = this.in_body() || !this.held.is_empty() || !this.ready.is_empty();
            match this.mode {
                _ if shut.is_err() => this.end = End::Done,
                Mode::Finished | Mode::Idled => this.end = End::Done,
                Mode::Scan if !unread => this.begin_linger(Phase::LingerTidy),
                _ => this.begin_linger(Phase::Linger),
            }
        }
        if let End::Lingering(left) = this.end {
            ready!(this.linger(cx, left));
            this.end = End::Done;
        }
        Poll::Ready(Ok(()))
    }
}

/// The pieces in a row, as far as they fit into `buffer`.
fn gathered<'a>(pieces: &[IoSlice<'_>], buffer: &'a mut [u8]) -> &'a [u8] {
    let mut len = 0;
    for piece in pieces {
        let Some(place) = buffer.get_mut(len..).and_then(|rest| rest.get_mut(..piece.len())) else {
            break;
        };
        place.copy_from_slice(piece);
        len += piece.len();
    }
    buffer.get(..len).unwrap_or_default()
}

impl Drop for Socket {
    fn drop(&mut self) {
        let watch = self.registration.watch();
        if self.mode == Mode::Tunnel {
            watch.worker().metrics().server.tunnels.add(-1);
        }
        match self.end {
            // hyper may have ended well all the same: the one who ran it knows.
            End::Open if self.mode != Mode::Tunnel && !self.conn.broken_off() => {
                match Parked::of(&self.stream) {
                    Ok(parked) => watch.park(parked),
                    Err(_) => drop(self.stream.set_zero_linger()),
                }
            }
            End::Open if self.conn.broken_off() => drop(self.stream.set_zero_linger()),
            End::Open | End::Lingering(_) | End::Done => {}
        }
    }
}
