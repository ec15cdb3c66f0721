//! Writing interim responses (1xx), which hyper's server refuses to (DESIGN D13).
//!
//! They can never cut into another message: they are taken over only when hyper has flushed all
//! that it had, while the proxy still holds the request's answer back
//! ([`crate::proxy::interim::written`]), and from then on they go before anything that hyper writes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::Socket;

impl Socket {
    /// Takes over what the proxy has; hyper has nothing unwritten.
    pub(super) fn take_interim(&mut self, cx: &Context<'_>) {
        let taken = self.conn.take_interim();
        if taken.is_empty() {
            return;
        }
        if self.interim.is_empty() {
            self.interim = taken;
        } else {
            self.interim.extend(taken);
        }
        cx.waker().wake_by_ref(); // the proxy waits for it
    }

    /// Writes what was taken over. Pending: nothing else may be written yet.
    #[inline]
    pub(super) fn write_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.interim.is_empty() { Poll::Ready(Ok(())) } else { self.write_taken(cx) }
    }

    #[cold]
    fn write_taken(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(left) = self.interim.get(self.interim_at..).filter(|left| !left.is_empty()) {
            let result = Pin::new(&mut self.stream).poll_write(cx, left);
            match ready!(self.wrote(cx, result))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.interim_at += written,
            }
        }
        self.interim = Vec::new(); // gives its memory back, too
        self.interim_at = 0;
        Poll::Ready(Ok(()))
    }
}
