//! The queries against the catalogue: each metric, each label.

use std::collections::BTreeSet;
use std::time::Duration;

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{Expr, LabelModifier, VectorMatchCardinality, VectorSelector, parse};

use super::{all, asked, queries, variables};
use crate::metrics::catalogue;
use crate::model::Shape;

/// What Prometheus makes itself, and its labels.
const OUTSIDE: &[(&str, &[&str])] =
    &[("up", &[]), ("ALERTS", &["alertname", "alertstate", "severity", "site", "system"])];
/// Labels of the target; `cluster` is the operator's own.
const TARGET: [&str; 3] = ["job", "instance", "cluster"];

/// What one selector names.
pub(super) struct Selector {
    pub name: String,
    pub matchers: Vec<Matcher>,
    /// Its range, and the function around it.
    pub range: Option<Duration>,
    pub inside: Option<&'static str>,
}

/// As Grafana sends it, for some choice of the variables.
pub(super) fn chosen(query: &str) -> String {
    let mut query = query.replace("$__rate_interval", "5m");
    for name in ["job", "instance", "cluster", "site", "system"] {
        query = query.replace(&format!("${name}"), ".+");
    }
    assert!(!query.contains('$'), "a variable that nobody knows: {query}");
    query
}

/// The metric that a series belongs to.
pub(super) fn family(series: &str) -> &str {
    let histogram = |name: &&str| {
        catalogue::all()
            .iter()
            .any(|metric| metric.name == *name && matches!(metric.shape, Shape::Histogram(_)))
    };
    ["_bucket", "_sum", "_count"]
        .iter()
        .filter_map(|end| series.strip_suffix(end))
        .find(histogram)
        .unwrap_or(series)
}

pub(super) fn selectors(query: &str) -> Vec<Selector> {
    let query = chosen(query);
    let parsed = parse(&query).unwrap_or_else(|error| panic!("{error}: {query}"));
    let mut found = Vec::new();
    gather(&parsed, None, &mut found);
    assert!(!found.is_empty(), "{query}");
    found
}

fn gather(expr: &Expr, inside: Option<&'static str>, found: &mut Vec<Selector>) {
    let mut add = |selector: &VectorSelector, range| {
        assert!(selector.matchers.or_matchers.is_empty(), "Prometheus 2.42 does not know `or` in a selector");
        found.push(Selector {
            name: selector.name.clone().unwrap(),
            matchers: selector.matchers.matchers.clone(),
            range,
            inside,
        });
    };
    match expr {
        Expr::VectorSelector(selector) => add(selector, None),
        Expr::MatrixSelector(matrix) => add(&matrix.vs, Some(matrix.range)),
        Expr::Aggregate(aggregate) => gather(&aggregate.expr, None, found),
        Expr::Unary(unary) => gather(&unary.expr, None, found),
        Expr::Paren(paren) => gather(&paren.expr, None, found),
        Expr::Subquery(subquery) => gather(&subquery.expr, None, found),
        Expr::Binary(binary) => {
            gather(&binary.lhs, None, found);
            gather(&binary.rhs, None, found);
        }
        Expr::Call(call) => {
            call.args.args.iter().for_each(|argument| gather(argument, Some(call.func.name), found));
        }
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => {}
        Expr::Extension(_) => panic!("the parser makes none"),
    }
}

/// The labels that a series of this name can have.
fn labels(name: &str) -> BTreeSet<&'static str> {
    let outside = OUTSIDE.iter().find(|(known, _)| *known == name).map(|(_, labels)| *labels);
    let own = outside.unwrap_or_else(|| {
        let metric = catalogue::all().into_iter().find(|metric| metric.name == family(name));
        metric.unwrap_or_else(|| panic!("there is no metric {name}")).labels
    });
    let bucket = name.ends_with("_bucket").then_some("le");
    own.iter().copied().chain(TARGET).chain(bucket).collect()
}

