//! What an access line says of the request itself. Written when the request is taken up, not when
//! its answer has gone: a head's values are slices of the connection's read buffer, and as long as
//! one of them lives hyper needs another buffer for the next request.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, Version, header, request};

use crate::config::snapshot::LogFormat;
use crate::observe::write::{json_text, plain_text, write_peer};

/// What of a path or a header value is written at most, in bytes: hostile requests make no
/// lines of 64 KiB.
const PATH_MAX: usize = 4096;
const VALUE_MAX: usize = 512;

/// The parts of a line that are known from the beginning, as the line's format writes them; empty
/// where there is no access log.
#[derive(Debug, Default)]
pub struct Noted {
    text: Vec<u8>,
    /// Where the second part begins.
    second: usize,
}

impl Noted {
    /// What there is to say of the request with this head.
    pub(super) fn of(format: LogFormat, head: &request::Parts, peer: Option<IpAddr>) -> Self {
        let fields = Fields::of(&head.headers);
        // The authority of an absolute-form target, else Host, as the client wrote it.
        let absolute = head.uri.authority().map(|authority| authority.as_str().as_bytes());
        let host = absolute.or(bytes(fields.host)).unwrap_or_default();
        let path = head.uri.path_and_query().map_or(&b""[..], |path| path.as_str().as_bytes());
        let room = 160 + host.len() + path.len() + fields.len();
        let mut noted = Self { text: Vec::with_capacity(room.min(PATH_MAX)), second: 0 };
        match format {
            LogFormat::Json => noted.json(head, peer, host, path, &fields),
            LogFormat::Human => noted.human(head, peer, host, path),
        }
        noted
    }

    /// Goes behind the time.
    pub(super) fn first(&self) -> &[u8] {
        self.text.get(..self.second).unwrap_or_default()
    }

    /// Goes behind the figures.
    pub(super) fn second(&self) -> &[u8] {
        self.text.get(self.second..).unwrap_or_default()
    }

    fn json(
        &mut self,
        head: &request::Parts,
        peer: Option<IpAddr>,
        host: &[u8],
        path: &[u8],
        fields: &Fields<'_>,
    ) {
        let out = &mut self.text;
        out.extend_from_slice(b",\"method\":\"");
        json_text(head.method.as_str().as_bytes(), VALUE_MAX, out);
        out.extend_from_slice(b"\",\"host\":\"");
        json_text(host, VALUE_MAX, out);
        out.extend_from_slice(b"\",\"path\":\"");
        json_text(path, PATH_MAX, out);
        out.push(b'"');
        self.second = out.len();
        out.extend_from_slice(b",\"peer\":\"");
        write_peer(peer, out);
        out.extend_from_slice(b"\",\"protocol\":\"");
        out.extend_from_slice(protocol(head.version).as_bytes());
        out.push(b'"');
        for (key, value) in [
            (&b",\"user_agent\":\""[..], fields.user_agent),
            (&b",\"referer\":\""[..], fields.referer),
        ] {
            if let Some(value) = bytes(value) {
                out.extend_from_slice(key);
                json_text(value, VALUE_MAX, out);
                out.push(b'"');
            }
        }
    }

    fn human(&mut self, head: &request::Parts, peer: Option<IpAddr>, host: &[u8], path: &[u8]) {
        let out = &mut self.text;
        write_peer(peer, out);
        out.push(b' ');
        plain_text(head.method.as_str().as_bytes(), VALUE_MAX, out);
        out.push(b' ');
        plain_text(host, VALUE_MAX, out);
        plain_text(path, PATH_MAX, out);
        self.second = out.len();
    }
}

/// The header fields that a line shows, each as it stands first.
#[derive(Default)]
struct Fields<'a> {
    host: Option<&'a HeaderValue>,
    user_agent: Option<&'a HeaderValue>,
    referer: Option<&'a HeaderValue>,
}

impl<'a> Fields<'a> {
    /// In one walk, which costs less than three lookups.
    fn of(headers: &'a HeaderMap) -> Self {
        let mut fields = Self::default();
        for (name, value) in headers {
            let place = match *name {
                header::HOST => &mut fields.host,
                header::USER_AGENT => &mut fields.user_agent,
                header::REFERER => &mut fields.referer,
                _ => continue,
            };
            place.get_or_insert(value);
        }
        fields
    }

    fn len(&self) -> usize {
        [self.user_agent, self.referer].into_iter().flatten().map(HeaderValue::len).sum()
    }
}

fn bytes(value: Option<&HeaderValue>) -> Option<&[u8]> {
    value.map(HeaderValue::as_bytes)
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    }
}
