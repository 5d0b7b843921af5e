//! Canaries: a value of its own in every place where a credential can be given, all of which fail in one way or another.
//! Then everything is read that the exporter ever says, and none of them is in it.
// The product's bans (clocks, bare connects) keep the exporter honest; tests stand outside of it.
#![allow(clippy::disallowed_methods)]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use http::StatusCode;
use rustix::process::Signal;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::lab::http::{Task, respond, serve};
use crate::lab::kube::objects::{config_map, secret};
use crate::lab::{Exporter, Kube, Pg, Workload, eventually, free_port, lab_ip, scratch_dir, west_ip};

const SECOND: Duration = Duration::from_secs(1);
/// What every canary begins with: letters and digits, so that it is the same in a URL, in JSON and in HTML.
const MARK: &str = "Canary7Qx";

/// Makes canaries, and says which of them sing in a text.
struct Aviary {
    dir: PathBuf,
    count: RefCell<usize>,
}

/// The texts that were read, by where they were read.
struct Said(Vec<(String, String)>);

// === impl Aviary ===

impl Aviary {
    fn new() -> Self {
        Aviary { dir: scratch_dir("canaries"), count: RefCell::new(0) }
    }

    /// One more, with the name of its place in it.
    fn of(&self, place: &str) -> String {
        *self.count.borrow_mut() += 1;
        format!("{MARK}{place}")
    }

    /// A file with this text in it.
    fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.join(name);
        std::fs::write(&path, text).expect("write a file");
        path.display().to_string()
    }
}

// === impl Said ===

impl Said {
    /// Reads every page of an exporter to which a link leads or that has a name, and its log.
    async fn by(exporter: &Exporter, systems: &[&str]) -> Self {
        let mut said = Said(Vec::new());
        let mut paths: BTreeSet<String> = [
            "/",
            "/metrics",
            "/api/v1/report",
            "/config",
            "/-/ready",
            "/-/healthy",
            "/-/reload",
            "/nothing?a=b",
        ]
        .map(str::to_owned)
        .into();
        for system in systems {
            paths.extend([format!("/dr-ready/{system}"), format!("/systems/{system}")]);
        }
        let mut seen = BTreeSet::new();
        while let Some(path) = paths.pop_first() {
            if !seen.insert(path.clone()) {
                continue;
            }
            let reply = exporter.get_with(&path, &[("accept", "application/openmetrics-text")]).await;
            for after in reply.text().split("href=\"").skip(1) {
                let link = after.split(['"', '#']).next().unwrap_or_default().replace("&amp;", "&");
                if link.starts_with('/') && !seen.contains(&link) {
                    paths.insert(link);
                }
            }
            said.0.push((path, format!("{:?}\n{}", reply.headers, reply.text())));
        }
        said.add("the log", exporter.log());
        said
    }

    fn add(&mut self, what: &str, text: String) {
        assert!(!text.is_empty(), "{what} says nothing");
        self.0.push((what.to_owned(), text));
    }

    fn add_output(&mut self, what: &str, output: &Output) {
        let all = [&output.stdout[..], &output.stderr[..]].concat();
        self.add(what, String::from_utf8_lossy(&all).into_owned());
    }

    /// Nothing of the mark, in whatever case, plain or in base64.
    fn is_silent_about(&self, mark: &str) {
        let marks: Vec<String> = (0..3).map(|shift| in_base64(mark, shift)).collect();
        for (place, text) in &self.0 {
            let lower = text.to_lowercase();
            let plain = lower.find(&mark.to_lowercase());
            let found = plain.or_else(|| marks.iter().find_map(|mark| text.find(mark)));
            if let Some(at) = found {
                let around: String = text.chars().skip(at.saturating_sub(200)).take(400).collect();
                panic!("{place} says a credential: …{around}…");
            }
        }
    }
}

