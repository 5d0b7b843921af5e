//! Whole files in, whole answers out.
use jiff::Timestamp;

use super::{Loaded, Problems, parse};

const EXAMPLE: &str = include_str!("testdata/example.yaml");
const STATIC: &str = include_str!("testdata/static.yaml");

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn read(text: &str) -> Result<Loaded, Problems> {
    parse("f", text, now())
}

#[test]
fn dump() {
    let bad: Vec<String> = serde_json::from_str(&std::fs::read_to_string("/tmp/bad.json").unwrap()).unwrap();
    let out: Vec<(String, String)> = bad
        .into_iter()
        .map(|t| {
            let e = match read(&t) {
                Ok(_) => "ACCEPTED".to_owned(),
                Err(e) => e.to_string(),
            };
            (t, e)
        })
        .collect();
    std::fs::write("/tmp/out.json", serde_json::to_string(&out).unwrap()).unwrap();
    std::fs::write("/tmp/example.out", read(EXAMPLE).unwrap_err().to_string()).unwrap();
    std::fs::write("/tmp/masked.out", super::masked_yaml(EXAMPLE)).unwrap();
    std::fs::write("/tmp/ref.out", super::reference_markdown()).unwrap();
    std::fs::write("/tmp/schema.out", super::json_schema().to_string()).unwrap();
    match read(STATIC) {
        Ok(l) => println!("{:?}\n{}", l.warnings, l.masked_yaml()),
        Err(e) => println!("{e}"),
    }
}
