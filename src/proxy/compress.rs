//! Content codings by async-compression, driven by hand: what is written into is a `Vec`, which is
//! always ready, so nothing here ever waits.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use async_compression::Level;
use async_compression::brotli::EncoderParams;
use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZstdEncoder};
use bytes::Bytes;
use http_body::{Body as _, Frame};
use tokio::io::AsyncWrite;

use crate::config::snapshot::Levels;
use crate::semantics::coding::Coding;
use crate::upstream::{ResponseBody, UpstreamError};

/// brotli's window as a power of two: 512 KiB, an eighth of its default. Text gains little by
/// more, and each stream under way holds several times as much.
const BROTLI_WINDOW: i32 = 19;

/// One coded stream.
pub struct Encoder {
    coder: Box<dyn Coder>,
    /// Something was fed since the last flush.
    dirty: bool,
}

/// An encoder of one coding, and where its output gathers.
trait Coder: AsyncWrite + Unpin + Send + Sync {
    fn out(&mut self) -> &mut Vec<u8>;
}

impl Coder for GzipEncoder<Vec<u8>> {
    fn out(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }
}

impl Coder for BrotliEncoder<Vec<u8>> {
    fn out(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }
}

impl Coder for ZstdEncoder<Vec<u8>> {
    fn out(&mut self) -> &mut Vec<u8> {
        self.get_mut()
    }
}

fn now<T>(poll: Poll<io::Result<T>>) -> io::Result<T> {
    match poll {
        Poll::Ready(result) => result,
        Poll::Pending => Err(io::Error::other("a writer into memory was not ready")),
    }
}

impl Encoder {
    /// A stream in `coding`, at its level.
    pub fn new(coding: Coding, levels: &Levels) -> Self {
        let precise = |level: u32| Level::Precise(i32::try_from(level).unwrap_or_default());
        let coder: Box<dyn Coder> = match coding {
            Coding::Gzip => Box::new(GzipEncoder::with_quality(Vec::new(), precise(levels.gzip))),
            Coding::Br => {
                let params = EncoderParams::default().quality(precise(levels.br));
                let params = params.window_size(BROTLI_WINDOW);
                Box::new(BrotliEncoder::with_params(Vec::new(), params))
            }
            Coding::Zstd => Box::new(ZstdEncoder::with_quality(Vec::new(), precise(levels.zstd))),
        };
        Self { coder, dirty: false }
    }

    /// Takes in `input`; returns what has come out, which may be nothing yet.
    pub fn feed(&mut self, mut input: &[u8]) -> io::Result<Bytes> {
        let cx = &mut Context::from_waker(Waker::noop());
        self.dirty |= !input.is_empty();
        while !input.is_empty() {
            let taken = now(Pin::new(&mut *self.coder).poll_write(cx, input))?;
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
            now(Pin::new(&mut *self.coder).poll_flush(cx))?;
            self.dirty = false;
        }
        Ok(self.out())
    }

    /// The end of the stream.
    pub fn finish(&mut self) -> io::Result<Bytes> {
        let cx = &mut Context::from_waker(Waker::noop());
        now(Pin::new(&mut *self.coder).poll_shutdown(cx))?;
        Ok(self.out())
    }

    fn out(&mut self) -> Bytes {
        std::mem::take(self.coder.out()).into()
    }
}

/// The whole of `body` in `coding`.
pub fn encode_whole(body: &[u8], coding: Coding, levels: &Levels) -> io::Result<Bytes> {
    let mut encoder = Encoder::new(coding, levels);
    let first = encoder.feed(body)?;
    let rest = encoder.finish()?;
    if first.is_empty() {
        return Ok(rest);
    }
    Ok([first, rest].concat().into())
}

/// An origin's body coded on its way to one client. Whatever the origin has sent reaches the
/// client as soon as the origin pauses, so that event streams stay streams.
pub struct EncodedBody {
    inner: ResponseBody,
    encoder: Encoder,
    trailers: Option<http::HeaderMap>,
    ended: bool,
    done: bool,
}

impl EncodedBody {
    /// Codes `inner`.
    pub fn new(inner: ResponseBody, coding: Coding, levels: &Levels) -> Self {
        let encoder = Encoder::new(coding, levels);
        Self { inner, encoder, trailers: None, ended: false, done: false }
    }

    /// The next frame, as [`http_body::Body::poll_frame`].
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        while !self.ended {
            let out = match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.encoder.feed(&data),
                    Err(other) => {
                        self.trailers = other.into_trailers().ok();
                        continue;
                    }
                },
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(None) => {
                    self.ended = true;
                    self.encoder.finish()
                }
                Poll::Pending => match self.encoder.flush() {
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

    const LEVELS: Levels = Levels { gzip: 6, br: 5, zstd: 3 };

    fn decoder(coding: Coding, bytes: &[u8]) -> Box<dyn Read + '_> {
        match coding {
            Coding::Gzip => Box::new(flate2::read::GzDecoder::new(bytes)),
            Coding::Br => Box::new(brotli::Decompressor::new(bytes, 4096)),
            Coding::Zstd => Box::new(zstd::Decoder::new(bytes).unwrap()),
        }
    }

    #[test]
    fn what_was_fed_comes_out_again() {
        let text = b"a line that repeats itself\n".repeat(5_000);
        for coding in Coding::ALL {
            let small = encode_whole(&text, coding, &LEVELS).unwrap();
            assert!(small.len() < text.len() / 20, "{coding:?}: {} bytes", small.len());
            let mut out = Vec::new();
            decoder(coding, &small).read_to_end(&mut out).unwrap();
            assert!(out == text, "{coding:?}");
        }
    }

    #[test]
    fn a_flush_gives_all_that_was_fed() {
        for coding in Coding::ALL {
            let mut encoder = Encoder::new(coding, &LEVELS);
            let mut out = encoder.feed(b"data: 1\n\n").unwrap().to_vec();
            out.extend(encoder.flush().unwrap());
            let mut seen = vec![0; 9];
            decoder(coding, &out).read_exact(&mut seen).unwrap();
            assert_eq!(seen, b"data: 1\n\n", "{coding:?}");
            assert!(encoder.flush().unwrap().is_empty(), "{coding:?}: nothing new, nothing out");
        }
    }

    #[test]
    fn levels_count() {
        // Numbers that repeat now and then: neither noise nor one pattern.
        let numbers = (0..30_000_u32).map(|n| n.wrapping_mul(2_654_435_761) >> 18);
        let text: Vec<u8> = numbers.flat_map(|n| format!("{n} ").into_bytes()).collect();
        let most = Levels { gzip: 9, br: 9, zstd: 19 };
        let least = Levels { gzip: 1, br: 0, zstd: 1 };
        for coding in Coding::ALL {
            let small = encode_whole(&text, coding, &most).unwrap().len();
            let large = encode_whole(&text, coding, &least).unwrap().len();
            assert!(small < large, "{coding:?}: {small} of {large} bytes");
        }
    }
}
