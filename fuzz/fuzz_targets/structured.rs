//! Structured Fields: CDN-Cache-Control, Cache-Groups and No-Vary-Search. A malformed one counts as
//! not sent, whole (RFC 9213 §2.1); a well-formed one says what it says in whatever form.

#![no_main]

use arbitrary::Arbitrary;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderName, HeaderValue};
use larder::semantics::groups;
use larder::semantics::search::Variance;
use larder::semantics::targeted::Said;
use larder::semantics::time::{DeltaSeconds, Timestamp};
use larder_fuzz::field;
use libfuzzer_sys::fuzz_target;
use sfv::{Dictionary, FieldType, List, Parser};

const TARGET: HeaderName = HeaderName::from_static("cdn-cache-control");
const GROUPS: HeaderName = HeaderName::from_static("cache-groups");
const SEARCH: HeaderName = HeaderName::from_static("no-vary-search");

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    text: &'a [u8],
    max_age: u32,
    query: &'a [u8],
    other: &'a [u8],
}

fuzz_target!(|input: Input| {
    targeted(input.text, input.max_age);
    in_groups(input.text);
    search(input.text, input.query, input.other);
});

fn lines(name: &HeaderName, headers: &HeaderMap) -> Vec<u8> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    lines.join(&b", "[..])
}

fn targeted(text: &[u8], max_age: u32) {
    let mut headers = field(&TARGET, text);
    let general = HeaderValue::from_static("private, max-age=7");
    headers.insert(CACHE_CONTROL, general);
    let said = |headers: &HeaderMap| Said::of(headers, &[TARGET], Timestamp::EPOCH);
    let own = said(&headers);
    let written: Option<Dictionary> = Parser::new(&lines(&TARGET, &headers)).parse().ok();
    let sound = written.filter(|members| !members.is_empty());
    assert!(!own.targeted || sound.is_some(), "a malformed one counts");
    if !own.targeted {
        assert!(own.directives.private, "Cache-Control counts where it does not");
    }
    // In the form that the grammar prefers it says the same.
    if let Some(members) = sound {
        let mut again = headers.clone();
        let text = members.serialize().expect("not empty");
        again.insert(TARGET, HeaderValue::from_str(&text).expect("plain"));
        assert_eq!(said(&again), own, "{text}");
        // The last one counts.
        again.append(TARGET, HeaderValue::from_str(&format!("max-age={max_age}")).expect("plain"));
        let stricter = said(&again);
        let odd = !own.targeted; // another span in it is no integer
        assert!(odd || stricter.directives.max_age == Some(DeltaSeconds::new(max_age.into())));
    }
    // One bad member makes all of it void.
    headers.append(TARGET, HeaderValue::from_static("max-age=60, %"));
    assert!(!said(&headers).targeted);
}

fn in_groups(text: &[u8]) {
    let headers = field(&GROUPS, text);
    let names = groups::of_response(&headers);
    let list: Option<List> = Parser::new(&lines(&GROUPS, &headers)).parse().ok();
    assert!(names.is_empty() || list.is_some(), "of a malformed list");
    assert!(names.len() <= 64 && names.iter().all(|name| name.len() <= 256));
    let mut void = headers.clone();
    void.append(GROUPS, HeaderValue::from_static("5"));
    assert!(groups::of_response(&void).is_empty(), "a number is no name");
}

fn search(text: &[u8], query: &[u8], other: &[u8]) {
    let headers = field(&SEARCH, text);
    let Some(variance) = Variance::of(&headers) else { return };
    let canonical = variance.canonical(query);
    assert!(canonical.iter().all(|b| b.is_ascii_graphic()), "it becomes part of a key");
    assert_eq!(variance.canonical(&canonical), canonical, "it stands for itself");
    // Joined behind each other, parameters stay apart.
    let both = [query, b"&", other].concat();
    let apart = [&canonical[..], b"&", &variance.canonical(other)].concat();
    assert_eq!(variance.canonical(&both), variance.canonical(&apart));
}
