//! What unsafe methods do to stored responses (RFC 9111 §4.4).

use crate::support::{Ask, Gate, Larder, Origin, SOON, Setup, eventually};

fn counted(statuses: &'static [(&'static str, u16)]) -> Origin {
    Origin::new(move |seen, reply| {
        let status = statuses.iter().find(|(m, _)| *m == seen.method).map_or(200, |(_, s)| *s);
        let extra = seen.header("x-reply").unwrap_or("x-none: 1").to_owned();
        reply.answer(status, &["cache-control: max-age=60", &extra], "x");
    })
}

#[test]
fn unsafe_methods_invalidate_their_target() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "SNOWFLAKE"] {
        let origin = counted(&[]);
        let larder = Larder::in_front_of(&origin);
        larder.get("/a").expect(200);
        larder.get("/b").expect(200);
        larder.ask(&Ask::new(method, "/a").body("y")).expect(200);
        assert!(!larder.get("/a").was_hit(), "{method}");
        assert!(larder.get("/b").was_hit(), "{method}: the others stay");
    }
}

#[test]
fn safe_methods_and_failures_invalidate_nothing() {
    for (method, status) in [("OPTIONS", 200), ("POST", 500), ("POST", 404), ("DELETE", 403)] {
        let origin = Origin::new(move |seen, reply| {
            let status = if seen.method == method { status } else { 200 };
            reply.answer(status, &["cache-control: max-age=60"], "x");
        });
        let larder = Larder::in_front_of(&origin);
        larder.get("/a").expect(200);
        larder.ask(&Ask::new(method, "/a").body("y")).expect(status);
        assert!(larder.get("/a").was_hit(), "{method} {status}");
    }
}

#[test]
fn location_and_content_location_on_the_same_origin_are_invalidated() {
    for (case, reply, gone) in [
        ("Location", "location: /other", true),
        ("Content-Location", "content-location: /other", true),
        ("absolute", "location: http://app.test/other", true),
        ("another host", "location: http://evil.test/other", false),
    ] {
        let origin = counted(&[]);
        let larder = Larder::in_front_of(&origin);
        larder.get("/other").expect(200);
        larder.ask(&Ask::get("/other").with("Host", "evil.test")).expect(200);
        larder.ask(&Ask::post("/a", "y").with("X-Reply", reply)).expect(200);
        assert_eq!(!larder.get("/other").was_hit(), gone, "{case}");
        let evil = larder.ask(&Ask::get("/other").with("Host", "evil.test"));
        assert!(evil.was_hit(), "{case}: another host's stays");
    }
}

#[test]
fn every_variant_goes() {
    let origin = Origin::serving(&["cache-control: max-age=60", "vary: X-A"], "x");
    let larder = Larder::in_front_of(&origin);
    let asks = ["1", "2", "3"].map(|v| Ask::get("/").with("X-A", v));
    for ask in &asks {
        larder.ask(ask).expect(200);
        assert!(larder.ask(ask).was_hit());
    }
    larder.ask(&Ask::post("/", "y")).expect(200);
    for ask in &asks {
        assert!(!larder.ask(ask).was_hit());
    }
}

#[test]
fn an_answer_to_a_post_that_says_it_is_the_new_state_is_stored_for_get() {
    let origin = Origin::new(|seen, reply| {
        let body = format!("{} {}", seen.method, String::from_utf8_lossy(&seen.body));
        let target = format!("content-location: {}", seen.target);
        match (&*seen.method, &*seen.target) {
            ("POST", "/kept") => reply.ok(&["cache-control: max-age=60", &target], body),
            ("POST", "/elsewhere") => {
                reply.ok(&["cache-control: max-age=60", "content-location: /kept2"], body);
            }
            ("POST", "/silent") => reply.ok(&[&target], body),
            ("POST", "/private") => {
                reply.ok(&["cache-control: private, max-age=60", &target], body);
            }
            _ => reply.ok(&["cache-control: max-age=60"], body),
        }
    });
    let larder = Larder::in_front_of(&origin);
    for (path, kept) in
        [("/kept", true), ("/elsewhere", false), ("/silent", false), ("/private", false)]
    {
        assert_eq!(larder.get(path).expect(200).text(), "GET ", "{path}: the older state");
        let posted = larder.ask(&Ask::post(path, "new")).expect(200);
        assert_eq!(posted.text(), "POST new", "{path}");
        assert_eq!(posted.was_stored(), kept, "{path}: {posted:?}");
        let after = larder.get(path).expect(200);
        assert_eq!(after.was_hit(), kept, "{path}: {after:?}");
        assert_eq!(after.text(), if kept { "POST new" } else { "GET " }, "{path}");
        let again = larder.ask(&Ask::post(path, "newer")).expect(200);
        assert_eq!(again.text(), "POST newer", "{path}: a POST is never answered by the cache");
    }
    let after = larder.get("/kept").expect(200);
    assert!(after.was_hit(), "{after:?}");
    assert_eq!(after.text(), "POST newer");
    // What a GET would have lost on its way in must not shape what is stored for GET.
    larder.ask(&Ask::post("/kept", "odd").with("X-Forwarded-Prefix", "/evil")).expect(200);
    let after = larder.get("/kept").expect(200);
    assert!(!after.was_hit(), "{after:?}");
    assert_eq!(after.text(), "GET ");
}

