//! What is wanted of the origin, and why; and the request that asks for it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, IF_RANGE, RANGE};
use http::{HeaderName, Request};

use crate::cache::entry::{Fields, Variants};
use crate::cache::tiers::{Found, variant_key};
use crate::proxy::ask::Ask;
use crate::proxy::fill::Plan;
use crate::proxy::interim::Relay;
use crate::proxy::refill::{Refill, ask_for_part};
use crate::proxy::worker::Worker;
use crate::proxy::{forward, parts};
use crate::semantics::decision::{Decision, Fwd, Outcome};
use crate::semantics::key;
use crate::semantics::range::{RangeAnswer, Strong};
use crate::semantics::spans::Span;
use crate::upstream::RequestBody;

/// What is wanted of the origin, and why.
pub struct Wanted {
    pub(super) fwd: Fwd,
    pub(super) detail: Option<&'static str>,
    /// What is stored and needs validation.
    pub(super) stale: Option<Found>,
    /// What is stored in part and needs more.
    base: Option<Base>,
    /// The selecting fields of what is stored for others, and their list's generation.
    pub(super) varies: Option<(Box<[HeaderName]>, u64)>,
}

/// What is held of a response, and what is missing.
#[derive(Clone)]
struct Base {
    found: Found,
    validator: Option<Strong>,
    gaps: Vec<Span>,
    /// What the client gets; `None`: the whole.
    part: Option<Span>,
}

/// Beyond so many gaps, all between the first and the last is asked for in one request.
const MAX_GAPS: usize = 4;

/// What one fetch is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Goal {
    /// The whole, for all who want any of it.
    Whole,
    /// The part or parts that this client asked for, for all who ask for exactly the same.
    Part,
    /// For this client alone: an answer without the body.
    Pass,
}

impl Wanted {
    /// Nothing is stored for this request.
    pub fn missing(fwd: Fwd, variants: Option<Arc<Variants>>) -> Self {
        let varies = variants.map(|list| (list.names.clone(), list.generation));
        Self { fwd, detail: None, stale: None, base: None, varies }
    }

    /// `found` is stored, but may not be used as it is.
    pub fn validated(ask: &Ask, fwd: Fwd, detail: &'static str, found: Found) -> Self {
        let gaps = parts::lacking(ask, &found.entry);
        if gaps.is_empty() {
            let stale = Some(found);
            return Self { fwd, detail: Some(detail), stale, base: None, varies: None };
        }
        // What completes it validates it, too.
        Self { fwd, detail: Some(detail), ..Self::completed(ask, found, gaps) }
    }

    /// `found` is stored in part, and `gaps` are missing.
    pub fn completed(ask: &Ask, found: Found, gaps: Vec<Span>) -> Self {
        let none = Self { fwd: Fwd::Partial, ..Self::missing(Fwd::Partial, None) };
        let entry = &found.entry;
        let part = match parts::wanted_of(ask, entry) {
            RangeAnswer::Part(span) => Some(span),
            RangeAnswer::Whole => None,
            RangeAnswer::Parts(_) | RangeAnswer::Unsatisfiable => return none,
        };
        let validator = Strong::of(&entry.stored);
        // Without a validator what comes cannot be combined. For the whole the end is asked for all
        // the same: an origin without validators mostly knows no ranges either, and sends all.
        if validator.is_none() && (part.is_some() || gaps.len() > 1) {
            return none;
        }
        let gaps = match (gaps.first(), gaps.last()) {
            (Some(first), Some(last)) if gaps.len() > MAX_GAPS => {
                Span::new(first.from(), last.to()).into_iter().collect()
            }
            _ => gaps,
        };
        Self { base: Some(Base { found, validator, gaps, part }), ..none }
    }

    /// Why the origin is asked.
    pub fn fwd(&self) -> Fwd {
        self.fwd
    }

    /// Selected by other values after all: of these names, in this generation of their list.
    pub(super) fn selected_by(&mut self, names: Box<[HeaderName]>, generation: u64) {
        (self.stale, self.base) = (None, None);
        self.varies = Some((names, generation));
        self.fwd = Fwd::VaryMiss;
    }

