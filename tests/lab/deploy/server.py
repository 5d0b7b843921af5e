"""The manifests on a real API server: it takes them, Pod Security takes the pods, and the account may do what it needs only."""

import contextlib
import json
import os
import pathlib
import secrets
import shutil
import socket
import subprocess
import tempfile
import time

import yaml

import manifests
from common import CUSTOM_KINDS, Loader, attempt, configuration, demand, documents, name_of, of_kind, run, say, tool, workload

POD = {"apiVersion": "v1", "kind": "Pod", "spec": {
    "automountServiceAccountToken": False,
    "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [{"name": "app", "image": "example/app:1", "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}],
}}


def check(sets, kubeconfig, crd):
    with contextlib.ExitStack() as stack:
        if not kubeconfig:
            kubeconfig = stack.enter_context(lab())
        kubectl = Kubectl(kubeconfig)
        version = json.loads(kubectl.run("version", "-o", "json"))["serverVersion"]["gitVersion"]
        say(f"API server {version}")
        with_crd = crd is not None
        if with_crd:
            kubectl.run("apply", "--server-side", "-f", crd)
            kubectl.run("wait", "--for=condition=Established", "--timeout=30s", "-f", crd)
            knows_rules(kubectl)
        else:
            say("without --crd: ServiceMonitors and PrometheusRules are not shown to the server")
        for name, found in sets:
            dry_run(kubectl, name, found, with_crd)
        prove(kubectl, dict(sets))


class Kubectl:
    def __init__(self, kubeconfig):
        self.command = [tool("kubectl"), "--kubeconfig", kubeconfig]

    def run(self, *arguments, stdin=None):
        return run(*self.command, *arguments, stdin=stdin)

    def attempt(self, *arguments, stdin=None):
        return attempt(*self.command, *arguments, stdin=stdin)

    def namespace(self, name, *labels):
        if self.attempt("get", "namespace", name).returncode != 0:
            self.run("create", "namespace", name)
        if labels:
            self.run("label", "--overwrite", "namespace", name, *labels)


def apply_dry(kubectl, manifest):
    return kubectl.attempt("apply", "--dry-run=server", "--server-side", "--field-manager=deploy-check", "--validate=strict", "-f", "-",
                           stdin=json.dumps(manifest))


def knows_rules(kubectl):
    """A server that takes every field would prove nothing about a PrometheusRule."""
    def rule(**fields):
        return {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule", "metadata": {"name": "deploy-check", "namespace": "default"},
                "spec": {"groups": [{"name": "group", "rules": [{"alert": "Alert", "expr": "up == 0", **fields}]}]}}

    taken, refused = apply_dry(kubectl, rule(keep_firing_for="1d")), apply_dry(kubectl, rule(keep_firing="1d"))
    demand(taken.returncode == 0, f"the server refuses a rule that is right: {taken.stderr}")
    demand(refused.returncode != 0 and "keep_firing" in refused.stderr, f"the server takes a rule with a field that is unknown: {refused.stderr}")


