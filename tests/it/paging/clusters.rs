//! What a cluster claims, a site for each page and one for all tickets: L56, L73, L75, L76, L77, L78, L79, L80, L81, L97,
//! and the twin T09.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;

use super::scaled::{self, FACTOR};
use super::stage::{Joins, Scene, Stage, Watched};
use super::{DATABASE, PAGE, SECOND};
use crate::lab::kube::objects::{claim, cron_job, node_lease, quota, storage_class, webhook_to_nowhere};
use crate::lab::kube::{Kube, SeedCluster};
use crate::lab::{Claim, Pg, west_ip};

const PODS: &str = "DrPodsCannotStart";

/// The clusters, around one database.
pub struct Clusters {
    kube: &'static Kube,
    tickets: SeedCluster<'static>,
    quota: SeedCluster<'static>,
    image: SeedCluster<'static>,
    service: SeedCluster<'static>,
    webhook: SeedCluster<'static>,
    copied: SeedCluster<'static>,
    pilot: SeedCluster<'static>,
    _node: Pg,
}

/// Their exporters.
pub struct Sites {
    tickets: Watched,
    quota: Watched,
    image: Watched,
    service: Watched,
    webhook: Watched,
    copied: Watched,
    pilot: Watched,
}

// === impl Sites ===

impl Sites {
    pub fn all(&self) -> [&Watched; 7] {
        [&self.tickets, &self.quota, &self.image, &self.service, &self.webhook, &self.copied, &self.pilot]
    }
}

// === impl Clusters ===

impl Clusters {
    pub async fn start(kube: &'static Kube) -> Self {
        let node = Pg::single(west_ip()).await;
        let dsn = node.dsn("app");
        let start = || SeedCluster::start(kube, &dsn);
        let (tickets, quota, image, service, webhook, copied, mut pilot) =
            tokio::join!(start(), start(), start(), start(), start(), start(), start());
        pilot.ns.patch("Deployment", "api-server", json!({"spec": {"replicas": 0}})).await;
        for _ in 0..3 {
            pilot.api.remove(0).await;
        }
        pilot.endpoints(&[]).await;
        tickets.ns.apply(cron_job("invoices", "0 6 * * *", true)).await;
        for node in &copied.nodes {
            kube.patch("Node", "", &node.name, region(&copied, "us-west-2")).await;
        }
        for app in &service.apps {
            app.behave(|b| (b.health, b.ready) = (Claim::StaticOk, Claim::StaticOk));
        }
        Self { kube, tickets, quota, image, service, webhook, copied, pilot, _node: node }
    }

    pub async fn sites(&self) -> Sites {
        let admin = self.kube.kubeconfig_for_admin();
        let config = |cluster: &SeedCluster<'_>| cluster.config(&admin, DATABASE);
        let hot = config(&self.tickets).replace("strategy: warm", "strategy: hot");
        let more = config(&self.quota).replace("api-server}]", "api-server, replicas_required: 6}]");
        let identity = format!("standby, identity: {{node_label: {}}}}}", label(&self.copied));
        Sites {
            tickets: Watched::new("dr-ticket", &hot).await,
            quota: Watched::new("dr-quota", &more).await,
            image: Watched::new("dr-image", &config(&self.image)).await,
            service: Watched::new("dr-service", &config(&self.service)).await,
            webhook: Watched::new("dr-webhook", &config(&self.webhook)).await,
            copied: Watched::new("dr-copied", &config(&self.copied).replace("standby}", &identity)).await,
            pilot: Watched::new(
                "dr-pilot",
                &config(&self.pilot).replace("strategy: warm", "strategy: pilot_light"),
            )
            .await,
        }
    }

    /// All scenes at once.
    pub async fn play(&mut self, stage: &Stage, sites: &Sites) {
        let scene = |id, watched| Scene { stage, watched, system: None, id };
        let tickets = |id| scene(id, &sites.tickets);
        let silent = self.tickets.nodes[0].name.clone();
        self.tickets.nodes[0].silent();
        let this = &*self;
        tokio::join!(
            this.many_tickets(tickets, &silent),
            this.too_little_room(scene("L81", &sites.quota)),
            this.an_image_out_of_reach(scene("L73", &sites.image)),
            this.nobody_behind_the_service(scene("L77", &sites.service)),
            this.no_new_pod(scene("L80", &sites.webhook)),
            this.another_site_s_values(scene("L97", &sites.copied)),
        );
        let pilot = scene("T09", &sites.pilot);
        pilot.verdict("usable").await;
        pilot.hears_nothing("page", "a pilot light runs nothing by design");
        pilot.hears_nothing("tickets", "a pilot light runs nothing by design");
    }

