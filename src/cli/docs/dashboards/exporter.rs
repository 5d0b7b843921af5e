//! `dr-exporter`: is the watcher itself to be believed?

use super::frame::{dashboard, to_file, to_site};
use super::panel::{Panel, Row, Shown};
use super::query::{age, by, most, of, rate, standing, with};
use super::words::{self, AMBER, GREEN, GREY, RED};
use crate::discovery::cluster::WATCH_HEALTHY;
use crate::metrics::catalogue as c;
use crate::model::Metric;

/// What Prometheus says of every target.
const UP: &str = r#"up{job=~"$job", instance=~"$instance", cluster=~"$cluster"}"#;

/// The whole file.
pub(crate) fn exporter() -> String {
    dashboard(
        "dr-exporter",
        "DR: exporter health",
        "Is the watcher itself to be believed? The monitor is a suspect too.",
        &[
            Row { title: "Is it watching?", panels: counts() },
            Row { title: "Replicas", panels: vec![replicas(), leaders(), watches(), gaps(), verdicts()] },
            Row { title: "Checks", panels: checks() },
            Row { title: "Process", panels: process() },
        ],
    )
}

/// An own metric of each exporter, by these labels beside where it is.
fn each(metric: &Metric, labels: &str) -> String {
    let comma = if labels.is_empty() { "" } else { ", " };
    format!("max by (cluster, job, instance{comma}{labels}) ({})", of(metric))
}

fn counts() -> Vec<Panel> {
    vec![
        Panel::stat(
            "Cannot be scraped",
            "Targets of the job that did not answer the last scrape.",
            "that every site has an exporter: one that is not a target is not missed here.",
        )
        .colours(GREEN, &[(1.0, RED)])
        .query("exporters", format!("count({UP}) - sum({UP})")),
        Panel::stat(
            "Exporters that probe",
            "Replicas that hold the Lease, and exporters that need none. Of the replicas of one site exactly one probes.",
            "that each site has one: two of one site and none of another are the same number.",
        )
        .colours(RED, &[(1.0, GREEN)])
        .query("exporters", format!("sum({})", of(&c::LEADER))),
        Panel::stat(
            "Refused configurations",
            "Exporters whose last reload failed: they go on with the configuration before.",
            "that the configuration asks for the right things.",
        )
        .colours(GREEN, &[(1.0, RED)])
        .query("exporters", format!("count({0}) - sum({0})", of(&c::CONFIG_SUCCESS))),
        Panel::stat(
            "Most overdue check",
            "By how much the most overdue check is overdue.",
            "that checks which run see anything.",
        )
        .unit("s")
        .colours(GREEN, &[(10.0, AMBER), (60.0, RED)])
        .query("overdue", format!("max({})", of(&c::SCHEDULER_LAG))),
        Panel::stat(
            "Checks planned",
            "How many checks all exporters plan together. Compare it with what you configured.",
            "that they run.",
        )
        .colours(GREY, &[])
        .query("checks", format!("sum({} and on (job, instance) ({} == 1))", of(&c::CHECKS_PLANNED), of(&c::LEADER))),
        Panel::stat(
            "Checks that cannot be put",
            "Checks that were asked for and cannot be put at all: what they need was not found, not allowed or not clear.",
            "that the other checks pass.",
        )
        .colours(GREEN, &[(1.0, AMBER)])
        .query("checks", format!("sum({})", of(&c::CHECK_GAPS))),
    ]
}

fn replicas() -> Panel {
    let since = |metric| format!("time() - max by (cluster, job, instance) ({})", of(metric));
    Panel::table(
        "Exporters",
        "Every target of the job, also one that does not answer, and what each says of itself.",
        "that the clock of its machine is right: ages of moments would be wrong then.",
    )
    .size(24, 8)
    .label("instance", "Instance")
    .column_width("Instance", "255.255.255.255:10888")
    .label("version", "Version")
    .label("shard", "Shard")
    .label("shards", "of shards")
    .last_label("job", "Job")
    .last_label("cluster", "Cluster")
    .in_order_of("Scraped")
    .column("Scraped", Shown::As(words::SCRAPED), format!("max by (cluster, job, instance) ({UP})"))
    .column("Role", Shown::As(words::LEADS), each(&c::LEADER, ""))
    .column("Build", Shown::Hidden, each(&c::BUILD_INFO, "version"))
    .column("Sharding", Shown::Hidden, each(&c::SHARD_INFO, "shard, shards"))
    .column("Configuration", Shown::As(words::LOADED), each(&c::CONFIG_SUCCESS, ""))
    .column("Web configuration", Shown::As(words::LOADED), each(&c::WEB_CONFIG_SUCCESS, ""))
    .column("Loaded since", Shown::In("s"), since(&c::CONFIG_TIME))
    .column("Running since", Shown::In("s"), since(&c::PROCESS_START))
    .column("Checks planned", Shown::In("none"), each(&c::CHECKS_PLANNED, ""))
}

