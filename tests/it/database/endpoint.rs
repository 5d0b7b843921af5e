//! Where the application's database is: L12, L13, L15, L22, and the twin T19.

use serde_json::json;

use super::{
    DsnFile, MATCH, REGION, at, blind, liar, list, pages, region, start, system, until, usable, west,
};
use crate::lab::{FakeDns, Pg, PgBouncer, PgPair, PoolMode, Proxy, east_ip, lab_ip, west_ip};

#[tokio::test]
async fn l12_the_application_is_wired_to_the_primary_region() {
    let pair = PgPair::start().await;
    let app = liar("west", west_ip(), &pair.west.dsn("app")).await;
    let file = DsnFile::new(&pair.west.dsn("app"));
    let exporter = start(&west(&[
        system("moved", &app, file.endpoint(), &[list()]),
        system("wired", &app, at(&pair.east.dsn("app")), &[list()]),
    ]))
    .await;

    // The query works, and is no comfort.
    let seen = pages(&exporter, "wired", "db_endpoint_region", "wrong_region").await;
    assert_eq!(seen.success("wired"), Some(1.0));
    assert_eq!(seen.get(MATCH, "wired", &[]), Some(0.0));
    let wrong = |system| region("dr-west", system, "us-east-1", "us-west-2", "server_address");
    assert_eq!(seen.labels(REGION, "wired"), wrong("wired"));

    // A file that is pointed elsewhere while we run is followed at the next attempt, both ways.
    let seen = usable(&exporter, "moved").await;
    let right = region("dr-west", "moved", "us-west-2", "us-west-2", "server_address");
    assert_eq!(seen.labels(REGION, "moved"), right);
    assert_eq!(seen.get(MATCH, "moved", &[]), Some(1.0));
    file.set(&pair.east.dsn("app"));
    let seen = pages(&exporter, "moved", "db_endpoint_region", "wrong_region").await;
    assert_eq!(seen.labels(REGION, "moved"), wrong("moved"));
    file.set(&pair.west.dsn("app"));
    assert_eq!(usable(&exporter, "moved").await.labels(REGION, "moved"), right);
}

#[tokio::test]
async fn l13_a_western_name_with_an_eastern_address() {
    let (pair, nowhere) = tokio::join!(PgPair::start(), Pg::single(lab_ip()));
    let port = pair.west.port();
    let east = Proxy::start_at((east_ip(), port).into(), pair.east.address()).await;
    let other = Proxy::start_at((lab_ip(), port).into(), nowhere.address()).await;
    let (west_ip_, east_ip_, lab_ip_) = (pair.west.host(), east.address().ip(), other.address().ip());
    let dns = FakeDns::start(lab_ip()).await;
    dns.addresses("db.west.example", &[west_ip_]);

    let dsn = pair.west.dsn_at("app", "db.west.example", port);
    let app = liar("west", west_ip(), &pair.west.dsn("app")).await;
    let mut site = west(&[system("orders", &app, at(&dsn), &[list()])]);
    site["defaults"]["resolvers"] = json!([dns.address().to_string()]);
    let exporter = start(&site).await;
    let seen = usable(&exporter, "orders").await;
    assert_eq!(seen.labels(REGION, "orders")["db_region"], "us-west-2");
    assert_eq!(seen.labels("dr_db_endpoint_info", "orders")["is_ip_literal"], "false");

    dns.addresses("db.west.example", &[east_ip_]);
    let seen = pages(&exporter, "orders", "db_endpoint_region", "wrong_region").await;
    assert_eq!(seen.labels(REGION, "orders")["db_region"], "us-east-1");
    assert_eq!(seen.success("orders"), Some(1.0));

    // One address in each region: nobody can tell which one the application gets, so nobody is accused.
    for both in [[west_ip_, east_ip_], [east_ip_, west_ip_]] {
        dns.addresses("db.west.example", &both);
        let seen = until(&exporter, "orders", "is ambiguous", |seen| {
            seen.labels(REGION, "orders")["db_region"] == "ambiguous" && seen.verdict("orders") == "unknown"
        })
        .await;
        assert_eq!(seen.status("orders", "db_endpoint_region"), "unknown");
        assert_eq!(seen.get(MATCH, "orders", &[]), None);
        assert_eq!(seen.get("dr_healthy_but_unusable", "orders", &[]), Some(0.0));
        assert_eq!(seen.success("orders"), Some(1.0));
        let gaps = exporter.sample("dr_exporter_check_gaps", &[("reason", "ambiguous")]).await;
        assert_eq!(gaps, Some(1.0));
    }

    dns.addresses("db.west.example", &[west_ip_]);
    usable(&exporter, "orders").await;

    dns.addresses("db.west.example", &[lab_ip_]);
    let seen = blind(&exporter, "orders", "db_endpoint_region", "misconfigured").await;
    assert_eq!(seen.labels(REGION, "orders"), region("dr-west", "orders", "unknown", "us-west-2", "none"));
    assert_eq!(seen.get(MATCH, "orders", &[]), None);

    // An alias leads there just as well.
    dns.addresses("pg.east.example", &[east_ip_]);
    dns.alias("db.west.example", "pg.east.example");
    pages(&exporter, "orders", "db_endpoint_region", "wrong_region").await;
    dns.alias("db.west.example", "pg.west.example");
    dns.addresses("pg.west.example", &[west_ip_]);
    usable(&exporter, "orders").await;
}

