//! HTTP dates (RFC 9110 §5.6.7).

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderValue;

use super::time::Timestamp;

/// 9999-12-31T23:59:59Z: the last date that can be written.
const LAST_SECS: u64 = 253_402_300_799;

const DAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads any of the three forms; `None` for everything else, dates before 1970 included.
///
/// Names in whatever letter case (RFC 9111 §4.2 asks caches to), and the day of the week unchecked
/// against the date, which tells more.
pub fn parse(value: &HeaderValue) -> Option<Timestamp> {
    let text = value.to_str().ok()?.trim_matches([' ', '\t']);
    let (day_name, rest) = text.split_once(' ')?;
    let date = match day_name.strip_suffix(',') {
        Some(day) if is_day(day, 3) => imf_fixdate(rest),
        Some(day) if is_day(day, usize::MAX) => rfc850(rest),
        None if is_day(day_name, 3) => asctime(rest),
        _ => None,
    }?;
    date.timestamp()
}

/// One of the names of days, of which `letters` are written.
fn is_day(written: &str, letters: usize) -> bool {
    DAYS.iter().any(|day| {
        let name = day.get(..letters.min(day.len())).unwrap_or(day);
        name.eq_ignore_ascii_case(written)
    })
}

struct Date {
    year: u64,
    /// 0 to 11.
    month: u64,
    day: u64,
    secs: u64,
}

/// `06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(text: &str) -> Option<Date> {
    let (day, rest) = number(text, 2)?;
    let (month, rest) = month(rest.strip_prefix(' ')?)?;
    let (year, rest) = number(rest.strip_prefix(' ')?, 4)?;
    let (secs, rest) = time(rest.strip_prefix(' ')?)?;
    is_gmt(rest).then_some(Date { year, month, day, secs })
}

/// `06-Nov-94 08:49:37 GMT`; years below 70 are of this century.
fn rfc850(text: &str) -> Option<Date> {
    let (day, rest) = number(text, 2)?;
    let (month, rest) = month(rest.strip_prefix('-')?)?;
    let (year, rest) = number(rest.strip_prefix('-')?, 2)?;
    let (secs, rest) = time(rest.strip_prefix(' ')?)?;
    let year = if year < 70 { 2000 + year } else { 1900 + year };
    is_gmt(rest).then_some(Date { year, month, day, secs })
}

/// `Nov  6 08:49:37 1994`
fn asctime(text: &str) -> Option<Date> {
    let (month, rest) = month(text)?;
    let rest = rest.strip_prefix(' ')?;
    let (day, rest) = match rest.strip_prefix(' ') {
        Some(one_digit) => number(one_digit, 1)?,
        None => number(rest, 2)?,
    };
    let (secs, rest) = time(rest.strip_prefix(' ')?)?;
    let (year, rest) = number(rest.strip_prefix(' ')?, 4)?;
    rest.is_empty().then_some(Date { year, month, day, secs })
}

fn is_gmt(text: &str) -> bool {
    text.eq_ignore_ascii_case(" GMT")
}

/// Exactly so many digits, and what follows them.
fn number(text: &str, digits: usize) -> Option<(u64, &str)> {
    let (written, rest) = text.split_at_checked(digits)?;
    let all = written.bytes().all(|b| b.is_ascii_digit());
    Some((all.then(|| written.parse().ok())??, rest))
}

fn month(text: &str) -> Option<(u64, &str)> {
    let (written, rest) = text.split_at_checked(3)?;
    let nth = (0..).zip(MONTHS).find(|(_, name)| name.eq_ignore_ascii_case(written))?;
    Some((nth.0, rest))
}

/// Seconds since midnight; a leap second is the next minute's first.
fn time(text: &str) -> Option<(u64, &str)> {
    let (hour, rest) = number(text, 2)?;
    let (minute, rest) = number(rest.strip_prefix(':')?, 2)?;
    let (second, rest) = number(rest.strip_prefix(':')?, 2)?;
    let valid = hour < 24 && minute < 60 && second <= 60;
    valid.then_some((hour * 3600 + minute * 60 + second, rest))
}

