//! Database connection strings as applications write them, parsed into one struct. Pure.
//!
//! What cannot be understood is an error, never a guess: the error names the key or the offset and never a value,
//! because any part of a malformed string may be a piece of a password. Forms and sources of their rules:
//! URL and key=value: PostgreSQL 17 manual 34.1.1 and 34.1.2; JDBC: pgjdbc "Connecting to the Database";
//! R2DBC: r2dbc-postgresql README; .NET: Npgsql "Connection String Parameters"; decorated schemes: SQLAlchemy 2.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::secret::Secret;

mod draft;
mod keys;
mod pairs;
#[cfg(test)]
mod tests;
mod uri;
mod words;

/// PostgreSQL's port where none is given.
pub const DEFAULT_PORT: u16 = 5432;

/// The way a connection string is written, which decides what its defaults mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DsnForm {
    /// `postgres://…` or `postgresql://…`, also with a driver (`postgresql+asyncpg://…`).
    Url,
    /// `host=… dbname=…`.
    KeyValue,
    /// `jdbc:postgresql://…`.
    Jdbc,
    /// `r2dbc:postgresql://…`.
    R2dbc,
    /// `Host=…;Database=…` of .NET.
    Npgsql,
    /// Put together from single values (`PGHOST`, `DB_HOST`, …).
    Parts,
}

/// Where an application connects, as whom and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Dsn {
    /// How it was written.
    pub form: DsnForm,
    /// In the order to try; empty when the string names none, and then [`Dsn::with_siblings`] may fill it.
    pub hosts: Vec<HostPort>,
    /// A port given without any host; used by [`Dsn::with_siblings`].
    pub port: Option<u16>,
    /// The database; `None` means the user's name, as the server decides.
    pub database: Option<String>,
    /// The role to log in as.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// What is demanded of TLS.
    pub ssl_mode: SslMode,
    /// What certificates are checked against; `None` leaves it to the caller's roots.
    pub ssl_root_cert: Option<RootCert>,
    /// A client certificate (PEM).
    pub ssl_cert: Option<Pem>,
    /// Its key (PEM or PKCS#8 DER).
    pub ssl_key: Option<Pem>,
    /// How TLS begins.
    pub ssl_negotiation: SslNegotiation,
    /// Whether the host name is sent in the TLS handshake.
    pub ssl_sni: bool,
    /// Whether the login must be bound to the TLS channel.
    pub channel_binding: ChannelBinding,
    /// Which of several servers will do.
    pub target_session_attrs: TargetSessionAttrs,
    /// Whether the hosts are tried in random order.
    pub load_balance_hosts: bool,
    /// The limit of one connection attempt.
    pub connect_timeout: Option<Duration>,
    /// The name that the application gives itself.
    pub application_name: Option<String>,
    /// The schemas that the application's queries look in.
    pub search_path: Option<String>,
    /// Names (never values) of keys that do not change where and how one connects.
    pub ignored: Vec<String>,
}

/// One server to try.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// Where it is; also the name that its certificate must carry.
    pub host: Host,
    /// The address to dial instead of resolving the host (`hostaddr`).
    pub hostaddr: Option<IpAddr>,
    /// The port, if it is given.
    pub port: Option<u16>,
}

/// A name, an address or a folder.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// To be resolved.
    Name(String),
    /// A literal.
    Ip(IpAddr),
    /// The folder of a Unix socket, or its name in Linux' abstract namespace (`@…`).
    Unix(PathBuf),
}

/// libpq's `sslmode`; PostgreSQL 17 manual, table 34.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// First without, then with.
    Allow,
    /// First with, then without.
    Prefer,
    /// TLS, whoever answers; with a root certificate of libpq's forms it is the same as `VerifyCa`.
    Require,
    /// A chain to a trusted root.
    VerifyCa,
    /// That, and the host's name in the certificate.
    VerifyFull,
}

/// What certificates are checked against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootCert {
    /// These.
    Pem(Pem),
    /// The roots of the operating system.
    System,
}

/// Certificates or a key, in a file or as they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pem {
    /// A file; of a workload: a path in its container.
    File(PathBuf),
    /// The text itself, read from a ConfigMap or a Secret.
    Text {
        /// The text.
        text: Secret,
        /// Where it was read, for people.
        from: String,
    },
}

/// How TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SslNegotiation {
    /// After PostgreSQL's SSLRequest.
    Postgres,
    /// At once, with ALPN `postgresql` (PostgreSQL 17).
    Direct,
}

/// libpq's `channel_binding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// Where the server can.
    Prefer,
    /// Always.
    Require,
}

/// Which of several servers will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetSessionAttrs {
    /// The first that lets us in.
    Any,
    /// One whose sessions can write.
    ReadWrite,
    /// One whose sessions cannot.
    ReadOnly,
    /// One that is not in recovery.
    Primary,
    /// One that is in recovery.
    Standby,
    /// One that is in recovery, else any.
    PreferStandby,
    /// One that is not in recovery, else any (drivers, not libpq).
    PreferPrimary,
}

/// Single values beside a connection string, as environment variables hold them; unset ones are `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Siblings {
    /// A host, or several with commas.
    pub host: Option<String>,
    /// A port, or as many as hosts.
    pub port: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// The database.
    pub database: Option<String>,
    /// Anything else in libpq's names (`sslmode`, `sslrootcert`, `target_session_attrs`, …); only for [`Dsn::from_parts`].
    pub others: Vec<(String, String)>,
}

