//! One fresh connection to PostgreSQL, by libpq's rules, with nothing spawned and nothing kept.
//!
//! The driver of the protocol lives inside [`Session`] and moves only while the caller awaits [`Driver::drive`]:
//! dropping that future drops the socket. A statement that the server is in the middle of does not notice a closed
//! socket until it writes, so a caller that gives up must also send the [`Cancel`] which it armed in a [`CancelSlot`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use rand::seq::SliceRandom as _;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::{CancelToken, Client, Connection, SimpleQueryMessage};

use self::attempt::{Plan, tls_settings};
pub use self::faults::{fault_of, reason_of_pooler, reason_of_sqlstate};
use self::stream::Connector;
pub use self::stream::{Budget, Peer, Socket, Tls};
use super::dial::Fault;
use super::dsn::{Dsn, DsnForm, Host, HostPort, TargetSessionAttrs};
use super::resolve::Resolver;
use crate::model::Reason;
use crate::secret::Secret;

mod attempt;
mod faults;
mod stream;
#[cfg(test)]
mod tests;

/// As whom to log in, where it is not what the connection string says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Login {
    /// Instead of the string's user.
    pub user: Option<String>,
    /// Instead of the string's password.
    pub password: Option<Secret>,
    /// Whether these are the exporter's own credentials: their refusal is then our blindness.
    pub ours: bool,
}

/// What does not come from the connection string.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Sent as `application_name`; `None` sends none.
    pub application_name: Option<String>,
    /// Roots beside the system's where the string names none.
    pub ca_files: Vec<PathBuf>,
}

/// How far an attempt came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Before the network: files, settings.
    Setup,
    /// Resolving the name.
    Dns,
    /// Opening the connection.
    Tcp,
    /// The TLS handshake.
    Tls,
    /// Logging in.
    Login,
    /// Asking which kind of server it is.
    Session,
}

/// How long each phase took; of the attempt that succeeded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// Resolving.
    pub dns: Duration,
    /// Opening the connection.
    pub tcp: Duration,
    /// The handshake; zero without TLS.
    pub tls: Duration,
    /// The rest until the server was ready.
    pub login: Duration,
}

/// What TLS gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// For example `TLSv1_3`.
    pub version: Option<&'static str>,
    /// The server's certificate (DER).
    pub certificate: Option<Vec<u8>>,
}

/// Why there is no session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .fault.message)]
pub struct ConnectError {
    /// The reason, whose fault it is, and the sentence.
    pub fault: Fault,
    /// How far the best attempt came.
    pub phase: Phase,
    /// Where it was connected to, if it was.
    pub peer: Option<SocketAddr>,
}

/// A logged-in connection. Use its parts side by side:
/// `session.driver.drive(session.client.batch_execute("…")).await`.
pub struct Session {
    /// Speaks the protocol; gets answers only while the driver is driven.
    pub client: Client,
    /// Moves the bytes.
    pub driver: Driver,
    /// Which of the hosts it is.
    pub host: HostPort,
    /// Where the connection ends.
    pub peer: Peer,
    /// How long it took.
    pub timings: Timings,
    /// TLS, if it is in use.
    pub tls: Option<TlsInfo>,
    /// How long the next row may be.
    pub budget: Budget,
    connector: Connector,
}

/// Moves the bytes of a session, only while it is awaited.
pub struct Driver {
    connection: Option<Pin<Box<Connection<Socket, Tls>>>>,
    broken: Option<Fault>,
}

/// Tells the server to stop what the session is doing; sent over a connection of its own to the same address.
#[derive(Clone)]
pub struct Cancel {
    token: CancelToken,
    peer: Peer,
    connector: Connector,
}

/// Where a probe leaves its [`Cancel`] so that whoever drops the probe at a deadline can still send it.
#[derive(Clone, Default)]
pub struct CancelSlot(Arc<Mutex<Option<Cancel>>>);

