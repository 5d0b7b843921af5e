//! One login at the stand-in database: its transaction, its settings, and what its statements answer.
//!
//! Decides; does no I/O. Time is an argument.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use bytes::{BufMut, BytesMut};
use jiff::Timestamp;
use pgwire::api::Type;
use pgwire::api::results::FieldFormat;

use super::database::Role;
use super::sql::{Expression, Function, Refusal, Select, Statement, Table, switch};

/// What PostgreSQL counts its timestamps from, 2000-01-01T00:00:00Z, in microseconds of Unix time.
const EPOCH_MICROSECONDS: i64 = 946_684_800_000_000;

/// Settings that the stand-in knows, with their defaults. Those that only follow the state are in `Session::setting`.
const SETTINGS: &[(&str, &str)] = &[
    ("application_name", ""),
    ("bytea_output", "hex"),
    ("client_encoding", "UTF8"),
    ("client_min_messages", "notice"),
    ("datestyle", "ISO, MDY"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("extra_float_digits", "1"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("intervalstyle", "postgres"),
    ("lock_timeout", "0"),
    ("row_security", "on"),
    ("search_path", "\"$user\", public"),
    ("standard_conforming_strings", "on"),
    ("statement_timeout", "0"),
    ("synchronous_commit", "on"),
    ("timezone", "Etc/UTC"),
    ("transaction_isolation", "read committed"),
];

/// The version that the stand-in claims.
pub(super) const SERVER_VERSION: &str = "16.6";

/// A value of a row.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub(super) enum Value {
    Null,
    Integer(i64),
    Bool(bool),
    Text(String),
    Time(Timestamp),
    Address(IpAddr),
}

/// What the tables hold. A standby holds the same as its primary.
#[derive(Debug, Clone)]
pub struct Data {
    /// Identifier and time of each order.
    orders: Vec<(i64, Timestamp)>,
    users: &'static [(i64, &'static str)],
    schema_version: &'static str,
    system_identifier: i64,
}

/// What a session can learn about the server it is logged in to.
#[derive(Debug, Clone)]
pub(super) struct Surroundings<'a> {
    pub(super) role: Role,
    pub(super) address: SocketAddr,
    pub(super) data: &'a Data,
    pub(super) user: &'a str,
    pub(super) database: &'a str,
    pub(super) process: i32,
    pub(super) now: Timestamp,
}

