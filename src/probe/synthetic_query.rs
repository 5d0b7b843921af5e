//! `synthetic_query`: business queries, each in a read-only transaction of its own that the server enforces.
//!
//! Why nothing that is configured can write or linger: the statement goes through the extended protocol, which takes
//! one statement only, so `commit; delete …` is a syntax error; the transaction's snapshot is taken before it, after
//! which PostgreSQL refuses `set transaction read write`; the transaction always ends in `rollback`, which also
//! undoes `set`, so that a pooler's server connection is handed back as it was; and prepared statements, which no
//! rollback undoes, are taken away before it.

use std::time::Duration;

use futures_util::{TryStreamExt, pin_mut};
use jiff::Timestamp;
use serde_json::Value;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use super::database::text::{Text, as_moment};
use super::expect::{is_recent, same};
use super::{Kind, TRANSPORT};
use crate::config::{ExpectColumn, Newest, Query};
use crate::model::{Check, Fact, Metric, Outcome, Reason, Role, length};
use crate::net::dial::Fault;
use crate::net::postgres::{Budget, fault_of};

/// How many rows are looked at, unless more are demanded.
const ROWS: u64 = 10_000;
/// A vacuum on the primary sends what cancels a query in several pieces: the second try waits for the last.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Prepared statements that this transaction brought: by `prepare`, or by the driver under its own names.
const LEFT_BEHIND: &str = "select pg_catalog.quote_ident(name) from pg_catalog.pg_prepared_statements \
     where prepare_time >= pg_catalog.transaction_timestamp() and (from_sql or name ~ '^s[0-9]+$')";

/// What the documentation says.
pub static KIND: Kind = Kind {
    check: Check::SyntheticQuery,
    about: "The business queries of a database, on a new resolution and a new connection, with the workload's own \
            credentials, in a read-only transaction that the server enforces, with statement and lock timeouts and \
            within the deadline. Rows are streamed and cut off. All queries of one database share a login and a \
            status; each has its own `dr_synthetic_query_success`. A query that a standby must refuse is skipped there.",
    example: "databases:\n  - name: orders\n    endpoint: {url: {file: /etc/orders/dsn}}\n    queries:\n      - {name: select_orders, sql: \"select id, created_at from orders order by created_at desc limit 1\",\n         min_rows: 1, newest: {column: created_at, max_age: 26h}}",
    metrics: &[
        &SUCCESS,
        &DURATION,
        &ROW_COUNT,
        &NEWEST,
        &super::database::CONNECT_SUCCESS,
        &super::database::CONNECT_SECONDS,
        &super::database::ENDPOINT_INFO,
        &super::database::APP_SESSIONS,
        &super::database::CLOCK_OFFSET,
        &super::database::CONFIG_MATCH,
    ],
    reasons: &[
        TRANSPORT,
        &[
            Reason::Auth,
            Reason::Permission,
            Reason::Limit,
            Reason::UndefinedObject,
            Reason::TooFewRows,
            Reason::StaleData,
            Reason::WrongValue,
            Reason::ReadOnly,
            Reason::Conflict,
            Reason::Starting,
            Reason::Misconfigured,
            Reason::Internal,
            Reason::Other,
        ],
    ],
};

const QUERY: &[&str] = &["site", "system", "db", "query"];

/// The product's first namesake.
pub static SUCCESS: Metric = Metric::gauge(
    "dr_synthetic_query_success",
    QUERY,
    "1 if the last run of the business query met every assertion within its deadline and is \
     younger than three intervals, judged at the scrape; else 0; absent before the first run \
     ended",
)
.becoming_zero();

/// How long queries take.
pub static DURATION: Metric = Metric::histogram(
    "dr_synthetic_query_duration_seconds",
    QUERY,
    crate::model::DURATION_BOUNDS,
    "How long the business query took that was answered, without the connection",
);

/// How many rows came.
pub static ROW_COUNT: Metric = Metric::gauge(
    "dr_synthetic_query_rows",
    QUERY,
    "Rows that the last answered run of the business query looked at; it stops looking at 10000 \
     or at min_rows",
);

/// How new the data is.
pub static NEWEST: Metric = Metric::gauge(
    "dr_synthetic_data_newest_timestamp_seconds",
    QUERY,
    "The newest moment in the query's column at its last answered run, in seconds since 1970",
);

/// Under which circumstances a query is asked.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The name of the database.
    pub db: &'a str,
    /// The name of the query.
    pub query: &'a str,
    /// The role that the site is declared to have.
    pub role: Role,
    /// The wall clock at the start of the attempt.
    pub now: Timestamp,
    /// How long the statement may take.
    pub left: Duration,
    /// How long a row may be.
    pub budget: &'a Budget,
}

/// What became of one query.
#[derive(Debug)]
pub struct Asked {
    /// How it ended.
    pub outcome: Outcome,
    /// One sentence.
    pub detail: String,
    /// What was learnt.
    pub facts: Vec<Fact>,
    /// Not to be used again: rows are still to come that nobody wants, or the driver's own statements are gone.
    pub spent: bool,
}

// === impl Asked ===

