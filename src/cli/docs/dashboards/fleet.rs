//! `dr-fleet`: can we fail over now, and where not?

use super::frame::{alerts, dashboard, to_runbook, to_site};
use super::panel::{Panel, Row, Shown};
use super::query::{age, by, checks_in, max, min, of, standing, status_of, verdict, with};
use super::words::{self, ALARM, AMBER, GONE, GREEN, GREY, RED, UNKNOWN};
use crate::metrics::catalogue as c;
use crate::model::Status;
use crate::probe::{db_endpoint_region, dependency, site_identity, surface};

/// The whole file.
pub(crate) fn fleet() -> String {
    dashboard(
        "dr-fleet",
        "DR: fleet",
        "Can we fail over now? Every site and system, the worst first. No data is not good news.",
        &[
            Row { title: "Can we fail over now?", panels: counts() },
            Row { title: "Every site and system, the worst first", panels: vec![timeline(), systems()] },
            Row { title: "Alerts and gates", panels: vec![firing(), gates()] },
            Row { title: "What is where", panels: vec![sites(), databases(), dependencies()] },
        ],
    )
}

fn counts() -> Vec<Panel> {
    // As the table has them: where exporters disagree, by the worst that one of them says.
    let systems_at = |number: &str| format!("count(({0}) {number}) or 0 * count({0})", verdict(""));
    let now = format!("group by ({}) ({})", by(""), of(&c::VERDICT));
    let ever = format!("group by ({}) (last_over_time({}[1d]))", by(""), of(&c::VERDICT));
    vec![
        Panel::stat(
            "Says healthy, is unusable",
            "Systems whose health checks would move traffic there although it is proven that they cannot serve.",
            "that the others can serve; only what is counted as usable was tried with success.",
        )
        .colours(GREY, &[(1.0, ALARM)])
        .query("systems", format!("sum({})", max(&c::HEALTHY_BUT_UNUSABLE, ""))),
        Panel::stat(
            "Unusable",
            "Systems of which it is proven that a failover to them would fail.",
            "that a failover works: a system may be unknown, or not be watched any more.",
        )
        .colours(GREY, &[(1.0, RED)])
        .query("systems", systems_at(">= 5")),
        Panel::stat(
            "Not watched any more",
            "Systems that had a verdict within the last day and have none now: an exporter is down, or they were taken out of its configuration.",
            "that somebody watches what was never configured.",
        )
        .colours(GREY, &[(1.0, GONE)])
        .query("systems", format!("count({ever} unless {now}) or 0 * count({ever})")),
        Panel::stat(
            "Unknown",
            "Systems of which nobody can tell: no fresh evidence. Never the same as fine.",
            "that what is known is good.",
        )
        .colours(GREY, &[(1.0, UNKNOWN)])
        .query("systems", systems_at("== 3")),
        Panel::stat(
            "Degraded",
            "Systems that would work with a proven flaw, such as too few pods.",
            "that nothing is unusable or unknown.",
        )
        .colours(GREY, &[(1.0, AMBER)])
        .query("systems", systems_at("== 2")),
        Panel::stat(
            "Usable",
            "Systems at which business queries and requests were tried with success, by fresh checks.",
            "a failover that nobody exercised: load, data that replication has not brought, and people are not tried here.",
        )
        .colours(RED, &[(1.0, GREEN)])
        .query("systems", systems_at("== 1")),
    ]
}

fn timeline() -> Panel {
    // Rows are in the order of the queries: one for each word, of what stands at the end of the range.
    let ends_as = |number: u8| {
        format!("({}) and on (cluster, site, system) (({}) == {number})", verdict(""), verdict(" @ end()"))
    };
    let name = "{{site}} / {{system}}";
    let panel = Panel::states(
        "Verdicts over time, the worst of now at the top",
        "What a failover would have met. A system that is not watched any more is shown as such for a day.",
        "more than the checks that are configured try; between two checks nothing was tried.",
    )
    .size(24, 9)
    .words(words::VERDICT)
    .link(to_site("__field.labels.site", "__field.labels.system"));
    words::VERDICT.iter().fold(panel, |panel, (number, _, _)| panel.query(name, ends_as(*number)))
}

