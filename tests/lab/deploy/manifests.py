"""What must hold for every rendered set of manifests."""

import json
import re

import kubernetes_validate
import yaml

import rights
from common import (CLUSTER_KINDS, CUSTOM_KINDS, ROOT, Loader, Wrong, configuration, demand, matches, name_of, of_kind, pretty, the_one,
                    workload)

# The newest that the validator has, and the oldest that the chart allows.
VERSIONS = ["1.37", "1.30"]
# What annotations of an object may come to; `kubectl apply` without `--server-side` keeps the whole object in one.
ANNOTATIONS = 256 * 1024
PROBES = {"livenessProbe": "/-/healthy", "readinessProbe": "/-/ready"}


def check(what, manifests, namespace, **extra):
    """All of it; `what` names the set in what is said. `extra`: see `check_rights`."""
    for part in (check_schema, check_places, check_references, check_policy, check_replicas):
        within(what, part, manifests, namespace)
    for pod in pods(manifests):
        within(what, check_restricted, pod)
    within(what, check_exporter, manifests)
    within(what, check_rights, manifests, **extra)


def within(what, part, *arguments, **named):
    try:
        part(*arguments, **named)
    except Wrong as wrong:
        raise Wrong(f"{what}: {wrong}") from None


def check_schema(manifests, _namespace):
    for manifest in manifests:
        if manifest["kind"] in CUSTOM_KINDS:
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(manifest, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                at = ".".join(str(part) for part in error.path)
                raise Wrong(f"{name_of(manifest)} is not valid in Kubernetes {version}: {error.message} at {at}") from None


def check_places(manifests, _namespace):
    """Nothing twice, or too large; a namespace exactly where there is one; labels that tools expect."""
    seen = set()
    for manifest in manifests:
        meta = manifest["metadata"]
        key = (manifest["kind"], meta.get("namespace"), meta["name"])
        demand(key not in seen, f"{name_of(manifest)} is there twice")
        seen.add(key)
        size = len(json.dumps(manifest)) + len(json.dumps(meta.get("annotations", {})))
        demand(size < ANNOTATIONS, f"{name_of(manifest)} has {size} bytes, too many for `kubectl apply` without --server-side: say so in docs/deployment.md")
        # extraManifests are the operator's own.
        if meta["name"] == "extra":
            continue
        placed = bool(meta.get("namespace"))
        demand(placed != (manifest["kind"] in CLUSTER_KINDS),
               f"{name_of(manifest)} {'must not have' if placed else 'has no'} namespace")
        demand("app.kubernetes.io/name" in meta.get("labels", {}), f"{name_of(manifest)} has no label app.kubernetes.io/name")


def check_references(manifests, namespace):
    """Selectors find the pod and nothing refers to what is not there."""
    main = workload(manifests)
    template = main["spec"]["template"]
    labels = template["metadata"]["labels"]
    own = [m for m in manifests if m["metadata"].get("namespace") == namespace]
    demand(main in own, f"{name_of(main)} is not in the namespace {namespace}")
    demand(matches(main["spec"]["selector"]["matchLabels"], labels), "the selector does not match the pod's own labels")
    ports = {port["name"] for container in template["spec"]["containers"] for port in container.get("ports", [])}
    for service in of_kind(own, "Service"):
        demand(matches(service["spec"]["selector"], labels), f"{name_of(service)} does not select the pods")
        for port in service["spec"]["ports"]:
            demand(port["targetPort"] in ports, f"{name_of(service)} leads to the port {port['targetPort']}, which no container has")
    for budget in of_kind(own, "PodDisruptionBudget"):
        demand(matches(budget["spec"]["selector"]["matchLabels"], labels), f"{name_of(budget)} does not select the pods")
    for policy in of_kind(own, "NetworkPolicy"):
        demand(matches(policy["spec"]["podSelector"]["matchLabels"], labels), f"{name_of(policy)} does not select the pods")
    for constraint in template["spec"].get("topologySpreadConstraints", []):
        demand(matches(constraint["labelSelector"]["matchLabels"], labels), "a spread constraint does not select the pods")
    for monitor in of_kind(manifests, "ServiceMonitor"):
        demand(monitor["spec"]["jobLabel"] == "app.kubernetes.io/name", f"{name_of(monitor)}: jobLabel")
        found = [s for s in of_kind(own, "Service") if matches(monitor["spec"]["selector"]["matchLabels"], s["metadata"]["labels"])]
        demand(len(found) == 1, f"{name_of(monitor)} selects {len(found)} Services; each pod would be scraped that often")
        offered = {port["name"] for port in found[0]["spec"]["ports"]}
        demand(all(endpoint["port"] in offered for endpoint in monitor["spec"]["endpoints"]), f"{name_of(monitor)} names a port that the Service has not")
    if main["kind"] == "StatefulSet":
        names = {service["metadata"]["name"] for service in of_kind(own, "Service")}
        demand(main["spec"]["serviceName"] in names, f"{name_of(main)} names the Service {main['spec']['serviceName']}, which is not rendered")
    account = template["spec"]["serviceAccountName"]
    accounts = {each["metadata"]["name"] for each in of_kind(own, "ServiceAccount")}
    demand(account in accounts, f"the pod runs as {account}, which is not rendered")
    for binding in of_kind(manifests, "RoleBinding", "ClusterRoleBinding"):
        demand(binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
               f"{name_of(binding)} binds somebody else: {pretty(binding['subjects'])}")


def check_policy(manifests, namespace):
    """Who may create pods is held to dry runs, and by nobody else's name."""
    creates = any(right[2:] == ("pods", "", "create") for right in rights.granted(manifests))
    policies = of_kind(manifests, "ValidatingAdmissionPolicy")
    demand(policies or not creates, "the account may create pods, and no admission policy holds it to dry runs")
    demand(creates or not policies, "there is an admission policy, and the account may create no pods")
    for policy in policies:
        account = workload(manifests)["spec"]["template"]["spec"]["serviceAccountName"]
        conditions = [condition["expression"] for condition in policy["spec"]["matchConditions"]]
        want = f"request.userInfo.username == 'system:serviceaccount:{namespace}:{account}'"
        demand(conditions == [want], f"{name_of(policy)} is about {conditions}, and not about {want}")
        expressions = [validation["expression"] for validation in policy["spec"]["validations"]]
        demand(expressions == ["has(request.dryRun) && request.dryRun"] and policy["spec"]["failurePolicy"] == "Fail",
               f"{name_of(policy)} lets through more than dry runs: {expressions}")
        binding = the_one(manifests, "ValidatingAdmissionPolicyBinding")
        demand(binding["spec"] == {"policyName": policy["metadata"]["name"], "validationActions": ["Deny"]}, f"{name_of(binding)} does not enforce the policy")


def check_dashboards(manifests, label="grafana_dashboard"):
    """Each of the committed files, word for word, in one ConfigMap that the sidecar finds."""
    files = sorted((ROOT / "dashboards").glob("*.json"))
    demand(files, "there are no dashboards")
    for file in files:
        found = [each for each in of_kind(manifests, "ConfigMap") if file.name in each["data"]]
        demand(len(found) == 1, f"{file.name} is in {len(found)} ConfigMaps")
        demand(found[0]["data"] == {file.name: file.read_text()}, f"{name_of(found[0])} holds something else than dashboards/{file.name}")
        demand(found[0]["metadata"]["labels"].get(label) == "1", f"{name_of(found[0])} has no label {label}")


def check_replicas(manifests, _namespace):
    """As many pods as the configuration has a use for."""
    main = workload(manifests)
    config = yaml.load(configuration(manifests), Loader)
    replicas = main["spec"]["replicas"]
    if config.get("sharding"):
        shards = config["sharding"]["shards"]
        demand(main["kind"] == "StatefulSet" and replicas == shards, f"{shards} shards need a StatefulSet of as many, and not {main['kind']} of {replicas}")
    elif not config.get("high_availability"):
        demand(replicas == 1, f"{replicas} replicas without high_availability would all probe")


def pods(manifests):
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            yield manifest["metadata"], manifest["spec"]
        elif manifest["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            yield manifest["spec"]["template"].get("metadata", {}), manifest["spec"]["template"]["spec"]


def check_restricted(pod):
    """Pod Security `restricted`, and a root that is read-only: https://kubernetes.io/docs/concepts/security/pod-security-standards/"""
    _, spec = pod
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        demand(not spec.get(key), f"the pod uses {key}")
    common = spec.get("securityContext", {})
    demand(common.get("runAsUser", 1) != 0, "the pod runs as root")
    allowed = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret", "name"}
    for volume in spec.get("volumes", []):
        demand(set(volume) <= allowed, f"the volume {volume['name']} is of a kind that is not allowed")
    for container in [*spec.get("initContainers", []), *spec["containers"]]:
        context = container.get("securityContext", {})
        where = f"the container {container['name']}"
        demand(context.get("allowPrivilegeEscalation") is False, f"{where} allows privilege escalation")
        demand(not context.get("privileged"), f"{where} is privileged")
        demand(context.get("capabilities", {}).get("drop") == ["ALL"], f"{where} does not drop all capabilities")
        demand(set(context.get("capabilities", {}).get("add", [])) <= {"NET_BIND_SERVICE"}, f"{where} adds capabilities")
        demand(context.get("runAsNonRoot", common.get("runAsNonRoot")) is True, f"{where} may run as root")
        demand(context.get("runAsUser", 1) != 0, f"{where} runs as root")
        seccomp = context.get("seccompProfile", common.get("seccompProfile", {})).get("type")
        demand(seccomp in ("RuntimeDefault", "Localhost"), f"{where} has no seccomp profile")
        demand(not any(port.get("hostPort") for port in container.get("ports", [])), f"{where} takes a port of the host")


def check_exporter(manifests):
    """The exporter's own container: what it is asked, where it listens, what it may write."""
    spec = workload(manifests)["spec"]["template"]["spec"]
    container = next(each for each in spec["containers"] if each["name"] == "dr-exporter")
    demand(container["securityContext"].get("readOnlyRootFilesystem") is True, "the root file system is writable")
    port = next(each["containerPort"] for each in container["ports"] if each["name"] == "http")
    demand(f"--web.listen-address=:{port}" in container["args"], f"it does not listen on the port {port} of the container")
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    demand(f"--config.file={mounts['config']['mountPath']}/dr-exporter.yaml" in container["args"], "its configuration is mounted elsewhere than it looks")
    demand(not any("subPath" in mount for mount in mounts.values()), "a mount by subPath never changes in a running pod")
    volumes = {volume["name"] for volume in spec["volumes"]}
    demand(set(mounts) <= volumes, f"mounts without a volume: {sorted(set(mounts) - volumes)}")
    for probe, path in PROBES.items():
        demand(container[probe]["httpGet"] == {"path": path, "port": "http"}, f"{probe} asks {container[probe].get('httpGet')}, and not {path}")
    demand(re.search(r"(:[0-9]+\.[0-9]+\.[0-9]+|@sha256:[0-9a-f]{64})$", container["image"]), f"the image {container['image']} is not one version")
    demand("limits" not in container.get("resources", {}) or "cpu" not in container["resources"]["limits"], "it has a limit of CPU")


def check_rights(manifests, secret_names=None, config_map_names=None, may_add_names=False):
    """What the account may do is what the configuration needs, and a token is mounted only where it may do anything."""
    config = yaml.load(configuration(manifests), Loader)
    want = rights.needed(config, secret_names, config_map_names)
    rights.compare("RBAC", rights.granted(manifests), want, may_add_names)
    mounted = workload(manifests)["spec"]["template"]["spec"]["automountServiceAccountToken"]
    if (config.get("kubernetes") or {}).get("mode") == "disabled":
        demand(not want, "kubernetes.mode is disabled, and the configuration refers to the cluster")
    demand(mounted == bool(want), f"the token is {'mounted' if mounted else 'not mounted'}, and the rights are: {rights.words(want)}")
