//! What is to be fetched: read from lists, sitemaps and access logs, which are told apart by what
//! they look like.

use std::collections::HashMap;
use std::io::Read;

use clap::ValueEnum;
use flate2::read::MultiGzDecoder;
use serde_json::Value;

use super::sitemap;
use crate::cli::url::Url;

/// Larger ones are not read, unpacked or as they are.
pub(super) const MOST_BYTES: u64 = 256 << 20;

/// What a source is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// By what it looks like
    #[default]
    Auto,
    /// A URL, or a path, a line; what begins with # is left out
    Urls,
    /// A sitemap or an index of sitemaps
    Sitemap,
    /// An access log: combined, with or without the host in front, or Larder's own JSON
    Log,
}

/// What a source says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// What most requests were for first; otherwise in the source's order. None twice.
    pub(super) urls: Vec<Url>,
    /// Sitemaps that it leads to.
    pub(super) sitemaps: Vec<Url>,
    /// What could not be read as a URL, and why.
    pub(super) odd: Vec<(String, String)>,
}

/// Reads a whole source.
///
/// # Errors
/// It is too large, or not what `format` says.
pub(super) fn read(bytes: &[u8], format: Format, base: Option<&Url>) -> Result<Wanted, String> {
    let unpacked = unpack(bytes)?;
    let bytes = unpacked.as_deref().unwrap_or(bytes);
    let format = if format == Format::Auto { look(bytes) } else { format };
    let mut wanted = Wanted::default();
    if format == Format::Sitemap {
        let found = sitemap::read(bytes)?;
        wanted.sitemaps = wanted.take(found.sitemaps, base);
        wanted.urls = wanted.take(found.pages, base);
        return Ok(wanted);
    }
    let text = String::from_utf8_lossy(bytes);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let named: Vec<String> = match format {
        Format::Log => by_number(lines.filter_map(of_log_line)),
        _ => lines.filter(|line| !line.starts_with('#')).map(str::to_owned).collect(),
    };
    wanted.urls = wanted.take(named, base);
    Ok(wanted)
}

impl Wanted {
    fn take(&mut self, named: Vec<String>, base: Option<&Url>) -> Vec<Url> {
        let mut seen = std::collections::HashSet::new();
        let mut urls = Vec::new();
        for text in named {
            match Url::read(&text, base) {
                Ok(url) if seen.insert(url.clone()) => urls.push(url),
                Ok(_) => {}
                Err(why) => self.odd.push((text, why)),
            }
        }
        urls
    }
}

fn unpack(bytes: &[u8]) -> Result<Option<Vec<u8>>, String> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(None);
    }
    let mut unpacked = Vec::new();
    let mut unpacker = MultiGzDecoder::new(bytes).take(MOST_BYTES + 1);
    unpacker.read_to_end(&mut unpacked).map_err(|error| format!("no whole gzip: {error}"))?;
    if unpacked.len() as u64 > MOST_BYTES {
        return Err(format!("more than {} MiB when unpacked", MOST_BYTES >> 20));
    }
    Ok(Some(unpacked))
}

fn look(bytes: &[u8]) -> Format {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    if text.starts_with(b"<") {
        return Format::Sitemap;
    }
    let mut lines = text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with(b"#")).unwrap_or_default();
    let first = String::from_utf8_lossy(first);
    let is_log = first.starts_with('{') || request_of(&first).is_some();
    if is_log { Format::Log } else { Format::Urls }
}

