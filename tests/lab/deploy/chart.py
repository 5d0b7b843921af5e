"""The Helm chart: what it refuses, that its values, schema and README agree, and what becomes of the configuration."""

import json
import pathlib
import re
import tarfile
import tempfile

import yaml

import manifests
import rules
from common import CHART, Loader, Wrong, attempt, configuration, demand, documents, pretty, run, say, tool

# The oldest Kubernetes that Chart.yaml allows, and a current one.
KUBERNETES = ["1.30.0", "1.37.0"]

# What the chart takes from other directories of the repository; a release of Helm keeps all of it in one Secret of 1 MiB.
PACKED = ["dashboards/*.json", "alerts/*.rules.yaml", "alerts/alertmanager.example.yml"]

# What must be refused, and a part of what is said about it.
REFUSED = [
    (["--set", "replicaCuont=2"], "replicaCuont"),
    (["--set", "image.tga=1"], "tga"),
    (["--set", "serviceMonitor.interval=30"], "got number, want string"),
    (["--set", "serviceMonitor.enabled=yes"], "got string, want boolean"),
    (["--set", "image.digest=sha256:12"], "does not match pattern"),
    (["--set", "rbac.secretNames.platform=api-server"], "want array"),
    (["--set", "rbac.secretNames.platform={*}"], "does not match pattern"),
    (["--set", "config.site.role=active"], "value must be one of"),
    (["--set", "config.systems=null"], "missing property 'systems'"),
    (["--set", "config.sharding.shards=0"], "want 1"),
    (["--set", "config.high_availability.lease.name=x"], "missing property 'namespace'"),
    (["--set", "extraArgs={version}"], "does not match pattern"),
    (["--set", "service.port=0"], "want 1"),
    (["--set", "replicaCount=2"], "every replica would probe"),
    (["--set", "replicaCount=2,config.sharding.shards=2"], "leave replicaCount at 1"),
    (["-f", "ci/two-replicas-values.yaml", "--set", "config.sharding.shards=2"], "leave replicaCount at 1"),
    (["--set", "config.sharding.shards=2,config.sharding.ordinal=0"], "leave it out"),
    (["-f", "ci/minimal-values.yaml", "--set", "config.kubernetes.mode=disabled"], "refers to the cluster"),
    (["--set", "config.systems[0].name=a,config.systems[0].workloads[0].deployment=b"], "needs a namespace"),
    (["--set", "serviceMonitor.enabled=true,service.enabled=false"], "needs service.enabled"),
    (["--set", "prometheusRule.enabled=true,prometheusRule.disabled.DrNoSuchAlert=true"], "there is no alert DrNoSuchAlert"),
    (["--set", "prometheusRule.disabled.DrDrill=yes"], "got string, want boolean"),
    (["--set", "prometheusRule.rules[0].alert=Own"], "missing property 'expr'"),
    (["--set", "alertmanagerSecret.enabled=true"], "page, tickets, dead-mans-switch must be given"),
    (["-f", "ci/everything-values.yaml", "--set", "alertmanagerSecret.receivers[1].name=tickts"], "tickets must be given"),
    (["--set", "alertmanagerSecret.receivers[0].name=page"], "minProperties"),
    (["-f", "ci/everything-values.yaml", "--set", "alertmanagerSecret.receivers[3].name=pager,alertmanagerSecret.receivers[3].email_configs={}"], "no route leads to pager"),
    (["--kube-version", "1.29.0"], "chart requires kubeVersion: >=1.30.0-0"),
]


def values_files():
    files = sorted((CHART / "ci").glob("*-values.yaml"))
    demand(files, "no ci/*-values.yaml in the chart")
    return files


def template(chart, *arguments):
    helm = tool("helm")
    return run(helm, "template", "dr", chart, "--namespace", "dr", *arguments, cwd=CHART)


def rendered():
    """(name, manifests, the operator's values) of the chart without values and with each file of values."""
    yield "helm without values", documents(template(CHART)), {}
    for file in values_files():
        values = yaml.load(file.read_text(), Loader)
        texts = [template(CHART, "-f", file, "--kube-version", version) for version in KUBERNETES]
        demand(texts[0] == texts[1], f"{file.name}: another Kubernetes renders something else")
        yield f"helm {file.stem.removesuffix('-values')}", documents(texts[0]), values


def check():
    helm = tool("helm")
    for file in [None, *values_files()]:
        run(helm, "lint", "--strict", "--quiet", CHART, *(["-f", file] if file else []), cwd=CHART)
    say(f"helm lint --strict: without values, and with each of {len(values_files())} files of values")
    sets = []
    for name, found, values in rendered():
        rbac = values.get("rbac", {})
        manifests.check(name, found, "dr", secret_names=rbac.get("secretNames"), config_map_names=rbac.get("configMapNames"))
        if values:
            same_configuration(name, values["config"], found)
        if values.get("dashboards", {}).get("enabled"):
            manifests.within(name, manifests.check_dashboards, found)
        monitoring(name, values, found)
        sets.append((name, found))
        say(f"{name}: {len(found)} manifests hold")
    all_rules()
    checksum_follows()
    extras_are_verbatim()
    refusals()
    packaged()
    documentation()
    return sets


def monitoring(name, values, found):
    rule, own = values.get("prometheusRule", {}), values.get("alertmanagerSecret", {})
    if rule.get("enabled"):
        disabled = [alert for alert, left_out in rule["disabled"].items() if left_out]
        demand(disabled and rule["rules"], f"{name}: disables no alert, or has none of its own")
        manifests.within(name, rules.check, found, disabled, rule["rules"])
    if values.get("ruleFiles", {}).get("enabled"):
        manifests.within(name, rules.check_files, found)
    if own.get("enabled"):
        manifests.within(name, rules.check_alertmanager, found, **{key: own[key] for key in ("global", "templates", "receivers")})


