//! Getting in: L01, L03, L08, L16, L17, L18.

use serde_json::json;

use super::{DsnFile, REGION, at, liar, list, pages, start, system, usable, west};
use crate::lab::{Claim, Pg, PgPair, Validity, east_ip, west_ip};

#[tokio::test]
async fn l01_health_says_ok_while_the_database_is_gone() {
    let pair = PgPair::start().await;
    let app = liar("west", west_ip(), &pair.west.dsn("app")).await;
    let exporter = start(&west(&[system("orders", &app, at(&pair.west.dsn("app")), &[list()])])).await;
    let seen = usable(&exporter, "orders").await;
    assert_eq!(seen.get("dr_db_connect_success", "orders", &[]), Some(1.0));
    assert_eq!(seen.get("dr_synthetic_query_rows", "orders", &[("query", "list")]), Some(1.0));

    pair.west.stop_immediate().await;
    let seen = pages(&exporter, "orders", "synthetic_query", "refused").await;
    assert_eq!(app.drive("/health", 1).await, [200]);
    assert_eq!(app.drive("/api/v1/orders", 1).await, [503]);
    assert_eq!(seen.success("orders"), Some(0.0));
    assert_eq!(seen.get("dr_db_connect_success", "orders", &[]), Some(0.0));
    assert_eq!(seen.labels(REGION, "orders")["db_region"], "us-west-2");
    let failed = [("check", "synthetic_query"), ("reason", "refused")];
    assert!(seen.get("dr_check_failures_total", "orders", &failed) >= Some(1.0));

    pair.west.start().await;
    usable(&exporter, "orders").await;
}

#[tokio::test]
async fn l03_health_asks_another_database_than_the_business_does() {
    let pair = PgPair::start().await;
    let app = liar("west", west_ip(), &pair.west.dsn("app")).await;
    app.behave(|behaviour| behaviour.health = Claim::OtherDatabase(pair.east.dsn("monitor")));
    let exporter = start(&west(&[system("orders", &app, at(&pair.west.dsn("app")), &[list()])])).await;
    usable(&exporter, "orders").await;
    pair.west.stop_fast().await;
    pages(&exporter, "orders", "synthetic_query", "refused").await;
    assert_eq!(app.drive("/health", 1).await, [200]);
}

#[tokio::test]
async fn l08_the_data_is_gone_or_ancient() {
    let pair = PgPair::start().await;
    let app = liar("west", west_ip(), &pair.west.dsn("app")).await;
    let exporter = start(&west(&[system("orders", &app, at(&pair.west.dsn("app")), &[list()])])).await;
    let newest = "dr_synthetic_data_newest_timestamp_seconds";
    usable(&exporter, "orders").await.get(newest, "orders", &[]).expect("the newest row");

    pair.east.sql("truncate orders").await;
    let seen = pages(&exporter, "orders", "synthetic_query", "too_few_rows").await;
    assert_eq!(seen.success("orders"), Some(0.0));
    assert_eq!(seen.get("dr_synthetic_query_rows", "orders", &[]), Some(0.0));

    let insert = "insert into orders (customer, amount, created_at) values ('x', 1, now()";
    pair.east.sql(&format!("{insert} - interval '3 days')")).await;
    let seen = pages(&exporter, "orders", "synthetic_query", "stale_data").await;
    let now = jiff::Timestamp::now().as_second() as f64;
    let age = now - seen.get(newest, "orders", &[]).expect("the newest row");
    assert!((age - 3.0 * 86_400.0).abs() < 60.0, "{age}");
    assert_eq!(app.drive("/api/v1/orders", 1).await, [200]);

    // Rows from the future are not fresh data, they are wrong data.
    pair.east.sql(&format!("{insert} + interval '1 minute')")).await;
    pages(&exporter, "orders", "synthetic_query", "wrong_value").await;
    pair.east.sql("truncate orders").await;
    pair.east.sql(&format!("{insert})")).await;
    usable(&exporter, "orders").await;
}

#[tokio::test]
async fn l16_the_port_is_open_and_login_is_impossible() {
    let node = Pg::single(west_ip()).await;
    node.sql("create role limited login password 'lab-limited' connection limit 0").await;
    node.sql("create role blocked login password 'lab-blocked'").await;
    node.hba(&["host all blocked 127.0.0.0/8 reject", "host all all 127.0.0.0/8 scram-sha-256"]).await;
    let app = liar("west", west_ip(), &node.dsn("app")).await;
    let lost = node.dsn("app").replace("/orders", "/nowhere");
    let on = |name, dsn: String| system(name, &app, at(&dsn), &[list()]);
    let exporter = start(&west(&[
        on("rejected", node.dsn("blocked")),
        on("no-role", node.dsn("nobody")),
        on("no-database", lost),
        on("limit", node.dsn("limited")),
        on("fine", node.dsn("app")),
    ]))
    .await;
    for (system, reason) in
        [("rejected", "auth"), ("no-role", "auth"), ("no-database", "undefined_object"), ("limit", "limit")]
    {
        let seen = pages(&exporter, system, "synthetic_query", reason).await;
        assert_eq!(seen.success(system), Some(0.0));
        assert_eq!(seen.get("dr_db_connect_success", system, &[]), Some(0.0));
        // It is where it should be: nothing else is wrong.
        assert_eq!(seen.status(system, "db_endpoint_region"), "pass");
    }
    usable(&exporter, "fine").await;

    // The same server, repaired one by one.
    node.hba_open().await;
    node.sql("grant select on orders to blocked, limited").await;
    node.sql("alter role limited connection limit -1").await;
    usable(&exporter, "rejected").await;
    usable(&exporter, "limit").await;
    // A table that one may not read is a permission that the application lacks.
    node.sql("revoke select on orders from blocked").await;
    pages(&exporter, "rejected", "synthetic_query", "permission").await;
    node.sql("alter table orders rename to gone").await;
    pages(&exporter, "fine", "synthetic_query", "undefined_object").await;
}

