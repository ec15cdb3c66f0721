//! Which path does what. [`Router::answer`] is the one page that shows the whole way.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{HeaderValue, Method, Request, Response, StatusCode, request};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use serde_json::json;

use crate::admin::control::{Control, Readiness};
use crate::admin::doors::{self, Path};
use crate::admin::entries::{Entries, Listing};
use crate::admin::explain;
use crate::admin::problem::Problem;
use crate::admin::purge;
use crate::admin::query;
use crate::admin::server::Settings;
use crate::clock;
use crate::observe::exposition::{Format, expose};
use crate::observe::metrics::Metrics;
use crate::semantics::key;

/// A request body at most, in bytes.
const BODY_MAX: usize = 64 * 1024;
/// How long a request body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(10);
/// How long a purge or a reload may take.
const WRITE_TIME: Duration = Duration::from_secs(30);

type Answer = Response<Full<Bytes>>;

/// Answers the admin port's requests.
pub(crate) struct Router {
    pub(crate) control: Arc<dyn Control>,
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
}

/// What there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Page,
    Metrics,
    Healthz,
    Readyz,
    Stats,
    Config,
    Purge,
    Purges,
    Entries,
    Explain,
    Reload,
}

impl Place {
    fn of(path: &str) -> Option<Self> {
        Some(match path {
            "/" => Self::Page,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Healthz,
            "/readyz" => Self::Readyz,
            "/api/stats" => Self::Stats,
            "/api/config" => Self::Config,
            "/api/purge" => Self::Purge,
            "/api/purges" => Self::Purges,
            "/api/entries" => Self::Entries,
            "/api/explain" => Self::Explain,
            "/api/config/reload" => Self::Reload,
            _ => return None,
        })
    }

    /// Open to everyone, whatever the Host: probes and scrapers.
    const fn is_open(self) -> bool {
        matches!(self, Self::Metrics | Self::Healthz | Self::Readyz)
    }

    const fn writes(self) -> bool {
        matches!(self, Self::Purge | Self::Reload)
    }
}

