"""Checks deploy/. How it is called: tests/lab/deploy-check."""

import argparse
import os
import pathlib
import re
import shutil
import sys
import tempfile

import yaml

import chart
import image
import manifests
import rights
import rules
import server
from common import BIN, CHART, KUSTOMIZE, ROOT, Loader, Wrong, attempt, configuration, demand, documents, name_of, run, say, tool, workload

YAMLLINT = """
extends: default
ignore: [deploy/helm/dr-exporter/templates/]
rules:
  document-start: disable
  line-length: {max: 140}
  comments: {min-spaces-from-content: 1}
  braces: {max-spaces-inside: 1}
  truthy: {check-keys: false}
  octal-values: enable
"""


def main():
    parser = argparse.ArgumentParser(prog="deploy-check")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--lab", action="store_true")
    group.add_argument("--server", metavar="KUBECONFIG")
    parser.add_argument("--crd", metavar="FILE", type=pathlib.Path)
    parser.add_argument("--exporter", metavar="BINARY", type=pathlib.Path)
    parser.add_argument("--image", action="store_true")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    try:
        if arguments.write:
            (CHART / "README.md").write_text(chart.readme())
            say("wrote the README of the chart")
            return 0
        sets = kustomize() + chart.check()
        if arguments.exporter:
            exporter(arguments.exporter.resolve(), sets)
        files()
        if arguments.image:
            image.check()
        if arguments.lab or arguments.server:
            server.check(sets, arguments.server, arguments.crd)
    except Wrong as wrong:
        print(f"deploy-check: {wrong}", file=sys.stderr)
        return 1
    say("all of it holds")
    return 0


def kustomize():
    """Base and overlays, and each overlay with all that is there for monitoring, and in another namespace."""
    kubectl = tool("kubectl")
    overlays = sorted(path.parent for path in KUSTOMIZE.glob("overlays/*/kustomization.yaml"))
    demand(overlays, "no overlays in deploy/kustomize")
    run(kubectl, "kustomize", KUSTOMIZE / "base")
    sets = []
    for overlay in overlays:
        found = documents(run(kubectl, "kustomize", overlay))
        name = f"kustomize {overlay.name}"
        manifests.check(name, found, "dr", may_add_names=True)
        demand("resources" in workload(found)["spec"]["template"]["spec"]["containers"][0], f"{name}: no resources")
        say(f"{name}: {len(found)} manifests hold")
        monitored = documents(with_monitoring(kubectl, overlay))
        manifests.check(f"{name} with monitoring", monitored, "dr", may_add_names=True)
        for part in (manifests.check_dashboards, rules.check, rules.check_files, rules.check_alertmanager):
            manifests.within(f"{name} with monitoring", part, monitored)
        sets.append((f"{name} with monitoring", monitored))
    say("each of them also with dashboards, rules and the configuration of Alertmanager, which are those of the files")
    own_alertmanager(kubectl)
    elsewhere(kubectl, overlays)
    return sets


def with_monitoring(kubectl, overlay):
    """As a user adds it: in a kustomization of their own."""
    with tempfile.TemporaryDirectory() as work:
        def path(target):
            return os.path.relpath(target, work)

        pathlib.Path(work, "kustomization.yaml").write_text(yaml.safe_dump({
            "resources": [path(overlay), path(KUSTOMIZE / "rule-files"), path(KUSTOMIZE / "alertmanager")],
            "components": [path(KUSTOMIZE / "components/monitoring")],
            "labels": [{"pairs": {"app.kubernetes.io/name": "dr-exporter"}}],
            "transformers": [path(KUSTOMIZE / "namespace")],
        }))
        return run(kubectl, "kustomize", work)


def own_alertmanager(kubectl):
    """As docs/deployment.md says: the same Secret, with the operator's file and namespace."""
    with tempfile.TemporaryDirectory() as work:
        text = rules.EXAMPLE.read_text().replace("http://pager.example/", "http://pager.internal/")
        pathlib.Path(work, "alertmanager.yaml").write_text(text)
        pathlib.Path(work, "kustomization.yaml").write_text(yaml.safe_dump({
            "namespace": "monitoring",
            "resources": [os.path.relpath(KUSTOMIZE / "alertmanager", work)],
            "secretGenerator": [{"name": "dr-exporter-alertmanager", "behavior": "replace", "files": ["alertmanager.yaml"]}],
        }))
        found = documents(run(kubectl, "kustomize", work))
        demand([name_of(each) for each in found] == ["Secret monitoring/dr-exporter-alertmanager"],
               f"a file of one's own for Alertmanager gives {[name_of(each) for each in found]}")
        rules.check_alertmanager(found, receivers=yaml.load(text, Loader)["receivers"])
    say("a file of one's own takes the place of the example for Alertmanager")


