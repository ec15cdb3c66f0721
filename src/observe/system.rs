//! The process as the operating system sees it, read from `/proc` when asked for. A scrape needs
//! six numbers of one process; reading them takes some 30 µs, and longer with many descriptors,
//! so it is for the back room only.

use std::fs;

use serde::Serialize;

/// Figures of this process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Process {
    /// User and system CPU time so far, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Virtual memory in bytes.
    pub virtual_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// Descriptors it may open (the soft limit).
    pub max_fds: u64,
    /// When it began, in seconds since the Unix epoch.
    pub start_time_seconds: f64,
}

/// Reads this process's figures; `None` where there is no `/proc`.
pub fn process() -> Option<Process> {
    let stat = Stat::parse(&fs::read_to_string("/proc/self/stat").ok()?)?;
    let ticks = rustix::param::clock_ticks_per_second().max(1) as f64;
    let page = rustix::param::page_size() as u64;
    // The directory handle that counts is itself one of the counted.
    let open_fds = fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count().saturating_sub(1));
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let booted = boot_time(&fs::read_to_string("/proc/stat").unwrap_or_default());
    Some(Process {
        cpu_seconds: (stat.user_ticks.saturating_add(stat.system_ticks)) as f64 / ticks,
        resident_bytes: stat.resident_pages.saturating_mul(page),
        virtual_bytes: stat.virtual_bytes,
        open_fds: open_fds as u64,
        max_fds: limit.current.unwrap_or(u64::MAX),
        start_time_seconds: booted as f64 + stat.start_ticks as f64 / ticks,
    })
}

#[derive(Debug, PartialEq, Eq)]
struct Stat {
    user_ticks: u64,
    system_ticks: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    /// `pid (name) state …`: the name may hold blanks and parentheses, so the last one counts.
    fn parse(text: &str) -> Option<Self> {
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // proc_pid_stat(5) counts from 1, and the state, number 3, stands first here.
        let number = |nth: usize| fields.get(nth - 3)?.parse::<u64>().ok();
        Some(Self {
            user_ticks: number(14)?,
            system_ticks: number(15)?,
            start_ticks: number(22)?,
            virtual_bytes: number(23)?,
            resident_pages: number(24)?,
        })
    }
}

/// The line `btime` of `/proc/stat`: when the machine was booted, in seconds since the epoch.
fn boot_time(stat: &str) -> u64 {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|secs| secs.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_is_no_field() {
        let text = "7 (a) b) c) S 1 7 7 0 -1 4194560 100 0 0 0 12 34 0 0 20 0 9 0 5678 1000000 250 \
                    18446744073709551615 1 1";
        let want = Stat {
            user_ticks: 12,
            system_ticks: 34,
            start_ticks: 5678,
            virtual_bytes: 1_000_000,
            resident_pages: 250,
        };
        assert_eq!(Stat::parse(text), Some(want));
    }

    #[test]
    fn damaged_figures_are_none_rather_than_wrong() {
        for text in ["", "7 (a", "7 (a) S", "7 (a) S 1 2 3 4 5 6 7 8 9 0 x y z"] {
            assert_eq!(Stat::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn this_process_has_believable_figures() {
        let process = process().expect("Linux has /proc");
        assert!(process.resident_bytes > 1 << 20, "{process:?}");
        assert!(process.virtual_bytes > process.resident_bytes, "{process:?}");
        assert!(process.open_fds >= 3 && process.max_fds >= process.open_fds, "{process:?}");
        let now = crate::clock::now().as_secs() as f64;
        assert!(process.start_time_seconds > now - 86_400.0, "{process:?}");
        assert!(process.start_time_seconds < now + 60.0, "{process:?}");
    }

    #[test]
    fn opened_files_are_counted() {
        // Other tests open and close files meanwhile: only what is ours is certain.
        let files: Vec<_> = (0..100).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        let open = process().unwrap().open_fds;
        assert!(open >= 103, "100 and the three standard ones, but {open}");
        drop(files);
    }
}
