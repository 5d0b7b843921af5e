//! The report as JSON: `/api/v1/report`. Fields are added, never renamed, under one `version`.

use serde::Serialize;
use serde::ser::{SerializeSeq, SerializeStruct, Serializer};

use super::{Against, CheckReport, Report, SystemReport, Window, for_peer, runbook};
use crate::ledger::{Brief, Episode, Record};
use crate::model::{Fact, Outcome};

/// The version of the format.
pub(super) const VERSION: u32 = 1;

struct Facts<'a>(&'a Record, jiff::Timestamp);
struct OneFact<'a>(&'a Fact, f64);
struct Changes<'a>(&'a SystemReport);

impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Report { at, declared, systems, gaps, replica, fingerprints, refused } = self;
        let mut out = serializer.serialize_struct("Report", 10)?;
        out.serialize_field("version", &VERSION)?;
        out.serialize_field("generated_at", at)?;
        out.serialize_field("site", &*declared.site)?;
        out.serialize_field("site_region", &declared.region)?;
        out.serialize_field("declared_role", &declared.role)?;
        out.serialize_field("gaps", gaps)?;
        let systems: Vec<_> = systems.iter().map(|system| Dated(system, *at)).collect();
        out.serialize_field("systems", &systems)?;
        out.serialize_field("replica", replica)?;
        out.serialize_field("fingerprints", fingerprints)?;
        out.serialize_field("configuration_refused", refused)?;
        out.end()
    }
}

/// A part of the report with the moment it speaks of.
struct Dated<'a, T>(&'a T, jiff::Timestamp);

impl Serialize for Dated<'_, SystemReport> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Dated(system, at) = self;
        let SystemReport {
            declared,
            role,
            verdict,
            since,
            sentence,
            against,
            healthy_but_unusable,
            surfaces,
            checks,
            changes: _,
            learnt,
            databases,
        } = system;
        let mut out = serializer.serialize_struct("System", 15)?;
        out.serialize_field("name", &*declared.name)?;
        out.serialize_field("strategy", &declared.strategy)?;
        out.serialize_field("role", role)?;
        out.serialize_field("verdict", verdict)?;
        out.serialize_field("since", since)?;
        out.serialize_field("sentence", sentence)?;
        out.serialize_field("healthy_but_unusable", healthy_but_unusable)?;
        out.serialize_field("reasons", against)?;
        out.serialize_field("maintenance", &declared.maintenance)?;
        out.serialize_field("drill", &declared.drill)?;
        out.serialize_field("surfaces", surfaces)?;
        let checks: Vec<_> = checks.iter().map(|check| Dated(check, *at)).collect();
        out.serialize_field("checks", &checks)?;
        out.serialize_field("verdict_changes", &Changes(system))?;
        out.serialize_field("learnt", learnt)?;
        out.serialize_field("databases", &for_peer::Databases(databases))?;
        out.end()
    }
}

impl Serialize for Against {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Against { check, target, status, reason, detail } = self;
        let mut out = serializer.serialize_struct("Against", 6)?;
        out.serialize_field("check", check)?;
        out.serialize_field("target", target)?;
        out.serialize_field("status", status)?;
        out.serialize_field("reason", reason)?;
        out.serialize_field("detail", detail)?;
        out.serialize_field("runbook_url", &runbook::url(runbook::of_check(*check)))?;
        out.end()
    }
}

impl Serialize for Changes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Change {
            at: jiff::Timestamp,
            verdict: crate::model::Verdict,
        }
        serializer
            .collect_seq(self.0.changes.iter().map(|(at, verdict)| Change { at: *at, verdict: *verdict }))
    }
}

impl Serialize for Dated<'_, CheckReport> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Dated(check, at) = self;
        let CheckReport { key, status, reason, required, waiver, record } = check;
        let last = record.last.as_ref();
        let mut out = serializer.serialize_struct("Check", 17)?;
        out.serialize_field("check", &key.check)?;
        out.serialize_field("target", &*key.target)?;
        out.serialize_field("status", status)?;
        out.serialize_field("reason", reason)?;
        out.serialize_field("required", required)?;
        out.serialize_field("detail", &check.detail(*at))?;
        out.serialize_field("gap", &last.and_then(|last| last.gap))?;
        out.serialize_field("waived_until", &waiver.as_ref().map(|waiver| waiver.until))?;
        out.serialize_field("waived_because", &waiver.as_ref().map(|waiver| &waiver.because))?;
        out.serialize_field("interval_seconds", &record.schedule.interval.as_secs_f64())?;
        out.serialize_field("last_completed", &last.map(|last| last.finished))?;
        out.serialize_field("last_success", &record.last_success)?;
        out.serialize_field("took_seconds", &last.map(|last| last.took.as_secs_f64()))?;
        out.serialize_field("attempts", &record.attempts)?;
        out.serialize_field("facts", &Facts(record, *at))?;
        out.serialize_field("recent", &record.recent)?;
        out.serialize_field("failures", &record.failures)?;
        out.end()
    }
}

impl Serialize for Facts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_seq(None)?;
        for (fact, value) in self.0.facts(self.1) {
            out.serialize_element(&OneFact(fact, value))?;
        }
        out.end()
    }
}

impl Serialize for OneFact<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Fact", 3)?;
        out.serialize_field("metric", self.0.metric.name)?;
        let labels: std::collections::BTreeMap<_, _> =
            self.0.labels.iter().map(|(name, value)| (name, value)).collect();
        out.serialize_field("labels", &labels)?;
        out.serialize_field("value", &self.1)?;
        out.end()
    }
}

fn outcome_in_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Fail(_) => "fail",
        Outcome::Blind(_) => "blind",
        Outcome::Skipped => "skipped",
    }
}

impl Serialize for Episode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Episode { outcome, began, last, runs, detail } = self;
        let mut out = serializer.serialize_struct("Episode", 6)?;
        out.serialize_field("outcome", outcome_in_words(*outcome))?;
        out.serialize_field("reason", &outcome.reason())?;
        out.serialize_field("began", began)?;
        out.serialize_field("last", last)?;
        out.serialize_field("runs", runs)?;
        out.serialize_field("detail", &**detail)?;
        out.end()
    }
}

impl Serialize for Brief {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Brief { outcome, finished, took, detail } = self;
        let mut out = serializer.serialize_struct("Run", 5)?;
        out.serialize_field("outcome", outcome_in_words(*outcome))?;
        out.serialize_field("reason", &outcome.reason())?;
        out.serialize_field("finished", finished)?;
        out.serialize_field("took_seconds", &took.as_secs_f64())?;
        out.serialize_field("detail", &**detail)?;
        out.end()
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Window", 2)?;
        out.serialize_field("until", &self.until)?;
        out.serialize_field("because", &self.because)?;
        out.end()
    }
}

/// A shared text as a text.
pub(super) fn text<S: Serializer>(text: &std::sync::Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}
