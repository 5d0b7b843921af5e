//! Databases, each lie in a system of its own: L03, L07, L08, L13, L15, L16, L17, L18, L20, L21, L22, and the twins T02,
//! T06, T12, T16, T17, T19, T27.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::sleep;

use super::stage::{Joins, Scene, Stage, Watched};
use super::{PAGE, in_hours};
use crate::database::{DsnFile, at, east, liar, list, query, system, west};
use crate::lab::{
    App, Claim, FakeDns, Pg, PgBouncer, PgPair, PoolMode, Proxy, ProxyMode, east_ip, lab_ip, west_ip,
};

const NAME: &str = "db.west.example";
const INSERT: &str = "insert into orders (customer, amount) values ('dr-exporter', 1) returning id";
/// Longer than a run, shorter than what a page waits for.
const BLINK: Duration = Duration::from_secs(3);
const QUIET: [&str; 7] = ["T02", "T06", "T12", "T16", "T17", "T19", "T27"];

/// The databases of a standby's site, which follow those of a primary's.
pub struct Databases {
    pair: PgPair,
    /// Another one in the west.
    copy: Pg,
    dns: FakeDns,
    /// In the west, in front of the eastern one.
    pooler: PgBouncer,
    /// An application that says that it is well, whatever is true.
    liar: App,
    /// One whose health asks the other site's database, and its own database behind a proxy.
    elsewhere: App,
    business: Proxy,
    far: Proxy,
    /// For T12 and T17.
    blinks: Proxy,
    drops: Proxy,
    /// Where the applications of these systems look, as mounted files.
    hidden: DsnFile,
    rotated: DsnFile,
    grace: DsnFile,
    tls: DsnFile,
    other: DsnFile,
    /// The application of the primary's site that has lost its database.
    shop: App,
    /// The eastern database behind the port of the western one: one name, one port, another address.
    door: Proxy,
}

// === impl Databases ===

impl Databases {
    pub async fn start() -> Self {
        let (pair, copy, dns) =
            tokio::join!(PgPair::start(), Pg::single(west_ip()), FakeDns::start(lab_ip()));
        let roles = ["limited", "rotated", "grace", "shop"];
        for role in roles {
            pair.east.sql(&format!("create role {role} login password 'lab-{role}'")).await;
        }
        pair.east.sql(&format!("grant select on orders to {}", roles.join(", "))).await;
        pair.east
            .sql("create table few (id int); insert into few values (1); grant select on few to app")
            .await;
        pair.wait_until_caught_up().await;
        let port = pair.west.port();
        let (pooler, business, far, blinks, drops, door) = tokio::join!(
            PgBouncer::start(west_ip(), pair.east.address(), PoolMode::Transaction),
            Proxy::start(lab_ip(), pair.west.address()),
            Proxy::start(lab_ip(), pair.west.address()),
            Proxy::start(lab_ip(), pair.west.address()),
            Proxy::start(lab_ip(), pair.west.address()),
            Proxy::start_at((east_ip(), port).into(), pair.east.address()),
        );
        dns.addresses(NAME, &[pair.west.host()]);
        let dsn = pair.west.dsn("app");
        let liar_ = liar("west", west_ip(), &dsn).await;
        let elsewhere = liar("west", west_ip(), &dsn).await;
        elsewhere.behave(|b| b.health = Claim::OtherDatabase(pair.east.dsn("monitor")));
        let shop = App::start("east", east_ip(), &pair.east.dsn("shop")).await;
        let file = |user| DsnFile::new(&pair.west.dsn(user));
        Self {
            hidden: file("app"),
            rotated: file("rotated"),
            grace: file("grace"),
            tls: file("app"),
            other: file("app"),
            door,
            liar: liar_,
            pair,
            copy,
            dns,
            pooler,
            elsewhere,
            business,
            far,
            blinks,
            drops,
            shop,
        }
    }

