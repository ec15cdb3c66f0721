//! What is parsed in place of a head that must not be.

use super::bytes::{is_plain_target, token_length};

/// Bytes of a bad request's method, and of its target, that are shown at most.
const METHOD_MAX: usize = 24;
const TARGET_MAX: usize = 256;

/// A harmless request in place of a bad `head`, so that it can be answered, counted and logged
/// like any other. It says of the bad one what its first line gives away safely: the method if it
/// is one (else `-`), and the target in origin form, in which every byte that no target has is
/// percent-encoded (else `/`). Nothing of it may be taken for the client's words but by a log.
pub fn stand_in(head: &[u8]) -> Vec<u8> {
    let line = head.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
    let (method, rest) = line.split_at_checked(token_length(line)).unwrap_or_default();
    let mut request = Vec::with_capacity(96);
    match (method.len(), rest) {
        (1..=METHOD_MAX, [b' ', target @ ..]) => {
            request.extend_from_slice(method);
            request.push(b' ');
            push_target(target, &mut request);
        }
        _ => request.extend_from_slice(b"- /"),
    }
    request.extend_from_slice(b" HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n");
    request
}

fn push_target(rest: &[u8], request: &mut Vec<u8>) {
    let target = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
    if target.first() != Some(&b'/') {
        return request.push(b'/');
    }
    for byte in target.iter().take(TARGET_MAX) {
        if is_plain_target(&[*byte]) {
            request.push(*byte);
        } else {
            let digit = |nibble: u8| b"0123456789ABCDEF".get(usize::from(nibble)).copied();
            request.push(b'%');
            request.extend(digit(byte >> 4).into_iter().chain(digit(byte & 15)));
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Uri;
    use proptest::prelude::*;

    use super::*;
    use crate::semantics::wire::{RequestScanner, Scan, WireLimits};

    fn line(head: &[u8]) -> String {
        let request = String::from_utf8(stand_in(head)).unwrap();
        request.lines().next().unwrap().strip_suffix(" HTTP/1.1").unwrap().to_owned()
    }

    #[test]
    fn the_first_line_shows_what_was_asked() {
        let long = format!("GET /{} HTTP/1.1", "\"".repeat(1000));
        for (case, head, want) in [
            ("plain", "GET /a?b HTTP/1.1\r\nX: \0", "GET /a?b"),
            ("odd bytes", "HEAD /a\"<b>?c`#d HTTP/1.1\r\n", "HEAD /a%22%3Cb%3E?c%60%23d"),
            ("a space", "GET /a b HTTP/1.1", "GET /a"),
            ("absolute", "GET http://u@h/ HTTP/1.1", "GET /"),
            ("cut short", "GET /a", "GET /a"),
            ("no target", "GET", "- /"),
            ("no method", "\x16\x03\x01", "- /"),
            ("nothing", "", "- /"),
            ("a long method", "ABCDEFGHIJKLMNOPQRSTUVWXYZ /", "- /"),
        ] {
            assert_eq!(line(head.as_bytes()), want, "{case}");
        }
        assert_eq!(line(long.as_bytes()), format!("GET /{}", "%22".repeat(TARGET_MAX - 1)));
    }

    proptest! {
        #[test]
        fn whatever_was_bad_it_is_one_sound_request(
            head in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..400),
                prop::collection::vec(any::<u8>(), 0..400)
                    .prop_map(|bytes| [b"GET /", bytes.as_slice()].concat()),
            ],
        ) {
            let request = stand_in(&head);
            let mut scanner = RequestScanner::new(WireLimits::default());
            prop_assert_eq!(scanner.feed(&request), Scan::Pass);
            prop_assert!(scanner.between_messages() && scanner.heads() == 1);
            let line = line(&head);
            let (_, target) = line.split_once(' ').unwrap();
            prop_assert!(Uri::try_from(target).is_ok(), "{}", target);
        }
    }
}
