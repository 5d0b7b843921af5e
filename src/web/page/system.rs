//! One system: the verdict, the reasons in the order to look at them, the claims beside the tries, and what was. Pure.

use maud::{Markup, html};

use super::links::{of, of_check, of_system};
use super::words::{
    badge, episode_span, mark, moment, next_step, outcome, since, status_mark, to_runbook, verdict_in_words,
};
use super::{Content, plot};
use crate::discovery::learnt::Learnt;
use crate::ledger::Episode;
use crate::model::{Check, Outcome, Role, Status, Verdict, ago, length};
use crate::report::{
    Against, CheckReport, LearntOf, Report, SurfaceReport, SystemReport, check_in_words, runbook,
};

/// How much of the past is on the front page; the system's own page has all.
const CHANGES: usize = 4;
const EPISODES: usize = 5;

/// The page of a system.
pub fn content(report: &Report, system: &SystemReport) -> Content {
    let name = system.declared.name.to_string();
    Content {
        found: true,
        title: format!("{} {} · {name}", mark(system.verdict), verdict_in_words(system.verdict)),
        trail: vec![(name.clone(), of_system(&name))],
        main: card(report, system, true),
    }
}

/// Everything about one system; `whole` is with all of its past, as on its own page.
pub fn card(report: &Report, system: &SystemReport, whole: bool) -> Markup {
    let now = report.at;
    let name = &system.declared.name;
    let id = format!(
        "system-{}",
        report.systems.iter().position(|it| it.declared.name == *name).unwrap_or_default()
    );
    html! {
        section class={ "card " (system.verdict) } aria-labelledby=(id) {
            h2 id=(id) {
                (badge(system.verdict)) " "
                @if whole { (name) } @else { a href=(of_system(name)) { (name) } }
            }
            p.meta {
                (since(now, system.since)) "."
                // What was promised for a failover says nothing of a site that is retired.
                @if system.role != Role::Retired {
                    " A " (system.declared.strategy.as_str().replace('_', " ")) " " (system.role) "."
                }
            }
            p.sentence { (system.sentence) }
            (what_to_do(report, system))
            (reasons(report, system))
            (sides(report, system))
            @if !system.changes.is_empty() {
                h3 { "The verdict over time" }
                (plot::verdicts(&system.changes, now, if whole { usize::MAX } else { CHANGES }))
            }
            (episodes(report, system, if whole { usize::MAX } else { EPISODES }))
            @for workload in &system.learnt {
                @if whole { (learnt(workload)) }
                @else {
                    p.meta { a href={ (of_system(name)) "#learnt" } {
                        "Learnt of " (workload.workload) " from the cluster: " (workload.facts.len()) " facts"
                    } }
                }
            }
        }
    }
}

fn what_to_do(report: &Report, system: &SystemReport) -> Markup {
    let (maintenance, drill) = system.gates(report.at);
    let alert = runbook::of_verdict(system.verdict, system.healthy_but_unusable);
    html! {
        @if system.verdict != Verdict::Usable && system.verdict != Verdict::NotApplicable {
            div.next {
                h3 { "What to do now" }
                p { (next_step(system)) @if let Some(alert) = alert { " See the " (to_runbook(alert)) "." } }
            }
        }
        @if let (true, Some(window)) = (maintenance, &system.declared.maintenance) {
            p.gate { "▲ Maintenance is announced until " (moment(report.at, window.until)) " (" (window.because)
                "): pages are held back, the verdict is not." }
        }
        @if let (true, Some(window)) = (drill, &system.declared.drill) {
            p.gate { "▲ A failover exercise is announced until " (moment(report.at, window.until)) " (" (window.because)
                "): pages are held back, the verdict is not." }
        }
    }
}

fn reasons(report: &Report, system: &SystemReport) -> Markup {
    html! {
        @if !system.against.is_empty() {
            h3 { "Why, in the order to look" }
            ol.facts.reasons {
                @for Against { check, target, status, reason, detail } in &system.against {
                    @let own = system.checks.iter().find(|it| it.key.check == *check && *it.key.target == **target);
                    li class=(status) {
                        strong { (status_mark(*status)) " " (status) } " "
                        a href=(of(&system.declared.name, *check, target)) { (check_in_words(*check)) " of " (target) }
                        @if own.is_some_and(|own| own.record.last.is_some()) { " " span.tag { (reason) } }
                        p { (detail) }
                        p.meta {
                            @if let Some(own) = own { (standing(report, own)) " · " }
                            (to_runbook(runbook::of_check(*check)))
                        }
                    }
                }
            }
        }
    }
}

fn sides(report: &Report, system: &SystemReport) -> Markup {
    let mut tried: Vec<_> = system.checks.iter().filter(|check| check.key.check != Check::Surface).collect();
    tried.sort_by_key(|check| rank(check.status));
    let (skipped, tried): (Vec<&CheckReport>, Vec<_>) =
        tried.into_iter().partition(|check| check.status == Status::Skipped);
    html! {
        div.sides {
            div {
                h3 { "What the site says" }
                @if system.surfaces.is_empty() { p { "No surface is configured." } }
                @else { ul.facts { @for surface in &system.surfaces { (claim(report, system, surface)) } } }
            }
            div {
                h3 { "What happened when we tried" }
                @if tried.is_empty() { p { "Nothing is tried." } }
                @else { ul.facts { @for check in &tried { (attempt(report, check)) } } }
                @if !skipped.is_empty() {
                    p.meta {
                        (skipped.len()) @if skipped.len() == 1 { " question does" } @else { " questions do" } " not apply: "
                        @for (place, check) in skipped.iter().enumerate() {
                            @if place > 0 { ", " }
                            a href=(of_check(&check.key)) { (check_in_words(check.key.check)) " of " (check.key.target) }
                        }
                    }
                }
            }
        }
    }
}