/// The most frequent first, then in their order.
fn by_number(named: impl Iterator<Item = String>) -> Vec<String> {
    let mut counts: HashMap<String, (usize, usize)> = HashMap::new();
    for (at, name) in named.enumerate() {
        counts.entry(name).or_insert((0, at)).0 += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_unstable_by_key(|(_, (count, at))| (std::cmp::Reverse(*count), *at));
    counts.into_iter().map(|(name, _)| name).collect()
}

/// What a line of a log was about, if that was a GET with an answer worth having.
fn of_log_line(line: &str) -> Option<String> {
    if line.starts_with('{') {
        return of_json_line(line);
    }
    let (before, request, after) = request_of(line)?;
    let mut words = request.split(' ');
    let (method, target) = (words.next()?, words.next()?);
    let status: u16 = after.split_whitespace().next()?.parse().ok()?;
    if method != "GET" || !is_worth_having(status) {
        return None;
    }
    // `vhost_combined`: host:port in front of the client's address.
    let first = before.split_whitespace().next()?;
    let host = first.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
    match host {
        Some((host, port)) if first.parse::<std::net::IpAddr>().is_err() => Some(match port {
            "443" => format!("https://{host}{target}"),
            "80" => format!("http://{host}{target}"),
            port => format!("http://{host}:{port}{target}"),
        }),
        _ => Some(target.to_owned()),
    }
}

/// What stands before the first quoted part, if that is a request line; the line; what follows it.
fn request_of(line: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = line.split_once('"')?;
    let (request, after) = rest.split_once('"')?;
    request.rsplit_once(" HTTP/")?;
    Some((before, request, after))
}

/// A line of Larder's own log.
fn of_json_line(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let status = u16::try_from(line.get("status")?.as_u64()?).ok()?;
    if line.get("method")? != "GET" || !is_worth_having(status) {
        return None;
    }
    let path = line.get("path")?.as_str()?;
    let host = line.get("host").and_then(Value::as_str).filter(|host| !host.is_empty());
    let scheme = line.get("scheme").and_then(Value::as_str).unwrap_or("http");
    Some(match host {
        Some(host) => format!("{scheme}://{host}{path}"),
        None => path.to_owned(),
    })
}

fn is_worth_having(status: u16) -> bool {
    matches!(status, 200..=399)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn urls(text: &str, base: Option<&str>) -> Vec<String> {
        let base = base.map(|base| Url::read(base, None).unwrap());
        let wanted = read(text.as_bytes(), Format::Auto, base.as_ref()).unwrap();
        assert_eq!(wanted.odd, [], "{text}");
        wanted.urls.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn formats_are_told_apart() {
        let combined = r#"10.0.0.1 - - [25/Nov/2026:10:00:00 +0000] "GET /b HTTP/1.1" 200 5 "-" "x"
10.0.0.1 - - [25/Nov/2026:10:00:00 +0000] "GET /a HTTP/1.1" 200 5 "-" "x"
10.0.0.1 - - [25/Nov/2026:10:00:01 +0000] "GET /a HTTP/1.1" 304 0 "-" "x"
10.0.0.1 - - [25/Nov/2026:10:00:01 +0000] "POST /c HTTP/1.1" 200 5 "-" "x"
10.0.0.1 - - [25/Nov/2026:10:00:01 +0000] "GET /d HTTP/1.1" 404 5 "-" "x"
10.0.0.1 - - [25/Nov/2026:10:00:01 +0000] "\x16\x03" 400 5 "-" "-"
"#;
        assert_eq!(urls(combined, Some("http://a.org")), ["http://a.org/a", "http://a.org/b"]);
        let with_hosts = r#"a.org:443 ::1 - - [x] "GET /a HTTP/2.0" 200 5
b.org:8080 ::1 - - [x] "GET /b?c HTTP/1.1" 200 5"#;
        assert_eq!(urls(with_hosts, None), ["https://a.org/a", "http://b.org:8080/b?c"]);
        let ours = r#"{"time":"x","method":"GET","host":"a.org","path":"/a?b","status":200}
{"time":"x","method":"HEAD","host":"a.org","path":"/b","status":200}"#;
        assert_eq!(urls(ours, None), ["http://a.org/a?b"]);
        let list = "# pages\nhttp://a.org/x\n\n/y\nhttp://a.org/x\n";
        assert_eq!(urls(list, Some("http://b.org")), ["http://a.org/x", "http://b.org/y"]);
        let map = "\u{feff} <urlset><url><loc>http://a.org/m</loc></url></urlset>";
        assert_eq!(urls(map, None), ["http://a.org/m"]);
        assert_eq!(urls("", None), [""; 0]);
    }

    #[test]
    fn gzip_is_unpacked_and_what_is_no_url_is_told() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(b"http://a.org/x\nexample.org\n").unwrap();
        let packed = packer.finish().unwrap();
        let wanted = read(&packed, Format::Auto, None).unwrap();
        assert_eq!(wanted.urls.len(), 1);
        assert_eq!(wanted.odd[0].0, "example.org");
        assert!(read(&packed[..10], Format::Auto, None).is_err());
    }
}
