//! Looking at what is stored: `GET /api/entries`, `larder cache list` and `cache show`.

use serde_json::Value;

use crate::support::larder::larder as run;
use crate::support::{Ask, Larder, Origin, Setup};

fn origin() -> Origin {
    Origin::new(|seen, reply| {
        let tag = format!("surrogate-key: all {}", if seen.path() == "/a" { "a" } else { "other" });
        let etag = "etag: \"1\"";
        let mut fields = vec!["cache-control: max-age=600", etag, tag.as_str()];
        if seen.path() == "/varied" {
            fields.push("vary: X-A");
        }
        reply.ok(&fields, "four");
    })
}

fn urls(page: &Value) -> Vec<&str> {
    let entries = page["entries"].as_array().expect("entries");
    entries.iter().map(|entry| entry["url"].as_str().expect("a URL")).collect()
}

fn fill(larder: &Larder) {
    for target in ["/a", "/b", "/b?x=1"] {
        larder.await_hit(&Ask::get(target));
    }
    for value in ["1", "2"] {
        larder.await_hit(&Ask::get("/varied").with("X-A", value));
    }
    larder.await_hit(&Ask::get("/a").with("Host", "other.test:81"));
}

#[test]
fn entries_are_listed_by_host_prefix_and_tag_page_by_page() {
    let origin = origin();
    let larder = Larder::in_front_of(&origin);
    fill(&larder);
    let all = [
        "http://app.test/a",
        "http://app.test/b",
        "http://app.test/b?x=1",
        "http://app.test/varied",
        "http://app.test/varied",
        "http://other.test:81/a",
    ];
    for (query, want) in [
        ("", &all[..]),
        ("?host=app.test", &all[..5]),
        ("?host=OTHER.test", &all[5..]),
        ("?prefix=/b", &all[1..3]),
        ("?prefix=http://app.test/b?", &all[2..3]),
        ("?tag=a", &["http://app.test/a", "http://other.test:81/a"]),
        ("?tag=a&host=app.test", &all[..1]),
        ("?tag=none", &[]),
    ] {
        let page = larder.admin_get(&format!("/api/entries{query}")).expect(200).json();
        assert_eq!(urls(&page), want, "{query}");
        assert_eq!(page["next"], Value::Null, "{query}");
    }
    let (mut paged, mut after) = (Vec::new(), String::new());
    for _ in 0..all.len() {
        let page = larder.admin_get(&format!("/api/entries?limit=2{after}")).expect(200).json();
        paged.extend(urls(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        // A cursor is text to be encoded like any other.
        after = format!("&after={}", next.replace('%', "%25"));
    }
    assert_eq!(paged, all);
}

#[test]
fn an_entry_is_shown_with_what_is_known_of_it() {
    let origin = origin();
    let larder = Setup::new(&origin.url()).start_with_disk();
    fill(&larder);
    larder.await_on_disk(6);
    let page = larder.admin_get("/api/entries?url=http://APP.test:80/a").expect(200).json();
    let entry = &page["entries"][0];
    for (name, want) in [
        ("url", Value::from("http://app.test/a")),
        ("state", "fresh".into()),
        ("status", 200.into()),
        ("size", 4.into()),
        ("lifetime", 600.into()),
        ("whole", true.into()),
        ("tags", vec!["a", "all"].into()),
        ("tiers", vec!["memory", "disk"].into()),
        ("etag", "\"1\"".into()),
        ("key_rest", Value::Null),
    ] {
        assert_eq!(entry[name], want, "{name}: {entry}");
    }
    let varied = larder.admin_get("/api/entries?url=http://app.test/varied").expect(200).json();
    assert_eq!(urls(&varied).len(), 2, "both variants: {varied}");
    assert_eq!(varied["entries"][0]["vary"][0], "X-A");
    larder.admin_post("/api/purge", r#"{"tag": "all", "soft": true}"#).expect(200);
    let page = larder.admin_get("/api/entries?url=http://app.test/a").expect(200).json();
    assert_eq!(page["entries"][0]["state"], "soft-purged", "{page}");
    // After a restart it is on disk only.
    let larder = larder.restart();
    let page = larder.admin_get("/api/entries?url=http://app.test/varied").expect(200).json();
    assert_eq!(urls(&page).len(), 2, "{page}");
    assert_eq!(page["entries"][0]["tiers"], Value::from(vec!["disk"]), "{page}");
    let page = larder.admin_get("/api/entries").expect(200).json();
    assert!(urls(&page).is_empty() && page["note"].is_string(), "{page}");
    let none = larder.admin_get("/api/entries?url=http://app.test/none").expect(200).json();
    assert!(urls(&none).is_empty(), "{none}");
}

/// What leaves the memory tier leaves the list.
#[test]
fn what_is_evicted_or_replaced_is_not_listed_twice_or_for_ever() {
    let body = "x".repeat(50_000);
    let origin = Origin::serving(&["cache-control: max-age=600"], body.as_str());
    let setup = Setup::new(&origin.url()).without_disk().env("LARDER_CACHE__MEMORY", "16MiB");
    let larder = setup.start();
    let mut client = larder.connect();
    for n in 0..600 {
        client.ask(&Ask::get(&format!("/{}", n % 500))).expect(200);
    }
    let page = larder.admin_get("/api/entries?limit=10000").expect(200).json();
    let objects = larder.metrics().count("larder_cache_objects", &[("tier", "memory")]);
    assert_eq!(urls(&page).len() as u64, objects, "as many as foyer says there are");
    assert!(objects > 50 && objects < 500, "{objects}");
}

#[test]
fn the_command_line_lists_and_shows() {
    let origin = origin();
    let larder = Larder::in_front_of(&origin);
    fill(&larder);
    let admin = larder.admin.to_string();
    for (args, want) in [
        (&["list", "--tag", "a"][..], "http://other.test:81/a"),
        (&["list", "--prefix", "/b?x", "--limit", "1"], "http://app.test/b?x=1"),
        (&["show", "http://app.test/varied"], "X-A"),
    ] {
        let out = run(&[&["cache"], args, &["--admin", &admin]].concat());
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success() && said.contains(want), "{args:?}: {out:?}");
    }
    let out = run(&["cache", "show", "/a", "--admin", &admin]);
    assert_eq!(out.status.code(), Some(1), "{out:?}");
}
