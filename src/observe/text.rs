//! From OpenMetrics text, as prometheus-client writes it, to the Prometheus text format 0.0.4
//! that older scrapers and `promtool check metrics` read. The differences that matter here:
//!
//! | | OpenMetrics 1.0 | text 0.0.4 |
//! |-|-|-|
//! | counter `a` | `# TYPE a counter`, sample `a_total` | `# TYPE a_total counter` |
//! | info `a` | `# TYPE a info`, sample `a_info` | `# TYPE a_info gauge` |
//! | unit | `# UNIT …` | none |
//! | end | `# EOF` | none |
//! | unknown | `unknown` | `untyped` |

use std::borrow::Cow;
use std::fmt::Write;

/// Rewrites complete OpenMetrics text as text 0.0.4.
pub fn to_prometheus(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    // HELP comes before TYPE but is named by it.
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = Some(rest.split_once(' ').unwrap_or((rest, "")));
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (sample, kind) = match kind {
                "counter" => (Cow::Owned(format!("{name}_total")), kind),
                "info" => (Cow::Owned(format!("{name}_info")), "gauge"),
                "stateset" => (Cow::Borrowed(name), "gauge"),
                "unknown" => (Cow::Borrowed(name), "untyped"),
                _ => (Cow::Borrowed(name), kind),
            };
            if let Some((_, text)) = help.take().filter(|(of, _)| *of == name) {
                let _ = writeln!(out, "# HELP {sample} {text}");
            }
            let _ = writeln!(out, "# TYPE {sample} {kind}");
        } else if line.starts_with("# UNIT ") || line == "# EOF" {
            // Unknown to 0.0.4.
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// Takes the doubled ending from counters whose names end in `_total` already where they are
/// registered (foyer's do: `foyer_memory_op_total_total`), in OpenMetrics text.
pub fn without_doubled_total(open_metrics: &str) -> Cow<'_, str> {
    if !open_metrics.contains("_total_total") {
        return Cow::Borrowed(open_metrics);
    }
    let mut out = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix('#') {
            // HELP, TYPE, UNIT name the family: without the ending.
            let mut words = rest.splitn(4, ' ');
            let (_, keyword, name) = (words.next(), words.next(), words.next());
            match (keyword, name.and_then(|name| name.strip_suffix("_total"))) {
                (Some(keyword), Some(family)) => {
                    let _ = writeln!(out, "# {keyword} {family} {}", words.next().unwrap_or(""));
                }
                _ => {
                    let _ = writeln!(out, "{line}");
                }
            }
        } else {
            let end = line.find(['{', ' ']).unwrap_or(line.len());
            let (name, rest) = line.split_at(end);
            let name = name
                .strip_suffix("_total_total")
                .map_or(Cow::Borrowed(name), |family| Cow::Owned(format!("{family}_total")));
            let _ = writeln!(out, "{name}{rest}");
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_named_as_its_samples() {
        for (case, open_metrics, want) in [
            (
                "counter",
                "# HELP a Helps.\n# TYPE a counter\na_total{x=\"# EOF\"} 1\n",
                "# HELP a_total Helps.\n# TYPE a_total counter\na_total{x=\"# EOF\"} 1\n",
            ),
            (
                "info",
                "# HELP a_build H\n# TYPE a_build info\na_build_info{v=\"1\"} 1\n",
                "# HELP a_build_info H\n# TYPE a_build_info gauge\na_build_info{v=\"1\"} 1\n",
            ),
            (
                "gauge with unit",
                "# HELP a_bytes H\n# TYPE a_bytes gauge\n# UNIT a_bytes bytes\na_bytes 1\n# EOF\n",
                "# HELP a_bytes H\n# TYPE a_bytes gauge\na_bytes 1\n",
            ),
            ("unknown", "# TYPE a unknown\na 1\n", "# TYPE a untyped\na 1\n"),
        ] {
            assert_eq!(to_prometheus(open_metrics), want, "{case}");
        }
    }

    #[test]
    fn totals_are_not_doubled() {
        let foyer = "# HELP foyer_op_total Ops.\n# TYPE foyer_op_total counter\n\
                     foyer_op_total_total{op=\"a_total_total\"} 1\n# HELP b B.\n# TYPE b gauge\nb 2\n";
        let want = "# HELP foyer_op Ops.\n# TYPE foyer_op counter\n\
                    foyer_op_total{op=\"a_total_total\"} 1\n# HELP b B.\n# TYPE b gauge\nb 2\n";
        assert_eq!(without_doubled_total(foyer), want);
        assert_eq!(without_doubled_total("b 2\n"), "b 2\n");
    }
}
