//! Single values: ports, hosts, switches, modes.

use std::path::PathBuf;

use super::{DsnError, DsnForm, Host, SslMode, TargetSessionAttrs};

/// A port: 1 to 65535, digits only.
pub(super) fn port(text: &str, name: &str) -> Result<u16, DsnError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(DsnError::new(format!("`{name}` is not a port number"))),
    }
}

/// `host`, `host:port`, `[v6]`, `[v6]:port`; a bare IPv6 address is a host.
pub(super) fn split_port(text: &str) -> Result<(&str, Option<u16>), DsnError> {
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok((text, None));
    }
    let (host, rest) = match text.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((inner, rest)) => {
            if inner.parse::<std::net::Ipv6Addr>().is_err() {
                return Err(DsnError::new("what stands in brackets is not an IPv6 address"));
            }
            (inner, rest)
        }
        None => text.split_at(text.find(':').unwrap_or(text.len())),
    };
    match rest.strip_prefix(':') {
        None if rest.is_empty() => Ok((host, None)),
        None => Err(DsnError::new("after `]` only a port may stand")),
        Some("") => Ok((host, None)),
        Some(digits) => Ok((host, Some(port(digits, "port")?))),
    }
}

/// Only what can be dialled: whatever else stands there is a sign that the string was misread.
pub(super) fn host(text: &str) -> Option<Host> {
    if text.starts_with('/') || (text.starts_with('@') && text.len() > 1) {
        return Some(Host::Unix(PathBuf::from(text)));
    }
    if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse() {
        return Some(Host::Ip(ip));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    (text.len() <= 254 && text.chars().all(plain) && text.chars().any(|c| c.is_ascii_alphanumeric()))
        .then(|| Host::Name(text.to_owned()))
}

pub(super) fn boolean(name: &str, value: &str) -> Result<bool, DsnError> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" | "t" | "enable" => Ok(true),
        "false" | "0" | "no" | "off" | "f" | "disable" => Ok(false),
        _ => Err(DsnError::new(format!("the value of `{name}` is neither true nor false"))),
    }
}

/// libpq is exact; the others have enums that ignore case and separators.
pub(super) fn ssl_mode(form: DsnForm, value: &str) -> Option<SslMode> {
    let known = [
        SslMode::Disable,
        SslMode::Allow,
        SslMode::Prefer,
        SslMode::Require,
        SslMode::VerifyCa,
        SslMode::VerifyFull,
    ];
    known.into_iter().find(|mode| same_word(form, mode.as_str(), value))
}

pub(super) fn target(form: DsnForm, value: &str) -> Option<TargetSessionAttrs> {
    use TargetSessionAttrs as T;
    let libpq = [T::Any, T::ReadWrite, T::ReadOnly, T::Primary, T::Standby, T::PreferStandby];
    if let Some(attrs) = libpq.into_iter().find(|attrs| same_word(form, attrs.as_str(), value)) {
        return Some(attrs);
    }
    let drivers = [
        ("master", T::Primary),
        ("slave", T::Standby),
        ("secondary", T::Standby),
        ("prefer-slave", T::PreferStandby),
        ("prefer-secondary", T::PreferStandby),
        ("prefer-primary", T::PreferPrimary),
    ];
    let known = drivers.into_iter().find(|(word, _)| same_word(form, word, value));
    known.filter(|_| matches!(form, DsnForm::Jdbc | DsnForm::R2dbc | DsnForm::Npgsql)).map(|(_, attrs)| attrs)
}

fn same_word(form: DsnForm, word: &str, value: &str) -> bool {
    match form {
        DsnForm::Url | DsnForm::KeyValue | DsnForm::Parts => word == value,
        DsnForm::Jdbc | DsnForm::R2dbc | DsnForm::Npgsql => {
            let plain = |text: &str| text.replace(['-', '_', ' '], "").to_ascii_lowercase();
            plain(word) == plain(value)
        }
    }
}
