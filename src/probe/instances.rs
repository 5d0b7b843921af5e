//! Where the running copies of a workload are asked: as the configuration gives them, or its pods as they are now.

use http::HeaderName;
use url::Url;

use super::Answer;
use crate::config::{ConnectTo, HostPort, MetricsEndpoint};
use crate::discovery::surfaces::{Asks, HttpSurface};
use crate::discovery::{Cluster, Gap, Inventory, ObjectRef, WorkloadRef, metrics_port, services, surfaces};
use crate::model::{GapReason, ProbeKind, Reason};
use crate::net::http::HttpRequest;
use crate::secret::Secret;

/// The running copies of a workload, and where each is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Instances {
    /// Given in the file: a name and a URL each.
    Given(Vec<(String, Url)>),
    /// The pods of a workload, looked up at every attempt.
    Pods {
        /// Whose pods.
        workload: WorkloadRef,
        /// Where each is asked.
        door: Door,
        /// The owner promised no running pod, so that nobody to ask is no failure.
        may_be_none: bool,
    },
}

/// Where a pod is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Door {
    /// At this path. The port is that of the readiness probe, else the only one of the pod, unless it is given.
    At {
        /// The port.
        port: Option<u16>,
        /// The path.
        path: String,
    },
    /// Where the kubelet asks.
    Probe(ProbeKind),
    /// Where its metrics are: as annotations and monitors say, unless the file does.
    Metrics(Option<MetricsEndpoint>),
}

/// One running copy, and how it is asked.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// Where it is asked.
    pub url: Url,
    /// Headers that are sent.
    pub headers: Vec<(HeaderName, Secret)>,
    /// Its certificate is not verified: the kubelet does not, either.
    pub insecure: bool,
}

/// A door that was found, in a container if it has a name.
struct Way {
    container: Option<String>,
    surface: HttpSurface,
}

// === impl Instances ===

impl Instances {
    /// Those that there are now.
    ///
    /// # Errors
    ///
    /// The answer that is given instead of asking: a gap, a blind spot, nobody there, or nothing to ask.
    pub fn now(&self, cluster: &Cluster) -> Result<Vec<Instance>, Answer> {
        match self {
            Instances::Given(given) => Ok(given
                .iter()
                .map(|(name, url)| Instance {
                    name: name.clone(),
                    url: url.clone(),
                    headers: Vec::new(),
                    insecure: false,
                })
                .collect()),
            Instances::Pods { workload, door, may_be_none } => {
                cluster.read(|inventory| pods(inventory, workload, door, *may_be_none))
            }
        }
    }

    /// What has to differ for the question to be put anew: where each is asked, as text.
    pub fn fingerprint(&self, inventory: &Inventory) -> String {
        match self {
            Instances::Given(_) => String::new(),
            Instances::Pods { workload, door, may_be_none } => {
                match pods(inventory, workload, door, *may_be_none) {
                    Ok(pods) => pods.iter().map(|pod| pod.url.as_str()).collect::<Vec<_>>().join(" "),
                    Err(answer) => answer.detail,
                }
            }
        }
    }
}

impl Instance {
    /// The request that asks it.
    pub fn request(&self) -> HttpRequest {
        HttpRequest {
            headers: self.headers.clone(),
            insecure: self.insecure,
            ..HttpRequest::get(self.url.clone())
        }
    }
}

