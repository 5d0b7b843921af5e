//! One fresh connection to PostgreSQL, by libpq's rules, with nothing spawned and nothing kept.
//!
//! The driver of the protocol lives inside [`Session`] and moves only while the caller awaits [`Driver::drive`]:
//! dropping that future drops the socket. A statement that the server is in the middle of does not notice a closed
//! socket until it writes, so a caller that gives up must also send the [`Cancel`] which it armed in a [`CancelSlot`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::seq::SliceRandom as _;
use rustls_pki_types::ServerName;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_postgres::config::{self, Config};
use tokio_postgres::{CancelToken, Client, Connection, SimpleQueryMessage};

pub use self::faults::{fault_of, reason_of_pooler, reason_of_sqlstate};
use self::stream::{Connector, Note};
pub use self::stream::{Peer, Socket, Tls};
use super::dial::Fault;
use super::dsn::{
    ChannelBinding, Dsn, DsnForm, Host, HostPort, RootCert, SslMode, SslNegotiation, TargetSessionAttrs,
};
use super::resolve::Resolver;
use super::tls::{Roots, TlsSettings, Verify};
use crate::model::Reason;
use crate::secret::Secret;

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
    connector: Connector,
}

/// Moves the bytes of a session, only while it is awaited.
pub struct Driver(Option<Pin<Box<Connection<Socket, Tls>>>>);

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

/// Whether a connection is encrypted, as one attempt has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encryption {
    Plain,
    IfOffered,
    Demanded,
}

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
/// libpq (`PQconnectPoll`) stops at one that answers and refuses, except while it starts; pgjdbc and r2dbc
/// (`ConnectionFactoryImpl`) go on after anything, Npgsql after anything but a refused login.
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

fn tls_settings(dsn: &Dsn, options: &Options) -> Result<Option<TlsSettings>, Fault> {
    let verify = match dsn.ssl_mode {
        SslMode::Disable => return Ok(None),
        SslMode::Allow | SslMode::Prefer | SslMode::Require => Verify::Nothing,
        SslMode::VerifyCa => Verify::Chain,
        SslMode::VerifyFull => Verify::Full,
    };
    let roots = match &dsn.ssl_root_cert {
        Some(RootCert::File(file)) => Roots::Only(file.clone()),
        Some(RootCert::System) | None => Roots::SystemAnd(options.ca_files.clone()),
    };
    let identity = match (&dsn.ssl_cert, &dsn.ssl_key) {
        (Some(certificate), Some(key)) => Some((certificate.clone(), key.clone())),
        (None, None) => None,
        _ => return Err(Fault::ours(Reason::Misconfigured, "`sslcert` and `sslkey` must be given together")),
    };
    // PostgreSQL demands this ALPN when TLS begins at once, and ignores it otherwise.
    let alpn = (dsn.ssl_negotiation == SslNegotiation::Direct).then_some("postgresql");
    Ok(Some(TlsSettings { verify, roots, identity, sni: dsn.ssl_sni, alpn }))
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

/// What stays the same over all attempts.
struct Plan<'a> {
    dsn: &'a Dsn,
    login: &'a Login,
    options: &'a Options,
    tls: Option<TlsSettings>,
}

// === impl Plan ===

