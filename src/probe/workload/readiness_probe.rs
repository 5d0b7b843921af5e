//! `readiness_probe`: does anybody ask the application whether it is ready? Pure.

use super::look::{Look, listed};
use crate::discovery::Feed;
use crate::discovery::objects::{Container, ContainerPort, Port, ServicePort, ServiceSpec};
use crate::model::{Check, Fact, Metric, Reason, Resource};
use crate::probe::{Answer, Kind};

/// What the documentation says.
pub static KIND: Kind = Kind {
    check: Check::ReadinessProbe,
    about: "Every container that a Service sends requests to has a readiness probe; without one a pod is ready as soon \
            as it runs, whatever the application says. Looked at are the containers that declare the port of a Service; \
            the first container where none does. So what is injected beside the application needs none, nor does a \
            sidecar (an init container that is always restarted), nor who is only scraped: a port whose name speaks of \
            metrics counts for nothing. Skipped for a workload that no Service sends requests to.",
    example: "systems:\n  - name: orders\n    workloads: [{namespace: platform, deployment: api-server}]",
    metrics: &[&DEFINED],
    reasons: &[&[Reason::Missing, Reason::Unreachable, Reason::Misconfigured]],
};

/// Whether it is.
pub static DEFINED: Metric = Metric::gauge(
    "dr_k8s_readiness_probe_defined",
    &["site", "system", "workload"],
    "1 if every container of the workload that gets requests has a readiness probe; absent while \
     unknown and where no Service sends it requests; from a background check",
)
.withheld();

/// What it needs to know.
pub(super) fn feeds(look: &Look<'_>) -> Vec<Feed> {
    vec![look.feed(Resource::Services)]
}

/// Looks at the containers that get requests.
pub(super) fn judge(look: &Look<'_>) -> Answer {
    let services = look.all(&look.inventory.services);
    let services = services.filter(|(_, (_, spec, _))| look.is_selected_by(spec) && serves(look, spec));
    let services: Vec<_> = services.collect();
    if services.is_empty() {
        return Answer::skipped(format!("no Service sends requests to the pods of {}", look.spec.workload));
    }
    let ports = services.iter().flat_map(|(_, (_, spec, _))| &spec.ports);
    let ports: Vec<Port> = ports.filter(|port| !is_scraped(look, port)).map(target).collect();
    let containers = &look.controller.template.spec.containers;
    let mut serving: Vec<&Container> =
        containers.iter().filter(|container| ports.iter().any(|port| declares(container, port))).collect();
    if serving.is_empty() {
        serving.extend(containers.first());
    }
    let without: Vec<&str> = serving
        .iter()
        .filter(|container| container.readiness_probe.is_none())
        .map(|container| &*container.name)
        .collect();
    let names: Vec<&str> = services.iter().map(|(service, _)| &*service.name).collect();
    let answer = if without.is_empty() {
        let serving: Vec<&str> = serving.iter().map(|container| &*container.name).collect();
        Answer::pass(format!("there is a readiness probe on {}", listed(&serving)))
    } else {
        Answer::fail(
            Reason::Missing,
            format!(
                "no readiness probe on {} {}: its pods are ready as soon as they run, and Service {} sends them requests",
                if without.len() == 1 { "container" } else { "containers" },
                listed(&without),
                listed(&names)
            ),
        )
    };
    answer.with([Fact::flag(&DEFINED, &look.spec.labels(), without.is_empty())])
}

/// Whether users are behind a Service, and not only who scrapes.
fn serves(look: &Look<'_>, service: &ServiceSpec) -> bool {
    service.ports.is_empty() || !service.ports.iter().all(|port| is_scraped(look, port))
}

fn target(port: &ServicePort) -> Port {
    port.target_port.clone().unwrap_or(Port::Number(port.port))
}

/// A port for those who scrape: whether they get an answer is not whether users do. It says so by its own name, or by
/// that of the container's port.
fn is_scraped(look: &Look<'_>, port: &ServicePort) -> bool {
    let is_of_metrics = |name: &str| name.contains("metrics");
    let target = target(port);
    let behind = look.controller.template.spec.containers.iter().flat_map(|container| &container.ports);
    let mut behind = behind.filter(|port| is(port, &target)).filter_map(|port| port.name.as_deref());
    port.name.as_deref().is_some_and(is_of_metrics) || behind.any(is_of_metrics)
}

/// Whether a Service with that target reaches this container.
fn declares(container: &Container, target: &Port) -> bool {
    container.ports.iter().any(|port| is(port, target))
}

