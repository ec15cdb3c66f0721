//! X-Forwarded-*, Forwarded (RFC 7239) and X-Real-IP: believed of trusted peers only, and written
//! anew from what was believed, so that what is keyed is what is forwarded (DESIGN D2).

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::{FORWARDED, HeaderName, VIA};
use http::{HeaderMap, HeaderValue};

use super::super::key::Scheme;
use super::authority;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Scheme and authority that the client used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientView<'a> {
    /// The scheme.
    pub scheme: Scheme,
    /// Host and port, lower case; empty only where no host was said at all.
    pub authority: Cow<'a, str>,
}

/// What the client used: what the listener and the request's target say, or what a trusted peer
/// says of it. A peer's value that is not exactly one scheme or one authority counts as not sent;
/// Forwarded counts where X-Forwarded-* is absent. Fast where none of the three is there.
pub fn client_view<'a>(
    headers: &'a HeaderMap,
    trusted: bool,
    scheme: Scheme,
    authority: &'a str,
) -> ClientView<'a> {
    let mut view = ClientView { scheme, authority: Cow::Borrowed(authority) };
    if !trusted {
        return view;
    }
    let told = |name: HeaderName, parameter: &str| match single(headers, &name) {
        Told::Nothing => forwarded_parameter(headers, parameter),
        Told::Once(value) => Some(value),
        Told::Unclear => None,
    };
    match told(PROTO, "proto") {
        Some(proto) if proto.eq_ignore_ascii_case("http") => view.scheme = Scheme::Http,
        Some(proto) if proto.eq_ignore_ascii_case("https") => view.scheme = Scheme::Https,
        _ => {}
    }
    if let Some(valid) = told(HOST, "host").and_then(authority::parse) {
        view.authority = valid;
    }
    view
}

/// Writes the fields into a request that is forwarded. The list of a trusted peer is appended to,
/// that of any other begun anew. `peer` is `None` for a unix socket, which adds no address.
pub fn write(headers: &mut HeaderMap, peer: Option<IpAddr>, trusted: bool, view: &ClientView<'_>) {
    let client = real_ip(headers, peer, trusted);
    append_for(headers, peer, trusted);
    set(headers, REAL_IP, client.map(|ip| ip.to_string()).as_deref());
    let host = Some(&*view.authority).filter(|host| !host.is_empty());
    set(headers, HOST, host);
    headers.insert(PROTO, HeaderValue::from_static(view.scheme.as_str()));
    let mut text = match client {
        Some(IpAddr::V4(ip)) => format!("for={ip};"),
        Some(IpAddr::V6(ip)) => format!("for=\"[{ip}]\";"),
        None => String::new(),
    };
    if let Some(host) = host {
        text.push_str("host=\"");
        text.push_str(host); // an authority holds neither quotes nor backslashes
        text.push_str("\";");
    }
    text.push_str("proto=");
    text.push_str(view.scheme.as_str());
    set(headers, FORWARDED, Some(&text));
}

/// The client's address: the peer's; behind a trusted peer the last that it noted, which is who
/// spoke to it, else its own X-Real-IP.
fn real_ip(headers: &HeaderMap, peer: Option<IpAddr>, trusted: bool) -> Option<IpAddr> {
    if !trusted {
        return peer;
    }
    let noted = headers.get_all(FOR).iter().next_back().and_then(|line| line.to_str().ok());
    let last = noted.and_then(|line| line.rsplit(',').next()?.trim().parse().ok());
    let own = || headers.get(REAL_IP)?.to_str().ok()?.trim().parse().ok();
    last.or_else(own).or(peer)
}

/// Everybody for whom whoever sent these fields says that it asks: nobody, where it is no proxy.
/// `None`: it is one, and does not say, or says something that is no address.
pub fn asks_for(headers: &HeaderMap) -> Option<Vec<IpAddr>> {
    let lines = headers.get_all(FOR).iter().chain(headers.get_all(REAL_IP));
    let mut all = Vec::new();
    for line in lines {
        for member in line.to_str().ok()?.split(',') {
            all.push(member.trim().parse().ok()?);
        }
    }
    let is_proxy = headers.contains_key(VIA) || headers.contains_key(FORWARDED);
    (!all.is_empty() || !is_proxy).then_some(all)
}

