//! `create_dry_run`: would the API server take a new pod of this workload now?

mod judgement;
mod pod;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Limited};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::time::timeout;

use self::judgement::{Said, judge};
use super::{Answer, Attempt, Kind, Probe, Question, Schedule, Tools};
use crate::discovery::{Gap, WorkloadRef};
use crate::model::{Check, CheckKey, Fact, GapReason, Metric, Outcome, Reason};

/// What the documentation says.
pub static KIND: Kind = Kind {
    check: Check::CreateDryRun,
    about: "Whether the API server would take a new pod of the workload: one is made of its template and created as a server-side \
            dry run, which passes every admission webhook, policy, quota and limit, and stores nothing. It bears the labels, \
            annotations and spec of the template, the name `<workload>-drcheck-...`, the workload as its owner and, for a \
            StatefulSet, the claims of its pod 0. A webhook that cannot do dry runs is a gap. Where our own account lacks \
            the right to create pods, that is a gap, too. `kubernetes.create_dry_run: false` turns it off.",
    example: "kubernetes: {create_dry_run: true}\nsystems:\n  - name: orders\n    workloads: [{namespace: prod, deployment: api-server}]",
    metrics: &[&SUCCESS],
    reasons: &[&[
        Reason::Refused,
        Reason::Unreachable,
        Reason::Timeout,
        Reason::Dns,
        Reason::Tls,
        Reason::Certificate,
        Reason::Permission,
        Reason::Limit,
        Reason::Missing,
        Reason::Misconfigured,
        Reason::Other,
    ]],
};

/// Whether it would be taken.
pub static SUCCESS: Metric = Metric::gauge(
    "dr_k8s_dry_run_create_success",
    &["site", "system", "workload"],
    "1 if the API server would take a new pod of the workload, by a server-side dry run; absent while unknown; from a \
     background check",
)
.withheld();

/// What is left of an attempt for the question whether the API server is there at all.
const RESERVE: Duration = Duration::from_millis(1_200);

/// The largest answer that is read, in bytes; an object of Kubernetes is at most 1.5 MiB.
const LARGEST: usize = 4 << 20;

/// The admission of a new pod as planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// System and name of the workload.
    pub key: CheckKey,
    /// Whose pod it is.
    pub workload: WorkloadRef,
    /// When to ask.
    pub schedule: Schedule,
}

/// The admission of a new pod, asked of the API server.
pub struct CreateDryRun {
    spec: Spec,
    tools: Arc<Tools>,
    questions: [Question; 1],
}

/// What the API server answered to one request.
enum Reply {
    /// The object that was asked for.
    Object(Value),
    /// It said no.
    Refused(Said),
    /// Nothing that could be understood came in time.
    Silence,
}

// === impl CreateDryRun ===

impl CreateDryRun {
    /// Ready to ask; nothing is sent before the first attempt.
    pub fn new(spec: Spec, tools: Arc<Tools>) -> Self {
        let promised = vec![Fact::flag(&SUCCESS, &[("workload", &spec.key.target)], false)];
        let question = Question { key: spec.key.clone(), at_first: vec![], promised };
        CreateDryRun { spec, tools, questions: [question] }
    }

    async fn answer(&self, attempt: &Attempt) -> Result<Answer, Gap> {
        let client = self.tools.secrets.client().await;
        let client =
            client.map_err(|why| Gap::new(GapReason::NotFound, format!("no pod can be tried: {why}")))?;
        let workload = self.read(&client, reserved(attempt)).await?;
        let Some(pod) = pod::of(&self.spec.workload, &workload) else {
            let words = format!("{} has no template that a pod could be made of", self.spec.workload);
            return Err(Gap::new(GapReason::Unsupported, words));
        };
        let patience = reserved(attempt);
        let request = dry_run(self.spec.workload.namespace(), patience, &pod);
        match exchange(&client, request, patience).await {
            Reply::Object(made) if made["kind"] == "Pod" => {
                Ok(Answer::pass("the API server would take a new pod (dry run, nothing was created)"))
            }
            Reply::Object(_) => {
                Err(Gap::blind("the API server answered the dry run with something else than a pod"))
            }
            Reply::Refused(said) => {
                if said.code == 403 {
                    self.may_create(&client, attempt.left()).await?;
                }
                judge(&said)
            }
            Reply::Silence => {
                // Only who answers other questions is accused of not answering this one.
                self.read(&client, attempt.left()).await?;
                let words = format!(
                    "the API server answers reads, but not the dry run within {} ms: an admission webhook may be hanging",
                    patience.as_millis()
                );
                Ok(Answer::fail(Reason::Timeout, words))
            }
        }
    }

