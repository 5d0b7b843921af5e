//! The test's client of the API: plain JSON over HTTPS.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use reqwest::{Certificate, Method, RequestBuilder};
use serde_json::{Value, json};

use super::kinds::{self, path};

/// One account's view of the API server.
#[derive(Clone)]
pub struct KubeApi {
    address: SocketAddr,
    token: String,
    http: reqwest::Client,
}

/// A namespace that belongs to one test.
#[derive(Clone)]
pub struct Namespace<'k> {
    api: &'k KubeApi,
    name: String,
}

/// What the API server said instead of doing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status: 403 forbidden, 404 not found, 409 conflict, 410 gone, 422 invalid; 0 when nobody answered.
    pub code: u16,
    /// Its sentence.
    pub message: String,
}

// === impl KubeApi ===

impl KubeApi {
    /// `kept` connections are kept open; none where the client is shared by tests, each of which has a runtime of its
    /// own.
    pub(super) fn new(address: SocketAddr, ca: &[u8], token: &str, kept: usize) -> Self {
        // Another part of the test binary may have installed the same provider before.
        drop(rustls::crypto::ring::default_provider().install_default());
        let http = reqwest::Client::builder()
            .tls_certs_only([Certificate::from_pem(ca).expect("the authority")])
            .no_proxy()
            .pool_max_idle_per_host(kept)
            .timeout(Duration::from_secs(20))
            .build()
            .expect("an HTTPS client");
        Self { address, token: token.to_owned(), http }
    }

    /// The same server for the holder of another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// The account's bearer token.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Creates the object or replaces what has its name, and writes its `status` where it has one. The answer is the
    /// object as the server has it. A pod that is there already is deleted first, because a pod cannot change; change
    /// its status with `patch_status`. Panics with what the server says against it.
    pub async fn apply(&self, object: Value) -> Value {
        let who = name_of(&object);
        self.try_apply(object).await.unwrap_or_else(|refused| panic!("apply {who}: {refused}"))
    }

    /// The same for every document of a YAML text.
    pub async fn apply_yaml(&self, text: &str) -> Vec<Value> {
        let objects: Vec<Value> = serde_saphyr::from_str_multiple(text).expect("YAML of objects");
        let mut applied = Vec::new();
        for object in objects {
            applied.push(self.apply(object).await);
        }
        applied
    }

    /// The same, or what the server says against it.
    pub async fn try_apply(&self, mut object: Value) -> Result<Value, Refused> {
        let (kind, namespace, name) = address_of(&object);
        let path = path(&kind, object["apiVersion"].as_str(), &namespace, "");
        let status = object.as_object_mut().expect("an object").shift_remove("status");
        let mut made = match self.send(Method::POST, &path, JSON, Some(&object)).await {
            Err(Refused { code: 409, .. }) if kind == "Pod" => {
                self.delete(&kind, &namespace, &name).await;
                self.send(Method::POST, &path, JSON, Some(&object)).await?
            }
            Err(Refused { code: 409, .. }) => self.replace(&format!("{path}/{name}"), object).await?,
            answer => answer?,
        };
        if let Some(status) = status {
            made["status"] = status;
            made = self.replace(&format!("{path}/{name}/status"), made).await?;
        }
        Ok(made)
    }

    /// PUT over whatever version there is, which usually is the one that the object tells.
    async fn replace(&self, path: &str, mut object: Value) -> Result<Value, Refused> {
        loop {
            if object["metadata"]["resourceVersion"].is_null() {
                let current = self.send(Method::GET, path, JSON, None).await?;
                object["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"].clone();
            }
            match self.send(Method::PUT, path, JSON, Some(&object)).await {
                // Somebody wrote in between, for instance a heartbeat.
                Err(Refused { code: 409, .. }) => object["metadata"]["resourceVersion"].take(),
                answer => return answer,
            };
        }
    }

    /// POST of an object that must not be there yet.
    pub async fn try_create(&self, object: &Value) -> Result<Value, Refused> {
        self.post(object, "").await
    }

