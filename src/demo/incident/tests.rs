//! The story from its beginning to its end, and what each step changes.

use serde_json::Value;

use super::*;
use crate::demo::application::PROBES_AT_START;

fn noon() -> jiff::Timestamp {
    "2024-12-18T12:00:00Z".parse().unwrap()
}

async fn with<T>(incident: &Incident, story: impl Future<Output = T>) -> T {
    tokio::select! {
        () = incident.serve() => panic!("the stand-ins ended"),
        told = tokio::time::timeout(Duration::from_secs(20), story) => told.expect("the story hangs"),
    }
}

async fn ask(incident: &Incident, path: &str) -> (u16, Value) {
    let answer = client::get(incident.application().instances()[0].address, path, "test").await.unwrap();
    (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap())
}

/// The sum over the instances of a series of `/metrics`.
async fn counted(incident: &Incident, series: &str) -> f64 {
    let mut sum = 0.0;
    for instance in incident.application().instances() {
        let answer = client::get(instance.address, "/metrics", "test").await.unwrap();
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(series)).expect(&text);
        sum += line.trim().parse::<f64>().unwrap();
    }
    sum
}

fn requests(handler: &str) -> String {
    format!(r#"http_requests_total{{cluster="dr-west",handler="{handler}"}}"#)
}

#[tokio::test]
async fn the_incident_claims_what_it_cannot_do() {
    let incident = Incident::start(Scenario::Incident, noon).await.unwrap();
    with(&incident, async {
        let (status, health) = ask(&incident, "/health").await;
        let said = serde_json::json!({
            "status": "ok", "database": "connected", "cache": "connected", "timestamp": "2024-12-18T12:00:00Z",
        });
        assert_eq!((status, health), (200, said));
        let (status, ready) = ask(&incident, "/ready").await;
        let said = serde_json::json!({"status": "ok", "checks": {"database": true, "cache": true, "queue": true}});
        assert_eq!((status, ready), (200, said));
        let (status, orders) = ask(&incident, "/api/v1/orders?limit=1").await;
        let said = "Failed to execute query on orders table: connection refused";
        assert_eq!((status, orders["error"].as_str()), (503, Some(said)));
        assert_eq!(ask(&incident, "/api/v1/users").await.0, 503);
        assert_eq!(ask(&incident, "/api/v2/orders").await.0, 404);
        assert_eq!(counted(&incident, &requests("/api/v1/orders")).await, 1.0);
        assert_eq!(counted(&incident, r#"app_errors_total{cluster="dr-west"}"#).await, 2.0);
        let slow = r#"db_query_duration_seconds{cluster="dr-west",query="select_orders",quantile="0.99"}"#;
        assert!(counted(&incident, slow).await.is_nan());
    })
    .await;
}

#[tokio::test]
async fn probes_count_from_the_first_second_and_users_do_not() {
    let incident = Incident::start(Scenario::Incident, noon).await.unwrap();
    with(&incident, async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let start = 3.0 * PROBES_AT_START as f64;
        for handler in ["/health", "/ready"] {
            let count = counted(&incident, &requests(handler)).await;
            assert!(count >= start + 3.0 && count <= start + 9.0, "{handler}: {count}");
        }
        assert_eq!(counted(&incident, &requests("/api/v1/orders")).await, 0.0);
        assert_eq!(counted(&incident, &requests("/api/v1/users")).await, 0.0);
    })
    .await;
}

#[tokio::test]
async fn each_repair_changes_what_it_says() {
    let incident = Incident::start(Scenario::Incident, noon).await.unwrap();
    let order = incident.steps().map(|step| step.repair);
    let [replica, point, business, deepen] = order;
    assert_eq!(
        order,
        [
            Repair::ReplicaFinished,
            Repair::ApplicationPointedWest,
            Repair::BusinessRequestThrough,
            Repair::HealthDeepened
        ]
    );
    with(&incident, async {
        assert!(!incident.west().is_running());
        incident.apply(replica).await.unwrap();
        assert!(incident.west().is_running());
        assert_eq!(ask(&incident, "/api/v1/orders?limit=1").await.0, 503, "it still asks the east");

        incident.apply(point).await.unwrap();
        let (status, orders) = ask(&incident, "/api/v1/orders?limit=1").await;
        assert_eq!((status, orders["items"].as_array().map(Vec::len)), (200, Some(1)));
        assert_eq!(orders["items"][0]["id"], 90_050);
        assert_eq!(ask(&incident, "/api/v1/users").await.1["items"][0]["name"], "Ada");

        let before = counted(&incident, &requests("/api/v1/orders")).await;
        incident.apply(business).await.unwrap();
        let after = counted(&incident, &requests("/api/v1/orders")).await;
        assert!(after >= before + 3.0, "every instance serves a user: {before} {after}");
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert!(counted(&incident, &requests("/api/v1/users")).await >= 2.0, "and users come again");

        // Until it is deepened, the claim survives the database.
        incident.west().stop().await.unwrap();
        assert_eq!(ask(&incident, "/health").await.0, 200);
        incident.apply(deepen).await.unwrap();
        let (status, health) = ask(&incident, "/health").await;
        assert_eq!((status, health["database"].as_str()), (503, Some("unreachable")));
        assert_eq!(ask(&incident, "/ready").await.1["checks"]["database"], false);
        incident.west().start().await.unwrap();
        assert_eq!(ask(&incident, "/health").await.0, 200);
        assert_eq!(ask(&incident, "/ready").await.0, 200);
    })
    .await;
}

#[tokio::test]
async fn repaired_is_every_repair_made() {
    let incident = Incident::start(Scenario::Repaired, noon).await.unwrap();
    with(&incident, async {
        assert_eq!(ask(&incident, "/api/v1/orders?limit=1").await.0, 200);
        incident.west().stop().await.unwrap();
        assert_eq!(ask(&incident, "/health").await.0, 503);
        tokio::time::sleep(Duration::from_millis(500)).await;
        let users = counted(&incident, &requests("/api/v1/orders")).await;
        assert!(users >= 2.0, "ours and the first user's: {users}");
    })
    .await;
}

#[tokio::test]
async fn the_regions_are_told_apart_by_address_and_the_east_refuses() {
    let incident = Incident::start(Scenario::Repaired, noon).await.unwrap();
    let Regions { east, west } = incident.regions();
    assert_ne!(east, west);
    assert_eq!((incident.east().address().ip(), incident.west().address().ip()), (east, west));
    assert!(incident.application().instances().iter().all(|instance| instance.address.ip() == west));
    let refused = std::net::TcpStream::connect(incident.east().address()).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn the_configuration_names_what_is_there_and_no_password() {
    let incident = Incident::start(Scenario::Incident, noon).await.unwrap();
    let yaml = incident.config_yaml();
    let config: Value = serde_saphyr::from_str(&yaml).unwrap();
    let system = &config["systems"][0];
    assert_eq!(config["regions"]["us-east-1"]["cidrs"][0], format!("{}/32", incident.regions().east));
    assert_eq!(system["workloads"][0]["instances"].as_array().map(Vec::len), Some(3));
    assert_eq!(system["surfaces"][0]["expect"]["json"]["/database"], "connected");
    let file = system["databases"][0]["endpoint"]["url"]["file"].as_str().unwrap();
    assert_eq!(std::fs::read_to_string(file).unwrap(), incident.east().dsn());
    incident.apply(Repair::ApplicationPointedWest).await.unwrap();
    assert_eq!(std::fs::read_to_string(file).unwrap(), incident.west().dsn());
    assert!(!yaml.contains(crate::demo::database::PASSWORD));
    let directory = Path::new(file).parent().unwrap().to_owned();
    drop(incident);
    assert!(!directory.exists(), "the connection string goes with the story");
}
