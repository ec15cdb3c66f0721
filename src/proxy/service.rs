//! The pipeline: the only place that knows the order of things.

use std::sync::Arc;

use http::header::UPGRADE;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Version, request};
use hyper::body::Body as _;
use hyper::body::Incoming;

use crate::cache::tiers::{Found, Lookup};
use crate::clock;
use crate::observe::record::Record;
use crate::proxy::ask::Ask;
use crate::proxy::body::{Body, Source, Tally};
use crate::proxy::conn::Conn;
use crate::proxy::error::ProxyError;
use crate::proxy::fetch::{self, Wanted};
use crate::proxy::forward::{self, Upload};
use crate::proxy::respond::{self, Answer};
use crate::proxy::worker::{View, Worker};
use crate::proxy::{coding, upgrade};
use crate::semantics::decision::{Decision, Fwd, Outcome};
use crate::semantics::headers::Pseudonym;
use crate::semantics::key::{self, Scheme};
use crate::semantics::request::{self as http_request, Asked, MaxForwards, max_forwards};
use crate::semantics::reuse::{self, Reuse};
use crate::semantics::time::Timestamp;
use crate::semantics::{cache_status, headers, invalidation, unkeyed};
use crate::upstream::RequestBody;

static CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Answers one request.
pub async fn call(
    worker: &Arc<Worker>,
    conn: &Arc<Conn>,
    request: Request<Incoming>,
) -> Response<Body> {
    let began_ns = clock::monotonic_ns();
    let (head, incoming) = request.into_parts();
    let mut walk = Walk { worker, began_ns, key: Vec::with_capacity(128) };
    match walk.admit(conn, head, !incoming.is_end_stream()) {
        Ok(mut ask) => {
            let answer = match walk.answer(&mut ask, incoming).await {
                Ok(answer) => answer,
                Err(error) => refuse(error),
            };
            walk.send(answer, ask)
        }
        Err(refused) => {
            let (error, head) = *refused;
            walk.send_refusal(error, head, conn)
        }
    }
}

struct Walk<'a> {
    worker: &'a Arc<Worker>,
    began_ns: u64,
    /// The primary key, built in place: a hit allocates it once and keeps nothing of it.
    key: Vec<u8>,
}

