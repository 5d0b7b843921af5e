//! The watches against an API server of ours that does on demand what a real one does on a bad day.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;

use super::*;
use crate::discovery::inventory::{ControllerKind, ObjectRef, Only, WorkloadRef};
use crate::discovery::{Wanted, in_sight};
use crate::model::GapReason;
use crate::secret::KubernetesAccess;

/// A second is 50 ms here.
const QUICK: Rhythm = Rhythm {
    pulse: Duration::from_millis(60),
    pulse_again: Duration::from_millis(20),
    sign_within: Duration::from_millis(250),
    watch_for: Duration::from_secs(60),
    poll_every: Duration::from_millis(100),
    broken_for: Duration::from_millis(400),
    right_again: Duration::from_millis(100),
    served_again: Duration::from_millis(100),
    cluster_again: Duration::from_millis(50),
};

/// An API server: what it holds, by plural, and how it is today.
struct Fake {
    held: Mutex<Held>,
    /// Lines for those who watch, with the plural; an empty line cuts.
    lines: broadcast::Sender<(String, String)>,
    frozen: watch::Sender<bool>,
}

#[derive(Default)]
struct Held {
    objects: BTreeMap<String, BTreeMap<String, Value>>,
    /// The status for every request for a plural, or for every watch if `?watch` stands behind it.
    refusals: BTreeMap<String, u16>,
    version: u64,
    /// Path and query of every request.
    asked: Vec<String>,
}

impl Fake {
    fn put(&self, plural: &str, object: Value) {
        let mut held = self.held.lock().unwrap();
        held.version += 1;
        let mut object = object;
        object["metadata"]["resourceVersion"] = json!(held.version.to_string());
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let kind = if held.objects.entry(plural.into()).or_default().contains_key(&name) {
            "MODIFIED"
        } else {
            "ADDED"
        };
        held.objects.entry(plural.into()).or_default().insert(name, object.clone());
        let _ = self.lines.send((plural.into(), json!({"type": kind, "object": object}).to_string()));
    }

    fn remove(&self, plural: &str, name: &str) {
        let mut held = self.held.lock().unwrap();
        held.version += 1;
        let version = held.version.to_string();
        let mut object = held.objects.get_mut(plural).unwrap().remove(name).unwrap();
        object["metadata"]["resourceVersion"] = json!(version);
        let _ = self.lines.send((plural.into(), json!({"type": "DELETED", "object": object}).to_string()));
    }

    /// Changes what is held, and tells nobody who watches.
    fn silently(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.held.lock().unwrap());
    }

    fn refuse(&self, what: &str, status: u16) {
        self.held.lock().unwrap().refusals.insert(what.into(), status);
    }

    fn allow(&self, what: &str) {
        self.held.lock().unwrap().refusals.remove(what);
    }

    fn say(&self, plural: &str, line: &str) {
        self.lines.send((plural.into(), line.into())).unwrap();
    }

    fn asked(&self, part: &str) -> Vec<String> {
        let held = self.held.lock().unwrap();
        held.asked.iter().filter(|path| path.contains(part)).cloned().collect()
    }

    /// Serves one connection.
    async fn serve(self: Arc<Self>, mut stream: TcpStream) -> std::io::Result<()> {
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).await? == 0 {
                    return Ok(());
                }
                head.push(byte[0]);
            }
            let mut frozen = self.frozen.subscribe();
            frozen.wait_for(|frozen| !frozen).await.unwrap();
            let path = String::from_utf8(head).unwrap().split(' ').nth(1).unwrap().to_owned();
            let mut lines = self.lines.subscribe();
            let (plural, query) = self.route(&path);
            let is_watch = query.contains_key("watch");
            let (status, body) = self.answer(&plural, &query);
            if !is_watch || status != 200 {
                let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n{body}", body.len());
                stream.write_all(head.as_bytes()).await?;
                continue;
            }
            stream.write_all(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n").await?;
            while let Ok((of, line)) = lines.recv().await {
                frozen.wait_for(|frozen| !frozen).await.unwrap();
                if of == plural && line.is_empty() {
                    return Ok(());
                }
                if of == plural {
                    stream.write_all(format!("{:x}\r\n{line}\n\r\n", line.len() + 1).as_bytes()).await?;
                }
            }
        }
    }

    fn route(&self, path: &str) -> (String, BTreeMap<String, String>) {
        let url = url::Url::parse(&format!("http://x{path}")).unwrap();
        self.held.lock().unwrap().asked.push(path.to_owned());
        let plural = url.path_segments().unwrap().next_back().unwrap().to_owned();
        (plural, url.query_pairs().into_owned().collect())
    }

    fn answer(&self, plural: &str, query: &BTreeMap<String, String>) -> (u16, String) {
        let held = self.held.lock().unwrap();
        let of_watch = held.refusals.get(&format!("{plural}?watch")).filter(|_| query.contains_key("watch"));
        let refusal = held.refusals.get(plural).or(of_watch);
        if let Some(status) = refusal {
            return (*status, json!({"kind": "Status", "code": status}).to_string());
        }
        if plural == "readyz" {
            return (200, "ok".to_owned());
        }
        let named = query.get("fieldSelector").and_then(|field| field.strip_prefix("metadata.name="));
        let all: Vec<&Value> = held
            .objects
            .get(plural)
            .into_iter()
            .flatten()
            .filter(|(name, _)| named.is_none_or(|named| named == *name))
            .map(|(_, object)| object)
            .collect();
        let from: usize = query.get("continue").map_or(0, |at| at.parse().unwrap());
        let limit: usize = query.get("limit").map_or(usize::MAX, |limit| limit.parse().unwrap());
        let until = from.saturating_add(limit).min(all.len());
        let next = if until < all.len() { until.to_string() } else { String::new() };
        let metadata = json!({"resourceVersion": held.version.to_string(), "continue": next});
        (200, json!({"kind": "List", "metadata": metadata, "items": all[from..until]}).to_string())
    }
}

