//! Which parts are of one representation, and so may be put together (RFC 9110 §15.3.7.3, RFC 9111
//! §3.4).

use std::sync::atomic::{AtomicUsize, Ordering};

use super::partial::{LEN, V1, asked, is_all, is_part, last, range};
use crate::support::{Ask, Content, Larder, Origin, noise};

#[test]
fn only_one_strong_validator_joins_parts() {
    const OLD: &str = "last-modified: Sat, 01 Jan 2000 00:00:00 GMT";
    let body = noise(LEN, 3);
    let fresh = "cache-control: max-age=60";
    let just_now = httpdate_now();
    let (date, now) = (format!("date: {just_now}"), format!("last-modified: {just_now}"));
    for (case, tag, fields, joins) in [
        ("a strong tag", "\"v1\"", &[fresh][..], true),
        ("a date long ago", "", &[fresh, OLD], true),
        ("a weak tag", "W/\"v1\"", &[fresh], false),
        ("a weak tag and a date", "W/\"v1\"", &[fresh, OLD], false),
        ("a date of this second", "", &[fresh, &date, &now], false),
        ("no validator", "", &[fresh], false),
    ] {
        let content = Content::new(body.clone(), tag).with(fields);
        let dated = OLD.split_once(": ").map(|(_, date)| date);
        let origin = Origin::new(move |seen, reply| {
            let mut seen = seen.clone();
            // As an app that compares dates, too.
            seen.headers.retain(|(name, value)| name != "if-range" || Some(&**value) != dated);
            content.answer(&seen, reply);
        });
        let larder = Larder::in_front_of(&origin);
        is_part(&larder.ask(&range("0-99")), &body, 0, 100);
        is_part(&larder.ask(&range("100-199")), &body, 100, 200);
        let before = origin.count();
        let both = larder.ask(&range("0-199"));
        is_part(&both, &body, 0, 200);
        assert_eq!(both.was_hit(), joins, "{case}: {both:?}");
        assert_eq!(origin.count() - before, usize::from(!joins), "{case}");
        if !joins {
            assert_eq!(last(&origin), asked("0-199", None), "{case}");
        }
        is_all(&larder.get("/"), &body);
    }
}

fn httpdate_now() -> String {
    let out = std::process::Command::new("date")
        .args(["-u", "+%a, %d %b %Y %H:%M:%S GMT"])
        .env("LC_ALL", "C")
        .output()
        .expect("date");
    String::from_utf8(out.stdout).expect("text").trim().to_owned()
}

/// An origin that has `first` until it is asked for the `n`th time, and `then` from then on.
fn changing(first: Content, n: usize, then: Content) -> Origin {
    let count = AtomicUsize::new(1);
    Origin::new(move |seen, reply| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        if number < n { &first } else { &then }.answer(seen, reply);
    })
}

#[test]
fn parts_of_two_representations_are_never_mixed() {
    let (old, new) = (noise(LEN, 4), noise(LEN, 5));
    let contents = || (Content::new(old.clone(), "\"v1\""), Content::new(new.clone(), "\"v2\""));
    let (first, then) = contents();
    let origin = changing(first, 2, then);
    let larder = Larder::in_front_of(&origin);
    is_part(&larder.ask(&range("0-99")), &old, 0, 100);
    is_part(&larder.ask(&range("0-199")), &new, 0, 200); // If-Range brought all of the new one
    assert_eq!(last(&origin), asked("100-199", V1));
    is_all(&larder.await_hit(&Ask::get("/")), &new);

    // The same for the whole.
    let (first, then) = contents();
    let origin = changing(first, 2, then);
    let larder = Larder::in_front_of(&origin);
    is_part(&larder.ask(&range("0-99")), &old, 0, 100);
    is_all(&larder.get("/"), &new);
    is_part(&larder.await_hit(&range("0-99")), &new, 0, 100);

    // An app that does not know If-Range sends a part of the new one: asked again.
    let (first, then) = contents();
    let then = Content { tag: "\"v2\"".into(), ..then };
    let count = AtomicUsize::new(0);
    let origin = Origin::new(move |seen, reply| {
        let mut seen = seen.clone();
        seen.headers.retain(|(name, _)| name != "if-range");
        let number = count.fetch_add(1, Ordering::SeqCst);
        if number == 0 { &first } else { &then }.answer(&seen, reply);
    });
    let larder = Larder::in_front_of(&origin);
    is_part(&larder.ask(&range("0-99")), &old, 0, 100);
    is_part(&larder.ask(&range("0-199")), &new, 0, 200);
    assert_eq!(last(&origin), asked("0-199", None));
    assert_eq!(origin.count(), 3);
    is_part(&larder.await_hit(&range("0-99")), &new, 0, 100);
}