impl Walk<'_> {
    /// Is this a request that Larder takes up?
    fn admit(
        &mut self,
        conn: &Arc<Conn>,
        mut head: request::Parts,
        has_body: bool,
    ) -> Result<Ask, Box<(ProxyError, request::Parts)>> {
        if let Some(fault) = conn.next_request() {
            return Err(Box::new((fault.into(), head)));
        }
        let view = self.worker.view();
        let upgrade = asked_upgrade(&head.headers);
        headers::strip_hop_by_hop(&mut head.headers);
        // Before anything is judged by them: what is keyed must be what is forwarded.
        let dropped = upgrade.is_none()
            && unkeyed::concerns(&head.method)
            && view.unkeyed.drop_from(&mut head.headers);
        match self.check(&view, conn, &head) {
            Ok(Addressed { authority, scheme, said_authority, trusted }) => Ok(Ask {
                asked: Asked::of(&head.method, &head.headers, has_body),
                view,
                conn: conn.clone(),
                head,
                upgrade,
                authority,
                scheme,
                said_authority,
                trusted,
                dropped,
                received: None,
            }),
            Err(error) => {
                if matches!(error, ProxyError::BadRequest { .. }) {
                    self.worker.house.metrics.server.malformed.inc(); // faults are counted already
                }
                Err(Box::new((error, head)))
            }
        }
    }

    /// Checks where the request goes, and writes the key of what it asks for.
    fn check(
        &mut self,
        view: &View,
        conn: &Conn,
        head: &request::Parts,
    ) -> Result<Addressed, ProxyError> {
        let target = http_request::target(&head.method, &head.uri, &head.headers, head.version)?;
        if self.worker.house.via.is_loop(&head.headers) {
            return Err(ProxyError::Loop);
        }
        let trusted = conn.unix || conn.peer.is_some_and(|peer| trusts(view, peer));
        let used = headers::client_view(&head.headers, trusted, Scheme::Http, &target.authority);
        let forwarded = match &view.snapshot.upstream.host {
            Some(_) => None, // the same for every request
            None => Some(&*target.authority),
        };
        key::primary(
            used.scheme,
            &used.authority,
            &target.path_and_query,
            forwarded,
            &mut self.key,
        );
        // The scheme's own port is not keyed, so neither is it forwarded.
        let plain = |authority| key::without_default_port(used.scheme, authority);
        let (scheme, said) = (used.scheme, plain(&used.authority));
        let authority = plain(&target.authority).to_owned();
        let said_authority = (said != authority).then(|| said.to_owned());
        Ok(Addressed { authority, scheme, said_authority, trusted })
    }

    /// The way of a valid request. Branches stand here, work in the leaves. What a hit does not
    /// need is boxed: hyper moves the whole future for every request.
    async fn answer(&mut self, ask: &mut Ask, incoming: Incoming) -> Result<Answer, ProxyError> {
        if max_forwards(&ask.head.method, &ask.head.headers) == MaxForwards::AnswerHere {
            return Ok(upgrade::options());
        }
        if ask.upgrade.is_some() {
            return Box::pin(upgrade::tunnel(self.worker, ask)).await;
        }
        // If-Match and If-Unmodified-Since are the origin's to judge (RFC 9111 §4.3.2).
        if !ask.asked.is_read() || ask.asked.has_body || ask.asked.has_if_match {
            return Box::pin(self.pass(ask, incoming)).await;
        }
        let tiers = &self.worker.house.tiers;
        let lookup = match tiers.peek(&self.key, &ask.head.headers) {
            Some(found) => Lookup::Found(found),
            None => {
                let languages = ask.view.snapshot.cache.vary_language;
                Box::pin(tiers.lookup(&self.key, &ask.head.headers, languages)).await
            }
        };
        let took = clock::monotonic_ns().saturating_sub(self.began_ns);
        self.worker.house.metrics.lookup(self.worker.id, took);
        let now = clock::now();
        let (found, fwd, detail) = match lookup {
            Lookup::Missing { variants } => {
                let fwd = if variants.is_some() { Fwd::VaryMiss } else { Fwd::UriMiss };
                if ask.asked.only_if_cached(&ask.view.policy) {
                    return Err(ProxyError::NotCached);
                }
                return Ok(self.fetch(ask, Wanted::missing(fwd, variants)).await);
            }
            Lookup::Found(found) => {
                let (stored, policy) = (&found.entry.stored, &ask.view.policy);
                let forced = found.entry.last_forced();
                match reuse::reuse(stored, &ask.asked, policy, found.stale, forced, now) {
                    Reuse::Fresh => {
                        return Ok(self
                            .stored(ask, &found, Decision::new(Outcome::Hit), now)
                            .await);
                    }
                    Reuse::StaleAllowed => {
                        let decision = Decision::new(Outcome::Stale).because("max-stale");
                        return Ok(self.stored(ask, &found, decision, now).await);
                    }
                    Reuse::WhileRevalidate => {
                        fetch::in_background(self.worker, ask, &self.key, &found);
                        let decision =
                            Decision::new(Outcome::Stale).because("stale-while-revalidate");
                        return Ok(self.stored(ask, &found, decision, now).await);
                    }
                    Reuse::OnlyIfCached504 => return Err(ProxyError::NotCached),
                    Reuse::Validate(fwd, detail) => (found, fwd, detail),
                }
            }
        };
        if fwd == Fwd::Request {
            found.entry.set_forced(now);
        }
        Ok(self.fetch(ask, Wanted::validated(fwd, detail, found)).await)
    }

    /// Answers from the store.
    async fn stored(&self, ask: &Ask, found: &Found, decision: Decision, now: Timestamp) -> Answer {
        let tiers = &self.worker.house.tiers;
        let coded;
        let mut entry = &found.entry;
        if entry.gzip.is_none() && coding::is_wanted(ask, entry) {
            coded = Box::pin(coding::add_gzip(self.worker, ask, &self.key, found)).await;
            entry = &coded;
        }
        respond::from_entry(ask, tiers, entry, decision, now)
    }

    async fn fetch(&self, ask: &Ask, wanted: Wanted) -> Answer {
        let fwd = wanted.fwd();
        let fetched = Box::pin(fetch::fetch(self.worker, ask, &self.key, wanted)).await;
        let mut answer = fetched.unwrap_or_else(|error| forwarded_in_vain(error, fwd));
        if ask.dropped {
            answer.decision.detail.get_or_insert("unkeyed-dropped");
        }
        answer
    }

    /// Past the cache: other methods, and requests with a body. What an unsafe method changed is
    /// invalidated (RFC 9111 §4.4).
    async fn pass(&mut self, ask: &mut Ask, incoming: Incoming) -> Result<Answer, ProxyError> {
        let limit = ask.view.snapshot.limits.body_size;
        if limit > 0 && incoming.size_hint().lower() > limit {
            ask.conn.close_after_answer();
            return Err(ProxyError::TooLarge);
        }
        let mut too_large = None;
        let body = if ask.asked.has_body {
            let upload = Upload::new(incoming, limit);
            ask.received = Some(upload.received());
            too_large = Some(upload.too_large());
            RequestBody::stream(upload)
        } else {
            RequestBody::Empty
        };
        let (fwd, reason) = if ask.asked.is_read() {
            (Fwd::Bypass, if ask.asked.has_body { "request-body" } else { "precondition" })
        } else {
            (Fwd::Method, "method")
        };
        let passed = forward::pass(self.worker, ask, body, too_large.as_deref(), reason).await;
        let private = match passed {
            Ok(private) => private,
            Err(error) => return Ok(forwarded_in_vain(error, fwd)),
        };
        if !ask.asked.is_safe() {
            self.invalidate(ask, private.response.status().as_u16(), private.response.headers());
        }
        if ask.head.method == Method::POST {
            let answered = fetch::answer_post(self.worker, ask, &self.key, private).await;
            return Ok(answered.unwrap_or_else(|error| forwarded_in_vain(error, fwd)));
        }
        let decision = Decision::forwarded(Outcome::Pass, fwd);
        Ok(respond::from_origin(ask, private, decision))
    }

    fn invalidate(&self, ask: &Ask, status: u16, fields: &HeaderMap) {
        let tiers = &self.worker.house.tiers;
        for url in invalidation::invalidated(&ask.head.method, status, &self.key, fields) {
            if tiers.may_hold(&url) {
                tiers.invalidate(&url);
            }
        }
    }

    /// What every answer gets, and the record that is made when it has been sent.
    fn send(&self, answer: Answer, ask: Ask) -> Response<Body> {
        let Answer { response, decision, origin_ns, coding } = answer;
        let debug = ask.view.snapshot.debug_headers && !self.key.is_empty();
        let key = debug.then(|| key::url_part(&self.key));
        let tally = Tally {
            worker: self.worker.clone(),
            began_ns: self.began_ns,
            received: ask.received,
            record: record(ask.head, &ask.conn, decision, origin_ns, coding),
        };
        finish(response, &decision, key, &self.worker.house.via, tally)
    }

    fn send_refusal(
        &self,
        error: ProxyError,
        head: request::Parts,
        conn: &Arc<Conn>,
    ) -> Response<Body> {
        if matches!(error, ProxyError::BadRequest { .. }) {
            conn.close_after_answer();
        }
        let Answer { response, decision, origin_ns, coding } = refuse(error);
        let tally = Tally {
            worker: self.worker.clone(),
            began_ns: self.began_ns,
            received: None,
            record: record(head, conn, decision, origin_ns, coding),
        };
        finish(response, &decision, None, &self.worker.house.via, tally)
    }
}

