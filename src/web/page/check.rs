//! One check: how it stands, what it learnt and how old that is, and every run and episode that is remembered. Pure.

use maud::{Markup, html};

use super::links::{of_check, of_system};
use super::words::{episode_span, moment, moment_ago, number, outcome, since, status_mark, to_runbook};
use super::{Content, plot, system};
use crate::discovery::learnt::Learnt;
use crate::model::{Check, Status, age, ago, length};
use crate::report::{CheckReport, Report, SystemReport, check_in_words, runbook};

/// The page of a check.
pub fn content(report: &Report, system: &SystemReport, check: &CheckReport) -> Content {
    let name = &system.declared.name;
    let words = format!("{} of {}", check_in_words(check.key.check), check.key.target);
    Content {
        found: true,
        title: format!("{} {} · {words} · {name}", status_mark(check.status), check.status),
        trail: vec![(name.to_string(), of_system(name)), (words.clone(), of_check(&check.key))],
        main: main(report, system, check, &words),
    }
}

fn main(report: &Report, system: &SystemReport, check: &CheckReport, words: &str) -> Markup {
    html! {
        section class={ "card " (check.status) } aria-labelledby="check" {
            h2 #check { span.badge { (status_mark(check.status)) " " (check.status) } " " (words) }
            p.meta {
                code { (check.key.check) }
                @if let Some(reason) = check.reason { " " span.tag { (reason) } }
            }
            p.sentence { (check.detail(report.at)) }
            @match check.status {
                Status::Fail | Status::Unknown => {
                    p.next { "What it means and what to do: " (to_runbook(runbook::of_check(check.key.check))) }
                }
                Status::Pass | Status::Skipped | Status::Waived => {}
            }
            (standing(report, check))
            (facts(report, check))
            (episodes(report, check))
            (runs(report, check))
            (settings(system, check))
        }
    }
}

/// How it stands and when it is asked, as pairs of a name and a value.
fn standing(report: &Report, check: &CheckReport) -> Markup {
    let (record, now) = (&check.record, report.at);
    let schedule = &record.schedule;
    html! {
        h3 { "How it stands" }
        dl {
            @if let (true, Some(began)) = (record.is_fresh(now), record.outcome_since) {
                div { dt { "Ends like this" } dd { (since(now, began)) } }
            }
            div { dt { "Last asked" } dd {
                @match &record.last {
                    Some(last) => { (moment_ago(now, last.finished)) ", took " (length(last.took)) }
                    None => { "never" }
                }
            } }
            div { dt { "Last passed" } dd {
                @match record.last_success { Some(at) => { (moment_ago(now, at)) } None => { "never" } }
            } }
            div { dt { "Next run" } dd {
                @match &record.last {
                    None => { "soon" }
                    Some(last) => {
                        @let old = age(now, last.started);
                        @if old < schedule.interval { "in about " (length(schedule.interval - old)) } @else { "due now" }
                    }
                }
            } }
            div { dt { "Asked" } dd {
                "every " (length(schedule.interval)) ", with " (length(schedule.timeout)) " for an answer; "
                @if schedule.attempts.of == 1 { "one attempt a run" }
                @else { (schedule.attempts.pass) " of " (schedule.attempts.of) " attempts have to pass" }
            } }
            div { dt { "Goes stale" } dd { (length(schedule.interval * 3)) " after a run; then it counts as unknown"
                @if record.last.is_some() && !record.is_fresh(now) { ", as it does now" } } }
            div { dt { "Attempts" } dd {
                (record.attempts) " since the start"
                @for (reason, count) in &record.failures_by_reason { "; " (count) " " @if *count == 1 { "run" } @else { "runs" } " ended with " (reason) }
            } }
            div { dt { "Weight" } dd {
                @if check.required { "a verdict may rest on it" } @else { "evidence only: no verdict rests on it" }
            } }
            @if let Some(waiver) = &check.waiver {
                div { dt { "Waived" } dd { "until " (moment(now, waiver.until)) ": " (waiver.because) } }
            }
        }
    }
}