    pub(super) fn decision(&self, outcome: Outcome) -> Decision {
        let mut decision = Decision::forwarded(outcome, self.fwd);
        decision.detail = self.detail;
        decision
    }

    fn found(&self) -> Option<&Found> {
        self.stale.as_ref().or(self.base.as_ref().map(|base| &base.found))
    }

    pub(super) fn goal(&self, ask: &Ask) -> Goal {
        if ask.asked.is_head() {
            return if self.stale.is_some() { Goal::Whole } else { Goal::Pass };
        }
        if !ask.asked.has_range {
            return Goal::Whole;
        }
        match (&self.stale, &self.base) {
            (Some(found), _) if found.entry.identity.is_whole() => Goal::Whole,
            (None, Some(base)) if base.part.is_none() => Goal::Whole, // If-Range does not hold
            _ => Goal::Part,
        }
    }

    /// By what others find the fetch of the whole.
    pub(super) fn whole_key(&self, ask: &Ask, primary: &[u8]) -> Bytes {
        match (self.found(), &self.varies) {
            (Some(Found { variant: Some(variant), .. }), _) => variant.clone(),
            (None, Some((names, generation))) => {
                variant_key(primary, names, *generation, &ask.head.headers)
            }
            _ => Bytes::copy_from_slice(primary),
        }
    }

    /// By what others find a fetch for this goal.
    pub(super) fn flight_key(&self, ask: &Ask, primary: &[u8], goal: Goal) -> Bytes {
        let whole = self.whole_key(ask, primary);
        if goal != Goal::Part {
            return whole;
        }
        let field = |name| ask.head.headers.get(name).map_or(&b""[..], |value| value.as_bytes());
        key::part(&whole, field(RANGE), field(IF_RANGE))
    }

    /// The request that asks for it, and the one for when the origin has something else than what
    /// is held.
    pub(super) fn requests(
        &self,
        worker: &Worker,
        ask: &Ask,
        goal: Goal,
        relay: Option<&Relay>,
    ) -> (Request<RequestBody>, Option<Request<RequestBody>>) {
        let stored = self.stale.as_ref().map(|found| &found.entry.fields);
        let build = |stored: Option<&Fields>, gap: Option<(&Base, Span)>| {
            let mut fields = forward::fields_to_fill(ask, &worker.house.via, stored);
            match gap {
                Some((base, gap)) => {
                    let len = base.found.entry.identity.len();
                    ask_for_part(&mut fields, gap, len, base.validator.as_ref());
                }
                None if goal == Goal::Part => {
                    for name in [RANGE, IF_RANGE] {
                        if let Some(value) = ask.head.headers.get(&name) {
                            fields.insert(name, value.clone());
                        }
                    }
                }
                None => {}
            }
            let (method, body) = forward::read(ask);
            let mut request = forward::request(ask, method, fields, body);
            if let Some(relay) = relay {
                relay.clone().attach(&mut request);
            }
            request
        };
        let gap = self.base.as_ref().and_then(|base| Some((base, *base.gaps.first()?)));
        let anew = (stored.is_some() || gap.is_some()).then(|| build(None, None));
        (build(stored, gap), anew)
    }

    /// What the fill needs to know, beside what every one does.
    pub(super) fn plan(&self, worker: &Arc<Worker>, ask: &Ask, goal: Goal, plan: Plan) -> Plan {
        let found = self.found();
        let base = self.base.as_ref();
        Plan {
            forced: self.fwd == Fwd::Request,
            origin_codes: (self.varies.as_ref())
                .is_some_and(|(names, _)| names.contains(&ACCEPT_ENCODING))
                || found.is_some_and(|found| !found.entry.compressible),
            stale: self.stale.clone(),
            asks_part: goal == Goal::Part,
            base: base.map(|base| base.found.clone()),
            gaps: base.map_or_else(Vec::new, |base| base.gaps.clone()),
            refill: base.filter(|base| base.gaps.len() > 1).and_then(|base| {
                let entry = &base.found.entry;
                Refill::of(worker, ask, &entry.stored, entry.identity.len())
            }),
            part: base.and_then(|base| base.part),
            whole_key: self.whole_key(ask, &plan.primary),
            ..plan
        }
    }
}
