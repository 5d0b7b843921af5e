//! Tables of what is accepted and refused, each row tried on the real thing, and properties.
//!
//! `TEXT` was served to Prometheus 3 (`up`, `down`) and piped into `promtool check metrics`; `OPEN` was given to
//! `promtool tsdb create-blocks-from openmetrics`, which runs the server's own parser.

use proptest::prelude::*;

use super::*;

type Plain = (String, Vec<(String, String)>, f64, Option<f64>);

fn plain(sample: &Sample<'_>) -> Plain {
    let labels = sample.labels.clone().map(|(name, value)| (name.into_owned(), value.into_owned()));
    (sample.name.clone().into_owned(), labels.collect(), sample.value, sample.timestamp)
}

fn all(body: &[u8], format: Format) -> Vec<Result<Plain, SyntaxError>> {
    samples(body, format, |_| true).map(|item| item.map(|sample| plain(&sample))).collect()
}

fn one(body: &str, format: Format) -> Plain {
    let mut items = all(body.as_bytes(), format);
    assert_eq!(items.len(), 1, "{body:?}: {items:?}");
    items.remove(0).unwrap()
}

fn faults(body: &[u8], format: Format) -> Vec<(usize, usize, Fault)> {
    all(body, format).into_iter().filter_map(Result::err).map(|e| (e.line, e.column, e.what)).collect()
}

fn row(name: &str, labels: &[(&str, &str)], value: f64, timestamp: Option<f64>) -> Plain {
    let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    (name.to_owned(), labels, value, timestamp)
}

#[test]
fn tricky_text_lines_give_exactly_this() {
    for (body, expected) in [
        ("a 1", row("a", &[], 1.0, None)),
        ("a{} 1\n", row("a", &[], 1.0, None)),
        ("a{b=\"1\",} 1\n", row("a", &[("b", "1")], 1.0, None)),
        ("a{b=\"1\" c=\"2\"} 1\n", row("a", &[("b", "1"), ("c", "2")], 1.0, None)),
        ("a { b = \"1\" , c=\"2\" } 1 \n", row("a", &[("b", "1"), ("c", "2")], 1.0, None)),
        ("\ta\t1\t2\n", row("a", &[], 1.0, Some(0.002))),
        ("a{b=\"1\"\t,\tc=\"2\"}\t1\n", row("a", &[("b", "1"), ("c", "2")], 1.0, None)),
        ("a 1 -3982045\n", row("a", &[], 1.0, Some(-3982.045))),
        ("a 1 +5\n", row("a", &[], 1.0, Some(0.005))),
        ("a inf\n", row("a", &[], f64::INFINITY, None)),
        ("a +Inf\n", row("a", &[], f64::INFINITY, None)),
        ("a -infinity\n", row("a", &[], f64::NEG_INFINITY, None)),
        ("a .5\n", row("a", &[], 0.5, None)),
        ("a 5.\n", row("a", &[], 5.0, None)),
        ("a 1e5\n", row("a", &[], 1e5, None)),
        ("a{b=\"1\"}1\n", row("a", &[("b", "1")], 1.0, None)),
        ("a{b=\"x\\ty\"} 1\n", row("a", &[("b", "x\\ty")], 1.0, None)),
        ("a{b=\"x\\\\\\\"\\n\"} 1\n", row("a", &[("b", "x\\\"\n")], 1.0, None)),
        ("a{b=\"C:\\\\new\"} 1\n", row("a", &[("b", "C:\\new")], 1.0, None)),
        ("a{b=\"x,}# {y=\\\"z\\\"} 9\"} 1\n", row("a", &[("b", "x,}# {y=\"z\"} 9")], 1.0, None)),
        ("a{b=\"é\\é\"} 1\n", row("a", &[("b", "é\\é")], 1.0, None)),
        ("a{b=\"x\0y\"} 1\n", row("a", &[("b", "x\0y")], 1.0, None)),
        ("{\"my.metric\",a=\"b\"} 1\n", row("my.metric", &[("a", "b")], 1.0, None)),
        ("{ \"a\" } 1\n", row("a", &[], 1.0, None)),
        ("{\"a\",} 1\n", row("a", &[], 1.0, None)),
        ("{a=\"b\",\"my.metric\"} 1\n", row("my.metric", &[("a", "b")], 1.0, None)),
        ("{\"a\\\"b\"} 1\n", row("a\"b", &[], 1.0, None)),
        ("a{\"my.label\"=\"x\"} 1\n", row("a", &[("my.label", "x")], 1.0, None)),
        ("a:b{_c=\"\"} 1\n", row("a:b", &[("_c", "")], 1.0, None)),
        ("# EOF\n#\n# HELP\n# HELP a\n#TYPE a nonsense\n# r\r\n\n \na 1\n", row("a", &[], 1.0, None)),
        ("# \u{e9}\na 9223372036854775808\n", row("a", &[], 9_223_372_036_854_775_808.0, None)),
    ] {
        assert_eq!(one(body, Format::Text), expected, "{body:?}");
    }
    assert!(one("a nan\n", Format::Text).2.is_nan());
}

