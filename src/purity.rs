//! Holds the crate to what its map says: pure modules do nothing but compute, and one place spawns.

use std::fs;
use std::path::{Path, PathBuf};

/// Files and directories below `src` that only compute: no clock, no file, no network, no task, no lock, no log.
const PURE: &[&str] = &[
    "model.rs",
    "model",
    "plan.rs",
    "leader/machine.rs",
    "shard.rs",
    "rbac.rs",
    "rbac",
    "verdict.rs",
    "report.rs",
    "report",
    "exposition.rs",
    "exposition",
    "traffic.rs",
    "traffic",
    "metrics/catalogue.rs",
    "metrics/text.rs",
    "web/page.rs",
    "web/page",
    "web/negotiate.rs",
    "web/ready.rs",
    "net/dsn.rs",
    "net/dsn",
    "net/region.rs",
    "discovery/inventory.rs",
    "discovery/objects.rs",
    "discovery/recipe.rs",
    "discovery/references.rs",
    "discovery/workload.rs",
    "discovery/variables.rs",
    "discovery/files.rs",
    "discovery/dsn.rs",
    "discovery/dsn",
    "discovery/surfaces.rs",
    "discovery/metrics_port.rs",
    "discovery/services.rs",
    "discovery/learnt.rs",
    "discovery/lookup.rs",
    "probe/expect.rs",
    "probe/create_dry_run/judgement.rs",
    "probe/create_dry_run/pod.rs",
    "probe/dependency/address.rs",
    "probe/dependency/judgement.rs",
    "probe/drift.rs",
    "probe/heartbeat/decision.rs",
    "probe/heartbeat/sql.rs",
    "probe/peer/letter.rs",
    "probe/image_origin/judgement.rs",
    "discovery/covering.rs",
    "discovery/fingerprints.rs",
    "discovery/fingerprints/canonical.rs",
    "discovery/fingerprints/configuration.rs",
    "discovery/image.rs",
    "probe/workload",
    "cli/docs/checks.rs",
    "cli/docs/grants.rs",
    "cli/docs/metrics.rs",
    "cli/terminal.rs",
    "config.rs",
    "config",
    "discovery/feeds.rs",
    "discovery/watch/kinds.rs",
    "discovery/watch/table.rs",
];

/// What a pure module does not mention: sequences of tokens.
const IMPURE: &[&str] = &[
    "tokio",
    "std::fs",
    "std::env",
    "std::io",
    "std::process",
    "std::thread",
    "std::{",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
    "SystemTime",
    "Instant",
    "Timestamp::now",
    "Zoned::now",
    "clock::",
    "tasks::",
    "ledger::Ledger",
    "net::http",
    "net::dial",
    "net::resolve",
    "net::postgres",
    "rand::",
    "spawn",
    "tracing",
    "reqwest",
    "hyper",
    "async",
    "await",
    "Mutex",
    "RwLock",
    "Atomic",
    "OnceLock",
    "LazyLock",
    "Cell",
    "RefCell",
    "unsafe",
];

/// The exceptions, each with its reason; one that is no longer needed is an error.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("config.rs", "std::fs", "`load` reads the file; `parse`, which does the work, is given its text"),
    ("config.rs", "std::io", "`load` reads no more of a file than is allowed"),
    ("config/schema.rs", "LazyLock", "the validator is compiled once, from constants"),
    ("report/fixture.rs", "ledger::Ledger", "tests only: the incident as it is remembered"),
    (
        "probe/dependency/judgement.rs",
        "net::dial",
        "why a host was not reached, as a value that is looked at",
    ),
    ("probe/expect.rs", "net::http", "the answer of an exchange, as a value that is looked at"),
];

/// Who may mention a word that begins with `spawn`, and what stands before it.
const SPAWNERS: &[(&str, &str, &str)] = &[
    ("tasks.rs", "", "the one place"),
    ("app.rs", "tasks.", "calls the one place"),
    ("fleet.rs", "tasks.", "calls the one place"),
    ("scheduler.rs", "tasks.", "calls the one place"),
    ("demo/application.rs", "connections.", "a `JoinSet` of connections to the stand-in, which joins them"),
    ("demo/database.rs", "connections.", "a `JoinSet` of connections to the stand-in, which joins them"),
];

