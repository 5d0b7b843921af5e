//! `docs/checks.md`. Pure.

use std::fmt::{self, Write};

use crate::model::{Check, GapReason, Reason, Role, Status, Strategy, Verdict};
use crate::probe::{KINDS, Kind};
use crate::verdict::{is_required, may_be_waived};

const HEAD: &str = "\
# What dr-exporter asks

Generated from `src/probe` and `src/verdict.rs`; do not edit.

A check asks one question of one target, on a schedule. A run has three ends, never two: **pass**, **fail** (the target's
fault: what the workload itself would get is wrong) and **blind** (ours: an unreadable secret file, no file descriptor
left, a crash). Blindness never accuses and never clears: it makes the check `unknown`. So does a run that is older than
three intervals. A question that cannot even be put is a *gap*: it is shown, counted and `unknown`.
";

pub(super) const TABLE: &str = "\
## How a verdict comes of them

The rows are tried from the top; the first that fits decides. *Proven* means: a required check whose last run is fresh and
failed, that is not waived, and whose evidence does not need a primary that is known to be down.

| if | then |
|---|---|
| the role of the site is `retired` | `not_applicable` |
| a proven failure of `synthetic_query`, `synthetic_request`, `db_endpoint_region`, `replica_present`, `db_identity`, `split_brain` or `service_endpoints`, or of `replication` by `lagging` or `conflict` | `unusable` |
| a required check is `unknown`: no run yet, blind, or too old; not `drift`, of which only a peer can tell | `unknown` |
| any other proven failure | `degraded` |
| no `synthetic_query` and no `synthetic_request` passed, so nothing shows that the site can do the work | `unknown` |
| none of the above | `usable` |

`dr_healthy_but_unusable` is 1 when the verdict is `unusable` while a *decisive* surface claims health. A proven failure
outranks ignorance, and ignorance is never `usable`. Maintenance and drills never change a verdict: they gate pages.
There is no debouncing here; that is what `for` of an alert is for.
";

/// What is asked, and how it is judged.
pub(super) fn markdown() -> String {
    let mut out = String::from(HEAD);
    // Writing into a String does not fail.
    let _ = render(&mut out);
    out
}

fn render(out: &mut String) -> fmt::Result {
    KINDS.iter().try_for_each(|kind| kind_section(out, kind))?;
    writeln!(out, "\n{TABLE}")?;
    required(out)?;
    values(out, "Verdicts", "The label `verdict` of `dr_verdict`.", Verdict::ALL, meaning_of_verdict)?;
    values(out, "Statuses", "The label `status` of `dr_check_status`.", Status::ALL, meaning_of_status)?;
    values(
        out,
        "Reasons",
        "The label `reason`: why a check failed or could not see.",
        Reason::ALL,
        meaning_of_reason,
    )?;
    values(out, "Gaps", "The label `reason` of `dr_exporter_check_gaps`.", GapReason::ALL, meaning_of_gap)
}

fn kind_section(out: &mut String, kind: &Kind) -> fmt::Result {
    let Kind { check, about, example, metrics, reasons } = kind;
    let metrics: Vec<_> = metrics.iter().map(|metric| format!("`{}`", metric.name)).collect();
    let reasons: Vec<_> = reasons.iter().copied().flatten().map(|reason| format!("`{reason}`")).collect();
    writeln!(out, "\n## `{check}`\n\n{about}\n\n```yaml\n{example}\n```\n")?;
    let metrics = if metrics.is_empty() { "none but its status".to_owned() } else { metrics.join(", ") };
    writeln!(out, "Metrics: {metrics}.\n\nReasons: {}.", reasons.join(", "))
}

