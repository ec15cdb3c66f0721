//! A small HTTP cache, written from RFC 9111 and RFC 5861, and from what Larder's documentation
//! promises where they leave the choice. Slow, obvious, one copy after the other in a list; it
//! shares no code with Larder.

use std::collections::{HashMap, HashSet};

use super::message::{Ask, Fields, Millis, Reply, http_date};

const SECOND: Millis = 1000;
const DAY: Millis = 86_400 * SECOND;

/// What request directives may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Client {
    Honour,
    /// A client forces the origin to be asked at most once a second an object.
    Limit,
    Ignore,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub client: Client,
    pub keep_stale: Millis,
    pub share_set_cookie: bool,
}

/// A stored response.
#[derive(Clone, Debug)]
struct Copy {
    reply: Reply,
    /// The values that selected it, one for each of the object's names.
    selected_by: Vec<Option<String>>,
    came_at: Millis,
    /// Its request was nobody's in particular: freshness may be guessed.
    may_guess: bool,
    forced_at: Option<Millis>,
    soft_purged: bool,
}

/// All that is stored for one URL.
#[derive(Clone, Debug, Default)]
struct Object {
    /// What the newest response varies on, sorted.
    names: Vec<String>,
    copies: Vec<Copy>,
}

/// How an answer came about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// From the store, without the origin.
    Hit,
    /// The origin was asked, for this reason (RFC 9211 §2.2).
    Forwarded(&'static str),
    /// Nothing stored would do, and nothing else was wanted.
    NotCached,
}

/// An answer, and what an observer can tell of it.
#[derive(Clone, Debug)]
pub struct Told {
    /// `None`: the origin gave nothing, and Larder says so.
    pub reply: Option<Reply>,
    pub how: How,
    pub stored: bool,
    /// The age and what is left of the freshness, for what is or was being stored.
    pub age: Option<Millis>,
    pub left: Option<i64>,
}

/// Whom the origin is.
pub type Origin<'a> = &'a mut dyn FnMut(&Ask) -> Option<Reply>;

enum Use {
    Fresh,
    Stale,
    StaleWhileRevalidating,
    Validate(&'static str),
}

#[derive(PartialEq, Eq)]
enum Verdict {
    Keep,
    /// Another's answer might be kept.
    NotOfThisRequest,
    NotAtAll,
}

impl Copy {
    fn says(&self, directive: &str) -> bool {
        self.reply.fields.says(directive)
    }

    /// §4.2.1 and §4.2.2
    fn lifetime(&self) -> Millis {
        if self.says("no-cache") {
            return 0; // validated before each use
        }
        explicit(&self.reply.fields, self.date())
            .unwrap_or_else(|| if self.may_guess { guess(&self.reply, self.date()) } else { 0 })
    }

    fn date(&self) -> u64 {
        self.reply.fields.date("date").unwrap_or(self.came_at / SECOND)
    }

    /// §4.2.3; here a response takes no time.
    fn age(&self, now: Millis) -> Millis {
        let apparent = (self.came_at / SECOND).saturating_sub(self.date());
        let said = self.reply.fields.text("age").and_then(|v| v.parse().ok()).unwrap_or(0);
        apparent.max(said) * SECOND + now.saturating_sub(self.came_at)
    }

    fn late(&self, now: Millis) -> Millis {
        self.age(now).saturating_sub(self.lifetime())
    }

    fn is_fresh(&self, now: Millis) -> bool {
        self.age(now) < self.lifetime()
    }

