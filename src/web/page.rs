//! The page for people: what the site says beside what happened when we tried. Pure; works without scripts.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::discovery::learnt::Learnt;
use crate::ledger::Episode;
use crate::model::{Check, Outcome, Status, Verdict, age, ago, length};
use crate::report::{
    CheckReport, Happened, LearntOf, Refused, Replica, Report, SystemReport, check_in_words, runbook,
};

/// How often the page asks anew, in seconds.
const REFRESH: u32 = 10;

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub fn page(report: &Report, telemetry_path: &str) -> Markup {
    let declared = &report.declared;
    let mut systems: Vec<&SystemReport> = report.systems.iter().collect();
    systems.sort_by_key(|system| (urgency(system), system.declared.name.clone()));
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content=(REFRESH);
                meta name="color-scheme" content="light dark";
                title { (if standing_by(report) { "… standing by".to_owned() } else { headline(&systems) }) " · " (declared.site) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (declared.site) }
                    p { (declared.role) " in " (declared.region) ", as of " time datetime=(report.at) { (stamp(report)) } }
                }
                main {
                    @if let Some(refused) = &report.refused { (newer_file_refused(refused)) }
                    @if let Some(replica) = &report.replica { (replica_says(replica)) }
                    @if systems.is_empty() && standing_by(report) { p { "What the replica that probes knows is on its own page." } }
                    @else if systems.is_empty() { p { "No system is configured." } }
                    @if systems.len() > 1 { (overview(&systems)) }
                    @for system in &systems { (card(report, system)) }
                }
                footer {
                    p {
                        "Every value comes from a background check; nothing was asked for this page. "
                        a href=(telemetry_path) { "metrics" } " · "
                        a href="/api/v1/report" { "JSON" } " · "
                        a href="/config" { "configuration" } " · dr-exporter " (env!("CARGO_PKG_VERSION"))
                    }
                }
            }
        }
    }
}

fn stamp(report: &Report) -> String {
    report.at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
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

fn headline(systems: &[&SystemReport]) -> String {
    let bad = systems.iter().filter(|system| system.verdict == Verdict::Unusable).count();
    match (systems.first(), bad) {
        (None, _) => "nothing configured".to_owned(),
        (Some(worst), 0) => format!("{} {}", mark(worst.verdict), worst.verdict),
        (Some(_), bad) => format!("{} {bad} unusable", mark(Verdict::Unusable)),
    }
}

/// A sign beside the word, so that colour is never the only one.
fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Usable => "✔",
        Verdict::Degraded => "▲",
        Verdict::Unusable => "✖",
        Verdict::Unknown => "?",
        Verdict::NotApplicable => "–",
    }
}

fn status_mark(status: Status) -> &'static str {
    match status {
        Status::Pass => "✔",
        Status::Fail => "✖",
        Status::Unknown => "?",
        Status::Skipped => "–",
        Status::Waived => "▲",
    }
}

fn overview(systems: &[&SystemReport]) -> Markup {
    html! {
        nav aria-label="systems" {
            ul {
                @for system in systems {
                    li { a class=(system.verdict) href={ "#" (system.declared.name) } { (mark(system.verdict)) " " (system.declared.name) } }
                }
            }
        }
    }
}

fn card(report: &Report, system: &SystemReport) -> Markup {
    let (maintenance, drill) = system.gates(report.at);
    let tried: Vec<_> = system.checks.iter().filter(|check| check.key.check != Check::Surface).collect();
    html! {
        section id=(system.declared.name) class={ "card " (system.verdict) } {
            h2 {
                span class="badge" { (mark(system.verdict)) " " (system.verdict) }
                " " (system.declared.name)
                small { (system.declared.strategy) " " (system.role) ", for " (length(age(report.at, system.since))) }
            }
            p class="sentence" { (system.sentence) }
            @if let Some(alert) = runbook::of_verdict(system.verdict, system.healthy_but_unusable) {
                p class="next" { (to_runbook(alert, "What to do now")) }
            }
            @if maintenance { p class="gate" { "Maintenance is announced: pages are held back, the verdict is not." } }
            @if drill { p class="gate" { "A failover exercise is announced: pages are held back, the verdict is not." } }
            div class="sides" {
                div {
                    h3 { "What the site says" }
                    @if system.surfaces.is_empty() { p { "No surface is configured." } }
                    ul class="facts" {
                        @for surface in &system.surfaces {
                            li class=(claim_class(surface.healthy)) {
                                strong { (claim_mark(surface.healthy)) " " (surface.name) }
                                @if surface.decisive { " " span class="tag" { "decisive" } }
                                @if surface.contradicted == Some(true) { " " span class="tag loud" { "contradicted" } }
                                p { (surface.detail) }
                            }
                        }
                    }
                }
                div {
                    h3 { "What happened when we tried" }
                    @if tried.is_empty() { p { "Nothing is tried." } }
                    ul class="facts" {
                        @for check in tried.iter().filter(|check| check.status != Status::Skipped) { (row(report, check)) }
                    }
                    (not_applicable(report, &tried))
                }
            }
            @for workload in &system.learnt { (learnt(workload)) }
        }
    }
}

