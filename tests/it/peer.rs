//! The exporters of two sites read each other, as users run them; and what one does when the other is out of reach, is
//! the wrong one, or means harm.
// The product's bans (clocks, bare connects) keep the exporter honest; tests stand outside of it.
#![allow(clippy::disallowed_methods)]

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde_json::{Value, json};

use crate::lab::http::{Body, Task, respond, serve};
use crate::lab::{Config, Exporter, Proxy, ProxyMode, Site, eventually, free_port, lab_ip, scratch_dir};

const SECOND: Duration = Duration::from_secs(1);
const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// Files that two sites share: an authority, a certificate for 127.0.0.1, a user with the password `right`.
pub(super) struct Scene {
    dir: PathBuf,
}

// === impl Scene ===

impl Scene {
    pub(super) fn new() -> Self {
        let dir = scratch_dir("peers");
        let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).expect("write");
        let authority = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        write("ca.crt", &params.self_signed(&authority).expect("a certificate").pem());
        let issuer = Issuer::new(params, authority);
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        write("tls.crt", &params.signed_by(&key, &issuer).expect("a certificate").pem());
        write("tls.key", &key.serialize_pem());
        let hash = bcrypt::hash("right", 5).expect("a hash");
        let users = format!("basic_auth_users: {{peer: {hash}}}\n");
        write("web.yml", &format!("tls_server_config: {{cert_file: tls.crt, key_file: tls.key}}\n{users}"));
        Self { dir }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn password(&self, name: &str, password: &str) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, password).expect("write");
        path
    }

    /// An entry of `peers` behind TLS and a login.
    fn peer(&self, site: &str, port: u16, password: &Path) -> String {
        format!(
            "peers:\n  - {{site: {site}, url: \"https://127.0.0.1:{port}\", tls: {{ca_file: \"{}\"}},\n     \
             basic_auth: {{user: peer, password: {{file: \"{}\"}}}}}}\n",
            self.file("ca.crt").display(),
            password.display()
        )
    }

    /// Starts an exporter behind TLS and a login on that port.
    async fn start(&self, name: &str, port: u16, config: &str) -> Exporter {
        self.start_behind("web.yml", name, port, config).await
    }

    /// The same behind this web configuration.
    async fn start_behind(&self, web: &str, name: &str, port: u16, config: &str) -> Exporter {
        let path = self.file(&format!("{name}.yaml"));
        std::fs::write(&path, config).expect("write");
        let mut command = Command::new(env!("CARGO_BIN_EXE_dr-exporter"));
        command.arg("--config.file").arg(path).arg("--web.config.file").arg(self.file(web));
        command.args(["--web.listen-address", &format!("127.0.0.1:{port}"), "--log.level", "debug"]);
        Exporter::start_command(command, &scratch_dir(name)).await
    }

    /// GET as the other site does it.
    async fn get(&self, exporter: &Exporter, path: &str) -> String {
        let root = std::fs::read(self.file("ca.crt")).expect("the authority");
        let root = reqwest::Certificate::from_pem(&root).expect("a certificate");
        let _ = crate::lab::http::client();
        let client = reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().expect("a client");
        let url = format!("https://127.0.0.1:{}{path}", exporter.address().port());
        let answer = client.get(url).basic_auth("peer", Some("right")).send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        answer.text().await.expect("a text")
    }

    /// Waits until the first system's check of a peer stands like this, and gives its sentence.
    async fn stands(&self, exporter: &Exporter, target: &str, status: &str, reason: Value) -> String {
        eventually(&format!("the peer {target} is {status} with {reason}"), 8 * SECOND, async || {
            let report: Value =
                serde_json::from_str(&self.get(exporter, "/api/v1/report").await).expect("JSON");
            stands(&report, target, status, &reason)
        })
        .await
    }
}

fn stands(report: &Value, target: &str, status: &str, reason: &Value) -> Result<String, String> {
    let checks = report["systems"][0]["checks"].as_array().expect("checks");
    let check = checks.iter().find(|check| check["check"] == "peer" && check["target"] == target);
    let check = check.expect("a planned check");
    let words = check["detail"].as_str().unwrap_or_default().to_owned();
    if check["status"] == status && check["reason"] == *reason {
        return Ok(words);
    }
    Err(format!("{} {}: {words}", check["status"], check["reason"]))
}

