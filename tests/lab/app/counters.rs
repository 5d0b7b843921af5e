//! The application's own counters and how it exposes them.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Behaviour, Counting, MetricsFormat, ROUTES};

/// Requests by method, handler and code, and errors.
#[derive(Default)]
pub(super) struct Counters {
    requests: BTreeMap<(String, String, u16), u64>,
    errors: u64,
}

// === impl Counters ===

impl Counters {
    pub(super) fn add(&mut self, method: &str, handler: &str, code: u16, requests: u64) {
        *self.requests.entry((handler.to_owned(), method.to_owned(), code)).or_default() += requests;
    }

    pub(super) fn fail(&mut self) {
        self.errors += 1;
    }

    pub(super) fn of(&self, handler: &str) -> u64 {
        self.requests.iter().filter(|((h, _, _), _)| h == handler).map(|(_, count)| count).sum()
    }

    pub(super) fn errors(&self) -> u64 {
        self.errors
    }

    /// Content type and text.
    pub(super) fn render(&self, behaviour: &Behaviour, connected: bool) -> (&'static str, String) {
        let open = behaviour.metrics == MetricsFormat::OpenMetrics;
        // OpenMetrics names a counter's family without the suffix.
        let suffix = if open { "" } else { "_total" };
        let exemplar = if open { " # {trace_id=\"5e1f\"} 1.0" } else { "" };
        let mut requests = self.requests.clone();
        if behaviour.zeros_from_start {
            for (method, route) in ROUTES {
                let handler = match &behaviour.counting {
                    Counting::Renamed(prefix) => format!("{prefix}{route}"),
                    Counting::Honest | Counting::SuccessOnly | Counting::Dead => route.to_owned(),
                };
                requests.entry((handler, method.to_owned(), 200)).or_default();
            }
        }
        let mut text = format!(
            "# HELP http_requests{suffix} Requests by handler.\n# TYPE http_requests{suffix} counter\n"
        );
        for ((handler, method, code), count) in &requests {
            let labels = format!("handler=\"{handler}\",method=\"{method}\",code=\"{code}\"");
            writeln!(text, "http_requests_total{{{labels}}} {count}{exemplar}").expect("write to a string");
        }
        let connections = u8::from(connected);
        write!(
            text,
            "# HELP app_errors{suffix} Requests that ended in an error of ours.\n# TYPE app_errors{suffix} counter\n\
             app_errors_total {}\n\
             # HELP db_pool_connections Connections of the pool.\n# TYPE db_pool_connections gauge\n\
             db_pool_connections {connections}\n\
             # HELP db_pool_max_connections Size of the pool.\n# TYPE db_pool_max_connections gauge\n\
             db_pool_max_connections 1\n\
             # HELP http_request_duration_seconds Time to answer.\n# TYPE http_request_duration_seconds summary\n",
            self.errors
        )
        .expect("write to a string");
        for (_, route) in ROUTES.into_iter().filter(|(method, _)| *method == "GET") {
            // A summary without observations says NaN, as the client libraries do.
            let count =
                requests.iter().filter(|((h, _, _), _)| h == route).map(|(_, count)| count).sum::<u64>();
            let p99 = if count == 0 { "NaN" } else { "0.002" };
            write!(
                text,
                "http_request_duration_seconds{{handler=\"{route}\",quantile=\"0.99\"}} {p99}\n\
                 http_request_duration_seconds_sum{{handler=\"{route}\"}} {}\n\
                 http_request_duration_seconds_count{{handler=\"{route}\"}} {count}\n",
                f64::from(u32::try_from(count).unwrap_or(u32::MAX)) * 0.002
            )
            .expect("write to a string");
        }
        if open {
            text.push_str("# EOF\n");
            ("application/openmetrics-text; version=1.0.0; charset=utf-8", text)
        } else {
            ("text/plain; version=0.0.4; charset=utf-8", text)
        }
    }
}
