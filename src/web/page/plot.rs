//! History as small plots. Height and filling say what colour says. Pure.

use jiff::Timestamp;
use maud::{Markup, html};

use super::words::{mark, moment, number, outcome, since, verdict_in_words};
use crate::ledger::Brief;
use crate::model::{Outcome, Verdict, age, length};

/// How many runs a plot has room for; newer ones are on the right.
const SLOTS: usize = 60;
/// Widths and heights in the units of the plots.
const SLOT: usize = 6;
const HEIGHT: f64 = 24.0;
const WIDE: f64 = 600.0;
/// However short it was, it is seen.
const NARROWEST: f64 = 5.0;

/// The newest runs as bars: the height of a pass is how long it took; a full bar is a failure, a hollow one is a run that
/// could not see.
pub fn runs<'a>(recent: impl ExactSizeIterator<Item = &'a Brief> + Clone) -> Markup {
    let count = recent.len();
    let longest = recent.clone().map(|run| run.took.as_secs_f64()).fold(0.001, f64::max);
    let failed = recent.clone().filter(|run| matches!(run.outcome, Outcome::Fail(_))).count();
    let blind = recent.clone().filter(|run| matches!(run.outcome, Outcome::Blind(_))).count();
    let runs = if count == 1 { "the last run".to_owned() } else { format!("the last {count} runs") };
    let slots = SLOTS.max(count);
    html! {
        @if count > 0 {
            svg.plot.runs viewBox={ "0 0 " (slots * SLOT) " 24" } preserveAspectRatio="none" role="img"
                aria-label={ (runs) ", the newest on the right: " (failed) " failed, " (blind)
                    " could not see; the longest took " (number("seconds", longest)) " s" } {
                @for (place, run) in (slots - count..).zip(recent) {
                    @let (_, _, class) = outcome(run.outcome);
                    @let height = if run.outcome.reason().is_some() { HEIGHT - 2.0 } else {
                        (run.took.as_secs_f64() / longest * 16.0).max(2.0).round()
                    };
                    rect class=(class) x=(place * SLOT + 1) y=(HEIGHT - 1.0 - height) width=(SLOT - 2) height=(height) {}
                }
            }
        }
    }
}

/// A verdict over time, and the same in words, newest first; not more than `most` of them.
pub fn verdicts(changes: &[(Timestamp, Verdict)], now: Timestamp, most: usize) -> Markup {
    let Some((first, _)) = changes.first() else { return html! {} };
    let spans = spans(changes, now);
    let whole = age(now, *first).as_secs_f64().max(1.0);
    let wanted: Vec<f64> = spans
        .iter()
        .map(|(_, from, to)| (age(*to, *from).as_secs_f64() / whole * WIDE).max(NARROWEST))
        .collect();
    let scale = WIDE / wanted.iter().sum::<f64>();
    let starts = wanted.iter().scan(0.0, |x, width| {
        let start = *x;
        *x += width * scale;
        Some(start)
    });
    html! {
        svg.plot.verdicts viewBox={ "0 0 " (WIDE) " 24" } preserveAspectRatio="none" role="img"
            aria-label={ "the verdict over the last " (length(age(now, *first))) ", the newest on the right; the list below says it in words" } {
            @for ((verdict, _, _), (x, width)) in spans.iter().zip(starts.zip(&wanted)) {
                @let height = height(*verdict);
                rect class=(verdict) x={ (format!("{:.1}", x + 0.5)) } y=(HEIGHT - 1.0 - height)
                    width={ (format!("{:.1}", (width * scale - 1.0).max(1.0))) } height=(height) {}
            }
        }
        p.axis { span { (moment(now, *first)) } span { "now" } }
        ol.changes {
            @for (place, (verdict, from, to)) in spans.iter().rev().take(most).enumerate() {
                li class=(verdict) {
                    strong { (mark(*verdict)) " " (verdict_in_words(*verdict)) } " "
                    @if place == 0 { (since(now, *from)) }
                    @else { "from " (moment(now, *from)) " to " (moment(now, *to)) ", " (length(age(*to, *from))) }
                }
            }
        }
    }
}

/// Each verdict with when it began and ended.
fn spans(changes: &[(Timestamp, Verdict)], now: Timestamp) -> Vec<(Verdict, Timestamp, Timestamp)> {
    let ends = changes.iter().skip(1).map(|(at, _)| *at).chain([now]);
    changes.iter().zip(ends).map(|((from, verdict), to)| (*verdict, *from, to)).collect()
}

/// The worse, the higher.
fn height(verdict: Verdict) -> f64 {
    match verdict {
        Verdict::Unusable => HEIGHT - 2.0,
        Verdict::Unknown | Verdict::Degraded => 14.0,
        Verdict::Usable => 6.0,
        Verdict::NotApplicable => 2.0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::Reason;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_734_480_000 + second).unwrap()
    }

    /// A number after `name="` in every element.
    fn attributes(svg: &str, name: &str) -> Vec<f64> {
        let start = format!(" {name}=\"");
        let pieces = svg.split(&start).skip(1);
        pieces.map(|rest| rest.split('"').next().unwrap().parse().unwrap()).collect()
    }

    #[test]
    fn a_short_failure_in_a_long_week_is_seen_and_told() {
        let changes =
            [(at(0), Verdict::Usable), (at(300_000), Verdict::Unusable), (at(300_030), Verdict::Usable)];
        let plot = verdicts(&changes, at(600_000), 10).into_string();
        let (starts, widths) = (attributes(&plot, "x"), attributes(&plot, "width"));
        assert_eq!(starts.len(), 3);
        assert!(widths[1] > 3.0 && starts[1] > 290.0 && starts[2] + widths[2] <= WIDE, "{plot}");
        assert!(
            plot.contains("✖ unusable</strong> from") && plot.contains("UTC</time>, 30 s</li>"),
            "{plot}"
        );
        assert_eq!(verdicts(&changes, at(600_000), 1).into_string().matches("<li").count(), 1);
        assert_eq!(verdicts(&[], at(0), 9).into_string(), "");
    }

    #[test]
    fn runs_are_told_apart_without_colour() {
        let run = |outcome, millis| Brief {
            outcome,
            finished: at(0),
            took: Duration::from_millis(millis),
            detail: "".into(),
        };
        let recent = [
            run(Outcome::Pass, 100),
            run(Outcome::Fail(Reason::Refused), 1),
            run(Outcome::Blind(Reason::Auth), 1),
        ];
        let plot = runs(recent.iter()).into_string();
        assert!(plot.contains(
            "aria-label=\"the last 3 runs, the newest on the right: 1 failed, 1 could not see; the longest took 0.1 s\""
        ));
        assert_eq!(attributes(&plot, "height"), [16.0, 22.0, 22.0]);
        assert_eq!(attributes(&plot, "x"), [343.0, 349.0, 355.0], "aligned to the right");
        assert!(plot.contains("class=\"blind\""));
        assert_eq!(runs([].iter()).into_string(), "");
    }
}
