//! What the kubelet asks of a workload's containers, and the pods that could be asked the same. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::objects::{Container, HealthProbe, HttpGet, Port, PortOf};
use super::workload::{containers, controller};
use super::{Feed, Gap, Inventory, Only, WorkloadRef, in_sight};
use crate::model::{ProbeKind, Resource};

/// A question that the kubelet puts to a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbedSurface {
    /// What its answer decides.
    pub kind: ProbeKind,
    /// The container.
    pub container: String,
    /// What is asked.
    pub asks: Asks,
    /// How long the answer may take.
    pub timeout: Duration,
    /// Where it was learnt, for people.
    pub from: String,
}

/// How a container is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asks {
    /// By HTTP: a surface.
    Http(HttpSurface),
    /// By a connection to that port: no HTTP surface.
    Tcp(u16),
    /// By gRPC's health protocol on that port: no HTTP surface.
    Grpc(u16),
    /// By a command in the container, which we cannot run.
    Exec,
    /// By a port whose name the container does not have, so that the kubelet's probe always fails.
    NoSuchPort(String),
}

/// A question by HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSurface {
    /// By HTTPS; the kubelet does not verify the certificate.
    pub https: bool,
    /// The port.
    pub port: u16,
    /// The path with its query, beginning with `/`.
    pub path: String,
    /// Another host than the pod.
    pub host: Option<String>,
    /// Headers that are sent; `Host` names a virtual host.
    pub headers: Vec<(String, String)>,
}

/// A running copy of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The name of the pod.
    pub name: String,
    /// Its address.
    pub ip: IpAddr,
}

/// The readiness and liveness probes of every container, sidecars included, in the order of the template.
///
/// # Errors
///
/// The workload cannot be seen, or is not there.
pub fn probes(inventory: &Inventory, workload: &WorkloadRef) -> Result<Vec<ProbedSurface>, Gap> {
    let spec = &controller(inventory, workload)?.template.spec;
    let each = containers(spec).flat_map(|container| {
        let Container { name, readiness_probe, liveness_probe, .. } = container;
        let both = [(ProbeKind::Readiness, readiness_probe), (ProbeKind::Liveness, liveness_probe)];
        both.into_iter().filter_map(move |(kind, probe)| {
            let probe = probe.as_ref()?;
            Some(ProbedSurface {
                kind,
                container: name.to_string(),
                asks: asks(container, probe)?,
                timeout: Duration::from_secs(probe.timeout_seconds.unwrap_or(1).max(1).into()),
                from: format!("{workload}, container {name}, {kind} probe"),
            })
        })
    });
    Ok(each.collect())
}

/// The pods that have an address, have not ended and are not being deleted, by name; ready or not.
///
/// # Errors
///
/// The pods cannot be seen.
pub fn instances(inventory: &Inventory, workload: &WorkloadRef) -> Result<Vec<Instance>, Gap> {
    controller(inventory, workload)?;
    let of_it = |feed: &&Feed| {
        feed.resource == Resource::Pods
            && matches!(&feed.only, Only::Labelled { workload: whose, .. } if whose == workload)
    };
    let mut feeds = inventory.feeds.keys().filter(of_it).peekable();
    if feeds.peek().is_none() {
        return Err(Gap::blind(format!("the first list of the pods of {workload} is not here yet")));
    }
    in_sight(inventory, feeds)?;
    let ended = |phase: Option<&str>| matches!(phase, Some("Succeeded" | "Failed"));
    let living = inventory.pods_of(workload).filter(|(_, pod)| !pod.deleting && !ended(pod.phase.as_deref()));
    Ok(living
        .filter_map(|(name, pod)| {
            Some(Instance { name: name.to_owned(), ip: pod.ip.as_deref()?.parse().ok()? })
        })
        .collect())
}

/// The ports that the containers which run all the time name, each once.
///
/// # Errors
///
/// The workload cannot be seen, or is not there.
pub fn ports(inventory: &Inventory, workload: &WorkloadRef) -> Result<Vec<u16>, Gap> {
    let spec = &controller(inventory, workload)?.template.spec;
    let all = spec.containers.iter().flat_map(|container| &container.ports);
    let ports: BTreeSet<u16> = all.map(|port| port.container_port).collect();
    Ok(ports.into_iter().collect())
}

fn asks(container: &Container, probe: &HealthProbe) -> Option<Asks> {
    let HealthProbe { http_get, tcp_socket, grpc, exec, timeout_seconds: _ } = probe;
    let by = |port: &Port, then: fn(u16) -> Asks| match number(container, port) {
        Some(port) => then(port),
        None => Asks::NoSuchPort(name(port)),
    };
    if let Some(HttpGet { path, port, host, scheme, http_headers }) = http_get {
        let Some(number) = number(container, port) else { return Some(Asks::NoSuchPort(name(port))) };
        let path = path.as_deref().unwrap_or("/");
        return Some(Asks::Http(HttpSurface {
            https: scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
            port: number,
            path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
            host: host.as_deref().filter(|host| !host.is_empty()).map(str::to_owned),
            headers: http_headers
                .iter()
                .map(|header| (header.name.to_string(), header.value.to_string()))
                .collect(),
        }));
    }
    match (tcp_socket, grpc, exec) {
        (Some(PortOf { port }), _, _) => Some(by(port, Asks::Tcp)),
        (None, Some(PortOf { port }), _) => Some(by(port, Asks::Grpc)),
        (None, None, Some(_)) => Some(Asks::Exec),
        (None, None, None) => None,
    }
}

