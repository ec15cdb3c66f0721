//! Reading from the client: what the scanner says decides what hyper gets to see.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, ReadBuf};

use super::{Mode, Socket};
use crate::proxy::conn::{Fault, Upgrade};
use crate::semantics::wire::{Scan, stand_in};
use crate::server::timers::{Overdue, Phase};

impl Socket {
    /// Reads into the thread's buffer and passes on what may be; `None`: look again.
    pub(super) fn read_some(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut ReadBufCursor<'_>,
        buffer: &mut [u8],
    ) -> Option<Poll<io::Result<()>>> {
        let room = buffer.len().min(to.remaining());
        let mut read = ReadBuf::new(buffer.get_mut(..room).unwrap_or_default());
        match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
            Poll::Pending => return self.nothing_to_read(cx),
            Poll::Ready(Err(error)) => return Some(Poll::Ready(Err(error))),
            Poll::Ready(Ok(())) => {}
        }
        let bytes = read.filled();
        if bytes.is_empty() {
            if self.mode == Mode::Tunnel {
                return Some(Poll::Ready(Ok(()))); // its end of this direction, not of the other
            }
            self.mode = Mode::Finished;
            return None;
        }
        self.registration.watch().worker().count_in(bytes.len());
        if self.mode == Mode::Tunnel {
            self.enter(Phase::Tunnel);
            to.put_slice(bytes);
            return Some(Poll::Ready(Ok(())));
        }
        if self.held.is_empty() {
            self.scan(bytes, to)
        } else {
            let mut held = std::mem::take(&mut self.held);
            held.extend_from_slice(bytes);
            self.scan_held(held, to)
        }
    }

    fn scan_held(
        &mut self,
        held: Vec<u8>,
        to: &mut ReadBufCursor<'_>,
    ) -> Option<Poll<io::Result<()>>> {
        match self.scanner.feed(&held) {
            Scan::Partial { from: 0 } => {
                self.held = held; // as it was, without another copy
                self.enter_once(Phase::Head);
                None
            }
            scan => self.take_in(scan, &held, to),
        }
    }

    fn scan(&mut self, bytes: &[u8], to: &mut ReadBufCursor<'_>) -> Option<Poll<io::Result<()>>> {
        let scan = self.scanner.feed(bytes);
        self.take_in(scan, bytes, to)
    }

    /// Does what the scanner says of `bytes`.
    fn take_in(
        &mut self,
        scan: Scan,
        bytes: &[u8],
        to: &mut ReadBufCursor<'_>,
    ) -> Option<Poll<io::Result<()>>> {
        let good = match scan {
            Scan::Pass => {
                let between = self.scanner.between_messages();
                self.enter_once(if between { Phase::Quiet } else { Phase::BodyFlows });
                bytes.len()
            }
            Scan::Partial { from } => {
                self.held = bytes.get(from..).unwrap_or_default().to_vec();
                self.enter_once(Phase::Head);
                from
            }
            Scan::Upgrade { at } => {
                self.held = bytes.get(at..).unwrap_or_default().to_vec();
                self.conn.ask_upgrade(self.scanner.heads());
                self.mode = Mode::Undecided;
                self.enter_once(Phase::Quiet);
                at
            }
            Scan::Bad { at, what, in_head } => {
                self.registration.watch().worker().metrics().server.malformed.inc();
                self.enter_once(Phase::Quiet);
                if in_head {
                    self.conn.set_violation(self.scanner.heads(), what);
                    self.mode = Mode::Deaf;
                } else {
                    self.conn.set_body_fault(Fault::Malformed(what));
                    self.mode = Mode::Failed(ErrorKind::InvalidData);
                }
                at
            }
        };
        let passed = self.pass(bytes.get(..good).unwrap_or_default(), to);
        if let Scan::Bad { at, in_head: true, .. } = scan {
            self.ready.extend(stand_in(bytes.get(at..).unwrap_or_default()));
        }
        passed.then_some(Poll::Ready(Ok(())))
    }

    /// Gives `bytes` to hyper and keeps what it has no room for; false: there was nothing.
    fn pass(&mut self, bytes: &[u8], to: &mut ReadBufCursor<'_>) -> bool {
        let (now, later) = bytes.split_at_checked(to.remaining()).unwrap_or((bytes, &[]));
        to.put_slice(now);
        self.ready.extend_from_slice(later);
        !bytes.is_empty()
    }

    /// Gives hyper what waits for it; false: nothing does.
    pub(super) fn pass_ready(&mut self, to: &mut ReadBufCursor<'_>) -> bool {
        let waiting = self.ready.get(self.ready_at..).unwrap_or_default();
        if waiting.is_empty() {
            return false;
        }
        let room = waiting.len().min(to.remaining());
        to.put_slice(waiting.get(..room).unwrap_or_default());
        self.ready_at += room;
        if self.ready_at == self.ready.len() {
            self.ready = Vec::new(); // gives its memory back, too
            self.ready_at = 0;
        }
        true
    }

    /// The socket has nothing: notes what is waited for, and acts when that took too long.
    fn nothing_to_read(&mut self, cx: &mut Context<'_>) -> Option<Poll<io::Result<()>>> {
        if self.mode == Mode::Tunnel {
            self.registration.watch().register(cx.waker());
            self.enter_once(Phase::Tunnel);
        } else if self.in_body() {
            self.enter_once(Phase::Body);
        }
        match self.registration.watch().check() {
            Some(Overdue::Idle) => self.mode = Mode::Idled,
            Some(Overdue::Head) => {
                self.conn.set_fault(self.scanner.heads() + 1, Fault::HeadTimeout);
                self.ready.extend(stand_in(&std::mem::take(&mut self.held)));
                self.mode = Mode::Deaf;
                self.enter(Phase::Quiet);
            }
            Some(Overdue::Body) => {
                self.conn.set_body_fault(Fault::BodyTimeout);
                self.mode = Mode::Failed(ErrorKind::TimedOut);
                self.enter(Phase::Quiet);
            }
            Some(Overdue::Tunnel) => return Some(Poll::Ready(Err(ErrorKind::TimedOut.into()))),
            Some(Overdue::Write | Overdue::HalfClosed | Overdue::Linger) | None => {
                return Some(Poll::Pending);
            }
        }
        None
    }

    /// The client has shut down its side. It may well wait for its answers (`nc -N`), so hyper,
    /// which would drop them, is told only when there is none under way.
    pub(super) fn finished(&mut self) -> Poll<io::Result<()>> {
        let owed = self.registration.watch().busy() || self.write_blocked;
        if !owed || self.in_body() {
            return Poll::Ready(Ok(()));
        }
        self.enter_once(Phase::HalfClosed);
        match self.registration.watch().check() {
            Some(Overdue::HalfClosed) => {
                self.mode = Mode::Failed(ErrorKind::ConnectionAborted);
                Poll::Ready(Err(ErrorKind::ConnectionAborted.into()))
            }
            _ => Poll::Pending,
        }
    }

    /// An upgrade was decided; what was held back goes its way.
    pub(super) fn decided(
        &mut self,
        upgrade: Upgrade,
        to: &mut ReadBufCursor<'_>,
    ) -> Option<Poll<io::Result<()>>> {
        let held = std::mem::take(&mut self.held);
        if upgrade == Upgrade::Accepted {
            self.scanner.tunnel();
            self.mode = Mode::Tunnel;
            self.registration.watch().worker().metrics().server.tunnels.add(1);
            self.enter(Phase::Tunnel);
            return self.pass(&held, to).then_some(Poll::Ready(Ok(())));
        }
        self.scanner.resume();
        self.mode = Mode::Scan;
        if held.is_empty() { None } else { self.scan_held(held, to) }
    }
}
