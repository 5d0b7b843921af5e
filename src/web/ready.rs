//! `/dr-ready/<system>`: an answer that whatever moves the users may be pointed at. Pure.
//!
//! It says [`READY`] if and only if the system is proven to be usable now. Whatever is not known is not ready: a health
//! check that is told "perhaps" moves users to a site that cannot serve them. The other answers never hold that word, so
//! that a check which only searches the body for it is not misled, and no addresses, since it may be asked without a login.

use std::borrow::Cow;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;

use crate::model::{Status, Verdict, ago};
use crate::report::{Report, SystemReport};
use crate::shard::{self, Shard};

/// Where it is asked; the name of the system follows.
pub const PATH: &str = "/dr-ready/";
/// The word that only a usable system's answer holds.
pub const READY: &str = "DR_READY";
/// How old the judging itself may be, and how far ahead of the clock an answer may lie.
const JUDGED_WITHIN: Duration = Duration::from_secs(10);

/// What this exporter can speak of.
#[derive(Clone, Copy, Debug)]
pub enum Knowledge<'a> {
    /// Another replica probes; this one asks nothing.
    StandingBy,
    /// What is known, and which share of the systems is watched here if they are shared.
    Report(&'a Report, Option<Shard>),
}

/// The name of a system as it ends the path, percent-encoded; empty if it is no text, which names nothing.
pub fn name(encoded: &str) -> String {
    percent_encoding::percent_decode_str(encoded).decode_utf8().map(Cow::into_owned).unwrap_or_default()
}

/// The status and the body for the system whose name, percent-encoded, ends the path. 200 only if it is usable; 503 with the
/// reasons, or 404 if nobody of that name is watched here.
pub fn answer(encoded: &str, knowledge: Knowledge<'_>, now: Timestamp) -> (StatusCode, String) {
    let unavailable = |why: String| (StatusCode::SERVICE_UNAVAILABLE, without_the_word(&why));
    let (report, shard) = match knowledge {
        Knowledge::StandingBy => {
            return unavailable(
                "not ready: this replica stands by and asks nothing, so it does not know; only the one that holds the Lease \
                 answers for a system"
                    .to_owned(),
            );
        }
        Knowledge::Report(report, shard) => (report, shard),
    };
    let name = name(encoded);
    let Some(system) = report.systems.iter().find(|system| *system.declared.name == *name) else {
        return (StatusCode::NOT_FOUND, unknown(&name, shard));
    };
    match judged(system, report.at, now) {
        Ok(rests_on) => {
            let body = format!(
                "{READY} {at}\n{name} at {site} is usable since {since}; the oldest answer that this rests on is from {rests_on}\n",
                at = report.at,
                site = report.declared.site,
                since = system.since,
            );
            (StatusCode::OK, body)
        }
        Err(reasons) => {
            unavailable(format!("not ready: {name} at {}\n- {}", report.declared.site, reasons.join("\n- ")))
        }
    }
}

/// Since when the oldest answer that the verdict rests on is known, or every reason not to trust the system.
fn judged(system: &SystemReport, at: Timestamp, now: Timestamp) -> Result<Timestamp, Vec<String>> {
    let mut reasons = Vec::new();
    if apart(at, now) > JUDGED_WITHIN {
        reasons.push(format!("the last judgement is from {}, which is too old: {at}", ago(now, at)));
    }
    if system.verdict != Verdict::Usable {
        reasons.push(format!("the verdict is {}", system.verdict));
    }
    reasons.extend(system.against.iter().map(|against| {
        let status = if against.status == Status::Fail { "failed" } else { "is not known" };
        format!("{} of {} {status}: {}", against.check, against.target, against.reason)
    }));
    let passed = || system.checks.iter().filter(|check| check.required && check.status == Status::Pass);
    let ends = || passed().filter_map(|check| Some(check.record.last.as_ref()?.finished));
    // The age of an answer from the future counts as nothing, so a clock that was set back would keep it fresh for ever.
    if ends().any(|end| end > now && apart(end, now) > JUDGED_WITHIN) {
        reasons.push("answers are dated later than now: the clock was set back".to_owned());
    }
    match (ends().min(), reasons.is_empty()) {
        (Some(oldest), true) => Ok(oldest),
        (None, true) => Err(vec!["nothing that was asked has passed".to_owned()]),
        (_, false) => Err(reasons),
    }
}

fn apart(one: Timestamp, other: Timestamp) -> Duration {
    one.duration_since(other).unsigned_abs()
}

fn unknown(name: &str, shard: Option<Shard>) -> String {
    match shard {
        Some(Shard { ordinal, shards }) if !shard::mine(name, shards, ordinal) => {
            let owner = (0..shards).find(|other| shard::mine(name, shards, *other)).unwrap_or_default();
            format!(
                "this is shard {ordinal} of {shards}; a system of that name would be watched by shard {owner}"
            )
        }
        Some(_) | None => "no system of that name is watched here; the path is /dr-ready/<system>".to_owned(),
    }
}

