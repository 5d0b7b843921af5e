//! Real PostgreSQL: a primary in the east, its streaming standby in the west, and unrelated nodes.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::Signal;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use super::daemon::Daemon;
use super::http::Task;
use super::run::{east_ip, eventually, free_port, west_ip};
use super::template::{self, HBA_OPEN, append, give, pg_bin, unprivileged, unprivileged_dir, write_hba};
use super::tls::{self, Validity};

const PATIENCE: Duration = Duration::from_secs(20);

/// One PostgreSQL node with its own data directory, address and socket; gone on drop.
///
/// Database `orders`: tables `orders`, `users`, `schema_migrations`. Roles `app` (reads), `app_write`, `monitor`
/// (`pg_monitor`), each with the password `lab-NAME`. The superuser comes in by the unix socket only. There are no
/// databases `postgres` and `template0`.
pub struct Pg {
    name: String,
    ip: IpAddr,
    port: u16,
    dir: PathBuf,
    data: PathBuf,
    daemon: Mutex<Option<Daemon>>,
}

/// A primary on an address of the east and its streaming standby on one of the west.
pub struct PgPair {
    /// The primary.
    pub east: Pg,
    /// The standby.
    pub west: Pg,
}

/// One row of `pg_stat_activity`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The backend's process id.
    pub pid: i32,
    /// The role.
    pub user: String,
    /// `active`, `idle`, `idle in transaction`, …
    pub state: String,
    /// The current or last statement.
    pub query: String,
}

// === impl PgPair ===

impl PgPair {
    /// Starts both and waits until the standby streams and has caught up.
    pub async fn start() -> Self {
        let east = Pg::prepare("east", east_ip(), true);
        let west = Pg::prepare("west", west_ip(), true);
        // A copy of the same cleanly stopped cluster is a base backup; it needs no pg_basebackup to follow.
        west.follow(&east);
        tokio::join!(east.start(), west.start());
        let pair = Self { east, west };
        // Nothing is written yet, so having caught up does not show that the stream runs.
        pair.wait_until_streaming().await;
        pair.wait_until_caught_up().await;
        pair
    }

    /// Waits until the standby is fed by a connection. One that came while the primary was starting tries again after
    /// `wal_retrieve_retry_interval`.
    async fn wait_until_streaming(&self) {
        eventually("the standby streams", PATIENCE, async || {
            match self.west.try_sql("select status from pg_stat_wal_receiver").await {
                Ok(rows) if rows == [[Some("streaming".to_owned())]] => Ok(()),
                Ok(rows) => Err(format!("its receiver is {rows:?}:\n{}", self.west.log())),
                Err(why) => Err(why),
            }
        })
        .await;
    }

    /// Waits until the standby has replayed all that the primary has written.
    pub async fn wait_until_caught_up(&self) {
        let written = self.east.scalar("select pg_current_wal_lsn()").await;
        let question = format!("select coalesce(pg_last_wal_replay_lsn() >= '{written}', false)");
        eventually("the standby has caught up", PATIENCE, async || {
            match self.west.try_sql(&question).await {
                Ok(rows) if rows == [[Some("t".to_owned())]] => Ok(()),
                Ok(_) => Err(format!("it has not replayed {written}:\n{}", self.west.log())),
                Err(why) => Err(why),
            }
        })
        .await;
    }
}

// === impl Pg ===

impl Pg {
    /// One running node where the identity does not matter (it has the pairs'): the cheapest start.
    pub async fn single(ip: IpAddr) -> Self {
        let node = Self::prepare("single", ip, true);
        node.start().await;
        node
    }

    /// One running node that belongs to nobody: another system identifier, the same roles, schema and rows (L14).
    /// Costs an initdb, a second of processor time.
    pub async fn standalone(ip: IpAddr) -> Self {
        let node = Self::prepare("standalone", ip, false);
        node.start().await;
        node
    }

    fn prepare(name: &str, ip: IpAddr, related: bool) -> Self {
        let dir = unprivileged_dir(name);
        let data = if related { template::copy_of_template(&dir) } else { template::initdb(&dir) };
        let port = free_port(ip);
        append(
            &data.join("postgresql.conf"),
            &format!(
                "cluster_name = '{name}'\nlisten_addresses = '{ip}'\nport = {port}\nunix_socket_directories = '{}'\n",
                dir.display()
            ),
        );
        Self { name: name.to_owned(), ip, port, dir, data, daemon: Mutex::new(None) }
    }

