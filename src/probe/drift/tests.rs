use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::{Anchored, Span};
use crate::discovery::fingerprints::Digest;
use crate::model::Outcome;

const HERE: Site<'_> = Site { name: "dr-west", region: "us-west-2" };
const THERE: Site<'_> = Site { name: "primary-east", region: "us-east-1" };
const API: &str = "Deployment platform/api";

fn at(minutes: u64) -> Timestamp {
    Timestamp::UNIX_EPOCH + Duration::from_secs(minutes * 60)
}

fn print(kind: FingerprintKind, subject: &str, objects: &[(&str, &str)]) -> Fingerprint {
    Fingerprint {
        subject: subject.to_owned(),
        kind,
        hash: Some(format!("{objects:?}")),
        keyed: false,
        key: None,
        parts: objects.len(),
        objects: objects.iter().map(|(name, hash)| ((*name).to_owned(), (*hash).to_owned())).collect(),
        note: None,
    }
}

fn configuration(objects: &[(&str, &str)]) -> Fingerprint {
    print(FingerprintKind::Configuration, API, objects)
}

fn compared() -> Compared {
    Compared {
        key: CheckKey { system: Arc::from("orders"), check: Check::Drift, target: Arc::from("primary-east") },
        subjects: vec![API.to_owned()],
        addresses: BTreeSet::from(["DATABASE_URL".to_owned()]),
    }
}

fn rules(ignore: &[&str]) -> DriftRules {
    let pattern = |text: &&str| serde_json::from_value::<Anchored>((*text).into()).unwrap();
    DriftRules { after: Span::seconds(900), ignore: ignore.iter().map(pattern).collect() }
}

/// One look at both sites.
fn look(
    memory: &mut Memory,
    ignore: &[&str],
    minute: u64,
    ours: &[Fingerprint],
    theirs: &[Fingerprint],
) -> Answer {
    let comparison = compare(
        &compared().subjects,
        Side { prints: ours, site: HERE },
        Side { prints: theirs, site: THERE },
    );
    judge(&comparison, memory, &rules(ignore), &compared(), at(minute))
}

/// Looks each minute for so long, and gives the last answer.
fn after(minutes: u64, ignore: &[&str], ours: &Fingerprint, theirs: &Fingerprint) -> Answer {
    let mut memory = Memory::default();
    let mut look = |minute| {
        let (ours, theirs) = (std::slice::from_ref(ours), std::slice::from_ref(theirs));
        look(&mut memory, ignore, minute, ours, theirs)
    };
    (0..minutes).for_each(|minute| drop(look(minute)));
    look(minutes)
}

fn count(answer: &Answer, kind: &str, state: &str) -> f64 {
    let labels = [("object_kind", kind), ("state", state)];
    let fact = answer.facts.iter().find(|fact| {
        labels.iter().all(|(name, value)| fact.labels.iter().any(|(n, v)| n == name && v == value))
    });
    fact.expect("a fact for every kind and state").value
}

#[test]
fn l74_what_is_another_for_longer_than_allowed_is_told_by_its_name() {
    let ours =
        configuration(&[("variable api/MODE", "1"), ("variable api/SAME", "2"), ("variable api/MORE", "3")]);
    let theirs =
        configuration(&[("variable api/MODE", "9"), ("variable api/SAME", "2"), ("ConfigMap app", "4")]);
    let answer = after(15, &[], &ours, &theirs);
    assert_eq!(answer.outcome, Outcome::Fail(Reason::WrongValue));
    assert_eq!(
        answer.detail,
        "3 objects other than at primary-east, the first seen 15 min ago: configuration ConfigMap app of Deployment platform/api \
         (only at the peer), configuration variable api/MODE of Deployment platform/api, configuration variable api/MORE of \
         Deployment platform/api (only here)"
    );
    for (state, expected) in
        [("different", 1.0), ("only_here", 1.0), ("only_at_peer", 1.0), ("settling", 0.0)]
    {
        assert_eq!(count(&answer, "configuration", state), expected, "{state}");
    }
    assert_eq!(answer.facts.len(), FingerprintKind::ALL.len() * STATES.len());
}