impl Plan<'_> {
    /// Connects to one address, with the second try that `allow` and `prefer` have.
    async fn attempt(&self, host: &HostPort, peer: &Peer, limit: Instant) -> Result<Session, ConnectError> {
        let unix = matches!(peer, Peer::Unix(_));
        let (first, second) = match self.dsn.ssl_mode {
            _ if unix => (Encryption::Plain, None),
            SslMode::Disable => (Encryption::Plain, None),
            SslMode::Allow => (Encryption::Plain, Some(Encryption::Demanded)),
            SslMode::Prefer => (Encryption::IfOffered, Some(Encryption::Plain)),
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => (Encryption::Demanded, None),
        };
        let (error, refused) = match self.once(host, peer, first, limit).await {
            Ok(session) => return Ok(session),
            Err(failed) => failed,
        };
        // Only what another encryption can mend: `pg_hba.conf` has no line for this one, or the handshake broke.
        let mendable = refused.as_deref() == Some("28000")
            || (error.phase == Phase::Tls && error.fault.reason != Reason::Timeout);
        match second.filter(|_| mendable) {
            Some(second) => {
                self.once(host, peer, second, limit).await.map_err(|(later, _)| match error.phase {
                    // The first answer is the telling one when the second try is turned away for its encryption.
                    Phase::Login if later.phase == Phase::Login => error,
                    _ => later,
                })
            }
            None => Err(error),
        }
    }

    /// One connection. The error carries the SQLSTATE of a refused login.
    async fn once(
        &self,
        host: &HostPort,
        peer: &Peer,
        encryption: Encryption,
        limit: Instant,
    ) -> Result<Session, (ConnectError, Option<String>)> {
        let fail = |fault: Fault, phase: Phase, peer: Option<SocketAddr>| {
            (ConnectError { fault, phase, peer }, None)
        };
        let late = |what: &str| {
            Fault::theirs(Reason::Timeout, format!("{host}: {what} took longer than its share of the time"))
        };
        let connector = self.connector(host, encryption).map_err(|fault| fail(fault, Phase::Setup, None))?;
        let begun = Instant::now();
        let socket = match timeout_at(limit, peer.dial()).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(fault)) => return Err(fail(fault, Phase::Tcp, None)),
            Err(_) => return Err(fail(late("opening the connection"), Phase::Tcp, None)),
        };
        let tcp = begun.elapsed();
        let begun = Instant::now();
        let config = self.config(encryption);
        let raw = config.connect_raw(socket, connector.clone());
        let connected = timeout_at(limit, raw).await;
        let Note { took, fault, version, certificate } = connector.noted();
        match connected {
            Ok(Ok((client, connection))) => {
                let tls_took = took.unwrap_or_default();
                let login = begun.elapsed().saturating_sub(tls_took);
                let timings = Timings { dns: Duration::ZERO, tcp, tls: tls_took, login };
                let tls = took.map(|_| TlsInfo { version, certificate });
                let driver = Driver(Some(Box::pin(connection)));
                Ok(Session {
                    client,
                    driver,
                    host: host.clone(),
                    peer: peer.clone(),
                    timings,
                    tls,
                    connector,
                })
            }
            Ok(Err(error)) => {
                let phase = match (&fault, error.as_db_error().is_some()) {
                    (Some(_), _) => Phase::Tls,
                    (None, true) => Phase::Login,
                    (None, false) if error.to_string() == "error performing TLS handshake" => Phase::Tls,
                    (None, false) => Phase::Login,
                };
                let mut fault = fault.unwrap_or_else(|| fault_of(&error, &format!("log in to {host}")));
                // DESIGN section 10: the refusal of our own credentials is our blindness.
                fault.ours |= self.login.ours && matches!(fault.reason, Reason::Auth | Reason::Permission);
                let code = error.code().map(|code| code.code().to_owned());
                Err((ConnectError { fault, phase, peer: peer.address() }, code))
            }
            Err(_) => Err(fail(late("logging in"), Phase::Login, peer.address())),
        }
    }

    fn connector(&self, host: &HostPort, encryption: Encryption) -> Result<Connector, Fault> {
        let bind = self.dsn.channel_binding != ChannelBinding::Disable;
        let empty = Connector { config: None, name: None, bind, note: Arc::default() };
        let Some(settings) = self.tls.as_ref().filter(|_| encryption != Encryption::Plain) else {
            return Ok(empty);
        };
        let name = match &host.host {
            Host::Ip(ip) => ServerName::from(*ip),
            Host::Name(name) => {
                ServerName::try_from(name.trim_end_matches('.').to_owned()).map_err(|_| {
                    Fault::theirs(Reason::Tls, format!("{name} cannot be the name of a certificate"))
                })?
            }
            Host::Unix(_) => return Ok(empty),
        };
        Ok(Connector { config: Some(settings.build()?), name: Some(name), ..empty })
    }

    fn config(&self, encryption: Encryption) -> Config {
        let mut config = Config::new();
        // An unset user would be that of the exporter's process; the server refuses an empty one.
        config.user(self.login.user.as_deref().or(self.dsn.user.as_deref()).unwrap_or_default());
        if let Some(password) = self.login.password.as_ref().or(self.dsn.password.as_ref()) {
            config.password(password.expose());
        }
        if let Some(database) = self.dsn.database.as_deref().or(self.dsn.user.as_deref()) {
            config.dbname(database);
        }
        if let Some(name) = &self.options.application_name {
            config.application_name(name);
        }
        config.ssl_mode(match encryption {
            Encryption::Plain => config::SslMode::Disable,
            Encryption::IfOffered => config::SslMode::Prefer,
            Encryption::Demanded => config::SslMode::Require,
        });
        config.channel_binding(match self.dsn.channel_binding {
            ChannelBinding::Disable => config::ChannelBinding::Disable,
            ChannelBinding::Prefer => config::ChannelBinding::Prefer,
            ChannelBinding::Require => config::ChannelBinding::Require,
        });
        config.ssl_negotiation(match self.dsn.ssl_negotiation {
            SslNegotiation::Postgres => config::SslNegotiation::Postgres,
            SslNegotiation::Direct => config::SslNegotiation::Direct,
        });
        config
    }
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
        if let Driver(Some(connection)) = driver {
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
    /// Awaits the work and moves the bytes meanwhile. When the connection ends, the work's requests end with an error.
    pub async fn drive<F: Future>(&mut self, work: F) -> F::Output {
        let mut work = pin!(work);
        std::future::poll_fn(|cx| {
            if self.0.as_mut().is_some_and(|connection| connection.as_mut().poll(cx).is_ready()) {
                self.0 = None;
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
