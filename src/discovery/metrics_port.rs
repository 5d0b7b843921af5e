//! Where a workload shows its metrics: by `prometheus.io/*` annotations of its pods or Services, by a ServiceMonitor or
//! by a PodMonitor. Pure. Two that differ are a gap, since only its owner knows which counters are the business'.

use super::inventory::Meta;
use super::objects::{Container, MonitorEndpoint, MonitorSpec, Pairs, Port, ServicePort, ServiceSpec};
use super::services::selecting;
use super::surfaces::number;
use super::workload::{containers, controller, selects};
use super::{Feed, Gap, Inventory, ObjectRef, WorkloadRef, in_sight};
use crate::model::{GapReason, Resource};

/// Where the metrics of each pod are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsAt {
    /// By HTTPS.
    pub https: bool,
    /// The port of the pod.
    pub port: u16,
    /// The path with its query.
    pub path: String,
    /// Where it was learnt, for people.
    pub from: String,
}

/// Looks for the one place at which the pods of a workload show their metrics.
///
/// # Errors
///
/// Nothing says it, two things say different places, or something cannot be seen.
pub fn metrics(inventory: &Inventory, workload: &WorkloadRef) -> Result<MetricsAt, Gap> {
    let seeker = Seeker::new(inventory, workload)?;
    let mut found = seeker.by_annotations()?;
    found.extend(seeker.by_service_monitors()?);
    found.extend(seeker.by_pod_monitors()?);
    let mut rest = found.into_iter();
    let Some(first) = rest.next() else {
        return Err(Gap::new(
            GapReason::NotFound,
            format!(
                "nothing says where {workload} shows its metrics: looked for prometheus.io annotations of its pods and Services, for ServiceMonitors and for PodMonitors; say it with the workload's `metrics`"
            ),
        ));
    };
    let same =
        |other: &MetricsAt| (other.https, other.port, &other.path) == (first.https, first.port, &first.path);
    let others: Vec<String> = rest.filter(|other| !same(other)).map(|other| other.told()).collect();
    if others.is_empty() {
        return Ok(first);
    }
    let words = format!(
        "{workload} shows metrics at more than one place: {}; {}; say which with the workload's `metrics`",
        first.told(),
        others.join("; ")
    );
    Err(Gap::new(GapReason::Ambiguous, words))
}

/// Looks at one workload.
struct Seeker<'i> {
    inventory: &'i Inventory,
    workload: &'i WorkloadRef,
    labels: &'i Pairs,
    annotations: &'i Pairs,
    containers: Vec<&'i Container>,
    services: Vec<(&'i ObjectRef, &'i Meta, &'i ServiceSpec)>,
}

// === impl Seeker ===

impl<'i> Seeker<'i> {
    fn new(inventory: &'i Inventory, workload: &'i WorkloadRef) -> Result<Self, Gap> {
        let template = &controller(inventory, workload)?.template;
        let services = selecting(inventory, workload)?.into_iter();
        Ok(Seeker {
            inventory,
            workload,
            labels: &template.metadata.labels,
            annotations: &template.metadata.annotations,
            containers: containers(&template.spec).collect(),
            services: services.map(|(name, (meta, spec, _))| (name, meta, spec)).collect(),
        })
    }

    fn by_annotations(&self) -> Result<Vec<MetricsAt>, Gap> {
        let pods = format!("annotations of the pods of {}", self.workload);
        let declared = self.containers.iter().flat_map(|container| &container.ports);
        let declared = declared.map(|port| port.container_port).collect();
        let mut found: Vec<MetricsAt> = annotated(self.annotations, declared, &pods)?.into_iter().collect();
        for (name, meta, spec) in &self.services {
            let targets = spec.ports.iter().filter_map(|port| self.target(port)).collect();
            found.extend(annotated(&meta.annotations, targets, &format!("annotations of Service {name}"))?);
        }
        Ok(found)
    }

