//! The pipeline: the only place that knows the order of things.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use http::{HeaderMap, HeaderName, Method, Request, Response, Version};
use hyper::body::Body as _;
use hyper::body::Incoming;

use crate::cache::entry::StoredBody;
use crate::cache::tiers::{Found, Lookup, Tiers};
use crate::clock::Moment;
use crate::proxy::ask::Ask;
use crate::proxy::body::{Body, Source, Tally};
use crate::proxy::conn::Conn;
use crate::proxy::error::ProxyError;
use crate::proxy::fetch::{self, Wanted};
use crate::proxy::forward::{self, Upload};
use crate::proxy::query::{self, Content};
use crate::proxy::recode::Joined;
use crate::proxy::reply::Reply;
use crate::proxy::respond::{self, Answer};
use crate::proxy::worker::Worker;
use crate::proxy::{admission, coding, parts, post, purge, recode, route, upgrade};
use crate::semantics::decision::{Decision, Fwd, Outcome};
use crate::semantics::request::{MaxForwards, max_forwards};
use crate::semantics::reuse::{self, Reuse};
use crate::semantics::time::Timestamp;
use crate::semantics::{cache_status, groups, invalidation, key, storable};
use crate::upstream::RequestBody;

static CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// Answers one request: at once where memory has the answer.
pub fn call(worker: &Arc<Worker>, conn: &Arc<Conn>, request: Request<Incoming>) -> Reply<Body> {
    let (mut head, incoming) = request.into_parts();
    let tally = Tally::begin(worker, conn, &head);
    let mut walk = Walk { tally, key: Vec::with_capacity(128) };
    let (view, has_body) = (worker.view(), !incoming.is_end_stream());
    let admitted = admission::admit(worker, &view, conn, &mut head, has_body, &mut walk.key);
    let mut ask = match admitted {
        Ok(admitted) => Ask::new(view, conn.clone(), head, admitted),
        Err(error) => return Reply::Now(walk.send_refusal(error, conn)),
    };
    walk.tally.record.route = ask.view.label;
    match route::answer(&ask) {
        None => {}
        Some(Ok(answer)) => return Reply::Now(walk.send(answer, &ask)),
        Some(Err(error)) => return Reply::Now(walk.send_refusal(error, conn)),
    }
    let peeked = walk.peek(&ask);
    if peeked.as_ref().is_some_and(|found| found.entry.stored.heuristic) {
        ask.settle_cookies();
    }
    let known = peeked.map(|found| walk.judge(&ask, Lookup::Found(found)));
    if let Some(Ok(Use::Stored(found, decision, now))) = &known
        && !found.entry.is_segmented()
        && coding::missing(&ask, &found.entry).is_none()
    {
        let answer = respond::from_entry(&ask, worker, &found.entry, *decision, *now);
        return Reply::Now(walk.send(answer, &ask));
    }
    Reply::Later(Box::pin(async move {
        let answer = walk.answer(&mut ask, incoming, known).await;
        let answer = answer.unwrap_or_else(refuse);
        walk.send(answer, &ask)
    }))
}

struct Walk {
    tally: Box<Tally>,
    /// The primary key, built in place: a hit allocates it once and keeps nothing of it.
    key: Vec<u8>,
}

/// What is to be done for a request that the cache is asked for.
enum Use {
    /// Answer with this, as it stood then.
    Stored(Found, Decision, Timestamp),
    /// Ask the origin. Boxed, as hits pass it by.
    Fetch(Box<Wanted>),
}

impl Walk {
    fn worker(&self) -> &Arc<Worker> {
        &self.tally.worker
    }

    fn tiers(&self) -> &Arc<Tiers> {
        &self.tally.worker.house.tiers
    }

    /// The way of a valid request, from what memory had for it. Branches stand here, work in the
    /// leaves.
    async fn answer(
        &mut self,
        ask: &mut Ask,
        incoming: Incoming,
        known: Option<Result<Use, ProxyError>>,
    ) -> Result<Answer, ProxyError> {
        ask.settle_cookies();
        let judged = match known {
            Some(judged) => judged,
            None if max_forwards(&ask.head.method, &ask.head.headers)
                == MaxForwards::AnswerHere =>
            {
                return Ok(upgrade::options());
            }
            None if ask.head.method.as_str() == purge::METHOD => {
                return purge::purge(self.worker(), ask, &self.key).await;
            }
            None if ask.upgrade.is_some() => return upgrade::tunnel(self.worker(), ask).await,
            None if ask.head.method == Method::QUERY => return self.query(ask, incoming).await,
            None if !ask.is_for_the_cache() => return self.pass(ask, incoming).await,
            None => self.look_up(ask).await,
        };
        Ok(self.follow(ask, judged?).await)
    }

