//! Steps at random: what is published, what is asked for and how the origin takes it, and what
//! passes in between.

use std::fmt;

use super::message::{Fields, Millis, http_date};
use super::origin::{Done, Expires, Mood, Page, Tag};

/// Numbers at random, the same for the same seed (SplitMix64).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize].clone()
    }
}

/// One step. Pages are named by number; what hangs on the moment is filled in when it is taken.
#[derive(Clone, Debug)]
pub enum Step {
    /// The page changes.
    Publish {
        page: usize,
        new: Page,
        change: Change,
    },
    Ask {
        page: usize,
        method: &'static str,
        fields: Vec<Field>,
        mood: Mood,
        done: Done,
    },
    Wait(Millis),
    Purge {
        page: Option<usize>,
        soft: bool,
    },
    Restart,
}

/// What of a page changes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    All,
    /// What its content does not hang on.
    Fields,
    /// The same and what it varies on.
    FieldsAndVary,
}

/// A field of a request.
#[derive(Clone, Debug)]
pub enum Field {
    Plain(&'static str, String),
    /// If-None-Match with the tag that was last seen, or one of the answers before.
    TagSeen,
    /// If-Modified-Since now and so many seconds.
    Since(i64),
    /// If-Modified-Since with the Last-Modified that was last seen.
    DateSeen,
}

impl Step {
    /// It has to do with this page.
    pub fn concerns(&self, wanted: usize) -> bool {
        match self {
            Self::Publish { page, .. } => *page == wanted,
            Self::Ask { page, done, .. } => *page == wanted || done.names(wanted),
            Self::Purge { page, .. } => page.is_none_or(|page| page == wanted),
            Self::Wait(_) | Self::Restart => true,
        }
    }
}

impl Done {
    fn names(&self, page: usize) -> bool {
        let path = path(page);
        let fields = [&self.location, &self.content_location];
        fields.into_iter().flatten().any(|url| url.ends_with(&path))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish { page, new, change } => {
                write!(f, "publish {} ({change:?}): {new:?}", path(*page))
            }
            Self::Ask { page, method, fields, mood, done } => {
                write!(f, "{method} {} {fields:?}, origin {mood:?}", path(*page))?;
                if matches!(*method, "GET" | "HEAD") { Ok(()) } else { write!(f, ", {done:?}") }
            }
            Self::Wait(span) => write!(f, "wait {span} ms"),
            Self::Purge { page: Some(page), soft } => {
                write!(f, "purge {}, soft {soft}", path(*page))
            }
            Self::Purge { page: None, soft } => write!(f, "purge everything, soft {soft}"),
            Self::Restart => f.write_str("restart"),
        }
    }
}

pub fn path(page: usize) -> String {
    format!("/page/{page}")
}

/// What steps are drawn with.
pub struct Mix {
    pub pages: usize,
    /// One step in so many is a wait, and how long those are at most.
    pub wait_every: u64,
    pub waits: &'static [Millis],
    pub restart_every: u64,
}

impl Mix {
    pub fn step(&self, dice: &mut Dice) -> Step {
        if dice.one_in(self.restart_every) {
            return Step::Restart;
        }
        if dice.one_in(self.wait_every) {
            return Step::Wait(dice.pick(self.waits));
        }
        if dice.one_in(60) {
            let page = (!dice.one_in(10)).then(|| dice.below(self.pages as u64) as usize);
            return Step::Purge { page, soft: dice.one_in(2) };
        }
        let page = dice.below(self.pages as u64) as usize;
        if dice.one_in(10) {
            let changes = [Change::All, Change::All, Change::All, Change::Fields, Change::Fields];
            let change = dice.pick(&[&changes[..], &[Change::FieldsAndVary]].concat());
            return Step::Publish { page, new: new_page(dice), change };
        }
        self.ask(dice, page)
    }

    fn ask(&self, dice: &mut Dice, page: usize) -> Step {
        let method = match dice.below(40) {
            0 => "POST",
            1 => "PUT",
            2 => "DELETE",
            3 => "OPTIONS",
            4..=7 => "HEAD",
            _ => "GET",
        };
        let mood = match dice.below(12) {
            0 => Mood::Dead,
            1 => Mood::Fails(dice.pick(&[500, 501, 502, 503, 504])),
            2 => Mood::ForeignValidator,
            3 => Mood::NoConditions,
            _ => Mood::Honest,
        };
        Step::Ask { page, method, fields: request_fields(dice), mood, done: self.done(dice, page) }
    }

    fn done(&self, dice: &mut Dice, page: usize) -> Done {
        let url = |dice: &mut Dice| {
            let path = path(dice.below(self.pages as u64) as usize);
            let forms =
                [path.clone(), format!("http://app.test{path}"), format!("http://b.test{path}")];
            dice.one_in(3).then(|| dice.pick(&forms))
        };
        let status = dice.pick(&[200, 200, 201, 204, 303, 400, 404, 500]);
        let (location, mut content_location) = (url(dice), url(dice));
        if dice.one_in(3) {
            content_location = Some(path(page)); // what a GET would bring
        }
        let said =
            dice.pick(&[None, Some("max-age=20"), Some("private, max-age=20"), Some("no-cache")]);
        Done {
            status,
            location,
            content_location,
            cache_control: said.map(str::to_owned),
            group: group(dice),
        }
    }
}

/// Mostly nothing, now and then one of them.
fn maybe(dice: &mut Dice, n: u64, out: &mut Vec<String>, from: &[&str]) {
    if dice.one_in(n) {
        out.push(dice.pick(from).to_owned());
    }
}

