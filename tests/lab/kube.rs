//! A real kube-apiserver on a real etcd. No kubelet and no controllers: a test writes what they would write, which is
//! what makes faults easy to stage.
//!
//! | file | what is in it |
//! | --- | --- |
//! | `api.rs` | the client: create or replace with its status, patch, delete, get; namespaces |
//! | `kinds.rs` | where each kind lives in the API |
//! | `access.rs` | kubeconfig files, tokens of service accounts, `kubectl`, `helm` |
//! | `objects.rs` | Services, nodes with their Leases, claims, quotas, CRDs: one function each |
//! | `workload.rs` | a Deployment or `StatefulSet` with its pods and statuses |
//! | `seed.rs` | the cluster of the incident |

mod access;
mod api;
mod kinds;
pub mod objects;
mod seed;
mod workload;

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::OnceCell;

use super::daemon::Daemon;
use super::run::{self, eventually, executable, free_port, lab_ip, scratch_dir};
use super::tls::{self, Validity};

pub use api::{KubeApi, Namespace, Refused};
pub use objects::Node;
pub use seed::{LOAD_BALANCER, SeedCluster};
pub use workload::{Running, Workload};

/// How long a start may take on a busy machine; 4 s on an idle one.
const PATIENCE: Duration = Duration::from_secs(90);

/// An API server with its etcd, RBAC in force; both are gone on drop. Its verbs are those of [`KubeApi`], as admin.
///
/// What the test client does is never throttled. Pods get the service account `default` of their namespace, as the
/// real admission demands. A namespace that is deleted never ends, because that takes a controller.
pub struct Kube {
    api: KubeApi,
    dir: PathBuf,
    address: SocketAddr,
    etcd: SocketAddr,
    // Before etcd: it complains at length when that goes first.
    server: Mutex<Option<Daemon>>,
    etcd_daemon: Mutex<Daemon>,
}

// === impl Kube ===

impl Kube {
    /// The one of this test binary: started by the first test that asks, shared by all, each in a namespace of its own.
    /// Nobody may stop it, and nobody may rely on there being no other nodes, storage classes or CRDs.
    pub async fn shared() -> &'static Self {
        // Its processes end with the test binary: statics are never dropped, but the reaper knows their directory.
        static SHARED: OnceCell<Kube> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// One for a test that stops or freezes it, or needs a cluster without others' nodes. Costs 4 s and 300 MB.
    pub async fn start() -> Self {
        let dir = scratch_dir("kube");
        // An address each, so that no two of them can be given the same port.
        let [etcd, peers, address] =
            [lab_ip(), lab_ip(), lab_ip()].map(|ip| SocketAddr::new(ip, free_port(ip)));
        let token = keys(&dir, address);
        let kube = Self {
            api: KubeApi::new(address, &authority(&dir), &token, 0),
            etcd_daemon: Mutex::new(start_etcd(&dir, etcd, peers)),
            server: Mutex::default(),
            dir,
            address,
            etcd,
        };
        kube.start_again().await;
        kube
    }

    /// A client that keeps its connections, for thousands of requests from one runtime.
    pub fn busy(&self) -> KubeApi {
        KubeApi::new(self.address, &authority(&self.dir), self.token(), 32)
    }

    /// Where it listens; its certificate is for this address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// SIGKILL: the port refuses, watches break, etcd keeps the data.
    pub fn kill(&self) {
        drop(self.server.lock().unwrap().take());
    }

    /// Starts it after `kill`, with the same port, keys and data, and waits until it is ready. A watch that goes on from
    /// before the last write, to whatever object, is too old (410); the Lease of a node is written every two seconds.
    pub async fn start_again(&self) {
        let server = self.start_server();
        *self.server.lock().unwrap() = Some(server);
        eventually("kube-apiserver is ready", PATIENCE, async || {
            self.etcd_daemon.lock().unwrap().must_run();
            self.server.lock().unwrap().as_mut().expect("a server").must_run();
            self.api.is_ready().await
        })
        .await;
    }

    /// SIGSTOP: it keeps its connections and answers nothing.
    pub fn freeze(&self) {
        self.server.lock().unwrap().as_ref().expect("a server that runs").freeze();
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.server.lock().unwrap().as_ref().expect("a server that runs").thaw();
    }

