//! What of a request's query, cookies and header fields a rule keys and forwards: always the same.

use crate::support::{Ask, Larder, Origin};

/// An app that says what it was asked with, and nothing of freshness but Last-Modified.
fn guessed() -> Origin {
    const SAID: &[&str] =
        &["last-modified: Sun, 06 Nov 1994 08:49:37 GMT", "content-type: text/plain"];
    Origin::new(|seen, reply| {
        reply
            .ok(SAID, format!("{} {:?} {:?}", seen.target, seen.all("cookie"), seen.all("x-site")));
    })
}

#[test]
fn dropped_parameters_are_neither_keyed_nor_forwarded() {
    let origin = guessed();
    let larder = Larder::with(
        &origin,
        r#"
        [[route]]
        host = "drop.test"
        drop_tracking = true
        drop_query = ["ref"]
        [[route]]
        host = "keep.test"
        keep_query = ["q", "page"]
        sort_query = true
        "#,
    );
    for (case, host, target, sent, hit) in [
        ("first", "drop.test", "/a?x=1", "/a?x=1", false),
        ("tracked", "drop.test", "/a?utm_source=m&x=1&gclid=2&ref", "/a?x=1", true),
        ("of another name", "drop.test", "/a?x=1&reference", "/a?x=1&reference", false),
        ("all dropped", "drop.test", "/b?fbclid=1", "/b", false),
        ("none", "drop.test", "/b", "/b", true),
        ("kept and sorted", "keep.test", "/a?q=1&z=3&page=2", "/a?page=2&q=1", false),
        ("in order", "keep.test", "/a?page=2&q=1", "/a?page=2&q=1", true),
        ("by default all is kept", "app.test", "/a?utm_source=m", "/a?utm_source=m", false),
        ("and tells apart", "app.test", "/a", "/a", false),
    ] {
        let before = origin.count();
        let answer = larder.ask(&Ask::get(target).with("Host", host)).expect(200);
        assert_eq!(answer.was_hit(), hit, "{case}: {answer:?}");
        assert_eq!(origin.count() - before, usize::from(!hit), "{case}");
        assert!(answer.text().starts_with(&format!("{sent} ")), "{case}: {}", answer.text());
        if !hit {
            assert_eq!(origin.last().target, sent, "{case}");
        }
    }
}

#[test]
fn cookies_of_analytics_end_no_guess_and_others_do() {
    let origin = guessed();
    let larder = Larder::with(
        &origin,
        "[[route]]\nhost = \"count.test\"\nanalytics_cookies = \"count\"\n[[route]]\nhost = \"drop.test\"\nanalytics_cookies = \"drop\"\n",
    );
    let analytics = "_ga=GA1.2.3; _gid=x; _fbp=fb.1";
    for (case, host, cookie, kept, sent) in [
        ("analytics", "app.test", analytics, true, Some(analytics)),
        ("and a session", "b.test", "_ga=1; session=2", false, Some("_ga=1; session=2")),
        ("counted", "count.test", "_ga=1", false, Some("_ga=1")),
        ("dropped", "drop.test", analytics, true, None),
        ("others stay", "drop.test", "_ga=1; session=2", false, Some("session=2")),
    ] {
        let target = format!("/{}", cookie.len());
        let ask = Ask::get(&target).with("Host", host).with("Cookie", cookie);
        let first = larder.ask(&ask).expect(200);
        assert_eq!(first.was_stored(), kept, "{case}: {first:?}");
        assert_eq!(origin.last().header("cookie"), sent, "{case}: what the origin saw");
        assert_eq!(larder.ask(&ask).was_hit(), kept, "{case}");
    }
    // What was stored for one with analytics is for those without.
    let target = format!("/{}", analytics.len());
    assert!(larder.get(&target).was_hit());
    assert!(!larder.ask(&Ask::get(&target).with("Cookie", "session=2")).was_hit());
}

