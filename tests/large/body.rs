//! A body of any length whose every byte follows from where it stands, an origin that has it, and
//! a client that checks it as it comes.

use std::io::Write as _;
use std::ops::Range;
use std::path::Path;

use crate::support::origin::Seen;
use crate::support::reply::Reply;
use crate::support::{Answer, Ask, Client, Ending, Larder, long, noise};

pub const MIB: u64 = 1 << 20;
/// Written and compared at once.
const PIECE: usize = 64 << 10;
/// The position is written down at the beginning of each of these.
const STAMPED: usize = 4 << 10;

/// How large the large object is.
pub fn size() -> u64 {
    if long() { 1024 * MIB } else { 96 * MIB }
}

/// Fails where the disk has no room for two of the objects and what kills leave of a third.
#[track_caller]
pub fn ask_for_room(dir: &Path) {
    let needed = 3 * size() + 512 * MIB;
    let disk = rustix::fs::statvfs(dir).expect("a file system");
    let free = disk.f_bavail * disk.f_frsize;
    let dir = dir.display();
    assert!(free > needed, "{dir} has {free} bytes free, this test needs {needed} (see TMPDIR)");
}

/// Bytes of the object: the same noise again and again, with its position written over it.
pub struct Body {
    noise: Vec<u8>,
}

impl Body {
    pub fn new() -> Self {
        Self { noise: noise(1 << 20, 77) }
    }

    /// Writes what stands at `from` and behind it over `piece`.
    fn copy(&self, from: u64, piece: &mut [u8]) {
        let mut at = from;
        let mut rest = piece;
        while !rest.is_empty() {
            let skip = (at % STAMPED as u64) as usize;
            let start = at - skip as u64;
            let place = (start % self.noise.len() as u64) as usize;
            let now = rest.len().min(STAMPED - skip);
            let (page, later) = rest.split_at_mut(now);
            page.copy_from_slice(&self.noise[place + skip..place + skip + now]);
            for (byte, stamp) in page.iter_mut().zip(start.to_le_bytes().into_iter().skip(skip)) {
                *byte = stamp;
            }
            at += now as u64;
            rest = later;
        }
    }

    /// These bytes of it.
    pub fn bytes(&self, span: Range<u64>) -> Vec<u8> {
        let mut bytes = vec![0; (span.end - span.start) as usize];
        self.copy(span.start, &mut bytes);
        bytes
    }

    /// Gives these bytes of it to `send`, piece by piece.
    pub fn each(&self, span: Range<u64>, mut send: impl FnMut(&[u8])) {
        let mut piece = vec![0; PIECE];
        let mut at = span.start;
        while at < span.end {
            let now = (span.end - at).min(PIECE as u64) as usize;
            self.copy(at, &mut piece[..now]);
            send(&piece[..now]);
            at += now as u64;
        }
    }

    /// Fails unless `got` is what stands at `from`.
    #[track_caller]
    fn check(&self, from: u64, got: &[u8]) {
        let mut at = 0;
        self.each(from..from + got.len() as u64, |want| {
            let piece = &got[at..at + want.len()];
            assert!(piece == want, "wrong bytes within {PIECE} of {}", from + at as u64);
            at += want.len();
        });
    }

    /// Reads a body of `len` bytes as it comes, which begins at `from` of the whole; how it ended
    /// short of that, if it did. `then` is told how much has come.
    #[track_caller]
    pub fn read(
        &self,
        client: &mut Client,
        head: &Answer,
        span: Range<u64>,
        mut then: impl FnMut(u64),
    ) -> Result<(), Ending> {
        let chunked = head.header("transfer-encoding") == Some("chunked");
        let mut at = span.start;
        while at < span.end || chunked {
            let some = if chunked {
                let Some(chunk) = client.chunk()? else { break };
                chunk
            } else {
                client.exactly((span.end - at).min(PIECE as u64) as usize)?
            };
            assert!(some.len() as u64 <= span.end - at, "more than {}", span.end);
            self.check(at, &some);
            at += some.len() as u64;
            then(at);
        }
        assert_eq!(at, span.end, "it ended cleanly before its end");
        Ok(())
    }

