//! `--web.config.file`: TLS, client certificates, logins and limits, with real handshakes and a real Prometheus.
// The product's bans (clocks, bare connects) keep the exporter honest; tests stand outside of it.
#![allow(clippy::disallowed_methods)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::lab::http::client;
use crate::lab::{Config, Exporter, PromVersion, Prometheus, Scrape, eventually, promtool, scratch_dir};

const SECOND: Duration = Duration::from_secs(1);
const EXAMPLE: &str = include_str!("../../docs/web-config.example.yml");
/// Of `right`.
fn users() -> String {
    format!("basic_auth_users: {{alice: {}}}\n", bcrypt::hash("right", 5).expect("a hash"))
}

/// An authority that issues certificates for the host `localhost` and for clients.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// A directory with a web configuration and what it names.
pub(crate) struct Scene {
    dir: PathBuf,
    authority: Authority,
}

// === impl Authority ===

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, format!("authority {}", rand::random::<u64>()));
        let pem = params.self_signed(&key).expect("a certificate").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for this name, and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        (params.signed_by(&key, &self.issuer).expect("a certificate").pem(), key.serialize_pem())
    }
}

// === impl Scene ===

impl Scene {
    pub(crate) fn new() -> Self {
        let scene = Self { dir: scratch_dir("web-config"), authority: Authority::new() };
        scene.certify();
        scene.write("clients-ca.crt", &scene.authority.pem);
        scene
    }

    fn certify(&self) {
        let (certificate, key) = self.authority.issue("localhost");
        self.write("tls.crt", &certificate);
        self.write("tls.key", &key);
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.dir.join(name), text).expect("write");
    }

    pub(crate) fn web(&self) -> PathBuf {
        self.dir.join("web.yml")
    }

    /// Starts an exporter behind TLS; `tls` is further YAML of its section, `more` further sections.
    async fn start(&self, tls: &str, more: &str) -> Exporter {
        self.write(
            "web.yml",
            &format!("tls_server_config: {{cert_file: tls.crt, key_file: tls.key, {tls}}}\n{more}"),
        );
        started(&self.web()).await
    }

    /// Starts one with another configuration behind TLS.
    pub(crate) async fn start_with(&self, config: &str) -> Exporter {
        self.write("web.yml", "tls_server_config: {cert_file: tls.crt, key_file: tls.key}\n");
        started_with(&self.web(), config).await
    }

    /// A client that trusts the authority, and shows this certificate.
    pub(crate) fn client(&self, identity: Option<&(String, String)>) -> reqwest::Client {
        let _ = client();
        let root = reqwest::Certificate::from_pem(self.authority.pem.as_bytes()).expect("a certificate");
        let builder = reqwest::Client::builder().tls_certs_only([root]).no_proxy().pool_max_idle_per_host(0);
        let builder = match identity {
            None => builder,
            Some((certificate, key)) => {
                let pem = format!("{certificate}{key}");
                builder.identity(reqwest::Identity::from_pem(pem.as_bytes()).expect("an identity"))
            }
        };
        builder.timeout(5 * SECOND).build().expect("a client")
    }

    /// A connection that trusts the authority and offers these protocols.
    pub(crate) async fn tls(
        &self,
        exporter: &Exporter,
        protocols: &[&[u8]],
    ) -> tokio_rustls::client::TlsStream<tokio::net::TcpStream> {
        use rustls_pki_types::pem::PemObject as _;
        let _ = client();
        let mut roots = rustls::RootCertStore::empty();
        let der = rustls_pki_types::CertificateDer::from_pem_slice(self.authority.pem.as_bytes());
        roots.add(der.expect("a certificate")).expect("a root");
        let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let stream = tokio::net::TcpStream::connect(exporter.address()).await.expect("a connection");
        let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
        connector.connect("localhost".try_into().expect("a name"), stream).await.expect("a handshake")
    }
}

async fn started(web: &Path) -> Exporter {
    let config = Config::default().surface("health", "http://127.0.0.1:1/", "decisive: true").yaml();
    started_with(web, &config).await
}

async fn started_with(web: &Path, config: &str) -> Exporter {
    let flags = ["--web.config.file", web.to_str().expect("a path"), "--log.level", "debug"];
    Exporter::start_with(config, &flags).await
}

