//! Idle connections of one worker, and the way a request takes through them.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use http::{Request, Response, StatusCode, Version};
use parking_lot::Mutex;
use tokio::time::{Instant, timeout_at};

use super::body::{Lease, ResponseBody};
use super::connection::{Connection, Failed};
use super::error::UpstreamError;
use super::request::{RequestBody, prepare, spare};
use super::slots::{Asked, Grant, Slots};
use crate::clock;
use crate::config::snapshot::{Address, Upstream};
use crate::observe::metrics::Metrics;

/// The sweeper looks no more often than this.
const SWEEP_AT_MOST_EVERY: Duration = Duration::from_millis(50);

/// What the pools of all workers share: how many connections each origin has.
#[derive(Debug, Default)]
pub struct Shared {
    slots: Mutex<HashMap<Address, Weak<Slots>>>,
    pools: Mutex<Vec<Weak<Inner>>>,
    numbers: AtomicUsize,
}

impl Shared {
    /// One for all workers.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn slots(&self, to: &Upstream) -> Arc<Slots> {
        let mut all = self.slots.lock();
        if let Some(slots) = all.get(&to.address).and_then(Weak::upgrade) {
            drop(all);
            slots.set_max(to.max_connections);
            return slots;
        }
        all.retain(|_, slots| slots.strong_count() > 0);
        let slots = Slots::new(to.max_connections);
        all.insert(to.address.clone(), Arc::downgrade(&slots));
        slots
    }

    /// Closes the idle connection to `to` of some worker: somebody waits for its slot.
    fn close_an_idle_one(&self, to: &Upstream) {
        let pools: Vec<_> = self.pools.lock().iter().filter_map(Weak::upgrade).collect();
        let _closes = pools.iter().find_map(|pool| pool.take_oldest(&to.address));
    }
}

/// The connections to origins that belong to one worker.
///
/// [`Pool::send`] must be called on that worker's runtime: connections are driven by tasks
/// spawned there.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    number: usize,
    worker: usize,
    metrics: Arc<Metrics>,
    shared: Arc<Shared>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    groups: Vec<Group>,
    sweeping: bool,
}

/// The idle connections to one origin as one configuration describes it.
#[derive(Debug)]
struct Group {
    to: Arc<Upstream>,
    slots: Arc<Slots>,
    /// The longest unused first; the last one is taken first, so that the others can expire.
    idle: VecDeque<Idle>,
}

#[derive(Debug)]
struct Idle {
    connection: Box<Connection>,
    since_ms: u64,
}

impl Group {
    fn is_for(&self, to: &Arc<Upstream>) -> bool {
        Arc::ptr_eq(&self.to, to) || self.to == *to
    }

    fn drop_unusable(&mut self, now_ms: u64) {
        let expires_ms = to_ms(self.to.idle_timeout);
        self.idle.retain(|idle| {
            now_ms.saturating_sub(idle.since_ms) < expires_ms && !idle.connection.is_closed()
        });
    }
}

impl Pool {
    /// A pool for worker number `worker`.
    pub fn new(worker: usize, shared: &Arc<Shared>, metrics: Arc<Metrics>) -> Self {
        let inner = Arc::new(Inner {
            number: shared.numbers.fetch_add(1, Ordering::Relaxed),
            worker,
            metrics,
            shared: Arc::clone(shared),
            state: Mutex::default(),
        });
        let mut pools = shared.pools.lock();
        pools.retain(|pool| pool.strong_count() > 0);
        pools.push(Arc::downgrade(&inner));
        drop(pools);
        Self(inner)
    }

