//! Larder beside a reference, step by step.
//!
//! - [`reference`]: a small cache, written from the RFCs; [`message`]: what it speaks in.
//! - [`origin`]: a site whose pages change, and its moods; [`script`]: steps at random.
//! - [`larder`]: the Larders under test, one of them with a clock that can be stepped.
//! - [`driver`]: takes steps with both and compares.
//!
//! [`run`] takes a list of steps, and where that fails looks for a short one that does.

pub mod driver;
pub mod larder;
pub mod message;
pub mod origin;
pub mod reference;
pub mod script;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use driver::Driver;
use larder::{Kind, World};
use reference::Cache;
use script::{Dice, Mix, Step};

/// Once in so many steps everything is purged: long before a disk of few entries is full, whose
/// oldest ones go, live or not. The reference forgets nothing by itself.
const PURGE_EVERY: usize = 1000;
/// Shrinking takes no longer than this.
const SHRINK_LIMIT: Duration = Duration::from_mins(2);

/// What a run came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    pub steps: usize,
    /// Steps that could not be judged, because the machine was busy.
    pub unjudged: usize,
    /// How often what happened.
    pub seen: BTreeMap<&'static str, usize>,
}

/// What a long run has seen, or it has not looked at much.
const EVERYTHING: [&str; 16] = [
    "HEAD",
    "a 304 to the client",
    "conditional questions",
    "hits",
    "invalidated",
    "only if cached",
    "origin out of reach",
    "purges",
    "restarts",
    "stale after a failure",
    "stale hits",
    "stored",
    "stored by POST",
    "unsafe methods",
    "validated",
    "vary by three",
];

impl Tally {
    pub fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    #[track_caller]
    pub fn assert_everything_happened(&self, except: Option<&str>) {
        for what in EVERYTHING.into_iter().filter(|what| Some(*what) != except) {
            assert!(self.seen.get(what).is_some_and(|n| *n > 0), "never seen: {what}");
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} steps without a difference", self.steps)?;
        write!(f, ", {} of them not judged on a busy machine", self.unjudged)?;
        self.seen.iter().try_for_each(|(what, n)| write!(f, ", {n} {what}"))
    }
}

struct Failure {
    /// The index of the step that differed.
    at: usize,
    report: String,
}

/// Takes `count` steps of `mix` with a Larder that `start` starts.
pub fn run<W: World>(
    kind: &Kind,
    mix: &Mix,
    seed: u64,
    count: usize,
    start: impl Fn(&Kind, &str) -> W,
) -> Tally {
    let mut dice = Dice::new(seed);
    let step = |n| match (n + 1) % PURGE_EVERY {
        0 => Step::Purge { page: None, soft: false },
        _ => mix.step(&mut dice),
    };
    let steps: Vec<Step> = (0..count).map(step).collect();
    let play = |steps: &[Step]| {
        let cache = Cache::new(kind.settings.clone());
        let mut driver = Driver::new(cache, mix.pages, |upstream| start(kind, upstream));
        for (at, step) in steps.iter().enumerate() {
            if let Err(report) = driver.take(step) {
                return Err(Failure { at, report });
            }
        }
        Ok(driver.tally)
    };
    match play(&steps) {
        Ok(tally) => Tally { steps: count, ..tally },
        Err(failure) => {
            eprintln!("seed {seed}, {kind:?}, step {}: {}", failure.at, steps[failure.at]);
            eprintln!("{}\nlooking for a shorter list of steps that differs", failure.report);
            let (short, last) = shrink(&steps[..=failure.at], failure, play);
            let list: Vec<_> = short.iter().map(|step| format!("  {step}")).collect();
            panic!(
                "seed {seed}, {kind:?}\nshortest list found ({} of {} steps):\n{}\n{last}",
                short.len(),
                steps.len(),
                list.join("\n"),
            );
        }
    }
}

/// A shorter list of steps that fails, too, and how.
fn shrink(
    steps: &[Step],
    failure: Failure,
    play: impl Fn(&[Step]) -> Result<Tally, Failure>,
) -> (Vec<Step>, String) {
    let began = Instant::now();
    let mut best = steps.to_vec();
    let mut report = failure.report;
    let mut try_list = |list: Vec<Step>, best: &mut Vec<Step>| match play(&list) {
        Err(failure) => {
            *best = list[..=failure.at].to_vec();
            report = failure.report;
            true
        }
        Ok(_) => false,
    };
    if let Some(Step::Ask { page, .. }) = steps.last() {
        let list = steps.iter().filter(|step| step.concerns(*page)).cloned().collect();
        try_list(list, &mut best);
    }
    for last in [10, 40, 160, 640] {
        if last < best.len() && try_list(best[best.len() - last..].to_vec(), &mut best) {
            break;
        }
    }
    let mut chunk = best.len() / 2;
    while chunk > 0 {
        let mut from = 0;
        while from < best.len().saturating_sub(1) {
            if began.elapsed() > SHRINK_LIMIT {
                return (best, report);
            }
            let to = (from + chunk).min(best.len() - 1); // the last step is the one that differs
            let list = [&best[..from], &best[to..]].concat();
            if !try_list(list, &mut best) {
                from += chunk;
            }
        }
        chunk /= 2;
    }
    (best, report)
}