    async fn look_up(&self, ask: &Ask) -> Result<Use, ProxyError> {
        let languages = ask.view.snapshot.cache.vary_language;
        let lookup = self.tiers().lookup(&self.key, &ask.head.headers, languages).await;
        self.judge(ask, lookup)
    }

    async fn follow(&self, ask: &Ask, judged: Use) -> Answer {
        match judged {
            Use::Stored(found, decision, now) => self.stored(ask, found, decision, now).await,
            Use::Fetch(wanted) => self.fetch(ask, *wanted).await,
        }
    }

    /// A QUERY is a read with its content in the key, where that is small.
    async fn query(&mut self, ask: &mut Ask, incoming: Incoming) -> Result<Answer, ProxyError> {
        let limit = ask.view.snapshot.cache.query_body;
        let passes = ask.past_cache.is_some() || ask.asked.has_if_match;
        if limit == 0 || passes || incoming.size_hint().lower() > limit {
            return self.pass(ask, incoming).await;
        }
        let (received, content) = query::content(ask, incoming);
        self.tally.received = Some(received);
        match content.await? {
            Content::More(body, too_large) => self.pass_on(ask, body, Some(&too_large)).await,
            Content::Whole(content) => {
                self.tally.worker.house.tiers.queries.name(
                    &ask.head.headers,
                    &content,
                    &mut self.key,
                );
                ask.asked = storable::as_get(&ask.asked);
                ask.query = Some(content);
                let judged = self.look_up(ask).await?;
                Ok(self.follow(ask, judged).await)
            }
        }
    }

    /// What memory has for this request, where the cache is asked at all.
    fn peek(&self, ask: &Ask) -> Option<Found> {
        if !ask.is_for_the_cache() {
            return None;
        }
        self.tiers().peek(&self.key, &ask.head.headers)
    }

    /// What may be done with what was looked up.
    fn judge(&self, ask: &Ask, lookup: Lookup) -> Result<Use, ProxyError> {
        let looked_up = Moment::now();
        let took = looked_up.ns_since(self.tally.began);
        self.worker().house.metrics.lookup(self.worker().id, took);
        let now = looked_up.timestamp();
        let found = match lookup {
            Lookup::Found(found) => found,
            Lookup::Missing { .. } if ask.asked.only_if_cached(&ask.view.policy) => {
                return Err(ProxyError::NotCached);
            }
            Lookup::Missing { variants } => {
                let fwd = if variants.is_some() { Fwd::VaryMiss } else { Fwd::UriMiss };
                return Ok(Use::Fetch(Box::new(Wanted::missing(fwd, variants))));
            }
        };
        let (stored, forced) = (&found.entry.stored, found.entry.last_forced());
        let judged = reuse::reuse(stored, &ask.asked, &ask.view.policy, found.stale, forced, now);
        match judged {
            Reuse::Fresh | Reuse::StaleAllowed => Self::enough(ask, found, judged.decision(), now),
            Reuse::WhileRevalidate => {
                fetch::in_background(self.worker(), ask, &self.key, &found);
                Self::enough(ask, found, judged.decision(), now)
            }
            Reuse::OnlyIfCached504 => Err(ProxyError::NotCached),
            Reuse::Validate(fwd, detail) => {
                if fwd == Fwd::Request {
                    found.entry.set_forced(now);
                }
                Ok(Use::Fetch(Box::new(Wanted::validated(ask, fwd, detail, found))))
            }
        }
    }

    /// What may be used is used, if all that is wanted of it is held.
    fn enough(
        ask: &Ask,
        found: Found,
        decision: Decision,
        now: Timestamp,
    ) -> Result<Use, ProxyError> {
        if found.entry.identity.is_whole() {
            return Ok(Use::Stored(found, decision, now));
        }
        let gaps = parts::lacking(ask, &found.entry);
        if gaps.is_empty() {
            return Ok(Use::Stored(found, decision, now));
        }
        if ask.asked.only_if_cached(&ask.view.policy) {
            return Err(ProxyError::NotCached);
        }
        Ok(Use::Fetch(Box::new(Wanted::completed(ask, found, gaps))))
    }

    /// Answers from the store.
    async fn stored(
        &self,
        ask: &Ask,
        mut found: Found,
        decision: Decision,
        now: Timestamp,
    ) -> Answer {
        let mut coming = None;
        if let Some(missing) = coding::missing(ask, &found.entry) {
            if matches!(found.entry.identity, StoredBody::Pieces(_)) {
                let joined = recode::join(self.worker(), ask, &self.key, &found, missing).await;
                match joined {
                    Ok(Joined::Coming(made)) => coming = Some(made),
                    Ok(Joined::Stored(entry)) => found.entry = entry,
                    Ok(Joined::AsItIs) => {}
                    Err(_) => return self.gone(ask, &found).await,
                }
            } else {
                found.entry = coding::add(self.worker(), ask, &self.key, &found, missing).await;
            }
        }
        let worker = self.worker();
        let mut answer = respond::from_entry_or(ask, worker, &found.entry, coming, decision, now);
        if let Source::Assembly(body) = answer.response.body_mut()
            && body.prime().await.is_err()
        {
            return self.gone(ask, &found).await;
        }
        answer
    }