/// The labels that the answer can have; what is named and cannot be there is an error.
fn answer(expr: &Expr) -> Result<BTreeSet<&'static str>, String> {
    let matcher = |selector: &VectorSelector| {
        let name = selector.name.as_deref().unwrap();
        let known = labels(name);
        let stray = selector.matchers.matchers.iter().find(|matcher| !known.contains(matcher.name.as_str()));
        stray.map_or(Ok(known), |matcher| Err(format!("{name} has no label {}", matcher.name)))
    };
    let of = |named: &promql_parser::label::Labels, known: &BTreeSet<&'static str>| {
        let found = named.labels.iter().map(|label| {
            known.get(label.as_str()).copied().ok_or_else(|| format!("nothing there has the label {label}"))
        });
        found.collect::<Result<BTreeSet<_>, _>>()
    };
    match expr {
        Expr::VectorSelector(selector) => matcher(selector),
        Expr::MatrixSelector(matrix) => matcher(&matrix.vs),
        Expr::Unary(unary) => answer(&unary.expr),
        Expr::Paren(paren) => answer(&paren.expr),
        Expr::Subquery(subquery) => answer(&subquery.expr),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(BTreeSet::new()),
        Expr::Extension(_) => Err("the parser makes none".to_owned()),
        Expr::Call(call) => {
            let mut all = BTreeSet::new();
            for argument in &call.args.args {
                all.extend(answer(argument)?);
            }
            if call.func.name == "histogram_quantile" {
                assert!(all.remove("le"), "a quantile of what are no buckets");
            }
            if call.func.name == "label_join" {
                let texts = call.args.args.iter().filter_map(|argument| match &**argument {
                    Expr::StringLiteral(literal) => Some(literal.val.as_str()),
                    _ => None,
                });
                let texts: Vec<_> = texts.collect();
                let [made, _, from @ ..] = texts.as_slice() else {
                    return Err("label_join without labels".to_owned());
                };
                if let Some(missing) = from.iter().find(|label| !all.contains(*label)) {
                    return Err(format!("nothing there has the label {missing}"));
                }
                let metrics = catalogue::all();
                let mut known = metrics.iter().flat_map(|metric| metric.labels.iter().copied());
                all.insert(
                    known
                        .find(|label| label == made)
                        .ok_or_else(|| format!("nothing has the label {made}"))?,
                );
            }
            Ok(all)
        }
        Expr::Aggregate(aggregate) => {
            let inside = answer(&aggregate.expr)?;
            match &aggregate.modifier {
                None => Ok(BTreeSet::new()),
                Some(LabelModifier::Include(named)) => of(named, &inside),
                Some(LabelModifier::Exclude(_)) => Err("`without` keeps whatever a target adds".to_owned()),
            }
        }
        Expr::Binary(binary) => {
            let (left, right) = (answer(&binary.lhs)?, answer(&binary.rhs)?);
            let Some(modifier) = &binary.modifier else { return Ok(&left | &right) };
            match &modifier.matching {
                Some(LabelModifier::Include(on)) => drop((of(on, &left)?, of(on, &right)?)),
                Some(LabelModifier::Exclude(_)) => {
                    return Err("`ignoring` hides a label that differs".to_owned());
                }
                None => {}
            }
            Ok(match &modifier.card {
                VectorMatchCardinality::ManyToOne(more) => &left | &of(more, &right)?,
                VectorMatchCardinality::OneToMany(more) => &right | &of(more, &left)?,
                VectorMatchCardinality::OneToOne | VectorMatchCardinality::ManyToMany => &left | &right,
            })
        }
    }
}

#[test]
fn every_metric_and_label_of_every_query_is_in_the_catalogue() {
    for (stem, dashboard) in all() {
        for (place, query) in queries(&dashboard) {
            let parsed =
                parse(&chosen(&query)).unwrap_or_else(|error| panic!("{stem}, {place}: {error}: {query}"));
            answer(&parsed).unwrap_or_else(|error| panic!("{stem}, {place}: {error}: {query}"));
        }
        for variable in variables(&dashboard) {
            let (selector, label) = asked(variable);
            let known = answer(&parse(&chosen(&selector)).unwrap()).unwrap();
            assert!(known.contains(label.as_str()), "{stem}: {selector} has no label {label}");
        }
    }
}

/// A value that a closed label never has selects nothing, for ever.
#[test]
fn matchers_name_values_that_exist() {
    let mut held = 0;
    for (stem, dashboard) in all() {
        for (place, query) in queries(&dashboard) {
            for Selector { name, matchers, .. } in selectors(&query) {
                let Some(metric) = catalogue::all().into_iter().find(|metric| metric.name == name) else {
                    continue;
                };
                for Matcher { op, name: label, value } in &matchers {
                    let closed = catalogue::label_values(metric, label).filter(|_| *op == MatchOp::Equal);
                    if let Some(values) = closed {
                        assert!(values.contains(&value.as_str()), "{stem}, {place}: {label}={value:?}");
                        held += 1;
                    }
                }
            }
        }
    }
    assert!(held > 20, "{held}");
}

#[test]
fn legends_and_columns_are_labels_of_the_answer() {
    for (stem, dashboard) in all() {
        for panel in super::panels(&dashboard) {
            let mut union = BTreeSet::new();
            for target in super::list(&panel["targets"]) {
                let found = answer(&parse(&chosen(super::text(&target["expr"]))).unwrap()).unwrap();
                let legend = super::text(&target["legendFormat"]);
                for label in legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
                    assert!(found.contains(label), "{stem}, `{}`: {label}", panel["title"]);
                }
                union.extend(found);
            }
            let columns = panel["transformations"][1]["options"]["renameByName"].as_object();
            for field in
                columns.into_iter().flat_map(|names| names.keys()).filter(|name| !name.starts_with("Value"))
            {
                assert!(union.contains(field.as_str()), "{stem}, `{}`: no column {field}", panel["title"]);
            }
        }
    }
}

#[test]
fn a_wrong_query_is_found() {
    for (query, part) in [
        ("dr_verdict{reason=\"x\"}", "has no label reason"),
        ("max by (db) (dr_verdict)", "has the label db"),
        ("dr_verdict and on (check) dr_verdict_reason", "has the label check"),
        ("label_join(dr_verdict, \"dependency\", \"\", \"target\")", "has the label target"),
        ("label_join(dr_check_status, \"goal\", \"\", \"target\")", "has the label goal"),
        ("dr_verdict * on (site) group_left (db) dr_role", "has the label db"),
        ("max without (instance) (dr_verdict)", "without"),
        ("sum by (le) (dr_check_attempts_total)", "has the label le"),
    ] {
        let error = answer(&parse(query).unwrap()).unwrap_err();
        assert!(error.contains(part), "{query}: {error}");
    }
    assert!(std::panic::catch_unwind(|| answer(&parse("dr_verdikt").unwrap())).is_err());
}
