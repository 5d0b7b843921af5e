//! What the exporter exposes, and which alert answers for which lie of the catalogue.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::OnceLock;

use dr_exporter::metrics::catalogue::{all, label_values};
use dr_exporter::model::{Check, Shape};
use serde::Deserialize;

use super::promql::Known;
use super::{alerts, alerts_dir, read, stems, yaml};
use crate::lab::run::repository;

/// Ids with an alert and without a gap that are not played from the fault to the page, and why.
const NOT_PLAYED: [(&str, &str); 3] = [
    (
        "L74",
        "takes two sites that read each other: played to the check in tests/it/drift.rs, from there in the rule's tests",
    ),
    ("L93", "no exporter of ours can be made to expose it"),
    ("L100", "all servers of the lab share one clock"),
];

/// A lie or an honest twin of the catalogue, and what answers for it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    what: String,
    #[serde(default)]
    checks: Vec<String>,
    #[serde(default)]
    metrics: Vec<String>,
    #[serde(default)]
    alerts: Vec<String>,
    #[serde(default)]
    tests: Vec<String>,
    gap: Option<String>,
}

/// Everything of the catalogue of metrics, as the rules may read it.
pub fn exported() -> Known {
    let mut known = Known::new();
    for metric in all() {
        let names: Vec<String> = match metric.shape {
            Shape::Gauge | Shape::Counter => vec![metric.name.to_owned()],
            Shape::Histogram(_) => {
                ["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", metric.name)).into()
            }
        };
        for name in names {
            let more: &[&str] = if name.ends_with("_bucket") { &["le"] } else { &[] };
            known.add_exported(&name, &[metric.labels, more].concat());
            for label in metric.labels {
                if let Some(values) = label_values(metric, label) {
                    known.close(&name, label, values);
                }
            }
        }
    }
    known
}

fn entries() -> Vec<Entry> {
    yaml(&alerts_dir().join("catalogue.yaml"))
}

/// `L01`, `L02`, ... as the catalogue numbers its lies, `T01` ... its twins.
fn number(id: &str) -> (char, u32) {
    let mut characters = id.chars();
    let kind = characters.next().expect("an id");
    (kind, characters.as_str().parse().unwrap_or_else(|error| panic!("{id}: {error}")))
}

#[test]
fn each_id_of_the_catalogue_has_an_answer_or_a_named_gap() {
    let alerts: BTreeSet<_> = alerts().into_keys().collect();
    let mut tests = stems(&alerts_dir().join("tests"), ".test.yaml");
    tests.insert("tests/it".to_owned());
    let known: BTreeSet<_> = all().iter().map(|m| m.name).collect();
    let checks: BTreeSet<_> = Check::ALL.iter().map(|check| check.as_str()).collect();
    let entries = entries();
    let ids: Vec<_> = entries.iter().map(|entry| number(&entry.id)).collect();
    let mut sorted = ids.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(ids, sorted, "in order, and each once");
    for Entry { id, checks: asked, metrics, alerts: fired, tests: shown, gap, what } in &entries {
        assert!(!what.is_empty(), "{id}");
        for check in asked {
            assert!(checks.contains(check.as_str()), "{id}: there is no check {check}");
        }
        for metric in metrics {
            assert!(known.contains(metric.as_str()), "{id}: there is no metric {metric}");
        }
        for alert in fired {
            assert!(alerts.contains(alert), "{id}: there is no alert {alert}");
            assert!(
                shown.contains(alert) || shown.iter().any(|s| s == "incident"),
                "{id}: {alert} is not in its tests"
            );
        }
        for test in shown {
            assert!(tests.contains(test), "{id}: there is no test {test}");
        }
        assert!(gap.is_some() || !shown.is_empty(), "{id} has neither a test nor a gap");
        let (tested, played) = in_the_lab(id);
        assert!(
            !shown.iter().any(|s| s == "tests/it") || !tested.is_empty(),
            "{id}: no test of tests/it bears its name"
        );
        let excused = NOT_PLAYED.iter().any(|(excused, _)| excused == id);
        let due = gap.is_none() && !fired.is_empty() && id.starts_with('L');
        assert_eq!(due && played.is_empty(), excused, "{id}: played from the fault to the page, or excused");
        assert!(
            gap.is_some() || id.starts_with('T') || !fired.is_empty(),
            "{id} has neither an alert nor a gap"
        );
    }
    let answered: BTreeSet<_> = entries.iter().flat_map(|entry| entry.alerts.iter().cloned()).collect();
    assert!(answered.is_subset(&alerts));
}

