//! The binary as an operator meets it.
// The product's bans (clocks, bare connects) keep the exporter honest; tests stand outside of it.
#![allow(clippy::disallowed_methods)]

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::lab::{
    App, Claim, Config, Exporter, Fault, Site, SynBlackhole, free_port, lab_ip, scratch_dir, west_ip,
};

const SECOND: Duration = Duration::from_secs(1);
const BAD: &str = "site: {name: dr-west, region: us-west-2, role: standy}\n\
                   defaults: {interval: 5, timeout: 1s}\n\
                   systems:\n  - name: orders\n    surfaces: [{name: a, url: \"http://127.0.0.1:1/\", decisve: true}]\n";

fn file(text: &str) -> PathBuf {
    let file = scratch_dir("cli").join("dr.yaml");
    std::fs::write(&file, text).expect("write a configuration");
    file
}

fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = Exporter::run(arguments);
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

fn good() -> PathBuf {
    file(&Config::default().surface("health", "http://127.0.0.1:1/", "decisive: true").yaml())
}

#[test]
fn a_bad_configuration_is_told_whole_and_binds_nothing() {
    let ip = lab_ip();
    let listen = format!("{ip}:{}", free_port(ip));
    let bad = file(BAD);
    let path = bad.to_str().expect("a path");
    let started = run(&["--config.file", path, "--web.listen-address", &listen]);
    let checked = run(&["check", path]);
    let flagged = run(&["--config.check", "--config.file", path]);
    assert_eq!(started, checked);
    assert_eq!(started, flagged);
    let (code, out, said) = started;
    assert_eq!((code, out.as_str()), (64, ""), "{said}");
    for place in [":1:", ":2:", ":5:"] {
        assert!(said.contains(&format!("{path}{place}")), "{place} is missing:\n{said}");
    }
    for key in ["site.role", "defaults.interval", "decisve"] {
        assert!(said.contains(key), "{key} is missing:\n{said}");
    }
    assert!(!said.contains("listening"), "{said}");
    assert!(TcpStream::connect(&listen).is_err());

    let (code, _, said) = run(&["--config.file", "/nowhere/dr.yaml"]);
    assert_eq!(code, 64);
    assert!(said.contains("/nowhere/dr.yaml"), "{said}");
}

#[test]
fn a_good_configuration_is_fine_without_any_network() {
    let good = good();
    let path = good.to_str().expect("a path");
    for arguments in [vec!["check", path], vec!["--config.check", "--config.file", path]] {
        let (code, out, said) = run(&arguments);
        assert_eq!((code, said.as_str()), (0, ""), "{out}");
        assert!(out.contains("fine") && out.contains(path), "{out}");
    }
}

#[test]
fn the_version_and_the_flags_are_those_of_an_exporter() {
    let (code, out, _) = run(&["--version"]);
    assert_eq!((code, out.trim()), (0, concat!("dr-exporter ", env!("CARGO_PKG_VERSION"))));
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, 0);
    for flag in [
        "--config.file",
        "--config.check",
        "--web.listen-address",
        "--web.telemetry-path",
        "--log.level",
        "--log.format",
        "--version",
        "demo",
        "diagnose",
        ":10888",
    ] {
        assert!(out.contains(flag), "{flag} is missing:\n{out}");
    }
}

#[test]
fn flags_that_are_not_understood_end_it() {
    let good = good();
    let path = good.to_str().expect("a path");
    let cases: [(&[&str], &str); 5] = [
        (&["--log.level", "loud=very"], "--log.level"),
        (&["--log.format", "xml"], "--log.format"),
        (&["--web.listen-address", "nowhere"], "--web.listen-address"),
        (&["--web.telemetry-path", "/config"], "--web.telemetry-path"),
        (&["--no-such-flag"], "--no-such-flag"),
    ];
    for (flags, named) in cases {
        let (code, _, said) = run(&[&["--config.file", path, "--config.check"], flags].concat());
        assert_ne!(code, 0, "{flags:?}");
        assert!(said.contains(named), "{flags:?}:\n{said}");
    }
}

