//! `dr-exporter hash-password`: not every machine has `htpasswd`, and every one that needs the hash has this program.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _};
use std::process::ExitCode;

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use super::{BAD_CONFIG, complain, say};

/// What one login costs: some tens of milliseconds. The next step doubles it.
const COST: u32 = 10;
/// bcrypt looks at no more bytes than these, one of which ends the text.
const LONGEST: usize = 71;

/// Reads one line from standard input, which is not shown if it is typed, and prints its hash.
pub fn hash_password() -> ExitCode {
    match read().and_then(|password| hash(&password)) {
        Ok(hash) => {
            say(&hash);
            ExitCode::SUCCESS
        }
        Err(why) => {
            complain(&why);
            ExitCode::from(BAD_CONFIG)
        }
    }
}

fn hash(password: &str) -> Result<String, String> {
    match password.len() {
        0 => Err("the password is empty".to_owned()),
        length if length > LONGEST => {
            Err(format!("the password is longer than {LONGEST} bytes, beyond which bcrypt does not look"))
        }
        _ => bcrypt::hash(password, COST).map_err(|error| format!("the password cannot be hashed: {error}")),
    }
}

/// Without the end of its line.
fn read() -> Result<String, String> {
    let input = io::stdin();
    let shown = input.is_terminal().then(|| tcgetattr(&input).ok()).flatten();
    if let Some(mut hidden) = shown.clone() {
        complain("Password (it is not shown):");
        hidden.local_modes.remove(LocalModes::ECHO);
        // What is typed is shown then, which its owner sees.
        let _ = tcsetattr(&input, OptionalActions::Flush, &hidden);
    }
    let mut line = Vec::new();
    let read = input.lock().take(4096).read_until(b'\n', &mut line);
    if let Some(shown) = shown {
        let _ = tcsetattr(&input, OptionalActions::Now, &shown);
    }
    read.map_err(|error| format!("no password could be read: {error}"))?;
    let line = String::from_utf8(line).map_err(|_| "the password is not UTF-8 text".to_owned())?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_one_that_is_let_in() {
        let made = hash("correct horse").unwrap();
        assert!(bcrypt::verify("correct horse", &made).unwrap() && made.starts_with("$2b$10$"), "{made}");
        assert_eq!(hash("").unwrap_err(), "the password is empty");
        assert!(hash(&"x".repeat(72)).unwrap_err().contains("longer than 71 bytes"));
        assert!(hash(&"x".repeat(71)).is_ok());
    }
}