/// The number of a container's port; the kubelet takes a name that is a number for that number.
pub(super) fn number(container: &Container, port: &Port) -> Option<u16> {
    match port {
        Port::Number(number) => Some(*number),
        Port::Name(name) => {
            let named = container.ports.iter().find(|port| port.name.as_ref() == Some(name));
            named.map(|port| port.container_port).or_else(|| name.parse().ok())
        }
    }
    .filter(|number| *number != 0)
}

fn name(port: &Port) -> String {
    match port {
        Port::Number(number) => number.to_string(),
        Port::Name(name) => name.to_string(),
    }
}

// === impl HttpSurface ===

impl HttpSurface {
    /// The URL on that address, or on the other host that the probe names.
    pub fn url(&self, ip: IpAddr) -> String {
        let HttpSurface { https, port, path, host, headers: _ } = self;
        let scheme = if *https { "https" } else { "http" };
        let host = match (host, ip) {
            (Some(host), _) => host.clone(),
            (None, IpAddr::V4(ip)) => ip.to_string(),
            (None, IpAddr::V6(ip)) => format!("[{ip}]"),
        };
        format!("{scheme}://{host}:{port}{path}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::Sight;
    use crate::discovery::inventory::Pod;
    use crate::discovery::testing::{World, deployment};

    #[test]
    fn probes_of_every_container_are_read_with_their_ports() {
        let world = World::new().deployment(
            "api",
            r"
spec:
  containers:
  - name: api
    ports: [{name: http, containerPort: 8080}, {name: tls, containerPort: 8443}]
    readinessProbe: {httpGet: {path: ready?deep=1, port: http, httpHeaders: [{name: Host, value: api.megacorp.io}]}, timeoutSeconds: 3}
    livenessProbe: {httpGet: {port: 8443, scheme: HTTPS, host: 10.1.0.9}}
  - name: tcp
    readinessProbe: {tcpSocket: {port: '9000'}}
    livenessProbe: {exec: {command: [true]}}
  - name: grpc
    readinessProbe: {grpc: {port: 50051}}
    livenessProbe: {httpGet: {port: http}}
  initContainers:
  - {name: proxy, restartPolicy: Always, readinessProbe: {httpGet: {path: /healthz, port: 15021}}}
  - {name: migrate}
",
        );
        let found = probes(&world.inventory, &deployment("api")).unwrap();
        let ip = "fd00::1".parse().unwrap();
        let told: Vec<String> = found
            .iter()
            .map(|probe| match &probe.asks {
                Asks::Http(http) => format!("{} {}", probe.from, http.url(ip)),
                other => format!("{} {other:?}", probe.from),
            })
            .collect();
        assert_eq!(
            told,
            [
                "Deployment platform/api, container api, readiness probe http://[fd00::1]:8080/ready?deep=1",
                "Deployment platform/api, container api, liveness probe https://10.1.0.9:8443/",
                "Deployment platform/api, container tcp, readiness probe Tcp(9000)",
                "Deployment platform/api, container tcp, liveness probe Exec",
                "Deployment platform/api, container grpc, readiness probe Grpc(50051)",
                // The name is that of another container's port.
                "Deployment platform/api, container grpc, liveness probe NoSuchPort(\"http\")",
                "Deployment platform/api, container proxy, readiness probe http://[fd00::1]:15021/healthz",
            ]
        );
        assert_eq!((found[0].timeout, found[1].timeout), (Duration::from_secs(3), Duration::from_secs(1)));
        assert!(matches!(&found[0].asks, Asks::Http(http) if http.headers[0].1 == "api.megacorp.io"));
        assert!(probes(&world.inventory, &deployment("gone")).is_err());
    }

    #[test]
    fn instances_are_pods_that_could_answer() {
        let pod = |ip: Option<&str>, phase: &str, deleting: bool| Pod {
            ip: ip.map(Into::into),
            phase: Some(phase.into()),
            deleting,
            ..Pod::default()
        };
        let mut world = World::new()
            .deployment("api", "{}")
            .pod("api", "b", pod(Some("10.1.0.2"), "Running", false))
            .pod("api", "a", pod(Some("10.1.0.1"), "Running", false))
            .pod("api", "waits", pod(None, "Pending", false))
            .pod("api", "leaves", pod(Some("10.1.0.3"), "Running", true))
            .pod("api", "done", pod(Some("10.1.0.4"), "Succeeded", false))
            .pod("api", "failed", pod(Some("10.1.0.5"), "Failed", false));
        let names = |world: &World| {
            let found = instances(&world.inventory, &deployment("api"))?;
            Ok::<Vec<String>, Gap>(found.into_iter().map(|pod| format!("{} {}", pod.name, pod.ip)).collect())
        };
        assert_eq!(names(&world).unwrap(), ["a 10.1.0.1", "b 10.1.0.2"]);
        let feed =
            world.inventory.feeds.keys().find(|feed| matches!(feed.only, Only::Labelled { .. })).cloned();
        world.sight(feed.clone().unwrap(), Sight::Forbidden);
        assert!(names(&world).unwrap_err().detail.contains("`list, watch` on `pods` in namespace platform"));
        world.inventory.feeds.remove(&feed.unwrap());
        assert_eq!(names(&world).unwrap_err().reason, None);
    }
}