/// Connects by the connection string's own rules: hosts in order, every address of each, TLS as demanded, and the
/// first server that `target_session_attrs` accepts. Resolves anew.
///
/// Each host gets a fair share of the time that is left, so a silent first one does not use up the others'.
///
/// # Errors
/// [`ConnectError`] of the attempt that came furthest.
pub async fn connect(
    dsn: &Dsn,
    login: &Login,
    resolver: &Resolver,
    options: &Options,
    deadline: Instant,
) -> Result<Session, ConnectError> {
    let setup = |fault: Fault| ConnectError { fault, phase: Phase::Setup, peer: None };
    if dsn.hosts.is_empty() {
        return Err(setup(Fault::ours(Reason::Misconfigured, "the connection string names no host")));
    }
    let plan = Plan { dsn, login, options, tls: tls_settings(dsn, options).map_err(setup)? };
    let mut hosts: Vec<&HostPort> = dsn.hosts.iter().collect();
    if dsn.load_balance_hosts {
        hosts.shuffle(&mut rand::rng());
    }
    let mut worst: Option<ConnectError> = None;
    let mut second_best: Option<Session> = None;
    let count = hosts.len();
    'hosts: for (index, host) in hosts.into_iter().enumerate() {
        let host_deadline = share(deadline, count - index);
        let (peers, dns) = match timeout_at(host_deadline, peers_of(host, resolver)).await {
            Ok(Ok(found)) => found,
            Ok(Err(fault)) => {
                note(&mut worst, ConnectError { fault, phase: Phase::Dns, peer: None });
                continue;
            }
            Err(_) => {
                let fault = Fault::theirs(
                    Reason::Dns,
                    format!("{}: the name servers did not answer in time", host.host),
                );
                note(&mut worst, ConnectError { fault, phase: Phase::Dns, peer: None });
                continue;
            }
        };
        let mut peers = peers;
        if dsn.load_balance_hosts {
            peers.shuffle(&mut rand::rng());
        }
        let addresses = peers.len();
        for (at, peer) in peers.into_iter().enumerate() {
            let mut limit = share(host_deadline, addresses - at);
            if let Some(own) = dsn.connect_timeout {
                limit = limit.min(Instant::now() + own);
            }
            match plan.attempt(host, &peer, limit).await {
                Ok(mut session) => {
                    session.timings.dns = dns;
                    match timeout_at(host_deadline, session.suits(dsn.target_session_attrs)).await {
                        Ok(Ok(true)) => return Ok(session),
                        Ok(Ok(false)) => {
                            let fault = wrong_kind(dsn.target_session_attrs);
                            note(
                                &mut worst,
                                ConnectError { fault, phase: Phase::Session, peer: peer.address() },
                            );
                            // The other addresses of the name may be other servers.
                            second_best.get_or_insert(session);
                        }
                        Ok(Err(fault)) => note(
                            &mut worst,
                            ConnectError { fault, phase: Phase::Session, peer: peer.address() },
                        ),
                        Err(_) => {
                            let fault =
                                Fault::theirs(Reason::Timeout, "the server did not say in time what it is");
                            note(
                                &mut worst,
                                ConnectError { fault, phase: Phase::Session, peer: peer.address() },
                            );
                        }
                    }
                }
                Err(error) => {
                    let next = goes_on(dsn.form, &error);
                    note(&mut worst, error);
                    if !next {
                        break 'hosts;
                    }
                }
            }
        }
    }
    let preferring = matches!(
        dsn.target_session_attrs,
        TargetSessionAttrs::PreferStandby | TargetSessionAttrs::PreferPrimary
    );
    match (second_best.filter(|_| preferring), worst) {
        (Some(session), _) => Ok(session),
        (None, Some(error)) => Err(error),
        (None, None) => Err(setup(Fault::ours(Reason::Internal, "no address was tried"))),
    }
}

/// Whether the application would go on to the next server of its list.
///
/// libpq stops at one that answers and refuses, except while it starts; the Java drivers go on after anything, Npgsql
/// after anything but a refused login. Not verified against the drivers: the lab should.
fn goes_on(form: DsnForm, error: &ConnectError) -> bool {
    let silent =
        matches!(error.fault.reason, Reason::Timeout | Reason::Starting) || error.phase <= Phase::Tcp;
    match form {
        DsnForm::Url | DsnForm::KeyValue | DsnForm::Parts => silent && !error.fault.ours,
        DsnForm::Jdbc | DsnForm::R2dbc => true,
        DsnForm::Npgsql => error.fault.reason != Reason::Auth,
    }
}

/// Keeps the error that came furthest; of two, the later.
fn note(worst: &mut Option<ConnectError>, error: ConnectError) {
    if worst.as_ref().is_none_or(|known| error.phase >= known.phase) {
        *worst = Some(error);
    }
}

/// The deadline of one of `parts` attempts that are left.
fn share(deadline: Instant, parts: usize) -> Instant {
    let now = Instant::now();
    let parts = u32::try_from(parts.max(1)).unwrap_or(u32::MAX);
    now + deadline.saturating_duration_since(now) / parts
}

