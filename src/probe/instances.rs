//! Where the running copies of a workload are asked: as the configuration gives them, or its pods as they are now.

use http::{HeaderName, HeaderValue};
use url::Url;

use super::Answer;
use crate::config::{ConnectTo, HostPort, MetricsEndpoint};
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

/// Scheme, port, path and headers of a door.
struct Way {
    https: bool,
    port: u16,
    path: String,
    headers: Vec<(HeaderName, Secret)>,
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
            services::address(inventory, &ObjectRef::new(namespace, name), *port).map_err(Gap::answer)
        }
    }
}

fn pods(
    inventory: &Inventory,
    workload: &WorkloadRef,
    door: &Door,
    may_be_none: bool,
) -> Result<Vec<Instance>, Answer> {
    let Some(way) = way(inventory, workload, door)? else {
        return Err(Answer::skipped(match door {
            Door::Probe(kind) => format!("{workload} has no {kind} probe by HTTP"),
            Door::At { .. } | Door::Metrics(_) => format!("{workload} has no such port"),
        }));
    };
    let pods = surfaces::instances(inventory, workload).map_err(Gap::answer)?;
    if pods.is_empty() {
        return Err(if may_be_none {
            Answer::skipped(format!("{workload} runs no pod, and its strategy promises none"))
        } else {
            Answer::fail(Reason::Missing, format!("{workload} has no running pod to ask"))
        });
    }
    Ok(pods
        .into_iter()
        .filter_map(|pod| {
            let scheme = if way.https { "https" } else { "http" };
            // An address of version 6 stands in brackets.
            let address = std::net::SocketAddr::new(pod.ip, way.port);
            let mut url = Url::parse(&format!("{scheme}://{address}/")).ok()?;
            let (path, query) = way.path.split_once('?').map_or((&*way.path, None), |(p, q)| (p, Some(q)));
            url.set_path(path);
            url.set_query(query);
            Some(Instance { name: pod.name, url, headers: way.headers.clone(), insecure: way.https })
        })
        .collect())
}
fn way(_i: &Inventory, _w: &WorkloadRef, _d: &Door) -> Result<Option<Way>, Answer> { Ok(None) }
