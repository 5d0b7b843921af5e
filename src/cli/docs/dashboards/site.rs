//! `dr-site`: what the site says of itself beside what was found by trying, and why the verdict is what it is.

mod details;

use super::fleet::firing;
use super::frame::{dashboard, to_exporter, to_file};
use super::panel::{Panel, Row, Shown};
use super::query::{age, by, max, min, of, standing, status, verdict};
use super::words::{self, AMBER, GREEN, GREY};
use crate::metrics::catalogue as c;
use crate::probe::workload::{readiness_probe, replicas, service_endpoints};
use crate::probe::{create_dry_run, database, db_endpoint_region, site_identity, surface};
use crate::probe::{synthetic_query, synthetic_request};

/// The whole file.
pub(crate) fn site() -> String {
    dashboard(
        "dr-site",
        "DR: site and system",
        "Left: what the site says of itself. Right: what was found by trying it. Below: why, and how old the evidence is.",
        &[
            Row { title: "Verdict", panels: judgement() },
            Row { title: "Left: what the site says. Right: what we found", panels: sides() },
            Row { title: "Why", panels: vec![reasons(), reasons_over_time(), firing().size(24, 5)] },
            Row { title: "Databases", panels: details::databases() },
            Row { title: "Requests and traffic", panels: details::traffic() },
            Row { title: "Cluster and dependencies", panels: details::cluster() },
            Row { title: "Evidence and its age", panels: vec![evidence(), statuses()] },
        ],
    )
}

fn judgement() -> Vec<Panel> {
    let name = "{{site}} / {{system}}";
    vec![
        Panel::stat(
            "Verdict",
            "What a failover would meet now.",
            "a failover that nobody exercised: load, people, and whatever no check is configured for.",
        )
        .size(8, 4)
        .words(words::VERDICT)
        .query(name, verdict("")),
        Panel::stat(
            "In force for",
            "Since when the verdict stands; since the start of the exporter if it never changed.",
            "that it was right all the time.",
        )
        .unit("s")
        .query(name, age(&c::VERDICT_SINCE, ""))
        .size(4, 4),
        Panel::stat(
            "Reasons against usable",
            "How many checks stand against usable, each with its reason.",
            "that all that matters is checked.",
        )
        .size(4, 4)
        .colours(GREEN, &[(1.0, AMBER)])
        .query(
            name,
            format!(
                "sum by ({0}) ({1}) or 0 * {2}",
                by(""),
                max(&c::VERDICT_REASON, "check, reason"),
                max(&c::VERDICT_SINCE, "")
            ),
        ),
        Panel::stat(
            "Maintenance or drill",
            "What is declared. It holds back pages and never changes the verdict.",
            "that anybody does what was declared.",
        )
        .size(4, 4)
        .words(words::GATES)
        .query(name, format!("{} + 2 * {}", max(&c::MAINTENANCE_ACTIVE, ""), max(&c::DRILL_ACTIVE, ""))),
        Panel::stat(
            "Oldest evidence",
            "How long ago the check ended that ended longest ago.",
            "that the evidence is good; only that somebody looked.",
        )
        .size(4, 4)
        .unit("s")
        .colours(GREY, &[])
        .query(name, format!("time() - min by ({}) ({} > 0)", by(""), of(&c::CHECK_COMPLETED))),
    ]
}