    /// §4.2.4, §5.2.2.10
    fn never_stale(&self) -> bool {
        ["must-revalidate", "proxy-revalidate", "s-maxage", "no-cache"].iter().any(|d| self.says(d))
    }
}

fn explicit(fields: &Fields, date: u64) -> Option<Millis> {
    let said = fields.span("s-maxage").or(fields.span("max-age"));
    let expires = || fields.has("expires").then(|| fields.date("expires").unwrap_or(0));
    said.or_else(|| Some(expires()?.saturating_sub(date) * SECOND))
}

/// RFC 9110 §15.1, or `public`; errors only where they say when they changed.
fn may_be_guessed_at(reply: &Reply) -> bool {
    let by_status =
        matches!(reply.status, 200 | 203 | 204 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501);
    let dated = reply.status < 400 || reply.fields.has("last-modified");
    (by_status || reply.fields.says("public")) && dated
}

fn guess(reply: &Reply, date: u64) -> Millis {
    let modified = reply.fields.date("last-modified").filter(|_| may_be_guessed_at(reply));
    let most = if reply.status < 400 { DAY } else { 10 * SECOND };
    modified.map_or(0, |modified| (date.saturating_sub(modified) * SECOND / 10).min(most))
}

fn names(fields: &Fields) -> Vec<String> {
    let vary = fields.text("vary").unwrap_or_default();
    let mut names: Vec<_> =
        vary.split(',').map(|name| name.trim().to_lowercase()).filter(|n| !n.is_empty()).collect();
    names.sort();
    names.dedup();
    names
}

/// §4.1; lists that mean the same are the same.
fn values(names: &[String], ask: &Ask) -> Vec<Option<String>> {
    let normal = |name: &String| {
        let text = ask.fields.text(name)?;
        let members: Vec<_> = text.split(',').map(str::trim).collect();
        Some(members.join(","))
    };
    names.iter().map(normal).collect()
}

fn has_validator(fields: &Fields) -> bool {
    fields.has("etag") || fields.date("last-modified").is_some()
}

fn within(late: Millis, window: Option<Millis>) -> bool {
    window.is_some_and(|window| window > 0 && late <= window)
}

/// The cache.
#[derive(Clone, Debug)]
pub struct Cache {
    pub settings: Settings,
    objects: HashMap<String, Object>,
    /// What varied once. Larder may remember that longer than anything stored.
    varied: HashSet<String>,
}

impl Cache {
    pub fn new(settings: Settings) -> Self {
        Self { settings, objects: HashMap::new(), varied: HashSet::new() }
    }

    /// The same is stored, whenever it came.
    pub fn is_like(&self, other: &Self) -> bool {
        let of = |cache: &Self, path: &String| {
            let object = cache.objects.get(path)?;
            let copies = object.copies.iter();
            let copies: Vec<_> = copies.map(|c| (c.reply.clone(), c.selected_by.clone())).collect();
            Some((object.names.clone(), copies))
        };
        let paths = || self.objects.keys().chain(other.objects.keys());
        paths().all(|path| of(self, path) == of(other, path))
    }

    /// A response that varied was stored for this path.
    pub fn once_varied(&self, path: &str) -> bool {
        self.varied.contains(path)
    }

    /// More is stored than in the other.
    pub fn has_more_than(&self, other: &Self) -> bool {
        let count = |cache: &Self| cache.objects.values().map(|o| o.copies.len()).sum::<usize>();
        count(self) > count(other)
    }

    /// What is stored for a path, for a report.
    pub fn show(&self, path: &str) -> String {
        format!("{:#?}", self.objects.get(path))
    }

    /// Everything is kept over a restart but when clients forced a fetch.
    pub fn restart(&mut self) {
        let copies = self.objects.values_mut().flat_map(|object| &mut object.copies);
        copies.for_each(|copy| copy.forced_at = None);
    }

    /// What an object varies on is no response: it stays known.
    pub fn purge(&mut self, path: Option<&str>, soft: bool) {
        let hit = |own: &String| path.is_none_or(|path| path == own);
        for (_, object) in self.objects.iter_mut().filter(|(own, _)| hit(own)) {
            object.copies.retain(|_| soft);
            object.copies.iter_mut().for_each(|copy| copy.soft_purged = true);
        }
    }

    fn copy(&mut self, at: (&str, usize)) -> &mut Copy {
        &mut self.objects.get_mut(at.0).expect("an object").copies[at.1]
    }

    fn drop_copy(&mut self, at: (&str, usize)) {
        self.objects.get_mut(at.0).expect("an object").copies.remove(at.1);
    }

