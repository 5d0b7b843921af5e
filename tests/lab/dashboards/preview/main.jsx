// A dashboard, drawn by Grafana's own published packages: transformations, overrides, units, mappings, thresholds, links and
// legends, the panels' frames, `stat`, `timeseries` and `table` are Grafana's code. Ours are what Grafana does not publish: the
// grid of panels, the rows' headings, what the server makes of Prometheus' answers (`frames`), and the state timeline, which
// is drawn by the rules of Grafana's from the words and colours that Grafana's code gives (`States`).

import '@fontsource/inter/latin-400.css';
import '@fontsource/inter/latin-500.css';
import 'uplot/dist/uPlot.min.css';
import {
  FieldConfigOptionsRegistry, ThemeContext, applyFieldOverrides, applyNullInsertThreshold, cacheFieldDisplayNames, createTheme, dataLinksOverrideProcessor,
  displayNameOverrideProcessor, getDisplayValueAlignmentFactors, getFieldDisplayName, getFieldDisplayValues, identityOverrideProcessor,
  standardTransformers, standardTransformersRegistry, stringOverrideProcessor, thresholdsOverrideProcessor,
  toUtc, transformDataFrame, unitOverrideProcessor, valueMappingsOverrideProcessor,
} from '@grafana/data';
import { BigValue, GlobalStyles, PanelChrome, TimeSeries, VizRepeater, measureText } from '@grafana/ui';
import { createRoot } from 'react-dom/client';
// The next two are in the published packages, and not among what these export.
import { transformDFToTable } from 'grafana-prometheus-result-transformer';
import { TableNG } from 'grafana-ui-table';

const { dashboard, data, mode, width } = window.PREVIEW;
const theme = createTheme({ colors: { mode } });
const timeRange = { from: toUtc(data.from * 1000), to: toUtc(data.to * 1000), raw: { from: 'now-6h', to: 'now' } };
const asWritten = (text) => text;

// What an override may name. The paths are those of Grafana; a property that is not here is not applied, and is told of.
const registry = new FieldConfigOptionsRegistry(() =>
  [
    ['unit', unitOverrideProcessor], ['mappings', valueMappingsOverrideProcessor], ['thresholds', thresholdsOverrideProcessor],
    ['links', dataLinksOverrideProcessor], ['displayName', displayNameOverrideProcessor], ['noValue', stringOverrideProcessor],
    ['color', identityOverrideProcessor], ['decimals', identityOverrideProcessor], ['min', identityOverrideProcessor], ['max', identityOverrideProcessor],
    ...['cellOptions', 'width', 'minWidth', 'align', 'filterable', 'hidden', 'wrapText', 'fillOpacity', 'lineWidth', 'spanNulls', 'drawStyle',
      'lineInterpolation', 'showPoints', 'thresholdsStyle', 'lineStyle'].map((path) => [`custom.${path}`, identityOverrideProcessor]),
  ].map(([id, process]) => ({
    id, path: id.replace('custom.', ''), isCustom: id.startsWith('custom.'), name: id, process, shouldApply: () => true, override: () => null, editor: () => null,
  }))
);
standardTransformersRegistry.setInit(() =>
  [standardTransformers.mergeTransformer, standardTransformers.organizeFieldsTransformer].map((transformation) => ({
    id: transformation.id, name: transformation.name, transformation: async () => transformation, editor: () => null,
  }))
);

/** What Grafana's server makes of the answers to a panel's queries: a frame for each series, or an empty one. */
function frames(panel) {
  return panel.targets.flatMap(({ refId, expr, legendFormat }) => {
    const series = data.answers[panel.id]?.[refId] ?? [];
    if (series.length === 0) return [{ refId, fields: [], length: 0 }];
    return series.map(({ metric, value, values }) => {
      const points = values ?? [value];
      const legend = legendFormat.replace(/{{\s*(\w+)\s*}}/g, (_, label) => metric[label] ?? '');
      const name = legendFormat === '__auto' ? undefined : legend || expr;
      return {
        refId, length: points.length, meta: {},
        fields: [
          { name: 'Time', type: 'time', config: { interval: data.step * 1000 }, values: points.map(([at]) => at * 1000) },
          { name: 'Value', type: 'number', labels: metric, config: { displayNameFromDS: name }, values: points.map(([, value]) => Number(value)) },
        ],
      };
    });
  });
}

