//! One panel; rows of them, laid out from left to right. Pure.

use serde_json::{Map, Value, json};

use super::words::{self, GREY, Words};

/// The width of a dashboard.
const COLUMNS: u64 = 24;

/// The width in pixels of a column that nobody set: Grafana's own, 150, pushes verdicts out of sight.
const NARROWEST: u64 = 85;

/// One panel. Who makes one says what it shows, and what a good look of it does not prove.
pub(super) struct Panel {
    kind: Kind,
    title: &'static str,
    about: [&'static str; 2],
    width: u64,
    height: u64,
    unit: &'static str,
    mappings: Value,
    thresholds: Value,
    targets: Vec<Value>,
    overrides: Vec<Value>,
    labels: Vec<(&'static str, &'static str)>,
    /// Labels behind the columns: where there is no room for all, these are out of sight.
    last_labels: Vec<(&'static str, &'static str)>,
    columns: Vec<&'static str>,
    hidden: Vec<&'static str>,
    /// A column, and whether its largest value is first.
    sort: Option<(&'static str, bool)>,
    links: Vec<Value>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// One number or word for each series.
    Stat,
    /// Words over time.
    States,
    /// Numbers over time.
    Lines,
    /// A row for each set of labels, a column for each query.
    Table,
}

/// A heading with the panels below it.
pub(super) struct Row {
    pub title: &'static str,
    pub panels: Vec<Panel>,
}

/// How the values of a column are shown.
#[derive(Clone, Copy)]
pub(super) enum Shown {
    In(&'static str),
    As(Words),
    /// Not at all: the query is there for its labels.
    Hidden,
}

/// Where a query goes.
pub(super) fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

// === impl Panel ===

impl Panel {
    fn new(kind: Kind, title: &'static str, shows: &'static str, not_proven: &'static str) -> Self {
        Panel {
            kind,
            title,
            about: [shows, not_proven],
            width: 12,
            height: 8,
            unit: "none",
            mappings: json!([]),
            thresholds: words::thresholds(GREY, &[]),
            targets: Vec::new(),
            overrides: Vec::new(),
            labels: Vec::new(),
            last_labels: Vec::new(),
            columns: Vec::new(),
            hidden: Vec::new(),
            sort: None,
            links: Vec::new(),
        }
    }

    pub(super) fn stat(title: &'static str, shows: &'static str, not_proven: &'static str) -> Self {
        Panel::new(Kind::Stat, title, shows, not_proven).size(4, 5)
    }

    pub(super) fn states(title: &'static str, shows: &'static str, not_proven: &'static str) -> Self {
        Panel::new(Kind::States, title, shows, not_proven)
    }

    pub(super) fn lines(title: &'static str, shows: &'static str, not_proven: &'static str) -> Self {
        Panel::new(Kind::Lines, title, shows, not_proven)
    }

    pub(super) fn table(title: &'static str, shows: &'static str, not_proven: &'static str) -> Self {
        Panel::new(Kind::Table, title, shows, not_proven)
    }

    /// In columns of 24, and lines of 30 pixels.
    pub(super) fn size(self, width: u64, height: u64) -> Self {
        Panel { width, height, ..self }
    }

    pub(super) fn unit(self, unit: &'static str) -> Self {
        Panel { unit, ..self }
    }

    pub(super) fn words(self, words: Words) -> Self {
        Panel { mappings: words::mappings(words), ..self }
    }

    /// A colour, and others from a number on.
    pub(super) fn colours(self, base: &str, steps: &[(f64, &str)]) -> Self {
        Panel { thresholds: words::thresholds(base, steps), ..self }
    }

    /// A query whose series are called by this pattern.
    pub(super) fn query(mut self, legend: &str, expr: String) -> Self {
        let instant = self.kind == Kind::Stat;
        self.target(legend, expr, instant, "time_series");
        self
    }

    /// A label that is a column, and its title.
    pub(super) fn label(mut self, label: &'static str, title: &'static str) -> Self {
        self.labels.push((label, title));
        self
    }

    /// A label that is a column behind all others, and its title.
    pub(super) fn last_label(mut self, label: &'static str, title: &'static str) -> Self {
        self.last_labels.push((label, title));
        self
    }

    /// Rows of many systems: they begin with which one it is.
    pub(super) fn of_systems(self) -> Self {
        self.label("site", "Site").label("system", "System").last_label("cluster", "Cluster")
    }

    /// Rows of mostly one system, which was chosen above: they begin with what is in it.
    pub(super) fn in_a_system(self) -> Self {
        self.last_label("site", "Site").last_label("system", "System").last_label("cluster", "Cluster")
    }

    /// A query that is a column.
    pub(super) fn column(mut self, title: &'static str, shown: Shown, expr: String) -> Self {
        self.target("", expr, true, "table");
        self.columns.push(title);
        let property = |id: &str, value: Value| json!({ "id": id, "value": value });
        let width = |texts: &mut dyn Iterator<Item = &str>| {
            let widest = texts.map(pixels).max().unwrap_or_default();
            property("custom.width", widest.max(pixels(title)).max(NARROWEST).into())
        };
        let properties = match shown {
            Shown::In(unit) => vec![property("unit", unit.into()), width(&mut std::iter::empty())],
            Shown::As(words) => vec![
                width(&mut words.iter().map(|(_, text, _)| *text)),
                property("mappings", words::mappings(words)),
                property("custom.cellOptions", json!({ "type": "color-background", "mode": "basic" })),
            ],
            Shown::Hidden => {
                self.hidden.push(title);
                return self;
            }
        };
        self.of_column(title, &properties);
        self
    }

    /// What a click on a cell of this column opens.
    pub(super) fn column_link(mut self, title: &str, link: Value) -> Self {
        self.of_column(title, &[json!({ "id": "links", "value": Value::Array(vec![link]) })]);
        self
    }

    /// Room for the longest name that this column of labels may hold.
    pub(super) fn column_width(mut self, title: &str, longest: &str) -> Self {
        self.of_column(title, &[json!({ "id": "custom.width", "value": pixels(longest) })]);
        self
    }

    /// The column by which rows are sorted, its largest first.
    pub(super) fn worst_first(self, title: &'static str) -> Self {
        Panel { sort: Some((title, true)), ..self }
    }

    /// The column by which rows are sorted, so that panels which face each other have the same order.
    pub(super) fn in_order_of(self, title: &'static str) -> Self {
        Panel { sort: Some((title, false)), ..self }
    }

    /// What a click on a value opens.
    pub(super) fn link(mut self, link: Value) -> Self {
        self.links.push(link);
        self
    }

    fn target(&mut self, legend: &str, expr: String, instant: bool, format: &str) {
        let name = char::from(b'A' + u8::try_from(self.targets.len()).unwrap_or(u8::MAX - b'A'));
        self.targets.push(json!({
            "datasource": datasource(),
            "editorMode": "code",
            "expr": Value::from(expr),
            "format": format,
            "instant": instant,
            "legendFormat": if legend.is_empty() { "__auto" } else { legend },
            "range": !instant,
            "refId": name.to_string(),
        }));
    }

    fn of_column(&mut self, title: &str, properties: &[Value]) {
        self.overrides
            .push(json!({ "matcher": { "id": "byName", "options": title }, "properties": properties }));
    }

    /// Room for the titles of labels; and where a row begins with something in a system, for its name.
    fn label_widths(&self) -> Vec<Value> {
        let of = |title: &str, least: u64| {
            let property = json!({ "id": "custom.minWidth", "value": least.max(pixels(title)) });
            json!({ "matcher": { "id": "byName", "options": title }, "properties": [property] })
        };
        let all_in_one = self.last_labels.iter().any(|(label, _)| *label == "system");
        let (first, others) = if all_in_one { (160, 120) } else { (NARROWEST, NARROWEST) };
        let labels = self.labels.iter().enumerate();
        labels.map(|(place, (_, title))| of(title, if place == 0 { first } else { others })).collect()
    }

    /// One table of all answers, its columns named and in order.
    fn transformations(&self) -> Value {
        if self.kind != Kind::Table {
            return json!([]);
        }
        let (mut left_out, mut places, mut names) = (Map::new(), Map::new(), Map::new());
        left_out.insert("Time".to_owned(), true.into());
        let mut place = |field: String, title: &str| {
            if self.hidden.contains(&title) {
                left_out.insert(field, true.into());
                return;
            }
            places.insert(field.clone(), places.len().into());
            names.insert(field, title.into());
        };
        for (label, title) in &self.labels {
            place((*label).to_owned(), title);
        }
        for (target, title) in self.targets.iter().zip(&self.columns) {
            place(format!("Value #{}", target["refId"].as_str().unwrap_or_default()), title);
        }
        if let [only] = self.columns.as_slice() {
            // A lone answer is not numbered.
            place("Value".to_owned(), only);
        }
        for (label, title) in &self.last_labels {
            place((*label).to_owned(), title);
        }
        json!([
            { "id": "merge", "options": {} },
            { "id": "organize", "options": { "excludeByName": left_out, "indexByName": places, "renameByName": names } },
        ])
    }

    fn options(&self) -> Value {
        let tooltip = json!({ "mode": "multi", "sort": "none" });
        match self.kind {
            Kind::Stat => json!({
                "colorMode": "background",
                "graphMode": "none",
                "justifyMode": "auto",
                "orientation": "auto",
                "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
                "textMode": "auto",
            }),
            Kind::States => json!({
                "alignValue": "left",
                "legend": { "calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": false },
                "mergeValues": true,
                // More would be too low for their words.
                "perPage": 20,
                "rowHeight": 0.85,
                "showValue": "auto",
                "tooltip": tooltip,
            }),
            Kind::Lines => json!({
                "legend": { "calcs": ["lastNotNull", "max"], "displayMode": "table", "placement": if self.width < 12 { "bottom" } else { "right" }, "showLegend": true },
                "tooltip": tooltip,
            }),
            Kind::Table => {
                let sort =
                    self.sort.iter().map(|(title, desc)| json!({ "desc": desc, "displayName": title }));
                json!({ "cellHeight": "sm", "showHeader": true, "sortBy": sort.collect::<Vec<_>>() })
            }
        }
    }

    fn custom(&self) -> Value {
        match self.kind {
            Kind::Stat => json!({}),
            Kind::States => json!({ "fillOpacity": 85, "lineWidth": 0, "spanNulls": false }),
            Kind::Lines => json!({
                "drawStyle": "line",
                "fillOpacity": 5,
                "lineInterpolation": "stepAfter",
                "lineWidth": 2,
                "showPoints": "auto",
                "spanNulls": false,
                "thresholdsStyle": { "mode": "dashed" },
            }),
            Kind::Table => {
                json!({ "align": "left", "cellOptions": { "type": "auto" }, "filterable": true, "minWidth": NARROWEST })
            }
        }
    }

    fn json(&self, id: u64, x: u64, y: u64) -> Value {
        let Panel {
            kind,
            title,
            about: [shows, not_proven],
            width,
            height,
            unit,
            mappings,
            thresholds,
            targets,
            links,
            ..
        } = self;
        let (name, color) = match kind {
            Kind::Stat => ("stat", "thresholds"),
            Kind::States => ("state-timeline", "thresholds"),
            Kind::Lines => ("timeseries", "palette-classic"),
            Kind::Table => ("table", "thresholds"),
        };
        // Grafana applies them in this order.
        let overrides = [self.label_widths(), self.overrides.clone()].concat();
        let mut defaults = json!({
            "color": { "mode": color },
            "custom": self.custom(),
            "links": links,
            "mappings": mappings,
            "noValue": "no data",
            "thresholds": thresholds,
            "unit": unit,
        });
        if *kind == Kind::Lines {
            // Nothing here is below 0, and an axis that begins elsewhere makes much of little.
            defaults["min"] = 0.into();
        }
        json!({
            "id": id,
            "type": name,
            "title": title,
            "description": format!("{shows}\n\n**A good look of it does not prove:** {not_proven}"),
            "datasource": datasource(),
            "gridPos": { "h": height, "w": width, "x": x, "y": y },
            "targets": targets,
            "transformations": self.transformations(),
            "options": self.options(),
            "fieldConfig": {
                "defaults": defaults,
                "overrides": overrides,
            },
        })
    }
}

/// How wide a cell must be for a text, in Grafana's font of 14 pixels.
fn pixels(text: &str) -> u64 {
    24 + text.chars().map(|letter| if letter.is_uppercase() { 10 } else { 7 }).sum::<u64>()
}

/// All rows, one below the other; panels from left to right, in a new line where they do not fit.
pub(super) fn lay_out(rows: &[Row]) -> Vec<Value> {
    let (mut out, mut top) = (Vec::new(), 0);
    for Row { title, panels } in rows {
        let id = out.len() + 1;
        out.push(json!({
            "id": id,
            "type": "row",
            "title": title,
            "collapsed": false,
            "gridPos": { "h": 1, "w": COLUMNS, "x": 0, "y": top },
            "panels": [],
        }));
        top += 1;
        let (mut left, mut line) = (0, 0);
        for panel in panels {
            if left + panel.width > COLUMNS {
                (top, left, line) = (top + line, 0, 0);
            }
            out.push(panel.json(out.len() as u64 + 1, left, top));
            left += panel.width;
            line = line.max(panel.height);
        }
        top += line;
    }
    out
}