#[test]
fn a_bad_web_configuration_is_refused_before_a_port_is_bound() {
    let good = good();
    let good = good.to_str().expect("a path");
    // A port that is taken: whoever comes to bind it says so.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let file = scratch_dir("web-config").join("web.yml");
    let bad = "tls_server_config: {min_version: TLS10, cert_file: no.crt, key_file: no.key}\nbasic_auth_users: {a: canary}\n";
    std::fs::write(&file, bad).expect("write");
    let file = file.to_str().expect("a path");
    for flags in [&["--config.check"][..], &["--web.listen-address", &address]] {
        let (code, _, said) = run(&[&["--config.file", good, "--web.config.file", file], flags].concat());
        assert_eq!(code, 64, "{said}");
        for line in [
            ":1:34: tls_server_config.min_version: TLS10 is not to be had",
            ":2:23: basic_auth_users.a: expected the bcrypt",
        ] {
            assert!(said.contains(&format!("{file}{line}")), "{said}");
        }
        assert!(!said.contains("canary") && !said.contains(&address), "{said}");
    }
    let (code, _, said) = run(&["--config.file", good, "--web.config.file", "/nowhere/web.yml"]);
    assert_eq!((code, said.contains("/nowhere/web.yml:1:1: cannot be read")), (64, true), "{said}");
}

#[test]
fn a_password_is_hashed_from_standard_input() {
    let hash = |input: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dr-exporter"))
            .arg("hash-password")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("dr-exporter starts");
        child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("write");
        let out = child.wait_with_output().expect("an end");
        (out.status.code(), String::from_utf8(out.stdout).expect("text").trim_end().to_owned())
    };
    let (code, made) = hash("correct horse\n");
    assert_eq!((code, bcrypt::verify("correct horse", &made).ok()), (Some(0), Some(true)), "{made}");
    assert_eq!(hash("\n"), (Some(64), String::new()));
}

#[test]
fn an_unknown_level_is_an_error() {
    let good = good();
    let (code, _, said) =
        run(&["--config.file", good.to_str().expect("a path"), "--config.check", "--log.level", "loud"]);
    assert_eq!(code, 64, "{said}");
    assert!(said.contains("--log.level"), "{said}");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let first = Config::default().surface("health", "http://127.0.0.1:1/", "decisive: true").start().await;
    let taken = first.address().to_string();
    let good = good();
    let began = Instant::now();
    let free = format!("127.0.0.1:{}", free_port([127, 0, 0, 1].into()));
    let (code, _, said) = run(&[
        "--config.file",
        good.to_str().expect("a path"),
        "--web.listen-address",
        &free,
        "--web.listen-address",
        &taken,
    ]);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&taken) && !said.contains("listening"), "{said}");
    assert!(began.elapsed() < 5 * SECOND);
    assert_eq!(first.get("/-/healthy").await.status, 200);
}

#[tokio::test]
async fn it_ends_within_five_seconds_whatever_hangs() {
    let app = App::start("west", west_ip(), "postgresql://app@127.20.0.1:1/orders").await;
    app.behave(|b| {
        b.health = Claim::StaticOk;
        b.faults.insert("/hang".to_owned(), Fault::Hang);
        b.faults.insert("/endless".to_owned(), Fault::Trickle(SECOND / 10));
    });
    let hole = SynBlackhole::start(west_ip());
    let config = Config::default()
        .database_at(&format!("postgresql://app:x@{}/orders", hole.address()))
        .surface("hang", &app.url("/hang"), "decisive: true")
        .surface("endless", &app.url("/endless"), "expect: {json: {/a: b}}")
        .request("hole", &format!("http://{}/", hole.address()), "")
        .request("health", &app.url("/health"), "");
    let exporter = Exporter::start(&config.yaml_every("60s", "60s")).await;
    // Clients that sit there: silent, with half a request, and one that reads nothing of many answers.
    let open = || TcpStream::connect(exporter.address()).expect("connect");
    let silent = open();
    let mut half = open();
    half.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-").expect("write");
    let mut deaf = open();
    deaf.write_all(&b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(200)).expect("write");
    tokio::time::sleep(SECOND).await;
    let exit = exporter.stop().await;
    assert_eq!(exit.code, 0, "{}", exit.log);
    assert!(exit.took < 5 * SECOND, "{:?}\n{}", exit.took, exit.log);
    drop((silent, half, deaf));
}

#[tokio::test]
async fn a_quiet_exporter_ends_at_once() {
    let exporter = Config::default().surface("health", "http://127.0.0.1:1/", "decisive: true").start().await;
    let exit = exporter.stop().await;
    assert_eq!(exit.code, 0, "{}", exit.log);
    assert!(exit.took < 2 * SECOND, "{:?}", exit.took);
    assert!(exit.log.contains("stopping"), "{}", exit.log);
}