    /// The process id of the server.
    pub fn pid(&self) -> i32 {
        self.server.lock().unwrap().as_ref().expect("a server that runs").pid()
    }

    fn start_server(&self) -> Daemon {
        let Self { address, etcd, dir, .. } = self;
        let mut command = Command::new(program());
        let file = |name: &str| dir.join(name).display().to_string();
        let ip = address.ip().to_string();
        for (flag, value) in [
            ("etcd-servers", format!("http://{etcd}")),
            ("bind-address", ip.clone()),
            // It would look for the machine's own address, and there may be none.
            ("advertise-address", ip),
            ("secure-port", address.port().to_string()),
            ("tls-cert-file", file("server.crt")),
            ("tls-private-key-file", file("server.key")),
            ("service-account-issuer", "https://lab".to_owned()),
            ("service-account-key-file", file("sa.pub")),
            ("service-account-signing-key-file", file("sa.key")),
            ("token-auth-file", file("tokens.csv")),
            ("authorization-mode", "RBAC".to_owned()),
            ("service-cluster-ip-range", "10.100.0.0/16".to_owned()),
            ("endpoint-reconciler-type", "none".to_owned()),
            // What only a controller undoes: the taint of a new node, the finalizer of a claim.
            ("disable-admission-plugins", "TaintNodesByCondition,StorageObjectInUseProtection".to_owned()),
            // No throttling: many tests share one server.
            ("enable-priority-and-fairness", "false".to_owned()),
            ("max-requests-inflight", "0".to_owned()),
            ("max-mutating-requests-inflight", "0".to_owned()),
            ("profiling", "false".to_owned()),
        ] {
            command.arg(format!("--{flag}={value}"));
        }
        // Memory is what runs short beside four databases; its processor time does not matter here.
        command.env("GOGC", "50");
        Daemon::spawn("kube-apiserver", command, &subdir(dir, "server"))
    }
}

impl Deref for Kube {
    type Target = KubeApi;

    fn deref(&self) -> &KubeApi {
        &self.api
    }
}

fn start_etcd(dir: &Path, clients: SocketAddr, peers: SocketAddr) -> Daemon {
    let dir = subdir(dir, "etcd");
    let mut command = Command::new(executable("etcd"));
    command.args(["--name=lab", "--unsafe-no-fsync", "--log-level=error", "--data-dir=data"]);
    for flag in ["listen-client-urls", "advertise-client-urls"] {
        command.arg(format!("--{flag}=http://{clients}"));
    }
    for flag in ["listen-peer-urls", "initial-advertise-peer-urls"] {
        command.arg(format!("--{flag}=http://{peers}"));
    }
    command.arg(format!("--initial-cluster=lab=http://{peers}"));
    Daemon::spawn("etcd", command, &dir)
}

/// Writes certificates, keys and the admin's token; returns the token.
fn keys(dir: &Path, address: SocketAddr) -> String {
    let issued = tls::issue(&address.ip().to_string(), Validity::Current);
    let accounts = rcgen::KeyPair::generate().expect("a key");
    let token = format!("lab-admin-{:016x}", rand::random::<u64>());
    for (name, content) in [
        ("ca.crt", issued.ca),
        ("server.crt", issued.certificate),
        ("server.key", issued.key),
        ("sa.key", accounts.serialize_pem()),
        ("sa.pub", accounts.public_key_pem()),
        ("tokens.csv", format!("{token},admin,admin,system:masters\n")),
    ] {
        std::fs::write(dir.join(name), content).expect("write a file of the API server");
    }
    token
}

fn authority(dir: &Path) -> Vec<u8> {
    std::fs::read(dir.join("ca.crt")).expect("the authority")
}

fn subdir(dir: &Path, name: &str) -> PathBuf {
    let dir = dir.join(name);
    std::fs::create_dir_all(&dir).expect("a directory");
    dir
}

fn program() -> PathBuf {
    static CACHE: OnceLock<PathBuf> = OnceLock::new();
    let dir = CACHE.get_or_init(|| run::component("kube"));
    let file = dir.join("kube-apiserver");
    assert!(file.is_file(), "{} is missing: run `make lab`", file.display());
    file
}
