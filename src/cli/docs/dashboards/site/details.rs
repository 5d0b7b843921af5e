//! The rows of `dr-site` below the verdict: databases, traffic, cluster.

use super::super::panel::{Panel, Shown};
use super::super::query::{age, max, min, most, of, rate, standing, status_of};
use super::super::words::{self, AMBER, GREY, RED};
use crate::metrics::catalogue as c;
use crate::probe::workload::{readiness_probe, replicas, service_endpoints};
use crate::probe::{
    create_dry_run, database, dependency, drift, synthetic_query, synthetic_request, traffic as t,
};

pub(super) fn databases() -> Vec<Panel> {
    vec![
        Panel::states(
            "Logins",
            "Whether a login on a new connection succeeded, with the workload's own credentials.",
            "that the workload itself logs in: it may keep old connections, or have a full pool.",
        )
        .size(8, 8)
        .words(words::WORKED)
        .query("{{db}}", min(&database::CONNECT_SUCCESS, "db")),
        Panel::lines(
            "Time to log in, 95 %",
            "Resolution, connection, TLS and login together, of logins that succeeded. A far database shows here first.",
            "anything while logins fail: only those that succeeded are timed.",
        )
        .size(8, 8)
        .unit("s")
        .colours(GREY, &[(1.0, AMBER)])
        .query("{{db}}", most(&database::CONNECT_SECONDS, "cluster, site, system, db")),
        Panel::lines(
            "Time of business queries, 95 %",
            "How long queries took that were answered.",
            "anything while queries fail: only answers are timed.",
        )
        .size(8, 8)
        .unit("s")
        .colours(GREY, &[(1.0, AMBER)])
        .query("{{db}} {{query}}", most(&synthetic_query::DURATION, "cluster, site, system, db, query")),
        Panel::table(
            "Queries: what they found",
            "Rows, and the age of the newest data that the query looked at. No data: the query looks at no moment.",
            "that all data is there: a query looks at some rows of one table.",
        )
        .size(12, 7)
        .in_a_system()
        .label("db", "Database")
        .label("query", "Query")
        .column("Last run", Shown::As(words::WORKED), min(&synthetic_query::SUCCESS, "db, query"))
        .column("Rows", Shown::In("none"), min(&synthetic_query::ROW_COUNT, "db, query"))
        .column("Newest data", Shown::In("s"), age(&synthetic_query::NEWEST, "db, query")),
        Panel::table(
            "Endpoints: how they are written",
            "Where the endpoint was learnt, whether it is an address that no failover of names can move, and who else is logged in.",
            "that the endpoint is the right one.",
        )
        .size(12, 7)
        .in_a_system()
        .label("db", "Database")
        .label("source", "Learnt from")
        .label("is_ip_literal", "Is an address")
        .column("Endpoint", Shown::Hidden, max(&database::ENDPOINT_INFO, "db, source, is_ip_literal"))
        .column("Sessions of the workload", Shown::In("none"), max(&database::APP_SESSIONS, "db"))
        .column("Clock ahead of ours", Shown::In("s"), max(&database::CLOCK_OFFSET, "db")),
    ]
}

pub(super) fn traffic() -> Vec<Panel> {
    let labels = "cluster, site, system, workload";
    vec![
        Panel::lines(
            "Requests that the workload counted",
            "Those of users, of health checks, and our own. A site that only health checks call has never served anybody.",
            "that requests of users succeed: they are counted, not judged.",
        )
        .unit("reqps")
        .query("{{workload}}: of users", rate(&t::BUSINESS, labels))
        .query("{{workload}}: of probes", rate(&t::PROBES, labels))
        .query("{{workload}}: our own", rate(&t::SYNTHETIC, labels)),
        Panel::lines(
            "Time of business requests, 95 %",
            "How long our own business requests took that got an answer.",
            "anything while requests fail without an answer: only answers are timed.",
        )
        .unit("s")
        .colours(GREY, &[(1.0, AMBER)])
        .query("{{request}}", most(&synthetic_request::DURATION, "cluster, site, system, request")),
        Panel::table(
            "Traffic of users",
            "Whether anybody was served over the window, and whether the counters can be believed. Silence of a passive site is no fault.",
            "that the site could serve users; only that they came.",
        )
        .size(24, 5)
        .in_a_system()
        .label("workload", "Workload")
        .column("Users", Shown::As(words::SILENT), max(&t::ZERO, "workload"))
        .column("Last request of a user", Shown::In("s"), age(&t::LAST, "workload"))
        .column("Window", Shown::As(words::COMPLETE), min(&t::COMPLETE, "workload"))
        .column("Counters", Shown::As(words::SUSPECT), max(&t::SUSPECT, "workload"))
        .column("By design", Shown::As(words::BY_DESIGN), max(&c::TRAFFIC_EXPECTED, "")),
    ]
}