def dry_run(kubectl, name, found, with_crd):
    """Every manifest, and one pod of each template in a namespace that enforces `restricted`."""
    for namespace in sorted({each["metadata"].get("namespace", "default") for each in found}):
        kubectl.namespace(namespace)
    for manifest in found:
        if manifest["kind"] in CUSTOM_KINDS and not with_crd:
            continue
        done = apply_dry(kubectl, manifest)
        demand(done.returncode == 0, f"{name}: the server refuses {name_of(manifest)}: {done.stderr}")
        demand("arning" not in done.stderr, f"{name}: the server warns of {name_of(manifest)}: {done.stderr}")
    restricted = "deploy-check-restricted"
    kubectl.namespace(restricted, "pod-security.kubernetes.io/enforce=restricted")
    for _, spec in manifests.pods(found):
        # A class that this cluster need not have.
        spec = {key: value for key, value in spec.items() if key not in ("runtimeClassName", "serviceAccountName")}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod", "namespace": restricted}, "spec": spec}
        done = kubectl.attempt("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
        demand(done.returncode == 0, f"{name}: Pod Security `restricted` refuses the pod: {done.stderr}")
    say(f"{name}: the server takes {len(found)} manifests, Pod Security `restricted` takes the pod")


def prove(kubectl, sets):
    """Applies two of them, and asks as their account."""
    # The admission must be able to refuse, or its silence proves nothing.
    done = kubectl.attempt("create", "--dry-run=server", "-f", "-", stdin=json.dumps(
        {**POD, "metadata": {"name": "pod", "namespace": "deploy-check-restricted"}, "spec": {"containers": [{"name": "app", "image": "example/app:1"}]}}))
    demand(done.returncode != 0 and "violates PodSecurity" in done.stderr, f"Pod Security does not refuse a pod without any security: {done.stderr}")
    for name in ("kustomize two-replicas with monitoring", "helm minimal"):
        found = [each for each in sets[name] if each["kind"] not in CUSTOM_KINDS]
        kubectl.run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": found}))
        try:
            account(kubectl, name, found)
        finally:
            # One at a time, or the policy of the first would speak for the second.
            kubectl.run("delete", "--ignore-not-found", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": found}))


def account(kubectl, name, found):
    main = workload(found)
    namespace = main["metadata"]["namespace"]
    own = main["spec"]["template"]["spec"]["serviceAccountName"]
    me = f"--as=system:serviceaccount:{namespace}:{own}"
    config = yaml.load(configuration(found), Loader)
    lease = (config.get("high_availability") or {}).get("lease")
    ours = "dr-exporter" if lease else "api-server"
    permitted = [
        ("list", "pods", "platform"), ("watch", "deployments.apps", "platform"), ("list", "endpointslices.discovery.k8s.io", "platform"),
        ("watch", "cronjobs.batch", "platform"), ("list", "horizontalpodautoscalers.autoscaling", "platform"), ("list", "nodes", None),
        ("watch", "storageclasses.storage.k8s.io", None), ("list", "customresourcedefinitions.apiextensions.k8s.io", None),
        ("list", "leases.coordination.k8s.io", "kube-node-lease"), ("get", f"secrets/{ours}", "platform"), ("create", "pods", "platform"),
    ]
    refused = [
        ("list", "secrets", "platform"), ("watch", "secrets", "platform"), ("get", "secrets/nobody-refers-to", "platform"),
        ("get", f"secrets/{ours}", "default"), ("list", "configmaps", "platform"), ("list", "pods", "default"), ("create", "pods", namespace),
        ("delete", "pods", "platform"), ("patch", "pods", "platform"), ("create", "pods/exec", "platform"), ("update", "deployments.apps", "platform"),
        ("patch", "deployments.apps/scale", "platform"), ("create", "serviceaccounts/token", namespace), ("update", "nodes", None),
        ("update", "leases.coordination.k8s.io", "kube-node-lease"), ("get", "configmaps", namespace),
        ("update", "leases.coordination.k8s.io/another", namespace), ("delete", "leases.coordination.k8s.io/dr-exporter", namespace),
        ("patch", "leases.coordination.k8s.io/dr-exporter", namespace), ("list", "leases.coordination.k8s.io", namespace), ("list", "statefulsets.apps", "platform"),
        ("create", "leases.coordination.k8s.io", "platform"), ("bind", "clusterroles.rbac.authorization.k8s.io", None),
    ]
    leases = [("get", "leases.coordination.k8s.io/dr-exporter", namespace), ("update", "leases.coordination.k8s.io/dr-exporter", namespace),
              ("create", "leases.coordination.k8s.io", namespace)]
    (permitted if lease else refused).extend(leases)
    for expected, questions in (("yes", permitted), ("no", refused)):
        for verb, resource, where in questions:
            resource, *sub = resource.split("/", 1)
            # What stands behind the slash is a name, except for what RBAC calls a subresource.
            subresource = sub and sub[0] in ("exec", "scale", "token")
            target = [resource, f"--subresource={sub[0]}"] if subresource else ["/".join([resource, *sub])]
            answer = kubectl.attempt("auth", "can-i", verb, *target, me, *(["-n", where] if where else []))
            demand(answer.stdout.strip() == expected, f"{name}: may {own} {verb} {resource} {sub} in {where or 'the cluster'}? {answer.stdout.strip() or answer.stderr}, and it should be {expected}")
    say(f"{name}: {len(permitted)} rights are there, {len(refused)} are not")
    dry_runs_only(kubectl, name, me)


def dry_runs_only(kubectl, name, me):
    def create(pod, *arguments):
        return kubectl.attempt("create", "-n", "platform", *arguments, "-f", "-", stdin=json.dumps({**POD, "metadata": {"name": pod}}))

    # A policy is in force some seconds after it was made.
    deadline = time.monotonic() + 30
    while (real := create("deploy-check", me)).returncode == 0:
        kubectl.run("delete", "-n", "platform", "pod", "deploy-check", "--grace-period=0", "--force")
        demand(time.monotonic() < deadline, f"{name}: the account created a pod, 30 s after the policy was made")
        time.sleep(0.5)
    demand("dr-exporter may create pods as a dry run only" in real.stderr, f"{name}: a real creation is refused for another reason: {real.stderr}")
    dry = create("deploy-check", me, "--dry-run=server")
    demand(dry.returncode == 0, f"{name}: a dry run is refused: {dry.stderr}")
    others = create("deploy-check-other")
    demand(others.returncode == 0, f"{name}: the policy refuses others: {others.stderr}")
    kubectl.run("delete", "-n", "platform", "pod", "deploy-check-other", "--grace-period=0", "--force")
    say(f"{name}: the account may create no pod, may ask for a dry run, and nobody else is held to that")


@contextlib.contextmanager
def lab():
    """etcd and kube-apiserver on loopback, for the time of the check; yields a kubeconfig."""
    apiserver = pathlib.Path(os.environ["KUBE_APISERVER"])
    demand(apiserver.exists(), f"{apiserver} is missing: run tests/lab/install")
    etcd = shutil.which("etcd")
    demand(etcd, "etcd is missing: run tests/lab/install")
    with tempfile.TemporaryDirectory() as work, contextlib.ExitStack() as stack:
        def path(name):
            return str(pathlib.Path(work, name))

        def start(name, *command):
            log = stack.enter_context(open(path(name + ".log"), "w", encoding="utf-8"))
            process = subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *command], stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        client, peer, port = free_ports(3)
        token = secrets.token_hex(16)
        pathlib.Path(path("tokens.csv")).write_text(f"{token},admin,admin,system:masters\n", encoding="utf-8")
        run("openssl", "genrsa", "-out", path("sa.key"), "2048")
        start("etcd", etcd, "--unsafe-no-fsync", "--data-dir", path("etcd"),
              f"--listen-client-urls=http://127.0.0.1:{client}", f"--advertise-client-urls=http://127.0.0.1:{client}",
              f"--listen-peer-urls=http://127.0.0.1:{peer}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
              f"--initial-cluster=default=http://127.0.0.1:{peer}")
        server = start("apiserver", str(apiserver), f"--etcd-servers=http://127.0.0.1:{client}", "--service-account-issuer=https://lab",
                       f"--service-account-key-file={path('sa.key')}", f"--service-account-signing-key-file={path('sa.key')}",
                       f"--token-auth-file={path('tokens.csv')}", "--authorization-mode=RBAC", f"--cert-dir={path('certs')}",
                       "--bind-address=127.0.0.1", f"--secure-port={port}", "--service-cluster-ip-range=10.100.0.0/16",
                       "--disable-admission-plugins=ServiceAccount")
        kubeconfig = path("kubeconfig")
        pathlib.Path(kubeconfig).write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "lab",
            "clusters": [{"name": "lab", "cluster": {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}}],
            "users": [{"name": "lab", "user": {"token": token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
        }), encoding="utf-8")
        deadline = time.monotonic() + 60
        while attempt(tool("kubectl"), "--kubeconfig", kubeconfig, "get", "--raw", "/readyz").returncode != 0:
            alive = server.poll() is None and time.monotonic() < deadline
            demand(alive, "the API server does not come up:\n" + "".join(pathlib.Path(path("apiserver.log")).read_text(encoding="utf-8").splitlines(True)[-10:]))
            time.sleep(0.5)
        yield kubeconfig


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
