//! Credentials: a value that cannot be printed, and the four places that the configuration may name for one.
//!
//! A source is read anew at every attempt, so that a rotated credential is used at once and a stale one fails.
//! Only here is the environment read, and only the variable that the configuration names.

use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use tokio::io::AsyncReadExt;

use crate::model::GapReason;

pub use self::kubernetes::{KubernetesAccess, Secrets};

mod kubernetes;

/// The largest secret that we read: one MiB, which is also the largest object that Kubernetes stores.
const MAX_BYTES: u64 = 1 << 20;

/// A credential in memory; has no `Display` and no `Serialize`, is wiped when dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

/// Where the configuration says that a credential is; exactly one of `file`, `env`, `secret`, `value`.
#[derive(Clone, Debug, PartialEq)]
pub enum SecretSource {
    /// The content of a file, without one trailing line end.
    File(PathBuf),
    /// An environment variable of the exporter.
    Env(String),
    /// One key of a Kubernetes Secret.
    Kubernetes {
        /// The namespace of the Secret.
        namespace: String,
        /// The name of the Secret.
        name: String,
        /// The key in its `data`.
        key: String,
    },
    /// A literal in the configuration file; accepted with a warning.
    Value(Secret),
}

/// Why a credential could not be read: which source, what is wrong, what to do; never the content.
///
/// Always the exporter's own blindness, never the fault of the target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{from}: {why}")]
pub struct SecretError {
    /// The source as [`SecretSource::describe`] names it.
    pub from: String,
    /// What went wrong.
    pub why: String,
    /// Which kind of gap it leaves; `None` while the Kubernetes API is away, which is blindness, not a gap.
    pub gap: Option<GapReason>,
}

/// Why a source gives nothing: its kind and its sentence. What is not said otherwise is something that is not there.
struct Why(Option<GapReason>, String);

/// The mapping as it stands in the file, before exactly one key is demanded.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    /// A file that holds the credential; one trailing line end is dropped.
    #[serde(default)]
    file: Option<PathBuf>,
    /// The name of an environment variable of the exporter.
    #[serde(default)]
    env: Option<String>,
    /// One key of a Kubernetes Secret.
    #[serde(default)]
    secret: Option<RawReference>,
    /// The credential itself; accepted with a warning.
    #[serde(default)]
    value: Option<Secret>,
}

/// One key of a Kubernetes Secret.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawReference {
    /// The namespace of the Secret.
    namespace: String,
    /// The name of the Secret.
    name: String,
    /// The key in its `data`.
    key: String,
}

// === impl Secret ===

impl Secret {
    /// Takes the text in.
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// The text itself; for the wire only, never for a message, a log or a label.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Compares the texts; nobody who could time it may choose one side, so it need not take constant time.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // `deserialize_str` of a number would fail before the visitor is asked, with the number in the message.
        deserializer.deserialize_any(SecretVisitor)
    }
}

/// Takes text only. The stock errors of serde echo what they found, which here would be the credential.
struct SecretVisitor;

impl<'de> Visitor<'de> for SecretVisitor {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in quotes")
    }
    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::new(text))
    }
    fn visit_string<E: de::Error>(self, text: String) -> Result<Secret, E> {
        Ok(Secret::new(text))
    }
    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
        Err(E::custom("a credential must be a text: put it in quotes"))
    }
    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
        self.visit_bool(false)
    }
    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
        self.visit_bool(false)
    }
    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
        self.visit_bool(false)
    }
    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Secret, E> {
        self.visit_bool(false)
    }
}

// === impl Why ===

impl From<String> for Why {
    fn from(text: String) -> Self {
        Self(Some(GapReason::NotFound), text)
    }
}

impl Why {
    /// It cannot be seen at the moment.
    fn blind(text: String) -> Self {
        Self(None, text)
    }
}

// === impl SecretSource ===

impl SecretSource {
    /// Names the source without its content: `file /x`, `env NAME`, `secret ns/name key k`, `a literal`.
    pub fn describe(&self) -> String {
        match self {
            Self::File(path) => format!("file {}", path.display()),
            Self::Env(name) => format!("env {name}"),
            Self::Kubernetes { namespace, name, key } => format!("secret {namespace}/{name} key {key}"),
            Self::Value(_) => "a literal".to_owned(),
        }
    }

