//! Takes steps with a Larder and with the reference side by side, and tells the first difference.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use super::Tally;
use super::larder::World;
use super::message::{Ask, Fields, Millis};
use super::origin::{Done, Expires, Mood, Page, Site, Tag};
use super::reference::{Cache, How, Told};
use super::script::{Change, Field, Step, path, request_field};
use crate::support::{self, Answer, Client, Origin};

/// Neither side knows the other's moment better than this. What is decided otherwise so much
/// earlier or later is not asked just then.
const SLACK: Millis = 60;
/// An exchange that took longer leaves it open when its answer was stored.
const LONG: Millis = 30;

/// What the origin is to say now, and what it was asked.
#[derive(Default)]
struct Stage {
    site: Option<Site>,
    asked: Vec<Ask>,
}

type Shared = Arc<Mutex<Stage>>;

pub struct Driver<W> {
    world: W,
    cache: Cache,
    pages: Vec<Slot>,
    stage: Shared,
    client: Option<Client>,
    _origin: Origin,
    versions: u64,
    /// What came of it so far.
    pub tally: Tally,
}

/// A page, and what clients have seen of it.
#[derive(Clone)]
struct Slot {
    page: Page,
    seen: Fields,
    /// Part of its path: what could not be judged is left behind.
    renewed: u64,
}

/// Starts the origin that tells what is on the stage.
fn origin() -> (Origin, Shared) {
    let stage: Shared = Arc::default();
    let told = stage.clone();
    let origin = Origin::new(move |seen, reply| {
        let mut fields = Fields::default();
        for (name, value) in &seen.headers {
            fields.add(&name.to_lowercase(), value.clone());
        }
        let method = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"];
        let method = method.iter().find(|m| **m == seen.method).expect("a method");
        let ask = Ask { method, path: seen.target.clone(), fields };
        let answer = {
            let mut stage = told.lock().expect("not poisoned");
            stage.asked.push(ask.clone());
            stage.site.as_ref().and_then(|site| site.answer(&ask))
        };
        let Some(answer) = answer else { return reply.close() };
        let lines: Vec<_> = answer.fields.0.iter().map(|(n, v)| format!("{n}: {v}")).collect();
        let lines: Vec<_> = lines.iter().map(String::as_str).collect();
        reply.answer(answer.status, &lines, &answer.content);
    });
    (origin, stage)
}

impl<W: World> Driver<W> {
    pub fn new(cache: Cache, pages: usize, start: impl FnOnce(&str) -> W) -> Self {
        let (origin, stage) = origin();
        let world = start(&origin.url());
        let page = Page {
            status: 200,
            cache_control: "max-age=20".into(),
            expires: Expires::Never,
            date: Some(0),
            age: None,
            tag: Tag::Strong,
            modified: None,
            vary: Vec::new(),
            set_cookie: false,
            group: None,
            version: 0,
            update: 0,
            published_at: world.now() / 1000,
        };
        let slot = Slot { page, seen: Fields::default(), renewed: 0 };
        Self {
            world,
            cache,
            pages: vec![slot; pages],
            stage,
            client: None,
            _origin: origin,
            versions: 0,
            tally: Tally::default(),
        }
    }

