//! Every metric as a scrape sees it: name, help, kind and value, in one list; those of the disk tier
//! in `disk`.

mod disk;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

use crate::observe::histogram::{BOUNDS, Counted, LOOKUP_BOUNDS, REQUEST_BOUNDS};
use crate::observe::metrics::{Alert, Metrics, UpstreamErrorKind};
use crate::observe::shard::{CLASSES, METHODS, ORIGIN_CLASSES};
use crate::observe::system;
use crate::observe::text::{to_prometheus, without_doubled_total};
use crate::semantics::decision::Outcome;

/// The text formats of an exposition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus text 0.0.4.
    Prometheus,
}

impl Format {
    /// The Content-Type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// Writes all metrics down. Reads `/proc`: for the back room.
pub fn expose(metrics: &Arc<Metrics>, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Ours(Arc::clone(metrics))));
    let mut text = String::with_capacity(32 * 1024);
    encode_registry(&mut text, &registry)?;
    metrics.with_foreign(|foreign| {
        let mut theirs = String::new();
        encode_registry(&mut theirs, foreign)?;
        text.push_str(&without_doubled_total(&theirs));
        Ok(())
    })?;
    Ok(match format {
        Format::OpenMetrics => {
            encode_eof(&mut text)?;
            text
        }
        Format::Prometheus => to_prometheus(&text),
    })
}

#[derive(Debug)]
struct Ours(Arc<Metrics>);

impl Collector for Ours {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut out = Out(encoder);
        requests(&mut out, &self.0)?;
        connections(&mut out, &self.0)?;
        upstream(&mut out, &self.0)?;
        cache(&mut out, &self.0)?;
        disk::disk(&mut out, &self.0)?;
        house(&mut out, &self.0)?;
        process(&mut out)
    }
}

fn requests(out: &mut Out<'_>, metrics: &Metrics) -> fmt::Result {
    let totals = metrics.totals();
    let help = "Requests answered, by route, method, status class and what the cache did";
    out.family("larder_requests", help, None, MetricType::Counter, |family| {
        for (m, method) in METHODS.iter().enumerate() {
            for (c, class) in CLASSES.iter().enumerate() {
                for (o, outcome) in Outcome::ALL.iter().enumerate() {
                    for (route, count) in totals.by_route(m, c, o) {
                        // Of 300 series a few are ever used; the usual ones are there from the
                        // start.
                        let usual = route == "default" && *method == "GET" && *class == "2xx";
                        if count > 0 || usual {
                            let labels = [
                                ("route", route),
                                ("method", *method),
                                ("status", *class),
                                ("cache", outcome.as_str()),
                            ];
                            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
                        }
                    }
                }
            }
        }
        Ok(())
    })?;
    let help = "Time from the end of a request's head to the last byte of its answer";
    let histogram = MetricType::Histogram;
    let seconds = Some(&Unit::Seconds);
    out.family("larder_request_duration", help, seconds, histogram, |family| {
        for (outcome, counted) in Outcome::ALL.iter().zip(&totals.durations) {
            let labels = [("cache", outcome.as_str())];
            encode_histogram(&mut family.encode_family(&labels)?, counted, &REQUEST_BOUNDS)?;
        }
        Ok(())
    })?;
    let help = "Time of a lookup in the cache, all tiers";
    out.histogram("larder_lookup_duration", help, &totals.lookups, &LOOKUP_BOUNDS)?;
    let help = "Requests sent to the origin, by status class; error: no answer";
    out.family("larder_origin_requests", help, None, MetricType::Counter, |family| {
        for (class, count) in ORIGIN_CLASSES.iter().zip(totals.origin) {
            ConstCounter::new(count).encode(family.encode_family(&[("status", *class)])?)?;
        }
        Ok(())
    })?;
    let help = "Time from sending a request to the origin to the head of its answer, or failure";
    out.histogram("larder_origin_duration", help, &totals.origin_durations, &REQUEST_BOUNDS)?;
    let bytes = Some(&Unit::Bytes);
    out.counter_of("larder_request", "Body bytes received from clients", bytes, totals.bytes_in)?;
    out.counter_of("larder_response", "Body bytes sent to clients", bytes, totals.bytes_out)
}

