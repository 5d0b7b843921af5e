//! Nothing is written, nothing lingers, nothing leaks, nothing grows.

use std::time::Duration;

use serde_json::json;

use super::{INTERVAL, TIMEOUT, at, east, liar, list, pages, start, system, until, usable};
use crate::lab::{Exporter, Pg, PgBouncer, PoolMode, east_ip, eventually, within};

/// Ways out of a read-only transaction that somebody may configure, by mistake or not.
const ESCAPES: &[&str] = &[
    "commit; delete from orders",
    "rollback; delete from orders",
    "select 1; commit; delete from orders",
    "commit",
    "rollback",
    "end; delete from orders returning id",
    "delete from orders",
    "delete from orders returning id",
    "with gone as (delete from orders returning id) select count(*) from gone",
    "truncate orders",
    "set transaction read write",
    "set session characteristics as transaction read write",
    "select set_config('transaction_read_only', 'off', false)",
    "select set_config('default_transaction_read_only', 'off', false), set_config('statement_timeout', '1', false)",
    "do $$ begin delete from orders; end $$",
    "do $$ begin commit; delete from orders; commit; end $$",
    "do $$ begin perform set_config('transaction_read_only', 'off', true); delete from orders; end $$",
    "select nextval('orders_id_seq')",
    "create table mine (id int)",
    "create temp table mine as select 1 as id",
    "prepare mine as delete from orders",
    "set role app",
    "set search_path to nowhere",
    "savepoint a",
    "begin",
    "copy orders from stdin",
    "copy orders to stdout",
    "listen mine",
    "lock table orders in access exclusive mode",
    "declare mine cursor with hold for select * from orders",
    "call pg_sleep(1)",
    "explain analyze delete from orders",
];

fn escapes() -> Vec<serde_json::Value> {
    let one = |(n, sql): (usize, &&str)| json!({"name": format!("e{n}"), "sql": sql});
    ESCAPES.iter().enumerate().map(one).collect()
}

#[tokio::test]
async fn nothing_that_is_configured_can_write() {
    let node = Pg::single(east_ip()).await;
    let dsn = node.dsn("app_write");
    let app = liar("east", east_ip(), &dsn).await;
    // Each on a connection of its own, and all of them one after the other on one.
    let mut systems: Vec<_> = escapes()
        .iter()
        .enumerate()
        .map(|(n, query)| system(&format!("one{n}"), &app, at(&dsn), std::slice::from_ref(query)))
        .collect();
    systems.push(system("all", &app, at(&dsn), &escapes()));
    let mut site = east(&systems);
    site["defaults"]["limits"] = json!({"connections_per_endpoint": 16});
    let fingerprint = "select count(*), sum(id), (select last_value from orders_id_seq), \
        (select count(*) from pg_class where relname = 'mine') from orders";
    let before = node.sql(fingerprint).await;
    let exporter = start(&site).await;
    let everybody = systems.len();
    eventually("every system was asked twice", 2 * super::PATIENCE, async || {
        let seen = exporter.metrics().await;
        let asked = seen
            .iter()
            .filter(|s| s.is("dr_check_attempts_total", &[("check", "synthetic_query")]) && s.value >= 2.0);
        let asked = asked.count();
        if asked == everybody { Ok(()) } else { Err(format!("{asked} of {everybody}")) }
    })
    .await;
    assert_eq!(node.sql(fingerprint).await, before);
    // A writer that nobody holds back changes the fingerprint: the comparison compares something.
    Pg::try_sql_with(&dsn, "delete from orders where id = 1").await.expect("app_write may delete");
    assert_ne!(node.sql(fingerprint).await, before);
}

#[tokio::test]
async fn no_state_leaks_to_other_clients_of_a_pooler() {
    let node = Pg::single(east_ip()).await;
    let app = liar("east", east_ip(), &node.dsn("app_write")).await;
    let pooler = PgBouncer::start(east_ip(), node.address(), PoolMode::Transaction).await;
    let session = PgBouncer::start(east_ip(), node.address(), PoolMode::Session).await;
    let state = "select current_setting('transaction_read_only'), current_setting('statement_timeout'), \
        current_setting('lock_timeout'), current_setting('idle_in_transaction_session_timeout'), \
        current_setting('search_path'), current_user, (select count(*) from pg_prepared_statements), \
        (select count(*) from pg_cursors where name <> ''), (select count(*) from orders)";
    let fresh = Pg::try_sql_with(&node.dsn("app_write"), state).await.expect("a fresh session's state");
    let all = escapes();
    let mut systems = vec![
        system("plain", &app, at(&pooler.dsn("app_write")), &[list()]),
        system("session", &app, at(&session.dsn("app_write")), &[list()]),
    ];
    systems.extend(all.iter().enumerate().map(|(n, query)| {
        system(&format!("one{n}"), &app, at(&pooler.dsn("app_write")), &[query.clone(), list()])
    }));
    let mut site = east(&systems);
    site["defaults"]["limits"] = json!({"connections_per_endpoint": 3});
    site["defaults"]["timeout"] = json!("3s");
    site["defaults"]["interval"] = json!("3s");
    let exporter = start(&site).await;
    usable(&exporter, "plain").await;
    usable(&exporter, "session").await;
    let everybody = systems.len();
    let began = std::time::Instant::now();
    loop {
        // Another client gets whichever server connection comes next.
        let now = Pg::try_sql_with(&pooler.dsn("app_write"), state).await;
        assert_eq!(now.as_ref(), Ok(&fresh), "after {:?}", began.elapsed());
        let seen = exporter.metrics().await;
        let asked = |s: &&crate::lab::Sample| {
            s.is("dr_check_attempts_total", &[("check", "synthetic_query")]) && s.value >= 2.0
        };
        if seen.iter().filter(asked).count() == everybody {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "not everybody was asked twice");
    }
    usable(&exporter, "plain").await;
}