    /// Gone before anything was promised: fetched as if it had never been there.
    async fn gone(&self, ask: &Ask, found: &Found) -> Answer {
        self.tiers().remove(found.variant.as_deref().unwrap_or(&self.key));
        self.fetch(ask, Wanted::missing(Fwd::UriMiss, None)).await
    }

    async fn fetch(&self, ask: &Ask, wanted: Wanted) -> Answer {
        let fwd = wanted.fwd();
        let fetched = fetch::fetch(self.worker(), ask, &self.key, wanted).await;
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
            let upload = Upload::new(incoming, limit, ask.expects.clone());
            self.tally.received = Some(upload.received());
            too_large = Some(upload.too_large());
            RequestBody::stream(upload)
        } else {
            RequestBody::Empty
        };
        self.pass_on(ask, body, too_large.as_deref()).await
    }

    async fn pass_on(
        &self,
        ask: &Ask,
        body: RequestBody,
        too_large: Option<&AtomicBool>,
    ) -> Result<Answer, ProxyError> {
        let (fwd, reason) = past_the_cache(ask);
        let passed = forward::pass(self.worker(), ask, body, too_large, reason).await;
        let private = match passed {
            Ok(private) => private,
            Err(error) => return Ok(forwarded_in_vain(error, fwd)),
        };
        if !ask.asked.is_safe() {
            self.invalidate(ask, private.response.status().as_u16(), private.response.headers());
        }
        // What only POST's route brings is not what GET would.
        let alike = ask.view.rule.as_ref().is_none_or(|rule| rule.matcher.methods.is_empty());
        if ask.head.method == Method::POST && ask.past_cache.is_none() && alike {
            let answered = post::answer(self.worker(), ask, &self.key, private).await;
            return Ok(answered.unwrap_or_else(|error| forwarded_in_vain(error, fwd)));
        }
        let mut decision = Decision::forwarded(Outcome::Pass, fwd);
        decision.detail = ask.past_cache;
        Ok(respond::from_origin(ask, private, decision))
    }

    fn invalidate(&self, ask: &Ask, status: u16, fields: &HeaderMap) {
        let tiers = self.tiers();
        // Of one URL a route may have more copies than can be looked for.
        let filling = ask.view.ruled || self.worker().house.metrics.cache.flights.get() > 0;
        for url in invalidation::invalidated(&ask.head.method, status, &self.key, fields) {
            tiers.invalidate(&url, filling);
        }
        for name in groups::invalidated(&ask.head.method, status, fields) {
            tiers.invalidate_group(&self.key, &name);
        }
    }

    fn send_refusal(self, error: ProxyError, conn: &Conn) -> Response<Body> {
        if matches!(error, ProxyError::BadRequest { .. }) {
            conn.close_after_answer();
        }
        self.finish(refuse(error), false)
    }

    fn send(self, answer: Answer, ask: &Ask) -> Response<Body> {
        self.finish(answer, ask.view.snapshot.debug_headers)
    }

    /// What every answer gets, and what its record is made of when it has been sent.
    fn finish(self, answer: Answer, debug: bool) -> Response<Body> {
        let Self { mut tally, key } = self;
        let Answer { mut response, decision, origin_ns, coding } = answer;
        let record = &mut tally.record;
        record.status = response.status().as_u16();
        (record.decision, record.origin_ns, record.coding) = (decision, origin_ns, coding);
        let is_head = record.method == Method::HEAD;
        let key = (debug && !key.is_empty()).then(|| key::url_part(&key));
        let fields = response.headers_mut();
        fields.append(CACHE_STATUS.clone(), cache_status::value(&decision, key));
        tally.worker.house.via.append(fields, Version::HTTP_11);
        response.map(|source| Body::new(if is_head { Source::Empty } else { source }, tally))
    }
}

/// Why the cache is not asked for what is no upgrade.
pub(super) fn past_the_cache(ask: &Ask) -> (Fwd, &'static str) {
    if ask.asked.is_read() {
        let precondition = || if ask.asked.has_body { "request-body" } else { "precondition" };
        (Fwd::Bypass, ask.past_cache.unwrap_or_else(precondition))
    } else {
        (Fwd::Method, "method")
    }
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