    pub fn answer(&mut self, ask: &Ask, now: Millis, origin: Origin<'_>) -> Told {
        if !matches!(ask.method, "GET" | "HEAD") {
            let reply = origin(ask);
            self.invalidate(ask, reply.as_ref());
            return match reply {
                Some(reply)
                    if ask.method == "POST" && is_what_get_would_bring(ask, &reply, now) =>
                {
                    self.full(None, ask, now, "method", reply, None)
                }
                reply => forwarded("method", reply),
            };
        }
        if ask.fields.has("if-match") || ask.fields.has("if-unmodified-since") {
            return forwarded("bypass", origin(ask)); // the origin's to judge, §4.3.2
        }
        let only_if_cached =
            ask.fields.says("only-if-cached") && self.settings.client != Client::Ignore;
        let object = self.objects.get(&ask.path);
        let selected = object.and_then(|object| {
            let wanted = values(&object.names, ask);
            object.copies.iter().position(|copy| copy.selected_by == wanted)
        });
        let Some(index) = selected else {
            let varies = object.is_some_and(|object| !object.names.is_empty());
            if only_if_cached {
                return Told { how: How::NotCached, ..forwarded("", None) };
            }
            return self.miss(ask, now, if varies { "vary-miss" } else { "uri-miss" }, origin);
        };
        let at = (&*ask.path, index);
        match self.usable(at, ask, now) {
            Use::Fresh | Use::Stale => self.told_of_copy(at, ask, now, How::Hit),
            Use::StaleWhileRevalidating => {
                let told = self.told_of_copy(at, ask, now, How::Hit);
                self.validate(at, ask, now, "stale", origin); // RFC 5861 §3
                told
            }
            Use::Validate(_) if only_if_cached => {
                Told { how: How::NotCached, ..forwarded("", None) }
            }
            Use::Validate(why) => {
                if why == "request" {
                    self.copy(at).forced_at = Some(now);
                }
                self.validate(at, ask, now, why, origin)
            }
        }
    }

    /// §4.4, RFC 9875
    fn invalidate(&mut self, ask: &Ask, reply: Option<&Reply>) {
        let safe = matches!(ask.method, "OPTIONS" | "TRACE");
        let Some(reply) = reply.filter(|r| !safe && (200..400).contains(&r.status)) else { return };
        self.objects.remove(&ask.path);
        for name in ["location", "content-location"] {
            let named = reply.fields.text(name).unwrap_or_default();
            let path = named.strip_prefix("http://app.test").unwrap_or(&named);
            self.objects.remove(path); // another origin's URL is no path of ours
        }
        if let Some(group) = reply.fields.text("cache-group-invalidation") {
            let of_group =
                |copy: &Copy| copy.reply.fields.text("cache-groups") == Some(group.clone());
            self.objects.values_mut().for_each(|object| object.copies.retain(|c| !of_group(c)));
        }
    }

    /// §4.2, §4.2.4, §5.2.1
    fn usable(&mut self, at: (&str, usize), ask: &Ask, now: Millis) -> Use {
        let client = self.settings.client;
        let copy = self.copy(at);
        let guessed = copy.may_guess && explicit(&copy.reply.fields, copy.date()).is_none();
        if copy.says("no-cache") || copy.soft_purged || (guessed && ask.is_personal()) {
            return Use::Validate("stale");
        }
        let (fresh, late) = (copy.is_fresh(now), copy.late(now));
        let tolerated = match ask.fields.directive("max-stale").as_deref() {
            None => false,
            Some("") => true,
            Some(_) => within(late, ask.fields.span("max-stale")),
        };
        let without_client = if fresh {
            Use::Fresh
        } else if copy.never_stale() {
            return Use::Validate("stale");
        } else if tolerated && client != Client::Ignore {
            Use::Stale
        } else if within(late, copy.reply.fields.span("stale-while-revalidate")) {
            Use::StaleWhileRevalidating
        } else {
            return Use::Validate("stale");
        };
        let just_forced = copy.forced_at.is_some_and(|at| now.saturating_sub(at) < SECOND);
        let may_force = match client {
            Client::Honour => true,
            Client::Limit => !just_forced,
            Client::Ignore => false,
        };
        if may_force && refuses(ask, copy, now) {
            return Use::Validate("request");
        }
        without_client
    }

    fn miss(&mut self, ask: &Ask, now: Millis, why: &'static str, origin: Origin<'_>) -> Told {
        if ask.method == "HEAD" {
            return forwarded(why, origin(ask));
        }
        match origin(&ask.whole()) {
            Some(reply) => self.full(None, ask, now, why, reply, None),
            None => forwarded(why, None),
        }
    }