#[tokio::test]
async fn l13_a_name_that_does_not_exist_and_one_that_nobody_answers_for() {
    let node = Pg::single(west_ip()).await;
    let dns = FakeDns::start(lab_ip()).await;
    dns.addresses("db.west.example", &[node.host()]);
    let dsn = node.dsn_at("app", "db.west.example", node.port());
    let app = liar("west", west_ip(), &node.dsn("app")).await;
    let mut site = west(&[system("orders", &app, at(&dsn), &[list()])]);
    site["defaults"]["resolvers"] = json!([dns.address().to_string()]);
    let exporter = start(&site).await;
    usable(&exporter, "orders").await;
    for answer in [crate::lab::Answer::NoSuchName, crate::lab::Answer::Failure, crate::lab::Answer::Silence] {
        dns.set("db.west.example", answer.clone());
        let seen = until(&exporter, "orders", &format!("{answer:?}"), |seen| {
            seen.verdict("orders") == "unusable" && seen.success("orders") == Some(0.0)
        })
        .await;
        let expected = if answer == crate::lab::Answer::Silence { ["dns", "timeout"] } else { ["dns"; 2] };
        let reasons = seen.reasons("orders");
        let query = reasons.iter().find(|(check, _)| check == "synthetic_query").expect("the query fails");
        assert!(expected.contains(&query.1.as_str()), "{answer:?}: {reasons:?}");
        // The last known region stays.
        assert_eq!(seen.labels(REGION, "orders")["db_region"], "us-west-2", "{answer:?}");
        dns.addresses("db.west.example", &[node.host()]);
        usable(&exporter, "orders").await;
    }
}

#[tokio::test]
async fn l15_a_pooler_in_the_west_hides_a_server_in_the_east() {
    let pair = PgPair::start().await;
    let app = liar("west", west_ip(), &pair.west.dsn("app")).await;
    let (session, transaction) = tokio::join!(
        PgBouncer::start(west_ip(), pair.east.address(), PoolMode::Session),
        PgBouncer::start(west_ip(), pair.east.address(), PoolMode::Transaction),
    );
    let exporter = start(&west(&[
        system("session", &app, at(&session.dsn("app")), &[list()]),
        system("transaction", &app, at(&transaction.dsn("app")), &[list()]),
    ]))
    .await;
    for system in ["session", "transaction"] {
        let seen = pages(&exporter, system, "db_endpoint_region", "wrong_region").await;
        let wrong = region("dr-west", system, "us-east-1", "us-west-2", "server_address");
        assert_eq!(seen.labels(REGION, system), wrong);
        assert_eq!(seen.success(system), Some(1.0));
    }
    // The server goes, the pooler stays: what was learnt of the region stays too.
    pair.east.stop_immediate().await;
    for system in ["session", "transaction"] {
        let seen =
            until(&exporter, system, "the query fails", |seen| seen.success(system) == Some(0.0)).await;
        assert_eq!(seen.labels(REGION, system)["db_region"], "us-east-1");
        assert_eq!(seen.labels(REGION, system)["evidence"], "server_address");
    }
}

