//! The log as its callers see it: tables, damage, and a model that is a plain list.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use tempfile::TempDir;

use super::terms::path_of;
use super::*;

const A: &[u8] = b"http://h/a?q";
const VARIANT: &[u8] = b"http://h/a?q\0v1gzip";
const OTHER_HOST: &[u8] = b"http://i:81/a?q";
const B: &[u8] = b"http://h/b";

fn in_memory() -> PurgeLog {
    PurgeLog::open(None, MAX_RECORDS, MAX_BYTES).unwrap()
}

fn reopened(path: &Path) -> PurgeLog {
    PurgeLog::open(Some(path), MAX_RECORDS, MAX_BYTES).unwrap()
}

fn scratch() -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("purge.log");
    (dir, path)
}

impl PurgeLog {
    /// What it says of a copy with the tags that a test's keys have.
    pub(super) fn says(&self, key: &[u8], fetched_at: u64, checked_to: u64) -> Verdict {
        let tags = tags_of(key);
        self.verdict(Subject { key, tags: &tags }, fetched_at, checked_to)
    }
}

/// What lies at B and its variants has two tags, all else at the host h one.
fn tags_of(key: &[u8]) -> Tags {
    let tags = match key {
        _ if key.starts_with(B) => "one two",
        _ if key.starts_with(b"http://h/") => "one",
        _ => "",
    };
    let mut headers = http::HeaderMap::new();
    headers.insert("surrogate-key", http::HeaderValue::from_static(tags));
    Tags::of_response(&headers)
}

fn named(class: Class, name: &str) -> What {
    What::Named(class, name.as_bytes().to_vec())
}

fn url(url: &[u8]) -> What {
    What::url(url)
}

#[test]
fn a_purge_reaches_what_it_names_and_was_fetched_before() {
    use Verdict::{Purged, Stale, Valid};
    for (case, what, soft, key, want) in [
        ("its URL", url(A), false, A, Purged),
        ("its variants", url(A), false, VARIANT, Purged),
        ("softly", url(A), true, VARIANT, Stale),
        ("another URL", url(A), false, B, Valid),
        ("another host", url(A), false, OTHER_HOST, Valid),
        ("a path on every host", url(b"/a?q"), false, OTHER_HOST, Purged),
        ("a path softly", url(b"/a?q"), true, VARIANT, Stale),
        ("a path is whole", url(b"/a"), false, A, Valid),
        ("its prefix", named(Class::Prefix, "http://h/a"), false, VARIANT, Purged),
        ("a prefix of its path", named(Class::Prefix, "/a"), true, OTHER_HOST, Stale),
        ("another's prefix", named(Class::Prefix, "http://h/ab"), false, A, Valid),
        ("a glob", named(Class::Glob, "http://h/*"), false, VARIANT, Purged),
        ("a glob on every host", named(Class::Glob, "/[a-b]?q"), true, OTHER_HOST, Stale),
        ("a star stops at a slash", named(Class::Glob, "http:*"), false, A, Valid),
        ("two stars do not", named(Class::Glob, "**"), false, A, Purged),
        ("its tag", named(Class::Tag, "two"), false, B, Purged),
        ("its tag softly", named(Class::Tag, "one"), true, VARIANT, Stale),
        ("another's tag", named(Class::Tag, "two"), false, A, Valid),
        ("its host", named(Class::Host, "h"), false, A, Purged),
        ("its host on every port", named(Class::Host, "i"), true, OTHER_HOST, Stale),
        ("its host and port", named(Class::Host, "i:81"), false, OTHER_HOST, Purged),
        ("another port", named(Class::Host, "i:80"), false, OTHER_HOST, Valid),
        ("everything", What::Everything, false, B, Purged),
        ("everything softly", What::Everything, true, B, Stale),
        ("no key of ours", url(b"/"), false, b"odd", Valid),
    ] {
        let log = in_memory();
        let before = log.position();
        assert_eq!(log.says(key, before, 0), Valid, "{case}: before");
        let position = log.purge(&what, soft).unwrap();
        assert!(position > before, "{case}");
        assert_eq!(log.position(), position, "{case}");
        assert_eq!(log.says(key, before, 0), want, "{case}");
        assert_eq!(log.says(key, before, position), Valid, "{case}: checked since");
        assert_eq!(log.says(key, position, 0), Valid, "{case}: fetched since");
        log.purge(&url(b"http://else/"), false).unwrap();
        assert_eq!(log.says(key, before, 0), want, "{case}: later");
        assert_eq!(log.says(key, position, 0), Valid, "{case}: fetched since, later");
    }
}

