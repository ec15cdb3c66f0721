//! What heads of requests and responses have in common: lines, fields, framing fields.

use super::bytes::{is_value, list, plain_value_length, token_length, trim};
use super::{Violation, WireLimits};

/// A longer field name cannot be held by `http::HeaderName` (65,535 bytes), which hyper does not
/// expect.
const NAME_MOST: usize = 32 << 10;

/// Reads a head line by line; the head begins at the first byte of what it is given.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lines {
    /// Where the line begins that was not read yet.
    next: usize,
    /// Up to where no line end was found: a head that trickles in is not searched again.
    searched: usize,
    /// Field lines read.
    fields: usize,
}

impl Lines {
    /// The next line without its CRLF; `None` where it is not complete.
    ///
    /// # Errors
    /// The head is too large, or the line ends in LF only.
    #[inline]
    pub(super) fn next<'a>(
        &mut self,
        head: &'a [u8],
        limits: &WireLimits,
    ) -> Result<Option<&'a [u8]>, Violation> {
        let from = self.next.max(self.searched);
        let found = head.get(from..).and_then(|rest| memchr::memchr(b'\n', rest));
        let Some(found) = found else {
            self.searched = head.len();
            // The same verdict as when the line's end comes in the same read.
            if head.len() > limits.head_size {
                return Err(Violation::HeadTooLarge);
            }
            return Ok(None);
        };
        let end = from + found;
        if end >= limits.head_size {
            return Err(Violation::HeadTooLarge);
        }
        let line = head.get(self.next..end).unwrap_or_default();
        self.next = end + 1;
        line.strip_suffix(b"\r").map(Some).ok_or(Violation::BareLf)
    }

    /// Name and value of the next field line, where that is here whole and as it should be: in one
    /// walk. `None`: [`Self::next`] tells more.
    #[inline]
    pub(super) fn plain_field<'a>(
        &mut self,
        head: &'a [u8],
        limits: &WireLimits,
    ) -> Option<(&'a [u8], &'a [u8])> {
        let rest = head.get(self.next..)?;
        let (name, rest) = rest.split_at_checked(token_length(rest))?;
        let rest = rest.strip_prefix(b":").filter(|_| !name.is_empty())?;
        let (value, rest) = rest.split_at_checked(plain_value_length(rest))?;
        let next = head.len() - rest.strip_prefix(b"\r\n")?.len();
        if next > limits.head_size {
            return None;
        }
        self.next = next;
        Some((name, trim(value)))
    }

    /// Counts a field line.
    #[inline]
    pub(super) fn count_field(&mut self, limits: &WireLimits) -> Result<(), Violation> {
        self.fields += 1;
        if self.fields > limits.head_fields {
            return Err(Violation::TooManyFields);
        }
        Ok(())
    }

    /// Where the line after the last one read begins.
    pub(super) fn position(&self) -> usize {
        self.next
    }
}

/// How far field values are looked into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    /// Requests: no control byte but HTAB.
    Strict,
    /// Responses: only what could be taken for a line end or end a string.
    Lenient,
}

/// Name and trimmed value of a field line, which is not empty.
#[inline]
pub(super) fn field(line: &[u8], values: Values) -> Result<(&[u8], &[u8]), Violation> {
    let (name, rest) = line.split_at_checked(token_length(line)).unwrap_or_default();
    let Some((b':', value)) = rest.split_first() else {
        return Err(match (name, rest) {
            ([], [b' ' | b'\t', ..]) => Violation::ObsFold,
            ([_, ..], [b' ' | b'\t', ..]) => Violation::SpaceBeforeColon,
            (_, [b'\r', ..]) => Violation::BareCr,
            (_, [0, ..]) => Violation::Nul,
            _ => Violation::FieldName,
        });
    };
    if name.is_empty() || name.len() > NAME_MOST {
        return Err(Violation::FieldName);
    }
    if !is_value(value) {
        check_value(value, values)?;
    }
    Ok((name, trim(value)))
}

/// What is wrong with a value that has control bytes.
#[cold]
fn check_value(value: &[u8], values: Values) -> Result<(), Violation> {
    if memchr::memchr(b'\r', value).is_some() {
        return Err(Violation::BareCr);
    }
    if memchr::memchr(0, value).is_some() {
        return Err(Violation::Nul);
    }
    match values {
        Values::Strict => Err(Violation::Control),
        Values::Lenient => Ok(()),
    }
}

/// The framing fields of a head as they were found (RFC 9112 §6).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Framing {
    pub(super) length: Option<u64>,
    pub(super) coding: Coding,
}

/// What Transfer-Encoding says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Coding {
    #[default]
    Absent,
    /// Exactly `chunked`.
    Chunked,
    /// Codings without chunked among them.
    Others,
    /// Other codings, then chunked.
    OthersThenChunked,
    /// chunked is not last, or comes twice.
    ChunkedNotLast,
    /// No list of codings.
    Malformed,
    /// More than one field.
    Several,
}

