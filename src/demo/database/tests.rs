//! tokio-postgres, the client that the exporter uses, against the stand-in.

use std::net::{IpAddr, Ipv4Addr};
use std::time::SystemTime;

use futures_util::TryStreamExt;
use jiff::Timestamp;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::*;

fn noon() -> Timestamp {
    "2024-12-18T12:00:00Z".parse().unwrap()
}

fn database(role: Role) -> Database {
    Database::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST), role, noon()).unwrap()
}

/// Runs `story` beside the server; the server ends with it.
async fn with<T>(database: &Database, story: impl Future<Output = T>) -> T {
    tokio::select! {
        () = database.run() => panic!("the server ended"),
        told = tokio::time::timeout(Duration::from_secs(10), story) => told.expect("the story hangs"),
    }
}

async fn connect(
    database: &Database,
    connections: &mut JoinSet<Result<(), tokio_postgres::Error>>,
) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = database.dsn().parse::<Config>()?.connect(NoTls).await?;
    connections.spawn(connection);
    Ok(client)
}

/// Tells a story to one client of a running server.
async fn told<T>(role: Role, story: impl AsyncFnOnce(Client) -> T) -> T {
    let database = database(role);
    database.start().await.unwrap();
    let mut connections = JoinSet::new();
    with(&database, async {
        let client = connect(&database, &mut connections).await.unwrap();
        story(client).await
    })
    .await
}

fn code(error: &tokio_postgres::Error) -> &str {
    error.code().map_or("no SQLSTATE", SqlState::code)
}

/// The first field of each row of a simple query.
async fn first_fields(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.expect(sql);
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap().to_owned()),
        _ => None,
    });
    rows.collect()
}

const NEWEST_ORDER: &str = "select id, created_at from orders order by created_at desc limit 1";

#[tokio::test]
async fn what_the_application_asks_has_typed_rows() {
    told(Role::Primary, async |client| {
        let row = client.query_one(NEWEST_ORDER, &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>("id"), 90_050);
        let newest = Timestamp::try_from(row.get::<_, SystemTime>("created_at")).unwrap();
        assert_eq!(newest, "2024-12-18T11:58:00Z".parse().unwrap());

        let rows = client.query("select id, name from users order by id limit 20", &[]).await.unwrap();
        let users: Vec<_> =
            rows.iter().map(|row| (row.get::<_, i64>("id"), row.get::<_, &str>("name"))).collect();
        assert_eq!((users.len(), users[0]), (5, (1, "Ada")));

        let row = client.query_one("select id from orders limit 1", &[]).await.unwrap();
        assert_eq!((row.columns()[0].type_(), row.get::<_, i64>(0)), (&Type::INT8, 90_050));
    })
    .await;
}

/// The words of `probe::database::visit` and `probe::synthetic_query`, in their order.
#[tokio::test]
async fn a_visit_of_the_exporter_from_its_greeting_to_its_rollback() {
    for (role, recovery) in [(Role::Primary, "f"), (Role::Standby, "t")] {
        told(role, async |client| {
            assert_eq!(first_fields(&client, "select inet_server_addr()::text").await, ["127.0.0.1/32"]);
            let around = "select count(*), extract(epoch from clock_timestamp()) from pg_stat_activity \
                          where usename = current_user and application_name <> 'dr-exporter'";
            assert_eq!(code(&client.simple_query(around).await.unwrap_err()), "42601");
            for _ in 0..2 {
                let begin = "begin read only; set local statement_timeout = 799; \
                             set local lock_timeout = 799; set local idle_in_transaction_session_timeout = 1799; \
                             select pg_is_in_recovery()";
                assert_eq!(first_fields(&client, begin).await, [recovery]);
                let rows = client.query_typed_raw::<i32, _>(NEWEST_ORDER, Vec::new()).await.unwrap();
                let rows: Vec<_> = rows.try_collect().await.unwrap();
                assert_eq!(rows.len(), 1);
                assert_eq!(rows[0].columns()[0].type_(), &Type::INT8);
                assert_eq!(rows[0].columns()[1].type_(), &Type::TIMESTAMPTZ);
                client.batch_execute("rollback").await.unwrap();
            }
        })
        .await;
    }
}

