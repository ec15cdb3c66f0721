//! Sites whose pages are the same for everybody, or for a few kinds of visitors.

use super::{HOUR, Recipe, content_type, keeps_to_herself, saying, told, windows, with_cookie};
use crate::support::{Ask, Origin};

pub fn static_site(recipe: &Recipe<'_>) {
    let origin = Origin::new(|seen, reply| {
        let kind = content_type(seen.path());
        match seen.path() {
            "/form" => reply.ok(&[&kind, "set-cookie: token=1"], told(seen)),
            "/hidden" => reply.ok(&[&kind, "cache-control: private"], told(seen)),
            _ => reply.ok(&[&kind], told(seen)),
        }
    });
    let larder = recipe.before(&[&origin]);
    larder.get("/about").expect(200);
    let answer = larder.ask(&with_cookie("/about", "consent=anna"));
    assert!(answer.was_hit(), "a cookie makes no difference: {answer:?}");
    assert_eq!(larder.ask(&with_cookie("/new", "id=anna")).text(), "GET /new for ");
    assert!(larder.get("/new").was_hit());
    for path in ["/form", "/hidden"] {
        assert!(!larder.keeps(&Ask::get(path)), "{path}");
    }
    assert_eq!(windows(&larder, "/about"), [Some(HOUR), None]);
    let sent = Ask::post("/about", "x").with("Cookie", "id=anna");
    assert_eq!(larder.ask(&sent).text(), "POST /about for id=anna", "a form has its cookies");
}

pub fn single_page_app(recipe: &Recipe<'_>) {
    let mut origin = Origin::new(|seen, reply| {
        let kind = content_type(seen.path());
        match seen.path() {
            // As servers do that send index.html for whatever they do not have.
            "/assets/gone.js" => reply.ok(&["content-type: text/html"], "<html>"),
            "/assets/gone.css" => {
                let fields = ["content-type: text/html", "cache-control: public, max-age=0"];
                reply.ok(&fields, "<html>");
            }
            "/assets/none.js" => reply.answer(404, &[&kind], "none"),
            _ => reply.ok(&[&kind, "cache-control: public, max-age=0"], told(seen)),
        }
    });
    let larder = recipe.before(&[&origin]);
    for path in ["/", "/assets/app.77aa.css"] {
        assert!(larder.keeps(&with_cookie(path, "consent=1")), "{path}");
    }
    assert_eq!(windows(&larder, "/"), [None, Some(HOUR)]);
    for path in ["/assets/gone.js", "/assets/gone.css", "/assets/none.js"] {
        assert!(!larder.keeps(&Ask::get(path)), "{path} for a year");
    }
    let anna = with_cookie("/api/me", "session=anna");
    keeps_to_herself(&larder, &anna, &[&Ask::get("/api/me")]);
    larder.get("/assets/old.3f9c1.js").expect(200);
    origin.stop();
    assert!(larder.get("/assets/old.3f9c1.js").was_hit(), "an old tab after a deploy");
}

pub fn images(recipe: &Recipe<'_>) {
    let origin = Origin::new(|seen, reply| {
        let accept = seen.header("accept").unwrap_or_default().to_owned();
        reply.ok(&["content-type: image/x", "vary: Accept"], format!("{accept} {}", seen.target));
    });
    let larder = recipe.before(&[&origin]);
    let ask = |accept: &str, target: &str| {
        larder.ask(&with_cookie(target, "id=1").with("Accept", accept)).expect(200).text()
    };
    let before = origin.count();
    for (case, accept, got) in [
        ("Chrome", "image/avif,image/webp,image/apng,*/*;q=0.8", "image/avif"),
        ("Firefox", "image/avif,image/webp,image/png,*/*;q=0.5", "image/avif"),
        ("an older one", "image/webp,*/*", "image/webp"),
        ("another such", "image/png,image/webp;q=0.8", "image/webp"),
        ("an old one", "image/png,*/*", "image/jpeg, image/png"),
        ("anything", "*/*", "image/jpeg, image/png"),
    ] {
        assert_eq!(ask(accept, "/images/a?w=1&t=2"), format!("{got} /images/a?w=1"), "{case}");
    }
    assert_eq!(origin.count() - before, 3, "three kinds of browsers");
    assert_ne!(ask("*/*", "/images/a?w=1"), ask("*/*", "/images/a?w=2"));
    for accept in ["image/avif,*/*", "image/webp,*/*", "*/*"] {
        assert_eq!(ask(accept, "/other?t=2"), format!("{accept} /other?t=2"), "only there");
    }
}

