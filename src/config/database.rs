//! The databases of a system: where the application looks for them, and what must be found there.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::scalar::{self, Span};
use super::schedule::Schedule;
use super::site::{Attempts, Defaults, Tls};
use crate::secret::SecretSource;

/// A database of the system.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "endpoint"]))]
pub struct Database {
    /// Name of the database, as in the `db` label.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// What kind of database it is.
    pub kind: DatabaseKind,
    /// Where the application looks for it.
    pub endpoint: Endpoint,
    /// Other credentials than the application's; the difference is shown as a finding.
    pub credentials: Option<Credentials>,
    /// Regions that its address may be in; default: the site's region.
    #[schemars(length(min = 1), extend("items" = {"type": "string", "format": "name"}))]
    pub expected_regions: Option<Vec<String>>,
    /// Business queries, each on the same fresh connection, in a read-only transaction.
    pub queries: Vec<Query>,
    /// Which database it must be.
    pub identity: Option<Identity>,
    /// What the standby database of this site is, and how it is fed.
    pub standby: Option<Standby>,
    /// Writes the row that a standby's heartbeat reads, where this site is the primary.
    pub heartbeat_writer: HeartbeatWriter,
    /// The cloud's own record of the database.
    pub cloud: Option<DatabaseCloud>,
    /// Time from run to run; default: `defaults.interval`.
    pub interval: Option<Span>,
    /// Deadline of one attempt; default: `defaults.timeout`.
    pub timeout: Option<Span>,
    /// How many attempts must pass; default: `defaults.attempts`.
    pub attempts: Option<Attempts>,
}

/// What kind of database it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline, extend("enum" = ["postgres"]), transform = super::site::plain_enum)]
pub enum DatabaseKind {
    /// PostgreSQL and what speaks its protocol.
    #[default]
    Postgres,
}

/// Where a database is: read from a workload (`workload` with `env` or `file`), or given (`url`).
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Endpoint {
    /// Name of the workload whose configuration is read.
    pub workload: Option<String>,
    /// Environment variable of the workload that holds the address.
    #[schemars(extend("format" = "not-blank"))]
    pub env: Option<String>,
    /// Path in the workload's container of a file that holds the address.
    #[schemars(extend("format" = "not-blank"))]
    pub file: Option<String>,
    /// The address in any form that applications write: URL, JDBC, key=value or .NET; or where to read it.
    #[serde(deserialize_with = "scalar::text_or_credential")]
    #[schemars(schema_with = "scalar::text_or_credential_schema")]
    pub url: Option<SecretSource>,
    /// Where its owner expects the application to look: another host, port or database in `url` is a finding.
    #[serde(deserialize_with = "scalar::text_or_credential")]
    #[schemars(schema_with = "scalar::text_or_credential_schema")]
    pub expected_url: Option<SecretSource>,
    /// The password, when `url` holds none.
    #[schemars(schema_with = "scalar::credential_schema")]
    pub password: Option<SecretSource>,
    /// How the server's certificate is verified.
    pub tls: Option<Tls>,
}

/// Credentials that stand in for those of the application.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["user"]))]
pub struct Credentials {
    /// Name of the user.
    #[schemars(extend("format" = "not-blank"))]
    pub user: String,
    /// Password of the user.
    #[schemars(schema_with = "scalar::credential_schema")]
    pub password: Option<SecretSource>,
}

/// A business query with what its result must look like.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "sql"]))]
pub struct Query {
    /// Name of the query, as in the `query` label.
    #[schemars(extend("format" = "name"))]
    pub name: String,
    /// The query. It runs in a read-only transaction that it cannot leave.
    #[schemars(extend("format" = "not-blank"))]
    pub sql: String,
    /// Fewest rows that must come.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub min_rows: Option<u64>,
    /// How old the newest row may be.
    pub newest: Option<Newest>,
    /// What a column of the first row must hold.
    pub expect: Option<ExpectColumn>,
}