/// Which checks a verdict may rest on.
fn required(out: &mut String) -> fmt::Result {
    writeln!(out, "### Checks\n")?;
    writeln!(
        out,
        "What a verdict may rest on, by the promise of the system. A check is required only where its subject is \
         configured. \"Not yet\" is a check that this release does not have: its configuration is refused.\n"
    )?;
    write!(out, "| check | here |")?;
    Strategy::ALL.iter().try_for_each(|strategy| write!(out, " {strategy} |"))?;
    writeln!(out, " at a primary | waivable |\n|---|---|{}---|---|", "---|".repeat(Strategy::ALL.len()))?;
    for check in Check::ALL.iter().copied() {
        let here = if KINDS.iter().any(|kind| kind.check == check) { "yes" } else { "not yet" };
        write!(out, "| `{check}` | {here} |")?;
        for strategy in Strategy::ALL.iter().copied() {
            write!(out, " {} |", yes(is_required(check, Role::Standby, strategy)))?;
        }
        let at_primary = Strategy::ALL.iter().any(|strategy| is_required(check, Role::Primary, *strategy));
        writeln!(out, " {} | {} |", yes(at_primary), yes(may_be_waived(check)))?;
    }
    Ok(())
}

fn yes(yes: bool) -> &'static str {
    if yes { "yes" } else { "-" }
}

fn values<T: Copy + fmt::Display>(
    out: &mut String,
    title: &str,
    about: &str,
    all: &[T],
    meaning: fn(T) -> &'static str,
) -> fmt::Result {
    writeln!(out, "\n### {title}\n\n{about}\n\n| value | meaning |\n|---|---|")?;
    all.iter().try_for_each(|value| writeln!(out, "| `{value}` | {} |", meaning(*value)))
}

fn meaning_of_verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Usable => "a failover would work, as far as it can be tried",
        Verdict::Degraded => "it would work, with a proven flaw",
        Verdict::Unusable => "it is proven that it would fail",
        Verdict::Unknown => "nobody knows; never the same as fine",
        Verdict::NotApplicable => "nothing is expected of the site",
    }
}

fn meaning_of_status(status: Status) -> &'static str {
    match status {
        Status::Pass => "the last run passed and is fresh",
        Status::Fail => "the last run failed and is fresh",
        Status::Unknown => "no run yet, a blind run, or one that is older than three intervals",
        Status::Skipped => "does not apply here",
        Status::Waived => "failed, and its owner knows until a date that has not passed",
    }
}

fn meaning_of_gap(gap: GapReason) -> &'static str {
    match gap {
        GapReason::NotFound => "what it refers to does not exist",
        GapReason::Forbidden => "the exporter may not read it",
        GapReason::Ambiguous => "there is more than one candidate",
        GapReason::Unparsable => "it is written in a way that is not understood",
        GapReason::Unsupported => "it is understood and cannot be done",
    }
}

fn meaning_of_reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Refused => "the peer refused the connection",
        Reason::Unreachable => "there is no route to it",
        Reason::Timeout => "no end within the deadline; a swallowed connection attempt included",
        Reason::Dns => "the name does not resolve",
        Reason::Tls => "TLS was demanded and is not to be had, or the handshake broke",
        Reason::Certificate => "the certificate does not verify",
        Reason::Auth => "the login was refused",
        Reason::Permission => "logged in, but not allowed",
        Reason::Limit => "a limit was reached: connections, places, size",
        Reason::UndefinedObject => "the database, table, column or function does not exist",
        Reason::TooFewRows => "fewer rows than `min_rows`",
        Reason::StaleData => "the newest row or moment is older than `max_age`",
        Reason::WrongValue => "a value is not the expected one, or a moment is in the future",
        Reason::ReadOnly => "the server refused because it is read-only",
        Reason::Conflict => "cancelled by a conflict, or two sides contradict each other",
        Reason::Starting => "the server is starting up or shutting down",
        Reason::WrongRegion => "the address is in another region than expected",
        Reason::WrongIdentity => "it is something else than expected",
        Reason::HttpStatus => "an unexpected HTTP status",
        Reason::BodyMismatch => "the body, or a header, does not say what was expected",
        Reason::Missing => "something expected is not there",
        Reason::Misconfigured => "the configuration cannot be carried out",
        Reason::Lagging => "behind by more than is allowed",
        Reason::NotReplicating => "nothing is replicated",
        Reason::Stale => "the last answer is too old",
        Reason::Internal => "a fault of the exporter itself",
        Reason::Other => "none of the others",
    }
}
