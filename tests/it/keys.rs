//! What is keyed is what was forwarded, and nobody's directives or variants reach another's entry.
//! By bare sockets, looked at from both sides.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::{Ask, Larder, Origin};

const STORED: &[&str] = &["cache-control: max-age=60"];

/// An app that writes what it was asked for into a page that may be kept.
fn mirror() -> Origin {
    Origin::new(|seen, reply| reply.ok(STORED, format!("{} {} ", seen.method, seen.target)))
}

#[test]
fn each_authority_has_its_own_entries() {
    let origin = mirror();
    let larder = Larder::in_front_of(&origin);
    for (case, target, host, forwarded, path, shared) in [
        ("plain", "/p", "app.test", "app.test", "/p", false),
        ("letter case", "/p", "APP.Test", "app.test", "/p", true),
        ("the default port", "/p", "app.test:80", "app.test", "/p", true),
        ("another port", "/p", "app.test:8080", "app.test:8080", "/p", false),
        ("another's default port", "/p", "app.test:443", "app.test:443", "/p", false),
        ("a dot behind", "/p", "app.test.", "app.test.", "/p", false),
        ("another host", "/p", "evil.test", "evil.test", "/p", false),
        ("an absolute target", "http://abs.test/p", "app.test", "abs.test", "/p", false),
        ("the same absolute", "http://APP.test:80/p", "evil.test", "app.test", "/p", true),
        ("absolute without a path", "http://app.test?q", "app.test", "app.test", "/?q", false),
        ("the same with one", "http://app.test/?q", "app.test", "app.test", "/?q", true),
    ] {
        let before = origin.count();
        let answer = larder.ask(&Ask::get(target).with("Host", host)).expect(200);
        assert_eq!(answer.was_hit(), shared, "{case}: {answer:?}");
        assert_eq!(origin.count(), before + usize::from(!shared), "{case}");
        if !shared {
            let seen = origin.last();
            assert_eq!(seen.header("host"), Some(forwarded), "{case}");
            assert_eq!(seen.header("x-forwarded-host"), Some(forwarded), "{case}");
            assert_eq!(seen.target, path, "{case}");
            assert!(larder.ask(&Ask::get(target).with("Host", host)).was_hit(), "{case}: kept");
        }
    }
    for (case, target, host) in [
        ("user information", "http://user@app.test/p", "app.test"),
        ("user information in Host", "/p", "user@app.test"),
        ("a list of hosts", "/p", "app.test, evil.test"),
        ("a path in Host", "/p", "app.test/evil"),
        ("a port that is none", "/p", "app.test:evil"),
        ("no host in it", "http:///p", "app.test"),
        ("another scheme", "ftp://app.test/p", "app.test"),
    ] {
        let before = origin.count();
        let answer = larder.ask(&Ask::get(target).with("Host", host));
        assert_eq!(answer.status, 400, "{case}: {answer:?}");
        assert_eq!(origin.count(), before, "{case}: nothing is forwarded");
        assert!(larder.get("/p").was_hit(), "{case}: nor forgotten");
    }
}

#[test]
fn the_key_is_what_was_forwarded_byte_for_byte() {
    let origin = mirror();
    let larder = Larder::in_front_of(&origin);
    let targets = [
        "/a/b",
        "/a%2fb",
        "/a%2Fb",
        "/a%252fb",
        "/a/./b",
        "/a/x/../b",
        "/a/%2e/b",
        "/a/x/%2e%2e/b",
        "//a/b",
        "/a//b",
        "/a/b/",
        "/a/b;x",
        "/a/b%3bx",
        "/a;x/b",
        "/a\\b",
        "/a%5cb",
        "/A/b",
        "/%61/b",
        "/a/b%00",
        "/a/b%20",
        "/a/b.css",
        "/a/b?",
        "/a/b%3f",
        "/a/b?x=1&x=2",
        "/a/b?x=2&x=1",
        "/a/b?x=1;x=2",
        "/a/b?x=1%26x=2",
        "/a/b?X=1&x=2",
        "/a/b?x=1&&x=2",
        "/a/b?x=1&x=2#evil",
        "/a/b%23evil",
        "/a/b?utm_source=1",
        "/http://app.test/a/b",
    ];
    let mut stored = 0;
    for target in targets {
        let answer = larder.ask(&Ask::get(target));
        let sent = target.split('#').next().unwrap_or_default();
        if answer.status == 400 {
            assert!(target.contains(['#', '\\']), "{target}: {answer:?}");
            continue;
        }
        // A fragment is no part of a target: where it is not refused it is neither keyed nor sent.
        let known = target.contains('#');
        assert_eq!(answer.was_hit(), known, "{target}: {answer:?}");
        stored += usize::from(!known);
        assert!(answer.text().starts_with(&format!("GET {sent} ")), "{target}: {}", answer.text());
    }
    assert_eq!(origin.count(), stored, "each target was asked once");
    for target in targets {
        let again = larder.ask(&Ask::get(target));
        assert!(again.was_hit() || again.status == 400, "{target}: {again:?}");
    }
    assert_eq!(origin.count(), stored);
}

