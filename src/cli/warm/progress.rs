//! How far it is: a bar where somebody looks, else a line at each tenth.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::say_error;

/// Of so many requests.
pub(super) struct Progress {
    bar: ProgressBar,
    all: u64,
    done: u64,
    failed: u64,
}

impl Progress {
    pub(super) fn of(all: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(all), ProgressDrawTarget::stderr());
        let template = "warming {bar:30} {pos}/{len}  {per_sec}  {eta} left{msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, all, done: 0, failed: 0 }
    }

    /// One more has come to its end.
    pub(super) fn step(&mut self, failed: bool) {
        self.done += 1;
        self.failed += u64::from(failed);
        if failed {
            self.bar.set_message(format!("  {} failed", self.failed));
        }
        self.bar.inc(1);
        let tenth = |done: u64| done * 10 / self.all.max(1);
        if self.bar.is_hidden() && tenth(self.done) > tenth(self.done - 1) {
            say_error(format_args!(
                "warming: {} of {}, {} failed",
                self.done, self.all, self.failed
            ));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
