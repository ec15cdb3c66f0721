//! Events: what Larder has to say about itself, on standard error. Each is written when it
//! happens, whole, by a thread of its own: whoever says something never waits for a reader.

use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tracing::Subscriber;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::snapshot::LogFormat;
use crate::observe::backlog::Backlog;
use crate::observe::metrics::Metrics;
use crate::observe::target::Target;

/// How long the last words may take where nobody reads them.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why events could not be set up, or their level not be changed.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The level cannot be read.
    #[error(
        "`log.level`: {level:?} is no level: write error, warn, info, debug, trace or off, or \
         levels by module (`info,larder::cache=debug`)"
    )]
    Level {
        /// As it was written.
        level: String,
        /// What the filter says.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Standard error cannot be had, or no thread to write to it.
    #[error("cannot write events to standard error")]
    Start(#[source] std::io::Error),
    /// Something else takes this process's events already.
    #[error("events are set up already")]
    Taken,
    /// The set-up is gone.
    #[error("the level cannot be changed any more")]
    Gone(#[source] reload::Error),
}

/// The running set-up; its level can be changed.
#[derive(Debug, Clone)]
pub struct Events {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Events {
    /// Sends this process's events of `level` and above to standard error. Once a process.
    pub fn start(
        format: LogFormat,
        level: &str,
        metrics: Arc<Metrics>,
    ) -> Result<(Self, LastWords), EventsError> {
        let stderr = std::io::stderr();
        let colour = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        // Its own descriptor, so that std's lock stays out of the way.
        let own = stderr.as_fd().try_clone_to_owned().map_err(EventsError::Start)?;
        let target = Target::new(File::from(own));
        let backlog = Backlog::start(target, metrics).map_err(EventsError::Start)?;
        let (subscriber, events) = build(format, level, colour, backlog.clone())?;
        subscriber.try_init().map_err(|_| EventsError::Taken)?;
        // The default hook would write to standard error itself, and wait for its reader.
        std::panic::set_hook(Box::new(|panic| {
            let backtrace = std::backtrace::Backtrace::capture();
            tracing::error!(%backtrace, "{panic}");
        }));
        Ok((events, LastWords(backlog)))
    }

    /// Changes the level; a level that cannot be read changes nothing.
    pub fn set_level(&self, level: &str) -> Result<(), EventsError> {
        self.filter.reload(parse(level)?).map_err(EventsError::Gone)
    }
}

/// Dropped, it waits until what was said is written, or nobody seems to read it.
#[derive(Debug)]
pub struct LastWords(Backlog);

impl LastWords {
    /// A line of no level and no format, after the events before it.
    pub fn say(&self, line: impl std::fmt::Display) {
        self.0.push(format!("{line}\n").as_bytes(), true);
    }
}

impl Drop for LastWords {
    fn drop(&mut self) {
        self.0.close(LAST_WORDS);
    }
}

/// Whether `level` can be read: for checking a configuration.
pub fn check_level(level: &str) -> Result<(), EventsError> {
    parse(level).map(drop)
}

fn parse(level: &str) -> Result<EnvFilter, EventsError> {
    // A bare word that is no level would be taken for the name of a module, in silence.
    let bare = level.trim();
    let known = ["error", "warn", "info", "debug", "trace", "off"];
    let word = !bare.contains(['=', ',', '[']);
    let text = if word && !known.iter().any(|name| name.eq_ignore_ascii_case(bare)) {
        "=" // what the filter itself refuses
    } else {
        bare
    };
    // What foyer says of its recovery is for who asks for it.
    let quiet = text.eq_ignore_ascii_case("info");
    let text = if quiet { format!("{text},foyer_storage=warn") } else { text.to_owned() };
    EnvFilter::builder()
        .parse(&text)
        .map_err(|source| EventsError::Level { level: level.into(), source })
}

fn build<W>(
    format: LogFormat,
    level: &str,
    colour: bool,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync, Events), EventsError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse(level)?);
    let layer = match format {
        LogFormat::Json => fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_writer(writer)
            .boxed(),
        LogFormat::Human => fmt::layer().with_ansi(colour).with_writer(writer).boxed(),
    };
    Ok((Registry::default().with(filter).with(layer), Events { filter: handle }))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Written {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().clone()).unwrap()
        }
    }

    #[test]
    fn the_level_changes_while_it_runs() {
        let written = Written::default();
        let to = written.clone();
        let (subscriber, events) =
            build(LogFormat::Json, "info", false, move || to.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug!("unheard");
            events.set_level("debug").unwrap();
            tracing::debug!(answer = 42, "heard");
            events.set_level("nonsense").unwrap_err();
            tracing::debug!("still heard");
            events.set_level("off").unwrap();
            tracing::error!("unheard");
        });
        let text = written.text();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert_eq!((&lines[0]["message"], &lines[0]["answer"]), (&"heard".into(), &42.into()));
        assert_eq!(
            (&lines[0]["level"], &lines[1]["message"]),
            (&"DEBUG".into(), &"still heard".into())
        );
    }

    #[test]
    fn human_events_keep_control_characters_out_of_the_terminal() {
        let written = Written::default();
        let to = written.clone();
        let (subscriber, _events) =
            build(LogFormat::Human, "warn", false, move || to.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!("a \u{1b}[2J b");
            tracing::info!("unheard");
        });
        let text = written.text();
        assert!(text.contains("WARN") && !text.contains('\u{1b}'), "{text:?}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn levels() {
        for (case, level, fine) in [
            ("plain", "info", true),
            ("capitals", "WARN", true),
            ("off", "off", true),
            ("by module", "info,larder::cache=debug", true),
            ("misspelt", "inof", false),
            ("empty", "", false),
            ("misspelt by module", "larder=loud", false),
        ] {
            assert_eq!(check_level(level).is_ok(), fine, "{case}: {level:?}");
        }
    }
}
