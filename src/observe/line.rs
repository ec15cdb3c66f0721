//! One access line: what was noted of the request, and what became of it.

use crate::config::snapshot::LogFormat;
use crate::observe::record::Record;
use crate::observe::write::{Stamp, json_text, plain_text, write_ms, write_number};

/// What of a word of ours is written at most, in bytes: all of it.
const WORD_MAX: usize = 512;

/// Appends one line for `record`, its line end included.
pub(crate) fn write(format: LogFormat, record: &Record, stamp: &mut Stamp, out: &mut Vec<u8>) {
    match format {
        LogFormat::Json => json(record, stamp, out),
        LogFormat::Human => human(record, stamp, out),
    }
}

fn json(record: &Record, stamp: &mut Stamp, out: &mut Vec<u8>) {
    let decision = &record.decision;
    out.extend_from_slice(b"{\"time\":\"");
    stamp.write(record.ended, out);
    out.push(b'"');
    out.extend_from_slice(record.noted.first());
    out.extend_from_slice(b",\"status\":");
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
        json_text(detail.as_bytes(), WORD_MAX, out);
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
    out.extend_from_slice(record.noted.second());
    if let Some(coding) = record.coding {
        out.extend_from_slice(b",\"coding\":\"");
        json_text(coding.as_bytes(), WORD_MAX, out);
        out.push(b'"');
    }
    if record.aborted {
        out.extend_from_slice(b",\"aborted\":true");
    }
    out.extend_from_slice(b"}\n");
}

fn human(record: &Record, stamp: &mut Stamp, out: &mut Vec<u8>) {
    stamp.write(record.ended, out);
    out.push(b' ');
    out.extend_from_slice(record.noted.first());
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
        plain_text(detail.as_bytes(), WORD_MAX, out);
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
        plain_text(coding.as_bytes(), WORD_MAX, out);
    }
    if record.aborted {
        out.extend_from_slice(b" aborted");
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use http::Method;

    use super::*;
    use crate::observe::noted::Noted;
    use crate::semantics::decision::{Decision, Fwd, Outcome};
    use crate::semantics::time::Timestamp;

    const PEER: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)));

    fn record(
        format: LogFormat,
        peer: Option<IpAddr>,
        uri: &str,
        headers: &[(&str, &[u8])],
    ) -> Record {
        let mut request = http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let head = request.body(()).unwrap().into_parts().0;
        Record {
            status: 200,
            decision: Decision::new(Outcome::Hit),
            bytes_out: 1024,
            ended: Timestamp::from_millis(1_795_479_252_007),
            duration_ns: 312_456,
            ..Record::new(Noted::of(format, &head, peer), Method::GET)
        }
    }

    fn line(format: LogFormat, record: &Record) -> String {
        let mut out = Vec::new();
        write(format, record, &mut Stamp::default(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_hit_in_json() {
        let record = record(
            LogFormat::Json,
            PEER,
            "/a?b=c",
            &[("host", b"example.com"), ("user-agent", b"curl/8")],
        );
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
        let mut miss =
            record(LogFormat::Json, None, "http://Other.example/a", &[("host", b"example.com")]);
        miss.decision = Decision::forwarded(Outcome::Miss, Fwd::UriMiss).because("no-lifetime");
        miss.decision.stored = true;
        miss.decision.collapsed = true;
        miss.origin_ns = 200_000_000;
        miss.coding = Some("gzip");
        miss.aborted = true;
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
        let record = record(LogFormat::Human, PEER, "/a%20b", &[("host", b"ex\xff")]);
        let want = "2026-11-24T00:14:12.007Z 192.0.2.7 GET ex\\xff/a%20b 200 hit 1024B 0.312ms\n";
        assert_eq!(line(LogFormat::Human, &record), want);
    }
}
