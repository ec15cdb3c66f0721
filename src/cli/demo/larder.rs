//! The demo's Larder: this very program as a child process, as a user would run it.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::config::Flags;

const START_LIMIT: Duration = Duration::from_secs(15);
/// More than the child's own `drain_timeout`.
const STOP_LIMIT: Duration = Duration::from_secs(25);
const STEP: Duration = Duration::from_millis(20);

/// A running Larder. Dropped, it is told to end, and its cache directory is removed.
#[derive(Debug)]
pub(super) struct Larder {
    child: Child,
    pub(super) proxy: SocketAddr,
    pub(super) admin: SocketAddr,
    _cache: Scratch,
}

impl Larder {
    /// Starts one in front of `upstream`, on its usual ports where they are free.
    pub(super) fn start(flags: &Flags, upstream: SocketAddr) -> Result<Self, String> {
        let listen = flags.listen.clone().unwrap_or_else(|| usual_or_free(8080));
        let admin = flags.admin.clone().unwrap_or_else(|| usual_or_free(9180));
        match Self::start_at(&listen, &admin, upstream) {
            // Somebody took a port in between.
            Err(_) if flags.listen.is_none() && flags.admin.is_none() => {
                Self::start_at("127.0.0.1:0", "127.0.0.1:0", upstream)
            }
            started => started,
        }
    }

    fn start_at(listen: &str, admin: &str, upstream: SocketAddr) -> Result<Self, String> {
        let failed = |what: &str, error: &io::Error| format!("{what}: {error}");
        let cache = Scratch::new().map_err(|error| failed("no temporary directory", &error))?;
        let program = std::env::current_exe().map_err(|error| failed("own program", &error))?;
        let mut command = Command::new(program);
        command.args(["run", "--listen", listen, "--admin", admin]);
        command.arg("--upstream").arg(format!("http://{upstream}"));
        // The demo shows the defaults, whatever this shell sets for another Larder.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("LARDER_") {
                command.env_remove(name);
            }
        }
        command.env("LARDER_CACHE__DIR", &cache.0).env("LARDER_CACHE__DISK", "64MiB");
        command.env("LARDER_LOG__ACCESS", "off").env("LARDER_LOG__LEVEL", "error");
        // Ctrl-C is for the demo, which then ends its Larder in order.
        command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| failed("cannot start Larder", &error))?;
        let (listening, addresses) = mpsc::channel();
        if let Some(stderr) = child.stderr.take() {
            thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    match parse_listening(&line) {
                        Some(addresses) => drop(listening.send(addresses)),
                        None => drop(writeln!(io::stderr().lock(), "{line}")),
                    }
                }
            });
        }
        let (proxy, admin) = match addresses.recv_timeout(START_LIMIT) {
            Ok(addresses) => addresses,
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(match error {
                    RecvTimeoutError::Disconnected => "Larder ended before it listened".to_owned(),
                    RecvTimeoutError::Timeout => {
                        format!("Larder did not listen within {START_LIMIT:?}")
                    }
                });
            }
        };
        Ok(Self { child, proxy, admin, _cache: cache })
    }

    /// SIGTERM, and a while for it to end; `Err`: it did not end well.
    pub(super) fn stop(mut self) -> Result<(), String> {
        self.end()
    }

    fn end(&mut self) -> Result<(), String> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // An ended child that was not waited for keeps its id: this cannot hit another process.
        if let (Some(pid), Ok(None)) = (pid, self.child.try_wait()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        for _ in 0..STOP_LIMIT.as_millis() / STEP.as_millis() {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("Larder ended with {status}")),
                Ok(None) => thread::sleep(STEP),
                Err(error) => return Err(error.to_string()),
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        Err(format!("Larder did not end within {STOP_LIMIT:?}"))
    }
}

impl Drop for Larder {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn usual_or_free(port: u16) -> String {
    let port = if TcpListener::bind(("127.0.0.1", port)).is_ok() { port } else { 0 };
    format!("127.0.0.1:{port}")
}

/// `listening proxy=127.0.0.1:41233 admin=127.0.0.1:9180`
fn parse_listening(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    let mut words = line.strip_prefix("listening ")?.split_whitespace();
    let proxy = words.next()?.strip_prefix("proxy=")?.parse().ok()?;
    let admin = words.next()?.strip_prefix("admin=")?.parse().ok()?;
    Some((proxy, admin))
}

/// A temporary directory that is removed when dropped.
#[derive(Debug)]
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let name = format!("larder-demo-{:016x}", u64::from_ne_bytes(random));
        let path = std::env::temp_dir().join(name);
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_with_both_addresses_is_understood() {
        let (proxy, admin) =
            parse_listening("listening proxy=127.0.0.1:41233 admin=[::1]:9180").unwrap();
        assert_eq!((proxy.port(), admin.port()), (41233, 9180));
        for other in ["", "listening", "listening proxy=x admin=y", "warning: listening proxy=1"] {
            assert_eq!(parse_listening(other), None, "{other}");
        }
    }

    #[test]
    fn a_taken_port_is_not_chosen() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_eq!(usual_or_free(port), "127.0.0.1:0");
    }

    #[test]
    fn a_scratch_directory_goes_with_its_owner() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.0.clone();
        std::fs::write(path.join("x"), "x").unwrap();
        drop(scratch);
        assert!(!path.exists());
    }
}
