//! What the report says of the seed, and what it says when nothing, or nothing new, is known.

use super::fixture::{declared, incident, key, now, observe, opened, report_on};
use super::*;
use crate::model::Outcome;

#[test]
fn the_seed_in_one_sentence() {
    let report = report_on(&incident(), 0);
    let system = &report.systems[0];
    assert_eq!((system.verdict, system.healthy_but_unusable), (Verdict::Unusable, true));
    assert_eq!(
        system.sentence,
        "dr-west says that it is healthy and cannot serve. The region of the database of orders: 10.0.50.11 is in \
         us-east-1, expected is us-west-2 (and 1 more reason)."
    );
    let against: Vec<_> = system.against.iter().map(|it| (it.check.as_str(), it.reason.as_str())).collect();
    assert_eq!(against, [("db_endpoint_region", "wrong_region"), ("synthetic_query", "refused")]);
    assert_eq!(system.surfaces[0].contradicted, Some(true));
}

#[test]
fn a_system_of_which_nothing_is_known_is_shown_as_unknown() {
    let nothing = report_on(&opened(), 0);
    let system = &nothing.systems[0];
    assert_eq!((system.verdict, system.healthy_but_unusable), (Verdict::Unknown, false));
    assert_eq!(system.checks.len(), 4);
    assert_eq!(system.surfaces[0].healthy, None);
    assert_eq!(system.surfaces[0].contradicted, None);
    assert!(system.sentence.starts_with("Nobody knows whether dr-west can serve."), "{}", system.sentence);
    let empty = report(&Arc::new(declared()), &Pages::default(), now());
    assert_eq!(empty.systems[0].verdict, Verdict::Unknown, "not even planned, and still there");
}

#[test]
fn l91_what_is_not_renewed_becomes_unknown_and_never_green() {
    let ledger = incident();
    observe(&ledger, &key(Check::SyntheticQuery, "orders"), Outcome::Pass, 60, "fine", vec![]);
    observe(&ledger, &key(Check::DbEndpointRegion, "orders"), Outcome::Pass, 60, "fine", vec![]);
    let report = report_on(&ledger, 0);
    assert_eq!(report.systems[0].verdict, Verdict::Usable);
    let later = report_on(&ledger, 600);
    let system = &later.systems[0];
    assert_eq!((system.verdict, system.healthy_but_unusable), (Verdict::Unknown, false));
    assert!(system.against.iter().all(|it| it.reason == Reason::Stale), "{:?}", system.against);
    assert!(
        system.against[0].detail.starts_with("the last answer is from 10 min ago"),
        "{:?}",
        system.against[0]
    );
}

#[test]
fn t27_a_waiver_holds_until_its_date_and_for_its_target_only() {
    let ledger = incident();
    observe(&ledger, &key(Check::SyntheticQuery, "orders"), Outcome::Pass, 60, "fine", vec![]);
    let verdict_with = |target: Option<&str>, until: Timestamp| {
        let mut declared = declared();
        declared.systems[0].waivers = vec![Waiver {
            check: Check::DbEndpointRegion,
            target: target.map(str::to_owned),
            until,
            because: "the move is booked".to_owned(),
        }];
        let report = report(&Arc::new(declared), &ledger.read(), now());
        let system = &report.systems[0];
        // What is waived contradicts no claim either.
        assert_eq!(system.surfaces[0].contradicted, Some(system.verdict == Verdict::Unusable));
        system.verdict
    };
    let (tomorrow, yesterday) = (now() + Duration::from_secs(86_400), now() - Duration::from_secs(86_400));
    assert_eq!(verdict_with(Some("orders"), tomorrow), Verdict::Usable);
    assert_eq!(verdict_with(None, tomorrow), Verdict::Usable);
    assert_eq!(verdict_with(Some("orders"), yesterday), Verdict::Unusable);
    assert_eq!(verdict_with(Some("billing"), tomorrow), Verdict::Unusable);
}

#[test]
fn the_json_has_a_version_and_says_what_the_report_says() {
    let json = serde_json::to_value(report_on(&incident(), 0)).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["generated_at"], "2024-12-18T14:23:03Z");
    let system = &json["systems"][0];
    assert_eq!(system["verdict"], "unusable");
    assert_eq!(system["healthy_but_unusable"], true);
    assert_eq!(system["reasons"][0]["reason"], "wrong_region");
    let runbook = system["reasons"][0]["runbook_url"].as_str().unwrap();
    assert!(runbook.ends_with("/alerts/runbooks/DrDatabaseInWrongRegion.md"), "{runbook}");
    assert_eq!(system["surfaces"][0]["contradicted"], true);
    let query = &system["checks"][0];
    assert_eq!((&query["check"], &query["status"]), (&"synthetic_query".into(), &"fail".into()));
    assert_eq!(query["facts"][0]["metric"], "dr_synthetic_query_success");
    assert_eq!(query["facts"][0]["value"], 0.0);
    assert_eq!(query["failures"][0]["reason"], "refused");
}
