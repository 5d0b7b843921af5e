//! What an application exposes as metrics: any bytes, in both formats.
#![no_main]

use dr_exporter::exposition::{Format, samples};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    for format in [Format::Text, Format::OpenMetrics] {
        let mut read = 0_usize;
        let mut all = samples(body, format, |_| true);
        while let Some(sample) = all.next() {
            read += 1;
            if let Ok(sample) = sample {
                assert!(!sample.name.is_empty());
                // Labels are decoded on the way.
                for (name, _) in sample.labels {
                    assert!(!name.is_empty());
                }
                let _ = all.metric_type(&sample.name);
            }
        }
        assert!(read <= body.len() + 1, "more samples and errors than bytes");
        // Nobody asks for these: only the shape of lines is read.
        assert!(samples(body, format, |_| false).all(|sample| sample.is_err()));
    }
});
