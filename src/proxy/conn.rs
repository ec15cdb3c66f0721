//! What the proxy and the server tell each other of one client connection.
//!
//! The server's I/O wrapper sees each byte before hyper does, and hyper calls the proxy. What the
//! wrapper finds (a malformed head, a late body) and what the proxy decides (an upgrade, a broken
//! answer) passes hyper by, through a [`Conn`].

use std::net::IpAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

use crate::semantics::wire::Violation;

/// Why a request is answered by Larder instead of being taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Its head or the framing of its body is malformed.
    Malformed(Violation),
    /// Its head was not complete within the header timeout.
    HeadTimeout,
    /// Its body stood still for longer than the body timeout.
    BodyTimeout,
}

impl Fault {
    /// The status that tells the client.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed(what) => what.status(),
            Self::HeadTimeout | Self::BodyTimeout => 408,
        }
    }

    /// What is wrong, in a few words that echo nothing of the request.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Malformed(what) => what.reason(),
            Self::HeadTimeout => "request head not complete in time",
            Self::BodyTimeout => "request body not complete in time",
        }
    }
}

/// Where a request for an upgrade stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Upgrade {
    /// No answer yet: nothing behind the request's head is read.
    Undecided,
    /// Answered, but not with 101: HTTP goes on.
    Refused,
    /// Answered with 101: what follows is a tunnel.
    Accepted,
}

/// Interim responses that one request gets at most.
const INTERIM_MOST: u8 = 16;
/// Bytes of them that wait to be written at most.
const INTERIM_BYTES: usize = 64 << 10;

/// Interim responses of the running request that wait to be written.
#[derive(Debug, Default)]
struct Interim {
    /// The request's number.
    request: u64,
    /// How many more it may get.
    left: u8,
    bytes: Vec<u8>,
}

/// One client connection, seen from both sides.
#[derive(Debug)]
pub struct Conn {
    /// The client's address (an IPv4 client of an IPv6 socket as IPv4); `None` on a unix socket.
    pub peer: Option<IpAddr>,
    /// True on a unix socket.
    pub unix: bool,
    /// Requests that the proxy was handed.
    requests: AtomicU64,
    /// The 1-based number of the request that stands for a bad head; 0: none.
    fault_at: AtomicU64,
    fault: OnceLock<Fault>,
    body_fault: OnceLock<Fault>,
    /// The number of the last request that asked for an upgrade; 0: none.
    upgrade_at: AtomicU64,
    upgrade: AtomicU8,
    broken_off: AtomicBool,
    close: AtomicBool,
    /// The running request may get interim responses; looked at before the queue is locked.
    interim_open: AtomicBool,
    interim: Mutex<Interim>,
    /// The reader that waits for [`Conn::decide_upgrade`].
    waiting: Mutex<Option<Waker>>,
}

impl Conn {
    /// A connection just accepted.
    pub fn new(peer: Option<IpAddr>, unix: bool) -> Self {
        Self {
            peer,
            unix,
            requests: AtomicU64::new(0),
            fault_at: AtomicU64::new(0),
            fault: OnceLock::new(),
            body_fault: OnceLock::new(),
            upgrade_at: AtomicU64::new(0),
            upgrade: AtomicU8::new(Upgrade::Refused as u8),
            broken_off: AtomicBool::new(false),
            close: AtomicBool::new(false),
            interim_open: AtomicBool::new(false),
            interim: Mutex::default(),
            waiting: Mutex::new(None),
        }
    }

    /// Proxy, once a request and before anything else: `Some` is a request that Larder answers
    /// itself with this fault's status. What hyper parsed is then a stand-in for a bad head and
    /// tells nothing of the client's request.
    pub fn next_request(&self) -> Option<Fault> {
        let number = self.requests.load(Ordering::Relaxed) + 1; // one task calls: no race
        self.requests.store(number, Ordering::Relaxed);
        if self.fault_at.load(Ordering::Acquire) == number {
            self.fault.get().copied()
        } else {
            None
        }
    }