impl Asked {
    /// The connection ended under the question.
    pub fn broken(fault: &Fault) -> Self {
        let outcome = if fault.ours { Outcome::Blind(fault.reason) } else { Outcome::Fail(fault.reason) };
        Asked { outcome, detail: fault.message.clone(), facts: Vec::new(), spent: true }
    }
}

struct Rows {
    count: u64,
    cut: bool,
    newest: Option<Timestamp>,
    value: Option<Value>,
}

/// A query that could not be answered, or whose answer is wrong.
struct Wrong(Outcome, String);

/// Asks one query; once more if recovery cancels it, as it may on any healthy standby.
pub async fn ask(client: &Client, query: &Query, at: Circumstances<'_>) -> Asked {
    let first = ask_once(client, query, at).await;
    if first.outcome != Outcome::Fail(Reason::Conflict) {
        return first;
    }
    tokio::time::sleep(RETRY_AFTER).await;
    ask_once(client, query, at).await
}

async fn ask_once(client: &Client, query: &Query, at: Circumstances<'_>) -> Asked {
    let label = [("db", at.db), ("query", query.name.as_str())];
    let begun = tokio::time::Instant::now();
    let mut spent = false;
    let rows = match in_transaction(client, query, at, &mut spent).await {
        Ok(answered) => answered,
        Err(Wrong(outcome, detail)) => return Asked { outcome, detail, facts: Vec::new(), spent },
    };
    let took = begun.elapsed();
    let mut facts =
        vec![Fact::span(&DURATION, &label, took), Fact::new(&ROW_COUNT, &label, rows.count as f64)];
    facts.extend(rows.newest.map(|newest| Fact::time(&NEWEST, &label, newest)));
    match judge(query, &rows, at.now) {
        Ok(()) => {
            facts.push(Fact::flag(&SUCCESS, &label, true));
            let words = format!("{}, answered after {}", rows_in_words(&rows), length(took));
            Asked { outcome: Outcome::Pass, detail: words, facts, spent }
        }
        Err(Wrong(outcome, detail)) => Asked { outcome, detail, facts, spent },
    }
}

async fn in_transaction(
    client: &Client,
    query: &Query,
    at: Circumstances<'_>,
    spent: &mut bool,
) -> Result<Rows, Wrong> {
    let limit = at.left.as_millis().max(1);
    // One round trip; the last statement takes the snapshot.
    let begin = format!(
        "begin read only; set local statement_timeout = {limit}; \
         set local lock_timeout = {limit}; set local idle_in_transaction_session_timeout = {}; \
         select pg_is_in_recovery()",
        limit + 1000,
    );
    let begun = client.simple_query(&begin).await.map_err(|error| not_answered(&error, None, at))?;
    let in_recovery = begun.iter().any(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0) == Some("t"),
        _ => false,
    });
    let failed = |error: &tokio_postgres::Error| not_answered(error, Some(in_recovery), at);
    match read(client, query, at.budget, spent).await {
        Ok(rows) => {
            // Behind rows that nobody wants there is no talking to the server: the connection is closed instead.
            if !rows.cut {
                leave(client).await.map_err(|error| failed(&error))?;
            }
            Ok(rows)
        }
        Err(ReadFault::Value(words)) => Err(Wrong(Outcome::Blind(Reason::Misconfigured), words)),
        Err(ReadFault::Server(error)) => {
            let wrong = failed(&error);
            client.batch_execute("rollback").await.map_err(|error| failed(&error))?;
            Err(wrong)
        }
    }
}

/// Ends the transaction. Prepared statements outlive it, and behind a pooler even us: those that this transaction
/// brought are taken away first. A pooler that keeps track of them itself names them in another way.
async fn leave(client: &Client) -> Result<(), tokio_postgres::Error> {
    // A server that cannot say what is prepared is PostgreSQL by its protocol only; the rollback answers then.
    let _ = tidy(client).await;
    client.batch_execute("rollback").await
}

async fn tidy(client: &Client) -> Result<(), tokio_postgres::Error> {
    let ours = client.simple_query(LEFT_BEHIND).await?;
    let names = ours.iter().filter_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let commands: Vec<_> = names.map(|name| format!("deallocate {name}")).collect();
    if commands.is_empty() { Ok(()) } else { client.batch_execute(&commands.join("; ")).await }
}

enum ReadFault {
    Server(tokio_postgres::Error),
    Value(String),
}

/// Streams rows and stops as soon as enough were seen.
async fn read(client: &Client, query: &Query, budget: &Budget, spent: &mut bool) -> Result<Rows, ReadFault> {
    let enough = query.min_rows.unwrap_or(0).max(ROWS);
    // Learns the types of the columns while no row is on its way: the driver asks for those that it does not know by
    // statements of its own, which would wait for ever behind rows that nobody takes.
    let described = client.prepare(&query.sql).await.map_err(ReadFault::Server)?;
    let foreign = described.columns().iter().any(|column| Type::from_oid(column.type_().oid()).is_none());
    drop(described);
    if foreign {
        // The driver would use its statements again.
        *spent = true;
        tidy(client).await.map_err(ReadFault::Server)?;
    }
    let stream = client.query_typed_raw::<i32, _>(&query.sql, Vec::new()).await.map_err(ReadFault::Server)?;
    pin_mut!(stream);
    let mut rows = Rows { count: 0, cut: false, newest: None, value: None };
    while let Some(row) = stream.try_next().await.map_err(ReadFault::Server)? {
        rows.count += 1;
        budget.refill();
        if let Err(words) = rows.look_at(&row, query) {
            *spent = true;
            return Err(ReadFault::Value(words));
        }
        if rows.count >= enough {
            (rows.cut, *spent) = (true, true);
            break;
        }
    }
    Ok(rows)
}

