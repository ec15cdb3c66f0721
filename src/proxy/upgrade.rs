//! Tunnels: an upgrade that the client asked for and the origin granted (RFC 9110 §7.8).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Response, StatusCode};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::clock;
use crate::proxy::ask::Ask;
use crate::proxy::body::Source;
use crate::proxy::error::ProxyError;
use crate::proxy::fill::Private;
use crate::proxy::forward;
use crate::proxy::interim::{self, Relay};
use crate::proxy::respond::{self, Answer};
use crate::proxy::worker::Worker;
use crate::semantics::decision::{Decision, Fwd, Outcome};
use crate::upstream::{RequestBody, UpstreamError};

type Origin = Pin<Box<dyn Future<Output = Result<Upgraded, UpstreamError>> + Send>>;

/// Larder's own answer to OPTIONS with Max-Forwards: 0 (RFC 9110 §7.6.2).
pub fn options() -> Answer {
    let mut response = Response::new(Source::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    Answer { response, decision: Decision::new(Outcome::Pass), origin_ns: 0, coding: None }
}

/// Forwards a request for an upgrade. Bytes flow only after the 101 that was asked for.
///
/// # Errors
/// Where the origin gave no answer.
pub async fn tunnel(worker: &Arc<Worker>, ask: &mut Ask) -> Result<Answer, ProxyError> {
    let decision = Decision::forwarded(Outcome::Pass, Fwd::Bypass).because("upgrade");
    let mut fields = forward::fields(ask, &worker.house.via);
    if let Some(protocol) = ask.upgrade.clone() {
        fields.insert(UPGRADE, protocol);
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    let mut request = forward::request(ask, ask.head.method.clone(), fields, RequestBody::Empty);
    if let Some(relay) = Relay::open(worker, ask).await {
        relay.attach(&mut request);
    }
    let asked_at = clock::now();
    let began = clock::monotonic_ns();
    let sent = worker.pool.send(&ask.view.snapshot.upstream, request).await;
    let origin_ns = clock::monotonic_ns().saturating_sub(began);
    interim::written(&ask.conn).await;
    let mut upstream = sent.map_err(|error| ProxyError::from(&error))?;
    if upstream.status() != StatusCode::SWITCHING_PROTOCOLS {
        ask.conn.decide_upgrade(false);
        let private =
            Private { response: upstream, asked_at, origin_ns, reason: "upgrade-refused" };
        return Ok(respond::from_origin(ask, private, decision));
    }
    let granted = upstream.headers().get(UPGRADE).cloned();
    if !was_asked(ask.upgrade.as_ref(), granted.as_ref()) {
        return Err(ProxyError::Upstream {
            status: 502,
            reason: "the origin switches to a protocol that was not asked for",
            proxy_error: "http_protocol_error",
            unreachable: false,
        });
    }
    let origin_side = crate::upstream::upgrade(&mut upstream);
    if let Some(client_side) = ask.head.extensions.remove::<OnUpgrade>() {
        let idle = ask.view.snapshot.limits.tunnel_timeout;
        tokio::spawn(carry(client_side, Box::pin(origin_side), idle));
    }
    ask.conn.decide_upgrade(true);
    let mut answer = respond::from_origin(
        ask,
        Private { response: upstream, asked_at, origin_ns, reason: "upgrade" },
        decision,
    );
    *answer.response.body_mut() = Source::Empty;
    let fields = answer.response.headers_mut();
    fields.remove(http::header::CONTENT_LENGTH);
    if let Some(protocol) = granted {
        fields.insert(UPGRADE, protocol);
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    Ok(answer)
}

/// The protocol that the origin switches to is one of those asked for.
fn was_asked(asked: Option<&HeaderValue>, granted: Option<&HeaderValue>) -> bool {
    let (Some(asked), Some(granted)) = (asked, granted) else { return false };
    let granted = granted.as_bytes().trim_ascii();
    asked.as_bytes().split(|b| *b == b',').any(|one| one.trim_ascii().eq_ignore_ascii_case(granted))
}

/// Carries bytes both ways until one side ends, or both have been silent for `idle`.
async fn carry(client: OnUpgrade, origin: Origin, idle: Duration) {
    let (Ok(client), Ok(origin)) = tokio::join!(client, origin) else { return };
    let moved = AtomicU64::new(clock::monotonic_ms());
    let (client_read, client_write) = tokio::io::split(TokioIo::new(client));
    let (origin_read, origin_write) = tokio::io::split(TokioIo::new(origin));
    let both = async {
        tokio::join!(
            copy(client_read, origin_write, &moved),
            copy(origin_read, client_write, &moved),
        )
    };
    tokio::select! {
        _ = both => {}
        () = silence(&moved, idle) => {}
    }
}

/// Ends once nothing has moved for `idle`.
async fn silence(moved: &AtomicU64, idle: Duration) {
    loop {
        let since = clock::monotonic_ms().saturating_sub(moved.load(Ordering::Relaxed));
        let Some(left) = idle.checked_sub(Duration::from_millis(since)) else { return };
        tokio::time::sleep(left.max(Duration::from_millis(10))).await;
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &AtomicU64,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        if to.write_all(bytes).await.is_err() || to.flush().await.is_err() {
            break;
        }
        moved.store(clock::monotonic_ms(), Ordering::Relaxed);
    }
    let _ = to.shutdown().await;
}
