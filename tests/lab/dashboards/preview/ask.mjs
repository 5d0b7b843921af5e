// The answers of a Prometheus to every query of the dashboards, as one file for each dashboard. Called by tests/it/dashboards.rs.
//
//   node ask.mjs PROMETHEUS_URL OUT_DIR MINUTES

import { readFileSync, writeFileSync } from 'node:fs';

const [url, out, minutes] = process.argv.slice(2);
const to = Math.floor(Date.now() / 1000);
const from = to - 60 * Number(minutes);
// Of what Grafana would choose for a panel of this width and range, the smallest.
const step = 1;
const everything = { job: '.+', instance: '.+', cluster: '.*', site: '.*', system: '.*' };

async function ask(target, choices) {
  const expr = Object.entries(choices).reduce(
    (expr, [name, value]) => expr.replaceAll(`$${name}`, value),
    target.expr.replaceAll('$__rate_interval', '4s')
  );
  const [path, when] = target.instant ? ['query', { time: to }] : ['query_range', { start: from, end: to, step }];
  const answer = await fetch(`${url}/api/v1/${path}?${new URLSearchParams({ query: expr, ...when })}`);
  const { status, error, data } = await answer.json();
  if (status !== 'success') throw new Error(`${expr}: ${error}`);
  return data.result;
}

for (const [uid, chosen] of [['dr-fleet', {}], ['dr-site', { site: 'dr-west' }], ['dr-exporter', {}]]) {
  const dashboard = JSON.parse(readFileSync(new URL(`../../../../dashboards/${uid}.json`, import.meta.url)));
  const answers = {};
  for (const panel of dashboard.panels.filter((panel) => panel.type !== 'row')) {
    answers[panel.id] = {};
    for (const target of panel.targets) {
      answers[panel.id][target.refId] = await ask(target, { ...everything, ...chosen });
    }
  }
  writeFileSync(`${out}/${uid}.json`, JSON.stringify({ from, to, step, chosen, answers }));
}
