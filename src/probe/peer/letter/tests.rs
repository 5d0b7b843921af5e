use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::model::Outcome;
use crate::report::ForPeer;
use crate::report::fixture::{incident, now as fixed, report_on};

const BETWEEN: Between<'_> = Between { us: "dr-west", them: "primary-east" };

fn now() -> Timestamp {
    "2026-11-24T00:00:00Z".parse().unwrap()
}

fn letter() -> Value {
    json!({
        "version": 1, "generated_at": "2026-11-24T00:00:00Z", "site": "primary-east", "site_region": "us-east-1",
        "declared_role": "primary", "replica": null,
        "systems": [{"name": "orders", "role": "primary", "databases": [{"name": "orders", "nodes": [
            {"place": "application", "seen_at": "2026-11-23T23:59:50Z", "system_identifier": "7312345678901234567",
             "timeline": 3, "in_recovery": false, "read_only": false, "reason": null},
            {"place": "standby", "seen_at": "2026-11-23T23:59:55Z", "system_identifier": null, "timeline": null,
             "in_recovery": null, "read_only": null, "reason": "refused"},
        ]}]}],
        "fingerprints": [{"subject": "Deployment platform/api", "kind": "images", "hash": "aa", "keyed": false,
            "key": null, "parts": 1, "objects": [["api", "bb"]]}],
    })
}

fn with(pointer: &str, value: Value) -> Value {
    let mut letter = letter();
    *letter.pointer_mut(pointer).unwrap() = value;
    letter
}

fn read_at(letter: &Value, now: Timestamp, earlier: Option<Timestamp>) -> Result<Letter, Answer> {
    read(letter.to_string().as_bytes(), BETWEEN, now, earlier)
}

fn refused(letter: &Value) -> (Outcome, String) {
    let answer = read_at(letter, now(), None).expect_err("a refusal");
    (answer.outcome, answer.detail)
}

#[test]
fn a_report_is_read_with_all_that_it_tells() {
    let Letter { told, region, leads } = read_at(&letter(), now(), None).unwrap();
    assert_eq!((region.as_str(), leads, told.declared_role), ("us-east-1", true, Role::Primary));
    let orders = &told.systems["orders"];
    assert_eq!(orders.role, Role::Primary);
    let nodes = &orders.databases["orders"];
    let node = nodes[&Place::Application].node.as_ref().unwrap();
    assert_eq!((node.system_identifier.as_deref(), node.timeline), (Some("7312345678901234567"), Some(3)));
    assert!(!node.in_recovery && !node.read_only);
    assert_eq!(nodes[&Place::Standby].node, Err(Reason::Refused));
    assert_eq!(told.fingerprints[0].objects, [("api".to_owned(), "bb".to_owned())]);
}

#[test]
fn what_was_seen_there_is_put_on_our_clock() {
    // Their clock is two minutes behind ours: what they saw ten seconds before they spoke was seen ten seconds ago.
    let ours = now() + Duration::from_secs(120);
    let seen = |letter: &Value| {
        read_at(letter, ours, None).unwrap().told.systems["orders"].databases["orders"][&Place::Application]
            .at
    };
    assert_eq!(seen(&letter()), ours - Duration::from_secs(10));
    let ahead = with("/systems/0/databases/0/nodes/0/seen_at", json!("2030-01-01T00:00:00Z"));
    assert_eq!(seen(&ahead), ours, "nothing was seen after it was told");
}

#[test]
fn a_newer_peer_may_say_more_and_know_more_words() {
    let mut newer = with("/systems/0/role", json!("arbiter"));
    newer["systems"][0]["databases"][0]["nodes"][0]["place"] = json!("witness");
    newer["systems"][0]["databases"][0]["nodes"][1]["reason"] = json!("haunted");
    newer["fingerprints"][0]["kind"] = json!("charts");
    newer["more"] = json!({"a": [1, 2]});
    let Letter { told, .. } = read_at(&newer, now(), None).unwrap();
    assert_eq!(told.systems["orders"].role, Role::Unknown);
    let nodes = &told.systems["orders"].databases["orders"];
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[&Place::Standby].node, Err(Reason::Other));
    assert_eq!(told.fingerprints, []);
    let bare = json!({"version": 1, "generated_at": "2026-11-24T00:00:00Z", "site": "primary-east"});
    assert_eq!(read_at(&bare, now(), None).unwrap().told.declared_role, Role::Unknown);
}

#[test]
fn the_wrong_exporter_is_misconfigured_and_accuses_no_standby() {
    let (outcome, detail) = refused(&with("/site", json!("dr-west")));
    assert_eq!(outcome, Outcome::Fail(Reason::Misconfigured));
    assert!(detail.contains("our own site dr-west"), "{detail}");
    let (outcome, detail) = refused(&with("/site", json!("dr-north\u{1b}[31m\u{202e}")));
    assert_eq!(outcome, Outcome::Fail(Reason::Misconfigured));
    assert!(detail.ends_with("calls itself `dr-north\u{fffd}[31m\u{fffd}`"), "{detail}");
    let (outcome, detail) = refused(&with("/version", json!(2)));
    assert_eq!(outcome, Outcome::Blind(Reason::Misconfigured));
    assert_eq!(detail, "the report has version 2, and this release reads version 1");
}

