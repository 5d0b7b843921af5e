//! From OpenMetrics to the text format 0.0.4, which is what a scraper gets that did not ask for OpenMetrics. A real
//! Prometheus marks the target as down if it gets one in the clothes of the other.

/// Translates what our own encoder wrote. The differences between the two, for what we emit: a counter's family is
/// named with its suffix, there is no `# EOF` and no `# UNIT`, and a help text keeps its final stop.
///
/// Source: Prometheus documentation, "Exposition formats"; OpenMetrics 1.0, sections 3.2 and 5.1.
pub fn to_text_format(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len() + 4096);
    let mut help: Option<(&str, &str)> = None;
    let mut rest = open_metrics;
    while !rest.is_empty() {
        if !rest.starts_with('#') {
            // Samples, up to the next comment, are the same in both; a value's line ends are escaped.
            let end = rest.find("\n#").map_or(rest.len(), |end| end + 1);
            let (samples, after) = rest.split_at(end);
            text.push_str(samples);
            rest = after;
            continue;
        }
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        rest = after;
        if let Some(named) = line.strip_prefix("# HELP ") {
            help = named.split_once(' ');
        } else if let Some(typed) = line.strip_prefix("# TYPE ") {
            let (name, kind) = typed.split_once(' ').unwrap_or((typed, "untyped"));
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, words)) = help.take().filter(|(of, _)| *of == name) {
                text.extend(["# HELP ", name, suffix, " ", words, "\n"]);
            }
            text.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        }
    }
    text
}