impl Framing {
    /// Takes a framing field in; any other name changes nothing.
    #[inline]
    pub(super) fn take(&mut self, name: &[u8], value: &[u8]) -> Result<(), Violation> {
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                if self.length.is_some() {
                    return Err(Violation::SeveralLengths);
                }
                self.length = Some(length(value)?);
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                self.coding = match self.coding {
                    Coding::Absent => coding(value),
                    _ => Coding::Several,
                };
            }
            _ => {}
        }
        Ok(())
    }

    /// The rules that hold for requests and responses alike.
    pub(super) fn check(&self, old_version: bool) -> Result<(), Violation> {
        if self.coding == Coding::Absent {
            return Ok(());
        }
        if old_version {
            return Err(Violation::CodingInOldVersion);
        }
        if self.length.is_some() {
            return Err(Violation::LengthAndCoding);
        }
        Ok(())
    }
}

/// One number of digits. A list of equal numbers is refused, too: whoever sends it has been
/// passed on by something that did not look.
fn length(value: &[u8]) -> Result<u64, Violation> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Violation::Length);
    }
    value
        .iter()
        .try_fold(0u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .filter(|length| i64::try_from(*length).is_ok())
        .ok_or(Violation::LengthOverflow)
}

fn coding(value: &[u8]) -> Coding {
    let is_chunked = |member: &[u8]| member.eq_ignore_ascii_case(b"chunked");
    if is_chunked(value) {
        return Coding::Chunked;
    }
    let named = |member: &[u8]| token_length(member) > 0;
    let mut members = list(value);
    let Some(last) = members.next_back() else { return Coding::Malformed };
    if !list(value).all(named) {
        Coding::Malformed
    } else if members.any(is_chunked) {
        Coding::ChunkedNotLast
    } else if !is_chunked(last) {
        Coding::Others
    } else if list(value).nth(1).is_some() {
        Coding::OthersThenChunked
    } else {
        // `chunked,` and the like: readers differ on what is last.
        Coding::ChunkedNotLast
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What is read in one walk is what the careful way reads.
        #[test]
        fn a_plain_field_is_a_field(
            name in "[a-zA-Z: -]{0,12}", value in "[ \ta-z\x00\x7f\r:]{0,20}",
            end in "(\r\n|\n|\r|)(x|)", before in 0..3_usize, head_size in 0..60_usize,
        ) {
            let head = [&"\r\n".repeat(before), &*name, ":", &value, &end].concat().into_bytes();
            let limits = WireLimits { head_size, ..WireLimits::default() };
            let mut plain = Lines { next: before * 2, ..Lines::default() };
            let mut careful = plain;
            if let Some(found) = plain.plain_field(&head, &limits) {
                let line = careful.next(&head, &limits).unwrap().unwrap();
                prop_assert_eq!(field(line, Values::Strict), Ok(found));
                prop_assert_eq!(plain.position(), careful.position());
            }
        }
    }

    #[test]
    fn most_fields_are_plain() {
        let head = b"Host: a.org\r\nAccept:*/* \r\nX: a\tb\r\n";
        let mut lines = Lines::default();
        let mut next = || lines.plain_field(head, &WireLimits::default());
        assert_eq!(next(), Some((&b"Host"[..], &b"a.org"[..])));
        assert_eq!(next(), Some((&b"Accept"[..], &b"*/*"[..])));
        assert_eq!(next(), None, "a tab is left to the careful way");
    }

    #[test]
    fn what_is_wrong_with_a_field_line() {
        let longest = "a".repeat(NAME_MOST);
        let (fits, longer) = (format!("{longest}:v"), format!("{longest}a:v"));
        let name = |line: &[u8]| field(line, Values::Strict).map(|(name, _)| name.len());
        for (case, line, want) in [
            ("a name that just fits", fits.as_str(), Ok(NAME_MOST)),
            ("a longer one", &longer, Err(Violation::FieldName)),
            ("CR in the name", "ab\rc: d", Err(Violation::BareCr)),
            ("CR at once", "\rc: d", Err(Violation::BareCr)),
            ("NUL in the name", "ab\0c: d", Err(Violation::Nul)),
            ("no colon", "abc", Err(Violation::FieldName)),
        ] {
            assert_eq!(name(line.as_bytes()), want, "{case}");
        }
    }

    #[test]
    fn names_as_long_as_those_that_frame_do_not() {
        let mut framing = Framing::default();
        framing.take(b"x-content-type", b"1").unwrap();
        framing.take(b"content-languages", b"chunked").unwrap();
        assert_eq!((framing.length, framing.coding), (None, Coding::Absent));
    }

    #[test]
    fn codings() {
        for (value, want) in [
            ("Chunked", Coding::Chunked),
            ("gzip", Coding::Others),
            ("gzip, chunked", Coding::OthersThenChunked),
            ("chunked, gzip", Coding::ChunkedNotLast),
            ("chunked,", Coding::ChunkedNotLast),
            ("(a, gzip", Coding::Malformed),
            ("gzip, (a", Coding::Malformed),
            (",", Coding::Malformed),
        ] {
            assert_eq!(coding(value.as_bytes()), want, "{value}");
        }
    }

    #[test]
    fn a_line_without_end_is_waited_for_up_to_the_bound() {
        let limits = WireLimits { head_size: 20, ..WireLimits::default() };
        let next = |len: usize| Lines::default().next(&vec![b'a'; len], &limits).map(|_| ());
        assert_eq!(next(20), Ok(()));
        assert_eq!(next(21), Err(Violation::HeadTooLarge));
    }
}
