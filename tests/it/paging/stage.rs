//! One Prometheus and one Alertmanager for many exporters, each of a site of its own, and what each of them is told of.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::time::sleep;

use super::SECOND;
use super::scaled::{self, FACTOR};
use crate::lab::{
    Alertmanager, Exporter, Notification, PromVersion, Prometheus, Proxy, Scrape, Sink, Told, eventually,
    free_port, lab_ip, scratch_dir,
};

/// How often checks are made in production, so that dozens of sites fit into one machine thirty times faster.
pub const CHECKS: Duration = Duration::from_secs(60);
/// How often scrapes are made and rules evaluated there.
const INTERVAL: Duration = Duration::from_secs(30);
/// How often the sink is looked at; what arrives has its own time.
const LOOK: Duration = Duration::from_millis(200);
const FAR_AWAY: &str = "DrDatabaseFarAway";
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(15);

/// An exporter's place: a configuration and an address that outlive its process, and a proxy that can be cut.
pub struct Watched {
    pub site: &'static str,
    /// Prometheus scrapes through it.
    pub proxy: Proxy,
    config: String,
    address: SocketAddr,
}

/// What watches all of them.
pub struct Stage {
    pub prometheus: Prometheus,
    began: Instant,
    sink: Sink,
    table: Mutex<Vec<Row>>,
    _alertmanager: Alertmanager,
}

/// What the stage tells about one site.
#[derive(Clone, Copy)]
pub struct Scene<'s> {
    pub stage: &'s Stage,
    pub watched: &'s Watched,
    /// Only what is told of this system; all that is told of the site, when there is none.
    pub system: Option<&'static str>,
    /// Of the catalogue.
    pub id: &'static str,
}

/// What an alert joins in Alertmanager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joins {
    /// A group of its own: waits `group_wait`.
    New,
    /// A group that was told of already: waits for its next `group_interval`.
    Known,
}

struct Row {
    id: &'static str,
    alert: String,
    event: &'static str,
    took: Duration,
    least: Duration,
    most: Duration,
}

// === impl Watched ===

impl Watched {
    /// `config` (YAML) is of `dr-west` or `primary-east`, as all pieces of the lab are; it becomes `site`'s.
    pub async fn new(site: &'static str, config: &str) -> Self {
        let mut config: Value = serde_saphyr::from_str(config).expect("a configuration");
        config["site"]["name"] = site.into();
        let every = CHECKS / FACTOR;
        config["defaults"]["interval"] = format!("{}ms", every.as_millis()).into();
        config["defaults"]["timeout"] = format!("{}ms", every.as_millis() * 9 / 10).into();
        let ip = lab_ip();
        let address = SocketAddr::new(ip, free_port(ip));
        let proxy = Proxy::start(lab_ip(), address).await;
        Self { site, proxy, config: config.to_string(), address }
    }