    /// §4.3
    fn validate(
        &mut self,
        at: (&str, usize),
        ask: &Ask,
        now: Millis,
        why: &'static str,
        origin: Origin<'_>,
    ) -> Told {
        let copy = self.copy(at).clone();
        let held = &copy.reply.fields;
        let mut question = Ask { method: ask.method, ..ask.whole() };
        if let Some(etag) = held.text("etag") {
            question.fields.add("if-none-match", etag);
        }
        if let Some(modified) = held.text("last-modified") {
            question.fields.add("if-modified-since", modified);
        }
        let forced = (why == "request").then_some(now);
        match origin(&question) {
            None if self.may_serve_stale(&copy, ask, now, None) => {
                self.told_of_copy(at, ask, now, How::Forwarded(why))
            }
            None => forwarded(why, None),
            Some(reply) if reply.status == 304 => {
                if is_about(held, &reply.fields) {
                    return self.freshen(at, ask, now, why, &reply);
                }
                // It speaks of another response: ask for the whole (§4.3.4).
                match origin(&Ask { method: ask.method, ..ask.whole() }) {
                    Some(reply) => self.told_anew(at, ask, now, why, reply, forced),
                    None => forwarded(why, None),
                }
            }
            Some(reply) if reply.status >= 500 => {
                if self.may_serve_stale(&copy, ask, now, Some(reply.status)) {
                    return self.told_of_copy(at, ask, now, How::Forwarded(why));
                }
                forwarded(why, Some(reply))
            }
            Some(reply) => self.told_anew(at, ask, now, why, reply, forced),
        }
    }

    /// The answer to a question about the copy `at` that is no 304.
    fn told_anew(
        &mut self,
        at: (&str, usize),
        ask: &Ask,
        now: Millis,
        why: &'static str,
        reply: Reply,
        forced_at: Option<Millis>,
    ) -> Told {
        if ask.method != "HEAD" || reply.status != 200 {
            return self.full(Some(at), ask, now, why, reply, forced_at);
        }
        // §4.3.5: HEAD tells whether GET would bring the same.
        let held = &self.copy(at).reply;
        let same = |name: &&str| reply.fields.text(name) == held.fields.text(name);
        let mut validators = ["etag", "last-modified"].into_iter().filter(|n| reply.fields.has(n));
        let says = validators.clone().next().is_some();
        if says && validators.all(|name| same(&name)) && reply.content.len() == held.content.len() {
            return self.freshen(at, ask, now, why, &reply);
        }
        self.drop_copy(at);
        forwarded(why, Some(reply))
    }

    /// §4.2.4, RFC 5861 §4, `keep_stale`. `status`: `None` where the origin was out of reach.
    fn may_serve_stale(&self, copy: &Copy, ask: &Ask, now: Millis, status: Option<u16>) -> bool {
        let refused = is_reload(ask) && self.settings.client == Client::Honour;
        if copy.never_stale() || refused {
            return false;
        }
        let late = copy.late(now);
        let asked =
            ask.fields.span("stale-if-error").filter(|_| self.settings.client != Client::Ignore);
        let if_error =
            within(late, copy.reply.fields.span("stale-if-error")) || within(late, asked);
        match status {
            None => if_error || late <= self.settings.keep_stale,
            Some(500 | 502 | 503 | 504) => if_error,
            Some(_) => false,
        }
    }

    /// §4.3.4, §3.2
    fn freshen(
        &mut self,
        at: (&str, usize),
        ask: &Ask,
        now: Millis,
        why: &'static str,
        update: &Reply,
    ) -> Told {
        let old = self.copy(at).clone();
        let mut merged = old.clone();
        let fields = &mut merged.reply.fields;
        fields.remove("age");
        fields.remove("date");
        let described = ["content-encoding", "content-length", "content-range"];
        let news = update.fields.0.iter().filter(|(name, _)| !described.contains(&&**name));
        news.clone().for_each(|(name, _)| fields.remove(name));
        news.for_each(|(name, value)| fields.add(name, value.clone()));
        date(&mut merged.reply, now);
        merged.came_at = now;
        merged.may_guess = !ask.is_personal();
        merged.soft_purged = false;
        // A cookie is for who validated; what it comes with is no less everybody's.
        let mut shared = merged.clone();
        if !self.settings.share_set_cookie {
            shared.reply.fields.remove("set-cookie");
        }
        let verdict = match self.verdict(&ask.whole(), &shared.reply, now) {
            // Selected by other fields than were asked for when it was stored.
            Verdict::Keep if names(&merged.reply.fields) != names(&old.reply.fields) => {
                Verdict::NotAtAll
            }
            verdict => verdict,
        };
        *self.copy(at) = merged;
        let told = self.told_of_copy(at, ask, now, How::Forwarded(why));
        match verdict {
            Verdict::Keep => *self.copy(at) = shared,
            Verdict::NotOfThisRequest => *self.copy(at) = old,
            Verdict::NotAtAll => self.drop_copy(at),
        }
        Told { left: told.left.filter(|_| verdict == Verdict::Keep), ..told }
    }

