//! What is sent to the API server: a page of a list, a watch, and the question whether it is there at all.
//!
//! Not `kube::runtime::watcher`, for three reasons: it hides bookmarks, so nobody can say when a feed was last heard;
//! it gives up a page for one object that is not as it should be, or parses each object twice; and it logs the text
//! of others. The connection, TLS and credentials are those of `kube::Client`.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use kube::Client;
use kube::client::Body;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::form_urlencoded;

use super::Trouble;
use crate::discovery::inventory::{Feed, Only};
use crate::model::Resource;

/// The longest text of one page or one event. An object has at most 1.5 MiB in etcd, and somewhat more as JSON.
const MAX_BYTES: usize = 64 << 20;
/// The time for one page, and for the beginning of a watch.
const PATIENCE: Duration = Duration::from_secs(15);
/// How many lists may be on their way at once: each holds a page in memory.
const LISTS_AT_ONCE: usize = 3;
/// What may stand in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.');

/// The API server.
#[derive(Clone)]
pub struct Api {
    client: Client,
    lists: Arc<Semaphore>,
}

/// The lines of a watch.
pub struct Lines {
    body: Body,
    begun: BytesMut,
}

// === impl Api ===

impl Api {
    /// Through that client.
    pub fn new(client: Client) -> Self {
        Api { client, lists: Arc::new(Semaphore::new(LISTS_AT_ONCE)) }
    }

    /// Whether it is there, within that time: any answer but an error of its own says yes, a refusal too.
    pub async fn answers(&self, within: Duration) -> bool {
        let asked = async {
            let response = self.client.send(get("/readyz".to_owned())?).await.map_err(|_| Trouble::Broken)?;
            let alive = !response.status().is_server_error();
            // Read to its end, so that the connection can be used again.
            let end = Limited::new(response.into_body(), MAX_BYTES).collect().await;
            end.map_err(|_| Trouble::Broken).map(|_| alive)
        };
        matches!(timeout(within, asked).await, Ok(Ok(true)))
    }

    /// Gets a page of the list of a feed and looks at it, while no more than a few others do.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub async fn page<T>(
        &self,
        feed: &Feed,
        next: Option<&str>,
        look: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, Trouble> {
        let limit = page_size(feed.resource).to_string();
        let mut query = vec![("limit", limit.as_str())];
        query.extend(next.map(|next| ("continue", next)));
        let request = get(path(feed, query))?;
        // Closed never: it is not dropped while somebody waits.
        let _place = self.lists.acquire().await.map_err(|_| Trouble::Broken)?;
        let read = async {
            let response = self.send(request).await?;
            let read = Limited::new(response.into_body(), MAX_BYTES).collect().await;
            read.map(http_body_util::Collected::to_bytes).map_err(|_| Trouble::Broken)
        };
        let text: Bytes = timeout(PATIENCE, read).await.map_err(|_| Trouble::Broken)??;
        Ok(look(&text))
    }

