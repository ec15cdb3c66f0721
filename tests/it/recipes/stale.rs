//! What is kept for long, and what becomes of it: not there, slow, broken, changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{DAY, MINUTE, Recipe, content_type, told, windows, with_cookie};
use crate::support::{Ask, Gate, Larder, Origin, SOON, eventually};

const HTML: &str = "content-type: text/html";

#[track_caller]
fn soften(larder: &Larder, target: &str) {
    let purge = format!("{{\"url\": \"http://app.test{target}\", \"soft\": true}}");
    larder.admin_post("/api/purge", &purge).expect(200);
}

pub fn negative_caching(recipe: &Recipe<'_>) {
    let created = Arc::new(AtomicBool::new(false));
    let exists = Arc::clone(&created);
    let origin = Origin::new(move |seen, reply| match seen.path() {
        "/new" if exists.load(Ordering::SeqCst) => reply.ok(&[HTML], "here"),
        "/gone" => reply.answer(410, &[HTML], "gone"),
        "/broken" => reply.answer(503, &[HTML], "broken"),
        "/secret" => reply.answer(403, &[HTML], "forbidden"),
        "/who" => reply.answer(401, &[HTML], "who?"),
        "/mine" => reply.answer(404, &[HTML, "cache-control: private"], "not for you"),
        "/found" => reply.ok(&[HTML], "silent"),
        _ => reply.answer(404, &[HTML], "none"),
    });
    let larder = recipe.before(&[&origin]);
    for (path, kept) in [
        ("/none", true),
        ("/gone", true),
        ("/secret", false),
        ("/who", false),
        ("/mine", false),
        ("/found", false),
    ] {
        assert_eq!(larder.keeps(&Ask::get(path)), kept, "{path}");
    }
    // For a second: a busy machine may need several tries to ask twice in one.
    eventually("the error to be kept", SOON, || larder.keeps(&Ask::get("/broken")));
    eventually("another try of the broken app", SOON, || !larder.get("/broken").was_hit());
    larder.get("/new").expect(404);
    created.store(true, Ordering::SeqCst);
    assert!(larder.get("/new").expect(404).was_hit());
    larder.admin_post("/api/purge", "{\"url\": \"http://app.test/new\"}").expect(200);
    larder.get("/new").expect(200);
}

pub fn slow_report(recipe: &Recipe<'_>) {
    let gate = Gate::default();
    let held = gate.clone();
    let turn = AtomicUsize::new(0);
    let origin = Origin::new(move |seen, reply| {
        let number = turn.fetch_add(1, Ordering::SeqCst);
        if seen.path() == "/reports/slow" {
            held.pass();
        }
        match seen.path() {
            "/reports/strict" => reply.ok(&[HTML, "cache-control: must-revalidate"], "x"),
            "/reports/anna" => reply.ok(&[HTML, "cache-control: private"], told(seen)),
            _ => reply.ok(&[HTML], format!("report {number}")),
        }
    });
    let larder = recipe.before(&[&origin]);
    // Many who come at once: one report is made.
    std::thread::scope(|scope| {
        let ask = || larder.get("/reports/slow").expect(200).text();
        let asked: Vec<_> = (0..5).map(|_| scope.spawn(ask)).collect();
        eventually("the first to reach the app", SOON, || origin.count_of("/reports/slow") == 1);
        gate.open();
        let texts: Vec<String> =
            asked.into_iter().map(|ask| ask.join().expect("it ends")).collect();
        assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    });
    assert_eq!(origin.count_of("/reports/slow"), 1);
    // The old one at once, the new one behind it.
    let old = larder.get("/reports/slow").text();
    let stale = || larder.get("/reports/slow").expect(200);
    eventually("the old one", SOON, || {
        let answer = stale();
        assert!(answer.was_hit(), "nobody waits: {answer:?}");
        answer.text() == old && answer.cache_status().contains("stale-while-revalidate")
    });
    eventually("the new one", SOON, || stale().text() != old);
    assert_eq!(windows(&larder, "/reports/slow"), [Some(10 * MINUTE), Some(DAY)]);
    let impatient = Ask::get("/reports/other").with("Cache-Control", "no-cache");
    assert!(larder.keeps(&impatient), "a reload does not have it made again");
    assert!(!larder.keeps(&Ask::get("/other")), "only there");
    // Where the app forbids it nothing old is shown, nor anything that is private.
    larder.get("/reports/strict").expect(200);
    soften(&larder, "/reports/strict");
    assert_eq!(larder.get("/reports/strict").forwarded(), Some("stale"));
    assert!(!larder.keeps(&Ask::get("/reports/anna")));
}

pub fn falls_over(recipe: &Recipe<'_>) {
    let broken = AtomicUsize::new(0);
    let mut origin = Origin::new(move |seen, reply| match seen.path() {
        // The session: well at first.
        "/" if broken.fetch_add(1, Ordering::SeqCst) > 0 => reply.answer(503, &[HTML], "broken"),
        "/strict" => reply.ok(&[HTML, "cache-control: must-revalidate"], "x"),
        "/never" => reply.answer(503, &[HTML], "broken"),
        _ => reply.ok(&[HTML], "page"),
    });
    let larder = recipe.before(&[&origin]);
    for path in ["/page", "/strict"] {
        assert!(larder.keeps(&Ask::get(path)), "{path}");
        soften(&larder, path);
    }
    assert!(!larder.keeps(&Ask::get("/never")), "an error is nothing to keep");
    origin.stop();
    let stale = larder.get("/page").expect(200);
    assert_eq!(stale.text(), "page", "{stale:?}");
    assert_ne!(larder.get("/strict").status, 200, "the app forbids it");
    assert_ne!(larder.get("/other").status, 200, "what nobody has asked for");
    origin.start_again();
    eventually("the app again", SOON, || larder.get("/other").status == 200);
}

pub fn tags(recipe: &Recipe<'_>) {
    let origin = Origin::new(|seen, reply| {
        let number = seen.path().rsplit('/').next().unwrap_or_default();
        let tags = format!("surrogate-key: article-{number} front");
        reply.ok(&[&content_type(seen.path()), &tags], told(seen));
    });
    let larder = recipe.before(&[&origin]);
    for target in ["/article/7", "/article/7?page=2", "/print/7", "/article/8", "/article/77"] {
        assert!(larder.keeps(&Ask::get(target)), "{target}");
        assert_eq!(larder.get(target).header("surrogate-key"), None, "visitors do not see tags");
    }
    assert!(larder.ask(&with_cookie("/article/7", "id=1")).was_hit());
    let purge = Ask::new("PURGE", "/").with("Surrogate-Key", "article-7");
    let stranger = purge.clone().with("X-Forwarded-For", "203.0.113.9");
    larder.ask(&stranger).expect(405);
    assert!(larder.get("/article/7").was_hit(), "a stranger purges nothing");
    let before = origin.count();
    larder.ask(&purge).expect(200);
    assert_eq!(origin.count(), before, "the app does not see it");
    for (target, hit) in [
        ("/article/7", false),
        ("/article/7?page=2", false),
        ("/print/7", false),
        ("/article/8", true),
        ("/article/77", true),
    ] {
        assert_eq!(larder.get(target).was_hit(), hit, "{target}");
    }
    larder.ask(&Ask::new("PURGE", "/").with("Surrogate-Key", "front")).expect(200);
    assert!(!larder.get("/article/8").was_hit());
}