def elsewhere(kubectl, overlays):
    """In another namespace, which is one word in one file; the Lease's own stands in the configuration."""
    with tempfile.TemporaryDirectory() as work:
        copy = pathlib.Path(shutil.copytree(KUSTOMIZE, pathlib.Path(work, "kustomize")))
        file = copy / "namespace/namespace.yaml"
        demand(file.read_text().count("namespace: dr\n") == 1, "namespace/namespace.yaml does not say `namespace: dr` once")
        file.write_text(file.read_text().replace("namespace: dr\n", "namespace: elsewhere\n"))
        for overlay in overlays:
            config = copy / "overlays" / overlay.name / "dr-exporter.yaml"
            config.write_text(config.read_text().replace("lease: {namespace: dr,", "lease: {namespace: elsewhere,"))
            found = documents(run(kubectl, "kustomize", copy / "overlays" / overlay.name))
            manifests.check(f"kustomize {overlay.name} in another namespace", found, "elsewhere", may_add_names=True)
            left = [name_of(each) for each in found if each["metadata"].get("namespace") == "dr"]
            demand(not left, f"kustomize {overlay.name} in another namespace leaves behind: {left}")
    say("each of them also in another namespace")


def exporter(binary, sets):
    """The exporter's own word about each configuration, and about the rights that it needs."""
    with tempfile.TemporaryDirectory() as work:
        for name, found in sets:
            file = pathlib.Path(work, "dr-exporter.yaml")
            file.write_text(configuration(found))
            done = attempt(binary, "check", file)
            demand(done.returncode == 0, f"{name}: the exporter refuses the configuration:\n{done.stdout}{done.stderr}")
            config = yaml.load(file.read_text(), Loader)
            printed = documents(run(binary, "rbac", "--offline", file))
            rights.compare(f"{name}: `dr-exporter rbac`", rights.granted(printed), rights.needed(config), may_add_names=True)
    say(f"{binary.name} accepts each configuration, and names the same rights")


def files():
    """What is not rendered: versions, Dockerfile, unit, scrape example, YAML, paths that the guide names."""
    demand(os.environ["PROMTOOLS"], "promtool is missing: run tests/lab/install")
    for promtool in os.environ["PROMTOOLS"].split(":"):
        version = run(promtool, "--version").split(" (")[0].strip()
        out = run(promtool, "check", "config", ROOT / "deploy/prometheus/scrape.yml")
        demand("WARNING" not in out, f"{version} warns: {out}")
        say(f"{version}: deploy/prometheus/scrape.yml")
    run(BIN / "hadolint", "--failure-threshold", "style", ROOT / "deploy/image/Dockerfile")
    compiler = re.search(r"^ARG RUST_IMAGE=(.*)$", (ROOT / "deploy/image/Dockerfile").read_text(), re.M)[1]
    demand(re.search(r":[0-9]+\.[0-9]+\.[0-9]+-|@sha256:", compiler), f"the Dockerfile builds from {compiler}, which is not one version")
    run("bash", "-n", ROOT / "deploy/image/build")
    say("hadolint: deploy/image/Dockerfile")
    run(BIN / "yamllint", "--strict", "-d", YAMLLINT, "deploy", "alerts/kustomization.yaml", "dashboards/kustomization.yaml")
    say("yamllint: deploy, and what it takes from alerts and dashboards")
    unit()
    versions()
    guide()


def unit():
    """As installed: the same unit, with a program that is there, and the drop-in."""
    demand(attempt("which", "systemd-analyze").returncode == 0, "systemd-analyze is missing: apt-get install systemd")
    source = ROOT / "deploy/systemd"
    with tempfile.TemporaryDirectory() as work:
        text = (source / "dr-exporter.service").read_text()
        demand("ExecStart=/usr/bin/dr-exporter " in text, "the unit does not start /usr/bin/dr-exporter")
        installed = pathlib.Path(work, "dr-exporter.service")
        installed.write_text(text.replace("ExecStart=/usr/bin/dr-exporter ", "ExecStart=/bin/true "))
        drop_in = pathlib.Path(work, "dr-exporter.service.d")
        drop_in.mkdir()
        (drop_in / "credentials.conf").write_text((source / "credentials.conf").read_text())
        done = attempt("systemd-analyze", "verify", "--man=no", installed)
        demand(done.returncode == 0 and "dr-exporter" not in done.stderr, f"systemd-analyze verify: {done.stderr}")
        run("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", installed)
    say("systemd-analyze: the unit is valid, its exposure at most 1.5 of 10")


def versions():
    """One version, everywhere."""
    cargo = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    chart_file = yaml.load((CHART / "Chart.yaml").read_text(), Loader)
    base = yaml.load((KUSTOMIZE / "base/kustomization.yaml").read_text(), Loader)
    dockerfile = re.search(r"^ARG VERSION=(.*)$", (ROOT / "deploy/image/Dockerfile").read_text(), re.M)[1]
    for where, version in [("Chart.yaml", chart_file["appVersion"]), ("kustomize", str(base["images"][0]["newTag"])), ("Dockerfile", dockerfile)]:
        demand(version == cargo, f"{where} says version {version}, Cargo.toml {cargo}")
    say(f"version {cargo} in Cargo.toml, chart, kustomize and Dockerfile")


def guide():
    """Every path of deploy/ that a text names is there."""
    texts = [ROOT / "docs/deployment.md", CHART / "README.md", *(ROOT / "deploy").rglob("*.md"), *(ROOT / "deploy").rglob("*.yaml")]
    for text in set(texts):
        for path in re.findall(r"\b((?:deploy|tests/lab|docs)/[A-Za-z0-9_./-]*[A-Za-z0-9_])", text.read_text()):
            demand((ROOT / path).exists(), f"{text.relative_to(ROOT)} names {path}, which is not there")
    say("every path that the texts name is there")


if __name__ == "__main__":
    sys.exit(main())
