//! Several replicas and one Lease on the real API server, with the rights that `dr-exporter rbac` prints: the holder dies,
//! freezes, ends in order or cannot reach the API; and what those rights do not allow.
// The product's bans (clocks, bare connects) keep the exporter honest; tests stand outside of it.
#![allow(clippy::disallowed_methods)]

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::json;
use tokio::time::sleep;

use crate::lab::http::{Task, respond, serve};
use crate::lab::{Exporter, Kube, Namespace, eventually, lab_ip, scratch_dir};

const SECOND: Duration = Duration::from_secs(1);

/// An application that notes who asked it when: each replica asks a path of its own.
struct Witness {
    address: std::net::SocketAddr,
    asked: Arc<Mutex<Vec<(Instant, String)>>>,
    _task: Task,
}

impl Witness {
    async fn start() -> Self {
        let asked: Arc<Mutex<Vec<(Instant, String)>>> = Arc::default();
        let noted = Arc::clone(&asked);
        let (address, task) = serve(lab_ip(), move |request| {
            noted
                .lock()
                .expect("no panic while it is held")
                .push((Instant::now(), request.uri().path().to_owned()));
            async { respond(StatusCode::OK, "text/plain", "fine") }
        })
        .await;
        Self { address, asked, _task: task }
    }

    /// When a replica asked since then.
    fn asked(&self, path: &str, since: Instant) -> Vec<Instant> {
        let asked = self.asked.lock().expect("no panic while it is held");
        asked.iter().filter(|(at, who)| who == path && *at >= since).map(|(at, _)| *at).collect()
    }
}

fn config(namespace: &str, kubeconfig: &Path, witness: &Witness, path: &str) -> String {
    format!(
        "site: {{name: dr-west, region: us-west-2, role: standby}}\nkubernetes: {{kubeconfig: {}}}\n\
         high_availability: {{lease: {{namespace: {namespace}, name: dr-exporter}}}}\nsystems:\n  - name: orders\n    surfaces:\n\
         \x20     - {{name: health, url: 'http://{}{path}', interval: 1s, timeout: 500ms}}\n",
        kubeconfig.display(),
        witness.address,
    )
}

/// What `dr-exporter rbac` prints for a configuration.
fn rbac(config: &str, kubeconfig: &Path, flags: &[&str]) -> String {
    let file = scratch_dir("rbac").join("config.yaml");
    std::fs::write(&file, config).expect("write the configuration");
    let output = Command::new(env!("CARGO_BIN_EXE_dr-exporter"))
        .arg("rbac")
        .arg(&file)
        .args(flags)
        .env("KUBECONFIG", kubeconfig)
        .output()
        .expect("run dr-exporter");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Replicas of one exporter with an account that may do what the configuration needs and nothing else.
struct Replicas<'k> {
    namespace: Namespace<'k>,
    kubeconfig: std::path::PathBuf,
    witness: Witness,
}

impl<'k> Replicas<'k> {
    async fn new(kube: &'k Kube) -> Self {
        let namespace = kube.namespace("ha").await;
        namespace.service_account("dr-exporter").await;
        let witness = Witness::start().await;
        let admin = kube.kubeconfig_for_admin();
        let config = config(namespace.name(), &admin, &witness, "/");
        let rights = rbac(&config, &admin, &["--namespace", namespace.name()]);
        kube.try_kubectl(&["apply", "-f", "-"], &rights).await.expect("the rights are taken");
        let kubeconfig = kube.kubeconfig_for_service_account(namespace.name(), "dr-exporter").await;
        Self { namespace, kubeconfig, witness }
    }

    async fn start(&self, path: &str) -> Exporter {
        Exporter::start(&config(self.namespace.name(), &self.kubeconfig, &self.witness, path)).await
    }

