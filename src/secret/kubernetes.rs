//! Kubernetes Secrets, got by name: the exporter never lists or watches them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret as KubeSecret;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::{Secret, Why, checked};
use crate::discovery::Gap;
use crate::model::GapReason;

/// The time that the API server gets; the deadline of the check bounds it further.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the Kubernetes API is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KubernetesAccess {
    /// The pod's own account, else the file that `KUBECONFIG` names; neither is an error once a Secret is asked for.
    #[default]
    Auto,
    /// This kubeconfig file, and this context of it (default: its current one).
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// The context.
        context: Option<String>,
    },
    /// Never: a supported way to run.
    Disabled,
}

/// Reads Secrets; makes its client at the first use, so that a run without a cluster needs none.
#[derive(Clone, Debug)]
pub struct Secrets {
    access: KubernetesAccess,
    client: Arc<OnceCell<ClientBox>>,
}

/// `kube::Client` has no `Debug`.
#[derive(Clone)]
struct ClientBox(Client);

// === impl Secrets ===

impl Secrets {
    /// Takes note of the way in; touches nothing yet.
    pub fn new(access: KubernetesAccess) -> Self {
        Self { access, client: Arc::default() }
    }

    /// Every key of a Secret, `None` if there is no such Secret; a key without a value is not UTF-8.
    ///
    /// # Errors
    /// The rule that our account lacks, or that the API cannot be reached.
    pub async fn whole(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<BTreeMap<String, Option<Secret>>>, Gap> {
        let located = |gap: Gap| Gap { detail: format!("secret {namespace}/{name}: {}", gap.detail), ..gap };
        let data = self.data(namespace, name).await.map_err(located)?;
        let texts = |data: BTreeMap<String, Vec<u8>>| {
            data.into_iter().map(|(key, bytes)| (key, checked(bytes).ok())).collect()
        };
        Ok(data.map(texts))
    }

    /// The same as bytes, for who does not need texts; the error does not say which Secret it is about.
    ///
    /// # Errors
    /// The rule that our account lacks, or that the API cannot be reached.
    pub async fn data(&self, namespace: &str, name: &str) -> Result<Option<BTreeMap<String, Vec<u8>>>, Gap> {
        let gap = |Why(reason, detail)| Gap { reason, detail };
        let secret = self.object(namespace, name).await.map_err(gap)?;
        let bytes = |secret: KubeSecret| {
            secret.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0)).collect()
        };
        Ok(secret.map(bytes))
    }

    /// The value of one key.
    pub(super) async fn get(&self, namespace: &str, name: &str, key: &str) -> Result<Secret, Why> {
        let Some(secret) = self.object(namespace, name).await? else {
            return Err("there is no such Secret".to_owned().into());
        };
        match secret.data.unwrap_or_default().remove(key) {
            Some(bytes) => Ok(checked(bytes.0)?),
            None => Err(format!("the Secret has no key `{key}`").into()),
        }
    }

    async fn object(&self, namespace: &str, name: &str) -> Result<Option<KubeSecret>, Why> {
        let client = self.client().await?;
        let api: Api<KubeSecret> = Api::namespaced(client, namespace);
        match timeout(PATIENCE, api.get_opt(name)).await {
            Err(_) => {
                Err(Why::blind(format!("the Kubernetes API did not answer within {} s", PATIENCE.as_secs())))
            }
            Ok(Ok(secret)) => Ok(secret),
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(None),
            Ok(Err(kube::Error::Api(status))) => Err(refusal(status.code, namespace, name)),
            // The text of the other errors may quote headers or bodies.
            Ok(Err(_)) => Err(Why::blind("the Kubernetes API cannot be reached".to_owned())),
        }
    }

    /// The client, made at the first call; a failure is tried again at the next one. It waits for an answer as long as
    /// its caller does, since a watch waits for minutes, and tries nothing twice.
    ///
    /// # Errors
    /// A sentence that says why there is no way to the API.
    pub async fn client(&self) -> Result<Client, String> {
        let made = self.client.get_or_try_init(|| async {
            let mut config = match &self.access {
                KubernetesAccess::Disabled => return Err("kubernetes.mode is `disabled`".to_owned()),
                KubernetesAccess::Auto => automatic().await?,
                KubernetesAccess::Kubeconfig { path, context } => {
                    let read = Kubeconfig::read_from(path)
                        .map_err(|_| format!("{} cannot be read as a kubeconfig", path.display()))?;
                    from_kubeconfig(read, context.clone()).await?
                }
            };
            config.connect_timeout = Some(PATIENCE);
            config.default_retry = false;
            let client = Client::try_from(config)
                .map_err(|_| "the Kubernetes client cannot be built from its configuration".to_owned())?;
            Ok(ClientBox(client))
        });
        made.await.map(|boxed| boxed.0.clone())
    }
}

impl std::fmt::Debug for ClientBox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

async fn automatic() -> Result<Config, String> {
    if let Ok(config) = Config::incluster() {
        return Ok(config);
    }
    match Kubeconfig::from_env() {
        Ok(Some(read)) => from_kubeconfig(read, None).await,
        Ok(None) => Err("there is no Kubernetes API: not in a cluster and KUBECONFIG is not set".to_owned()),
        Err(_) => Err("the file that KUBECONFIG names cannot be read as a kubeconfig".to_owned()),
    }
}

