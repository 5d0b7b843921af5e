//! Where Alertmanager sends what fires, what it holds back, and that what is held back ends first.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use regex::Regex;
use serde::Deserialize;

use super::promql::remembers;
use super::{Rule, alerts, alerts_dir, known, read, yaml};
use crate::lab::run::{executable, run};

/// What is looked at of the configuration; amtool looks at all of it.
#[derive(Debug, Deserialize)]
struct Config {
    inhibit_rules: Vec<Inhibition>,
}

#[derive(Debug, Deserialize)]
struct Inhibition {
    source_matchers: Vec<String>,
    target_matchers: Vec<String>,
    equal: BTreeSet<String>,
}

/// How much later than its page a detail may see that all is well again: one check and one evaluation of the rules.
const LATER: Duration = Duration::from_secs(60);

/// What never fires while its source does, because its expression leaves out what the source fires for. Such a one is
/// over by `keep_firing_for` after the source began to be pending.
const NEVER_TOGETHER: &[(&str, &str, &str)] = &[
    ("DrSiteHealthyButUnusable", "DrSiteUnusable", "`unless ... ALERTS` of the source"),
    ("DrSiteHealthyButUnusable", "DrPodsCannotStart", "`unless ... system:dr_verdict_unusable:min == 1`"),
    ("DrSiteUnusable", "DrPodsCannotStart", "`unless ... system:dr_verdict_unusable:min == 1`"),
];

/// For how long after a repair an expression can still be true, where that is not the longest range that it reads.
const REMEMBERS: &[(&str, Duration, &str)] = &[
    ("DrDatabaseFarAway", Duration::from_secs(120), "two minutes of quick logins end it"),
    ("DrExporterTwoLeaders", Duration::ZERO, "the range tells only that there is a Lease"),
    (
        "DrTrafficUnannounced",
        Duration::ZERO,
        "what was counted in the last 15 minutes is no less true after a repair",
    ),
];

type Labels = BTreeMap<String, String>;

fn example() -> PathBuf {
    alerts_dir().join("alertmanager.example.yml")
}

fn amtool(arguments: &[&str]) -> String {
    run(Command::new(executable("amtool")).args(arguments))
}

fn goes_to(receiver: &str, labels: &[String]) {
    let file = format!("--config.file={}", example().display());
    let verify = format!("--verify.receivers={receiver}");
    let mut arguments = vec!["config", "routes", "test", &file, &verify];
    arguments.extend(labels.iter().map(String::as_str));
    amtool(&arguments);
}

#[test]
fn the_example_is_valid() {
    amtool(&["check-config", &example().to_string_lossy()]);
}

#[test]
fn alerts_go_where_the_table_says() {
    let table = read(&alerts_dir().join("tests/alertmanager.routes"));
    let rows: Vec<_> = table.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
    assert!(rows.len() >= 10, "{} rows", rows.len());
    for row in rows {
        let mut words = row.split(' ').map(str::to_owned);
        let receiver = words.next().expect("a receiver");
        goes_to(&receiver, &words.collect::<Vec<_>>());
    }
}

#[test]
fn every_alert_goes_where_its_severity_says() {
    for (name, rule) in alerts() {
        let severity = &rule.labels["severity"];
        let receiver = match (name.as_str(), severity.as_str()) {
            ("DrHeartbeat", _) => "dead-mans-switch",
            (_, "critical") => "page",
            (_, "warning") => "tickets",
            _ => "nobody",
        };
        let labels = [format!("alertname={name}"), format!("severity={severity}"), "site=dr-west".to_owned()];
        goes_to(receiver, &labels);
    }
}