#[test]
fn cookies_are_ignored_keyed_or_lead_past_the_cache() {
    let origin = guessed();
    let larder = Larder::with(
        &origin,
        r#"
        [[route]]
        host = "app.test"
        ignore_cookies = ["ad_*"]
        vary_cookies = ["lang"]
        bypass_cookies = ["wp_*"]
        [[route]]
        host = "any.test"
        bypass_cookies = "*"
        "#,
    );
    let ask = |cookie: &str| Ask::get("/p").with("Cookie", cookie);
    for (case, cookie, hit, sent) in [
        ("keyed", "lang=de", false, "lang=de"),
        ("the same, and one ignored", "ad_x=1; lang=de", true, ""),
        ("another value", "lang=en", false, "lang=en"),
        ("none", "ad_x=1", false, ""),
        ("none again", "ad_y=2", true, ""),
        ("an empty one", "lang=", false, "lang="),
        ("logged in", "lang=de; wp_1=x", false, "lang=de; wp_1=x"),
        ("logged in again", "lang=de; wp_1=x", false, "lang=de; wp_1=x"),
    ] {
        let answer = larder.ask(&ask(cookie)).expect(200);
        assert_eq!(answer.was_hit(), hit, "{case}: {answer:?}");
        if !hit {
            assert_eq!(origin.last().all("cookie").join("|"), sent, "{case}");
        }
    }
    let past = larder.ask(&ask("wp_1=x"));
    assert!(past.header("cache-status").unwrap().contains("route-cookie"), "{past:?}");
    let any =
        |cookie: &str| larder.ask(&Ask::get("/p").with("Host", "any.test").with("Cookie", cookie));
    assert!(!any("x=1").was_stored() && any("_ga=1").was_stored() && any("_ga=2").was_hit());
    assert!(!any("x=1").was_hit());
}

#[test]
fn request_headers_are_keyed_set_and_dropped_before_they_are_judged() {
    let origin = Origin::new(|seen, reply| {
        let said =
            format!("{:?} {:?} {:?}", seen.all("x-site"), seen.all("x-user"), seen.all("x-v"));
        reply.ok(&["cache-control: max-age=60", "vary: X-Site, X-User"], said);
    });
    let larder = Larder::with(
        &origin,
        r#"
        [[route]]
        set_request_headers = ["X-Site: shop"]
        drop_request_headers = ["X-User", "Authorization"]
        key_headers = ["X-V"]
        "#,
    );
    let seen = r#"["shop"] [] []"#;
    let plain = larder.get("/").expect(200);
    assert_eq!((plain.text(), plain.was_stored()), (seen.into(), true));
    for (case, name, value) in [
        ("set whatever was sent", "X-Site", "evil"),
        ("dropped", "X-User", "anna"),
        ("credentials dropped", "Authorization", "Basic eA=="),
    ] {
        let answer = larder.ask(&Ask::get("/").with(name, value)).expect(200);
        assert!(answer.was_hit() && answer.text() == seen, "{case}: {answer:?}");
    }
    for (value, hit) in [("1", false), ("2", false), ("1", true), ("", false)] {
        let answer = larder.ask(&Ask::get("/").with("X-V", value)).expect(200);
        assert_eq!(answer.was_hit(), hit, "X-V: {value}");
        assert!(answer.text().ends_with(&format!("[{value:?}]")), "{}", answer.text());
    }
    assert!(larder.get("/").was_hit());
}

#[test]
fn response_headers_are_as_if_the_origin_had_sent_them() {
    let origin = Origin::serving(
        &["cache-control: private", "set-cookie: s=1", "server: old", "x-a: 1"],
        "x",
    );
    let larder = Larder::with(
        &origin,
        r#"
        [[route]]
        path = "/stored"
        set_response_headers = ["Cache-Control: max-age=60", "X-A: 2"]
        drop_response_headers = ["Set-Cookie", "Server"]
        [[route]]
        path = "/passed"
        cache = "off"
        drop_response_headers = ["Server"]
        compress = false
        "#,
    );
    for hit in [false, true] {
        let answer = larder.get("/stored").expect(200);
        assert_eq!(answer.was_hit(), hit, "{answer:?}");
        let fields = ["cache-control", "x-a", "server", "set-cookie"];
        let got = fields.map(|name| answer.header(name));
        assert_eq!(got, [Some("max-age=60"), Some("2"), None, None]);
    }
    let passed = larder.get("/passed").expect(200);
    assert_eq!((passed.header("server"), passed.header("set-cookie")), (None, Some("s=1")));
    assert_eq!(larder.get("/other").expect(200).header("server"), Some("old"));
}

#[test]
fn compression_and_sizes_are_a_rules_too() {
    let body = crate::support::text(4000);
    let origin = Origin::serving(&["cache-control: max-age=60", "content-type: text/plain"], body);
    let larder = Larder::with(
        &origin,
        "[[route]]\npath = \"/plain\"\ncompress = false\n[[route]]\npath = \"/small\"\nmax_object = \"1KiB\"\n",
    );
    let ask = |target: &str| Ask::get(target).with("Accept-Encoding", "gzip");
    assert_eq!(larder.ask(&ask("/plain")).header("content-encoding"), None);
    assert_eq!(larder.ask(&ask("/coded")).header("content-encoding"), Some("gzip"));
    larder.get("/small").expect(200);
    assert!(!larder.get("/small").was_hit());
    assert!(larder.get("/plain").was_hit());
}
