//! What applications claim, each lie in a system of its own: L02, L04, L05, L06, L09, L10, L11, L51, L52, L54, L82, L99,
//! L101, and the twin T20.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::stage::{Joins, Scene, Stage, Watched};
use super::{PAGE, SECOND, in_hours};
use crate::database::{DsnFile, liar, west};
use crate::lab::{App, Behaviour, Business, Claim, Counting, Proxy, ProxyMode, Site, lab_ip, west_ip};

/// The systems, by what is wrong in them.
const IDS: [&str; 14] =
    ["L02", "L04", "L05", "L06", "L09", "L10", "L11", "L51", "L52", "L54", "L82", "L99", "L101", "T20"];

/// The applications of one site.
pub struct Claims {
    apps: BTreeMap<&'static str, App>,
    /// In front of the database, for L04 and L09.
    pool: Proxy,
    memory: Proxy,
    /// In front of another service, for L82.
    egress: Proxy,
    /// A credential of our own, for L101.
    token: DsnFile,
    _site: Site,
}

// === impl Claims ===

impl Claims {
    pub async fn start() -> Self {
        let site = Site::start().await;
        let proxy = async |upstream| Proxy::start(lab_ip(), upstream).await;
        let pool = proxy(site.node.address()).await;
        let memory = proxy(site.node.address()).await;
        let egress = Proxy::start(west_ip(), site.app.address()).await;
        let via = |proxy: &Proxy| {
            let address = proxy.address();
            site.node.dsn_at("app_write", &address.ip().to_string(), address.port())
        };
        let mut apps = BTreeMap::new();
        for id in IDS {
            let dsn = match id {
                "L04" => via(&pool),
                "L09" => via(&memory),
                _ => site.node.dsn("app_write"),
            };
            apps.insert(id, liar("west", west_ip(), &dsn).await);
        }
        Self { apps, pool, memory, egress, token: DsnFile::new("Bearer ours"), _site: site }
    }

    pub fn config(&self) -> String {
        let systems: Vec<_> = self.apps.iter().map(|(id, app)| self.system(id, app)).collect();
        west(&systems).to_string()
    }

    /// An application that says that it is well, and a business call.
    fn system(&self, id: &str, app: &App) -> Value {
        let mut system = json!({
            "name": id,
            "workloads": [{"name": "api", "instances": [{"name": "api-1", "url": app.url("")}]}],
            "surfaces": [{"name": "health", "workload": "api", "path": "/health", "decisive": true}],
            "requests": [{"name": "list_orders", "url": app.url("/api/v1/orders?limit=1"), "workload": "api",
                          "expect": {"json_exists": ["/orders/0/id"]}}],
        });
        let traffic = |expected: bool| {
            json!([{"workload": "api", "counter": "http_requests_total", "window": "5s", "expected": expected,
                    "business": {"handler": "/api/.+"}, "probes": {"handler": "/health|/ready|/metrics"},
                    "handlers_required": ["/api/v1/orders"], "errors": {"metric": "app_errors_total"}}])
        };
        match id {
            "L02" => {
                system["surfaces"][0]["expect"] =
                    json!({"newest": {"pointer": "/checked_at", "max_age": "5s"}});
            }
            "L05" => system["surfaces"][0]["expect"] = json!({"json": {"/status": "ok"}}),
            "L09" => {
                system["requests"][0]["expect"]["newest"] = json!({"pointer": "/as_of", "max_age": "5s"});
            }
            "L11" => system["requests"][0]["max_latency"] = "600ms".into(),
            "L51" | "T20" => system["traffic"] = traffic(true),
            "L52" | "L54" => system["traffic"] = traffic(false),
            "L82" => {
                let address = self.egress.address().to_string();
                system["dependencies"] =
                    json!([{"name": "payments", "endpoint": {"url": address}, "kind": "tcp"}]);
            }
            "L99" => {
                system["maintenance"] = json!({"until": in_hours(24 * 30), "because": "forgotten"});
            }
            "L101" => {
                system["requests"][0]["headers"] = json!({"authorization": {"file": self.token.path()}});
            }
            _ => {}
        }
        system
    }

    /// All scenes at once.
    pub async fn play(&self, stage: &Stage, watched: &Watched) {
        let scene = |id| Scene { stage, watched, system: Some(id), id };
        tokio::join!(
            self.pages(scene("L04"), self.pool.set(ProxyMode::Blackhole), self.pool.set(ProxyMode::Pass)),
            self.lies(scene("L06"), |b| b.catch_all = true, |b| b.catch_all = false),
            self.an_answer_from_memory(scene("L09")),
            self.lies(scene("L10"), |b| b.token = Some("theirs".to_owned()), |b| b.token = None),
            self.lies(scene("L11"), |b| b.latency = 4 * SECOND / 5, |b| b.latency = Duration::ZERO),
            self.tickets(scene("L02"), |b| b.health = Claim::Frozen),
            self.tickets(scene("L05"), |b| b.health = Claim::OkButDegraded),
            self.no_way_out(scene("L82")),
            self.silence(scene("L51")),
            self.counters(scene("L52")),
            self.users(scene("L54"), scene("T20")),
            self.a_forgotten_flag(scene("L99")),
            self.blindness(scene("L101")),
        );
    }