    /// Reads the credential now.
    ///
    /// # Errors
    /// [`SecretError`] when the source is not there, may not be read, is not UTF-8 or is larger than one MiB.
    pub async fn read(&self, secrets: &Secrets) -> Result<Secret, SecretError> {
        let read = match self {
            Self::File(path) => read_file(path).await,
            Self::Env(name) => read_env(name).map_err(Why::from),
            Self::Kubernetes { namespace, name, key } => secrets.get(namespace, name, key).await,
            Self::Value(secret) => Ok(secret.clone()),
        };
        read.map_err(|Why(gap, why)| SecretError { from: self.describe(), why, gap })
    }
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Raw { file, env, secret, value } = Raw::deserialize(deserializer)?;
        match (file, env, secret, value) {
            (Some(path), None, None, None) if path.as_os_str().is_empty() => {
                Err(de::Error::custom("`file` is empty: name the file that holds the credential"))
            }
            (None, Some(name), None, None) if name.is_empty() || name.contains(['=', '\0']) => {
                Err(de::Error::custom("`env` is not a name of a variable"))
            }
            (Some(path), None, None, None) => Ok(Self::File(path)),
            (None, Some(name), None, None) => Ok(Self::Env(name)),
            (None, None, Some(RawReference { namespace, name, key }), None) => {
                if [&namespace, &name, &key].iter().any(|part| part.is_empty() || part.contains('/')) {
                    return Err(de::Error::custom(
                        "`secret` needs a namespace, a name and a key, each without `/`",
                    ));
                }
                Ok(Self::Kubernetes { namespace, name, key })
            }
            (None, None, None, Some(value)) => Ok(Self::Value(value)),
            (None, None, None, None) => Err(de::Error::custom(
                "a credential needs one of `file`, `env`, `secret`, `value`; none is given",
            )),
            _ => Err(de::Error::custom(
                "a credential needs exactly one of `file`, `env`, `secret`, `value`; several are given",
            )),
        }
    }
}

async fn read_file(path: &Path) -> Result<Secret, Why> {
    // A fifo would hold a thread of the blocking pool until somebody writes to it.
    let metadata = tokio::fs::metadata(path).await.map_err(|error| io_reason(&error))?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned().into());
    }
    let file = tokio::fs::File::open(path).await.map_err(|error| io_reason(&error))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).await.map_err(|error| io_reason(&error))?;
    let mut secret = checked(bytes)?;
    // Editors and `echo` end a file with a line end that is no part of the password.
    for end in ["\r\n", "\n"] {
        if let Some(stripped) = secret.expose().strip_suffix(end) {
            secret = Secret::new(stripped);
            break;
        }
    }
    Ok(secret)
}

#[allow(clippy::disallowed_methods)] // The one place: the variable is named by the configuration.
fn read_env(name: &str) -> Result<Secret, String> {
    match std::env::var(name) {
        Ok(text) => Ok(Secret::new(text)),
        Err(std::env::VarError::NotPresent) => Err("the variable is not set".to_owned()),
        Err(std::env::VarError::NotUnicode(_)) => Err("the variable is not UTF-8".to_owned()),
    }
}

fn checked(bytes: Vec<u8>) -> Result<Secret, String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err("is larger than 1 MiB, so it is hardly a credential".to_owned());
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Secret::new(text)),
        Err(_) => Err("is not UTF-8".to_owned()),
    }
}

