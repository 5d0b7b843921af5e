//! What an error of the server or of the driver means. Never quotes either.

use std::error::Error as _;
use std::io;

use tokio_postgres::error::DbError;

use super::stream::BudgetSpent;
use crate::model::Reason;
use crate::net::dial::Fault;

/// The reason that a SQLSTATE stands for; PostgreSQL 17 manual, appendix A.
pub fn reason_of_sqlstate(code: &str) -> Reason {
    match code {
        "42501" => Reason::Permission,
        // invalid_catalog_name, undefined table, column, function, schema, database_dropped.
        "3D000" | "42P01" | "42703" | "42883" | "3F000" | "57P04" => Reason::UndefinedObject,
        // cannot_connect_now, admin_shutdown, crash_shutdown: it comes up or goes down.
        "57P03" | "57P01" | "57P02" => Reason::Starting,
        // query_canceled, lock_not_available, the server's idle and transaction limits.
        "57014" | "55P03" | "25P03" | "25P04" | "57P05" => Reason::Timeout,
        "25006" => Reason::ReadOnly,
        "40001" | "40P01" => Reason::Conflict,
        _ if code.starts_with("28") => Reason::Auth,
        _ if code.starts_with("53") => Reason::Limit,
        _ => Reason::Other,
    }
}

/// What an error of the driver means, in our words; `doing` begins the sentence.
pub fn fault_of(error: &tokio_postgres::Error, doing: &str) -> Fault {
    if let Some(refusal) = error.as_db_error() {
        return fault_of_refusal(refusal, doing);
    }
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    if let Some(io) = io {
        if io.get_ref().is_some_and(|inner| inner.is::<BudgetSpent>()) {
            // Not reading on is our own decision and says nothing of the database.
            return Fault::ours(Reason::Limit, format!("{doing}: {BudgetSpent}, which is not read"));
        }
        return Fault::of_io(io, doing);
    }
    if error.is_closed() {
        return Fault::theirs(Reason::Other, format!("{doing}: the server closed the connection"));
    }
    // The kinds of the driver's errors are private; its texts for them are fixed.
    match error.to_string().as_str() {
        "invalid configuration" => {
            Fault::theirs(Reason::Auth, format!("{doing}: the server asks for a password and none is known"))
        }
        "authentication error" => Fault::theirs(
            Reason::Auth,
            format!("{doing}: the way of logging in that the server asks for failed"),
        ),
        "error performing TLS handshake" => {
            Fault::theirs(Reason::Tls, format!("{doing}: TLS is demanded and the server does not offer it"))
        }
        _ => Fault::theirs(Reason::Other, format!("{doing}: the answer is not one of PostgreSQL's protocol")),
    }
}

fn fault_of_refusal(refusal: &DbError, doing: &str) -> Fault {
    let code = refusal.code().code();
    // PgBouncer says nearly everything with protocol_violation.
    let reason = if code == "08P01" { reason_of_pooler(refusal.message()) } else { reason_of_sqlstate(code) };
    let what = match reason {
        Reason::Auth => "the login is refused",
        Reason::Permission => "permission is denied",
        Reason::UndefinedObject => "something that is asked for does not exist",
        Reason::Limit => "a limit of the server is reached",
        Reason::Starting => "the server is starting up or shutting down",
        Reason::Timeout => "the server gave up waiting",
        Reason::ReadOnly => "the server is read-only",
        Reason::Conflict => "it conflicts with other work on the server",
        Reason::Refused => "the pooler cannot reach its server",
        Reason::Misconfigured => "the pooler refuses a setting",
        _ => "the server refuses",
    };
    Fault::theirs(reason, format!("{doing}: {what} (SQLSTATE {code})"))
}