    /// A full response, instead of the copy `at` if there is one.
    fn full(
        &mut self,
        at: Option<(&str, usize)>,
        ask: &Ask,
        now: Millis,
        why: &'static str,
        mut reply: Reply,
        forced_at: Option<Millis>,
    ) -> Told {
        date(&mut reply, now);
        let verdict = match self.verdict(ask, &reply, now) {
            _ if ask.method == "HEAD" => Verdict::NotOfThisRequest,
            verdict => verdict,
        };
        if verdict != Verdict::Keep {
            let replaced = verdict == Verdict::NotAtAll && (200..300).contains(&reply.status);
            if let Some(at) = at.filter(|_| replaced) {
                self.drop_copy(at);
            }
            return forwarded(why, Some(reply));
        }
        let object = self.objects.entry(ask.path.clone()).or_default();
        let names = names(&reply.fields);
        if !names.is_empty() {
            self.varied.insert(ask.path.clone());
        }
        if object.names != names {
            *object = Object { names, copies: Vec::new() };
        }
        let selected_by = values(&object.names, ask);
        object.copies.retain(|copy| copy.selected_by != selected_by);
        let may_guess = !ask.is_personal();
        object.copies.push(Copy {
            reply,
            selected_by,
            came_at: now,
            may_guess,
            forced_at,
            soft_purged: false,
        });
        let index = object.copies.len() - 1;
        let told = self.told_of_copy((&ask.path, index), ask, now, How::Forwarded(why));
        Told { stored: true, ..told }
    }

    /// §3, §3.5, and what Larder adds to keep strangers' answers from each other.
    fn verdict(&self, ask: &Ask, reply: &Reply, now: Millis) -> Verdict {
        let Reply { status, fields, .. } = reply;
        let understood = !matches!(status, 299);
        let no_store =
            if fields.says("must-understand") { !understood } else { fields.says("no-store") };
        let set_cookie = fields.has("set-cookie") && !self.settings.share_set_cookie;
        let star = names(fields).iter().any(|name| name == "*");
        if matches!(status, 100..200 | 206 | 304 | 412 | 416 | 417)
            || no_store
            || fields.says("private")
            || set_cookie
            || star
        {
            return Verdict::NotAtAll;
        }
        if ask.fields.says("no-store") && self.settings.client != Client::Ignore {
            return Verdict::NotOfThisRequest;
        }
        let shared = fields.says("public")
            || fields.says("must-revalidate")
            || fields.span("s-maxage").is_some_and(|span| span > 0);
        if ask.fields.has("authorization") && !shared {
            return Verdict::NotOfThisRequest;
        }
        self.worth(ask, reply, now)
    }

    /// It is fresh, or could be validated or be served stale.
    fn worth(&self, ask: &Ask, reply: &Reply, now: Millis) -> Verdict {
        let (status, fields) = (reply.status, &reply.fields);
        let copy = Copy {
            reply: reply.clone(),
            selected_by: Vec::new(),
            came_at: now,
            may_guess: !ask.is_personal(),
            forced_at: None,
            soft_purged: false,
        };
        let guessed = explicit(fields, copy.date()).is_none();
        if guessed && !may_be_guessed_at(reply) {
            return Verdict::NotAtAll;
        }
        let without = fields.says("public") || fields.says("no-cache");
        if guessed && !copy.is_fresh(now) && !without {
            return if copy.may_guess { Verdict::NotAtAll } else { Verdict::NotOfThisRequest };
        }
        let windows = ["stale-while-revalidate", "stale-if-error"];
        let has_window = windows.iter().any(|name| fields.span(name).is_some_and(|span| span > 0));
        let for_a_while = copy.lifetime() > 0 && self.settings.keep_stale > 0;
        let stale = (has_window || for_a_while) && !copy.never_stale();
        if !copy.is_fresh(now) && (status >= 400 || !(has_validator(fields) || stale)) {
            return Verdict::NotAtAll;
        }
        // Errors that the request itself may have brought about.
        let of_sender = matches!(status, 401..=403 | 429);
        if of_sender || (status >= 400 && ask.is_personal() && !matches!(status, 404 | 410)) {
            return Verdict::NotOfThisRequest;
        }
        Verdict::Keep
    }