fn claim(report: &Report, system: &SystemReport, surface: &SurfaceReport) -> Markup {
    let SurfaceReport { name, decisive, healthy, contradicted, detail } = surface;
    let own = system.checks.iter().find(|it| it.key.check == Check::Surface && it.key.target == *name);
    let (class, said) = match healthy {
        Some(true) if *contradicted == Some(true) => ("contradicted", "“healthy”"),
        Some(true) => ("claims", "“healthy”"),
        Some(false) => ("fail", "“not healthy”"),
        None => ("unknown", "(says nothing)"),
    };
    html! {
        li class=(class) {
            strong { (said) } " "
            a href=(of(&system.declared.name, Check::Surface, name)) { (name) }
            @if *decisive { " " span.tag { "decisive" } }
            @if *contradicted == Some(true) { " " span.tag.loud { "✖ contradicted" } }
            p { (detail) }
            @if let Some(own) = own {
                (plot::runs(own.record.recent.iter()))
                p.meta { (standing(report, own)) }
            }
        }
    }
}

fn attempt(report: &Report, check: &CheckReport) -> Markup {
    html! {
        li class=(check.status) {
            strong { (status_mark(check.status)) " " (check.status) } " "
            a href=(of_check(&check.key)) { (check_in_words(check.key.check)) " of " (check.key.target) }
            @if let Some(reason) = check.reason { " " span.tag { (reason) } }
            @if !check.required { " " span.tag { "evidence only" } }
            p { (check.detail(report.at)) }
            @if let Some(waiver) = &check.waiver {
                p { "Waived until " (moment(report.at, waiver.until)) ": " (waiver.because) }
            }
            (plot::runs(check.record.recent.iter()))
            p.meta { (standing(report, check)) }
        }
    }
}

/// How old the answer is, how long it has been the same, and when it was a better one.
fn standing(report: &Report, check: &CheckReport) -> Markup {
    let (record, now) = (&check.record, report.at);
    html! {
        @match &record.last {
            None => { "never asked, every " (length(record.schedule.interval)) }
            Some(last) => {
                "asked " (ago(now, last.finished)) ", every " (length(record.schedule.interval))
                @if !record.is_fresh(now) { " · overdue" }
                @else if let Some(began) = record.outcome_since {
                    " · " (so(check.key.check, last.outcome)) " " (since(now, began))
                }
                @match record.last_success {
                    Some(_) if last.outcome == Outcome::Pass && record.is_fresh(now) => {}
                    Some(success) => { " · last passed " (ago(now, success)) }
                    None if last.outcome == Outcome::Skipped => {}
                    None => { " · never passed" }
                }
            }
        }
    }
}

/// How it has been going on, before `since`.
fn so(check: Check, outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass if check == Check::Surface => "claims so",
        Outcome::Pass => "passes",
        Outcome::Fail(_) => "fails like this",
        Outcome::Blind(_) => "cannot see",
        Outcome::Skipped => "so",
    }
}

/// The worse, the earlier.
fn rank(status: Status) -> u8 {
    match status {
        Status::Fail => 0,
        Status::Unknown => 1,
        Status::Waived => 2,
        Status::Pass => 3,
        Status::Skipped => 4,
    }
}

/// What did not pass and is over, of all checks, newest first: last night's failure is still here. What lasts is above.
fn episodes(report: &Report, system: &SystemReport, most: usize) -> Markup {
    let mut all: Vec<(&CheckReport, &Episode)> = Vec::new();
    for check in &system.checks {
        let lasts = check.record.last.as_ref().is_some_and(|last| last.outcome.reason().is_some());
        let over = check.record.failures.len() - usize::from(lasts && !check.record.failures.is_empty());
        all.extend(check.record.failures.iter().take(over).map(|episode| (check, episode)));
    }
    all.sort_by_key(|(_, episode)| std::cmp::Reverse(episode.last));
    let left_out = all.len().saturating_sub(most);
    html! {
        @if !all.is_empty() {
            h3 { "What did not pass before" }
            ul.facts.episodes {
                @for (check, episode) in all.iter().take(most) {
                    @let (sign, word, class) = outcome(episode.outcome);
                    li class=(class) {
                        strong { (sign) " " (word) } " "
                        a href=(of_check(&check.key)) { (check_in_words(check.key.check)) " of " (check.key.target) }
                        @if let Some(reason) = episode.outcome.reason() { " " span.tag { (reason) } }
                        p { (episode.detail) }
                        p.meta { (episode_span(report.at, episode, false)) }
                    }
                }
            }
            @if left_out > 0 {
                p.meta { a href=(of_system(&system.declared.name)) { (left_out) " more, and all of its past" } }
            }
        }
    }
}

/// What the cluster told of one program, each fact with its place.
fn learnt(of: &LearntOf) -> Markup {
    html! {
        h3 #learnt { "Learnt of " (of.workload) " from the cluster" }
        (learnt_table(of.facts.iter()))
    }
}

/// Facts with their places.
pub fn learnt_table<'a>(facts: impl Iterator<Item = &'a Learnt>) -> Markup {
    html! {
        table {
            thead { tr { th scope="col" { "What" } th scope="col" { "Value" } th scope="col" { "Where it was learnt" } } }
            tbody {
                @for Learnt { what, value, from, overridden, gap } in facts {
                    tr {
                        th scope="row" { (what) }
                        td.any {
                            @if let Some(gap) = gap { span.tag.loud { "? " (gap) } " " }
                            (value)
                            @if *overridden { " " span.tag { "overridden by the configuration" } }
                        }
                        td.any { (from) }
                    }
                }
            }
        }
    }
}
