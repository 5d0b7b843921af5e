//! The report as text for a terminal. Pure.

use std::fmt::Write;

use crate::model::{Check, Status, Verdict};
use crate::report::{Report, SystemReport, check_in_words};

/// Claims beside tries, one system after the other.
pub fn render(report: &Report) -> String {
    let mut text = String::new();
    for system in &report.systems {
        // Writing into a String does not fail.
        let _ = render_system(&mut text, report, system);
    }
    text.trim_end().to_owned()
}

fn render_system(text: &mut String, report: &Report, system: &SystemReport) -> std::fmt::Result {
    let verdict = match system.verdict {
        Verdict::Unusable if system.healthy_but_unusable => "UNUSABLE, and says it is healthy".to_owned(),
        other => other.as_str().to_uppercase(),
    };
    writeln!(text, "{} at {}: {verdict}", system.declared.name, report.declared.site)?;
    writeln!(text, "  {}\n", system.sentence)?;
    writeln!(text, "  what the site says")?;
    if system.surfaces.is_empty() {
        writeln!(text, "    no surface is configured")?;
    }
    for surface in &system.surfaces {
        let claim = match surface.healthy {
            Some(true) => "healthy",
            Some(false) => "not healthy",
            None => "unknown",
        };
        let decisive = if surface.decisive { ", decisive" } else { "" };
        let contradicted =
            if surface.contradicted == Some(true) { "  <- contradicted by what we tried" } else { "" };
        writeln!(
            text,
            "    {:<12} {:<24} {}{contradicted}",
            claim,
            format!("{}{decisive}", surface.name),
            surface.detail
        )?;
    }
    writeln!(text, "  what happened when we tried")?;
    let tried: Vec<_> = system.checks.iter().filter(|check| check.key.check != Check::Surface).collect();
    if tried.is_empty() {
        writeln!(text, "    nothing is configured to be tried")?;
    }
    for check in tried {
        let status = match check.status {
            Status::Fail => "FAIL",
            other => other.as_str(),
        };
        let what = format!("{} of {}", check_in_words(check.key.check), check.key.target);
        writeln!(text, "    {status:<12} {what}: {}", check.detail(report.at))?;
    }
    writeln!(text)
}
