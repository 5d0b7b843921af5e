//! From the report to samples, family by family.

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::labels::Labels;
use super::{Own, catalogue as c};
use crate::discovery::cluster::WATCH_HEALTHY;
use crate::ledger::Histogram;
use crate::model::{Check, Metric, Role, Shape, Status, Verdict, seconds};
use crate::report::{CheckReport, Report, SystemReport};
use crate::shard::Shard;

enum Value<'a> {
    Number(f64),
    Buckets(&'a Histogram),
}

/// All samples of one scrape, by metric. A family is there only if it has samples.
#[derive(Default)]
struct Families<'a>(BTreeMap<&'static str, Family<'a>>);

/// A metric with its samples.
type Family<'a> = (&'static Metric, Vec<(Labels<'a>, Value<'a>)>);

/// Encodes everything that the report says.
pub(super) fn encode(
    report: &Report,
    own: &Own,
    mut encoder: DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut families = Families::default();
    let shard = own.shard.map(|Shard { ordinal, shards }| (ordinal.to_string(), shards.to_string()));
    families.of_site(report);
    families.of_ourselves(report, own);
    if let Some((shard, shards)) = &shard {
        families.add(&c::SHARD_INFO, Labels::of(&[("shard", shard), ("shards", shards)]), 1.0);
    }
    let known = if own.leads { report.systems.as_slice() } else { &[] };
    if own.leads {
        families.of_findings(report);
    }
    for system in known {
        families.of_system(report, system);
        for check in &system.checks {
            families.of_check(report, check);
        }
    }
    for (_, (metric, samples)) in families.0 {
        encode_family(metric, &samples, &mut encoder)?;
    }
    Ok(())
}

fn encode_family(
    metric: &Metric,
    samples: &[(Labels<'_>, Value<'_>)],
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    // OpenMetrics names the family of a counter without its suffix.
    let (name, kind) = match metric.shape {
        Shape::Gauge => (metric.name, MetricType::Gauge),
        Shape::Counter => (metric.name.trim_end_matches("_total"), MetricType::Counter),
        Shape::Histogram(_) => (metric.name, MetricType::Histogram),
    };
    let mut family = encoder.encode_descriptor(name, metric.help, None, kind)?;
    for (labels, value) in samples {
        if labels.is_empty() {
            encode_value(value, metric.shape, &mut family)?;
        } else {
            encode_value(value, metric.shape, &mut family.encode_family(labels)?)?;
        }
    }
    Ok(())
}

fn encode_value(value: &Value<'_>, shape: Shape, encoder: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
    match (value, shape) {
        (Value::Number(number), Shape::Counter) => encoder.encode_counter::<NoLabelSet, _, f64>(number, None),
        (Value::Number(number), _) => encoder.encode_gauge(number),
        (Value::Buckets(histogram), _) => {
            let bounds = histogram.bounds.iter().copied().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(histogram.counts.iter().copied()).collect();
            encoder.encode_histogram::<NoLabelSet>(histogram.sum, histogram.count(), &buckets, None)
        }
    }
}

// === impl Families ===

impl<'a> Families<'a> {
    fn add(&mut self, metric: &'static Metric, labels: Labels<'a>, value: f64) {
        self.push(metric, labels, Value::Number(value));
    }

    fn flag(&mut self, metric: &'static Metric, labels: Labels<'a>, yes: bool) {
        self.add(metric, labels, f64::from(u8::from(yes)));
    }

    fn push(&mut self, metric: &'static Metric, labels: Labels<'a>, value: Value<'a>) {
        self.0.entry(metric.name).or_insert_with(|| (metric, Vec::new())).1.push((labels, value));
    }

    fn of_site(&mut self, report: &'a Report) {
        let declared = &report.declared;
        self.add(
            &c::SITE_INFO,
            Labels::of(&[
                ("site", &declared.site),
                ("site_region", &declared.region),
                ("declared_role", declared.role.as_str()),
            ]),
            1.0,
        );
        for peer in &declared.peers {
            let labels = Labels::of(&[("site", &declared.site), ("peer_site", peer)]);
            self.add(&crate::probe::peer::EXPECTED, labels, 1.0);
        }
    }

    fn of_findings(&mut self, report: &'a Report) {
        // The nodes of the cluster are the same whichever system asks them; while nobody knows, nothing is said.
        let identity = report.systems.iter().flat_map(|system| &system.checks).find_map(|check| {
            match (check.key.check == Check::SiteIdentity, check.status) {
                (true, Status::Pass) => Some(true),
                (true, Status::Fail | Status::Waived) => Some(false),
                (true, Status::Unknown | Status::Skipped) | (false, _) => None,
            }
        });
        if let Some(verified) = identity {
            self.flag(
                &crate::probe::site_identity::VERIFIED,
                Labels::of(&[("site", &report.declared.site)]),
                verified,
            );
        }
        for (reason, count) in &report.gaps {
            self.add(&c::CHECK_GAPS, Labels::of(&[("reason", reason.as_str())]), *count as f64);
        }
    }

