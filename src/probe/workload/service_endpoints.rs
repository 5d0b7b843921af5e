//! `service_endpoints`: would a request to the workload's Services reach anybody? Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::look::{Look, counted, labels, listed};
use crate::discovery::inventory::Meta;
use crate::discovery::objects::{Endpoint, Port, ServiceSpec, ServiceStatus};
use crate::discovery::{Feed, ObjectRef};
use crate::model::{Check, Fact, Metric, Reason, Resource};
use crate::probe::{Answer, Kind};

/// What the documentation says.
pub static KIND: Kind = Kind {
    check: Check::ServiceEndpoints,
    about: "Every Service that selects the workload's pods has an endpoint that is ready, a port that the pods have, \
            and an address if it is a load balancer. A Service with the name of the workload that selects something \
            else fails, unless that something answers and another Service selects the workload. An endpoint that is \
            one of the workload's pods counts only while that pod is ready, whatever the Service publishes. A Service \
            without a selector counts if it has the workload's name; an ExternalName never does. Where nothing runs \
            until a failover (pilot light) endpoints are not asked for. Skipped for a workload without a Service.",
    example: "systems:\n  - name: orders\n    workloads: [{namespace: platform, deployment: api-server}]",
    metrics: &[&READY],
    reasons: &[&[Reason::Missing, Reason::Misconfigured, Reason::Unreachable]],
};

/// Ready endpoints.
pub static READY: Metric = Metric::gauge(
    "dr_k8s_service_ready_endpoints",
    &["site", "system", "workload"],
    "Ready endpoints of the workload's Services, the fewest of any of them; absent while unknown, \
     without a Service and while nothing runs until a failover; from a background check",
)
.withheld();

/// The label of a slice that names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

type Service<'a> = (&'a ObjectRef, &'a (Meta, ServiceSpec, ServiceStatus));

/// What it needs to know.
pub(super) fn feeds(look: &Look<'_>) -> Vec<Feed> {
    let mut feeds = vec![look.feed(Resource::Services), look.feed(Resource::EndpointSlices)];
    feeds.extend(look.pod_feeds());
    feeds
}

/// Looks at every Service of the workload.
pub(super) fn judge(look: &Look<'_>) -> Answer {
    let services = services_of(look);
    let mut faults: Vec<(Reason, String)> = Vec::new();
    let mismatch = mismatch(look, &services);
    let mut fewest = mismatch.is_some().then_some(0);
    faults.extend(mismatch.map(|words| (Reason::Misconfigured, words)));
    let waits = look.waits_for_failover();
    let mut known = Vec::new();
    for service in &services {
        let (name, (_, spec, status)) = service;
        if spec.kind.as_deref() == Some("LoadBalancer") && is_pending(status) {
            faults.push((
                Reason::Missing,
                format!("the load balancer of Service {} has no address", name.name),
            ));
        }
        faults.extend(without_port(look, service).map(|words| (Reason::Misconfigured, words)));
        if waits {
            continue;
        }
        let Ready { ready, refused } = ready(look, name);
        fewest = Some(fewest.map_or(ready, |fewest: usize| fewest.min(ready)));
        if ready == 0 {
            let refused = match refused {
                0 => String::new(),
                some => format!(", although it publishes {} that are not ready", counted(some, "pod")),
            };
            faults.push((Reason::Missing, format!("Service {} has no ready endpoint{refused}", name.name)));
        }
        known.push(format!("Service {} has {}", name.name, counted(ready, "ready endpoint")));
    }
    let facts = fewest.filter(|_| !waits).map(|fewest| {
        let fewest = u32::try_from(fewest).unwrap_or(u32::MAX);
        Fact::new(&READY, &look.spec.labels(), f64::from(fewest))
    });
    let Some((reason, _)) = faults.first() else {
        return if services.is_empty() {
            Answer::skipped(format!("no Service selects the pods of {}", look.spec.workload))
        } else if waits {
            Answer::skipped("nothing runs here until a failover, so no endpoint is expected")
        } else {
            Answer::pass(listed(&known)).with(facts)
        };
    };
    let words: Vec<&str> = faults.iter().map(|(_, words)| words.as_str()).collect();
    let wanted = match look.controller.replicas {
        0 if !waits => format!("; {} wants 0 pods", look.spec.workload),
        _ => String::new(),
    };
    Answer::fail(*reason, words.join("; ") + &wanted).with(facts)
}