#[test]
fn old_copies_are_not_taken_for_news() {
    let refusal = |now, earlier| read_at(&letter(), now, earlier).map(drop).map_err(|answer| answer.outcome);
    let stale = Err(Outcome::Blind(Reason::Stale));
    assert_eq!(refusal(now(), None), Ok(()));
    assert_eq!(refusal(now() + Duration::from_secs(299), None), Ok(()));
    assert_eq!(refusal(now() + Duration::from_secs(301), None), stale);
    assert_eq!(refusal(now() - Duration::from_secs(301), None), stale);
    assert_eq!(refusal(now(), Some(now())), stale, "a cache between the sites");
    assert_eq!(refusal(now(), Some(now() - Duration::from_secs(1))), Ok(()));
}

#[test]
fn a_replica_that_stands_by_says_so() {
    assert!(!read_at(&with("/replica", json!({"leads": false})), now(), None).unwrap().leads);
    assert!(read_at(&with("/replica", json!({"leads": true})), now(), None).unwrap().leads);
}

#[test]
fn hostile_answers_are_blindness_and_cost_little() {
    let blind = Outcome::Blind(Reason::BodyMismatch);
    for body in [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "<html>".to_owned(),
        "[".repeat(1_000_000),
        format!("{{\"version\": 1, \"x\": {}", "[".repeat(1_000_000)),
        "\u{0}".repeat(100),
        letter().to_string()[..200].to_owned(),
    ] {
        let answer = read(body.as_bytes(), BETWEEN, now(), None).expect_err("a refusal");
        assert_eq!(answer.outcome, blind, "{}", answer.detail);
    }
    for letter in [
        with("/generated_at", json!("yesterday")),
        with("/systems", json!({"orders": 1})),
        with("/systems", json!(vec![json!({"name": "x"}); SYSTEMS + 1])),
        with("/fingerprints/0/objects", json!(vec![json!(["", ""]); OBJECTS + 1])),
        with("/fingerprints/0/objects", json!([["x".repeat(NAME + 1), ""]])),
        with(
            "/systems/0/databases/0/nodes",
            json!(vec![letter()["systems"][0]["databases"][0]["nodes"][0].clone(); DOORS + 1]),
        ),
        with("/systems/0/databases/0/nodes/0/timeline", json!(-1)),
    ] {
        assert_eq!(refused(&letter).0, blind);
    }
    let made_up = with("/systems/0/databases/0/nodes/0/system_identifier", json!("1; drop table orders"));
    let told = read_at(&made_up, now(), None).unwrap().told;
    let node = told.systems["orders"].databases["orders"][&Place::Application].node.as_ref().unwrap();
    assert_eq!(node.system_identifier, None);
}

#[test]
fn what_one_writes_the_other_reads_and_nothing_else_travels() {
    const CANARY: &str = "c4n4ry.internal.example";
    let mut report = report_on(&incident(), 0);
    let node = Node {
        system_identifier: Some("7312345678901234567".to_owned()),
        timeline: Some(1),
        in_recovery: true,
        read_only: true,
    };
    let seen = BTreeMap::from([
        (Place::Application, Sighting { at: fixed(), node: Err(Reason::Refused) }),
        (Place::Standby, Sighting { at: fixed(), node: Ok(node) }),
    ]);
    report.systems[0].databases = vec![(Arc::from("orders"), seen.clone())];
    report.systems[0].sentence = CANARY.to_owned();
    report.replica = Some(crate::report::Replica {
        name: CANARY.to_owned(),
        leads: true,
        says: CANARY.to_owned(),
        history: vec![],
    });
    report.fingerprints = vec![Fingerprint {
        subject: "Deployment platform/api".to_owned(),
        kind: FingerprintKind::Images,
        hash: Some("aa".to_owned()),
        keyed: true,
        key: Some("kk".to_owned()),
        parts: 1,
        objects: vec![("api".to_owned(), "bb".to_owned())],
        note: Some(CANARY.to_owned()),
    }];
    let text = serde_json::to_string(&ForPeer(&report)).unwrap();
    // The incident's sentences and targets are full of addresses.
    for word in [CANARY, "127.", "10.0.", "pg-", "detail", "sentence", "select_orders", "health"] {
        assert!(!text.contains(word), "{word} travels:\n{text}");
    }
    let mut keys = std::collections::BTreeSet::new();
    all_keys(&serde_json::from_str(&text).unwrap(), &mut keys);
    let allowed = "databases declared_role fingerprints generated_at hash in_recovery key keyed kind leads name nodes objects \
                   parts place read_only reason replica role seen_at site site_region subject system_identifier systems \
                   timeline version";
    assert_eq!(keys.into_iter().collect::<Vec<_>>().join(" "), allowed);

    let between = Between { us: "primary-east", them: "dr-west" };
    let Letter { told, region, leads } = read(text.as_bytes(), between, fixed(), None).unwrap();
    assert_eq!((region.as_str(), leads, told.said_at), ("us-west-2", true, report.at));
    assert_eq!(told.systems["orders"].databases["orders"], seen);
    let expected = Fingerprint { note: None, ..report.fingerprints[0].clone() };
    assert_eq!(told.fingerprints, [expected]);
}

fn all_keys(value: &Value, keys: &mut std::collections::BTreeSet<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            keys.insert(key.clone());
            all_keys(value, keys);
        }),
        Value::Array(list) => list.iter().for_each(|value| all_keys(value, keys)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