#[test]
fn a_later_soft_purge_does_not_soften_a_hard_one() {
    let log = in_memory();
    let before = log.position();
    let hard = log.purge(&url(A), false).unwrap();
    let soft = log.purge(&url(A), true).unwrap();
    assert_eq!(log.says(A, before, 0), Verdict::Purged);
    assert_eq!(log.says(A, hard, 0), Verdict::Stale);
    log.purge(&What::Everything, true).unwrap();
    assert_eq!(log.says(A, before, 0), Verdict::Purged);
    assert_eq!(log.says(A, soft, 0), Verdict::Stale);
}

#[test]
fn a_superseded_copy_is_dead_and_the_new_one_is_not() {
    let log = in_memory();
    let (old, new) = (log.position(), log.position());
    let ticket = log.supersede(A);
    assert_eq!(log.says(A, old, 0), Verdict::Purged);
    assert_eq!(log.says(VARIANT, old, 0), Verdict::Valid, "exactly the key");
    assert_eq!(log.admits(&ticket, Tags::none(), new), Verdict::Valid);
    assert_eq!(log.says(A, ticket.position(), 0), Verdict::Valid);
    let newer = log.supersede(A);
    assert_eq!(log.len(), 1);
    log.retire(ticket);
    assert_eq!(log.says(A, old, 0), Verdict::Purged, "the newer record stays");
    log.retire(newer);
    assert_eq!(log.says(A, old, 0), Verdict::Valid);
    assert!(log.is_empty());
}

#[test]
fn a_copy_purged_while_it_was_fetched_is_not_admitted() {
    let log = in_memory();
    let fetched_at = log.position();
    log.purge(&url(A), false).unwrap();
    let ticket = log.supersede(VARIANT);
    assert_eq!(log.admits(&ticket, Tags::none(), fetched_at), Verdict::Purged);
}

#[test]
fn a_full_log_makes_what_came_before_its_newer_half_stale() {
    let (_dir, path) = scratch();
    let log = PurgeLog::open(Some(&path), 10, MAX_BYTES).unwrap();
    let start = log.position();
    for n in 0..1000 {
        log.purge(&url(format!("http://h/{n}").as_bytes()), false).unwrap();
        assert!(log.len() <= 10);
    }
    assert_eq!(log.says(b"http://h/999", start, 0), Verdict::Purged);
    assert_eq!(log.says(b"http://h/0", start, 0), Verdict::Stale);
    assert_eq!(log.says(B, start, 0), Verdict::Stale);
    assert_eq!(log.says(B, log.position() - 1, 0), Verdict::Valid);

    let log = PurgeLog::open(None, MAX_RECORDS, 1000).unwrap();
    let start = log.position();
    for n in 0..100 {
        let _ticket = log.supersede(format!("http://h/{n}").as_bytes());
    }
    assert!((1..1000 / record::OVERHEAD).contains(&log.len()), "{}", log.len());
    assert_eq!(log.says(B, start, 0), Verdict::Stale);
}

#[test]
fn records_outlive_the_process_and_positions_only_grow() {
    let (_dir, path) = scratch();
    let log = reopened(&path);
    let start = log.position();
    log.purge(&url(A), false).unwrap();
    log.purge(&url(b"/b"), true).unwrap();
    let _kept = log.supersede(OTHER_HOST);
    let retired = log.supersede(b"http://h/c");
    log.retire(retired);
    let last = log.position();
    drop(log);
    for round in 0..3 {
        let log = reopened(&path);
        assert!(log.position() > last, "round {round}");
        assert_eq!(log.says(VARIANT, start, 0), Verdict::Purged);
        assert_eq!(log.says(B, start, 0), Verdict::Stale);
        assert_eq!(log.says(OTHER_HOST, start, 0), Verdict::Purged);
        assert_eq!(log.says(b"http://h/c", start, 0), Verdict::Valid);
        assert_eq!(log.says(A, last, 0), Verdict::Valid);
        assert_eq!(log.len(), 3);
    }
}

#[test]
fn what_a_lost_log_may_have_said_makes_everything_stale() {
    let (_dir, path) = scratch();
    let before = reopened(&path).purge(&url(A), false).unwrap();
    fs::remove_file(&path).unwrap();
    let log = reopened(&path);
    assert_eq!(log.says(B, before, 0), Verdict::Stale);
    assert_eq!(log.says(B, log.position(), 0), Verdict::Valid);
    assert_eq!(log.says(B, log.position() + 5, 0), Verdict::Stale, "another log's position");
}

