//! An HTTP answer as it came over the wire, and how it ended.

use std::io::Read;

/// How reading an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As its framing says (for a close-delimited body: by a clean close).
    Complete,
    /// The connection closed before the framing's end.
    Closed,
    /// The connection was reset.
    Reset,
    /// Nothing came for as long as a test waits.
    TimedOut,
    /// What came is no HTTP.
    Malformed,
}

/// One answer. `status` is 0 where none came.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status codes of interim answers (100, 103 ...) that came before it.
    pub interim: Vec<u16>,
    /// The status code.
    pub status: u16,
    /// Every field line in order, as received.
    pub headers: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// Trailer field lines.
    pub trailers: Vec<(String, String)>,
    /// How it ended.
    pub ending: Ending,
}

impl Answer {
    /// No answer at all, only an end.
    pub fn nothing(ending: Ending) -> Self {
        Self {
            interim: Vec::new(),
            status: 0,
            headers: Vec::new(),
            body: Vec::new(),
            trailers: Vec::new(),
            ending,
        }
    }

    /// The value of the one field line with this name; fails on several.
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} came {} times: {self:?}", all.len());
        all.first().copied()
    }

    /// The values of all field lines with this name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v.as_str())
            .collect()
    }

    /// Cache-Status, or "".
    pub fn cache_status(&self) -> &str {
        self.header("cache-status").unwrap_or_default()
    }

    /// Larder says that it answered from a fresh stored response.
    pub fn was_hit(&self) -> bool {
        self.status_params().contains(&"hit")
    }

    /// Larder says that it stored this answer (or is storing it).
    pub fn was_stored(&self) -> bool {
        self.status_params().contains(&"stored")
    }

    /// Larder asked the origin, for this reason (RFC 9211 §2.2).
    pub fn forwarded(&self) -> Option<&str> {
        self.status_params().into_iter().find_map(|p| p.strip_prefix("fwd="))
    }

    fn status_params(&self) -> Vec<&str> {
        self.cache_status().split(';').map(str::trim).collect()
    }

    /// It ended as its framing said.
    pub fn is_whole(&self) -> bool {
        self.ending == Ending::Complete
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// It is gzipped.
    pub fn is_gzip(&self) -> bool {
        self.header("content-encoding") == Some("gzip")
    }

    /// The body with its coding taken off.
    #[track_caller]
    pub fn decoded(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        let mut decoder = self.decoder();
        decoder.read_to_end(&mut plain).unwrap_or_else(|e| panic!("{e} in {self:?}"));
        plain
    }

    fn decoder(&self) -> Box<dyn Read + '_> {
        let body = &self.body[..];
        match self.header("content-encoding") {
            None => Box::new(body),
            Some("gzip") => Box::new(flate2::read::GzDecoder::new(body)),
            Some("br") => Box::new(brotli::Decompressor::new(body, 4096)),
            Some("zstd") => Box::new(zstd::Decoder::new(body).expect("a decoder")),
            Some(other) => panic!("a coding that no test knows: {other}"),
        }
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {}", self.text()))
    }

    /// Fails unless the status is `status`; returns itself for more.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{:?} {}", self.headers, self.text());
        self
    }
}
