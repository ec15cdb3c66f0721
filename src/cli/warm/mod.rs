//! `larder cache warm`: fetches many URLs through the running Larder, so that clients find them
//! stored.
//!
//! - [`source`], [`sitemap`], [`url`]: what is to be fetched.
//! - [`fetch`]: one request; [`progress`]: how far it is.
//!
//! It asks as any client would, so rules, keys and shared fetches hold for it, too.

mod fetch;
mod progress;
mod sitemap;
pub mod source;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use http::header::{ACCEPT_ENCODING, CONNECTION, USER_AGENT};
use http::{HeaderMap, HeaderValue};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval};

use self::fetch::{Fetcher, Outcome};
use self::progress::Progress;
use self::source::{Format, MOST_BYTES, Wanted};
use crate::cli::client::proxy_of_process;
use crate::cli::url::Url;
use crate::cli::{USAGE, complain, header_fields, refused, say};
use crate::config::Flags;

/// So many sitemaps are followed at most.
const MOST_SITEMAPS: usize = 10_000;
/// So many failures are listed; the others are counted.
const LISTED: usize = 1000;

/// `larder cache warm …`.
#[derive(Debug, Clone, Args)]
pub struct Warm {
    /// A file, a URL (fetched through Larder), or - for standard input
    pub source: String,
    /// What the source is written in
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Scheme and host of what is only a path, as in most access logs
    #[arg(long, value_name = "URL")]
    pub base: Option<String>,
    /// Requests at the same time
    #[arg(long, default_value_t = 8, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub concurrency: u32,
    /// Requests a second at most; 0: as fast as it goes
    #[arg(long, default_value_t = 50, value_name = "N")]
    pub rate: u32,
    /// Fetch each URL once with each of these Accept-Encoding; as often as wanted
    #[arg(long = "accept-encoding", value_name = "CODINGS", default_value = "gzip")]
    pub codings: Vec<String>,
    /// A header field of each request, as often as wanted
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// Seconds that one request may take
    #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub timeout: u64,
    /// Only list the URLs
    #[arg(long)]
    pub dry_run: bool,
}

