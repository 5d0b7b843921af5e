//! The dry run against a stand-in of the API server.

use std::sync::Mutex;

use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

use super::*;
use crate::config::Attempts;
use crate::discovery::{ControllerKind, ObjectRef};
use crate::secret::{KubernetesAccess, Secrets};

/// What the stand-in answers to the workload, to the pod and to the review: status and body.
struct Script {
    workload: (u16, Value),
    /// Nothing comes for this long before it answers.
    delay: Duration,
    pod: (u16, Value),
    allowed: bool,
}

impl Script {
    fn pod(code: u16, reason: &str, message: &str) -> Self {
        let workload = json!({"kind": "Deployment", "metadata": {"uid": "u"}, "spec": {"template": {"spec": {"containers": []}}}});
        let body = json!({"kind": "Status", "code": code, "reason": reason, "message": message});
        Script { workload: (200, workload), delay: Duration::ZERO, pod: (code, body), allowed: true }
    }
}

/// Answers one request after the other and notes their first lines and bodies.
async fn serve(listener: &TcpListener, script: &Script, asked: &Mutex<Vec<(String, String)>>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        let (head, body) = loop {
            let read = stream.read(&mut buffer).await.unwrap();
            request.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&request).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                break (head.lines().next().unwrap().to_owned(), body.to_owned());
            }
        };
        let (status, answer) = if head.starts_with("GET /apis/apps/v1/namespaces/prod/deployments/api ") {
            script.workload.clone()
        } else if head.contains("selfsubjectaccessreviews") {
            (201, json!({"kind": "SelfSubjectAccessReview", "status": {"allowed": script.allowed}}))
        } else {
            sleep(script.delay).await;
            script.pod.clone()
        };
        asked.lock().unwrap().push((head, body));
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            answer.len()
        );
        // Whoever asked may have gone.
        let _ = stream.write_all(format!("{head}{answer}").as_bytes()).await;
    }
}

async fn asked(script: &Script) -> (Answer, Vec<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let lines = Mutex::new(Vec::new());
    let answer = {
        let probe = probe(&format!("http://{}", listener.local_addr().unwrap()));
        tokio::select! {
            answer = ask(&probe) => answer,
            () = serve(&listener, script, &lines) => unreachable!(),
        }
    };
    (answer, lines.into_inner().unwrap())
}

fn probe(server: &str) -> CreateDryRun {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: k, cluster: {{server: '{server}'}}}}]\n\
         users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n"
    );
    std::io::Write::write_all(&mut file, kubeconfig.as_bytes()).unwrap();
    let path = file.into_temp_path().keep().unwrap();
    let access = KubernetesAccess::Kubeconfig { path, context: None };
    let tools = Tools { secrets: Secrets::new(access), ..crate::probe::testing::tools() };
    let second = Duration::from_secs(3);
    let spec = Spec {
        key: CheckKey { system: "s".into(), check: Check::CreateDryRun, target: "api".into() },
        workload: WorkloadRef { kind: ControllerKind::Deployment, object: ObjectRef::new("prod", "api") },
        schedule: Schedule { interval: second, timeout: second, attempts: Attempts::default() },
    };
    CreateDryRun::new(spec, Arc::new(tools))
}

async fn ask(probe: &CreateDryRun) -> Answer {
    let attempt = Attempt::new(Timestamp::UNIX_EPOCH, Instant::now() + Duration::from_secs(3), 1);
    probe.ask(&attempt).await;
    attempt.into_answers().remove(0).unwrap()
}

fn value(answer: &Answer) -> Option<f64> {
    answer.facts.first().map(|fact| fact.value)
}