    /// The workload as the API server has it: the slim types would lose what a webhook looks at.
    async fn read(&self, client: &Client, patience: Duration) -> Result<Value, Gap> {
        let WorkloadRef { kind: _, object } = &self.spec.workload;
        let resource = self.spec.workload.resource().plural();
        let path = format!("/apis/apps/v1/namespaces/{}/{resource}/{}", object.namespace, object.name);
        match exchange(client, request(Method::GET, &path, None), patience).await {
            Reply::Object(workload) => Ok(workload),
            Reply::Refused(said) => Err(match said.code {
                401 => {
                    Gap::new(GapReason::Forbidden, "the Kubernetes API does not accept our account's token")
                }
                403 => Gap::new(
                    GapReason::Forbidden,
                    format!(
                        "forbidden: our account needs the rule `get` on `{resource}` in namespace {}",
                        object.namespace
                    ),
                ),
                404 => Gap::new(GapReason::NotFound, format!("there is no {}", self.spec.workload)),
                code => Gap::blind(format!("the Kubernetes API answered {code}")),
            }),
            Reply::Silence => Err(Gap::blind("the Kubernetes API cannot be reached")),
        }
    }

    /// Whether it is the admission that refuses, and not a right that our own account lacks: both are 403.
    async fn may_create(&self, client: &Client, patience: Duration) -> Result<(), Gap> {
        let namespace = self.spec.workload.namespace();
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"namespace": &**namespace, "verb": "create", "resource": "pods"}},
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        match exchange(client, request(Method::POST, path, Some(&review)), patience).await {
            Reply::Object(review) => match review["status"]["allowed"].as_bool() {
                Some(true) => Ok(()),
                Some(false) | None => Err(Gap::new(
                    GapReason::Forbidden,
                    format!(
                        "forbidden: our account needs the rule `create` on `pods` in namespace {namespace}"
                    ),
                )),
            },
            Reply::Refused(_) | Reply::Silence => Err(Gap::blind(
                "a pod was refused, and the Kubernetes API does not say whether our account lacks the right",
            )),
        }
    }
}

#[async_trait]
impl Probe for CreateDryRun {
    fn questions(&self) -> &[Question] {
        &self.questions
    }

    fn schedule(&self) -> Schedule {
        self.spec.schedule
    }

    async fn ask(&self, attempt: &Attempt) {
        // If the deadline is faster than we are, nothing is proven.
        attempt.answer(0, Answer::blind(Reason::Unreachable, "the Kubernetes API did not answer in time"));
        let answer = self.answer(attempt).await.unwrap_or_else(Gap::answer);
        let fact = |taken| Fact::flag(&SUCCESS, &[("workload", &self.spec.key.target)], taken);
        let fact = match answer.outcome {
            Outcome::Pass => Some(fact(true)),
            Outcome::Fail(_) => Some(fact(false)),
            Outcome::Blind(_) | Outcome::Skipped => None,
        };
        attempt.answer(0, answer.with(fact));
    }
}

/// What is left of an attempt but for what the questions afterwards need; of a short one they get a third.
fn reserved(attempt: &Attempt) -> Duration {
    let left = attempt.left();
    left - RESERVE.min(left / 3)
}

/// The request that creates a pod as a dry run; the only one here that could create anything, so that the parameter
/// cannot be forgotten elsewhere. The API server gives up by itself before we do, and then says which webhook it waited for.
fn dry_run(namespace: &str, patience: Duration, pod: &Value) -> Request<Body> {
    let seconds = patience.as_secs().max(1);
    let path =
        format!("/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldManager=dr-exporter&timeout={seconds}s");
    request(Method::POST, &path, Some(pod))
}

fn request(method: Method, path: &str, body: Option<&Value>) -> Request<Body> {
    let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    let mut request = Request::new(Body::from(body));
    *request.method_mut() = method;
    request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    // Names of Kubernetes objects need no escape; what is none leads to the root, where nothing is created.
    *request.uri_mut() = path.parse().unwrap_or_default();
    request
}

/// Sends, and reads what comes. The client's own reader would write what it cannot read into the log.
async fn exchange(client: &Client, request: Request<Body>, patience: Duration) -> Reply {
    let exchanged = timeout(patience, async {
        let answer = client.send(request).await.ok()?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), LARGEST).collect().await.ok()?.to_bytes();
        Some((status, body))
    });
    let Ok(Some((status, body))) = exchanged.await else { return Reply::Silence };
    if status.is_success() {
        return serde_json::from_slice(&body).map_or(Reply::Silence, Reply::Object);
    }
    // A proxy in between answers with something else than a Status.
    let said = serde_json::from_slice(&body).unwrap_or_default();
    Reply::Refused(Said { code: status.as_u16(), ..said })
}

#[cfg(test)]
mod tests;