    /// The site of the standby.
    pub fn standby(&self) -> String {
        let west_dsn = self.pair.west.dsn("app");
        let via = |proxy: &Proxy| {
            let address = proxy.address();
            at(&self.pair.west.dsn_at("app", &address.ip().to_string(), address.port()))
        };
        let on = |id, endpoint| system(id, &self.liar, endpoint, &[list()]);
        let mut expected = self.other.endpoint();
        expected["expected_url"] = json!(format!("postgresql://{}/orders", self.pair.west.address()));
        let mut far = on("L20", via(&self.far));
        (far["databases"][0]["timeout"], far["databases"][0]["interval"]) = (json!("2500ms"), json!("3s"));
        let mut announced = on("T06", at("postgresql://app@127.20.0.1:1/orders"));
        announced["drill"] = json!({"until": in_hours(24), "because": "failover exercise"});
        let mut patient = on("T17", via(&self.drops));
        patient["databases"][0]["attempts"] = json!({"pass": 1, "of": 3});
        (patient["databases"][0]["timeout"], patient["databases"][0]["interval"]) =
            (json!("900ms"), json!("2700ms"));
        let mut remote = on("T19", at(&self.pair.east.dsn("app")));
        remote["databases"][0]["expected_regions"] = json!(["us-east-1"]);
        let mut known = on("T27", at(&self.pair.east.dsn("app")));
        known["waivers"] =
            json!([{"check": "db_endpoint_region", "until": in_hours(24), "because": "moves next week"}]);
        let name = at(&self.pair.west.dsn_at("app", NAME, self.pair.west.port()));
        let mut site = west(&[
            system("L03", &self.elsewhere, via(&self.business), &[list()]),
            system(
                "L08",
                &self.liar,
                at(&west_dsn),
                &[json!({"name": "few", "sql": "select id from few", "min_rows": 1})],
            ),
            on("L13", name),
            on("L15", self.hidden.endpoint()),
            on("L16", at(&self.pair.west.dsn("limited"))),
            on("L17", self.rotated.endpoint()),
            on("L18", self.tls.endpoint()),
            far,
            on("L22", expected),
            system("T02", &self.liar, at(&self.pair.west.dsn("app_write")), &[query(INSERT), list()]),
            announced,
            on("T12", via(&self.blinks)),
            on("T16", self.grace.endpoint()),
            patient,
            remote,
            known,
        ]);
        site["defaults"]["resolvers"] = json!([self.dns.address().to_string()]);
        site.to_string()
    }

    /// The site of the primary.
    pub fn primary(&self) -> String {
        let shop = system("L21", &self.shop, at(&self.pair.east.dsn("shop")), &[list()]);
        let write = json!({"name": "write", "sql": INSERT});
        let mut demoted = system("L07", &self.liar, at(&self.pair.west.dsn("app_write")), &[write]);
        demoted["databases"][0]["expected_regions"] = json!(["us-west-2"]);
        east(&[shop, demoted]).to_string()
    }

