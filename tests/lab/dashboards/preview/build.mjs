// One bundle of main.jsx. The two modules by path are in the published packages, and not among what these export.
//
//   node build.mjs PACKAGES MAIN OUT     PACKAGES holds node_modules

import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';

const [packages, main, out] = process.argv.slice(2).map((path) => resolve(path));
const { build } = createRequire(join(packages, 'package.json'))('esbuild');
const inside = (path) => join(packages, 'node_modules', path);
await build({
  entryPoints: [main], outfile: out, bundle: true, minify: true, format: 'iife', jsx: 'automatic', logLevel: 'error', nodePaths: [inside('')],
  define: { 'process.env.NODE_ENV': '"production"', global: 'window' }, loader: { '.woff2': 'dataurl', '.woff': 'dataurl', '.ttf': 'empty', '.svg': 'dataurl' },
  alias: {
    'grafana-ui-table': inside('@grafana/ui/dist/esm/components/Table/TableNG/TableNG.mjs'),
    'grafana-prometheus-result-transformer': inside('@grafana/prometheus/dist/esm/result_transformer.mjs'),
  },
  plugins: [{
    // Data links to other data sources need a running Grafana; none is used here.
    name: 'no-runtime',
    setup(build) {
      build.onResolve({ filter: /^@grafana\/runtime$/ }, () => ({ path: 'runtime', namespace: 'none' }));
      build.onLoad({ filter: /.*/, namespace: 'none' }, () => ({ contents: 'export const getDataSourceSrv = () => { throw new Error("no Grafana"); };' }));
    },
  }],
});
