//! All systems, worst first: in full when there are a few, as a list to filter and fold when there are many. Pure.

use maud::{Markup, html};

use super::links::{Choice, of_system};
use super::words::{cut, mark, since, verdict_in_words};
use super::{Content, system};
use crate::model::Verdict;
use crate::report::{Report, SystemReport};

/// So many systems are shown in full on the front page.
pub const FEW: usize = 3;
/// So much of a sentence is in the list; the system's page has all of it.
const SENTENCE: usize = 220;
/// The order in which verdicts are looked at.
const WORST_FIRST: [Verdict; 5] =
    [Verdict::Unusable, Verdict::Unknown, Verdict::Degraded, Verdict::Usable, Verdict::NotApplicable];

/// The front page.
pub fn home(report: &Report, choice: &Choice) -> Content {
    let mut all: Vec<&SystemReport> = report.systems.iter().collect();
    all.sort_by_key(|system| (urgency(system), &*system.declared.name));
    let title = if super::standing_by(report) { "… standing by".to_owned() } else { headline(&all) };
    let main = match all.len() {
        0 if super::standing_by(report) => standing_by(),
        0 => nothing(),
        1..=FEW => html! { @for system in all { (system::card(report, system, false)) } },
        _ => list(report, &all, choice),
    };
    Content { found: true, title, trail: vec![], main }
}

/// What one that stands by says in place of systems.
pub fn standing_by() -> Markup {
    html! { p { "What the replica that probes knows is on its own page." } }
}

fn nothing() -> Markup {
    html! {
        h2 { "No system falls to this shard." }
        p { "The exporter runs and watches nothing: by their names, all systems of " a href="/config" { "the configuration" }
            " fall to other shards. Nothing is wrong with that." }
    }
}

/// The lower, the earlier somebody must look.
fn urgency(system: &SystemReport) -> u8 {
    match system.verdict {
        Verdict::Unusable if system.healthy_but_unusable => 0,
        Verdict::Unusable => 1,
        Verdict::Unknown => 2,
        Verdict::Degraded => 3,
        Verdict::Usable => 4,
        Verdict::NotApplicable => 5,
    }
}

/// Somebody has to look at it.
fn wants_a_look(verdict: Verdict) -> bool {
    match verdict {
        Verdict::Unusable | Verdict::Unknown | Verdict::Degraded => true,
        Verdict::Usable | Verdict::NotApplicable => false,
    }
}

fn headline(worst_first: &[&SystemReport]) -> String {
    let bad = worst_first.iter().filter(|system| system.verdict == Verdict::Unusable).count();
    match (worst_first.first(), bad) {
        (None, _) => "nothing configured".to_owned(),
        (Some(worst), 0) => format!("{} {}", mark(worst.verdict), verdict_in_words(worst.verdict)),
        (Some(_), bad) => format!("{} {bad} unusable", mark(Verdict::Unusable)),
    }
}

fn list(report: &Report, all: &[&SystemReport], choice: &Choice) -> Markup {
    let shown: Vec<_> =
        all.iter().copied().filter(|system| choice.takes(&system.declared.name, system.verdict)).collect();
    let bad: Vec<_> = shown.iter().filter(|system| wants_a_look(system.verdict)).collect();
    let groups: Vec<(Verdict, Vec<&SystemReport>)> = WORST_FIRST
        .iter()
        .map(|verdict| (*verdict, shown.iter().copied().filter(|it| it.verdict == *verdict).collect()))
        .filter(|(_, systems): &(_, Vec<_>)| !systems.is_empty())
        .collect();
    let only_group = groups.len() == 1;
    html! {
        (totals(all, choice))
        (form(choice))
        @if shown.is_empty() {
            p.sentence role="status" { "No system fits. " a href=(everything(choice)) { "Show all " (all.len()) } }
        } @else if choice.filters() {
            p.found role="status" { (shown.len()) " of " (all.len()) " systems. " a href=(everything(choice)) { "Show all" } }
        }
        @if let [only] = bad[..] { (system::card(report, only, false)) }
        @else if let [only] = shown[..] { (system::card(report, only, false)) }
        @for (verdict, systems) in &groups {
            details.group open[wants_a_look(*verdict) || choice.filters() || only_group] {
                summary { h2 class=(verdict) { (mark(*verdict)) " " (systems.len()) " " (verdict_in_words(*verdict)) } }
                ul.rows { @for system in systems { (row(report, system)) } }
            }
        }
    }
}

fn everything(choice: &Choice) -> String {
    Choice { hold: choice.hold, ..Choice::default() }.address("/")
}

/// How many there are of each verdict among those of the wanted name; each is a link to these alone.
fn totals(all: &[&SystemReport], choice: &Choice) -> Markup {
    let named = Choice { verdict: None, ..choice.clone() };
    let found: Vec<_> =
        all.iter().filter(|system| named.takes(&system.declared.name, system.verdict)).collect();
    let link = |verdict: Option<Verdict>| Choice { verdict, ..choice.clone() }.address("/");
    let current = |verdict: Option<Verdict>| (choice.verdict == verdict).then_some("true");
    html! {
        nav aria-label="Systems by verdict" {
            ul.totals {
                li { a href=(link(None)) aria-current=[current(None)] { (found.len()) " systems" } }
                @for verdict in WORST_FIRST {
                    @let count = found.iter().filter(|system| system.verdict == verdict).count();
                    @if count > 0 {
                        li { a class=(verdict) href=(link(Some(verdict))) aria-current=[current(Some(verdict))] {
                            (mark(verdict)) " " (count) " " (verdict_in_words(verdict))
                        } }
                    }
                }
            }
        }
    }
}

fn form(choice: &Choice) -> Markup {
    let Choice { verdict, search, hold } = choice;
    html! {
        form.filter method="get" action="/" role="search" aria-label="Filter systems" {
            label { "Name contains " input type="search" name="q" value=(search) autocomplete="off"; }
            label { "Verdict "
                select name="verdict" {
                    option value="" { "any" }
                    @for known in WORST_FIRST {
                        option value=(known) selected[*verdict == Some(known)] { (verdict_in_words(known)) }
                    }
                }
            }
            @if *hold { input type="hidden" name="hold" value="1"; }
            button { "Filter" }
        }
    }
}

fn row(report: &Report, system: &SystemReport) -> Markup {
    let name = &system.declared.name;
    html! {
        li class=(system.verdict) {
            span.verdict { (mark(system.verdict)) " " (verdict_in_words(system.verdict)) }
            a href=(of_system(name)) { (name) }
            span.said { (cut(&system.sentence, SENTENCE)) }
            span.since { (since(report.at, system.since)) }
        }
    }
}