#[test]
fn a_torn_tail_costs_only_the_record_that_was_torn() {
    let (dir, path) = scratch();
    let log = reopened(&path);
    let start = log.position();
    log.purge(&url(A), false).unwrap();
    let whole = fs::read(&path).unwrap().len();
    log.purge(&url(B), false).unwrap();
    drop(log);
    let bytes = fs::read(&path).unwrap();
    for cut in whole..bytes.len() {
        let path = dir.path().join("cut.log");
        fs::write(&path, &bytes[..cut]).unwrap();
        for opening in 0..2 {
            let log = reopened(&path);
            assert_eq!(log.says(A, start, 0), Verdict::Purged, "cut at {cut}");
            assert_eq!(log.says(B, start, 0), Verdict::Valid, "cut at {cut}");
            assert_eq!(log.len(), 1, "cut at {cut}, opening {opening}");
        }
        let purged = reopened(&path).purge(&url(B), false).unwrap();
        assert_eq!(reopened(&path).says(B, purged - 1, 0), Verdict::Purged, "cut at {cut}");
    }
}

#[test]
fn damage_makes_everything_stale_and_keeps_what_can_be_read() {
    let (dir, path) = scratch();
    let log = reopened(&path);
    let start = log.position();
    log.purge(&url(A), false).unwrap();
    let first = fs::read(&path).unwrap().len();
    log.purge(&url(B), false).unwrap();
    let second = fs::read(&path).unwrap().len();
    let last = log.purge(&url(b"http://h/c"), false).unwrap();
    drop(log);
    let bytes = fs::read(&path).unwrap();
    for at in (0..bytes.len()).step_by(3) {
        let mut wrong = bytes.clone();
        wrong[at] ^= 0x10;
        let path = dir.path().join("wrong.log");
        fs::write(&path, &wrong).unwrap();
        for _ in 0..2 {
            let log = reopened(&path);
            assert!(log.position() > last, "byte {at}");
            for key in [A, B, b"http://h/c", b"http://h/d"] {
                assert_ne!(log.says(key, start, 0), Verdict::Valid, "byte {at}");
                assert_ne!(log.says(key, last, 0), Verdict::Valid, "byte {at}");
                assert_eq!(log.says(key, log.position(), 0), Verdict::Valid, "byte {at}");
            }
            if (first..second).contains(&at) {
                assert_eq!(log.says(A, start, 0), Verdict::Purged, "byte {at}");
                assert_eq!(log.says(b"http://h/c", start, 0), Verdict::Purged, "byte {at}");
            }
        }
    }
    for (case, content) in
        [("empty", &b""[..]), ("foreign", b"not a log at all"), ("hole", &[0; 999])]
    {
        fs::write(&path, content).unwrap();
        let log = reopened(&path);
        assert_eq!(log.says(A, last, 0), Verdict::Stale, "{case}");
        assert!(reopened(&path).position() > log.position(), "{case}");
    }
}

