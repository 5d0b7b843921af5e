//! The watches of the library against a real API server: how soon a change is known, and what is said while it cannot
//! be known.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dr_exporter::discovery::{
    Cluster, ControllerKind, Inventory, ObjectRef, Sight, Wanted, WorkloadRef, in_sight, keep_watching,
};
use dr_exporter::model::{GapReason, Resource};
use dr_exporter::secret::{KubernetesAccess, Secrets};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::lab::kube::{Kube, Workload, objects};
use crate::lab::run::within;

/// What changes in the cluster is in force within this time.
const IN_FORCE: Duration = Duration::from_secs(5);

/// Watches of the Deployment `api` of a namespace.
struct Watching {
    cluster: Arc<Cluster>,
    workload: WorkloadRef,
    _task: JoinSet<()>,
}

impl Watching {
    async fn begin(kubeconfig: PathBuf, namespace: &str) -> Self {
        let object = ObjectRef::new(namespace, "api");
        let workload = WorkloadRef { kind: ControllerKind::Deployment, object };
        let wanted = Wanted { workloads: vec![workload.clone()], site_identity: true, ..Wanted::default() };
        let cluster = Arc::new(Cluster::wanting(wanted));
        let access = KubernetesAccess::Kubeconfig { path: kubeconfig, context: None };
        let mut task = JoinSet::new();
        task.spawn(keep_watching(cluster.clone(), Secrets::new(access)));
        cluster.first_sight(Duration::from_secs(20)).await;
        Watching { cluster, workload, _task: task }
    }

    /// Waits until the inventory is so.
    async fn until(&self, what: &str, limit: Duration, is: impl Fn(&Inventory) -> bool) {
        within(what, limit, async || {
            let state = |inventory: &Inventory| match is(inventory) {
                true => Ok(()),
                false => Err(format!("{:#?}", inventory.feeds)),
            };
            self.cluster.read(state)
        })
        .await;
    }

    async fn all(&self, what: &str, limit: Duration, sight: Sight) {
        self.until(what, limit, |inventory| inventory.feeds.values().all(|state| state.sight == sight)).await;
    }

    fn sight(&self, resource: Resource) -> Option<Sight> {
        self.cluster.read(|inventory| {
            let mut feeds = inventory.feeds.iter();
            feeds.find(|(feed, _)| feed.resource == resource).map(|(_, state)| state.sight)
        })
    }

    fn pods(&self, inventory: &Inventory) -> usize {
        inventory.pods_of(&self.workload).count()
    }

    fn replicas(&self, inventory: &Inventory) -> Option<u32> {
        inventory.controllers.get(&self.workload).map(|controller| controller.replicas)
    }
}

fn api() -> Workload {
    Workload::deployment("api").at(&["127.20.9.1", "127.20.9.2"].map(|ip| ip.parse().expect("an address")))
}

/// The rules of the exporter for a namespace.
fn rules() -> Value {
    let rule = |group: &str, resources: &[&str]| json!({"apiGroups": [group], "resources": resources, "verbs": ["get", "list", "watch"]});
    json!([
        rule("", &["pods", "services", "persistentvolumeclaims", "resourcequotas", "configmaps"]),
        rule("apps", &["deployments"]),
        rule("discovery.k8s.io", &["endpointslices"]),
        rule("batch", &["cronjobs"]),
        rule("autoscaling", &["horizontalpodautoscalers"]),
        rule("monitoring.coreos.com", &["servicemonitors", "podmonitors"]),
    ])
}

#[tokio::test]
async fn a_change_is_in_force_within_seconds() {
    let kube = Kube::shared().await;
    let ns = kube.namespace("watched").await;
    ns.apply(objects::config_map("settings", &[("URL", "one")])).await;
    api().env_from_config_map("URL", "settings", "URL").create(&ns).await;
    let begun = Instant::now();
    let watching = Watching::begin(kube.kubeconfig_for_admin(), ns.name()).await;
    println!("first sight: {:?}", begun.elapsed());
    watching.cluster.read(|inventory| {
        assert_eq!(in_sight(inventory, inventory.feeds.keys()), Ok(()));
        assert_eq!(watching.pods(inventory), 2);
        assert_eq!(inventory.config_maps.len(), 1);
    });

    ns.apply(objects::config_map("settings", &[("URL", "two")])).await;
    let is_two = |inventory: &Inventory| {
        inventory.config_maps.values().any(|data| data.values().any(|v| &**v == "two"))
    };
    watching.until("a ConfigMap", IN_FORCE, is_two).await;
    ns.patch("Deployment", "api", json!({"spec": {"replicas": 7}})).await;
    watching.until("a Deployment", IN_FORCE, |inventory| watching.replicas(inventory) == Some(7)).await;
    ns.apply(objects::service("api", "api", 80, 8080)).await;
    watching.until("a Service", IN_FORCE, |inventory| inventory.services.len() == 1).await;
    let pods = ns.list("Pod").await;
    ns.delete("Pod", pods[0]["metadata"]["name"].as_str().unwrap()).await;
    watching.until("a Pod that goes", IN_FORCE, |inventory| watching.pods(inventory) == 1).await;
    ns.delete("Service", "api").await;
    watching.until("a Service that goes", IN_FORCE, |inventory| inventory.services.is_empty()).await;
}