    /// A page and its end.
    async fn pages(
        &self,
        scene: Scene<'_>,
        fault: impl Future<Output = ()>,
        repair: impl Future<Output = ()>,
    ) {
        let page = scene.tells("page", PAGE, fault).await;
        assert!(page.annotations["reasons"].contains("Surface health claims health."), "{page:?}");
        assert!(page.annotations["reasons"].contains("synthetic_request"), "{page:?}");
        scene.takes_back("page", PAGE, repair).await;
    }

    async fn lies(
        &self,
        scene: Scene<'_>,
        lie: impl FnOnce(&mut Behaviour),
        truth: impl FnOnce(&mut Behaviour),
    ) {
        let app = &self.apps[scene.id];
        self.pages(scene, async { app.behave(lie) }, async { app.behave(truth) }).await;
    }

    async fn an_answer_from_memory(&self, scene: Scene<'_>) {
        let fault = async {
            self.apps["L09"].behave(|b| b.business = Business::Memory);
            self.memory.set(ProxyMode::Refuse).await;
        };
        let repair = async {
            self.memory.set(ProxyMode::Pass).await;
            self.apps["L09"].behave(|b| b.business = Business::Database);
        };
        self.pages(scene, fault, repair).await;
    }

    /// A surface that is not well misleads nobody, which is a ticket.
    async fn tickets(&self, scene: Scene<'_>, lie: impl FnOnce(&mut Behaviour)) {
        const SURFACE: &str = "DrSurfaceFailing";
        let app = &self.apps[scene.id];
        scene.tells("tickets", SURFACE, async { app.behave(lie) }).await;
        scene.takes_back("tickets", SURFACE, async { app.behave(|b| b.health = Claim::StaticOk) }).await;
    }

    async fn no_way_out(&self, scene: Scene<'_>) {
        const EGRESS: &str = "DrDependencyFailing";
        let ticket = scene.tells("tickets", EGRESS, self.egress.set(ProxyMode::Refuse)).await;
        assert!(ticket.annotations["description"].contains("payments"), "{ticket:?}");
        scene.takes_back("tickets", EGRESS, self.egress.set(ProxyMode::Pass)).await;
    }

    /// Users are expected here and none come, until one does.
    async fn silence(&self, scene: Scene<'_>) {
        const SILENT: &str = "DrTrafficZeroWhereExpected";
        scene.stands("tickets", SILENT).await;
        let back = scene.takes_back("tickets", SILENT, async {});
        self.driven(&["L51"], back).await;
    }

    async fn counters(&self, scene: Scene<'_>) {
        const SUSPECT: &str = "DrTrafficAccountingSuspect";
        let app = &self.apps["L52"];
        let fault = async {
            app.behave(|b| b.counting = Counting::Renamed("/v2".to_owned()));
            app.reset_counters();
            app.drive("/api/v1/orders", 2).await;
        };
        scene.tells("tickets", SUSPECT, fault).await;
        let repair = async {
            app.behave(|b| b.counting = Counting::Honest);
            app.reset_counters();
        };
        scene.takes_back("tickets", SUSPECT, repair).await;
    }

    /// Real users of a standby: a surprise in the one system, the plan in the other. That it is over is known a quarter
    /// of an hour later, whatever the factor: a range in an expression.
    async fn users(&self, surprise: Scene<'_>, plan: Scene<'_>) {
        let told = self.driven(&["L54", "T20"], surprise.stands("tickets", "DrTrafficUnannounced")).await;
        assert!(told.annotations["description"].contains("api"), "{told:?}");
        plan.verdict("usable").await;
        plan.hears_nothing("tickets", "users are expected here");
        plan.hears_nothing("page", "users are expected here");
    }

    /// Calls these applications as users do, until that is over.
    async fn driven<T>(&self, ids: &[&str], scene: impl Future<Output = T>) -> T {
        let users = async {
            loop {
                for id in ids {
                    self.apps[id].drive("/api/v1/orders", 1).await;
                }
                sleep(SECOND / 2).await;
            }
        };
        tokio::select! {
            result = scene => result,
            never = users => never,
        }
    }

    async fn a_forgotten_flag(&self, scene: Scene<'_>) {
        let ticket = scene.stands("tickets", "DrGateTooLong").await;
        assert!(ticket.annotations["description"].contains("29d"), "{ticket:?}");
    }

    /// What cannot be asked accuses nobody, and is mended by somebody.
    async fn blindness(&self, scene: Scene<'_>) {
        const BLIND: &str = "DrVerdictUnknown";
        const GAPS: &str = "DrCheckGaps";
        let everywhere = Scene { system: None, ..scene };
        let fault = std::time::Instant::now();
        scene.tells("tickets", BLIND, async { self.token.remove() }).await;
        // A gap is of the exporter, and of no system.
        everywhere.fires("tickets", GAPS, fault, Joins::New).await;
        let repair = std::time::Instant::now();
        let put_back = async { self.token.set("Bearer ours") };
        scene.takes_back("tickets", BLIND, put_back).await;
        everywhere.resolves("tickets", GAPS, repair).await;
    }
}
