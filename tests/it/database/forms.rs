//! Connection strings as applications write them, against a real server.

use std::time::Duration;

use serde_json::json;

use super::{DsnFile, REGION, at, blind, liar, list, start, system, usable, west};
use crate::lab::{Pg, PgPair, SynBlackhole, free_port, west_ip};

#[tokio::test]
async fn every_form_reaches_the_database() {
    let pair = PgPair::start().await;
    let (west_ip_, west_port) = (pair.west.host(), pair.west.port());
    let (east_ip_, east_port) = (pair.east.host(), pair.east.port());
    let closed = free_port(west_ip_);
    let hole = SynBlackhole::start(west_ip());
    let hole_at = hole.address();
    let socket = pair.west.data().parent().expect("the node's directory").display().to_string();
    // The superuser alone may come in by the socket.
    let by_socket = format!("postgresql://postgres@/orders?host={socket}&port={west_port}");
    let user = "user=app password=lab-app dbname=orders";
    let forms = [
        ("url", format!("postgresql://app:lab-app@{west_ip_}:{west_port}/orders")),
        (
            "postgres",
            format!(
                "postgres://app:lab%2Dapp@{west_ip_}:{west_port}/orders?sslmode=prefer&application_name=x"
            ),
        ),
        ("driver", format!("postgresql+asyncpg://app:lab-app@{west_ip_}:{west_port}/orders")),
        ("key-value", format!("host={west_ip_} port={west_port} {user} connect_timeout=2")),
        (
            "jdbc",
            format!(
                "jdbc:postgresql://{west_ip_}:{west_port}/orders?user=app&password=lab-app&sslmode=prefer"
            ),
        ),
        ("r2dbc", format!("r2dbc:postgresql://app:lab-app@{west_ip_}:{west_port}/orders")),
        (
            "dotnet",
            format!(
                "Host={west_ip_};Port={west_port};Database=orders;Username=app;Password=lab-app;SSL Mode=Prefer"
            ),
        ),
        (
            "refused-first",
            format!("postgresql://app:lab-app@{west_ip_}:{closed},{west_ip_}:{west_port}/orders"),
        ),
        (
            "silent-first",
            format!("host={},{west_ip_} port={},{west_port} {user}", hole_at.ip(), hole_at.port()),
        ),
        (
            "jdbc-several",
            format!(
                "jdbc:postgresql://{west_ip_}:{closed},{west_ip_}:{west_port}/orders?user=app&password=lab-app"
            ),
        ),
        ("hostaddr", format!("host=db.example hostaddr={west_ip_} port={west_port} {user}")),
        ("newline", format!("postgresql://app:lab-app@{west_ip_}:{west_port}/orders\n")),
    ];
    let app = liar("west", west_ip(), &pair.west.dsn("app")).await;
    let mut systems: Vec<_> =
        forms.iter().map(|(name, dsn)| system(name, &app, at(dsn), &[list()])).collect();
    let both = format!("{east_ip_}:{east_port},{west_ip_}:{west_port}");
    let attrs = |attrs: &str| format!("postgresql://app:lab-app@{both}/orders?target_session_attrs={attrs}");
    systems.push(system("standby", &app, at(&attrs("standby")), &[list()]));
    systems.push(system("prefer-standby", &app, at(&attrs("prefer-standby")), &[list()]));
    systems.push(system("read-only", &app, at(&attrs("read-only")), &[list()]));
    let mut writer = system("read-write", &app, at(&attrs("read-write")), &[list()]);
    writer["databases"][0]["expected_regions"] = json!(["us-east-1"]);
    systems.push(writer);
    let mut socketed = system("socket", &app, at(&by_socket), &[list()]);
    socketed["databases"][0]["expected_regions"] = json!(["us-west-2"]);
    systems.push(socketed);
    let mut site = west(&systems);
    site["defaults"]["limits"] = json!({"connections_per_endpoint": 8});
    site["defaults"]["interval"] = json!("3s");
    site["defaults"]["timeout"] = json!("3s");
    let exporter = start(&site).await;
    for (system, _) in &forms {
        let seen = usable(&exporter, system).await;
        assert_eq!(seen.labels(REGION, system)["db_region"], "us-west-2", "{system}");
    }
    for system in ["standby", "prefer-standby", "read-only"] {
        assert_eq!(
            usable(&exporter, system).await.labels(REGION, system)["db_region"],
            "us-west-2",
            "{system}"
        );
    }
    let seen = usable(&exporter, "read-write").await;
    assert_eq!(seen.labels(REGION, "read-write")["db_region"], "us-east-1");
    // A socket has no address: where it ends is not known, the query works.
    let seen = blind(&exporter, "socket", "db_endpoint_region", "misconfigured").await;
    assert_eq!(seen.success("socket"), Some(1.0));

    // No server of the list can write any more; those that may read go on.
    pair.east.stop_immediate().await;
    super::pages(&exporter, "read-write", "synthetic_query", "read_only").await;
    for system in ["standby", "prefer-standby", "read-only"] {
        usable(&exporter, system).await;
    }
    // After a promotion the same string ends in the west.
    pair.west.promote().await;
    super::pages(&exporter, "read-write", "db_endpoint_region", "wrong_region").await;
}

