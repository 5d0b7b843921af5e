//! The seed's incident as remembered observations, for tests of everything that renders a report.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Declared, DeclaredSurface, DeclaredSystem, Report, report};
use crate::config::{Attempts, Schedule};
use crate::ledger::Ledger;
use crate::model::{Check, CheckKey, Fact, Observation, Outcome, Reason, Role, Strategy};
use crate::probe::{Question, db_endpoint_region, surface, synthetic_query, traffic};

/// When the incident is looked at.
pub fn now() -> Timestamp {
    at(60)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_734_531_723 + seconds).unwrap()
}

/// The name of one check of the system `orders`.
pub fn key(check: Check, target: &str) -> CheckKey {
    CheckKey { system: Arc::from("orders"), check, target: Arc::from(target) }
}

/// What the owner of the seed's site declared.
pub fn declared() -> Declared {
    let vouches_for = vec![key(Check::SyntheticQuery, "orders"), key(Check::DbEndpointRegion, "orders")];
    Declared {
        site: Arc::from("dr-west"),
        region: "us-west-2".to_owned(),
        role: Role::Standby,
        peers: vec![],
        systems: vec![DeclaredSystem {
            name: Arc::from("orders"),
            strategy: Strategy::Hot,
            rto: Some(Duration::from_secs(1800)),
            rpo: vec![("orders".to_owned(), Duration::from_secs(300))],
            waivers: vec![],
            maintenance: None,
            drill: None,
            traffic_expected: Some(false),
            surfaces: vec![DeclaredSurface {
                name: Arc::from("health"),
                decisive: true,
                found: false,
                vouches_for,
            }],
            workloads: vec![],
            databases: vec![Arc::from("orders")],
        }],
    }
}

/// A memory into which every check of the incident is opened and nothing is observed.
pub fn opened() -> Ledger {
    let ledger = Ledger::default();
    let schedule = Schedule {
        interval: Duration::from_secs(30),
        timeout: Duration::from_secs(5),
        attempts: Attempts { pass: 1, of: 1 },
    };
    let success =
        Fact::flag(&synthetic_query::SUCCESS, &[("db", "orders"), ("query", "select_orders")], false);
    let healthy = Fact::flag(&surface::HEALTHY, &[("surface", "health"), ("decisive", "true")], false);
    for (key, promised) in [
        (key(Check::SyntheticQuery, "orders"), vec![success]),
        (key(Check::DbEndpointRegion, "orders"), vec![]),
        (key(Check::Surface, "health"), vec![healthy]),
        (key(Check::Traffic, "api-server"), vec![]),
    ] {
        ledger.open(&Question { key, at_first: vec![], promised }, schedule);
    }
    ledger
}

/// Adds a run that ended so many seconds after the seed's first line.
pub fn observe(
    ledger: &Ledger,
    key: &CheckKey,
    outcome: Outcome,
    ended: i64,
    detail: &str,
    facts: Vec<Fact>,
) {
    let observation = Observation {
        outcome,
        detail: detail.to_owned(),
        facts,
        withheld: vec![],
        gap: None,
        started: at(ended),
        finished: at(ended),
        took: Duration::from_millis(4),
    };
    ledger.record(key, 1, observation);
}

/// The incident: every surface healthy, and nothing behind it.
pub fn incident() -> Ledger {
    let ledger = opened();
    let refused = "connect to 10.0.50.11:5432: connection refused";
    observe(
        &ledger,
        &key(Check::SyntheticQuery, "orders"),
        Outcome::Fail(Reason::Refused),
        55,
        refused,
        vec![],
    );
    let labels = [
        ("db", "orders"),
        ("db_region", "us-east-1"),
        ("expected_region", "us-west-2"),
        ("evidence", "cidr"),
    ];
    let region = vec![
        Fact::new(&db_endpoint_region::REGION, &labels, 1.0),
        Fact::flag(&db_endpoint_region::MATCH, &[("db", "orders")], false),
    ];
    let elsewhere = "10.0.50.11 is in us-east-1, expected is us-west-2";
    let wrong = Outcome::Fail(Reason::WrongRegion);
    observe(&ledger, &key(Check::DbEndpointRegion, "orders"), wrong, 55, elsewhere, region);
    let healthy = Fact::flag(&surface::HEALTHY, &[("surface", "health"), ("decisive", "true")], true);
    observe(
        &ledger,
        &key(Check::Surface, "health"),
        Outcome::Pass,
        50,
        "claims to be healthy",
        vec![healthy],
    );
    let zero = Fact::flag(&traffic::ZERO, &[("workload", "api-server")], true);
    let silence = "No business request in the whole window.";
    observe(&ledger, &key(Check::Traffic, "api-server"), Outcome::Pass, 40, silence, vec![zero]);
    ledger
}

/// The report on a memory, `later` seconds after the incident is looked at.
pub fn report_on(ledger: &Ledger, later: i64) -> Report {
    report(&Arc::new(declared()), &ledger.read(), at(60 + later))
}
