//! One text for what is the same at two sites, and its hash. Pure.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::secret::Secret;

/// The names of the site itself, which stand for each other at two sites.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// Name of the site.
    pub name: &'a str,
    /// Its region.
    pub region: &'a str,
}

/// How texts become hashes.
#[derive(Clone, Debug, Default)]
pub struct Digest(Option<Secret>);

/// Bytes of a hash that are published.
const LENGTH: usize = 16;

// === impl Digest ===

impl Digest {
    /// By SHA-256.
    pub fn plain() -> Self {
        Digest(None)
    }

    /// By HMAC-SHA-256 with this key, if there is one that is not empty.
    pub fn keyed(key: Option<Secret>) -> Self {
        Digest(key.filter(|key| !key.expose().is_empty()))
    }

    /// Whether values that must not be guessed may be hashed.
    pub fn is_keyed(&self) -> bool {
        self.0.is_some()
    }

    /// The first 16 bytes in hex. The label says what is hashed, so that equal contents of different things differ.
    pub fn of(&self, label: &str, content: &str) -> String {
        let text = joined([label, content]);
        let hash = match &self.0 {
            None => Sha256::digest(text.as_bytes()).to_vec(),
            // HMAC takes keys of every length.
            Some(key) => Hmac::<Sha256>::new_from_slice(key.expose().as_bytes())
                .map(|mac| mac.chain_update(text.as_bytes()).finalize().into_bytes().to_vec())
                .unwrap_or_default(),
        };
        hash.iter().take(LENGTH).map(|byte| format!("{byte:02x}")).collect()
    }
}

// === impl Site ===

impl Site<'_> {
    /// The text with the site's own names replaced where they stand as words: `us-west-2` and `us-west-2a`, not
    /// `us-west-20`.
    pub fn neutral(&self, text: &str) -> String {
        // NUL cannot stand in a variable, so nobody's text is taken for a replacement.
        let mut names = [(self.region, "\0{region}"), (self.name, "\0{site}")];
        // The longer one first: a site is often named by its region.
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let [first, second] = names;
        replaced(&replaced(text, first), second)
    }
}

fn replaced(text: &str, (name, by): (&str, &str)) -> String {
    if name.is_empty() {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(name) {
        let (before, after) = (&rest[..at], &rest[at + name.len()..]);
        // A zone is its region and one letter.
        let zone = after.strip_prefix(|c: char| c.is_ascii_lowercase()).unwrap_or(after);
        let starts =
            !before.chars().next_back().or(out.chars().next_back()).is_some_and(char::is_alphanumeric);
        let ends = |rest: &str| !rest.starts_with(char::is_alphanumeric);
        let ended = ends(after) || (by == "\0{region}" && ends(zone));
        out.push_str(before);
        out.push_str(if starts && ended { by } else { name });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Parts as one text from which they can be told again: each with its length before it.
pub(super) fn joined<T: AsRef<str>>(parts: impl IntoIterator<Item = T>) -> String {
    let mut all = String::new();
    for part in parts {
        let part = part.as_ref();
        all.push_str(&part.len().to_string());
        all.push(':');
        all.push_str(part);
    }
    all
}

/// The name of a ConfigMap or Secret without the hash of its content that kustomize adds (`-8h2k9mf4dt`): it would differ
/// wherever a site's own names are in the content.
pub(super) fn plain_name(name: &str) -> &str {
    let letters = |end: &str| end.len() == 10 && end.chars().all(|c| "2456789bcdfghkmt".contains(c));
    name.rsplit_once('-')
        .filter(|(head, end)| !head.is_empty() && letters(end))
        .map_or(name, |(head, _)| head)
}

/// Whether a variable or a key looks as if it held a credential: by its name, or as a URL with a password.
pub(super) fn looks_secret(name: &str, value: &str) -> bool {
    const WORDS: &[&str] =
        &["pass", "pwd", "secret", "token", "credential", "apikey", "api_key", "private", "dsn", "auth"];
    let folded = |text: &str| text.to_ascii_lowercase();
    let (name, text) = (folded(name), folded(value));
    let in_url = text.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#', ' ']).next().unwrap_or_default();
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    });
    let assigned = WORDS.iter().any(|word| {
        text.match_indices(word).any(|(at, _)| {
            let after = text[at + word.len()..]
                .trim_start_matches(|c: char| c.is_alphanumeric() || "_-\"'".contains(c));
            after.trim_start().starts_with(['=', ':'])
        })
    });
    WORDS.iter().any(|word| name.contains(word)) || in_url || assigned || value.contains("PRIVATE KEY-----")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sites_own_names_are_replaced_as_words_only() {
        let west = Site { name: "dr-west", region: "us-west-2" };
        for (text, expected) in [
            ("db.us-west-2.example.com", "db.\0{region}.example.com"),
            ("us-west-2a,us-west-2b", "\0{region}a,\0{region}b"),
            ("us-west-20", "us-west-20"),
            ("xus-west-2", "xus-west-2"),
            ("us-west-2ab", "us-west-2ab"),
            ("dr-west/us-west-2", "\0{site}/\0{region}"),
            ("dr-westa", "dr-westa"),
            ("us-west-2us-west-2", "us-west-2us-west-2"),
        ] {
            assert_eq!(west.neutral(text), expected, "{text}");
        }
        let named = Site { name: "prod-us-west-2", region: "us-west-2" };
        assert_eq!(named.neutral("prod-us-west-2 in us-west-2"), "\0{site} in \0{region}");
        assert_eq!(Site { name: "", region: "" }.neutral("x"), "x");
    }

    #[test]
    fn names_by_kustomize_and_names_by_people() {
        for (name, plain) in [
            ("app-config-8h2k9mf4dt", "app-config"),
            ("app-config", "app-config"),
            ("app-8h2k9mf4dta", "app-8h2k9mf4dta"),
            ("-8h2k9mf4dt", "-8h2k9mf4dt"),
        ] {
            assert_eq!(plain_name(name), plain);
        }
    }

    #[test]
    fn what_looks_like_a_credential() {
        for (name, value) in [
            ("DB_PASSWORD", "x"),
            ("URL", "postgres://u:p@h/d"),
            ("CONFIG", "a: b\npassword: hunter2"),
            ("OPTIONS", "host:6379,password=x"),
            ("FILE", "{\"db_password\": \"x\"}"),
        ] {
            assert!(looks_secret(name, value), "{name}={value}");
        }
        for (name, value) in [
            ("LOG_LEVEL", "debug"),
            ("URL", "http://h:80/p"),
            ("MAIL", "a@example.com"),
            ("TEXT", "pass the salt"),
        ] {
            assert!(!looks_secret(name, value), "{name}={value}");
        }
    }

    #[test]
    fn a_key_changes_the_hash_and_an_empty_one_is_none() {
        let plain = Digest::plain().of("a", "b");
        assert_eq!(plain.len(), 32);
        assert_ne!(plain, Digest::plain().of("ab", ""));
        let keyed = Digest::keyed(Some(Secret::new("k")));
        assert_ne!(plain, keyed.of("a", "b"));
        assert_ne!(keyed.of("a", "b"), Digest::keyed(Some(Secret::new("l"))).of("a", "b"));
        assert!(!Digest::keyed(Some(Secret::new(""))).is_keyed());
    }
}