/// What is sure to be in the base64 of any text that holds `inner` at a place that leaves this rest when divided by three.
fn in_base64(inner: &str, shift: usize) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bytes = [&vec![0; shift], inner.as_bytes()].concat();
    let bit = |n: usize| usize::from(bytes[n / 8] >> (7 - n % 8) & 1);
    let letters = (shift * 8).div_ceil(6)..bytes.len() * 8 / 6;
    letters.map(|n| char::from(LETTERS[(0..6).fold(0, |value, i| value << 1 | bit(n * 6 + i))])).collect()
}

#[test]
fn a_canary_is_heard_through_base64() {
    // `echo -n 'user:Canary7QxPlace' | base64`, with no, one and two more letters before it.
    for encoded in
        ["dXNlcjpDYW5hcnk3UXhQbGFjZQ==", "X3VzZXI6Q2FuYXJ5N1F4UGxhY2U=", "X191c2VyOkNhbmFyeTdReFBsYWNl"]
    {
        let heard = (0..3).filter(|shift| encoded.contains(&in_base64(MARK, *shift))).count();
        assert_eq!(heard, 1, "{encoded}");
    }
}

/// A server that repeats in its answer everything that it was told, with this status.
async fn parrot(status: StatusCode) -> (String, Task) {
    let (address, task) = serve(lab_ip(), move |request: hyper::Request<hyper::body::Incoming>| async move {
        let told = format!("{} {:?}", request.uri(), request.headers());
        let body = json!({"error": told, "status": told}).to_string();
        respond(status, "application/json", body)
    })
    .await;
    (address.to_string(), task)
}

/// A Redis that repeats the command that it does not accept.
async fn redis_parrot() -> (String, Task) {
    let listener = TcpListener::bind((lab_ip(), 0)).await.expect("bind");
    let address = listener.local_addr().expect("an address").to_string();
    let task = Task::spawn(async move {
        loop {
            let Ok((mut stream, _)) = listener.accept().await else { continue };
            let mut told = vec![0; 1024];
            let read = stream.read(&mut told).await.unwrap_or(0);
            let told = String::from_utf8_lossy(&told[..read]).replace(['\r', '\n'], " ");
            let _ = stream.write_all(format!("-WRONGPASS {told}\r\n").as_bytes()).await;
        }
    });
    (address, task)
}

/// Waits until every check of every system has ended this often.
async fn all_have_run(exporter: &Exporter, times: f64) {
    eventually("every check has run", 40 * SECOND, async || {
        let metrics = exporter.metrics().await;
        let mut attempts = metrics.iter().filter(|sample| sample.name == "dr_check_attempts_total");
        match attempts.find(|sample| sample.value < times) {
            Some(waits) => Err(format!("{waits:?}")),
            None => Ok(()),
        }
    })
    .await;
}