#[tokio::test]
async fn spelling_and_protocol_do_not_change_the_answer() {
    told(Role::Primary, async |client| {
        let row = client.query_one("SELECT  pg_is_in_recovery()\n;", &[]).await.unwrap();
        assert!(!row.get::<_, bool>(0));
        assert_eq!(first_fields(&client, NEWEST_ORDER).await, ["90050"]);
        let messages = client.simple_query(NEWEST_ORDER).await.unwrap();
        let at = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get("created_at"),
            _ => None,
        });
        assert_eq!(at, Some("2024-12-18 11:58:00+00"));
        client.simple_query(" ;; ").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_portal_gives_its_rows_in_portions() {
    told(Role::Primary, async |mut client| {
        let transaction = client.build_transaction().read_only(true).start().await.unwrap();
        let portal = transaction.bind("select id from orders", &[]).await.unwrap();
        let first = transaction.query_portal(&portal, 30).await.unwrap();
        let second = transaction.query_portal(&portal, 30).await.unwrap();
        assert_eq!((first.len(), second.len()), (30, 20));
        transaction.rollback().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_read_only_transaction_refuses_writes_until_it_ends() {
    told(Role::Primary, async |client| {
        client.batch_execute("begin read only").await.unwrap();
        let written = client.execute("delete from orders", &[]).await.unwrap_err();
        assert_eq!(code(&written), "25006");
        let after = client.query(NEWEST_ORDER, &[]).await.unwrap_err();
        assert_eq!(code(&after), "25P02");
        client.batch_execute("rollback; begin read only; begin").await.unwrap();
        let written = client.simple_query("insert into orders default values").await.unwrap_err();
        assert_eq!(code(&written), "25006", "a second begin loosens nothing");
        client.batch_execute("rollback").await.unwrap();

        // Outside of a read-only transaction it is not the transaction that refuses.
        for sql in [
            "delete from orders",
            "begin; delete from orders",
            "rollback; begin read only; commit; drop table orders",
        ] {
            assert_eq!(code(&client.batch_execute(sql).await.unwrap_err()), "0A000", "{sql}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_standby_refuses_writes_always() {
    told(Role::Standby, async |client| {
        for sql in ["insert into orders default values", "begin; update orders set id = 1"] {
            assert_eq!(code(&client.batch_execute(sql).await.unwrap_err()), "25006", "{sql}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_it_does_not_know_is_a_clean_error_and_the_session_lives() {
    told(Role::Primary, async |client| {
        for sql in [
            "selct 1",
            "select 1",
            "select id from orders where id = 1",
            "select id from orders limit all",
            "begin read sometimes",
            "set transaction read write",
            "set statement_timeout = 0",
        ] {
            let error = client.query(sql, &[]).await.unwrap_err();
            assert_eq!(code(&error), "42601", "{sql}");
            assert!(error.as_db_error().unwrap().message().contains("stand-in"), "{error:?}");
            assert_eq!(code(&client.simple_query(sql).await.unwrap_err()), "42601", "{sql}");
        }
        let two = client.query("rollback; delete from orders", &[]).await.unwrap_err();
        assert_eq!(code(&two), "42601", "the extended protocol takes one statement");
        // A statement that is not known fails its transaction, in the extended protocol too, and runs no other.
        client.batch_execute("begin").await.unwrap();
        assert_eq!(code(&client.query("selct 1", &[]).await.unwrap_err()), "42601");
        assert_eq!(code(&client.simple_query(NEWEST_ORDER).await.unwrap_err()), "25P02");
        assert_eq!(code(&client.query(NEWEST_ORDER, &[]).await.unwrap_err()), "25P02");
        assert_eq!(code(&client.simple_query("rollback; selct 1").await.unwrap_err()), "42601");
        assert_eq!(code(&client.simple_query(NEWEST_ORDER).await.unwrap_err()), "25P02");
        client.batch_execute("commit").await.unwrap();
        client.query_one(NEWEST_ORDER, &[]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn login_is_checked() {
    let database = database(Role::Primary);
    database.start().await.unwrap();
    with(&database, async {
        for (dsn, state) in [
            (database.dsn().replace(PASSWORD, "wrong"), "28P01"),
            (database.dsn().replace(USER, "postgres"), "28P01"),
            (database.dsn().replace("/orders?", "/billing?"), "3D000"),
        ] {
            let error = dsn.parse::<Config>().unwrap().connect(NoTls).await.err().expect(&dsn);
            assert_eq!(code(&error), state);
        }
    })
    .await;
}

#[tokio::test]
async fn refused_until_started_cut_when_stopped_back_when_started_again() {
    let database = database(Role::Standby);
    let address = database.address();
    let mut connections = JoinSet::new();
    with(&database, async {
        for _ in 0..3 {
            let refused = connect(&database, &mut connections).await.unwrap_err();
            assert!(
                std::error::Error::source(&refused).unwrap().to_string().contains("refused"),
                "{refused:?}"
            );
            database.start().await.unwrap();
            database.start().await.unwrap();
            let client = connect(&database, &mut connections).await.unwrap();
            client.query_one(NEWEST_ORDER, &[]).await.unwrap();
            database.stop().await.unwrap();
            assert!(client.query_one(NEWEST_ORDER, &[]).await.is_err(), "a stopped server cuts its clients");
            assert_eq!(database.address(), address);
        }
    })
    .await;
}

#[tokio::test]
async fn a_cancel_request_is_taken_and_harms_no_session() {
    told(Role::Standby, async |client| {
        client.cancel_token().cancel_query(NoTls).await.unwrap();
        client.query_one(NEWEST_ORDER, &[]).await.unwrap();
    })
    .await;
}
