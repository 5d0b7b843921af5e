//! The labels of a sample, written out once for all the samples that share them.

use std::fmt::{self, Write as _};
use std::rc::Rc;

use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};

/// Labels in their order. A check has two dozen samples that differ in one label at most, and the encoder takes a label
/// apart into five small writes: so all but the last of the shared ones are written out here, once, and handed to the
/// encoder as the beginning of the last one's name, which it writes as it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Labels<'a> {
    /// `site="a",system="b",check`
    head: Rc<str>,
    /// The value of the label whose name ends the head.
    last: &'a str,
    /// One more label, of this sample alone.
    own: Option<(&'static str, &'a str)>,
}

// === impl Labels ===

impl<'a> Labels<'a> {
    /// These, in this order.
    pub(super) fn of(labels: &[(&'static str, &'a str)]) -> Self {
        let Some(((name, last), before)) = labels.split_last() else { return Labels::default() };
        let mut head = String::with_capacity(128);
        for (name, value) in before {
            head.extend([name, "=\""]);
            escape(value, &mut head);
            head.push_str("\",");
        }
        head.push_str(name);
        Labels { head: Rc::from(head), last, own: None }
    }

    /// These and one more.
    pub(super) fn with(&self, name: &'static str, value: &'a str) -> Self {
        Labels { own: Some((name, value)), ..self.clone() }
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_empty()
    }
}

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        let Labels { head, last, own } = self;
        for (name, value) in [(&**head, *last)].into_iter().chain(*own) {
            let mut label = encoder.encode_label();
            let mut key = label.encode_label_key()?;
            key.write_str(name)?;
            let mut written = key.encode_label_value()?;
            written.write_str(value)?;
            written.finish()?;
        }
        Ok(())
    }
}

/// Source: OpenMetrics 1.0, section 3.2: backslash, line end and double quote are escaped in a label's value.
fn escape(value: &str, into: &mut String) {
    let special = |c: char| matches!(c, '\\' | '\n' | '"');
    let mut rest = value;
    while let Some(place) = rest.find(special) {
        let (plain, from) = rest.split_at(place);
        into.push_str(plain);
        into.push_str(match from.as_bytes().first() {
            Some(b'\n') => "\\n",
            Some(b'"') => "\\\"",
            _ => "\\\\",
        });
        rest = from.get(1..).unwrap_or_default();
    }
    into.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::encoding::EncodeMetric as _;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::registry::Registry;

    const AWKWARD: [&str; 6] = ["", "plain", "a\"b", "c:\\d\\", "two\nlines\n", "\\n\"é,}{=#"];

    /// The line of a gauge with these labels, by the library's own way.
    fn by_the_library(labels: &[(&'static str, &'static str)]) -> String {
        let family = Family::<Vec<(&'static str, &'static str)>, Gauge>::default();
        family.get_or_create(&labels.to_vec()).set(1);
        let mut registry = Registry::default();
        registry.register("a", "A", family);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[derive(Debug)]
    struct Ours(Vec<(&'static str, &'static str)>);

    impl prometheus_client::collector::Collector for Ours {
        fn encode(
            &self,
            mut encoder: prometheus_client::encoding::DescriptorEncoder<'_>,
        ) -> Result<(), fmt::Error> {
            let (own, shared) = self.0.split_last().unwrap();
            let labels = Labels::of(shared).with(own.0, own.1);
            let gauge = Gauge::<i64>::default();
            gauge.set(1);
            let mut family = encoder.encode_descriptor("a", "A.", None, gauge.metric_type())?;
            gauge.encode(family.encode_family(&labels)?)
        }
    }

    #[test]
    fn they_are_written_as_the_library_writes_them() {
        for first in AWKWARD {
            for second in AWKWARD {
                let labels = vec![("x", first), ("y", second), ("z", first)];
                let mut registry = Registry::default();
                registry.register_collector(Box::new(Ours(labels.clone())));
                let mut text = String::new();
                prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
                assert_eq!(text, by_the_library(&labels));
            }
        }
    }
}