    /// Watches from there on, for that long.
    ///
    /// # Errors
    ///
    /// Why it does not begin.
    pub async fn watch(&self, feed: &Feed, version: &str, time: Duration) -> Result<Lines, Trouble> {
        let seconds = time.as_secs().max(1).to_string();
        let query = vec![
            ("watch", "true"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", &seconds),
            ("resourceVersion", version),
        ];
        let sent = timeout(PATIENCE, self.send(get(path(feed, query))?)).await;
        let response = sent.map_err(|_| Trouble::Broken)??;
        Ok(Lines { body: response.into_body(), begun: BytesMut::new() })
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Trouble> {
        // The text of an error may quote headers.
        let response = self.client.send(request).await.map_err(|_| Trouble::Broken)?;
        match response.status() {
            status if status.is_success() => Ok(response),
            StatusCode::UNAUTHORIZED => Err(Trouble::Unauthorized),
            StatusCode::FORBIDDEN => Err(Trouble::Forbidden),
            StatusCode::NOT_FOUND => Err(Trouble::NotServed),
            StatusCode::GONE => Err(Trouble::Expired),
            _ => Err(Trouble::Broken),
        }
    }
}

// === impl Lines ===

impl Lines {
    /// The next lines that are whole, one or more; `None` at the end.
    ///
    /// # Errors
    ///
    /// The connection was cut, or a line is too long.
    pub async fn more(&mut self) -> Result<Option<Bytes>, Trouble> {
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let Ok(data) = frame.map_err(|_| Trouble::Broken)?.into_data() else { continue };
            if self.begun.len() + data.len() > MAX_BYTES {
                return Err(Trouble::Broken);
            }
            let end = data.iter().rposition(|byte| *byte == b'\n').map(|at| self.begun.len() + at + 1);
            self.begun.extend_from_slice(&data);
            if let Some(end) = end {
                return Ok(Some(self.begun.split_to(end).freeze()));
            }
        }
    }
}

fn get(path: String) -> Result<Request<Body>, Trouble> {
    let request = Request::get(path).header(header::ACCEPT, "application/json");
    request.body(Body::empty()).map_err(|_| Trouble::Broken)
}

/// Path and query of a feed; the client puts the server before it.
fn path(feed: &Feed, parameters: Vec<(&str, &str)>) -> String {
    let Feed { resource, namespace, only } = feed;
    let mut path = match (resource.group(), version(*resource)) {
        ("", version) => format!("/api/{version}"),
        (group, version) => format!("/apis/{group}/{version}"),
    };
    if let Some(namespace) = namespace {
        path.push_str("/namespaces/");
        path.extend(utf8_percent_encode(namespace, SEGMENT));
    }
    let path = format!("{path}/{}?", resource.plural());
    let begin = path.len();
    let mut query = form_urlencoded::Serializer::for_suffix(path, begin);
    query.extend_pairs(parameters);
    match only {
        Only::All => {}
        Only::Named(name) => {
            query.append_pair("fieldSelector", &format!("metadata.name={name}"));
        }
        Only::Labelled { workload: _, selector } => {
            query.append_pair("labelSelector", selector);
        }
    }
    query.finish()
}

/// The version in which a resource is read.
fn version(resource: Resource) -> &'static str {
    match resource {
        Resource::HorizontalPodAutoscalers => "v2",
        Resource::Deployments
        | Resource::StatefulSets
        | Resource::Pods
        | Resource::Services
        | Resource::EndpointSlices
        | Resource::ConfigMaps
        | Resource::PersistentVolumeClaims
        | Resource::StorageClasses
        | Resource::ResourceQuotas
        | Resource::CronJobs
        | Resource::Nodes
        | Resource::NodeLeases
        | Resource::CustomResourceDefinitions
        | Resource::ServiceMonitors
        | Resource::PodMonitors => "v1",
    }
}

/// Objects in one page: as many as make a few MiB of text, since a page is in memory whole.
fn page_size(resource: Resource) -> u16 {
    match resource {
        // Each can hold a schema of a megabyte.
        Resource::CustomResourceDefinitions => 10,
        // Each can hold a megabyte of somebody's files, though we ask for one by its name.
        Resource::ConfigMaps => 4,
        Resource::Pods
        | Resource::Nodes
        | Resource::Deployments
        | Resource::StatefulSets
        | Resource::CronJobs
        | Resource::EndpointSlices => 200,
        Resource::Services
        | Resource::PersistentVolumeClaims
        | Resource::StorageClasses
        | Resource::ResourceQuotas
        | Resource::HorizontalPodAutoscalers
        | Resource::NodeLeases
        | Resource::ServiceMonitors
        | Resource::PodMonitors => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::inventory::{ControllerKind, ObjectRef, WorkloadRef};

    #[test]
    fn paths_are_those_of_the_api() {
        let namespace = Arc::from("shop");
        let workload =
            WorkloadRef { kind: ControllerKind::Deployment, object: ObjectRef::new("shop", "api") };
        let only = Only::Labelled { workload, selector: "app=api,tier in (a,b)".into() };
        for (feed, expected) in [
            (Feed::all(Resource::Nodes, None), "/api/v1/nodes?limit=2"),
            (
                Feed::all(Resource::Deployments, Some(&namespace)),
                "/apis/apps/v1/namespaces/shop/deployments?limit=2",
            ),
            (
                Feed::all(Resource::HorizontalPodAutoscalers, Some(&namespace)),
                "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers?limit=2",
            ),
            (
                Feed::all(Resource::NodeLeases, Some(&"kube-node-lease".into())),
                "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases?limit=2",
            ),
            (
                Feed::named(Resource::ConfigMaps, &ObjectRef::new("shop", "settings")),
                "/api/v1/namespaces/shop/configmaps?limit=2&fieldSelector=metadata.name%3Dsettings",
            ),
            (
                Feed { resource: Resource::Pods, namespace: Some(namespace.clone()), only },
                "/api/v1/namespaces/shop/pods?limit=2&labelSelector=app%3Dapi%2Ctier+in+%28a%2Cb%29",
            ),
            (
                Feed::all(Resource::Services, Some(&"../x?".into())),
                "/api/v1/namespaces/..%2Fx%3F/services?limit=2",
            ),
        ] {
            assert_eq!(path(&feed, vec![("limit", "2")]), expected);
        }
    }
}