/// Fetches what the source names. Exit code 1 where something failed.
pub fn warm(flags: &Flags, warm: &Warm) -> ExitCode {
    let via = match proxy_of_process(flags) {
        Ok(via) => via,
        Err(error) => return refused(&error),
    };
    let prepared = fields(&warm.headers).and_then(|fields| {
        let base = warm.base.as_deref().map(|base| Url::read(base, None)).transpose();
        let base = base.map_err(|why| format!("--base: {why}"))?;
        let codings =
            warm.codings.iter().map(|coding| encoding(coding)).collect::<Result<_, _>>()?;
        Ok(Round { fields, base, codings })
    });
    let round = match prepared {
        Ok(round) => round,
        Err(what) => {
            complain(what);
            return ExitCode::from(USAGE);
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(round.run(via, warm)),
        Err(error) => Err(error.to_string()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(what) => {
            complain(what);
            ExitCode::FAILURE
        }
    }
}

/// What is the same for all requests.
struct Round {
    fields: HeaderMap,
    base: Option<Url>,
    codings: Vec<HeaderMap>,
}

fn fields(lines: &[String]) -> Result<HeaderMap, String> {
    let mut fields = header_fields(lines)?;
    if fields.contains_key(CONNECTION) {
        return Err("--header: Connection is not for you to say".to_owned());
    }
    let own = HeaderValue::from_static(concat!("larder-warm/", env!("CARGO_PKG_VERSION")));
    fields.entry(USER_AGENT).or_insert(own);
    Ok(fields)
}

fn encoding(codings: &str) -> Result<HeaderMap, String> {
    let value = HeaderValue::from_str(codings)
        .map_err(|_| format!("--accept-encoding \"{codings}\" is none"))?;
    Ok(HeaderMap::from_iter([(ACCEPT_ENCODING, value)]))
}

impl Round {
    /// True: nothing failed.
    async fn run(self, via: std::net::SocketAddr, warm: &Warm) -> Result<bool, String> {
        let began = Instant::now();
        let limit = Duration::from_secs(warm.timeout);
        let fetcher = Arc::new(Fetcher::new(via, self.fields.clone(), limit));
        let mut report = Report::default();
        let urls = self.collect(&fetcher, warm, &mut report).await?;
        if warm.dry_run {
            urls.iter().for_each(say);
            return Ok(report.told());
        }
        let requests = urls.len() * self.codings.len();
        let mut progress = Progress::of(requests as u64);
        let mut pace = (warm.rate > 0).then(|| Pace::new(warm.rate));
        let room = Arc::new(Semaphore::new(warm.concurrency as usize));
        let codings = Arc::new(self.codings);
        let mut under_way = JoinSet::new();
        let mut note = |done: Result<(Url, Outcome), tokio::task::JoinError>| {
            let Ok((url, outcome)) = done else { return };
            progress.step(matches!(outcome, Outcome::Failed(_)));
            report.note(url.to_string(), outcome);
        };
        for url in urls {
            for nth in 0..codings.len() {
                let Ok(room) = room.clone().acquire_owned().await else { continue };
                if let Some(pace) = &mut pace {
                    pace.turn().await;
                }
                let (fetcher, codings, url) = (fetcher.clone(), codings.clone(), url.clone());
                under_way.spawn(async move {
                    let none = HeaderMap::new();
                    let outcome = fetcher.fetch(&url, codings.get(nth).unwrap_or(&none)).await;
                    drop(room);
                    (url, outcome)
                });
                while let Some(done) = under_way.try_join_next() {
                    note(done);
                }
            }
        }
        while let Some(done) = under_way.join_next().await {
            note(done);
        }
        drop(progress);
        report.took = began.elapsed();
        Ok(report.told())
    }

    /// All that the source names, itself or by the sitemaps that it leads to.
    async fn collect(
        &self,
        fetcher: &Fetcher,
        warm: &Warm,
        report: &mut Report,
    ) -> Result<Vec<Url>, String> {
        let source = &warm.source;
        let is_url = ["http://", "https://"].iter().any(|scheme| source.starts_with(scheme));
        let told = |why: String| format!("{source}: {why}");
        let bytes = if is_url {
            let url = Url::read(source, None).map_err(told)?;
            fetcher.content(&url).await.map_err(told)?
        } else {
            read_local(source).map_err(told)?.into()
        };
        let first = source::read(&bytes, warm.format, self.base.as_ref()).map_err(told)?;
        drop(bytes);
        let (mut urls, mut seen) = (Vec::new(), HashSet::new());
        let mut sitemaps = VecDeque::new();
        let mut known = HashSet::new();
        let mut take = |wanted: Wanted, sitemaps: &mut VecDeque<Url>, report: &mut Report| {
            urls.extend(wanted.urls.into_iter().filter(|url| seen.insert(url.clone())));
            sitemaps.extend(wanted.sitemaps.into_iter().filter(|map| known.insert(map.clone())));
            wanted.odd.into_iter().for_each(|(text, why)| report.fail(text, why));
        };
        take(first, &mut sitemaps, report);
        let mut followed = 0;
        while let Some(map) = sitemaps.pop_front() {
            followed += 1;
            if followed > MOST_SITEMAPS {
                report.fail(map.to_string(), format!("more than {MOST_SITEMAPS} sitemaps"));
                break;
            }
            let content = fetcher.content(&map).await;
            match content.and_then(|xml| source::read(&xml, Format::Sitemap, self.base.as_ref())) {
                Ok(wanted) => take(wanted, &mut sitemaps, report),
                Err(why) => report.fail(map.to_string(), why),
            }
        }
        Ok(urls)
    }
}

fn read_local(source: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = if source == "-" {
        std::io::stdin().lock().take(MOST_BYTES + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(source)
            .and_then(|file| file.take(MOST_BYTES + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| error.to_string())?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(format!("it has more than {} MiB", MOST_BYTES >> 20));
    }
    Ok(bytes)
}

/// So many a second, and what was not used is not made up for.
struct Pace {
    ticks: Interval,
    /// With each tick: a timer is not finer than a millisecond.
    batch: u32,
    left: u32,
}

impl Pace {
    fn new(rate: u32) -> Self {
        let batch = (rate / 100).max(1);
        let mut ticks = interval(Duration::from_secs(batch.into()) / rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { ticks, batch, left: 0 }
    }

    async fn turn(&mut self) {
        if self.left == 0 {
            self.ticks.tick().await;
            self.left = self.batch;
        }
        self.left -= 1;
    }
}

/// What came of all of it.
#[derive(Debug, Default)]
struct Report {
    stored: usize,
    held: usize,
    passed: BTreeMap<String, usize>,
    failed: Vec<(String, String)>,
    more_failed: usize,
    took: Duration,
}

impl Report {
    fn note(&mut self, url: String, outcome: Outcome) {
        match outcome {
            Outcome::Stored => self.stored += 1,
            Outcome::Held => self.held += 1,
            Outcome::Passed(why) => {
                *self
                    .passed
                    .entry(why.unwrap_or_else(|| "no reason told".to_owned()))
                    .or_default() += 1;
            }
            Outcome::Failed(why) => self.fail(url, why),
        }
    }

    fn fail(&mut self, what: String, why: String) {
        if self.failed.len() < LISTED {
            self.failed.push((what, why));
        } else {
            self.more_failed += 1;
        }
    }

    /// Prints it; true: nothing failed.
    fn told(&self) -> bool {
        let passed: usize = self.passed.values().sum();
        let failed = self.failed.len() + self.more_failed;
        if !self.took.is_zero() {
            say(format_args!(
                "{} requests in {:.1} s: {} stored, {} were there, {passed} not kept, {failed} failed",
                self.stored + self.held + passed + failed,
                self.took.as_secs_f64(),
                self.stored,
                self.held,
            ));
        }
        for (why, count) in &self.passed {
            say(format_args!("not kept: {count} {why}"));
        }
        for (what, why) in &self.failed {
            say(format_args!("failed: {what}: {why}"));
        }
        if self.more_failed > 0 {
            say(format_args!("failed: {} more", self.more_failed));
        }
        failed == 0
    }
}
