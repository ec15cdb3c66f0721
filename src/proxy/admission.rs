//! Is this a request that Larder takes up, where does it go, and under which key is its answer?

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{RANGE, UPGRADE};
use http::{HeaderValue, Method, Version, request};
use tokio::sync::Notify;

use crate::proxy::conn::Conn;
use crate::proxy::error::ProxyError;
use crate::proxy::route;
use crate::proxy::worker::{View, Worker};
use crate::semantics::headers::{self, Seen};
use crate::semantics::key::{self, Scheme};
use crate::semantics::range::Ranges;
use crate::semantics::request::{self as http_request, Asked};
use crate::semantics::unkeyed;

/// What was found out about a request that is taken up: see [`super::ask::Ask`].
pub struct Admitted {
    pub(super) asked: Asked,
    pub(super) upgrade: Option<HeaderValue>,
    pub(super) scheme: Scheme,
    pub(super) authority: Option<String>,
    pub(super) said_authority: Option<String>,
    pub(super) dropped: bool,
    pub(super) expects: Option<Arc<Notify>>,
    /// The view of the rule that it meets.
    pub(super) routed: Option<Arc<View>>,
    pub(super) past_cache: Option<&'static str>,
}

/// Takes up the request with this head: strips what goes no further, and writes its primary key
/// behind what `key` holds.
///
/// # Errors
/// It is malformed, a loop, or asks for what Larder never does.
pub fn admit(
    worker: &Worker,
    view: &View,
    conn: &Conn,
    head: &mut request::Parts,
    has_body: bool,
    key: &mut Vec<u8>,
) -> Result<Admitted, ProxyError> {
    if let Some(fault) = conn.next_request() {
        return Err(fault.into());
    }
    let seen = Seen::of(&head.headers);
    let mut upgrade = None;
    if seen.hop_by_hop {
        upgrade = asked_upgrade(head).filter(|_| !has_body);
        headers::strip_hop_by_hop(&mut head.headers); // leaves the other kinds as they are
    }
    let expects = (has_body && http_request::expects_continue(&head.headers, head.version))
        .then(Arc::default);
    // Before anything is judged by them: what is keyed must be what is forwarded.
    let dropped = upgrade.is_none()
        && unkeyed::concerns(&head.method)
        && view.unkeyed.drop_from(&mut head.headers);
    let checked = check(worker, view, conn, head, seen, key);
    if let Err(ProxyError::BadRequest { .. }) = checked {
        worker.house.metrics.server.malformed.inc(); // faults are counted already
    }
    let Addressed { scheme, authority, said_authority, routed, target } = checked?;
    let rule = routed.as_ref().and_then(|view| Some((view, view.rule.as_ref()?)));
    if let Some((_, rule)) = rule {
        route::prepare(rule, target, head)?;
    }
    let mut asked = Asked::of(&head.method, &head.headers, has_body);
    if asked.has_range {
        asked.has_range = tidy_range(head);
    }
    let past_cache = rule.and_then(|(view, rule)| route::finish(rule, view, head, &mut asked));
    Ok(Admitted {
        asked,
        upgrade,
        scheme,
        authority,
        said_authority,
        dropped,
        expects,
        routed,
        past_cache,
    })
}

/// Makes ranges that overlap one, and drops a Range that is not understood: neither is the origin's
/// burden (RFC 9110 §14.2). What other methods than reads mean by it is theirs. True: one is left.
fn tidy_range(head: &mut request::Parts) -> bool {
    let is_read = [Method::GET, Method::QUERY].contains(&head.method);
    let fewer = match Ranges::of(&head.headers) {
        Some(ranges) if ranges.is_single() => return true,
        Some(ranges) => ranges.coalesced(),
        None if is_read => None,
        None => return true,
    };
    match fewer {
        Some(fewer) => drop(head.headers.insert(RANGE, fewer)),
        None => drop(head.headers.remove(RANGE)),
    }
    head.headers.contains_key(RANGE)
}

/// Where a request goes, and as what the client addressed it.
struct Addressed {
    scheme: Scheme,
    authority: Option<String>,
    said_authority: Option<String>,
    /// The view of the rule that it meets.
    routed: Option<Arc<View>>,
    /// The target that is forwarded, where the rule makes it another one.
    target: Option<String>,
}

fn check(
    worker: &Worker,
    view: &View,
    conn: &Conn,
    head: &request::Parts,
    seen: Seen,
    key: &mut Vec<u8>,
) -> Result<Addressed, ProxyError> {
    let target = http_request::target(&head.method, &head.uri, &head.headers, head.version)?;
    if seen.via && worker.house.via.is_loop(&head.headers) {
        return Err(ProxyError::Loop);
    }
    let told = seen.forwarded && trusts(view, conn);
    let used = headers::client_view(&head.headers, told, Scheme::Http, &target.authority);
    let routed = view.rules.as_ref().and_then(|rules| {
        let (authority, target) = (&used.authority, &target.path_and_query);
        rules.choose(used.scheme, authority, target, &head.method, &head.headers)
    });
    let rule = routed.and_then(|view| view.rule.as_ref());
    let (keyed, sent) =
        rule.map_or((None, None), |rule| route::targets(rule, &target.path_and_query));
    let forwarded = match &routed.map_or(view, |view| view).snapshot.upstream.host {
        Some(_) => None, // the same for every request
        None => Some(&*target.authority),
    };
    let path_and_query = keyed.as_deref().unwrap_or(&target.path_and_query);
    key::primary(used.scheme, &used.authority, path_and_query, forwarded, key);
    if let Some(rule) = rule {
        route::add_to_key(rule, &head.headers, key);
    }
    // The scheme's own port is not keyed, so neither is it forwarded.
    let plain = |authority| key::without_default_port(used.scheme, authority);
    let (said, authority) = (plain(&used.authority), plain(&target.authority));
    let as_host_says = http_request::host_is(&head.headers, authority);
    Ok(Addressed {
        scheme: used.scheme,
        authority: (!as_host_says).then(|| authority.to_owned()),
        said_authority: (said != authority).then(|| said.to_owned()),
        routed: routed.cloned(),
        target: sent,
    })
}

/// What this client says of who asks counts.
pub fn trusts(view: &View, conn: &Conn) -> bool {
    let by_address =
        |peer: IpAddr| view.snapshot.trusted_proxies.iter().any(|network| network.contains(&peer));
    conn.unix || conn.peer.is_some_and(by_address)
}

/// The protocols that a request asks to be upgraded to; to be asked before stripping. h2c is
/// none: what would be behind it could not be looked at. HTTP/1.0 knows no upgrade (RFC 9110 §7.8).
fn asked_upgrade(head: &request::Parts) -> Option<HeaderValue> {
    let fields = &head.headers;
    if head.version != Version::HTTP_11
        || !fields.contains_key(UPGRADE)
        || !headers::hop_by_hop::connection_has(fields, "upgrade")
    {
        return None;
    }
    let lines = fields.get_all(UPGRADE).iter().filter_map(|line| line.to_str().ok());
    let protocols: Vec<&str> = lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|protocol| !protocol.is_empty() && !protocol.eq_ignore_ascii_case("h2c"))
        .collect();
    HeaderValue::from_str(&protocols.join(", ")).ok().filter(|protocols| !protocols.is_empty())
}
