//! `larder demo`: a slow sample app, a Larder in front of it, and what that changes.
//!
//! - [`app`]: the sample app.
//! - [`larder`]: this program once more, as a child process.

mod app;
mod larder;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HOST, IF_NONE_MATCH};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use crate::cli::demo::app::App;
use crate::cli::demo::larder::Larder;
use crate::cli::{USAGE, complain, say};
use crate::clock;
use crate::config::Flags;

const ANSWER_LIMIT: Duration = Duration::from_secs(20);

type Error = Box<dyn std::error::Error + Send + Sync>;

/// One request of the demonstration.
struct Step {
    what: &'static str,
    path: &'static str,
    gzip: bool,
    etag: Option<&'static str>,
}

const fn get(what: &'static str, path: &'static str, gzip: bool) -> Step {
    Step { what, path, gzip, etag: None }
}

const STEPS: [Step; 8] = [
    get("JSON, first time", "/api/products", true),
    get("JSON again", "/api/products", true),
    get("JSON without gzip", "/api/products", false),
    Step {
        what: "JSON, unchanged?",
        path: "/api/products",
        gzip: true,
        etag: Some("W/\"demo-1\""),
    },
    get("HTML, first time", "/", true),
    get("HTML again", "/", true),
    get("private JSON", "/api/me", true),
    get("private JSON again", "/api/me", true),
];

/// What came back.
struct Seen {
    status: StatusCode,
    coding: String,
    cache_status: String,
    bytes: usize,
    took: Duration,
}

