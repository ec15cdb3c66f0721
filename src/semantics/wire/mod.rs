//! HTTP/1.x messages as bytes: where each begins and ends, and what is wrong with it.
//!
//! hyper accepts or hides what a proxy must refuse (bare LF, both framing fields, `gzip,
//! chunked`), so the I/O wrappers of both sides show every byte to a scanner first
//! (RFC 9112 §2-§7). Pure: bytes in, a verdict out; nothing is copied or kept.
//!
//! - [`RequestScanner`]: what a client sends, pipelined messages one by one.
//! - [`ResponseScanner`]: what an origin sends in answer to what was asked.
//! - [`Scan`]: the verdict on the bytes fed; [`Violation`]: what was wrong, and its status.
//! - [`stand_in`]: what is parsed in place of a bad head.
//!
//! A body costs nothing: its bytes are skipped by count. A head that is not complete is held
//! back by the caller and fed again, longer; the scanner remembers how far it had read.

mod bytes;
mod chunked;
mod head;
mod request;
mod response;
#[cfg(test)]
mod splitting;
mod stand_in;

pub use request::RequestScanner;
pub use response::ResponseScanner;
pub use stand_in::stand_in;

/// What a message may cost before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WireLimits {
    /// Bytes of a head: start line, fields and the empty line.
    pub head_size: usize,
    /// Field lines of a head, and of a trailer section.
    pub head_fields: usize,
    /// Bytes of a request target.
    pub target_size: usize,
    /// Bytes of chunk extensions in all chunks of one body.
    pub chunk_ext: usize,
    /// Bytes of a trailer section.
    pub trailers: usize,
}

impl Default for WireLimits {
    fn default() -> Self {
        Self {
            head_size: 64 << 10,
            head_fields: 100,
            target_size: 8 << 10,
            chunk_ext: 16 << 10,
            trailers: 16 << 10,
        }
    }
}

/// The verdict on the bytes fed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Scan {
    /// Every byte belongs to complete heads or to bodies.
    Pass,
    /// `bytes[..from]` are fine; `bytes[from..]` begin a head that is not complete yet: hold
    /// them back and feed them again with what follows them.
    Partial {
        /// Where the incomplete head begins.
        from: usize,
    },
    /// `bytes[..at]` are fine; then this. The scanner says the same from then on.
    Bad {
        /// Where the bad head begins, or the first bad byte of a body.
        at: usize,
        /// What is wrong.
        what: Violation,
        /// Whether a head is bad; else it is a body (its chunking) or a surplus after one.
        in_head: bool,
    },
    /// `bytes[..at]` are fine and end with a request that asks for an upgrade: hold the rest
    /// until [`RequestScanner::resume`] or [`RequestScanner::tunnel`].
    Upgrade {
        /// Where that request ended.
        at: usize,
    },
}

