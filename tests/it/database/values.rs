//! Values of a real server: what `expect` and `newest` understand.

use serde_json::{Value, json};

use super::{at, east, liar, pages, start, system, usable};
use crate::lab::{Pg, PgBouncer, PoolMode, east_ip};

fn expects(name: &str, sql: &str, equals: &Value) -> Value {
    json!({"name": name, "sql": sql, "expect": {"column": "v", "equals": equals}})
}

fn newest(name: &str, sql: &str) -> Value {
    json!({"name": name, "sql": sql, "newest": {"column": "v", "max_age": "26h"}})
}

/// Time enough for many logins on a busy machine.
fn unhurried(systems: &[Value]) -> Value {
    let mut site = east(systems);
    site["defaults"]["limits"] = json!({"connections_per_endpoint": 8});
    site["defaults"]["interval"] = json!("3s");
    site["defaults"]["timeout"] = json!("3s");
    site
}

#[tokio::test]
async fn every_common_type_compares() {
    let node = Pg::single(east_ip()).await;
    node.sql("create type mood as enum ('glad', 'sad'); create domain grade as int; create table seen (m mood, g grade); insert into seen values ('glad', 5); grant select on seen to app").await;
    let right: &[(&str, Value)] = &[
        ("select 42 as v", json!(42)),
        ("select 42::smallint as v", json!(42)),
        ("select 42::bigint as v", json!(42.0)),
        ("select 9007199254740993 as v", json!(9_007_199_254_740_993_u64)),
        ("select 12.50::numeric as v", json!(12.5)),
        ("select '-0.001'::numeric as v", json!(-0.001)),
        ("select 1.5::float8 as v", json!(1.5)),
        ("select '20241201' as v", json!("20241201")),
        ("select 20241201 as v", json!("20241201")),
        ("select max(version) as v from schema_migrations", json!("20260201000000")),
        ("select 'x'::varchar(5) as v", json!("x")),
        ("select 'x'::char(3)::text as v", json!("x")),
        ("select current_user as v", json!("app")),
        ("select true as v", json!(true)),
        ("select false as v", json!("false")),
        ("select null::text as v", Value::Null),
        ("select null as v", Value::Null),
        ("select timestamptz '2024-12-18 14:22:03+01' as v", json!("2024-12-18T13:22:03Z")),
        ("select date '2024-12-18' as v", json!("2024-12-18T00:00:00Z")),
        ("select m as v from seen", json!("glad")),
        ("select g as v from seen", json!(5)),
        (
            "select '7b1e4f2a-0000-4000-8000-000000000001'::uuid as v",
            json!("7b1e4f2a-0000-4000-8000-000000000001"),
        ),
        ("select count(*) as v from orders", json!(20)),
        ("show server_encoding", json!("UTF8")),
        ("select 1 as v; ", json!(1)),
        ("-- a comment\nselect 1 as v -- and one more", json!(1)),
        ("with a as (select 1 as v) select v from a", json!(1)),
        ("values (1)", json!(1)),
        ("table schema_migrations", json!("20260101000000")),
    ];
    let queries: Vec<Value> = right
        .iter()
        .enumerate()
        .map(|(n, (sql, equals))| {
            let mut query = expects(&format!("q{n}"), sql, equals);
            query["expect"]["column"] = json!(match *sql {
                "show server_encoding" => "server_encoding",
                "values (1)" => "column1",
                "table schema_migrations" => "version",
                _ => "v",
            });
            query
        })
        .chain([
            newest("timestamptz", "select now() as v"),
            newest("timestamp", "select now() at time zone 'UTC' as v"),
            newest("date", "select current_date as v"),
            newest("epoch", "select extract(epoch from now())::bigint as v"),
            newest("epoch_numeric", "select extract(epoch from now()) as v"),
            newest("text", "select now()::text as v"),
            newest("some", "select v from (values (null::timestamptz), (now()), ('2001-01-01')) as t (v)"),
            newest("skewed", "select now() + interval '3 seconds' as v"),
        ])
        .collect();
    let app = liar("east", east_ip(), &node.dsn("app")).await;
    let mut all = system("orders", &app, at(&node.dsn("app")), &queries);
    all["databases"][0]["timeout"] = json!("5s");
    all["databases"][0]["interval"] = json!("5s");
    let exporter = start(&east(&[all])).await;
    super::until(&exporter, "orders", "was asked", |seen| {
        seen.status("orders", "synthetic_query") != "unknown"
    })
    .await;
    let report = exporter.report().await;
    let seen = exporter.metrics().await;
    let failed: Vec<_> = seen
        .iter()
        .filter(|sample| sample.name == "dr_synthetic_query_success" && sample.value != 1.0)
        .map(|sample| &sample.labels["query"])
        .collect();
    assert!(failed.is_empty(), "{failed:?}: {report:#}");
    assert_eq!(seen.iter().filter(|s| s.name == "dr_synthetic_query_success").count(), queries.len());
    usable(&exporter, "orders").await;
}

