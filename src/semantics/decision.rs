//! What was decided for a request, and why: one value that feeds Cache-Status, metrics, the
//! access log and `larder cache explain`.

/// What the cache did for a request: the label `cache` of `larder_requests_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// A stored response was fresh and sent.
    Hit,
    /// A stored response was sent although it was stale (RFC 9111 §4.2.4).
    Stale,
    /// A stored response was validated at the origin and sent.
    Revalidated,
    /// The origin's answer was sent; it was asked for the cache's sake.
    Miss,
    /// The origin's answer was sent; the cache had no part in it.
    Pass,
    /// Larder answered itself: a refusal, or the origin gave nothing to send.
    Error,
}

impl Outcome {
    /// All outcomes, in the order of their discriminants.
    pub const ALL: [Self; 6] =
        [Self::Hit, Self::Stale, Self::Revalidated, Self::Miss, Self::Pass, Self::Error];

    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Pass => "pass",
            Self::Error => "error",
        }
    }
}

/// Why a request went to the origin (RFC 9211 §2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fwd {
    /// Configured to bypass the cache.
    Bypass,
    /// The method's semantics require it.
    Method,
    /// Nothing is stored for this URI.
    UriMiss,
    /// Something is stored for this URI, but not for these selecting header fields.
    VaryMiss,
    /// Stored, but the request's own directives asked for the origin.
    Request,
    /// Stored, but stale.
    Stale,
    /// Stored in part only.
    Partial,
}

impl Fwd {
    /// The parameter's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Request => "request",
            Self::Stale => "stale",
            Self::Partial => "partial",
        }
    }
}

/// The decision on one request, as it was made (RFC 9211's words).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// What the cache did.
    pub outcome: Outcome,
    /// Why the origin was asked, if it was.
    pub fwd: Option<Fwd>,
    /// The origin's status code, where it differs from what the client got.
    pub fwd_status: Option<u16>,
    /// The origin's answer was put into the cache (or is being put there).
    pub stored: bool,
    /// The request waited for another's fetch.
    pub collapsed: bool,
    /// Remaining freshness in seconds at the time of the answer; negative once stale.
    pub ttl: Option<i64>,
    /// The reason in a word, where there is more to say.
    pub detail: Option<&'static str>,
}

impl Decision {
    /// A decision with nothing but its outcome.
    pub const fn new(outcome: Outcome) -> Self {
        Self {
            outcome,
            fwd: None,
            fwd_status: None,
            stored: false,
            collapsed: false,
            ttl: None,
            detail: None,
        }
    }

    /// The origin was asked because of `fwd`.
    pub const fn forwarded(outcome: Outcome, fwd: Fwd) -> Self {
        let mut decision = Self::new(outcome);
        decision.fwd = Some(fwd);
        decision
    }

    /// The same with a word on why.
    #[must_use]
    pub const fn because(mut self, detail: &'static str) -> Self {
        self.detail = Some(detail);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_in_words() {
        let words = Outcome::ALL.map(Outcome::as_str);
        assert_eq!(words, ["hit", "stale", "revalidated", "miss", "pass", "error"]);
        for (nth, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, nth, "{outcome:?}");
        }
    }

    #[test]
    fn reasons_in_the_words_of_rfc_9211() {
        for (fwd, word) in [
            (Fwd::Bypass, "bypass"),
            (Fwd::Method, "method"),
            (Fwd::UriMiss, "uri-miss"),
            (Fwd::VaryMiss, "vary-miss"),
            (Fwd::Request, "request"),
            (Fwd::Stale, "stale"),
            (Fwd::Partial, "partial"),
        ] {
            assert_eq!(fwd.as_str(), word);
        }
    }

    #[test]
    fn a_decision_says_no_more_than_it_was_told() {
        let decision = Decision::forwarded(Outcome::Miss, Fwd::UriMiss).because("why");
        let plain = Decision::new(Outcome::Miss);
        assert_eq!((decision.fwd, decision.detail), (Some(Fwd::UriMiss), Some("why")));
        assert_eq!(Decision { fwd: None, detail: None, ..decision }, plain);
        assert_eq!((plain.outcome, plain.stored, plain.collapsed), (Outcome::Miss, false, false));
        assert_eq!((plain.fwd_status, plain.ttl), (None, None));
    }
}