    /// One step. `Err`: how Larder and the reference differ.
    pub fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Publish { page, new, change } => self.publish(*page, new, *change),
            Step::Wait(span) => self.world.wait(*span),
            Step::Purge { page, soft } => {
                self.tally.saw("purges");
                let path = page.map(|page| self.path(page));
                self.world.purge(path.as_deref(), *soft);
                self.cache.purge(path.as_deref(), *soft);
            }
            Step::Restart => {
                self.tally.saw("restarts");
                self.client = None;
                self.world.restart();
                self.cache.restart();
            }
            Step::Ask { page, method, fields, mood, done } => {
                return self.ask(*page, method, fields, *mood, done);
            }
        }
        Ok(())
    }

    fn path(&self, page: usize) -> String {
        match self.pages[page].renewed {
            0 => path(page),
            n => format!("{}/{n}", path(page)),
        }
    }

    fn publish(&mut self, page: usize, new: &Page, change: Change) {
        self.versions += 1;
        let (version, now) = (self.versions, self.world.now() / 1000);
        let old = &self.pages[page].page;
        let mut next = Page { version, published_at: now, ..new.clone() };
        if change != Change::All {
            // What the content hangs on stays; what is said of it changes.
            next = Page {
                status: old.status,
                version: old.version,
                tag: old.tag,
                modified: old.modified,
                published_at: old.published_at,
                ..next
            };
            if change == Change::Fields {
                next.vary.clone_from(&old.vary);
            }
        }
        next.update = version;
        self.pages[page].page = next;
    }

    fn ask(
        &mut self,
        page: usize,
        method: &'static str,
        fields: &[Field],
        mood: Mood,
        done: &Done,
    ) -> Result<(), String> {
        for _ in 0..50 {
            let now = self.world.now();
            let slot = &self.pages[page];
            let mut lines = Fields::default();
            for field in fields {
                request_field(field, &slot.seen, now / 1000, &mut lines);
            }
            let ask = Ask { method, path: self.path(page), fields: lines };
            let site =
                Site { page: slot.page.clone(), mood, done: done.clone(), now_secs: now / 1000 };
            if let Some(forecast) = self.forecast(&ask, &site, now, now) {
                return self.exchange(page, &ask, &site, now, forecast);
            }
            self.world.wait(SLACK * 2 + 7);
        }
        Err("no moment at which the answer is clear".into())
    }

    /// What the reference says, if it says the same all through from `from` to `to`.
    fn forecast(&self, ask: &Ask, site: &Site, from: Millis, to: Millis) -> Option<Forecast> {
        let (early, late) = (from - SLACK, to + SLACK);
        if early / 1000 != late / 1000 {
            return None; // dates are whole seconds
        }
        let forecast = Forecast::of(&self.cache, ask, site, from);
        let same = |at| Forecast::of(&self.cache, ask, site, at).is_like(&forecast);
        (same(early) && same(late)).then_some(forecast)
    }

    fn exchange(
        &mut self,
        page: usize,
        ask: &Ask,
        site: &Site,
        now: Millis,
        forecast: Forecast,
    ) -> Result<(), String> {
        {
            let mut stage = self.stage.lock().expect("not poisoned");
            *stage = Stage { site: Some(site.clone()), asked: Vec::new() };
        }
        let answer = self.send(ask);
        self.world.settle();
        let end = self.world.now();
        let took = end - now;
        if took > LONG {
            // Judge it if that can be, and leave behind what it may have stored.
            let still = self.forecast(ask, site, now, end);
            self.pages[page].renewed += 1;
            self.pages[page].seen = Fields::default();
            self.tally.unjudged += usize::from(still.is_none());
            if still.is_none() {
                self.cache.purge(None, false);
                self.world.purge(None, false);
                return Ok(());
            }
        }
        let asked = std::mem::take(&mut self.stage.lock().expect("not poisoned").asked);
        let told = &forecast.told;
        let mut differences = Vec::new();
        let once_varied = self.cache.once_varied(&ask.path);
        compare_answer(ask, told, &answer, took, once_varied, &mut differences);
        compare_questions(site.mood, &forecast.questions, &asked, &mut differences);
        if !differences.is_empty() {
            let mut report = differences.join("\n");
            let _ = write!(report, "\n  request: {ask:?}\n  page: {:?}", site.page);
            let _ =
                write!(report, "\n  reference: {told:?}\n  questions: {:?}", forecast.questions);
            let _ = write!(report, "\n  before: {}", self.cache.show(&ask.path));
            let _ = write!(report, "\n  Larder: {answer:?}\n  asked: {asked:?}");
            let _ = write!(report, "\n  condition: {}", self.world.condition());
            return Err(report);
        }
        note(&mut self.tally, ask, site, &forecast, &self.cache);
        if took <= LONG
            && let Some(reply) = &told.reply
        {
            self.pages[page].seen = reply.fields.clone();
        }
        self.cache = forecast.cache;
        if took > LONG {
            self.cache.purge(Some(&ask.path), false);
        }
        Ok(())
    }

    fn send(&mut self, ask: &Ask) -> Answer {
        let mut request = support::Ask::new(ask.method, &ask.path);
        for (name, value) in &ask.fields.0 {
            request = request.with(name, value);
        }
        if ask.method == "POST" {
            request = request.body("content");
        }
        let addr = self.world.addr();
        let client = self.client.get_or_insert_with(|| Client::connect(addr));
        let answer = client.ask(&request);
        if !answer.is_whole() || answer.header("connection") == Some("close") {
            self.client = None;
        }
        answer
    }
}

/// What the reference says to a request, and what it asks the origin.
struct Forecast {
    told: Told,
    questions: Vec<Ask>,
    cache: Cache,
}

impl Forecast {
    fn of(cache: &Cache, ask: &Ask, site: &Site, now: Millis) -> Self {
        let mut cache = cache.clone();
        let mut questions = Vec::new();
        let told = cache.answer(ask, now, &mut |question| {
            questions.push(question.clone());
            site.answer(question)
        });
        Self { told, questions, cache }
    }

    fn is_like(&self, other: &Self) -> bool {
        let (one, two) = (&self.told, &other.told);
        one.reply == two.reply
            && one.how == two.how
            && one.stored == two.stored
            && self.questions == other.questions
            && self.cache.is_like(&other.cache)
    }
}

