//! No-Vary-Search: one response for queries that make no difference.

use crate::support::{Ask, Gate, Larder, Origin, SOON, eventually};

/// An origin whose answers say `field`, and name the target that they were made for.
fn saying(field: &'static str) -> Origin {
    Origin::new(move |seen, reply| {
        let age = if seen.path() == "/stale" { "age: 90" } else { "age: 0" };
        let body = seen.target.clone();
        reply.ok(&["cache-control: max-age=60", "etag: \"1\"", field, age], body);
    })
}

#[test]
fn queries_that_make_no_difference_share_a_response() {
    let origin = saying("no-vary-search: params=(\"utm\"), key-order");
    let larder = Larder::in_front_of(&origin);
    larder.get("/p?a=1&utm=x").expect(200);
    for (case, target, hit) in [
        ("itself", "/p?a=1&utm=x", true),
        ("another value", "/p?a=1&utm=y", true),
        ("without it", "/p?a=1", true),
        ("another value of what counts", "/p?a=2", false),
        ("which is kept by itself", "/p?utm=z&a=2", true),
        ("nothing that counts", "/p?utm=1", false),
        ("no query at all", "/p", true),
        ("another path", "/q?a=1", false),
    ] {
        let answer = larder.get(target).expect(200);
        assert_eq!(answer.was_hit(), hit, "{case}: {answer:?}");
    }
    let elsewhere = larder.ask(&Ask::get("/p?a=1").with("Host", "other.test")).expect(200);
    assert!(!elsewhere.was_hit(), "another origin: {elsewhere:?}");
}

#[test]
fn without_a_word_of_it_all_of_a_query_counts() {
    for field in ["x-none: 1", "no-vary-search: params=(utm)", "no-vary-search: params=?0"] {
        let larder_of = saying(field);
        let larder = Larder::in_front_of(&larder_of);
        larder.get("/p?a=1&utm=x").expect(200);
        assert!(larder.get("/p?a=1&utm=x").expect(200).was_hit(), "{field}");
        assert!(!larder.get("/p?a=1&utm=y").expect(200).was_hit(), "{field}");
    }
}

#[test]
fn an_answer_that_no_longer_says_so_is_for_its_own_query_only() {
    let origin = Origin::new(|seen, reply| {
        let first = seen.header("if-none-match").is_none();
        let field = if first { "no-vary-search: params=(\"utm\")" } else { "x-none: 1" };
        let age = if first { "age: 90" } else { "age: 0" };
        let tag = if first { "etag: \"1\"" } else { "etag: \"2\"" };
        reply.ok(&["cache-control: max-age=60", tag, field, age], seen.target.clone());
    });
    let larder = Larder::in_front_of(&origin);
    larder.get("/p?utm=1").expect(200);
    assert_eq!(larder.get("/p?utm=2").expect(200).text(), "/p?utm=2", "validated, and replaced");
    let own = larder.get("/p?utm=2").expect(200);
    assert!(own.was_hit(), "{own:?}");
    assert_eq!(larder.get("/p?utm=3").expect(200).text(), "/p?utm=3");
}

#[test]
fn those_who_wait_get_what_is_theirs() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::new(move |seen, reply| {
        let again = seen.header("if-none-match").is_some();
        if again {
            held.pass();
        }
        let field = if again { "x-none: 1" } else { "no-vary-search: params" };
        let age = if again { "age: 0" } else { "age: 90" };
        reply.ok(&["cache-control: max-age=60", "etag: \"1\"", field, age], seen.target.clone());
    });
    let larder = Larder::in_front_of(&origin);
    larder.get("/p").expect(200);
    let targets = ["/p?1", "/p?2", "/p?3"];
    std::thread::scope(|scope| {
        let larder = &larder;
        let asks = targets.map(|target| (target, scope.spawn(move || larder.get(target).text())));
        eventually("two wait for the third", SOON, || {
            larder.metrics().count("larder_collapsed_requests_total", &[]) == 2
        });
        gate.open();
        for (target, ask) in asks {
            assert_eq!(ask.join().unwrap(), target);
        }
    });
}

#[test]
fn purges_and_writes_reach_it_by_any_of_its_queries() {
    let origin = Origin::new(|seen, reply| {
        if seen.method == "GET" {
            reply.ok(&["cache-control: max-age=60", "no-vary-search: params=(\"utm\")"], "x");
        } else {
            reply.ok(&[], "done");
        }
    });
    let larder = Larder::in_front_of(&origin);
    let purge = |url: &str| {
        larder.admin_post("/api/purge", &format!("{{\"url\": \"{url}\"}}")).expect(200);
    };
    for (case, void) in [
        ("a write", &(|| drop(larder.ask(&Ask::post("/p?a=1&utm=w", "x")))) as &dyn Fn()),
        ("a purge", &|| purge("/p?a=1&utm=v")),
        ("a purge by another order of what does not count", &|| purge("/p?utm=v&a=1")),
    ] {
        larder.get("/p?a=1&utm=x").expect(200);
        assert!(larder.get("/p?a=1&utm=y").expect(200).was_hit(), "{case}");
        void();
        assert!(!larder.get("/p?a=1&utm=z").expect(200).was_hit(), "{case}");
    }
}

#[test]
fn variants_and_codings_work_under_it() {
    let origin = Origin::new(|seen, reply| {
        let fields = [
            "cache-control: max-age=60",
            "no-vary-search: params",
            "vary: X",
            "content-type: text/css",
        ];
        reply.ok(&fields, seen.header("x").unwrap_or_default().repeat(3000));
    });
    let larder = Larder::in_front_of(&origin);
    let ask = |target, x| Ask::get(target).with("X", x);
    for x in ["a", "b"] {
        assert!(!larder.ask(&ask("/p?1", x)).expect(200).was_hit());
    }
    for x in ["a", "b"] {
        let plain = larder.ask(&ask("/p?2", x)).expect(200);
        assert!(plain.was_hit(), "{plain:?}");
        assert_eq!(plain.text(), x.repeat(3000));
        let gzip = larder.ask(&ask("/p?3", x).with("Accept-Encoding", "gzip")).expect(200);
        assert!(gzip.was_hit() && gzip.is_gzip(), "{gzip:?}");
        assert_eq!(gzip.decoded(), x.repeat(3000).into_bytes());
    }
    assert_eq!(origin.count(), 2);
}