fn start(dir: &Path, file: &str, environment: &[(&str, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dr-exporter"));
    command.current_dir(dir).envs(environment.iter().map(|(name, value)| (*name, value.clone())));
    command.args(["--config.file", file, "--web.listen-address", "127.0.0.1:0", "--log.level", "trace"]);
    command
}

fn tell(dir: &Path, environment: &[(&str, String)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dr-exporter"));
    command.current_dir(dir).envs(environment.iter().map(|(name, value)| (*name, value.clone())));
    command.args(arguments).args(["--log.level", "trace"]).output().expect("run dr-exporter")
}

#[tokio::test]
async fn no_canary_sings_wherever_a_credential_is_given() {
    let canaries = Aviary::new();
    let of = |place: &str| canaries.of(place);
    let pg = Pg::single(west_ip()).await;
    let (host, port) = (pg.host(), pg.port());
    let nobody = free_port(lab_ip());
    let dead = format!("{}:{nobody}", lab_ip());
    let ((deny, _deny), (echo, _echo)) =
        (parrot(StatusCode::UNAUTHORIZED).await, parrot(StatusCode::OK).await);
    let (redis, _redis) = redis_parrot().await;
    let silent = TcpListener::bind((lab_ip(), 0)).await.expect("bind");
    let silent = silent.local_addr().map(|address| (address, silent)).expect("an address");

    let environment = [
        ("DSN_JDBC", format!("jdbc:postgresql://{host}:{port}/orders?user=app&password={}", of("EnvJdbc"))),
        ("DSN_PASSWORD", of("EnvPassword")),
        ("COOKIE", format!("session={}", of("EnvCookie"))),
        ("REDIS", format!("redis://:{}@{redis}/0", of("EnvRedis"))),
    ];
    let file = |name: &str, text: String| format!("{{file: \"{}\"}}", canaries.file(name, &text));
    let endpoints = [
        format!("url: \"postgresql://app:{}@{host}:{port}/orders\"", of("Inline")),
        format!("url: \"host={host} port={port} user=app dbname=orders password='{}'\"", of("KeyValue")),
        format!("url: \"Server={host};Port={port};Database=orders;User Id=app;Password={}\"", of("Npgsql")),
        format!("url: \"postgresql://app:{}@{dead}/orders\"", of("Refused")),
        format!("url: \"postgresql://app:{}@{}/orders\"", of("Silent"), silent.0),
        format!("url: {}", file("dsn", format!("postgresql://app:{}@{host}:{port}/orders\n", of("UrlFile")))),
        format!("url: {}", file("torn", format!("postgresql://app:{}/@we:ird:no/p?ort", of("Torn")))),
        format!("url: {}", file("noise", format!("{}=\u{7}'unended", of("Noise")))),
        format!("url: {}", file("slash", format!("postgresql://app:a/{}@{host}:{port}/orders", of("Slash")))),
        format!(
            "url: {}",
            file("ssl", format!("postgresql://app@{host}:{port}/orders?sslpassword={}", of("SslPassword")))
        ),
        format!(
            "url: {}",
            file(
                "odd",
                format!("postgresql://app@{host}:{port}/orders?{}={}", of("OddName"), of("OddValue"))
            )
        ),
        format!("url: {}", file("lines", format!("postgresql://app@{host}/orders\n{}\n", of("SecondLine")))),
        "url: {env: DSN_JDBC}".to_owned(),
        format!(
            "url: \"postgresql://app@{host}:{port}/orders\", password: {}",
            file("password", of("PasswordFile"))
        ),
        format!("url: \"postgresql://app@{host}:{port}/orders\", password: {{value: {}}}", of("Value")),
        format!("url: \"postgresql://app@{host}:{port}/orders\", password: {{env: DSN_PASSWORD}}"),
        format!(
            "url: \"{}\", expected_url: \"postgresql://app:{}@{dead}/orders\"",
            pg.dsn("app"),
            of("ExpectedUrl")
        ),
    ];
    let mut text = format!(
        "site: {{name: dr-west, region: us-west-2, role: standby}}\n\
         kubernetes: {{mode: disabled, fingerprint_key: {{value: {}}}}}\n\
         defaults: {{interval: 2s, timeout: 900ms}}\nsystems:\n  - name: canaries\n    strategy: warm\n",
        of("FingerprintKey")
    );
    text += "    databases:\n";
    let query = "queries: [{name: ids, sql: \"select id from orders limit 1\", min_rows: 1}]";
    for (n, endpoint) in endpoints.iter().enumerate() {
        // What this release does not compare yet is refused, and tested below.
        if !endpoint.contains("expected_url") {
            text += &format!("      - {{name: db-{n}, endpoint: {{{endpoint}}}, {query}}}\n");
        }
    }
    text += &format!(
        "      - {{name: db-own, endpoint: {{url: \"postgresql://app@{host}:{port}/orders\"}}, credentials: {{user: app, password: {}}}, {query}}}\n",
        file("own", of("Credentials")),
    );
    let headers = format!(
        "headers: {{authorization: \"Bearer {}\", x-api-key: {}, cookie: {{env: COOKIE}}}}",
        of("Bearer"),
        file("key", of("HeaderFile"))
    );
    let requests = [
        format!("url: \"http://{deny}/a?token={}\", {headers}", of("Query")),
        format!(
            "url: \"http://{echo}/b\", {headers}, expect: {{json: {{/status: fine}}, body_regex: never}}"
        ),
        format!("url: \"http://{dead}/c?token={}\", {headers}", of("DeadQuery")),
        format!(
            "url: \"http://{echo}/d\", headers: {{x: {}}}",
            file("broken", format!("{}\r\nx: y", of("Broken")))
        ),
        format!("url: \"http://{deny}/e\", method: POST, body: '{{\"password\": \"{}\"}}'", of("Body")),
        format!("url: \"http://{deny}/f\", method: POST, body: {}", file("body", of("BodyFile"))),
    ];
    text += "    requests:\n";
    for (n, request) in requests.iter().enumerate() {
        text += &format!("      - {{name: call-{n}, {request}}}\n");
    }
    text += &format!(
        "    surfaces:\n      - {{name: health, url: \"http://{echo}/health?token={}\", expect: {{json: {{/status: ok}}}}}}\n",
        of("SurfaceQuery")
    );
    let dependencies = [
        format!("endpoint: {{url: \"redis://:{}@{redis}/0\"}}", of("Redis")),
        format!("endpoint: {{url: \"redis://user:{}@{dead}/0\"}}", of("DeadRedis")),
        format!("endpoint: {{url: \"redis://{redis}/0\"}}, password: {}", file("redis", of("RedisFile"))),
        format!(
            "endpoint: {{url: {}}}",
            file("redis-url", format!("redis://:{}@{redis}:no/x", of("RedisUrl")))
        ),
        format!("endpoint: {{url: {}}}", file("amqp", format!("amqps://user:{}/@{redis}", of("Amqp")))),
        "endpoint: {url: {env: REDIS}}".to_owned(),
    ];
    text += "    dependencies:\n";
    for (n, dependency) in dependencies.iter().enumerate() {
        text += &format!("      - {{name: needs-{n}, {dependency}}}\n");
    }
    text += &format!(
        "    workloads: [{{name: api, instances: [{{name: a, url: \"http://{dead}\"}}]}}, {{name: web, instances: [{{name: a, url: \"http://{dead}\"}}]}}]\n    traffic:\n\
         \x20     - {{workload: api, counter: http_requests_total, business: {{handler: \"/api/.+\"}}, window: 10m, source: {{prometheus: {{url: \"http://{deny}\", authorization: {{value: {}}}}}}}}}\n\
         \x20     - {{workload: web, counter: http_requests_total, business: {{handler: \"/api/.+\"}}, window: 10m, source: {{prometheus: {{url: \"http://{echo}\", authorization: {}}}}}}}\n",
        of("PrometheusValue"),
        file("prometheus", of("PrometheusFile")),
    );
    assert!(*canaries.count.borrow() >= 35, "{}", canaries.count.borrow());
    let config = canaries.file("dr.yaml", &text);
    let checked = tell(&canaries.dir, &environment, &["check", &config]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    let exporter =
        Exporter::start_command(start(&canaries.dir, &config, &environment), &scratch_dir("log")).await;
    all_have_run(&exporter, 2.0).await;
    let mut said = Said::by(&exporter, &["canaries"]).await;
    said.is_silent_about(MARK);
    // They were all used, and refused: what is silent because nothing happened proves nothing.
    let report = exporter.report().await;
    let checks = report["systems"][0]["checks"].as_array().expect("checks");
    let passed: Vec<_> =
        checks.iter().filter(|check| check["status"] == "pass").map(|c| c["target"].clone()).collect();
    assert!(passed.len() <= 2 && checks.len() >= 30, "{passed:?} of {}", checks.len());
    for reason in ["auth", "refused", "timeout", "http_status", "misconfigured"] {
        assert!(
            checks.iter().any(|check| check["reason"] == reason),
            "nothing failed with {reason}: {checks:#?}"
        );
    }

    // A file in which canaries sit where they do not belong, at a reload and on the terminal.
    let wrong = [
        // A word that stands where a key belongs is repeated, or nobody could find a slip: so no canary does.
        "sytems: x".to_owned(),
        format!("site: {{name: {}!, region: '{}', role: {}}}", of("Name"), of("Region"), of("Role")),
        format!("defaults: {{interval: {}, resolvers: [{}]}}", of("Interval"), of("Resolver")),
        format!("regions: {{x: {{cidrs: [{}]}}}}", of("Cidr")),
        format!("kubernetes: {{fingerprint_key: {}}}", of("BareKey")),
        format!("kubernetes: {{fingerprint_key: {{{}}}}}", of("KeyInBraces")),
        "systems:\n  - name: canaries\n    databases:".to_owned(),
        format!("      - {{name: a, endpoint: {{url: [\"{}\"]}}}}", of("List")),
        format!(
            "      - {{name: b, endpoint: {{url: \"postgresql://app:{}@h/d\", password: {}}}}}",
            of("Both"),
            of("BarePassword")
        ),
        format!(
            "      - {{name: c, endpoint: {{url: {{value: \"{}\", file: \"{}\"}}}}}}",
            of("TwoValue"),
            of("TwoFile")
        ),
        format!(
            "      - {{name: d, endpoint: {{\"{} = 1\": 1, password: {{{}}}, expected_url: {{{}}}}}, kind: {}}}",
            of("EndpointKey"),
            of("PasswordKey"),
            of("ExpectedUrlKey"),
            of("Kind")
        ),
        format!(
            "      - {{name: e, {}}}",
            endpoints.last().map(|last| format!("endpoint: {{{last}}}")).unwrap_or_default()
        ),
        "    requests:".to_owned(),
        format!(
            "      - {{name: f, url: \"http://user:{}@h/\", headers: {{\"{}\": 1, authorization: [{}]}}}}",
            of("Userinfo"),
            "x-key",
            of("HeaderList")
        ),
        format!(
            "      - {{name: g, url: \"{}://x\", body: {{value: [{}]}}, method: \"{} \"}}",
            of("Scheme"),
            of("BodyList"),
            of("Method")
        ),
        format!(
            "    dependencies: [{{name: h, endpoint: {{url: 5}}, password: {{secret: \"{}\"}}}}]",
            of("SecretText")
        ),
        format!("    waivers: [{{check: {}, until: {}}}]", of("Check"), of("Until")),
    ]
    .join("\n");
    let whole = canaries.file("wrong.yaml", &wrong);
    let torn = canaries.file("torn.yaml", &format!("systems:\n  - {{password: '{}\n", of("TornYaml")));
    let mut news = Said(Vec::new());
    for name in [&whole, &torn] {
        std::fs::copy(name, &config).expect("replace the file");
        let reply = exporter.post("/-/reload").await;
        assert_eq!(reply.status, 500, "{}", reply.text());
        news.add("POST /-/reload", reply.text());
        news.0.extend(Said::by(&exporter, &["canaries"]).await.0);
        for arguments in [
            &["check", name][..],
            &["diagnose", name],
            &["rbac", name],
            &["--config.check", "--config.file", name],
        ] {
            let output = tell(&canaries.dir, &environment, arguments);
            assert!(!output.status.success());
            news.add_output(&arguments.join(" "), &output);
        }
    }
    news.is_silent_about(MARK);
    std::fs::write(&config, &text).expect("the good one again");
    exporter.signal(Signal::HUP);
    exporter.wait_for_sample("dr_exporter_config_last_reload_successful", &[], 1.0, 10 * SECOND).await;
    for arguments in [
        &["check", &config][..],
        &["diagnose", &config],
        &["diagnose", "--json", &config],
        &["rbac", &config],
    ] {
        said.add_output(&arguments.join(" "), &tell(&canaries.dir, &environment, arguments));
    }
    said.add("the log to its end", exporter.stop().await.log);
    said.is_silent_about(MARK);
}

#[tokio::test]
async fn no_canary_sings_that_a_cluster_holds() {
    let canaries = Aviary::new();
    let of = |place: &str| canaries.of(place);
    let pg = Pg::single(west_ip()).await;
    let (redis, _redis) = redis_parrot().await;
    let (deny, _deny) = parrot(StatusCode::UNAUTHORIZED).await;
    let kube = Kube::shared().await;
    let namespace = kube.namespace("canaries").await;
    let dsn = |place: &str| format!("postgresql://app:{}@{}:{}/orders", of(place), pg.host(), pg.port());
    let entries = [
        ("url", dsn("Secret")),
        ("password", of("SecretKey")),
        ("torn", format!("postgresql://{}@:x", of("SecretTorn"))),
        ("token", of("SecretToken")),
    ];
    let entries: Vec<(&str, &str)> = entries.iter().map(|(key, value)| (*key, value.as_str())).collect();
    namespace.apply(secret("db", &entries)).await;
    namespace.apply(config_map("settings", &[("REPLICA_URL", &dsn("ConfigMap"))])).await;
    let workload = Workload::deployment("api-server")
        .at(&[west_ip()])
        .env_from_secret("DATABASE_URL", "db", "url")
        .env_from_secret("TORN_URL", "db", "torn")
        .env_from_config_map("REPLICA_URL", "settings", "REPLICA_URL")
        .env("LITERAL_URL", &dsn("Literal"))
        .env("API_TOKEN", &of("EnvToken"))
        .env("REDIS_URL", &format!("redis://:{}@{redis}/0", of("RedisEnv")));
    namespace.apply(workload.object()).await;

    let name = namespace.name();
    let reference = |key: &str| format!("{{secret: {{namespace: {name}, name: db, key: {key}}}}}");
    let mut text = format!(
        "site: {{name: dr-west, region: us-west-2, role: standby}}\nkubernetes: {{kubeconfig: \"{}\", fingerprint_key: {}}}\n\
         defaults: {{interval: 2s, timeout: 1500ms}}\nsystems:\n  - name: canaries\n    strategy: warm\n    \
         workloads: [{{namespace: {name}, deployment: api-server}}]\n    databases:\n",
        kube.kubeconfig_for_admin().display(),
        reference("token"),
    );
    for variable in ["DATABASE_URL", "TORN_URL", "REPLICA_URL", "LITERAL_URL", "API_TOKEN", "ABSENT_URL"] {
        text += &format!(
            "      - {{name: {}, endpoint: {{workload: api-server, env: {variable}}}, queries: [{{name: ids, sql: \"select 1\"}}]}}\n",
            variable.to_lowercase().replace('_', "-")
        );
    }
    text += &format!(
        "      - {{name: given, endpoint: {{url: {}}}, queries: [{{name: ids, sql: \"select 1\"}}]}}\n\
         \x20     - {{name: apart, endpoint: {{url: \"postgresql://app@{}:{}/orders\", password: {}}}, queries: [{{name: ids, sql: \"select 1\"}}]}}\n",
        reference("url"),
        pg.host(),
        pg.port(),
        reference("password"),
    );
    text += &format!(
        "    dependencies: [{{name: redis, endpoint: {{workload: api-server, env: REDIS_URL}}}}]\n    \
         requests: [{{name: call, url: \"http://{deny}/\", headers: {{authorization: {}}}}}]\n",
        reference("token"),
    );
    let config = canaries.file("dr.yaml", &text);
    let exporter = Exporter::start_command(start(&canaries.dir, &config, &[]), &scratch_dir("log")).await;
    eventually("the wrong passwords were refused", 30 * SECOND, async || {
        let report = exporter.report().await;
        let checks = report["systems"][0]["checks"].as_array().expect("checks").clone();
        let refused = |target: &str| checks.iter().any(|c| c["target"] == target && c["reason"] == "auth");
        let waits: Vec<_> = ["database-url", "replica-url", "literal-url", "given", "apart"]
            .into_iter()
            .filter(|target| !refused(target))
            .collect();
        if waits.is_empty() { Ok(()) } else { Err(format!("{waits:?}: {checks:#?}")) }
    })
    .await;
    all_have_run(&exporter, 2.0).await;
    let mut said = Said::by(&exporter, &["canaries"]).await;
    for arguments in [&["diagnose", &config][..], &["diagnose", "--json", &config], &["rbac", &config]] {
        said.add_output(&arguments.join(" "), &tell(&canaries.dir, &[], arguments));
    }
    said.add("the log to its end", exporter.stop().await.log);
    said.is_silent_about(MARK);
    // Our own way into the cluster is one more.
    said.is_silent_about(kube.token());
}