/// What is wrong with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Violation {
    /// The first line is no `METHOD SP target SP version`.
    RequestLine,
    /// The target has bytes that no target has, or is no URI.
    Target,
    /// The target is longer than `target_size`.
    TargetTooLong,
    /// Well written, but neither HTTP/1.0 nor HTTP/1.1.
    Version,
    /// The head is larger than `head_size`.
    HeadTooLarge,
    /// The head has more field lines than `head_fields`.
    TooManyFields,
    /// A line ends in LF without CR.
    BareLf,
    /// A CR that no LF follows.
    BareCr,
    /// A NUL byte.
    Nul,
    /// A control byte in a field value.
    Control,
    /// A field line that begins with white space: an obsolete continuation line.
    ObsFold,
    /// A field line without a name, without a colon or with bytes that no name has.
    FieldName,
    /// White space between a field's name and its colon.
    SpaceBeforeColon,
    /// Both Content-Length and Transfer-Encoding.
    LengthAndCoding,
    /// Content-Length is not one number of digits.
    Length,
    /// Content-Length is larger than any message.
    LengthOverflow,
    /// More than one Content-Length, equal or not.
    SeveralLengths,
    /// Transfer-Encoding names a coding besides chunked.
    UnknownCoding,
    /// Transfer-Encoding is malformed, or chunked is in it but not once and last.
    Coding,
    /// More than one Transfer-Encoding field.
    SeveralCodings,
    /// Transfer-Encoding in an HTTP/1.0 message.
    CodingInOldVersion,
    /// HTTP/1.1 without Host.
    NoHost,
    /// More than one Host.
    SeveralHosts,
    /// Host has bytes that no authority has.
    Host,
    /// A chunk's size is not hexadecimal digits.
    ChunkSize,
    /// A chunk's size is larger than any chunk.
    ChunkOverflow,
    /// A chunk does not end where its size says, or not in CRLF.
    ChunkEnd,
    /// Chunk extensions are malformed.
    ChunkExtension,
    /// Chunk extensions are larger than `chunk_ext` in all.
    ChunkExtensionsTooLarge,
    /// The trailer section is larger than `trailers` or has too many fields.
    TrailersTooLarge,
    /// A trailer field that would change framing or routing.
    TrailerForbidden,
    /// A response's first line is no `version SP 3DIGIT [SP reason]`.
    StatusLine,
    /// A 101 that nobody asked for.
    UnaskedUpgrade,
    /// More interim responses than anybody waits for.
    TooManyInterim,
    /// Bytes after the end of a response, or where none is due.
    Surplus,
    /// Bytes behind a body that has come as long as its Content-Length said. The answer itself is
    /// whole; nothing on the connection can be trusted any more.
    LongerThanSaid,
}

impl Violation {
    /// The status that refuses such a request; 502 for what only a response can do.
    pub fn status(self) -> u16 {
        match self {
            Self::TargetTooLong => 414,
            Self::HeadTooLarge | Self::TooManyFields | Self::TrailersTooLarge => 431,
            Self::UnknownCoding => 501,
            Self::Version => 505,
            Self::StatusLine
            | Self::UnaskedUpgrade
            | Self::TooManyInterim
            | Self::Surplus
            | Self::LongerThanSaid => 502,
            _ => 400,
        }
    }

    /// A few fixed words for logs and error pages; nothing that the peer sent.
    pub fn reason(self) -> &'static str {
        match self {
            Self::RequestLine => "malformed request line",
            Self::Target => "invalid request target",
            Self::TargetTooLong => "request target too long",
            Self::Version => "HTTP version not supported",
            Self::HeadTooLarge => "head too large",
            Self::TooManyFields => "too many fields",
            Self::BareLf => "line ends without CR",
            Self::BareCr => "CR without LF",
            Self::Nul => "NUL byte in the head",
            Self::Control => "control byte in a field value",
            Self::ObsFold => "obsolete line folding",
            Self::FieldName => "malformed field line",
            Self::SpaceBeforeColon => "white space before a colon",
            Self::LengthAndCoding => "both Content-Length and Transfer-Encoding",
            Self::Length => "malformed Content-Length",
            Self::LengthOverflow => "Content-Length out of range",
            Self::SeveralLengths => "several Content-Length fields",
            Self::UnknownCoding => "transfer coding not supported",
            Self::Coding => "malformed Transfer-Encoding",
            Self::SeveralCodings => "several Transfer-Encoding fields",
            Self::CodingInOldVersion => "Transfer-Encoding in HTTP/1.0",
            Self::NoHost => "no Host field",
            Self::SeveralHosts => "several Host fields",
            Self::Host => "invalid Host field",
            Self::ChunkSize => "malformed chunk size",
            Self::ChunkOverflow => "chunk size out of range",
            Self::ChunkEnd => "chunk without its end",
            Self::ChunkExtension => "malformed chunk extension",
            Self::ChunkExtensionsTooLarge => "chunk extensions too large",
            Self::TrailersTooLarge => "trailer section too large",
            Self::TrailerForbidden => "field not allowed in trailers",
            Self::StatusLine => "malformed status line",
            Self::UnaskedUpgrade => "switching protocols unasked",
            Self::TooManyInterim => "too many interim responses",
            Self::Surplus => "bytes after the end of the response",
            Self::LongerThanSaid => "body longer than its Content-Length",
        }
    }
}