fn systems() -> Panel {
    let claims = format!("max by ({}) ({})", by(""), with(&surface::HEALTHY, "decisive=\"true\""));
    Panel::table(
        "Sites and systems",
        "Claim beside reality: what decisive health checks say, and what a failover would meet. Click a site for the reasons.",
        "anything that is not checked; the number of checks that fail is no measure of damage.",
    )
    .size(24, 9)
    .of_systems()
    .label("role", "Role in force")
    .worst_first("Reality")
    .column("Claim", Shown::As(words::CLAIMS), claims)
    .column("Reality", Shown::As(words::VERDICT), verdict(""))
    .column("For", Shown::In("s"), age(&c::VERDICT_SINCE, ""))
    .column("Failing checks", Shown::In("none"), checks_in(Status::Fail))
    .column("Unknown checks", Shown::In("none"), checks_in(Status::Unknown))
    .column("Oldest evidence", Shown::In("s"), format!("time() - min by ({}) ({} > 0)", by(""), of(&c::CHECK_COMPLETED)))
    .column("RPO promised", Shown::In("s"), max(&c::RPO_TARGET, ""))
    .column("RTO promised", Shown::In("s"), max(&c::RTO_TARGET, ""))
    .column("Role", Shown::Hidden, standing(&c::ROLE, "role"))
    .column_link("Site", to_site("__data.fields.Site", "__data.fields.System"))
    .column_link("Reality", to_site("__data.fields.Site", "__data.fields.System"))
}

/// With the way to each runbook.
pub(super) fn firing() -> Panel {
    Panel::table(
        "Alerts that fire",
        "Alerts of dr-exporter that Prometheus holds for firing. Silences and inhibitions of Alertmanager are not known here.",
        "that all is well: nothing fires where the rules are not loaded.",
    )
    .size(13, 8)
    .label("alertname", "Alert")
    .column_width("Alert", "DrSiteHealthyButUnusable and more")
    .label("severity", "Severity")
    .of_systems()
    .column("State", Shown::As(words::FIRING), alerts("alertname, severity"))
    .column_link("Alert", to_runbook("__data.fields.Alert"))
}

fn gates() -> Panel {
    let left = |metric| format!("max by ({}) ({}) - time()", by(""), of(metric));
    Panel::table(
        "Maintenance and drills",
        "What is declared. It holds back pages and never changes a verdict.",
        "that anybody does what was declared.",
    )
    .size(11, 8)
    .of_systems()
    .worst_first("Declared")
    .column(
        "Declared",
        Shown::As(words::GATES),
        format!("{} + 2 * {}", max(&c::MAINTENANCE_ACTIVE, ""), max(&c::DRILL_ACTIVE, "")),
    )
    .column("Maintenance ends in", Shown::In("s"), left(&c::MAINTENANCE_EXPIRY))
    .column("Drill ends in", Shown::In("s"), left(&c::DRILL_EXPIRY))
}

fn sites() -> Panel {
    let labels = "cluster, site, site_region, declared_role";
    Panel::table(
        "Sites",
        "Where each site says it is, and whether the nodes of its cluster agree.",
        "that the site is reachable for users. No data: identity is not checked.",
    )
    .size(7, 8)
    .label("site", "Site")
    .label("site_region", "Region")
    .label("declared_role", "Role")
    .last_label("cluster", "Cluster")
    .column("Declared", Shown::Hidden, format!("max by ({labels}) ({})", of(&c::SITE_INFO)))
    .column(
        "Nodes",
        Shown::As(words::IN_REGION),
        format!("min by (cluster, site) ({})", of(&site_identity::VERIFIED)),
    )
}

fn databases() -> Panel {
    Panel::table(
        "Databases: where they should be, where they are",
        "The region of the database that each workload is wired to.",
        "that the database answers, or that its data is fresh.",
    )
    .size(9, 8)
    .of_systems()
    .label("db", "Database")
    .label("expected_region", "Expected")
    .label("db_region", "Is in")
    .column("Region", Shown::Hidden, max(&db_endpoint_region::REGION, "db, expected_region, db_region"))
    .column("Verdict", Shown::As(words::IN_REGION), min(&db_endpoint_region::MATCH, "db"))
    .column_link("Site", to_site("__data.fields.Site", "__data.fields.System"))
}

fn dependencies() -> Panel {
    Panel::table(
        "Other dependencies: where they are",
        "The region of caches, queues and other things that workloads are wired to, what the check makes of it, and whether they answer.",
        "that a dependency can do its work: it is connected to, and no more.",
    )
    .size(8, 8)
    .of_systems()
    .label("dependency", "Dependency")
    .label("expected_region", "Expected")
    .label("dependency_region", "Is in")
    .column(
        "Region",
        Shown::Hidden,
        max(&dependency::REGION, "dependency, expected_region, dependency_region"),
    )
    .column("Check", Shown::As(words::STATUS), status_of("dependency", "dependency"))
    .column("Connection", Shown::As(words::WORKED), min(&dependency::CONNECT, "dependency"))
    .column_link("Site", to_site("__data.fields.Site", "__data.fields.System"))
}
