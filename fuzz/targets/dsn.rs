//! A connection string as an application has it, alone and with the variables beside it.
#![no_main]

use dr_exporter::net::dsn::{Dsn, Siblings};
use dr_exporter::secret::Secret;
use libfuzzer_sys::fuzz_target;

/// Long enough not to be there by accident.
const CANARY: &str = "kanarienvogel";

fuzz_target!(|text: &str| {
    let siblings = Siblings {
        host: Some("db.example".to_owned()),
        password: Some(Secret::from(CANARY.to_owned())),
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
    assert!(text.contains(CANARY) || !said.contains(CANARY), "{said}");
});