    /// Makes this stopped node a standby of `primary` from its next start on.
    pub fn follow(&self, primary: &Self) {
        let signal = self.data.join("standby.signal");
        std::fs::write(&signal, "").expect("write standby.signal");
        give(&signal, 0o600);
        append(
            &self.data.join("postgresql.conf"),
            &format!(
                "primary_conninfo = 'host={} port={} user=replicator password=lab-replicator application_name={}'\n",
                primary.ip, primary.port, self.name
            ),
        );
    }

    /// The address it listens on.
    pub fn host(&self) -> IpAddr {
        self.ip
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Address and port.
    pub fn address(&self) -> std::net::SocketAddr {
        (self.ip, self.port).into()
    }

    /// `postgresql://USER:lab-USER@HOST:PORT/orders`
    pub fn dsn(&self, user: &str) -> String {
        self.dsn_at(user, &self.ip.to_string(), self.port)
    }

    /// The same, by another name or through a proxy.
    pub fn dsn_at(&self, user: &str, host: &str, port: u16) -> String {
        format!("postgresql://{user}:{}@{host}:{port}/orders", Self::password(user))
    }

    /// The password of a role of the lab.
    pub fn password(user: &str) -> String {
        format!("lab-{user}")
    }

    /// The postmaster's process id; panics when it is stopped.
    pub fn pid(&self) -> i32 {
        self.running(Daemon::pid)
    }

    /// The server's log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// The data directory.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Starts it, first time or again, and waits until it answers.
    pub async fn start(&self) {
        let mut command = unprivileged(&pg_bin().join("postgres"));
        command.arg("-D").arg(&self.data);
        let log = self.dir.join("log");
        std::fs::OpenOptions::new().create(true).append(true).open(&log).expect("a log file");
        let daemon =
            Daemon::spawn(&format!("postgres {}", self.name), command, &self.dir).farewell(Signal::QUIT);
        let before = self.daemon.lock().unwrap().replace(daemon);
        assert!(before.is_none(), "postgres {} is running already", self.name);
        eventually(&format!("postgres {} answers", self.name), PATIENCE, async || {
            self.daemon.lock().unwrap().as_mut().expect("just started").must_run();
            self.try_sql("select 1").await.map(drop)
        })
        .await;
    }

    /// Fast shutdown: sessions are ended, the data is written.
    pub async fn stop_fast(&self) {
        self.stop(Signal::INT).await;
    }

    /// Immediate shutdown: as good as a crash.
    pub async fn stop_immediate(&self) {
        self.stop(Signal::QUIT).await;
    }

    async fn stop(&self, signal: Signal) {
        let mut daemon = self.daemon.lock().unwrap().take().expect("postgres runs");
        daemon.signal(signal);
        daemon.wait(PATIENCE).await;
    }

    /// SIGSTOP for the postmaster and every child: the kernel still accepts connections, nobody answers.
    pub fn freeze(&self) {
        self.running(Daemon::freeze);
    }

    /// Undoes `freeze`.
    pub fn thaw(&self) {
        self.running(Daemon::thaw);
    }

    fn running<T>(&self, act: impl FnOnce(&Daemon) -> T) -> T {
        act(self
            .daemon
            .lock()
            .unwrap()
            .as_ref()
            .unwrap_or_else(|| panic!("postgres {} is stopped", self.name)))
    }

    /// Replaces the rules for network clients, reloads, and waits until they hold. No rule refuses everybody.
    pub async fn hba(&self, rules: &[&str]) {
        write_hba(&self.data, &rules.join("\n"));
        self.reload().await;
        let errors =
            self.sql("select line_number, error from pg_hba_file_rules where error is not null").await;
        assert!(errors.is_empty(), "pg_hba.conf: {errors:?}");
    }

    /// Everybody may come in with a password again.
    pub async fn hba_open(&self) {
        self.hba(&[HBA_OPEN]).await;
    }

    /// `ALTER SYSTEM SET` and reload; settings that need a restart apply after the next one.
    pub async fn set(&self, name: &str, value: &str) {
        self.sql(&format!("alter system set {name} = '{}'", value.replace('\'', "''"))).await;
        self.reload().await;
    }

    /// Reloads and waits until the postmaster has read its files: a session that starts after that has the new ones.
    pub async fn reload(&self) {
        let before = self.scalar("select pg_conf_load_time()::text from pg_reload_conf()").await;
        eventually("the configuration is loaded", PATIENCE, async || {
            let now = self.scalar("select pg_conf_load_time()::text").await;
            if now == before { Err(format!("loaded at {now}")) } else { Ok(()) }
        })
        .await;
    }

    /// Ends recovery and waits for it.
    pub async fn promote(&self) {
        assert_eq!(self.scalar("select pg_promote(true, 20)").await, "t", "promotion of {}", self.name);
    }

    /// Serves TLS from now on with a certificate for `server_name` (a name or an address); the path of the CA.
    pub async fn enable_tls(&self, server_name: &str, validity: Validity) -> PathBuf {
        let issued = tls::issue(server_name, validity);
        for (file, pem) in [("server.crt", &issued.certificate), ("server.key", &issued.key)] {
            let path = self.data.join(file);
            std::fs::write(&path, pem).expect("write a certificate");
            give(&path, 0o600);
        }
        let ca = self.dir.join("ca.pem");
        std::fs::write(&ca, &issued.ca).expect("write the CA");
        self.set("ssl", "on").await;
        assert_eq!(self.scalar("show ssl").await, "on", "{}", self.log());
        ca
    }

    /// The sessions whose `application_name` is `name`, in order of their process ids.
    pub async fn connections_of(&self, name: &str) -> Vec<Session> {
        let rows = self
            .sql(&format!(
                "select pid, usename, state, query from pg_stat_activity where application_name = '{}' order by pid",
                name.replace('\'', "''")
            ))
            .await;
        rows.into_iter()
            .map(|row| {
                let [pid, user, state, query] =
                    <[_; 4]>::try_from(row).expect("four columns").map(Option::<String>::unwrap_or_default);
                Session { pid: pid.parse().expect("a process id"), user, state, query }
            })
            .collect()
    }

    /// `pg_control_system()`'s identifier.
    pub async fn system_identifier(&self) -> String {
        self.scalar("select system_identifier from pg_control_system()").await
    }

    /// One value; panics on NULL and on no row.
    pub async fn scalar(&self, query: &str) -> String {
        let rows = self.sql(query).await;
        rows.into_iter()
            .next()
            .and_then(|r| r.into_iter().next().flatten())
            .unwrap_or_else(|| panic!("{query}: no value"))
    }

    /// Statements as the superuser in `orders`; all rows as text.
    pub async fn sql(&self, query: &str) -> Vec<Vec<Option<String>>> {
        match self.try_sql(query).await {
            Ok(rows) => rows,
            Err(why) => panic!("postgres {}: {query}: {why}\n{}", self.name, self.log()),
        }
    }

    /// The same, with the failure as a sentence. Cut off after ten seconds.
    pub async fn try_sql(&self, query: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        let mut config = tokio_postgres::Config::new();
        config.host_path(&self.dir).port(self.port).user("postgres").dbname("orders").application_name("lab");
        query_rows(&config, query).await
    }

    /// Statements as a network client with that DSN, for tests that need a second opinion.
    pub async fn try_sql_with(dsn: &str, query: &str) -> Result<Vec<Vec<Option<String>>>, String> {
        query_rows(&dsn.parse().map_err(|e| format!("{e}"))?, query).await
    }
}

async fn query_rows(
    config: &tokio_postgres::Config,
    query: &str,
) -> Result<Vec<Vec<Option<String>>>, String> {
    let work = async {
        let (client, connection) = config.connect(NoTls).await.map_err(|e| explain(&e))?;
        let _connection = Task::spawn(async move { drop(connection.await) });
        let messages = client.simple_query(query).await.map_err(|e| explain(&e))?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|i| row.get(i).map(str::to_owned)).collect::<Vec<_>>())
            }
            _ => None,
        });
        Ok(rows.collect())
    };
    tokio::time::timeout(Duration::from_secs(10), work)
        .await
        .unwrap_or_else(|_| Err("no answer in 10 s".to_owned()))
}

fn explain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