fn io_reason(error: &std::io::Error) -> Why {
    match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".to_owned().into(),
        std::io::ErrorKind::PermissionDenied => Why(
            Some(GapReason::Forbidden),
            "permission denied: the exporter's user may not read it".to_owned(),
        ),
        kind => format!("cannot be read: {kind}").into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    const CANARY: &str = "c4n4ry-hunter2";

    async fn read(source: &SecretSource) -> Result<Secret, SecretError> {
        source.read(&Secrets::new(KubernetesAccess::Disabled)).await
    }

    #[tokio::test]
    async fn a_file_loses_one_line_end_only() {
        for (content, expected) in [
            ("a", "a"),
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            (" a ", " a "),
            ("a\r", "a\r"),
            ("", ""),
        ] {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(content.as_bytes()).unwrap();
            let secret = read(&SecretSource::File(file.path().into())).await.unwrap();
            assert_eq!(secret.expose(), expected, "{content:?}");
        }
    }

    #[tokio::test]
    async fn a_file_is_read_anew_each_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let source = SecretSource::File(file.path().into());
        for text in ["one", "two"] {
            std::fs::write(file.path(), text).unwrap();
            assert_eq!(read(&source).await.unwrap().expose(), text);
        }
    }

    #[tokio::test]
    async fn errors_name_the_source_and_never_the_content() {
        let missing = read(&SecretSource::File("/nowhere/x".into())).await.unwrap_err();
        assert_eq!(missing.to_string(), "file /nowhere/x: does not exist");
        let folder = read(&SecretSource::File("/".into())).await.unwrap_err();
        assert_eq!(folder.to_string(), "file /: is not a regular file");
        let unset = read(&SecretSource::Env("DR_EXPORTER_NO_SUCH".into())).await.unwrap_err();
        assert_eq!(unset.to_string(), "env DR_EXPORTER_NO_SUCH: the variable is not set");

        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(CANARY.as_bytes()).unwrap();
        file.write_all(&[0xff]).unwrap();
        let binary = read(&SecretSource::File(file.path().into())).await.unwrap_err();
        assert!(binary.to_string().ends_with("is not UTF-8") && !binary.to_string().contains(CANARY));
        file.write_all(&vec![b'a'; MAX_BYTES as usize]).unwrap();
        let large = read(&SecretSource::File(file.path().into())).await.unwrap_err();
        assert!(large.to_string().contains("larger than 1 MiB"));
    }

    #[tokio::test]
    async fn an_environment_variable_is_taken_as_it_is() {
        assert!(!read(&SecretSource::Env("PATH".into())).await.unwrap().expose().is_empty());
    }

    #[test]
    fn debug_masks() {
        let source = SecretSource::Value(Secret::new(CANARY));
        assert_eq!(format!("{source:?}"), "Value([secret])");
        assert_eq!(source.describe(), "a literal");
    }

    #[test]
    fn exactly_one_key_is_demanded() {
        for (json, expected) in [
            (r#"{"file":"/x"}"#, "file /x"),
            (r#"{"env":"X"}"#, "env X"),
            (r#"{"secret":{"namespace":"n","name":"s","key":"k"}}"#, "secret n/s key k"),
            (r#"{"value":"v"}"#, "a literal"),
            (r#"{"value":"","file":null}"#, "a literal"),
        ] {
            assert_eq!(serde_json::from_str::<SecretSource>(json).unwrap().describe(), expected);
        }
        for (json, expected) in [
            (r#"{}"#, "none is given"),
            (r#"{"file":"/x","env":"X"}"#, "several are given"),
            (r#"{"fil":"/x"}"#, "unknown field `fil`"),
            (r#"{"file":""}"#, "`file` is empty"),
            (r#"{"env":"A=B"}"#, "not a name"),
            (r#"{"secret":{"namespace":"n","name":"s"}}"#, "missing field `key`"),
            (r#"{"secret":{"namespace":"n","name":"../s","key":"k"}}"#, "without `/`"),
        ] {
            let error = serde_json::from_str::<SecretSource>(json).unwrap_err().to_string();
            assert!(error.contains(expected), "{json}: {error}");
        }
    }

    #[test]
    fn a_number_as_a_literal_is_refused_without_echo() {
        for json in [r#"{"value":73571}"#, r#"{"value":-73571}"#, r#"{"value":73571.5}"#] {
            let error = serde_json::from_str::<SecretSource>(json).unwrap_err().to_string();
            assert!(error.contains("put it in quotes") && !error.contains("73571"), "{error}");
        }
    }
}