fn site(name: &str, region: &str, role: &str, more: &str) -> String {
    format!(
        "site: {{name: {name}, region: {region}, role: {role}}}\nkubernetes: {{mode: disabled}}\n\
         defaults: {{interval: 1s, timeout: 900ms}}\n{more}\
         systems:\n  - name: orders\n    strategy: warm\n    surfaces:\n      - {{name: health, url: \"http://127.0.0.1:1/\"}}\n"
    )
}

#[tokio::test]
async fn two_exporters_read_each_other_over_tls_with_a_login() {
    let scene = Scene::new();
    let (east_port, west_port) = (free_port(LOCALHOST), free_port(LOCALHOST));
    let east_knows = scene.password("east-password", "right\n");
    let west_knows = scene.password("west-password", "right\n");
    let east = site("primary-east", "us-east-1", "primary", &scene.peer("dr-west", west_port, &east_knows));
    let west = site("dr-west", "us-west-2", "standby", &scene.peer("primary-east", east_port, &west_knows));
    let east = scene.start("east", east_port, &east).await;
    let west = scene.start("west", west_port, &west).await;

    let words = scene.stands(&east, "dr-west", "pass", Value::Null).await;
    assert!(words.contains("orders is standby there"), "{words}");
    let words = scene.stands(&west, "primary-east", "pass", Value::Null).await;
    assert!(words.contains("orders is primary there"), "{words}");
    let metrics = scene.get(&west, "/metrics").await;
    assert!(metrics.contains("dr_peer_expected{site=\"dr-west\",peer_site=\"primary-east\"} 1"), "{metrics}");

    // The password is read anew each time.
    scene.password("west-password", "wr0ng-c4n4ry");
    let words = scene.stands(&west, "primary-east", "unknown", json!("auth")).await;
    assert!(words.contains("`basic_auth`"), "{words}");
    scene.password("west-password", "right");
    scene.stands(&west, "primary-east", "pass", Value::Null).await;

    // One dies: the other does not know, and says so of nobody else.
    drop(east);
    scene.stands(&west, "primary-east", "unknown", json!("refused")).await;
    let report = scene.get(&west, "/api/v1/report").await;
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let reasons = report["systems"][0]["reasons"].as_array().expect("reasons");
    assert!(reasons.iter().all(|reason| reason["check"] != "peer"), "{reasons:?}");

    let config = scene.get(&west, "/config").await;
    let everything = format!("{config}{report}{metrics}{}", west.log());
    for secret in ["wr0ng-c4n4ry", "right\n", "cGVlcjpyaWdodA"] {
        assert!(!everything.contains(secret), "{secret} is told");
    }
}

#[tokio::test]
async fn a_client_certificate_is_shown_where_one_is_asked_for() {
    let scene = Scene::new();
    let tls = "cert_file: tls.crt, key_file: tls.key, client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.crt";
    std::fs::write(scene.file("mutual.yml"), format!("tls_server_config: {{{tls}}}\n")).expect("write");
    let port = free_port(LOCALHOST);
    let east = site("primary-east", "us-east-1", "primary", "");
    let _east = scene.start_behind("mutual.yml", "east", port, &east).await;
    let west = |more: &str| {
        let ca = scene.file("ca.crt").display().to_string();
        let url = format!("https://127.0.0.1:{port}");
        let peer =
            format!("peers: [{{site: primary-east, url: \"{url}\", tls: {{ca_file: \"{ca}\"}}{more}}}]\n");
        site("dr-west", "us-west-2", "standby", &peer)
    };
    let (cert, key) =
        (scene.file("tls.crt").display().to_string(), scene.file("tls.key").display().to_string());
    let shown = west(&format!(", client_certificate: {{cert_file: \"{cert}\", key_file: \"{key}\"}}"));
    let shown = Exporter::start(&shown).await;
    ends(&shown, "primary-east", "pass", Value::Null).await;
    let without = Exporter::start(&west("")).await;
    eventually("it is not let in", 8 * SECOND, async || {
        let report = without.report().await;
        let stand = |reason: &str| stands(&report, "primary-east", "unknown", &json!(reason));
        stand("tls").or_else(|_| stand("certificate"))
    })
    .await;
    let missing = west(", client_certificate: {cert_file: /no/such, key_file: /no/key}");
    let missing = Exporter::start(&missing).await;
    let words = ends(&missing, "primary-east", "unknown", json!("misconfigured")).await;
    assert!(words.contains("/no/such"), "{words}");
}

