//! One access line, written by hand into the worker's buffer: no allocation, no formatting
//! machinery; a serializer would cost several times as much as the rest of a hit's telling.

use std::net::IpAddr;

use http::{HeaderName, Version, header};

use crate::config::snapshot::LogFormat;
use crate::observe::record::Record;
use crate::semantics::time::Timestamp;

/// What of a path or a header value is written at most, in bytes: hostile requests make no
/// lines of 64 KiB.
const PATH_MAX: usize = 4096;
const VALUE_MAX: usize = 512;

/// The date and time to the second as last written: formatted once a second and worker.
#[derive(Debug, Default)]
pub(crate) struct Stamp {
    secs: Option<u64>,
    text: [u8; 19],
}

impl Stamp {
    /// Writes RFC 3339 in UTC with milliseconds.
    fn write(&mut self, now: Timestamp, out: &mut Vec<u8>) {
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

/// Appends one line for `record`, its line end included.
pub(crate) fn write(
    format: LogFormat,
    record: &Record,
    now: Timestamp,
    stamp: &mut Stamp,
    out: &mut Vec<u8>,
) {
    match format {
        LogFormat::Json => json(record, now, stamp, out),
        LogFormat::Human => human(record, now, stamp, out),
    }
}

fn json(record: &Record, now: Timestamp, stamp: &mut Stamp, out: &mut Vec<u8>) {
    let head = &record.head;
    let decision = &record.decision;
    out.extend_from_slice(b"{\"time\":\"");
    stamp.write(now, out);
    out.extend_from_slice(b"\",\"method\":\"");
    json_text(head.method.as_str().as_bytes(), VALUE_MAX, out);
    out.extend_from_slice(b"\",\"host\":\"");
    json_text(host(record), VALUE_MAX, out);
    out.extend_from_slice(b"\",\"path\":\"");
    json_text(path(record), PATH_MAX, out);
    out.extend_from_slice(b"\",\"status\":");
    write_number(record.status.into(), out);
    out.extend_from_slice(b",\"cache\":\"");
    out.extend_from_slice(decision.outcome.as_str().as_bytes());
    out.push(b'"');
    if let Some(fwd) = decision.fwd {
        out.extend_from_slice(b",\"reason\":\"");
        out.extend_from_slice(fwd.as_str().as_bytes());
        out.push(b'"');
    }
    if let Some(detail) = decision.detail {
        out.extend_from_slice(b",\"detail\":\"");
        json_text(detail.as_bytes(), VALUE_MAX, out);
        out.push(b'"');
    }
    if decision.stored {
        out.extend_from_slice(b",\"stored\":true");
    }
    if decision.collapsed {
        out.extend_from_slice(b",\"collapsed\":true");
    }
    out.extend_from_slice(b",\"bytes_in\":");
    write_number(record.bytes_in, out);
    out.extend_from_slice(b",\"bytes_out\":");
    write_number(record.bytes_out, out);
    out.extend_from_slice(b",\"duration_ms\":");
    write_ms(record.duration_ns, out);
    if record.origin_ns > 0 {
        out.extend_from_slice(b",\"origin_ms\":");
        write_ms(record.origin_ns, out);
    }
    out.extend_from_slice(b",\"peer\":\"");
    write_peer(record.peer, out);
    out.extend_from_slice(b"\",\"protocol\":\"");
    out.extend_from_slice(protocol(head.version).as_bytes());
    out.push(b'"');
    for (name, field) in [("user_agent", header::USER_AGENT), ("referer", header::REFERER)] {
        if let Some(value) = field_of(record, &field) {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b"\":\"");
            json_text(value, VALUE_MAX, out);
            out.push(b'"');
        }
    }
    if let Some(coding) = record.coding {
        out.extend_from_slice(b",\"coding\":\"");
        json_text(coding.as_bytes(), VALUE_MAX, out);
        out.push(b'"');
    }
    if record.aborted {
        out.extend_from_slice(b",\"aborted\":true");
    }
    out.extend_from_slice(b"}\n");
}

fn human(record: &Record, now: Timestamp, stamp: &mut Stamp, out: &mut Vec<u8>) {
    stamp.write(now, out);
    out.push(b' ');
    write_peer(record.peer, out);
    out.push(b' ');
    plain_text(record.head.method.as_str().as_bytes(), VALUE_MAX, out);
    out.push(b' ');
    plain_text(host(record), VALUE_MAX, out);
    plain_text(path(record), PATH_MAX, out);
    out.push(b' ');
    write_number(record.status.into(), out);
    out.push(b' ');
    out.extend_from_slice(record.decision.outcome.as_str().as_bytes());
    if let Some(fwd) = record.decision.fwd {
        out.push(b'/');
        out.extend_from_slice(fwd.as_str().as_bytes());
    }
    if let Some(detail) = record.decision.detail {
        out.push(b'/');
        plain_text(detail.as_bytes(), VALUE_MAX, out);
    }
    out.push(b' ');
    write_number(record.bytes_out, out);
    out.extend_from_slice(b"B ");
    write_ms(record.duration_ns, out);
    out.extend_from_slice(b"ms");
    if record.origin_ns > 0 {
        out.extend_from_slice(b" origin=");
        write_ms(record.origin_ns, out);
        out.extend_from_slice(b"ms");
    }
    if let Some(coding) = record.coding {
        out.push(b' ');
        plain_text(coding.as_bytes(), VALUE_MAX, out);
    }
    if record.aborted {
        out.extend_from_slice(b" aborted");
    }
    out.push(b'\n');
}

/// The authority of an absolute-form target, else Host, as the client wrote it.
fn host(record: &Record) -> &[u8] {
    let absolute = record.head.uri.authority().map(|authority| authority.as_str().as_bytes());
    absolute.or_else(|| field_of(record, &header::HOST)).unwrap_or_default()
}

fn path(record: &Record) -> &[u8] {
    record.head.uri.path_and_query().map_or(b"", |path| path.as_str().as_bytes())
}

fn field_of<'a>(record: &'a Record, name: &HeaderName) -> Option<&'a [u8]> {
    record.head.headers.get(name).map(http::HeaderValue::as_bytes)
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}

