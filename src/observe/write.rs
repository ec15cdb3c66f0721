//! How text and numbers are written into a line: by hand, without allocation or formatting
//! machinery, which would cost several times as much as the rest of a hit's telling.

use std::net::IpAddr;

use crate::semantics::digits::Digits;
use crate::semantics::time::Timestamp;

/// Cuts to `max` bytes, not within a UTF-8 character.
pub(super) fn cut(text: &[u8], max: usize) -> &[u8] {
    let Some(mut head) = text.get(..max) else { return text };
    let follows = text.get(max).copied().unwrap_or(0);
    if follows & 0xC0 == 0x80 {
        while let [rest @ .., last] = head {
            head = rest;
            if last & 0xC0 != 0x80 {
                break;
            }
        }
    }
    head
}

/// Bytes that can stand in a JSON string as they are.
static PLAIN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0x20;
    while byte < 0x7F {
        table[byte] = byte != b'"' as usize && byte != b'\\' as usize;
        byte += 1;
    }
    table
};

fn is_plain(byte: u8) -> bool {
    PLAIN.get(usize::from(byte)).copied().unwrap_or(false)
}

/// Writes the inside of a JSON string. What is not UTF-8 is taken for Latin-1, so that every
/// line is valid JSON whatever a client sends.
pub(super) fn json_text(text: &[u8], max: usize, out: &mut Vec<u8>) {
    let text = cut(text, max);
    if text.iter().all(|byte| is_plain(*byte)) {
        out.extend_from_slice(text);
        return;
    }
    let valid = std::str::from_utf8(text).is_ok();
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            _ if is_plain(byte) || (valid && byte >= 0x80) => out.push(byte),
            _ => {
                out.extend_from_slice(b"\\u00");
                write_hex(byte, out);
            }
        }
    }
}

/// Writes for a terminal: what is not printable ASCII, a blank or a backslash as `\xNN`.
pub(super) fn plain_text(text: &[u8], max: usize, out: &mut Vec<u8>) {
    for &byte in cut(text, max) {
        if byte.is_ascii_graphic() && byte != b'\\' {
            out.push(byte);
        } else {
            out.extend_from_slice(b"\\x");
            write_hex(byte, out);
        }
    }
}

fn write_hex(byte: u8, out: &mut Vec<u8>) {
    const fn digit(nibble: u8) -> u8 {
        if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
    }
    out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
}

pub(super) fn write_peer(peer: Option<IpAddr>, out: &mut Vec<u8>) {
    match peer {
        None => out.extend_from_slice(b"unix"),
        Some(IpAddr::V4(address)) => {
            let [first, rest @ ..] = address.octets();
            write_octet(first, out);
            for octet in rest {
                out.push(b'.');
                write_octet(octet, out);
            }
        }
        Some(IpAddr::V6(address)) => {
            // Writing into a Vec cannot fail.
            let _ = std::io::Write::write_fmt(out, format_args!("{address}"));
        }
    }
}

fn write_octet(octet: u8, out: &mut Vec<u8>) {
    if octet >= 100 {
        out.push(b'0' + octet / 100);
    }
    if octet >= 10 {
        out.push(b'0' + octet / 10 % 10);
    }
    out.push(b'0' + octet % 10);
}

pub(super) fn write_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(Digits::of(number).as_bytes());
}

fn write_padded(number: u64, width: u32, out: &mut Vec<u8>) {
    for place in (0..width).rev() {
        out.push(b'0' + (number / 10_u64.pow(place) % 10) as u8);
    }
}

/// Nanoseconds as milliseconds with three places.
pub(super) fn write_ms(ns: u64, out: &mut Vec<u8>) {
    let us = ns / 1000;
    write_number(us / 1000, out);
    out.push(b'.');
    write_padded(us % 1000, 3, out);
}

/// `1970-01-01T00:00:00` for seconds since the epoch (days to civil date after H. Hinnant).
fn date_time(secs: u64) -> [u8; 19] {
    // Year 9999: what is later cannot be written in 19 bytes.
    let secs = secs.min(253_402_300_799);
    let (days, second) = (secs / 86_400, secs % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let mut text = *b"0000-00-00T00:00:00";
    for (at, width, number) in [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, second / 3600),
        (14, 2, second / 60 % 60),
        (17, 2, second % 60),
    ] {
        for (place, digit) in text.iter_mut().skip(at).take(width).rev().enumerate() {
            *digit = b'0' + (number / 10_u64.pow(place as u32) % 10) as u8;
        }
    }
    text
}

/// The date and time to the second as last written: formatted once a second and worker.
#[derive(Debug, Default)]
pub(crate) struct Stamp {
    secs: Option<u64>,
    text: [u8; 19],
}

impl Stamp {
    /// Writes RFC 3339 in UTC with milliseconds.
    pub(super) fn write(&mut self, now: Timestamp, out: &mut Vec<u8>) {
        if self.secs != Some(now.as_secs()) {
            self.text = date_time(now.as_secs());
            self.secs = Some(now.as_secs());
        }
        out.extend_from_slice(&self.text);
        out.push(b'.');
        write_padded(now.as_millis() % 1000, 3, out);
        out.push(b'Z');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 512;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut out = Vec::new();
        plain_text(b"a b\x1b[2J\\\xff", 100, &mut out);
        assert_eq!(out, b"a\\x20b\\x1b[2J\\x5c\\xff");
    }

    #[test]
    fn peers() {
        for peer in ["127.0.0.1", "10.0.100.99", "255.254.200.9", "2001:db8::1"] {
            let mut out = Vec::new();
            write_peer(Some(peer.parse().unwrap()), &mut out);
            assert_eq!(std::str::from_utf8(&out).unwrap(), peer);
        }
    }

    #[test]
    fn dates() {
        for (secs, want) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (951_868_800, "2000-03-01T00:00:00"),
            (4_107_542_400, "2100-03-01T00:00:00"),
            (1_798_761_599, "2026-12-31T23:59:59"),
            (u64::MAX, "9999-12-31T23:59:59"),
        ] {
            assert_eq!(std::str::from_utf8(&date_time(secs)).unwrap(), want, "{secs}");
        }
    }

    #[test]
    fn milliseconds() {
        let mut out = Vec::new();
        write_ms(1_234_567_890, &mut out);
        assert_eq!(out, b"1234.567");
    }

    proptest! {
        /// Whatever bytes a client sends, the line is one line of valid JSON and says the same.
        #[test]
        fn any_value_gives_one_line_of_json(value in proptest::collection::vec(any::<u8>(), 0..700)) {
            let mut out = b"\"".to_vec();
            json_text(&value, MAX, &mut out);
            out.push(b'"');
            prop_assert!(!out.contains(&b'\n'));
            let read: String = serde_json::from_slice(&out).unwrap();
            let shown = cut(&value, MAX);
            let want = std::str::from_utf8(shown).map_or_else(
                |_| shown.iter().map(|byte| char::from(*byte)).collect::<String>(),
                str::to_owned,
            );
            prop_assert_eq!(read, want);
        }

        #[test]
        fn a_cut_never_splits_a_character(text in "\\PC{0,40}", max in 0_usize..60) {
            prop_assert!(std::str::from_utf8(cut(text.as_bytes(), max)).is_ok());
            prop_assert!(cut(text.as_bytes(), max).len() <= max);
        }
    }
}
