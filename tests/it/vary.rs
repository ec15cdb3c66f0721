//! Variants of one URL.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::support::{Ask, Larder, Origin};

#[test]
fn variants_are_kept_apart_and_each_is_a_hit() {
    let origin = Origin::new(|seen, reply| {
        let language = seen.header("accept-language").unwrap_or("none").to_owned();
        reply.ok(&["cache-control: max-age=60", "vary: Accept-Language"], language);
    });
    let larder = Larder::in_front_of(&origin);
    let ask =
        |language: &str| larder.ask(&Ask::get("/").with("Accept-Language", language)).expect(200);
    for round in 0..2 {
        for language in ["de", "en", "fr", ""] {
            let answer = ask(language);
            assert_eq!(answer.text(), language);
            assert_eq!(answer.was_hit(), round == 1, "{language:?}: {answer:?}");
        }
        let without = larder.get("/").expect(200);
        assert_eq!(without.text(), "none", "absent is not empty");
        assert_eq!(without.was_hit(), round == 1, "{without:?}");
    }
    assert_eq!(origin.count(), 5);
    let status = ask("it");
    assert_eq!(status.forwarded(), Some("vary-miss"), "{status:?}");
}

#[test]
fn values_cannot_run_together() {
    let origin = Origin::new(|seen, reply| {
        let values = format!("{:?}/{:?}", seen.header("x-a"), seen.header("x-b"));
        reply.ok(&["cache-control: max-age=60", "vary: X-A, X-B"], values);
    });
    let larder = Larder::in_front_of(&origin);
    for (a, b) in [("1", "23"), ("12", "3"), ("1,2", "3"), ("123", ""), ("", "123")] {
        let answer = larder.ask(&Ask::get("/").with("X-A", a).with("X-B", b)).expect(200);
        assert_eq!(answer.text(), format!("{:?}/{:?}", Some(a), Some(b)));
    }
}

#[test]
fn a_changed_vary_brings_no_older_variant_back() {
    let turn = AtomicUsize::new(0);
    let origin = Origin::new(move |seen, reply| {
        let turn = turn.fetch_add(1, Ordering::SeqCst);
        let vary = ["vary: X-A", "vary: X-B", "vary: X-A"][turn.min(2)];
        let body = format!("{turn}:{}", seen.header("x-a").unwrap_or_default());
        // Only the first is fresh for long; the second must replace what selects it.
        reply.ok(&["cache-control: max-age=60", vary], body);
    });
    let larder = Larder::with(&origin, "[cache]\nclient_directives = \"honour\"\n");
    let one = Ask::get("/").with("X-A", "1").with("X-B", "1");
    assert_eq!(larder.ask(&one).text(), "0:1");
    assert!(larder.ask(&one).was_hit());
    let two = Ask::get("/").with("X-A", "2").with("X-B", "2");
    assert_eq!(larder.ask(&two).text(), "1:2", "now it varies by X-B");
    let again = larder.ask(&one).expect(200);
    assert_eq!(again.text(), "2:1", "the variant of the older list is gone: {again:?}");
}

#[test]
fn variants_a_url_are_bounded() {
    let origin = Origin::new(|seen, reply| {
        let value = seen.header("x-a").unwrap_or_default().to_owned();
        reply.ok(&["cache-control: max-age=60", "vary: X-A"], value);
    });
    let larder = Larder::with(&origin, "[cache]\nmax_variants = 8\n");
    for n in 0..100 {
        let n = n.to_string();
        assert_eq!(larder.ask(&Ask::get("/").with("X-A", &n)).expect(200).text(), n);
    }
    let objects = larder.metrics().count("larder_cache_objects", &[("tier", "memory")]);
    assert!(objects <= 20, "{objects} objects for one URL");
}

#[test]
fn a_variant_is_validated_with_its_own_etag() {
    let origin = Origin::new(|seen, reply| {
        let value = seen.header("x-a").unwrap_or_default().to_owned();
        let etag = format!("etag: \"{value}\"");
        let headers = &["cache-control: max-age=1", "age: 5", "vary: X-A", &*etag];
        let asked = seen.header("if-none-match").unwrap_or_default();
        if asked.contains(&format!("\"{value}\"")) {
            reply.answer(304, headers, "");
        } else {
            reply.ok(headers, value);
        }
    });
    let larder = Larder::in_front_of(&origin);
    for _ in 0..3 {
        for value in ["red", "green"] {
            assert_eq!(larder.ask(&Ask::get("/").with("X-A", value)).expect(200).text(), value);
        }
    }
}

#[test]
fn lists_of_languages_that_mean_the_same_share_a_variant() {
    let origin = || {
        Origin::new(|seen, reply| {
            let language = match seen.target.as_str() {
                "/de" => "content-language: de",
                _ => "x-none: 1",
            };
            reply.ok(&["cache-control: max-age=60", "vary: Accept-Language", language], "x");
        })
    };
    for (case, path, asked, on, off) in [
        ("the same", "/", "en, de", true, true),
        ("letter case and spaces", "/", "EN ,de", true, true),
        ("another order", "/", "de, en", true, false),
        ("another list", "/", "fr", false, false),
        ("the stored one is wanted most", "/de", "fr;q=0.5, de", true, false),
        ("another is wanted more", "/de", "fr, de;q=0.5", false, false),
        ("another as much", "/de", "fr, de", false, false),
    ] {
        for (config, want) in [("", on), ("[cache]\nvary_language = false\n", off)] {
            let origin = origin();
            let larder = Larder::with(&origin, config);
            larder.ask(&Ask::get(path).with("Accept-Language", "en, de")).expect(200);
            let ask = Ask::get(path).with("Accept-Language", asked);
            let answer = larder.ask(&ask).expect(200);
            assert_eq!(answer.was_hit(), want, "{case} {config:?}: {answer:?}");
            assert!(larder.ask(&ask).expect(200).was_hit(), "{case}: its own by now");
        }
    }
}