/** Transformed, then with units, words and colours: everything that the file says of values. */
async function prepared(panel) {
  const series = panel.type === 'table' ? transformDFToTable(frames(panel)) : frames(panel);
  const transformed = await new Promise((next, error) =>
    transformDataFrame(panel.transformations ?? [], series, { interpolate: asWritten }).subscribe({ next, error })
  );
  const overridden = applyFieldOverrides({
    data: transformed, fieldConfig: panel.fieldConfig, fieldConfigRegistry: registry, replaceVariables: asWritten, theme, timeZone: 'utc',
  });
  cacheFieldDisplayNames(overridden);
  return overridden;
}

const Nothing = ({ panel }) => (
  <div style={{ display: 'flex', height: '100%', alignItems: 'center', justifyContent: 'center', color: theme.colors.text.secondary }}>
    {panel.fieldConfig.defaults.noValue ?? 'No data'}
  </div>
);

function Stat({ panel, series, width, height }) {
  const { options, fieldConfig } = panel;
  const values = getFieldDisplayValues({ fieldConfig, reduceOptions: options.reduceOptions, replaceVariables: asWritten, theme, data: series, timeZone: 'utc' });
  return (
    <VizRepeater
      getValues={() => values} getAlignmentFactors={getDisplayValueAlignmentFactors} width={width} height={height} source={series}
      itemSpacing={3} renderCounter={0} autoGrid={true} orientation={options.orientation}
      renderValue={({ value, alignmentFactors, width, height, count }) => (
        <BigValue
          value={value.display} count={count} colorMode={options.colorMode} graphMode={options.graphMode} justifyMode={options.justifyMode}
          textMode={options.textMode} alignmentFactors={alignmentFactors} width={width} height={height} theme={theme}
        />
      )}
    />
  );
}

function Lines({ panel, series, width, height }) {
  const filled = series.filter((frame) => frame.length > 0).map((frame) => ({
    ...frame,
    fields: frame.fields.map((field) => ({
      ...field,
      values: field.values.map((value) => (Number.isFinite(value) ? value : null)),
      config: {
        ...field.config,
        custom: {
          gradientMode: 'none', pointSize: 5, axisPlacement: 'auto', axisColorMode: 'text', scaleDistribution: { type: 'linear' },
          stacking: { mode: 'none', group: 'A' }, hideFrom: { legend: false, tooltip: false, viz: false }, ...field.config.custom,
        },
      },
    })),
  }));
  if (filled.length === 0) return <Nothing panel={panel} />;
  return <TimeSeries frames={filled} width={width} height={height} timeRange={timeRange} timeZone="utc" legend={panel.options.legend} />;
}

function Table({ panel, series, width, height }) {
  const [frame] = series;
  if (series.length !== 1) throw new Error(`panel ${panel.title}: ${series.length} tables are left after the transformations`);
  return (
    <TableNG
      data={frame} width={width} height={height} noHeader={!panel.options.showHeader} sortBy={panel.options.sortBy} sortByBehavior="initial"
      cellHeight={panel.options.cellHeight} timeRange={timeRange} fieldConfig={panel.fieldConfig} noValue={panel.fieldConfig.defaults.noValue}
      resizable={true} structureRev={1} enableVirtualization={false} onCellFilterAdded={() => {}} getActions={() => []}
    />
  );
}