/// The Services that are the workload's: those that select its pods, and one with its name whose endpoints somebody
/// else writes.
fn services_of<'a>(look: &Look<'a>) -> Vec<Service<'a>> {
    let of_its_name = |name: &ObjectRef, spec: &ServiceSpec| {
        name.name == look.spec.workload.object.name
            && spec.selector.is_empty()
            && spec.kind.as_deref() != Some("ExternalName")
    };
    look.all(&look.inventory.services)
        .filter(|(name, (_, spec, _))| look.is_selected_by(spec) || of_its_name(name, spec))
        .collect()
}

/// The Service with the workload's name, if it sends its requests elsewhere.
fn mismatch(look: &Look<'_>, services: &[Service<'_>]) -> Option<String> {
    let object = &look.spec.workload.object;
    let (_, spec, _) = look.inventory.services.get(object)?;
    let external = spec.kind.as_deref() == Some("ExternalName");
    if external || spec.selector.is_empty() || look.is_selected_by(spec) {
        return None;
    }
    // Behind a proxy it is normal: the Service has the name, the proxy gets the requests and uses another Service.
    if !services.is_empty() && ready(look, object).ready > 0 {
        return None;
    }
    Some(format!(
        "Service {} selects {}, and the pods of {} have {}",
        object.name,
        labels(&spec.selector),
        look.spec.workload,
        labels(&look.controller.template.metadata.labels)
    ))
}

fn is_pending(status: &ServiceStatus) -> bool {
    let has = |text: &Option<Box<str>>| text.as_ref().is_some_and(|text| !text.is_empty());
    !status.load_balancer.ingress.iter().any(|ingress| has(&ingress.ip) || has(&ingress.hostname))
}

/// A Service whose ports all have a target by a name that no container has: its endpoints are ready and have no port.
fn without_port(look: &Look<'_>, (name, (_, spec, _)): &Service<'_>) -> Option<String> {
    if !look.is_selected_by(spec) || spec.ports.is_empty() {
        return None;
    }
    let pod = &look.controller.template.spec;
    let named = |wanted: &str| {
        let mut ports =
            pod.containers.iter().chain(&pod.init_containers).flat_map(|container| &container.ports);
        ports.any(|port| port.name.as_deref() == Some(wanted))
    };
    let mut missing = Vec::new();
    for port in &spec.ports {
        match &port.target_port {
            Some(Port::Name(target)) if !named(target) => missing.push(&**target),
            Some(Port::Name(_) | Port::Number(_)) | None => return None,
        }
    }
    Some(format!(
        "Service {} targets the port {}, and no container has a port of that name",
        name.name,
        listed(&missing)
    ))
}

/// Addresses that get requests, and pods that are published and are not ready.
struct Ready {
    ready: usize,
    refused: usize,
}

