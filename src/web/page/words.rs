//! Signs, moments and numbers as the pages write them. Pure.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::ledger::Episode;
use crate::model::{Outcome, Role, Status, Verdict, age, ago, length};
use crate::report::{SystemReport, runbook};
use crate::verdict::is_proof;

/// A sign beside the word, so that colour is never the only one.
pub fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Usable => "✔",
        Verdict::Degraded => "▲",
        Verdict::Unusable => "✖",
        Verdict::Unknown => "?",
        Verdict::NotApplicable => "–",
    }
}

/// The same for the status of a check.
pub fn status_mark(status: Status) -> &'static str {
    match status {
        Status::Pass => "✔",
        Status::Fail => "✖",
        Status::Unknown => "?",
        Status::Skipped => "–",
        Status::Waived => "▲",
    }
}

/// A verdict as people say it.
pub fn verdict_in_words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NotApplicable => "not applicable",
        other => other.as_str(),
    }
}

/// How a run ended: its sign, its word, its class.
pub fn outcome(outcome: Outcome) -> (&'static str, &'static str, &'static str) {
    match outcome {
        Outcome::Pass => ("✔", "pass", "good"),
        Outcome::Fail(_) => ("✖", "fail", "bad"),
        Outcome::Blind(_) => ("?", "could not see", "blind"),
        Outcome::Skipped => ("–", "does not apply", "good"),
    }
}

/// A verdict's badge.
pub fn badge(verdict: Verdict) -> Markup {
    html! { span.badge { (mark(verdict)) " " (verdict_in_words(verdict)) } }
}

/// What somebody who was woken up does next, apart from reading on.
pub fn next_step(system: &SystemReport) -> &'static str {
    let claims = system.healthy_but_unusable;
    let proven = system.checks.iter().any(|it| is_proof(it.key.check) && it.status == Status::Pass);
    match (system.verdict, system.role) {
        (Verdict::Unusable, Role::Primary) if claims => {
            "Treat it as an outage that no health check shows. Begin with the first reason below; the others may follow from it."
        }
        (Verdict::Unusable, Role::Primary) => {
            "Treat it as an outage. Begin with the first reason below; the others may follow from it."
        }
        (Verdict::Unusable, Role::Standby | Role::Retired | Role::Unknown) if claims => {
            "Do not fail over to this site, and tell whoever would: its own health checks say the opposite. Take it out of \
             automatic failover. Then begin with the first reason below; the others may follow from it."
        }
        (Verdict::Unusable, Role::Standby | Role::Retired | Role::Unknown) => {
            "Do not fail over to this site, and tell whoever would. Then begin with the first reason below; the others may \
             follow from it."
        }
        (Verdict::Unknown, _) => {
            "Do not rely on this site. Nothing is proven, neither good nor bad. After a start it takes half a minute; if it \
             stays so, each line below says what could not be seen."
        }
        (Verdict::Degraded, _) if !proven => {
            "Do not rely on this site before the flaw below is mended: nothing shows that it can serve."
        }
        (Verdict::Degraded, _) => {
            "Nobody has to get up for this alone. Mend the flaw below before a failover is needed."
        }
        (Verdict::Usable, _) => "Nothing.",
        (Verdict::NotApplicable, _) => "Nothing: the site is retired.",
    }
}

/// A link to the runbook of an alert, named after it.
pub fn to_runbook(alert: &str) -> Markup {
    html! { a href=(runbook::url(alert)) { "runbook " (alert) } }
}

/// A moment: the time alone if it is of the same day as `now`, in UTC.
pub fn moment(now: Timestamp, at: Timestamp) -> Markup {
    let day = |at: Timestamp| at.strftime("%Y-%m-%d").to_string();
    let format = if day(now) == day(at) { "%H:%M:%S UTC" } else { "%Y-%m-%d %H:%M:%S UTC" };
    html! { time datetime=(at) { (at.strftime(format)) } }
}

/// A moment with how long ago it was.
pub fn moment_ago(now: Timestamp, at: Timestamp) -> Markup {
    html! { (moment(now, at)) " (" (ago(now, at)) ")" }
}

/// A stretch of time that may last: since when and for how long.
pub fn since(now: Timestamp, at: Timestamp) -> Markup {
    html! { "since " (moment(now, at)) ", for " (length(age(now, at))) }
}

/// When an episode was, how long, and of how many runs.
pub fn episode_span(now: Timestamp, episode: &Episode, lasts: bool) -> Markup {
    let Episode { outcome: _, began, last, runs, detail: _ } = episode;
    html! {
        (moment(now, *began))
        @if lasts { " until now" }
        @else if *runs > 1 { " to " (moment(now, *last)) }
        " (" @if lasts { "for " (length(age(now, *began))) } @else { (ago(now, *last)) }
        ", " (runs) @if *runs == 1 { " run" } @else { " runs" } ")"
    }
}

/// A value as people read it: points in time as such.
pub fn number(metric: &str, value: f64) -> String {
    if metric.ends_with("_timestamp_seconds") {
        if value == 0.0 {
            return "never".to_owned();
        }
        if let Ok(at) = Timestamp::from_second(value as i64) {
            return at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
        }
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The beginning of a text, with an ellipsis if there is more.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text[..end].trim_end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts_read_as_people_write_them() {
        for (metric, value, text) in [
            ("dr_x", 1.0, "1"),
            ("dr_x_seconds", 0.0046, "0.005"),
            ("dr_x", 120.0, "120"),
            ("dr_x_timestamp_seconds", 0.0, "never"),
            ("dr_x_timestamp_seconds", 1_734_531_723.0, "2024-12-18 14:22:03 UTC"),
        ] {
            assert_eq!(number(metric, value), text);
        }
        assert_eq!((cut("äöü", 3).as_str(), cut("äö üx", 3).as_str()), ("äöü", "äö…"));
    }

    #[test]
    fn a_moment_of_another_day_has_its_date() {
        let now: Timestamp = "2024-12-18T00:10:00Z".parse().unwrap();
        let said = |at: &str| moment_ago(now, at.parse().unwrap()).into_string();
        assert!(said("2024-12-18T00:09:00Z").contains(">00:09:00 UTC</time> (60 s ago)"));
        assert!(said("2024-12-17T23:10:00Z").contains(">2024-12-17 23:10:00 UTC</time> (60 min ago)"));
    }
}
