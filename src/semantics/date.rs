//! HTTP dates (RFC 9110 §5.6.7).

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;

use super::time::Timestamp;

/// 9999-12-31T23:59:59Z: the last date that can be written.
const LAST_SECS: u64 = 253_402_300_799;

/// Reads any of the three forms; `None` for everything else, dates before 1970 included.
pub fn parse(value: &HeaderValue) -> Option<Timestamp> {
    let time = httpdate::parse_http_date(value.to_str().ok()?).ok()?;
    let since = time.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_secs(since.as_secs()))
}

/// Writes the preferred form, in whole seconds rounded down.
pub fn format(time: Timestamp) -> HeaderValue {
    let secs = time.as_secs().min(LAST_SECS);
    let text = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(secs));
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static(EPOCH_TEXT))
}

const EPOCH_TEXT: &str = "Thu, 01 Jan 1970 00:00:00 GMT";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_forms_are_read_and_nothing_else() {
        let want = Some(Timestamp::from_secs(784_111_777));
        for (case, text, want) in [
            ("IMF-fixdate", "Sun, 06 Nov 1994 08:49:37 GMT", want),
            ("RFC 850", "Sunday, 06-Nov-94 08:49:37 GMT", want),
            ("asctime", "Sun Nov  6 08:49:37 1994", want),
            ("zero", "0", None),
            ("minus one", "-1", None),
            ("empty", "", None),
            ("another zone", "Sun, 06 Nov 1994 08:49:37 EST", None),
            ("one-digit hour", "Sun, 06 Nov 1994 8:49:37 GMT", None),
        ] {
            assert_eq!(parse(&HeaderValue::from_static(text)), want, "{case}: {text}");
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_the_end_of_time_does_not_panic() {
        let time = Timestamp::from_secs(1_700_000_000);
        assert_eq!(parse(&format(time)), Some(time));
        assert_eq!(format(Timestamp::EPOCH), EPOCH_TEXT);
        assert_eq!(format(Timestamp::from_millis(u64::MAX)), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