#[test]
fn what_prometheus_refuses_in_text_is_refused_with_its_place() {
    for (body, line, column, what) in [
        (&b"a 1\r\n"[..], 1, 4, Fault::CarriageReturn),
        (b"# TYPE a counter\r\n", 1, 17, Fault::CarriageReturn),
        (b"a{,} 1\n", 1, 3, Fault::LabelName),
        (b"a{b=\"1\",,} 1\n", 1, 9, Fault::LabelName),
        (b"a 1 2 3\n", 1, 7, Fault::Trailing),
        (b"a 1 1.5\n", 1, 5, Fault::Timestamp),
        (b"a 1 1e3\n", 1, 5, Fault::Timestamp),
        (b"a 1 9223372036854775808\n", 1, 5, Fault::Timestamp),
        (b"a 1 # {t=\"1\"} 3\n", 1, 5, Fault::Timestamp),
        (b"\na 0x1p-2\n", 2, 3, Fault::Number),
        (b"a 0x10\n", 1, 3, Fault::Number),
        (b"a 0b1\n", 1, 3, Fault::Number),
        (b"a 1_000\n", 1, 3, Fault::Number),
        (b"a -NaN\n", 1, 3, Fault::Number),
        (b"a +nan\n", 1, 3, Fault::Number),
        (b"a 1e400\n", 1, 3, Fault::Number),
        (b"a 1f\n", 1, 3, Fault::Number),
        (b"a 1e\n", 1, 3, Fault::Number),
        (b"a infi\n", 1, 3, Fault::Number),
        (b"a 1\x0b\n", 1, 3, Fault::Number),
        (b"a\x0c1\n", 1, 2, Fault::Number),
        (b"a\n", 1, 2, Fault::Number),
        (b"a{b=\"1\"} 1#x\n", 1, 10, Fault::Number),
        (b"a-b 1\n", 1, 2, Fault::Number),
        (b"a{b=\"1\"\n", 1, 8, Fault::LabelEnd),
        (b"a{b=\"\\\"} 1\n", 1, 5, Fault::Unterminated),
        (b"{a=\"b\"} 1\n", 1, 8, Fault::NameCount),
        (b"{\"a\",\"b\"} 1\n", 1, 9, Fault::NameCount),
        (b"a{\"b\"} 1\n", 1, 3, Fault::NameCount),
        (b"{\"\",a=\"b\"} 1\n", 1, 2, Fault::LabelName),
        (b"a{\"\"=\"x\"} 1\n", 1, 3, Fault::LabelName),
        (b"a{b=\"1\",b=\"2\"} 1\n", 1, 3, Fault::DuplicateLabel),
        (b"a{b=\"1\",\"b\"=\"2\"} 1\n", 1, 3, Fault::DuplicateLabel),
        (b"a{__name__=\"x\"} 1\n", 1, 3, Fault::DuplicateLabel),
        (b"# TYPE a\na 1\n", 1, 9, Fault::Comment),
        (b"# TYPE a foo\n", 1, 10, Fault::TypeName),
        (b"# TYPE a counter gauge\n", 1, 10, Fault::TypeName),
        (b"# TYPE a unknown\n", 1, 10, Fault::TypeName),
        (b"# TYPE 9 gauge\n", 1, 8, Fault::MetricName),
        (b"9a 1\n", 1, 1, Fault::MetricName),
        (b"\"a\" 1\n", 1, 1, Fault::MetricName),
        (b"\xc3\xa9 1\n", 1, 1, Fault::MetricName),
        (b"a{b:c=\"1\"} 1\n", 1, 4, Fault::Equals),
        (b"a{9=\"1\"} 1\n", 1, 3, Fault::LabelName),
        (b"a{\xc3\xa9=\"1\"} 1\n", 1, 3, Fault::LabelName),
        (b"a{b=1} 1\n", 1, 5, Fault::LabelValue),
        (b"a{b='1'} 1\n", 1, 5, Fault::LabelValue),
        (b"a{b=\"\xff\"} 1\n", 1, 6, Fault::NotUtf8),
        (b"# HELP a \xff\n", 1, 10, Fault::NotUtf8),
    ] {
        let found = faults(body, Format::Text);
        assert_eq!(found, [(line, column, what)], "{:?}", String::from_utf8_lossy(body));
    }
    // The one row where we are stricter than the server (and agree with the specification and promtool).
    assert_eq!(faults(b"a{b=\"x\ny\"} 1\n", Format::Text).len(), 2);
}

