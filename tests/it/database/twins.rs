//! Honest situations that look like lies: T02, T11, T17.

use std::time::Duration;

use serde_json::json;

use super::{Seen, at, east, liar, list, pages, start, system, until, usable, west};
use crate::lab::{Pg, PgPair, Proxy, ProxyMode, east_ip, eventually, lab_ip, west_ip};

const INSERT: &str = "insert into orders (customer, amount) values ('dr-exporter', 1) returning id";

#[tokio::test]
async fn t02_a_standby_refuses_to_write_and_that_is_right() {
    let pair = PgPair::start().await;
    pair.east.sql("create unlogged table carts (id int); grant select on carts to app_write").await;
    // Types that the driver has to ask for, one in a query that is refused and another in one that is not.
    pair.east.sql("create type mood as enum ('glad'); create type hue as enum ('red')").await;
    pair.wait_until_caught_up().await;
    let dsn = pair.west.dsn("app_write");
    let app = liar("west", west_ip(), &dsn).await;
    let write = json!({"name": "write", "sql": INSERT});
    let unlogged = json!({"name": "unlogged", "sql": "select count(*) from carts"});
    let lock = json!({"name": "lock", "sql": "select id, 'glad'::mood from orders for update"});
    let hue =
        json!({"name": "hue", "sql": "select 'red'::hue as v", "expect": {"column": "v", "equals": "red"}});
    let exporter = start(&west(&[
        system("mixed", &app, at(&dsn), &[write.clone(), list(), unlogged.clone(), lock, hue]),
        system("only", &app, at(&dsn), &[write, unlogged]),
    ]))
    .await;
    let seen = usable(&exporter, "mixed").await;
    let success = |query| seen.get("dr_synthetic_query_success", "mixed", &[("query", query)]);
    assert_eq!((success("list"), success("hue")), (Some(1.0), Some(1.0)));
    // Withheld: neither a success nor a failure.
    for query in ["write", "unlogged", "lock"] {
        assert_eq!(success(query), None, "{query}");
    }
    let seen = until(&exporter, "only", "is skipped", |seen| {
        seen.status("only", "synthetic_query") == "skipped" && seen.verdict("only") == "unknown"
    })
    .await;
    assert_eq!(seen.success("only"), None);
    assert_eq!(seen.get("dr_healthy_but_unusable", "only", &[]), Some(0.0));
    let failures = seen.0.iter().filter(|sample| sample.name == "dr_check_failures_total");
    assert_eq!(failures.count(), 0);
    assert_eq!(pair.east.scalar("select count(*) from orders").await, "20");
}

#[tokio::test]
async fn t02_on_a_primary_a_query_that_writes_is_our_mistake() {
    let node = Pg::single(east_ip()).await;
    let dsn = node.dsn("app_write");
    let app = liar("east", east_ip(), &dsn).await;
    let write = json!({"name": "write", "sql": INSERT});
    let exporter = start(&east(&[system("orders", &app, at(&dsn), &[write])])).await;
    let seen = super::blind(&exporter, "orders", "synthetic_query", "read_only").await;
    assert_ne!(seen.success("orders"), Some(1.0));
    assert_eq!(node.scalar("select count(*) from orders").await, "20");
}

#[tokio::test]
async fn t02_a_primary_site_whose_database_is_in_recovery_cannot_take_orders() {
    let pair = PgPair::start().await;
    let dsn = pair.west.dsn("app_write");
    let app = liar("east", east_ip(), &dsn).await;
    let mut site = east(&[system("orders", &app, at(&dsn), &[json!({"name": "write", "sql": INSERT})])]);
    site["systems"][0]["databases"][0]["expected_regions"] = json!(["us-west-2"]);
    let exporter = start(&site).await;
    pages(&exporter, "orders", "synthetic_query", "read_only").await;
}

