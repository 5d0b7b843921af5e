//! The pages for people: what the site says beside what happened when we tried. Pure; they work without scripts.
//!
//! `/` is all systems, worst first; `/systems/<name>` is one; `/systems/<name>/<check>/<target>` is one check with
//! everything that is remembered of it. Every page refreshes itself at its own address, so that what a reader chose is
//! kept; nothing that somebody reads is folded, except for systems that are well.

mod check;
#[cfg(test)]
mod contrast;
mod home;
mod links;
mod plot;
mod system;
#[cfg(test)]
mod tests;
mod words;

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use self::home::FEW;
use self::links::Choice;
pub use self::links::Place;
use crate::report::{Happened, Refused, Replica, Report};

/// How often a page asks anew, in seconds.
const REFRESH: u32 = 10;

const STYLE: &str = include_str!("page.css");

/// A page, ready to be sent.
#[derive(Clone, Debug)]
pub struct Page {
    /// There is what was asked for; otherwise this is a page that says so, for status 404.
    pub found: bool,
    /// The document.
    pub html: Markup,
}

/// What differs from page to page.
struct Content {
    found: bool,
    /// What the title says before the site's name.
    title: String,
    /// The way here, without the site itself: words and addresses.
    trail: Vec<(String, String)>,
    main: Markup,
}

/// The page at a place, with what the reader chose in the query string.
pub fn page(place: &Place, query: &str, report: &Report, telemetry_path: &str) -> Page {
    let choice = Choice::read(query);
    let content = match place {
        Place::Home => home::home(report, &choice),
        Place::System(name) => match report.systems.iter().find(|system| *system.declared.name == **name) {
            Some(system) => system::content(report, system),
            None => elsewhere_or_nowhere(report, name),
        },
        Place::Check(system, check, target) => {
            let found = report.systems.iter().find(|known| *known.declared.name == **system);
            let asked = |known: &crate::report::CheckReport| {
                known.key.check.as_str() == check && *known.key.target == **target
            };
            match found.and_then(|known| Some((known, known.checks.iter().find(|known| asked(known))?))) {
                Some((system, check)) => check::content(report, system, check),
                None if found.is_some() => {
                    nowhere(&format!("The system “{system}” has no check “{check}” of “{target}”."))
                }
                None => elsewhere_or_nowhere(report, system),
            }
        }
    };
    Page { found: content.found, html: document(&place.path(), &choice, report, telemetry_path, &content) }
}

/// One that stands by knows nothing of a system that is configured.
fn elsewhere_or_nowhere(report: &Report, system: &str) -> Content {
    if standing_by(report) && report.declared.systems.iter().any(|declared| *declared.name == *system) {
        return Content {
            found: true,
            title: "… standing by".to_owned(),
            trail: vec![(system.to_owned(), links::of_system(system))],
            main: home::standing_by(),
        };
    }
    nowhere(&format!("No system “{system}” is configured here."))
}

fn nowhere(sentence: &str) -> Content {
    Content {
        found: false,
        title: "not found".to_owned(),
        trail: vec![],
        main: html! {
            h2 { "There is no such page" }
            p.sentence { (sentence) " Perhaps it was renamed, or the configuration has changed." }
            p { a href="/" { "All systems" } }
        },
    }
}

fn document(path: &str, choice: &Choice, report: &Report, telemetry_path: &str, content: &Content) -> Markup {
    let declared = &report.declared;
    let other = Choice { hold: !choice.hold, ..choice.clone() };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Without an address: the page's own, with its query.
                @if !choice.hold { meta http-equiv="refresh" content=(REFRESH); }
                meta name="color-scheme" content="light dark";
                title { (content.title) " · " (declared.site) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    h1 { a href="/" { (declared.site) } }
                    p { (declared.role) " in " (declared.region) ", as of "
                        time datetime=(report.at) { (report.at.strftime("%Y-%m-%d %H:%M:%S UTC")) } }
                    p.refresh {
                        @if choice.hold { "Held still. " a href=(other.address(path)) { "Refresh again" } }
                        @else { "Refreshes every " (REFRESH) " s. " a href=(other.address(path)) { "Hold still" } }
                    }
                    @if !content.trail.is_empty() { (trail(&content.trail)) }
                }
                main #main tabindex="-1" {
                    @if let Some(refused) = &report.refused { (newer_file_refused(refused)) }
                    @if let Some(replica) = &report.replica { (replica_says(replica)) }
                    (content.main)
                }
                footer {
                    p { "Every value comes from a background check; nothing was asked for this page. Times are UTC." }
                    p {
                        a href=(telemetry_path) { "metrics" } " · "
                        a href="/api/v1/report" { "JSON" } " · "
                        a href="/config" { "configuration" } " · dr-exporter " (env!("CARGO_PKG_VERSION"))
                    }
                }
            }
        }
    }
}

fn trail(steps: &[(String, String)]) -> Markup {
    html! {
        nav aria-label="You are here" {
            ol.trail {
                li { a href="/" { "All systems" } }
                @for (place, (words, address)) in steps.iter().enumerate() {
                    @if place + 1 == steps.len() { li { a href=(address) aria-current="page" { (words) } } }
                    @else { li { a href=(address) { (words) } } }
                }
            }
        }
    }
}

fn standing_by(report: &Report) -> bool {
    report.replica.as_ref().is_some_and(|replica| !replica.leads)
}

/// The file that is in force is not the one that its owner wrote last.
fn newer_file_refused(refused: &Refused) -> Markup {
    let stamp = |at: &jiff::Timestamp| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    html! {
        section.banner role="alert" {
            p {
                strong { "▲ " } "The newest configuration file was refused at " time datetime=(refused.at) { (stamp(&refused.at)) }
                "; the one that was loaded at " time datetime=(refused.in_force_since) { (stamp(&refused.in_force_since)) }
                " stays in force. A mended file is taken by itself."
            }
            ul { @for mistake in &refused.why { li { (mistake) } } }
        }
    }
}

/// What this replica is to the others, and what it was.
fn replica_says(replica: &Replica) -> Markup {
    html! {
        section class={ "replica" (if replica.leads { "" } else { " standing-by" }) } aria-label="This replica" {
            p { (replica.says) }
            @if !replica.history.is_empty() {
                details {
                    summary { "History of this replica, " (replica.name) }
                    ul {
                        @for Happened { at, what } in replica.history.iter().rev() {
                            li { time datetime=(at) { (at.strftime("%Y-%m-%d %H:%M:%S UTC")) } " " (what) }
                        }
                    }
                }
            }
        }
    }
}
