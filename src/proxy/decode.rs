//! Decoding what the origin has coded, for a client that cannot take it: piece by piece, in
//! bounded memory, and to a bounded size.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use bytes::{Buf as _, Bytes};
use http_body::Frame;
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

use crate::proxy::body::{Broken, Source};
use crate::semantics::coding::Coding;

/// A piece of decoded content at most.
const PIECE: usize = 32 * 1024;
/// The largest window that content in zstd may ask for, as a power of two (RFC 9659: 8 MiB).
const ZSTD_WINDOW: u32 = 23;
/// Content that becomes more than this many times larger is made to do harm …
const RATIO: u64 = 400;
/// … once it is larger than this.
const UNSUSPECTED: u64 = 4 << 20;

/// A coded body, decoded as it is read. Trailers are dropped: they may speak of the coded bytes.
pub struct DecodedBody {
    decoder: Decoder,
    piece: Box<[u8]>,
    /// Bytes given out.
    made: u64,
    limit: u64,
}

enum Decoder {
    Gzip(GzipDecoder<Input>),
    Br(BrotliDecoder<Input>),
    Zstd(ZstdDecoder<Input>),
}

impl DecodedBody {
    /// Decodes `source` to at most `limit` bytes.
    pub fn new(source: Source, coding: Coding, limit: u64) -> Self {
        let input = Input { source, chunk: Bytes::new(), taken: 0 };
        let decoder = match coding {
            Coding::Gzip => {
                let mut decoder = GzipDecoder::new(input);
                decoder.multiple_members(true); // RFC 1952 §2.2
                Decoder::Gzip(decoder)
            }
            Coding::Br => Decoder::Br(BrotliDecoder::new(input)),
            Coding::Zstd => {
                let params = [DParameter::window_log_max(ZSTD_WINDOW)];
                let mut decoder = ZstdDecoder::with_params(input, &params);
                decoder.multiple_members(true); // RFC 8878 §3.1
                Decoder::Zstd(decoder)
            }
        };
        Self { decoder, piece: vec![0; PIECE].into(), made: 0, limit }
    }

    /// The next frame, as [`http_body::Body::poll_frame`].
    pub fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut piece = ReadBuf::new(&mut self.piece);
        let (read, taken) = match &mut self.decoder {
            Decoder::Gzip(decoder) => {
                (Pin::new(&mut *decoder).poll_read(cx, &mut piece), decoder.get_ref().taken)
            }
            Decoder::Br(decoder) => {
                (Pin::new(&mut *decoder).poll_read(cx, &mut piece), decoder.get_ref().taken)
            }
            Decoder::Zstd(decoder) => {
                (Pin::new(&mut *decoder).poll_read(cx, &mut piece), decoder.get_ref().taken)
            }
        };
        if let Err(error) = ready!(read) {
            if taken == 0 && error.kind() == io::ErrorKind::UnexpectedEof {
                return Poll::Ready(None); // nothing at all, as of a stand-in for a coded body
            }
            let broken = error.downcast::<Broken>().unwrap_or(Broken("it cannot be decoded"));
            return Poll::Ready(Some(Err(broken)));
        }
        let made = piece.filled();
        self.made += made.len() as u64;
        let suspect = self.made > UNSUSPECTED && self.made / RATIO > taken;
        if self.made > self.limit || suspect {
            tracing::warn!(made = self.made, taken, "a coded body decodes to more than is allowed");
            return Poll::Ready(Some(Err(Broken("it decodes to more than is allowed"))));
        }
        Poll::Ready((!made.is_empty()).then(|| Ok(Frame::data(Bytes::copy_from_slice(made)))))
    }
}

/// A body as decoders read it. What broke it off comes out of the decoder again.
struct Input {
    source: Source,
    chunk: Bytes,
    /// Bytes that the decoder has taken.
    taken: u64,
}

impl AsyncRead for Input {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let chunk = ready!(self.as_mut().poll_fill_buf(cx))?;
        let some = chunk.get(..into.remaining().min(chunk.len())).unwrap_or_default();
        into.put_slice(some);
        let read = some.len();
        self.consume(read);
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for Input {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.chunk.is_empty() {
            match ready!(this.source.poll(cx)) {
                Some(Ok(frame)) => this.chunk = frame.into_data().unwrap_or_default(),
                Some(Err(broken)) => return Poll::Ready(Err(io::Error::other(broken))),
                None => break,
            }
        }
        Poll::Ready(Ok(&this.chunk))
    }

