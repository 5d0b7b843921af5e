//! A stand-in PostgreSQL server: the real wire protocol (by `pgwire`) over a few fixed tables.
//!
//! Login is MD5, the strongest that `pgwire` offers without a second copy of a TLS library. Simple and extended query
//! protocol, portals, cancel requests, read-only transactions and recovery behave as PostgreSQL's do; the SQL is what
//! `sql` says.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use futures_util::{Sink, stream};
use pgwire::api::auth::md5pass::{Md5PasswordAuthStartupHandler, hash_md5_password};
use pgwire::api::auth::{AuthSource, DefaultServerParameterProvider, LoginInfo, Password, StartupHandler};
use pgwire::api::cancel::{CancelHandler, DefaultCancelHandler};
use pgwire::api::portal::{Format, Portal};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::results::{FieldFormat, FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::PortalStore;
use pgwire::api::{
    ClientInfo, ClientPortalStore, ConnectionManager, METADATA_DATABASE, METADATA_USER, PgWireServerHandlers,
    Type,
};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::data::DataRow;
use pgwire::messages::response::TransactionStatus;
use pgwire::tokio::process_socket;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Now;
use super::session::{Data, Outcome, SERVER_VERSION, Session, Surroundings};
use super::sql::{self, Expression, Function, Refusal, Statement};

/// The one login of the stand-in databases; they listen on loopback only and hold nothing.
pub const USER: &str = "orders_app";
/// The password of [`USER`].
pub const PASSWORD: &str = "demo-only";
/// The one database of a stand-in server.
pub const DATABASE: &str = "orders";

/// What a database is to its site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes writes.
    Primary,
    /// In recovery: every transaction is read-only.
    Standby,
}

/// A stand-in database server at an address that it owns from the start, listening or not.
#[derive(Debug)]
pub struct Database {
    address: SocketAddr,
    handlers: Arc<Handlers>,
    /// The open port, while there is one.
    door: watch::Sender<Option<Arc<TcpListener>>>,
    /// The port while nothing listens on it: bound, so that nobody else takes it, and refused by the kernel.
    reserved: tokio::sync::Mutex<Option<TcpSocket>>,
}

#[derive(Debug)]
struct Handlers {
    server: Arc<Server>,
    connections: Arc<ConnectionManager>,
}

#[derive(Debug)]
struct Server {
    role: Role,
    address: SocketAddr,
    data: Data,
    now: Now,
}

#[derive(Debug)]
struct Login;

// === impl Database ===

impl Database {
    /// Takes a free port of `address` without listening on it: who connects is refused, until [`Database::start`].
    ///
    /// # Errors
    /// The address is not one of this machine, or has no free port.
    pub fn reserve(address: std::net::IpAddr, role: Role, data: Data, now: Now) -> io::Result<Self> {
        let socket = bind(SocketAddr::new(address, 0))?;
        let address = socket.local_addr()?;
        let server = Arc::new(Server { role, address, data, now });
        let handlers = Arc::new(Handlers { server, connections: Arc::default() });
        Ok(Self {
            address,
            handlers,
            door: watch::Sender::new(None),
            reserved: tokio::sync::Mutex::new(Some(socket)),
        })
    }

    /// Where it listens when it does.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What an application writes to reach it: a URL with [`USER`], [`PASSWORD`] and [`DATABASE`].
    pub fn dsn(&self) -> String {
        format!("postgres://{USER}:{PASSWORD}@{}/{DATABASE}?sslmode=disable", self.address)
    }

    /// Whether the port is open.
    pub fn is_running(&self) -> bool {
        self.door.borrow().is_some()
    }

    /// Opens the port; clients are served while [`Database::run`] runs. Starting twice is starting once.
    ///
    /// # Errors
    /// The port cannot be listened on.
    pub async fn start(&self) -> io::Result<()> {
        let mut reserved = self.reserved.lock().await;
        if self.is_running() {
            return Ok(());
        }
        let socket = match reserved.take() {
            Some(socket) => socket,
            None => bind(self.address)?,
        };
        self.door.send_replace(Some(Arc::new(socket.listen(1024)?)));
        Ok(())
    }