/// A fake API server, and watches of it.
struct Lab {
    fake: Arc<Fake>,
    cluster: Arc<Cluster>,
    _tasks: JoinSet<()>,
    _kubeconfig: tempfile::TempDir,
}

impl Lab {
    /// One that holds the Deployment `shop/api`, and whatever is prepared.
    async fn new(prepare: impl FnOnce(&Fake)) -> Self {
        let lab = Lab::begin(prepare, true).await;
        lab.cluster.first_sight(Duration::from_secs(10)).await;
        lab
    }

    async fn begin(prepare: impl FnOnce(&Fake), has_kubeconfig: bool) -> Self {
        let fake = Arc::new(Fake {
            held: Mutex::default(),
            lines: broadcast::Sender::new(1 << 12),
            frozen: watch::Sender::new(false),
        });
        fake.put("deployments", deployment(2, &[]));
        prepare(&fake);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let kubeconfig = tempfile::tempdir().unwrap();
        if has_kubeconfig {
            write_kubeconfig(&kubeconfig, &listener);
        }
        let access = KubernetesAccess::Kubeconfig { path: kubeconfig.path().join("config"), context: None };
        let cluster = Arc::new(Cluster::wanting(Wanted {
            workloads: vec![api()],
            site_identity: true,
            ..Wanted::default()
        }));
        let mut tasks = JoinSet::new();
        let server = fake.clone();
        if !has_kubeconfig {
            write_kubeconfig(&kubeconfig, &listener);
            std::fs::rename(kubeconfig.path().join("config"), kubeconfig.path().join("later")).unwrap();
        }
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let serving = server.clone().serve(stream);
                connections.spawn(async move { drop(serving.await) });
            }
        });
        tasks.spawn(keep_watching_at(QUICK, cluster.clone(), Secrets::new(access)));
        Lab { fake, cluster, _tasks: tasks, _kubeconfig: kubeconfig }
    }

    /// Waits until the inventory is so.
    async fn until(&self, what: &str, is: impl Fn(&Inventory) -> bool) {
        let mut changes = self.cluster.changes();
        let wait = async {
            while !self.cluster.read(&is) {
                // What the server was asked is no change of the inventory.
                let _ = timeout(Duration::from_millis(10), changes.changed()).await;
            }
        };
        let feeds = || self.cluster.read(|inventory| format!("{:#?}", inventory.feeds));
        assert!(timeout(Duration::from_secs(10), wait).await.is_ok(), "never: {what}\n{}", feeds());
    }

    fn sight(&self, resource: Resource) -> Option<Sight> {
        self.cluster.read(|inventory| sight(inventory, resource))
    }
}

