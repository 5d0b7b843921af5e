//! What the stand-in database answers: the statements that the exporter and the application send, and nothing else.
//!
//! No SQL engine: a table of known statements. Any other is refused as a syntax error (42601), not as a missing
//! feature (0A000), which the exporter would take for a standby's good right.

use ipnet::IpNet;
use jiff::Timestamp;
use pgwire::api::Type;
use pgwire::api::results::{DataRowEncoder, FieldFormat};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};

use super::database::Role;
use super::session::Server;

/// What PostgreSQL counts its timestamps from, 2000-01-01T00:00:00Z, in microseconds of Unix time.
const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;

/// The settings that are accepted. They change nothing: no answer takes any time.
const TIMEOUTS: [&str; 3] = [
    "set local statement_timeout = ",
    "set local lock_timeout = ",
    "set local idle_in_transaction_session_timeout = ",
];

/// How a statement that writes begins.
const WRITES: [&str; 8] = ["INSERT", "UPDATE", "DELETE", "MERGE", "TRUNCATE", "CREATE", "ALTER", "DROP"];

const USERS: [(i64, &str); 5] = [(1, "Ada"), (2, "Barbara"), (3, "Edsger"), (4, "Grace"), (5, "Margaret")];

/// A known statement.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Statement {
    Begin {
        read_only: bool,
    },
    /// `commit` or `rollback`: the tag of its answer.
    End(&'static str),
    SetTimeout,
    /// Its verb, in upper case.
    Write(&'static str),
    Read(Table),
}

/// An answer, with a value for each of its columns.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    pub(super) columns: &'static [(&'static str, Type)],
    pub(super) rows: Vec<Vec<Value>>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Integer(i64),
    Bool(bool),
    Text(String),
    Time(Timestamp),
}

/// An error of one statement, after which the session lives on.
pub(super) fn refusal(code: &str, message: &str) -> PgWireError {
    PgWireError::UserError(Box::new(ErrorInfo::new("ERROR".to_owned(), code.to_owned(), message.to_owned())))
}

/// Every statement of a query string, with what `server` answers; none is run unless all are known.
pub(super) fn parse(sql: &str, server: Server) -> PgWireResult<Vec<Statement>> {
    let unknown =
        "the stand-in database does not know this statement: it answers what `dr-exporter demo` asks";
    sql.split(';')
        .map(|sql| sql.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase())
        .filter(|sql| !sql.is_empty())
        .map(|sql| known(&sql, server).ok_or_else(|| refusal("42601", unknown)))
        .collect()
}

/// Looks up a statement in lower case, with single spaces.
fn known(sql: &str, server: Server) -> Option<Statement> {
    if TIMEOUTS.iter().any(|timeout| sql.starts_with(timeout)) {
        return Some(Statement::SetTimeout);
    }
    let verb = sql.split(' ').next().unwrap_or_default();
    if let Some(verb) = WRITES.iter().find(|known| known.eq_ignore_ascii_case(verb)) {
        return Some(Statement::Write(verb));
    }
    match sql {
        "begin" | "start transaction" => Some(Statement::Begin { read_only: false }),
        "begin read only" | "start transaction read only" => Some(Statement::Begin { read_only: true }),
        "commit" => Some(Statement::End("COMMIT")),
        "rollback" => Some(Statement::End("ROLLBACK")),
        _ => {
            let (asked, limit) = match sql.split_once(" limit ") {
                Some((asked, limit)) => (asked, limit.parse().ok()?),
                None => (sql, usize::MAX),
            };
            let mut table = table(asked, server)?;
            table.rows.truncate(limit);
            Some(Statement::Read(table))
        }
    }
}

fn table(asked: &str, Server { role, address, started }: Server) -> Option<Table> {
    // An order each seven minutes, the newest two minutes before the start, and first.
    let orders = (0..50_i64).filter_map(|back| {
        let at = Timestamp::from_second(started.as_second() - 120 - back * 420).ok()?;
        Some((Value::Integer(90_050 - back), Value::Time(at)))
    });
    let (columns, rows): (&[_], _) = match asked {
        "select pg_is_in_recovery()" => {
            (&[("pg_is_in_recovery", Type::BOOL)], vec![vec![Value::Bool(role == Role::Standby)]])
        }
        // As text an address carries the length of its prefix.
        "select inet_server_addr()::text" => {
            let address = Value::Text(IpNet::from(address.ip()).to_string());
            (&[("inet_server_addr", Type::TEXT)], vec![vec![address]])
        }
        "select id, created_at from orders order by created_at desc" => (
            &[("id", Type::INT8), ("created_at", Type::TIMESTAMPTZ)],
            orders.map(|(id, at)| vec![id, at]).collect(),
        ),
        "select id from orders" => (&[("id", Type::INT8)], orders.map(|(id, _)| vec![id]).collect()),
        "select id, name from users order by id" => (
            &[("id", Type::INT8), ("name", Type::TEXT)],
            USERS
                .iter()
                .map(|(id, name)| vec![Value::Integer(*id), Value::Text((*name).to_owned())])
                .collect(),
        ),
        _ => return None,
    };
    Some(Table { columns, rows })
}

// === impl Value ===

impl Value {
    /// Appends the value to a row. `pgwire` encodes times of `chrono` alone; the binary form is that of PostgreSQL's
    /// `timestamptz_send`.
    pub(super) fn encode(&self, row: &mut DataRowEncoder, format: FieldFormat) -> PgWireResult<()> {
        match self {
            Self::Integer(number) => row.encode_field(number),
            Self::Bool(is) => row.encode_field(is),
            Self::Text(text) => row.encode_field(text),
            Self::Time(at) => match format {
                FieldFormat::Text => row.encode_field(&at.strftime("%Y-%m-%d %H:%M:%S%.f+00").to_string()),
                FieldFormat::Binary => row.encode_field(&(at.as_microsecond() - EPOCH_MICROSECONDS)),
            },
        }
    }
}
