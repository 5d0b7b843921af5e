"""From JSON to Grafana's types and back. How it is called: tests/lab/dashboards-check."""

import json
import pathlib
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


def differences(before, after, path=""):
    """Every place where something was lost or changed; what was added is a default."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key not in after:
                yield f"{path}.{key}", "is no key of the schema"
            else:
                yield from differences(value, after[key], f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            yield path, f"has {len(before)} entries and comes back with {len(after)}"
        for index, (one, other) in enumerate(zip(before, after)):
            yield from differences(one, other, f"{path}[{index}]")
    elif before != after:
        yield path, f"is {before!r} and comes back as {after!r}"


def round_trip(before):
    return list(differences(before, json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(before)))))


def planted(before):
    """The check itself: a key that nobody knows must be found wherever it stands."""
    panel = next(index for index, panel in enumerate(before["panels"]) if panel["type"] != "row")
    for place in ([], ["panels", panel], ["panels", panel, "options"], ["panels", panel, "fieldConfig", "defaults"],
                  ["panels", panel, "targets", 0], ["templating", "list", 1], ["annotations", "list", 1], ["links", 0]):
        copy = json.loads(json.dumps(before))
        inside = copy
        for step in place:
            inside = inside[step]
        inside["bogus"] = True
        if [path.rsplit(".", 1)[-1] for path, _ in round_trip(copy)] != ["bogus"]:
            yield f"an unknown key in {place} is not found: the check is worth nothing"


def main(files):
    register_default_plugins()
    wrong = [] if files else ["no files were named"]
    for file in map(pathlib.Path, files):
        before = json.loads(file.read_text())
        wrong += [f"{file.name}: {path} {what}" for path, what in round_trip(before)]
        wrong += [f"{file.name}: {what}" for what in planted(before)]
    for sentence in wrong:
        print(f"dashboards-check: {sentence}", file=sys.stderr)
    print(f"dashboards-check: {len(files)} dashboards, {len(wrong)} wrong")
    return 1 if wrong else 0


sys.exit(main(sys.argv[1:]))
