//! The least rights that a configuration needs in a cluster, as manifests. Pure: what workloads refer to is given.

mod references;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::config::{Config, KubernetesMode};
use crate::shard;

pub use references::{References, in_config};

/// Whose rights these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Namespace of the exporter.
    pub namespace: String,
    /// Name of its ServiceAccount; also the name of what is made here.
    pub name: String,
}

/// A Deployment or StatefulSet of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Workload {
    /// Its namespace.
    pub namespace: String,
    /// `deployments` or `statefulsets`.
    pub resource: &'static str,
    /// Its name.
    pub name: String,
}

/// Rights in one namespace, by API group and resource.
#[derive(Default)]
struct Rules {
    /// Read as a whole.
    reads: BTreeSet<(&'static str, &'static str)>,
    /// Read by name.
    named: References,
    creates_pods: bool,
    leases: BTreeSet<String>,
    lists_leases: bool,
    /// What has to be added by hand.
    remarks: Vec<String>,
}

const READ: [&str; 3] = ["get", "list", "watch"];

/// What is read in the namespace of every workload.
const BESIDE_A_WORKLOAD: &[(&str, &str)] = &[
    ("", "persistentvolumeclaims"),
    ("", "pods"),
    ("", "resourcequotas"),
    ("", "services"),
    ("autoscaling", "horizontalpodautoscalers"),
    ("batch", "cronjobs"),
    ("discovery.k8s.io", "endpointslices"),
    ("monitoring.coreos.com", "podmonitors"),
    ("monitoring.coreos.com", "servicemonitors"),
];

/// Every Deployment and StatefulSet that the configuration names, in their order.
pub fn workloads(config: &Config) -> BTreeSet<Workload> {
    let of = |workload: &crate::config::Workload| {
        let (resource, name) = match (&workload.deployment, &workload.statefulset) {
            (Some(name), _) => ("deployments", name),
            (None, Some(name)) => ("statefulsets", name),
            (None, None) => return None,
        };
        let namespace = workload.namespace.clone().unwrap_or_default();
        Some(Workload { namespace, resource, name: name.clone() })
    };
    if config.kubernetes.mode == KubernetesMode::Disabled {
        return BTreeSet::new();
    }
    config.systems.iter().flat_map(|system| &system.workloads).filter_map(of).collect()
}

/// All manifests as one YAML stream. `known` holds what the workloads refer to, as far as somebody looked; for the others
/// there is a remark that says what to fill in.
pub fn manifests(config: &Config, known: &BTreeMap<Workload, References>, account: &Account) -> String {
    let workloads = workloads(config);
    let mut spaces = namespaces(config, &workloads, known);
    if let Some(high_availability) = &config.high_availability {
        let lease = &high_availability.lease;
        let names = match &config.sharding {
            Some(sharding) => (0..sharding.shards).map(|n| shard::lease_name(&lease.name, n)).collect(),
            None => BTreeSet::from([lease.name.clone()]),
        };
        spaces.entry(lease.namespace.clone()).or_default().leases.extend(names);
    }
    if !workloads.is_empty() {
        spaces.entry("kube-node-lease".to_owned()).or_default().lists_leases = true;
    }
    let mut out = Stream::new(account);
    for (namespace, rules) in spaces {
        let remarks = rules.remarks.clone();
        out.role(Some(&namespace), &remarks, &rules.into_values());
    }
    out.cluster_role(config, &workloads);
    if config.kubernetes.create_dry_run && !workloads.is_empty() {
        out.admission();
    }
    out.end()
}

fn namespaces(
    config: &Config,
    workloads: &BTreeSet<Workload>,
    known: &BTreeMap<Workload, References>,
) -> BTreeMap<String, Rules> {
    let mut spaces: BTreeMap<String, Rules> = BTreeMap::new();
    for workload in workloads {
        let rules = spaces.entry(workload.namespace.clone()).or_default();
        rules.reads.extend(BESIDE_A_WORKLOAD);
        rules.reads.insert(("apps", workload.resource));
        rules.creates_pods = config.kubernetes.create_dry_run;
        match known.get(workload) {
            Some(References { config_maps, secrets }) => {
                rules.named.config_maps.extend(config_maps.iter().cloned());
                rules.named.secrets.extend(secrets.iter().cloned());
            }
            None => rules.remarks.push(format!(
                "{}/{} was not looked at: add the ConfigMaps that it refers to (env, envFrom, volumes) to a rule `get, list, \
                 watch` on configmaps, and its Secrets to a rule `get` on secrets, each with resourceNames",
                workload.resource, workload.name
            )),
        }
    }
    let given = in_config(config);
    if config.kubernetes.mode == KubernetesMode::Auto {
        for (namespace, name) in given.secrets {
            spaces.entry(namespace).or_default().named.secrets.insert(name);
        }
        for namespace in given.services {
            let reads = &mut spaces.entry(namespace).or_default().reads;
            reads.extend([("", "services"), ("discovery.k8s.io", "endpointslices")]);
        }
    }
    spaces
}

// === impl Rules ===

