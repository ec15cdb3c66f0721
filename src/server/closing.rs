//! Closing a connection that hyper let go of without shutting it down.
//!
//! Once a request on a connection has had an Upgrade field (or was a CONNECT), hyper takes that
//! connection's end for an upgrade, however it was answered, and drops the socket where it would
//! have shut it down (read in 1.12, `proto/h1/dispatch.rs`, `poll_inner`). So a socket that is
//! dropped is parked first; whoever ran hyper knows whether it ended well.

use std::io;
use std::net::Shutdown;
use std::time::Duration;

use socket2::{SockRef, Socket};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::timers::LINGER;

/// Unread input thrown away at most before a connection is closed.
pub(super) const LINGER_BYTES: usize = 256 << 10;

/// A second handle on a connection whose first one is being dropped. Dropped itself, it resets the
/// connection: an answer may be half sent, and a clean end would pass for its whole.
#[derive(Debug)]
pub(super) struct Parked(Option<Socket>);

impl Parked {
    /// Another handle on `stream`.
    pub(super) fn of(stream: &TcpStream) -> io::Result<Self> {
        Ok(Self(Some(SockRef::from(stream).try_clone()?)))
    }

    /// Ends the connection in order, throwing a bounded amount of input away (PITFALLS 32).
    /// Dropped midway, the connection is closed at once.
    pub(super) async fn close_in_order(mut self) -> io::Result<()> {
        let Some(socket) = self.0.take() else { return Ok(()) };
        socket.shutdown(Shutdown::Write)?;
        let mut stream = TcpStream::from_std(socket.into())?;
        let drained = async {
            let mut left = LINGER_BYTES;
            let mut buffer = vec![0; 8 << 10];
            while left > 0 {
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => return,
                    Ok(read) => left = left.saturating_sub(read),
                }
            }
        };
        let _ = tokio::time::timeout(LINGER, drained).await; // either way it is closed now
        Ok(())
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        if let Some(socket) = &self.0 {
            let _ = socket.set_linger(Some(Duration::ZERO));
        }
    }
}
