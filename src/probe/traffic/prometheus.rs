//! A Prometheus server as the source of counters: it remembers what was before us.
//!
//! Raw samples are asked for (`selector[range]`), an hour at a time until we have caught up, then only what is new.
//! Source: Prometheus HTTP API, "Instant queries" and "Range vectors".

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::Instant;

use super::{Hindrance, Traffic, too_slow};
use crate::config::PrometheusSource;
use crate::exposition::MetricType;
use crate::model::{Reason, age, seconds};
use crate::net::api::ApiClient;
use crate::net::dial::Fault;
use crate::probe::expect::{ca_files, from_seconds};
use crate::secret::Secret;
use crate::traffic::Scrape;

/// How large one answer may be.
const BODY_CAP: usize = 64 * 1024 * 1024;
/// How much of the past is asked for at a time.
const PIECE: Duration = Duration::from_secs(3600);
/// The least that a server is taken to scrape by, unless it is said.
const COMMON_INTERVAL: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Envelope {
    status: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

// === impl PrometheusSource ===

impl PrometheusSource {
    /// How far apart the samples of one instance are.
    pub(super) fn interval(&self, check: Duration) -> Duration {
        self.scrape_interval.map_or_else(|| check.max(COMMON_INTERVAL), Into::into)
    }

    fn matchers(&self, names: &str) -> String {
        let mut matchers = vec![format!("__name__=~{}", quoted(names))];
        matchers.extend(self.matchers.iter().map(|(label, value)| format!("{label}={}", quoted(value))));
        format!("{{{}}}", matchers.join(","))
    }
}

// === impl Traffic ===

impl Traffic {
    /// Reads what is new since the last time; the whole window at first.
    pub(super) async fn read_prometheus(
        &self,
        server: &PrometheusSource,
        now: Timestamp,
        patience: Duration,
    ) -> Option<Hindrance> {
        let reading = self.catch_up(server, now, Instant::now() + patience);
        tokio::time::timeout(patience, reading).await.unwrap_or_else(|_| Err(too_slow(patience))).err()
    }

    async fn catch_up(
        &self,
        server: &PrometheusSource,
        now: Timestamp,
        until: Instant,
    ) -> Result<(), Hindrance> {
        let ca_files = ca_files(server.tls.as_ref());
        let api =
            ApiClient::new("the Prometheus server", &self.tools.resolver, ca_files).map_err(hindrance)?;
        let interval = server.interval(self.spec.schedule.interval);
        let whole = self.spec.traffic.window.0 + interval;
        // A target that is down has no new samples, which the window takes for its end: it stays known here.
        let mut known = self.state().0.remembered();
        loop {
            let from = self.state().1.unwrap_or_else(|| now - whole);
            let to = if age(now, from) > PIECE { from + PIECE } else { now };
            // A little overlap: samples arrive late. What was seen before is passed over.
            let history = self.samples((server, &api), from - interval, to).await?;
            {
                let (window, read_to) = &mut *self.state();
                self.note_own(window);
                window.replay(history);
                known.append(&mut window.remembered());
                *read_to = Some(to);
            }
            if to == now {
                break;
            }
            if Instant::now() >= until {
                return Err((
                    Reason::Timeout,
                    "still reading the past from the Prometheus server".to_owned(),
                ));
            }
        }
        let targets = self.targets((server, &api), known, now, interval).await?;
        let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
        self.state().0.set_instances(&targets, now);
        Ok(())
    }

    /// The samples of a stretch of time, one scrape for each instance and moment.
    async fn samples(
        &self,
        (server, api): (&PrometheusSource, &ApiClient),
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(Timestamp, String, Scrape)>, Hindrance> {
        let selectors = self.state().0.selectors().clone();
        let names: Vec<String> = selectors.metrics().map(regex::escape).collect();
        let range = age(to, from).as_millis().max(1);
        let query = format!("{}[{range}ms]", server.matchers(&names.join("|")));
        let mut scrapes: BTreeMap<(i64, String), Scrape> = BTreeMap::new();
        for series in self.query((server, api), &query, to).await? {
            let Series { mut metric, values } = series;
            let Some(name) = metric.remove("__name__") else { continue };
            let instance = instance(&metric);
            let labels: Vec<_> = metric.into_iter().collect();
            for (at, value) in values {
                let (Some(at), Ok(value)) = (from_seconds(at), value.parse::<f64>()) else { continue };
                let scrape = scrapes.entry((at.as_millisecond(), instance.clone())).or_default();
                scrape.add(&selectors, &name, &labels, value, MetricType::Unknown);
            }
        }
        let timed = scrapes.into_iter().filter_map(|((at, instance), scrape)| {
            Some((Timestamp::from_millisecond(at).ok()?, instance, scrape))
        });
        Ok(timed.collect())
    }

    /// The instances that the server still wants to scrape, of those that showed the counter: one that is down is
    /// still wanted, one that was taken away is not.
    async fn targets(
        &self,
        (server, api): (&PrometheusSource, &ApiClient),
        known: BTreeSet<String>,
        now: Timestamp,
        interval: Duration,
    ) -> Result<BTreeSet<String>, Hindrance> {
        let range = (interval * 2).as_millis();
        let up = self.query((server, api), &format!("{}[{range}ms]", server.matchers("up")), now).await?;
        let wanted: BTreeSet<String> = up.iter().map(|series| instance(&series.metric)).collect();
        if wanted.is_empty() && known.is_empty() {
            let words = "the Prometheus server knows no target with these matchers";
            return Err((Reason::Missing, words.to_owned()));
        }
        Ok(known.into_iter().filter(|name| wanted.contains(name)).collect())
    }

    async fn query(
        &self,
        (server, api): (&PrometheusSource, &ApiClient),
        query: &str,
        at: Timestamp,
    ) -> Result<Vec<Series>, Hindrance> {
        let mut url = server.url.0.clone();
        let path = format!("{}/api/v1/query", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url.query_pairs_mut().append_pair("query", query).append_pair("time", &format!("{:.3}", seconds(at)));
        let authorization = match &server.authorization {
            None => None,
            Some(source) => {
                let token = source.read(&self.tools.secrets).await;
                let token =
                    token.map_err(|error| (Reason::Misconfigured, format!("the authorization: {error}")))?;
                // A token alone is a bearer token; with a scheme before it, it is what it says.
                let schemed = token.expose().contains(' ');
                Some(if schemed { token } else { Secret::new(format!("Bearer {}", token.expose())) })
            }
        };
        let body = api.get(url, authorization.as_ref(), BODY_CAP).await.map_err(hindrance)?;
        let envelope = serde_json::from_slice::<Envelope>(&body).ok().filter(|it| it.status == "success");
        let data = envelope.and_then(|envelope| envelope.data);
        data.map(|data| data.result).ok_or_else(|| {
            (Reason::BodyMismatch, "the answer is not that of a Prometheus server's query API".to_owned())
        })
    }
}

fn hindrance(fault: Fault) -> Hindrance {
    (fault.reason, fault.message)
}

/// An instance by its target labels: two jobs may scrape one address.
fn instance(labels: &BTreeMap<String, String>) -> String {
    let part = |name: &str| labels.get(name).map(String::as_str).unwrap_or_default();
    format!("{} {}", part("job"), part("instance")).trim().to_owned()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