#[tokio::test]
async fn what_a_peer_reads_holds_no_host_name_and_no_secret() {
    let site = Site::start().await;
    let exporter = site.config().start().await;
    exporter.verdict("usable").await;
    let whole = exporter.get("/api/v1/report").await.text();
    assert!(whole.contains(&site.node.host().to_string()), "the whole report is for this site's people");
    let reply = exporter.get("/api/v1/report?view=peer").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "application/json"));
    let text = reply.text();
    let (node, app) = (site.node.host().to_string(), site.app.url("/"));
    for word in
        [node.as_str(), &site.node.port().to_string(), &app, "127.", "lab-app", "select", "http", "detail"]
    {
        assert!(!text.contains(word), "{word} travels: {text}");
    }
    let letter: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!((&letter["version"], &letter["site"]), (&json!(1), &json!("dr-west")));
    assert_eq!(letter["systems"][0]["name"], "orders");
    assert_eq!(letter["systems"][0]["role"], "standby");
    assert_eq!(letter["systems"][0]["databases"][0]["name"], "orders");
}

/// A server that answers as a test tells it to.
pub(super) struct Impostor {
    pub(super) url: String,
    says: Arc<Mutex<Says>>,
    asked: Arc<AtomicUsize>,
    _task: Task,
}

#[derive(Clone)]
pub(super) enum Says {
    Letter(Value),
    /// Stands by on every request but each fourth.
    Replicas(Value),
    Endless,
    Trickle,
    Bomb,
    Page(StatusCode, &'static str),
}

// === impl Impostor ===

impl Impostor {
    pub(super) async fn start(says: Says) -> Self {
        let (says, asked) = (Arc::new(Mutex::new(says)), Arc::<AtomicUsize>::default());
        let (told, counted) = (says.clone(), asked.clone());
        let (address, task) = serve(lab_ip(), move |request| {
            let says = told.lock().expect("no panic").clone();
            let authorized =
                request.headers().get("authorization").is_some_and(|v| v == "Bearer t0ken-c4n4ry");
            let fits =
                request.uri().path() == "/dr/api/v1/report" && request.uri().query() == Some("view=peer");
            let number = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                if !authorized {
                    return respond(StatusCode::UNAUTHORIZED, "text/plain", "who are you?");
                }
                if !fits {
                    return respond(StatusCode::NOT_FOUND, "text/plain", "nothing is here");
                }
                says.respond(number)
            }
        })
        .await;
        Self { url: format!("http://{address}/dr/"), says, asked, _task: task }
    }

    pub(super) fn say(&self, says: Says) {
        *self.says.lock().expect("no panic") = says;
    }

    /// An entry of `peers` with its token.
    pub(super) fn peer(&self, site: &str, scene: &Scene) -> String {
        let token = scene.password("token", "t0ken-c4n4ry\n");
        format!(
            "peers: [{{site: {site}, url: \"{}\", authorization: {{file: \"{}\"}}}}]\n",
            self.url,
            token.display()
        )
    }
}

// === impl Says ===

impl Says {
    fn respond(self, number: usize) -> Response<Body> {
        let letter = |letter: Value| respond(StatusCode::OK, "application/json", letter.to_string());
        match self {
            Says::Letter(value) => letter(dated(value)),
            Says::Replicas(value) if number % 4 == 3 => letter(dated(value)),
            Says::Replicas(mut value) => {
                value["replica"] = json!({"leads": false});
                value["systems"] = json!([]);
                letter(dated(value))
            }
            Says::Endless => streamed(Bytes::from(vec![b' '; 1 << 20]), Duration::ZERO),
            Says::Trickle => streamed(Bytes::from_static(b" "), Duration::from_millis(50)),
            Says::Bomb => {
                let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
                std::io::copy(&mut std::io::Read::take(std::io::repeat(b' '), 1 << 30), &mut packed)
                    .expect("pack");
                let mut answer = respond(StatusCode::OK, "application/json", packed.finish().expect("pack"));
                answer.headers_mut().insert("content-encoding", http::HeaderValue::from_static("gzip"));
                answer
            }
            Says::Page(status, text) => respond(status, "text/html", text),
        }
    }
}