fn note(tally: &mut Tally, ask: &Ask, site: &Site, forecast: &Forecast, before: &Cache) {
    let Forecast { told, questions, cache } = forecast;
    let is_read = matches!(ask.method, "GET" | "HEAD");
    let status = told.reply.as_ref().map_or(0, |reply| reply.status);
    let failed = site.mood == Mood::Dead || matches!(site.mood, Mood::Fails(_));
    let stale = told.left.is_some_and(|left| left < 0);
    let conditional = questions.iter().any(Ask::is_conditional);
    let full = questions.iter().any(|q| site.answer(q).is_some_and(|reply| reply.status != 304));
    for (what, seen) in [
        ("HEAD", ask.method == "HEAD"),
        ("unsafe methods", !is_read && ask.method != "OPTIONS"),
        ("invalidated", !is_read && before.has_more_than(cache)),
        ("stored by POST", ask.method == "POST" && told.stored),
        ("stored", is_read && told.stored),
        ("hits", told.how == How::Hit && !stale),
        ("stale hits", told.how == How::Hit && stale),
        ("validated", conditional && !full && !failed),
        ("conditional questions", conditional),
        ("only if cached", told.how == How::NotCached),
        ("origin out of reach", site.mood == Mood::Dead && !questions.is_empty()),
        ("stale after a failure", failed && told.age.is_some() && told.how != How::Hit),
        ("a 304 to the client", is_read && status == 304),
        ("vary by three", told.stored && site.page.vary.len() == 3),
    ] {
        if seen {
            tally.saw(what);
        }
    }
}

/// Fields that pass from the origin to the client.
const FIELDS: [&str; 12] = [
    "cache-control",
    "expires",
    "etag",
    "last-modified",
    "vary",
    "location",
    "content-location",
    "content-encoding",
    "set-cookie",
    "cache-groups",
    "x-version",
    "x-update",
];

/// Those of them that a 304 carries (RFC 9110 §15.4.5).
const OF_304: [&str; 6] =
    ["cache-control", "expires", "etag", "last-modified", "vary", "content-location"];

fn compare_answer(
    ask: &Ask,
    told: &Told,
    answer: &Answer,
    took: Millis,
    once_varied: bool,
    differences: &mut Vec<String>,
) {
    let mut differs = |what: &str, got: String, want: String| {
        if got != want {
            differences.push(format!("{what}: Larder {got}, reference {want}"));
        }
    };
    let how = match (answer.was_hit(), answer.forwarded()) {
        (true, _) => "hit".to_owned(),
        (false, Some("vary-miss")) if once_varied && told.how == How::Forwarded("uri-miss") => {
            "fwd=uri-miss".to_owned()
        }
        (false, Some(why)) => format!("fwd={why}"),
        (false, None) => "neither".to_owned(),
    };
    let want = match told.how {
        How::Hit => "hit".to_owned(),
        How::Forwarded(why) => format!("fwd={why}"),
        How::NotCached => "neither".to_owned(),
    };
    differs("how", how, want);
    differs("stored", answer.was_stored().to_string(), told.stored.to_string());
    let Some(reply) = &told.reply else {
        let refused = if told.how == How::NotCached { 504 } else { 502 };
        return differs("status", answer.status.to_string(), refused.to_string());
    };
    differs("status", answer.status.to_string(), reply.status.to_string());
    let without = ask.method == "HEAD" || matches!(reply.status, 204 | 304);
    let content = if without { "" } else { &reply.content };
    differs("content", answer.text(), content.to_owned());
    let names = if reply.status == 304 { &OF_304[..] } else { &FIELDS[..] };
    // Where the origin says none, whoever answers says one.
    let date = reply.fields.has("date").then_some(&"date");
    for name in names.iter().chain(date) {
        let got = answer.all(name).join(", ");
        differs(name, got, reply.fields.text(name).unwrap_or_default());
    }
    if let Some(age) = told.age {
        let allowed = age.saturating_sub(SLACK) / 1000..=(age + took + SLACK) / 1000;
        let got = answer.header("age").and_then(|age| age.parse().ok());
        if !got.is_some_and(|got| allowed.contains(&got)) {
            differences.push(format!("Age: Larder {got:?}, reference {allowed:?}"));
        }
    }
    let ttl = answer.cache_status().split("; ").find_map(|p| p.strip_prefix("ttl=")?.parse().ok());
    if let (Some(ttl), Some(left)) = (ttl, told.left) {
        let slack = (took + SLACK).cast_signed();
        let allowed = (left - slack).div_euclid(1000)..=(left + slack).div_euclid(1000);
        if !allowed.contains(&ttl) {
            differences.push(format!("ttl: Larder {ttl}, reference {allowed:?}"));
        }
    }
}

/// What the origin was asked: method, condition and what selects.
fn compare_questions(mood: Mood, want: &[Ask], got: &[Ask], differences: &mut Vec<String>) {
    let shown = |ask: &Ask| {
        let mut text = format!("{} {}", ask.method, ask.path);
        for name in [
            "if-none-match",
            "if-modified-since",
            "if-match",
            "range",
            "x-a",
            "x-b",
            "accept-language",
        ] {
            if let Some(value) = ask.fields.text(name) {
                let _ = write!(text, " {name}: {value}");
            }
        }
        text
    };
    let want: Vec<_> = want.iter().map(shown).collect();
    let mut got: Vec<_> = got.iter().map(shown).collect();
    if mood == Mood::Dead {
        got.dedup(); // a connection that was kept is tried once more with a fresh one
    }
    if got != want {
        differences.push(format!("the origin was asked {got:?}, the reference asks {want:?}"));
    }
}
