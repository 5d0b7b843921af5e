"""What every part of the check uses: where things are, commands, manifests, and the one way to say that something is wrong."""

import json
import os
import pathlib
import re
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[3]
CHART = ROOT / "deploy/helm/dr-exporter"
KUSTOMIZE = ROOT / "deploy/kustomize"
CACHE = pathlib.Path(os.environ["LAB_CACHE"])
BIN = pathlib.Path(sys.executable).parent

# Of what we render; a kind that is in neither list must be added to one of them.
CLUSTER_KINDS = {"ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}
CUSTOM_KINDS = {"PrometheusRule", "ServiceMonitor"}


class Wrong(Exception):
    """One sentence: where, and what is wrong."""


class Loader(yaml.SafeLoader):
    """YAML 1.2 core, as the exporter reads it: no dates, and only true and false are booleans."""


Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers
            if tag not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:bool")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
BOOLEAN = re.compile("^(?:true|True|TRUE|false|False|FALSE)$")
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", BOOLEAN, list("tTfF"))


def say(text):
    print(f"deploy-check: {text}", flush=True)


def demand(condition, text):
    if not condition:
        raise Wrong(text)


def tool(name):
    """kubectl and helm of the lab; the others from the virtual environment."""
    for directory in [*sorted(CACHE.glob("kubectl-*")), BIN]:
        if (directory / name).exists():
            return str(directory / name)
    raise Wrong(f"{name} is missing: run tests/lab/install")


def run(*command, cwd=ROOT, stdin=None):
    """Output of a command that must succeed."""
    done = attempt(*command, cwd=cwd, stdin=stdin)
    demand(done.returncode == 0, f"`{' '.join(map(str, command))}` failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def attempt(*command, cwd=ROOT, stdin=None):
    return subprocess.run([str(part) for part in command], cwd=cwd, input=stdin, capture_output=True, text=True, check=False)


def documents(text):
    return [document for document in yaml.load_all(text, Loader) if document is not None]


def name_of(manifest):
    meta = manifest["metadata"]
    return f"{manifest['kind']} {meta['namespace'] + '/' if 'namespace' in meta else ''}{meta['name']}"


def of_kind(manifests, *kinds):
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def the_one(manifests, *kinds):
    found = of_kind(manifests, *kinds)
    demand(len(found) == 1, f"expected one {' or '.join(kinds)}, found {len(found)}")
    return found[0]


def workload(manifests):
    """The exporter's own Deployment or StatefulSet."""
    return the_one(manifests, "Deployment", "StatefulSet")


def configuration(manifests):
    """The exporter's file, as text, from the ConfigMap that the pod mounts."""
    volumes = workload(manifests)["spec"]["template"]["spec"]["volumes"]
    name = next(volume["configMap"]["name"] for volume in volumes if volume["name"] == "config")
    maps = [each for each in of_kind(manifests, "ConfigMap") if each["metadata"]["name"] == name]
    demand(len(maps) == 1, f"the pod mounts the ConfigMap {name}, which is not rendered")
    return maps[0]["data"]["dr-exporter.yaml"]


def matches(selector, labels):
    return bool(selector) and all(labels.get(key) == value for key, value in selector.items())


def pretty(value):
    return json.dumps(value, sort_keys=True)