    /// Proxy: what became of the running request's body, when reading it failed. The connection
    /// ends after the answer.
    pub fn body_fault(&self) -> Option<Fault> {
        self.body_fault.get().copied()
    }

    /// Says whether the upgrade that the running request asked for takes place; nothing happens
    /// when it asked for none or is decided. The proxy may do so early; else the server does, by
    /// the answer's status.
    pub fn decide_upgrade(&self, accepted: bool) {
        let asked_at = self.upgrade_at.load(Ordering::Acquire);
        if self.upgrade() != Upgrade::Undecided || self.requests.load(Ordering::Relaxed) != asked_at
        {
            return; // a later, pipelined request may have asked: its own answer decides
        }
        let decided = if accepted { Upgrade::Accepted } else { Upgrade::Refused };
        self.upgrade.store(decided as u8, Ordering::Release);
        if let Some(reader) = self.waiting.lock().take() {
            reader.wake();
        }
    }

    /// Proxy: the answer under way must not end cleanly; the connection is reset instead.
    pub fn break_off(&self) {
        self.broken_off.store(true, Ordering::Release);
    }

    /// Proxy or server: the connection ends after the next answer, which says so.
    pub fn close_after_answer(&self) {
        self.close.store(true, Ordering::Release);
    }

    /// Proxy: the running request may get interim responses until [`Conn::close_interim`] says that
    /// it gets no more; its number, for [`Conn::push_interim`].
    pub fn open_interim(&self) -> u64 {
        let request = self.requests.load(Ordering::Relaxed);
        let mut interim = self.interim.lock();
        if interim.request != request {
            *interim = Interim { request, left: INTERIM_MOST, bytes: Vec::new() };
        }
        self.interim_open.store(true, Ordering::Release);
        request
    }

    /// Proxy: this interim response to request number `request` is to be written, unless that has
    /// its answer, or too many already; true: the connection's task should look.
    pub fn push_interim(&self, request: u64, message: &[u8]) -> bool {
        let mut interim = self.interim.lock();
        let open = self.interim_open.load(Ordering::Acquire) && interim.request == request;
        let room = INTERIM_BYTES.saturating_sub(interim.bytes.len());
        if !open || interim.left == 0 || message.len() > room {
            return false;
        }
        interim.left -= 1;
        interim.bytes.extend_from_slice(message);
        true
    }

    /// Proxy, before it gives an answer out: no more of them from now on. False: some wait to be
    /// taken; the task is woken when they are.
    pub fn close_interim(&self) -> bool {
        let interim = self.interim.lock();
        let closes = interim.bytes.is_empty();
        if closes {
            self.interim_open.store(false, Ordering::Release);
        }
        closes
    }

    /// Server, while hyper has nothing under way on the connection: interim responses to be
    /// written before anything else; empty: there are none.
    pub fn take_interim(&self) -> Vec<u8> {
        if !self.interim_open.load(Ordering::Acquire) {
            return Vec::new(); // hits: one look
        }
        std::mem::take(&mut self.interim.lock().bytes)
    }

    /// Server: request number `number` (1-based) has a fault and is replaced by a stand-in. Only
    /// the first one counts: nothing is read behind it.
    pub fn set_fault(&self, number: u64, fault: Fault) {
        if self.fault.set(fault).is_ok() {
            self.fault_at.store(number, Ordering::Release);
        }
    }

    /// Server: as [`Conn::set_fault`], for a malformed head.
    pub fn set_violation(&self, number: u64, what: Violation) {
        self.set_fault(number, Fault::Malformed(what));
    }

    /// Server: the running request's body cannot be read to its end. Only the first one counts.
    pub fn set_body_fault(&self, fault: Fault) {
        if self.body_fault.set(fault).is_ok() {
            self.close_after_answer();
        }
    }

