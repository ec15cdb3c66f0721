//! Sites that know some of their visitors by a cookie.

use super::{
    DAY, HOUR, Recipe, content_type, keeps_to_herself, silent, told, windows, with_cookie,
};
use crate::support::{Ask, Origin};

pub fn wordpress(recipe: &Recipe<'_>) {
    let origin = silent();
    let larder = recipe.before(&[&origin]);
    let page = Ask::get("/2026/post/");
    assert_eq!(windows(&larder, "/2026/post/"), [Some(HOUR), Some(DAY)]);
    for cookie in [
        "wordpress_logged_in_5ab=anna",
        "_ga=1; wp-postpass_5ab=anna",
        "comment_author_5ab=anna; wp-settings-1=x",
        "wp_woocommerce_session_5ab=anna",
    ] {
        let tracked = with_cookie("/2026/post/?gclid=2", "_ga=1; wp-settings-time-1=x");
        keeps_to_herself(&larder, &with_cookie("/2026/post/", cookie), &[&page, &tracked]);
        assert!(larder.ask(&page).was_hit() && larder.ask(&tracked).was_hit(), "{cookie}");
    }
    for path in ["/wp-admin", "/wp-admin/post.php", "/wp-login.php", "/wp-json/x", "/checkout/"] {
        assert!(!larder.keeps(&Ask::get(path)), "{path}");
        let anna = with_cookie(path, "wordpress_test_cookie=anna");
        keeps_to_herself(&larder, &anna, &[&Ask::get(path)]);
    }
    assert!(!larder.keeps(&Ask::get("/x/../wp-admin/")), "however it is spelt");
    let style = with_cookie("/wp-content/style.css", "wordpress_logged_in_5ab=anna");
    assert!(larder.keeps(&style) && larder.get("/wp-content/style.css").was_hit());
    let login = Ask::post("/wp-login.php", "log=anna").with("Cookie", "wordpress_test_cookie=1");
    assert_eq!(larder.ask(&login).text(), "POST /wp-login.php for wordpress_test_cookie=1");
    let comment = Ask::post("/2026/post/", "text").with("Cookie", "a=1");
    assert_eq!(larder.ask(&comment).text(), "POST /2026/post/ for a=1");
    assert!(!larder.ask(&page).was_hit(), "a comment shows at once");
}

pub fn logged_in_users(recipe: &Recipe<'_>) {
    let origin = Origin::new(|seen, reply| {
        let kind = content_type(seen.path());
        match seen.path() {
            // Said by mistake.
            "/account" | "/account/orders" | "/login" => {
                reply.ok(&[&kind, "cache-control: max-age=60"], told(seen));
            }
            _ => reply.ok(&[&kind], told(seen)),
        }
    });
    let larder = recipe.before(&[&origin]);
    let page = Ask::get("/page");
    for cookie in ["session=anna", "_ga=1; session=anna", "theme=dark; session=anna; a=b"] {
        let visitor = with_cookie("/page", "theme=dark");
        keeps_to_herself(&larder, &with_cookie("/page", cookie), &[&page, &visitor]);
        assert!(larder.ask(&page).was_hit() && larder.ask(&visitor).was_hit(), "{cookie}");
    }
    for path in ["/account", "/account/orders", "/login"] {
        assert!(!larder.keeps(&Ask::get(path)), "{path}");
    }
    // In a line of its own, as HTTP/2 clients may send it.
    let lines = with_cookie("/page", "theme=dark").with("Cookie", "session=anna");
    keeps_to_herself(&larder, &lines, &[&page]);
}

pub fn ab_tests(recipe: &Recipe<'_>) {
    let origin = Origin::new(|seen, reply| {
        let kind = content_type(seen.path());
        if seen.all("cookie").join("").contains("ab=") {
            reply.ok(&[&kind], told(seen));
        } else {
            reply.ok(&[&kind, "set-cookie: ab=blue"], told(seen));
        }
    });
    let larder = recipe.before(&[&origin]);
    let before = origin.count();
    for _ in 0..2 {
        for (cookie, seen) in
            [("ab=blue", "ab=blue"), ("_ga=1; ab=green", "ab=green"), ("ab=green; x=2", "ab=green")]
        {
            let answer = larder.ask(&with_cookie("/a", cookie)).expect(200);
            assert_eq!(answer.text(), format!("GET /a for {seen}"), "{cookie}");
        }
    }
    assert_eq!(origin.count() - before, 2, "a copy for each version");
    for _ in 0..2 {
        let newcomer = larder.get("/a").expect(200);
        let given = newcomer.header("set-cookie");
        assert_eq!((given, newcomer.was_hit()), (Some("ab=blue"), false), "each gets a cookie");
    }
    let anna = with_cookie("/a", "ab=blue; session=anna");
    keeps_to_herself(&larder, &anna, &[&with_cookie("/a", "ab=blue")]);
}

pub fn cookies_everywhere(recipe: &Recipe<'_>) {
    let origin = Origin::new(|seen, reply| {
        let kind = content_type(seen.path());
        reply.ok(&[&kind, "set-cookie: session=anna"], told(seen));
    });
    let larder = recipe.before(&[&origin]);
    for path in ["/", "/blog/post", "/products/7"] {
        let first = larder.ask(&with_cookie(path, "session=anna")).expect(200);
        assert_eq!(first.text(), format!("GET {path} for "), "the app sees no cookie");
        let second = larder.get(path);
        assert!(second.was_hit(), "{path}: {second:?}");
        for answer in [first, second] {
            assert_eq!(answer.header("set-cookie"), None, "nobody's session: {path}");
        }
    }
    for path in ["/login", "/account/x", "/cart", "/other"] {
        let answer = larder.get(path).expect(200);
        assert_eq!(answer.header("set-cookie"), Some("session=anna"), "who asks gets it: {path}");
        assert!(!larder.keeps(&Ask::get(path)), "{path}");
        keeps_to_herself(&larder, &with_cookie(path, "session=anna"), &[&Ask::get(path)]);
    }
    let sent = larder.ask(&Ask::post("/products/7", "x").with("Cookie", "session=anna"));
    assert_eq!(sent.header("set-cookie"), Some("session=anna"), "a form has its session");
    assert_eq!(sent.text(), "POST /products/7 for session=anna");
}

pub fn admins(recipe: &Recipe<'_>) {
    let origin = Origin::new(|seen, reply| {
        assert_eq!(seen.header("x-fresh"), None, "the secret stays here");
        reply.ok(&["content-type: text/html"], told(seen));
    });
    let larder = recipe.before(&[&origin]);
    let page = Ask::get("/page");
    assert!(larder.keeps(&page));
    let editor = with_cookie("/page", "editor_session=anna");
    keeps_to_herself(&larder, &editor, &[&page]);
    for (case, name, value, hit) in [
        ("the secret", "X-Fresh", "s3cret", false),
        ("a guess", "X-Fresh", "s3cre", true),
        ("nothing in it", "X-Fresh", "", true),
        ("a reload", "Cache-Control", "no-cache", true),
        ("an old browser's reload", "Pragma", "no-cache", true),
    ] {
        for _ in 0..2 {
            let before = origin.count();
            let answer = larder.ask(&page.clone().with(name, value)).expect(200);
            assert_eq!(answer.was_hit(), hit, "{case}: {answer:?}");
            assert_eq!(origin.count() - before, usize::from(!hit), "{case}");
        }
    }
    assert!(larder.ask(&page).was_hit());
}
