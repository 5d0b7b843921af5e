//! Forms with a scheme: URL, JDBC, R2DBC.

use percent_encoding::percent_decode_str;

use super::draft::Draft;
use super::keys::Key;
use super::words::split_port;
use super::{Dsn, DsnError, DsnForm};

/// What stands before the host.
pub(super) struct Scheme {
    form: DsnForm,
    /// A driver is named, or the scheme is one of Python's.
    decorated: bool,
    /// The scheme itself demands TLS (`r2dbcs:`).
    tls: bool,
    /// Where the rest begins, at the `//` if there is one.
    rest: usize,
}

/// Other products' schemes; only these are named in an error, since a piece of a password may look like a scheme.
const FOREIGN: &[&str] = &[
    "mysql",
    "mysql2",
    "mariadb",
    "mongodb",
    "redis",
    "rediss",
    "sqlite",
    "sqlserver",
    "mssql",
    "oracle",
    "http",
    "https",
    "amqp",
    "ecto",
    "cockroachdb",
    "cockroach",
    "clickhouse",
    "kafka",
    "file",
];

// === impl Scheme ===

impl Scheme {
    /// The scheme, `None` when there is none at all, an error when it is not ours.
    pub(super) fn of(text: &str) -> Result<Option<Self>, DsnError> {
        let lower = text.to_ascii_lowercase();
        if let Some(after) = lower.strip_prefix("jdbc:") {
            let wrappers = ["aws-wrapper:", "p6spy:", "otel:"];
            let bare = wrappers.iter().find_map(|wrapper| after.strip_prefix(wrapper)).unwrap_or(after);
            return match bare.strip_prefix("postgresql:") {
                Some(rest) => Ok(Some(Self::new(DsnForm::Jdbc, text, rest))),
                None => Err(DsnError::new("a JDBC string for something else than PostgreSQL")),
            };
        }
        if lower.starts_with("r2dbc:") || lower.starts_with("r2dbcs:") {
            let (head, after) = lower.split_once(':').unwrap_or_default();
            let bare = after.strip_prefix("pool:").unwrap_or(after);
            let known = ["postgresql:failover:", "postgresql:", "postgres:"];
            return match known.iter().find_map(|known| bare.strip_prefix(known)) {
                Some(rest) => {
                    Ok(Some(Self { tls: head == "r2dbcs", ..Self::new(DsnForm::R2dbc, text, rest) }))
                }
                None => Err(DsnError::new("an R2DBC string for something else than PostgreSQL")),
            };
        }
        let Some((head, rest)) = lower.split_once("://") else { return Ok(None) };
        if !head.chars().all(|c| c.is_ascii_alphanumeric() || "+.-_".contains(c)) {
            return Ok(None);
        }
        let (name, driver) = head.split_once('+').map_or((head, None), |(name, driver)| (name, Some(driver)));
        match name {
            "postgres" | "postgresql" => {
                Ok(Some(Self { decorated: driver.is_some(), ..Self::new(DsnForm::Url, text, rest).back(2) }))
            }
            "psql" | "pgsql" | "postgis" => {
                Ok(Some(Self { decorated: true, ..Self::new(DsnForm::Url, text, rest).back(2) }))
            }
            name if FOREIGN.contains(&name) => {
                Err(DsnError::new(format!("`{name}://` is not a PostgreSQL address")))
            }
            _ => Err(DsnError::new("the scheme is not one of PostgreSQL's")),
        }
    }

    fn new(form: DsnForm, text: &str, rest: &str) -> Self {
        Self { form, decorated: false, tls: false, rest: text.len() - rest.len() }
    }

    fn back(self, by: usize) -> Self {
        Self { rest: self.rest - by, ..self }
    }

    /// Whether `+` means a space in the query: Python's `parse_qsl` and Java's `URLDecoder`, but not libpq.
    fn plus_is_space(&self) -> bool {
        self.decorated || matches!(self.form, DsnForm::Jdbc | DsnForm::R2dbc)
    }
}

