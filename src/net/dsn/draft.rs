//! Settings collected one by one, checked as a whole at the end.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::keys::{self, Key};
use super::words::{boolean, host, port, split_port, ssl_mode, target};
use super::{
    ChannelBinding, Dsn, DsnError, DsnForm, Host, HostPort, Pem, RootCert, SslMode, SslNegotiation,
    TargetSessionAttrs,
};
use crate::secret::Secret;

/// What is known so far. Lists are kept as libpq keeps them: hosts, addresses and ports side by side.
pub(super) struct Draft {
    dsn: Dsn,
    /// `+driver` schemes, whose `host` may hold ports and may be repeated.
    pub(super) decorated: bool,
    /// Each with the port that stands beside it, in the forms that allow `host=h:5433`.
    hosts: Vec<(String, Option<u16>)>,
    addresses: Vec<IpAddr>,
    ports: Vec<Option<u16>>,
    mode: Option<SslMode>,
    ssl: Option<SslMode>,
    no_verify: bool,
    trust: bool,
    strict: Option<bool>,
    passfile: bool,
    /// The keys that were set by name, to refuse the second one.
    seen: Vec<Key>,
    last: Option<Key>,
    /// How many settings were given by name.
    settings: usize,
}

// === impl Draft ===

impl Draft {
    pub(super) fn new(form: DsnForm) -> Self {
        let dsn = Dsn {
            form,
            hosts: Vec::new(),
            port: None,
            database: None,
            user: None,
            password: None,
            ssl_mode: SslMode::Prefer,
            ssl_root_cert: None,
            ssl_cert: None,
            ssl_key: None,
            ssl_negotiation: SslNegotiation::Postgres,
            ssl_sni: true,
            channel_binding: ChannelBinding::Prefer,
            target_session_attrs: TargetSessionAttrs::Any,
            load_balance_hosts: false,
            connect_timeout: None,
            application_name: None,
            search_path: None,
            ignored: Vec::new(),
        };
        Self {
            dsn,
            decorated: false,
            hosts: Vec::new(),
            addresses: Vec::new(),
            ports: Vec::new(),
            mode: None,
            ssl: None,
            no_verify: false,
            trust: false,
            strict: None,
            passfile: false,
            seen: Vec::new(),
            last: None,
            settings: 0,
        }
    }

    /// Takes a setting under the name that its form gives it.
    pub(super) fn set_named(&mut self, name: &str, value: &str) -> Result<(), DsnError> {
        self.settings += 1;
        let Some(key) = keys::key(self.dsn.form, self.decorated, name) else {
            // The name is never repeated: it may be a piece of a password with a separator in it.
            let hint = if self.last == Some(Key::Password) {
                "; it follows the password: quote or percent-encode that"
            } else {
                ""
            };
            let words = format!("setting {} has a name that is not known in this form{hint}", self.settings);
            return Err(DsnError::new(words));
        };
        let repeatable = key == Key::Host && self.decorated;
        if self.seen.contains(&key) && !repeatable && !matches!(key, Key::Ignored | Key::MustBeOff) {
            return Err(DsnError::new(format!("`{name}` is given twice")));
        }
        // The first `host=` of the query replaces the host before the path; a second one is added to it.
        if key == Key::Host && !self.seen.contains(&key) {
            self.hosts.clear();
        }
        self.set(key, name, value)?;
        self.seen.push(key);
        self.last = Some(key);
        Ok(())
    }