fn ready(look: &Look<'_>, service: &ObjectRef) -> Ready {
    // The same address may have been that of a pod that has ended.
    let mut pods: BTreeMap<&str, bool> = BTreeMap::new();
    for (_, pod) in look.own_pods() {
        if let Some(ip) = pod.ip.as_deref() {
            *pods.entry(ip).or_default() |= pod.ready;
        }
    }
    let slices = look.all(&look.inventory.endpoint_slices);
    let slices = slices
        .filter(|(_, (meta, _))| meta.labels.get(SERVICE_NAME).is_some_and(|name| **name == *service.name));
    // A pod with two addresses is in the slices of both families.
    let mut families: [BTreeSet<&str>; 3] = Default::default();
    let mut refused: BTreeSet<&str> = BTreeSet::new();
    for (_, (_, endpoints)) in slices {
        for Endpoint { addresses, conditions } in endpoints {
            let Some(address) = addresses.first().filter(|_| conditions.ready != Some(false)) else {
                continue;
            };
            if pods.get(&**address) == Some(&false) {
                refused.insert(address);
                continue;
            }
            let family = match address.parse() {
                Ok(IpAddr::V4(_)) => 0,
                Ok(IpAddr::V6(_)) => 1,
                Err(_) => 2,
            };
            families[family].insert(address);
        }
    }
    let ready = families.iter().map(BTreeSet::len).max().unwrap_or_default();
    Ready { ready, refused: refused.len() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fixture::{Scene, failed, gap, passed, skipped, value};
    use super::super::part::Part;
    use super::*;
    use crate::discovery::Sight;
    use crate::model::{GapReason, Outcome, Strategy};

    fn answer(scene: &Scene) -> Answer {
        scene.answer(Part::ServiceEndpoints)
    }

    fn service(name: &str, spec: &Value) -> Value {
        json!({"kind": "Service", "metadata": {"namespace": "platform", "name": name}, "spec": spec})
    }

    fn slice(service: &str, number: u8, endpoints: &Value) -> Value {
        let name = format!("{service}-{number}");
        json!({"kind": "EndpointSlice", "endpoints": endpoints, "metadata": {
            "namespace": "platform", "name": name, "labels": {"kubernetes.io/service-name": service},
        }})
    }

    #[test]
    fn a_service_with_ready_endpoints_is_well() {
        let answer = answer(&Scene::new());
        passed(&answer, "Service api-server has 3 ready endpoints");
        assert_eq!(value(&answer, &READY), Some(3.0));
    }

    #[test]
    fn l77_no_ready_endpoint() {
        for endpoints in [
            json!(null),
            json!([]),
            json!([{"addresses": ["10.1.0.1"], "conditions": {"ready": false, "serving": true, "terminating": true}}]),
        ] {
            let mut scene = Scene::new();
            scene.delete("EndpointSlice");
            scene.put(slice("api-server", 0, &endpoints));
            let answer = answer(&scene);
            failed(&answer, Reason::Missing, "Service api-server has no ready endpoint");
            assert_eq!(value(&answer, &READY), Some(0.0));
        }
        let mut scene = Scene::new();
        scene.delete("EndpointSlice");
        failed(&answer(&scene), Reason::Missing, "Service api-server has no ready endpoint");
    }

    #[test]
    fn the_service_with_the_fewest_decides() {
        let mut scene = Scene::new();
        scene.put(service(
            "health-check",
            &json!({"selector": {"app": "api-server"}, "ports": [{"port": 8080}]}),
        ));
        let answer = answer(&scene);
        failed(&answer, Reason::Missing, "Service health-check has no ready endpoint");
        assert_eq!(value(&answer, &READY), Some(0.0));
    }

    #[test]
    fn addresses_are_counted_once() {
        let mut scene = Scene::new();
        scene.delete("EndpointSlice");
        scene.put(slice("api-server", 0, &json!([{"addresses": ["10.1.0.1"]}, {"addresses": ["10.1.0.2"]}])));
        scene.put(slice(
            "api-server",
            1,
            &json!([{"addresses": ["10.1.0.2"], "conditions": {"ready": null}}]),
        ));
        scene.put(slice("api-server", 2, &json!([{"addresses": ["fd00::1"]}, {"addresses": ["fd00::2"]}])));
        scene.put(slice("other", 0, &json!([{"addresses": ["10.1.0.9"]}])));
        assert_eq!(value(&answer(&scene), &READY), Some(2.0));
    }

    #[test]
    fn a_published_pod_that_is_not_ready_is_no_endpoint() {
        let mut scene = Scene::new();
        for pod in ["api-server-5d4f-0", "api-server-5d4f-1", "api-server-5d4f-2"] {
            scene.edit("Pod", pod, json!({"status": {"conditions": [{"type": "Ready", "status": "False"}]}}));
        }
        failed(
            &answer(&scene),
            Reason::Missing,
            "Service api-server has no ready endpoint, although it publishes 3 pods that are not ready",
        );
        // The address went on to a pod that is ready.
        scene.edit("Pod", "api-server-5d4f-0", json!({"status": {"podIP": "10.1.0.9"}}));
        assert_eq!(value(&answer(&scene), &READY), Some(1.0));
    }

    #[test]
    fn l77_a_load_balancer_without_an_address() {
        let mut scene = Scene::new();
        scene.edit(
            "Service",
            "api-server",
            json!({"spec": {"type": "LoadBalancer"}, "status": {"loadBalancer": {}}}),
        );
        let pending = answer(&scene);
        failed(&pending, Reason::Missing, "the load balancer of Service api-server has no address");
        assert_eq!(value(&pending, &READY), Some(3.0), "its endpoints are there");
        let address = json!({"status": {"loadBalancer": {"ingress": [{"hostname": "lb.example"}]}}});
        scene.edit("Service", "api-server", address);
        passed(&answer(&scene), "3 ready endpoints");
    }

    #[test]
    fn l77_a_selector_that_misses() {
        let mut scene = Scene::new();
        scene.edit(
            "Service",
            "api-server",
            json!({"spec": {"selector": {"app": "api-server", "track": "stable"}}}),
        );
        let answer = answer(&scene);
        failed(
            &answer,
            Reason::Misconfigured,
            "Service api-server selects app=api-server, track=stable, and the pods of Deployment platform/api-server \
             have app=api-server",
        );
        assert_eq!(value(&answer, &READY), Some(0.0));
    }

    #[test]
    fn a_service_before_a_proxy_may_have_the_name() {
        let mut scene = Scene::new();
        scene.edit("Service", "api-server", json!({"spec": {"selector": {"app": "proxy"}}}));
        scene.put(service("upstream", &json!({"selector": {"app": "api-server"}, "ports": [{"port": 80}]})));
        scene.put(slice("upstream", 0, &json!([{"addresses": ["10.1.0.1"]}])));
        passed(&answer(&scene), "Service upstream has 1 ready endpoint");
        scene.delete("EndpointSlice");
        scene.put(slice("upstream", 0, &json!([{"addresses": ["10.1.0.1"]}])));
        failed(&answer(&scene), Reason::Misconfigured, "Service api-server selects app=proxy");
    }

    #[test]
    fn a_port_that_nobody_has() {
        let mut scene = Scene::new();
        let ports = |target: Value| json!({"spec": {"ports": [{"port": 80, "targetPort": target}]}});
        scene.edit("Service", "api-server", ports(json!("web")));
        failed(
            &answer(&scene),
            Reason::Misconfigured,
            "Service api-server targets the port web, and no container has a port of that name",
        );
        scene.edit("Service", "api-server", ports(json!("http")));
        passed(&answer(&scene), "3 ready endpoints");
        // A number needs no declaration.
        scene.edit("Service", "api-server", ports(json!(9999)));
        passed(&answer(&scene), "3 ready endpoints");
    }

    #[test]
    fn services_without_pods_of_their_own() {
        let mut scene = Scene::new();
        scene.delete("Service");
        skipped(&answer(&scene), "no Service selects the pods of Deployment platform/api-server");
        scene.put(service("api-server", &json!({"type": "ExternalName", "selector": {"app": "x"}})));
        skipped(&answer(&scene), "no Service selects");
        scene.put(service("api-server", &json!({"selector": null, "ports": [{"port": 80}]})));
        passed(&answer(&scene), "3 ready endpoints");
        scene.delete("EndpointSlice");
        failed(&answer(&scene), Reason::Missing, "Service api-server has no ready endpoint");
    }

    #[test]
    fn a_headless_service_and_one_for_a_single_pod() {
        let mut scene = Scene::stateful();
        passed(&answer(&scene), "Service ledger has 2 ready endpoints");
        let selector =
            |ordinal: u8| json!({"statefulset.kubernetes.io/pod-name": format!("ledger-{ordinal}")});
        scene.put(service("ledger-1", &json!({"selector": selector(1), "ports": [{"port": 5432}]})));
        failed(&answer(&scene), Reason::Missing, "Service ledger-1 has no ready endpoint");
        scene.put(service("ledger-1", &json!({"selector": selector(7), "ports": [{"port": 5432}]})));
        passed(&answer(&scene), "Service ledger has 2 ready endpoints");
    }

    #[test]
    fn t09_a_pilot_light_has_no_endpoints_until_a_failover() {
        let mut scene = Scene::pilot_light();
        let waiting = answer(&scene);
        skipped(&waiting, "nothing runs here until a failover");
        assert_eq!(value(&waiting, &READY), None);
        scene.edit("Service", "api-server", json!({"spec": {"type": "LoadBalancer"}}));
        failed(&answer(&scene), Reason::Missing, "the load balancer of Service api-server has no address");
        // Hot is promised to run.
        scene.spec.strategy = Strategy::Hot;
        scene.edit("Service", "api-server", json!({"spec": {"type": "ClusterIP"}}));
        failed(
            &answer(&scene),
            Reason::Missing,
            "Service api-server has no ready endpoint; Deployment platform/api-server wants 0 pods",
        );
    }

    #[test]
    fn what_is_out_of_sight_accuses_nobody() {
        let mut scene = Scene::new();
        scene.delete("EndpointSlice");
        scene.sight(Resource::EndpointSlices, Sight::Forbidden);
        gap(&answer(&scene), GapReason::Forbidden, "`list, watch` on `endpointslices` in namespace platform");
        scene.sight(Resource::EndpointSlices, Sight::Lost);
        assert_eq!(answer(&scene).outcome, Outcome::Blind(Reason::Unreachable));
    }
}