/// Path and query of a URL.
pub fn path_of(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

/// Host and port that a connection goes to.
///
/// # Errors
///
/// The answer that is given instead: the Service is not there, has no address, or more than one port.
pub fn dialled(connect_to: &ConnectTo, inventory: &Inventory) -> Result<(String, u16), Answer> {
    match connect_to {
        ConnectTo::Address(HostPort { host, port }) => Ok((host.clone(), *port)),
        ConnectTo::Service { namespace, name, port } => {
            services::connect_to(inventory, &ObjectRef::new(namespace, name), *port).map_err(Gap::answer)
        }
    }
}

fn pods(
    inventory: &Inventory,
    workload: &WorkloadRef,
    door: &Door,
    may_be_none: bool,
) -> Result<Vec<Instance>, Answer> {
    let ways = ways(inventory, workload, door)?;
    let pods = surfaces::instances(inventory, workload).map_err(Gap::answer)?;
    if pods.is_empty() {
        return Err(if may_be_none {
            Answer::skipped(format!("{workload} runs no pod, and its strategy promises none"))
        } else {
            Answer::fail(Reason::Missing, format!("{workload} has no running pod to ask"))
        });
    }
    let several = ways.len() > 1;
    let each = pods.iter().flat_map(|pod| ways.iter().map(move |way| (pod, way)));
    each.map(|(pod, Way { container, surface })| {
        let name = match container.as_ref().filter(|_| several) {
            Some(container) => format!("{}/{container}", pod.name),
            None => pod.name.clone(),
        };
        let unusable =
            |_| Answer::gap(GapReason::Unparsable, format!("{workload}: the URL of {name} is none"));
        let url = Url::parse(&surface.url(pod.ip)).map_err(unusable)?;
        Ok(Instance { name, url, headers: headers(workload, surface)?, insecure: surface.https })
    })
    .collect()
}

/// The headers of a probe, which its owner wrote and the kubelet sends.
fn headers(workload: &WorkloadRef, surface: &HttpSurface) -> Result<Vec<(HeaderName, Secret)>, Answer> {
    let header = |(name, value): &(String, String)| match HeaderName::try_from(name.as_str()) {
        Ok(name) => Ok((name, Secret::new(value.as_str()))),
        Err(_) => Err(Answer::gap(
            GapReason::Unparsable,
            format!("{workload}: a probe sends a header with a name that no header can have"),
        )),
    };
    surface.headers.iter().map(header).collect()
}

/// Every way through a door: a probe of each container that has one, all of which decide; else one.
fn ways(inventory: &Inventory, workload: &WorkloadRef, door: &Door) -> Result<Vec<Way>, Answer> {
    let probes = |wanted: ProbeKind| -> Result<Vec<Way>, Answer> {
        let all = surfaces::probes(inventory, workload).map_err(Gap::answer)?;
        let http =
            all.into_iter().filter(|probe| probe.kind == wanted).filter_map(|probe| match probe.asks {
                Asks::Http(surface) => Some(Way { container: Some(probe.container), surface }),
                Asks::Tcp(_) | Asks::Grpc(_) | Asks::Exec | Asks::NoSuchPort(_) => None,
            });
        Ok(http.collect())
    };
    let one = |https, port, path: &str| {
        let surface = HttpSurface { https, port, path: path.to_owned(), host: None, headers: Vec::new() };
        Ok(vec![Way { container: None, surface }])
    };
    match door {
        Door::Probe(kind) => {
            let ways = probes(*kind)?;
            if ways.is_empty() {
                return Err(Answer::skipped(format!("{workload} has no {kind} probe by HTTP")));
            }
            Ok(ways)
        }
        Door::At { port: Some(port), path } => one(false, *port, path),
        Door::At { port: None, path } => {
            let mut asked: Vec<(bool, u16)> = probes(ProbeKind::Readiness)?
                .into_iter()
                .map(|way| (way.surface.https, way.surface.port))
                .collect();
            if asked.is_empty() {
                asked = surfaces::ports(inventory, workload)
                    .map_err(Gap::answer)?
                    .into_iter()
                    .map(|port| (false, port))
                    .collect();
            }
            asked.sort_unstable();
            asked.dedup();
            match asked.as_slice() {
                [(https, port)] => one(*https, *port, path),
                [] => Err(Answer::gap(
                    GapReason::NotFound,
                    format!("{workload} names no port: say it with the surface's `port`"),
                )),
                several => {
                    let ports: Vec<String> = several.iter().map(|(_, port)| port.to_string()).collect();
                    let words = format!(
                        "{workload} has the ports {}: say with the surface's `port` which one",
                        ports.join(", ")
                    );
                    Err(Answer::gap(GapReason::Ambiguous, words))
                }
            }
        }
        Door::Metrics(Some(MetricsEndpoint { port: Some(port), path })) => one(false, *port, path),
        Door::Metrics(said) => {
            let at = metrics_port::metrics(inventory, workload).map_err(Gap::answer)?;
            one(at.https, at.port, said.as_ref().map_or(&at.path, |said| &said.path))
        }
    }
}