#[test]
fn l74_what_is_missing_here_is_missing() {
    let answer = after(15, &[], &configuration(&[]), &configuration(&[("ConfigMap app", "1")]));
    assert_eq!(answer.outcome, Outcome::Fail(Reason::Missing));
    let crds = |objects| print(FingerprintKind::Crds, CLUSTER, objects);
    let answer = after(15, &[], &crds(&[]), &crds(&[("widgets.example.com", "1")]));
    assert_eq!(answer.outcome, Outcome::Fail(Reason::Missing));
    assert_eq!(count(&answer, "crds", "only_at_peer"), 1.0);
}

#[test]
fn t12_a_rolling_deployment_is_minutes_of_difference() {
    let images = |tag| print(FingerprintKind::Images, API, &[("orders/api", tag)]);
    let mut memory = Memory::default();
    let mut minute = 0;
    // East first, west ten minutes later, again and again.
    for version in ["1", "2", "3", "4"] {
        for (step, ours) in [(0, version), (10, "x"), (5, version)] {
            minute += step;
            let theirs = images(version);
            let ours = images(if ours == "x" { version } else { "old" });
            let answer = look(&mut memory, &[], minute, &[ours], &[theirs]);
            assert_eq!(answer.outcome, Outcome::Pass, "minute {minute}: {}", answer.detail);
        }
    }
    // One that never comes.
    minute += 10;
    for _ in 0..15 {
        look(&mut memory, &[], minute, &[images("4")], &[images("5")]);
        minute += 1;
    }
    let answer = look(&mut memory, &[], minute, &[images("4")], &[images("5")]);
    assert_eq!(answer.outcome, Outcome::Fail(Reason::WrongValue));
}

#[test]
fn t16_a_rotated_credential_has_time_to_arrive() {
    let secrets = |value| {
        print(FingerprintKind::Secrets, API, &[("Secret db", "p"), ("Secret db key password", value)])
    };
    let answer = after(14, &[], &secrets("old"), &secrets("new"));
    assert_eq!(answer.outcome, Outcome::Pass);
    assert_eq!(answer.detail, "the same at primary-east: 1 object; differing for less than 15m: 1 object");
    assert_eq!(count(&answer, "secrets", "settling"), 1.0);
    assert_eq!(after(15, &[], &secrets("old"), &secrets("new")).outcome, Outcome::Fail(Reason::WrongValue));
}

#[test]
fn t16_a_hole_in_what_was_seen_is_not_time_that_passed() {
    let (ours, theirs) =
        (configuration(&[("variable api/A", "1")]), configuration(&[("variable api/A", "2")]));
    let mut memory = Memory::default();
    let mut look = |minute| {
        look(&mut memory, &[], minute, std::slice::from_ref(&ours), std::slice::from_ref(&theirs)).outcome
    };
    assert_eq!([look(0), look(60), look(69), look(74)], [Outcome::Pass; 4]);
    assert_eq!(look(75), Outcome::Fail(Reason::WrongValue));
}

#[test]
fn t23_what_has_to_differ_does() {
    let ours = configuration(&[
        ("variable api/DATABASE_URL", "1"),
        ("variable api/LOG_LEVEL", "1"),
        ("ConfigMap tls-west key ca.crt", "1"),
    ]);
    let theirs = configuration(&[("variable api/DATABASE_URL", "2"), ("variable api/LOG_LEVEL", "2")]);
    let ignore = ["configuration variable [^/]+/LOG_LEVEL", "configuration ConfigMap tls-.*"];
    let answer = after(60, &ignore, &ours, &theirs);
    assert_eq!(answer.outcome, Outcome::Pass, "{}", answer.detail);
    assert_eq!(count(&answer, "configuration", "ignored"), 3.0);
    assert_eq!(after(60, &ignore[..1], &ours, &theirs).outcome, Outcome::Fail(Reason::WrongValue));
    // A pattern is the whole name: half of one ignores nothing.
    assert_eq!(
        after(60, &["variable", ignore[1]], &ours, &theirs).outcome,
        Outcome::Fail(Reason::WrongValue)
    );
    // The names of the sites stand for each other, in objects and in workloads.
    let of = |namespace: &str, name: &str| {
        print(FingerprintKind::Configuration, &format!("Deployment {namespace}/api"), &[(name, "1")])
    };
    let comparison = compare(
        &["Deployment orders-us-west-2/api".to_owned()],
        Side { prints: &[of("orders-us-west-2", "ConfigMap app-\0{region}")], site: HERE },
        Side { prints: &[of("orders-us-east-1", "ConfigMap app-\0{region}")], site: THERE },
    );
    assert_eq!((comparison.same, comparison.differ.len(), comparison.unknown.len()), (1, 0, 0));
}

