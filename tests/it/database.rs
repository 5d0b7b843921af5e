//! What the database checks say of a real PostgreSQL pair, beside what a real application claims.
// The product's bans (clocks, bare connects) keep the exporter honest; this stands outside of it.
#![allow(clippy::disallowed_methods)]

mod endpoint;
mod forms;
mod login;
mod outage;
mod safety;
mod twins;
mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::lab::{App, Behaviour, Claim, Exporter, Sample, eventually, scratch_dir};

/// The schedule of every test: quick, and slow enough for two cores that run several at once.
const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_millis(900);
/// How long anything may take that is not itself measured.
const PATIENCE: Duration = Duration::from_secs(12);

/// A file with a connection string, as an application has it mounted.
pub(crate) struct DsnFile(PathBuf);

/// What `/metrics` said at one moment.
struct Seen(Vec<Sample>);

// === impl DsnFile ===

impl DsnFile {
    pub(crate) fn new(dsn: &str) -> Self {
        let file = Self(scratch_dir("dsn").join("dsn"));
        file.set(dsn);
        file
    }

    /// Replaces it as a mounted Secret is replaced: at once.
    pub(crate) fn set(&self, dsn: &str) {
        let next = self.0.with_extension("next");
        std::fs::write(&next, dsn).expect("write a connection string");
        std::fs::rename(&next, &self.0).expect("put a connection string in place");
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Takes it away, as a Secret that was deleted.
    pub(crate) fn remove(&self) {
        std::fs::remove_file(&self.0).expect("remove a file");
    }

    pub(crate) fn endpoint(&self) -> Value {
        json!({"url": {"file": self.0}})
    }
}

// === configuration ===

pub(crate) fn at(dsn: &str) -> Value {
    DsnFile::new(dsn).endpoint()
}

/// A business query that any node of the lab answers.
pub(crate) fn list() -> Value {
    json!({"name": "list", "sql": "select id, created_at from orders order by created_at desc limit 1",
           "min_rows": 1, "newest": {"column": "created_at", "max_age": "26h"}})
}

pub(crate) fn query(sql: &str) -> Value {
    json!({"name": "q", "sql": sql})
}

/// A system whose application claims health on `/health`, with one database, called `orders`.
#[allow(clippy::needless_pass_by_value, reason = "every caller makes the endpoint on the spot")]
pub(crate) fn system(name: &str, app: &App, endpoint: Value, queries: &[Value]) -> Value {
    json!({
        "name": name,
        "workloads": [{"name": "api", "instances": [{"name": "api-1", "url": app.url("")}]}],
        "surfaces": [{"name": "health", "workload": "api", "path": "/health", "decisive": true}],
        "databases": [{"name": "orders", "endpoint": endpoint, "queries": queries}],
    })
}

/// The site `dr-west`, a standby in the west.
pub(crate) fn west(systems: &[Value]) -> Value {
    json!({
        "site": {"name": "dr-west", "region": "us-west-2", "role": "standby"},
        "regions": {"us-east-1": {"cidrs": ["127.10.0.0/16"]}, "us-west-2": {"cidrs": ["127.20.0.0/16"]}},
        "defaults": {"interval": format!("{}ms", INTERVAL.as_millis()),
                     "timeout": format!("{}ms", TIMEOUT.as_millis())},
        "kubernetes": {"mode": "disabled"},
        "systems": systems,
    })
}

/// The site `primary-east`, the primary in the east.
pub(crate) fn east(systems: &[Value]) -> Value {
    let mut site = west(systems);
    site["site"] = json!({"name": "primary-east", "region": "us-east-1", "role": "primary"});
    site
}

/// JSON is YAML.
async fn start(site: &Value) -> Exporter {
    Exporter::start(&serde_json::to_string_pretty(site).expect("JSON")).await
}

/// The lie of most incidents: an application that always says `ok`.
pub(crate) async fn liar(site: &str, ip: std::net::IpAddr, dsn: &str) -> App {
    let app = App::start(site, ip, dsn).await;
    app.behave(|behaviour: &mut Behaviour| behaviour.health = Claim::StaticOk);
    app
}

// === assertions ===

impl Seen {
    async fn at(exporter: &Exporter) -> Self {
        Self(exporter.metrics().await)
    }

    /// The value of the one sample with this name, this system and at least these labels.
    fn get(&self, name: &str, system: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let own = [("system", system)];
        let fits = |sample: &&Sample| sample.is(name, labels) && sample.is(name, &own);
        let found: Vec<_> = self.0.iter().filter(fits).collect();
        assert!(found.len() < 2, "{name} {labels:?} is not one sample: {found:#?}");
        found.first().map(|sample| sample.value)
    }

    fn verdict(&self, system: &str) -> String {
        let on: Vec<_> = self
            .0
            .iter()
            .filter(|sample| sample.is("dr_verdict", &[("system", system)]) && sample.value == 1.0)
            .map(|sample| sample.labels["verdict"].clone())
            .collect();
        assert_eq!(on.len(), 1, "exactly one verdict: {on:?}");
        on[0].clone()
    }