pub(super) fn cluster() -> Vec<Panel> {
    vec![
        Panel::lines(
            "Pods: ready beside needed",
            "Pods that the cluster calls ready, and those that a failover needs. No data: no cluster is watched.",
            "that a ready pod can work.",
        )
        .unit("none")
        .query("{{workload}}: ready", max(&replicas::READY, "workload"))
        .query("{{workload}}: needed", max(&replicas::REQUIRED, "workload")),
        Panel::table(
            "Workloads",
            "What the cluster says of each workload. Pods that run for months were never restarted with today's configuration.",
            "that a pod would start again: images, Secrets and nodes are tried by nobody until then.",
        )
        .in_a_system()
        .label("workload", "Workload")
        .column("New pod", Shown::As(words::ADMITTED), min(&create_dry_run::SUCCESS, "workload"))
        .column("Readiness probe", Shown::As(words::DEFINED), min(&readiness_probe::DEFINED, "workload"))
        .column("Fewest endpoints", Shown::In("none"), min(&service_endpoints::READY, "workload"))
        .column(
            "Oldest pod",
            Shown::In("s"),
            format!("time() - min by (cluster, site, system, workload) ({})", of(&replicas::OLDEST)),
        ),
        Panel::states(
            "Dependencies: connections",
            "Whether caches, queues and the like answer at the address that the workload is wired to.",
            "that a dependency can do its work: it is connected to, and no more.",
        )
        .words(words::WORKED)
        .query("{{dependency}}", min(&dependency::CONNECT, "dependency")),
        Panel::table(
            "Dependencies: where they are",
            "The region of each, and how that was learnt. Another region than the expected one falls with the disaster.",
            "that it answers.",
        )
        .colours(GREY, &[(1.0, RED)])
        .in_a_system()
        .label("dependency", "Dependency")
        .label("expected_region", "Should be in")
        .label("dependency_region", "Is in")
        .label("evidence", "Learnt by")
        .column(
            "Region",
            Shown::Hidden,
            standing(&dependency::REGION, "dependency, expected_region, dependency_region, evidence"),
        )
        .column("Check", Shown::As(words::STATUS), status_of("dependency", "dependency"))
        .column("Connection", Shown::As(words::WORKED), min(&dependency::CONNECT, "dependency")),
        Panel::table(
            "The other sites",
            "Whether the exporter of another site is read, and whether that site runs what this one runs.",
            "that the other site is well: silence of its exporter says nothing of it, or of this one.",
        )
        .size(8, 8)
        .in_a_system()
        .label("peer_site", "Site")
        .column("Exporter", Shown::As(words::STATUS), status_of("peer", "peer_site"))
        .column("The same there", Shown::As(words::STATUS), status_of("drift", "peer_site")),
        Panel::lines(
            "Objects that differ from another site",
            "Images, configuration, Secrets and custom resources, by what became of them. What settles is younger than a deployment may take.",
            "that the sites behave alike: only what is declared is compared, not what it does.",
        )
        .size(16, 8)
        .unit("none")
        .query(
            "{{peer_site}}: {{object_kind}} {{state}}",
            format!("{} > 0", max(&drift::OBJECTS, "peer_site, object_kind, state")),
        ),
    ]
}