    /// Closes the port, cuts every connection, and returns when the port refuses. The port stays reserved.
    ///
    /// # Errors
    /// The port cannot be reserved again.
    pub async fn stop(&self) -> io::Result<()> {
        let mut reserved = self.reserved.lock().await;
        let Some(door) = self.door.send_replace(None) else { return Ok(()) };
        let gone = Arc::downgrade(&door);
        drop(door);
        // `run` lets go of it at its next turn.
        while gone.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        *reserved = Some(bind(self.address)?);
        Ok(())
    }

    /// Serves clients whenever the port is open. Never ends by itself; dropping it cuts every connection.
    pub async fn run(&self) {
        let mut door = self.door.subscribe();
        loop {
            let open = door.borrow_and_update().clone();
            if let Some(open) = open {
                tokio::select! {
                    () = self.accept(&open) => {}
                    _ = door.changed() => {}
                }
            } else if door.changed().await.is_err() {
                return;
            }
        }
    }

    async fn accept(&self, listener: &TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((client, _)) => drop(connections.spawn(serve(client, Arc::clone(&self.handlers)))),
                    // Out of file descriptors, or the client has gone: neither mends faster by spinning.
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                },
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// Serves one client to its end; how a client goes is no news to anybody.
async fn serve(client: TcpStream, handlers: Arc<Handlers>) {
    let _ = process_socket(client, None, handlers).await;
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Without it a port that served clients cannot be taken again for a minute.
    socket.set_reuseaddr(address.port() != 0)?;
    socket.bind(address)?;
    Ok(socket)
}

// === impl Handlers ===

impl PgWireServerHandlers for Handlers {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        Arc::clone(&self.server)
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        Arc::clone(&self.server)
    }

    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        let standby = self.server.role == Role::Standby;
        let mut parameters = DefaultServerParameterProvider::default();
        SERVER_VERSION.clone_into(&mut parameters.server_version);
        parameters.in_hot_standby = standby;
        parameters.is_superuser = false;
        let login = Md5PasswordAuthStartupHandler::new(Arc::new(Login), Arc::new(parameters));
        Arc::new(login.with_connection_manager(Arc::clone(&self.connections)))
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        Arc::new(DefaultCancelHandler::new(Arc::clone(&self.connections)))
    }
}

// === impl Login ===

#[async_trait]
impl AuthSource for Login {
    async fn get_password(&self, login: &LoginInfo) -> PgWireResult<Password> {
        // As PostgreSQL: a client that names no database means the one of its user's name.
        let database = login.database().or(login.user()).unwrap_or_default();
        if database != DATABASE {
            let why = "that database does not exist".to_owned();
            let error = ErrorInfo::new("FATAL".to_owned(), "3D000".to_owned(), why);
            return Err(PgWireError::UserError(Box::new(error)));
        }
        let salt: [u8; 4] = rand::random();
        // An unknown user is asked for a password that nobody has, and learns no more than that it was wrong.
        let expected = if login.user() == Some(USER) {
            hash_md5_password(USER, PASSWORD, &salt)
        } else {
            hash_md5_password(USER, &format!("{:x}", rand::random::<u128>()), &salt)
        };
        Ok(Password::new(Some(salt.to_vec()), expected.into_bytes()))
    }
}

// === impl Server ===