/// How old the newest row may be.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["column", "max_age"]))]
pub struct Newest {
    /// Column that holds a time.
    #[schemars(extend("format" = "not-blank"))]
    pub column: String,
    /// Greatest age of the newest row.
    pub max_age: Span,
}

/// What a column of the first row must hold.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["column", "equals"]))]
pub struct ExpectColumn {
    /// Name of the column.
    #[schemars(extend("format" = "not-blank"))]
    pub column: String,
    /// The value: compared as numbers when both sides are numbers, else as text; null stands for NULL.
    #[schemars(extend("type" = ["string", "number", "boolean", "null"]))]
    pub equals: Value,
}

/// Which database it must be.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// System identifier of the cluster (`pg_control_system()`), in quotes.
    #[schemars(extend("format" = "not-blank"))]
    pub system_identifier: Option<String>,
    /// Name of the peer whose database must be the same one.
    pub same_as_peer: Option<String>,
}

/// What the standby database of this site is, and how it is fed.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["endpoint"]))]
pub struct Standby {
    /// Where the standby database is.
    pub endpoint: Endpoint,
    /// How it is fed.
    pub replication: Replication,
    /// An intended delay of the apply, added to the recovery point objective.
    pub delay: Span,
    /// A table that the primary writes at a known pace.
    pub heartbeat: Option<Heartbeat>,
    /// Where the primary database is.
    pub primary: Option<Endpoint>,
    /// Time from run to run; default: `defaults.interval`.
    pub interval: Option<Span>,
    /// Deadline of one attempt; default: `defaults.timeout`.
    pub timeout: Option<Span>,
    /// How many attempts must pass; default: `defaults.attempts`.
    pub attempts: Option<Attempts>,
}

/// How a standby database is fed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline, extend("enum" = ["streaming", "archive", "logical", "none"]), transform = super::site::plain_enum)]
pub enum Replication {
    /// By a connection to the primary.
    #[default]
    Streaming,
    /// From an archive of the write-ahead log.
    Archive,
    /// By logical replication.
    Logical,
    /// Not at all.
    None,
}

/// A table that the primary writes at a known pace.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["sql", "column"]))]
pub struct Heartbeat {
    /// Query for the last beat.
    #[schemars(extend("format" = "not-blank"))]
    pub sql: String,
    /// Column that holds its time.
    #[schemars(extend("format" = "not-blank"))]
    pub column: String,
}

/// Writes the row that a standby's heartbeat reads.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeartbeatWriter {
    /// Whether it is written at all. Even then only where this site is the primary.
    pub enabled: bool,
    /// The table, made by what `dr-exporter docs heartbeat` prints.
    #[schemars(extend("format" = "sql-name"))]
    pub table: String,
    /// Time from beat to beat.
    pub every: Span,
    /// Other credentials than the application's.
    pub credentials: Option<Credentials>,
}

/// The cloud's own record of the database.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DatabaseCloud {
    /// Amazon RDS.
    pub rds: Option<Rds>,
}

/// An instance of Amazon RDS.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["instance"]))]
pub struct Rds {
    /// Region of the instance; default: the site's region.
    pub region: Option<String>,
    /// Identifier of the instance.
    #[schemars(extend("format" = "not-blank"))]
    pub instance: String,
    /// How long its creation may take.
    pub created_within: Option<Span>,
}

// === impl HeartbeatWriter ===

impl Default for HeartbeatWriter {
    fn default() -> Self {
        Self { enabled: false, table: "dr_heartbeat".to_owned(), every: Span::seconds(10), credentials: None }
    }
}

impl HeartbeatWriter {
    /// When it is written: one attempt, by the deadline of the defaults where that is shorter.
    pub fn schedule(&self, defaults: &Defaults) -> Schedule {
        let timeout = defaults.timeout.0.min(self.every.0);
        Schedule { interval: self.every.0, timeout, attempts: Attempts::default() }
    }
}