    /// What the server would make of a new object, or why it would refuse it.
    pub async fn dry_run(&self, object: &Value) -> Result<Value, Refused> {
        self.post(object, "?dryRun=All").await
    }

    async fn post(&self, object: &Value, query: &str) -> Result<Value, Refused> {
        let (kind, namespace, _) = address_of(object);
        let path = path(&kind, object["apiVersion"].as_str(), &namespace, "");
        self.send(Method::POST, &format!("{path}{query}"), JSON, Some(object)).await
    }

    /// One object; the namespace is empty for kinds without one. Panics when it is not there.
    pub async fn get(&self, kind: &str, namespace: &str, name: &str) -> Value {
        self.try_get(kind, namespace, name)
            .await
            .unwrap_or_else(|refused| panic!("get {kind} {namespace}/{name}: {refused}"))
    }

    /// One object, or why not.
    pub async fn try_get(&self, kind: &str, namespace: &str, name: &str) -> Result<Value, Refused> {
        self.send(Method::GET, &path(kind, None, namespace, name), JSON, None).await
    }

    /// All objects of a kind in a namespace, or everywhere when that is empty.
    pub async fn list(&self, kind: &str, namespace: &str) -> Vec<Value> {
        let answer = self.try_list(kind, namespace).await;
        let mut list = answer.unwrap_or_else(|refused| panic!("list {kind} in '{namespace}': {refused}"));
        match list["items"].take() {
            Value::Array(items) => items,
            other => panic!("a list of {kind}: {other}"),
        }
    }

    /// The list as the server gives it, or why not.
    pub async fn try_list(&self, kind: &str, namespace: &str) -> Result<Value, Refused> {
        self.send(Method::GET, &path(kind, None, namespace, ""), JSON, None).await
    }

    /// A merge patch (RFC 7396): `null` removes, lists are replaced.
    pub async fn patch(&self, kind: &str, namespace: &str, name: &str, patch: Value) -> Value {
        let path = path(kind, None, namespace, name);
        // RFC 7396 for an object, RFC 6902 for a list of operations: lists can be changed by the latter only.
        let kind_of_patch = if patch.is_array() { "application/json-patch+json" } else { MERGE };
        let answer = self.send(Method::PATCH, &path, kind_of_patch, Some(&patch)).await;
        answer.unwrap_or_else(|refused| panic!("patch {kind} {namespace}/{name}: {refused}"))
    }

    /// A merge patch of the status alone.
    pub async fn patch_status(&self, kind: &str, namespace: &str, name: &str, status: Value) -> Value {
        let path = path(kind, None, namespace, name) + "/status";
        let answer = self.send(Method::PATCH, &path, MERGE, Some(&json!({"status": status}))).await;
        answer.unwrap_or_else(|refused| panic!("patch status of {kind} {namespace}/{name}: {refused}"))
    }

    /// Deletes it at once: there is no kubelet to wait for.
    pub async fn delete(&self, kind: &str, namespace: &str, name: &str) {
        let path = path(kind, None, namespace, name);
        let options = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Background"});
        let answer = self.send(Method::DELETE, &path, JSON, Some(&options)).await;
        answer.unwrap_or_else(|refused| panic!("delete {kind} {namespace}/{name}: {refused}"));
    }

