//! The seventeen rules of grafana/dashboard-linter, restated from `lint/rule_*.go` of its repository: the program itself
//! cannot be installed here. What it judges for some kinds of panels only is demanded of all.

use std::time::Duration;

use promql_parser::label::MatchOp;
use promql_parser::parser::parse;
use serde_json::{Value, json};

use super::promql::{chosen, selectors};
use super::{all, asked, list, panels, text, variables};

/// Units of Grafana that we use, of its `valueFormats/categories.ts`.
const UNITS: [&str; 6] = ["none", "s", "bytes", "percentunit", "cps", "reqps"];
/// Series that have no label of a target: Prometheus makes them of rules. The linter is told so by an exclusion.
const OF_RULES: &str = "ALERTS";

/// The names of the rules that are broken, each with its place.
fn lint(dashboard: &Value) -> Vec<(&'static str, String)> {
    let mut broken = Vec::new();
    frame(dashboard, &mut broken);
    for panel in panels(dashboard) {
        let title = text(&panel["title"]).to_owned();
        let mut must = |rule, holds: bool| {
            if !holds {
                broken.push((rule, title.clone()));
            }
        };
        let templated = |source: &Value| source["uid"] == "${datasource}";
        must("panel-datasource-rule", templated(&panel["datasource"]));
        must("panel-title-description-rule", !title.is_empty() && !text(&panel["description"]).is_empty());
        must("panel-units-rule", UNITS.contains(&text(&panel["fieldConfig"]["defaults"]["unit"])));
        must("panel-no-targets-rule", !list(&panel["targets"]).is_empty());
        for target in list(&panel["targets"]) {
            // Only Prometheus is asked: a query of Loki's has no place here, and its ranges would have to be automatic.
            let (prometheus, expr) = (target["datasource"]["type"] == "prometheus", text(&target["expr"]));
            must("target-logql-rule", prometheus);
            must("target-logql-auto-rule", prometheus || expr.contains("[$__auto]"));
            if prometheus {
                query(expr, &mut must);
            }
        }
    }
    broken
}

fn frame(dashboard: &Value, broken: &mut Vec<(&'static str, String)>) {
    let mut must = |rule, holds: bool| {
        if !holds {
            broken.push((rule, String::new()));
        }
    };
    let templating = list(&dashboard["templating"]["list"]);
    let sources: Vec<_> = templating.iter().filter(|variable| variable["type"] == "datasource").collect();
    let named = |source: &&Value| {
        source["name"] == "datasource" && source["label"] == "Data source" && source["query"] == "prometheus"
    };
    must("template-datasource-rule", sources.len() == 1 && sources.iter().all(named));
    for (rule, name, label) in
        [("template-job-rule", "job", "Job"), ("template-instance-rule", "instance", "Instance")]
    {
        let variable = templating.iter().find(|variable| variable["name"] == name);
        must(
            rule,
            variable.is_some_and(|variable| {
                variable["type"] == "query"
                    && variable["datasource"]["uid"] == "${datasource}"
                    && variable["label"] == label
                    && variable["multi"] == true
                    && variable["allValue"] == ".+"
            }),
        );
    }
    for variable in variables(dashboard) {
        must("template-label-promql-rule", parse(&chosen(&asked(variable).0)).is_ok());
        must("template-on-time-change-reload-rule", variable["refresh"] == 2);
    }
    must("uneditable-dashboard", dashboard["editable"] == false);
}

fn query(expr: &str, must: &mut impl FnMut(&'static str, bool)) {
    // Far from any interval that somebody would write.
    let magic = Duration::from_millis(11_277_964);
    let marked = expr.replace("$__rate_interval", "11277964ms");
    let parses = parse(&chosen(&marked)).is_ok();
    must("target-promql-rule", parses);
    if !parses {
        return;
    }
    for selector in selectors(&marked) {
        let is_rate = matches!(selector.inside, Some("rate" | "irate"));
        must("target-rate-interval-rule", selector.range.is_none_or(|range| is_rate == (range == magic)));
        let grows =
            matches!(selector.inside, Some("rate" | "irate" | "increase")) && selector.range.is_some();
        must("target-counter-agg-rule", !selector.name.ends_with("_total") || grows);
        for (rule, label) in [("target-job-rule", "job"), ("target-instance-rule", "instance")] {
            let named = expr.contains(&format!("{label}=~\"${label}\""));
            let matched = selector.matchers.iter().any(|m| m.name == label && matches!(m.op, MatchOp::Re(_)));
            must(rule, selector.name == OF_RULES || (named && matched));
        }
    }
}

#[test]
fn grafanas_linter_has_nothing_to_say() {
    for (stem, dashboard) in all() {
        assert_eq!(lint(&dashboard), [], "{stem}");
    }
}

/// Each rule, broken in one place.
#[test]
fn each_rule_is_held() {
    let target = "/panels/1/targets/0";
    let expr = "/panels/1/targets/0/expr";
    let ours = r#"job=~"$job", instance=~"$instance""#;
    let table = [
        ("template-datasource-rule", "/templating/list/0/name", json!("prom")),
        ("template-job-rule", "/templating/list/1/allValue", json!(".*")),
        ("template-instance-rule", "/templating/list/3/multi", json!(false)),
        ("template-label-promql-rule", "/templating/list/1/query/query", json!("label_values(up{, job)")),
        ("template-on-time-change-reload-rule", "/templating/list/4/refresh", json!(1)),
        ("panel-datasource-rule", "/panels/1/datasource/uid", json!("P1809F7CD0C75ACF3")),
        ("panel-title-description-rule", "/panels/1/description", json!("")),
        ("panel-units-rule", "/panels/1/fieldConfig/defaults/unit", json!("parsecs")),
        ("panel-no-targets-rule", "/panels/1/targets", json!([])),
        ("target-logql-rule", "/panels/1/targets/0/datasource/type", json!("loki")),
        (
            "target-logql-auto-rule",
            target,
            json!({ "datasource": { "type": "loki" }, "expr": "rate({app=\"orders\"}[5m])" }),
        ),
        ("target-promql-rule", expr, json!("sum(")),
        ("target-rate-interval-rule", expr, json!(format!("rate(up{{{ours}}}[5m])"))),
        ("target-job-rule", expr, json!(r#"up{instance=~"$instance"}"#)),
        ("target-instance-rule", expr, json!(r#"up{job=~"$job"}"#)),
        ("target-counter-agg-rule", expr, json!(format!("sum(process_cpu_seconds_total{{{ours}}})"))),
        ("uneditable-dashboard", "/editable", json!(true)),
    ];
    assert_eq!(table.len(), 17);
    let (_, mut first) = all().swap_remove(0);
    // A heading and one panel are enough.
    first["panels"].as_array_mut().unwrap().truncate(2);
    assert_eq!(lint(&first), []);
    for (rule, place, value) in table {
        let mut dashboard = first.clone();
        *dashboard.pointer_mut(place).unwrap_or_else(|| panic!("{place}")) = value.clone();
        let broken: Vec<_> = lint(&dashboard).into_iter().map(|(rule, _)| rule).collect();
        assert!(broken.contains(&rule), "{rule} at {place}: {value}: {broken:?}");
    }
}
