//! config.toml edited under load.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::support::process::Signal;
use crate::support::{Ask, Larder, Origin, SOON, Setup, eventually, never};

/// A valid config.toml; `shown` is what an edit changes, the rest holds over all edits.
fn valid(origin: &Origin, shown: bool) -> String {
    format!(
        "debug_headers = {shown}\n\n[[upstream]]\nurl = \"{}\"\nhost = \"inner.test\"\n",
        origin.url()
    )
}

/// Invalid ones, each with the line that must be named.
const INVALID: [(&str, &str, usize); 9] = [
    ("no TOML", "debug_headers = true\n\n[cache\n", 3),
    ("an unknown key", "debug_headers = true\n\n[cache]\nmemroy = \"64MiB\"\n", 4),
    ("an unknown table", "debug_headers = true\n[cahce]\nmemory = \"64MiB\"\n", 2),
    ("a wrong type", "debug_headers = \"perhaps\"\n", 1),
    ("a number for a time", "\n\ndrain_timeout = \"soon\"\n", 3),
    ("a negative number", "[limits]\nconnections = -5\n", 2),
    ("no size", "[cache]\n\nmax_object = \"big\"\n", 3),
    ("an unknown value", "[cache]\nclient_directives = \"perhaps\"\n", 2),
    ("a key twice", "debug_headers = true\ndebug_headers = false\n", 2),
];

fn reloads(larder: &Larder, result: &str) -> u64 {
    larder.metrics().count("larder_config_reloads_total", &[("result", result)])
}

fn shows_key(larder: &Larder) -> bool {
    larder.get("/hit").cache_status().contains("key=")
}

/// Clients that go on asking until `stop`; answers how many requests were served.
fn load(larder: &Larder, client: usize, stop: &AtomicBool, served: &AtomicU64) {
    let mut connection = larder.connect();
    let mut n = 0;
    while !stop.load(Ordering::SeqCst) {
        let target = if n % 10 == 0 { format!("/miss/{client}/{n}") } else { "/hit".to_owned() };
        let answer = connection.ask(&Ask::get(&target));
        assert_eq!(answer.status, 200, "a failed request: {answer:?}");
        assert_eq!(answer.body, b"served");
        served.fetch_add(1, Ordering::SeqCst);
        n += 1;
        thread::sleep(Duration::from_micros(500)); // leaves the machine to the other tests
    }
}

/// `edits` edits by `edit`, every tenth an invalid one, under load.
fn under_load(setup: &Setup, origin: &Origin, edits: usize, edit: impl Fn(usize, &str)) {
    let larder = setup.start();
    let (stop, served) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for client in 0..4 {
            let (larder, stop, served) = (&larder, &stop, &served);
            scope.spawn(move || load(larder, client, stop, served));
        }
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for n in 0..edits {
                if n % 10 == 9 {
                    let (case, text, line) = INVALID[n / 10 % INVALID.len()];
                    let (before, at) = (reloads(&larder, "refused"), larder.events().len());
                    edit(n, text);
                    eventually(&format!("{case} to be refused"), SOON, || {
                        reloads(&larder, "refused") > before
                    });
                    eventually(&format!("{case}: line {line} in the log"), SOON, || {
                        larder.events()[at..].contains(&format!("config.toml:{line}"))
                    });
                } else {
                    let shown = n % 2 == 0;
                    edit(n, &valid(origin, shown));
                    if n % 5 == 0 {
                        eventually("the edit to take effect", SOON, || shows_key(&larder) == shown);
                    }
                }
            }
            edit(edits, &valid(origin, true));
            eventually("the last edit to take effect", SOON, || shows_key(&larder));
            edit(edits + 1, &valid(origin, false));
            eventually("and one more", SOON, || !shows_key(&larder));
        }));
        stop.store(true, Ordering::SeqCst);
        if let Err(panic) = done {
            std::panic::resume_unwind(panic);
        }
    });
    assert!(served.load(Ordering::SeqCst) > 100, "there was load");
    assert!(reloads(&larder, "ok") >= 10);
    for seen in origin.seen() {
        assert_eq!(seen.header("host"), Some("inner.test"), "half a file was never in effect");
    }
}

fn setup(origin: &Origin) -> Setup {
    Setup::new(&origin.url()).without_disk().config(&valid(origin, false))
}

fn origin() -> Origin {
    Origin::serving(&["cache-control: max-age=600"], "served")
}

#[test]
fn seventy_truncating_writes_under_load() {
    let origin = origin();
    let setup = setup(&origin);
    let file = setup.config_file();
    under_load(&setup, &origin, 70, |_, text| fs::write(&file, text).expect("written"));
}