impl Router {
    /// Answers one request. Dropped midway, a purge or reload under way may or may not be done.
    pub(crate) async fn answer<B>(&self, request: Request<B>, path: Path) -> Answer
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let mut answer =
            self.try_answer(&head, body, path).await.unwrap_or_else(Problem::into_response);
        harden(answer.headers_mut());
        answer
    }

    async fn try_answer<B>(
        &self,
        head: &request::Parts,
        body: B,
        path: Path,
    ) -> Result<Answer, Problem>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let place = Place::of(head.uri.path());
        if !place.is_some_and(Place::is_open) {
            doors::enter(head, path, &(self.settings)())?;
        }
        let Some(place) = place else {
            return Err(Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path"));
        };
        if place.writes() {
            if head.method != Method::POST {
                return Err(Problem::method("POST"));
            }
            doors::write(&head.headers)?;
            let body = read(body).await?;
            return match place {
                Place::Reload => self.reload().await,
                _ => self.purge(&body).await,
            };
        }
        if head.method != Method::GET && head.method != Method::HEAD {
            return Err(Problem::method("GET, HEAD"));
        }
        match place {
            Place::Page => Ok(page()),
            Place::Metrics => self.metrics(&head.headers).await,
            Place::Healthz => Ok(text(StatusCode::OK, "ok\n")),
            Place::Readyz => Ok(ready(&self.control.ready(), &head.headers)),
            Place::Stats => self.stats().await,
            Place::Explain => self.explain(head.uri.query()).await,
            Place::Entries => self.entries(head.uri.query()).await,
            Place::Purges => self.purges(head.uri.query()).await,
            _ => Ok(self.config(&head.headers)),
        }
    }

    async fn metrics(&self, headers: &HeaderMap) -> Result<Answer, Problem> {
        let format = scrape_format(headers);
        let metrics = Arc::clone(&self.metrics);
        let written = blocking(move || expose(&metrics, format)).await?;
        let body = written.map_err(|_| internal("the metrics could not be written"))?;
        Ok(answer(StatusCode::OK, format.content_type(), body))
    }

    async fn stats(&self) -> Result<Answer, Problem> {
        let control = Arc::clone(&self.control);
        let stats = blocking(move || control.stats()).await?;
        let body = serde_json::to_string_pretty(&stats);
        let body = body.map_err(|_| internal("the figures could not be written"))?;
        Ok(answer(StatusCode::OK, JSON, body))
    }

    fn config(&self, headers: &HeaderMap) -> Answer {
        let config = self.control.config();
        if weight(headers, "text", "plain") > weight(headers, "application", "json") {
            text(StatusCode::OK, &config)
        } else {
            answer(StatusCode::OK, JSON, json!({ "effective": config }).to_string())
        }
    }

    async fn purge(&self, body: &[u8]) -> Result<Answer, Problem> {
        let request = purge::parse(body)?;
        let shown = purge::shown(&request.what, request.soft);
        if request.dry_run {
            let control = Arc::clone(&self.control);
            let hit = in_time(blocking(move || control.would_hit(&request.what))).await??;
            let hit = hit.map_err(internal)?;
            let body = json!({ "recorded": null, "would_purge": shown, "would_hit": hit });
            return Ok(answer(StatusCode::OK, JSON, body.to_string()));
        }
        let done = in_time(self.control.purge(request)).await?;
        let done = done.map_err(internal)?;
        let status =
            if done.outstanding.is_empty() { StatusCode::OK } else { StatusCode::ACCEPTED };
        let body = json!({
            "recorded": shown,
            // Above 2^53: JavaScript would read another number.
            "position": done.position.to_string(),
            "outstanding": done.outstanding,
        });
        Ok(answer(status, JSON, body.to_string()))
    }

    async fn purges(&self, query: Option<&str>) -> Result<Answer, Problem> {
        let [limit] = query::read(query, ["limit"])?;
        let limit = query::limit(limit.as_deref())?;
        let control = Arc::clone(&self.control);
        let held = blocking(move || control.purges(limit)).await?;
        let lines: Vec<_> = held.newest.iter().map(purge::listed).collect();
        let body = json!({ "purges": lines, "records": held.records });
        Ok(answer(StatusCode::OK, JSON, body.to_string()))
    }

    /// One URL's, or a page of all that are in memory.
    async fn entries(&self, query: Option<&str>) -> Result<Answer, Problem> {
        let names = ["url", "host", "prefix", "tag", "after", "limit"];
        let [url, host, prefix, tag, after, limit] = query::read(query, names)?;
        let entries = if let Some(url) = url {
            if host.or(prefix).or(tag).or(after).or(limit).is_some() {
                return Err(query::bad("url stands alone: it names what is stored for one URL"));
            }
            purge::shape("url", &url)?;
            if url.starts_with('/') {
                return Err(query::bad("url must be a whole one: http://host/path"));
            }
            let entries = in_time(self.control.show(key::url(&url))).await?;
            Entries { entries, next: None, note: None }
        } else {
            let limit = query::limit(limit.as_deref())?;
            let listing = Listing::read([host, prefix, tag], after, limit)?;
            let control = Arc::clone(&self.control);
            blocking(move || control.list(&listing)).await?.map_err(internal)?
        };
        let body = serde_json::to_string(&entries);
        let body = body.map_err(|_| internal("the entries could not be written"))?;
        Ok(answer(StatusCode::OK, JSON, body))
    }

    async fn explain(&self, query: Option<&str>) -> Result<Answer, Problem> {
        let told = in_time(self.control.explain(explain::parse(query)?)).await?;
        let told = told.map_err(query::bad)?;
        let body = explain::shown(&told, clock::now());
        Ok(answer(StatusCode::OK, JSON, body.to_string()))
    }

    async fn reload(&self) -> Result<Answer, Problem> {
        let done = in_time(self.control.reload()).await?;
        let done = done.map_err(|why| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, why))?;
        let body = json!({ "result": "ok", "changed": done.changed });
        Ok(answer(StatusCode::OK, JSON, body.to_string()))
    }
}