    /// Sends a request to the origin and gives its answer as soon as its head is there.
    ///
    /// Host, framing and version are made right here; hop-by-hop fields and Expect are the
    /// caller's. Interim responses are skipped, unless the request carries hyper's
    /// `on_informational`. A request that meets a pooled connection which turns out closed is
    /// sent once more on a fresh one, where that is safe (RFC 9110 §9.2.2). Errors have been
    /// counted. Dropping the future midway closes the connection.
    pub async fn send(
        &self,
        to: &Arc<Upstream>,
        mut request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, UpstreamError> {
        prepare(&mut request, to);
        let began_ns = clock::monotonic_ns();
        let answer = self.send_or_repeat(to, request).await;
        let took_ns = clock::monotonic_ns().saturating_sub(began_ns);
        self.0.count(&answer, took_ns);
        answer
    }

    async fn send_or_repeat(
        &self,
        to: &Arc<Upstream>,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, UpstreamError> {
        let (slots, idle) = self.0.checkout(to);
        let connection = match idle {
            Some(connection) => connection,
            None => self.0.acquire(to, &slots, false).await?,
        };
        let spare = if connection.is_used() {
            self.0.metrics.upstream.reused.inc();
            spare(&request)
        } else {
            None
        };
        let pooled = connection.is_used();
        let failed = match self.attempt(to, connection, request).await {
            Ok(answer) => return Ok(answer),
            Err(failed) => failed,
        };
        let again = if pooled { may_repeat(failed, spare) } else { Err(failed.error) }?;
        self.0.metrics.upstream.retries.inc();
        let connection = self.0.acquire(to, &slots, true).await?;
        self.attempt(to, connection, again).await.map_err(|failed| failed.error)
    }

    async fn attempt(
        &self,
        to: &Arc<Upstream>,
        mut connection: Box<Connection>,
        request: Request<RequestBody>,
    ) -> Result<Response<ResponseBody>, Failed> {
        let answer = connection.exchange(request, to.first_byte_timeout).await?;
        let metrics = Arc::clone(&self.0.metrics);
        if answer.version() != Version::HTTP_11 {
            connection.use_no_more();
        }
        let lease = if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            connection.release();
            None
        } else {
            Some(Lease { connection, pool: Arc::downgrade(&self.0), to: Arc::clone(to) })
        };
        Ok(answer.map(|incoming| ResponseBody::new(incoming, lease, metrics)))
    }

    /// Connections that wait here for a request.
    pub fn idle(&self) -> usize {
        self.0.state.lock().groups.iter().map(|group| group.idle.len()).sum()
    }
}

/// The request to send once more, if its failure on a pooled connection allows that.
fn may_repeat(
    failed: Failed,
    spare: Option<Request<RequestBody>>,
) -> Result<Request<RequestBody>, UpstreamError> {
    if failed.unsent.is_none() && !matches!(failed.error, UpstreamError::Closed) || failed.received
    {
        return Err(failed.error);
    }
    // Nothing of it went out: safe for any method, and for a stream, too.
    if let Some(unsent) = failed.unsent {
        return Ok(unsent);
    }
    match spare {
        Some(spare) if !failed.wrote || spare.method().is_idempotent() => Ok(spare),
        _ => Err(failed.error),
    }
}

impl Inner {
    /// The newest idle connection that can be used, and the origin's slots.
    fn checkout(&self, to: &Arc<Upstream>) -> (Arc<Slots>, Option<Box<Connection>>) {
        let mut state = self.state.lock();
        if let Some(group) = state.groups.iter_mut().find(|group| group.is_for(to)) {
            if !Arc::ptr_eq(&group.to, to) {
                group.to = Arc::clone(to);
            }
            let now_ms = clock::monotonic_ms();
            let expires_ms = to_ms(to.idle_timeout);
            while let Some(idle) = group.idle.pop_back() {
                if now_ms.saturating_sub(idle.since_ms) >= expires_ms {
                    group.idle.clear(); // the others are older
                } else if idle.connection.is_usable() {
                    return (Arc::clone(&group.slots), Some(idle.connection));
                }
            }
            return (Arc::clone(&group.slots), None);
        }
        // The configuration has changed: what is idle was opened for another origin, or bounds.
        state.groups.retain(|group| group.to.name != to.name);
        let slots = self.shared.slots(to);
        let group = Group { to: Arc::clone(to), slots: Arc::clone(&slots), idle: VecDeque::new() };
        state.groups.push(group);
        (slots, None)
    }