async fn from_kubeconfig(read: Kubeconfig, context: Option<String>) -> Result<Config, String> {
    let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(read, &options)
        .await
        .map_err(|_| "the kubeconfig has no such context, or its cluster or user is not usable".to_owned())
}

fn refusal(code: u16, namespace: &str, name: &str) -> Why {
    match code {
        401 => Why(
            Some(GapReason::Forbidden),
            "the Kubernetes API does not accept our account's token".to_owned(),
        ),
        403 => Why(
            Some(GapReason::Forbidden),
            format!(
                "forbidden: our account needs the rule `get` on `secrets` with resourceNames [{name}] in namespace {namespace}"
            ),
        ),
        code => Why::blind(format!("the Kubernetes API answered {code}")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;
    use crate::secret::SecretSource;

    /// Answers every request with one status and body, and hands back the first request's line.
    async fn api(status: u16, body: &str) -> (tempfile::NamedTempFile, impl Future<Output = String> + use<>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        let serve = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 8192];
            let read = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            String::from_utf8_lossy(&request[..read]).lines().next().unwrap().to_owned()
        };
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write!(
            file,
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: k, cluster: {{server: 'http://{address}'}}}}]\n\
             users: [{{name: u, user: {{}}}}]\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n"
        )
        .unwrap();
        (file, serve)
    }

    async fn ask(status: u16, body: &str) -> (Result<Secret, crate::secret::SecretError>, String) {
        let (kubeconfig, serve) = api(status, body).await;
        let access = KubernetesAccess::Kubeconfig { path: kubeconfig.path().into(), context: None };
        let secrets = Secrets::new(access);
        let source = SecretSource::Kubernetes { namespace: "ns".into(), name: "db".into(), key: "pw".into() };
        tokio::join!(source.read(&secrets), serve)
    }

    fn status(code: u16) -> String {
        format!(
            r#"{{"kind":"Status","apiVersion":"v1","status":"Failure","message":"m","reason":"R","code":{code}}}"#
        )
    }

    #[tokio::test]
    async fn a_key_is_read_by_name() {
        let body =
            r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"db"},"data":{"pw":"aHVudGVyMg=="}}"#;
        let (secret, line) = ask(200, body).await;
        assert_eq!(secret.unwrap().expose(), "hunter2");
        assert!(line.starts_with("GET /api/v1/namespaces/ns/secrets/db"), "{line}");
    }

    #[tokio::test]
    async fn a_missing_key_a_refusal_and_a_missing_secret_are_told_apart() {
        let body =
            r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"db"},"data":{"other":"aHVudGVyMg=="}}"#;
        assert_eq!(
            ask(200, body).await.0.unwrap_err().to_string(),
            "secret ns/db key pw: the Secret has no key `pw`"
        );
        let forbidden = ask(403, &status(403)).await.0.unwrap_err().to_string();
        assert!(
            forbidden.contains("`get` on `secrets` with resourceNames [db] in namespace ns"),
            "{forbidden}"
        );
        let absent = ask(404, &status(404)).await.0.unwrap_err().to_string();
        assert_eq!(absent, "secret ns/db key pw: there is no such Secret");
        assert!(ask(401, &status(401)).await.0.unwrap_err().to_string().contains("token"));
    }

    #[tokio::test]
    async fn an_api_that_is_away_is_no_gap_and_a_refusal_is_one() {
        for (code, gap) in [
            (500, None),
            (503, None),
            (403, Some(GapReason::Forbidden)),
            (401, Some(GapReason::Forbidden)),
            (404, Some(GapReason::NotFound)),
        ] {
            assert_eq!(ask(code, &status(code)).await.0.unwrap_err().gap, gap, "{code}");
        }
        let (kubeconfig, serve) = api(200, "").await;
        drop(serve);
        let access = KubernetesAccess::Kubeconfig { path: kubeconfig.path().into(), context: None };
        let gap = Secrets::new(access).whole("ns", "db").await.unwrap_err();
        assert!(gap.reason.is_none() && gap.detail.starts_with("secret ns/db: "), "{gap:?}");
    }

    #[tokio::test]
    async fn a_whole_secret_has_every_key_and_the_values_that_are_texts() {
        let body = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"db"},"data":{"pw":"aHVudGVyMg==","user":"YXBw","key.der":"/w=="}}"#;
        let (kubeconfig, serve) = api(200, body).await;
        let access = KubernetesAccess::Kubeconfig { path: kubeconfig.path().into(), context: None };
        let secrets = Secrets::new(access);
        let (all, line) = tokio::join!(secrets.whole("ns", "db"), serve);
        let all = all.unwrap().unwrap();
        let all: Vec<_> =
            all.iter().map(|(key, value)| (key.as_str(), value.as_ref().map(Secret::expose))).collect();
        assert_eq!(all, [("key.der", None), ("pw", Some("hunter2")), ("user", Some("app"))]);
        assert!(line.starts_with("GET /api/v1/namespaces/ns/secrets/db"), "{line}");
    }

    #[tokio::test]
    async fn disabled_says_so() {
        let source = SecretSource::Kubernetes { namespace: "ns".into(), name: "db".into(), key: "pw".into() };
        let error = source.read(&Secrets::new(KubernetesAccess::Disabled)).await.unwrap_err();
        assert_eq!(error.to_string(), "secret ns/db key pw: kubernetes.mode is `disabled`");
    }
}