#[tokio::test]
async fn ipv6_is_an_address_like_any_other() {
    let listener = std::net::TcpListener::bind("[::1]:0");
    let Ok(listener) = listener else {
        // A machine without IPv6 has to say so itself, in the words of the reason.
        return no_ipv6_is_unreachable().await;
    };
    drop(listener);
    let node = Pg::single(west_ip()).await;
    let proxy = crate::lab::Proxy::start("::1".parse().expect("an address"), node.address()).await;
    let dsn = format!("postgresql://app:lab-app@[::1]:{}/orders", proxy.address().port());
    let app = liar("west", west_ip(), &node.dsn("app")).await;
    let exporter = start(&west(&[system("six", &app, at(&dsn), &[list()])])).await;
    let seen = usable(&exporter, "six").await;
    assert_eq!(seen.labels(REGION, "six")["evidence"], "server_address");
}

async fn no_ipv6_is_unreachable() {
    let node = Pg::single(west_ip()).await;
    let app = liar("west", west_ip(), &node.dsn("app")).await;
    let dsn = "postgresql://app:lab-app@[::1]:5432/orders";
    let exporter = start(&west(&[system("six", &app, at(dsn), &[list()])])).await;
    super::pages(&exporter, "six", "synthetic_query", "unreachable").await;
}

#[tokio::test]
async fn what_cannot_be_understood_is_shown_and_accuses_nobody() {
    let node = Pg::single(west_ip()).await;
    let app = liar("west", west_ip(), &node.dsn("app")).await;
    let file = DsnFile::new(&node.dsn("app"));
    let exporter = start(&west(&[
        system("orders", &app, file.endpoint(), &[list()]),
        system("other", &app, at(&node.dsn("app")), &[list()]),
    ]))
    .await;
    usable(&exporter, "orders").await;
    let gaps = async |reason| exporter.sample("dr_exporter_check_gaps", &[("reason", reason)]).await;
    assert_eq!(gaps("unparsable").await, Some(0.0));
    for bad in
        ["not a dsn canary-5", "mysql://app:canary-5@db/orders", "", "postgresql://app:canary-5@h:port/x"]
    {
        file.set(bad);
        let seen = blind(&exporter, "orders", "synthetic_query", "misconfigured").await;
        assert_ne!(seen.success("orders"), Some(1.0));
        assert_eq!(seen.status("orders", "db_endpoint_region"), "unknown");
        // One for each question that could not be put.
        assert!(gaps("unparsable").await >= Some(1.0), "{bad}");
        for path in ["/metrics", "/api/v1/report", "/", "/config"] {
            assert!(!exporter.get(path).await.text().contains("canary-5"), "{path} quotes {bad}");
        }
        file.set(&node.dsn("app"));
        usable(&exporter, "orders").await;
        assert_eq!(gaps("unparsable").await, Some(0.0));
    }
    std::fs::remove_file(&file.0).expect("remove the file");
    blind(&exporter, "orders", "synthetic_query", "misconfigured").await;
    usable(&exporter, "other").await;
    file.set(&node.dsn("app"));
    usable(&exporter, "orders").await;
    let exit = exporter.stop().await;
    assert!(!exit.log.contains("canary-5"), "the log quotes a connection string");
    assert!(exit.took < Duration::from_secs(5));
}
