//! Stand-in of the secret sources, with the shape that the configuration needs.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

/// A credential in memory: no `Display`, no `Serialize`, and a `Debug` that shows nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// Where a credential is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file, whole content without the last line end.
    File(PathBuf),
    /// An environment variable of the exporter.
    Env(String),
    /// One key of a Kubernetes Secret.
    Kubernetes {
        /// Namespace of the Secret.
        namespace: String,
        /// Name of the Secret.
        name: String,
        /// Key in its data.
        key: String,
    },
    /// A literal in the configuration file.
    Value(Secret),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKubernetes {
    namespace: String,
    name: String,
    key: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    file: Option<PathBuf>,
    env: Option<String>,
    secret: Option<RawKubernetes>,
    value: Option<String>,
}

// === impl Secret ===

impl Secret {
    /// Wraps a credential.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The credential itself, for the moment of its use.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[masked]")
    }
}

// === impl SecretSource ===

impl SecretSource {
    /// Where the credential comes from, without the credential.
    pub fn describe(&self) -> String {
        match self {
            Self::File(path) => format!("file {}", path.display()),
            Self::Env(name) => format!("environment variable {name}"),
            Self::Kubernetes { namespace, name, key } => format!("secret {namespace}/{name}, key {key}"),
            Self::Value(_) => "a literal in the configuration".to_owned(),
        }
    }
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Raw::deserialize(deserializer)?;
        match raw {
            Raw { file: Some(path), env: None, secret: None, value: None } => Ok(Self::File(path)),
            Raw { file: None, env: Some(name), secret: None, value: None } => Ok(Self::Env(name)),
            Raw { file: None, env: None, secret: Some(at), value: None } => {
                Ok(Self::Kubernetes { namespace: at.namespace, name: at.name, key: at.key })
            }
            Raw { file: None, env: None, secret: None, value: Some(text) } => {
                Ok(Self::Value(Secret::new(text)))
            }
            _ => Err(serde::de::Error::custom("exactly one of file, env, secret, value is needed")),
        }
    }
}