    async fn holder(&self) -> String {
        let lease = self.namespace.get("Lease", "dr-exporter").await;
        lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until a replica leads and asks.
    async fn leads(&self, exporter: &Exporter, path: &str, limit: Duration) -> Duration {
        let begun = Instant::now();
        exporter.wait_for_sample("dr_exporter_leader", &[], 1.0, limit).await;
        let took = begun.elapsed();
        assert!(took <= limit, "{path} leads after {took:?}, promised are {limit:?}");
        eventually(&format!("{path} asks"), 6 * SECOND, async || {
            if self.witness.asked(path, begun).is_empty() { Err("it does not".to_owned()) } else { Ok(()) }
        })
        .await;
        took
    }
}

#[tokio::test]
async fn a_killed_leader_is_replaced_and_an_orderly_one_at_once() {
    let kube = Kube::shared().await;
    let replicas = Replicas::new(kube).await;
    let first = replicas.start("/first").await;
    replicas.leads(&first, "/first", 5 * SECOND).await;
    let holder = replicas.holder().await;
    let second = replicas.start("/second").await;
    second.wait_for_sample("dr_exporter_leader", &[], 0.0, 2 * SECOND).await;
    sleep(3 * SECOND).await;
    assert_eq!(replicas.witness.asked("/second", Instant::now() - 60 * SECOND).len(), 0);
    assert_eq!(replicas.holder().await, holder);
    let text = second.metrics_text().await;
    assert!(
        !text.contains("dr_verdict") && !text.contains("dr_check_") && text.contains("dr_site_info"),
        "{text}"
    );
    assert_eq!(second.get("/-/ready").await.status, 200);
    let page = second.get("/").await.text();
    assert!(page.contains(&format!("Standing by: {holder} probes.")), "{page}");
    let report = second.report().await;
    assert_eq!((&report["replica"]["leads"], &report["systems"]), (&json!(false), &json!([])));

    drop(first.kill().await);
    let killed = Instant::now();
    let took = replicas.leads(&second, "/second", 15 * SECOND).await;
    assert!(took > 6 * SECOND, "its time was not over yet: {took:?}");
    let page = second.get("/").await.text();
    assert!(page.contains(&format!("took over from {holder}")), "the history on the page: {page}");
    assert!(
        second.log().contains(&format!("took over from {holder}: its Lease was not renewed for 1")),
        "{}",
        second.log()
    );
    assert!(!replicas.witness.asked("/second", killed).is_empty());
    second.wait_for_sample("dr_verdict", &[("verdict", "unknown")], 1.0, SECOND).await;

    let third = replicas.start("/third").await;
    third.wait_for_sample("dr_exporter_leader", &[], 0.0, 2 * SECOND).await;
    sleep(SECOND).await;
    assert_eq!(second.stop().await.code, 0);
    let took = replicas.leads(&third, "/third", 5 * SECOND).await;
    assert!(took < 4 * SECOND, "the Lease was given back: {took:?}");
}

/// The process knows nothing of the time that it was frozen, and may not do a thing before it has found out.
#[tokio::test]
async fn a_frozen_leader_asks_nothing_when_it_thaws() {
    let kube = Kube::shared().await;
    let replicas = Replicas::new(kube).await;
    let first = replicas.start("/first").await;
    replicas.leads(&first, "/first", 5 * SECOND).await;
    let second = replicas.start("/second").await;
    first.freeze();
    replicas.leads(&second, "/second", 15 * SECOND).await;
    let thawed = Instant::now();
    first.thaw();
    sleep(4 * SECOND).await;
    assert_eq!(replicas.witness.asked("/first", thawed), Vec::<Instant>::new());
    assert_eq!(first.sample("dr_exporter_leader", &[]).await, Some(0.0));
    assert_eq!(second.sample("dr_exporter_leader", &[]).await, Some(1.0));
    assert!(first.log().contains("stepped down: "), "{}", first.log());
    assert!(!first.metrics_text().await.contains("dr_verdict"));
}

#[tokio::test]
async fn a_frozen_api_server_ends_probing_before_the_lease_runs_out() {
    let kube = Kube::start().await;
    let replicas = Replicas::new(&kube).await;
    let first = replicas.start("/first").await;
    replicas.leads(&first, "/first", 5 * SECOND).await;
    let frozen = Instant::now();
    kube.freeze();
    first.wait_for_sample("dr_exporter_leader", &[], 0.0, 8 * SECOND).await;
    sleep(3 * SECOND).await;
    let last = *replicas.witness.asked("/first", frozen).last().expect("it went on for a while");
    assert!(last - frozen < Duration::from_millis(6_300), "{:?}", last - frozen);
    assert_eq!(first.get("/-/ready").await.status, 200);
    kube.thaw();
    replicas.leads(&first, "/first", 10 * SECOND).await;
    assert!(first.log().contains("leads again: nobody else had taken the Lease"), "{}", first.log());
}

/// What is printed is enough for what is asked, and for nothing else.
#[tokio::test]
async fn the_printed_rights_are_taken_and_are_the_least() {
    let kube = Kube::shared().await;
    let namespace = kube.namespace("rights").await;
    let name = namespace.name();
    namespace.service_account("dr-exporter").await;
    let container = json!({"name": "app", "image": "app:1", "env": [
        {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "orders-db", "key": "url"}}},
    ], "envFrom": [{"configMapRef": {"name": "settings"}}]});
    let template = json!({"metadata": {"labels": {"app": "api"}}, "spec": {"containers": [container]}});
    namespace
        .apply(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "api-server"}, "spec": {
            "selector": {"matchLabels": {"app": "api"}}, "template": template,
        }}))
        .await;
    for secret in ["orders-db", "other"] {
        namespace
            .apply(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}, "stringData": {"url": "x"}}))
            .await;
    }
    let config = format!(
        "site: {{name: dr-west, region: us-west-2, role: standby}}\n\
         high_availability: {{lease: {{namespace: {name}, name: dr-exporter}}}}\n\
         systems: [{{name: orders, workloads: [{{namespace: {name}, deployment: api-server}}]}}]\n"
    );
    let rights = rbac(&config, &kube.kubeconfig_for_admin(), &["--namespace", name]);
    kube.try_kubectl(&["apply", "-f", "-"], &rights).await.expect("the rights are taken");

    let account = kube.as_service_account(name, "dr-exporter").await;
    account.get("Secret", name, "orders-db").await;
    for kind in ["Deployment", "Pod", "Service", "EndpointSlice", "CronJob", "ResourceQuota"] {
        account.list(kind, name).await;
    }
    for kind in ["Node", "StorageClass"] {
        account.list(kind, "").await;
    }
    let refused = |what: Result<serde_json::Value, crate::lab::Refused>| what.map_err(|refused| refused.code);
    assert_eq!(refused(account.try_get("Secret", name, "other").await), Err(403));
    assert_eq!(refused(account.try_list("Secret", name).await), Err(403));
    assert_eq!(refused(account.try_list("ConfigMap", name).await), Err(403));
    assert_eq!(refused(account.try_list("Pod", "").await), Err(403));
    assert_eq!(refused(account.try_list("Secret", "kube-system").await), Err(403));

    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "real", "namespace": name},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]}});
    account.dry_run(&pod).await.unwrap_or_else(|refused| panic!("a dry run: {refused}"));
    // A policy is in force some moments after it was written.
    eventually("a pod that is no dry run is refused by the policy", 20 * SECOND, async || {
        match account.try_create(&pod).await {
            Err(refused) if refused.message.contains("as a dry run only") => Ok(()),
            Err(refused) => Err(refused.to_string()),
            Ok(_) => {
                kube.delete("Pod", name, "real").await;
                Err("it was created".to_owned())
            }
        }
    })
    .await;
    account.dry_run(&pod).await.unwrap_or_else(|refused| panic!("a dry run, the policy in force: {refused}"));
    let other = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "theirs", "namespace": name},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]}});
    kube.try_create(&other).await.unwrap_or_else(|refused| panic!("of somebody else: {refused}"));
}