#[test]
fn the_tables_in_docs_are_what_the_files_say() {
    for (file, made) in [("docs/catalogue.md", ids_table()), ("docs/alerts.md", alerts_table())] {
        let path = repository().join(file);
        if std::env::var_os("DR_WRITE_DOCS").is_some() {
            let text = if path.exists() { read(&path) } else { String::new() };
            let head = text.split_once("<!-- generated -->\n").map_or("", |(head, _)| head).to_owned();
            std::fs::write(&path, format!("{head}<!-- generated -->\n{made}")).expect("write the table");
        }
        let text = read(&path);
        let (_, table) =
            text.split_once("<!-- generated -->\n").unwrap_or_else(|| panic!("{file} has no mark"));
        assert!(
            table == made,
            "{file} is not what the files say: DR_WRITE_DOCS=1 cargo test --test it alerts::catalogue"
        );
    }
}

/// The files below `tests/it` with a test that bears this id in its name, and those that play it to the page.
fn in_the_lab(id: &str) -> (Vec<String>, Vec<String>) {
    static FILES: OnceLock<Vec<(String, String)>> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        let mut files = Vec::new();
        let mut dirs = vec![repository().join("tests/it")];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(&dir).expect("tests/it") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    dirs.push(path);
                } else {
                    let name = path.strip_prefix(repository()).expect("a path in here").display().to_string();
                    files.push((name, read(&path)));
                }
            }
        }
        files.sort();
        files
    });
    let having = |within: &str, text: &str| -> Vec<String> {
        let found = files.iter().filter(|(name, code)| name.starts_with(within) && code.contains(text));
        found.map(|(name, _)| name.clone()).collect()
    };
    let named = format!("async fn {}_", id.to_lowercase());
    let mut played = having("tests/it/paging", &format!("\"{id}\""));
    played.retain(|name| !name.ends_with("/stage.rs"));
    (having("tests/it/", &named), played)
}

fn ids_table() -> String {
    let mut text = "| id | what | checks | metrics | alerts | tests of the alert | tests in the lab | to the page | gap |\n\
                    |---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    let code = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ");
    for Entry { id, what, checks, metrics, alerts, tests, gap } in entries() {
        let runbook = |name: &String| format!("[{name}](../alerts/runbooks/{name}.md)");
        let alerts = alerts.iter().map(runbook).collect::<Vec<_>>().join(" ");
        let rules = tests.iter().filter(|name| *name != "tests/it");
        let rules: Vec<_> = rules.map(|name| format!("[{name}](../alerts/tests/{name}.test.yaml)")).collect();
        let code_of = |files: Vec<String>| {
            let link = |file: &String| format!("[{}](../{file})", file.trim_start_matches("tests/it/"));
            files.iter().map(link).collect::<Vec<_>>().join(" ")
        };
        let (tested, played) = in_the_lab(&id);
        let gap = gap.unwrap_or_default();
        writeln!(
            text,
            "| {id} | {what} | {} | {} | {alerts} | {} | {} | {} | {gap} |",
            code(&checks),
            code(&metrics),
            rules.join(" "),
            code_of(tested),
            code_of(played)
        )
        .expect("write to a string");
    }
    text
}

fn alerts_table() -> String {
    let mut text = "| alert | severity | for | meaning |\n|---|---|---|---|\n".to_owned();
    for severity in ["critical", "warning", "info"] {
        for (name, rule) in alerts().into_iter().filter(|(_, rule)| rule.labels["severity"] == severity) {
            let pending = rule.pending.as_deref().unwrap_or("at once");
            let summary = &rule.annotations["summary"];
            writeln!(text, "| [{name}](../alerts/runbooks/{name}.md) | {severity} | {pending} | {summary} |")
                .expect("write to a string");
        }
    }
    text
}
