"""Which rights a configuration needs, told apart from how deploy/ and the exporter spell them out.

A right is (namespace or "", apiGroup, resource, name or "", verb).
"""

from common import Wrong, demand, of_kind, pretty

READ = ("get", "list", "watch")
SERVICES = [("", "services"), ("discovery.k8s.io", "endpointslices")]
WATCHED = SERVICES + [
    ("", "persistentvolumeclaims"), ("", "pods"), ("", "resourcequotas"),
    ("autoscaling", "horizontalpodautoscalers"), ("batch", "cronjobs"),
    ("monitoring.coreos.com", "podmonitors"), ("monitoring.coreos.com", "servicemonitors"),
]
CLUSTER = [("storage.k8s.io", "storageclasses"), ("apiextensions.k8s.io", "customresourcedefinitions")]


def needed(config, secret_names=None, config_map_names=None):
    """The rights that follow from a configuration, and the names that an operator adds to them."""
    rights = set()

    def grant(namespace, group, resource, verbs, name=""):
        rights.update((namespace, group, resource, name, verb) for verb in verbs)

    kubernetes = config.get("kubernetes") or {}
    watched = [
        (workload["namespace"], kind)
        for system in config["systems"]
        for workload in system.get("workloads") or []
        for kind in ("deployment", "statefulset")
        if workload.get(kind)
    ]
    for namespace, kind in watched:
        grant(namespace, "apps", kind + "s", READ)
        for group, resource in WATCHED:
            grant(namespace, group, resource, READ)
        if kubernetes.get("create_dry_run", True):
            grant(namespace, "", "pods", ["create"])
    if watched or (config.get("site") or {}).get("identity"):
        grant("", "", "nodes", READ)
    if watched:
        for group, resource in CLUSTER:
            grant("", group, resource, READ)
        grant("kube-node-lease", "coordination.k8s.io", "leases", ("get", "list"))
    for key, value in walk(config):
        if key == "secret" and isinstance(value, dict) and "namespace" in value:
            grant(value["namespace"], "", "secrets", ["get"], value["name"])
        if key in ("connect_to", "target") and isinstance(value, dict):
            for group, resource in SERVICES:
                grant(value["service"].split("/")[0], group, resource, READ)
    lease = (config.get("high_availability") or {}).get("lease")
    if lease:
        # Each shard has its own.
        sharding = config.get("sharding")
        names = [f"{lease['name']}-{ordinal}" for ordinal in range(sharding["shards"])] if sharding else [lease["name"]]
        for name in names:
            grant(lease["namespace"], "coordination.k8s.io", "leases", ("get", "update"), name)
        grant(lease["namespace"], "coordination.k8s.io", "leases", ["create"])
    if rights:
        for namespace, names in (secret_names or {}).items():
            for name in names:
                grant(namespace, "", "secrets", ["get"], name)
        for namespace, names in (config_map_names or {}).items():
            for name in names:
                grant(namespace, "", "configmaps", READ, name)
    return rights


def walk(node):
    if isinstance(node, dict):
        for key, value in node.items():
            yield key, value
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


def granted(manifests):
    """The rights that Roles and ClusterRoles hold, each of which must be bound."""
    rights = set()
    for role in of_kind(manifests, "Role", "ClusterRole"):
        namespace = role["metadata"].get("namespace", "")
        bindings = [
            binding for binding in of_kind(manifests, role["kind"] + "Binding")
            if binding["roleRef"]["name"] == role["metadata"]["name"] and binding["metadata"].get("namespace", "") == namespace
        ]
        demand(len(bindings) == 1, f"{role['kind']} {namespace}/{role['metadata']['name']} is bound {len(bindings)} times")
        for rule in role["rules"]:
            demand(not {"*"} & {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}, f"a rule with a wildcard: {pretty(rule)}")
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for name in rule.get("resourceNames", [""]):
                        rights.update((namespace, group, resource, name, verb) for verb in rule["verbs"])
    return rights


def compare(what, have, want, may_add_names=False):
    """Neither more nor less. With `may_add_names`: Secrets and ConfigMaps by name, for what the workloads take from there."""
    less = want - have
    more = {
        right for right in have - want
        if not (may_add_names and right[3] and (right[2], right[4]) in {("secrets", "get"), *(("configmaps", verb) for verb in READ)})
    }
    if less or more:
        raise Wrong(f"{what}: rights differ from what the configuration needs; missing {words(less)}; too many {words(more)}")


def words(rights):
    return ", ".join(
        f"{verb} {resource}{'.' + group if group else ''}{'/' + name if name else ''} in {namespace or 'the cluster'}"
        for namespace, group, resource, name, verb in sorted(rights)
    ) or "none"