/** By the rules of Grafana's own: a word begins at the left of its box and is cut where the box ends; the last one lasts to the edge. */
function States({ panel, series, width, height }) {
  const { options } = panel;
  const [from, to] = [data.from * 1000, data.to * 1000];
  const lines = series.filter((frame) => frame.length > 0).map((frame) => {
    const whole = applyNullInsertThreshold({ frame, refFieldPseudoMin: from, refFieldPseudoMax: to });
    const [time, field] = whole.fields;
    const points = time.values.map((at, index) => [at, field.values[index]]);
    if (points[0][0] > from) points.unshift([from, null]);
    const boxes = [];
    for (const [at, value] of points) {
      const { text, color } = field.display(value);
      if (boxes.at(-1)?.text !== text) boxes.push({ at, text, color });
    }
    return { name: getFieldDisplayName(field, frame, series), boxes };
  });
  if (lines.length === 0) return <Nothing panel={panel} />;
  const shown = lines.slice(0, options.perPage ?? lines.length);
  const left = Math.min(0.4 * width, Math.max(...shown.map(({ name }) => measureText(name, 12).width))) + 9;
  const row = (height - 24 - (shown.length < lines.length ? 40 : 0)) / shown.length;
  const x = (at) => ((at - from) / (to - from)) * (width - left);
  return (
    <div style={{ fontSize: 12, letterSpacing: 0 }}>
      {shown.map(({ name, boxes }, index) => (
        <div key={index} style={{ display: 'flex', height: row, alignItems: 'center' }}>
          <span style={{ width: left, display: 'flex', justifyContent: 'flex-end', paddingRight: 9, whiteSpace: 'nowrap', overflow: 'hidden', flex: 'none' }}>{name}</span>
          <div style={{ position: 'relative', flex: 1, height: row * options.rowHeight }}>
            {boxes.map(({ at, text, color }, place) => {
              const wide = Math.max(1, x(boxes[place + 1]?.at ?? to) - x(at));
              const letters = Math.floor(wide / 8.5);
              return (
                <div key={place} style={{ position: 'absolute', left: x(at), width: wide, top: 0, bottom: 0, overflow: 'hidden', opacity: 0.85, background: color,
                  color: theme.colors.getContrastText(color, 3), display: 'flex', alignItems: 'center', paddingLeft: 2, fontWeight: 500, whiteSpace: 'nowrap' }}>
                  {letters < 2 ? '' : text.slice(0, letters)}
                </div>
              );
            })}
          </div>
        </div>
      ))}
      <div style={{ marginLeft: left, height: 24, display: 'flex', justifyContent: 'space-between', color: theme.colors.text.secondary }}>
        {[from, (from + to) / 2, to].map((at) => <span key={at}>{toUtc(at).format('HH:mm:ss')}</span>)}
      </div>
      {shown.length < lines.length && <div style={{ textAlign: 'center' }}>1 of {Math.ceil(lines.length / shown.length)}</div>}
    </div>
  );
}

const KINDS = { stat: Stat, timeseries: Lines, table: Table, 'state-timeline': States };

/** In the grid of 24 columns; below 769 pixels each panel is as wide as the page, one below the other. */
function places() {
  const [column, narrow] = [(width - 32 + 8) / 24, width < 769];
  let top = 0;
  return dashboard.panels.map((panel) => {
    const { x, y, w, h } = panel.gridPos;
    const place = narrow ? { left: 16, top, width: width - 32, height: 38 * h - 8 } : { left: 16 + x * column, top: 38 * y, width: w * column - 8, height: 38 * h - 8 };
    top += 38 * h;
    return { panel, place };
  });
}

async function main() {
  // Widths are measured before anything is drawn.
  await Promise.all([400, 500].map((weight) => document.fonts.load(`${weight} 14px Inter`)));
  const drawn = await Promise.all(places().map(async ({ panel, place }) => ({ panel, place, series: panel.type === 'row' ? [] : await prepared(panel) })));
  const height = Math.max(...drawn.map(({ place }) => place.top + place.height)) + 64;
  document.body.style.cssText = `width:${width}px;min-width:0;height:${height}px;overflow:hidden;background:${theme.colors.background.canvas}`;
  createRoot(document.getElementById('root')).render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <h1 style={{ fontSize: 20, margin: '14px 16px' }}>{dashboard.title}</h1>
      <div style={{ position: 'relative' }}>
        {drawn.map(({ panel, place, series }) => {
          const Kind = KINDS[panel.type];
          return (
            <div key={panel.id} style={{ position: 'absolute', ...place }}>
              {panel.type === 'row' ? (
                <h2 style={{ fontSize: 18, margin: 0 }}>⌄ {panel.title}</h2>
              ) : (
                <PanelChrome title={panel.title} description={panel.description} width={place.width} height={place.height} padding={panel.type === 'table' ? 'none' : 'md'}>
                  {(width, height) => <Kind {...{ panel, series, width, height }} />}
                </PanelChrome>
              )}
            </div>
          );
        })}
      </div>
    </ThemeContext.Provider>
  );
}

main().then(
  () => console.log('preview: drawn'),
  (error) => console.error(`preview: ${error.stack}`)
);