#[test]
fn pure_modules_only_compute() {
    let mut used = Vec::new();
    let mut found = Vec::new();
    for path in PURE {
        let files = sources(&src().join(path));
        assert!(!files.is_empty(), "src/{path} is gone: mend the list");
        for file in files {
            let name = name(&file);
            let code = code(&fs::read_to_string(&file).unwrap());
            for needle in IMPURE.iter().filter(|needle| mentions(&code, needle)) {
                match EXCEPTIONS.iter().position(|(file, word, _)| *file == name && word == needle) {
                    Some(exception) => used.push(exception),
                    None => found.push(format!("src/{name} mentions `{needle}`")),
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    for (index, (file, word, _)) in EXCEPTIONS.iter().enumerate() {
        assert!(used.contains(&index), "the exception of {file} for `{word}` is not needed any more");
    }
}

/// A quote that is misread would hide the rest of a file from these tests.
#[test]
fn every_file_is_read_to_its_end() {
    for file in sources(&src()) {
        let text = fs::read_to_string(&file).unwrap();
        let code = code(&text);
        assert_eq!(code.matches('{').count(), code.matches('}').count(), "{}", name(&file));
    }
}

#[test]
fn one_place_spawns() {
    let mut found = Vec::new();
    for file in sources(&src()) {
        let name = name(&file);
        let code = code(&fs::read_to_string(&file).unwrap());
        for before in spawns(&code) {
            let allowed = |(file, prefix, _): &&(&str, &str, &str)| *file == name && before.ends_with(prefix);
            if SPAWNERS.iter().find(allowed).is_none() {
                found
                    .push(format!("src/{name} spawns: {}", before.lines().last().unwrap_or_default().trim()));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn these_tests_can_fail() {
    let sample = r##"
        //! tokio in words
        /* Mutex /* nested */ Mutex */
        const TEXT: &str = "std::fs \" spawn(";
        const RAW: &str = r#"reqwest " tracing"#;
        const QUOTE: char = '"';
        fn ends<'a>(spawned: &'a str) -> &'a str { let my_tokio = spawned; my_tokio }
        #[cfg(test)]
        mod tests { use std::env; }
    "##;
    let stripped = code(sample);
    let found: Vec<_> = IMPURE.iter().filter(|needle| mentions(&stripped, needle)).collect();
    assert_eq!(found, Vec::<&&str>::new(), "{stripped}");
    for (text, needle) in [
        ("use tokio::time;", "tokio"),
        ("let x = std :: fs\n::read(p);", "std::fs"),
        ("use std::{env, fs};", "std::{"),
        ("let c = '\"'; async fn f() {}", "async"),
        ("let t = jiff::Timestamp::now();", "Timestamp::now"),
        ("static A: std::sync::atomic::AtomicU64 = x;", "Atomic"),
    ] {
        assert!(mentions(&code(text), needle), "{text}");
    }
    let places = spawns("tokio::task::spawn_blocking(f); tasks.spawn(g); respawn(h); spawned");
    assert_eq!(places, ["tokio::task::", "tokio::task::spawn_blocking(f); tasks."]);
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Path below `src`, with slashes.
fn name(file: &Path) -> String {
    file.strip_prefix(src()).unwrap().to_str().unwrap().replace('\\', "/")
}

/// Every source file there, except those that hold only tests.
fn sources(path: &Path) -> Vec<PathBuf> {
    if path.is_file() {
        let is_test = path.ends_with("tests.rs") || path.ends_with("purity.rs");
        return if path.extension().is_some_and(|end| end == "rs") && !is_test {
            vec![path.to_owned()]
        } else {
            vec![]
        };
    }
    let Ok(entries) = fs::read_dir(path) else { return Vec::new() };
    let entries = entries.map(|entry| entry.unwrap().path()).filter(|path| !path.ends_with("tests"));
    entries.flat_map(|path| sources(&path)).collect()
}

/// Everything before each call of a function of the `spawn` family.
fn spawns(code: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let family = |rest: &str| {
        let word = rest.split(|c| !is_word(c)).next().unwrap_or_default();
        let is_call = rest[word.len()..].trim_start().starts_with(['(', ':', '<']);
        (word == "spawn" || word.starts_with("spawn_")) && is_call
    };
    code.match_indices("spawn")
        .filter(|(at, _)| !code[..*at].ends_with(is_word) && family(&code[*at..]))
        .map(|(at, _)| &code[..at])
        .collect()
}

/// Whether the code holds the needle between the borders of words, with any blanks around `::`. `Atomic` stands for
/// every word that begins so.
fn mentions(code: &str, needle: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let joined = code.split("::").map(str::trim).collect::<Vec<_>>().join("::");
    joined.match_indices(needle).any(|(at, _)| {
        let (before, after) = (&joined[..at], &joined[at + needle.len()..]);
        let ends = needle == "Atomic" || !needle.ends_with(is_word) || !after.starts_with(is_word);
        !before.ends_with(is_word) && ends
    })
}

/// The code without comments, without what stands in quotes, and without the tests at its end.
fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if let Some(hashes) =
            raw_string(rest).filter(|_| !out.ends_with(|c: char| c.is_alphanumeric()))
        {
            let end = format!("\"{}", "#".repeat(hashes));
            let open = rest.find('"').unwrap_or_default() + 1;
            rest[open..].find(&end).map_or(rest.len(), |at| open + at + end.len())
        } else if first == '"' {
            quoted(rest, '"')
        } else if first == '\'' && is_char(rest) {
            quoted(rest, '\'')
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        out.push(' ');
        rest = &rest[length..];
    }
    let tests = ["#[cfg(test)]\nmod tests {", "#[cfg(test)]\n        mod tests {"];
    let end = tests.iter().filter_map(|start| out.find(start)).min().unwrap_or(out.len());
    out.truncate(end);
    out
}

/// How many hashes a raw string begins with, if it is one.
fn raw_string(rest: &str) -> Option<usize> {
    let rest = rest.strip_prefix('b').unwrap_or(rest).strip_prefix('r')?;
    let bare = rest.trim_start_matches('#');
    bare.starts_with('"').then_some(rest.len() - bare.len())
}

/// A quote that begins a character, and not a lifetime.
fn is_char(rest: &str) -> bool {
    let mut chars = rest.chars().skip(1);
    matches!((chars.next(), chars.next()), (Some('\\'), _) | (_, Some('\'')))
}

/// The length of what is quoted, its quotes included.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, char) in rest.char_indices().skip(1) {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if char == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a block comment; they nest.
fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        let here = &rest[at..];
        if here.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if here.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += here.chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}