    fn by_service_monitors(&self) -> Result<Vec<MetricsAt>, Gap> {
        let mut found = Vec::new();
        for (name, monitor) in self.monitors(Resource::ServiceMonitors, &self.inventory.service_monitors)? {
            let selected =
                self.services.iter().filter(|(_, meta, _)| selects(&monitor.selector, &meta.labels));
            for (service, _, spec) in selected {
                for endpoint in &monitor.endpoints {
                    let named = |port: &&ServicePort| port.name.is_some() && port.name == endpoint.port;
                    let port = match (&endpoint.port, &endpoint.target_port) {
                        (Some(_), _) => spec.ports.iter().find(named).and_then(|port| self.target(port)),
                        (None, Some(port)) => self.port(port),
                        (None, None) => None,
                    };
                    // A port that the Service does not have is not scraped by Prometheus either.
                    let from = format!("ServiceMonitor {name}, Service {service}");
                    found.extend(port.map(|port| scraped(endpoint, port, from)));
                }
            }
        }
        Ok(found)
    }

    fn by_pod_monitors(&self) -> Result<Vec<MetricsAt>, Gap> {
        let mut found = Vec::new();
        for (name, monitor) in self.monitors(Resource::PodMonitors, &self.inventory.pod_monitors)? {
            if !selects(&monitor.selector, self.labels) {
                continue;
            }
            for endpoint in &monitor.pod_metrics_endpoints {
                let port = match (endpoint.port_number, &endpoint.port, &endpoint.target_port) {
                    (Some(port), _, _) => Some(port),
                    (None, Some(name), _) => self.declared(name),
                    (None, None, Some(port)) => self.port(port),
                    (None, None, None) => None,
                };
                found.extend(port.map(|port| scraped(endpoint, port, format!("PodMonitor {name}"))));
            }
        }
        Ok(found)
    }

    /// The monitors that look into the namespace of the workload.
    fn monitors(
        &self,
        resource: Resource,
        all: &'i std::collections::BTreeMap<ObjectRef, MonitorSpec>,
    ) -> Result<impl Iterator<Item = (&'i ObjectRef, &'i MonitorSpec)>, Gap> {
        let namespace = self.workload.namespace();
        in_sight(self.inventory, [&Feed::all(resource, Some(namespace))])?;
        Ok(all.iter().filter(move |(name, monitor)| {
            let within = &monitor.namespace_selector;
            let listed = within.match_names.iter().any(|name| **name == **namespace);
            within.any || listed || (within.match_names.is_empty() && name.namespace == *namespace)
        }))
    }

    /// The port of the pods behind a port of a Service.
    fn target(&self, port: &ServicePort) -> Option<u16> {
        match &port.target_port {
            Some(target) => self.port(target),
            None => Some(port.port),
        }
    }

    fn port(&self, port: &Port) -> Option<u16> {
        match port {
            Port::Number(0) => None,
            Port::Number(number) => Some(*number),
            Port::Name(_) => self.containers.iter().find_map(|container| number(container, port)),
        }
    }

    fn declared(&self, name: &str) -> Option<u16> {
        let mut ports = self.containers.iter().flat_map(|container| &container.ports);
        ports.find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port)
    }
}

/// What `prometheus.io/scrape`, `port`, `path` and `scheme` say; `ports` are those that it may mean without `port`.
fn annotated(annotations: &Pairs, mut ports: Vec<u16>, from: &str) -> Result<Option<MetricsAt>, Gap> {
    let get = |key: &str| annotations.get(format!("prometheus.io/{key}").as_str()).map(|value| value.trim());
    let said = match (get("scrape"), get("port")) {
        (Some(scrape), _) => scrape.eq_ignore_ascii_case("true"),
        (None, port) => port.is_some(),
    };
    if !said {
        return Ok(None);
    }
    let port = match get("port") {
        Some(text) => text.parse().map_err(|_| {
            Gap::new(
                GapReason::Unparsable,
                format!("prometheus.io/port in the {from} is not a number of a port"),
            )
        })?,
        None => {
            ports.sort_unstable();
            ports.dedup();
            match ports.as_slice() {
                [] => return Ok(None),
                [only] => *only,
                several => {
                    let several: Vec<String> = several.iter().map(u16::to_string).collect();
                    let words = format!(
                        "the {from} ask to be scraped without prometheus.io/port, and there are the ports {}",
                        several.join(", ")
                    );
                    return Err(Gap::new(GapReason::Ambiguous, words));
                }
            }
        }
    };
    let https = get("scheme").is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    Ok(Some(MetricsAt { https, port, path: path(get("path")), from: from.to_owned() }))
}