    /// The answer made of a copy, with the client's own preconditions (RFC 9110 §13.2.2).
    fn told_of_copy(&mut self, at: (&str, usize), ask: &Ask, now: Millis, how: How) -> Told {
        let copy = self.copy(at);
        let mut reply = copy.reply.clone();
        let is_read = matches!(ask.method, "GET" | "HEAD");
        if is_read && reply.status == 200 && client_has(ask, copy) {
            reply.status = 304;
            reply.content.clear();
        }
        let signed = |span: Millis| i64::try_from(span).expect("a span");
        let left = signed(copy.lifetime()) - signed(copy.age(now));
        Told { reply: Some(reply), how, stored: false, age: Some(copy.age(now)), left: Some(left) }
    }
}

/// RFC 9110 §6.6.1: what comes without a Date gets one.
fn date(reply: &mut Reply, now: Millis) {
    if !reply.fields.has("date") {
        reply.fields.add("date", http_date(now / SECOND));
    }
}

fn forwarded(why: &'static str, reply: Option<Reply>) -> Told {
    Told { reply, how: How::Forwarded(why), stored: false, age: None, left: None }
}

/// §5.2.1.4, §5.4
fn is_reload(ask: &Ask) -> bool {
    let pragma = ask.fields.text("pragma").filter(|_| !ask.fields.has("cache-control"));
    ask.fields.says("no-cache") || pragma.as_deref() == Some("no-cache")
}

/// §5.2.1
fn refuses(ask: &Ask, copy: &Copy, now: Millis) -> bool {
    let fields = &ask.fields;
    if is_reload(ask) {
        return true;
    }
    let (age, fresh) = (copy.age(now), copy.is_fresh(now));
    let left = copy.lifetime().saturating_sub(age);
    // RFC 8246: what is immutable and fresh is not reloaded.
    let settled = fresh && copy.says("immutable");
    let too_old = fields.span("max-age").is_some_and(|limit| {
        !settled && (limit == 0 || age > limit || (!fresh && !fields.says("max-stale")))
    });
    too_old || fields.span("min-fresh").is_some_and(|limit| left < limit)
}

/// §4.3.4: a validator that differs is another response's.
fn is_about(held: &Fields, update: &Fields) -> bool {
    let opaque =
        |fields: &Fields| fields.text("etag").map(|tag| tag.trim_start_matches("W/").to_owned());
    let modified = |fields: &Fields| fields.text("last-modified");
    match (opaque(held), opaque(update)) {
        (Some(own), Some(other)) => own == other,
        (None, Some(_)) => modified(held).is_some() && modified(held) == modified(update),
        (_, None) => match (modified(held), modified(update)) {
            (Some(own), Some(other)) => own == other,
            _ => true,
        },
    }
}

fn client_has(ask: &Ask, copy: &Copy) -> bool {
    let weak = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    if let Some(list) = ask.fields.text("if-none-match") {
        let own = copy.reply.fields.text("etag").map(|tag| weak(&tag));
        return list == "*" || list.split(',').any(|tag| Some(weak(tag)) == own);
    }
    let modified = copy.reply.fields.date("last-modified").unwrap_or_else(|| copy.date());
    ask.fields.date("if-modified-since").is_some_and(|since| modified <= since)
}

/// RFC 9110 §9.3.3: its own Content-Location, and a freshness that is said.
fn is_what_get_would_bring(ask: &Ask, reply: &Reply, now: Millis) -> bool {
    let named = reply.fields.text("content-location").unwrap_or_default();
    let own = named.strip_prefix("http://app.test").unwrap_or(&named) == ask.path;
    let date = reply.fields.date("date").unwrap_or(now / SECOND);
    let age = (now / SECOND).saturating_sub(date) * SECOND;
    let fresh = explicit(&reply.fields, date).is_some_and(|lifetime| lifetime > age);
    reply.status == 200 && own && fresh
}