    fn of_ourselves(&mut self, report: &Report, own: &Own) {
        let Own { config_loaded, config_ok, web_config_ok, leads, shard: _, scheduler_lag, watches, process } =
            own;
        let planned: usize = report.systems.iter().map(|system| system.checks.len()).sum();
        self.add(&c::BUILD_INFO, Labels::of(&[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
        self.flag(&c::CONFIG_SUCCESS, Labels::default(), *config_ok);
        self.add(&c::CONFIG_TIME, Labels::default(), *config_loaded);
        if let Some(ok) = web_config_ok {
            self.flag(&c::WEB_CONFIG_SUCCESS, Labels::default(), *ok);
        }
        self.flag(&c::LEADER, Labels::default(), *leads);
        self.add(&c::SCHEDULER_LAG, Labels::default(), *scheduler_lag);
        self.add(&c::CHECKS_PLANNED, Labels::default(), planned as f64);
        for (resource, healthy) in watches {
            self.flag(&WATCH_HEALTHY, Labels::of(&[("resource", resource.as_str())]), *healthy);
        }
        if let Some(process) = process {
            self.add(&c::PROCESS_CPU, Labels::default(), process.cpu_seconds);
            self.add(&c::PROCESS_RESIDENT, Labels::default(), process.resident_bytes);
            self.add(&c::PROCESS_VIRTUAL, Labels::default(), process.virtual_bytes);
            self.add(&c::PROCESS_OPEN_FDS, Labels::default(), process.open_fds);
            self.add(&c::PROCESS_START, Labels::default(), process.started);
            if let Some(max) = process.max_fds {
                self.add(&c::PROCESS_MAX_FDS, Labels::default(), max);
            }
        }
    }

    fn of_system(&mut self, report: &'a Report, system: &'a SystemReport) {
        let (site, name) = (&*report.declared.site, &*system.declared.name);
        let labels = Labels::of(&[("site", site), ("system", name)]);
        let own = || labels.clone();
        let with = |label, value: &'a str| labels.with(label, value);
        for verdict in Verdict::ALL {
            self.flag(&c::VERDICT, with("verdict", verdict.as_str()), *verdict == system.verdict);
        }
        for role in Role::ALL {
            self.flag(&c::ROLE, with("role", role.as_str()), *role == system.role);
        }
        // One series for a check and a reason, however many targets share them.
        let mut against: Vec<_> =
            system.against.iter().map(|against| (against.check, against.reason)).collect();
        against.sort_unstable();
        against.dedup();
        for (check, reason) in against {
            let labels = Labels::of(&[
                ("site", site),
                ("system", name),
                ("check", check.as_str()),
                ("reason", reason.as_str()),
            ]);
            self.add(&c::VERDICT_REASON, labels, 1.0);
        }
        self.flag(&c::HEALTHY_BUT_UNUSABLE, own(), system.healthy_but_unusable);
        self.add(&c::VERDICT_SINCE, own(), seconds(system.since));
        self.flag(&c::ROLE_CONFLICT, own(), system.role != report.declared.role);
        self.add(&c::SYSTEM_INFO, with("strategy", system.declared.strategy.as_str()), 1.0);
        for surface in &system.surfaces {
            if let Some(contradicted) = surface.contradicted {
                self.flag(&c::SURFACE_CONTRADICTED, with("surface", &surface.name), contradicted);
            }
        }
        if let Some(expected) = system.declared.traffic_expected {
            self.flag(&c::TRAFFIC_EXPECTED, own(), expected);
        }
        let (maintenance, drill) = system.gates(report.at);
        self.flag(&c::MAINTENANCE_ACTIVE, own(), maintenance);
        self.flag(&c::DRILL_ACTIVE, own(), drill);
        if let Some(window) = &system.declared.maintenance {
            self.add(&c::MAINTENANCE_EXPIRY, own(), seconds(window.until));
        }
        if let Some(window) = &system.declared.drill {
            self.add(&c::DRILL_EXPIRY, own(), seconds(window.until));
        }
        for (db, rpo) in &system.declared.rpo {
            self.add(&c::RPO_TARGET, with("db", db), rpo.as_secs_f64());
        }
        if let Some(rto) = system.declared.rto {
            self.add(&c::RTO_TARGET, own(), rto.as_secs_f64());
        }
    }

    fn of_check(&mut self, report: &'a Report, check: &'a CheckReport) {
        let (site, key, record) = (&*report.declared.site, &check.key, &check.record);
        let labels = Labels::of(&[
            ("site", site),
            ("system", &key.system),
            ("check", key.check.as_str()),
            ("target", &key.target),
        ]);
        let own = || labels.clone();
        let with = |label, value: &'static str| labels.with(label, value);
        for status in Status::ALL {
            self.flag(&c::CHECK_STATUS, with("status", status.as_str()), *status == check.status);
        }
        self.add(&c::CHECK_COMPLETED, own(), record.last.as_ref().map_or(0.0, |last| seconds(last.finished)));
        self.add(&c::CHECK_SUCCESS, own(), record.last_success.map_or(0.0, seconds));
        self.add(&c::CHECK_INTERVAL, own(), record.schedule.interval.as_secs_f64());
        self.push(&c::CHECK_DURATION, own(), Value::Buckets(&record.durations));
        self.add(&c::CHECK_ATTEMPTS, own(), record.attempts as f64);
        for (reason, count) in &record.failures_by_reason {
            self.add(&c::CHECK_FAILURES, with("reason", reason.as_str()), *count as f64);
        }
        let fact_labels = |labels: &'a [(&'static str, String)]| {
            let mut all = vec![("site", site), ("system", &*key.system)];
            all.extend(labels.iter().map(|(name, value)| (*name, value.as_str())));
            Labels::of(&all)
        };
        for (fact, value) in record.facts(report.at) {
            self.add(fact.metric, fact_labels(&fact.labels), value);
        }
        for (fact, histogram) in record.histograms() {
            self.push(fact.metric, fact_labels(&fact.labels), Value::Buckets(histogram));
        }
    }
}
