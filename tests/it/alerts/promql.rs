//! What a PromQL expression reads, and which labels its answer has.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{Expr, LabelModifier, VectorSelector};

/// Labels that a target has whatever it exposes. `cluster` may be missing; `namespace` and `pod` come in Kubernetes.
const OF_TARGETS: &[&str] = &["cluster", "instance", "job"];
/// Labels of `ALERTS` that come from our alerts.
const OF_ALERTS: &[&str] = &["alertname", "alertstate", "severity", "site", "system", "check", "target"];

/// Series that can be read, with their labels and, where these are closed, the values.
#[derive(Debug, Default)]
pub struct Known {
    labels: BTreeMap<String, BTreeSet<String>>,
    values: BTreeMap<(String, String), Vec<&'static str>>,
}

// === impl Known ===

impl Known {
    /// Beside what is added: `up` and `ALERTS`, which Prometheus writes.
    pub fn new() -> Self {
        let mut known = Self::default();
        known.add("up", set(&[]));
        known.add("ALERTS", set(OF_ALERTS));
        known.labels.get_mut("up").expect("just added").extend(set(OF_TARGETS));
        known.labels.get_mut("ALERTS").expect("just added").extend(set(OF_TARGETS));
        known
    }

    /// A series of a target of ours.
    pub fn add_exported(&mut self, name: &str, labels: &[&str]) {
        self.add(name, labels.iter().chain(OF_TARGETS).map(|label| (*label).to_owned()).collect());
    }

    /// A series with exactly these labels.
    pub fn add(&mut self, name: &str, labels: BTreeSet<String>) {
        assert!(self.labels.insert(name.to_owned(), labels).is_none(), "{name} is there twice");
    }

    /// A label of a series that can only have these values.
    pub fn close(&mut self, name: &str, label: &str, values: Vec<&'static str>) {
        self.values.insert((name.to_owned(), label.to_owned()), values);
    }

    /// Panics, and names the place, if a selector selects what cannot be.
    pub fn check(&self, selector: &VectorSelector, place: &str) {
        let name = selector.name.as_deref().unwrap_or_else(|| panic!("{place}: {selector} has no name"));
        let labels = self.labels.get(name).unwrap_or_else(|| panic!("{place}: there is no metric {name}"));
        assert!(
            selector.matchers.or_matchers.is_empty(),
            "{place}: {selector}: Prometheus 2 knows no `or` there"
        );
        for Matcher { op, name: label, value } in &selector.matchers.matchers {
            assert!(labels.contains(label), "{place}: {name} has no label {label}, but {labels:?}");
            let Some(values) = self.values.get(&(name.to_owned(), label.clone())) else { continue };
            let named: Vec<_> = match op {
                MatchOp::Equal | MatchOp::NotEqual => vec![value.as_str()],
                MatchOp::Re(_) | MatchOp::NotRe(_) => value.split('|').collect(),
            };
            for value in named {
                assert!(values.contains(&value), "{place}: {name}: {label} is never {value}, but {values:?}");
            }
        }
    }