#[test]
fn another_length_or_coding_is_another_representation() {
    for (case, field, len) in
        [("length", "x-same: 1", LEN + 1), ("coding", "content-encoding: gzip", LEN)]
    {
        let (old, new) = (noise(LEN, 6), noise(len, 7));
        let fields = ["cache-control: max-age=60", field];
        let then = Content::new(new.clone(), "\"v1\"").with(&fields);
        let origin = changing(Content::new(old.clone(), "\"v1\""), 2, then);
        let larder = Larder::in_front_of(&origin);
        let ask = |text| range(text).with("Accept-Encoding", "gzip");
        is_part(&larder.ask(&ask("0-99")), &old, 0, 100);
        let answer = larder.ask(&ask("0-199"));
        is_part(&answer, &new, 0, 200);
        assert_eq!(last(&origin), asked("0-199", None), "{case}");
    }
}

#[test]
fn parts_belong_to_their_variant() {
    let origin = Origin::new(|seen, reply| {
        let language = seen.header("accept-language").unwrap_or("en").to_owned();
        let content = Content::new(noise(LEN, language.len() as u64), "\"v1\"");
        content.with(&["cache-control: max-age=60", "vary: Accept-Language"]).answer(seen, reply);
    });
    let larder = Larder::in_front_of(&origin);
    let in_language = |ask: Ask, language| ask.with("Accept-Language", language);
    for (language, seed) in [("en", 2), ("deu", 3)] {
        let body = noise(LEN, seed);
        is_part(&larder.ask(&in_language(range("0-99"), language)), &body, 0, 100);
        let more = larder.ask(&in_language(range("0-199"), language));
        is_part(&more, &body, 0, 200);
        assert_eq!(last(&origin), asked("100-199", V1), "{language}");
    }
    for (language, seed) in [("en", 2), ("deu", 3)] {
        is_all(&larder.ask(&in_language(Ask::get("/"), language)), &noise(LEN, seed));
        assert_eq!(last(&origin), asked("200-", V1), "{language}");
    }
}

#[test]
fn a_part_that_is_selected_otherwise_joins_nothing() {
    let count = AtomicUsize::new(0);
    let origin = Origin::new(move |seen, reply| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        let language = seen.header("accept-language").unwrap_or("en");
        let body = noise(LEN, if first { 2 } else { language.len() as u64 });
        let vary = if first { "x-none: 1" } else { "vary: Accept-Language" };
        let content = Content::new(body, "\"v1\""); // one tag for all: its mistake
        content.with(&["cache-control: max-age=60", vary]).answer(seen, reply);
    });
    let larder = Larder::in_front_of(&origin);
    let ask = |text, language| range(text).with("Accept-Language", language);
    larder.ask(&ask("0-99", "en")).expect(206);
    larder.ask(&ask("0-199", "en")).expect(206);
    // Whatever is done with what was stored before: from now on it is told apart by language.
    is_part(&larder.ask(&ask("150-199", "deu")), &noise(LEN, 3), 150, 200);
    is_part(&larder.ask(&ask("150-199", "en")), &noise(LEN, 2), 150, 200);
}
