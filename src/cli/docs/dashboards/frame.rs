//! What is around the panels of every dashboard: variables, links, annotations. Pure.

use serde_json::{Value, json};

use super::panel::{Row, datasource, lay_out};
use super::query;
use super::words;
use crate::metrics::catalogue as c;
use crate::report::runbook::{self, REPOSITORY};

/// By this tag the dashboards find each other.
const TAG: &str = "dr-exporter";
/// What a link carries over beside what it chooses itself.
const KEPT: &str = "${__url_time_range}&${datasource:queryparam}&${job:queryparam}&${instance:queryparam}&${cluster:queryparam}";

/// One whole dashboard as text.
pub(super) fn dashboard(uid: &str, title: &str, description: &str, rows: &[Row]) -> String {
    let json = json!({
        "uid": uid,
        "title": title,
        "description": description,
        "tags": [TAG],
        "schemaVersion": 42,
        "editable": false,
        "graphTooltip": 1,
        "timezone": "utc",
        "time": { "from": "now-6h", "to": "now" },
        "timepicker": {},
        "refresh": "30s",
        "weekStart": "",
        "fiscalYearStartMonth": 0,
        "liveNow": false,
        "links": links(),
        "templating": { "list": variables() },
        "annotations": { "list": annotations() },
        "panels": lay_out(rows),
    });
    // The alternate form of a `Value` is its pretty form, and cannot fail.
    format!("{json:#}\n")
}

/// A link to a site and system, whose names are read from these fields.
pub(super) fn to_site(site: &str, system: &str) -> Value {
    let url = format!("/d/dr-site?var-site=${{{site}}}&var-system=${{{system}}}&{KEPT}");
    json!({ "title": "Site and system: claims beside tries", "url": url, "targetBlank": false })
}

/// A link to the exporters that see the chosen systems.
pub(super) fn to_exporter() -> Value {
    let url = format!("/d/dr-exporter?${{site:queryparam}}&${{system:queryparam}}&{KEPT}");
    json!({ "title": "The exporters themselves", "url": url, "targetBlank": false })
}

/// A link to the runbook of the alert that this field names.
pub(super) fn to_runbook(alert: &str) -> Value {
    json!({ "title": "Runbook", "url": runbook::url(&format!("${{{alert}}}")), "targetBlank": true })
}

/// A link to a file of the repository.
pub(super) fn to_file(title: &str, path: &str) -> Value {
    json!({ "title": title, "url": format!("{REPOSITORY}{path}"), "targetBlank": true })
}

fn links() -> Value {
    let file = |title: &str, path: &str| {
        json!({
            "type": "link", "title": title, "url": format!("{REPOSITORY}{path}"), "icon": "doc", "tooltip": "",
            "tags": [], "asDropdown": false, "includeVars": false, "keepTime": false, "targetBlank": true,
        })
    };
    json!([
        {
            "type": "dashboards", "title": "Disaster recovery", "url": "", "icon": "external link", "tooltip": "",
            "tags": [TAG], "asDropdown": false, "includeVars": true, "keepTime": true, "targetBlank": false,
        },
        file("Checks and reasons", "docs/checks.md"),
        file("Metrics", "docs/metrics.md"),
    ])
}

fn variables() -> Value {
    // What any exporter exposes, a replica that stands by too.
    let exporters = c::BUILD_INFO.name;
    let systems = c::SYSTEM_INFO.name;
    let here = r#"job=~"$job", instance=~"$instance", cluster=~"$cluster""#;
    json!([
        {
            "name": "datasource", "type": "datasource", "label": "Data source", "description": "The Prometheus that scrapes the exporters",
            "query": "prometheus", "regex": "", "hide": 0, "refresh": 1, "multi": false, "includeAll": false,
            "skipUrlSync": false, "options": [],
        },
        variable("job", "Job", ".+", "The scrape job of the exporters", &format!("label_values({exporters}, job)")),
        variable(
            "cluster", "Cluster", ".*", "The label that tells several clusters apart; may be missing",
            &format!(r#"label_values({exporters}{{job=~"$job"}}, cluster)"#),
        ),
        variable(
            "instance", "Instance", ".+", "One of several exporters",
            &format!(r#"label_values({exporters}{{job=~"$job", cluster=~"$cluster"}}, instance)"#),
        ),
        variable("site", "Site", ".*", "The site that is watched", &format!("label_values({systems}{{{here}}}, site)")),
        variable(
            "system", "System", ".*", "The system that is watched",
            &format!(r#"label_values({systems}{{{here}, site=~"$site"}}, system)"#),
        ),
    ])
}

fn variable(name: &str, label: &str, all: &str, description: &str, query: &str) -> Value {
    json!({
        "name": name, "type": "query", "label": label, "description": description, "datasource": datasource(),
        "definition": query, "query": { "query": query, "refId": format!("Variable-{name}") }, "regex": "",
        // On change of the time range.
        "refresh": 2,
        "sort": 1, "multi": true, "includeAll": true, "allValue": all, "hide": 0, "skipUrlSync": false, "options": [],
        "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
    })
}

fn annotations() -> Value {
    let verdict = format!(
        "1000 * ({} * on (cluster, site, system) group_left () {})",
        query::standing(&c::VERDICT, "verdict"),
        query::max(&c::VERDICT_SINCE, "")
    );
    let gate = |metric| format!("{} == 1", query::max(metric, ""));
    json!([
        {
            "builtIn": 1, "name": "Annotations & Alerts", "type": "dashboard", "enable": true, "hide": true,
            "iconColor": "rgba(0, 211, 255, 1)", "datasource": { "type": "grafana", "uid": "-- Grafana --" },
        },
        annotation("Verdict changes", words::RED, &verdict, "{{site}} / {{system}}: {{verdict}}", true),
        annotation("Maintenance", words::CLAIM, &gate(&c::MAINTENANCE_ACTIVE), "{{site}} / {{system}}: maintenance", false),
        annotation("Drills", words::CLAIM, &gate(&c::DRILL_ACTIVE), "{{site}} / {{system}}: drill", false),
        annotation("Alerts", words::AMBER, &alerts("alertname, severity"), "{{alertname}}: {{site}} {{system}}", false),
    ])
}

/// A query whose points are marks; with `at_value` each at the moment that its value is, in milliseconds.
fn annotation(name: &str, color: &str, expr: &str, title: &str, at_value: bool) -> Value {
    json!({
        "name": name, "enable": true, "hide": false, "iconColor": color, "datasource": datasource(),
        "expr": expr, "step": "60s", "titleFormat": title, "textFormat": "", "tagKeys": "",
        "useValueForTime": if at_value { "on" } else { "" },
    })
}

/// The alerts that fire, of the chosen sites and of no site in particular, by system and these labels.
pub(super) fn alerts(labels: &str) -> String {
    format!(
        r#"max by ({}) (ALERTS{{alertstate="firing", alertname=~"Dr.+", alertname!="DrHeartbeat", cluster=~"$cluster|", site=~"$site|", system=~"$system|"}})"#,
        query::by(labels)
    )
}