    fn status(&self, system: &str, check: &str) -> String {
        let on: Vec<_> = self
            .0
            .iter()
            .filter(|sample| sample.is("dr_check_status", &[("system", system), ("check", check)]))
            .filter(|sample| sample.value == 1.0)
            .map(|sample| sample.labels["status"].clone())
            .collect();
        assert_eq!(on.len(), 1, "exactly one status of {check}: {on:?}");
        on[0].clone()
    }

    /// The only series of a metric for a system, with all of its labels.
    fn labels(&self, name: &str, system: &str) -> BTreeMap<String, String> {
        let found: Vec<_> = self.0.iter().filter(|sample| sample.is(name, &[("system", system)])).collect();
        assert_eq!(found.len(), 1, "one series of {name}: {found:#?}");
        assert_eq!(found[0].value, 1.0, "{name}");
        found[0].labels.clone()
    }

    /// The least of its queries.
    fn success(&self, system: &str) -> Option<f64> {
        let own = [("system", system)];
        let fits = |sample: &&Sample| sample.is("dr_synthetic_query_success", &own);
        self.0.iter().filter(fits).map(|sample| sample.value).min_by(f64::total_cmp)
    }

    fn reasons(&self, system: &str) -> Vec<(String, String)> {
        let own = [("system", system)];
        let fits = |sample: &&Sample| sample.is("dr_verdict_reason", &own);
        let on = self.0.iter().filter(fits).filter(|sample| sample.value == 1.0);
        on.map(|sample| (sample.labels["check"].clone(), sample.labels["reason"].clone())).collect()
    }

    /// For a failed assertion: what is said of a system.
    fn about(&self, system: &str) -> String {
        format!(
            "{system}: {}, query {}, region {}, success {:?}, reasons {:?}",
            self.verdict(system),
            self.status(system, "synthetic_query"),
            self.status(system, "db_endpoint_region"),
            self.success(system),
            self.reasons(system)
        )
    }
}

/// Waits until a condition on what is exposed holds.
async fn until(exporter: &Exporter, system: &str, what: &str, holds: impl Fn(&Seen) -> bool) -> Seen {
    eventually(&format!("{system}: {what}"), PATIENCE, async || {
        let seen = Seen::at(exporter).await;
        if holds(&seen) { Ok(seen) } else { Err(seen.about(system)) }
    })
    .await
}

/// The page: unusable for this reason while the site claims health.
async fn pages(exporter: &Exporter, system: &str, check: &str, reason: &str) -> Seen {
    let because = (check.to_owned(), reason.to_owned());
    let seen = until(exporter, system, &format!("pages for {check} {reason}"), |seen| {
        seen.verdict(system) == "unusable"
            && seen.reasons(system).contains(&because)
            && seen.get("dr_healthy_but_unusable", system, &[]) == Some(1.0)
    })
    .await;
    assert_eq!(seen.status(system, check), "fail");
    assert_eq!(seen.get("dr_surface_healthy", system, &[("surface", "health")]), Some(1.0));
    assert_eq!(seen.get("dr_surface_contradicted", system, &[("surface", "health")]), Some(1.0));
    if check == "synthetic_query" {
        assert_ne!(seen.success(system), Some(1.0), "{}", seen.about(system));
    }
    seen
}

/// All is well: usable, and nobody is accused.
async fn usable(exporter: &Exporter, system: &str) -> Seen {
    let seen = until(exporter, system, "is usable", |seen| {
        seen.verdict(system) == "usable"
            && seen.get("dr_surface_healthy", system, &[("surface", "health")]) == Some(1.0)
    })
    .await;
    assert_eq!(seen.get("dr_healthy_but_unusable", system, &[]), Some(0.0));
    assert_eq!(seen.reasons(system), []);
    assert_eq!(seen.status(system, "synthetic_query"), "pass");
    seen
}

/// Nobody is accused: something could not be seen.
async fn blind(exporter: &Exporter, system: &str, check: &str, reason: &str) -> Seen {
    let because = (check.to_owned(), reason.to_owned());
    let seen = until(exporter, system, &format!("is blind for {check} {reason}"), |seen| {
        seen.verdict(system) == "unknown" && seen.reasons(system).contains(&because)
    })
    .await;
    assert_eq!(seen.status(system, check), "unknown");
    assert_eq!(seen.get("dr_healthy_but_unusable", system, &[]), Some(0.0));
    seen
}

/// The region series with all of its labels.
fn region(site: &str, system: &str, found: &str, expected: &str, evidence: &str) -> BTreeMap<String, String> {
    [
        ("site", site),
        ("system", system),
        ("db", "orders"),
        ("db_region", found),
        ("expected_region", expected),
        ("evidence", evidence),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

const REGION: &str = "dr_db_endpoint_region";
const MATCH: &str = "dr_db_endpoint_region_match";