fn resident_mb(exporter: &Exporter) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", exporter.pid())).expect("/proc");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") / 1024
}

#[tokio::test]
async fn fifty_million_rows_and_a_row_of_300_megabytes() {
    let node = Pg::single(east_ip()).await;
    let dsn = node.dsn("app");
    let app = liar("east", east_ip(), &dsn).await;
    let long = |sql| {
        let mut long =
            system("x", &app, at(&dsn), &[super::query(sql), json!({"name": "after", "sql": "select 1"})]);
        long["databases"][0]["timeout"] = json!("20s");
        long["databases"][0]["interval"] = json!("20s");
        long
    };
    let mut rows = long("select generate_series(1, 50000000)");
    rows["name"] = json!("rows");
    let mut row = long("select repeat('x', 300000000)");
    row["name"] = json!("row");
    let mut site = east(&[rows, row]);
    site["defaults"]["limits"] = json!({"connections_per_endpoint": 4});
    let exporter = start(&site).await;
    let seen = usable(&exporter, "rows").await;
    assert_eq!(seen.get("dr_synthetic_query_rows", "rows", &[("query", "q")]), Some(10_000.0));
    assert_eq!(seen.get("dr_synthetic_query_success", "rows", &[("query", "after")]), Some(1.0));
    // We do not read such a row, which says nothing of the database; the next query is asked all the same.
    let seen = super::blind(&exporter, "row", "synthetic_query", "limit").await;
    assert_eq!(seen.get("dr_synthetic_query_success", "row", &[("query", "after")]), Some(1.0));
    let most = resident_mb(&exporter);
    assert!(most < 150, "{most} MB");
}

#[tokio::test]
async fn nothing_lingers_after_a_deadline() {
    let node = Pg::single(east_ip()).await;
    let pooler = PgBouncer::start(east_ip(), node.address(), PoolMode::Transaction).await;
    let app = liar("east", east_ip(), &node.dsn("app")).await;
    let sleep = super::query("select pg_sleep(60)");
    let stubborn = super::query("select set_config('statement_timeout', '0', true), pg_sleep(60)");
    let on = |name, dsn: String, query| system(name, &app, at(&dsn), std::slice::from_ref(query));
    let mut site = east(&[
        on("direct", node.dsn("app"), &sleep),
        on("pooled", pooler.dsn("app"), &sleep),
        on("stubborn", node.dsn("monitor"), &stubborn),
        on("stubborn-pooled", pooler.dsn("monitor"), &stubborn),
    ]);
    site["defaults"]["limits"] = json!({"connections_per_endpoint": 2});
    let exporter = start(&site).await;
    let limit = TIMEOUT + Duration::from_secs(1);
    let at_work = "from pg_stat_activity where state = 'active' and query like '%pg_sleep(60)%' \
        and pid <> pg_backend_pid()";
    let lingering = format!(
        "select query, now() - query_start {at_work} and now() - query_start > '{}ms'",
        limit.as_millis()
    );
    let began = std::time::Instant::now();
    let mut most = 0;
    while began.elapsed() < 4 * INTERVAL {
        assert_eq!(node.sql(&lingering).await, Vec::<Vec<_>>::new());
        most = most.max(node.sql(&format!("select pid {at_work}")).await.len());
    }
    assert!((1..=4).contains(&most), "{most} at once");
    for system in ["direct", "pooled", "stubborn", "stubborn-pooled"] {
        pages(&exporter, system, "synthetic_query", "timeout").await;
    }
    // Stopped in the middle, it takes its work along.
    exporter.stop().await;
    within("nothing of ours runs on the server", limit, async || {
        let left = node.sql(&format!("select query {at_work}")).await;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_lock_of_somebody_else_ends_in_a_timeout() {
    let node = Pg::single(east_ip()).await;
    let app = liar("east", east_ip(), &node.dsn("app")).await;
    let exporter = start(&east(&[system("orders", &app, at(&node.dsn("app")), &[list()])])).await;
    usable(&exporter, "orders").await;
    let mut holder: tokio_postgres::Config = node.dsn("app_write").parse().expect("a connection string");
    holder.application_name("holder");
    node.sql("grant all on orders to app_write").await;
    let (client, connection) = holder.connect(tokio_postgres::NoTls).await.expect("a second client");
    let driver = tokio::spawn(async move { drop(connection.await) });
    client.batch_execute("begin; lock table orders in access exclusive mode").await.expect("the lock");
    pages(&exporter, "orders", "synthetic_query", "timeout").await;
    let began = std::time::Instant::now();
    let mut waiting = 0_u32;
    while began.elapsed() < Duration::from_secs(3) {
        let ours = node.connections_of("dr-exporter").await;
        // Never a queue: the lock that we wait for would hold up others behind us.
        assert!(ours.len() <= 2, "{ours:?}");
        waiting += u32::from(!ours.is_empty());
    }
    assert!(waiting > 0);
    client.batch_execute("rollback").await.expect("the end of the lock");
    usable(&exporter, "orders").await;
    until(&exporter, "orders", "is well", |seen| seen.success("orders") == Some(1.0)).await;
    driver.abort();
}