impl Server {
    /// Runs a statement for `client`, whose transaction is `status` now.
    async fn run<C>(
        &self,
        client: &C,
        status: Open,
        statement: &Statement,
        format: &Format,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + Sync,
    {
        if let Some(wait) = statement.wait() {
            tokio::time::sleep(wait).await;
        }
        let text = |name| client.metadata().get(name).map(String::as_str);
        let surroundings = Surroundings {
            role: self.role,
            address: self.address,
            data: &self.data,
            user: text(METADATA_USER).unwrap_or_default(),
            database: text(METADATA_DATABASE).unwrap_or(DATABASE),
            process: client.pid_and_secret_key().0,
            now: (self.now)(),
        };
        let session = client
            .session_extensions()
            .get_or_insert_with(|| Mutex::new(Session::with_options(text("options").unwrap_or_default())));
        let mut session = session.lock().unwrap_or_else(PoisonError::into_inner);
        // A statement that did not even parse failed its transaction as well, and only the protocol layer knows.
        if status == Open::Failed {
            session.fail();
        }
        let outcome = session.run(statement, &surroundings);
        if outcome.is_err() {
            session.fail();
        }
        Ok(match outcome? {
            Outcome::Opened => Response::TransactionStart(Tag::new("BEGIN")),
            Outcome::Closed(tag) => Response::TransactionEnd(Tag::new(tag)),
            Outcome::Done(tag) => Response::Execution(Tag::new(tag)),
            Outcome::Rows(rows) => {
                let fields = Arc::new(fields(statement, format));
                let columns = Arc::clone(&fields);
                let rows = rows.into_iter().map(move |values| {
                    let mut row = BytesMut::new();
                    for (value, column) in values.iter().zip(columns.iter()) {
                        value.encode(column.datatype(), column.format(), &mut row);
                    }
                    let count = i16::try_from(values.len()).unwrap_or(i16::MAX);
                    Ok(DataRow::new(row, count))
                });
                let mut response = QueryResponse::new(fields, stream::iter(rows));
                if matches!(statement, Statement::Show { .. }) {
                    response.set_command_tag("SHOW");
                }
                Response::Query(response)
            }
        })
    }
}

/// Whether a transaction is open that has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Open {
    Sound,
    Failed,
}

impl From<TransactionStatus> for Open {
    fn from(status: TransactionStatus) -> Self {
        match status {
            TransactionStatus::Idle | TransactionStatus::Transaction => Self::Sound,
            TransactionStatus::Error => Self::Failed,
        }
    }
}

fn fields(statement: &Statement, format: &Format) -> Vec<FieldInfo> {
    let format = |at: usize| match format {
        Format::UnifiedText => FieldFormat::Text,
        Format::UnifiedBinary => FieldFormat::Binary,
        // A client may send fewer codes than there are columns, which is its mistake and not our panic.
        Format::Individual(codes) => codes.get(at).copied().map_or(FieldFormat::Text, FieldFormat::from),
    };
    let field = |(at, (name, kind))| FieldInfo::new(name, None, None, kind, format(at));
    statement.columns().into_iter().enumerate().map(field).collect()
}

impl Statement {
    /// How long the statement sleeps before it answers.
    fn wait(&self) -> Option<Duration> {
        let Self::Select(select) = self else { return None };
        select.items.iter().find_map(|item| match item.expression {
            Expression::Call(Function::Sleep { seconds }) => Duration::try_from_secs_f64(seconds).ok(),
            _ => None,
        })
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
        let mut status = Open::from(client.transaction_status());
        let statements = sql::parse(query)?;
        let mut responses = Vec::with_capacity(statements.len());
        for statement in statements {
            match self.run(client, status, &statement, &Format::UnifiedText).await {
                Ok(response) => {
                    if matches!(response, Response::TransactionEnd(_)) {
                        status = Open::Sound;
                    }
                    responses.push(response);
                }
                Err(error) => {
                    responses.push(Response::Error(Box::new(error.into())));
                    break;
                }
            }
        }
        Ok(responses)
    }
}

#[async_trait]
impl ExtendedQueryHandler for Server {
    type Statement = Statement;
    type QueryParser = OneStatement;

    fn query_parser(&self) -> Arc<OneStatement> {
        Arc::new(OneStatement)
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
        let status = Open::from(client.transaction_status());
        self.run(client, status, &portal.statement.statement, &portal.result_column_format).await
    }
}

/// The parser of the extended protocol, which takes one statement at a time.
#[derive(Debug)]
struct OneStatement;

#[async_trait]
impl QueryParser for OneStatement {
    type Statement = Statement;

    async fn parse_sql<C>(
        &self,
        client: &C,
        sql: &str,
        _types: &[Option<Type>],
    ) -> PgWireResult<Option<Statement>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let mut statements = sql::parse(sql)?;
        if statements.len() > 1 {
            let why = "cannot insert multiple commands into a prepared statement";
            return Err(Refusal::new("42601", why).into());
        }
        let statement = statements.pop();
        let failed = Open::from(client.transaction_status()) == Open::Failed;
        if failed && statement.as_ref().is_some_and(|statement| !statement.ends_transaction()) {
            let why = "current transaction is aborted, commands ignored until end of transaction block";
            return Err(Refusal::new("25P02", why).into());
        }
        Ok(statement)
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

#[cfg(test)]
mod tests;