#[test]
fn open_metrics_is_as_strict_as_the_server() {
    for (body, expected) in [
        ("a 1 1\n# EOF", row("a", &[], 1.0, Some(1.0))),
        ("a{b=\"1\",} 1 1.5\n# EOF\n", row("a", &[("b", "1")], 1.0, Some(1.5))),
        ("a 1 -1e3\n# EOF\n", row("a", &[], 1.0, Some(-1000.0))),
        ("a{} 1\n# EOF\n", row("a", &[], 1.0, None)),
        ("a 1 # {t=\"x\"} 2\n# EOF\n", row("a", &[], 1.0, None)),
        ("a 1 1 # {} 2\n# EOF\n", row("a", &[], 1.0, Some(1.0))),
        ("a 1 1 # {t=\"x } # {\",} 2 3.5\n# EOF\n", row("a", &[], 1.0, Some(1.0))),
        ("a 1 # {\"q.x\"=\"x\",u=\"y\"} NaN\n# EOF\n", row("a", &[], 1.0, None)),
        ("{\"a.b\",c=\"d # e\"} 1\n# EOF\n", row("a.b", &[("c", "d # e")], 1.0, None)),
        ("# UNIT a_seconds seconds\n# HELP a \na_seconds 1\n# EOF\n", row("a_seconds", &[], 1.0, None)),
        ("# UNIT a \na_created 1.5e9\n# EOF\n", row("a_created", &[], 1.5e9, None)),
        ("a{b=\"x\\ty\"} Infinity\n# EOF\n", row("a", &[("b", "x\\ty")], f64::INFINITY, None)),
    ] {
        assert_eq!(one(body, Format::OpenMetrics), expected, "{body:?}");
    }
    assert_eq!(all(b"# EOF\n", Format::OpenMetrics), []);
    for (line, column, what) in [
        (&b""[..], 1, Fault::EmptyLine),
        (b" a 1", 1, Fault::MetricName),
        (b"a  1", 3, Fault::Space),
        (b"a\t1", 2, Fault::Space),
        (b"a 1 1 ", 6, Fault::Trailing),
        (b"a 1 1\r", 6, Fault::CarriageReturn),
        (b"a{,} 1", 3, Fault::LabelName),
        (b"a{b=\"1\",,} 1", 9, Fault::LabelName),
        (b"a{b=\"1\", c=\"2\"} 1", 9, Fault::LabelName),
        (b"a{b=\"1\" } 1", 8, Fault::LabelEnd),
        (b"a{b=\"1\"c=\"2\"} 1", 8, Fault::LabelEnd),
        (b"a{b=\"1\"}1", 9, Fault::Space),
        (b"a {b=\"1\"} 1", 3, Fault::Number),
        (b"a{\"b\"} 1", 3, Fault::NameCount),
        (b"a{b=\"1\",b=\"2\"} 1", 3, Fault::DuplicateLabel),
        (b"a{b=\"\xff\"} 1", 6, Fault::NotUtf8),
        (b"a 1 NaN", 5, Fault::Timestamp),
        (b"a 1 0x1", 5, Fault::Timestamp),
        (b"# hello", 3, Fault::Comment),
        (b"#", 1, Fault::Comment),
        (b"#EOF", 1, Fault::Comment),
        (b"# TYPE a", 9, Fault::Comment),
        (b"# HELP a", 9, Fault::Comment),
        (b"# TYPE  a gauge", 8, Fault::MetricName),
        (b"# TYPE a untyped", 10, Fault::TypeName),
        (b"# UNIT a_seconds ms", 18, Fault::Comment),
        (b"a 1 1 # {t=\"x\"} 2 3 4", 20, Fault::Trailing),
        (b"a 1 1 # {t=\"x\"}", 16, Fault::Exemplar),
        (b"a 1 1 # {\"q.x\"} 2", 10, Fault::Exemplar),
        (b"a 1 1 #{t=\"x\"} 2", 6, Fault::Trailing),
        (b"a 1 1  # {t=\"x\"} 2", 6, Fault::Trailing),
        (b"a 1 # {t=\"x\"} 2 NaN", 17, Fault::Timestamp),
    ] {
        let body = [b"z 0\n", line, b"\n# EOF\n"].concat();
        let found = faults(&body, Format::OpenMetrics);
        assert_eq!(found, [(2, column, what)], "{:?}", String::from_utf8_lossy(line));
    }
}

