//! The query of a GET: known names, each at most once.

use http::StatusCode;
use percent_encoding::percent_decode_str;

use crate::admin::problem::Problem;

/// Lines of an answer, by default and at most.
const LIMIT: usize = 100;
const LIMIT_MOST: usize = 10_000;

/// The values of the parameters `names`, decoded.
///
/// # Errors
/// Another name, one that comes twice, or a value that is no text.
pub fn read<const N: usize>(
    query: Option<&str>,
    names: [&str; N],
) -> Result<[Option<String>; N], Problem> {
    let mut values = [const { None }; N];
    for (name, value) in pairs(query.unwrap_or_default())? {
        let place = names.iter().position(|known| *known == name);
        let Some(value_of) = place.and_then(|place| values.get_mut(place)) else {
            let known = names.join(", ");
            return Err(bad(format!("unknown parameter in the query: known are {known}")));
        };
        if value_of.replace(value).is_some() {
            return Err(bad("a parameter of the query is there twice"));
        }
    }
    Ok(values)
}

/// All parameters, decoded, in their order.
pub fn pairs(query: &str) -> Result<Vec<(String, String)>, Problem> {
    let decoded = |text: &str| {
        let text = text.replace('+', " ");
        let text = percent_decode_str(&text).decode_utf8().map(std::borrow::Cow::into_owned);
        text.map_err(|_| bad("the query is not in UTF-8"))
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Ok((decoded(name)?, decoded(value)?))
        })
        .collect()
}

/// How many lines are wanted.
pub fn limit(value: Option<&str>) -> Result<usize, Problem> {
    let Some(value) = value else { return Ok(LIMIT) };
    let limit = value.parse().ok().filter(|limit| (1..=LIMIT_MOST).contains(limit));
    limit.ok_or_else(|| bad(format!("limit must be a number from 1 to {LIMIT_MOST}")))
}

/// A request that cannot be understood.
pub fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries() {
        for (case, query, want) in [
            ("none", None, Some([None, None])),
            ("one", Some("a=1"), Some([Some("1"), None])),
            ("decoded", Some("b=%2Fx%20y+z&a=k%c3%a4se"), Some([Some("käse"), Some("/x y z")])),
            ("without a value", Some("a&&"), Some([Some(""), None])),
            ("unknown", Some("c=1"), None),
            ("twice", Some("a=1&a=2"), None),
            ("no text", Some("a=%ff"), None),
        ] {
            let got = read(query, ["a", "b"]).ok();
            assert_eq!(got, want.map(|w| w.map(|v| v.map(str::to_owned))), "{case}");
        }
        for (value, want) in [(None, Some(100)), (Some("7"), Some(7)), (Some("0"), None)] {
            assert_eq!(limit(value).ok(), want, "{value:?}");
        }
        assert!(limit(Some("10001")).is_err() && limit(Some("many")).is_err());
    }
}
