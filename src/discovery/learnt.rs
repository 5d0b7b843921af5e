//! What discovery learnt of a workload, each fact with where it was learnt, for the page and the report. Pure. Holds no
//! value that is or may be a secret: of a connection string only host, port and database.

use serde::Serialize;

use super::dsn::{Candidate, Wiring, endpoint, names::Part};
use super::metrics_port::metrics;
use super::services::{LoadBalancerView, services};
use super::surfaces::{Asks, probes};
use super::workload::controller;
use super::{Gap, Inventory, WorkloadRef};
use crate::model::GapReason;

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Learnt {
    /// What it is about: `replicas`, `database orders`.
    pub what: String,
    /// The fact in words, or why it is not known.
    pub value: String,
    /// Where it was learnt; empty for what is not known.
    pub from: String,
    /// Whether the configuration says something else instead.
    pub overridden: bool,
    /// Why it is not known, if that is a gap.
    pub gap: Option<GapReason>,
}

/// What the configuration asks of a workload, and what it says itself.
#[derive(Clone, Debug, Default)]
pub struct Asked<'a> {
    /// The databases whose endpoint is this workload.
    pub databases: Vec<AskedDatabase<'a>>,
    /// The configuration says how many replicas a failover needs.
    pub replicas_given: bool,
    /// The configuration says where the metrics are.
    pub metrics_given: bool,
}

/// A database whose endpoint is a workload.
#[derive(Clone, Copy, Debug)]
pub struct AskedDatabase<'a> {
    /// Its name.
    pub name: &'a str,
    /// The variable that holds its address.
    pub env: Option<&'a str>,
    /// The file that holds its address.
    pub file: Option<&'a str>,
}

/// Everything that is learnt of a workload, or one line why nothing is.
pub fn learnt(inventory: &Inventory, workload: &WorkloadRef, asked: &Asked<'_>) -> Vec<Learnt> {
    let Asked { databases, replicas_given, metrics_given } = asked;
    let controller = match controller(inventory, workload) {
        Ok(controller) => controller,
        Err(gap) => return vec![unknown("workload", gap)],
    };
    let mut all = vec![Learnt {
        overridden: *replicas_given,
        ..known("replicas", controller.replicas.to_string(), format!("{workload}, spec.replicas"))
    }];
    for AskedDatabase { name, env, file } in databases {
        let what = format!("database {name}");
        match endpoint(inventory, workload, *env, *file) {
            Ok(wiring) => all.extend(wiring.candidates.iter().map(|one| database(&what, &wiring, one))),
            Err(gap) => all.push(unknown(&what, gap)),
        }
    }
    match probes(inventory, workload) {
        Ok(probes) => all.extend(probes.into_iter().map(|probe| {
            let value = match &probe.asks {
                Asks::Http(http) => {
                    let scheme = if http.https { "HTTPS" } else { "HTTP" };
                    format!("{} by {scheme} on port {}", http.path, http.port)
                }
                Asks::Tcp(port) => format!("a connection to port {port}, which is no HTTP surface"),
                Asks::Grpc(port) => format!("gRPC on port {port}, which is no HTTP surface"),
                Asks::Exec => "a command in the container, which is no HTTP surface".to_owned(),
                Asks::NoSuchPort(name) => format!("port {name}, which the container does not have"),
            };
            known(&format!("{} probe", probe.kind), value, probe.from)
        })),
        Err(gap) => all.push(unknown("probes", gap)),
    }
    all.push(match metrics(inventory, workload) {
        Ok(at) => {
            let scheme = if at.https { "HTTPS" } else { "HTTP" };
            let value = format!("{} by {scheme} on port {}", at.path, at.port);
            Learnt { overridden: *metrics_given, ..known("metrics", value, at.from) }
        }
        Err(gap) => Learnt { overridden: *metrics_given, ..unknown("metrics", gap) },
    });
    match services(inventory, workload) {
        Ok(services) => all.extend(services.into_iter().map(|view| {
            let balancer = match view.load_balancer {
                LoadBalancerView::NotWanted => String::new(),
                LoadBalancerView::Pending => ", load balancer without an address yet".to_owned(),
                LoadBalancerView::At(at) => format!(", load balancer {}", at.join(", ")),
            };
            let (ready, of) = (view.ready.len(), view.endpoints);
            let value = format!("{ready} of {of} endpoints ready{balancer}");
            known(&format!("Service {}", view.service.name), value, view.from)
        })),
        Err(gap) => all.push(unknown("Services", gap)),
    }
    all
}

fn known(what: &str, value: String, from: String) -> Learnt {
    Learnt { what: what.to_owned(), value, from, overridden: false, gap: None }
}

fn unknown(what: &str, gap: Gap) -> Learnt {
    let Gap { reason, detail } = gap;
    Learnt { what: what.to_owned(), value: detail, from: String::new(), overridden: false, gap: reason }
}