/// Why a connection string is not understood; names keys and offsets, never values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DsnError(String);

// === impl Dsn ===

impl Dsn {
    /// Reads a connection string of any known form.
    ///
    /// # Errors
    /// One sentence without any value of the string.
    pub fn parse(text: &str) -> Result<Self, DsnError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(DsnError::new("the connection string is empty"));
        }
        // libpq cannot carry it, and a form that could would mean something else by it.
        if text.contains('\0') {
            return Err(DsnError::new("the connection string holds a NUL character"));
        }
        match uri::Scheme::of(text)? {
            Some(scheme) => uri::parse(text, &scheme),
            None => pairs::parse(text),
        }
    }

    /// Puts a connection together from single values, by libpq's rules and defaults.
    ///
    /// # Errors
    /// As [`Dsn::parse`].
    pub fn from_parts(parts: &Siblings) -> Result<Self, DsnError> {
        let Siblings { host, port, user, password, database, others } = parts;
        let mut draft = draft::Draft::new(DsnForm::Parts);
        for (name, value) in others {
            draft.set_named(name, value)?;
        }
        let single = [
            (keys::Key::Host, "host", host.as_deref()),
            (keys::Key::Port, "port", port.as_deref()),
            (keys::Key::User, "user", user.as_deref()),
            (keys::Key::Password, "password", password.as_ref().map(Secret::expose)),
            (keys::Key::Database, "dbname", database.as_deref()),
        ];
        for (key, name, value) in single {
            if let Some(value) = value {
                draft.set(key, name, value)?;
            }
        }
        draft.finish()
    }

    /// Fills what the connection string lacks from its siblings; what it says itself wins.
    ///
    /// A sibling's port is taken only for hosts that give none. `others` is not looked at.
    ///
    /// # Errors
    /// When a sibling that is needed cannot be understood.
    pub fn with_siblings(mut self, siblings: &Siblings) -> Result<Self, DsnError> {
        let Siblings { host, port, user, password, database, others: _ } = siblings;
        let portless = self.hosts.iter().any(|host| host.port.is_none());
        if self.hosts.is_empty() {
            let own_port = self.port.map(|port| port.to_string());
            let port = own_port.as_ref().or(port.as_ref()).cloned();
            let filled = Self::from_parts(&Siblings { host: host.clone(), port, ..Siblings::default() })?;
            self.hosts = filled.hosts;
            self.port = filled.port;
        } else if let Some(port) = port.as_deref().filter(|port| portless && !port.trim().is_empty()) {
            let port = words::port(port.trim(), "port")?;
            for host in self.hosts.iter_mut().filter(|host| host.port.is_none()) {
                host.port = Some(port);
            }
        }
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        self.user = self.user.or_else(|| given(user));
        self.database = self.database.or_else(|| given(database));
        self.password = self.password.or_else(|| password.clone());
        Ok(self)
    }

    /// A text that is the same for two strings that lead to the same place as the same user, over versions and
    /// hosts: 16 hexadecimal digits of FNV-1a. Holds neither the password nor how TLS is done.
    pub fn fingerprint(&self) -> String {
        let mut parts: Vec<String> = Vec::new();
        for HostPort { host, hostaddr, port } in &self.hosts {
            parts.push(match host {
                Host::Name(name) => name.trim_end_matches('.').to_ascii_lowercase(),
                Host::Ip(ip) => ip.to_canonical().to_string(),
                Host::Unix(path) => path.display().to_string(),
            });
            parts.push(hostaddr.map(|ip| ip.to_canonical().to_string()).unwrap_or_default());
            parts.push(port.unwrap_or(DEFAULT_PORT).to_string());
        }
        let user = self.user.as_deref().unwrap_or_default();
        parts.push(self.database.as_deref().unwrap_or(user).to_owned());
        parts.push(user.to_owned());
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        // NUL cannot occur in a part, so it separates them.
        for byte in parts.join("\0").bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        format!("{hash:016x}")
    }
}

/// The place and the user as a URL, without the password; for people, not for parsing.
impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgres://")?;
        if let Some(user) = &self.user {
            write!(f, "{}@", encoded(user))?;
        }
        for (index, host) in self.hosts.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{host}")?;
        }
        if let Some(database) = &self.database {
            write!(f, "/{}", encoded(database))?;
        }
        write!(f, "?sslmode={}", self.ssl_mode.as_str())?;
        match self.target_session_attrs {
            TargetSessionAttrs::Any => Ok(()),
            attrs => write!(f, "&target_session_attrs={}", attrs.as_str()),
        }
    }
}

// === impl HostPort ===

impl HostPort {
    /// The port to dial.
    pub fn port(&self) -> u16 {
        self.port.unwrap_or(DEFAULT_PORT)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port())
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Unix(path) => write!(f, "{}", encoded(&path.display().to_string())),
        }
    }
}

// === impl SslMode, TargetSessionAttrs ===

impl SslMode {
    /// libpq's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Allow => "allow",
            Self::Prefer => "prefer",
            Self::Require => "require",
            Self::VerifyCa => "verify-ca",
            Self::VerifyFull => "verify-full",
        }
    }
}

impl TargetSessionAttrs {
    /// libpq's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::PreferStandby => "prefer-standby",
            Self::PreferPrimary => "prefer-primary",
        }
    }
}

// === impl DsnError ===

impl DsnError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Everything but letters, digits and the unreserved marks of RFC 3986 section 2.3.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn encoded(text: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(text, RESERVED)
}
