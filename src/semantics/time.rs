//! Points in time and whole-second spans as HTTP writes them. No clock is read here.

use std::ops::Add;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch, as Larder's own clock tells them.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The epoch: what an unknown time counts as.
    pub const EPOCH: Self = Self(0);

    /// From milliseconds since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From whole seconds since the Unix epoch; too large a number saturates.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// The time from `earlier` to `self`; zero where `earlier` is the later one.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }
}

/// Whole seconds as HTTP writes them; 2^31 stands for "forever" (RFC 9111 §1.2.2).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct DeltaSeconds(u32);

impl DeltaSeconds {
    /// The largest value: what does not fit counts as this.
    pub const FOREVER: Self = Self(1 << 31);
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// Whole seconds, at most [`Self::FOREVER`].
    pub fn new(secs: u64) -> Self {
        Self(u32::try_from(secs).unwrap_or(u32::MAX)).min(Self::FOREVER)
    }

    /// Too large is forever; a sign, a space or a fraction is no number at all.
    pub fn parse(text: &str) -> Option<Self> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().map_or(Self::FOREVER, Self::new))
    }

    /// Whole seconds.
    pub const fn as_secs(self) -> u32 {
        self.0
    }

    /// The same as a [`Duration`].
    pub const fn as_duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delta_seconds_are_digits_only_and_saturate() {
        for (case, text, want) in [
            ("plain", "60", Some(DeltaSeconds::new(60))),
            ("zero", "0", Some(DeltaSeconds::ZERO)),
            ("past 2^31", "2147483649", Some(DeltaSeconds::FOREVER)),
            ("past 2^64", "99999999999999999999999", Some(DeltaSeconds::FOREVER)),
            ("sign", "-1", None),
            ("plus", "+1", None),
            ("fraction", "1.5", None),
            ("space", " 1", None),
            ("empty", "", None),
        ] {
            assert_eq!(DeltaSeconds::parse(text), want, "{case}: {text:?}");
        }
    }
}