#[tokio::test]
async fn l22_the_owner_expects_another_database_than_the_application_has() {
    let (pair, copy) = tokio::join!(PgPair::start(), Pg::single(west_ip()));
    let app = liar("west", west_ip(), &pair.west.dsn("app")).await;
    let file = DsnFile::new(&copy.dsn("app"));
    let mut endpoint = file.endpoint();
    // Who logs in, and with which password, is not what is compared.
    endpoint["expected_url"] = json!(format!("postgresql://{}/orders", pair.west.address()));
    let exporter = start(&west(&[system("orders", &app, endpoint, &[list()])])).await;

    let seen = pages(&exporter, "orders", "db_endpoint_region", "misconfigured").await;
    assert_eq!(seen.get("dr_db_endpoint_config_match", "orders", &[]), Some(0.0));
    assert_eq!(seen.success("orders"), Some(1.0));
    file.set(&pair.east.dsn("app"));
    let seen = pages(&exporter, "orders", "db_endpoint_region", "wrong_region").await;
    assert_eq!(seen.get("dr_db_endpoint_config_match", "orders", &[]), Some(0.0));
    // Another database of the right server is the wrong database.
    file.set(&pair.west.dsn("app").replace("/orders", "/template1"));
    let seen = pages(&exporter, "orders", "db_endpoint_region", "misconfigured").await;
    assert_eq!(seen.get("dr_db_endpoint_config_match", "orders", &[]), Some(0.0));
    file.set(&pair.west.dsn("app"));
    let seen = usable(&exporter, "orders").await;
    assert_eq!(seen.get("dr_db_endpoint_config_match", "orders", &[]), Some(1.0));
}

#[tokio::test]
async fn t19_a_database_that_is_meant_to_be_remote() {
    let node = Pg::single(east_ip()).await;
    let app = liar("west", west_ip(), &node.dsn("app")).await;
    let mut meant = system("meant", &app, at(&node.dsn("app")), &[list()]);
    meant["databases"][0]["expected_regions"] = json!(["us-east-1"]);
    let mut either = system("either", &app, at(&node.dsn("app")), &[list()]);
    either["databases"][0]["expected_regions"] = json!(["us-west-2", "us-east-1"]);
    let exporter = start(&west(&[meant, either])).await;
    for (system, expected) in [("meant", "us-east-1"), ("either", "us-east-1,us-west-2")] {
        let seen = usable(&exporter, system).await;
        let right = region("dr-west", system, "us-east-1", expected, "server_address");
        assert_eq!(seen.labels(REGION, system), right);
        assert_eq!(seen.get(MATCH, system, &[]), Some(1.0));
    }
}

#[tokio::test]
async fn without_regions_nobody_is_asked_about_them() {
    let node = Pg::single(west_ip()).await;
    let app = liar("west", west_ip(), &node.dsn("app")).await;
    let mut site = west(&[system("orders", &app, at(&node.dsn("app")), &[list()])]);
    site.as_object_mut().expect("a mapping").remove("regions");
    let exporter = start(&site).await;
    let seen = usable(&exporter, "orders").await;
    assert_eq!(seen.status("orders", "db_endpoint_region"), "skipped");
    assert_eq!(seen.labels(REGION, "orders")["db_region"], "unknown");
    assert_eq!(seen.get(MATCH, "orders", &[]), None);
}