async fn peers_of(host: &HostPort, resolver: &Resolver) -> Result<(Vec<Peer>, Duration), Fault> {
    let begun = Instant::now();
    let tcp = |ip| Peer::Tcp(SocketAddr::new(ip, host.port()));
    let peers = match (&host.host, host.hostaddr) {
        (_, Some(ip)) => vec![tcp(ip)],
        (Host::Ip(ip), None) => vec![tcp(ip.to_canonical())],
        (Host::Name(name), None) => resolver.lookup(name).await?.into_iter().map(tcp).collect(),
        (Host::Unix(folder), None) => vec![Peer::Unix(folder.join(format!(".s.PGSQL.{}", host.port())))],
    };
    Ok((peers, begun.elapsed()))
}

fn wrong_kind(attrs: TargetSessionAttrs) -> Fault {
    let reason = match attrs {
        TargetSessionAttrs::ReadWrite | TargetSessionAttrs::Primary => Reason::ReadOnly,
        _ => Reason::Missing,
    };
    Fault::theirs(
        reason,
        format!("no server of the list is what target_session_attrs={} asks for", attrs.as_str()),
    )
}

// === impl Session ===

impl Session {
    /// The order that stops the session's running statement.
    pub fn cancel(&self) -> Cancel {
        let connector = Connector { note: Arc::default(), ..self.connector.clone() };
        Cancel { token: self.client.cancel_token(), peer: self.peer.clone(), connector }
    }

    /// Says goodbye and closes, within the limit; dropping the session closes without the word.
    pub async fn goodbye(self, limit: Duration) {
        let Self { client, driver, .. } = self;
        drop(client);
        if let Some(connection) = driver.connection {
            // Whether the server heard it does not matter: the socket is closed either way.
            let _ = timeout(limit, connection).await;
        }
    }

    /// Whether the server is what the connection string wants; libpq asks the same two things of old servers.
    async fn suits(&mut self, attrs: TargetSessionAttrs) -> Result<bool, Fault> {
        let (sql, wanted) = match attrs {
            TargetSessionAttrs::Any => return Ok(true),
            TargetSessionAttrs::ReadWrite => ("show transaction_read_only", "off"),
            TargetSessionAttrs::ReadOnly => ("show transaction_read_only", "on"),
            TargetSessionAttrs::Primary | TargetSessionAttrs::PreferPrimary => {
                ("select pg_catalog.pg_is_in_recovery()", "f")
            }
            TargetSessionAttrs::Standby | TargetSessionAttrs::PreferStandby => {
                ("select pg_catalog.pg_is_in_recovery()", "t")
            }
        };
        let Self { client, driver, .. } = self;
        let rows = driver.drive(client.simple_query(sql)).await;
        let rows = rows.map_err(|error| fault_of(&error, "ask the server what it is"))?;
        Ok(rows.iter().any(|row| matches!(row, SimpleQueryMessage::Row(row) if row.get(0) == Some(wanted))))
    }
}

// === impl Driver ===

impl Driver {
    fn new(connection: Connection<Socket, Tls>) -> Self {
        Self { connection: Some(Box::pin(connection)), broken: None }
    }

    /// Why the connection ended by itself: requests that were under way only learn that it is closed.
    pub fn broken(&self) -> Option<&Fault> {
        self.broken.as_ref()
    }

    /// Awaits the work and moves the bytes meanwhile. When the connection ends, the work's requests end with an error.
    pub async fn drive<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            let ended = self.connection.as_mut().map(|connection| connection.as_mut().poll(cx));
            if let Some(Poll::Ready(end)) = ended {
                self.connection = None;
                self.broken = end.err().map(|error| fault_of(&error, "the connection"));
            }
            work.as_mut().poll(cx)
        })
        .await
    }
}

// === impl Cancel ===

impl Cancel {
    /// Sends it to the address that the session has, with the same encryption, and waits until the server has read it.
    ///
    /// # Errors
    /// [`Fault`]; a `timeout` when the server did not take it within the limit.
    pub async fn send(self, limit: Duration) -> Result<(), Fault> {
        let Self { token, peer, connector } = self;
        let sending = async {
            let socket = peer.dial().await?;
            token
                .cancel_query_raw(socket, connector)
                .await
                .map_err(|error| fault_of(&error, "send a cancel request"))
        };
        match timeout(limit, sending).await {
            Ok(sent) => sent,
            Err(_) => Err(Fault::theirs(Reason::Timeout, "the server did not take a cancel request in time")),
        }
    }
}

// === impl CancelSlot ===

impl CancelSlot {
    /// Leaves the order; replaces an older one.
    pub fn arm(&self, cancel: Cancel) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(cancel);
    }

    /// Takes the order out: to send it after a deadline, or to forget it once the work is done.
    pub fn take(&self) -> Option<Cancel> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