#[test]
fn a_cut_open_metrics_body_says_so() {
    let whole = b"a 1\nb{c=\"d\"} 2\n# EOF\n";
    for cut in 0..whole.len() - 1 {
        let found = faults(&whole[..cut], Format::OpenMetrics);
        assert!(found.last().is_some_and(|fault| fault.2 == Fault::Truncated), "cut at {cut}: {found:?}");
    }
    assert_eq!(faults(b"a 1\n# EOF\nb 1\n", Format::OpenMetrics), [(3, 1, Fault::AfterEof)]);
    assert_eq!(faults(b"a 1\n# EOF\n\n", Format::OpenMetrics), [(3, 1, Fault::AfterEof)]);
    // A filter must not hide the cut.
    let last = samples(&whole[..4], Format::OpenMetrics, |_| false).last().unwrap().unwrap_err();
    assert_eq!(last.what, Fault::Truncated);
}

#[test]
fn reading_goes_on_behind_a_bad_line() {
    let items = all(b"a 1\nb{ 2\nc 3\n", Format::Text);
    assert_eq!(items[0], Ok(row("a", &[], 1.0, None)));
    let error = items[1].clone().unwrap_err();
    assert_eq!(error.to_string(), "line 2, column 4: a label name is expected here");
    assert_eq!(items[2], Ok(row("c", &[], 3.0, None)));
}

#[test]
fn a_sample_knows_what_it_was_declared_as() {
    let text = "# TYPE  a_total \t counter \na_total 1\n# TYPE h histogram\nh_count 2\nh 1\nlate 1\n# TYPE late gauge\nlate 2\n";
    let kinds: Vec<_> = samples(text.as_bytes(), Format::Text, |_| true).map(|s| s.unwrap().kind).collect();
    use MetricType::{Counter, Gauge, Histogram, Unknown};
    assert_eq!(kinds, [Counter, Histogram, Histogram, Unknown, Gauge]);
    let open = "# TYPE a counter\na_total 1\na_created 1\na_bucket 1\n# TYPE \"b.c\" counter\n{\"b.c_total\"} 1\n# EOF\n";
    let kinds: Vec<_> =
        samples(open.as_bytes(), Format::OpenMetrics, |_| true).map(|s| s.unwrap().kind).collect();
    assert_eq!(kinds, [Counter, Counter, Unknown, Counter]);
}

#[test]
fn the_format_follows_the_content_type() {
    for (header, format) in [
        ("text/plain; version=0.0.4; charset=utf-8", Some(Format::Text)),
        ("TEXT/PLAIN", Some(Format::Text)),
        ("", Some(Format::Text)),
        ("text/plain; version=1.0.0; escaping=allow-utf-8", Some(Format::Text)),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", Some(Format::OpenMetrics)),
        ("application/openmetrics-text;version=\"0.0.1\"", Some(Format::OpenMetrics)),
        ("application/openmetrics-text", Some(Format::OpenMetrics)),
        ("application/openmetrics-text; version=2.0.0", None),
        ("text/html", None),
        ("application/json", None),
        (
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
            None,
        ),
    ] {
        assert_eq!(Format::from_content_type(header), format, "{header}");
    }
}

