//! The heartbeat on real databases: it travels from the primary to the standby, and is written nowhere else.
// The product's bans (clocks, bare connects) keep the exporter honest; tests stand outside of it.
#![allow(clippy::disallowed_methods)]

use std::time::Duration;

use crate::lab::{Exporter, Pg, PgBouncer, PgPair, PoolMode, eventually, west_ip};
use crate::peer::{Impostor, Says, Scene, letter};

const SECOND: Duration = Duration::from_secs(1);

/// What `dr-exporter docs` prints.
fn printed(arguments: &[&str]) -> String {
    let out = Exporter::run(&[&["docs"], arguments].concat());
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).expect("a text")
}

/// Two nodes, the table made on the primary by what the exporter prints.
async fn pair() -> PgPair {
    let pair = PgPair::start().await;
    pair.east.sql(&printed(&["heartbeat", "--writer", "app_write", "--reader", "app"])).await;
    pair.wait_until_caught_up().await;
    pair
}

/// A site that writes the beat by the application's own door; `more` stands at the top of the file.
fn site(name: &str, role: &str, dsn: &str, more: &str) -> String {
    format!(
        "site: {{name: {name}, region: us-east-1, role: {role}}}\nkubernetes: {{mode: disabled}}\n{more}\
         defaults: {{interval: 1s, timeout: 900ms}}\nsystems:\n  - name: orders\n    databases:\n      \
         - {{name: orders, endpoint: {{url: \"{dsn}\"}}, heartbeat_writer: {{enabled: true, every: 1s}}}}\n"
    )
}

async fn beats(node: &Pg) -> Vec<(String, f64)> {
    let rows = node.sql("select site, extract(epoch from beat_at) from dr_heartbeat order by site").await;
    let text = |cell: Option<String>| cell.expect("a value");
    let row = |row: Vec<Option<String>>| {
        let [site, beat] = <[_; 2]>::try_from(row).expect("two columns").map(text);
        (site, beat.parse().expect("a number"))
    };
    rows.into_iter().map(row).collect()
}

/// Waits until the check of the heartbeat stands like this and says these words.
async fn stands(exporter: &Exporter, status: &str, words: &str) {
    eventually(&format!("the heartbeat is {status}: {words}"), 8 * SECOND, async || {
        let report = exporter.report().await;
        let checks = report["systems"][0]["checks"].as_array().expect("checks");
        let check = checks.iter().find(|check| check["check"] == "heartbeat").expect("a planned check");
        let detail = check["detail"].as_str().unwrap_or_default();
        let fits = check["status"] == status && detail.contains(words);
        if fits { Ok(()) } else { Err(format!("{} {}: {detail}", check["status"], check["reason"])) }
    })
    .await;
}

