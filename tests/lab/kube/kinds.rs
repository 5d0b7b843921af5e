//! Where each kind lives in the API.

/// Where a kind lives: kind, `apiVersion`, plural, and whether it has a namespace.
struct Kind(&'static str, &'static str, &'static str, bool);

const KINDS: &[Kind] = &[
    Kind("ConfigMap", "v1", "configmaps", true),
    Kind("Event", "v1", "events", true),
    Kind("LimitRange", "v1", "limitranges", true),
    Kind("Namespace", "v1", "namespaces", false),
    Kind("Node", "v1", "nodes", false),
    Kind("PersistentVolume", "v1", "persistentvolumes", false),
    Kind("PersistentVolumeClaim", "v1", "persistentvolumeclaims", true),
    Kind("Pod", "v1", "pods", true),
    Kind("ResourceQuota", "v1", "resourcequotas", true),
    Kind("Secret", "v1", "secrets", true),
    Kind("Service", "v1", "services", true),
    Kind("ServiceAccount", "v1", "serviceaccounts", true),
    Kind("DaemonSet", "apps/v1", "daemonsets", true),
    Kind("Deployment", "apps/v1", "deployments", true),
    Kind("ReplicaSet", "apps/v1", "replicasets", true),
    Kind("StatefulSet", "apps/v1", "statefulsets", true),
    Kind("CronJob", "batch/v1", "cronjobs", true),
    Kind("Job", "batch/v1", "jobs", true),
    Kind("EndpointSlice", "discovery.k8s.io/v1", "endpointslices", true),
    Kind("Lease", "coordination.k8s.io/v1", "leases", true),
    Kind("StorageClass", "storage.k8s.io/v1", "storageclasses", false),
    Kind("HorizontalPodAutoscaler", "autoscaling/v2", "horizontalpodautoscalers", true),
    Kind("PodDisruptionBudget", "policy/v1", "poddisruptionbudgets", true),
    Kind("Ingress", "networking.k8s.io/v1", "ingresses", true),
    Kind("NetworkPolicy", "networking.k8s.io/v1", "networkpolicies", true),
    Kind("PriorityClass", "scheduling.k8s.io/v1", "priorityclasses", false),
    Kind("Role", "rbac.authorization.k8s.io/v1", "roles", true),
    Kind("RoleBinding", "rbac.authorization.k8s.io/v1", "rolebindings", true),
    Kind("ClusterRole", "rbac.authorization.k8s.io/v1", "clusterroles", false),
    Kind("ClusterRoleBinding", "rbac.authorization.k8s.io/v1", "clusterrolebindings", false),
    Kind(
        "ValidatingWebhookConfiguration",
        "admissionregistration.k8s.io/v1",
        "validatingwebhookconfigurations",
        false,
    ),
    Kind(
        "ValidatingAdmissionPolicy",
        "admissionregistration.k8s.io/v1",
        "validatingadmissionpolicies",
        false,
    ),
    Kind(
        "ValidatingAdmissionPolicyBinding",
        "admissionregistration.k8s.io/v1",
        "validatingadmissionpolicybindings",
        false,
    ),
    Kind("CustomResourceDefinition", "apiextensions.k8s.io/v1", "customresourcedefinitions", false),
    Kind("ServiceMonitor", "monitoring.coreos.com/v1", "servicemonitors", true),
    Kind("PodMonitor", "monitoring.coreos.com/v1", "podmonitors", true),
    Kind("PrometheusRule", "monitoring.coreos.com/v1", "prometheusrules", true),
];

/// Whether objects of the kind belong to a namespace.
pub(super) fn has_namespace(kind: &str) -> bool {
    find(kind).3
}

/// The path of one object, or of the collection when `name` is empty.
pub(super) fn path(kind: &str, version: Option<&str>, namespace: &str, name: &str) -> String {
    let Kind(_, known, plural, namespaced) = find(kind);
    let version = version.unwrap_or(known);
    let root = if version.contains('/') { "apis" } else { "api" };
    let middle =
        if *namespaced && !namespace.is_empty() { format!("/namespaces/{namespace}") } else { String::new() };
    let end = if name.is_empty() { String::new() } else { format!("/{name}") };
    format!("/{root}/{version}{middle}/{plural}{end}")
}

fn find(kind: &str) -> &'static Kind {
    let found = KINDS.iter().find(|known| known.0 == kind);
    found.unwrap_or_else(|| {
        panic!("the lab knows no kind '{kind}': add it to KINDS of tests/lab/kube/kinds.rs")
    })
}