/// Names come from the configuration: one that holds the word must not make an unusable system look ready.
fn without_the_word(text: &str) -> String {
    text.replace(READY, "DR-READY")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::ledger::Ledger;
    use crate::model::{Check, Outcome, Reason};
    use crate::report::fixture::{self, key, observe};
    use crate::report::{Declared, report};

    fn everything_passes() -> Ledger {
        let ledger = fixture::opened();
        for (check, target) in [
            (Check::SyntheticQuery, "orders"),
            (Check::DbEndpointRegion, "orders"),
            (Check::Surface, "health"),
            (Check::Traffic, "api-server"),
        ] {
            observe(&ledger, &key(check, target), Outcome::Pass, 55, "fine", vec![]);
        }
        ledger
    }

    fn ask(name: &str, ledger: &Ledger, later: i64) -> (u16, String) {
        let report = fixture::report_on(ledger, later);
        let (status, body) = answer(name, Knowledge::Report(&report, None), report.at);
        (status.as_u16(), body)
    }

    #[test]
    fn a_usable_system_is_ready_with_its_times() {
        assert_eq!(
            ask("orders", &everything_passes(), 0),
            (
                200,
                "DR_READY 2024-12-18T14:23:03Z\norders at dr-west is usable since 2024-12-18T14:23:03Z; the oldest answer \
                 that this rests on is from 2024-12-18T14:22:58Z\n"
                    .to_owned()
            )
        );
    }

    #[test]
    fn the_incident_is_not_ready_and_says_why_without_addresses() {
        assert_eq!(
            ask("orders", &fixture::incident(), 0),
            (
                503,
                "not ready: orders at dr-west\n- the verdict is unusable\n- db_endpoint_region of orders failed: wrong_region\n\
                 - synthetic_query of orders failed: refused"
                    .to_owned()
            )
        );
    }

    #[test]
    fn what_is_old_or_was_never_asked_is_not_ready() {
        let ledger = everything_passes();
        assert_eq!(ask("orders", &ledger, 84).0, 200, "89 s after the last answers, asked every 30 s");
        let (status, body) = ask("orders", &ledger, 85);
        assert_eq!(status, 503);
        assert!(body.contains("- synthetic_query of orders is not known: stale"), "{body}");
        let (status, body) = ask("orders", &fixture::opened(), 0);
        assert_eq!(status, 503);
        assert!(body.contains("the verdict is unknown"), "{body}");
    }

    #[test]
    fn an_old_judgement_and_a_clock_that_was_set_back_are_not_ready() {
        let report = fixture::report_on(&everything_passes(), 0);
        let at = |seconds: i64| Timestamp::from_second(report.at.as_second() + seconds).unwrap();
        for (now, status) in [(at(10), 200), (at(11), 503), (at(-11), 503)] {
            assert_eq!(answer("orders", Knowledge::Report(&report, None), now).0, status, "{now}");
        }
        let (status, body) = ask("orders", &everything_passes(), -20);
        assert_eq!(status, 503);
        assert!(body.contains("the clock was set back"), "{body}");
    }

    #[test]
    fn names_are_decoded_and_unknown_ones_are_not_found() {
        let mut declared: Declared = fixture::declared();
        declared.systems[0].name = Arc::from("team/orders");
        let report = report(&Arc::new(declared), &fixture::opened().read(), fixture::now());
        let status = |name: &str| answer(name, Knowledge::Report(&report, None), fixture::now()).0.as_u16();
        for name in ["team/orders", "team%2Forders", "team%2forders", "%74eam/orders"] {
            assert_eq!(status(name), 503, "{name}");
        }
        for name in ["", "orders", "team/orders/", "Team/orders", "team%252Forders", "%ff", "%", "../metrics"]
        {
            assert_eq!(status(name), 404, "{name}");
        }
    }

    #[test]
    fn who_does_not_know_says_so() {
        let (status, body) = answer("orders", Knowledge::StandingBy, fixture::now());
        assert_eq!(status, 503);
        assert!(body.contains("stands by"), "{body}");
        let report = fixture::report_on(&everything_passes(), 0);
        let shards = 3;
        for ordinal in 0..shards {
            let shard = Some(Shard { ordinal, shards });
            let (status, body) = answer("elsewhere", Knowledge::Report(&report, shard), fixture::now());
            assert_eq!(status, 404);
            assert_eq!(
                body.contains("would be watched by"),
                !shard::mine("elsewhere", shards, ordinal),
                "{body}"
            );
        }
    }

    #[test]
    fn only_a_pass_of_everything_required_is_ready() {
        let outcomes = [
            Outcome::Pass,
            Outcome::Skipped,
            Outcome::Fail(Reason::Timeout),
            Outcome::Blind(Reason::Internal),
        ];
        for outcome in outcomes {
            let ledger = everything_passes();
            observe(&ledger, &key(Check::SyntheticQuery, "orders"), outcome, 56, "", vec![]);
            let expected = if outcome == Outcome::Pass { 200 } else { 503 };
            assert_eq!(ask("orders", &ledger, 0).0, expected, "{outcome:?}");
        }
    }

    proptest! {
        /// A health check may look at nothing but the body.
        #[test]
        fn no_other_answer_holds_the_word(name in "(DR_READY|DR_|READY|/|%20){0,4}", target in "(DR_READY|DR_|READY){1,4}") {
            let mut declared = fixture::declared();
            declared.systems[0].name = Arc::from(name.as_str());
            let (ledger, mut of) = (fixture::opened(), key(Check::SyntheticQuery, &target));
            of.system = Arc::from(name.as_str());
            let question = crate::probe::Question { key: of.clone(), at_first: vec![], promised: vec![] };
            let pages = fixture::opened();
            let schedule = pages.read().records.values().next().unwrap().schedule;
            ledger.open(&question, schedule);
            observe(&ledger, &of, Outcome::Fail(Reason::Refused), 55, "", vec![]);
            let report = report(&Arc::new(declared), &ledger.read(), fixture::now());
            for asked in [name.as_str(), "DR_READY"] {
                let (status, body) = answer(asked, Knowledge::Report(&report, None), fixture::now());
                prop_assert!(status != StatusCode::OK && !body.contains(READY), "{body}");
            }
        }
    }
}