impl Rules {
    fn into_values(self) -> Vec<Value> {
        let Rules {
            reads,
            named: References { config_maps, secrets },
            creates_pods,
            leases,
            lists_leases,
            remarks: _,
        } = self;
        let mut by_group: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (group, resource) in reads {
            by_group.entry(group).or_default().push(resource);
        }
        let mut rules: Vec<Value> =
            by_group.iter().map(|(group, resources)| rule(group, resources, &READ, None)).collect();
        if !config_maps.is_empty() {
            rules.push(rule("", &["configmaps"], &READ, Some(&config_maps)));
        }
        if !secrets.is_empty() {
            rules.push(rule("", &["secrets"], &["get"], Some(&secrets)));
        }
        if creates_pods {
            rules.push(rule("", &["pods"], &["create"], None));
        }
        if lists_leases {
            rules.push(rule("coordination.k8s.io", &["leases"], &["get", "list"], None));
        }
        if !leases.is_empty() {
            // A name cannot limit what is not there yet.
            rules.push(rule("coordination.k8s.io", &["leases"], &["create"], None));
            rules.push(rule("coordination.k8s.io", &["leases"], &["get", "update"], Some(&leases)));
        }
        rules
    }
}

fn rule(group: &str, resources: &[&str], verbs: &[&str], names: Option<&BTreeSet<String>>) -> Value {
    let mut rule = json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
    if let Some(names) = names {
        rule["resourceNames"] = json!(names);
    }
    rule
}

/// The documents, one after the other.
struct Stream<'a> {
    account: &'a Account,
    documents: Vec<String>,
}

// === impl Stream ===

impl<'a> Stream<'a> {
    fn new(account: &'a Account) -> Self {
        Stream { account, documents: Vec::new() }
    }

    fn push(&mut self, remarks: &[String], document: &Value) {
        let mut text = String::new();
        for remark in remarks {
            text.extend(["# ", remark, "\n"]);
        }
        // Plain data with keys of text: there is nothing that YAML cannot say.
        text += &serde_saphyr::to_string(document).unwrap_or_default();
        self.documents.push(text);
    }

    fn metadata(&self, namespace: Option<&str>) -> Value {
        let mut metadata =
            json!({"name": self.account.name, "labels": {"app.kubernetes.io/name": "dr-exporter"}});
        if let Some(namespace) = namespace {
            metadata["namespace"] = json!(namespace);
        } else {
            // Things of the whole cluster are told apart by their names only.
            metadata["name"] = json!(format!("{}-{}", self.account.namespace, self.account.name));
        }
        metadata
    }

    /// A Role with its binding, or both for the cluster.
    fn role(&mut self, namespace: Option<&str>, remarks: &[String], rules: &[Value]) {
        let prefix = if namespace.is_some() { "" } else { "Cluster" };
        let (role, binding) = (format!("{prefix}Role"), format!("{prefix}RoleBinding"));
        let metadata = self.metadata(namespace);
        let Account { namespace: home, name } = self.account;
        let bound = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": binding,
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": role, "name": metadata["name"]},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": home}],
        });
        let role = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": role,
            "metadata": metadata,
            "rules": rules,
        });
        self.push(remarks, &role);
        self.push(&[], &bound);
    }

    /// What has no namespace.
    fn cluster_role(&mut self, config: &Config, workloads: &BTreeSet<Workload>) {
        let asks_nodes = config.site.identity.is_some() && config.kubernetes.mode == KubernetesMode::Auto;
        let mut rules = Vec::new();
        if !workloads.is_empty() || asks_nodes {
            rules.push(rule("", &["nodes"], &READ, None));
        }
        if !workloads.is_empty() {
            rules.push(rule("apiextensions.k8s.io", &["customresourcedefinitions"], &READ, None));
            rules.push(rule("storage.k8s.io", &["storageclasses"], &READ, None));
        }
        if !rules.is_empty() {
            self.role(None, &[], &rules);
        }
    }

    /// RBAC cannot say that a pod may be created as a dry run only; this can.
    fn admission(&mut self) {
        let Account { namespace, name } = self.account;
        let metadata = self.metadata(None);
        let remark =
            "The right to create pods is for dry runs only: this refuses everything else to our account.";
        let policy = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": metadata,
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [
                    {"apiGroups": [""], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["pods"]},
                ]},
                "matchConditions": [{
                    "name": "is-dr-exporter",
                    "expression": format!("request.userInfo.username == 'system:serviceaccount:{namespace}:{name}'"),
                }],
                "validations": [{
                    "expression": "has(request.dryRun) && request.dryRun",
                    "message": "dr-exporter may create pods as a dry run only",
                    "reason": "Forbidden",
                }],
            },
        });
        let binding = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": metadata,
            "spec": {"policyName": metadata["name"], "validationActions": ["Deny"]},
        });
        self.push(&[remark.to_owned()], &policy);
        self.push(&[], &binding);
    }

    fn end(self) -> String {
        if self.documents.is_empty() {
            return "# This configuration needs no rights in a cluster.\n".to_owned();
        }
        self.documents.join("---\n")
    }
}

#[cfg(test)]
mod tests;
