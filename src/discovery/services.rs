//! The Services that select a workload's pods, and the address behind which a Service is reached. Pure.

use std::net::IpAddr;

use super::inventory::Meta;
use super::objects::{Endpoint, ServiceSpec, ServiceStatus};
use super::workload::{controller, has_all, there_is};
use super::{Feed, Gap, Inventory, ObjectRef, WorkloadRef, in_sight};
use crate::model::{GapReason, Resource};

/// The label of a slice that names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A Service as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceView {
    /// Which one.
    pub service: ObjectRef,
    /// Its ports.
    pub ports: Vec<u16>,
    /// Its address in the cluster; none for a headless one.
    pub cluster_ip: Option<String>,
    /// The addresses of pods that may get requests.
    pub ready: Vec<String>,
    /// How many endpoints there are.
    pub endpoints: usize,
    /// Its load balancer.
    pub load_balancer: LoadBalancerView,
    /// Where it was learnt, for people.
    pub from: String,
}

/// The load balancer of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadBalancerView {
    /// None is asked for.
    NotWanted,
    /// It has no address yet.
    Pending,
    /// Its names and addresses.
    At(Vec<String>),
}

/// The Services that select the pods of a workload, by the labels of its template.
///
/// # Errors
///
/// The workload, the Services or their endpoints cannot be seen.
pub fn services(inventory: &Inventory, workload: &WorkloadRef) -> Result<Vec<ServiceView>, Gap> {
    let namespace = Some(workload.namespace());
    let of = selecting(inventory, workload)?;
    in_sight(inventory, [&Feed::all(Resource::EndpointSlices, namespace)])?;
    Ok(of.into_iter().map(|(service, held)| view(inventory, workload, service, held)).collect())
}

/// The Services that select the pods of a workload, as they are held.
pub(super) fn selecting<'i>(
    inventory: &'i Inventory,
    workload: &WorkloadRef,
) -> Result<Vec<(&'i ObjectRef, &'i (Meta, ServiceSpec, ServiceStatus))>, Gap> {
    let labels = &controller(inventory, workload)?.template.metadata.labels;
    in_sight(inventory, [&Feed::all(Resource::Services, Some(workload.namespace()))])?;
    let own = inventory.services.iter().filter(|(service, (_, spec, _))| {
        service.namespace == *workload.namespace()
            && !spec.selector.is_empty()
            && has_all(labels, &spec.selector)
    });
    Ok(own.collect())
}

fn view(
    inventory: &Inventory,
    workload: &WorkloadRef,
    service: &ObjectRef,
    (_, spec, status): &(Meta, ServiceSpec, ServiceStatus),
) -> ServiceView {
    let slices = inventory.endpoint_slices.iter().filter(|(slice, (meta, _))| {
        slice.namespace == service.namespace && meta.labels.get(SERVICE_NAME) == Some(&(*service.name).into())
    });
    // A pod that listens at two addresses or is in two slices is one endpoint at its first address.
    let (mut ready, mut all) = (Vec::new(), Vec::new());
    for Endpoint { addresses, conditions } in slices.flat_map(|(_, (_, endpoints))| endpoints) {
        let Some(address) = addresses.first() else { continue };
        all.push(address.to_string());
        if conditions.ready != Some(false) {
            ready.push(address.to_string());
        }
    }
    for list in [&mut ready, &mut all] {
        list.sort();
        list.dedup();
    }
    ServiceView {
        service: service.clone(),
        ports: spec.ports.iter().map(|port| port.port).collect(),
        cluster_ip: cluster_ip(spec).map(str::to_owned),
        ready,
        endpoints: all.len(),
        load_balancer: load_balancer(spec, status),
        from: format!("Service {service}, which selects the pods of {workload}"),
    }
}

/// The host and port at which a Service is reached: its load balancer if it asks for one, else its address in the
/// cluster. Without `port` it must have only one.
///
/// # Errors
///
/// There is no such Service or port, it has no address, or it cannot be seen.
pub fn connect_to(
    inventory: &Inventory,
    service: &ObjectRef,
    port: Option<u16>,
) -> Result<(String, u16), Gap> {
    in_sight(inventory, [&Feed::all(Resource::Services, Some(&service.namespace))])?;
    let Some((_, spec, status)) = inventory.services.get(service) else {
        let others = inventory.services.keys().filter(|other| other.namespace == service.namespace);
        let others = others.map(|other| other.name.to_string()).collect();
        let words = format!("there is no Service {service}; {}", there_is(&service.name, others, service));
        return Err(Gap::new(GapReason::NotFound, words));
    };
    let ports: Vec<String> = spec.ports.iter().map(|port| port.port.to_string()).collect();
    let listed = ports.join(", ");
    let port = match (port, spec.ports.as_slice()) {
        (Some(port), all) if all.iter().any(|known| known.port == port) => port,
        (Some(port), _) => {
            let words = format!("Service {service} has no port {port}, only {listed}");
            return Err(Gap::new(GapReason::NotFound, words));
        }
        (None, [only]) => only.port,
        (None, _) => {
            let words = format!("Service {service} has the ports {listed}: say which one with `port`");
            return Err(Gap::new(GapReason::Ambiguous, words));
        }
    };
    let host = match (load_balancer(spec, status), cluster_ip(spec)) {
        (LoadBalancerView::At(all), _) => all.into_iter().next(),
        // Its address in the cluster is another way than that of its users.
        (LoadBalancerView::Pending, _) => {
            let words = format!("the load balancer of Service {service} has no address yet");
            return Err(Gap::new(GapReason::NotFound, words));
        }
        (LoadBalancerView::NotWanted, address) => address.map(str::to_owned),
    };
    match host {
        Some(host) => Ok((host, port)),
        None => Err(Gap::new(
            GapReason::Unsupported,
            format!("Service {service} is headless or only a name for another host: give that host itself"),
        )),
    }
}