    /// Opens a connection, or waits at most `connect_timeout` until that is allowed or another
    /// request is done with its own (not if it has to be `fresh`).
    async fn acquire(
        &self,
        to: &Arc<Upstream>,
        slots: &Arc<Slots>,
        fresh: bool,
    ) -> Result<Box<Connection>, UpstreamError> {
        let deadline = Instant::now() + to.connect_timeout;
        let slot = loop {
            let granted = match slots.ask(self.number) {
                Asked::Slot(slot) => break slot,
                Asked::Wait(granted) => granted,
            };
            // Looked for after joining the queue: who gives a connection back looks into the
            // queue after that, so that one of both sees the other.
            if !fresh && let (_, Some(connection)) = self.checkout(to) {
                return Ok(connection);
            }
            self.shared.close_an_idle_one(to);
            match timeout_at(deadline, granted).await {
                Ok(Ok(Grant::Slot(slot))) => break slot,
                Ok(Ok(Grant::Connection(connection))) if fresh => {
                    if let Some(slot) = connection.into_slot() {
                        break slot;
                    }
                }
                Ok(Ok(Grant::Connection(connection))) if connection.is_usable() => {
                    return Ok(connection);
                }
                // Closed on its way here: its slot has gone to the next, who may be us again.
                Ok(Ok(Grant::Connection(_))) => {}
                Ok(Err(_)) | Err(_) => return Err(UpstreamError::Saturated),
            }
        };
        Connection::open(to, slot, &self.metrics).await.map(Box::new)
    }

    /// Takes back a connection on which both messages have ended exactly.
    pub(super) fn give_back(self: &Arc<Self>, to: &Arc<Upstream>, connection: Box<Connection>) {
        let mut state = self.state.lock();
        let Some(group) = state.groups.iter_mut().find(|group| group.is_for(to)) else {
            return; // opened for a configuration that is gone
        };
        group.idle.push_back(Idle { connection, since_ms: clock::monotonic_ms() });
        let slots = Arc::clone(&group.slots);
        if !state.sweeping
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            state.sweeping = true;
            runtime.spawn(sweep(Arc::downgrade(self)));
        }
        drop(state);
        if slots.is_awaited()
            && let Some(connection) = self.take_newest(to)
            && let Some(unwanted) = slots.hand_over(self.number, connection)
        {
            self.put_back(to, unwanted);
        }
    }

    fn put_back(&self, to: &Arc<Upstream>, connection: Box<Connection>) {
        let mut state = self.state.lock();
        if let Some(group) = state.groups.iter_mut().find(|group| group.is_for(to)) {
            group.idle.push_back(Idle { connection, since_ms: clock::monotonic_ms() });
        }
    }

    fn take_newest(&self, to: &Arc<Upstream>) -> Option<Box<Connection>> {
        let mut state = self.state.lock();
        let group = state.groups.iter_mut().find(|group| group.is_for(to))?;
        group.idle.pop_back().map(|idle| idle.connection)
    }

    fn take_oldest(&self, address: &Address) -> Option<Box<Connection>> {
        let mut state = self.state.lock();
        let mut groups = state.groups.iter_mut().filter(|group| group.to.address == *address);
        groups.find_map(|group| group.idle.pop_front()).map(|idle| idle.connection)
    }

    /// Closes what has been idle for too long. When to look again; `None`: nothing is idle.
    fn sweep(&self) -> Option<Duration> {
        let now_ms = clock::monotonic_ms();
        let mut state = self.state.lock();
        let mut next: Option<Duration> = None;
        for group in &mut state.groups {
            group.drop_unusable(now_ms);
            if let Some(oldest) = group.idle.front() {
                let age = Duration::from_millis(now_ms.saturating_sub(oldest.since_ms));
                let left = group.to.idle_timeout.saturating_sub(age);
                next = Some(next.map_or(left, |next| next.min(left)));
            }
        }
        state.sweeping = next.is_some();
        next.map(|left| left.max(SWEEP_AT_MOST_EVERY))
    }

    fn count(&self, answer: &Result<Response<ResponseBody>, UpstreamError>, took_ns: u64) {
        let up = match answer {
            Ok(_) | Err(UpstreamError::Malformed(_)) => Some(1),
            // Neither says anything about the origin.
            Err(UpstreamError::RequestBody(_) | UpstreamError::Saturated) => None,
            Err(_) => Some(0),
        };
        if let Some(up) = up {
            self.metrics.upstream.up.set(up);
        }
        if let Some(kind) = answer.as_ref().err().and_then(UpstreamError::kind) {
            self.metrics.upstream_error(kind);
        }
        let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
        self.metrics.origin(self.worker, status, took_ns);
    }
}

/// Lives while something is idle in the pool.
async fn sweep(pool: Weak<Inner>) {
    while let Some(left) = pool.upgrade().and_then(|pool| pool.sweep()) {
        tokio::time::sleep(left).await;
    }
}

fn to_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
