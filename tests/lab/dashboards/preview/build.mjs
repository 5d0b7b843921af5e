// One bundle of main.jsx. It is run where the packages are; the two modules by path are in them and are not exported.
import { build } from 'esbuild';
import { join } from 'node:path';

const [packages, main, out] = process.argv.slice(2);
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