#[tokio::test]
async fn the_beat_travels_and_is_one_row_for_each_site() {
    let pair = pair().await;
    let exporter = Exporter::start(&site("primary-east", "primary", &pair.east.dsn("app_write"), "")).await;
    stands(&exporter, "pass", "was written").await;
    let first = eventually("the beat is there", 5 * SECOND, async || {
        beats(&pair.west).await.into_iter().next().ok_or_else(|| "no row".to_owned())
    })
    .await;
    assert_eq!(first.0, "primary-east");
    eventually("the beat goes on", 5 * SECOND, async || match &beats(&pair.west).await[..] {
        [(site, beat)] if site == "primary-east" && *beat > first.1 + 1.5 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    // A standby that has to confirm and is gone holds up the application's commits, not this one.
    pair.east.set("synchronous_standby_names", "nobody").await;
    let before = beats(&pair.east).await[0].1;
    eventually("the beat waits for nobody", 5 * SECOND, async || {
        if beats(&pair.east).await[0].1 > before + 1.5 { Ok(()) } else { Err("it stands".to_owned()) }
    })
    .await;
    let sessions = pair.east.connections_of("dr-exporter").await;
    assert!(sessions.len() <= 2, "{sessions:?}");
}

#[tokio::test]
async fn nothing_is_written_on_a_standby_even_when_the_configuration_says_so() {
    let pair = pair().await;
    // Called primary by mistake, and wired to the standby.
    let mistaken = Exporter::start(&site("dr-west", "primary", &pair.west.dsn("app_write"), "")).await;
    stands(&mistaken, "skipped", "the server replays what another one writes").await;
    // Declared standby, and wired to the primary: the incident.
    let wired = Exporter::start(&site("dr-west", "standby", &pair.east.dsn("app_write"), "")).await;
    stands(&wired, "skipped", "this site is declared standby").await;
    assert_eq!(beats(&pair.east).await, []);
    assert!(!pair.west.log().contains("INSERT"), "{}", pair.west.log());

    // What was called primary by mistake becomes one: it writes, without a restart.
    pair.west.promote().await;
    stands(&mistaken, "pass", "was written").await;
    assert_eq!(beats(&pair.west).await.len(), 1);
    assert_eq!(beats(&pair.east).await, []);
}

/// The writer's side of L98: the primary dies, the other site is promoted, and the old primary comes back.
#[tokio::test]
async fn l98_an_old_primary_that_came_back_is_not_written_to() {
    let (pair, scene) = (pair().await, Scene::new());
    let impostor = Impostor::start(Says::Letter(letter("dr-west", "standby", "standby"))).await;
    let config =
        site("primary-east", "primary", &pair.east.dsn("app_write"), &impostor.peer("dr-west", &scene));
    let exporter = Exporter::start(&config).await;
    stands(&exporter, "pass", "was written").await;

    pair.east.stop_immediate().await;
    stands(&exporter, "fail", "").await;
    pair.west.promote().await;
    impostor.say(Says::Letter(letter("dr-west", "standby", "primary")));
    stands(&exporter, "skipped", "dr-west says that it is the primary of orders").await;
    pair.east.start().await;
    let before = beats(&pair.east).await;
    for _ in 0..3 {
        let report = exporter.report().await["generated_at"].clone();
        eventually("another look", 5 * SECOND, async || {
            stands(&exporter, "skipped", "dr-west says that it is the primary of orders").await;
            if exporter.report().await["generated_at"] == report { Err(String::new()) } else { Ok(()) }
        })
        .await;
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!(beats(&pair.east).await, before, "the old primary was written to");

    // The other site falls silent: its last word stands.
    drop(impostor);
    tokio::time::sleep(3 * SECOND).await;
    stands(&exporter, "skipped", "dr-west says that it is the primary of orders").await;
    assert_eq!(beats(&pair.east).await, before);
}

#[tokio::test]
async fn l98_gap_a_primary_that_hears_nobody_writes_while_it_feeds_somebody() {
    let pair = pair().await;
    let silent = "peers: [{site: dr-west, url: \"http://127.0.0.1:1\"}]\n";
    let exporter =
        Exporter::start(&site("primary-east", "primary", &pair.east.dsn("app_write"), silent)).await;
    stands(&exporter, "pass", "was written").await;
    pair.west.stop_fast().await;
    stands(&exporter, "skipped", "dr-west was not heard, and the server feeds no other one").await;
    let before = beats(&pair.east).await;
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(beats(&pair.east).await, before);
    pair.west.start().await;
    stands(&exporter, "pass", "was written").await;
}

#[tokio::test]
async fn what_is_in_the_way_is_named_and_nothing_piles_up() {
    let node = Pg::single(west_ip()).await;
    let exporter = Exporter::start(&site("primary-east", "primary", &node.dsn("app_write"), "")).await;
    let fails = async |reason: &str| {
        exporter.ends("heartbeat", "orders", "fail", reason).await;
    };
    fails("undefined_object").await;
    node.sql("create table dr_heartbeat (site text primary key, beat_at timestamptz not null)").await;
    fails("permission").await;
    node.sql(&printed(&["heartbeat", "--writer", "app_write", "--reader", "app"])).await;
    stands(&exporter, "pass", "was written").await;

    node.sql("alter role app_write set default_transaction_read_only = on").await;
    fails("read_only").await;
    node.sql("alter role app_write reset default_transaction_read_only").await;
    stands(&exporter, "pass", "was written").await;

    let holding = "begin; lock table dr_heartbeat in access exclusive mode; select pg_sleep(5); commit";
    let (held, ()) = tokio::join!(node.try_sql(holding), async {
        fails("timeout").await;
        let waiting = node.connections_of("dr-exporter").await;
        assert!(waiting.len() <= 2, "{waiting:?}");
    });
    held.expect("the lock was held");
    stands(&exporter, "pass", "was written").await;
}

#[tokio::test]
async fn the_beat_goes_through_poolers() {
    let pair = pair().await;
    for mode in [PoolMode::Session, PoolMode::Transaction] {
        let pooler = PgBouncer::start(west_ip(), pair.east.address(), mode).await;
        let dsn = pair.east.dsn_at("app_write", &pooler.address().ip().to_string(), pooler.address().port());
        let exporter = Exporter::start(&site("primary-east", "primary", &dsn, "")).await;
        stands(&exporter, "pass", "was written").await;
        let before = beats(&pair.east).await[0].1;
        eventually("the beat goes on", 5 * SECOND, async || {
            if beats(&pair.east).await[0].1 > before + 1.0 { Ok(()) } else { Err(format!("{mode:?}")) }
        })
        .await;
    }
}

/// What the exporter's role may see with what `docs grants` prints, and what a plain one does not (L101).
#[tokio::test]
async fn l101_the_grants_are_what_it_takes() {
    let pair = pair().await;
    let grants = printed(&["grants", "--role", "dr-o'k"]);
    for _ in 0..2 {
        pair.east.sql(&grants).await;
    }
    pair.east
        .sql("alter role \"dr-o'k\" password 'lab-grants'; create role plain login password 'lab-grants'")
        .await;
    pair.wait_until_caught_up().await;
    let asked = async |node: &Pg, user: &str, sql: &str| {
        let dsn = format!(
            "host={} port={} user='{user}' password=lab-grants dbname=orders",
            node.host(),
            node.port()
        );
        Pg::try_sql_with(&dsn, sql).await
    };
    let role = "dr-o\\'k";
    let received = "select latest_end_lsn is not null from pg_stat_wal_receiver";
    assert_eq!(asked(&pair.west, role, received).await, Ok(vec![vec![Some("t".to_owned())]]));
    assert_eq!(
        asked(&pair.west, "plain", received).await,
        Ok(vec![vec![Some("f".to_owned())]]),
        "NULL, not an error"
    );
    let sent = "select sent_lsn is not null from pg_stat_replication";
    assert_eq!(asked(&pair.east, role, sent).await, Ok(vec![vec![Some("t".to_owned())]]));
    for user in [role, "plain"] {
        let identity = "select system_identifier is not null, pg_is_in_recovery() from pg_control_system()";
        let seen = asked(&pair.west, user, identity).await;
        assert_eq!(seen, Ok(vec![vec![Some("t".to_owned()), Some("t".to_owned())]]), "{user}");
    }
    let written = asked(&pair.east, role, "create table x ()").await.expect_err("it writes nothing");
    assert!(written.contains("read-only transaction"), "{written}");
}
