//! What asking a database costs: a new connection, a login, `select 1`, and the end.

use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::gauge::cpu_of;
use super::lab::{Pg, run, scratch_dir, west_ip};
use super::programs::{cloudprober, cloudprober_name, exporter, frame};
use super::table::{Row, Section, show};

pub const TITLE: &str = "SQL probes";

const SECOND: Duration = Duration::from_secs(1);
const SETTLE: Duration = Duration::from_secs(4);
const MEASURE: Duration = Duration::from_secs(12);
/// So many databases are asked every second.
const DATABASES: usize = 100;
/// So many connections pgbench makes.
const TRANSACTIONS: usize = 1_500;

/// All programs with a login that needs nothing, then with a password.
pub async fn measure() -> Section {
    let node = Pg::single(west_ip()).await;
    let mut rows = Vec::new();
    for (login, rule, most) in [("trust", "trust", 400.0), ("SCRAM", "scram-sha-256", 1_100.0)] {
        node.hba(&[&format!("host all all 127.0.0.0/8 {rule}")]).await;
        let what = format!("CPU a probe, login by {login}");
        let ours = {
            let exporter = exporter(&databases(&node), None).await;
            paced("dr-exporter", exporter.pid(), &node).await
        };
        rows.push(Row::at_most(&what, "dr-exporter", ours, most, "µs"));
        let theirs = {
            let peer = cloudprober(&probes(&node), None).await;
            paced("cloudprober", peer.daemon.pid(), &node).await
        };
        rows.push(Row::new(&what, &cloudprober_name(), show(theirs, "µs")));
        rows.push(Row::new(&what, &format!("pgbench {} -C", version()), show(pgbench(&node), "µs")));
    }
    Section {
        title: TITLE,
        before: format!(
            "Each probe opens a connection, logs in, asks `select 1` and leaves; without TLS. dr-exporter and cloudprober \
             ask {DATABASES} times a second for {} s, pgbench connects {TRANSACTIONS} times, one after the other.",
            MEASURE.as_secs()
        ),
        rows,
        after: "CPU is that of the program that asks, divided by the sessions that the server counted. A login by SCRAM \
                hashes 4,096 times on the side of the client, because the server asks for it; nothing that follows from a \
                password is kept between two probes."
            .to_owned(),
    }
}

fn databases(node: &Pg) -> String {
    let mut config = frame(SECOND);
    let dsn = format!("{}?sslmode=disable", node.dsn("app"));
    for n in 0..DATABASES {
        if n % 10 == 0 {
            writeln!(config, "- name: s{}\n  databases:", n / 10).expect("write to a string");
        }
        writeln!(
            config,
            "  - {{name: d{n}, kind: postgres, endpoint: {{url: \"{dsn}\"}}, queries: [{{name: q, sql: \"select 1\"}}]}}"
        )
        .expect("write to a string");
    }
    config
}

/// One probe with a target for each database, as our probes have one.
fn probes(node: &Pg) -> String {
    let mut probe = format!(
        "probe {{ name: \"sql\" type: SQL interval_msec: 1000 timeout_msec: 1000\n\
         sql_probe {{ flavor: POSTGRES query: \"select 1\" connection_string: \"user=app password={} \
         dbname=orders sslmode=disable application_name=@target.name@\" }}\ntargets {{\n",
        Pg::password("app")
    );
    // It takes host and port from its targets, and refuses them in the string.
    for n in 0..DATABASES {
        writeln!(probe, "endpoint {{ name: \"d{n}\" ip: \"{}\" port: {} }}", node.host(), node.port())
            .expect("write to a string");
    }
    probe.push_str("} }");
    probe
}

/// Microseconds of CPU for a session.
async fn paced(name: &str, pid: i32, node: &Pg) -> f64 {
    tokio::time::sleep(SETTLE).await;
    let (before, cpu) = (sessions(node).await, cpu_of(pid));
    tokio::time::sleep(MEASURE).await;
    let used = cpu_of(pid) - cpu;
    let count = sessions(node).await - before;
    let each = used.as_secs_f64() * 1e6 / count;
    eprintln!("{name}: {count} sessions, {used:?} of CPU, {each:.0} µs each");
    assert!(count > DATABASES as f64, "{name} made {count} sessions only");
    each
}

/// Sessions that have ended in this database, our own question not counted.
async fn sessions(node: &Pg) -> f64 {
    let count = node.scalar("select sum(sessions) from pg_stat_database where datname = 'orders'").await;
    count.parse().expect("a number")
}

fn pgbench(node: &Pg) -> f64 {
    let dir = scratch_dir("pgbench");
    std::fs::write(dir.join("query.sql"), "select 1;\n").expect("write the query");
    let mut child = Command::new(program())
        .args(["-C", "-n", "-c", "1", "-j", "1", "-f"])
        .arg(dir.join("query.sql"))
        .args(["-t", &TRANSACTIONS.to_string(), "-h", &node.host().to_string()])
        .args(["-p", &node.port().to_string(), "-U", "app", "orders"])
        .env("PGPASSWORD", Pg::password("app"))
        .env("PGSSLMODE", "disable")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start pgbench");
    let pid = i32::try_from(child.id()).expect("a process id");
    // Until it has ended and nobody has waited for it, its times can be read.
    let dead =
        || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
    while !dead() {
        std::thread::sleep(Duration::from_millis(50));
    }
    let each = cpu_of(pid).as_secs_f64() * 1e6 / TRANSACTIONS as f64;
    assert!(child.wait().expect("the end of pgbench").success(), "pgbench failed");
    eprintln!("pgbench: {each:.0} µs each");
    each
}

fn program() -> std::path::PathBuf {
    let servers = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL of the distribution");
    let found =
        servers.flatten().map(|entry| entry.path().join("bin/pgbench")).filter(|file| file.is_file()).max();
    found.expect("pgbench is missing: run `make lab`")
}

fn version() -> String {
    let said = run::run(Command::new(program()).arg("--version"));
    said.split(' ').nth(2).unwrap_or_default().trim().to_owned()
}
