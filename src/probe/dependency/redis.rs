//! Redis and what speaks its protocol: PING and ROLE on a connection of ours. Nothing is written.

use std::pin::pin;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, ProtocolVersion, RedisConnectionInfo, RedisError, Value};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::model::Reason;
use crate::net::dial::Fault;
use crate::secret::Secret;

/// Who logs in; nobody without a password.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub user: Option<String>,
    pub password: Option<Secret>,
}

/// Asks, and says in a few words what answered. Bound it with a deadline outside.
///
/// # Errors
/// [`Fault`] with `auth`, `permission`, `limit`, `starting`, `not_replicating` or `other`, always theirs.
pub(super) async fn ask<S>(stream: S, login: &Login) -> Result<String, Fault>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // The oldest protocol and no greeting: the connection says nothing but what stands below.
    let info = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP2).set_skip_set_lib_name();
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config)
        .await
        .map_err(|error| fault_of(&error, "connect"))?;
    let mut talk = pin!(talk(connection, login));
    tokio::select! {
        answer = &mut talk => answer,
        // The answer may have come together with the end.
        () = driver => talk.await,
    }
}

async fn talk(mut connection: MultiplexedConnection, login: &Login) -> Result<String, Fault> {
    if let Some(password) = &login.password {
        let mut auth = Cmd::new();
        auth.arg("AUTH");
        if let Some(user) = &login.user {
            auth.arg(user);
        }
        auth.arg(password.expose());
        let said = auth.query_async::<Value>(&mut connection).await;
        said.map_err(|error| Fault { reason: auth_reason(&error), ..fault_of(&error, "AUTH") })?;
    }
    let said = redis::cmd("PING").query_async::<Value>(&mut connection).await;
    let ping = match said {
        Ok(_) => "PING is answered",
        // Whoever may not PING was let in all the same.
        Err(error) if error.code() == Some("NOPERM") => "the login is accepted, PING is not allowed to it",
        Err(error) => return Err(fault_of(&error, "PING")),
    };
    match redis::cmd("ROLE").query_async::<Value>(&mut connection).await {
        Ok(role) => Ok(format!("{ping}, {}", role_of(&role)?)),
        Err(error) if error.code() == Some("LOADING") => Err(fault_of(&error, "ROLE")),
        Err(_) => Ok(format!("{ping}, ROLE is not")),
    }
}

/// A wrong password is told by its own code since Redis 6, before by a plain error.
fn auth_reason(error: &RedisError) -> Reason {
    match error.code() {
        Some("WRONGPASS" | "ERR" | "NOAUTH" | "NOPERM") => Reason::Auth,
        _ => fault_of(error, "AUTH").reason,
    }
}

/// What the answer to ROLE means (redis.io/commands/role).
fn role_of(role: &Value) -> Result<&'static str, Fault> {
    let Value::Array(parts) = role else { return Ok("its role is not known") };
    let text = |place: usize| match parts.get(place) {
        Some(Value::BulkString(bytes)) => std::str::from_utf8(bytes).ok(),
        Some(Value::SimpleString(text)) => Some(text.as_str()),
        _ => None,
    };
    match (text(0), text(3)) {
        (Some("master"), _) => Ok("a master"),
        (Some("sentinel"), _) => Ok("a sentinel"),
        (Some("slave" | "replica"), Some("connected")) => Ok("a replica that is connected to its master"),
        (Some("slave" | "replica"), state) => {
            let state = ["connect", "connecting", "handshake", "sync", "none"]
                .into_iter()
                .find(|known| Some(*known) == state)
                .unwrap_or("unknown");
            let words = format!("a replica whose link to its master is not up ({state})");
            Err(Fault::theirs(Reason::NotReplicating, words))
        }
        _ => Ok("its role is not known"),
    }
}