    /// The labels of an answer. Panics, and names the place, where it groups or matches by a label that cannot be there.
    pub fn labels_of(&self, expr: &Expr, place: &str) -> BTreeSet<String> {
        let demand = |wanted: &[String], there: &BTreeSet<String>| {
            for label in wanted {
                assert!(there.contains(label), "{place}: `{label}` is no label of {there:?}: {expr}");
            }
        };
        match expr {
            Expr::VectorSelector(selector) => self.of_selector(selector, place),
            Expr::MatrixSelector(matrix) => self.of_selector(&matrix.vs, place),
            Expr::NumberLiteral(_) | Expr::StringLiteral(_) => BTreeSet::new(),
            Expr::Paren(paren) => self.labels_of(&paren.expr, place),
            Expr::Unary(unary) => self.labels_of(&unary.expr, place),
            Expr::Subquery(subquery) => self.labels_of(&subquery.expr, place),
            Expr::Aggregate(aggregate) => {
                let inner = self.labels_of(&aggregate.expr, place);
                match &aggregate.modifier {
                    Some(LabelModifier::Include(by)) => {
                        demand(&by.labels, &inner);
                        by.labels.iter().cloned().collect()
                    }
                    Some(LabelModifier::Exclude(without)) => {
                        demand(&without.labels, &inner);
                        inner.into_iter().filter(|label| !without.labels.contains(label)).collect()
                    }
                    None => BTreeSet::new(),
                }
            }
            Expr::Binary(binary) => {
                let mut left = self.labels_of(&binary.lhs, place);
                let right = self.labels_of(&binary.rhs, place);
                let Some(modifier) = &binary.modifier else {
                    return if left.is_empty() { right } else { left };
                };
                match &modifier.matching {
                    Some(LabelModifier::Include(on)) => {
                        demand(&on.labels, &left);
                        demand(&on.labels, &right);
                    }
                    Some(LabelModifier::Exclude(ignoring)) => {
                        let either = left.union(&right).cloned().collect();
                        demand(&ignoring.labels, &either);
                    }
                    None => {}
                }
                if let Some(included) = modifier.card.labels() {
                    demand(&included.labels, &right);
                    left.extend(included.labels.iter().cloned());
                }
                if left.is_empty() { right } else { left }
            }
            Expr::Call(call) => {
                let mut labels: BTreeSet<String> =
                    call.args.args.iter().flat_map(|argument| self.labels_of(argument, place)).collect();
                if call.func.name == "label_replace"
                    && let Expr::StringLiteral(made) = &*call.args.args[1]
                {
                    labels.insert(made.val.clone());
                }
                labels
            }
            Expr::Extension(_) => panic!("{place}: not PromQL: {expr}"),
        }
    }

    fn of_selector(&self, selector: &VectorSelector, place: &str) -> BTreeSet<String> {
        self.check(selector, place);
        selector.name.as_ref().and_then(|name| self.labels.get(name)).cloned().unwrap_or_default()
    }
}

fn set(labels: &[&str]) -> BTreeSet<String> {
    labels.iter().map(|label| (*label).to_owned()).collect()
}

/// The expressions that an expression is made of.
fn parts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::VectorSelector(_)
        | Expr::MatrixSelector(_)
        | Expr::NumberLiteral(_)
        | Expr::StringLiteral(_)
        | Expr::Extension(_) => vec![],
        Expr::Paren(paren) => vec![&paren.expr],
        Expr::Unary(unary) => vec![&unary.expr],
        Expr::Subquery(subquery) => vec![&subquery.expr],
        Expr::Aggregate(aggregate) => vec![&aggregate.expr],
        Expr::Binary(binary) => vec![&binary.lhs, &binary.rhs],
        Expr::Call(call) => call.args.args.iter().map(|argument| &**argument).collect(),
    }
}

/// Every selector in an expression.
pub fn selectors(expr: &Expr) -> Vec<&VectorSelector> {
    match expr {
        Expr::VectorSelector(selector) => vec![selector],
        Expr::MatrixSelector(matrix) => vec![&matrix.vs],
        other => parts(other).into_iter().flat_map(selectors).collect(),
    }
}

/// Whether an expression compares or selects somewhere, instead of firing for every series that there is.
pub fn decides(expr: &Expr) -> bool {
    let here = match expr {
        Expr::Binary(binary) => binary.op.is_comparison_operator() || binary.op.is_set_operator(),
        _ => false,
    };
    here || parts(expr).into_iter().any(decides)
}

/// For how long an expression may go on to be true after what it reads is well again: the longest range that it reads,
/// but for the last value of one.
pub fn remembers(expr: &Expr) -> Duration {
    let below = parts(expr).into_iter().map(remembers).max().unwrap_or_default();
    let here = match expr {
        Expr::MatrixSelector(matrix) => matrix.range,
        Expr::Subquery(subquery) => subquery.range,
        Expr::Call(call) if call.func.name == "last_over_time" => return Duration::ZERO,
        _ => Duration::ZERO,
    };
    here.max(below)
}