#[test]
fn client_directives_override_nothing_that_binds_the_cache() {
    let turn = AtomicUsize::new(0);
    let origin = Origin::new(move |seen, reply| {
        let turn = turn.fetch_add(1, Ordering::SeqCst);
        let directives = seen.target.trim_start_matches('/').replace('_', "=").replace('+', ", ");
        let cc = format!("cache-control: {directives}");
        reply.ok(&[&cc, "age: 100", "etag: \"a\""], turn.to_string());
    });
    let larder = Larder::in_front_of(&origin);
    for bound in [
        "must-revalidate+max-age_50",
        "proxy-revalidate+max-age_50",
        "s-maxage_50",
        "no-cache+max-age_5000",
        "no-cache_\"x\"+no-cache+max-age_5000",
        "private+max-age_5000",
        "no-store+max-age_5000",
        "must-revalidate+max-age_50+stale-while-revalidate_5000",
    ] {
        let target = format!("/{bound}");
        let first = larder.get(&target).expect(200);
        for asked in [
            "max-stale",
            "max-stale=99999",
            "max-stale, max-age=99999",
            "stale-if-error=99999",
            "min-fresh=0, max-stale",
            "public, max-stale",
        ] {
            let before = origin.count();
            let answer = larder.ask(&Ask::get(&target).with("Cache-Control", asked)).expect(200);
            assert_eq!(origin.count(), before + 1, "{bound} against {asked}: {answer:?}");
            assert!(!answer.was_hit(), "{bound} against {asked}: {answer:?}");
            assert_ne!(answer.body, first.body, "{bound} against {asked}");
        }
        let before = origin.count();
        let only = Ask::get(&target).with("Cache-Control", "only-if-cached, max-stale");
        larder.ask(&only).expect(504);
        assert_eq!(origin.count(), before, "{bound}: only-if-cached asks nobody");
    }
    // The same client is obeyed where nothing forbids it.
    larder.get("/max-age_50").expect(200);
    assert!(larder.ask(&Ask::get("/max-age_50").with("Cache-Control", "max-stale")).was_hit());
}

#[test]
fn vary_star_anywhere_stores_nothing() {
    for (case, lines) in [
        ("alone", &["vary: *"][..]),
        ("among others", &["vary: Accept, *"]),
        ("first of others", &["vary: *, Accept"]),
        ("in a second line", &["vary: Accept", "vary: *"]),
        ("with white space", &["vary: Accept ,\t* "]),
        ("what is no name", &["vary: Accept Language"]),
    ] {
        let origin = Origin::new(move |_, reply| reply.ok(&[STORED, lines].concat(), "x"));
        let larder = Larder::in_front_of(&origin);
        for n in 1..=3 {
            let answer = larder.get("/").expect(200);
            assert!(!answer.was_hit() && !answer.was_stored(), "{case}: {answer:?}");
            assert_eq!(origin.count(), n, "{case}");
        }
    }
}

#[test]
fn variants_do_not_collide_and_a_changed_vary_revives_none() {
    let vary = Arc::new(Mutex::new("X-A, X-B"));
    let said = vary.clone();
    let origin = Origin::new(move |seen, reply| {
        let vary = format!("vary: {}", said.lock().unwrap());
        let values = format!("{:?} {:?}", seen.all("x-a"), seen.all("x-b"));
        reply.ok(&["cache-control: max-age=60", &vary], values);
    });
    let larder = Larder::in_front_of(&origin);
    let rows: [&[(&str, &str)]; 9] = [
        &[("X-A", "1"), ("X-B", "23")],
        &[("X-A", "12"), ("X-B", "3")],
        &[("X-A", "1,2"), ("X-B", "3")],
        &[("X-A", "1, X-B: 23")],
        &[("X-A", ""), ("X-B", "")],
        &[("X-A", ""), ("X-B", "1")],
        &[("X-B", "")],
        &[("X-A", "")],
        &[],
    ];
    let ask = |row: &[(&str, &str)]| {
        row.iter().fold(Ask::get("/"), |ask, (name, value)| ask.with(name, value))
    };
    let of = |row: &[(&str, &str)], name: &str| -> Vec<String> {
        row.iter().filter(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()).collect()
    };
    for row in rows {
        let answer = larder.ask(&ask(row)).expect(200);
        assert_eq!(answer.text(), format!("{:?} {:?}", of(row, "X-A"), of(row, "X-B")), "{row:?}");
        assert!(!answer.was_hit(), "{row:?}: {answer:?}");
        assert!(larder.ask(&ask(row)).was_hit(), "{row:?}");
    }
    *vary.lock().unwrap() = "X-B";
    let new = Ask::get("/").with("X-A", "9").with("X-B", "9");
    assert!(!larder.ask(&new).expect(200).was_hit());
    *vary.lock().unwrap() = "X-A, X-B";
    let back = Ask::get("/").with("X-A", "8").with("X-B", "8");
    assert!(!larder.ask(&back).expect(200).was_hit());
    for row in rows {
        let answer = larder.ask(&ask(row)).expect(200);
        assert!(!answer.was_hit(), "the older list's variant came back for {row:?}: {answer:?}");
    }
}
