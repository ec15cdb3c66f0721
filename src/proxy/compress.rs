//! gzip by async-compression, driven by hand: what is written into is a `Vec`, which is always
//! ready, so nothing here ever waits.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use async_compression::Level;
use async_compression::tokio::write::GzipEncoder;
use bytes::Bytes;
use http_body::{Body as _, Frame};
use tokio::io::AsyncWrite;

use crate::upstream::{ResponseBody, UpstreamError};

/// One gzip stream (RFC 1952).
pub struct Gzip {
    encoder: GzipEncoder<Vec<u8>>,
    /// Something was fed since the last flush.
    dirty: bool,
}

fn now<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::Error::other("a writer into memory was not ready")),
    }
}

impl Gzip {
    /// A stream at `level` 1-9.
    pub fn new(level: u32) -> Self {
        let level = Level::Precise(i32::try_from(level).unwrap_or(6));
        Self { encoder: GzipEncoder::with_quality(Vec::new(), level), dirty: false }
    }

    /// Takes in `input`; returns what has come out, which may be nothing yet.
    pub fn feed(&mut self, mut input: &[u8]) -> io::Result<Bytes> {
        let cx = &mut Context::from_waker(Waker::noop());
        self.dirty |= !input.is_empty();
        while !input.is_empty() {
            let taken = now(Pin::new(&mut self.encoder).poll_write(cx, input))?;
            if taken == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            input = input.get(taken..).unwrap_or_default();
        }
        Ok(self.out())
    }

    /// Everything that was fed comes out, so that a reader can decode it now.
    pub fn flush(&mut self) -> io::Result<Bytes> {
        if self.dirty {
            let cx = &mut Context::from_waker(Waker::noop());
            now(Pin::new(&mut self.encoder).poll_flush(cx))?;
            self.dirty = false;
        }
        Ok(self.out())
    }

    /// The end of the stream.
    pub fn finish(&mut self) -> io::Result<Bytes> {
        let cx = &mut Context::from_waker(Waker::noop());
        now(Pin::new(&mut self.encoder).poll_shutdown(cx))?;
        Ok(self.out())
    }

    fn out(&mut self) -> Bytes {
        std::mem::take(self.encoder.get_mut()).into()
    }
}

/// The whole of `body` gzipped.
pub fn gzip_whole(body: &[u8], level: u32) -> io::Result<Bytes> {
    let mut gzip = Gzip::new(level);
    let first = gzip.feed(body)?;
    let rest = gzip.finish()?;
    if first.is_empty() {
        return Ok(rest);
    }
    Ok([first, rest].concat().into())
}

/// An origin's body gzipped on its way to one client. Whatever the origin has sent reaches the
/// client as soon as the origin pauses, so that event streams stay streams.
pub struct GzipBody {
    inner: ResponseBody,
    gzip: Gzip,
    trailers: Option<http::HeaderMap>,
    ended: bool,
    done: bool,
}

impl GzipBody {
    /// Gzips `inner` at `level`.
    pub fn new(inner: ResponseBody, level: u32) -> Self {
        Self { inner, gzip: Gzip::new(level), trailers: None, ended: false, done: false }
    }

    /// The next frame, as [`http_body::Body::poll_frame`].
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        while !self.ended {
            let out = match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.gzip.feed(&data),
                    Err(other) => {
                        self.trailers = other.into_trailers().ok();
                        continue;
                    }
                },
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => {
                    self.ended = true;
                    self.gzip.finish()
                }
                Poll::Pending => match self.gzip.flush() {
                    Ok(out) if out.is_empty() => return Poll::Pending,
                    flushed => flushed,
                },
            };
            match out {
                Ok(out) if out.is_empty() => {}
                Ok(out) => return Poll::Ready(Some(Ok(Frame::data(out)))),
                Err(_) => return Poll::Ready(Some(Err(UpstreamError::Closed))),
            }
        }
        if self.done {
            return Poll::Ready(None);
        }
        self.done = true;
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn unzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        flate2::read::GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn what_was_fed_comes_out_again() {
        let text = b"a line that repeats itself\n".repeat(5_000);
        let small = gzip_whole(&text, 6).unwrap();
        assert!(small.len() < text.len() / 20, "{} bytes", small.len());
        assert_eq!(unzip(&small), text);
    }

    #[test]
    fn a_flush_gives_all_that_was_fed() {
        let mut gzip = Gzip::new(6);
        let mut out = gzip.feed(b"data: 1\n\n").unwrap().to_vec();
        out.extend(gzip.flush().unwrap());
        let mut seen = vec![0; 9];
        flate2::read::GzDecoder::new(&out[..]).read_exact(&mut seen).unwrap();
        assert_eq!(seen, b"data: 1\n\n");
        assert!(gzip.flush().unwrap().is_empty(), "nothing new, nothing out");
    }
}