fn https(exporter: &Exporter, path: &str) -> String {
    format!("https://localhost:{}{path}", exporter.address().port())
}

/// The status, or `None` if no answer came.
async fn status(client: &reqwest::Client, url: &str, login: Option<(&str, &str)>) -> Option<u16> {
    let request = client.get(url);
    let request = match login {
        None => request,
        Some((user, password)) => request.basic_auth(user, Some(password)),
    };
    request.send().await.ok().map(|answer| answer.status().as_u16())
}

#[tokio::test]
async fn the_example_is_one_for_promtool_and_for_us() {
    let scene = Scene::new();
    scene.write("web.yml", EXAMPLE);
    for version in [PromVersion::Old, PromVersion::New] {
        let out = Command::new(promtool(version)).args(["check", "web-config"]).arg(scene.web()).output();
        let out = out.expect("promtool starts");
        assert!(out.status.success(), "{version:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
    let exporter = started(&scene.web()).await;
    let url = https(&exporter, "/metrics");
    let answer = scene
        .client(None)
        .get(&url)
        .basic_auth("prometheus", Some("example"))
        .send()
        .await
        .expect("an answer");
    assert_eq!(answer.status().as_u16(), 200);
    assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000");
}

#[tokio::test]
async fn only_users_come_in_and_health_checks_need_no_login() {
    let scene = Scene::new();
    let exporter = scene.start("", &users()).await;
    let client = scene.client(None);
    for path in ["/", "/metrics", "/config", "/api/v1/report", "/nothing", "/-/reload", "/-/healthy/x"] {
        let url = https(&exporter, path);
        for login in [None, Some(("alice", "wrong")), Some(("bob", "right")), Some(("alice", ""))] {
            assert_eq!(status(&client, &url, login).await, Some(401), "{path} {login:?}");
        }
        assert_ne!(status(&client, &url, Some(("alice", "right"))).await, Some(401), "{path}");
    }
    let refused = client.get(https(&exporter, "/metrics")).send().await.expect("an answer");
    assert!(refused.headers()["www-authenticate"].to_str().is_ok_and(|value| value.starts_with("Basic")));
    for (path, expected) in
        [("/-/healthy", 200), ("/-/ready", 200), ("/dr-ready/orders", 503), ("/dr-ready/x", 404)]
    {
        assert_eq!(status(&client, &https(&exporter, path), None).await, Some(expected), "{path}");
    }
    // A login that is remembered costs no bcrypt.
    let began = Instant::now();
    for _ in 0..20 {
        assert_eq!(
            status(&client, &https(&exporter, "/-/healthy"), Some(("alice", "right"))).await,
            Some(200)
        );
    }
    assert!(began.elapsed() < 3 * SECOND, "{:?}", began.elapsed());
    let config = client.get(https(&exporter, "/config")).basic_auth("alice", Some("right")).send().await;
    let config = config.expect("an answer").text().await.expect("a text");
    assert!(config.contains("# web configuration: "), "{config}");
    let hash = users().split("$2b$05$").nth(1).map(|rest| rest[..10].to_owned()).expect("a hash");
    let everything = format!("{config}{}", exporter.log());
    for secret in ["$2b$", hash.as_str(), "PRIVATE KEY", "YWxpY2U6cmlnaHQ", "alice:right", "wrong"] {
        assert!(!everything.contains(secret), "{secret} is told");
    }
    // HTTP where HTTPS is spoken.
    let plain = crate::lab::http::client().get(exporter.url("/metrics")).send().await.expect("an answer");
    assert_eq!(plain.status().as_u16(), 400);
    assert_eq!(plain.text().await.expect("a text"), "this port speaks HTTPS\n");
}

#[tokio::test]
async fn client_certificates_of_every_kind() {
    let scene = Scene::new();
    let right = scene.authority.issue("prometheus.example");
    let other_name = scene.authority.issue("elsewhere.example");
    let stranger = Authority::new().issue("prometheus.example");
    let ca = "client_ca_file: clients-ca.crt";
    let sans = "client_ca_file: clients-ca.crt, client_allowed_sans: [a.example, prometheus.example]";
    // Without one, of a stranger, with another name, the right one.
    for (kind, more, let_in) in [
        ("NoClientCert", "", [true, true, true, true]),
        ("RequestClientCert", "", [true, true, true, true]),
        ("RequireAnyClientCert", "", [false, true, true, true]),
        ("VerifyClientCertIfGiven", ca, [true, false, true, true]),
        ("RequireAndVerifyClientCert", ca, [false, false, true, true]),
        ("VerifyClientCertIfGiven", sans, [true, false, false, true]),
        ("RequireAndVerifyClientCert", sans, [false, false, false, true]),
    ] {
        for version in ["TLS12", "TLS13"] {
            let tls =
                format!("client_auth_type: {kind}, min_version: {version}, max_version: {version}, {more}");
            let exporter = scene.start(&tls, "").await;
            let shown = [None, Some(&stranger), Some(&other_name), Some(&right)];
            for (identity, expected) in shown.into_iter().zip(let_in) {
                let came = status(&scene.client(identity), &https(&exporter, "/metrics"), None).await;
                let who = identity.map(|(certificate, _)| certificate == &right.0);
                assert_eq!(came, expected.then_some(200), "{kind} {more} {version} {who:?}");
            }
        }
    }
    // One that is its own authority, as `openssl req -x509` makes it.
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["self.example".to_owned()]).expect("a name");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem());
    scene.write("clients-ca.crt", &own.0);
    let exporter = scene.start(&format!("client_auth_type: RequireAndVerifyClientCert, {ca}"), "").await;
    for (identity, expected) in [(&own, Some(200)), (&right, None)] {
        assert_eq!(
            status(&scene.client(Some(identity)), &https(&exporter, "/metrics"), None).await,
            expected
        );
    }
}