#[test]
fn seventy_renames_over_it_under_load() {
    let origin = origin();
    let setup = setup(&origin);
    let file = setup.config_file();
    under_load(&setup, &origin, 70, |n, text| {
        let new = file.with_file_name(format!(".config.toml.{n}"));
        fs::write(&new, text).expect("written");
        fs::rename(&new, &file).expect("renamed");
    });
}

/// As Kubernetes does it: `config.toml -> ..data/config.toml`, `..data -> ..<time>`.
fn swap(dir: &Path, n: usize, text: &str) {
    let version = format!("..v{n}");
    fs::create_dir_all(dir.join(&version)).expect("a directory");
    fs::write(dir.join(&version).join("config.toml"), text).expect("written");
    let link = dir.join("..data_tmp");
    std::os::unix::fs::symlink(&version, &link).expect("a link");
    fs::rename(&link, dir.join("..data")).expect("swapped");
    if n > 0 {
        let _ = fs::remove_dir_all(dir.join(format!("..v{}", n - 1)));
    }
}

#[test]
fn seventy_symlink_swaps_under_load() {
    let origin = origin();
    let setup = setup(&origin);
    let file = setup.config_file();
    let dir = file.parent().expect("a parent").to_owned();
    fs::create_dir_all(&dir).expect("a directory");
    swap(&dir, 1000, &valid(&origin, false));
    std::os::unix::fs::symlink("..data/config.toml", &file).expect("a link");
    under_load(&setup, &origin, 70, |n, text| swap(&dir, n, text));
}

#[test]
fn sighup_and_the_admin_port_reload_too() {
    let origin = origin();
    let setup = setup(&origin);
    let larder = setup.start();
    larder.get("/hit").expect(200);
    fs::write(setup.config_file(), valid(&origin, true)).expect("written");
    larder.process.signal(Signal::HUP);
    eventually("the edit to take effect", SOON, || shows_key(&larder));
    fs::write(setup.config_file(), valid(&origin, false)).expect("written");
    let answer = larder.admin_post("/api/config/reload", "");
    assert!(answer.status < 300, "{answer:?}");
    assert!(!shows_key(&larder), "it has taken effect when it is answered");
    fs::write(setup.config_file(), "nonsense = 1\n").expect("written");
    let answer = larder.admin_post("/api/config/reload", "");
    assert!((400..500).contains(&answer.status), "{answer:?}");
    assert!(answer.text().contains("nonsense"), "{}", answer.text());
    larder.get("/hit").expect(200);
}

#[test]
fn the_origin_can_be_exchanged_while_it_runs() {
    let first = Origin::serving(&["cache-control: no-store"], "first");
    let second = Origin::serving(&["cache-control: no-store"], "second");
    let setup = Setup::new("").without_disk().config(&valid(&first, false)).without_upstream_flag();
    let larder = setup.start();
    larder.get("/").expect(200);
    fs::write(setup.config_file(), valid(&second, false)).expect("written");
    let mut nth = 0;
    eventually("the second origin to be asked", SOON, || {
        nth += 1; // what the first one answered is stored
        larder.get(&format!("/new{nth}")).body == b"second"
    });
}

#[test]
fn what_needs_a_restart_is_named_and_refused() {
    let origin = origin();
    let setup = setup(&origin);
    let larder = setup.start();
    let text = format!("{}\n[log]\naccess = \"off\"\n", valid(&origin, true));
    fs::write(setup.config_file(), text).expect("written");
    eventually("it to be refused", SOON, || reloads(&larder, "refused") >= 1);
    let events = larder.events();
    assert!(events.contains("log.access") && events.contains("restart"), "{events}");
    assert!(!shows_key(&larder), "all or nothing");
}

#[test]
fn a_file_that_does_not_change_is_not_reloaded() {
    let origin = origin();
    let setup = setup(&origin);
    let larder = setup.start();
    let before = reloads(&larder, "ok");
    let text = fs::read(setup.config_file()).expect("there");
    fs::write(setup.config_file(), text).expect("written");
    never("a reload without a change", Duration::from_secs(2), || reloads(&larder, "ok") > before);
}

#[test]
fn a_file_that_vanishes_leaves_the_running_one() {
    let origin = origin();
    let setup = setup(&origin);
    let larder = setup.start();
    fs::remove_file(setup.config_file()).expect("removed");
    never("a failed request", Duration::from_secs(2), || larder.get("/hit").status != 200);
    fs::write(setup.config_file(), valid(&origin, true)).expect("written");
    eventually("the new file to take effect", SOON, || shows_key(&larder));
}