fn scraped(endpoint: &MonitorEndpoint, port: u16, from: String) -> MetricsAt {
    let https = endpoint.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"));
    MetricsAt { https, port, path: path(endpoint.path.as_deref()), from }
}

fn path(path: Option<&str>) -> String {
    match path {
        None | Some("") => "/metrics".to_owned(),
        Some(path) if path.starts_with('/') => path.to_owned(),
        Some(path) => format!("/{path}"),
    }
}

// === impl MetricsAt ===

impl MetricsAt {
    fn told(&self) -> String {
        let MetricsAt { https, port, path, from } = self;
        let scheme = if *https { "https " } else { "" };
        format!("{scheme}port {port} path {path} by the {from}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::Sight;
    use crate::discovery::testing::{NAMESPACE, World, deployment};

    const PODS: &str = r"
metadata: {labels: {app: api}, annotations: {ANNOTATIONS}}
spec:
  containers:
  - {name: api, ports: [{name: http, containerPort: 8080}, {name: metrics, containerPort: 9102}]}
";

    fn pods(annotations: &str) -> World {
        World::new().deployment("api", &PODS.replace("ANNOTATIONS", annotations))
    }

    fn monitor(world: &mut World, namespace: &str, name: &str, pod: bool, yaml: &str) {
        let json: serde_json::Value = serde_saphyr::from_str(yaml).unwrap();
        let spec: MonitorSpec = serde_json::from_value(json).unwrap();
        let all = if pod { &mut world.inventory.pod_monitors } else { &mut world.inventory.service_monitors };
        all.insert(ObjectRef::new(namespace, name), spec);
    }

    fn found(world: &World) -> String {
        match metrics(&world.inventory, &deployment("api")) {
            Ok(at) => at.told(),
            Err(gap) => format!("{:?} {}", gap.reason.unwrap(), gap.detail),
        }
    }

    #[test]
    fn annotations_say_it() {
        for (annotations, expected) in [
            (
                "prometheus.io/scrape: 'true', prometheus.io/port: '9102'",
                "port 9102 path /metrics by the annotations of the pods of Deployment platform/api",
            ),
            (
                "prometheus.io/port: ' 9102', prometheus.io/path: stats?format=prometheus, prometheus.io/scheme: HTTPS",
                "https port 9102 path /stats?format=prometheus by the annotations of the pods of Deployment platform/api",
            ),
            (
                "prometheus.io/scrape: 'true'",
                "ambiguous the annotations of the pods of Deployment platform/api ask to be scraped without prometheus.io/port, and there are the ports 8080, 9102",
            ),
            (
                "prometheus.io/scrape: 'true', prometheus.io/port: http",
                "unparsable prometheus.io/port in the annotations of the pods of Deployment platform/api is not a number of a port",
            ),
            (
                "prometheus.io/scrape: 'false', prometheus.io/port: '9102'",
                "not_found nothing says where Deployment platform/api shows its metrics: looked for prometheus.io annotations of its pods and Services, for ServiceMonitors and for PodMonitors; say it with the workload's `metrics`",
            ),
        ] {
            let reason = found(&pods(annotations));
            // The reason is written as its label.
            let reason = reason
                .replace("Ambiguous", "ambiguous")
                .replace("Unparsable", "unparsable")
                .replace("NotFound", "not_found");
            assert_eq!(reason, expected, "{annotations}");
        }
    }

    #[test]
    fn services_and_monitors_lead_to_the_port_of_the_pod() {
        let service = |world: World, target: &str, annotations: &str| {
            world.service("api", &format!("{{metadata: {{labels: {{app: api}}, annotations: {{{annotations}}}}}, spec: {{selector: {{app: api}}, ports: [{{name: web, port: 80, targetPort: http}}, {{name: stats, port: 81, targetPort: {target}}}]}}}}"))
        };
        let by_annotation =
            service(pods(""), "metrics", "prometheus.io/scrape: 'true', prometheus.io/port: '9102'");
        assert_eq!(
            found(&by_annotation),
            "port 9102 path /metrics by the annotations of Service platform/api"
        );
        for (target, endpoint, expected) in [
            ("metrics", "port: stats", Some(9102)),
            ("9103", "port: stats", Some(9103)),
            ("metrics", "targetPort: 9104", Some(9104)),
            ("metrics", "targetPort: metrics", Some(9102)),
            ("metrics", "port: gone", None),
        ] {
            let mut world = service(pods(""), target, "");
            let yaml = format!("{{selector: {{matchLabels: {{app: api}}}}, endpoints: [{{{endpoint}}}]}}");
            monitor(&mut world, NAMESPACE, "api", false, &yaml);
            let by = "by the ServiceMonitor platform/api, Service platform/api";
            match expected {
                Some(port) => {
                    assert_eq!(found(&world), format!("port {port} path /metrics {by}"), "{endpoint}");
                }
                None => assert!(found(&world).starts_with("NotFound"), "{endpoint}"),
            }
        }
        for (endpoint, expected) in
            [("port: metrics", 9102), ("portNumber: 9105", 9105), ("targetPort: 9106", 9106)]
        {
            let mut world = pods("");
            let yaml = format!(
                "{{selector: {{matchExpressions: [{{key: app, operator: In, values: [api]}}]}}, podMetricsEndpoints: [{{{endpoint}, path: /m}}]}}"
            );
            monitor(&mut world, NAMESPACE, "api", true, &yaml);
            assert_eq!(found(&world), format!("port {expected} path /m by the PodMonitor platform/api"));
        }
    }

    #[test]
    fn monitors_look_where_they_are_told_to_look() {
        for (namespace, within, seen) in [
            (NAMESPACE, "", true),
            ("monitoring", "", false),
            ("monitoring", "any: true", true),
            ("monitoring", "matchNames: [platform]", true),
            (NAMESPACE, "matchNames: [other]", false),
        ] {
            let mut world = pods("");
            let yaml = format!(
                "{{selector: {{matchLabels: {{app: api}}}}, namespaceSelector: {{{within}}}, podMetricsEndpoints: [{{port: metrics}}]}}"
            );
            monitor(&mut world, namespace, "m", true, &yaml);
            assert_eq!(found(&world).starts_with("port 9102"), seen, "{namespace} {within}");
        }
    }

    #[test]
    fn two_that_differ_are_named_and_two_that_agree_are_one() {
        let annotation = "prometheus.io/port: '9102'";
        for (port, expected) in [
            ("metrics", "port 9102 path /metrics by the annotations of the pods of Deployment platform/api"),
            (
                "http",
                "Ambiguous Deployment platform/api shows metrics at more than one place: port 9102 path /metrics by the annotations of the pods of Deployment platform/api; port 8080 path /metrics by the PodMonitor platform/m; say which with the workload's `metrics`",
            ),
        ] {
            let mut world = pods(annotation);
            let yaml = format!("{{selector: {{}}, podMetricsEndpoints: [{{port: {port}}}]}}");
            monitor(&mut world, NAMESPACE, "m", true, &yaml);
            assert_eq!(found(&world), expected);
        }
        let feed = Feed::all(Resource::PodMonitors, Some(&NAMESPACE.into()));
        assert!(found(&pods(annotation).with_sight(feed.clone(), Sight::NotServed)).starts_with("port 9102"));
        assert!(found(&pods(annotation).with_sight(feed, Sight::Forbidden)).starts_with("Forbidden"));
    }
}
