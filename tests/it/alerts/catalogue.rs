//! What the exporter exposes, and which alert answers for which lie of the catalogue.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use dr_exporter::metrics::catalogue::{all, label_values};
use dr_exporter::model::{Check, Shape};
use serde::Deserialize;

use super::promql::Known;
use super::{alerts, alerts_dir, read, stems, yaml};
use crate::lab::run::repository;

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

fn ids_table() -> String {
    let mut text =
        "| id | what | checks | metrics | alerts | tests | gap |\n|---|---|---|---|---|---|---|\n".to_owned();
    let code = |names: &[String]| names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" ");
    for Entry { id, what, checks, metrics, alerts, tests, gap } in entries() {
        let runbook = |name: &String| format!("[{name}](../alerts/runbooks/{name}.md)");
        let alerts = alerts.iter().map(runbook).collect::<Vec<_>>().join(" ");
        let test = |name: &String| match name.as_str() {
            "tests/it" => "[tests/it](../tests/it)".to_owned(),
            _ => format!("[{name}](../alerts/tests/{name}.test.yaml)"),
        };
        let tests = tests.iter().map(test).collect::<Vec<_>>().join(" ");
        let gap = gap.unwrap_or_default();
        writeln!(
            text,
            "| {id} | {what} | {} | {} | {alerts} | {tests} | {gap} |",
            code(&checks),
            code(&metrics)
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