/// Runs the demonstration; with `once` it ends after the table.
pub fn demo(flags: &Flags, once: bool) -> ExitCode {
    if flags.config.is_some() || flags.upstream.is_some() {
        complain(
            "demo has an app and a configuration of its own; it takes neither --config nor --upstream",
        );
        return ExitCode::from(USAGE);
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let shown =
        runtime.map_err(Error::from).and_then(|runtime| runtime.block_on(show(flags, once)));
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("demo: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn show(flags: &Flags, once: bool) -> Result<(), Error> {
    // Before anything is started that a signal would leave behind.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let app = App::start().await?;
    let larder = tokio::task::block_in_place(|| Larder::start(flags, app.address()))?;
    let told_to_end = async {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    let demonstration = async {
        say(format_args!(
            "A sample app that takes 200 ms a page: http://{}\nLarder in front of it:                 http://{}\n",
            app.address(),
            larder.proxy
        ));
        let rows = ask_all(larder.proxy).await?;
        say(table(&rows));
        say(format_args!("{} requests were made; {} reached the app.", rows.len(), app.requests()));
        if !once {
            say(open(&larder));
            std::future::pending::<()>().await;
        }
        Ok::<(), Error>(())
    };
    let shown = tokio::select! {
        shown = demonstration => shown,
        () = told_to_end => Ok(()),
    };
    tokio::task::block_in_place(|| larder.stop())?;
    shown
}

/// All steps on one connection, as a browser would.
async fn ask_all(proxy: SocketAddr) -> Result<Vec<(&'static Step, Seen)>, Error> {
    let (mut sender, connection) =
        handshake(TokioIo::new(TcpStream::connect(proxy).await?)).await?;
    tokio::spawn(connection);
    let mut rows = Vec::new();
    for step in &STEPS {
        let seen = timeout(ANSWER_LIMIT, ask(&mut sender, proxy, step))
            .await
            .map_err(|_| format!("no answer to {} within {ANSWER_LIMIT:?}", step.path))??;
        if seen.status.is_server_error() {
            return Err(format!("{} was answered {}", step.path, seen.status).into());
        }
        rows.push((step, seen));
    }
    Ok(rows)
}

async fn ask(
    sender: &mut SendRequest<Empty<Bytes>>,
    proxy: SocketAddr,
    step: &Step,
) -> Result<Seen, Error> {
    let coding = if step.gzip { "gzip" } else { "identity" };
    let mut request =
        Request::get(step.path).header(HOST, proxy.to_string()).header(ACCEPT_ENCODING, coding);
    if let Some(etag) = step.etag {
        request = request.header(IF_NONE_MATCH, etag);
    }
    let request = request.body(Empty::new())?;
    sender.ready().await?;
    let began = clock::monotonic_ns();
    let response = sender.send_request(request).await?;
    let (head, body) = response.into_parts();
    let bytes = body.collect().await?.to_bytes().len();
    let took = Duration::from_nanos(clock::monotonic_ns().saturating_sub(began));
    let text = |name: &str| {
        let values = head.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.collect::<Vec<_>>().join(", ")
    };
    Ok(Seen {
        status: head.status,
        coding: text(CONTENT_ENCODING.as_str()),
        cache_status: text("cache-status"),
        bytes,
        took,
    })
}

/// One word for what the cache did, from its Cache-Status (RFC 9211).
fn word(cache_status: &str) -> &'static str {
    let parameters: Vec<&str> = cache_status.split(';').map(str::trim).collect();
    if parameters.contains(&"hit") {
        return "HIT";
    }
    match parameters.iter().find_map(|parameter| parameter.strip_prefix("fwd=")) {
        Some("uri-miss" | "vary-miss" | "miss")
            if parameters.iter().any(|p| *p == "stored" || *p == "stored=?1") =>
        {
            "MISS"
        }
        Some("uri-miss" | "vary-miss" | "miss") => "MISS, not kept",
        Some("stale" | "request") => "CHECKED",
        Some("bypass" | "method") => "PASS",
        _ => "-",
    }
}

fn table(rows: &[(&Step, Seen)]) -> String {
    let mut text = String::new();
    let _ = writeln!(
        text,
        "{:<19} {:<14} {:>6} {:<14} {:>10} {:>15}  CACHE-STATUS",
        "REQUEST", "", "STATUS", "RESULT", "TIME", "BYTES"
    );
    for (step, seen) in rows {
        let took = format!("{:.1} ms", seen.took.as_secs_f64() * 1000.0);
        let coding = if seen.coding.is_empty() { "" } else { seen.coding.as_str() };
        let bytes = format!("{} {coding:<4}", seen.bytes);
        let _ = writeln!(
            text,
            "{:<19} {:<14} {:>6} {:<14} {took:>10} {bytes:>15}  {}",
            step.what,
            step.path,
            seen.status.as_u16(),
            word(&seen.cache_status),
            seen.cache_status
        );
    }
    text
}

fn open(larder: &Larder) -> String {
    let Larder { proxy, admin, .. } = larder;
    format!(
        "\nTo look at:\n  http://{proxy}/                 the app through Larder\n  \
         http://{admin}/metrics          its metrics\n  http://{admin}/api/stats        the \
         cache's figures\n\nTo try:\n  curl -i http://{proxy}/api/products\n  larder --admin \
         {admin} cache purge http://{proxy}/api/products\n\nCtrl-C ends it."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_status_in_one_word() {
        for (cache_status, want) in [
            ("larder; hit; ttl=59", "HIT"),
            ("larder; fwd=uri-miss; stored", "MISS"),
            ("larder; fwd=uri-miss; detail=private", "MISS, not kept"),
            ("larder; fwd=stale; fwd-status=304", "CHECKED"),
            ("larder; fwd=method", "PASS"),
            ("", "-"),
        ] {
            assert_eq!(word(cache_status), want, "{cache_status}");
        }
    }

    #[tokio::test]
    async fn the_sample_app_takes_its_time_and_says_what_may_be_kept() {
        let app = App::start().await.unwrap();
        let rows = ask_all(app.address()).await.unwrap();
        assert_eq!(app.requests(), STEPS.len() as u64);
        for (step, seen) in &rows {
            assert_eq!(seen.status, 200, "{}", step.what);
            assert!(seen.took >= Duration::from_millis(199), "{}: {:?}", step.what, seen.took);
        }
        let table = table(&rows);
        assert_eq!(table.lines().count(), STEPS.len() + 1, "{table}");
    }
}
