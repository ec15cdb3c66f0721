//! Apps and APIs.

use super::{MINUTE, Recipe, content_type, keeps_to_herself, told, windows, with_cookie};
use crate::support::{Ask, Origin, SOON, eventually};

/// Says the credentials that it got.
fn api() -> Origin {
    Origin::new(|seen, reply| {
        let who = [seen.all("authorization"), seen.all("x-api-key")].concat().join("");
        let kind = "content-type: application/json";
        let said = format!("{} {who}", told(seen));
        match seen.path() {
            "/api/none" => reply.answer(404, &[kind], said),
            "/api/shared" | "/shared" => reply.ok(&[kind, "cache-control: max-age=60"], said),
            _ => reply.ok(&[kind], said),
        }
    })
}

pub fn json_api(recipe: &Recipe<'_>) {
    let origin = api();
    let larder = recipe.before(&[&origin]);
    assert_eq!(windows(&larder, "/api/x"), [Some(30), Some(10 * MINUTE)]);
    let plain = Ask::get("/api/x?b=2&a=1");
    assert_eq!(larder.ask(&plain).text(), "GET /api/x?a=1&b=2 for  ");
    assert!(larder.get("/api/x?a=1&b=2").was_hit(), "in any order");
    assert!(!larder.get("/api/x?a=2&b=2").was_hit());
    for (name, value) in [("Authorization", "Bearer anna"), ("X-Api-Key", "anna")] {
        let anna = Ask::get("/api/me").with(name, value);
        keeps_to_herself(&larder, &anna, &[&Ask::get("/api/me")]);
    }
    keeps_to_herself(&larder, &with_cookie("/api/me", "s=anna"), &[&Ask::get("/api/me")]);
    eventually("what is not there to be kept", SOON, || larder.keeps(&Ask::get("/api/none")));
    let by_key = Ask::get("/api/shared").with("X-Api-Key", "anna");
    assert!(!larder.keeps(&by_key), "even if the app calls it fresh");
    assert!(larder.keeps(&Ask::get("/shared").with("X-Api-Key", "anna")), "only the API");
    let write = Ask::post("/api/x?b=2&a=1", "{}");
    assert_eq!(larder.ask(&write).text(), "POST /api/x?a=1&b=2 for  ", "writes reach the app");
    assert!(!larder.get("/api/x?a=1&b=2").was_hit(), "and make void what they change");
    assert!(!larder.keeps(&Ask::get("/?b=1&a=2")), "only the API");
    assert_eq!(origin.last().target, "/?b=1&a=2");
}

pub fn graphql(recipe: &Recipe<'_>) {
    let origin = api();
    let larder = recipe.before(&[&origin]);
    let ask = |query: &str| Ask::get(&format!("/graphql?{query}"));
    larder.ask(&ask("query=%7Ba%7D&operationName=A")).expect(200);
    assert!(larder.ask(&ask("operationName=A&query=%7Ba%7D&cachebust=1")).was_hit());
    for other in ["query=%7Bb%7D&operationName=A", "query=%7Ba%7D", "query=%7Ba%7D&variables=1"] {
        let answer = larder.ask(&ask(other));
        assert!(!answer.was_hit() && answer.was_stored(), "{other}: {answer:?}");
    }
    assert_eq!(windows(&larder, "/graphql?query=a"), [Some(MINUTE), None]);
    assert_eq!(larder.get("/other?x=1").text(), "GET /other?x=1 for  ", "only there");
    let anna = ask("query=%7Bme%7D").with("Authorization", "Bearer anna");
    keeps_to_herself(&larder, &anna, &[&ask("query=%7Bme%7D")]);
    let mutation = Ask::post("/graphql", "{\"query\": \"mutation {buy}\"}");
    for _ in 0..2 {
        let before = origin.count();
        assert!(!larder.ask(&mutation).expect(200).was_stored());
        assert_eq!(origin.count() - before, 1, "each mutation reaches the app");
    }
}