/// Whether all matchers of a list match.
fn matches(matchers: &[String], labels: &Labels) -> bool {
    let form = Regex::new(r#"^(\w+)(=~|!~|!=|=)"([^"]*)"$"#).expect("a pattern");
    matchers.iter().all(|matcher| {
        let parts = form.captures(matcher).unwrap_or_else(|| panic!("{matcher} is not in the usual form"));
        let value = labels.get(&parts[1]).map_or("", String::as_str);
        let pattern = || Regex::new(&format!("^(?:{})$", &parts[3])).expect("a pattern");
        match &parts[2] {
            "=" => value == &parts[3],
            "!=" => value != &parts[3],
            "=~" => pattern().is_match(value),
            _ => !pattern().is_match(value),
        }
    })
}

fn labels(name: &str, severity: &str) -> Labels {
    [("alertname", name), ("severity", severity)].map(|(k, v)| (k.to_owned(), v.to_owned())).into()
}

/// Whether some value of the labels that have to be equal is the same in both: a label that only one of them has is not.
fn can_meet(equal: &BTreeSet<String>, source: &BTreeSet<String>, target: &BTreeSet<String>) -> bool {
    equal.iter().all(|label| source.contains(label) == target.contains(label))
}

/// A duration as the rules write it.
fn duration(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len() - 1);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => panic!("{text}: seconds, minutes or hours"),
    };
    Duration::from_secs(number.parse::<u64>().unwrap_or_else(|error| panic!("{text}: {error}")) * seconds)
}

/// Every (source, target) that an example for Alertmanager can hold back.
fn held_back(inhibit_rules: &[Inhibition], alerts: &BTreeMap<String, Rule>) -> BTreeSet<(String, String)> {
    let known = known();
    let of = |name: &str, rule: &Rule| known.labels_of(&rule.parsed(), name);
    let made: BTreeMap<_, _> = alerts.iter().map(|(name, rule)| (name.as_str(), of(name, rule))).collect();
    let mut pairs = BTreeSet::new();
    for Inhibition { source_matchers, target_matchers, equal } in inhibit_rules {
        let hit = |matchers: &[String]| -> Vec<&String> {
            let hit =
                |(name, rule): &(&String, &Rule)| matches(matchers, &labels(name, &rule.labels["severity"]));
            alerts.iter().filter(hit).map(|(name, _)| name).collect()
        };
        for source in hit(source_matchers) {
            for target in hit(target_matchers) {
                if can_meet(equal, &made[source.as_str()], &made[target.as_str()]) {
                    pairs.insert((source.clone(), target.clone()));
                }
            }
        }
    }
    pairs
}