    /// Takes a setting; `name` is for messages only.
    pub(super) fn set(&mut self, key: Key, name: &str, value: &str) -> Result<(), DsnError> {
        let bad = |hint: &str| Err(DsnError::new(format!("the value of `{name}` is not understood{hint}")));
        let text = || Some(value.to_owned()).filter(|value| !value.is_empty());
        match key {
            Key::Host => self.add_hosts(value)?,
            Key::HostAddr if value.is_empty() => {}
            Key::HostAddr => {
                for part in value.split(',') {
                    match part.trim().parse() {
                        Ok(ip) => self.addresses.push(ip),
                        Err(_) => return bad(": it must be numeric addresses"),
                    }
                }
            }
            Key::Port if value.is_empty() => {}
            Key::Port => {
                let parts = value.split(',').map(str::trim);
                let parsed =
                    parts.map(|part| if part.is_empty() { Ok(None) } else { port(part, name).map(Some) });
                self.ports = parsed.collect::<Result<_, _>>()?;
            }
            Key::Database => self.dsn.database = text(),
            Key::User => self.dsn.user = text(),
            Key::Password => self.dsn.password = text().map(Secret::new),
            Key::SslMode if value.is_empty() => {}
            Key::SslMode if value == "no-verify" && self.dsn.form == DsnForm::Url => self.no_verify = true,
            Key::SslMode => match ssl_mode(self.dsn.form, value) {
                Some(mode) => self.mode = Some(mode),
                None => return bad(""),
            },
            Key::Ssl => self.ssl = Some(self.switch(name, value)?),
            Key::SslRootCert => {
                self.dsn.ssl_root_cert = text().map(|value| match value.as_str() {
                    "system" => RootCert::System,
                    _ => RootCert::Pem(Pem::File(PathBuf::from(value))),
                });
            }
            Key::ClientCert => self.dsn.ssl_cert = text().map(|path| Pem::File(PathBuf::from(path))),
            Key::ClientPrivate => self.dsn.ssl_key = text().map(|path| Pem::File(PathBuf::from(path))),
            Key::SslSni => self.dsn.ssl_sni = boolean(name, value)?,
            Key::SslNegotiation => match value.to_ascii_lowercase().as_str() {
                "postgres" | "" => self.dsn.ssl_negotiation = SslNegotiation::Postgres,
                "direct" => self.dsn.ssl_negotiation = SslNegotiation::Direct,
                _ => return bad(""),
            },
            // rustls speaks 1.2 and 1.3 only, so these bounds hold by themselves.
            Key::SslMinVersion if matches!(value, "" | "TLSv1" | "TLSv1.1" | "TLSv1.2") => self.ignore(name),
            Key::SslMaxVersion if matches!(value, "" | "TLSv1.3") => self.ignore(name),
            Key::SslMinVersion | Key::SslMaxVersion => return bad(": this bound is not supported"),
            Key::SslAccept => match value {
                "strict" => self.strict = Some(true),
                "accept_invalid_certs" => self.strict = Some(false),
                _ => return bad(""),
            },
            Key::SslFactory => match value {
                "org.postgresql.ssl.NonValidatingFactory" => self.no_verify = true,
                "org.postgresql.ssl.DefaultJavaSSLFactory" => self.dsn.ssl_root_cert = Some(RootCert::System),
                "org.postgresql.ssl.LibPQFactory" | "org.postgresql.ssl.jdbc4.LibPQFactory" => {}
                _ => return bad(": another class decides how TLS is done"),
            },
            Key::TrustServerCertificate => self.trust = boolean(name, value)?,
            Key::ChannelBinding => match value.to_ascii_lowercase().as_str() {
                "disable" => self.dsn.channel_binding = ChannelBinding::Disable,
                "prefer" | "" => self.dsn.channel_binding = ChannelBinding::Prefer,
                "require" => self.dsn.channel_binding = ChannelBinding::Require,
                _ => return bad(""),
            },
            Key::TargetSessionAttrs if value.is_empty() => {}
            Key::TargetSessionAttrs => match target(self.dsn.form, value) {
                Some(attrs) => self.dsn.target_session_attrs = attrs,
                None => return bad(""),
            },
            Key::LoadBalanceHosts => {
                self.dsn.load_balance_hosts = match value {
                    "random" => true,
                    "disable" => false,
                    _ => boolean(name, value)?,
                }
            }
            Key::ConnectTimeout if value.is_empty() => {}
            Key::ConnectTimeout => match value.trim().parse::<i64>() {
                // Zero and less mean no limit.
                Ok(seconds) => {
                    let positive = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
                    self.dsn.connect_timeout = positive.map(Duration::from_secs);
                }
                Err(_) => return bad(": it must be whole seconds"),
            },
            Key::ApplicationName => self.dsn.application_name = text(),
            Key::SearchPath => self.dsn.search_path = text(),
            Key::Options => self.options(name, value)?,
            Key::MustBeOff => match boolean(name, value) {
                Ok(false) => self.ignore(name),
                _ => return Err(DsnError::new(format!("`{name}` is on, which is not supported"))),
            },
            Key::GssEncMode => match value.to_ascii_lowercase().as_str() {
                "disable" | "prefer" | "allow" | "" => self.ignore(name),
                _ => return bad(": GSS encryption is not supported"),
            },
            Key::PassFile => {
                self.passfile = true;
                self.ignore(name);
            }
            Key::Ignored => self.ignore(name),
            Key::Unsupported => {
                return Err(DsnError::new(format!("`{name}` changes how one connects and is not supported")));
            }
        }
        Ok(())
    }

