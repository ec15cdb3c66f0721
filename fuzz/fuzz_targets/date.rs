//! Dates: what another parser reads is read alike, and what is written is read back.

#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;
use larder::semantics::date;
use larder::semantics::time::Timestamp;
use libfuzzer_sys::fuzz_target;

/// The last second of the year 9999.
const LAST: u64 = 253_402_300_799;

fuzz_target!(|input: (u64, &[u8])| {
    let (secs, text) = input;
    let secs = secs % (LAST + 1);
    let written = date::format(Timestamp::from_secs(secs));
    assert_eq!(date::parse(&written), Some(Timestamp::from_secs(secs)));
    let other = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(secs));
    assert_eq!(written.to_str().expect("plain"), other);
    let Ok(value) = HeaderValue::from_bytes(text) else { return };
    let own = date::parse(&value);
    let other = value.to_str().ok().and_then(|text| httpdate::parse_http_date(text).ok());
    let other = other.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    if let Some(other) = other {
        assert_eq!(own, Some(Timestamp::from_secs(other.as_secs())), "{value:?}");
    }
    if let Some(own) = own {
        assert!(own.as_secs() <= LAST, "{value:?}");
        assert_eq!(own.as_millis() % 1000, 0);
        assert_eq!(date::parse(&date::format(own)), Some(own));
        // Letter case tells nothing.
        let lower = text.to_ascii_lowercase();
        let lower = HeaderValue::from_bytes(&lower).expect("as valid as before");
        assert_eq!(date::parse(&lower), Some(own));
    }
});