#[tokio::test]
async fn logs_are_lines_of_logfmt_or_json() {
    let config = Config::default().surface("health", "http://127.0.0.1:1/", "decisive: true").yaml();
    let debug = ["--log.level", "debug"];
    let json = Exporter::start_with(&config, &[&debug[..], &["--log.format", "json"]].concat()).await;
    let logfmt = Exporter::start_with(&config, &debug).await;
    for exporter in [&json, &logfmt] {
        exporter.fails("surface", "health", "refused").await;
    }
    let lines = json.log();
    let mut messages = Vec::new();
    for line in lines.lines() {
        let object: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}"));
        assert!(object["level"].is_string() && object["timestamp"].is_string(), "{line}");
        messages.push(object["message"].as_str().unwrap_or_default().to_owned());
    }
    assert!(
        messages.iter().any(|m| m == "listening") && messages.iter().any(|m| m == "run ended"),
        "{lines}"
    );
    let lines = logfmt.log();
    let ended = lines.lines().find(|line| line.contains("run ended")).expect("a line of a run");
    for pair in ["system=orders", "check=surface", "target=health"] {
        assert!(ended.contains(pair), "{ended}");
    }
    assert!(!lines.contains('\u{1b}'), "colours in a log");
}

#[tokio::test]
async fn diagnose_asks_once_and_its_exit_code_is_the_verdict() {
    let site = Site::start().await;
    let config = file(&site.config().yaml());
    let path = config.to_str().expect("a path").to_owned();
    let diagnose = async |more: &'static [&'static str]| {
        let path = path.clone();
        tokio::task::spawn_blocking(move || run(&[&["diagnose", &path], more].concat()))
            .await
            .expect("it ends")
    };
    let (code, out, said) = diagnose(&[]).await;
    assert_eq!(code, 0, "{out}{said}");
    assert!(out.contains("orders") && out.contains("USABLE"), "{out}");

    site.app.behave(|b| b.health = Claim::StaticOk);
    site.node.stop_immediate().await;
    let began = Instant::now();
    let (code, out, said) = diagnose(&[]).await;
    assert_eq!(code, 4, "{out}{said}");
    assert!(out.contains("UNUSABLE") && out.contains("business query"), "{out}");
    assert!(began.elapsed() < 4 * SECOND, "{:?}", began.elapsed());
    let (code, out, _) = diagnose(&["--json"]).await;
    let report: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((code, &report["systems"][0]["verdict"]), (4, &"unusable".into()), "{report}");

    // Only claims, no proof: unknown.
    let config =
        file(&Config::default().surface("health", &site.app.url("/health"), "decisive: true").yaml());
    let (code, out, _) = run_blocking(config).await;
    assert_eq!(code, 3, "{out}");
}

async fn run_blocking(config: PathBuf) -> (i32, String, String) {
    let path = config.to_str().expect("a path").to_owned();
    tokio::task::spawn_blocking(move || run(&["diagnose", &path])).await.expect("it ends")
}

#[tokio::test]
async fn it_listens_wherever_it_is_told_to() {
    let (first, second) = (lab_ip(), lab_ip());
    let addresses = [first, second].map(|ip| SocketAddr::new(ip, free_port(ip)));
    let config = Config::default().surface("health", "http://127.0.0.1:1/", "decisive: true").yaml();
    let [a, b] = addresses.map(|address| address.to_string());
    let flags =
        ["--web.listen-address", &a, "--web.listen-address", &b, "--web.telemetry-path", "/dr/metrics"];
    let exporter = Exporter::start_with(&config, &flags).await;
    for address in [exporter.address(), addresses[0], addresses[1]] {
        let answer = crate::lab::http::client().get(format!("http://{address}/dr/metrics")).send().await;
        let text = answer.expect("an answer").text().await.expect("a text");
        assert!(text.contains("dr_verdict{"), "{address}: {text}");
    }
    assert_eq!(exporter.get("/metrics").await.status, 404);
    assert!(exporter.get("/").await.text().contains("/dr/metrics"));
}

#[test]
fn without_a_file_it_says_which_one_it_looked_for() {
    let dir = scratch_dir("empty");
    let out =
        Command::new(env!("CARGO_BIN_EXE_dr-exporter")).current_dir(dir).output().expect("run dr-exporter");
    assert_eq!(out.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&out.stderr).contains("dr-exporter.yaml"));
}
