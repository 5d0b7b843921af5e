//! Selectors and the expressions that more than one panel uses. A metric is named by its static, so that one that was
//! renamed or removed does not go unnoticed. Pure.

use crate::metrics::catalogue as c;
use crate::model::{Metric, Status, Verdict};

/// What a row of most panels stands for. Without a label `cluster` anywhere it is the same as without the word.
const SYSTEM: &str = "cluster, site, system";

/// The series of a metric that the variables choose.
pub(super) fn of(metric: &Metric) -> String {
    select(metric, "", "")
}

/// The same with further matchers: `surface="health"`.
pub(super) fn with(metric: &Metric, matchers: &str) -> String {
    select(metric, "", matchers)
}

fn select(metric: &Metric, suffix: &str, matchers: &str) -> String {
    let mut all = vec![r#"job=~"$job""#, r#"instance=~"$instance""#, r#"cluster=~"$cluster""#];
    if metric.labels.contains(&"site") {
        all.push(r#"site=~"$site""#);
    }
    if metric.labels.contains(&"system") {
        all.push(r#"system=~"$system""#);
    }
    if !matchers.is_empty() {
        all.push(matchers);
    }
    format!("{}{suffix}{{{}}}", metric.name, all.join(", "))
}

/// The worst that any exporter says where little is bad, by system and these labels: `db, query`.
pub(super) fn min(metric: &Metric, labels: &str) -> String {
    format!("min by ({}) ({})", by(labels), of(metric))
}

/// The most that any exporter says, by system and these labels.
pub(super) fn max(metric: &Metric, labels: &str) -> String {
    format!("max by ({}) ({})", by(labels), of(metric))
}

/// How long ago a moment was; nothing for a moment that never was.
pub(super) fn age(metric: &Metric, labels: &str) -> String {
    format!("time() - max by ({}) ({} > 0)", by(labels), of(metric))
}

/// The label sets that have the value 1, by system and these labels.
pub(super) fn standing(metric: &Metric, labels: &str) -> String {
    format!("max by ({}) ({} == 1)", by(labels), of(metric))
}

/// Per second, by these labels.
pub(super) fn rate(metric: &Metric, labels: &str) -> String {
    format!("sum by ({labels}) (rate({}[$__rate_interval]))", of(metric))
}

/// What 95 of 100 took at most, by these labels.
pub(super) fn most(metric: &Metric, labels: &str) -> String {
    format!(
        "histogram_quantile(0.95, sum by (le, {labels}) (rate({}[$__rate_interval])))",
        select(metric, "_bucket", "")
    )
}

/// Labels of a system and these.
pub(super) fn by(labels: &str) -> String {
    if labels.is_empty() { SYSTEM.to_owned() } else { format!("{SYSTEM}, {labels}") }
}

/// How bad it stands: the larger, the worse; see [`super::words::VERDICT`]. A system that was there within a day and is
/// no more has a number too: whoever stopped to watch must not look like peace. `at` is nothing or ` @ end()`.
pub(super) fn verdict(at: &str) -> String {
    let number = |verdict| match verdict {
        Verdict::NotApplicable => 0,
        Verdict::Usable => 1,
        Verdict::Degraded => 2,
        Verdict::Unknown => 3,
        Verdict::Unusable => 5,
    };
    let mut each: Vec<_> = (Verdict::ALL.iter())
        .map(|verdict| {
            let series = with(&c::VERDICT, &format!("verdict=\"{verdict}\""));
            format!("{} * ({series}{at} == 1)", number(*verdict))
        })
        .collect();
    each.push(format!("6 * ({}{at} == 1)", of(&c::HEALTHY_BUT_UNUSABLE)));
    format!(
        "max by ({SYSTEM}) ({}) or 4 * group by ({SYSTEM}) (last_over_time({}[1d]{at}))",
        each.join(" or "),
        of(&c::VERDICT)
    )
}

/// The state of each check; see [`super::words::STATUS`].
pub(super) fn status() -> String {
    format!("max by ({}) ({})", by("check, target"), states(""))
}

/// The state of one kind of check, its target under the name that the check's own metrics have for it.
pub(super) fn status_of(check: &str, target: &str) -> String {
    let states = states(&format!("check=\"{check}\", "));
    format!("max by ({}) (label_join({states}, \"{target}\", \"\", \"target\"))", by(target))
}

fn states(matchers: &str) -> String {
    let number = |status| match status {
        Status::Skipped => 0,
        Status::Pass => 1,
        Status::Waived => 2,
        Status::Unknown => 3,
        Status::Fail => 4,
    };
    let each: Vec<_> = (Status::ALL.iter())
        .map(|status| {
            let series = with(&c::CHECK_STATUS, &format!("{matchers}status=\"{status}\""));
            format!("{} * ({series} == 1)", number(*status))
        })
        .collect();
    each.join(" or ")
}

/// How many checks of each system are in a state; 0 where there are none.
pub(super) fn checks_in(status: Status) -> String {
    let series = with(&c::CHECK_STATUS, &format!("status=\"{status}\""));
    format!("sum by ({SYSTEM}) (max by ({}) ({series}))", by("check, target"))
}