fn dated(mut letter: Value) -> Value {
    letter["generated_at"] = json!(Timestamp::now());
    letter
}

fn streamed(piece: Bytes, pause: Duration) -> Response<Body> {
    let pieces = futures_util::stream::unfold((), move |()| {
        let piece = piece.clone();
        async move {
            tokio::time::sleep(pause).await;
            Some((Ok(Frame::data(piece)), ()))
        }
    });
    Response::new(StreamBody::new(pieces).boxed_unsync())
}

pub(super) fn letter(site: &str, declared: &str, role: &str) -> Value {
    json!({
        "version": 1, "site": site, "site_region": "us-east-1", "declared_role": declared, "replica": null,
        "systems": [{"name": "orders", "role": role, "databases": []}], "fingerprints": [],
    })
}

async fn ends(exporter: &Exporter, target: &str, status: &str, reason: Value) -> String {
    eventually(&format!("the peer {target} is {status} with {reason}"), 8 * SECOND, async || {
        stands(&exporter.report().await, target, status, &reason)
    })
    .await
}

#[tokio::test]
async fn a_peer_out_of_reach_is_unknown_and_accuses_nobody() {
    let (site, scene) = (Site::start().await, Scene::new());
    let impostor = Impostor::start(Says::Letter(letter("primary-east", "primary", "primary"))).await;
    let upstream =
        impostor.url.trim_start_matches("http://").trim_end_matches("/dr/").parse().expect("an address");
    let proxy = Proxy::start(lab_ip(), upstream).await;
    let by_proxy =
        impostor.peer("primary-east", &scene).replace(&upstream.to_string(), &proxy.address().to_string());
    let exporter = Exporter::start(&(by_proxy + &site.config().yaml())).await;
    ends(&exporter, "primary-east", "pass", Value::Null).await;
    exporter.is_fine().await;
    for (mode, reason) in [(ProxyMode::Refuse, "refused"), (ProxyMode::Blackhole, "timeout")] {
        proxy.set(mode).await;
        ends(&exporter, "primary-east", "unknown", json!(reason)).await;
        exporter.is_fine().await;
    }
    proxy.set(ProxyMode::Pass).await;
    ends(&exporter, "primary-east", "pass", Value::Null).await;
    let everything = format!("{}{}", exporter.get("/api/v1/report").await.text(), exporter.log());
    assert!(!everything.contains("t0ken-c4n4ry"), "the token is told");
}

#[tokio::test]
async fn the_wrong_site_answering_is_a_mistake_of_the_configuration_and_no_verdict() {
    let (site, scene) = (Site::start().await, Scene::new());
    let impostor = Impostor::start(Says::Letter(letter("primary-east", "primary", "primary"))).await;
    let exporter = Exporter::start(&(impostor.peer("primary-east", &scene) + &site.config().yaml())).await;
    ends(&exporter, "primary-east", "pass", Value::Null).await;
    for (says, status, reason, words) in [
        (
            Says::Letter(letter("dr-north", "standby", "standby")),
            "fail",
            "misconfigured",
            "calls itself `dr-north`",
        ),
        (
            Says::Letter(letter("dr-west", "standby", "standby")),
            "fail",
            "misconfigured",
            "our own site dr-west",
        ),
        (Says::Page(StatusCode::OK, "<html>login</html>"), "unknown", "body_mismatch", "is not a report"),
        (Says::Page(StatusCode::FOUND, ""), "unknown", "http_status", "status 302"),
        (Says::Page(StatusCode::FORBIDDEN, ""), "unknown", "permission", "status 403"),
        (Says::Letter(json!({"version": 2})), "unknown", "misconfigured", "version 2"),
    ] {
        impostor.say(says);
        eventually(&format!("the peer is {status} with {reason}: {words}"), 8 * SECOND, async || {
            let detail = stands(&exporter.report().await, "primary-east", status, &json!(reason))?;
            if detail.contains(words) { Ok(()) } else { Err(detail) }
        })
        .await;
        exporter.is_fine().await;
    }
}

