//! tokio-postgres, the client that the exporter uses, against the stand-in.

use std::net::{IpAddr, Ipv4Addr};
use std::time::SystemTime;

use futures_util::TryStreamExt;
use jiff::Timestamp;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage};

use super::*;

fn noon() -> Timestamp {
    "2024-12-18T12:00:00Z".parse().unwrap()
}

fn database(role: Role) -> Database {
    Database::reserve(IpAddr::V4(Ipv4Addr::LOCALHOST), role, Data::of_orders(noon()), noon).unwrap()
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

#[tokio::test]
async fn extended_protocol_gives_typed_rows() {
    told(Role::Standby, async |client| {
        let sql = "select id, created_at from orders order by created_at desc limit 1";
        let row = client.query_one(sql, &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>("id"), 90_050);
        let newest = Timestamp::try_from(row.get::<_, SystemTime>("created_at")).unwrap();
        assert_eq!(newest, "2024-12-18T11:58:00Z".parse().unwrap());

        let rows: Vec<_> = client
            .query_raw("select * from orders order by id", Vec::<String>::new())
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert_eq!(rows.len(), 50);
        assert_eq!(rows[0].get::<_, i64>(0), 90_001);

        let rows: Vec<_> = client
            .query_typed_raw(
                "select max(version) as version from schema_migrations",
                Vec::<(String, _)>::new(),
            )
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        assert_eq!(rows[0].get::<_, &str>("version"), "20241201");

        let sql =
            "select inet_server_addr(), pg_is_in_recovery(), count(*), inet_server_addr()::text from users";
        let row = client.query_one(sql, &[]).await.unwrap();
        assert_eq!(row.get::<_, IpAddr>(0), IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert!(row.get::<_, bool>(1));
        assert_eq!(row.get::<_, i64>(2), 5);
        assert_eq!(row.get::<_, &str>(3), "127.0.0.1/32");
    })
    .await;
}

#[tokio::test]
async fn simple_protocol_gives_text() {
    told(Role::Primary, async |client| {
        let sql = "show transaction_read_only; select id, created_at from orders order by id desc limit 1; select pg_is_in_recovery()";
        let messages = client.simple_query(sql).await.unwrap();
        let text: Vec<_> = messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => row.get(row.len() - 1),
                _ => None,
            })
            .collect();
        assert_eq!(text, ["off", "2024-12-18 11:58:00+00", "f"]);
    })
    .await;
}

#[tokio::test]
async fn a_portal_gives_its_rows_in_portions() {
    told(Role::Primary, async |mut client| {
        let transaction = client.build_transaction().read_only(true).start().await.unwrap();
        let portal = transaction.bind("select id from orders order by id", &[]).await.unwrap();
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
        client.batch_execute("begin read only; set local statement_timeout = '800ms'").await.unwrap();
        let shown = client.query_one("show transaction_read_only", &[]).await.unwrap();
        assert_eq!(shown.get::<_, &str>(0), "on");
        let shown = client.query_one("select current_setting('statement_timeout')", &[]).await.unwrap();
        assert_eq!(shown.get::<_, &str>(0), "800ms");
        let loosened = client.batch_execute("set transaction read write").await.unwrap_err();
        assert_eq!(code(&loosened), "25001");
        let after = client.query("select id from users", &[]).await.unwrap_err();
        assert_eq!(code(&after), "25P02");
        client.batch_execute("rollback; begin read only").await.unwrap();
        let written = client.execute("delete from orders", &[]).await.unwrap_err();
        assert_eq!(code(&written), "25006");
        client.batch_execute("rollback").await.unwrap();

        // Outside of a read-only transaction it is not the transaction that refuses.
        let written = client.batch_execute("delete from orders").await.unwrap_err();
        assert_eq!(code(&written), "0A000");
        let left = client.batch_execute("begin read only; commit; delete from orders").await.unwrap_err();
        assert_eq!(code(&left), "0A000");
        let timeout = client.query_one("show statement_timeout", &[]).await.unwrap();
        assert_eq!(timeout.get::<_, &str>(0), "0", "set local must not outlive its transaction");
    })
    .await;
}

#[tokio::test]
async fn a_standby_refuses_writes_always() {
    told(Role::Standby, async |client| {
        assert_eq!(
            code(&client.batch_execute("insert into orders default values").await.unwrap_err()),
            "25006"
        );
        assert_eq!(code(&client.batch_execute("begin read write").await.unwrap_err()), "0A000");
    })
    .await;
}

#[tokio::test]
async fn what_it_does_not_know_is_a_clean_error_and_the_session_lives() {
    told(Role::Primary, async |client| {
        for (sql, state) in [
            ("selct 1", "42601"),
            ("select id from orders where id = 1", "0A000"),
            ("select 1 from nowhere", "42P01"),
        ] {
            assert_eq!(code(&client.query(sql, &[]).await.unwrap_err()), state, "{sql}");
            assert_eq!(code(&client.simple_query(sql).await.unwrap_err()), state, "{sql}");
        }
        // A statement that does not parse fails its transaction, in the extended protocol too.
        client.batch_execute("begin").await.unwrap();
        assert_eq!(code(&client.query("selct 1", &[]).await.unwrap_err()), "42601");
        assert_eq!(code(&client.simple_query("select 1").await.unwrap_err()), "25P02");
        client.batch_execute("commit").await.unwrap();
        assert_eq!(client.query_one("select 1", &[]).await.unwrap().get::<_, i32>(0), 1);
        client.simple_query(";").await.unwrap();
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
            client.query_one("select 1", &[]).await.unwrap();
            database.stop().await.unwrap();
            assert!(client.query_one("select 1", &[]).await.is_err(), "a stopped server cuts its clients");
            assert_eq!(database.address(), address);
        }
    })
    .await;
}

#[tokio::test]
async fn a_cancel_request_ends_the_statement_and_not_the_session() {
    told(Role::Primary, async |client| {
        let token = client.cancel_token();
        let cancel = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            token.cancel_query(NoTls).await
        };
        let (slept, cancelled) =
            futures_util::future::join(client.query("select pg_sleep(5)", &[]), cancel).await;
        cancelled.unwrap();
        assert_eq!(code(&slept.unwrap_err()), "57014");
        assert_eq!(client.query_one("select 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    })
    .await;
}