impl Date {
    fn timestamp(&self) -> Option<Timestamp> {
        const BEFORE: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let leap = |year: u64| {
            year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400)
        };
        let last = match self.month {
            1 => 28 + u64::from(leap(self.year)),
            3 | 5 | 8 | 10 => 30,
            _ => 31,
        };
        if self.year < 1970 || !(1..=last).contains(&self.day) {
            return None;
        }
        let leap_days = |year: u64| year / 4 - year / 100 + year / 400;
        let days = (self.year - 1970) * 365
            + (leap_days(self.year - 1) - leap_days(1969))
            + BEFORE.get(usize::try_from(self.month).ok()?)?
            + u64::from(self.month > 1 && leap(self.year))
            + self.day
            - 1;
        Some(Timestamp::from_secs(days * 86_400 + self.secs))
    }
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn three_forms_are_read_and_nothing_else() {
        let want = Some(Timestamp::from_secs(784_111_777));
        for (case, text, want) in [
            ("IMF-fixdate", "Sun, 06 Nov 1994 08:49:37 GMT", want),
            ("RFC 850", "Sunday, 06-Nov-94 08:49:37 GMT", want),
            ("asctime", "Sun Nov  6 08:49:37 1994", want),
            (
                "asctime, two digits",
                "Wed Nov 16 08:49:37 1994",
                Some(Timestamp::from_secs(784_975_777)),
            ),
            ("letter case", "sUN, 06 nOV 1994 08:49:37 gmt", want),
            ("letter case of RFC 850", "SUNDAY, 06-NOV-94 08:49:37 Gmt", want),
            ("letter case of asctime", "SUN NOV  6 08:49:37 1994", want),
            ("another day of the week", "Mon, 06 Nov 1994 08:49:37 GMT", want),
            (
                "this century",
                "Thursday, 18-Aug-50 02:01:18 GMT",
                Some(Timestamp::from_secs(2_544_400_878)),
            ),
            (
                "a leap second",
                "Sun, 06 Nov 1994 08:49:60 GMT",
                Some(Timestamp::from_secs(784_111_800)),
            ),
            (
                "a leap day",
                "Thu, 29 Feb 2024 00:00:00 GMT",
                Some(Timestamp::from_secs(1_709_164_800)),
            ),
            ("no leap day", "Wed, 29 Feb 2023 00:00:00 GMT", None),
            ("none in 2100", "Mon, 29 Feb 2100 00:00:00 GMT", None),
            ("no such day", "Sun, 31 Nov 1994 08:49:37 GMT", None),
            ("day zero", "Sun, 00 Nov 1994 08:49:37 GMT", None),
            ("no such hour", "Sun, 06 Nov 1994 24:49:37 GMT", None),
            ("before 1970", "Sat, 06 Nov 1965 08:49:37 GMT", None),
            ("no such name of a day", "Son, 06 Nov 1994 08:49:37 GMT", None),
            ("zero", "0", None),
            ("minus one", "-1", None),
            ("empty", "", None),
            ("another zone", "Sun, 06 Nov 1994 08:49:37 EST", None),
            ("UTC", "Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("one-digit hour", "Sun, 06 Nov 1994 8:49:37 GMT", None),
            ("two-digit year", "Sun, 06 Nov 94 08:49:37 GMT", None),
            ("no comma", "Sun 06 Nov 1994 08:49:37 GMT", None),
            ("more spaces", "Sun, 06  Nov  1994 08:49:37 GMT", None),
            ("dashes", "Sun, 06-Nov-1994 08:49:37 GMT", None),
            ("periods", "Sun, 06 Nov 1994 08.49.37 GMT", None),
            ("signs", "Sun, +6 Nov 1994 08:49:37 GMT", None),
            ("something behind", "Sun, 06 Nov 1994 08:49:37 GMT x", None),
        ] {
            assert_eq!(parse(&HeaderValue::from_static(text)), want, "{case}: {text}");
        }
    }

    #[test]
    fn the_end_of_time_does_not_panic() {
        assert_eq!(format(Timestamp::EPOCH), EPOCH_TEXT);
        assert_eq!(format(Timestamp::from_millis(u64::MAX)), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(secs in 0..=LAST_SECS) {
            let time = Timestamp::from_secs(secs);
            prop_assert_eq!(parse(&format(time)), Some(time));
        }

        #[test]
        fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Ok(value) = HeaderValue::from_bytes(&bytes) {
                let _ = parse(&value);
            }
        }
    }

    #[test]
    fn bounds() {
        let secs =
            |text| parse(&HeaderValue::from_static(text)).map(|date| date.as_millis() / 1000);
        for (case, text, want) in [
            ("no day, RFC 850", "Fooday, 06-Nov-94 08:49:37 GMT", None),
            ("no day, asctime", "Foo Nov  6 08:49:37 1994", None),
            ("of 1970", "Thursday, 01-Jan-70 00:00:00 GMT", Some(0)),
            ("of 2069", "Tuesday, 01-Jan-69 00:00:00 GMT", Some(3_124_224_000)),
            ("sixty minutes", "Sun, 06 Nov 1994 08:60:37 GMT", None),
            ("a day's end", "Sun, 06 Nov 1994 23:59:59 GMT", Some(784_166_399)),
        ] {
            assert_eq!(secs(text), want, "{case}: {text}");
        }
    }
}