fn database(what: &str, wiring: &Wiring, candidate: &Candidate) -> Learnt {
    let from = wiring.from(candidate);
    // Complete without any Secret: then its place can be told, which is all of it that is shown.
    if wiring.secrets().is_empty()
        && let Ok(settled) = wiring.settle(&super::recipe::Read::new(), None)
    {
        let places: Vec<String> = settled.dsn.hosts.iter().map(ToString::to_string).collect();
        let database = settled.dsn.database.map(|name| format!("/{name}")).unwrap_or_default();
        return known(what, format!("{}{database}", places.join(",")), settled.from);
    }
    if let Some(address) = &candidate.address {
        let told = address.origin.trim_start_matches("from ");
        let value = if told.is_empty() { "completed by Secrets".to_owned() } else { format!("in {told}") };
        return known(what, value, from);
    }
    let of = |part: Part| {
        let named = candidate.parts.get(&part)?;
        let value = named.value.as_ref().ok()?;
        Some(match value.recipe.known() {
            Some(text) => text.to_owned(),
            None => format!("({})", value.origin.replacen("from ", "in ", 1)),
        })
    };
    let place = [(Part::Host, ""), (Part::Port, ":"), (Part::Database, "/")];
    let value: String =
        place.iter().filter_map(|(part, before)| of(*part).map(|text| format!("{before}{text}"))).collect();
    // A whole address in the place of a host would hold a password.
    let value =
        if value.contains("://") || value.contains('@') { "completed by Secrets".to_owned() } else { value };
    known(what, value, from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::testing::{World, deployment};

    fn told(world: &World, asked: &Asked<'_>) -> Vec<String> {
        let all = learnt(&world.inventory, &deployment("api"), asked);
        all.into_iter()
            .map(|Learnt { what, value, from, overridden, gap }| {
                let note = if overridden { " (overridden)" } else { "" };
                let gap = gap.map(|gap| format!(" [{gap}]")).unwrap_or_default();
                format!("{what}: {value} <- {from}{note}{gap}")
            })
            .collect()
    }

    const DATABASE: AskedDatabase<'static> = AskedDatabase { name: "orders", env: None, file: None };

    #[test]
    fn each_fact_says_where_it_is_from() {
        let world = World::new()
            .deployment(
                "api",
                "{metadata: {labels: {app: api}, annotations: {prometheus.io/port: '9102'}}, spec: {containers: [{name: api, env: [{name: DATABASE_URL, value: 'postgres://u:hunter2@pg-east/orders'}], readinessProbe: {httpGet: {path: /ready, port: 8080}}, livenessProbe: {exec: {}}}]}}",
            )
            .service("web", "{spec: {type: LoadBalancer, selector: {app: api}, ports: [{port: 80}]}, status: {loadBalancer: {ingress: [{ip: 203.0.113.9}]}}}");
        let asked = Asked { databases: vec![DATABASE], replicas_given: true, metrics_given: false };
        assert_eq!(
            told(&world, &asked),
            [
                "replicas: 1 <- Deployment platform/api, spec.replicas (overridden)",
                "database orders: pg-east:5432/orders <- Deployment platform/api, container api, variable DATABASE_URL",
                "readiness probe: /ready by HTTP on port 8080 <- Deployment platform/api, container api, readiness probe",
                "liveness probe: a command in the container, which is no HTTP surface <- Deployment platform/api, container api, liveness probe",
                "metrics: /metrics by HTTP on port 9102 <- annotations of the pods of Deployment platform/api",
                "Service web: 0 of 0 endpoints ready, load balancer 203.0.113.9 <- Service platform/web, which selects the pods of Deployment platform/api",
            ]
        );
    }

    #[test]
    fn what_is_in_a_secret_is_named_and_what_may_be_one_is_not_shown() {
        let asked = Asked { databases: vec![DATABASE], ..Asked::default() };
        for (env, expected) in [
            (
                "{name: DATABASE_URL, valueFrom: {secretKeyRef: {name: db, key: url}}}",
                "database orders: in Secret db, key url <- Deployment platform/api, container api, variable DATABASE_URL, from Secret db, key url",
            ),
            (
                "{name: DB_HOST, value: pg-west}, {name: DB_NAME, value: orders}, {name: DB_USER, value: u}, {name: DB_PASSWORD, valueFrom: {secretKeyRef: {name: db, key: pw}}}",
                "database orders: pg-west/orders <- Deployment platform/api, container api, variables DB_HOST, DB_USER, DB_PASSWORD (from Secret db, key pw), DB_NAME",
            ),
            (
                "{name: DB_HOST, valueFrom: {secretKeyRef: {name: db, key: host}}}, {name: DB_NAME, value: orders}",
                "database orders: (in Secret db, key host)/orders <- Deployment platform/api, container api, variables DB_HOST (from Secret db, key host), DB_NAME",
            ),
            (
                "{name: DATABASE_URL, value: 'postgres://u:hunter2@h:x/d'}",
                "database orders: Deployment platform/api, container api, variable DATABASE_URL: the value of `port` is not understood <-  [unparsable]",
            ),
        ] {
            let all = told(&World::new().container(&format!("env: [{env}]")), &asked);
            assert!(!all.join(" ").contains("hunter2"), "{all:?}");
            if env.contains("h:x") {
                assert!(all[1].ends_with("[unparsable]"), "{}", all[1]);
            } else {
                assert_eq!(all[1], expected);
            }
        }
    }

    #[test]
    fn a_workload_that_is_not_there_is_one_line() {
        let all = told(&World::new(), &Asked::default());
        assert_eq!(
            all,
            ["workload: there is no Deployment platform/api; namespace platform has none <-  [not_found]"]
        );
    }
}
