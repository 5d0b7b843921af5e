//! What a client of the stand-in database talks to: login, both query protocols, and the rules of transactions.
//!
//! Login is MD5, the strongest that `pgwire` offers without a second copy of a TLS library.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{Sink, stream};
use jiff::Timestamp;
use pgwire::api::auth::md5pass::{Md5PasswordAuthStartupHandler, hash_md5_password};
use pgwire::api::auth::{AuthSource, DefaultServerParameterProvider, LoginInfo, Password, StartupHandler};
use pgwire::api::portal::{Format, Portal};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::results::{DataRowEncoder, FieldFormat, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::PortalStore;
use pgwire::api::{ClientInfo, ClientPortalStore, PgWireServerHandlers, Type};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::response::TransactionStatus;

use super::database::{DATABASE, PASSWORD, Role, USER};
use super::sql::{self, Statement, refusal};

/// The server that every connection is handed to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Server {
    pub(super) role: Role,
    pub(super) address: SocketAddr,
    /// What the times in its tables are counted from.
    pub(super) started: Timestamp,
}

/// What a session keeps of its open transaction; whether there is one, and whether it failed, `pgwire` knows.
struct ReadOnly(bool);

// === impl Server ===

impl Server {
    /// Answers a statement of `client`, whose transaction is `status` now.
    fn answer(
        self,
        client: &impl ClientInfo,
        status: TransactionStatus,
        statement: &Statement,
        format: &Format,
    ) -> PgWireResult<Response> {
        let (open, failed) = (status != TransactionStatus::Idle, status == TransactionStatus::Error);
        if failed && !matches!(statement, Statement::End(_)) {
            let why = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(refusal("25P02", why));
        }
        let session = client.session_extensions();
        let refuses_writes =
            self.role == Role::Standby || (open && session.get::<ReadOnly>().is_some_and(|kept| kept.0));
        Ok(match statement {
            Statement::Begin { read_only } => {
                // A second `begin` opens nothing, and loosens nothing.
                session.insert(ReadOnly(refuses_writes || *read_only));
                Response::TransactionStart(Tag::new("BEGIN"))
            }
            Statement::End(tag) => Response::TransactionEnd(Tag::new(if failed { "ROLLBACK" } else { tag })),
            Statement::SetTimeout => Response::Execution(Tag::new("SET")),
            Statement::Write(verb) if refuses_writes => {
                return Err(refusal("25006", &format!("cannot execute {verb} in a read-only transaction")));
            }
            Statement::Write(verb) => {
                return Err(refusal("0A000", &format!("the stand-in database does not execute {verb}")));
            }
            Statement::Read(table) => {
                let fields = Arc::new(fields(statement, format));
                let mut row = DataRowEncoder::new(Arc::clone(&fields));
                let rows = table.rows.iter().map(|values| {
                    let mut columns = values.iter().zip(fields.iter());
                    columns.try_for_each(|(value, column)| value.encode(&mut row, column.format()))?;
                    Ok(row.take_row())
                });
                let rows: Vec<_> = rows.collect();
                Response::Query(QueryResponse::new(fields, stream::iter(rows)))
            }
        })
    }
}

/// The columns of an answer; none when the statement answers with no rows.
fn fields(statement: &Statement, format: &Format) -> Vec<FieldInfo> {
    let Statement::Read(table) = statement else { return Vec::new() };
    let format = |at: usize| match format {
        Format::UnifiedText => FieldFormat::Text,
        Format::UnifiedBinary => FieldFormat::Binary,
        // A client may send fewer codes than there are columns, which is its mistake and not our panic.
        Format::Individual(codes) => codes.get(at).copied().map_or(FieldFormat::Text, FieldFormat::from),
    };
    let columns = table.columns.iter().enumerate();
    columns
        .map(|(at, (name, kind))| FieldInfo::new((*name).to_owned(), None, None, kind.clone(), format(at)))
        .collect()
}

impl PgWireServerHandlers for Server {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        Arc::new(*self)
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        Arc::new(*self)
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        let mut parameters = DefaultServerParameterProvider::default();
        "16.6".clone_into(&mut parameters.server_version);
        parameters.in_hot_standby = self.role == Role::Standby;
        parameters.is_superuser = false;
        Arc::new(Md5PasswordAuthStartupHandler::new(Arc::new(*self), Arc::new(parameters)))
    }
}

#[async_trait]
impl AuthSource for Server {
    async fn get_password(&self, login: &LoginInfo) -> PgWireResult<Password> {
        // As PostgreSQL: a client that names no database means the one of its user's name.
        if login.database().or(login.user()) != Some(DATABASE) {
            let why = "that database does not exist".to_owned();
            let error = ErrorInfo::new("FATAL".to_owned(), "3D000".to_owned(), why);
            return Err(PgWireError::UserError(Box::new(error)));
        }
        let salt: [u8; 4] = rand::random();
        // The user's name is part of the hash: another user's is wrong, whatever its password.
        Ok(Password::new(Some(salt.to_vec()), hash_md5_password(USER, PASSWORD, &salt).into_bytes()))
    }
}

#[async_trait]
impl SimpleQueryHandler for Server {
    async fn do_query<C>(&self, client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let mut status = client.transaction_status();
        let mut responses = Vec::new();
        for statement in sql::parse(query, *self)? {
            match self.answer(client, status, &statement, &Format::UnifiedText) {
                Ok(response) => responses.push(response),
                Err(error) => {
                    responses.push(Response::Error(Box::new(error.into())));
                    break;
                }
            }
            // `pgwire` follows only once it sends the responses.
            status = match statement {
                Statement::Begin { .. } => status.to_in_transaction_state(),
                Statement::End(_) => status.to_idle_state(),
                Statement::SetTimeout | Statement::Write(_) | Statement::Read(_) => status,
            };
        }
        Ok(responses)
    }
}

#[async_trait]
impl ExtendedQueryHandler for Server {
    type Statement = Statement;
    type QueryParser = Self;

    fn query_parser(&self) -> Arc<Self> {
        Arc::new(*self)
    }

    async fn do_query<C>(
        &self,
        client: &mut C,
        portal: &Portal<Statement>,
        _max_rows: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore<Statement = Statement>,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let status = client.transaction_status();
        self.answer(client, status, &portal.statement.statement, &portal.result_column_format)
    }
}

#[async_trait]
impl QueryParser for Server {
    type Statement = Statement;

    async fn parse_sql<C>(&self, _: &C, sql: &str, _: &[Option<Type>]) -> PgWireResult<Option<Statement>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let mut statements = sql::parse(sql, *self)?;
        if statements.len() > 1 {
            return Err(refusal("42601", "cannot insert multiple commands into a prepared statement"));
        }
        Ok(statements.pop())
    }

    fn get_parameter_types(&self, _: &Statement) -> PgWireResult<Vec<Type>> {
        Ok(Vec::new())
    }

    fn get_result_schema(
        &self,
        statement: &Statement,
        format: Option<&Format>,
    ) -> PgWireResult<Vec<FieldInfo>> {
        Ok(fields(statement, format.unwrap_or(&Format::UnifiedText)))
    }
}
