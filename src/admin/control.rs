//! What the admin port asks of the running Larder: [`Control`]. The binary implements it over the
//! real rooms, so that nothing here reaches into them.

use std::future::Future;
use std::pin::Pin;

use serde::Serialize;

use crate::admin::entries::{Entries, EntryShown, Listing};
use crate::admin::stats::Stats;
use crate::cache::purge::{Listed, What};
use crate::proxy::explain::{Explanation, Question};

/// A boxed future: keeps [`Control`] object safe.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The running Larder, as the admin port sees it. Every method may be called at any time, also
/// while it starts or drains.
pub trait Control: Send + Sync + 'static {
    /// Can it serve, and if not, why not.
    fn ready(&self) -> Readiness;

    /// The figures of `/api/stats`. [`Stats::of`] fills in what the metrics know.
    fn stats(&self) -> Stats;

    /// Records a purge; resolves once it is durable. The error is one sentence for the operator.
    /// Dropping the future midway may leave the purge recorded or not.
    fn purge(&self, request: PurgeRequest) -> BoxFuture<'_, Result<PurgeAnswer, String>>;

    /// What a purge would hit, as things stand. Takes as long as looking at all that is in memory.
    fn would_hit(&self, what: &What) -> Result<WouldHit, String>;

    /// The newest purges that are held, at most `limit`.
    fn purges(&self, limit: usize) -> Purges;

    /// Responses in memory. Takes as long as looking at all of them.
    fn list(&self, listing: &Listing) -> Result<Entries, String>;

    /// All that is stored for `url`, which is as keys have it.
    fn show(&self, url: Vec<u8>) -> BoxFuture<'_, Vec<EntryShown>>;

    /// Why a request would be answered as it is. The error is what is wrong with the question.
    fn explain(&self, question: Question) -> BoxFuture<'_, Result<Explanation, String>>;

    /// Reads the configuration file again, all or nothing. The error is what was refused, with
    /// line and remedy. Counting the result in the metrics is the implementer's part.
    fn reload(&self) -> BoxFuture<'_, Result<ReloadAnswer, String>>;

    /// The effective configuration as text (TOML), secrets hidden.
    fn config(&self) -> String;
}

/// The answer of `/readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Listening, configured and not draining: 200, else 503.
    pub ready: bool,
    /// Why it is not ready, a sentence each.
    pub reasons: Vec<String>,
    /// The origin.
    pub upstream: UpstreamShown,
    /// The disk tier.
    pub disk: DiskShown,
}

/// Whether the origin could be reached last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamShown {
    /// It answered (or was not asked yet).
    Up,
    /// It could not be reached.
    Down,
}

impl UpstreamShown {
    /// As `/readyz` writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What the disk tier is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskShown {
    /// It serves.
    Ready,
    /// It reads its index; requests go to memory and the origin meanwhile.
    Recovering,
    /// There is none, or it has been taken out.
    Off,
}

impl DiskShown {
    /// As `/readyz` writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Recovering => "recovering",
            Self::Off => "off",
        }
    }
}

/// A purge as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeRequest {
    /// What is purged, as keys have it.
    pub what: What,
    /// Make stale and revalidate rather than throw away.
    pub soft: bool,
    /// Count what would be hit, and record nothing.
    pub dry_run: bool,
}

/// What a purge would hit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WouldHit {
    /// Responses in memory, variants one by one.
    pub memory: u64,
    /// Those on disk, where that can be told without reading it all.
    pub disk: Option<u64>,
    /// How `disk` was counted, or why it was not.
    pub note: String,
}

/// The purges that are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purges {
    /// The newest of them.
    pub newest: Vec<Listed>,
    /// Records held: purges, and keys whose older copies are not to come back.
    pub records: usize,
}

/// What became of a purge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgeAnswer {
    /// The record's position in the purge log. In JSON it is a string: it has more than 53 bits.
    pub position: u64,
    /// What has not heard of it yet; empty: done (200), else it is retried (202).
    pub outstanding: Vec<String>,
}

/// What became of a reload that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReloadAnswer {
    /// The settings that changed, as `path: old -> new`, secrets hidden; empty: none.
    pub changed: Vec<String>,
}
