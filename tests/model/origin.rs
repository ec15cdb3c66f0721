//! What the origin says: a small honest site whose pages change, and the ways in which it fails.
//! The same function answers the model's questions and, over a socket, Larder's.

use super::message::{Ask, Fields, Reply, http_date};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tag {
    None,
    Strong,
    Weak,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expires {
    Never,
    /// Seconds after (or before) the answer.
    In(i64),
    NoDate,
}

/// What is published at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    pub status: u16,
    pub cache_control: String,
    pub expires: Expires,
    /// Date is the moment of the answer and so many seconds; `None`: there is none.
    pub date: Option<i64>,
    pub age: Option<u64>,
    pub tag: Tag,
    /// It was modified so many seconds before it was published.
    pub modified: Option<u64>,
    pub vary: Vec<&'static str>,
    pub set_cookie: bool,
    pub group: Option<&'static str>,
    /// Tells one content from another; given when it is published.
    pub version: u64,
    /// Tells one set of fields from another.
    pub update: u64,
    pub published_at: u64,
}

/// How the origin behaves towards one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    Honest,
    /// Answers in full, whatever the condition.
    NoConditions,
    /// Its 304 speaks of another response.
    ForeignValidator,
    Fails(u16),
    /// It closes the connection without an answer.
    Dead,
}

/// The answer to an unsafe request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    pub status: u16,
    pub location: Option<String>,
    pub content_location: Option<String>,
    pub cache_control: Option<String>,
    pub group: Option<&'static str>,
}

/// All that the origin's answer to one request follows from.
#[derive(Clone, Debug)]
pub struct Site {
    pub page: Page,
    pub mood: Mood,
    pub done: Done,
    pub now_secs: u64,
}

impl Site {
    /// `None`: no answer at all.
    pub fn answer(&self, ask: &Ask) -> Option<Reply> {
        match self.mood {
            Mood::Dead => return None,
            Mood::Fails(status) => {
                let fields = Fields::default().with("x-version", format!("failed {status}"));
                return Some(Reply { status, fields, content: format!("failed {status}") });
            }
            _ => {}
        }
        if !matches!(ask.method, "GET" | "HEAD") {
            return Some(self.done(ask));
        }
        let full = self.full(ask);
        if self.page.status != 200 {
            return Some(full);
        }
        if self.mood == Mood::ForeignValidator && ask.is_conditional() {
            let fields = Fields::default().with("etag", "\"foreign\"").with("x-update", "foreign");
            return Some(Reply { status: 304, fields, content: String::new() });
        }
        if self.mood == Mood::Honest && unchanged(ask, &full) {
            return Some(self.not_modified(full));
        }
        Some(full)
    }

    fn done(&self, ask: &Ask) -> Reply {
        let mut fields = Fields::default().with("x-version", ask.method);
        let Done { location, content_location, cache_control, .. } = &self.done;
        for (name, value) in [
            ("location", location),
            ("content-location", content_location),
            ("cache-control", cache_control),
        ] {
            if let Some(value) = value {
                fields.add(name, value.clone());
            }
        }
        if let Some(group) = self.done.group {
            fields.add("cache-group-invalidation", group);
        }
        Reply { status: self.done.status, fields, content: "done".into() }
    }

    fn moment(&self, offset: i64) -> String {
        http_date(self.now_secs.saturating_add_signed(offset))
    }

    fn full(&self, ask: &Ask) -> Reply {
        let page = &self.page;
        let mut content = format!("version {}", page.version);
        for name in &page.vary {
            content.push_str(&format!(" {name}={:?}", normal(ask, name)));
        }
        let mut fields = Fields::default();
        if !page.cache_control.is_empty() {
            fields.add("cache-control", page.cache_control.clone());
        }
        match page.expires {
            Expires::Never => {}
            Expires::In(secs) => fields.add("expires", self.moment(secs)),
            Expires::NoDate => fields.add("expires", "0"),
        }
        if let Some(offset) = page.date {
            fields.add("date", self.moment(offset));
        }
        if let Some(age) = page.age {
            fields.add("age", age.to_string());
        }
        let mark =
            content.bytes().fold(7_u64, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into()));
        match page.tag {
            Tag::None => {}
            Tag::Strong => fields.add("etag", format!("\"{mark:x}\"")),
            Tag::Weak => fields.add("etag", format!("W/\"{mark:x}\"")),
        }
        if let Some(before) = page.modified {
            fields.add("last-modified", http_date(page.published_at.saturating_sub(before)));
        }
        if !page.vary.is_empty() {
            fields.add("vary", page.vary.join(", "));
        }
        if page.set_cookie {
            fields.add("set-cookie", format!("session={}", page.update));
        }
        if let Some(group) = page.group {
            fields.add("cache-groups", group);
        }
        fields.add("content-type", "application/octet-stream");
        fields.add("x-version", page.version.to_string());
        fields.add("x-update", page.update.to_string());
        if page.status == 204 {
            content.clear();
        }
        Reply { status: page.status, fields, content }
    }

    /// What a 304 should carry, and some that it should not.
    fn not_modified(&self, full: Reply) -> Reply {
        let mut fields = full.fields;
        fields.remove("content-type");
        fields.remove("x-version");
        if self.page.update.is_multiple_of(3) {
            fields.add("content-encoding", "never");
        }
        Reply { status: 304, fields, content: String::new() }
    }
}

fn unchanged(ask: &Ask, full: &Reply) -> bool {
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    if let Some(list) = ask.fields.text("if-none-match") {
        let own = full.fields.text("etag").map(|tag| opaque(&tag));
        return list.split(',').any(|tag| Some(opaque(tag)) == own);
    }
    match (ask.fields.date("if-modified-since"), full.fields.date("last-modified")) {
        (Some(since), Some(modified)) => modified <= since,
        _ => false,
    }
}

fn normal(ask: &Ask, name: &str) -> Option<String> {
    let text = ask.fields.text(name)?;
    Some(text.split(',').map(str::trim).collect::<Vec<_>>().join(","))
}
