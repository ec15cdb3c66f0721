//! Random requests for parts, whole and conditions, before an app that knows ranges, changes what
//! it has and fails now and then: every byte that a client gets is one of what the app had.
//!
//! A failure prints the seed and the steps that led to it. The same again: `LARDER_RANGES_SEED=…`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::support::{
    Answer, Ask, Content, Ending, Larder, Origin, SOON, Setup, eventually, long, noise,
};

/// All that the app ever had; the last is what it has. Tags are `"v0"`, `"v1"` …
type Versions = Arc<Mutex<Vec<Vec<u8>>>>;

fn seed() -> u64 {
    let given = std::env::var("LARDER_RANGES_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = UNIX_EPOCH.elapsed().expect("after 1970").as_nanos();
    let seed = given.unwrap_or(now as u64);
    println!("LARDER_RANGES_SEED={seed}");
    seed
}

#[derive(Clone)]
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % n
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// Mostly of one length, so that parts of two could be mixed.
fn version(dice: &mut Dice) -> Vec<u8> {
    let len = if dice.one_in(4) { 1 + dice.below(60_000) } else { 30_000 };
    noise(len, dice.0)
}

/// An app with `versions` at every path. With `faults` it also changes between two requests,
/// breaks off, knows no ranges, or no If-Range; `disturbed` is set when a client may notice.
fn app(versions: &Versions, faults: bool, disturbed: &Arc<AtomicBool>, seed: u64) -> Origin {
    let (versions, disturbed) = (versions.clone(), disturbed.clone());
    let dice = Mutex::new(Dice::new(seed ^ 0xA99));
    Origin::new(move |seen, reply| {
        let mut dice = dice.lock().unwrap();
        let mut versions = versions.lock().unwrap();
        let mut seen = seen.clone();
        let asks_part = seen.header("if-range").is_some();
        if faults && asks_part && dice.one_in(20) {
            versions.push(version(&mut dice));
            disturbed.store(true, Ordering::SeqCst);
        }
        let number = versions.len() - 1;
        let body = versions[number].clone();
        if faults && dice.one_in(15) {
            seen.headers.retain(|(name, _)| name != "range");
            disturbed.fetch_or(asks_part, Ordering::SeqCst); // the second of two gaps
        } else if faults && dice.one_in(10) {
            seen.headers.retain(|(name, _)| name != "if-range");
            disturbed.fetch_or(asks_part, Ordering::SeqCst); // it may have been the client's
        }
        let control = match dice.below(8) {
            0 => "cache-control: max-age=1, must-revalidate",
            1 => "cache-control: no-cache",
            _ => "cache-control: max-age=600",
        };
        let content = Content::new(body, &format!("\"v{number}\"")).with(&[control]);
        if faults && dice.one_in(25) {
            disturbed.store(true, Ordering::SeqCst);
            let most = content.body.len();
            reply.raw(format!("HTTP/1.1 200 OK\r\netag: {}\r\n{control}\r\n", content.tag));
            reply.raw(format!("content-length: {most}\r\n\r\n"));
            reply.raw(&content.body[..dice.below(most)]);
            return reply.close();
        }
        content.answer(&seen, reply);
    })
}

/// A range as it is written, and where it begins and ends in a body of `len` bytes.
fn range(dice: &mut Dice, len: usize) -> (String, Option<(usize, usize)>) {
    let (a, b) = (dice.below(len + len / 10 + 1), dice.below(len + 1));
    let short = dice.one_in(2);
    let (text, from, to) = match dice.below(6) {
        0 => (format!("{a}-"), a, len),
        1 => (format!("-{b}"), len.saturating_sub(b), len),
        2 if short => (format!("{a}-18446744073709551615"), a, len),
        _ => {
            let last = a + if short { dice.below(300) } else { dice.below(len) };
            (format!("{a}-{last}"), a, (last + 1).min(len))
        }
    };
    (text, (from < to).then_some((from, to)))
}

fn number_of(tag: &str) -> usize {
    tag.trim_matches('"').trim_start_matches('v').parse().expect("one of the app's tags")
}

/// One request, and all that is known of how it is to be answered.
#[derive(Debug, Clone)]
struct Step {
    ask: Ask,
    ranges: Vec<String>,
    if_range: Option<String>,
}

fn step(dice: &mut Dice, versions: &[Vec<u8>]) -> Step {
    let now = versions.len() - 1;
    let tag = |dice: &mut Dice| format!("\"v{}\"", now.saturating_sub(dice.below(2)));
    let head = dice.one_in(12);
    let mut ask = if head { Ask::head("/") } else { Ask::get("/") };
    let (mut ranges, mut if_range) = (Vec::new(), None);
    if !head && !dice.one_in(6) {
        let count = if dice.one_in(4) { 2 + dice.below(4) } else { 1 };
        ranges = (0..count).map(|_| range(dice, versions[now].len()).0).collect();
        ask = ask.with("Range", &format!("bytes={}", ranges.join(", ")));
        if dice.one_in(5) {
            if_range = Some(tag(dice));
            ask = ask.with("If-Range", if_range.as_deref().unwrap());
        }
    }
    if dice.one_in(12) {
        ask = ask.with("If-None-Match", &tag(dice));
    }
    if dice.one_in(20) {
        ask = ask.with("Cache-Control", "no-cache");
    }
    Step { ask, ranges, if_range }
}

/// Where `text` lies in a body of `len` bytes.
fn resolved(text: &str, len: usize) -> Option<(usize, usize)> {
    let (first, last) = text.split_once('-').expect("a range");
    let number = |text: &str| text.parse::<u64>().map_or(usize::MAX, |n| n as usize);
    let (from, to) = match (first, last) {
        ("", last) => (len.saturating_sub(number(last)), len),
        (first, "") => (number(first), len),
        (first, last) => (number(first), number(last).saturating_add(1).min(len)),
    };
    (from < to).then_some((from, to))
}

fn content_range(text: &str) -> (usize, usize, usize) {
    let (span, len) = text.strip_prefix("bytes ").and_then(|t| t.split_once('/')).expect(text);
    let (first, last) = span.split_once('-').expect(text);
    let number = |text: &str| text.parse::<usize>().expect("a number");
    (number(first), number(last) + 1, number(len))
}

/// The version that `answer` is of; what it says is of that version, byte for byte.
fn check(step: &Step, answer: &Answer, versions: &[Vec<u8>], disturbed: bool) -> Option<usize> {
    if disturbed && (answer.status == 502 || answer.status == 0) {
        return None;
    }
    let tag = answer.header("etag").unwrap_or_else(|| panic!("no tag: {:?}", answer.headers));
    let number = number_of(tag);
    let body = &versions[number];
    let whole = answer.ending == Ending::Complete;
    assert!(whole || disturbed, "ended with {:?}: {:?}", answer.ending, answer.headers);
    let spans: Vec<_> = step.ranges.iter().filter_map(|r| resolved(r, body.len())).collect();
    let is_head = step.ask.method == "HEAD";
    let holds = step.if_range.as_ref().is_none_or(|own| own == tag);
    match answer.status {
        200 => {
            let one = step.ranges.len() == 1 && holds && !is_head;
            assert!(!one, "a part was asked for: {:?}", answer.headers);
            let len = answer.header("content-length").map(|len| len.parse().unwrap());
            assert_eq!(len.unwrap_or(body.len()), body.len(), "{:?}", answer.headers);
            let all = if is_head { &[][..] } else { &body[..] };
            assert!(all.starts_with(&answer.body), "not the bytes of {tag}");
            assert!(!whole || all.len() == answer.body.len(), "too few: {:?}", answer.headers);
        }
        206 => {
            assert!((holds || disturbed) && !is_head && !spans.is_empty(), "{:?}", answer.headers);
            match answer.header("content-range") {
                Some(says) => {
                    let (from, to, len) = content_range(says);
                    assert_eq!(len, body.len(), "{says}");
                    if let [only] = &*step.ranges {
                        assert_eq!(Some((from, to)), resolved(only, len), "{only}: {says}");
                    }
                    let covered = spans.iter().all(|span| from <= span.0 && span.1 <= to);
                    assert!(covered, "{says} of {:?}", step.ranges);
                    assert!(body[from..to].starts_with(&answer.body), "not the bytes of {tag}");
                    assert!(!whole || to - from == answer.body.len(), "too few for {says}");
                }
                None if whole => check_parts(answer, body, &spans),
                None => {}
            }
        }
        304 => assert!(answer.body.is_empty(), "{answer:?}"),
        416 => {
            assert!(
                spans.is_empty() && (holds || disturbed),
                "{:?} of {}",
                step.ranges,
                body.len()
            );
        }
        other => panic!("{other}: {answer:?}"),
    }
    Some(number)
}

/// Every part of a multipart answer is what it says, and they have all that was asked for.
fn check_parts(answer: &Answer, body: &[u8], spans: &[(usize, usize)]) {
    let kind = answer.header("content-type").unwrap_or_default();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect(kind);
    let mark = format!("--{boundary}");
    let mut rest = &answer.body[..];
    let mut parts = Vec::new();
    loop {
        rest = rest.strip_prefix(mark.as_bytes()).expect("a boundary");
        if rest == b"--\r\n" {
            break;
        }
        let end = rest.windows(4).position(|four| four == b"\r\n\r\n").expect("a part's head") + 4;
        let head = String::from_utf8_lossy(&rest[..end]).into_owned();
        let says = head.lines().find_map(|line| line.strip_prefix("content-range: ")).expect(&head);
        let (from, to, len) = content_range(says);
        assert_eq!(len, body.len(), "{says}");
        rest = rest[end..].strip_prefix(&body[from..to]).expect("the bytes that it says");
        rest = rest.strip_prefix(b"\r\n").expect("an end of the part");
        parts.push((from, to));
    }
    for span in spans {
        let within = parts.iter().any(|part| part.0 <= span.0 && span.1 <= part.1);
        assert!(within, "{span:?} of {parts:?}");
    }
}

/// Prints what led to a failure.
struct Told(Vec<String>);

impl Drop for Told {
    fn drop(&mut self) {
        if thread::panicking() {
            let from = self.0.len().saturating_sub(30);
            eprintln!("the last steps:\n{}", self.0[from..].join("\n"));
        }
    }
}

/// One client, one request after the other: nothing older ever comes after something newer, nor
/// what a purge has taken out.
fn one_after_the_other(faults: bool, seed: u64, steps: usize) {
    let mut dice = Dice::new(seed);
    let versions: Versions = Arc::new(Mutex::new(vec![version(&mut dice)]));
    let disturbed = Arc::new(AtomicBool::new(false));
    let origin = app(&versions, faults, &disturbed, seed);
    let config = "[cache]\nsegment_size = \"4KiB\"\nclient_directives = \"honour\"\n";
    let mut larder = Setup::new(&origin.url()).config(config).start_with_disk();
    let (mut newest, mut told, began) = (0, Told(Vec::new()), Instant::now());
    for number in 0..steps {
        match dice.below(60) {
            0..=2 => versions.lock().unwrap().push(version(&mut dice)),
            3 => {
                larder.admin_post("/api/purge", r#"{"url": "/"}"#).expect(200);
                newest = versions.lock().unwrap().len() - 1;
                told.0.push(format!("{number} purge: nothing before v{newest} any more"));
            }
            4 => {
                larder.admin_post("/api/purge", r#"{"url": "/", "soft": true}"#).expect(200);
                told.0.push(format!("{number} soft purge"));
            }
            5 if dice.one_in(4) => {
                larder = if dice.one_in(2) { larder.restart() } else { larder.kill_and_restart() };
                told.0.push(format!("{number} restart"));
            }
            _ => {}
        }
        let step = step(&mut dice, &versions.lock().unwrap());
        disturbed.store(false, Ordering::SeqCst);
        let answer = larder.ask(&step.ask);
        told.0.push(format!(
            "{number} {:?} -> {} {:?} {} bytes, {:?}",
            step.ask,
            answer.status,
            answer.headers,
            answer.body.len(),
            answer.ending
        ));
        // Until its fetch has landed, what was stored before may be fresh still.
        eventually("no fetch under way", SOON, || {
            larder.metrics().count("larder_flights", &[]) == 0
        });
        let all = versions.lock().unwrap();
        let disturbed = disturbed.load(Ordering::SeqCst);
        if let Some(got) = check(&step, &answer, &all, disturbed) {
            assert!(got >= newest, "v{got} after v{newest}");
            if !disturbed && answer.status != 416 {
                newest = got; // what broke off may not have been kept, nor what was before be gone
            }
        }
    }
    println!(
        "{steps} steps, {} versions, {} requests at the app, {:?}",
        newest + 1,
        origin.count(),
        began.elapsed()
    );
    assert!(began.elapsed() < Duration::from_mins(5), "it took {:?}", began.elapsed());
    assert!(origin.count() < steps, "parts that are held were asked for again");
}

fn steps() -> usize {
    if long() { 10_000 } else { 600 }
}

#[test]
fn every_answer_is_of_one_representation() {
    one_after_the_other(false, seed(), steps());
}

#[test]
fn an_app_that_fails_and_changes_spoils_nothing() {
    one_after_the_other(true, seed(), steps());
}

#[test]
fn many_at_once_get_what_the_app_had() {
    let seed = seed();
    let mut dice = Dice::new(seed);
    let versions: Versions = Arc::new(Mutex::new(vec![version(&mut dice)]));
    let disturbed = Arc::new(AtomicBool::new(false));
    let origin = app(&versions, false, &disturbed, seed);
    let config = "[cache]\nsegment_size = \"4KiB\"\n";
    let larder: Larder = Setup::new(&origin.url()).config(config).start_with_disk();
    thread::scope(|scope| {
        for client in 0..6_u64 {
            let (larder, versions, mut dice) = (&larder, &versions, Dice::new(seed ^ client << 32));
            scope.spawn(move || {
                let mut told = Told(Vec::new());
                for number in 0..steps() / 3 {
                    match dice.below(120) {
                        0 => versions.lock().unwrap().push(version(&mut dice)),
                        1 => drop(larder.admin_post("/api/purge", r#"{"all": true}"#).expect(200)),
                        _ => {}
                    }
                    let step = step(&mut dice, &versions.lock().unwrap());
                    let answer = larder.ask(&step.ask);
                    told.0.push(format!("{number} {:?} -> {:?}", step.ask, answer.headers));
                    // What was under way while the app changed may break off.
                    let all = versions.lock().unwrap().clone();
                    let broke = answer.ending != Ending::Complete || answer.status == 502;
                    check(&step, &answer, &all, broke && all.len() > 1);
                }
            });
        }
    });
    let whole = larder.get("/").expect(200);
    assert!(whole.is_whole(), "{:?}", whole.headers);
}