#[tokio::test]
async fn l17_the_password_was_rotated_in_the_database_only() {
    let pair = PgPair::start().await;
    let app = liar("west", west_ip(), &pair.west.dsn("app")).await;
    let file = DsnFile::new(&pair.west.dsn("app"));
    // The other way to have it: the address in one place, the password in another.
    let password = DsnFile::new("lab-app\n");
    let apart =
        json!({"url": pair.west.dsn("app").replace(":lab-app@", "@"), "password": {"file": password.0}});
    let exporter = start(&west(&[
        system("orders", &app, file.endpoint(), &[list()]),
        system("apart", &app, apart, &[list()]),
    ]))
    .await;
    usable(&exporter, "orders").await;
    usable(&exporter, "apart").await;
    pair.east.sql("alter role app password 'new-secret-7'").await;
    pages(&exporter, "orders", "synthetic_query", "auth").await;
    pages(&exporter, "apart", "synthetic_query", "auth").await;
    file.set(&pair.west.dsn("app").replace("lab-app", "new-secret-7"));
    password.set("new-secret-7");
    usable(&exporter, "orders").await;
    usable(&exporter, "apart").await;

    // The password is in nothing that anybody may read.
    for path in ["/metrics", "/api/v1/report", "/", "/config"] {
        let text = exporter.get(path).await.text();
        for secret in ["lab-app", "new-secret-7"] {
            assert!(!text.contains(secret), "{path} holds the password");
        }
    }
    let log = exporter.stop().await.log;
    assert!(!log.contains("lab-app") && !log.contains("new-secret-7"), "the log holds the password");
}

#[tokio::test]
async fn l18_tls_to_the_database_fails_only_here() {
    let (misnamed, expired, good, plain) = tokio::join!(
        Pg::single(west_ip()),
        Pg::single(west_ip()),
        Pg::single(west_ip()),
        Pg::single(west_ip())
    );
    let other_ca = misnamed.enable_tls("db.east.example", Validity::Current).await;
    let old_ca = expired.enable_tls(&expired.host().to_string(), Validity::Expired).await;
    let ca = good.enable_tls(&good.host().to_string(), Validity::Current).await;
    let full = |node: &Pg, ca: &std::path::Path| {
        at(&format!("{}?sslmode=verify-full&sslrootcert={}", node.dsn("app"), ca.display()))
    };
    let app = liar("west", west_ip(), &good.dsn("app")).await;
    let mut by_key = at(&format!("{}?sslmode=verify-full", good.dsn("app")));
    by_key["tls"] = json!({"ca_file": ca});
    let on = |name, endpoint| system(name, &app, endpoint, &[list()]);
    let exporter = start(&west(&[
        on("misnamed", full(&misnamed, &other_ca)),
        on(
            "chain-only",
            at(&format!("{}?sslmode=verify-ca&sslrootcert={}", misnamed.dsn("app"), other_ca.display())),
        ),
        on("expired", full(&expired, &old_ca)),
        on("stranger", full(&good, &old_ca)),
        on("untrusted", at(&format!("{}?sslmode=verify-full", good.dsn("app")))),
        on("good", full(&good, &ca)),
        on("by-key", by_key),
        on("prefer", at(&good.dsn("app"))),
        on("plain", at(&format!("{}?sslmode=require", plain.dsn("app")))),
        on("plain-prefer", at(&format!("{}?sslmode=prefer", plain.dsn("app")))),
    ]))
    .await;
    for system in ["misnamed", "expired", "stranger", "untrusted"] {
        pages(&exporter, system, "synthetic_query", "certificate").await;
    }
    pages(&exporter, "plain", "synthetic_query", "tls").await;
    for system in ["good", "by-key", "prefer", "plain-prefer", "chain-only"] {
        usable(&exporter, system).await;
    }
}

#[tokio::test]
async fn l16_our_own_credentials_refused_accuse_nobody() {
    let node = Pg::single(east_ip()).await;
    let app = liar("east", east_ip(), &node.dsn("app")).await;
    let mut own = system("orders", &app, at(&node.dsn("app")), &[list()]);
    let password = DsnFile::new("not-the-password");
    own["databases"][0]["credentials"] = json!({"user": "monitor", "password": {"file": password.0}});
    let exporter = start(&super::east(&[own])).await;
    super::blind(&exporter, "orders", "synthetic_query", "auth").await;
    password.set("lab-monitor");
    usable(&exporter, "orders").await;
}