/// Each claim on the left with its test on the right, of the same height.
fn sides() -> Vec<Panel> {
    let enough =
        format!("{} >= bool {}", max(&replicas::READY, "workload"), max(&replicas::REQUIRED, "workload"));
    let leads = format!("clamp_max({}, 1)", min(&service_endpoints::READY, "workload"));
    vec![
        Panel::states(
            "Says: health checks",
            "What each surface of the site claims. On a decisive one somebody moves traffic.",
            "anything: a claim is somebody's word. It is blue for that reason, and never green.",
        )
        .size(12, 6)
        .words(words::CLAIMS)
        .query("{{surface}} (decisive: {{decisive}})", max(&surface::HEALTHY, "surface, decisive")),
        Panel::states(
            "Found: business queries and requests",
            "Whether the site did the work that users need, tried by us with the workload's own credentials.",
            "work that is not configured here, and writing.",
        )
        .size(12, 6)
        .words(words::WORKED)
        .query("query {{query}} of {{db}}", min(&synthetic_query::SUCCESS, "db, query"))
        .query("request {{request}}", min(&synthetic_request::SUCCESS, "request")),
        Panel::table(
            "Says: since when",
            "Each claim and its age. One that has not changed for weeks may be one that cannot change.",
            "anything: a claim is somebody's word.",
        )
        .size(12, 5)
        .in_a_system()
        .label("surface", "Surface")
        .in_order_of("Surface")
        .column("Claim", Shown::As(words::CLAIMS), max(&surface::HEALTHY, "surface"))
        .column("For", Shown::In("s"), age(&surface::CLAIM_CHANGED, "surface")),
        Panel::table(
            "Found: claims that are contradicted",
            "Whether a fresh check of what the surface vouches for fails while it claims health.",
            "the claim: one that is not contradicted is not thereby proven, and is grey.",
        )
        .size(12, 5)
        .in_a_system()
        .label("surface", "Surface")
        .in_order_of("Surface")
        .column("Claim", Shown::As(words::CONTRADICTED), max(&c::SURFACE_CONTRADICTED, "surface")),
        Panel::table(
            "Says: region, role, promise",
            "What the owner declared of the site and promised of the system.",
            "anything: nothing here is measured.",
        )
        .size(12, 5)
        .in_a_system()
        .label("site_region", "Region")
        .label("declared_role", "Role")
        .label("strategy", "Strategy")
        .column(
            "Declared",
            Shown::Hidden,
            format!(
                "{} * on (cluster, site) group_left (site_region, declared_role) max by (cluster, site, site_region, declared_role) ({})",
                max(&c::SYSTEM_INFO, "strategy"),
                of(&c::SITE_INFO)
            ),
        )
        .column("Time to recover", Shown::In("s"), max(&c::RTO_TARGET, "")),
        Panel::table(
            "Found: region, role",
            "The role that is in force, and whether the nodes of the cluster are where the site says. No data: not known or not checked.",
            "that the site can take over the role.",
        )
        .size(12, 5)
        .in_a_system()
        .label("role", "Role in force")
        .column("Role", Shown::Hidden, standing(&c::ROLE, "role"))
        .column("Role is", Shown::As(words::AS_DECLARED), max(&c::ROLE_CONFLICT, ""))
        .column(
            "Nodes are",
            Shown::As(words::IN_REGION),
            format!(
                "0 * {} + on (cluster, site) group_left () min by (cluster, site) ({})",
                max(&c::VERDICT_SINCE, ""),
                of(&site_identity::VERIFIED)
            ),
        ),
        Panel::table(
            "Says: where data should be",
            "The region that is expected of each database, and the data loss that is promised at most.",
            "anything: nothing here is measured.",
        )
        .size(12, 5)
        .in_a_system()
        .label("db", "Database")
        .in_order_of("Database")
        .label("expected_region", "Expected region")
        .column("Expected", Shown::Hidden, max(&db_endpoint_region::REGION, "db, expected_region"))
        .column("Data loss at most", Shown::In("s"), max(&c::RPO_TARGET, "db")),
        Panel::table(
            "Found: where data is",
            "The region of the database that the workload is wired to, and how that was learnt.",
            "that the data there is fresh, or that the database answers.",
        )
        .size(12, 5)
        .in_a_system()
        .label("db", "Database")
        .in_order_of("Database")
        .label("db_region", "Region")
        .label("evidence", "Learnt by")
        .column("Found", Shown::Hidden, max(&db_endpoint_region::REGION, "db, db_region, evidence"))
        .column("Region is", Shown::As(words::IN_REGION), min(&db_endpoint_region::MATCH, "db"))
        .column("Endpoint is", Shown::As(words::EXPECTED), min(&database::CONFIG_MATCH, "db")),
        Panel::states(
            "Says: pods",
            "Whether as many pods are ready as a failover needs, by the word of the cluster. No data: no cluster is watched.",
            "that a ready pod can work: readiness is what a probe says that somebody wrote.",
        )
        .size(12, 6)
        .words(words::ENOUGH)
        .query("{{workload}}", enough),
        Panel::states(
            "Found: would a failover get pods and requests to them",
            "A new pod is tried by a dry run of the API server; Services are followed to their endpoints; readiness probes are looked for.",
            "that nodes have room, or that a pod which is admitted starts.",
        )
        .size(12, 6)
        .words(words::WORKED)
        .query("{{workload}}: a new pod is admitted", min(&create_dry_run::SUCCESS, "workload"))
        .query("{{workload}}: its Services lead to pods", leads)
        .query("{{workload}}: readiness is probed", min(&readiness_probe::DEFINED, "workload")),
    ]
}

fn reasons() -> Panel {
    Panel::table(
        "Reasons that stand against usable",
        "Each check with its reason, of now. The sentence for people is on the exporter's own page.",
        "that nothing else is wrong: a check that does not run gives no reason beyond its own.",
    )
    .in_a_system()
    .label("check", "Check")
    .label("reason", "Reason")
    .column("State", Shown::As(words::STANDS), standing(&c::VERDICT_REASON, "check, reason"))
    .column_link("Check", to_file("What the check asks", "docs/checks.md#${__data.fields.Check}"))
    .column_link("Reason", to_file("What the reason means", "docs/checks.md#reasons"))
}

fn reasons_over_time() -> Panel {
    Panel::states(
        "Reasons over time",
        "Which reason came first is often the cause of the others.",
        "that nothing was wrong between two runs.",
    )
    .words(words::STANDS)
    .link(to_file("What the reasons mean", "docs/checks.md#reasons"))
    .query("{{check}}: {{reason}}", max(&c::VERDICT_REASON, "check, reason"))
}

fn evidence() -> Panel {
    let labels = "check, target";
    Panel::table(
        "Every check: its state, and the age of its evidence",
        "Evidence that is older than three intervals is not used any more, and the check is unknown.",
        "that the check asks the right thing.",
    )
    .size(24, 10)
    .in_a_system()
    .label("check", "Check")
    .label("target", "Target")
    .worst_first("State")
    .column("State", Shown::As(words::STATUS), status())
    .column("Last run", Shown::In("s"), age(&c::CHECK_COMPLETED, labels))
    .column("Last pass", Shown::In("s"), age(&c::CHECK_SUCCESS, labels))
    .column("Interval", Shown::In("s"), max(&c::CHECK_INTERVAL, labels))
    .column_link("Check", to_file("What the check asks", "docs/checks.md#${__data.fields.Check}"))
}

fn statuses() -> Panel {
    Panel::states(
        "Every check over time",
        "The state of each check. A gap is a time in which no exporter was scraped.",
        "that the check asks the right thing.",
    )
    .size(24, 12)
    .words(words::STATUS)
    .link(to_exporter())
    .query("{{site}} / {{system}}: {{check}} of {{target}}", status())
}