/// How a statement ended.
#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    Rows(Vec<Vec<Value>>),
    Done(&'static str),
    Opened,
    Closed(&'static str),
}

#[derive(Debug, Default)]
pub(super) struct Session {
    transaction: Option<Transaction>,
    settings: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Transaction {
    read_only: bool,
    failed: bool,
    /// A query ran already: the mode can no longer be loosened.
    queried: bool,
    local: BTreeMap<String, String>,
}

// === impl Session ===

impl Session {
    /// A session as the client's `options` parameter (`-c name=value ...`) asked for it.
    pub(super) fn with_options(options: &str) -> Self {
        let settings = options
            .split_whitespace()
            .filter_map(|word| word.trim_start_matches("-c").trim_start_matches("--").split_once('='))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Self { transaction: None, settings }
    }

    /// Notes that a statement of the open transaction failed: it takes nothing more but its end.
    pub(super) fn fail(&mut self) {
        if let Some(transaction) = &mut self.transaction {
            transaction.failed = true;
        }
    }

    /// Runs one statement.
    pub(super) fn run(&mut self, statement: &Statement, on: &Surroundings<'_>) -> Result<Outcome, Refusal> {
        let failed = self.transaction.as_ref().is_some_and(|transaction| transaction.failed);
        if failed && !statement.ends_transaction() {
            let why = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(Refusal::new("25P02", why));
        }
        match statement {
            Statement::Begin { read_only } => self.begin(*read_only, on),
            Statement::Commit => {
                self.transaction = None;
                Ok(Outcome::Closed(if failed { "ROLLBACK" } else { "COMMIT" }))
            }
            Statement::Rollback => {
                self.transaction = None;
                Ok(Outcome::Closed("ROLLBACK"))
            }
            Statement::Set { name, value, local } => {
                self.set(name, value, *local).map(|()| Outcome::Done("SET"))
            }
            Statement::SetTransaction { read_only } => self.set_mode(*read_only, on),
            Statement::Show { name } => {
                self.setting(name, on).map(|value| Outcome::Rows(vec![vec![Value::Text(value)]]))
            }
            Statement::Select(select) => {
                let rows = self.select(select, on)?;
                if let Some(transaction) = &mut self.transaction {
                    transaction.queried = true;
                }
                Ok(Outcome::Rows(rows))
            }
            Statement::Write(verb) => Err(if self.read_only(on) {
                Refusal::new("25006", format!("cannot execute {verb} in a read-only transaction"))
            } else {
                Refusal::new(
                    "0A000",
                    format!("the stand-in database does not execute {verb}: its tables are fixed"),
                )
            }),
            Statement::Housekeeping(tag) => Ok(Outcome::Done(tag)),
        }
    }

    fn begin(&mut self, read_only: Option<bool>, on: &Surroundings<'_>) -> Result<Outcome, Refusal> {
        if on.role == Role::Standby && read_only == Some(false) {
            return Err(Refusal::new("0A000", "cannot set transaction read-write mode during recovery"));
        }
        let read_only = read_only.unwrap_or_else(|| self.read_only(on));
        match &mut self.transaction {
            // PostgreSQL warns of a second `begin` and keeps the transaction; so its mode stays what it was.
            Some(open) => open.read_only |= read_only,
            None => {
                let local = BTreeMap::new();
                self.transaction = Some(Transaction { read_only, failed: false, queried: false, local });
            }
        }
        Ok(Outcome::Opened)
    }

    fn set_mode(&mut self, read_only: bool, on: &Surroundings<'_>) -> Result<Outcome, Refusal> {
        let Some(open) = &mut self.transaction else { return Ok(Outcome::Done("SET")) };
        if !read_only && on.role == Role::Standby {
            return Err(Refusal::new("0A000", "cannot set transaction read-write mode during recovery"));
        }
        if !read_only && open.read_only && open.queried {
            return Err(Refusal::new("25001", "transaction read-write mode must be set before any query"));
        }
        open.read_only = read_only;
        Ok(Outcome::Done("SET"))
    }

    fn set(&mut self, name: &str, value: &str, local: bool) -> Result<(), Refusal> {
        if !name.contains('.') && !SETTINGS.iter().any(|(known, _)| *known == name) {
            return Err(unknown_setting(name));
        }
        let settings = match (&mut self.transaction, local) {
            (Some(open), true) => &mut open.local,
            (None, true) => return Ok(()),
            (_, false) => &mut self.settings,
        };
        settings.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    fn setting(&self, name: &str, on: &Surroundings<'_>) -> Result<String, Refusal> {
        let flag = |is: bool| if is { "on" } else { "off" }.to_owned();
        match name {
            "transaction_read_only" => return Ok(flag(self.read_only(on))),
            "in_hot_standby" => return Ok(flag(on.role == Role::Standby)),
            "server_version" => return Ok(SERVER_VERSION.to_owned()),
            "server_version_num" => return Ok("160006".to_owned()),
            _ => {}
        }
        self.transaction
            .as_ref()
            .and_then(|open| open.local.get(name))
            .or_else(|| self.settings.get(name))
            .cloned()
            .or_else(|| {
                SETTINGS.iter().find(|(known, _)| *known == name).map(|(_, default)| (*default).to_owned())
            })
            .ok_or_else(|| unknown_setting(name))
    }

    /// Whether a write would be refused now.
    fn read_only(&self, on: &Surroundings<'_>) -> bool {
        let default = || self.settings.get("default_transaction_read_only").and_then(|value| switch(value));
        on.role == Role::Standby
            || self.transaction.as_ref().map_or_else(|| default() == Some(true), |open| open.read_only)
    }

    fn select(&mut self, select: &Select, on: &Surroundings<'_>) -> Result<Vec<Vec<Value>>, Refusal> {
        let mut rows = select.table.map_or_else(|| vec![Vec::new()], |table| on.data.rows(table));
        rows.sort_by(|left, right| {
            select.order.iter().fold(std::cmp::Ordering::Equal, |so_far, (column, descending)| {
                let next = left[*column].partial_cmp(&right[*column]).unwrap_or(std::cmp::Ordering::Equal);
                so_far.then(if *descending { next.reverse() } else { next })
            })
        });
        let mut answer = Vec::new();
        if select.aggregates() {
            let row: Result<_, _> =
                select.items.iter().map(|item| self.value(&item.expression, &[], &rows, on)).collect();
            answer.push(row?);
        } else {
            for row in &rows {
                let row: Result<_, _> =
                    select.items.iter().map(|item| self.value(&item.expression, row, &rows, on)).collect();
                answer.push(row?);
            }
        }
        answer.truncate(select.limit.unwrap_or(usize::MAX));
        Ok(answer)
    }

    fn value(
        &mut self,
        expression: &Expression,
        row: &[Value],
        rows: &[Vec<Value>],
        on: &Surroundings<'_>,
    ) -> Result<Value, Refusal> {
        Ok(match expression {
            Expression::Column(at, _) => row.get(*at).cloned().unwrap_or(Value::Null),
            Expression::Integer(number) => Value::Integer(i64::from(*number)),
            Expression::Text(text) => Value::Text(text.clone()),
            Expression::CountRows => Value::Integer(i64::try_from(rows.len()).unwrap_or(i64::MAX)),
            Expression::Extreme { column, largest, .. } => rows
                .iter()
                .map(|row| row[*column].clone())
                .reduce(|best, next| if (next > best) == *largest { next } else { best })
                .unwrap_or(Value::Null),
            Expression::AsText(inner) => {
                let value = self.value(inner, row, rows, on)?;
                let mask = match (&value, inner.kind()) {
                    (Value::Address(IpAddr::V4(_)), Type::INET) => "/32",
                    (Value::Address(IpAddr::V6(_)), Type::INET) => "/128",
                    _ => "",
                };
                value.text().map_or(Value::Null, |text| Value::Text(format!("{text}{mask}")))
            }
            Expression::Call(function) => self.call(function, on)?,
        })
    }

    fn call(&mut self, function: &Function, on: &Surroundings<'_>) -> Result<Value, Refusal> {
        Ok(match function {
            Function::InetServerAddr => Value::Address(on.address.ip()),
            Function::InetServerPort => Value::Integer(i64::from(on.address.port())),
            Function::IsInRecovery => Value::Bool(on.role == Role::Standby),
            Function::BackendPid => Value::Integer(i64::from(on.process)),
            Function::Version => {
                Value::Text(format!("PostgreSQL {SERVER_VERSION} (stand-in of dr-exporter demo)"))
            }
            Function::CurrentUser => Value::Text(on.user.to_owned()),
            Function::CurrentDatabase => Value::Text(on.database.to_owned()),
            Function::Now => Value::Time(on.now),
            Function::LastReplay => match on.role {
                Role::Primary => Value::Null,
                Role::Standby => {
                    on.data.orders.iter().map(|(_, at)| *at).max().map_or(Value::Null, Value::Time)
                }
            },
            Function::CurrentSetting { name, missing_ok } => match self.setting(name, on) {
                Ok(value) => Value::Text(value),
                Err(_) if *missing_ok => Value::Null,
                Err(refusal) => return Err(refusal),
            },
            Function::SetConfig { name, value, local } => {
                match (name.as_str(), switch(value)) {
                    ("transaction_read_only", Some(read_only)) => drop(self.set_mode(read_only, on)?),
                    _ => self.set(name, value, *local)?,
                }
                Value::Text(value.clone())
            }
            // The wait itself is the server's: see `database`.
            Function::Sleep { .. } => Value::Text(String::new()),
        })
    }
}

fn unknown_setting(name: &str) -> Refusal {
    Refusal::new("42704", format!("unrecognized configuration parameter \"{name}\""))
}

// === impl Data ===

impl Data {
    /// The tables of the orders system: an order each seven minutes, the newest two minutes before `now`.
    pub fn of_orders(now: Timestamp) -> Self {
        let start = now.as_second() - 120;
        let orders = (0..50_i64)
            .filter_map(|back| Some((90_050 - back, Timestamp::from_second(start - back * 420).ok()?)))
            .collect();
        Self {
            orders,
            users: &[(1, "Ada"), (2, "Barbara"), (3, "Edsger"), (4, "Grace"), (5, "Margaret")],
            schema_version: "20241201",
            system_identifier: 7_449_210_332_117_504_001,
        }
    }

    fn rows(&self, table: Table) -> Vec<Vec<Value>> {
        match table {
            Table::Orders => self
                .orders
                .iter()
                .map(|(id, at)| vec![Value::Integer(*id), Value::Integer(id % 5 + 1), Value::Time(*at)])
                .collect(),
            Table::Users => self
                .users
                .iter()
                .map(|(id, name)| vec![Value::Integer(*id), Value::Text((*name).to_owned())])
                .collect(),
            Table::SchemaMigrations => vec![vec![Value::Text(self.schema_version.to_owned())]],
            Table::ControlSystem => vec![vec![Value::Integer(self.system_identifier)]],
        }
    }
}

// === impl Value ===

impl Value {
    /// Appends the value as a field of a `DataRow` message: its length, then its bytes.
    ///
    /// Formats: PostgreSQL documentation, "Frontend/Backend Protocol", DataRow; the binary forms are those of the
    /// types' `send` functions (`inet_send`, `timestamptz_send`).
    pub(super) fn encode(&self, kind: &Type, format: FieldFormat, row: &mut BytesMut) {
        let Some(bytes) = (match format {
            FieldFormat::Text => self.text().map(String::into_bytes),
            FieldFormat::Binary => self.binary(kind),
        }) else {
            return row.put_i32(-1);
        };
        row.put_i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
        row.put_slice(&bytes);
    }

    fn text(&self) -> Option<String> {
        Some(match self {
            Self::Null => return None,
            Self::Integer(number) => number.to_string(),
            Self::Bool(is) => if *is { "t" } else { "f" }.to_owned(),
            Self::Text(text) => text.clone(),
            Self::Time(at) => at.strftime("%Y-%m-%d %H:%M:%S%.f+00").to_string(),
            Self::Address(address) => address.to_string(),
        })
    }

    fn binary(&self, kind: &Type) -> Option<Vec<u8>> {
        Some(match self {
            Self::Null => return None,
            Self::Integer(number) => match i32::try_from(*number) {
                Ok(number) if *kind == Type::INT4 => number.to_be_bytes().to_vec(),
                Ok(_) | Err(_) => number.to_be_bytes().to_vec(),
            },
            Self::Bool(is) => vec![u8::from(*is)],
            Self::Text(text) => text.clone().into_bytes(),
            Self::Time(at) => (at.as_microsecond() - EPOCH_MICROSECONDS).to_be_bytes().to_vec(),
            Self::Address(IpAddr::V4(address)) => [&[2, 32, 0, 4], address.octets().as_slice()].concat(),
            Self::Address(IpAddr::V6(address)) => [&[3, 128, 0, 16], address.octets().as_slice()].concat(),
        })
    }
}