#[test]
fn a_hundred_thousand_lines_are_all_read() {
    let body: String = (0..100_000)
        .map(|n| format!("r_total{{h=\"/a/{n}\",c=\"200\"}} {n}\nother{{x=\"y\"}} 1\n"))
        .collect();
    let sum: f64 =
        samples(body.as_bytes(), Format::Text, |name| name == "r_total").map(|s| s.unwrap().value).sum();
    assert_eq!(sum, 4_999_950_000.0);
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn render((name, labels, value, timestamp): &Plain, format: Format) -> String {
    let pairs: Vec<_> =
        labels.iter().map(|(name, value)| format!("\"{}\"=\"{}\"", escape(name), escape(value))).collect();
    let time = match (timestamp, format) {
        (None, _) => String::new(),
        (Some(seconds), Format::Text) => format!(" {}", (seconds * 1e3).round() as i64),
        (Some(seconds), Format::OpenMetrics) => format!(" {seconds}"),
    };
    format!(
        "{{\"{}\"{}{}}} {value}{time}\n",
        escape(name),
        if pairs.is_empty() { "" } else { "," },
        pairs.join(",")
    )
}

prop_compose! {
    fn sample()(
        name in "(?s)[a-z\"\\\\\n,}# .é]{1,6}",
        labels in prop::collection::btree_map("(?s).{1,4}", "(?s).{0,12}", 0..4),
        value in any::<f64>().prop_filter("comparable", |v| !v.is_nan()),
        millis in prop::option::of(-1_000_000_000_000_i64..4_000_000_000_000),
    ) -> Plain {
        (name, labels.into_iter().collect(), value, millis.map(|ms| ms as f64 / 1e3))
    }
}

proptest! {
    #[test]
    fn what_is_rendered_is_read_back(list in prop::collection::vec(sample(), 0..8)) {
        for (format, end) in [(Format::Text, ""), (Format::OpenMetrics, "# EOF\n")] {
            let body: String = list.iter().map(|sample| render(sample, format)).collect::<String>() + end;
            let back: Vec<_> = all(body.as_bytes(), format).into_iter().map(Result::unwrap).collect();
            prop_assert_eq!(&back, &list);
        }
    }

    #[test]
    fn nothing_panics_and_every_line_is_accounted_for(body in prop::collection::vec(any::<u8>(), 0..300)) {
        for format in [Format::Text, Format::OpenMetrics] {
            let lines = body.split(|byte| *byte == b'\n').count();
            prop_assert!(all(&body, format).len() <= lines + 1);
        }
    }

    #[test]
    fn nothing_panics_near_the_grammar(body in "[ab{}=\",\\\\ #\n\r\t0-9.eE+é-]{0,80}|# (TYPE|HELP|UNIT|EOF)[ a\"\n\\\\]{0,20}") {
        for format in [Format::Text, Format::OpenMetrics] {
            for item in samples(body.as_bytes(), format, |_| true).flatten() {
                // Checked once, decoded without a surprise: no duplicate and no lost label.
                let names: std::collections::BTreeSet<_> = item.labels.clone().map(|(name, _)| name).collect();
                prop_assert_eq!(names.len(), item.labels.count());
            }
        }
    }

    #[test]
    fn a_filter_gives_the_wanted_part(body in "([ab](\\{b=\"[}, \\\\\"]{0,2}\"\\})?[ {]?[0-9x]{1,2}\n|\\{\"[ab]\"\\} [1-9]\n|# TYPE [ab] gauge\n){0,12}") {
        for format in [Format::Text, Format::OpenMetrics] {
            let wanted: Vec<_> = samples(body.as_bytes(), format, |name| name == "a").flatten().map(|s| (plain(&s), s.kind)).collect();
            let filtered: Vec<_> = samples(body.as_bytes(), format, |_| true).flatten()
                .filter(|sample| sample.name == "a").map(|s| (plain(&s), s.kind)).collect();
            prop_assert_eq!(wanted, filtered);
        }
    }
}