// === impl Rows ===

impl Rows {
    fn look_at(&mut self, row: &Row, query: &Query) -> Result<(), String> {
        if let Some(Newest { column, .. }) = &query.newest {
            let found = cell(row, column)?;
            let moment = match &found {
                Value::Null => None,
                found => Some(
                    as_moment(found).ok_or_else(|| format!("the column {column} is not a moment in time"))?,
                ),
            };
            self.newest = self.newest.max(moment);
        }
        if let (Some(ExpectColumn { column, .. }), 1) = (&query.expect, self.count) {
            self.value = Some(cell(row, column)?);
        }
        Ok(())
    }
}

fn cell(row: &Row, column: &str) -> Result<Value, String> {
    let place = row.columns().iter().position(|known| known.name() == column);
    let place = place.ok_or_else(|| format!("the answer has no column {column}"))?;
    match row.try_get::<_, Option<Text>>(place) {
        Ok(text) => Ok(text.map_or(Value::Null, |Text(value)| value)),
        Err(_) => {
            let kind = row.columns()[place].type_().name();
            Err(format!("the column {column} has the type {kind}, which cannot be compared: cast it to text"))
        }
    }
}

fn judge(query: &Query, rows: &Rows, now: Timestamp) -> Result<(), Wrong> {
    let wrong = |reason, words: String| Err(Wrong(Outcome::Fail(reason), words));
    if let Some(min) = query.min_rows.filter(|min| rows.count < *min) {
        return wrong(Reason::TooFewRows, format!("{}, at least {min} are needed", rows_in_words(rows)));
    }
    if let Some(Newest { column, max_age }) = &query.newest {
        let Some(newest) = rows.newest else {
            return wrong(Reason::StaleData, format!("there is no {column} at all: {}", rows_in_words(rows)));
        };
        if let Err((reason, words)) = is_recent(newest, max_age.0, now) {
            return wrong(reason, format!("the newest {column} {words}"));
        }
    }
    if let Some(ExpectColumn { column, equals }) = &query.expect {
        match &rows.value {
            None => {
                return wrong(
                    Reason::TooFewRows,
                    format!("there is no row whose {column} could be compared"),
                );
            }
            Some(found) if !same(found, equals) => {
                return wrong(Reason::WrongValue, format!("{column} has another value than expected"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn rows_in_words(rows: &Rows) -> String {
    match (rows.count, rows.cut) {
        (count, true) => format!("at least {count} rows"),
        (0, false) => "no row".to_owned(),
        (1, false) => "1 row".to_owned(),
        (count, false) => format!("{count} rows"),
    }
}

/// What an error of the server means here. A refusal to write, or to read what recovery cannot show, is right on a
/// standby; elsewhere it is our own transaction that refuses, which says nothing of the database.
fn not_answered(error: &tokio_postgres::Error, in_recovery: Option<bool>, at: Circumstances<'_>) -> Wrong {
    let code = error.code();
    let read_only = code == Some(&SqlState::READ_ONLY_SQL_TRANSACTION);
    let refused = read_only || code == Some(&SqlState::FEATURE_NOT_SUPPORTED);
    match (refused, in_recovery) {
        (true, Some(true)) if at.role != Role::Primary => {
            return Wrong(Outcome::Skipped, "a standby must refuse this query, and did".to_owned());
        }
        (true, Some(true)) => {
            let words = "the database of a primary site is in recovery and refuses this query".to_owned();
            return Wrong(Outcome::Fail(Reason::ReadOnly), words);
        }
        (true, Some(false)) if read_only => {
            let words =
                "the query wants to write, which dr-exporter never does: configure one that reads".to_owned();
            return Wrong(Outcome::Blind(Reason::ReadOnly), words);
        }
        _ => {}
    }
    // What is not SQL, or more than one statement, is the fault of who configured it.
    if code == Some(&SqlState::SYNTAX_ERROR) {
        let words = "the server finds a syntax error in the query (or more than one statement)".to_owned();
        return Wrong(Outcome::Blind(Reason::Misconfigured), words);
    }
    if code == Some(&SqlState::DUPLICATE_PSTATEMENT) {
        let words = "a pooler handed out a connection with somebody's prepared statements on it".to_owned();
        return Wrong(Outcome::Blind(Reason::Misconfigured), words);
    }
    let fault = fault_of(error, &format!("the query {}", at.query));
    let outcome = if fault.ours { Outcome::Blind(fault.reason) } else { Outcome::Fail(fault.reason) };
    Wrong(outcome, fault.message)
}
