//! `PgBouncer` in front of a node, for checks that must work through a pooler.

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustix::process::Signal;

use super::daemon::Daemon;
use super::pg::Pg;
use super::run::{eventually, executable, free_port};
use super::template::{give, unprivileged, unprivileged_dir};

/// When a server connection goes back to the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolMode {
    /// When the client leaves.
    Session,
    /// At the end of each transaction.
    Transaction,
    /// After each statement; transactions are refused.
    Statement,
}

/// A pooler for the roles of the lab, database `orders`.
pub struct PgBouncer {
    address: SocketAddr,
    daemon: Daemon,
}

// === impl PgBouncer ===

impl PgBouncer {
    /// Starts on a free port of `ip` in front of `upstream` and waits until it accepts.
    pub async fn start(ip: IpAddr, upstream: SocketAddr, mode: PoolMode) -> Self {
        let dir = unprivileged_dir("pgbouncer");
        let address = SocketAddr::new(ip, free_port(ip));
        let mode = match mode {
            PoolMode::Session => "session",
            PoolMode::Transaction => "transaction",
            PoolMode::Statement => "statement",
        };
        let users = ["app", "app_write", "monitor"].iter().fold(String::new(), |mut file, user| {
            writeln!(file, "\"{user}\" \"{}\"", Pg::password(user)).expect("write to a string");
            file
        });
        let settings = format!(
            "[databases]\norders = host={} port={} dbname=orders\n[pgbouncer]\nlisten_addr = {ip}\nlisten_port = {}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}/users\npool_mode = {mode}\n\
             server_login_retry = 1\n",
            upstream.ip(),
            upstream.port(),
            address.port(),
            dir.display()
        );
        for (name, text) in [("users", users), ("pgbouncer.ini", settings)] {
            std::fs::write(dir.join(name), text).expect("write the pooler's files");
            give(&dir.join(name), 0o600);
        }
        let mut command = unprivileged(&executable("pgbouncer"));
        command.arg(dir.join("pgbouncer.ini"));
        let mut daemon = Daemon::spawn("pgbouncer", command, &dir);
        eventually("pgbouncer accepts", Duration::from_secs(10), async || {
            daemon.must_run();
            tokio::net::TcpStream::connect(address).await.map(drop).map_err(|e| e.to_string())
        })
        .await;
        Self { address, daemon }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `postgresql://USER:lab-USER@HOST:PORT/orders` through the pooler.
    pub fn dsn(&self, user: &str) -> String {
        format!("postgresql://{user}:{}@{}/orders", Pg::password(user), self.address)
    }

    /// Stops answering; the kernel still accepts.
    pub fn freeze(&self) {
        self.daemon.signal(Signal::STOP);
    }

    /// Undoes `freeze`.
    pub fn thaw(&self) {
        self.daemon.signal(Signal::CONT);
    }
}
