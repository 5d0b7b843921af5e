//! Clusters made by initdb: one template per test run, copied for every pair, and fresh ones with another identity.

use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use super::run::{run, scratch_dir};

const SETTINGS: &str = "
# --- the lab
fsync = off
full_page_writes = off
shared_buffers = 4MB
max_connections = 60
max_wal_senders = 5
max_replication_slots = 5
wal_level = replica
hot_standby = on
wal_keep_size = 16MB
wal_retrieve_retry_interval = 100ms
wal_receiver_status_interval = 1s
autovacuum = off
password_encryption = scram-sha-256
logging_collector = off
log_line_prefix = '%m [%p] %q%u@%d %a '
log_min_messages = warning
";

/// Who may log in, when a test says nothing else: everybody with a password.
pub(super) const HBA_OPEN: &str = "host all all 127.0.0.0/8 scram-sha-256";

const ROLES: &str = "
create role replicator login replication password 'lab-replicator';
create role app login password 'lab-app';
create role app_write login password 'lab-app_write';
create role monitor login password 'lab-monitor' in role pg_monitor;
create database orders;
";

const SCHEMA: &str = "
create table orders (id bigserial primary key, customer text not null, amount numeric(12,2) not null, created_at timestamptz not null default now());
create table users (id bigserial primary key, name text not null);
create table schema_migrations (version text primary key);
insert into orders (customer, amount, created_at) select 'customer ' || n, n, now() from generate_series(1, 20) n;
insert into users (name) values ('ada'), ('grace');
insert into schema_migrations values ('20260101000000'), ('20260201000000');
grant select on all tables in schema public to app, app_write, monitor;
grant insert, update, delete on orders, users to app_write;
grant usage on all sequences in schema public to app_write;
";

/// Half of the files of a cluster are databases that no test asks; every file costs at every copy.
const SLIM: &str = "
update pg_database set datistemplate = false where datname = 'template0';
drop database template0;
drop database postgres;
checkpoint;
";

/// The newest installed server's directory of executables.
pub(super) fn pg_bin() -> &'static Path {
    static BIN: OnceLock<PathBuf> = OnceLock::new();
    BIN.get_or_init(|| {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        versions
            .filter_map(|v| Some((v.file_name().to_str()?.parse::<u32>().ok()?, v.path().join("bin"))))
            .filter(|(version, bin)| *version >= 12 && bin.join("postgres").is_file())
            .max()
            .map(|(_, bin)| bin)
            .expect("no PostgreSQL server (12 or newer) in /usr/lib/postgresql: run `make lab`")
    })
}

/// A command as the unprivileged user: `postgres` when the tests run as root (the servers refuse root), else oneself.
pub(super) fn unprivileged(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
    command.env("HOME", "/tmp");
    command
}

/// A new directory that belongs to the unprivileged user.
pub(super) fn unprivileged_dir(name: &str) -> PathBuf {
    let dir = scratch_dir(name);
    give(&dir, 0o755);
    dir
}

/// Makes a file or directory the unprivileged user's, with that mode.
pub(super) fn give(path: &Path, mode: u32) {
    static OWNER: OnceLock<Option<(u32, u32)>> = OnceLock::new();
    let owner = OWNER.get_or_init(|| {
        rustix::process::geteuid().is_root().then(|| {
            let id =
                |flag| run(Command::new("id").args([flag, "postgres"])).trim().parse().expect("a numeric id");
            (id("-u"), id("-g"))
        })
    });
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("set a mode");
    if let Some((user, group)) = *owner {
        chown(path, Some(user), Some(group)).expect("give a file to postgres");
    }
}

/// A copy of the run's template: all copies have one system identifier, so they can follow each other.
pub(super) fn copy_of_template(dir: &Path) -> PathBuf {
    static TEMPLATE: OnceLock<PathBuf> = OnceLock::new();
    let template = TEMPLATE.get_or_init(|| initdb(&unprivileged_dir("template")));
    let data = dir.join("data");
    run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(template).arg(&data));
    data
}

/// A new cluster with its own system identifier, the lab's roles and the lab's schema; stopped cleanly.
pub(super) fn initdb(dir: &Path) -> PathBuf {
    let data = dir.join("data");
    run(unprivileged(&pg_bin().join("initdb"))
        .args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "--no-sync",
            "-E",
            "UTF8",
            "--locale=C",
            "--wal-segsize=1",
            "-D",
        ])
        .arg(&data)
        .current_dir(dir));
    append(&data.join("postgresql.conf"), SETTINGS);
    write_hba(&data, HBA_OPEN);
    single_user(&data, "postgres", ROLES);
    single_user(&data, "orders", &format!("{SCHEMA}{SLIM}"));
    data
}

/// The rules for the network; the superuser on the socket and replication are always let in.
pub(super) fn write_hba(data: &Path, rules: &str) {
    let always = "local all postgres trust\nhost replication replicator 127.0.0.0/8 scram-sha-256\n";
    std::fs::write(data.join("pg_hba.conf"), format!("{always}{rules}\n")).expect("write pg_hba.conf");
}

/// Adds lines to a file.
pub(super) fn append(file: &Path, lines: &str) {
    let open = std::fs::OpenOptions::new().append(true).open(file);
    open.and_then(|mut f| f.write_all(lines.as_bytes()))
        .unwrap_or_else(|e| panic!("{}: {e}", file.display()));
}

/// Statements, one a line, without a running server (postgres(1), single-user mode).
fn single_user(data: &Path, database: &str, statements: &str) {
    let mut command = unprivileged(&pg_bin().join("postgres"));
    command.args(["--single", "-c", "exit_on_error=on", "-D"]).arg(data).arg(database);
    let mut child = command
        .current_dir(data)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(statements.as_bytes())
        .expect("feed the single-user server");
    let out = child.wait_with_output().expect("the single-user server's end");
    assert!(out.status.success(), "{database}: {}", String::from_utf8_lossy(&out.stderr));
}
