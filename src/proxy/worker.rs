//! What a worker has at hand for each request: the house's shared rooms and its own view of the
//! configuration (DESIGN D1, D9).

use std::sync::Arc;

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use crate::cache::flight::Flights;
use crate::cache::tiers::Tiers;
use crate::cache::uncacheable::Uncacheable;
use crate::config::Live;
use crate::config::route::Rule;
use crate::config::snapshot::{self, Snapshot};
use crate::observe::access_log::AccessLog;
use crate::observe::metrics::Metrics;
use crate::observe::record::Record;
use crate::proxy::fill::Shared;
use crate::proxy::recode::Recodings;
use crate::proxy::route::Rules;
use crate::semantics::headers::Pseudonym;
use crate::semantics::policy::{ClientDirectives, Policy};
use crate::semantics::route::cookies::Cookies;
use crate::semantics::unkeyed::Unkeyed;
use crate::upstream::Pool;

/// What all workers share.
pub struct House {
    /// The running configuration.
    pub live: Arc<Live>,
    /// What is stored.
    pub tiers: Arc<Tiers>,
    /// What is being fetched.
    pub flights: Flights<Shared>,
    /// What turned out not to be worth waiting for each other (hit-for-miss).
    pub uncacheable: Uncacheable,
    /// What was not stored because of the request that brought it: for explanations only.
    pub refused: Uncacheable,
    /// What is being coded.
    pub recodings: Recodings,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// Where finished requests are written.
    pub log: Arc<AccessLog>,
    /// This process's name in Via.
    pub via: Pseudonym,
}

/// A configuration as one worker's requests use it.
pub struct View {
    /// The configuration.
    pub snapshot: Arc<Snapshot>,
    /// What of it RFC 9111 decisions need.
    pub policy: Policy,
    /// Request header fields that are dropped where the answer may be stored.
    pub unkeyed: Unkeyed,
    /// What cookies do.
    pub cookies: Cookies,
    /// The rules to choose from; none in the view of a request that has met one.
    pub rules: Option<Rules>,
    /// The rule that was met.
    pub rule: Option<Arc<Rule>>,
    /// The number by which requests are counted for it.
    pub label: u16,
    /// There are rules.
    pub ruled: bool,
}

impl View {
    /// What follows from `snapshot`; `metrics` count the requests of its rules.
    pub fn of(snapshot: Arc<Snapshot>, metrics: &Metrics) -> Arc<Self> {
        let routes = snapshot.routes.clone();
        let mut view = Self::plain(snapshot);
        view.rules = Rules::of(routes, metrics);
        view.ruled = view.rules.is_some();
        Arc::new(view)
    }

    /// The view of a request that has met `rule`.
    pub(super) fn of_rule(rule: &Arc<Rule>, metrics: &Metrics) -> Arc<Self> {
        let mut view = Self::plain(rule.snapshot.clone());
        view.cookies = rule.cookies.clone();
        view.label = metrics.route(&rule.name);
        view.rule = Some(rule.clone());
        view.ruled = true;
        Arc::new(view)
    }

    fn plain(snapshot: Arc<Snapshot>) -> Self {
        let cache = &snapshot.cache;
        let policy = Policy {
            default_ttl: cache.default_ttl,
            heuristic_errors: cache.heuristic_errors,
            keep_stale: cache.keep_stale,
            share_set_cookie: cache.share_set_cookie,
            keep_tags: cache.keep_tags,
            client_directives: match cache.client_directives {
                snapshot::ClientDirectives::Honour => ClientDirectives::Honour,
                snapshot::ClientDirectives::Limit => ClientDirectives::Limit,
                snapshot::ClientDirectives::Ignore => ClientDirectives::Ignore,
            },
            targeted: cache.targeted.clone(),
            route: cache.route.clone(),
        };
        let unkeyed = Unkeyed::new(&cache.drop_unkeyed, &cache.allow_unkeyed);
        let (cookies, rules, rule, label, ruled) = Default::default();
        Self { snapshot, policy, unkeyed, cookies, rules, rule, label, ruled }
    }
}

type Cached = arc_swap::Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>;

/// One worker's part of the data plane.
pub struct Worker {
    /// Its number, for metrics and logs.
    pub id: usize,
    /// What it shares with the others.
    pub house: Arc<House>,
    /// Its connections to the origin.
    pub pool: Pool,
    /// Only this worker's thread locks it.
    view: Mutex<(Cached, Arc<View>)>,
}

impl Worker {
    /// Worker number `id`.
    pub fn new(id: usize, house: Arc<House>, pool: Pool) -> Arc<Self> {
        let mut cached = house.live.cached();
        let view = View::of(cached.load().clone(), &house.metrics);
        Arc::new(Self { id, house, pool, view: Mutex::new((cached, view)) })
    }

    /// The configuration for a request that begins now.
    pub fn view(&self) -> Arc<View> {
        let mut guard = self.view.lock();
        let (cached, view) = &mut *guard;
        let current = cached.load();
        if !Arc::ptr_eq(current, &view.snapshot) {
            *view = View::of(current.clone(), &self.house.metrics);
        }
        view.clone()
    }

    /// No fetch is under way, and what was stored is with the disk's writer.
    pub fn is_settled(&self) -> bool {
        self.house.metrics.cache.flights.get() == 0 && self.house.tiers.are_written_behind()
    }

    /// Counts and logs a finished request.
    pub fn finish(&self, record: &Record) {
        self.house.metrics.record(self.id, record);
        self.house.log.log(self.id, record);
    }
}
