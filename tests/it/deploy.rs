//! Another deploy: pages are validated, what they name by its hash stays.

use crate::support::{Ask, Larder, Origin, Setup};

fn site() -> Origin {
    Origin::new(|seen, reply| {
        let page = !seen.path().contains("css");
        if page && seen.header("if-none-match").is_some() {
            return reply.answer(304, &["etag: \"1\""], "");
        }
        let kind = if page { "content-type: text/html" } else { "content-type: text/css" };
        reply.ok(&["cache-control: max-age=6000", "etag: \"1\"", kind], "x");
    })
}

#[test]
fn pages_are_validated_after_another_deploy_and_only_then() {
    let origin = site();
    let first = Setup::new(&origin.url()).env("LARDER_DEPLOY_ID", "build-1");
    let larder = first.start_with_disk();
    for target in ["/", "/app.3f9c1.css"] {
        assert!(!larder.get(target).expect(200).was_hit());
        larder.await_hit(&Ask::get(target));
    }
    let larder = larder.restart();
    assert!(larder.get("/").was_hit() && larder.get("/app.3f9c1.css").was_hit(), "the same build");
    assert!(larder.stop().success());

    let second = first.clone().env("LARDER_DEPLOY_ID", "build-2");
    let larder = second.start_with_disk();
    assert!(larder.get("/app.3f9c1.css").was_hit());
    let page = larder.get("/").expect(200);
    assert_eq!(page.forwarded(), Some("stale"), "{page:?}");
    assert!(page.cache_status().contains("detail=purged"), "{page:?}");
    larder.await_hit(&Ask::get("/")); // validated once
    assert_eq!(origin.count(), 3, "two fetches, one validation");
    assert!(larder.events().contains("another deploy"), "{}", larder.events());
    let larder = larder.kill_and_restart();
    assert!(!larder.events().contains("another deploy"), "{}", larder.events());
    assert!(larder.stop().success());

    // Named for the first time, or not at all: nothing to compare with.
    let larder = first.clone().env("LARDER_DEPLOY_ID", "").start_with_disk();
    assert!(!larder.events().contains("another deploy"));
}

#[test]
fn pages_can_be_purged_by_hand_as_well() {
    let origin = site();
    let larder = Larder::in_front_of(&origin);
    for target in ["/", "/app.css"] {
        larder.get(target).expect(200);
        larder.await_hit(&Ask::get(target));
    }
    larder.admin_post("/api/purge", r#"{"tag": "larder:html", "soft": true}"#).expect(200);
    assert!(!larder.get("/").was_hit() && larder.get("/app.css").was_hit());
}
