//! What the admin port asks, answered by the real rooms.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::admin::control::{
    BoxFuture, Control, DiskShown, PurgeAnswer, PurgeRequest, Purges, Readiness, ReloadAnswer,
    UpstreamShown, WouldHit,
};
use crate::admin::entries::{self, Entries, EntryShown, Listing};
use crate::admin::stats::Stats;
use crate::cache::disk::DiskState;
use crate::cache::purge::What;
use crate::cli::rooms::Rooms;
use crate::clock;
use crate::config::{Live, effective};
use crate::observe::metrics::{Alert, Metrics};
use crate::proxy::explain::{self, Explanation, Question};
use crate::proxy::worker::Worker;
use crate::upstream::Pool;

/// The running Larder as the admin port sees it.
pub struct Office {
    live: Arc<Live>,
    metrics: Arc<Metrics>,
    rooms: Rooms,
    draining: AtomicBool,
    /// Asks the origin for explanations; it serves nobody.
    worker: OnceLock<Arc<Worker>>,
}

impl Office {
    /// Over these rooms.
    pub fn new(live: Arc<Live>, metrics: Arc<Metrics>, rooms: Rooms) -> Self {
        Self { live, metrics, rooms, draining: AtomicBool::new(false), worker: OnceLock::new() }
    }

    /// From now on `/readyz` says no.
    pub fn draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}

impl Office {
    /// Raises and ends alerts; called about once a second.
    pub fn watch(&self) {
        let wanted = self.live.current().cache.disk > 0;
        self.metrics.alert(Alert::DiskOff, wanted && self.disk() == DiskShown::Off);
        let uncacheable = self.rooms.house.uncacheable.len();
        self.metrics.cache.uncacheable.set(i64::try_from(uncacheable).unwrap_or(i64::MAX));
    }

    fn worker(&self) -> &Arc<Worker> {
        self.worker.get_or_init(|| {
            let Rooms { house, upstreams, .. } = &self.rooms;
            Worker::new(0, house.clone(), Pool::new(0, upstreams, self.metrics.clone()))
        })
    }

    fn disk(&self) -> DiskShown {
        match self.rooms.house.tiers.disk.state() {
            DiskState::Ready => DiskShown::Ready,
            DiskState::Recovering => DiskShown::Recovering,
            DiskState::Off | DiskState::Failed => DiskShown::Off,
        }
    }
}

impl Control for Office {
    fn ready(&self) -> Readiness {
        self.watch(); // so that no alert lags behind what is said here
        let disk = self.disk();
        let origin = &self.metrics.upstream;
        let asked =
            origin.connects.get() > 0 || origin.errors.iter().any(|errors| errors.get() > 0);
        let up = !asked || origin.up.get() > 0;
        let upstream = if up { UpstreamShown::Up } else { UpstreamShown::Down };
        let mut reasons = Vec::new();
        if self.draining.load(Ordering::Relaxed) {
            reasons.push("draining".to_owned());
        }
        if !up && self.live.current().require_upstream {
            reasons.push("the origin could not be reached".to_owned());
        }
        Readiness { ready: reasons.is_empty(), reasons, upstream, disk }
    }

    fn stats(&self) -> Stats {
        Stats::of(&self.metrics, self.ready())
    }

    fn purge(&self, request: PurgeRequest) -> BoxFuture<'_, Result<PurgeAnswer, String>> {
        Box::pin(async move {
            let tiers = self.rooms.house.tiers.clone();
            let recorded =
                tokio::task::spawn_blocking(move || tiers.purge(&request.what, request.soft)).await;
            match recorded {
                Ok(Ok(position)) => {
                    self.metrics.cache.purges.inc();
                    Ok(PurgeAnswer { position, outstanding: Vec::new() })
                }
                Ok(Err(error)) => Err(format!("the purge could not be recorded: {error}")),
                Err(_) => Err("the purge could not be recorded".to_owned()),
            }
        })
    }

    fn would_hit(&self, what: &What) -> Result<WouldHit, String> {
        let tiers = &self.rooms.house.tiers;
        let memory = tiers.count(what).map_err(|error| error.to_string())?;
        let held = tiers.disk.objects();
        let (disk, note) = match what {
            _ if held == 0 => (Some(0), "there is nothing on disk".to_owned()),
            What::Everything => (
                Some(held),
                "disk: all entries there, among them lists of variants and pieces of large bodies, \
                 and copies of what is in memory"
                    .to_owned(),
            ),
            _ => (
                None,
                format!("disk: not counted; the names of its {held} entries are only on disk"),
            ),
        };
        Ok(WouldHit { memory, disk, note })
    }

    fn purges(&self, limit: usize) -> Purges {
        let purges = &self.rooms.house.tiers.purges;
        Purges { newest: purges.records(limit), records: purges.len() }
    }

    fn list(&self, listing: &Listing) -> Result<Entries, String> {
        let tiers = &self.rooms.house.tiers;
        let page = tiers.list(&listing.filters, listing.after.as_deref(), listing.limit);
        let page = page.map_err(|error| error.to_string())?;
        let now = clock::now();
        let last = page.entries.last().filter(|_| page.more);
        Ok(Entries {
            next: last.map(|seen| entries::cursor(&seen.key)),
            entries: page.entries.iter().map(|seen| EntryShown::of(seen, now)).collect(),
            note: (tiers.disk.objects() > 0).then(|| {
                "what is in memory; the names of what is only on disk are not known without \
                 reading it: ask for it by url"
                    .to_owned()
            }),
        })
    }

    fn show(&self, url: Vec<u8>) -> BoxFuture<'_, Vec<EntryShown>> {
        let tiers = self.rooms.house.tiers.clone();
        Box::pin(async move {
            let seen = at_leisure(async move { tiers.show(&url).await }).await.unwrap_or_default();
            let now = clock::now();
            seen.iter().map(|seen| EntryShown::of(seen, now)).collect()
        })
    }

    fn explain(&self, question: Question) -> BoxFuture<'_, Result<Explanation, String>> {
        let worker = self.worker().clone();
        Box::pin(async move {
            let told = at_leisure(async move { explain::explain(&worker, question).await }).await;
            told.unwrap_or_else(|| Err("the explanation did not come to an end".to_owned()))
        })
    }

    fn reload(&self) -> BoxFuture<'_, Result<ReloadAnswer, String>> {
        let live = self.live.clone();
        Box::pin(async move {
            match tokio::task::spawn_blocking(move || live.reload()).await {
                Ok(Ok(diff)) => Ok(ReloadAnswer { changed: diff.lines() }),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err("the reload did not come to an end".to_owned()),
            }
        })
    }

    fn config(&self) -> String {
        let mut text = String::new();
        for entry in effective::entries(&self.live.current()) {
            if let Some(value) = entry.value {
                let _ = writeln!(text, "{} = {value}", entry.key);
            }
        }
        text
    }
}

/// What looks at all that is in memory between its waits: off the reactor's threads.
async fn at_leisure<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    let handle = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || handle.block_on(work)).await.ok()
}