pub fn signed_urls(recipe: &Recipe<'_>) {
    let origin = Origin::new(|seen, reply| {
        let kind = content_type(seen.path());
        let good = seen.target.ends_with("?expires=9&signature=good");
        if good || seen.target.ends_with("?signature=good") {
            reply.ok(&[&kind], "secret");
        } else {
            reply.answer(403, &[&kind, "cache-control: max-age=60"], "forbidden");
        }
    });
    let larder = recipe.before(&[&origin]);
    let signed = "/files/a.pdf?expires=9&signature=good";
    assert!(larder.keeps(&Ask::get(signed)));
    for forged in [
        "/files/a.pdf",
        "/files/a.pdf?",
        "/files/a.pdf?expires=10&signature=good",
        "/files/a.pdf?expires=9&signature=bad",
        "/files/a.pdf?signature=bad&expires=9",
        "/files/b.pdf?expires=8&signature=good",
    ] {
        for _ in 0..2 {
            let answer = larder.get(forged).expect(403);
            assert!(!answer.was_hit() && answer.text() == "forbidden", "{forged}: {answer:?}");
        }
    }
    assert_eq!(larder.get(signed).text(), "secret", "no refusal took its place");
    assert!(
        larder.ask(&with_cookie(signed, "id=1")).was_hit(),
        "the link is the key, nothing else"
    );
    assert!(!larder.keeps(&Ask::get("/other?signature=good")), "only there");
}

pub fn says_nothing(recipe: &Recipe<'_>) {
    let origin = Origin::new(|seen, reply| {
        let kind = content_type(seen.path());
        let who = [seen.all("authorization"), seen.all("cookie")].concat().join("");
        match seen.path() {
            "/error" => reply.answer(500, &[&kind], "broken"),
            "/none" => reply.answer(404, &[&kind], "none"),
            "/no-store" => reply.ok(&[&kind, "cache-control: no-store"], "x"),
            "/private" => reply.ok(&[&kind, "cache-control: private"], "x"),
            "/expired" => reply.ok(&[&kind, "cache-control: max-age=0"], "x"),
            "/login" => reply.ok(&[&kind, "set-cookie: session=1"], "x"),
            _ => reply.ok(&[&kind], who),
        }
    });
    let larder = recipe.before(&[&origin]);
    assert!(larder.keeps(&Ask::get("/page")));
    for path in ["/error", "/none", "/no-store", "/private", "/expired", "/login"] {
        assert!(!larder.keeps(&Ask::get(path)), "{path}");
    }
    let page = Ask::get("/me");
    keeps_to_herself(&larder, &with_cookie("/me", "session=anna"), &[&page]);
    let anna = Ask::get("/me").with("Authorization", "Basic anna");
    keeps_to_herself(&larder, &anna, &[&page]);
}

pub fn api_versions(recipe: &Recipe<'_>) {
    let origin = Origin::new(|seen, reply| {
        let version = seen.header("x-api-version").unwrap_or("newest");
        reply.ok(&["content-type: application/json"], version);
    });
    let larder = recipe.before(&[&origin]);
    let before = origin.count();
    for _ in 0..2 {
        assert_eq!(larder.get("/api/x").expect(200).text(), "newest");
        for version in ["1", "2", "2.0"] {
            let ask = Ask::get("/api/x").with("X-Api-Version", version);
            assert_eq!(larder.ask(&ask).expect(200).text(), version);
        }
    }
    assert_eq!(origin.count() - before, 4, "a copy for each");
    assert!(!larder.keeps(&Ask::get("/other")), "only there");
    larder.admin_post("/api/purge", "{\"url\": \"http://app.test/api/x\"}").expect(200);
    for version in ["1", "2"] {
        let answer = larder.ask(&Ask::get("/api/x").with("X-Api-Version", version));
        assert!(!answer.was_hit(), "one purge for all versions: {version}");
    }
}