#[tokio::test]
async fn a_huge_endless_slow_or_packed_report_is_bounded() {
    let scene = Scene::new();
    let impostor = Impostor::start(Says::Letter(letter("primary-east", "primary", "primary"))).await;
    let exporter =
        Exporter::start(&site("dr-west", "us-west-2", "standby", &impostor.peer("primary-east", &scene)))
            .await;
    ends(&exporter, "primary-east", "pass", Value::Null).await;
    for (says, reasons) in [
        (Says::Endless, ["limit", "timeout"]),
        (Says::Trickle, ["timeout", "timeout"]),
        (Says::Bomb, ["limit", "timeout"]),
    ] {
        impostor.say(says);
        eventually("the report is given up", 8 * SECOND, async || {
            let report = exporter.report().await;
            let stand = |reason: &str| stands(&report, "primary-east", "unknown", &json!(reason));
            stand(reasons[0]).or_else(|_| stand(reasons[1]))
        })
        .await;
    }
    let resident = exporter.sample("process_resident_memory_bytes", &[]).await.expect("a sample");
    assert!(resident < 128.0 * 1024.0 * 1024.0, "{resident} bytes");
}

#[tokio::test]
async fn a_replica_that_stands_by_is_passed_over() {
    let scene = Scene::new();
    let impostor = Impostor::start(Says::Replicas(letter("primary-east", "primary", "primary"))).await;
    let exporter =
        Exporter::start(&site("dr-west", "us-west-2", "standby", &impostor.peer("primary-east", &scene)))
            .await;
    ends(&exporter, "primary-east", "pass", Value::Null).await;
    assert!(impostor.asked.load(Ordering::SeqCst) >= 4, "each fourth of them probes");
    let mut idle = letter("primary-east", "primary", "primary");
    idle["replica"] = json!({"leads": false});
    impostor.say(Says::Letter(idle));
    ends(&exporter, "primary-east", "unknown", json!("starting")).await;
}

/// L98: declared primary, and the other site is the primary since the failover.
#[tokio::test]
async fn l98_an_old_primary_that_came_back_is_told_by_the_promoted_site() {
    let scene = Scene::new();
    let impostor = Impostor::start(Says::Letter(letter("dr-west", "standby", "standby"))).await;
    let exporter =
        Exporter::start(&site("primary-east", "us-east-1", "primary", &impostor.peer("dr-west", &scene)))
            .await;
    ends(&exporter, "dr-west", "pass", Value::Null).await;
    impostor.say(Says::Letter(letter("dr-west", "standby", "primary")));
    let words = ends(&exporter, "dr-west", "fail", json!("conflict")).await;
    assert!(words.contains("declare the roles anew"), "{words}");
    impostor.say(Says::Letter(letter("dr-west", "primary", "primary")));
    ends(&exporter, "dr-west", "pass", Value::Null).await;
}

/// The whole file of the tests is read as it is: a peer needs a name that is not ours, and one way to log in.
#[test]
fn what_cannot_be_a_peer_is_refused() {
    let scene = Scene::new();
    for (peer, says) in [
        ("{site: dr-west, url: \"http://x\"}", "a peer is another site"),
        ("{site: e, url: \"http://u:p@x\"}", "user and password do not belong into this address"),
        (
            "{site: e, url: \"http://x\", authorization: {env: A}, basic_auth: {user: b, password: {env: B}}}",
            "a peer is asked with one of them",
        ),
        ("{site: e, url: \"http://x\", drift: {ignore: [\"(\"]}}", "regular expression"),
    ] {
        let path = scene.file("refused.yaml");
        let text = Config::default().surface("health", "http://127.0.0.1:1/", "decisive: true").yaml();
        std::fs::write(&path, format!("peers: [{peer}]\n{text}")).expect("write");
        let out = Exporter::run(&["--config.check", "--config.file", path.to_str().expect("a path")]);
        let said =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert_eq!(out.status.code(), Some(64), "{said}");
        assert!(said.contains(says), "{said}");
    }
}