    fn consume(mut self: Pin<&mut Self>, read: usize) {
        let read = read.min(self.chunk.len());
        self.chunk.advance(read);
        self.taken += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::task::Waker;

    use super::*;
    use crate::config::snapshot::Levels;
    use crate::proxy::compress::encode_whole;

    const LEVELS: Levels = Levels { gzip: 6, br: 5, zstd: 3 };

    /// What comes of `coded`, and whether it ended well.
    fn decoded(coded: Bytes, coding: Coding, limit: u64) -> (Vec<u8>, Result<(), String>) {
        let mut body = DecodedBody::new(Source::Full(coded), coding, limit);
        let mut out = Vec::new();
        let cx = &mut Context::from_waker(Waker::noop());
        loop {
            match body.poll_frame(cx) {
                Poll::Pending => unreachable!("all of it is there"),
                Poll::Ready(None) => return (out, Ok(())),
                Poll::Ready(Some(Err(broken))) => return (out, Err(broken.to_string())),
                Poll::Ready(Some(Ok(frame))) => {
                    let data = frame.into_data().unwrap();
                    assert!(!data.is_empty() && data.len() <= PIECE, "{} bytes", data.len());
                    out.extend_from_slice(&data);
                }
            }
        }
    }

    #[test]
    fn what_was_coded_comes_out_again() {
        let text = b"a line that repeats itself, and not for the first time\n".repeat(5_000);
        for coding in Coding::ALL {
            let coded = encode_whole(&text, coding, &LEVELS).unwrap();
            let (out, end) = decoded(coded.clone(), coding, u64::MAX);
            assert!(out == text && end.is_ok(), "{coding:?}: {} bytes, {end:?}", out.len());
            let (out, end) = decoded(coded.clone(), coding, text.len() as u64);
            assert!(out == text && end.is_ok(), "{coding:?}: exactly the limit: {end:?}");
            let (out, end) = decoded(coded.clone(), coding, 100_000);
            assert!(out.len() <= 100_000 && end.is_err(), "{coding:?}: over the limit");
            let cut = coded.slice(..coded.len() - 3);
            let (out, end) = decoded(cut, coding, u64::MAX);
            assert!(end.is_err(), "{coding:?}: cut off, and {} bytes ended well", out.len());
            assert!(text.starts_with(&out), "{coding:?}: what came is right");
            let noise = Bytes::from_static(b"\xffthis was never coded by anybody\x00\xff");
            assert!(decoded(noise, coding, u64::MAX).1.is_err(), "{coding:?}: noise");
            assert_eq!(decoded(Bytes::new(), coding, 9), (Vec::new(), Ok(())), "{coding:?}: none");
        }
    }

    #[test]
    fn several_members_are_one_content() {
        for coding in [Coding::Gzip, Coding::Zstd] {
            let one = encode_whole(b"one, ", coding, &LEVELS).unwrap();
            let two = encode_whole(b"two", coding, &LEVELS).unwrap();
            let (out, end) = decoded([one, two].concat().into(), coding, 99);
            assert_eq!((out.as_slice(), end), (&b"one, two"[..], Ok(())), "{coding:?}");
        }
    }

    #[test]
    fn a_bomb_goes_off_early() {
        for coding in [Coding::Br, Coding::Zstd] {
            let bomb = encode_whole(&vec![b'x'; 64 << 20], coding, &LEVELS).unwrap();
            assert!((bomb.len() as u64) < (64 << 20) / RATIO, "{coding:?}: {} bytes", bomb.len());
            let (out, end) = decoded(bomb, coding, u64::MAX);
            assert!(end.is_err(), "{coding:?}");
            assert!(out.len() as u64 <= UNSUSPECTED * 2, "{coding:?}: {} bytes", out.len());
        }
        // Without its ratio, its size.
        let bomb = encode_whole(&vec![b'x'; 2 << 20], Coding::Br, &LEVELS).unwrap();
        assert!(decoded(bomb, Coding::Br, 1 << 20).0.len() <= 1 << 20);
    }

    #[test]
    fn windows_are_as_large_as_clients_take() {
        let mut large = zstd::Encoder::new(Vec::new(), 3).unwrap();
        large.set_parameter(zstd::zstd_safe::CParameter::WindowLog(24)).unwrap();
        large.write_all(&vec![b'x'; 100_000]).unwrap();
        let coded = large.finish().unwrap();
        assert!(decoded(coded.into(), Coding::Zstd, u64::MAX).1.is_err(), "16 MiB of window");
    }
}