#[test]
fn a_cache_group_is_made_void_at_once() {
    let origin = Origin::new(|seen, reply| {
        let groups = match &*seen.target {
            "/a" => "cache-groups: \"scripts\", \"all\"",
            "/b" => "cache-groups: \"all\"",
            "/odd" => "cache-groups: all",
            _ => "x-none: 1",
        };
        if seen.method == "GET" {
            reply.ok(&["cache-control: max-age=60", groups], "x");
        } else {
            let status = if seen.target == "/failing" { 500 } else { 200 };
            let named = format!("cache-group-invalidation: {}", seen.header("x-name").unwrap());
            reply.answer(status, &[&named], "");
        }
    });
    let larder = Larder::in_front_of(&origin);
    let hits = || ["/a", "/b", "/odd", "/none"].map(|path| larder.get(path).expect(200).was_hit());
    let say = |method, path, name| {
        larder.ask(&Ask::new(method, path).with("X-Name", name));
    };
    hits();
    for (case, method, path, name, want) in [
        ("nothing said", "POST", "/write", "", [true; 4]),
        ("one group", "POST", "/write", "\"scripts\"", [false, true, true, true]),
        ("another", "DELETE", "/write", "\"all\"", [false, false, true, true]),
        ("two", "PUT", "/write", "\"scripts\", \"all\"", [false, false, true, true]),
        ("an unknown one", "POST", "/write", "\"none\"", [true; 4]),
        ("a failure", "POST", "/failing", "\"all\"", [true; 4]),
        ("malformed", "POST", "/write", "all", [true; 4]),
        ("a safe method", "OPTIONS", "/write", "\"all\"", [true; 4]),
    ] {
        say(method, path, name);
        assert_eq!(hits(), want, "{case}");
        assert_eq!(hits(), [true; 4], "{case}: fetched anew");
    }
}

#[test]
fn a_cache_group_is_of_one_origin_and_outlives_a_restart() {
    let origin = Origin::new(|seen, reply| {
        if seen.method == "GET" {
            reply.ok(&["cache-control: max-age=600", "cache-groups: \"all\""], "x");
        } else {
            reply.ok(&["cache-group-invalidation: \"all\""], "");
        }
    });
    let larder = Setup::new(&origin.url()).start_with_disk();
    let ask = |host| Ask::get("/a").with("Host", host);
    for host in ["a.test", "b.test"] {
        larder.ask(&ask(host)).expect(200);
    }
    larder.await_on_disk(2);
    larder.ask(&Ask::post("/write", "x").with("Host", "a.test")).expect(200);
    let larder = larder.restart();
    larder.await_disk();
    assert!(larder.ask(&ask("b.test")).expect(200).was_hit(), "another origin's");
    assert!(!larder.ask(&ask("a.test")).expect(200).was_hit());
}

#[test]
fn what_was_being_fetched_when_it_changed_is_not_kept() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::new(move |seen, reply| {
        if seen.method == "GET" && seen.header("x-slow").is_some() {
            held.pass();
        }
        reply.ok(&["cache-control: max-age=60"], "x");
    });
    let larder = Larder::in_front_of(&origin);
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| larder.ask(&Ask::get("/a").with("X-Slow", "1")).expect(200));
        eventually("the fetch", SOON, || origin.count() == 1);
        larder.ask(&Ask::post("/a", "new")).expect(200);
        gate.open();
        slow.join().unwrap();
    });
    let after = larder.get("/a").expect(200);
    assert!(!after.was_hit(), "the older state: {after:?}");
}
