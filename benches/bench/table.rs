//! The one style of table, and the file that the tables are in.

use std::fmt::Write as _;

use super::lab::run;

/// One line: what was measured, of which program, and what we want of it.
pub struct Row {
    what: String,
    program: String,
    value: String,
    aim: String,
    met: bool,
}

/// A part of the file below one heading, as one run wrote it.
pub struct Section {
    /// The heading.
    pub title: &'static str,
    /// What is said before the table.
    pub before: String,
    /// The table.
    pub rows: Vec<Row>,
    /// What is said behind it.
    pub after: String,
}

// === impl Row ===

impl Row {
    /// A number that nothing is wanted of.
    pub fn new(what: &str, program: &str, value: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            program: program.into(),
            value: value.into(),
            aim: String::new(),
            met: true,
        }
    }

    /// One that must not be above `most`.
    pub fn at_most(what: &str, program: &str, value: f64, most: f64, unit: &str) -> Self {
        Self::new(what, program, show(value, unit)).aim("at most", most, unit, value <= most)
    }

    /// One that must not be below `least`.
    pub fn at_least(what: &str, program: &str, value: f64, least: f64, unit: &str) -> Self {
        Self::new(what, program, show(value, unit)).aim("at least", least, unit, value >= least)
    }

    fn aim(mut self, word: &str, wanted: f64, unit: &str, met: bool) -> Self {
        self.aim = format!("{word} {}: {}", show(wanted, unit), if met { "met" } else { "**missed**" });
        self.met = met;
        self
    }

    /// What was wanted and is not so.
    pub fn missed(&self) -> Option<String> {
        let Self { what, program, value, aim, met } = self;
        (!met).then(|| format!("{what}, {program}: {value}, {aim}"))
    }
}

/// Three digits are enough.
pub fn show(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        below if below < 1.0 => 2,
        below if below < 100.0 => 1,
        _ => 0,
    };
    let plain = format!("{value:.digits$}");
    let (whole, rest) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) && digit.is_ascii_digit() && whole.len() > 4 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{grouped}{rest} {unit}").trim_end().to_owned()
}

// === impl Section ===

impl Section {
    /// In Markdown, with its heading.
    fn text(&self) -> String {
        let Self { title, before, rows, after } = self;
        let mut text = format!("## {title}\n\n{}\n\n", before.trim());
        text.push_str("| what | program | measured | aim |\n| --- | --- | ---: | --- |\n");
        for Row { what, program, value, aim, met: _ } in rows {
            writeln!(text, "| {what} | {program} | {value} | {aim} |").expect("write to a string");
        }
        if !after.trim().is_empty() {
            write!(text, "\n{}\n", after.trim()).expect("write to a string");
        }
        text
    }

    /// Puts it into `docs/benchmarks.md`: below `head`, in the place of what stood below the same heading, in the order of
    /// `order`.
    pub fn write(&self, head: &str, order: &[&str]) {
        let file = run::repository().join("docs/benchmarks.md");
        let old = std::fs::read_to_string(&file).unwrap_or_default();
        let mut text = head.to_owned();
        for title in order {
            let kept = || {
                let mut parts = old.split("\n## ").skip(1);
                parts
                    .find(|part| part.lines().next() == Some(title))
                    .map(|part| format!("## {}\n", part.trim()))
            };
            if let Some(part) = if *title == self.title { Some(self.text()) } else { kept() } {
                text.push('\n');
                text.push_str(&part);
            }
        }
        std::fs::write(&file, text).expect("write docs/benchmarks.md");
        print!("{}", self.text());
    }
}
