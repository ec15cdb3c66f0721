//! What cookies do where only a rule says how long an answer is fresh.

use super::{Rule, SILENT, app};
use crate::support::{Ask, Larder, Origin};

fn started(rule: &Rule<'_>) -> (Origin, Larder) {
    let origin = app(SILENT);
    let larder = rule.before(&origin);
    (origin, larder)
}

fn with(cookie: &str) -> Ask {
    Ask::get("/").with("Cookie", cookie)
}

/// What the app saw of these cookies when it was asked.
#[track_caller]
fn seen_of(larder: &Larder, origin: &Origin, cookie: &str) -> String {
    larder.ask(&Ask::get(&format!("/{}", origin.count())).with("Cookie", cookie)).expect(200);
    origin.last().all("cookie").join("; ")
}

pub fn ignore_cookies(rule: &Rule<'_>) {
    let (origin, larder) = started(rule);
    assert!(larder.keeps(&with("ad_1=x; consent=yes")));
    assert!(larder.get("/").was_hit(), "for those without any, too");
    assert!(!larder.keeps(&with("ad_1=x; consent2=yes")));
    assert_eq!(seen_of(&larder, &origin, "ad_1=x; id=2; consent=yes"), "id=2");
    let sent = larder.ask(&Ask::post("/", "x").with("Cookie", "ad_1=x"));
    assert_eq!(sent.text(), "/ for ad_1=x", "not of a POST");
}

pub fn vary_cookies(rule: &Rule<'_>) {
    let (origin, larder) = started(rule);
    for _ in 0..2 {
        for cookie in ["theme=dark", "theme=light", "theme="] {
            assert_eq!(larder.ask(&with(cookie)).expect(200).text(), format!("/ for {cookie}"));
        }
        assert_eq!(larder.get("/").expect(200).text(), "/ for ");
    }
    assert_eq!(origin.count(), 4, "a copy for each");
    assert!(!larder.keeps(&with("theme=dark; id=2")), "others count");
}

pub fn bypass_cookies(rule: &Rule<'_>) {
    let (origin, larder) = started(rule);
    assert!(larder.keeps(&Ask::get("/")));
    for cookie in ["session=x", "a=b; wordpress_logged_in_7=x"] {
        let answer = larder.ask(&with(cookie));
        assert!(answer.cache_status().contains("detail=route-cookie"), "{answer:?}");
        assert_eq!(answer.text(), format!("/ for {cookie}"));
    }
    assert!(larder.get("/").was_hit());
    assert_eq!(seen_of(&larder, &origin, "session=x"), "session=x");
    let other = larder.ask(&with("sessions=x"));
    assert!(!other.cache_status().contains("route-cookie"), "{other:?}");
}

pub fn analytics_cookies(rule: &Rule<'_>) {
    let (origin, larder) = started(rule);
    assert!(larder.keeps(&with("_ga=GA1.1; _fbp=x")));
    assert!(larder.get("/").was_hit());
    assert!(!larder.keeps(&with("_ga=GA1.1; id=2")), "others count");
    assert_eq!(seen_of(&larder, &origin, "_ga=GA1.1; id=2; _gid=3"), "id=2");
    // Without the rule they are forwarded and make no difference, either.
    let kept = Larder::with(&origin, "[[route]]\nttl = \"1h\"\n");
    assert!(kept.keeps(&with("_ga=GA1.1")));
    assert_eq!(seen_of(&kept, &origin, "_ga=GA1.1"), "_ga=GA1.1");
}