#[test]
fn l74_gap_what_cannot_be_compared_is_unknown_and_accuses_nobody() {
    let known = configuration(&[("variable api/A", "1")]);
    let other = configuration(&[("variable api/A", "2")]);
    let unread =
        Fingerprint { hash: None, objects: vec![], note: Some("forbidden".to_owned()), ..known.clone() };
    let keyed = Fingerprint { keyed: true, key: Some("k".to_owned()), ..other.clone() };
    let other_key = Fingerprint { key: Some("l".to_owned()), ..keyed.clone() };
    for (ours, theirs, words) in [
        (&unread, &other, "forbidden"),
        (&known, &unread, "not known at the peer"),
        (&known, &keyed, "fingerprint_key"),
        (&keyed, &other_key, "fingerprint_key"),
    ] {
        let answer = after(60, &[], ours, theirs);
        assert_eq!(answer.outcome, Outcome::Blind(Reason::Missing), "{}", answer.detail);
        assert!(answer.detail.contains(words), "{}", answer.detail);
        assert_eq!(count(&answer, "configuration", "unknown"), 1.0);
    }
    let mut memory = Memory::default();
    let answer = look(&mut memory, &[], 0, std::slice::from_ref(&known), &[]);
    assert!(answer.detail.contains("says nothing of it"), "{}", answer.detail);
    // What was not readable for a moment did not become the same.
    let mut memory = Memory::default();
    for minute in 0..15 {
        let ours = if minute == 7 { &unread } else { &known };
        look(&mut memory, &[], minute, std::slice::from_ref(ours), std::slice::from_ref(&other));
    }
    let answer = look(&mut memory, &[], 15, &[known], &[other]);
    assert_eq!(answer.outcome, Outcome::Fail(Reason::WrongValue));
}

#[test]
fn names_of_others_are_shown_cleaned_and_cut() {
    let long = "x".repeat(500);
    let theirs = configuration(&[("variable api/\u{1b}[2J\u{202e}A", "1"), (&long, "1")]);
    let answer = after(15, &[], &configuration(&[]), &theirs);
    assert!(!answer.detail.contains(['\u{1b}', '\u{202e}']), "{}", answer.detail);
    assert!(answer.detail.len() < 500, "{}", answer.detail);
}

#[test]
fn equal_sites_by_the_same_key_are_the_same() {
    let key = |key: &str| Digest::keyed(Some(crate::secret::Secret::new(key))).of("which key", "");
    assert_ne!(key("a"), key("b"));
    let ours = configuration(&[("variable api/A", "1")]);
    assert_eq!(after(60, &[], &ours, &ours.clone()).outcome, Outcome::Pass);
}

#[test]
fn a_workload_in_another_namespace_is_found_where_it_is_the_only_one() {
    let of = |namespace: &str, name: &str| {
        print(
            FingerprintKind::Configuration,
            &format!("Deployment {namespace}/{name}"),
            &[("variable api/A", "1")],
        )
    };
    let look = |ours: &[Fingerprint], theirs: &[Fingerprint]| {
        let here = Side { prints: ours, site: HERE };
        let there = Side { prints: theirs, site: THERE };
        let Comparison { differ, unknown, same } = compare(&[ours[0].subject.clone()], here, there);
        (same, differ.len(), unknown.len())
    };
    assert_eq!(look(&[of("west", "api")], &[of("east", "worker"), of("east", "api")]), (1, 0, 0));
    assert_eq!(look(&[of("west", "api")], &[of("east", "api"), of("staging", "api")]), (0, 0, 1));
    assert_eq!(look(&[of("west", "api"), of("staging", "api")], &[of("east", "api")]), (0, 0, 1));
    assert_eq!(look(&[of("west", "api")], &[of("east", "worker")]), (0, 0, 1));
}