fn to_runbook(alert: &str, words: &str) -> Markup {
    html! { a href=(runbook::url(alert)) { (words) } }
}

fn standing_by(report: &Report) -> bool {
    report.replica.as_ref().is_some_and(|replica| !replica.leads)
}

/// The file that is in force is not the one that its owner wrote last.
fn newer_file_refused(refused: &Refused) -> Markup {
    let stamp = |at: &jiff::Timestamp| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    html! {
        section class="replica standing-by" role="alert" {
            p {
                "The newest configuration file was refused at " time datetime=(refused.at) { (stamp(&refused.at)) }
                "; the one that was loaded at " time datetime=(refused.in_force_since) { (stamp(&refused.in_force_since)) }
                " stays in force."
            }
            ul { @for mistake in refused.why.lines() { li { (mistake) } } }
        }
    }
}

/// What this replica is to the others, and what it was.
fn replica_says(replica: &Replica) -> Markup {
    html! {
        section class={ "replica" (if replica.leads { "" } else { " standing-by" }) } {
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

/// What does not apply here, folded: it is no news.
fn not_applicable(report: &Report, tried: &[&CheckReport]) -> Markup {
    let skipped: Vec<_> = tried.iter().filter(|check| check.status == Status::Skipped).collect();
    html! {
        @if !skipped.is_empty() {
            details {
                summary { (skipped.len()) @if skipped.len() == 1 { " question does" } @else { " questions do" } " not apply" }
                ul class="facts" { @for check in skipped { (row(report, check)) } }
            }
        }
    }
}

/// What the cluster told of one program, each fact with its place.
fn learnt(of: &LearntOf) -> Markup {
    html! {
        details class="learnt" {
            summary { "Learnt of " (of.workload) " from the cluster: " (of.facts.len()) " facts" }
            table {
                thead { tr { th scope="col" { "what" } th scope="col" { "value" } th scope="col" { "where it was learnt" } } }
                tbody {
                    @for Learnt { what, value, from, overridden, gap } in &of.facts {
                        tr {
                            th scope="row" { (what) }
                            td {
                                @if let Some(gap) = gap { span class="tag loud" { (gap) } " " }
                                (value)
                                @if *overridden { " " span class="tag" { "overridden by the configuration" } }
                            }
                            td { (from) }
                        }
                    }
                }
            }
        }
    }
}

fn claim_class(healthy: Option<bool>) -> &'static str {
    match healthy {
        Some(true) => "claims",
        Some(false) => "fail",
        None => "unknown",
    }
}

fn claim_mark(healthy: Option<bool>) -> &'static str {
    match healthy {
        Some(true) => "“healthy”",
        Some(false) => "“not healthy”",
        None => "(says nothing)",
    }
}

fn row(report: &Report, check: &CheckReport) -> Markup {
    let (record, now) = (&check.record, report.at);
    let last = record.last.as_ref().map(|last| ago(now, last.finished));
    html! {
        li class=(check.status) {
            strong { (status_mark(check.status)) " " (check.status) }
            " " (check_in_words(check.key.check)) " of " (check.key.target)
            @if let Some(reason) = check.reason { " " span class="tag" { (reason) } }
            @if !check.required { " " span class="tag" { "evidence" } }
            p { (check.detail(now)) }
            @if check.status == Status::Fail { p { (to_runbook(runbook::of_check(check.key.check), "Runbook")) } }
            @if let Some(waiver) = &check.waiver { p { "Waived until " (waiver.until) ": " (waiver.because) } }
            details {
                summary {
                    (last.as_deref().unwrap_or("never")) ", every " (length(record.schedule.interval))
                    @if let Some(success) = record.last_success { @if check.status != Status::Pass { ", last passed " (ago(now, success)) } }
                }
                (history(check))
                table {
                    @for (fact, value) in record.facts(now) {
                        tr {
                            td { code { (fact.metric.name) } }
                            td { @for (name, value) in &fact.labels { (name) "=" (value) " " } }
                            td class="number" { (number(fact.metric.name, value)) }
                        }
                    }
                }
                @if !record.failures.is_empty() {
                    h4 { "When it did not pass" }
                    ul {
                        @for episode in record.failures.iter().rev() { li { (episode_in_words(report, episode)) } }
                    }
                }
            }
        }
    }
}

fn episode_in_words(report: &Report, episode: &Episode) -> String {
    let Episode { outcome: _, began, last, runs, detail } = episode;
    match runs {
        1 => format!("{}: {detail}", ago(report.at, *last)),
        _ => format!("{} to {}, {runs} runs: {detail}", ago(report.at, *began), ago(report.at, *last)),
    }
}

/// The newest runs as a row of bars: height is how long a run took; a bar of the whole height is a run that did not pass,
/// red for a failure and grey for one that could not see.
fn history(check: &CheckReport) -> Markup {
    let recent = &check.record.recent;
    let longest = recent.iter().map(|run| run.took.as_secs_f64()).fold(0.001, f64::max);
    let width = recent.len() * 6;
    let failed = recent.iter().filter(|run| run.outcome.reason().is_some()).count();
    html! {
        @if !recent.is_empty() {
            svg class="history" viewBox={ "0 0 " (width) " 24" } width=(width) height="24" role="img"
                aria-label={ "the last " (recent.len()) " runs: " (failed) " did not pass; the longest took " (number("seconds", longest)) " s" } {
                @for (place, run) in recent.iter().enumerate() {
                    @let height = (run.took.as_secs_f64() / longest * 20.0).max(2.0).round();
                    @let bad = run.outcome.reason().is_some();
                    rect class=(bar(run.outcome)) x=(place * 6) y=(if bad { 0.0 } else { 24.0 - height })
                        width="4" height=(if bad { 24.0 } else { height }) {}
                }
            }
        }
    }
}

fn bar(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass | Outcome::Skipped => "good",
        Outcome::Fail(_) => "bad",
        Outcome::Blind(_) => "blind",
    }
}