#[test]
fn a_mostly_dead_log_is_rewritten() {
    let (_dir, path) = scratch();
    let log = reopened(&path);
    let start = log.position();
    let kept = log.supersede(A);
    for n in 0..20_000 {
        let ticket = log.supersede(format!("http://h/{}", n % 50).as_bytes());
        log.retire(ticket);
    }
    for _ in 0..6_000 {
        if log.file_size() < 600 << 10 && !log.log.rewriter.load(Ordering::Acquire) {
            break;
        }
        log.start_rewriter();
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    assert!(log.file_size() < 600 << 10, "{} bytes", log.file_size());
    assert_eq!(fs::metadata(&path).unwrap().len(), log.file_size());
    let log = reopened(&path);
    assert_eq!(log.says(A, start, 0), Verdict::Purged);
    assert_eq!(log.len(), 1);
    drop(kept);
}

/// With a slow disk all of a burst comes in while the log is rewritten, and is dead in the new file.
#[test]
fn what_came_in_during_a_rewriting_does_not_keep_the_file_long() {
    let (_dir, path) = scratch();
    let log = reopened(&path);
    let journal = log.log.journal.as_ref().unwrap();
    let beside = journal.lock().begin_rewriting();
    let content = journal::written(&log.log.marks.read(), log.position());
    let file = journal::write_beside(&beside, &content).unwrap();
    for n in 0..20_000 {
        let ticket = log.supersede(format!("http://h/{}", n % 50).as_bytes());
        log.retire(ticket);
    }
    let mut held = journal.lock();
    let tail = held.take_tail();
    (&file).write_all(&tail).unwrap();
    let live = content.len() as u64;
    held.finish_rewriting(file, live + tail.len() as u64, live).unwrap();
    assert!(held.length() > 600 << 10 && held.wants_rewriting(), "{} bytes", held.length());
    drop(held);
    log.log.rewrite_if_wanted();
    assert!(log.file_size() < 1 << 10, "{} bytes", log.file_size());
    assert!(!journal.lock().wants_rewriting(), "once is enough");
}

#[test]
fn nothing_is_lost_when_a_busy_log_is_rewritten() {
    let (_dir, path) = scratch();
    let log = reopened(&path);
    let start = log.position();
    std::thread::scope(|scope| {
        for worker in 0..3 {
            let log = &log;
            scope.spawn(move || {
                for n in 0..300 {
                    let _kept = log.supersede(format!("http://h/{worker}/{n}").as_bytes());
                }
            });
        }
        for _ in 0..20 {
            log.log.rewrite().unwrap();
        }
    });
    log.log.rewrite().unwrap();
    let again = reopened(&path);
    assert_eq!(again.len(), 900);
    for (worker, n) in (0..3).flat_map(|w| (0..300).map(move |n| (w, n))) {
        let key = format!("http://h/{worker}/{n}");
        assert_eq!(again.says(key.as_bytes(), start, 0), Verdict::Purged, "{key}");
    }
    assert!(!path.with_extension("log.new").exists());
}

#[test]
fn a_log_that_cannot_be_written_is_an_error() {
    let (dir, path) = scratch();
    let missing = dir.path().join("missing").join("purge.log");
    let error = PurgeLog::open(Some(&missing), MAX_RECORDS, MAX_BYTES).unwrap_err();
    assert!(matches!(error, PurgeError::Open { .. }), "{error}");
    fs::create_dir(&path).unwrap();
    let error = PurgeLog::open(Some(&path), MAX_RECORDS, MAX_BYTES).unwrap_err();
    assert!(matches!(error, PurgeError::Open { .. }), "{error}");
}

#[test]
fn a_purge_that_cannot_be_written_holds_and_says_so_and_is_made_up_for() {
    let (dir, path) = scratch();
    let log = reopened(&path);
    let start = log.position();
    let journal = log.log.journal.as_ref().unwrap();
    // A file that refuses to be written, and a directory that takes no new one.
    journal.lock().refuse_writing(&path);
    let blocker = dir.path().join("purge.log.new");
    fs::create_dir(&blocker).unwrap();
    let error = log.purge(&url(A), false).unwrap_err();
    assert!(matches!(error, PurgeError::NotDurable { .. }), "{error}");
    assert_eq!(log.says(A, start, 0), Verdict::Purged);
    fs::remove_dir(&blocker).unwrap();
    log.purge(&url(B), false).unwrap();
    let log = reopened(&path);
    assert_eq!(log.says(A, start, 0), Verdict::Purged, "made up for");
    assert_eq!(log.says(B, start, 0), Verdict::Purged);
}

#[test]
fn the_list_shows_the_newest_first() {
    let log = in_memory();
    log.purge(&url(A), false).unwrap();
    let soft = log.purge(&url(B), true).unwrap();
    let listed = log.records(2);
    let newest = Listed { position: soft, what: url(B), soft: true };
    assert_eq!(listed.first(), Some(&newest));
    assert_eq!(listed.len(), 2);
    let long = vec![b'/'; MAX_NAME + 1];
    assert!(matches!(log.purge(&What::url(long), false), Err(PurgeError::TooLong)));
}

#[test]
fn names_that_match_nothing_or_everything_are_refused() {
    let log = in_memory();
    for class in Class::ALL {
        let empty = log.purge(&named(class, ""), false);
        assert!(matches!(empty, Err(PurgeError::Empty)), "{class:?}: {empty:?}");
    }
    let long = "/".repeat(MAX_GLOB + 1);
    for glob in ["/[", "/{a", "/[b-a]", &long] {
        let refused = log.purge(&named(Class::Glob, glob), false);
        assert!(matches!(refused, Err(PurgeError::Glob(_) | PurgeError::TooLong)), "{glob}");
    }
    assert!(log.is_empty());
}

/// More than there are in a set, so that sets are put together, and more than are held at all.
#[test]
fn many_globs_are_found_and_their_number_is_bounded() {
    let (_dir, path) = scratch();
    let log = reopened(&path);
    let start = log.position();
    let key = |n: usize| format!("http://h/{n}/x");
    let count = 300;
    for n in 0..count {
        log.purge(&named(Class::Glob, &format!("/{n}/*")), n % 2 == 1).unwrap();
    }
    for log in [log.clone(), reopened(&path)] {
        for n in 0..count {
            let want = if n % 2 == 1 { Verdict::Stale } else { Verdict::Purged };
            assert_eq!(log.says(key(n).as_bytes(), start, 0), want, "{n}");
        }
        assert_eq!(log.says(key(count).as_bytes(), start, 0), Verdict::Valid);
    }
    let memory = in_memory();
    let start = memory.position();
    for n in 0..MAX_GLOBS + 50 {
        memory.purge(&named(Class::Glob, &format!("/{n}/*")), false).unwrap();
        assert!(memory.len() <= MAX_GLOBS);
    }
    assert_eq!(memory.says(key(0).as_bytes(), start, 0), Verdict::Stale, "by the floor");
    let last = MAX_GLOBS + 49;
    assert_eq!(memory.says(key(last).as_bytes(), start, 0), Verdict::Purged);
}

#[test]
fn the_path_of_a_url_begins_after_its_authority() {
    for (url, want) in [
        ("http://h/a/b?c", Some("/a/b?c")),
        ("https://h:1/", Some("/")),
        ("http://h", None),
        ("/a", None),
    ] {
        assert_eq!(path_of(url.as_bytes()), want.map(str::as_bytes), "{url}");
    }
}

/// What a test may do with the log.
#[derive(Debug, Clone)]
enum Step {
    Purge {
        what: What,
        soft: bool,
    },
    Supersede(usize),
    Retire(usize),
    /// A copy's fetch begins here.
    Fetch,
    Reopen,
    Rewrite,
}

const KEYS: [&[u8]; 5] = [A, VARIANT, OTHER_HOST, B, b"https://h/b"];

/// Purges that hit some of the keys, and some that nearly do.
fn what() -> impl Strategy<Value = What> {
    use Class::{Glob, Host, Prefix, Tag, Url};
    let names: Vec<What> = [
        (Url, "http://h/a?q"),
        (Url, "/a?q"),
        (Url, "http://i:81/a?q"),
        (Url, "http://h/b"),
        (Url, "/b"),
        (Host, "h"),
        (Host, "i"),
        (Host, "i:81"),
        (Host, "i:8"),
        (Tag, "one"),
        (Tag, "two"),
        (Tag, "On"),
        (Prefix, "/"),
        (Prefix, "/a"),
        (Prefix, "/a?q"),
        (Prefix, "/a?qq"),
        (Prefix, "http"),
        (Prefix, "http://h/"),
        (Prefix, "http://h/a"),
        (Prefix, "http://i:"),
        (Prefix, "https"),
        (Glob, "/*"),
        (Glob, "/?"),
        (Glob, "/{a,b}"),
        (Glob, "**/a*"),
        (Glob, "http://[hi]*/a?q"),
        (Glob, "http*://h/*"),
        (Glob, "http://h*"),
    ]
    .map(|(class, name)| named(class, name))
    .into();
    prop_oneof![10 => prop::sample::select(names), 1 => Just(What::Everything)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (what(), any::<bool>()).prop_map(|(what, soft)| Step::Purge { what, soft }),
        3 => (0..KEYS.len()).prop_map(Step::Supersede),
        2 => any::<usize>().prop_map(Step::Retire),
        3 => Just(Step::Fetch),
        1 => Just(Step::Reopen),
        1 => Just(Step::Rewrite),
    ]
}

/// What a purge reaches, said as plainly as can be.
fn reaches(what: &What, key: &[u8]) -> bool {
    let url = String::from_utf8(key.split(|b| *b == 0).next().unwrap().to_vec()).unwrap();
    let (_, rest) = url.split_once("://").unwrap();
    let (authority, path) = rest.split_once('/').unwrap();
    let What::Named(class, name) = what else { return *what == What::Everything };
    let name = std::str::from_utf8(name).unwrap();
    let about = if name.starts_with('/') { format!("/{path}") } else { url.clone() };
    match class {
        Class::Url => about == name,
        Class::Prefix => about.starts_with(name),
        Class::Host => authority == name || authority.split(':').next() == Some(name),
        Class::Tag => tags_of(key).iter().any(|tag| tag == name),
        Class::Glob => {
            let glob = globset::GlobBuilder::new(name).literal_separator(true).build().unwrap();
            glob.compile_matcher().is_match(about)
        }
    }
}

/// A record of the model: what it does to a key, if it applies.
struct Listing {
    position: u64,
    what: What,
    exact: bool,
    soft: bool,
    /// The keys that it is about.
    reached: Vec<&'static [u8]>,
}

fn expected(list: &[Listing], key: &[u8], base: u64) -> Verdict {
    let applies = |record: &&Listing| record.position > base && record.reached.contains(&key);
    let mut found: Vec<bool> = list.iter().filter(applies).map(|record| record.soft).collect();
    found.sort_unstable();
    match found.first() {
        Some(false) => Verdict::Purged,
        Some(true) => Verdict::Stale,
        None => Verdict::Valid,
    }
}

#[test]
fn a_group_is_void_for_what_was_fetched_before_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(FILE);
    let group = || [b"http://h\0ga".to_vec()].into_iter();
    let before = {
        let log = PurgeLog::open(Some(&path), MAX_RECORDS, MAX_BYTES).unwrap();
        let before = log.position();
        assert!(!log.is_void(group(), before));
        log.invalidate(b"http://h\0ga");
        assert!(log.is_void(group(), before));
        assert!(!log.is_void(group(), log.position()), "what was fetched after it");
        assert!(!log.is_void([b"http://h\0gb".to_vec()].into_iter(), before), "another");
        assert!(!log.is_void([b"http://i\0ga".to_vec()].into_iter(), before), "another origin's");
        assert_eq!(log.says(b"http://h/", before, before), Verdict::Valid, "no URL's");
        assert_eq!(log.records(1)[0].what, What::Group(b"http://h\0ga".to_vec()));
        before
    };
    let log = PurgeLog::open(Some(&path), MAX_RECORDS, MAX_BYTES).unwrap();
    assert!(log.is_void(group(), before));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn the_log_says_what_a_list_of_records_says(steps in prop::collection::vec(step(), 1..40)) {
        let (_dir, path) = scratch();
        let mut log = reopened(&path);
        let mut list: Vec<Listing> = Vec::new();
        let mut tickets: Vec<Ticket> = Vec::new();
        let mut fetched = vec![log.position()];
        for step in steps {
            match step {
                Step::Purge { what, soft } => {
                    let position = log.purge(&what, soft).unwrap();
                    let reached = KEYS.into_iter().filter(|key| reaches(&what, key)).collect();
                    list.push(Listing { position, what, exact: false, soft, reached });
                }
                Step::Supersede(key) => {
                    let ticket = log.supersede(KEYS[key]);
                    let (position, what) = (ticket.position(), url(KEYS[key]));
                    // The newest record of a key stands for all of them, also when it goes.
                    list.retain(|record| !(record.exact && record.what == what));
                    let reached = vec![KEYS[key]];
                    list.push(Listing { position, what, exact: true, soft: false, reached });
                    tickets.push(ticket);
                }
                Step::Retire(which) if !tickets.is_empty() => {
                    let ticket = tickets.remove(which % tickets.len());
                    let position = ticket.position();
                    log.retire(ticket);
                    list.retain(|record| !(record.exact && record.position == position));
                }
                Step::Retire(_) => {}
                Step::Fetch => fetched.push(log.position()),
                Step::Reopen => {
                    drop(log);
                    log = reopened(&path);
                }
                Step::Rewrite => log.log.rewrite().unwrap(),
            }
            for (key, base) in KEYS.iter().flat_map(|key| fetched.iter().map(move |at| (*key, *at))) {
                let want = expected(&list, key, base);
                prop_assert_eq!(log.says(key, base, 0), want, "{:?} {}", key, base);
                prop_assert_eq!(log.says(key, 0, base), want, "{:?} {}", key, base);
            }
        }
        for (what, key) in list.iter().map(|one| &one.what).flat_map(|what| KEYS.map(|key| (what, key))) {
            let copy = Subject { key, tags: &tags_of(key) };
            prop_assert_eq!(what.matcher().unwrap().matches(copy), reaches(what, key), "{:?}", what);
        }
    }
}
