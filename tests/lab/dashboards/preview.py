"""A picture of a dashboard without Grafana: its layout, queries, words, colours and columns, on data of a real Prometheus.

    preview.py PROMETHEUS_URL DASHBOARD.json OUT.html MINUTES [NAME=VALUE...]

A preview, not a proof: what Grafana makes of fonts, legends and narrow columns, only Grafana knows. Called by tests/it/dashboards.rs
when DASHBOARDS_PREVIEW names a directory.
"""

import html
import json
import math
import pathlib
import re
import sys
import time
import urllib.parse
import urllib.request

COLOURS = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c", "dark-red": "#c4162a", "blue": "#5794f2", "purple": "#b877d9", "yellow": "#d9b100"}
PALETTE = ["#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0", "#508642", "#cca300"]


class Prometheus:
    def __init__(self, url, minutes, choices):
        self.url, self.choices = url.rstrip("/"), choices
        self.end = time.time()
        self.start = self.end - 60 * minutes

    def ask(self, target):
        expr = target["expr"].replace("$__rate_interval", "1m")
        for name, value in self.choices.items():
            expr = expr.replace(f"${name}", value)
        step = max((self.end - self.start) / 200, 1)
        instant = {"query": expr, "time": self.end}
        over = {"query": expr, "start": self.start, "end": self.end, "step": step}
        path, given = ("query", instant) if target["instant"] else ("query_range", over)
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(given)}") as answer:
            return json.load(answer)["data"]["result"]


def called(target, labels):
    return re.sub(r"{{\s*(\w+)\s*}}", lambda match: labels.get(match[1], ""), target["legendFormat"])


def shown(value, unit, mappings):
    """(text, colour or None) of a value."""
    for mapping in mappings:
        if mapping["type"] == "special" and (value is None or math.isnan(value)):
            result = mapping["options"]["result"]
            return result["text"], result["color"]
        if mapping["type"] == "value" and value is not None and f"{value:g}" in mapping["options"]:
            result = mapping["options"][f"{value:g}"]
            return result["text"], result["color"]
    if value is None or math.isnan(value):
        return "no data", None
    if unit == "s":
        for seconds, word in ((31_536_000, "years"), (86_400, "days"), (3_600, "hours"), (60, "mins"), (1, "s"), (0.001, "ms")):
            if abs(value) >= seconds:
                return f"{value / seconds:.3g} {word}", None
        return f"{value:.3g} s", None
    if unit == "bytes":
        return f"{value / 2**20:.3g} MiB", None
    if unit == "percentunit":
        return f"{100 * value:.3g} %", None
    return f"{value:.4g}{dict(cps=' c/s', reqps=' req/s').get(unit, '')}", None


def by_threshold(value, steps):
    colour = steps[0]["color"]
    for step in steps[1:]:
        if value is not None and value >= step["value"]:
            colour = step["color"]
    return colour


def css(colour):
    return COLOURS.get(colour, colour or "transparent")


def cell(value, unit, mappings, steps):
    words, colour = shown(value, unit, mappings)
    return html.escape(words), css(colour or by_threshold(value, steps))


def stat(panel, answers, defaults):
    steps, out = defaults["thresholds"]["steps"], []
    series = [(target, item) for target, items in answers for item in items]
    for target, item in series:
        words, colour = cell(float(item["value"][1]), defaults["unit"], defaults["mappings"], steps)
        name = html.escape(called(target, item["metric"])) if len(series) > 1 else ""
        out.append(f'<div class="tile" style="background:{colour}"><small>{name}</small>{words}</div>')
    return f'<div class="tiles">{"".join(out)}</div>' if out else '<div class="none">no data</div>'


def states(panel, answers, defaults, source):
    span, out = source.end - source.start, []
    for target, items in answers:
        for item in items:
            bars, values = [], [(float(at), float(value)) for at, value in item["values"]]
            step = span / 200
            for at, value in values:
                words, colour = cell(value, defaults["unit"], defaults["mappings"], defaults["thresholds"]["steps"])
                if bars and bars[-1][2] == words and at - bars[-1][1] < 2 * step:
                    bars[-1][1] = at
                else:
                    bars.append([at, at, words, colour])
            drawn = "".join(
                f'<i style="left:{100 * (at - source.start) / span:.2f}%;width:{100 * (to - at + step) / span:.2f}%;background:{colour}">{words}</i>'
                for at, to, words, colour in bars)
            out.append(f'<div class="line"><b>{html.escape(called(target, item["metric"]))}</b><span>{drawn}</span></div>')
    return "".join(out) or '<div class="none">no data</div>'


def lines(panel, answers, defaults, source):
    series = [(called(target, item["metric"]), [(float(a), float(v)) for a, v in item["values"] if v not in ("NaN", "+Inf")])
              for target, items in answers for item in items]
    series = [(name, points) for name, points in series if points]
    if not series:
        return '<div class="none">no data</div>'
    top = max(max(value for _, value in points) for _, points in series) or 1
    paths, legend = [], []
    for number, (name, points) in enumerate(series):
        colour = PALETTE[number % len(PALETTE)]
        places = " ".join(f"{600 * (at - source.start) / (source.end - source.start):.1f},{98 - 94 * value / top:.1f}" for at, value in points)
        paths.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="1.5" vector-effect="non-scaling-stroke"/>')
        last, most = (shown(value, defaults["unit"], [])[0] for value in (points[-1][1], max(value for _, value in points)))
        legend.append(f'<tr><td style="color:{colour}">━ {html.escape(name)}</td><td>{last}</td><td>{most}</td></tr>')
    table = f'<table><tr><th></th><th>Last</th><th>Max</th></tr>{"".join(legend)}</table>'
    way = "row" if panel["options"]["legend"]["placement"] == "right" else "column"
    return (f'<div class="plot" style="flex-direction:{way}"><svg viewBox="0 0 600 100" preserveAspectRatio="none">{"".join(paths)}</svg>'
            f'<div class="legend {way}">{table}</div></div>')