/// Cuts to `max` bytes, not within a UTF-8 character.
fn cut(text: &[u8], max: usize) -> &[u8] {
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
const fn is_plain(byte: u8) -> bool {
    byte >= 0x20 && byte < 0x7F && byte != b'"' && byte != b'\\'
}

/// Writes the inside of a JSON string. What is not UTF-8 is taken for Latin-1, so that every
/// line is valid JSON whatever a client sends.
fn json_text(text: &[u8], max: usize, out: &mut Vec<u8>) {
    let text = cut(text, max);
    // Without an early exit this compiles to vector instructions.
    if text.iter().fold(true, |plain, byte| plain & is_plain(*byte)) {
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
fn plain_text(text: &[u8], max: usize, out: &mut Vec<u8>) {
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

fn write_peer(peer: Option<IpAddr>, out: &mut Vec<u8>) {
    match peer {
        None => out.extend_from_slice(b"unix"),
        Some(IpAddr::V4(address)) => {
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                write_number(octet.into(), out);
            }
        }
        Some(IpAddr::V6(address)) => {
            // Writing into a Vec cannot fail.
            let _ = std::io::Write::write_fmt(out, format_args!("{address}"));
        }
    }
}

fn write_number(mut number: u64, out: &mut Vec<u8>) {
    let mut digits = [0_u8; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        used += 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

fn write_padded(number: u64, width: u32, out: &mut Vec<u8>) {
    for place in (0..width).rev() {
        out.push(b'0' + (number / 10_u64.pow(place) % 10) as u8);
    }
}

/// Nanoseconds as milliseconds with three places.
fn write_ms(ns: u64, out: &mut Vec<u8>) {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::semantics::decision::{Decision, Fwd, Outcome};

    fn record(uri: &str, headers: &[(&str, &[u8])]) -> Record {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Record {
            head: request.body(()).unwrap().into_parts().0,
            peer: Some("192.0.2.7".parse().unwrap()),
            status: 200,
            decision: Decision::new(Outcome::Hit),
            bytes_in: 0,
            bytes_out: 1024,
            duration_ns: 312_456,
            origin_ns: 0,
            coding: None,
            aborted: false,
        }
    }

    fn line(format: LogFormat, record: &Record) -> String {
        let mut out = Vec::new();
        let now = Timestamp::from_millis(1_795_479_252_007);
        write(format, record, now, &mut Stamp::default(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_hit_in_json() {
        let record = record("/a?b=c", &[("host", b"example.com"), ("user-agent", b"curl/8")]);
        let want = concat!(
            r#"{"time":"2026-11-24T00:14:12.007Z","method":"GET","host":"example.com","#,
            r#""path":"/a?b=c","status":200,"cache":"hit","bytes_in":0,"bytes_out":1024,"#,
            r#""duration_ms":0.312,"peer":"192.0.2.7","protocol":"HTTP/1.1","#,
            r#""user_agent":"curl/8"}"#,
            "\n"
        );
        assert_eq!(line(LogFormat::Json, &record), want);
    }

    #[test]
    fn a_miss_in_json_says_why() {
        let mut miss = record("http://Other.example/a", &[("host", b"example.com")]);
        miss.decision = Decision::forwarded(Outcome::Miss, Fwd::UriMiss).because("no-lifetime");
        miss.decision.stored = true;
        miss.decision.collapsed = true;
        miss.origin_ns = 200_000_000;
        miss.coding = Some("gzip");
        miss.aborted = true;
        miss.peer = None;
        let value: serde_json::Value = serde_json::from_str(&line(LogFormat::Json, &miss)).unwrap();
        assert_eq!(value["host"], "Other.example");
        assert_eq!(value["reason"], "uri-miss");
        assert_eq!(value["detail"], "no-lifetime");
        assert_eq!(value["stored"], true);
        assert_eq!(value["collapsed"], true);
        assert_eq!(value["origin_ms"], 200.0);
        assert_eq!(value["coding"], "gzip");
        assert_eq!(value["aborted"], true);
        assert_eq!(value["peer"], "unix");
    }

    #[test]
    fn a_hit_for_reading() {
        let record = record("/a%20b", &[("host", b"ex\xff")]);
        let want = "2026-11-24T00:14:12.007Z 192.0.2.7 GET ex\\xff/a%20b 200 hit 1024B 0.312ms\n";
        assert_eq!(line(LogFormat::Human, &record), want);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let mut out = Vec::new();
        plain_text(b"a b\x1b[2J\\\xff", 100, &mut out);
        assert_eq!(out, b"a\\x20b\\x1b[2J\\x5c\\xff");
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
    fn numbers() {
        for (number, want) in [(0, "0"), (9, "9"), (10, "10"), (u64::MAX, "18446744073709551615")] {
            let mut out = Vec::new();
            write_number(number, &mut out);
            assert_eq!(std::str::from_utf8(&out).unwrap(), want);
        }
        let mut out = Vec::new();
        write_ms(1_234_567_890, &mut out);
        assert_eq!(out, b"1234.567");
    }

    proptest! {
        /// Whatever bytes a client sends, the line is one line of valid JSON and says the same.
        #[test]
        fn any_value_gives_one_line_of_json(value in proptest::collection::vec(any::<u8>(), 0..700)) {
            let mut out = b"\"".to_vec();
            json_text(&value, VALUE_MAX, &mut out);
            out.push(b'"');
            prop_assert!(!out.contains(&b'\n'));
            let read: String = serde_json::from_slice(&out).unwrap();
            let shown = cut(&value, VALUE_MAX);
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