fn request_fields(dice: &mut Dice) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut add = |name: &'static str, value: &str| fields.push(Field::Plain(name, value.into()));
    for (name, values) in [
        ("x-a", &["1", "2"][..]),
        ("x-b", &["x"]),
        ("accept-language", &["en", "de, en", "de ,en", "de,en"]),
    ] {
        if dice.one_in(3) {
            add(name, dice.pick(values));
        }
    }
    let mut directives = Vec::new();
    if dice.one_in(3) {
        maybe(dice, 8, &mut directives, &["no-cache"]);
        maybe(dice, 8, &mut directives, &["no-store"]);
        maybe(dice, 8, &mut directives, &["only-if-cached"]);
        maybe(dice, 6, &mut directives, &["max-age=0", "max-age=3", "max-age=30"]);
        maybe(dice, 6, &mut directives, &["max-stale", "max-stale=3", "max-stale=30"]);
        maybe(dice, 8, &mut directives, &["min-fresh=3", "min-fresh=30"]);
        maybe(dice, 8, &mut directives, &["stale-if-error=3", "stale-if-error=30"]);
        maybe(dice, 20, &mut directives, &["unknown", "unknown=1"]);
    }
    if !directives.is_empty() {
        add("cache-control", &directives.join(", "));
    }
    for (n, name, value) in [
        (40, "pragma", "no-cache"),
        (16, "authorization", "Basic eDp5"),
        (12, "cookie", "session=1"),
        (80, "if-match", "\"x\""),
        (80, "if-unmodified-since", "Sun, 06 Nov 1994 08:49:37 GMT"),
    ] {
        if dice.one_in(n) {
            add(name, value);
        }
    }
    match dice.below(30) {
        0..=2 => fields.push(Field::TagSeen),
        3 => fields.push(Field::Plain("if-none-match", "*".into())),
        4 => fields.push(Field::Plain("if-none-match", "\"other\", W/\"another\"".into())),
        5..=6 => fields.push(Field::DateSeen),
        7 => fields.push(Field::Since(dice.pick(&[-100_000, -10, 0, 100]))),
        _ => {}
    }
    fields
}

fn group(dice: &mut Dice) -> Option<&'static str> {
    dice.one_in(4).then(|| dice.pick(&["\"one\"", "\"two\""]))
}

fn new_page(dice: &mut Dice) -> Page {
    let mut said = Vec::new();
    let ages = ["max-age=0", "max-age=3", "max-age=3", "max-age=20", "max-age=20", "max-age=300"];
    maybe(dice, 2, &mut said, &ages);
    maybe(dice, 8, &mut said, &["s-maxage=0", "s-maxage=3", "s-maxage=30"]);
    maybe(dice, 8, &mut said, &["public"]);
    maybe(dice, 16, &mut said, &["private"]);
    maybe(dice, 16, &mut said, &["no-store"]);
    maybe(dice, 10, &mut said, &["no-cache"]);
    maybe(dice, 8, &mut said, &["must-revalidate", "proxy-revalidate"]);
    maybe(dice, 24, &mut said, &["must-understand", "immutable"]);
    maybe(dice, 6, &mut said, &["stale-while-revalidate=3", "stale-while-revalidate=30"]);
    maybe(dice, 6, &mut said, &["stale-if-error=3", "stale-if-error=60"]);
    let seldom = [204, 203, 299, 300, 301, 302, 308, 401, 403, 404, 404, 410, 410, 500, 503];
    let spans =
        [Expires::In(-10), Expires::In(0), Expires::In(3), Expires::In(30), Expires::NoDate];
    let vary = match dice.below(12) {
        0..=1 => vec!["x-a"],
        2 => vec!["x-b", "X-A"],
        3..=4 => vec!["x-a", "x-b", "Accept-Language"],
        5 => vec!["Accept-Language"],
        6 if dice.one_in(4) => vec!["x-a", "*"],
        _ => vec![],
    };
    Page {
        status: if dice.one_in(5) { dice.pick(&seldom) } else { 200 },
        cache_control: said.join(", "),
        expires: if dice.one_in(4) { dice.pick(&spans) } else { Expires::Never },
        date: (!dice.one_in(6)).then(|| dice.pick(&[0, 0, 0, 0, -3, -20, 5])),
        age: dice.one_in(8).then(|| dice.pick(&[0, 2, 25, 1000])),
        tag: dice.pick(&[Tag::None, Tag::Strong, Tag::Strong, Tag::Weak]),
        modified: dice.one_in(2).then(|| dice.pick(&[0, 50, 200, 100_000, 1_000_000])),
        vary,
        set_cookie: dice.one_in(20),
        group: group(dice),
        version: 0,
        update: 0,
        published_at: 0,
    }
}

/// A field's lines at the moment of the request.
pub fn request_field(field: &Field, seen: &Fields, now_secs: u64, out: &mut Fields) {
    match field {
        Field::Plain(name, value) => out.add(name, value.clone()),
        Field::TagSeen => {
            if let Some(tag) = seen.text("etag") {
                out.add("if-none-match", format!("\"no\", {tag}"));
            }
        }
        Field::DateSeen => {
            if let Some(date) = seen.text("last-modified") {
                out.add("if-modified-since", date);
            }
        }
        Field::Since(offset) => {
            out.add("if-modified-since", http_date(now_secs.saturating_add_signed(*offset)));
        }
    }
}
