//! A connection string as an application has it, alone and with the variables beside it.
#![no_main]

use std::hash::{DefaultHasher, Hash, Hasher};

use dr_exporter::net::dsn::{Dsn, Siblings};
use dr_exporter::secret::Secret;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    // Of the text, so that no text holds its own: an hour of runs had found out how to write a constant one with an escape.
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let canary = format!("kanarienvogel{:016x}", hasher.finish());
    let siblings = Siblings {
        host: Some("db.example".to_owned()),
        password: Some(Secret::from(canary.clone())),
        ..Siblings::default()
    };
    let said = match Dsn::parse(text) {
        Ok(dsn) => {
            let print = dsn.fingerprint();
            assert_eq!(print, dsn.fingerprint());
            assert_eq!(print, Dsn::parse(text).expect("it was understood before").fingerprint());
            let shown = format!("{dsn:?}");
            let joined = dsn.with_siblings(&siblings).map(|dsn| format!("{dsn:?}"));
            shown + &joined.unwrap_or_else(|error| error.to_string())
        }
        Err(error) => error.to_string(),
    };
    // The password beside it is shown nowhere.
    assert!(!said.contains(&canary), "{said}");
});
