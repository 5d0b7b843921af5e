//! What alerts, their tests, their runbooks and the example for Alertmanager owe each other and the catalogue of metrics.
//!
//! promtool and amtool say whether the files are valid and whether the tests pass; what they cannot know is said here:
//! that every selector names a metric, a label and a value that the exporter really exposes, that nothing is missing on
//! one of the sides, and that what is read at 3 a.m. can be pasted.

mod catalogue;
mod promql;
mod routes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use dr_exporter::model::Check;
use promql_parser::parser::{Expr, parse};
use serde::Deserialize;

use crate::lab::run::repository;
use crate::lab::{PromVersion, promtool};
use promql::{Known, selectors};

/// Tests that belong to no single alert.
const SHARED_TESTS: &[&str] = &["a-day-later", "incident", "recordings"];
const HEADINGS: &[&str] =
    &["Meaning", "Impact", "Diagnosis", "Mitigation", "False positives and maintenance", "Escalation"];
const RUNBOOKS: &str = "https://github.com/dr-exporter/dr-exporter/blob/main/alerts/runbooks/";
const NEVER: &str = "Never run `terraform apply`";

#[derive(Debug, Deserialize)]
struct RuleFile {
    groups: Vec<Group>,
}

#[derive(Debug, Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

/// A rule as it is written.
#[derive(Clone, Debug, Deserialize)]
struct Rule {
    alert: Option<String>,
    record: Option<String>,
    expr: String,
    #[serde(rename = "for")]
    pending: Option<String>,
    keep_firing_for: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct TestFile {
    tests: Vec<Case>,
}

#[derive(Debug, Deserialize)]
struct Case {
    input_series: Vec<Input>,
    #[serde(default)]
    alert_rule_test: Vec<Expected>,
}

#[derive(Debug, Deserialize)]
struct Input {
    series: String,
}

#[derive(Debug, Deserialize)]
struct Expected {
    alertname: String,
    #[serde(default)]
    exp_alerts: Vec<ExpectedAlert>,
}

#[derive(Debug, Deserialize)]
struct ExpectedAlert {
    exp_labels: BTreeMap<String, String>,
    #[serde(default)]
    exp_annotations: BTreeMap<String, String>,
}

// === files ===

fn alerts_dir() -> PathBuf {
    repository().join("alerts")
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a directory whose names end so, sorted.
fn files(dir: &Path, end: &str) -> Vec<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir(dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.expect("a directory entry").path())
        .filter(|path| path.to_string_lossy().ends_with(end))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no *{end} in {}", dir.display());
    found
}

/// The names of such files without their end.
fn stems(dir: &Path, end: &str) -> BTreeSet<String> {
    let name = |path: PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
    files(dir, end).into_iter().map(name).map(|name| name[..name.len() - end.len()].to_owned()).collect()
}

fn yaml<T: serde::de::DeserializeOwned>(path: &Path) -> T {
    serde_saphyr::from_str(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rules() -> Vec<Rule> {
    let groups =
        files(&alerts_dir(), ".rules.yaml").into_iter().flat_map(|file| yaml::<RuleFile>(&file).groups);
    groups.flat_map(|group| group.rules).collect()
}

/// Every alert by its name.
fn alerts() -> BTreeMap<String, Rule> {
    let named = rules().into_iter().filter_map(|rule| Some((rule.alert.clone()?, rule)));
    let all: Vec<_> = named.collect();
    let unique: BTreeMap<_, _> = all.iter().cloned().collect();
    assert_eq!(all.len(), unique.len(), "an alert is written twice");
    unique
}

// === impl Rule ===

impl Rule {
    fn name(&self) -> &str {
        self.alert.as_deref().or(self.record.as_deref()).expect("a rule alerts or records")
    }

    fn parsed(&self) -> Expr {
        parse(&self.expr).unwrap_or_else(|error| panic!("{}: {error}", self.name()))
    }
}

/// What rules may read: the catalogue, what they record themselves, and what Prometheus adds.
fn known() -> Known {
    let mut known = catalogue::exported();
    for rule in rules() {
        if let Some(record) = &rule.record {
            let labels = known.labels_of(&rule.parsed(), record);
            known.add(record, labels);
        }
    }
    known
}

// === tests ===

#[test]
fn every_selector_names_what_the_exporter_really_exposes() {
    let known = known();
    for rule in rules() {
        let expr = rule.parsed();
        for selector in selectors(&expr) {
            known.check(selector, rule.name());
        }
        // Panics with the name of the rule if it groups or matches by a label that is not there.
        let labels = known.labels_of(&expr, rule.name());
        for (annotation, text) in &rule.annotations {
            for part in text.split("$labels.").skip(1) {
                let label: String =
                    part.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                assert!(
                    labels.contains(&label),
                    "{}: {annotation} uses {label}, but the alert has {labels:?}",
                    rule.name()
                );
            }
        }
        for query in queries_in(&rule) {
            let expr = parse(&query).unwrap_or_else(|error| panic!("{}: {error}: {query}", rule.name()));
            selectors(&expr).into_iter().for_each(|selector| known.check(selector, rule.name()));
        }
    }
}

/// The queries that the annotations of a rule ask, with an example in the place of every label.
fn queries_in(rule: &Rule) -> Vec<String> {
    let text = rule.annotations.get("reasons").cloned().unwrap_or_default();
    let query = |part: &str| {
        let end = part.find("\" $labels").expect("the query of a template ends before its labels");
        part[..end].replace("%q", "\"x\"").replace("\\\"", "\"")
    };
    text.split("(printf \"").skip(1).map(query).collect()
}

#[test]
fn alerts_say_what_whoever_is_called_needs() {
    for (name, Rule { labels, annotations, pending, keep_firing_for, expr, .. }) in alerts() {
        let severity = labels.get("severity").unwrap_or_else(|| panic!("{name} has no severity"));
        assert!(["critical", "warning", "info"].contains(&severity.as_str()), "{name}: severity {severity}");
        assert_eq!(
            labels.len(),
            1,
            "{name}: a label beside the severity changes who is grouped and inhibited"
        );
        for needed in ["summary", "description", "runbook_url", "dashboard_url"] {
            let text = annotations.get(needed).unwrap_or_else(|| panic!("{name} has no {needed}"));
            assert!(!text.trim().is_empty(), "{name}: {needed} is empty");
        }
        assert!(!annotations["summary"].contains("{{"), "{name}: a summary is constant");
        assert!(!annotations["description"].contains("query ("), "{name}: hosted rulers cannot ask queries");
        assert_eq!(annotations["runbook_url"], format!("{RUNBOOKS}{name}.md"));
        let dashboard = &annotations["dashboard_url"];
        let boards = ["/d/dr-fleet", "/d/dr-site?", "/d/dr-exporter"];
        assert!(boards.iter().any(|board| dashboard.starts_with(board)), "{name}: {dashboard}");
        // Declared states are said at once, and end at once; whatever is measured has to last.
        let measured = severity != "info";
        assert_eq!(pending.is_some(), measured, "{name}: `for`");
        assert_eq!(keep_firing_for.is_some(), measured, "{name}: `keep_firing_for`");
        assert!(
            promql::decides(&parse(&expr).expect("an expression")),
            "{name} would fire for whatever there is"
        );
    }
}

#[test]
fn recorded_series_are_named_level_metric_operation() {
    for rule in rules().iter().filter(|rule| rule.record.is_some()) {
        let parts: Vec<_> = rule.name().split(':').collect();
        assert_eq!(parts.len(), 3, "{}: level:metric:operation", rule.name());
        let op = match rule.parsed() {
            Expr::Aggregate(aggregate) => aggregate.op.to_string(),
            other => panic!("{}: records what is not aggregated: {other}", rule.name()),
        };
        assert_eq!(parts[2], op, "{}", rule.name());
    }
}

#[test]
fn each_alert_has_a_test_and_a_runbook_and_no_other_is_there() {
    let names: BTreeSet<_> = alerts().into_keys().collect();
    assert_eq!(stems(&alerts_dir().join("runbooks"), ".md"), names);
    let mut tests = stems(&alerts_dir().join("tests"), ".test.yaml");
    for shared in SHARED_TESTS {
        assert!(tests.remove(*shared), "{shared}.test.yaml is missing");
    }
    assert_eq!(tests, names);
}

#[test]
fn each_test_shows_its_alert_firing_in_full_and_silent_with_and_without_a_cluster() {
    for (name, rule) in alerts() {
        let file: TestFile = yaml(&alerts_dir().join(format!("tests/{name}.test.yaml")));
        let expected: Vec<_> = file
            .tests
            .iter()
            .flat_map(|case| &case.alert_rule_test)
            .filter(|e| e.alertname == name)
            .collect();
        let fired: Vec<_> = expected.iter().flat_map(|e| &e.exp_alerts).collect();
        assert!(expected.iter().any(|e| e.exp_alerts.is_empty()), "{name}: never silent");
        for clustered in [true, false] {
            let one = fired.iter().any(|alert| alert.exp_labels.contains_key("cluster") == clustered);
            assert!(one, "{name}: never fires with cluster = {clustered}");
        }
        for alert in &fired {
            assert_eq!(alert.exp_labels["severity"], rule.labels["severity"], "{name}");
            let said: BTreeSet<_> = alert.exp_annotations.keys().collect();
            assert_eq!(said, rule.annotations.keys().collect(), "{name}: a test states all annotations");
        }
        let gap = |case: &Case| !case.input_series.is_empty();
        assert!(file.tests.iter().all(gap), "{name}: a case without series");
        let text = read(&alerts_dir().join(format!("tests/{name}.test.yaml")));
        assert!(text.contains("stale"), "{name}: series never vanish");
    }
}

#[test]
fn tests_speak_of_series_that_exist() {
    let known = known();
    for path in files(&alerts_dir().join("tests"), ".test.yaml") {
        let file: TestFile = yaml(&path);
        for Input { series } in file.tests.iter().flat_map(|case| &case.input_series) {
            let expr = parse(series).unwrap_or_else(|error| panic!("{}: {error}: {series}", path.display()));
            selectors(&expr).into_iter().for_each(|selector| known.check(selector, &path.to_string_lossy()));
        }
    }
}

#[test]
fn every_check_has_an_alert_and_the_last_resort_has_the_others() {
    let alerts = alerts();
    let mut own = BTreeSet::from(["site_identity".to_owned()]);
    let mut excluded = BTreeSet::new();
    for (name, rule) in alerts.iter().filter(|(_, rule)| rule.labels["severity"] == "warning") {
        let expr = rule.parsed();
        for selector in
            selectors(&expr).iter().filter(|s| s.name.as_deref() == Some("check:dr_check_failing:min"))
        {
            for matcher in &selector.matchers.matchers {
                match (name.as_str(), matcher.name.as_str()) {
                    ("DrCheckFailing", "check") => {
                        excluded.extend(matcher.value.split('|').map(str::to_owned));
                    }
                    (_, "check") => {
                        assert!(own.insert(matcher.value.clone()), "two alerts for {}", matcher.value);
                    }
                    _ => {}
                }
            }
        }
    }
    assert_eq!(
        excluded, own,
        "DrCheckFailing must leave out exactly the checks that have an alert of their own"
    );
    let checks: BTreeSet<_> = Check::ALL.iter().map(|check| check.as_str().to_owned()).collect();
    assert!(own.is_subset(&checks), "{:?}", own.difference(&checks));
}

#[test]
fn runbooks_can_be_followed_at_night() {
    let known = known();
    for (name, rule) in alerts() {
        let text = read(&alerts_dir().join(format!("runbooks/{name}.md")));
        let title = text.lines().next();
        assert_eq!(title, Some(format!("# {name}").as_str()));
        let severity = format!("Severity {}. {}", rule.labels["severity"], rule.annotations["summary"]);
        assert!(text.contains(&severity), "{name}: `{severity}` is not said");
        let headings: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(headings, HEADINGS, "{name}");
        let commands = block(&text, "sh").unwrap_or_else(|| panic!("{name}: no command"));
        assert_eq!(commands.len(), 1, "{name}: one command confirms");
        let queries = block(&text, "promql").unwrap_or_else(|| panic!("{name}: no queries"));
        assert_eq!(queries.len(), 3, "{name}: three queries");
        for query in queries {
            let expr = parse(query).unwrap_or_else(|error| panic!("{name}: {error}: {query}"));
            selectors(&expr).into_iter().for_each(|selector| known.check(selector, &name));
        }
        assert!(text.contains("What not to do:"), "{name}: says nothing of what not to do");
        assert_eq!(
            text.matches("terraform apply").count(),
            text.matches(NEVER).count(),
            "{name}: advises it"
        );
        if rule.labels["severity"] == "critical" {
            assert!(text.contains(NEVER), "{name}: a page warns of `terraform apply`");
        }
    }
}

/// The lines of the first fenced block of a language.
fn block<'a>(text: &'a str, language: &str) -> Option<Vec<&'a str>> {
    let (_, rest) = text.split_once(&format!("```{language}\n"))?;
    Some(rest.split_once("\n```")?.0.lines().collect())
}

#[test]
fn the_old_promtool_agrees() {
    promtool_agrees(PromVersion::Old);
}

#[test]
fn the_current_promtool_agrees() {
    promtool_agrees(PromVersion::New);
}

fn promtool_agrees(version: PromVersion) {
    let tool = promtool(version);
    let rules = files(&alerts_dir(), ".rules.yaml");
    let tests = files(&alerts_dir().join("tests"), ".test.yaml");
    for arguments in [("check", rules), ("test", tests)] {
        let (verb, files) = arguments;
        let out = Command::new(&tool).args([verb, "rules"]).args(&files).output().expect("promtool starts");
        let said =
            [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(out.status.success(), "{} {verb} rules: {said}", tool.display());
    }
}

/// A part of the mutants, always the same ones; `make mutants` plays all of them.
#[test]
fn a_rule_that_is_changed_fails_a_test() {
    let out = Command::new(alerts_dir().join("tests/mutants"))
        .args(["--sample", "60", "--jobs", "2", "--promtool"])
        .arg(promtool(PromVersion::Old))
        .output()
        .expect("python3 starts: `make lab` installs it");
    let said = [out.stdout, out.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(out.status.success(), "{said}");
}
