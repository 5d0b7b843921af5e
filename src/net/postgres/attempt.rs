//! One attempt: one address, dialled, encrypted and logged in to, with the second try of `allow` and `prefer`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::{self, Config};

use super::faults::fault_of;
use super::stream::{Connector, Note, Peer};
use super::{ConnectError, Driver, Login, Options, Phase, Session, Timings, TlsInfo};
use crate::model::Reason;
use crate::net::dial::Fault;
use crate::net::dsn::{ChannelBinding, Dsn, Host, HostPort, RootCert, SslMode, SslNegotiation};
use crate::net::tls::{Roots, TlsSettings, Verify};

/// What stays the same over all attempts.
pub(super) struct Plan<'a> {
    pub(super) dsn: &'a Dsn,
    pub(super) login: &'a Login,
    pub(super) options: &'a Options,
    pub(super) tls: Option<TlsSettings>,
}

/// Whether a connection is encrypted, as one attempt has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encryption {
    Plain,
    IfOffered,
    Demanded,
}

// === impl Plan ===

impl Plan<'_> {
    /// Connects to one address, with the second try that `allow` and `prefer` have.
    pub(super) async fn attempt(
        &self,
        host: &HostPort,
        peer: &Peer,
        limit: Instant,
    ) -> Result<Session, ConnectError> {
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
        let budget = socket.budget.clone();
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
                let driver = Driver::new(connection);
                Ok(Session {
                    client,
                    driver,
                    host: host.clone(),
                    peer: peer.clone(),
                    timings,
                    tls,
                    budget,
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

/// What the connection string demands of TLS; `None` is never.
pub(super) fn tls_settings(dsn: &Dsn, options: &Options) -> Result<Option<TlsSettings>, Fault> {
    let verify = match dsn.ssl_mode {
        SslMode::Disable => return Ok(None),
        SslMode::Allow | SslMode::Prefer | SslMode::Require => Verify::Nothing,
        SslMode::VerifyCa => Verify::Chain,
        SslMode::VerifyFull => Verify::Full,
    };
    let roots = match &dsn.ssl_root_cert {
        Some(RootCert::Pem(pem)) => Roots::Only(pem.clone()),
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
