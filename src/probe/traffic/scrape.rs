//! The instances themselves as the source of counters.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use jiff::Timestamp;

use super::{Hindrance, Traffic, too_slow};
use crate::exposition::Format;
use crate::model::Reason;
use crate::net::http::{BodyEnd, HttpRequest};
use crate::probe::instances::Instance;
use crate::secret::Secret;
use crate::traffic::Scrape;

/// How large an exposition may be, unpacked.
const BODY_CAP: usize = 32 * 1024 * 1024;
/// How many instances are read at a time.
const AT_ONCE: usize = 32;
/// OpenMetrics or the text format; no protobuf.
const ACCEPT: &str = "text/plain;version=0.0.4,application/openmetrics-text;version=1.0.0;q=0.8,*/*;q=0.1";

impl Traffic {
    /// Reads every instance once, side by side.
    pub(super) async fn read_instances(
        &self,
        instances: &[Instance],
        now: Timestamp,
        patience: Duration,
    ) -> Option<Hindrance> {
        let until = tokio::time::Instant::now() + patience;
        let reads: Vec<_> = instances
            .iter()
            .map(|instance| async move {
                let scrape = tokio::time::timeout_at(until, self.scrape(instance)).await;
                scrape.unwrap_or_else(|_| Err(too_slow(patience)))
            })
            .collect();
        let scrapes: Vec<_> = stream::iter(reads).buffered(AT_ONCE).collect().await;
        let (window, _) = &mut *self.state();
        let names: Vec<&str> = instances.iter().map(|instance| instance.name.as_str()).collect();
        self.note_own(window);
        window.set_instances(&names, now);
        let mut hindrance = None;
        for (name, scrape) in names.into_iter().zip(scrapes) {
            match scrape {
                Ok((at, scrape)) => window.observe(name, at, &scrape),
                Err((reason, words)) => {
                    window.missed(name, now);
                    hindrance.get_or_insert((reason, format!("{name}: {words}")));
                }
            }
        }
        hindrance
    }

    async fn scrape(&self, instance: &Instance) -> Result<(Timestamp, Scrape), Hindrance> {
        let request = HttpRequest {
            headers: vec![(http::header::ACCEPT, Secret::new(ACCEPT))],
            cap: BODY_CAP,
            ..instance.request()
        };
        let answer = self.tools.http.send(&request).await.map_err(|error| (error.reason, error.message))?;
        let at = crate::clock::now();
        if answer.status != http::StatusCode::OK {
            let status = answer.status.as_u16();
            return Err((Reason::HttpStatus, format!("the metrics answered with status {status}")));
        }
        if answer.end == BodyEnd::Truncated {
            return Err((Reason::Limit, format!("the metrics are larger than {BODY_CAP} bytes")));
        }
        let content_type =
            answer.headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        // Many small exporters send no type, or plain text without a version: that has always meant 0.0.4.
        let format = match content_type {
            None => Format::Text,
            Some(named) => Format::from_content_type(named).ok_or_else(|| {
                (Reason::BodyMismatch, "the metrics are neither OpenMetrics nor the text format".to_owned())
            })?,
        };
        let window = self.state().0.selectors().clone();
        let scrape = window.read(&answer.body, format);
        scrape
            .map(|scrape| (at, scrape))
            .map_err(|error| (Reason::BodyMismatch, format!("the metrics: {error}")))
    }
}