    /// Five things to mend before they are needed, none of which stops a failover now: warnings, no page.
    async fn many_tickets<'s>(&self, scene: impl Fn(&'static str) -> Scene<'s>, silent: &str) {
        const TICKETS: [(&str, &str, &str); 5] = [
            ("L56", "DrCronJobActive", "cron_jobs"),
            ("L75", "DrReplicasMissing", "workload_replicas"),
            ("L76", "DrReadinessProbeMissing", "readiness_probe"),
            ("L78", "DrNodeSilent", "node_lease"),
            ("L79", "DrStorageNotReady", "storage"),
        ];
        let cluster = &self.tickets;
        scene("L56").verdict("usable").await;
        let fault = Instant::now();
        let class = format!("fast-{}", cluster.ns.name());
        self.kube.apply(storage_class(&class)).await;
        self.kube.apply(node_lease(silent, Duration::from_secs(90))).await;
        cluster.ns.patch("CronJob", "invoices", json!({"spec": {"suspend": false}})).await;
        cluster.api.ready(1, false).await;
        cluster.ns.apply(claim("orders-data", &class, None)).await;
        let deployment = cluster.ns.get("Deployment", "api-server").await;
        let probe = deployment["spec"]["template"]["spec"]["containers"][0]["readinessProbe"].clone();
        let change = json!([
            {"op": "remove", "path": "/spec/template/spec/containers/0/readinessProbe"},
            {"op": "add", "path": "/spec/template/spec/volumes",
             "value": [{"name": "data", "persistentVolumeClaim": {"claimName": "orders-data"}}]},
        ]);
        cluster.ns.api().patch("Deployment", cluster.ns.name(), "api-server", change).await;

        for (id, alert, check) in TICKETS {
            let ticket = scene(id).fires("tickets", alert, fault, Joins::Known).await;
            let labels = ["severity", "site", "system", "check", "target"].map(|name| ticket.label(name));
            assert_eq!(labels, ["warning", "dr-ticket", "orders", check, "api-server"]);
            assert!(ticket.annotations["description"].contains("api-server"), "{ticket:?}");
        }

        let repair = Instant::now();
        cluster.ns.patch("CronJob", "invoices", json!({"spec": {"suspend": true}})).await;
        cluster.api.ready(1, true).await;
        let back = json!([
            {"op": "add", "path": "/spec/template/spec/containers/0/readinessProbe", "value": probe},
            {"op": "remove", "path": "/spec/template/spec/volumes"},
        ]);
        cluster.ns.api().patch("Deployment", cluster.ns.name(), "api-server", back).await;
        for (id, alert, _) in TICKETS.iter().filter(|(_, _, check)| *check != "node_lease") {
            scene(id).resolves("tickets", alert, repair).await;
        }
        scene("L78").hears_nothing("page", "a ticket is no page");
        let last = scene("L78").sequence("tickets").pop().expect("a notification");
        assert!(last[0].contains("DrNodeSilent"), "the other goes on: {last:?}");
    }

    /// Three pods run, six are needed, which is a ticket of its own; four fit, which is another one.
    async fn too_little_room(&self, scene: Scene<'_>) {
        const ROOM: &str = "DrQuotaTooSmall";
        let limit = async |pods: &str| {
            self.quota.ns.apply(quota("small", &[("pods", pods, "3")])).await;
        };
        scene.verdict("degraded").await;
        let fault = Instant::now();
        limit("4").await;
        scene.fires("tickets", ROOM, fault, Joins::Known).await;
        let repair = Instant::now();
        limit("9").await;
        scene.resolves("tickets", ROOM, repair).await;
        let all: BTreeSet<_> = scene.sequence("tickets").into_iter().flatten().flatten().collect();
        assert_eq!(all, BTreeSet::from(["DrReplicasMissing".to_owned(), ROOM.to_owned()]));
        scene.hears_nothing("page", "a ticket is no page");
    }

    /// A site that serves and could start no new pod: a page of its own, without the ticket that is its detail.
    async fn an_image_out_of_reach(&self, scene: Scene<'_>) {
        let image = async |image: &str| {
            let path = "/spec/template/spec/containers/0/image";
            let patch = json!([{"op": "replace", "path": path, "value": image}]);
            self.image.ns.api().patch("Deployment", self.image.ns.name(), "api-server", patch).await;
        };
        let east = image("123456789012.dkr.ecr.us-east-1.amazonaws.com/api-server:1");
        scene.tells("page", PODS, east).await;
        scene.evaluates("DrImageOutOfReach").await;
        sleep(scaled::of_routes("group_wait") / FACTOR + 2 * SECOND).await;
        scene.hears_nothing("tickets", "the details of a page are in its text");
        scene.takes_back("page", PODS, image("registry.us-west-2.example/api-server:1")).await;
    }

    async fn nobody_behind_the_service(&self, scene: Scene<'_>) {
        let page = scene.tells("page", PAGE, self.service.endpoints(&[false; 3])).await;
        assert!(page.annotations["reasons"].contains("service_endpoints (missing)"), "{page:?}");
        scene.takes_back("page", PAGE, self.service.endpoints(&[true; 3])).await;
    }

    async fn no_new_pod(&self, scene: Scene<'_>) {
        let hook = webhook_to_nowhere(self.webhook.ns.name());
        let name = hook["metadata"]["name"].as_str().expect("a name").to_owned();
        let fault = async {
            self.kube.apply(hook).await;
        };
        scene.tells("page", PODS, fault).await;
        scene.evaluates("DrPodCreationRefused").await;
        let repair = self.kube.delete("ValidatingWebhookConfiguration", "", &name);
        scene.takes_back("page", PODS, repair).await;
    }

    /// The nodes say that this is another site: nothing that is said of it can be trusted.
    async fn another_site_s_values(&self, scene: Scene<'_>) {
        const IDENTITY: &str = "DrSiteIdentityWrong";
        let mark = async |name: &str| {
            for node in &self.copied.nodes {
                self.kube.patch("Node", "", &node.name, region(&self.copied, name)).await;
            }
        };
        scene.tells("page", IDENTITY, mark("us-east-1")).await;
        scene.takes_back("page", IDENTITY, mark("us-west-2")).await;
    }
}

/// A label of this cluster's own: the nodes of the shared API server belong to every test.
fn label(cluster: &SeedCluster<'_>) -> String {
    format!("lab.example/region-{}", cluster.ns.name())
}

fn region(cluster: &SeedCluster<'_>, name: &str) -> serde_json::Value {
    json!({"metadata": {"labels": {label(cluster).as_str(): name}}})
}