    /// Server: request number `number` (1-based) asks for an upgrade; nothing is read behind it
    /// until that is decided.
    pub fn ask_upgrade(&self, number: u64) {
        self.upgrade_at.store(number, Ordering::Release);
        self.upgrade.store(Upgrade::Undecided as u8, Ordering::Release);
    }

    /// Server: where the last request for an upgrade stands.
    pub fn upgrade(&self) -> Upgrade {
        match self.upgrade.load(Ordering::Acquire) {
            0 => Upgrade::Undecided,
            2 => Upgrade::Accepted,
            _ => Upgrade::Refused,
        }
    }

    /// Server: as [`Conn::upgrade`], and wakes `reader` once an undecided one is decided.
    pub fn poll_upgrade(&self, reader: &Waker) -> Upgrade {
        if self.upgrade() == Upgrade::Undecided {
            let mut waiting = self.waiting.lock();
            match &mut *waiting {
                Some(known) => known.clone_from(reader),
                none => *none = Some(reader.clone()),
            }
        }
        self.upgrade() // again: it may have been decided before the reader was known
    }

    /// Server: whether the connection is to be reset rather than closed.
    pub fn broken_off(&self) -> bool {
        self.broken_off.load(Ordering::Acquire)
    }

    /// Server: whether the next answer is the connection's last.
    pub fn closes_after_answer(&self) -> bool {
        self.close.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_belongs_to_the_request_that_it_was_found_in() {
        let conn = Conn::new(None, true);
        conn.set_fault(3, Fault::HeadTimeout);
        conn.set_fault(4, Fault::BodyTimeout);
        let seen: Vec<_> = (0..5).map(|_| conn.next_request()).collect();
        assert_eq!(seen, [None, None, Some(Fault::HeadTimeout), None, None]);
    }

    #[test]
    fn interim_responses_belong_to_the_running_request_and_are_bounded() {
        let conn = Conn::new(None, true);
        conn.next_request();
        assert!(!conn.push_interim(1, b"early"), "the way was not opened");
        let request = conn.open_interim();
        assert!(conn.push_interim(request, b"a") && conn.push_interim(request, b"b"));
        assert!(!conn.close_interim(), "two wait");
        assert_eq!(conn.take_interim(), b"ab");
        assert_eq!(conn.open_interim(), request, "asked once more: the same bound");
        let taken = (0..20).filter(|_| conn.push_interim(request, b"x")).count();
        assert_eq!(taken, 14, "sixteen a request");
        conn.take_interim();
        assert!(conn.close_interim());
        assert!(!conn.push_interim(request, b"late") && conn.take_interim().is_empty());
        conn.next_request();
        let next = conn.open_interim();
        assert!(!conn.push_interim(request, b"late"), "the one before has its answer");
        assert!(!conn.push_interim(next, &vec![b'x'; INTERIM_BYTES + 1]), "too large");
        assert!(conn.push_interim(next, &vec![b'x'; INTERIM_BYTES]));
        assert!(!conn.push_interim(next, b"x"), "too much waits");
        assert_eq!(conn.take_interim().len(), INTERIM_BYTES);
    }

    #[test]
    fn a_decided_upgrade_wakes_its_reader() {
        let conn = Conn::new(None, true);
        assert_eq!(conn.upgrade(), Upgrade::Refused, "nothing was asked");
        conn.ask_upgrade(2);
        conn.next_request();
        conn.decide_upgrade(true);
        assert_eq!(conn.poll_upgrade(Waker::noop()), Upgrade::Undecided, "not the first's to say");
        conn.next_request();
        conn.decide_upgrade(true);
        assert!(conn.waiting.lock().is_none(), "the reader was taken out and woken");
        assert_eq!(conn.poll_upgrade(Waker::noop()), Upgrade::Accepted);
        conn.ask_upgrade(3);
        assert_eq!(conn.upgrade(), Upgrade::Undecided, "each request is decided anew");
    }
}