fn facts(report: &Report, check: &CheckReport) -> Markup {
    let mut known = check.record.known(report.at).peekable();
    html! {
        h3 { "What is known from it" }
        @if known.peek().is_none() { p { "Nothing yet." } }
        @else {
            table {
                thead { tr { th scope="col" { "What" } th scope="col" { "Value" } th scope="col" { "Learnt" } } }
                tbody {
                    @for (fact, value, learnt) in known {
                        tr {
                            th.any scope="row" {
                                code { (fact.metric.name) } " "
                                span.meta { @for (place, (name, value)) in fact.labels.iter().enumerate() { @if place > 0 { ", " } (name) "=" (value) } }
                            }
                            td.number { (number(fact.metric.name, value)) }
                            td.short { @match learnt { Some(at) => { (ago(report.at, at)) } None => { "not yet" } } }
                        }
                    }
                }
            }
        }
    }
}

fn runs(report: &Report, check: &CheckReport) -> Markup {
    let recent = &check.record.recent;
    html! {
        h3 { "The newest runs" }
        @if recent.is_empty() { p { "It was not asked yet." } }
        @else {
            (plot::runs(recent.iter()))
            p.meta { "The newest run is on the right. A low bar is a pass, as high as it took long; a full bar is a failure; a hollow bar could not see." }
            table {
                thead { tr { th scope="col" { "Ended" } th scope="col" { "How" } th scope="col" { "What it says" } } }
                tbody {
                    @for run in recent.iter().rev() {
                        @let (sign, word, class) = outcome(run.outcome);
                        tr {
                            td { (moment(report.at, run.finished)) }
                            td class=(class) {
                                strong { (sign) " " (word) } @if let Some(reason) = run.outcome.reason() { " " (reason) }
                                ", " (length(run.took))
                            }
                            td.any { (run.detail) }
                        }
                    }
                }
            }
        }
    }
}

fn episodes(report: &Report, check: &CheckReport) -> Markup {
    let record = &check.record;
    let lasts = record.last.as_ref().is_some_and(|last| last.outcome.reason().is_some());
    html! {
        h3 { "When it did not pass" }
        @if record.failures.is_empty() { p { "Never since the start." } }
        @else {
            table {
                thead { tr { th scope="col" { "When" } th scope="col" { "How" } th scope="col" { "What it said last" } } }
                tbody {
                    @for (place, episode) in record.failures.iter().rev().enumerate() {
                        @let (sign, word, class) = outcome(episode.outcome);
                        tr {
                            td { (episode_span(report.at, episode, lasts && place == 0)) }
                            td class=(class) { strong { (sign) " " (word) } @if let Some(reason) = episode.outcome.reason() { " " (reason) } }
                            td.any { (episode.detail) }
                        }
                    }
                }
            }
        }
    }
}

/// Where its settings were learnt: what the cluster told of its program, and otherwise the configuration.
fn settings(system: &SystemReport, check: &CheckReport) -> Markup {
    let target = &*check.key.target;
    let of_database =
        matches!(check.key.check, Check::SyntheticQuery | Check::DbEndpointRegion | Check::DbIdentity);
    let concerned = |workload: &str, fact: &&Learnt| {
        if of_database { fact.what == format!("database {target}") } else { workload == target }
    };
    let learnt: Vec<&Learnt> = system
        .learnt
        .iter()
        .flat_map(|of| of.facts.iter().filter(move |fact| concerned(&of.workload, fact)))
        .collect();
    html! {
        h3 { "Where its settings come from" }
        @if !learnt.is_empty() { (system::learnt_table(learnt.into_iter())) }
        p { "Everything else is from " a href="/config" { "the configuration" } ", under the system " code { (system.declared.name) }
            @if system.learnt.is_empty() { "." }
            @else { ", or was " a href={ (of_system(&system.declared.name)) "#learnt" } { "learnt from the cluster" } "." }
        }
    }
}
