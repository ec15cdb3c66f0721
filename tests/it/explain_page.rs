//! docs/explain.md: its sessions, the form of an explanation, and the words that it knows.

use ::larder::semantics::words::REASONS;

use crate::support::larder::larder as run;
use crate::support::page::Page;
use crate::support::{Larder, Origin};

fn page() -> Page {
    Page::read("docs/explain.md", "## ")
}

fn app() -> Origin {
    Origin::new(|seen, reply| match seen.path() {
        "/account" => reply.ok(&["cache-control: private"], "x"),
        _ => reply.ok(&["cache-control: max-age=600"], "x"),
    })
}

#[test]
fn session_of_the_page_prints_what_it_says() {
    let page = page();
    for heading in ["Cache-Status", "The first line"] {
        let origin = app();
        let larder = Larder::in_front_of(&origin);
        page.section(heading).type_session(page.opening.only("sh"), &larder);
    }
}

#[test]
fn an_explanation_has_the_parts_that_it_names() {
    let origin = app();
    let larder = Larder::with(&origin, "[[route]]\nname = \"pages\"\nttl = \"1m\"\n");
    larder.get("/page").expect(200);
    let admin = larder.admin.to_string();
    let out = run(&["cache", "explain", "http://app.test/page", "--admin", &admin]);
    let printed = String::from_utf8_lossy(&out.stdout).into_owned();
    let labels = |text: &str| -> Vec<String> {
        let words = text.lines().skip(2).filter_map(|line| line.split("  ").next());
        words.filter(|word| !word.is_empty()).map(ToOwned::to_owned).collect()
    };
    let page = page();
    let documented = page.section("The rest of it").only("text");
    assert_eq!(labels(&printed), labels(documented), "{printed}");
    for label in labels(documented).iter().skip(1) {
        assert!(page.section("The rest of it").text.contains(&format!("- **{label}**")), "{label}");
    }
}

#[test]
fn it_knows_every_word() {
    let page = page();
    let text = &page.section("Every word of detail").text;
    for (word, _) in REASONS {
        assert!(text.contains(&format!("`{word}`")), "docs/explain.md does not tell `{word}`");
    }
}