    /// Reads the whole in gzip as it comes, chunked or by its length.
    #[track_caller]
    pub fn read_gzip(&self, client: &mut Client, head: &Answer, len: u64) {
        let mut left = head.header("content-length").map(|len| len.parse::<usize>().unwrap());
        let mut plain = flate2::write::GzDecoder::new(Vec::new());
        let mut at = 0;
        loop {
            let some = match &mut left {
                None => client.chunk().expect("more"),
                Some(0) => None,
                Some(left) => {
                    let now = PIECE.min(*left);
                    *left -= now;
                    Some(client.exactly(now).expect("more"))
                }
            };
            let Some(some) = some else { break };
            plain.write_all(&some).expect("gzip");
            self.check(at, plain.get_ref());
            at += plain.get_ref().len() as u64;
            plain.get_mut().clear();
        }
        let rest = plain.finish().expect("the end of gzip");
        self.check(at, &rest);
        assert_eq!(at + rest.len() as u64, len, "it ended cleanly before its end");
    }

    /// Asks `client` for the whole, which must come whole and right.
    #[track_caller]
    pub fn read_whole(&self, client: &mut Client, target: &str, len: u64) -> Answer {
        client.send(Ask::get(target).bytes());
        let head = client.head().expect(200);
        assert!(head.header("content-length").is_none_or(|said| said == len.to_string()));
        let read = self.read(client, &head, 0..len, |_| {});
        read.unwrap_or_else(|ending| panic!("{ending:?}: {head:?}"));
        head
    }

    /// Asks for `range` of an object of `len` bytes, which must come whole and right.
    #[track_caller]
    pub fn read_part(&self, larder: &Larder, target: &str, range: &str, len: u64) -> Answer {
        let answer = larder.ask(&Ask::get(target).with("Range", range));
        assert_eq!(answer.status, 206, "{range}: {:?}", answer.headers);
        let span = span_of(range, len);
        let said = format!("bytes {}-{}/{len}", span.start, span.end - 1);
        assert_eq!(answer.header("content-range"), Some(&*said), "{range}");
        assert!(answer.is_whole() && answer.body.len() as u64 == span.end - span.start, "{range}");
        self.check(span.start, &answer.body);
        answer
    }

    /// Answers as an origin that knows ranges.
    pub fn answer(&self, seen: &Seen, reply: &mut Reply, len: u64, fields: &[&str]) {
        let part = seen.header("range").filter(|_| {
            seen.header("if-range").is_none_or(|tag| fields.iter().any(|own| own.contains(tag)))
        });
        let Some(range) = part else { return self.answer_whole(reply, len, fields) };
        let span = span_of(range, len);
        let (from, to) = (span.start, span.end);
        let head = format!(
            "HTTP/1.1 206 Partial\r\n{}content-length: {}\r\ncontent-range: bytes {from}-{}/{len}\r\n\r\n",
            lines(fields),
            to - from,
            to - 1
        );
        reply.raw(head);
        self.each(span, |piece| reply.raw(piece));
    }

    /// Answers with all of it.
    pub fn answer_whole(&self, reply: &mut Reply, len: u64, fields: &[&str]) {
        start(reply, len, fields);
        self.each(0..len, |piece| reply.raw(piece));
    }
}

/// The head of an answer of `len` bytes.
pub fn start(reply: &mut Reply, len: u64, fields: &[&str]) {
    reply.raw(format!("HTTP/1.1 200 OK\r\n{}content-length: {len}\r\n\r\n", lines(fields)));
}

fn lines(fields: &[&str]) -> String {
    fields.iter().flat_map(|field| [field, "\r\n"]).collect()
}

/// The one span that `range` asks for.
fn span_of(range: &str, len: u64) -> Range<u64> {
    let range = range.strip_prefix("bytes=").expect("bytes");
    let (from, to) = range.split_once('-').expect("one range");
    match (from.parse::<u64>(), to.parse::<u64>()) {
        (Ok(from), Ok(to)) => from..(to + 1).min(len),
        (Ok(from), Err(_)) => from..len,
        (Err(_), Ok(last)) => len - last.min(len)..len,
        (Err(_), Err(_)) => panic!("no range: {range}"),
    }
}
