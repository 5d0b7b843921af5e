//! `docs/metrics.md`. Pure.

use std::fmt::{self, Write};

use crate::metrics::catalogue;
use crate::model::{Metric, Shape, Unrenewed};
use crate::probe::{KINDS, Kind};

const HEAD: &str = "\
# Metrics

Generated from `src/metrics/catalogue.rs` and `src/probe`; do not edit. Rules that hold for all of them:

- A scrape starts no check and waits for none. Values come from background checks.
- What is planned is exposed from the first scrape on, as `dr_check_status{status=\"unknown\"}`. Nothing vanishes because it failed.
- A yes or no that is not known is absent, never 0 and never NaN. The status says `unknown` then.
- Moments are exported, not ages: use `time() - x`.
- The label `target` is the configured name of what was asked, never an address.

\"If not renewed\" says what becomes of the last value when the newest run of the check could not renew it, or when
that run is older than three intervals.
";

/// A heading with what stands below it.
struct Group {
    title: String,
    /// They are learnt by runs of a check, so the last value may be older than the scrape.
    learnt: bool,
    about: &'static str,
    metrics: Vec<&'static Metric>,
}

/// Every metric, grouped.
pub(super) fn markdown() -> String {
    let mut out = String::from(HEAD);
    // Writing into a String does not fail.
    let _ = groups().iter().try_for_each(|group| group.render(&mut out));
    out
}

/// Each metric once: those of a check below that check, the others below what they speak of.
fn groups() -> Vec<Group> {
    let frame: Vec<_> = catalogue::all().into_iter().filter(|metric| !is_of_a_kind(metric)).collect();
    let of = |title: &str, about, prefixes: &[&str]| Group {
        title: title.to_owned(),
        learnt: false,
        about,
        metrics: frame
            .iter()
            .copied()
            .filter(|metric| prefixes.iter().any(|prefix| metric.name.starts_with(prefix)))
            .collect(),
    };
    let mut groups = vec![
        of("Judgement", "What all checks of a system come to.", JUDGEMENT),
        of("Intent", "What the owner declared; nothing here is measured.", INTENT),
        of("Bookkeeping", "The same for every check.", BOOKKEEPING),
    ];
    groups.extend(KINDS.iter().filter(|kind| !kind.metrics.is_empty()).map(|kind| Group {
        title: format!("Check `{}`", kind.check),
        learnt: true,
        about: "See [checks](checks.md).",
        metrics: kind.metrics.to_vec(),
    }));
    groups.push(of("About the exporter", "The monitor is a suspect too.", OURSELVES));
    groups
}

const JUDGEMENT: &[&str] = &["dr_verdict", "dr_healthy_but_unusable", "dr_surface_contradicted"];
const INTENT: &[&str] = &[
    "dr_site_",
    "dr_system_",
    "dr_role",
    "dr_traffic_expected",
    "dr_maintenance_",
    "dr_drill_",
    "dr_db_rpo_",
    "dr_rto_",
];
const BOOKKEEPING: &[&str] = &["dr_check_"];
const OURSELVES: &[&str] = &["dr_exporter_", "process_"];

fn is_of_a_kind(metric: &Metric) -> bool {
    KINDS.iter().any(|kind: &&Kind| kind.metrics.iter().any(|own| own.name == metric.name))
}

// === impl Group ===

impl Group {
    fn render(&self, out: &mut String) -> fmt::Result {
        let Group { title, learnt, about, metrics } = self;
        let (head, rule) = if *learnt { (" if not renewed |", "---|") } else { ("", "") };
        writeln!(out, "\n## {title}\n\n{about}\n")?;
        writeln!(out, "| metric | type | labels | meaning |{head}\n|---|---|---|---|{rule}")?;
        for metric in metrics {
            let Metric { name, help, shape, labels, unrenewed } = *metric;
            let labels = labels.iter().map(|label| describe(metric, label)).collect::<Vec<_>>().join(", ");
            write!(out, "| `{name}` | {} | {labels} | {help} |", type_of(*shape))?;
            if *learnt {
                let judged = std::ptr::eq(*metric, &catalogue::SURFACE_CONTRADICTED);
                let then = if judged { "worked out at each scrape" } else { becomes(*shape, *unrenewed) };
                write!(out, " {then} |")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// A label, with its values where they are a closed set that is short enough to read.
fn describe(metric: &Metric, label: &str) -> String {
    match catalogue::label_values(metric, label) {
        Some(values) if values.len() <= 8 => format!("`{label}` ({})", values.join(", ")),
        Some(_) => format!("`{label}` ([closed set](checks.md#{label}s))"),
        None => format!("`{label}`"),
    }
}

fn type_of(shape: Shape) -> String {
    match shape {
        Shape::Gauge => "gauge".to_owned(),
        Shape::Counter => "counter".to_owned(),
        Shape::Histogram(bounds) => {
            let bounds: Vec<_> = bounds.iter().map(ToString::to_string).collect();
            format!("histogram: {} s", bounds.join(", "))
        }
    }
}

fn becomes(shape: Shape, unrenewed: Unrenewed) -> &'static str {
    match (shape, unrenewed) {
        (Shape::Counter | Shape::Histogram(_), _) => "only grows",
        (Shape::Gauge, Unrenewed::Stays) => "stays",
        (Shape::Gauge, Unrenewed::BecomesZero) => "becomes 0",
        (Shape::Gauge, Unrenewed::Withheld) => "absent",
    }
}