fn write_kubeconfig(directory: &tempfile::TempDir, listener: &TcpListener) {
    let address = listener.local_addr().unwrap();
    let mut file = std::fs::File::create(directory.path().join("config")).unwrap();
    write!(
        file,
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: k, cluster: {{server: 'http://{address}'}}}}]\n\
         users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n"
    )
    .unwrap();
}

fn api() -> WorkloadRef {
    WorkloadRef { kind: ControllerKind::Deployment, object: ObjectRef::new("shop", "api") }
}

fn deployment(replicas: i64, config_maps: &[&str]) -> Value {
    let env_from: Vec<_> = config_maps.iter().map(|name| json!({"configMapRef": {"name": name}})).collect();
    json!({
        "metadata": {"name": "api", "namespace": "shop", "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [{"fieldsV1": {"f:spec": {}}}]},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "api"}},
            "template": {"metadata": {"creationTimestamp": null, "labels": {"app": "api"}},
                "spec": {"containers": [{"name": "c", "image": "i", "envFrom": env_from}]}}},
    })
}

fn pod(name: &str, phase: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "labels": {"app": "api"}},
        "spec": {"nodeName": "n"}, "status": {"phase": phase}})
}

/// What the slim struct refuses, though a Value takes it.
fn broken_pod(name: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop"}, "status": {"phase": 7}})
}

fn sight(inventory: &Inventory, resource: Resource) -> Option<Sight> {
    inventory.feeds.iter().find(|(feed, _)| feed.resource == resource).map(|(_, state)| state.sight)
}

fn pods(inventory: &Inventory) -> Vec<&str> {
    inventory.pods_of(&api()).map(|(name, _)| name).collect()
}

fn replicas(inventory: &Inventory) -> Option<u32> {
    inventory.controllers.get(&api()).map(|controller| controller.replicas)
}

#[tokio::test]
async fn a_list_comes_in_pages_and_what_follows_from_it_is_part_of_the_first_sight() {
    let lab =
        Lab::new(|fake| (0..450).for_each(|n| fake.put("pods", pod(&format!("p{n:03}"), "Running")))).await;
    assert_eq!(lab.cluster.read(|inventory| pods(inventory).len()), 450);
    let lists: Vec<_> =
        lab.fake.asked("/namespaces/shop/pods?").into_iter().filter(|path| !path.contains("watch")).collect();
    assert_eq!(lists.len(), 3, "{lists:?}");
    assert!(
        lists[2].contains("continue=400")
            && lists.iter().all(|path| path.contains("labelSelector=app%3Dapi"))
    );
    let health = lab.cluster.watch_health();
    assert_eq!(health.get(&Resource::Pods), Some(&true));
    assert_eq!(health.values().filter(|is| !**is).count(), 0, "{health:?}");
}