/// After a repair Alertmanager sends whatever is not held back any more and still fires: a false ticket.
#[test]
fn what_is_held_back_ends_before_what_holds_it_back() {
    let Config { inhibit_rules } = yaml(&example());
    let alerts = alerts();
    let pairs = held_back(&inhibit_rules, &alerts);
    let keeps = |name: &str| alerts[name].keep_firing_for.as_deref().map(duration);
    let mut excepted = BTreeSet::new();
    let mut wrong = Vec::new();
    let mut judged = 0;
    for (source, target) in &pairs {
        // What is declared ends when it is declared to: what is still true then is news.
        let Some(source_keeps) = keeps(source) else { continue };
        judged += 1;
        let target_keeps = keeps(target).expect("whatever is held back is measured");
        if NEVER_TOGETHER.iter().any(|(s, t, _)| s == source && t == target) {
            excepted.insert((source.as_str(), target.as_str()));
            let excludes = alerts[target].expr.contains("unless on (cluster, site, system)");
            let begun = duration(alerts[source].pending.as_deref().expect("a page waits"));
            if !excludes || target_keeps > begun + source_keeps {
                wrong.push(format!("{target} may outlast {source}, which it is said never to meet"));
            }
            continue;
        }
        let special = REMEMBERS.iter().find(|(name, ..)| name == target);
        let memory = special.map_or_else(|| remembers(&alerts[target].parsed()), |(_, memory, _)| *memory);
        if memory + target_keeps + LATER > source_keeps {
            wrong.push(format!(
                "{target} remembers {memory:?} and keeps {target_keeps:?}: not {LATER:?} less than {source}, {source_keeps:?}"
            ));
        }
    }
    assert!(judged > 100, "{judged} pairs: {pairs:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(excepted.len(), NEVER_TOGETHER.len(), "an exception that is none: {excepted:?}");
    for (name, memory, _) in REMEMBERS {
        assert!(remembers(&alerts[*name].parsed()) > *memory, "{name} needs no exception");
        assert!(pairs.iter().any(|(_, target)| target == name), "nothing holds back {name}");
    }
}

/// What is due at exactly a tick may miss it by a hair and go out at the next one.
#[test]
fn the_heartbeat_goes_out_each_minute() {
    let config: serde_json::Value = yaml(&example());
    let routes = config["route"]["routes"].as_array().expect("routes");
    let route = routes
        .iter()
        .find(|route| route["receiver"] == "dead-mans-switch")
        .expect("the route of the heartbeat");
    let time = |key: &str| duration(route[key].as_str().unwrap_or_else(|| panic!("{key} is missing")));
    let (tick, repeat) = (time("group_interval"), time("repeat_interval"));
    assert!(tick <= repeat, "Alertmanager warns of that");
    let ticks = repeat.as_secs() / tick.as_secs() + 1;
    assert_eq!(tick * u32::try_from(ticks).expect("few ticks"), Duration::from_secs(60));
}

#[test]
fn what_is_held_back_is_about_the_same_site_and_never_the_heartbeat() {
    let Config { inhibit_rules } = yaml(&example());
    let alerts = alerts();
    for Inhibition { source_matchers, target_matchers, equal } in &inhibit_rules {
        assert!(equal.contains("cluster") && equal.contains("site"), "{source_matchers:?}: equal {equal:?}");
        let hit = |matchers: &[String]| -> BTreeSet<&str> {
            let of =
                |(name, rule): &(&String, &Rule)| matches(matchers, &labels(name, &rule.labels["severity"]));
            alerts.iter().filter(of).map(|(name, _)| name.as_str()).collect()
        };
        let (sources, targets) = (hit(source_matchers), hit(target_matchers));
        assert!(!sources.is_empty() && !targets.is_empty(), "{source_matchers:?} holds back nothing");
        assert!(!targets.contains("DrHeartbeat"), "{source_matchers:?} holds back the heartbeat");
        assert!(sources.is_disjoint(&targets), "{source_matchers:?} holds back itself");
        // Identity is never gated, and nothing that is declared may hold back a page.
        assert!(
            !targets.contains("DrSiteIdentityWrong"),
            "{source_matchers:?} holds back the wrong identity"
        );
        let declared = sources.contains("DrMaintenance") || sources.contains("DrDrill");
        let pages = targets.iter().filter(|name| alerts[**name].labels["severity"] == "critical").count();
        assert!(!declared || pages == 0, "{source_matchers:?} holds back pages");
    }
    let details = |page: &str| -> BTreeSet<&str> {
        let rules =
            inhibit_rules.iter().filter(|rule| matches(&rule.source_matchers, &labels(page, "critical")));
        rules
            .flat_map(|rule| {
                alerts
                    .iter()
                    .filter(|(name, alert)| {
                        matches(&rule.target_matchers, &labels(name, &alert.labels["severity"]))
                    })
                    .map(|(name, _)| name.as_str())
            })
            .collect()
    };
    for page in ["DrSiteHealthyButUnusable", "DrSiteUnusable"] {
        let details = details(page);
        for detail in [
            "DrSyntheticQueryFailing",
            "DrDatabaseInWrongRegion",
            "DrSurfaceContradicted",
            "DrPodsCannotStart",
        ] {
            assert!(details.contains(detail), "{page} does not hold back {detail}");
        }
        for watcher in [
            "DrSystemUnwatched",
            "DrObservationsStale",
            "DrVerdictUnknown",
            "DrReplicasDisagree",
            "DrCheckStale",
        ] {
            assert!(!details.contains(watcher), "{page} holds back {watcher}");
        }
    }
}