const JSON: &str = "application/json";

fn ready(readiness: &Readiness, headers: &HeaderMap) -> Answer {
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if weight(headers, "application", "json") > weight(headers, "text", "plain") {
        // Plain values always serialise.
        let body = serde_json::to_string(readiness).unwrap_or_default();
        return answer(status, JSON, body);
    }
    let word = if readiness.ready { "ready" } else { "not ready" };
    let (upstream, disk) = (readiness.upstream.as_str(), readiness.disk.as_str());
    let mut body = format!("{word} upstream={upstream} disk={disk}\n");
    for reason in &readiness.reasons {
        body.push_str(reason);
        body.push('\n');
    }
    text(status, &body)
}

fn page() -> Answer {
    answer(StatusCode::OK, "text/html; charset=utf-8", include_str!("page.html"))
}

fn text(status: StatusCode, body: &str) -> Answer {
    answer(status, "text/plain; charset=utf-8", body.to_owned())
}

fn answer(status: StatusCode, media_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let media_type = HeaderValue::from_static(media_type);
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}

/// What every answer carries: nothing is kept, framed, sniffed or told to other sites.
fn harden(headers: &mut HeaderMap) {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// OpenMetrics where the scraper names it and likes it no less than plain text.
fn scrape_format(headers: &HeaderMap) -> Format {
    let open = weight(headers, "application", "openmetrics-text");
    if open > 0.0 && open >= weight(headers, "text", "plain") {
        Format::OpenMetrics
    } else {
        Format::Prometheus
    }
}

/// The largest weight that Accept gives this very media type (RFC 9110 §12.5.1); 0 where it does
/// not name it. Wildcards do not count: they ask for the usual.
fn weight(headers: &HeaderMap, kind: &str, subtype: &str) -> f32 {
    let fields = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let ranges = fields.flat_map(|value| value.split(','));
    let weights = ranges.filter_map(|range| {
        let mut parts = range.split(';').map(str::trim);
        let (its_kind, its_subtype) = parts.next()?.split_once('/')?;
        let matches =
            its_kind.eq_ignore_ascii_case(kind) && its_subtype.eq_ignore_ascii_case(subtype);
        let weight = parts
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
            .map_or(1.0, |(_, weight)| weight.trim().parse::<f32>().unwrap_or(0.0));
        matches.then_some(weight)
    });
    weights.filter(|weight| (0.0..=1.0).contains(weight)).fold(0.0, f32::max)
}

async fn read<B>(body: B) -> Result<Bytes, Problem>
where
    B: Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let collected = Box::pin(Limited::new(body, BODY_MAX).collect());
    match tokio::time::timeout(BODY_TIME, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = "the body may have 64 KiB at most";
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
        }
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "the body broke off")),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the body took too long")),
    }
}

async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, Problem> {
    tokio::time::timeout(WRITE_TIME, work).await.map_err(|_| {
        let detail = "this takes too long; it may still take effect";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    })
}

/// Reading `/proc` and counting a tier may take a while: off the reactor's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| internal("the figures could not be read"))
}

fn internal(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrape_formats() {
        let prometheus = "application/openmetrics-text;version=1.0.0,\
                          application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (case, accept, want) in [
            ("Prometheus", Some(prometheus), Format::OpenMetrics),
            ("curl", Some("*/*"), Format::Prometheus),
            ("nothing", None, Format::Prometheus),
            ("refused", Some("application/openmetrics-text;q=0, */*"), Format::Prometheus),
            (
                "liked less",
                Some("application/openmetrics-text;q=0.1, text/plain"),
                Format::Prometheus,
            ),
            ("nonsense", Some("application/openmetrics-text;q=nan, ;;,/"), Format::Prometheus),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(accept) = accept {
                headers.insert(header::ACCEPT, HeaderValue::from_str(accept).unwrap());
            }
            assert_eq!(scrape_format(&headers), want, "{case}");
        }
    }
}
