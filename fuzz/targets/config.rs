//! The configuration file: any text ends in a configuration or in mistakes with their places.
#![no_main]

use dr_exporter::config;
use dr_exporter::plan::plan;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let now = jiff::Timestamp::UNIX_EPOCH;
    match config::parse("fuzz.yaml", text, now) {
        Ok(loaded) => {
            let _ = plan(&loaded.config);
            // What is shown of it is itself a configuration, or at least a document.
            assert!(!loaded.masked_yaml().is_empty());
        }
        Err(problems) => {
            let said = problems.to_string();
            assert!(said.contains("fuzz.yaml"), "a mistake without a place: {said}");
        }
    }
});
