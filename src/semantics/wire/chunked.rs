//! Chunked bodies (RFC 9112 §7.1), byte by byte but for the data, which is skipped by count.
//!
//! Nothing is held back here: a prefix of a valid body may go on to the reader, and the first
//! byte that cannot be part of one stops it before the body could end cleanly.

use super::bytes::{is_tchar, is_value_byte};
use super::head::Values;
use super::{Violation, WireLimits};

/// Trailer fields that would change framing, routing or the connection (RFC 9110 §6.5.1).
const FORBIDDEN: [&[u8]; 10] = [
    b"content-length",
    b"transfer-encoding",
    b"host",
    b"trailer",
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"upgrade",
    b"expect",
];
/// Longer than any name in [`FORBIDDEN`].
const NAME_KEPT: usize = 20;
/// Digits of a chunk size; more of them are zeros or too much.
const SIZE_DIGITS: u8 = 16;

/// Where in a chunked body the scanner is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunked {
    step: Step,
    values: Values,
    size: u64,
    digits: u8,
    extension: usize,
    trailer: usize,
    fields: usize,
    name: [u8; NAME_KEPT],
    name_len: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Size,
    /// Spaces after the size: something only before an extension.
    Gap,
    Extension,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    /// The first byte of a trailer line, or of the line that ends the body.
    Line,
    Name,
    Value,
    ValueLf,
    EndLf,
    Ended,
}

impl Chunked {
    pub(super) fn new(values: Values) -> Self {
        Self {
            step: Step::Size,
            values,
            size: 0,
            digits: 0,
            extension: 0,
            trailer: 0,
            fields: 0,
            name: [0; NAME_KEPT],
            name_len: 0,
        }
    }

    /// Where the body ends in `bytes`; `None` where it goes on after them.
    ///
    /// # Errors
    /// Where the first bad byte stands, and what is wrong with it.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        limits: &WireLimits,
    ) -> Result<Option<usize>, (usize, Violation)> {
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            if self.step == Step::Data {
                let here = (bytes.len() - at) as u64;
                let skipped = self.size.min(here);
                self.size -= skipped;
                at += skipped as usize; // at most what is here
                if self.size == 0 {
                    self.step = Step::DataCr;
                }
                continue;
            }
            self.step = self.step(*byte, limits).map_err(|what| (at, what))?;
            at += 1;
            if self.step == Step::Ended {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    fn step(&mut self, byte: u8, limits: &WireLimits) -> Result<Step, Violation> {
        match self.step {
            Step::Size => self.size(byte, limits),
            Step::Gap => match byte {
                b';' | b' ' | b'\t' => self.extension(byte, limits),
                _ => Err(Violation::ChunkSize),
            },
            Step::Extension => match byte {
                b'\r' => Ok(Step::SizeLf),
                _ => self.extension(byte, limits),
            },
            Step::SizeLf if byte != b'\n' => Err(Violation::BareCr),
            Step::SizeLf => {
                self.digits = 0;
                Ok(if self.size == 0 { Step::Line } else { Step::Data })
            }
            Step::DataCr => match byte {
                b'\r' => Ok(Step::DataLf),
                _ => Err(Violation::ChunkEnd),
            },
            Step::DataLf => match byte {
                b'\n' => Ok(Step::Size),
                _ => Err(Violation::ChunkEnd),
            },
            Step::Line | Step::Name | Step::Value | Step::ValueLf | Step::EndLf => {
                self.trailer(byte, limits)
            }
            // Data is skipped by `feed`, and nothing is fed after the end.
            Step::Data | Step::Ended => Ok(self.step),
        }
    }

    fn size(&mut self, byte: u8, limits: &WireLimits) -> Result<Step, Violation> {
        if let Some(digit) = (byte as char).to_digit(16) {
            self.digits += 1;
            // Not the whole of u64, so that no reader's own arithmetic can wrap.
            if self.digits > SIZE_DIGITS || self.size >> 59 != 0 {
                return Err(Violation::ChunkOverflow);
            }
            self.size = self.size * 16 + u64::from(digit);
            return Ok(Step::Size);
        }
        match byte {
            _ if self.digits == 0 => Err(Violation::ChunkSize),
            b'\r' => Ok(Step::SizeLf),
            b'\n' => Err(Violation::BareLf),
            b';' | b' ' | b'\t' => self.extension(byte, limits),
            _ => Err(Violation::ChunkSize),
        }
    }

    fn extension(&mut self, byte: u8, limits: &WireLimits) -> Result<Step, Violation> {
        self.extension += 1;
        if byte == b'\n' {
            return Err(Violation::BareLf);
        }
        if !is_value_byte(byte) {
            return Err(Violation::ChunkExtension);
        }
        if self.extension > limits.chunk_ext {
            return Err(Violation::ChunkExtensionsTooLarge);
        }
        let begun = self.step == Step::Extension || byte == b';';
        Ok(if begun { Step::Extension } else { Step::Gap })
    }

    fn trailer(&mut self, byte: u8, limits: &WireLimits) -> Result<Step, Violation> {
        self.trailer += 1;
        if self.trailer > limits.trailers.max(2) {
            return Err(Violation::TrailersTooLarge);
        }
        match (self.step, byte) {
            (Step::EndLf, b'\n') => Ok(Step::Ended),
            (Step::ValueLf, b'\n') => Ok(Step::Line),
            (Step::EndLf | Step::ValueLf, _) => Err(Violation::BareCr),
            (_, b'\n') => Err(Violation::BareLf),
            (_, 0) => Err(Violation::Nul),
            (Step::Line, b'\r') => Ok(Step::EndLf),
            (Step::Line, b' ' | b'\t') => Err(Violation::ObsFold),
            (Step::Line, _) => {
                self.fields += 1;
                if self.fields > limits.head_fields {
                    return Err(Violation::TrailersTooLarge);
                }
                self.name_len = 0;
                self.name(byte)
            }
            (Step::Name, b':') => {
                let name = self.name.get(..self.name_len).unwrap_or_default();
                if FORBIDDEN.iter().any(|f| f.eq_ignore_ascii_case(name)) {
                    return Err(Violation::TrailerForbidden);
                }
                Ok(Step::Value)
            }
            (Step::Name, b' ' | b'\t') => Err(Violation::SpaceBeforeColon),
            (Step::Name, _) => self.name(byte),
            (_, b'\r') => Ok(Step::ValueLf),
            (_, _) if self.values == Values::Strict && !is_value_byte(byte) => {
                Err(Violation::Control)
            }
            _ => Ok(Step::Value),
        }
    }

    fn name(&mut self, byte: u8) -> Result<Step, Violation> {
        if !is_tchar(byte) {
            return Err(Violation::FieldName);
        }
        // A name too long to be kept equals none that is forbidden.
        if let Some(slot) = self.name.get_mut(self.name_len) {
            *slot = byte;
            self.name_len += 1;
        }
        Ok(Step::Name)
    }
}
