//! `dr-exporter rbac FILE`: the least rights that a configuration needs, as manifests for `kubectl apply`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use kube::{Api, Client, Config};
use tokio::time::timeout;

use super::{check, complain, say};
use crate::discovery::objects::{Deployment, StatefulSet, Template};
use crate::rbac::{self, Account, References, Workload};

/// How long the API server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub struct RbacArgs {
    /// The configuration file.
    file: PathBuf,
    /// Namespace in which the exporter runs.
    #[arg(long, default_value = "dr", value_parser = name)]
    namespace: String,
    /// ServiceAccount of the exporter.
    #[arg(long, default_value = "dr-exporter", value_parser = name)]
    service_account: String,
    /// Ask no cluster: a remark says for each workload what to fill in.
    #[arg(long)]
    offline: bool,
}

/// Prints the manifests. Asks the cluster of the caller's own kubeconfig what the workloads refer to, and changes nothing.
/// Exit code 1: a workload could not be looked at.
pub async fn rbac(args: RbacArgs) -> ExitCode {
    let RbacArgs { file, namespace, service_account, offline } = args;
    let loaded = match check::load(&file) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    let mut known = BTreeMap::new();
    let workloads = rbac::workloads(&loaded.config);
    if !offline && !workloads.is_empty() {
        let looked = async {
            let client = client().await?;
            for workload in workloads {
                let template = template(&client, &workload).await?;
                known.insert(workload, References::of(&template));
            }
            Ok::<(), String>(())
        };
        if let Err(why) = looked.await {
            complain(&format!("{why}. With --offline the manifests are printed with remarks instead"));
            return ExitCode::FAILURE;
        }
    }
    let account = Account { namespace, name: service_account };
    say(rbac::manifests(&loaded.config, &known, &account).trim_end());
    ExitCode::SUCCESS
}

async fn client() -> Result<Client, String> {
    let why = "there is no cluster to ask: no kubeconfig (KUBECONFIG or ~/.kube/config) is usable";
    let config = Config::infer().await.map_err(|_| why.to_owned())?;
    Client::try_from(config)
        .map_err(|_| "the Kubernetes client cannot be built from the kubeconfig".to_owned())
}

async fn template(client: &Client, workload: &Workload) -> Result<Template, String> {
    let Workload { namespace, resource, name } = workload;
    let asked = async {
        if *resource == "statefulsets" {
            let api: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
            api.get(name).await.map(|object| object.spec.template)
        } else {
            let api: Api<Deployment> = Api::namespaced(client.clone(), namespace);
            api.get(name).await.map(|object| object.spec.template)
        }
    };
    let why = match timeout(PATIENCE, asked).await {
        Ok(Ok(template)) => return Ok(template),
        Ok(Err(kube::Error::Api(status))) => match status.code {
            403 => "your account may not get it".to_owned(),
            404 => "there is none".to_owned(),
            code => format!("the Kubernetes API answered {code}"),
        },
        Ok(Err(_)) => "the Kubernetes API cannot be reached".to_owned(),
        Err(_) => format!("the Kubernetes API did not answer within {} s", PATIENCE.as_secs()),
    };
    Err(format!("{resource}/{name} in namespace {namespace}: {why}"))
}

/// A name as Kubernetes has them; it goes into an expression that is not to be broken out of.
fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = !text.starts_with('-') && !text.ends_with('-');
    if text.is_empty() || text.len() > 63 || !text.chars().all(fits) || !ends {
        return Err("expected 1 to 63 small letters, digits and -".to_owned());
    }
    Ok(text.to_owned())
}