    /// Adds one host and port as they stand before a URL's path.
    pub(super) fn push_host(&mut self, host: String, port: Option<u16>) {
        self.hosts.push((host, None));
        self.ports.push(port);
    }

    fn ignore(&mut self, name: &str) {
        if !self.dsn.ignored.iter().any(|known| known == name) {
            self.dsn.ignored.push(name.to_owned());
        }
    }

    fn add_hosts(&mut self, value: &str) -> Result<(), DsnError> {
        let with_ports =
            self.decorated || matches!(self.dsn.form, DsnForm::Npgsql | DsnForm::Jdbc | DsnForm::R2dbc);
        for part in value.split(',').map(str::trim) {
            let (host, port) =
                if with_ports && !part.starts_with('/') { split_port(part)? } else { (part, None) };
            self.hosts.push((host.to_owned(), port));
        }
        Ok(())
    }

    /// `-c name=value` and `--name=value`: only settings of the session. Proxies read a routing out of anything else.
    fn options(&mut self, name: &str, value: &str) -> Result<(), DsnError> {
        let mut words = value.split_whitespace();
        while let Some(word) = words.next() {
            let setting = match word.strip_prefix("-c") {
                Some("") => words.next(),
                Some(joined) => Some(joined),
                None => word.strip_prefix("--"),
            };
            match setting.and_then(|setting| setting.split_once('=')) {
                Some(("search_path", path)) => self.dsn.search_path = Some(path.to_owned()),
                Some(("cluster" | "project" | "endpoint" | "role" | "session_authorization", _)) | None => {
                    return Err(DsnError::new(format!("`{name}` holds more than settings of the session")));
                }
                Some(_) => {}
            }
        }
        self.ignore(name);
        Ok(())
    }

    /// `ssl=…`: a switch, and for some drivers a mode.
    fn switch(&mut self, name: &str, value: &str) -> Result<SslMode, DsnError> {
        let on = match (self.dsn.form, value) {
            // pgjdbc, `SslMode.of`: present and empty is on.
            (DsnForm::Jdbc, "") => true,
            (DsnForm::Url, "no-verify") => {
                self.no_verify = true;
                true
            }
            (DsnForm::Url, _) => match ssl_mode(DsnForm::Url, value) {
                Some(mode) => return Ok(mode),
                None => boolean(name, value)?,
            },
            _ => boolean(name, value)?,
        };
        Ok(match (self.dsn.form, on) {
            (DsnForm::Jdbc | DsnForm::R2dbc, true) => SslMode::VerifyFull,
            (DsnForm::Jdbc, false) => SslMode::Prefer,
            (_, true) => SslMode::Require,
            (_, false) => SslMode::Disable,
        })
    }

    /// Checks what only the whole can tell.
    pub(super) fn finish(mut self) -> Result<Dsn, DsnError> {
        self.finish_hosts()?;
        self.finish_ssl()?;
        if self.passfile && self.dsn.password.is_none() {
            return Err(DsnError::new("`passfile` is not read: give the password itself"));
        }
        Ok(self.dsn)
    }

    fn finish_hosts(&mut self) -> Result<(), DsnError> {
        let only_empty = self.hosts.iter().all(|(host, _)| host.is_empty());
        if only_empty && self.hosts.len() < 2 {
            self.hosts.clear();
        }
        let count = self.hosts.len().max(self.addresses.len());
        if !self.addresses.is_empty() && !self.hosts.is_empty() && self.addresses.len() != self.hosts.len() {
            return Err(DsnError::new("`host` and `hostaddr` do not have the same number of entries"));
        }
        if count == 0 && self.dsn.form == DsnForm::Jdbc {
            // pgjdbc documents `localhost` for a missing host.
            self.hosts.push(("localhost".to_owned(), None));
        }
        let count = count.max(self.hosts.len());
        match (count, self.ports.as_slice()) {
            (0, [] | [None]) => {}
            (0, [port]) => self.dsn.port = *port,
            (0, _) => return Err(DsnError::new("there are several ports and no host")),
            (_, ports) if ports.len() <= 1 || ports.len() == count => {}
            _ => return Err(DsnError::new("the number of ports is not that of the hosts")),
        }
        for index in 0..count {
            let hostaddr = self.addresses.get(index).copied();
            let host = match (self.hosts.get(index).map(|(host, _)| host.as_str()), hostaddr) {
                (None | Some(""), Some(ip)) => Host::Ip(ip),
                (None | Some(""), None) => {
                    return Err(DsnError::new(format!("host {} of the list is empty", index + 1)));
                }
                (Some(text), _) => host(text).ok_or_else(|| {
                    DsnError::new(format!("host {} of the list is not a name or an address", index + 1))
                })?,
            };
            let listed = match self.ports.as_slice() {
                [shared] => *shared,
                each => each.get(index).copied().flatten(),
            };
            let port = self.hosts.get(index).and_then(|(_, own)| *own).or(listed);
            self.dsn.hosts.push(HostPort { host, hostaddr, port });
        }
        Ok(())
    }

