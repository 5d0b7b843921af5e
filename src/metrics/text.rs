//! From OpenMetrics to the text format 0.0.4, which is what a scraper gets that did not ask for OpenMetrics. A real
//! Prometheus marks the target as down if it gets one in the clothes of the other.

/// Translates what our own encoder wrote. The differences between the two, for what we emit: a counter's family is
/// named with its suffix, there is no `# EOF` and no `# UNIT`, and a help text keeps its final stop.
///
/// Source: Prometheus documentation, "Exposition formats"; OpenMetrics 1.0, sections 3.2 and 5.1.
pub fn to_text_format(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 256);
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap_or((rest, "untyped"));
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, words)) = help.take().filter(|(of, _)| *of == name) {
                text.extend(["# HELP ", name, suffix, " ", words, "\n"]);
            }
            text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            text.extend([line, "\n"]);
        }
    }
    text
}