    /// All scenes at once; the quiet ones last as long as the others do.
    pub async fn play(&self, stage: &Stage, standby: &Watched, primary: &Watched) {
        let scene = |id| Scene { stage, watched: standby, system: Some(id), id };
        let primary = |id| Scene { stage, watched: primary, system: Some(id), id };
        let west = self.pair.west.dsn("app");
        let east = &self.pair.east;
        let others = async {
            tokio::join!(
                pages(
                    scene("L03"),
                    "synthetic_query (refused)",
                    self.business.set(ProxyMode::Refuse),
                    self.business.set(ProxyMode::Pass)
                ),
                pages(
                    scene("L08"),
                    "synthetic_query (too_few_rows)",
                    sql(east, "truncate few"),
                    sql(east, "insert into few values (1)")
                ),
                pages(
                    scene("L13"),
                    "db_endpoint_region (wrong_region)",
                    async { self.dns.addresses(NAME, &[self.door.address().ip()]) },
                    async { self.dns.addresses(NAME, &[self.pair.west.host()]) }
                ),
                pages(
                    scene("L15"),
                    "db_endpoint_region (wrong_region)",
                    async { self.hidden.set(&self.pooler.dsn("app")) },
                    async { self.hidden.set(&west) }
                ),
                pages(
                    scene("L16"),
                    "synthetic_query (limit)",
                    sql(east, "alter role limited connection limit 0"),
                    sql(east, "alter role limited connection limit -1")
                ),
                pages(
                    scene("L17"),
                    "synthetic_query (auth)",
                    sql(east, "alter role rotated password 'lab-new'"),
                    async {
                        self.rotated.set(&self.pair.west.dsn("rotated").replace("lab-rotated", "lab-new"));
                    }
                ),
                pages(
                    scene("L18"),
                    "synthetic_query (tls)",
                    async { self.tls.set(&format!("{west}?sslmode=require")) },
                    async { self.tls.set(&west) }
                ),
                pages(
                    scene("L22"),
                    "db_endpoint_region (misconfigured)",
                    async { self.other.set(&self.copy.dsn("app")) },
                    async { self.other.set(&west) }
                ),
                self.far_away(scene("L20")),
                self.nobody_connected(primary("L21")),
                self.demoted(primary("L07")),
            );
        };
        tokio::select! {
            () = others => {}
            never = self.trifles() => match never {},
        }
        for id in QUIET {
            scene(id).hears_nothing("page", "nothing is wrong");
            scene(id).hears_nothing("tickets", "nothing is wrong");
        }
        scene("T06").verdict("unusable").await;
    }

    /// What happens every day: a deployment, a rotation whose second half comes soon, a lost packet.
    async fn trifles(&self) -> std::convert::Infallible {
        for round in 0.. {
            let new = if round % 2 == 0 { "later" } else { "grace" };
            sql(&self.pair.east, &format!("alter role grace password 'lab-{new}'")).await;
            self.blinks.set(ProxyMode::Refuse).await;
            self.drops.set(ProxyMode::DropOnce).await;
            sleep(BLINK).await;
            self.grace.set(&self.pair.west.dsn("grace").replace("lab-grace", &format!("lab-{new}")));
            self.blinks.set(ProxyMode::Pass).await;
            sleep(3 * BLINK).await;
        }
        unreachable!("it never ends")
    }

    /// A mean of half an hour, whatever the factor: neither its beginning nor its end have a time here.
    async fn far_away(&self, scene: Scene<'_>) {
        self.far.set(ProxyMode::Delay(Duration::from_millis(60))).await;
        let ticket = scene.stands("tickets", "DrDatabaseFarAway").await;
        assert_eq!(ticket.label("db"), "orders");
    }

    /// The application of the primary goes on with another database.
    async fn nobody_connected(&self, scene: Scene<'_>) {
        const ALONE: &str = "DrApplicationNotConnected";
        let elsewhere = self.copy.dsn("app");
        scene.tells("tickets", ALONE, self.shop.set_dsn(&elsewhere)).await;
        scene.takes_back("tickets", ALONE, self.shop.set_dsn(&self.pair.east.dsn("shop"))).await;
    }

    /// The database of a primary that takes no orders, from the start.
    async fn demoted(&self, scene: Scene<'_>) {
        let fault = Instant::now();
        scene.verdict("unusable").await;
        let page = scene.fires("page", PAGE, fault, Joins::New).await;
        assert!(page.annotations["reasons"].contains("synthetic_query (read_only)"), "{page:?}");
        scene.hears_nothing("tickets", "the details of a page are in its text");
    }
}

/// A page for this reason, and its end.
async fn pages(
    scene: Scene<'_>,
    reason: &str,
    fault: impl Future<Output = ()>,
    repair: impl Future<Output = ()>,
) {
    let page = scene.tells("page", PAGE, fault).await;
    assert!(page.annotations["reasons"].contains(reason), "{reason}: {page:?}");
    assert!(page.annotations["reasons"].contains("Surface health claims health."), "{page:?}");
    scene.takes_back("page", PAGE, repair).await;
}

async fn sql(node: &Pg, statement: &str) {
    node.sql(statement).await;
}
