//! Where Alertmanager sends what fires, and what it holds back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use regex::Regex;
use serde::Deserialize;

use super::{alerts, alerts_dir, read, yaml};
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

#[test]
fn what_is_held_back_is_about_the_same_site_and_never_the_heartbeat() {
    let Config { inhibit_rules } = yaml(&example());
    let alerts = alerts();
    for Inhibition { source_matchers, target_matchers, equal } in &inhibit_rules {
        assert!(equal.contains("cluster") && equal.contains("site"), "{source_matchers:?}: equal {equal:?}");
        let hit = |matchers: &[String]| -> BTreeSet<&str> {
            let of = |(name, rule): &(&String, &super::Rule)| {
                matches(matchers, &labels(name, &rule.labels["severity"]))
            };
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