def all_rules():
    found = documents(template(CHART, "--set", "prometheusRule.enabled=true"))
    rules.check(found)
    say(f"{len(rules.source())} groups of rules arrive as they are in the files")


def same_configuration(name, given, found):
    """Word for word through Helm's reader and writer: regular expressions, braces, numbers in quotes, dates."""
    arrived = yaml.load(configuration(found), Loader)
    demand(arrived == given, f"{name}: the configuration changed on its way: {pretty(given)} became {pretty(arrived)}")


def checksum_follows():
    def checksum(*arguments):
        found = documents(template(CHART, *arguments))
        return manifests.workload(found)["spec"]["template"]["metadata"]["annotations"]["checksum/config"]

    first, same, other = checksum(), checksum("--set", "log.format=json"), checksum("--set", "config.site.name=other")
    demand(first == same != other, "checksum/config does not follow the configuration")
    say("a changed configuration rolls the pods, another value does not")


def extras_are_verbatim():
    found = documents(template(CHART, "-f", "ci/everything-values.yaml"))
    extra = next(each for each in found if each["metadata"]["name"] == "extra")
    demand(extra["data"]["text"] == "{{ .Values.notATemplate }}", "extraManifests are run as templates")


def refusals():
    for arguments, expected in REFUSED:
        done = attempt(tool("helm"), "template", "dr", CHART, "--namespace", "dr", *arguments, cwd=CHART)
        demand(done.returncode != 0, f"helm template {' '.join(arguments)} is not refused")
        demand(expected in done.stderr, f"helm template {' '.join(arguments)} is refused without saying `{expected}`: {done.stderr}")
    say(f"{len(REFUSED)} bad sets of values are refused, each with its sentence")


def packaged():
    with tempfile.TemporaryDirectory() as work:
        run(tool("helm"), "package", CHART, "--destination", work)
        package = next(pathlib.Path(work).glob("*.tgz"))
        for file in values_files():
            demand(template(package, "-f", file) == template(CHART, "-f", file), f"the package renders {file.name} in another way")
        with tarfile.open(package) as inside:
            packed = {name.split("/files/")[1] for name in inside.getnames() if "/files/" in name}
        want = {str(file.relative_to(CHART / "files")) for pattern in PACKED for file in (CHART / "files").glob(pattern)}
        demand(packed == want, f"the package has too much or too little in files/: {sorted(packed ^ want)}; see .helmignore")
    say("helm package renders the same, and carries only what it renders")


# === values.yaml, values.schema.json and README.md ===

OPAQUE = {"config", "strategy", "resources", "podSecurityContext", "securityContext", "livenessProbe", "readinessProbe"}


def documented():
    """(key, default, words) of each value, from the comments that begin with `# --`."""
    lines = (CHART / "values.yaml").read_text().splitlines()
    values = yaml.load("\n".join(lines), Loader)
    found, path, words = [], [], None
    for number, line in enumerate(lines, 1):
        match = re.match(r"^( *)([A-Za-z]+):(.*)$", line)
        comment = re.match(r"^ *# (-- )?(.*)$", line)
        if comment:
            if comment[1]:
                words = [comment[2]]
            elif words is not None:
                words.append(comment[2])
        elif match:
            depth = len(match[1]) // 2
            inside = path[:depth]
            if not (inside and found and any(".".join(inside).split(".")[0] == key for key in OPAQUE)):
                path = [*inside, match[2]]
                value = values
                for key in path:
                    value = value[key]
                if words is not None:
                    found.append((".".join(path), value, " ".join(words)))
                elif not isinstance(value, dict) or not value or path[0] in OPAQUE:
                    raise Wrong(f"values.yaml line {number}: `{'.'.join(path)}` has no comment that begins with `# --`")
            words = None
        else:
            words = None
    return found


def readme():
    rows = ["| value | default | meaning |", "|---|---|---|"]
    for key, value, words in documented():
        default = "see values.yaml" if key in OPAQUE and value else f"`{json.dumps(value)}`"
        rows.append(f"| `{key}` | {default} | {words.replace('|', chr(92) + '|')} |")
    text = (CHART / "README.md").read_text()
    head, mark, _ = text.partition("<!-- values -->\n")
    demand(mark, "README.md of the chart has no line `<!-- values -->`")
    return head + mark + "\n" + "\n".join(rows) + "\n"


def documentation():
    demand(readme() == (CHART / "README.md").read_text(), "README.md of the chart is not what values.yaml says: run tests/lab/deploy-check --write")
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.load((CHART / "values.yaml").read_text(), Loader)
    everything = yaml.load((CHART / "ci/everything-values.yaml").read_text(), Loader)

    def compare(path, value, schema_node, given):
        properties = schema_node.get("properties")
        if properties is None or path in OPAQUE:
            return
        demand(schema_node.get("additionalProperties") is False, f"values.schema.json: {path or 'the top'} takes unknown keys")
        known = set(properties) - (set() if path else {"global"})
        demand(known == set(value), f"values.schema.json and values.yaml differ in {path or 'the top'}: {sorted(known ^ set(value))}")
        missing = {key for key in value if key not in given} - {"nodePort"}
        demand(not missing, f"ci/everything-values.yaml leaves out {sorted(missing)} of {path or 'the top'}")
        for key in value:
            if isinstance(value[key], dict):
                compare(key if not path else f"{path}.{key}", value[key], properties[key], given[key])

    compare("", values, schema, everything)
    say(f"{len(documented())} values are documented, in the schema and in the README")
