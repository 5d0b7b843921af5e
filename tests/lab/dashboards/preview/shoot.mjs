// A picture of each dashboard in each theme and width, by a headless Chromium.
//
//   node shoot.mjs DIR     DIR holds main.js, main.css and the answers (ask.mjs), and gets dr-fleet-light-1600.png and so on

import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { resolve } from 'node:path';

const dir = resolve(process.argv[2]);
const chromium = process.env.CHROMIUM ?? 'chromium';
// The pictures of docs/images: their names, and the heading before which they end.
const IN_DOCS = {
  'dr-fleet': [['light', 1600, 'dashboard-fleet', 'What is where']],
  'dr-site': [['light', 1600, 'dashboard-site', 'Databases']],
};

for (const uid of ['dr-fleet', 'dr-site', 'dr-exporter']) {
  const dashboard = JSON.parse(readFileSync(new URL(`../../../../dashboards/${uid}.json`, import.meta.url)));
  const data = JSON.parse(readFileSync(`${dir}/${uid}.json`));
  for (const [mode, width, name = `${uid}-${mode}-${width}`, before] of [
    ['light', 1600], ['dark', 1600], ['light', 700], ['dark', 700], ...(IN_DOCS[uid] ?? []),
  ]) {
    const heights = dashboard.panels.map(({ gridPos }) => (width < 769 ? 0 : gridPos.y) + gridPos.h);
    const last = dashboard.panels.find(({ title }) => title === before);
    const lines = last ? last.gridPos.y : width < 769 ? heights.reduce((all, one) => all + one) : Math.max(...heights);
    const [page, png] = ['html', 'png'].map((type) => `${dir}/${name}.${type}`);
    const preview = JSON.stringify({ dashboard, data, mode, width }).replaceAll('<', '\\u003c');
    writeFileSync(page, `<!doctype html><meta charset="utf-8"><link rel="stylesheet" href="main.css"><div id="root"></div>
      <script>window.PREVIEW = ${preview}</script><script src="main.js"></script>`);
    const { stderr } = spawnSync(chromium, [
      '--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', '--allow-file-access-from-files', '--enable-logging=stderr', '--virtual-time-budget=20000',
      `--window-size=${width},${38 * lines + (last ? 46 : 64)}`, `--screenshot=${png}`, `file://${page}`,
    ], { encoding: 'utf8', timeout: 120_000 });
    const said = stderr.split('\n').filter((line) => line.includes(':CONSOLE:'));
    const wrong = said.filter((line) => /Uncaught|preview: (?!drawn)/.test(line));
    if (wrong.length > 0 || !said.some((line) => line.includes('preview: drawn'))) {
      throw new Error(`${page} was not drawn: ${wrong.concat(stderr.slice(-2000)).join('\n')}`);
    }
    console.log(png);
  }
}