#[tokio::test]
async fn what_differs_is_a_wrong_value() {
    let node = Pg::single(east_ip()).await;
    let app = liar("east", east_ip(), &node.dsn("app")).await;
    let cases = [
        ("number", expects("q", "select 41 as v", &json!(42)), "wrong_value"),
        ("text", expects("q", "select '42 ' as v", &json!("42")), "wrong_value"),
        ("null", expects("q", "select null::int as v", &json!(0)), "wrong_value"),
        ("not-null", expects("q", "select 0 as v", &Value::Null), "wrong_value"),
        ("no-row", expects("q", "select 1 as v where false", &json!(1)), "too_few_rows"),
        ("future", newest("q", "select now() + interval '8 seconds' as v"), "wrong_value"),
        ("old", newest("q", "select now() - interval '27 hours' as v"), "stale_data"),
        ("all-null", newest("q", "select null::timestamptz as v"), "stale_data"),
        ("nothing", newest("q", "select now() as v where false"), "stale_data"),
        ("missing-table", super::query("select 1 from no_such_table"), "undefined_object"),
        ("missing-column", super::query("select no_such_column from orders"), "undefined_object"),
        ("forbidden", super::query("select * from pg_authid"), "permission"),
        ("divided", super::query("select 1/0"), "other"),
    ];
    let blind = [
        ("syntax", super::query("selct 1"), "misconfigured"),
        ("no-column", expects("q", "select 1 as w", &json!(1)), "misconfigured"),
        ("no-moment", newest("q", "select 'soon' as v"), "misconfigured"),
        ("strange", expects("q", "select row(1, 2) as v", &json!(1)), "misconfigured"),
    ];
    let systems: Vec<_> = cases
        .iter()
        .chain(&blind)
        .map(|(name, query, _)| system(name, &app, at(&node.dsn("app")), std::slice::from_ref(query)))
        .collect();
    let site = unhurried(&systems);
    let exporter = start(&site).await;
    for (system, _, reason) in &cases {
        let seen = pages(&exporter, system, "synthetic_query", reason).await;
        assert_eq!(seen.success(system), Some(0.0));
    }
    for (system, _, reason) in &blind {
        super::blind(&exporter, system, "synthetic_query", reason).await;
    }
}

#[tokio::test]
async fn types_of_ones_own_work_with_many_rows_and_through_a_pooler() {
    let node = Pg::single(east_ip()).await;
    node.sql("create type mood as enum ('glad', 'sad'); create type hue as enum ('red')").await;
    node.sql("create table moods as select 'glad'::mood as m, 'red'::hue as h, repeat('x', 200) as filler from generate_series(1, 5000)").await;
    node.sql("grant select on moods to app").await;
    let pooler = PgBouncer::start(east_ip(), node.address(), PoolMode::Transaction).await;
    let app = liar("east", east_ip(), &node.dsn("app")).await;
    let queries = [
        json!({"name": "one", "sql": "select m as v from moods limit 1", "expect": {"column": "v", "equals": "glad"}}),
        json!({"name": "two", "sql": "select h as v from moods limit 1", "expect": {"column": "v", "equals": "red"}}),
        json!({"name": "many", "sql": "select * from moods", "min_rows": 5000}),
    ];
    let mut site = unhurried(&[
        system("direct", &app, at(&node.dsn("app")), &queries),
        system("pooled", &app, at(&pooler.dsn("app")), &queries),
    ]);
    site["systems"][1]["databases"][0]["interval"] = json!("2500ms");
    site["systems"][1]["databases"][0]["timeout"] = json!("2500ms");
    let exporter = start(&site).await;
    usable(&exporter, "direct").await;
    usable(&exporter, "pooled").await;
    let limit = std::time::Duration::from_secs(6);
    exporter.never_sample("dr_synthetic_query_success", &[("system", "pooled")], 0.0, limit).await;
    // Nothing of ours stays on the server connections that others get next.
    let left =
        Pg::try_sql_with(&pooler.dsn("app"), "select name, statement from pg_prepared_statements").await;
    assert_eq!(left, Ok(vec![]));
}