    fn finish_ssl(&mut self) -> Result<(), DsnError> {
        let form = self.dsn.form;
        let mut mode = match (self.mode, self.ssl) {
            (Some(SslMode::Disable), Some(ssl)) if ssl >= SslMode::Require && form == DsnForm::Url => {
                return Err(DsnError::new("`ssl` and `sslmode` contradict each other"));
            }
            (Some(mode), Some(SslMode::Disable)) if mode >= SslMode::Require && form == DsnForm::Url => {
                return Err(DsnError::new("`ssl` and `sslmode` contradict each other"));
            }
            (Some(mode), _) => mode,
            (None, Some(ssl)) => ssl,
            (None, None) if form == DsnForm::R2dbc => SslMode::Disable,
            (None, None) if self.dsn.ssl_root_cert == Some(RootCert::System) && form != DsnForm::Jdbc => {
                // PostgreSQL 17 manual 34.1.2, sslrootcert: `system` makes verify-full the default.
                SslMode::VerifyFull
            }
            (None, None) => SslMode::Prefer,
        };
        if let Some(strict) = self.strict {
            // Prisma: `sslcert` is what others call `sslrootcert`.
            let root = self.dsn.ssl_cert.take().map(RootCert::Pem);
            self.dsn.ssl_root_cert = self.dsn.ssl_root_cert.take().or(root);
            match (mode, strict) {
                (SslMode::Disable, _) => {}
                (_, true) => mode = SslMode::VerifyFull,
                (_, false) => self.no_verify = true,
            }
        }
        if self.trust && mode >= SslMode::VerifyCa {
            return Err(DsnError::new("`Trust Server Certificate` contradicts the SSL mode"));
        }
        if self.no_verify {
            if mode != SslMode::Disable {
                mode = mode.clamp(SslMode::Allow, SslMode::Require);
            }
            if self.mode.is_none() && self.ssl.is_none() && self.strict.is_none() {
                mode = SslMode::Require;
            }
            self.dsn.ssl_root_cert = None;
        }
        self.dsn.ssl_mode = mode;
        self.dsn.settle_root_cert()?;
        if self.dsn.ssl_negotiation == SslNegotiation::Direct && self.dsn.ssl_mode < SslMode::Require {
            return Err(DsnError::new("direct TLS needs at least sslmode `require`"));
        }
        Ok(())
    }
}

// === impl Dsn ===

impl Dsn {
    /// Gives a root certificate to a connection string that has none, with the effect that its own would have had.
    pub fn with_root_cert(mut self, file: PathBuf) -> Self {
        if self.ssl_root_cert.is_none() {
            self.ssl_root_cert = Some(RootCert::Pem(Pem::File(file)));
            // Only `system` can be refused.
            let _ = self.settle_root_cert();
        }
        self
    }

    /// Makes the mode say all: afterwards `require` and less verify nothing and a root certificate is only there to be used.
    fn settle_root_cert(&mut self) -> Result<(), DsnError> {
        let libpq = matches!(self.form, DsnForm::Url | DsnForm::KeyValue | DsnForm::Parts);
        match (&self.ssl_root_cert, self.ssl_mode) {
            (Some(RootCert::System), mode) if libpq && mode < SslMode::VerifyFull => {
                return Err(DsnError::new("`sslrootcert=system` needs sslmode `verify-full`"));
            }
            // PostgreSQL 17 manual 34.19.1: with a root file, `require` behaves like `verify-ca`.
            (Some(RootCert::Pem(_)), SslMode::Require) if libpq => self.ssl_mode = SslMode::VerifyCa,
            (Some(_), mode) if mode < SslMode::VerifyCa => self.ssl_root_cert = None,
            _ => {}
        }
        Ok(())
    }
}