pub fn languages(recipe: &Recipe<'_>) {
    let origin = Origin::new(|seen, reply| {
        let accepted = seen.header("accept-language").unwrap_or("en");
        let language = match seen.all("cookie").join("").strip_prefix("lang=") {
            Some(chosen) => chosen.to_owned(),
            None => accepted.get(..2).unwrap_or("en").to_owned(),
        };
        let said = format!("content-language: {language}");
        let fields = ["content-type: text/html", "vary: Accept-Language", &said];
        reply.ok(&fields, format!("{language} for {}", seen.all("cookie").join("")));
    });
    let larder = recipe.before(&[&origin]);
    let text = |accepted: &str, cookie: Option<&str>| {
        let ask = Ask::get("/shop").with("Accept-Language", accepted);
        let ask = cookie.map_or(ask.clone(), |cookie| ask.with("Cookie", cookie));
        larder.ask(&ask).expect(200).text()
    };
    for _ in 0..2 {
        for (accepted, cookie, want) in [
            ("de", None, "de for "),
            ("fr-FR,fr;q=0.9", None, "fr for "),
            ("de", Some("lang=fr"), "fr for lang=fr"),
            ("de", Some("lang=en; _x=1"), "en for lang=en"),
            ("fr", Some("lang=en"), "en for lang=en"),
        ] {
            assert_eq!(text(accepted, cookie), want, "{accepted}, {cookie:?}");
        }
    }
    let anna = with_cookie("/shop", "session=anna").with("Accept-Language", "de");
    keeps_to_herself(&larder, &anna, &[&Ask::get("/shop").with("Accept-Language", "de")]);
}

pub fn tracking_parameters(recipe: &Recipe<'_>) {
    let origin = saying(&["cache-control: max-age=60"]);
    let larder = recipe.before(&[&origin]);
    let plain = larder.get("/a?id=1").expect(200);
    assert_eq!(plain.text(), "GET /a?id=1 for ");
    for query in ["utm_source=m&id=1", "id=1&gclid=x", "fbclid=2&id=1&campaign_x=3&ref"] {
        let answer = larder.get(&format!("/a?{query}"));
        assert!(answer.was_hit() && answer.text() == plain.text(), "{query}: {answer:?}");
    }
    for query in ["id=2", "id=1&reference=2", "id=1&id=2", ""] {
        assert!(!larder.get(&format!("/a?{query}")).was_hit(), "{query}");
    }
    assert!(origin.seen().iter().all(|seen| !seen.target.contains("utm_")));
}

pub fn mobile_and_desktop(recipe: &Recipe<'_>) {
    let origin = Origin::new(|seen, reply| {
        reply.ok(&["content-type: text/html"], seen.all("x-device").join(","));
    });
    let larder = recipe.before(&[&origin]);
    let before = origin.count();
    for (case, agent, claimed, got) in [
        ("iPhone", "(iPhone) Mobile/15E148 Safari/604.1", None, "mobile"),
        ("Android", "(Android 14; Mobile; rv:130.0)", None, "mobile"),
        ("desktop", "(X11; Linux x86_64)", None, "desktop"),
        ("one that pretends", "(X11; Linux x86_64)", Some("mobile"), "desktop"),
        ("none", "", None, "desktop"),
    ] {
        let ask = Ask::get("/a").with("User-Agent", agent);
        let ask = claimed.map_or(ask.clone(), |device| ask.with("X-Device", device));
        assert_eq!(larder.ask(&ask).expect(200).text(), got, "{case}");
    }
    assert_eq!(origin.count() - before, 2, "one copy for each kind");
    // One purge for both.
    larder.admin_post("/api/purge", "{\"url\": \"http://app.test/a\"}").expect(200);
    assert!(!larder.get("/a").was_hit());
    assert!(!larder.ask(&Ask::get("/a").with("User-Agent", "Mobile")).was_hit());
}
