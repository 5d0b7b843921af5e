//! Ways in: kubeconfig files, tokens of service accounts, `kubectl` and `helm`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use reqwest::Method;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::super::run;
use super::{Kube, KubeApi};

// === impl Kube ===

impl Kube {
    /// A kubeconfig file of the admin.
    pub fn kubeconfig_for_admin(&self) -> PathBuf {
        self.kubeconfig_via(self.address, self.token())
    }

    /// A kubeconfig file with a real token of a service account, which has to exist.
    pub async fn kubeconfig_for_service_account(&self, namespace: &str, name: &str) -> PathBuf {
        let token = self.service_account_token(namespace, name).await;
        self.kubeconfig_via(self.address, &token)
    }

    /// A kubeconfig file for the holder of a token that leads by another address, usually a `Proxy` in front.
    pub fn kubeconfig_via(&self, address: SocketAddr, token: &str) -> PathBuf {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let file = self.dir.join(format!("kubeconfig-{}.yaml", NEXT.fetch_add(1, Ordering::Relaxed)));
        // JSON is YAML.
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "lab", "cluster": {
                "server": format!("https://{address}"),
                "certificate-authority": self.dir.join("ca.crt"),
                "tls-server-name": self.address.ip().to_string(),
            }}],
            "users": [{"name": "me", "user": {"token": token}}],
            "contexts": [{"name": "dr-west", "context": {"cluster": "lab", "user": "me"}}],
            "current-context": "dr-west",
        });
        std::fs::write(&file, format!("{config:#}\n")).expect("write a kubeconfig");
        file
    }

    /// A token of a service account, from the `TokenRequest` API.
    pub async fn service_account_token(&self, namespace: &str, name: &str) -> String {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}});
        let answer = self.send(Method::POST, &path, "application/json", Some(&request)).await;
        let answer = answer.unwrap_or_else(|refused| panic!("a token of {namespace}/{name}: {refused}"));
        answer["status"]["token"].as_str().expect("a token").to_owned()
    }

    /// The API as a service account sees it.
    pub async fn as_service_account(&self, namespace: &str, name: &str) -> KubeApi {
        self.with_token(&self.service_account_token(namespace, name).await)
    }

    /// `kubectl` as admin: its standard output, or a panic with what it said.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        self.must("kubectl", arguments, "").await
    }

    /// `kubectl` as admin with this on its standard input (`apply -f -`): what it wrote to standard output, or what it
    /// wrote at all when it failed.
    pub async fn try_kubectl(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        self.tool("kubectl", arguments, input).await
    }

    /// `helm` as admin: its standard output, or a panic with what it said.
    pub async fn helm(&self, arguments: &[&str]) -> String {
        self.must("helm", arguments, "").await
    }

    /// `helm` as admin: what it wrote to standard output, or what it wrote at all when it failed.
    pub async fn try_helm(&self, arguments: &[&str]) -> Result<String, String> {
        self.tool("helm", arguments, "").await
    }

    async fn must(&self, tool: &str, arguments: &[&str], input: &str) -> String {
        let done = self.tool(tool, arguments, input).await;
        done.unwrap_or_else(|said| panic!("{tool} {arguments:?}: {said}"))
    }

    async fn tool(&self, tool: &str, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut child = Command::new(program(tool))
            .args(arguments)
            .current_dir(run::repository())
            // Their caches stay in the directory of the run.
            .env("HOME", &self.dir)
            .env("KUBECONFIG", self.kubeconfig_for_admin())
            .kill_on_drop(true)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {tool}: {e}"));
        let mut stdin = child.stdin.take().expect("a pipe");
        let write = async {
            // It may complain before it has read everything: then the pipe breaks, and its message is what counts.
            drop(stdin.write_all(input.as_bytes()).await);
            drop(stdin);
        };
        let ((), out) = tokio::join!(write, child.wait_with_output());
        let out = out.expect("the tool ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match out.status.success() {
            true => Ok(text(&out.stdout)),
            false => Err(text(&out.stdout) + &text(&out.stderr)),
        }
    }
}

fn program(tool: &str) -> PathBuf {
    static CACHE: OnceLock<PathBuf> = OnceLock::new();
    let dir = CACHE.get_or_init(|| run::component("kubectl"));
    let file: &Path = &dir.join(tool);
    assert!(file.is_file(), "{} is missing: run `make lab`", file.display());
    file.to_owned()
}