#[test]
fn nothing_is_ever_created_but_as_a_dry_run() {
    let request = dry_run("prod", Duration::from_millis(3_800), &json!({}));
    assert_eq!(request.method(), Method::POST);
    assert_eq!(
        request.uri().to_string(),
        "/api/v1/namespaces/prod/pods?dryRun=All&fieldManager=dr-exporter&timeout=3s"
    );
    for namespace in ["", "a b", "\n"] {
        let uri = dry_run(namespace, Duration::ZERO, &json!({})).uri().to_string();
        assert!(uri == "/" || uri.contains("dryRun=All"), "{uri}");
    }
}

#[tokio::test]
async fn l80_twin_a_pod_that_would_be_taken_passes() {
    let script = Script { pod: (201, json!({"kind": "Pod"})), ..Script::pod(0, "", "") };
    let (answer, requests) = asked(&script).await;
    assert_eq!(answer.outcome, Outcome::Pass, "{}", answer.detail);
    assert_eq!(value(&answer), Some(1.0));
    let (line, body) = &requests[1];
    assert!(line.starts_with("POST /api/v1/namespaces/prod/pods?dryRun=All&"), "{line}");
    assert!(body.contains("\"generateName\":\"api-drcheck-\""), "{body}");
    let posts = requests.iter().filter(|(line, _)| line.starts_with("POST"));
    assert!(posts.clone().all(|(line, _)| line.contains("dryRun=All")), "{requests:?}");
}

#[tokio::test]
async fn l80_a_webhook_that_is_down_fails() {
    let message = "Internal error occurred: failed calling webhook \"hook.example.com\": failed to call webhook: Post \"https://hook.prod.svc:443/?timeout=10s\": dial tcp 10.0.0.1:443: connect: connection refused";
    let (answer, _) = asked(&Script::pod(500, "InternalError", message)).await;
    assert_eq!(answer.outcome, Outcome::Fail(Reason::Refused));
    assert_eq!(
        answer.detail,
        "no pod can be created: the admission webhook hook.example.com refuses connections"
    );
    assert_eq!(value(&answer), Some(0.0));
}

#[tokio::test]
async fn l80_a_403_is_the_admissions_only_if_we_may_create() {
    let message = "pods \"api-drcheck-x\" is forbidden: exceeded quota: small, requested: pods=1";
    let script = Script::pod(403, "Forbidden", message);
    assert_eq!(asked(&script).await.0.outcome, Outcome::Fail(Reason::Limit));
    let (gap, requests) = asked(&Script { allowed: false, ..script }).await;
    assert_eq!(gap.gap, Some(GapReason::Forbidden));
    assert_eq!(gap.detail, "forbidden: our account needs the rule `create` on `pods` in namespace prod");
    assert_eq!(value(&gap), None);
    assert!(requests.last().unwrap().1.contains("\"resource\":\"pods\""), "{requests:?}");
}

#[tokio::test]
async fn l80_gap_a_workload_that_cannot_be_read_accuses_nobody() {
    let of = |code| Script { workload: (code, json!({"kind": "Status"})), ..Script::pod(201, "", "") };
    assert_eq!(asked(&of(404)).await.0.gap, Some(GapReason::NotFound));
    let forbidden = asked(&of(403)).await.0;
    assert_eq!(
        forbidden.detail,
        "forbidden: our account needs the rule `get` on `deployments` in namespace prod"
    );
    assert_eq!(asked(&of(503)).await.0.outcome, Outcome::Blind(Reason::Unreachable));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let away = ask(&probe(&format!("http://{closed}"))).await;
    assert_eq!((away.outcome, away.gap), (Outcome::Blind(Reason::Unreachable), None));
}

#[tokio::test]
async fn l80_silence_is_told_from_an_api_server_that_is_away() {
    let script = Script { delay: Duration::from_millis(2_200), ..Script::pod(201, "", "") };
    let (answer, requests) = asked(&script).await;
    assert_eq!(answer.outcome, Outcome::Fail(Reason::Timeout), "{}", answer.detail);
    let reads = requests.iter().filter(|(line, _)| line.starts_with("GET")).count();
    assert_eq!(reads, 2);
}