fn connections(out: &mut Out<'_>, metrics: &Metrics) -> fmt::Result {
    let server = &metrics.server;
    out.gauge("larder_connections", "Open client connections", server.connections.get())?;
    let accepted = server.accepted.get();
    out.counter("larder_connections_accepted", "Client connections accepted", accepted)?;
    let help = "Client connections closed at once because of limits.connections";
    out.counter("larder_connections_refused", help, server.refused.get())?;
    let help = "Requests refused because they were malformed";
    out.counter("larder_malformed_requests", help, server.malformed.get())?;
    out.gauge("larder_tunnels", "Open tunnels (after a 101)", server.tunnels.get())?;
    let help = "Bytes read from and written to client sockets, heads and framing included";
    out.family("larder_socket", help, Some(&Unit::Bytes), MetricType::Counter, |family| {
        for (direction, count) in [("in", &server.socket_in), ("out", &server.socket_out)] {
            let labels = [("direction", direction)];
            ConstCounter::new(count.get()).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    })
}

fn upstream(out: &mut Out<'_>, metrics: &Metrics) -> fmt::Result {
    let upstream = &metrics.upstream;
    let help = "1 while the last exchange reached the origin";
    out.gauge("larder_upstream_up", help, upstream.up.get())?;
    let connections = upstream.connections.get();
    out.gauge("larder_upstream_connections", "Open connections to the origin", connections)?;
    let help = "Connections to the origin made";
    out.counter("larder_upstream_connects", help, upstream.connects.get())?;
    let help = "Requests sent on a connection that had been used before";
    out.counter("larder_upstream_reused", help, upstream.reused.get())?;
    let help = "Requests sent again because a pooled connection turned out closed";
    out.counter("larder_upstream_retries", help, upstream.retries.get())?;
    let help = "Failed exchanges with the origin, by kind";
    out.family("larder_upstream_errors", help, None, MetricType::Counter, |family| {
        for (kind, count) in UpstreamErrorKind::ALL.iter().zip(&upstream.errors) {
            let labels = [("kind", kind.as_str())];
            ConstCounter::new(count.get()).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    })
}

fn cache(out: &mut Out<'_>, metrics: &Metrics) -> fmt::Result {
    let tiers = metrics.tiers();
    let bytes = Some(&Unit::Bytes);
    let help = "Bytes held, by tier";
    out.family("larder_cache", help, bytes, MetricType::Gauge, |family| {
        for (tier, view) in &tiers {
            gauge(view.bytes()).encode(family.encode_family(&[("tier", *tier)])?)?;
        }
        Ok(())
    })?;
    let help = "Bytes that a tier may hold";
    out.family("larder_cache_capacity", help, bytes, MetricType::Gauge, |family| {
        for (tier, view) in &tiers {
            gauge(view.capacity()).encode(family.encode_family(&[("tier", *tier)])?)?;
        }
        Ok(())
    })?;
    let help = "Objects held, by tier";
    out.family("larder_cache_objects", help, None, MetricType::Gauge, |family| {
        for (tier, view) in &tiers {
            gauge(view.objects()).encode(family.encode_family(&[("tier", *tier)])?)?;
        }
        Ok(())
    })?;
    let parts = metrics.budget();
    let help = "Bytes of memory that a part of the budget may take";
    out.family("larder_memory_budget", help, bytes, MetricType::Gauge, |family| {
        for part in &parts {
            gauge(part.planned).encode(family.encode_family(&[("part", part.name)])?)?;
        }
        Ok(())
    })?;
    let help = "Bytes of memory that a part of the budget takes";
    out.family("larder_memory_used", help, bytes, MetricType::Gauge, |family| {
        for part in &parts {
            gauge(part.used).encode(family.encode_family(&[("part", part.name)])?)?;
        }
        Ok(())
    })?;
    let cache = &metrics.cache;
    for (name, help, count) in [
        ("larder_cache_stored", "Responses stored", &cache.stored),
        ("larder_cache_evictions", "Entries evicted from memory", &cache.evicted),
        ("larder_cache_compressed", "Bodies compressed", &cache.compressed),
        ("larder_purges", "Purges taken in", &cache.purges),
        (
            "larder_cache_purged",
            "Entries rejected because a purge is newer than their fetch",
            &cache.purged,
        ),
        ("larder_collapsed_requests", "Requests that waited for another's fetch", &cache.collapsed),
        (
            "larder_released_requests",
            "Requests released from waiting because the answer could not be shared",
            &cache.released,
        ),
    ] {
        out.counter(name, help, count.get())?;
    }
    out.gauge("larder_flights", "Fetches for the cache under way", cache.flights.get())?;
    let help = "Keys remembered as uncacheable";
    out.gauge("larder_uncacheable_keys", help, cache.uncacheable.get())
}

fn house(out: &mut Out<'_>, metrics: &Metrics) -> fmt::Result {
    let help = "Configuration reloads, by result";
    out.family("larder_config_reloads", help, None, MetricType::Counter, |family| {
        for (result, count) in [("ok", &metrics.reloads_ok), ("refused", &metrics.reloads_refused)]
        {
            let labels = [("result", result)];
            ConstCounter::new(count.get()).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    })?;
    let help = "Access log lines dropped rather than waited for";
    out.counter("larder_access_log_dropped", help, metrics.log_dropped.get())?;
    let help = "Events dropped rather than waited for";
    out.counter("larder_events_dropped", help, metrics.events_dropped.get())?;
    let help = "1 while an alert is raised";
    out.family("larder_alert_active", help, None, MetricType::Gauge, |family| {
        for alert in Alert::ALL {
            let active = i64::from(metrics.alert_active(alert));
            ConstGauge::new(active).encode(family.encode_family(&[("alert", alert.as_str())])?)?;
        }
        Ok(())
    })?;
    let help = "The running build";
    out.family("larder_build", help, None, MetricType::Info, |family| {
        family.encode_info(&[("version", env!("CARGO_PKG_VERSION"))])
    })
}

fn process(out: &mut Out<'_>) -> fmt::Result {
    let Some(process) = system::process() else { return Ok(()) };
    let help = "Total user and system CPU time spent in seconds";
    let seconds = Some(&Unit::Seconds);
    out.family("process_cpu", help, seconds, MetricType::Counter, |family| {
        family.encode_counter::<NoLabelSet, _, f64>(&process.cpu_seconds, None)
    })?;
    let bytes = Some(&Unit::Bytes);
    let resident = signed(process.resident_bytes);
    out.gauge_of("process_resident_memory", "Resident memory size in bytes", bytes, resident)?;
    let virtual_ = signed(process.virtual_bytes);
    out.gauge_of("process_virtual_memory", "Virtual memory size in bytes", bytes, virtual_)?;
    let open = signed(process.open_fds);
    out.gauge("process_open_fds", "Number of open file descriptors", open)?;
    let max = signed(process.max_fds);
    out.gauge("process_max_fds", "Maximum number of open file descriptors", max)?;
    let help = "Start time of the process since unix epoch in seconds";
    out.family("process_start_time", help, seconds, MetricType::Gauge, |family| {
        family.encode_gauge(&process.start_time_seconds)
    })
}

/// Says what a metric is and writes its samples.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn family(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        kind: MetricType,
        samples: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        samples(&mut self.0.encode_descriptor(name, help, unit, kind)?)
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counter_of(name, help, None, value)
    }

    fn counter_of(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        value: u64,
    ) -> fmt::Result {
        self.family(name, help, unit, MetricType::Counter, |family| {
            family.encode_counter::<NoLabelSet, _, f64>(&value, None)
        })
    }

    fn gauge(&mut self, name: &str, help: &str, value: i64) -> fmt::Result {
        self.gauge_of(name, help, None, value)
    }

    fn gauge_of(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: i64) -> fmt::Result {
        self.family(name, help, unit, MetricType::Gauge, |family| family.encode_gauge(&value))
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        counted: &Counted,
        bounds: &[u64; BOUNDS],
    ) -> fmt::Result {
        let (unit, kind) = (Some(&Unit::Seconds), MetricType::Histogram);
        self.family(name, help, unit, kind, |family| encode_histogram(family, counted, bounds))
    }
}

fn encode_histogram(
    family: &mut MetricEncoder<'_>,
    counted: &Counted,
    bounds: &[u64; BOUNDS],
) -> fmt::Result {
    let buckets = counted.in_seconds(bounds);
    family.encode_histogram::<NoLabelSet>(counted.sum_seconds(), counted.count(), &buckets, None)
}

fn gauge(value: u64) -> ConstGauge<i64> {
    ConstGauge::new(signed(value))
}

/// prometheus-client has no u64 gauges.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::observe::metrics::TierView;

    struct Fixed;

    impl TierView for Fixed {
        fn bytes(&self) -> u64 {
            1234
        }
        fn capacity(&self) -> u64 {
            4096
        }
        fn objects(&self) -> u64 {
            2
        }
    }

    fn metrics() -> Arc<Metrics> {
        let metrics = Metrics::new(2);
        metrics.show_tier("memory", Arc::new(Fixed));
        metrics.show_tier("disk", Arc::new(Fixed));
        metrics.origin(0, Some(200), 3_000_000);
        metrics.lookup(1, 700);
        metrics.upstream_error(UpstreamErrorKind::Closed);
        metrics.alert(Alert::DiskOff, true);
        metrics
    }

    #[test]
    fn the_names_that_stay_are_there() {
        let text = expose(&metrics(), Format::Prometheus).unwrap();
        for line in [
            r#"larder_requests_total{route="default",method="GET",status="2xx",cache="hit"} 0"#,
            "# TYPE larder_request_duration_seconds histogram",
            r#"larder_request_duration_seconds_bucket{le="+Inf",cache="hit"} 0"#,
            "larder_lookup_duration_seconds_count 1",
            r#"larder_origin_requests_total{status="2xx"} 1"#,
            "larder_origin_duration_seconds_count 1",
            r#"larder_cache_bytes{tier="memory"} 1234"#,
            r#"larder_cache_objects{tier="disk"} 2"#,
            "larder_cache_evictions_total 0",
            "larder_connections 0",
            r#"larder_upstream_errors_total{kind="closed"} 1"#,
            r#"larder_config_reloads_total{result="refused"} 0"#,
            r#"larder_alert_active{alert="disk_off"} 1"#,
            "larder_request_bytes_total 0",
            "larder_response_bytes_total 0",
            "larder_access_log_dropped_total 0",
            "larder_events_dropped_total 0",
            "# TYPE larder_build_info gauge",
            "# TYPE process_cpu_seconds_total counter",
            "# TYPE process_start_time_seconds gauge",
        ] {
            assert!(text.lines().any(|have| have == line), "no line {line}\nin\n{text}");
        }
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"));
    }

    #[test]
    fn open_metrics_ends_as_it_must() {
        let text = expose(&metrics(), Format::OpenMetrics).unwrap();
        assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1);
        assert!(text.contains("# TYPE larder_requests counter\nlarder_requests_total{"));
        assert!(text.contains("# UNIT larder_cache_bytes bytes\n"));
    }

    /// A tier that is replaced is shown once: two series of one name are no exposition.
    #[test]
    fn a_tier_shown_twice_is_one_series() {
        let metrics = metrics();
        metrics.show_tier("disk", Arc::new(Fixed));
        let text = expose(&metrics, Format::Prometheus).unwrap();
        assert_eq!(text.matches(r#"larder_cache_bytes{tier="disk"}"#).count(), 1);
    }

    #[test]
    fn what_a_library_registers_follows_ours() {
        let metrics = metrics();
        let counter = prometheus_client::metrics::counter::Counter::<u64>::default();
        counter.inc();
        metrics.register_foreign(|registry| {
            registry.register("foyer_memory_op_total", "Operations", counter.clone());
        });
        let text = expose(&metrics, Format::Prometheus).unwrap();
        let want = "# HELP foyer_memory_op_total Operations.\n\
                    # TYPE foyer_memory_op_total counter\nfoyer_memory_op_total 1\n";
        assert!(text.ends_with(want), "{text}");
    }

    #[test]
    fn promtool_has_no_complaint() {
        let text = expose(&metrics(), Format::Prometheus).unwrap();
        let promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Ok(mut promtool) = promtool else {
            println!("skipped: no promtool (Debian package prometheus) on this machine");
            return;
        };
        promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let said = promtool.wait_with_output().unwrap();
        let (out, err) = (&said.stdout, &said.stderr);
        let said_text = format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err));
        assert!(said.status.success() && said_text.is_empty(), "promtool: {said_text}\n{text}");
    }
}