/// One row for each exporter that judges a system, so that those who differ stand beside each other.
fn verdicts() -> Panel {
    let different = format!(
        "count by ({0}) (max by ({0}, verdict) ({1} == 1))",
        by(""),
        with(&c::VERDICT, r#"verdict!="unknown""#)
    );
    Panel::table(
        "Do the exporters of a system agree?",
        "The verdict of each exporter that probes. While those who know disagree nobody is accused, and a page may be missing.",
        "that the verdict is right: all of them may stand at the same wrong place.",
    )
    .size(24, 8)
    .of_systems()
    .label("instance", "Exporter")
    .column_width("Exporter", "255.255.255.255:10888")
    .label("verdict", "Its verdict")
    .last_label("job", "Job")
    .worst_first("Exporters")
    .column("Verdict", Shown::Hidden, standing(&c::VERDICT, "job, instance, verdict"))
    .column("Exporters", Shown::As(words::AGREE), format!("clamp_max({different}, 2)"))
    .column("Its verdict for", Shown::In("s"), age(&c::VERDICT_SINCE, "job, instance"))
    .column_link("Site", to_site("__data.fields.Site", "__data.fields.System"))
}

fn leaders() -> Panel {
    Panel::states(
        "Who probes",
        "Which replica holds the Lease. A gap is a time in which the replica was not scraped.",
        "that a replica which probes sees anything.",
    )
    .size(8, 8)
    .words(words::LEADS)
    .query("{{instance}}", each(&c::LEADER, ""))
}

fn watches() -> Panel {
    Panel::states(
        "Watches on the cluster",
        "Whether each kind of object is seen: what a dead watch last said is not used. No data: no cluster is watched.",
        "that the account may see every namespace; what it may not is a check that cannot be put.",
    )
    .size(8, 8)
    .words(words::ALIVE)
    .query("{{instance}} {{resource}}", format!("min by (cluster, job, instance, resource) ({})", of(&WATCH_HEALTHY)))
}

fn gaps() -> Panel {
    Panel::lines(
        "Checks that cannot be put, by reason",
        "How many checks were asked for and cannot be put at all.",
        "that the other checks pass.",
    )
    .size(8, 8)
    .unit("none")
    .colours(GREY, &[(1.0, AMBER)])
    .query("{{reason}}", format!("sum by (reason) ({})", of(&c::CHECK_GAPS)))
}

fn checks() -> Vec<Panel> {
    let overdue =
        format!("max by (check) ((time() - ({} > 0)) / {})", of(&c::CHECK_COMPLETED), of(&c::CHECK_INTERVAL));
    vec![
        Panel::lines(
            "Age of the last run, in intervals",
            "Of each kind of check the one that ran longest ago. Beyond three intervals its evidence is not used any more.",
            "that a run saw anything: one that was blind counts as a run.",
        )
        .unit("none")
        .colours(GREY, &[(3.0, RED)])
        .query("{{check}}", overdue),
        Panel::lines(
            "Most overdue check",
            "By how much the most overdue check of each exporter is overdue; more than a few seconds means that it is overloaded or frozen.",
            "that checks which run see anything.",
        )
        .unit("s")
        .colours(GREY, &[(10.0, AMBER), (60.0, RED)])
        .query("{{instance}}", each(&c::SCHEDULER_LAG, "")),
        Panel::lines(
            "Runs that failed or were blind, by reason",
            "A failure may be the site's; timeout, unreachable and internal at all sites together are rather ours.",
            "that the site is well where nothing fails: it may not have been asked.",
        )
        .unit("cps")
        .link(to_file("What the reasons mean", "docs/checks.md#reasons"))
        .query("{{check}} {{reason}}", rate(&c::CHECK_FAILURES, "check, reason")),
        Panel::lines(
            "Attempts",
            "How often something is asked, by kind of check. A flat line at 0 is an exporter that asks nothing.",
            "that the answers are good.",
        )
        .unit("cps")
        .query("{{check}}", rate(&c::CHECK_ATTEMPTS, "check")),
        Panel::lines(
            "Duration of checks, 95 %",
            "How long 95 of 100 runs took at most, all attempts together, read from buckets.",
            "that the slowest run was in time.",
        )
        .size(24, 8)
        .unit("s")
        .query("{{check}}", most(&c::CHECK_DURATION, "check")),
    ]
}

fn process() -> Vec<Panel> {
    vec![
        Panel::lines("CPU", "Cores that each exporter used.", "that it was given the cores it asked for.")
            .size(8, 8)
            .unit("none")
            .query("{{instance}}", rate(&c::PROCESS_CPU, "cluster, job, instance")),
        Panel::lines("Memory", "Resident memory of each exporter.", "that its limit leaves room.")
            .size(8, 8)
            .unit("bytes")
            .query("{{instance}}", each(&c::PROCESS_RESIDENT, "")),
        Panel::lines(
            "File descriptors in use",
            "Open descriptors as a part of those that it may open. At the limit no connection can be made, and every check is blind.",
            "that the sites accept as many connections.",
        )
        .size(8, 8)
        .unit("percentunit")
        .colours(GREY, &[(0.8, RED)])
        .query(
            "{{instance}}",
            format!("{} / {}", each(&c::PROCESS_OPEN_FDS, ""), each(&c::PROCESS_MAX_FDS, "")),
        ),
    ]
}
