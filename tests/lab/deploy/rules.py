"""What is rendered of alerts/: the rules of the plain files and no others, and a configuration that Alertmanager takes."""

import base64
import os
import pathlib
import shutil
import tempfile

import yaml

from common import ROOT, Loader, attempt, demand, name_of, of_kind, pretty, run

ALERTS = ROOT / "alerts"
EXAMPLE = ALERTS / "alertmanager.example.yml"


def files():
    found = sorted(ALERTS.glob("*.rules.yaml"))
    demand(found, "there are no rule files")
    return found


def source():
    """The groups of all rule files, by name."""
    return {group["name"]: group for file in files() for group in yaml.load(file.read_text(), Loader)["groups"]}


def check(manifests, disabled=(), own=()):
    """The PrometheusRules hold every group of the files as it is, but for alerts that are left out, and beside them only `own`."""
    rendered = {}
    for manifest in of_kind(manifests, "PrometheusRule"):
        demand(set(manifest) == {"apiVersion", "kind", "metadata", "spec"}, f"{name_of(manifest)} has the fields {sorted(manifest)}")
        demand(set(manifest["spec"]) == {"groups"}, f"the spec of {name_of(manifest)} has the fields {sorted(manifest['spec'])}")
        for group in manifest["spec"]["groups"]:
            demand(group["name"] not in rendered, f"the group {group['name']} is in more than one PrometheusRule")
            rendered[group["name"]] = group
    want = source()
    more = {name: group["rules"] for name, group in rendered.items() if name not in want}
    demand(list(more.values()) == [rules for rules in [list(own)] if rules],
           f"beside the groups of the files, PrometheusRules hold {pretty(more)}, and the operator gave {pretty(own)}")
    for name, group in want.items():
        demand(name in rendered, f"no PrometheusRule holds the group {name}")
        kept = [rule for rule in group["rules"] if rule.get("alert") not in disabled]
        same_rules(name, kept, rendered[name]["rules"])
        demand({**rendered[name], "rules": kept} == {**group, "rules": kept}, f"the group {name} is not that of the file")
    promtool(list(rendered.values()))


def same_rules(group, want, found):
    """In the same order: a rule may read what one before it records."""
    def names(rules):
        return [rule.get("alert") or rule["record"] for rule in rules]

    lost, more = (sorted(set(names(one)) - set(names(other))) for one, other in ((want, found), (found, want)))
    demand(not lost and not more, f"the group {group} lacks {lost}, and has {more}, which should not be there")
    demand(names(want) == names(found), f"the rules of the group {group} are not in the order of the file: {names(found)}")
    for name, one, other in zip(names(want), want, found):
        for field in sorted({*one, *other}):
            demand(one.get(field) == other.get(field) and (field in one) == (field in other),
                   f"{field} of {name} is {pretty(other.get(field))}, and in the file {pretty(one.get(field))}")


def promtool(groups):
    demand(os.environ["PROMTOOLS"], "promtool is missing: run tests/lab/install")
    with tempfile.TemporaryDirectory() as work:
        file = pathlib.Path(work, "rendered.rules.yaml")
        file.write_text(yaml.safe_dump({"groups": groups}))
        for tool in os.environ["PROMTOOLS"].split(":"):
            out = run(tool, "check", "rules", file)
            count = sum(len(group["rules"]) for group in groups)
            demand(f"{count} rules found" in out, f"promtool found something else than {count} rules: {out}")


def check_files(manifests):
    """One ConfigMap holds every rule file, word for word, and nothing else."""
    want = {file.name: file.read_text() for file in files()}
    found = [each for each in of_kind(manifests, "ConfigMap") if set(each["data"]) & set(want)]
    demand(len(found) == 1, f"{len(found)} ConfigMaps hold rule files")
    for name in sorted({*want, *found[0]["data"]}):
        demand(found[0]["data"].get(name) == want.get(name), f"{name} in {name_of(found[0])} is not that of alerts/")


def check_alertmanager(manifests, **own):
    """The example, with the keys of `own` in place of its own; its routes lead where they are said to."""
    found = [each for each in of_kind(manifests, "Secret") if "alertmanager.yaml" in each["data"]]
    demand(len(found) == 1, f"{len(found)} Secrets hold an alertmanager.yaml")
    text = base64.b64decode(found[0]["data"]["alertmanager.yaml"]).decode()
    demand(own or text == EXAMPLE.read_text(), f"{name_of(found[0])} is not alerts/{EXAMPLE.name}")
    want = {**yaml.load(EXAMPLE.read_text(), Loader), **own}
    if "receivers" in own:
        by_name = {each["name"]: each for each in own["receivers"]}
        want["receivers"] = [by_name.get(each["name"], each) for each in yaml.load(EXAMPLE.read_text(), Loader)["receivers"]]
    given = yaml.load(text, Loader)
    for key in sorted({*want, *given}):
        demand(given.get(key) == want.get(key), f"{key} in {name_of(found[0])} is {pretty(given.get(key))}, and should be {pretty(want.get(key))}")
    amtool(text)


def amtool(text):
    demand(shutil.which("amtool"), "amtool is missing: run tests/lab/install")
    routes = [line.split() for line in (ALERTS / "tests/alertmanager.routes").read_text().splitlines() if line and not line.startswith("#")]
    demand(routes, "alerts/tests/alertmanager.routes is empty")
    with tempfile.TemporaryDirectory() as work:
        file = pathlib.Path(work, "alertmanager.yaml")
        file.write_text(text)
        run("amtool", "check-config", file)
        for receivers, *labels in routes:
            done = attempt("amtool", "config", "routes", "test", f"--config.file={file}", f"--verify.receivers={receivers}", *labels)
            demand(done.returncode == 0, f"an alert with {labels} does not reach {receivers}: {done.stdout}{done.stderr}")