fn append_for(headers: &mut HeaderMap, peer: Option<IpAddr>, trusted: bool) {
    let mut list = Vec::new();
    if trusted {
        for line in headers.get_all(FOR).iter().filter(|line| !line.is_empty()) {
            push_member(&mut list, line.as_bytes());
        }
    }
    if let Some(ip) = peer {
        push_member(&mut list, ip.to_string().as_bytes());
    }
    match HeaderValue::from_bytes(&list) {
        Ok(value) if !value.is_empty() => headers.insert(FOR, value),
        _ => headers.remove(FOR),
    };
}

fn push_member(list: &mut Vec<u8>, member: &[u8]) {
    if !list.is_empty() {
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(member);
}

fn set(headers: &mut HeaderMap, name: HeaderName, text: Option<&str>) {
    match text.map(HeaderValue::from_str) {
        Some(Ok(value)) => headers.insert(name, value),
        _ => headers.remove(name),
    };
}

enum Told<'a> {
    Nothing,
    Once(&'a str),
    Unclear,
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Told<'a> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Told::Nothing,
        (Some(line), None) => line.to_str().map_or(Told::Unclear, |text| Told::Once(text.trim())),
        (Some(_), Some(_)) => Told::Unclear,
    }
}

/// The value of a parameter that Forwarded holds exactly once, over all its elements: of several
/// it is not known which one the trusted peer vouches for.
fn forwarded_parameter<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut found = None;
    for line in headers.get_all(FORWARDED) {
        for pair in line.to_str().ok()?.split([',', ';']) {
            let Some((key, value)) = pair.split_once('=') else { continue };
            if key.trim().eq_ignore_ascii_case(name) && found.replace(value.trim()).is_some() {
                return None;
            }
        }
    }
    let value: &str = found?;
    match value.strip_prefix('"') {
        Some(inner) => inner.strip_suffix('"'),
        None => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_proxy_names_all_for_whom_it_asks() {
        for (case, lines, want) in [
            ("no proxy", &[][..], Some(&[][..])),
            ("one", &[("x-forwarded-for", "192.0.2.1")], Some(&["192.0.2.1"])),
            (
                "several, on several lines",
                &[("x-forwarded-for", "::1, 192.0.2.1"), ("x-forwarded-for", "10.0.0.1")],
                Some(&["::1", "192.0.2.1", "10.0.0.1"]),
            ),
            ("by X-Real-IP", &[("x-real-ip", "192.0.2.1")], Some(&["192.0.2.1"])),
            ("not said", &[("via", "1.1 x")], None),
            ("in another way", &[("forwarded", "for=192.0.2.1")], None),
            ("hidden", &[("x-forwarded-for", "unknown, 10.0.0.1")], None),
            ("empty", &[("x-forwarded-for", "")], None),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in lines {
                headers.append(*name, HeaderValue::from_static(value));
            }
            let want = want.map(|all| all.iter().map(|ip| ip.parse().unwrap()).collect());
            assert_eq!(asks_for(&headers), want, "{case}");
        }
    }

    #[test]
    fn what_the_client_used() {
        use Scheme::{Http, Https};
        let (proto, host) = ("x-forwarded-proto", "x-forwarded-host");
        for (case, lines, trusted, want) in [
            ("nothing said", &[][..], true, (Http, "a.org")),
            ("proto", &[(proto, "https")], true, (Https, "a.org")),
            ("proto in capitals", &[(proto, " HTTPS ")], true, (Https, "a.org")),
            ("host", &[(host, "B.org:81")], true, (Http, "b.org:81")),
            ("not trusted", &[(proto, "https"), (host, "b.org")], false, (Http, "a.org")),
            ("a list", &[(proto, "https, http"), (host, "b.org, c.org")], true, (Http, "a.org")),
            ("two lines", &[(proto, "https"), (proto, "https")], true, (Http, "a.org")),
            ("another scheme", &[(proto, "wss")], true, (Http, "a.org")),
            ("no host", &[(host, "b.org/x")], true, (Http, "a.org")),
            ("empty", &[(host, ""), (proto, "")], true, (Http, "a.org")),
            (
                "Forwarded",
                &[("forwarded", "for=1.2.3.4;proto=https;host=b.org")],
                true,
                (Https, "b.org"),
            ),
            (
                "quoted",
                &[("forwarded", "Host=\"b.org:81\" ; Proto=https")],
                true,
                (Https, "b.org:81"),
            ),
            (
                "several elements",
                &[("forwarded", "for=a;proto=https, for=b")],
                true,
                (Https, "a.org"),
            ),
            ("said twice", &[("forwarded", "proto=https, proto=https")], true, (Http, "a.org")),
            ("outranked", &[(proto, "http"), ("forwarded", "proto=https")], true, (Http, "a.org")),
            (
                "outranked by what is void",
                &[(proto, "x"), ("forwarded", "proto=https")],
                true,
                (Http, "a.org"),
            ),
        ] {
            let headers = map(lines);
            let view = client_view(&headers, trusted, Http, "a.org");
            assert_eq!((view.scheme, &*view.authority), want, "{case}: {lines:?}");
        }
    }

    #[test]
    fn what_the_origin_is_told() {
        let v4 = Some("192.0.2.1".parse().unwrap());
        let v6 = Some("2001:db8::1".parse().unwrap());
        let sent = [
            ("x-forwarded-for", "1.1.1.1, 2.2.2.2"),
            ("x-forwarded-proto", "junk"),
            ("x-real-ip", "3.3.3.3"),
            ("forwarded", "for=4.4.4.4"),
        ];
        for (case, lines, peer, trusted, list, ip, forwarded) in [
            ("first proxy", &[][..], v4, false, "192.0.2.1", "192.0.2.1", "for=192.0.2.1;"),
            ("IPv6", &[], v6, false, "2001:db8::1", "2001:db8::1", "for=\"[2001:db8::1]\";"),
            ("a lying client", &sent, v4, false, "192.0.2.1", "192.0.2.1", "for=192.0.2.1;"),
            ("trusted", &sent, v4, true, "1.1.1.1, 2.2.2.2, 192.0.2.1", "2.2.2.2", "for=2.2.2.2;"),
            ("by a socket", &sent, None, true, "1.1.1.1, 2.2.2.2", "2.2.2.2", "for=2.2.2.2;"),
            ("trusted, X-Real-IP", &sent[2..], v4, true, "192.0.2.1", "3.3.3.3", "for=3.3.3.3;"),
            ("by a socket, nothing said", &[], None, true, "", "", ""),
        ] {
            let mut headers = map(lines);
            let view = ClientView { scheme: Scheme::Https, authority: "a.org:8443".into() };
            write(&mut headers, peer, trusted, &view);
            let get = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
            assert_eq!(get("x-forwarded-for"), list, "{case}");
            assert_eq!(get("x-real-ip"), ip, "{case}");
            assert_eq!(get("x-forwarded-proto"), "https", "{case}");
            assert_eq!(get("x-forwarded-host"), "a.org:8443", "{case}");
            let want = format!("{forwarded}host=\"a.org:8443\";proto=https");
            assert_eq!(get("forwarded"), want, "{case}");
            assert_eq!(
                headers.get_all("x-forwarded-for").iter().count(),
                usize::from(!list.is_empty())
            );
        }
        let lines = map(&[("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2")]);
        let mut headers = lines;
        let view = ClientView { scheme: Scheme::Http, authority: "".into() };
        write(&mut headers, v4, true, &view);
        assert_eq!(headers.get("x-forwarded-for").unwrap(), "1.1.1.1, 2.2.2.2, 192.0.2.1");
        assert!(!headers.contains_key("x-forwarded-host"), "HTTP/1.0 without Host");
    }

    #[test]
    fn a_trusted_peer_may_say_that_there_was_no_tls() {
        for (proto, want) in
            [("http", Scheme::Http), ("HTTPS", Scheme::Https), ("x", Scheme::Https)]
        {
            let told = map(&[("x-forwarded-proto", proto)]);
            assert_eq!(client_view(&told, true, Scheme::Https, "a").scheme, want, "{proto}");
        }
    }
}
