//! Header fields that an intermediary takes out, puts in and reads for itself.
//!
//! - [`hop_by_hop`]: what ends at a connection (RFC 9110 §7.6.1).
//! - [`via`]: who passed a message on, and loops (§7.6.3).
//! - [`forwarded`]: X-Forwarded-*, Forwarded, X-Real-IP, and what they say of the client.
//! - [`authority`]: host and port.
//! - [`seen`]: which of these a request has at all.

pub mod authority;
pub mod forwarded;
pub mod hop_by_hop;
pub mod seen;
pub mod via;

pub use forwarded::{ClientView, client_view};
pub use hop_by_hop::{end_to_end, strip_hop_by_hop};
pub use seen::Seen;
pub use via::Pseudonym;

use http::HeaderMap;
use http::header::DATE;

use super::date;
use super::time::Timestamp;

/// Makes of a response that arrived `at` then what is judged, stored and passed on: without the
/// fields that end here, and with a Date where the origin sent none (RFC 9110 §6.6.1).
pub fn receive(headers: &mut HeaderMap, at: Timestamp) {
    strip_hop_by_hop(headers);
    if !headers.contains_key(DATE) {
        headers.insert(DATE, date::format(at));
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_received_has_a_date_and_ends_here_without_hop_by_hop_fields() {
        let mut headers = HeaderMap::new();
        headers.insert("connection", HeaderValue::from_static("x-hop"));
        headers.insert("x-hop", HeaderValue::from_static("1"));
        headers.insert("x-end", HeaderValue::from_static("1"));
        let mut dated = headers.clone();
        dated.insert(DATE, HeaderValue::from_static("whatever it says"));
        receive(&mut headers, Timestamp::from_millis(784_111_777_999));
        assert_eq!(headers.len(), 2, "{headers:?}");
        assert_eq!(headers.get(DATE).unwrap(), "Sun, 06 Nov 1994 08:49:37 GMT");
        receive(&mut dated, Timestamp::EPOCH);
        assert_eq!(dated.get(DATE).unwrap(), "whatever it says");
    }
}