/// A value as people read it: points in time as such.
fn number(metric: &str, value: f64) -> String {
    if metric.ends_with("_timestamp_seconds") {
        if value == 0.0 {
            return "never".to_owned();
        }
        if let Ok(at) = jiff::Timestamp::from_second(value as i64) {
            return at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
        }
    }
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reason;
    use crate::report::fixture::{declared, incident, key, now, observe, opened, report_on};

    fn text_of(report: &Report) -> String {
        page(report, "/metrics").into_string()
    }

    #[test]
    fn the_incident_shows_the_claim_beside_the_tries() {
        let page = text_of(&report_on(&incident(), 0));
        for said in [
            "<title>✖ 1 unusable · dr-west</title>",
            "dr-west says that it is healthy and cannot serve.",
            "“healthy” health",
            "contradicted",
            "connect to 10.0.50.11:5432: connection refused",
            "http-equiv=\"refresh\"",
            "alerts/runbooks/DrSiteHealthyButUnusable.md\">What to do now</a>",
            "alerts/runbooks/DrSyntheticQueryFailing.md\">Runbook</a>",
            "aria-label=\"the last 1 runs: 1 did not pass; the longest took 0.004 s\"",
        ] {
            assert!(page.contains(said), "{said} is missing");
        }
        assert!(!page.contains("<script"), "the page works without scripts");
    }

    #[test]
    fn nothing_known_and_nothing_configured_have_their_words() {
        let unknown = text_of(&report_on(&opened(), 0));
        assert!(
            unknown.contains("? unknown") && unknown.contains("(says nothing)") && unknown.contains("never")
        );
        let mut nobody = declared();
        nobody.systems.clear();
        let empty = crate::report::report(&nobody.into(), &opened().read(), now());
        assert!(text_of(&empty).contains("No system is configured."));
    }

    #[test]
    fn what_comes_from_outside_is_escaped() {
        let ledger = incident();
        let outcome = Outcome::Fail(Reason::BodyMismatch);
        let hostile = "<script>alert(1)</script> & \"quoted\"";
        observe(&ledger, &key(Check::Surface, "health"), outcome, 58, hostile, vec![]);
        let page = text_of(&report_on(&ledger, 0));
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;quoted&quot;"));
        assert!(!page.contains("<script"));
    }

    #[test]
    fn the_worst_system_comes_first() {
        let mut two = declared();
        let mut fine = two.systems[0].clone();
        fine.name = "billing".into();
        two.systems.insert(0, fine);
        let report = crate::report::report(&two.into(), &incident().read(), now());
        let page = text_of(&report);
        let place = |name: &str| page.find(&format!("<section id=\"{name}\"")).unwrap();
        assert!(place("orders") < place("billing"));
    }
}