#[tokio::test]
async fn what_our_account_may_not_read_is_named_until_it_is_granted() {
    let kube = Kube::shared().await;
    let ns = kube.namespace("rights").await;
    api().create(&ns).await;
    ns.service_account("exporter").await;
    let kubeconfig = kube.kubeconfig_for_service_account(ns.name(), "exporter").await;
    let watching = Watching::begin(kubeconfig, ns.name()).await;
    watching.cluster.read(|inventory| {
        for feed in inventory.feeds.keys() {
            let gap = in_sight(inventory, [feed]).unwrap_err();
            assert_eq!(gap.reason, Some(GapReason::Forbidden), "{feed:?}");
            assert!(gap.detail.contains(&feed.rule()), "{}", gap.detail);
        }
    });
    ns.grant("exporter", rules()).await;
    // Tried again every ten seconds; then its pods, which follow from it.
    let granted = Duration::from_secs(20);
    watching.until("the pods", granted, |inventory| watching.pods(inventory) == 2).await;
    assert_eq!(watching.sight(Resource::Deployments), Some(Sight::Live));
    assert_eq!(watching.sight(Resource::Nodes), Some(Sight::Forbidden), "nobody granted that");
    assert_eq!(watching.cluster.watch_health().get(&Resource::Nodes), Some(&false));
}

#[tokio::test]
async fn a_server_that_is_killed_or_hangs_is_noticed_and_so_is_its_return() {
    let kube = Kube::start().await;
    kube.monitoring_crds().await;
    let ns = kube.namespace("away").await;
    api().create(&ns).await;
    let watching = Watching::begin(kube.kubeconfig_for_admin(), ns.name()).await;
    watching.all("live", IN_FORCE, Sight::Live).await;

    kube.freeze();
    watching.all("lost when it hangs", Duration::from_secs(15), Sight::Lost).await;
    watching.cluster.read(|inventory| {
        assert_eq!((watching.pods(inventory), watching.replicas(inventory)), (2, Some(2)), "kept");
        let gap = in_sight(inventory, inventory.feeds.keys()).unwrap_err();
        assert_eq!(gap.reason, None, "blind: {}", gap.detail);
    });
    kube.thaw();
    watching.all("live again", Duration::from_secs(10), Sight::Live).await;

    kube.kill();
    watching.all("lost when it is killed", Duration::from_secs(15), Sight::Lost).await;
    assert_eq!(watching.cluster.read(|inventory| watching.pods(inventory)), 2, "kept");
    kube.start_again().await;
    watching.all("live after a new start", Duration::from_secs(10), Sight::Live).await;
    ns.patch("Deployment", "api", json!({"spec": {"replicas": 3}})).await;
    watching.until("a change after it", IN_FORCE, |inventory| watching.replicas(inventory) == Some(3)).await;
}

#[tokio::test]
async fn an_object_that_we_cannot_read_is_left_out_alone() {
    let kube = Kube::shared().await;
    kube.monitoring_crds().await;
    let ns = kube.namespace("odd").await;
    api().create(&ns).await;
    let good = json!({"port": "metrics"});
    // The definition takes anything; the operator's own does too, before it had a schema.
    let odd = json!({"port": {"of": "no number and no name"}});
    ns.apply(objects::service_monitor("good", "api", &good)).await;
    ns.apply(objects::service_monitor("odd", "api", &odd)).await;
    let watching = Watching::begin(kube.kubeconfig_for_admin(), ns.name()).await;
    let names = |inventory: &Inventory| {
        inventory
            .service_monitors
            .keys()
            .map(|monitor| monitor.name.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    watching.until("listed", IN_FORCE, |inventory| names(inventory) == "good").await;
    ns.apply(objects::service_monitor("odd-too", "api", &odd)).await;
    ns.apply(objects::service_monitor("late", "api", &good)).await;
    watching.until("watched", IN_FORCE, |inventory| names(inventory) == "good late").await;
    watching.cluster.read(|inventory| {
        let monitors =
            inventory.feeds.iter().find(|(feed, _)| feed.resource == Resource::ServiceMonitors).unwrap();
        assert_eq!((monitors.1.sight, monitors.1.skipped), (Sight::Live, 2));
    });
}