/// Reads everything after the scheme.
pub(super) fn parse(text: &str, scheme: &Scheme) -> Result<Dsn, DsnError> {
    let mut draft = Draft::new(scheme.form);
    draft.decorated = scheme.decorated;
    let rest = &text[scheme.rest..];
    if scheme.form != DsnForm::Jdbc && rest.contains('#') {
        return Err(DsnError::new(
            "a `#` must be written as %23: readers do not agree on what a bare one means",
        ));
    }
    let (before_query, query) =
        rest.split_once('?').map_or((rest, None), |(before, query)| (before, Some(query)));
    let (authority, path) = match before_query.strip_prefix("//") {
        Some(rest) => rest.split_once('/').unwrap_or((rest, "")),
        // `jdbc:postgresql:database` and `jdbc:postgresql:/`.
        None if scheme.form == DsnForm::Jdbc => ("", before_query.strip_prefix('/').unwrap_or(before_query)),
        None => return Err(DsnError::new("`//` is missing after the scheme")),
    };
    if path.contains(['/', '@'])
        || (!authority.contains('@') && scheme.form == DsnForm::Url && has_bare_at(query))
    {
        return Err(DsnError::new(
            "an `@` or `/` stands after the host: percent-encode such characters in the user, the password and the database",
        ));
    }
    parse_authority(&mut draft, scheme, authority)?;
    draft.set(Key::Database, "database", &decode(path, scheme.form == DsnForm::Jdbc, "the database")?)?;
    if scheme.tls {
        draft.set_named("ssl", "true")?;
    }
    for (index, pair) in query.unwrap_or_default().split('&').enumerate().filter(|(_, pair)| !pair.is_empty())
    {
        let (name, value) = match pair.split_once('=') {
            Some(parts) => parts,
            // pgjdbc takes a bare `ssl` for `ssl=true`.
            None if scheme.form == DsnForm::Jdbc && pair == "ssl" => (pair, ""),
            None => return Err(DsnError::new(format!("parameter {} has no `=`", index + 1))),
        };
        let name = decode(name, scheme.plus_is_space(), "the name of a parameter")?;
        let value = decode(value, scheme.plus_is_space(), "the value of a parameter")?;
        draft.set_named(&name, &value)?;
    }
    draft.finish()
}

/// Whether the part after `?` is likely the rest of an unencoded password.
fn has_bare_at(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.contains('@'))
}

fn parse_authority(draft: &mut Draft, scheme: &Scheme, authority: &str) -> Result<(), DsnError> {
    let hosts = match authority.split_once('@') {
        None => authority,
        Some(_) if scheme.form == DsnForm::Jdbc => {
            return Err(DsnError::new(
                "the JDBC driver takes user and password as parameters, not before an `@`",
            ));
        }
        Some((_, hosts)) if hosts.contains('@') => {
            return Err(DsnError::new(
                "there are two `@`: percent-encode the one in the user or the password",
            ));
        }
        Some((userinfo, hosts)) => {
            if scheme.form == DsnForm::R2dbc && userinfo.contains('+') {
                return Err(DsnError::new("write `+` as %2B in the user and the password"));
            }
            let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
            draft.set(Key::User, "user", &decode(user, false, "the user")?)?;
            draft.set(Key::Password, "password", &decode(password, false, "the password")?)?;
            hosts
        }
    };
    for host in hosts.split(',') {
        if !host.starts_with('[') && host.matches(':').count() > 1 {
            return Err(DsnError::new("an IPv6 address must stand in brackets"));
        }
        let (host, port) = split_port(host)?;
        draft.push_host(decode(host, false, "the host")?, port);
    }
    Ok(())
}

/// Percent-decodes as strictly as libpq does (`conninfo_uri_decode`), and demands UTF-8.
fn decode(text: &str, plus_is_space: bool, what: &str) -> Result<String, DsnError> {
    let malformed = text.split('%').skip(1).any(|after| {
        let code = after.as_bytes().get(..2);
        code.is_none_or(|code| !code.iter().all(u8::is_ascii_hexdigit) || code == b"00")
    });
    if malformed {
        return Err(DsnError::new(format!(
            "{what} holds a `%` that is not a percent-encoding: write it as %25"
        )));
    }
    let spaced = if plus_is_space { text.replace('+', " ") } else { text.to_owned() };
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(DsnError::new(format!("{what} is not UTF-8 once decoded"))),
    }
}