/// Where a request goes, and as what the client addressed it.
struct Addressed {
    authority: String,
    scheme: Scheme,
    said_authority: Option<String>,
    trusted: bool,
}

/// The protocols that a request asks to be upgraded to; to be asked before stripping. h2c is
/// none: what would be behind it could not be looked at.
fn asked_upgrade(fields: &HeaderMap) -> Option<HeaderValue> {
    if !fields.contains_key(UPGRADE) || !headers::hop_by_hop::connection_has(fields, "upgrade") {
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

fn trusts(view: &View, peer: std::net::IpAddr) -> bool {
    view.snapshot.trusted_proxies.iter().any(|network| network.contains(&peer))
}

/// Larder's own answer to what it cannot forward.
fn refuse(error: ProxyError) -> Answer {
    let decision = Decision::new(Outcome::Error).because(error.detail());
    Answer { response: error.response().map(Source::Full), decision, origin_ns: 0, coding: None }
}

/// The same where the origin was asked and gave nothing to send.
fn forwarded_in_vain(error: ProxyError, fwd: Fwd) -> Answer {
    let mut answer = refuse(error);
    answer.decision.fwd = Some(fwd);
    answer
}

fn record(
    head: request::Parts,
    conn: &Conn,
    decision: Decision,
    origin_ns: u64,
    coding: Option<&'static str>,
) -> Record {
    Record {
        head,
        peer: conn.peer,
        status: 0,
        decision,
        bytes_in: 0,
        bytes_out: 0,
        duration_ns: 0,
        origin_ns,
        coding,
        aborted: false,
    }
}

fn finish(
    mut response: Response<Source>,
    decision: &Decision,
    key: Option<&[u8]>,
    via: &Pseudonym,
    mut tally: Tally,
) -> Response<Body> {
    tally.record.status = response.status().as_u16();
    let is_head = tally.record.head.method == Method::HEAD;
    let fields = response.headers_mut();
    fields.append(CACHE_STATUS.clone(), cache_status::value(decision, key));
    via.append(fields, Version::HTTP_11);
    response.map(|source| {
        let source = if is_head { Source::Empty } else { source };
        Body::new(source, Box::new(tally))
    })
}