#[tokio::test]
async fn a_rotation_needs_no_restart_and_a_broken_one_changes_nothing() {
    let scene = Scene::new();
    let exporter = scene.start("", &users()).await;
    let url = https(&exporter, "/metrics");
    let old = scene.client(None);
    assert_eq!(status(&old, &url, Some(("alice", "right"))).await, Some(200));
    // Another authority altogether: only the new certificate satisfies its client.
    let next = Scene { dir: scene.dir.clone(), authority: Authority::new() };
    next.certify();
    eventually("the new certificate is shown", 8 * SECOND, async || {
        match status(&next.client(None), &url, Some(("alice", "right"))).await {
            Some(200) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(status(&old, &url, None).await, None, "the old one is gone");

    next.write("tls.key", "not a key");
    eventually("what is wrong is said", 8 * SECOND, async || {
        let said = exporter.log();
        if said.contains("the last good one stays in force") { Ok(()) } else { Err(said) }
    })
    .await;
    let config =
        next.client(None).get(https(&exporter, "/config")).basic_auth("alice", Some("right")).send().await;
    let config = config.expect("an answer").text().await.expect("a text");
    assert!(config.contains("cannot be used") && config.contains("key_file"), "{config}");
    let current = async || {
        let told = next
            .client(None)
            .get(https(&exporter, "/metrics"))
            .basic_auth("alice", Some("right"))
            .send()
            .await;
        let told = told.expect("an answer").text().await.expect("a text");
        let line =
            told.lines().find(|line| line.starts_with("dr_exporter_web_config_last_reload_successful "));
        line.map(str::to_owned).unwrap_or_default()
    };
    assert_eq!(current().await, "dr_exporter_web_config_last_reload_successful 0.0");

    next.certify();
    eventually("all is well again", 8 * SECOND, async || match current().await {
        line if line.ends_with(" 1.0") => Ok(()),
        line => Err(line),
    })
    .await;
    // A truncated file is no reason to let everybody in.
    next.write("web.yml", "");
    tokio::time::sleep(5 * SECOND).await;
    assert_eq!(status(&next.client(None), &url, None).await, Some(401));

    // A new password is in force, and the old one is not, though it was remembered.
    let hash = bcrypt::hash("new", 4).expect("a hash");
    next.write("web.yml", &format!("tls_server_config: {{cert_file: tls.crt, key_file: tls.key}}\nbasic_auth_users: {{alice: {hash}}}\n"));
    eventually("the new password is in force", 8 * SECOND, async || {
        match status(&next.client(None), &url, Some(("alice", "new"))).await {
            Some(200) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert_eq!(status(&next.client(None), &url, Some(("alice", "right"))).await, Some(401));
}

#[tokio::test]
async fn prometheus_old_and_new_scrape_over_tls_with_a_password() {
    let scene = Scene::new();
    let exporter = scene.start("", &users()).await;
    let ca = scene.dir.join("clients-ca.crt");
    let mut right = Scrape::new("right", &[exporter.address()]);
    let tls = format!("tls_config: {{ca_file: {:?}, server_name: localhost}}", ca.display().to_string());
    right.more = format!("scheme: https\n{tls}\nbasic_auth: {{username: alice, password: right}}");
    let mut wrong = right.clone();
    (wrong.job, wrong.more) = ("wrong".to_owned(), right.more.replace("password: right", "password: wrong"));
    let jobs = [right, wrong];
    let (old, new) = tokio::join!(
        Prometheus::start(PromVersion::Old, SECOND, &jobs, &[]),
        Prometheus::start(PromVersion::New, SECOND, &jobs, &[]),
    );
    for server in [old, new] {
        server.wait_up("right", 15 * SECOND).await;
        assert_eq!(server.query("dr_exporter_build_info").await.len(), 1);
        eventually("the wrong password is refused", 10 * SECOND, async || {
            let targets = server.targets().await;
            let said =
                targets.into_iter().find(|target| target.job == "wrong").map(|target| target.last_error);
            if said.as_ref().is_some_and(|said| said.contains("401")) {
                Ok(())
            } else {
                Err(format!("{said:?}"))
            }
        })
        .await;
    }
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_wanted() {
    let scene = Scene::new();
    for (more, expected) in [("", &b"h2"[..]), ("http_server_config: {http2: false}\n", b"http/1.1")] {
        let exporter = scene.start("", more).await;
        let stream = scene.tls(&exporter, &[b"h2", b"http/1.1"]).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(expected));
        if expected == b"h2" {
            let io = hyper_util::rt::TokioIo::new(stream);
            let executor = hyper_util::rt::TokioExecutor::new();
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(executor, io).await.expect("a handshake of HTTP/2");
            let _running = crate::lab::http::Task::spawn(async move { drop(connection.await) });
            let asks = (0..8).map(|_| {
                let request = http::Request::get("https://localhost/metrics")
                    .body(http_body_util::Empty::<bytes::Bytes>::new());
                sender.send_request(request.expect("a request"))
            });
            for answer in futures_util::future::join_all(asks).await {
                use http_body_util::BodyExt as _;
                let answer = answer.expect("an answer");
                assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
                let body = answer.collect().await.expect("a body").to_bytes();
                assert!(body.windows(9).any(|word| word == b"dr_check_"));
            }
        }
    }
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_dropped_and_keeps_nobody_out() {
    let scene = Scene::new();
    let exporter = scene.start("", "").await;
    let client = scene.client(None);
    let mut idle: Vec<_> = (0..400)
        .map(|n| {
            let mut stream = TcpStream::connect(exporter.address()).expect("connect");
            if n % 2 == 0 {
                stream.write_all(&[22, 3, 1, 2, 0, 1]).expect("write");
            }
            stream
        })
        .collect();
    let began = Instant::now();
    assert_eq!(status(&client, &https(&exporter, "/metrics"), None).await, Some(200));
    assert!(began.elapsed() < 2 * SECOND, "{:?}", began.elapsed());
    let last = idle.pop().expect("a connection");
    let ended = tokio::task::spawn_blocking(move || {
        let mut last = last;
        last.set_read_timeout(Some(15 * SECOND)).expect("a timeout");
        last.read(&mut [0; 16]).map_err(|error| error.kind())
    });
    let ended = ended.await.expect("an end");
    assert!(!matches!(ended, Err(std::io::ErrorKind::WouldBlock)), "{ended:?} after {:?}", began.elapsed());
}

#[tokio::test]
async fn a_rate_limit_is_kept_and_fails_no_health_check() {
    let scene = Scene::new();
    scene.write("web.yml", "rate_limit: {interval: 1h, burst: 3}\n");
    let exporter = started(&scene.web()).await;
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(exporter.get("/metrics").await);
    }
    assert_eq!(all.iter().map(|reply| reply.status).collect::<Vec<_>>(), [200, 200, 200, 429, 429]);
    assert_eq!(all[3].header("retry-after"), "1");
    for _ in 0..20 {
        assert_eq!(exporter.get("/-/healthy").await.status, 200);
        assert_eq!(exporter.get("/dr-ready/orders").await.status, 503);
    }
}