#[tokio::test]
async fn changes_are_seen_and_a_new_version_alone_is_no_change() {
    let lab = Lab::new(|fake| fake.put("pods", pod("a", "Pending"))).await;
    lab.until("watched", |_| lab.fake.asked("pods?watch").len() == 1).await;
    lab.fake.put("pods", pod("b", "Running"));
    lab.until("added", |inventory| pods(inventory) == ["a", "b"]).await;
    lab.fake.remove("pods", "a");
    lab.until("removed", |inventory| pods(inventory) == ["b"]).await;
    lab.fake.put("deployments", deployment(5, &[]));
    lab.until("modified", |inventory| replicas(inventory) == Some(5)).await;

    let quiet = lab.cluster.changes();
    (0..20).for_each(|_| lab.fake.put("pods", pod("b", "Running")));
    lab.fake
        .say("pods", r#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"999"}}}"#);
    let heard = |inventory: &Inventory| {
        let (_, state) = inventory.feeds.iter().find(|(feed, _)| feed.resource == Resource::Pods).unwrap();
        state.heard
    };
    let before = lab.cluster.read(heard);
    for _ in 0..100 {
        sleep(Duration::from_millis(10)).await;
        if lab.cluster.read(heard) != before {
            break;
        }
    }
    assert_ne!(lab.cluster.read(heard), before);
    // Only the polled Leases could have moved it, and there are none.
    assert!(!quiet.has_changed().unwrap());
}

#[tokio::test]
async fn a_cut_watch_goes_on_from_where_it_was() {
    let lab = Lab::new(|fake| fake.put("pods", pod("a", "Running"))).await;
    lab.until("watched", |_| lab.fake.asked("pods?watch").len() == 1).await;
    lab.fake.put("pods", pod("b", "Running"));
    lab.until("b", |inventory| pods(inventory) == ["a", "b"]).await;
    let version = lab.fake.held.lock().unwrap().version;
    lab.fake.say("pods", "");
    for _ in 0..500 {
        if lab.fake.asked("pods?watch").len() >= 2 {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    let watches = lab.fake.asked("pods?watch");
    assert!(watches[1].contains(&format!("resourceVersion={version}&")), "{watches:?}");
    assert_eq!(lab.fake.asked("pods?limit").len(), 1, "listed once");
    assert_eq!(lab.sight(Resource::Pods), Some(Sight::Live));
    lab.fake.put("pods", pod("c", "Running"));
    lab.until("c", |inventory| pods(inventory) == ["a", "b", "c"]).await;
}

#[tokio::test]
async fn a_forgotten_place_in_history_is_listed_anew_at_once() {
    let lab =
        Lab::new(|fake| ["a", "b"].iter().for_each(|name| fake.put("pods", pod(name, "Running")))).await;
    lab.until("watched", |_| lab.fake.asked("pods?watch").len() == 1).await;
    lab.fake.silently(|held| {
        let pods = held.objects.get_mut("pods").unwrap();
        pods.remove("a");
        pods.insert("c".into(), pod("c", "Running"));
        held.version += 10;
    });
    lab.fake.say(
        "pods",
        r#"{"type":"ERROR","object":{"kind":"Status","metadata":{},"status":"Failure","code":410}}"#,
    );
    lab.until("replaced", |inventory| {
        let pods = pods(inventory);
        assert!(pods == ["a", "b"] || pods == ["b", "c"], "never half of it: {pods:?}");
        pods == ["b", "c"]
    })
    .await;
    assert_eq!(lab.sight(Resource::Pods), Some(Sight::Live));
}

#[tokio::test]
async fn silence_loses_sight_and_keeps_what_is_known() {
    let lab = Lab::new(|fake| fake.put("pods", pod("a", "Running"))).await;
    lab.fake.frozen.send_replace(true);
    let all = |inventory: &Inventory, sight| inventory.feeds.values().all(|state| state.sight == sight);
    lab.until("lost", |inventory| all(inventory, Sight::Lost)).await;
    lab.cluster.read(|inventory| {
        assert_eq!(pods(inventory), ["a"]);
        let gap = in_sight(inventory, inventory.feeds.keys()).unwrap_err();
        assert_eq!(gap.reason, None, "blind, not a gap");
        assert!(gap.detail.starts_with("the Kubernetes API cannot be reached"), "{}", gap.detail);
    });
    assert!(lab.cluster.watch_health().values().all(|is| !is));
    lab.fake.silently(|held| {
        held.objects.get_mut("pods").unwrap().insert("b".into(), pod("b", "Running"));
    });
    lab.fake.frozen.send_replace(false);
    lab.until("back", |inventory| all(inventory, Sight::Live)).await;
    assert_eq!(lab.cluster.read(|inventory| pods(inventory).len()), 2, "live is as it is now");
}

#[tokio::test]
async fn a_missing_right_is_named_and_its_grant_is_noticed() {
    let lab = Lab::new(|fake| fake.refuse("services", 403)).await;
    lab.cluster.read(|inventory| {
        let gap = in_sight(inventory, inventory.feeds.keys()).unwrap_err();
        assert_eq!(gap.reason, Some(GapReason::Forbidden));
        assert!(
            gap.detail.contains("the rule `list, watch` on `services` in namespace shop"),
            "{}",
            gap.detail
        );
    });
    assert_eq!(lab.sight(Resource::Deployments), Some(Sight::Live));
    lab.fake.put("services", json!({"metadata": {"name": "web"}}));
    lab.fake.allow("services");
    lab.until("granted", |inventory| sight(inventory, Resource::Services) == Some(Sight::Live)).await;
    assert_eq!(lab.cluster.read(|inventory| inventory.services.len()), 1);
}

#[tokio::test]
async fn who_may_list_and_not_watch_is_not_well_now_and_then() {
    let lab = Lab::new(|fake| fake.refuse("services?watch", 403)).await;
    lab.until("refused", |inventory| sight(inventory, Resource::Services) == Some(Sight::Forbidden)).await;
    for _ in 0..60 {
        assert_eq!(lab.sight(Resource::Services), Some(Sight::Forbidden));
        sleep(Duration::from_millis(10)).await;
    }
    assert!(lab.fake.asked("services?watch").len() > 2);
}

#[tokio::test]
async fn what_is_not_served_is_none_of_it_until_it_is_served() {
    let lab = Lab::new(|fake| fake.refuse("podmonitors", 404)).await;
    assert_eq!(lab.sight(Resource::PodMonitors), Some(Sight::NotServed));
    assert_eq!(lab.cluster.read(|inventory| in_sight(inventory, inventory.feeds.keys())), Ok(()));
    lab.fake.put("podmonitors", json!({"metadata": {"name": "m"}, "spec": {"selector": {}}}));
    lab.fake.allow("podmonitors");
    lab.until("served", |inventory| inventory.pod_monitors.len() == 1).await;
    // The definition is deleted again: its watch ends, and there is none of it.
    lab.fake.refuse("podmonitors", 404);
    lab.fake.say("podmonitors", "");
    lab.until("gone", |inventory| {
        sight(inventory, Resource::PodMonitors) == Some(Sight::NotServed) && inventory.pod_monitors.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_not_called_a_missing_rule() {
    let lab = Lab::new(|fake| fake.refuse("nodes", 401)).await;
    lab.cluster.read(|inventory| {
        let gap = in_sight(inventory, [&Feed::all(Resource::Nodes, None)]).unwrap_err();
        assert_eq!(gap.reason, Some(GapReason::Forbidden));
        assert!(gap.detail.contains("token") && !gap.detail.contains("rule"), "{}", gap.detail);
    });
}

#[tokio::test]
async fn an_object_that_cannot_be_read_costs_itself_only() {
    let lab = Lab::new(|fake| {
        ["a", "c"].iter().for_each(|name| fake.put("pods", pod(name, "Running")));
        fake.put("pods", broken_pod("b"));
    })
    .await;
    let skipped = |inventory: &Inventory| {
        inventory
            .feeds
            .iter()
            .find(|(feed, _)| feed.resource == Resource::Pods)
            .map(|(_, state)| state.skipped)
    };
    assert_eq!(lab.cluster.read(|inventory| pods(inventory).join(" ")), "a c");
    assert_eq!(lab.cluster.read(skipped), Some(1));
    lab.until("watched", |_| lab.fake.asked("pods?watch").len() == 1).await;
    lab.fake.put("pods", broken_pod("d"));
    lab.fake.put("pods", broken_pod("b"));
    lab.fake.put("pods", broken_pod("a"));
    lab.fake.put("pods", pod("e", "Running"));
    lab.until("e", |inventory| pods(inventory).contains(&"e")).await;
    // What was known of `a` stays; `b` had been told of before.
    assert_eq!(lab.cluster.read(|inventory| pods(inventory).join(" ")), "a c e");
    assert_eq!(lab.cluster.read(skipped), Some(3));
    lab.fake.put("pods", pod("d", "Running"));
    lab.until("mended", |inventory| pods(inventory) == ["a", "c", "d", "e"]).await;
    lab.fake.remove("pods", "b");
    lab.fake.remove("pods", "a");
    lab.until("removed", |inventory| pods(inventory) == ["c", "d", "e"]).await;
    assert_eq!(lab.fake.asked("pods?watch").len(), 1, "one watch all the time");
}

#[tokio::test]
async fn a_feed_that_breaks_alone_is_lost_alone() {
    let lab = Lab::new(|_| {}).await;
    lab.fake.refuse("services", 500);
    lab.fake.say("services", "");
    lab.until("lost", |inventory| sight(inventory, Resource::Services) == Some(Sight::Lost)).await;
    assert_eq!(lab.sight(Resource::Pods), Some(Sight::Live));
    lab.fake.allow("services");
    lab.until("back", |inventory| sight(inventory, Resource::Services) == Some(Sight::Live)).await;
}

#[tokio::test]
async fn config_maps_come_and_go_with_the_template() {
    let lab = Lab::new(|fake| {
        ["one", "two"].iter().for_each(|name| {
            fake.put("configmaps", json!({"metadata": {"name": name}, "data": {"KEY": name}}));
        });
    })
    .await;
    let known = |inventory: &Inventory| {
        inventory.config_maps.keys().map(|name| name.to_string()).collect::<BTreeSet<_>>()
    };
    assert_eq!(lab.cluster.read(known), BTreeSet::new());
    lab.fake.put("deployments", deployment(2, &["one"]));
    lab.until("one", |inventory| known(inventory) == ["shop/one".to_owned()].into()).await;
    lab.fake.put("deployments", deployment(2, &["two"]));
    lab.until("two", |inventory| known(inventory) == ["shop/two".to_owned()].into()).await;
    lab.fake.put("pods", pod("a", "Running"));
    lab.until("a", |inventory| pods(inventory) == ["a"]).await;
    lab.fake.remove("deployments", "api");
    lab.until("none", |inventory| known(inventory).is_empty() && pods(inventory).is_empty()).await;
    let is_dynamic = |feed: &Feed| feed.only != Only::All;
    assert!(!lab.cluster.read(|inventory| inventory.feeds.keys().any(is_dynamic)));
}

#[tokio::test]
async fn no_cluster_says_why_and_a_kubeconfig_may_come_later() {
    let lab = Lab::begin(|_| {}, false).await;
    lab.cluster.first_sight(Duration::from_secs(5)).await;
    let why = lab.cluster.unavailable().unwrap();
    assert!(why.ends_with("config cannot be read as a kubeconfig"), "{why}");
    lab.cluster.read(|inventory| {
        let gap = in_sight(inventory, inventory.feeds.keys()).unwrap_err();
        assert_eq!(gap.reason, Some(GapReason::NotFound));
        assert!(gap.detail.contains(&why), "{}", gap.detail);
    });
    assert!(lab.cluster.watch_health().values().all(|is| !is));
    let at = lab._kubeconfig.path();
    std::fs::rename(at.join("later"), at.join("config")).unwrap();
    lab.until("live", |inventory| replicas(inventory) == Some(2)).await;
    assert_eq!(lab.cluster.unavailable(), None);
}

#[tokio::test]
async fn nothing_is_asked_for_nothing() {
    let cluster = Arc::new(Cluster::default());
    let access = KubernetesAccess::Kubeconfig { path: "/nowhere".into(), context: None };
    let watching = keep_watching_at(QUICK, cluster.clone(), Secrets::new(access));
    assert!(timeout(Duration::from_millis(200), watching).await.is_err());
    assert_eq!(cluster.unavailable(), None);
    assert_eq!(cluster.watch_health(), BTreeMap::new());
}

/// Word of a new configuration.
#[tokio::test]
async fn what_is_wanted_may_change_while_it_is_watched() {
    let lab = Lab::new(|_| {}).await;
    let pods = |inventory: &Inventory| sight(inventory, Resource::Pods);
    assert_eq!(lab.sight(Resource::Pods), Some(Sight::Live));
    let lists = |of: &str| {
        let held = lab.fake.held.lock().unwrap();
        held.asked.iter().filter(|asked| asked.contains(of) && !asked.contains("watch=")).count()
    };
    let before = lists("/nodes");

    let before_all = (*lab.cluster.wanted()).clone();
    lab.cluster.want(Wanted { services: [Arc::from("other")].into(), ..before_all.clone() });
    lab.until("the Services of another namespace are watched", |inventory| {
        inventory.sight(&Feed::all(Resource::Services, Some(&Arc::from("other")))) == Sight::Live
    })
    .await;
    assert_eq!(lists("/nodes"), before, "what is wanted still is not listed anew");

    lab.cluster.want(Wanted::default());
    lab.until("nothing is watched, and nothing known", |inventory| {
        inventory.feeds.is_empty() && inventory.controllers.is_empty() && inventory.nodes.is_empty()
    })
    .await;
    let asked = || lab.fake.held.lock().unwrap().asked.len();
    // What was on its way may still arrive.
    sleep(QUICK.sign_within).await;
    let quiet = asked();
    sleep(QUICK.pulse * 5).await;
    assert_eq!(asked(), quiet, "no cluster is touched for nothing");

    lab.cluster.want(before_all);
    lab.until("all is back", |inventory| pods(inventory) == Some(Sight::Live)).await;
}