fn is(port: &ContainerPort, target: &Port) -> bool {
    match target {
        Port::Number(number) => port.container_port == *number,
        Port::Name(name) => port.name.as_ref() == Some(name),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::fixture::{Scene, failed, gap, passed, skipped, value};
    use super::super::part::Part;
    use super::*;
    use crate::discovery::Sight;
    use crate::model::{GapReason, Outcome};

    fn answer(scene: &Scene) -> Answer {
        scene.answer(Part::ReadinessProbe)
    }

    fn containers(scene: &mut Scene, containers: &serde_json::Value) {
        scene.edit(
            "Deployment",
            "api-server",
            json!({"spec": {"template": {"spec": {"containers": containers}}}}),
        );
    }

    #[test]
    fn l76_without_a_probe_a_pod_is_ready_by_default() {
        let mut scene = Scene::new();
        let answer_with = answer(&scene);
        passed(&answer_with, "there is a readiness probe on app");
        assert_eq!(value(&answer_with, &DEFINED), Some(1.0));
        containers(&mut scene, &json!([{"name": "app", "ports": [{"name": "http", "containerPort": 8080}]}]));
        let without = answer(&scene);
        failed(
            &without,
            Reason::Missing,
            "no readiness probe on container app: its pods are ready as soon as they run, and Service api-server sends \
             them requests",
        );
        assert_eq!(value(&without, &DEFINED), Some(0.0));
    }

    #[test]
    fn a_liveness_probe_is_none() {
        let mut scene = Scene::new();
        containers(&mut scene, &json!([{"name": "app", "livenessProbe": {"tcpSocket": {"port": 8080}}}]));
        failed(&answer(&scene), Reason::Missing, "no readiness probe on container app");
    }

    #[test]
    fn any_kind_of_probe_is_one() {
        for probe in [
            json!({"exec": {"command": ["true"]}}),
            json!({"grpc": {"port": 9000}}),
            json!({"tcpSocket": {"port": "http"}}),
        ] {
            let mut scene = Scene::new();
            containers(&mut scene, &json!([{"name": "app", "readinessProbe": probe}]));
            passed(&answer(&scene), "app");
        }
    }

    #[test]
    fn what_stands_beside_the_application_needs_none() {
        let probe = json!({"httpGet": {"path": "/ready", "port": 8080}});
        let mut scene = Scene::new();
        containers(
            &mut scene,
            &json!([
                {"name": "istio-proxy", "ports": [{"name": "http-envoy", "containerPort": 15090}]},
                {"name": "exporter", "ports": [{"name": "metrics", "containerPort": 9187}]},
                {"name": "app", "ports": [{"name": "http", "containerPort": 8080}], "readinessProbe": probe},
            ]),
        );
        let sidecar =
            json!([{"name": "logs", "restartPolicy": "Always", "ports": [{"containerPort": 8080}]}]);
        scene.edit(
            "Deployment",
            "api-server",
            json!({"spec": {"template": {"spec": {"initContainers": sidecar}}}}),
        );
        scene.edit(
            "Service",
            "api-server",
            json!({"spec": {"ports": [
                {"name": "http", "port": 80, "targetPort": "http"},
                {"name": "metrics", "port": 9187, "targetPort": 9187},
            ]}}),
        );
        passed(&answer(&scene), "there is a readiness probe on app");
        // The twin of the excuse: users are sent to this container too.
        scene.edit(
            "Service",
            "api-server",
            json!({"spec": {"ports": [{"port": 80, "targetPort": "http"}, {"port": 15090}]}}),
        );
        failed(&answer(&scene), Reason::Missing, "no readiness probe on container istio-proxy");
    }

    #[test]
    fn a_worker_needs_none() {
        let mut scene = Scene::new();
        scene.delete("Service");
        containers(&mut scene, &json!([{"name": "worker"}]));
        let answer = answer(&scene);
        skipped(&answer, "no Service sends requests to the pods of Deployment platform/api-server");
        assert_eq!(value(&answer, &DEFINED), None);
    }

    #[test]
    fn a_worker_that_is_scraped_needs_none() {
        let mut scene = Scene::new();
        let ports =
            json!([{"name": "metrics", "containerPort": 9090}, {"name": "http", "containerPort": 8080}]);
        containers(&mut scene, &json!([{"name": "worker", "ports": ports}]));
        for port in [
            json!({"port": 9090}),
            json!({"port": 80, "targetPort": "metrics"}),
            json!({"name": "http-metrics", "port": 9100, "targetPort": 9100}),
        ] {
            scene.edit("Service", "api-server", json!({"spec": {"ports": [port]}}));
            skipped(&answer(&scene), "no Service sends requests");
        }
        for ports in [json!([]), json!([{"port": 9090}, {"port": 8080}])] {
            scene.edit("Service", "api-server", json!({"spec": {"ports": ports}}));
            failed(&answer(&scene), Reason::Missing, "no readiness probe on container worker");
        }
    }

    #[test]
    fn what_is_out_of_sight_accuses_nobody() {
        let mut scene = Scene::new();
        containers(&mut scene, &json!([{"name": "app"}]));
        scene.sight(Resource::Services, Sight::Forbidden);
        gap(&answer(&scene), GapReason::Forbidden, "`list, watch` on `services` in namespace platform");
        scene.sight(Resource::Services, Sight::Lost);
        assert_eq!(answer(&scene).outcome, Outcome::Blind(Reason::Unreachable));
    }
}