/// What an error means; its text may hold anything and is not repeated.
fn fault_of(error: &RedisError, command: &str) -> Fault {
    let (reason, what) = match (error.code(), error.kind()) {
        (Some("NOAUTH"), _) => (Reason::Auth, "the server demands a login"),
        (Some("WRONGPASS"), _) => (Reason::Auth, "the server refuses the login"),
        (Some("NOPERM"), _) => (Reason::Permission, "the login is not allowed to"),
        (Some("DENIED"), _) => (Reason::Permission, "the server is in protected mode"),
        (Some("LOADING"), _) => (Reason::Starting, "the server is loading its data"),
        (Some("MASTERDOWN"), _) => (Reason::NotReplicating, "the link to its master is down"),
        (Some("ERR"), _) if error.detail().is_some_and(|text| text.contains("max number of clients")) => {
            (Reason::Limit, "the server takes no more clients")
        }
        (Some(_), _) => (Reason::Other, "the server refuses"),
        (None, ErrorKind::Parse) => (Reason::Other, "the answer is not Redis' protocol"),
        (None, _) => (Reason::Other, "the connection broke"),
    };
    Fault::theirs(reason, format!("{command}: {what}"))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    /// Answers each command, in order, with one of these lines; notes what was asked.
    async fn server(mut stream: DuplexStream, answers: &[&str]) -> String {
        let mut asked = String::new();
        for answer in answers {
            let mut buffer = [0; 512];
            let read = stream.read(&mut buffer).await.unwrap();
            asked.push_str(&String::from_utf8_lossy(&buffer[..read]));
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    }

    async fn asked(answers: &[&str], password: Option<&str>) -> (Result<String, Fault>, String) {
        let (ours, theirs) = tokio::io::duplex(4096);
        let login = Login { user: Some("app".to_owned()), password: password.map(Secret::new) };
        tokio::join!(ask(ours, &login), server(theirs, answers))
    }

    const MASTER: &str = "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n";

    fn replica(state: &str) -> String {
        format!("*5\r\n$5\r\nslave\r\n$1\r\nm\r\n:6379\r\n${}\r\n{state}\r\n:-1\r\n", state.len())
    }

    #[tokio::test]
    async fn a_replica_whose_link_is_down_fails_and_its_twin_passes() {
        for state in ["connect", "connecting", "sync", "c4n4ry"] {
            let fault = asked(&["+PONG\r\n", &replica(state)], None).await.0.unwrap_err();
            assert_eq!((fault.reason, fault.ours), (Reason::NotReplicating, false), "{state}");
            assert!(!fault.message.contains("c4n4ry"));
        }
        let words = asked(&["+PONG\r\n", &replica("connected")], None).await.0.unwrap();
        assert_eq!(words, "PING is answered, a replica that is connected to its master");
        let (words, asked) = asked(&["+PONG\r\n", MASTER], None).await;
        assert_eq!(words.unwrap(), "PING is answered, a master");
        assert_eq!(asked, "*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nROLE\r\n");
    }

    #[tokio::test]
    async fn logins_that_are_refused_are_told() {
        let canary = "c4n4ry";
        for (answers, password, reason) in [
            (&["-NOAUTH Authentication required.\r\n"][..], None, Reason::Auth),
            (&["-WRONGPASS invalid c4n4ry\r\n"], Some(canary), Reason::Auth),
            (&["-ERR AUTH <password> called without any password\r\n"], Some(canary), Reason::Auth),
            (&["-DENIED Redis is running in protected mode\r\n"], None, Reason::Permission),
            (&["-LOADING Redis is loading\r\n"], None, Reason::Starting),
            (&["-MASTERDOWN Link\r\n"], None, Reason::NotReplicating),
            (&["-ERR max number of clients reached\r\n"], None, Reason::Limit),
            (&["HTTP/1.1 400 Bad Request\r\n\r\n"], None, Reason::Other),
            (&[""], None, Reason::Other),
        ] {
            let fault = asked(answers, password).await.0.unwrap_err();
            assert_eq!(fault.reason, reason, "{answers:?}: {fault}");
            assert!(!fault.message.contains(canary), "{fault}");
        }
        let (words, asked) = asked(&["+OK\r\n", "+PONG\r\n", MASTER], Some("pw")).await;
        assert_eq!(words.unwrap(), "PING is answered, a master");
        assert!(asked.starts_with("*3\r\n$4\r\nAUTH\r\n$3\r\napp\r\n$2\r\npw\r\n"), "{asked:?}");
    }

    #[tokio::test]
    async fn a_login_without_the_right_to_ask_accuses_nobody() {
        let no = "-NOPERM this user has no permissions\r\n";
        let words = asked(&[no, no], None).await.0.unwrap();
        assert_eq!(words, "the login is accepted, PING is not allowed to it, ROLE is not");
    }
}