/// A host and a port as they are written together.
pub fn joined((host, port): &(String, u16)) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
        Ok(IpAddr::V4(_)) | Err(_) => format!("{host}:{port}"),
    }
}

fn cluster_ip(spec: &ServiceSpec) -> Option<&str> {
    spec.cluster_ip.as_deref().filter(|address| !matches!(*address, "" | "None"))
}

fn load_balancer(spec: &ServiceSpec, status: &ServiceStatus) -> LoadBalancerView {
    if spec.kind.as_deref() != Some("LoadBalancer") {
        return LoadBalancerView::NotWanted;
    }
    let each = status.load_balancer.ingress.iter();
    let all: Vec<String> = each
        .filter_map(|ingress| {
            ingress.hostname.as_deref().filter(|name| !name.is_empty()).or(ingress.ip.as_deref())
        })
        .map(str::to_owned)
        .collect();
    if all.is_empty() { LoadBalancerView::Pending } else { LoadBalancerView::At(all) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::discovery::Sight;
    use crate::discovery::testing::{NAMESPACE, World, deployment};

    fn world() -> World {
        let mut world = World::new()
            .deployment("api", "metadata: {labels: {app: api, tier: web}}")
            .service("api", "{spec: {type: LoadBalancer, selector: {app: api}, clusterIP: 172.20.0.1, ports: [{port: 80}, {port: 443}]}, status: {loadBalancer: {ingress: [{hostname: dr-west.elb.amazonaws.com}]}}}")
            .service("inner", "{spec: {selector: {app: api, tier: web}, clusterIP: 172.20.0.2, ports: [{port: 80, targetPort: http}]}}")
            .service("pending", "{spec: {type: LoadBalancer, selector: {app: api}, clusterIP: 172.20.0.3, ports: [{port: 80}]}}")
            .service("headless", "{spec: {selector: {tier: web}, clusterIP: None, ports: [{port: 80}]}}")
            .service("elsewhere", "{spec: {selector: {app: api, tier: other}, ports: [{port: 80}]}}")
            .service("by-hand", "{spec: {ports: [{port: 80}]}}");
        let endpoint = |address: &str, ready: Option<bool>| -> Endpoint {
            serde_json::from_value(json!({"addresses": [address], "conditions": {"ready": ready}})).unwrap()
        };
        let meta = Meta { labels: [(SERVICE_NAME.into(), "api".into())].into(), ..Meta::default() };
        let slices = [
            ("api-1", vec![endpoint("10.1.0.1", None), endpoint("10.1.0.2", Some(false))]),
            ("api-2", vec![endpoint("10.1.0.1", Some(true)), endpoint("10.1.0.3", Some(true))]),
        ];
        for (name, endpoints) in slices {
            world
                .inventory
                .endpoint_slices
                .insert(ObjectRef::new(NAMESPACE, name), (meta.clone(), endpoints));
        }
        world
    }

    #[test]
    fn services_are_those_that_select_the_template() {
        let found = services(&world().inventory, &deployment("api")).unwrap();
        let names: Vec<&str> = found.iter().map(|view| &*view.service.name).collect();
        assert_eq!(names, ["api", "headless", "inner", "pending"]);
        assert_eq!(found[0].ready, ["10.1.0.1", "10.1.0.3"]);
        assert_eq!(found[0].endpoints, 3);
        assert_eq!(found[0].load_balancer, LoadBalancerView::At(vec!["dr-west.elb.amazonaws.com".into()]));
        assert_eq!(found[0].from, "Service platform/api, which selects the pods of Deployment platform/api");
        assert_eq!((found[1].cluster_ip.as_deref(), found[1].endpoints), (None, 0));
        assert_eq!(found[2].load_balancer, LoadBalancerView::NotWanted);
        assert_eq!(found[3].load_balancer, LoadBalancerView::Pending);
        let slices = Feed::all(Resource::EndpointSlices, Some(&NAMESPACE.into()));
        let blind = world().with_sight(slices, Sight::Forbidden);
        let gap = services(&blind.inventory, &deployment("api")).unwrap_err();
        assert_eq!(gap.reason, Some(GapReason::Forbidden));
    }

    #[test]
    fn a_service_is_reached_as_its_users_reach_it() {
        let world = world();
        let at = |name: &str, port| {
            let reached = connect_to(&world.inventory, &ObjectRef::new(NAMESPACE, name), port);
            reached.map(|reached| joined(&reached)).map_err(|gap| gap.detail)
        };
        assert_eq!(at("api", Some(443)), Ok("dr-west.elb.amazonaws.com:443".into()));
        assert_eq!(at("inner", None), Ok("172.20.0.2:80".into()));
        for (name, port, expected) in [
            ("api", None, "Service platform/api has the ports 80, 443: say which one with `port`"),
            ("api", Some(8080), "Service platform/api has no port 8080, only 80, 443"),
            ("pending", None, "the load balancer of Service platform/pending has no address yet"),
            (
                "headless",
                None,
                "Service platform/headless is headless or only a name for another host: give that host itself",
            ),
            (
                "ap",
                None,
                "there is no Service platform/ap; namespace platform has api, inner, by-hand, headless, pending, elsewhere",
            ),
        ] {
            assert_eq!(at(name, port), Err(expected.to_owned()));
        }
        assert_eq!(joined(&("fd00::1".into(), 80)), "[fd00::1]:80");
    }
}