    /// Starts the exporter, at the same address each time.
    pub async fn start(&self) -> Exporter {
        let dir = scratch_dir("exporter");
        std::fs::write(dir.join("config.yaml"), &self.config).expect("write the configuration");
        let mut command = Command::new(env!("CARGO_BIN_EXE_dr-exporter"));
        command.arg("--config.file").arg(dir.join("config.yaml"));
        command.arg("--web.listen-address").arg(self.address.to_string());
        Exporter::start_command(command, &dir).await
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

// === impl Stage ===

impl Stage {
    /// Starts all, with the shipped rules and the shipped example, scaled.
    pub async fn start(watched: &[&Watched]) -> Self {
        let sink = Sink::start().await;
        let alertmanager = Alertmanager::start(&scaled::alertmanager(sink.address())).await;
        let targets: Vec<_> = watched.iter().map(|watched| watched.proxy.address()).collect();
        let rules = scaled::rules();
        let rules: Vec<_> = rules.iter().map(std::path::PathBuf::as_path).collect();
        let jobs = [Scrape::new("dr-exporter", &targets)];
        let to = Some(alertmanager.address());
        let prometheus =
            Prometheus::start_alerting(PromVersion::New, INTERVAL / FACTOR, &jobs, &rules, to).await;
        Self { prometheus, began: Instant::now(), sink, table: Mutex::default(), _alertmanager: alertmanager }
    }

    /// All events that were measured, and what production would make of them.
    pub fn table(&self) -> String {
        let mut text =
            format!("| id | alert | event | measured | × {FACTOR} | expected |\n|---|---|---|---|---|---|\n");
        let mut rows = self.table.lock().unwrap();
        rows.sort_by_key(|row| (row.id.len(), row.id));
        for Row { id, alert, event, took, least, most } in rows.iter() {
            writeln!(
                text,
                "| {id} | {alert} | {event} | {:.1} s | {} | {} to {} |",
                took.as_secs_f64(),
                clock(*took * FACTOR),
                clock(*least),
                clock(*most)
            )
            .expect("write to a string");
        }
        text
    }
}

/// Who is not meant when one of the two is.
fn other(receiver: &str) -> &'static str {
    if receiver == "page" { "tickets" } else { "page" }
}

fn clock(time: Duration) -> String {
    format!("{}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

// === impl Scene ===

impl Scene<'_> {
    fn is_told(&self, told: &Told) -> bool {
        // The one alert about a speed, which is not scaled: on a busy machine logins are slow indeed.
        if told.name() == FAR_AWAY && self.id != "L20" {
            return false;
        }
        match self.system {
            Some(system) => told.label("site") == self.watched.site && told.label("system") == system,
            None => {
                told.label("site") == self.watched.site
                    || told.label("instance") == self.watched.proxy.address().to_string()
            }
        }
    }

    /// A selector's matchers.
    fn matchers(&self) -> String {
        let system = self.system.map(|system| format!(", system={system:?}")).unwrap_or_default();
        format!("site={:?}{system}", self.watched.site)
    }

    /// Waits until Prometheus knows this verdict.
    pub async fn verdict(&self, verdict: &str) {
        let expr = format!("dr_verdict{{{}, verdict={verdict:?}}} == 1", self.matchers());
        self.stage.prometheus.wait_for(&expr, 2 * SLACK, |found| found.len() == 1).await;
    }

    /// A fault of a system that is well: the receiver is told that the alert fires, and the other receiver nothing.
    pub async fn tells(&self, receiver: &str, alert: &str, fault: impl Future<Output = ()>) -> Told {
        self.verdict("usable").await;
        let at = Instant::now();
        fault.await;
        let told = self.fires(receiver, alert, at, Joins::New).await;
        assert_eq!(told.label("site"), self.watched.site);
        assert_eq!(told.label("severity"), if receiver == "page" { "critical" } else { "warning" });
        self.hears_nothing(other(receiver), &format!("{alert} goes to {receiver}"));
        told
    }

    /// What is wrong from the start: how long ago that was is not known, so it is in no table.
    pub async fn stands(&self, receiver: &str, alert: &str) -> Told {
        self.verdict("usable").await;
        let long_ago = self.stage.began;
        let (_, told) = self.event(receiver, alert, "firing", long_ago, scaled::waits(alert).pending).await;
        told
    }

    /// The repair: it is taken back, and neither receiver was ever told of anything else.
    pub async fn takes_back(&self, receiver: &str, alert: &str, repair: impl Future<Output = ()>) {
        let at = Instant::now();
        repair.await;
        self.resolves(receiver, alert, at).await;
        self.ends_well().await;
        let all = BTreeSet::from([alert.to_owned()]);
        let none = BTreeSet::new();
        assert_eq!(self.sequence(receiver), [[all.clone(), none.clone()], [none, all]], "{}", self.id);
        self.hears_nothing(other(receiver), "all is well again");
    }

    /// Waits until an alert fires in Prometheus, whether anybody is told or not.
    pub async fn evaluates(&self, alert: &str) {
        let expr = format!("ALERTS{{alertname={alert:?}, alertstate=\"firing\", {}}}", self.matchers());
        let limit = scaled::waits(alert).pending / FACTOR + SLACK;
        self.stage.prometheus.wait_for(&expr, limit, |found| !found.is_empty()).await;
    }

    /// What a receiver was told about this site, or about the target of its exporter.
    pub fn heard(&self, receiver: &str) -> Vec<Notification> {
        self.stage.sink.heard(receiver, |told| self.is_told(told))
    }

    /// The same, shortened: which alerts fire and which are resolved, in each notification.
    pub fn sequence(&self, receiver: &str) -> Vec<[BTreeSet<String>; 2]> {
        let names = |n: &Notification, fires: bool| {
            n.alerts.iter().filter(|told| told.fires() == fires).map(|told| told.name().to_owned()).collect()
        };
        self.heard(receiver).iter().map(|n| [names(n, true), names(n, false)]).collect()
    }

    /// Waits until all that pages and tickets were told of is resolved.
    pub async fn ends_well(&self) {
        let what = format!("{} at {}: all that was told of is resolved", self.id, self.watched.site);
        let limit = scaled::of_routes("group_interval") / FACTOR + SLACK;
        eventually(&what, limit, async || {
            let mut stands = BTreeMap::new();
            for told in
                ["page", "tickets"].iter().flat_map(|receiver| self.heard(receiver)).flat_map(|n| n.alerts)
            {
                stands.insert(told.labels.clone(), told.fires());
            }
            stands.retain(|_, fires| *fires);
            if stands.is_empty() {
                return Ok(());
            }
            sleep(LOOK).await;
            Err(format!("{:?}", stands.keys()))
        })
        .await;
    }

    /// Asserts that the receiver was told nothing about this site, for that reason.
    pub fn hears_nothing(&self, receiver: &str, because: &str) {
        let heard = self.sequence(receiver);
        assert!(
            heard.is_empty(),
            "{} at {}: {receiver} was told of {heard:?}, but {because}",
            self.id,
            self.watched.site
        );
    }

    /// Waits until the receiver is told that the alert fires; checks and notes how long that took since the fault.
    pub async fn fires(&self, receiver: &str, alert: &str, fault: Instant, joins: Joins) -> Told {
        let wait = match joins {
            Joins::New => [scaled::of_routes("group_wait"); 2],
            Joins::Known => [Duration::ZERO, scaled::of_routes("group_interval")],
        };
        let pending = scaled::waits(alert).pending;
        // A check, a scrape, what is recorded, and the alert that rests on it, each at the end of its interval.
        self.timed(
            receiver,
            alert,
            "firing",
            fault,
            [pending + wait[0], pending + wait[1] + CHECKS + 3 * INTERVAL],
        )
        .await
    }

    /// Waits until the receiver is told that the alert is resolved; checks and notes how long that took since the repair.
    pub async fn resolves(&self, receiver: &str, alert: &str, repair: Instant) -> Told {
        let keeps = scaled::waits(alert).keeps;
        let bounds = [keeps, keeps + scaled::of_routes("group_interval") + CHECKS + 3 * INTERVAL];
        self.timed(receiver, alert, "resolved", repair, bounds).await
    }

    async fn timed(
        &self,
        receiver: &str,
        alert: &str,
        status: &'static str,
        since: Instant,
        [least, most]: [Duration; 2],
    ) -> Told {
        let (took, told) = self.event(receiver, alert, status, since, most).await;
        // Alertmanager counts `group_wait` from the evaluation that raised the alert, some milliseconds before it came.
        let early = took + SECOND / 5 < least / FACTOR;
        assert!(
            !early,
            "{}: {alert} is {status} after {took:?}, too early for {least:?} / {FACTOR}",
            self.id
        );
        let row = Row { id: self.id, alert: alert.to_owned(), event: status, took, least, most };
        self.stage.table.lock().unwrap().push(row);
        told
    }

    async fn event(
        &self,
        receiver: &str,
        alert: &str,
        status: &'static str,
        since: Instant,
        most: Duration,
    ) -> (Duration, Told) {
        let what =
            format!("{} at {}: {receiver} is told that {alert} is {status}", self.id, self.watched.site);
        let (at, told) = eventually(&what, most / FACTOR + SLACK, async || {
            let heard = self.heard(receiver);
            let found = heard.iter().filter(|n| n.at >= since).find_map(|n| {
                let told = n.alerts.iter().find(|told| told.name() == alert && told.status == status)?;
                Some((n.at, told.clone()))
            });
            if found.is_none() {
                sleep(LOOK).await;
            }
            found.ok_or_else(|| format!("{:#?}", self.sequence(receiver)))
        })
        .await;
        (at - since, told)
    }
}