    /// A new namespace, `NAME-` and a number, with the service account that its pods need.
    pub async fn namespace(&self, name: &str) -> Namespace<'_> {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        self.namespace_named(&format!("{name}-{}", NEXT.fetch_add(1, Ordering::Relaxed))).await
    }

    /// The namespace of exactly this name, created where it is missing; for a server of one's own.
    pub async fn namespace_named(&self, name: &str) -> Namespace<'_> {
        self.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).await;
        let namespace = Namespace { api: self, name: name.to_owned() };
        namespace.service_account("default").await;
        namespace
    }

    pub(super) async fn is_ready(&self) -> Result<(), String> {
        let url = format!("https://{}/readyz", self.address);
        let answer = self.http.get(url).bearer_auth(&self.token).send().await.map_err(|e| e.to_string())?;
        if !answer.status().is_success() {
            return Err(answer.text().await.unwrap_or_default());
        }
        // It is ready before it has made the namespaces that every cluster has.
        for namespace in ["default", "kube-system", "kube-node-lease"] {
            self.try_get("Namespace", "", namespace).await.map_err(|refused| refused.to_string())?;
        }
        Ok(())
    }

    /// Any request: the path with its query, and a body.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> Result<Value, Refused> {
        let lost = |why: reqwest::Error| Refused { code: 0, message: format!("{why:?}") };
        let mut request: RequestBuilder = self
            .http
            .request(method, format!("https://{}{path}", self.address))
            .bearer_auth(&self.token)
            .header("content-type", content_type);
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await.map_err(lost)?;
        let code = answer.status().as_u16();
        let text = answer.text().await.map_err(lost)?;
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if code < 300 {
            return Ok(value);
        }
        let message = value["message"].as_str().map_or_else(|| value.to_string(), str::to_owned);
        Err(Refused { code, message })
    }
}

// === impl Namespace ===

impl<'k> Namespace<'k> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The client it was made with.
    pub fn api(&self) -> &'k KubeApi {
        self.api
    }

    /// `KubeApi::apply` of an object that has no namespace yet.
    pub async fn apply(&self, object: Value) -> Value {
        self.api.apply(self.own(object)).await
    }

    /// `KubeApi::try_apply` of an object that has no namespace yet.
    pub async fn try_apply(&self, object: Value) -> Result<Value, Refused> {
        self.api.try_apply(self.own(object)).await
    }

    /// `KubeApi::dry_run` of an object that has no namespace yet.
    pub async fn dry_run(&self, object: Value) -> Result<Value, Refused> {
        self.api.dry_run(&self.own(object)).await
    }

    /// `KubeApi::get`.
    pub async fn get(&self, kind: &str, name: &str) -> Value {
        self.api.get(kind, &self.name, name).await
    }

    /// `KubeApi::list`.
    pub async fn list(&self, kind: &str) -> Vec<Value> {
        self.api.list(kind, &self.name).await
    }

    /// `KubeApi::patch`.
    pub async fn patch(&self, kind: &str, name: &str, patch: Value) -> Value {
        self.api.patch(kind, &self.name, name, patch).await
    }

    /// `KubeApi::patch_status`.
    pub async fn patch_status(&self, kind: &str, name: &str, status: Value) -> Value {
        self.api.patch_status(kind, &self.name, name, status).await
    }

    /// `KubeApi::delete`.
    pub async fn delete(&self, kind: &str, name: &str) {
        self.api.delete(kind, &self.name, name).await;
    }

    /// Makes a service account, without any rights.
    pub async fn service_account(&self, name: &str) {
        self.apply(json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})).await;
    }

    /// Gives a service account of this namespace these rules here: `[{apiGroups, resources, verbs, resourceNames}]`.
    pub async fn grant(&self, account: &str, rules: Value) {
        let metadata = json!({"name": format!("{account}-may")});
        let group = "rbac.authorization.k8s.io";
        self.apply(json!({"apiVersion": format!("{group}/v1"), "kind": "Role", "metadata": metadata, "rules": rules}))
            .await;
        self.apply(json!({
            "apiVersion": format!("{group}/v1"), "kind": "RoleBinding", "metadata": metadata,
            "roleRef": {"apiGroup": group, "kind": "Role", "name": metadata["name"]},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": self.name}],
        }))
        .await;
    }

    fn own(&self, mut object: Value) -> Value {
        let kind = object["kind"].as_str().expect("a kind").to_owned();
        if kinds::has_namespace(&kind) {
            object["metadata"]["namespace"] = json!(self.name);
        }
        object
    }
}

// === impl Refused ===

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.message)
    }
}

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";

/// Kind, namespace and name of an object.
fn address_of(object: &Value) -> (String, String, String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    (text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
}

fn name_of(object: &Value) -> String {
    let (kind, namespace, name) = address_of(object);
    format!("{kind} {namespace}/{name}")
}