def table(panel, answers, defaults):
    """Merged as Grafana does: answers are one row where the labels that all of them have are the same."""
    frames = [(f"Value #{target['refId']}" if len(answers) > 1 else "Value", items) for target, items in answers]
    filled = [set(items[0]["metric"]) for _, items in frames if items]
    common = set.intersection(*filled) if filled else set()
    rows = []
    for field, items in frames:
        for item in items:
            new = {**item["metric"], field: float(item["value"][1])}
            fits = [row for row in rows if all(row.get(k) == new.get(k) for k in common) and all(row.get(k, v) == v for k, v in new.items())]
            if fits:
                for row in fits:
                    row.update(new)
            else:
                rows.append(new)
    options = panel["transformations"][1]["options"]
    order = [field for field in sorted(options["indexByName"], key=options["indexByName"].get) if any(field in row for row in rows)
             or any(field == name for name, _ in frames)]
    title = options["renameByName"]
    for sort in panel["options"]["sortBy"]:
        for field in (field for field in order if title[field] == sort["displayName"]):
            rows.sort(key=lambda row: row.get(field, -1 if field.startswith("Value") else ""), reverse=sort["desc"])
    overrides = {each["matcher"]["options"]: {p["id"]: p["value"] for p in each["properties"]} for each in panel["fieldConfig"]["overrides"]}
    for each in panel["fieldConfig"]["overrides"]:
        for each_property in each["properties"]:
            overrides[each["matcher"]["options"]][each_property["id"]] = each_property["value"]
    out = "".join(f"<th>{html.escape(title[field])}</th>" for field in order)
    for row in rows:
        out += "<tr>"
        for field in order:
            if field.startswith("Value"):
                how = overrides.get(title[field], {})
                words, colour = shown(row.get(field), how.get("unit", "none"), how.get("mappings", []))
                out += f'<td style="background:{css(colour)}">{html.escape(words)}</td>'
            else:
                out += f'<td>{html.escape(row.get(field, ""))}</td>'
        out += "</tr>"
    return f"<table>{out}</table>" if rows else '<div class="none">no data</div>'


STYLE = """body{background:#111217;color:#d8d9da;font:13px Inter,DejaVu Sans,sans-serif;margin:8px;width:1560px}
.grid{display:grid;grid-template-columns:repeat(24,1fr);grid-auto-rows:38px;gap:6px}.panel{background:#181b1f;border:1px solid #2c3235;overflow:hidden;padding:6px;
display:flex;flex-direction:column}.panel h3{font-size:13px;margin:0 0 4px;font-weight:600}.row{font-size:16px;align-self:end}table{border-collapse:collapse;width:100%;font-size:12px}
td,th{text-align:left;padding:2px 6px;border-bottom:1px solid #2c3235;white-space:nowrap}.tiles{display:flex;gap:4px;flex:1}.tile{flex:1;display:flex;flex-direction:column;
align-items:center;justify-content:center;font-size:22px;font-weight:700;color:#fff;text-align:center}.tile small{font-size:11px;font-weight:400}.none{margin:auto;color:#8e8e8e;font-size:18px}
.line{display:flex;flex:1;min-height:18px;max-height:40px;margin-bottom:3px}.line b{width:210px;font-weight:400;font-size:11px;overflow:hidden;white-space:nowrap;direction:rtl;text-align:right;padding-right:6px;align-self:center}
.line span{position:relative;flex:1}.line i{position:absolute;top:0;bottom:0;overflow:hidden;font:600 11px sans-serif;color:#fff;padding:2px 0 0 3px;white-space:nowrap;box-sizing:border-box}svg{flex:1;min-height:0;min-width:0;background:#14161a}
.plot{display:flex;flex:1;min-height:0}.legend{overflow:hidden}.legend.row{width:42%}.legend.column{max-height:45%}"""


def main(url, file, out, minutes, *choices):
    dashboard = json.loads(pathlib.Path(file).read_text())
    everything = {"job": ".+", "instance": ".+", "cluster": ".*", "site": ".*", "system": ".*"}
    source = Prometheus(url, float(minutes), {**everything, **dict(choice.split("=", 1) for choice in choices)})
    body = []
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        at = f'grid-column:{place["x"] + 1}/span {place["w"]};grid-row:{place["y"] + 1}/span {place["h"]}'
        if panel["type"] == "row":
            body.append(f'<div class="row" style="{at}">▾ {html.escape(panel["title"])}</div>')
            continue
        answers, defaults = [(target, source.ask(target)) for target in panel["targets"]], panel["fieldConfig"]["defaults"]
        drawn = {"stat": lambda: stat(panel, answers, defaults), "table": lambda: table(panel, answers, defaults),
                 "state-timeline": lambda: states(panel, answers, defaults, source),
                 "timeseries": lambda: lines(panel, answers, defaults, source)}[panel["type"]]()
        body.append(f'<div class="panel" style="{at}"><h3>{html.escape(panel["title"])}</h3>{drawn}</div>')
    pathlib.Path(out).write_text(f'<!doctype html><meta charset="utf-8"><title>{html.escape(dashboard["title"])}</title><style>{STYLE}</style>'
                                 f'<h2>{html.escape(dashboard["title"])}</h2><div class="grid">{"".join(body)}</div>')


main(*sys.argv[1:])