/// PgBouncer's messages by how they begin. Seen from a real one: a wrong password, a missing database here and on the
/// server behind, `query_wait_timeout`; the others are not verified against its source.
pub fn reason_of_pooler(message: &str) -> Reason {
    let text = message.to_ascii_lowercase();
    // What the real server said: as it is (seen with the pooler of Debian 12), or quoted after a colon.
    let quoted =
        ["server login failed", "login failed"].iter().find_map(|beginning| text.strip_prefix(beginning));
    if let Some(reason) = reason_of_quote(quoted.unwrap_or(&text)) {
        return reason;
    }
    if quoted.is_some() {
        return Reason::Auth;
    }
    let beginnings = [
        ("no such database", Reason::UndefinedObject),
        ("database does not exist", Reason::UndefinedObject),
        ("no such user", Reason::Auth),
        ("password authentication failed", Reason::Auth),
        ("sasl authentication failed", Reason::Auth),
        ("auth failed", Reason::Auth),
        ("authentication failed", Reason::Auth),
        ("login rejected", Reason::Auth),
        ("wrong password type", Reason::Auth),
        ("not allowed", Reason::Auth),
        ("no more connections allowed", Reason::Limit),
        ("query_wait_timeout", Reason::Timeout),
        ("query_timeout", Reason::Timeout),
        ("client_login_timeout", Reason::Timeout),
        ("client_idle_timeout", Reason::Timeout),
        ("idle transaction timeout", Reason::Timeout),
        ("pgbouncer cannot connect to server", Reason::Refused),
        ("server conn crashed", Reason::Refused),
        ("server_login_retry", Reason::Refused),
        ("the database system is", Reason::Starting),
        ("pgbouncer is shutting down", Reason::Starting),
        ("server shutting down", Reason::Starting),
        ("unsupported startup parameter", Reason::Misconfigured),
        ("bouncer config error", Reason::Misconfigured),
        ("ssl required", Reason::Tls),
    ];
    let known = beginnings.into_iter().find(|(beginning, _)| text.starts_with(beginning));
    known.map_or(Reason::Other, |(_, reason)| reason)
}

/// PostgreSQL's own refusals of a login (`postinit.c`, `auth.c`, `postmaster.c`), in lower case.
fn reason_of_quote(text: &str) -> Option<Reason> {
    let text = text.trim_start_matches([':', ' ']);
    let text = text.strip_prefix("fatal").unwrap_or(text).trim_start_matches([':', ' ']);
    let ends = text.ends_with("does not exist");
    match text {
        _ if ends && text.starts_with("database \"") => Some(Reason::UndefinedObject),
        _ if ends && text.starts_with("role \"") => Some(Reason::Auth),
        _ if text.starts_with("no pg_hba.conf entry") || text.starts_with("pg_hba.conf rejects") => {
            Some(Reason::Auth)
        }
        _ if text.starts_with("permission denied for database") => Some(Reason::Permission),
        _ if text.starts_with("the database system is") => Some(Reason::Starting),
        _ if text.starts_with("sorry, too many clients") || text.starts_with("too many connections") => {
            Some(Reason::Limit)
        }
        _ if text.starts_with("remaining connection slots") => Some(Reason::Limit),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_of_the_design_has_its_reason() {
        for (code, reason) in [
            ("28000", Reason::Auth),
            ("28P01", Reason::Auth),
            ("42501", Reason::Permission),
            ("3D000", Reason::UndefinedObject),
            ("42P01", Reason::UndefinedObject),
            ("42703", Reason::UndefinedObject),
            ("42883", Reason::UndefinedObject),
            ("53300", Reason::Limit),
            ("53100", Reason::Limit),
            ("57P03", Reason::Starting),
            ("57P01", Reason::Starting),
            ("57014", Reason::Timeout),
            ("25006", Reason::ReadOnly),
            ("40001", Reason::Conflict),
            ("08P01", Reason::Other),
            ("XX000", Reason::Other),
        ] {
            assert_eq!(reason_of_sqlstate(code), reason, "{code}");
        }
    }

    #[test]
    fn poolers_are_told_apart_by_their_words() {
        for (message, reason) in [
            ("no such database: orders", Reason::UndefinedObject),
            ("password authentication failed", Reason::Auth),
            ("SASL authentication failed", Reason::Auth),
            ("query_wait_timeout", Reason::Timeout),
            ("no more connections allowed (max_client_conn)", Reason::Limit),
            ("server login failed: FATAL database \"x\" does not exist", Reason::UndefinedObject),
            ("server login failed: FATAL password authentication failed for user \"x\"", Reason::Auth),
            ("server login failed: FATAL sorry, too many clients already", Reason::Limit),
            ("server login failed: FATAL the database system is starting up", Reason::Starting),
            ("database \"nodb\" does not exist", Reason::UndefinedObject),
            ("role \"x\" does not exist", Reason::Auth),
            ("sorry, too many clients already", Reason::Limit),
            ("unsupported startup parameter: options", Reason::Misconfigured),
            ("something new", Reason::Other),
        ] {
            assert_eq!(reason_of_pooler(message), reason, "{message}");
        }
    }
}