#[tokio::test]
async fn t11_recovery_cancels_the_query() {
    let pair = PgPair::start().await;
    pair.west.set("max_standby_streaming_delay", "0").await;
    // Old enough a snapshot to stand in the way of a vacuum on the primary.
    let slow = json!({"name": "slow", "sql": "select count(*), pg_sleep(0.25) from orders where id > 0"});
    let app = liar("west", west_ip(), &pair.west.dsn("app")).await;
    let exporter = start(&west(&[system("orders", &app, at(&pair.west.dsn("app")), &[slow])])).await;
    usable(&exporter, "orders").await;

    // Ours only: what the test asks may be cancelled as well.
    let cancelled = || {
        pair.west
            .log()
            .matches(" dr-exporter ERROR:  canceling statement due to conflict with recovery")
            .count()
    };
    let attempt = async || {
        let running = pair.west.connections_of("dr-exporter").await;
        running.iter().any(|session| session.state == "active" && session.query.contains("pg_sleep"))
    };
    let churn = async || {
        pair.east.sql("update orders set customer = customer || '.'").await;
        pair.east.sql("vacuum (truncate off) orders").await;
    };
    // One cancellation: the second try answers. What stands in the way of the first has come over and waits to be
    // replayed, so that nothing hangs on who is faster; where the query ends first, the next one is tried.
    let check = ([("check", "synthetic_query")], "dr_check_attempts_total");
    let runs = async || Seen::at(&exporter).await.get(check.1, "orders", &check.0);
    for _ in 0..3 {
        eventually("recovery has cancelled the query", super::PATIENCE, async || {
            let before = cancelled();
            pair.west.sql("select pg_wal_replay_pause()").await;
            churn().await;
            while !attempt().await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let run = runs().await;
            drop(pair.west.try_sql("select pg_wal_replay_resume()").await);
            // The second try is part of the same run: it is left alone.
            until(&exporter, "orders", "the run has ended", |seen| {
                seen.get(check.1, "orders", &check.0) > run
            })
            .await;
            if cancelled() > before { Ok(()) } else { Err("the query ended before".to_owned()) }
        })
        .await;
    }
    let limit = Duration::from_millis(1500);
    exporter.never_sample("dr_synthetic_query_success", &[("system", "orders")], 0.0, limit).await;
    let failures = exporter.metrics().await;
    assert!(!failures.iter().any(|sample| sample.name == "dr_check_failures_total"), "{failures:?}");

    // Cancellations without an end: it is said what stands in the way.
    let endless = async {
        loop {
            churn().await;
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    };
    let seen = tokio::select! {
        seen = pages(&exporter, "orders", "synthetic_query", "conflict") => seen,
        () = endless => unreachable!("it never ends"),
    };
    assert_eq!(seen.success("orders"), Some(0.0));
    usable(&exporter, "orders").await;
}

#[tokio::test]
async fn t17_one_lost_packet() {
    let node = Pg::single(west_ip()).await;
    let proxy = Proxy::start(lab_ip(), node.address()).await;
    let dsn = node.dsn_at("app", &proxy.address().ip().to_string(), proxy.address().port());
    let app = liar("west", west_ip(), &node.dsn("app")).await;
    let mut patient = system("patient", &app, at(&dsn), &[list()]);
    patient["databases"][0]["attempts"] = json!({"pass": 1, "of": 3});
    patient["databases"][0]["interval"] = json!("2700ms");
    let exporter = start(&west(&[patient])).await;
    usable(&exporter, "patient").await;
    let check = [("system", "patient"), ("check", "synthetic_query")];
    let attempts = async || exporter.sample("dr_check_attempts_total", &check).await.expect("attempts");
    for _ in 0..2 {
        let before = attempts().await;
        proxy.set(ProxyMode::DropOnce).await;
        let seen = until(&exporter, "patient", "asked twice in one run", |seen| {
            seen.get("dr_check_attempts_total", "patient", &check[1..]) >= Some(before + 2.0)
        })
        .await;
        assert_eq!(seen.success("patient"), Some(1.0), "{}", seen.about("patient"));
        assert_eq!(seen.verdict("patient"), "usable");
    }
    let seen = exporter.metrics().await;
    assert!(!seen.iter().any(|sample| sample.name == "dr_check_failures_total"));
    // All packets lost is another thing.
    proxy.set(ProxyMode::Reset).await;
    pages(&exporter, "patient", "synthetic_query", "other").await;
}
