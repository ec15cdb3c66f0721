//! Classes of bytes (RFC 9110 §5.5, §5.6.2), eight at a time where values are long.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

static TCHAR: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let c = byte as u8;
        table[byte] = c.is_ascii_alphanumeric()
            || matches!(
                c,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            );
        byte += 1;
    }
    table
};

/// Whether a token may contain this byte.
#[inline]
pub(super) fn is_tchar(byte: u8) -> bool {
    TCHAR.get(usize::from(byte)).copied().unwrap_or(false)
}

/// How many bytes at the beginning are a token's.
#[inline]
pub(super) fn token_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|b| !is_tchar(*b)).unwrap_or(bytes.len())
}

/// The high bits of the bytes of `word` that are below `limit` (at most 128). Exact up to the
/// first one, and so as a yes or no.
#[inline]
fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(limit)) & !word & HIGH
}

#[inline]
fn any_below(word: u64, limit: u8) -> bool {
    below(word, limit) != 0
}

#[inline]
fn any_equal(word: u64, byte: u8) -> bool {
    any_below(word ^ (ONES * u64::from(byte)), 1)
}

/// Whether all bytes pass: whole words by `suspect`, the rest and suspicious words by `good`.
#[inline]
fn all(bytes: &[u8], suspect: impl Fn(u64) -> bool, good: impl Fn(u8) -> bool) -> bool {
    let (words, tail) = bytes.as_chunks::<8>();
    words.iter().all(|w| !suspect(u64::from_le_bytes(*w)) || w.iter().all(|b| good(*b)))
        && tail.iter().all(|b| good(*b))
}

/// HTAB, SP, visible ASCII and obs-text: what a field value may contain.
#[inline]
pub(super) fn is_value_byte(byte: u8) -> bool {
    (byte >= 0x20 && byte != 0x7f) || byte == b'\t'
}

/// Whether all bytes may stand in a field value.
#[inline]
pub(super) fn is_value(bytes: &[u8]) -> bool {
    all(bytes, |word| any_below(word, 0x20) || any_equal(word, 0x7f), is_value_byte)
}

/// How many bytes at the beginning may stand in a field value; a tab counts as the end.
#[inline]
pub(super) fn plain_value_length(bytes: &[u8]) -> usize {
    let ends = |byte: u8| byte < 0x20 || byte == 0x7f;
    // Without an early exit this compiles to vector instructions.
    let is_clean = |block: &&[u8; 32]| !block.iter().fold(false, |any, b| any | ends(*b));
    let clean = bytes.as_chunks::<32>().0.iter().take_while(is_clean).count() * 32;
    let (words, tail) = bytes.get(clean..).unwrap_or_default().as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let end = below(word, 0x20) | below(word ^ (ONES * 0x7f), 1);
        if end != 0 {
            return clean + at * 8 + end.trailing_zeros() as usize / 8;
        }
    }
    let in_tail = tail.iter().position(|b| ends(*b));
    bytes.len() - tail.len() + in_tail.unwrap_or(tail.len())
}

/// Whether all bytes may stand in the path and in the query of a request target, for every reader:
/// visible ASCII without `"`, `#`, `<`, `>` and the backtick.
#[inline]
pub(super) fn is_plain_target(bytes: &[u8]) -> bool {
    all(
        bytes,
        |word| {
            word & HIGH != 0
                || any_below(word, b'$')
                || any_equal(word | (ONES * 2), b'>') // `<` and `>` differ in this bit
                || any_equal(word, b'`')
                || any_equal(word, 0x7f)
        },
        |byte| matches!(byte, b'!' | b'$'..=b';' | b'=' | b'?'..=b'_' | b'a'..=b'~'),
    )
}

/// Without the spaces and tabs around it.
#[inline]
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The members of a comma-separated list, trimmed, empty ones left out (RFC 9110 §5.6.1).
pub(super) fn list(value: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(trim).filter(|member| !member.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_agree_with_their_definitions_at_every_byte_and_offset() {
        for byte in 0..=255u8 {
            for offset in 0..17 {
                let mut text = *b"abcdefghijklmnopq";
                text[offset] = byte;
                let value = byte == 9 || (0x20..0x7f).contains(&byte) || byte >= 0x80;
                assert_eq!(is_value(&text), value, "value {byte:#x} at {offset}");
                for before in [0, 32, 40] {
                    let long = [&b"x".repeat(before), &text[..]].concat();
                    let plain = if value && byte != 9 { long.len() } else { before + offset };
                    assert_eq!(plain_value_length(&long), plain, "value {byte:#x} at {offset}");
                }
                let target = (0x21..0x7f).contains(&byte) && !b"\"#<>`".contains(&byte);
                assert_eq!(is_plain_target(&text), target, "target {byte:#x} at {offset}");
            }
        }
    }

    #[test]
    fn a_token_is_made_of_the_fifteen_marks_letters_and_digits() {
        let allowed = (0..=255u8).filter(|b| is_tchar(*b)).count();
        assert_eq!(allowed, 15 + 52 + 10);
        assert_eq!(token_length(b"X-a_b.c~1"), 9);
        assert_eq!(token_length(b""), 0);
        assert_eq!(token_length(b"a b"), 1);
    }

    #[test]
    fn lists_leave_empty_members_out() {
        assert_eq!(list(b" a ,,\tb, ").collect::<Vec<_>>(), [b"a", b"b"]);
    }

    /// What tells a suspicious word from others must not be put at ease by a second bad byte.
    #[test]
    fn two_bad_bytes_in_a_word_are_no_better_than_one() {
        for text in [&b"a\x01bc\x7fdef"[..], b"a\x7fbc\x01def", b"\x01\x7f\x01\x7f\x01\x7f\x01\x7f"]
        {
            assert!(!is_value(text), "{}", text.escape_ascii());
        }
        for text in [&b"/a\"<>`bc"[..], b"/\x7f\x80\x01#abc", &[0x80; 8], &[0xff; 16]] {
            assert!(!is_plain_target(text), "{}", text.escape_ascii());
        }
    }
}
