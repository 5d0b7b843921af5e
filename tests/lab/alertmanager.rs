//! The distribution's Alertmanager, and the receiver behind all of its webhooks.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::Deserialize;

use super::daemon::Daemon;
use super::http::{Task, respond, serve};
use super::run::{eventually, executable, free_port, lab_ip, scratch_dir};

/// A running Alertmanager without a cluster, with its own storage; gone on drop.
pub struct Alertmanager {
    address: SocketAddr,
    _daemon: Daemon,
}

/// A server that takes every notification and keeps it.
pub struct Sink {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<Notification>>>,
    _task: Task,
}

/// One call of a webhook.
#[derive(Debug, Clone)]
pub struct Notification {
    /// When it arrived.
    pub at: Instant,
    /// The receiver's name in Alertmanager.
    pub receiver: String,
    /// All alerts of the group.
    pub alerts: Vec<Told>,
}

/// An alert as Alertmanager tells it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Told {
    /// `firing` or `resolved`.
    pub status: String,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// All annotations.
    pub annotations: BTreeMap<String, String>,
}

/// The body of a webhook, version 4: what is read of it.
#[derive(Deserialize)]
struct Webhook {
    receiver: String,
    alerts: Vec<Told>,
}

// === impl Alertmanager ===

impl Alertmanager {
    /// Starts it with this configuration and waits until it is ready.
    pub async fn start(config: &str) -> Self {
        let dir = scratch_dir("alertmanager");
        std::fs::write(dir.join("alertmanager.yml"), config).expect("write alertmanager.yml");
        let ip = lab_ip();
        let address = SocketAddr::new(ip, free_port(ip));
        let mut command = Command::new(executable("prometheus-alertmanager"));
        command
            .arg(format!("--config.file={}", dir.join("alertmanager.yml").display()))
            .arg(format!("--storage.path={}", dir.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            // Alone: nobody to wait for.
            .arg("--cluster.listen-address=");
        let mut daemon = Daemon::spawn("alertmanager", command, &dir);
        daemon.until_ready(address).await;
        Self { address, _daemon: daemon }
    }

    /// Where its API listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

// === impl Sink ===

impl Sink {
    /// Starts on an address of its own.
    pub async fn start() -> Self {
        let heard: Arc<Mutex<Vec<Notification>>> = Arc::default();
        let kept = Arc::clone(&heard);
        let (address, task) = serve(lab_ip(), move |request| take(request, Arc::clone(&kept))).await;
        Self { address, heard, _task: task }
    }

    /// Where it listens; every path is taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has arrived so far at a receiver, in that order, of the alerts that are wanted.
    pub fn heard(&self, receiver: &str, wanted: impl Fn(&Told) -> bool) -> Vec<Notification> {
        let heard = self.heard.lock().unwrap();
        let here = heard.iter().filter(|n| n.receiver == receiver && n.alerts.iter().any(&wanted));
        here.map(|n| Notification {
            at: n.at,
            receiver: n.receiver.clone(),
            alerts: n.alerts.iter().filter(|told| wanted(told)).cloned().collect(),
        })
        .collect()
    }
}

async fn take(
    request: Request<Incoming>,
    heard: Arc<Mutex<Vec<Notification>>>,
) -> hyper::Response<super::http::Body> {
    let at = Instant::now();
    let body = request.into_body().collect().await.map(http_body_util::Collected::to_bytes);
    let read = body
        .map_err(|e| e.to_string())
        .and_then(|b| serde_json::from_slice::<Webhook>(&b).map_err(|e| e.to_string()));
    match read {
        Ok(Webhook { receiver, alerts }) => {
            heard.lock().unwrap().push(Notification { at, receiver, alerts });
            respond(StatusCode::OK, "text/plain", "")
        }
        // Alertmanager writes it into its log, and does not try again.
        Err(why) => respond(StatusCode::BAD_REQUEST, "text/plain", why),
    }
}

// === impl Told ===

impl Told {
    /// Whether it fires; otherwise it is resolved.
    pub fn fires(&self) -> bool {
        self.status == "firing"
    }

    /// A label, or nothing.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// The name of the alert.
    pub fn name(&self) -> &str {
        self.label("alertname")
    }
}
