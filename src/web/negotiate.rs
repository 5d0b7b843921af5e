//! What a client would like to get. Pure. Source: RFC 9110, sections 12.4.2 and 12.5.

/// Whether the client prefers OpenMetrics to the text format 0.0.4, which is what everybody else gets.
pub fn wants_open_metrics(accept: &str) -> bool {
    let open_metrics = quality(accept, |kind| kind == "application/openmetrics-text");
    let text = quality(accept, |kind| matches!(kind, "text/plain" | "text/*"));
    open_metrics.is_some_and(|open| open > 0.0 && open >= text.unwrap_or(0.0))
}

/// Whether the client takes gzip.
pub fn accepts_gzip(accept_encoding: &str) -> bool {
    let named = quality(accept_encoding, |coding| coding == "gzip");
    named.or_else(|| quality(accept_encoding, |coding| coding == "*")).is_some_and(|quality| quality > 0.0)
}

/// The best quality among the listed things that are meant; `None` if none is listed.
fn quality(list: &str, meant: impl Fn(&str) -> bool) -> Option<f64> {
    let entries = list.split(',').filter_map(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let name = parts.next()?.to_ascii_lowercase();
        let quality = parts
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
            .map_or(Some(1.0), |(_, value)| value.trim().parse::<f64>().ok())?;
        meant(&name).then_some(quality)
    });
    entries.fold(None, |best, quality| Some(best.map_or(quality, |best: f64| best.max(quality))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_metrics_goes_to_those_who_prefer_it() {
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert!(wants_open_metrics(prometheus_3));
        assert!(wants_open_metrics("application/openmetrics-text"));
        for other in [
            "",
            "*/*",
            "text/html",
            "text/plain, application/openmetrics-text;q=0.5",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=x",
        ] {
            assert!(!wants_open_metrics(other), "{other}");
        }
    }

    #[test]
    fn gzip_goes_to_those_who_take_it() {
        for yes in ["gzip", "deflate, GZIP;q=0.1", "*"] {
            assert!(accepts_gzip(yes), "{yes}");
        }
        for no in ["", "identity", "gzip;q=0", "*;q=0", "gzip;q=0, *"] {
            assert!(!accepts_gzip(no), "{no}");
        }
    }
}
