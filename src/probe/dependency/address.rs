//! Where a dependency is, in the forms that applications write: `host:port`, URLs, lists of brokers. Pure.

use std::net::Ipv6Addr;

use percent_encoding::percent_decode_str;

use crate::config::{DependencyKind, HostPort};
use crate::model::GapReason;
use crate::secret::Secret;

/// An address, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Address {
    /// Its hosts in order; at least one.
    pub hosts: Vec<HostPort>,
    /// Redis is asked.
    pub redis: bool,
    /// By TLS.
    pub tls: bool,
    /// The application does not verify certificates, and says so in the address.
    pub insecure: bool,
    /// Who logs in.
    pub user: Option<String>,
    /// By what.
    pub password: Option<Secret>,
}

/// Why an address cannot be understood; holds nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{1}")]
pub struct AddressError(pub GapReason, pub &'static str);

/// What a scheme says: the port that it stands for, and whether by TLS. Lower case.
const SCHEMES: &[(&str, Option<u16>, bool)] = &[
    ("redis", Some(6379), false),
    ("rediss", Some(6379), true),
    ("valkey", Some(6379), false),
    ("valkeys", Some(6379), true),
    ("redis-sentinel", Some(26379), false),
    ("rediss-sentinel", Some(26379), true),
    ("amqp", Some(5672), false),
    ("amqps", Some(5671), true),
    ("kafka", Some(9092), false),
    ("plaintext", Some(9092), false),
    ("sasl_plaintext", Some(9092), false),
    ("sasl_ssl", Some(9093), true),
    ("nats", Some(4222), false),
    ("tls", Some(4222), true),
    ("http", Some(80), false),
    ("https", Some(443), true),
    ("ws", Some(80), false),
    ("wss", Some(443), true),
    ("memcached", Some(11211), false),
    ("memcache", Some(11211), false),
    ("mqtt", Some(1883), false),
    ("mqtts", Some(8883), true),
    ("stomp", Some(61613), false),
    ("pulsar", Some(6650), false),
    ("pulsar+ssl", Some(6651), true),
    ("mongodb", Some(27017), false),
    ("mysql", Some(3306), false),
    ("postgres", Some(5432), false),
    ("postgresql", Some(5432), false),
    ("ldap", Some(389), false),
    ("ldaps", Some(636), true),
    ("smtp", Some(25), false),
    ("smtps", Some(465), true),
    ("ssl", None, true),
    ("tcp", None, false),
];

/// Schemes whose address is no host and port.
const ELSEWHERE: &[&str] = &[
    "unix",
    "redis+unix",
    "redis+socket",
    "http+unix",
    "ipc",
    "file",
    "sqlite",
    "mongodb+srv",
    "sqs",
    "arn",
];

const NO_HOST: AddressError = AddressError(GapReason::Unparsable, "it names no host");
const NO_PORT: AddressError =
    AddressError(GapReason::Unparsable, "it names no port, and its scheme stands for none");
const BAD_PORT: AddressError = AddressError(GapReason::Unparsable, "its port is no number from 1 to 65535");
const BAD_HOST: AddressError = AddressError(GapReason::Unparsable, "its host is no name and no address");
const BAD_USER: AddressError = AddressError(GapReason::Unparsable, "its user or password is not UTF-8");
const NO_NETWORK: AddressError = AddressError(
    GapReason::Unsupported,
    "it is no host and port, so that nobody can connect to it from here",
);

// === impl Address ===

impl Address {
    /// Reads an address; the kind says more than the scheme.
    ///
    /// # Errors
    ///
    /// What is missing or cannot be understood, without any of the text.
    pub fn parse(text: &str, kind: DependencyKind) -> Result<Self, AddressError> {
        let text = unquoted(text.trim());
        let mut address =
            if text.contains("://") { Self::of_urls(text, kind)? } else { Self::of_list(text, kind)? };
        match kind {
            DependencyKind::Auto => {}
            DependencyKind::Tcp => (address.redis, address.tls) = (false, false),
            DependencyKind::Tls => (address.redis, address.tls) = (false, true),
            DependencyKind::Redis => address.redis = true,
        }
        if address.hosts.is_empty() { Err(NO_HOST) } else { Ok(address) }
    }

    fn empty() -> Self {
        Address { hosts: Vec::new(), redis: false, tls: false, insecure: false, user: None, password: None }
    }

    /// One URL, one URL with several hosts, or several URLs; the first one's user counts, as clients have it.
    fn of_urls(text: &str, kind: DependencyKind) -> Result<Self, AddressError> {
        let mut all = Self::empty();
        for url in urls(text) {
            let (scheme, rest) = url.split_once("://").unwrap_or_default();
            let scheme = scheme.trim().to_ascii_lowercase();
            if ELSEWHERE.contains(&scheme.as_str()) {
                return Err(NO_NETWORK);
            }
            let (_, port, tls) =
                SCHEMES.iter().find(|(known, _, _)| *known == scheme).copied().unwrap_or(("", None, false));
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (authority, options) = rest.split_at(end);
            let (user, hosts) = match authority.rsplit_once('@') {
                Some((user, hosts)) => (Some(user), hosts),
                None => (None, authority),
            };
            let redis = matches!(scheme.as_str(), "redis" | "rediss" | "valkey" | "valkeys");
            let default = port.or_else(|| default_port(kind));
            for host in hosts.split(',') {
                all.hosts.push(host_port(host, default)?);
            }
            let options = options.to_ascii_lowercase();
            let lax = ["ssl_cert_reqs=none", "ssl_cert_reqs=cert_none", "#insecure"];
            all.redis |= redis;
            all.tls |= tls;
            all.insecure |= lax.iter().any(|lax| options.contains(lax));
            if let (Some(user), None) = (user, &all.password) {
                all.log_in(user)?;
            }
        }
        Ok(all)
    }

    /// Hosts in a list, perhaps with options between them, as .NET's Redis client writes them.
    fn of_list(text: &str, kind: DependencyKind) -> Result<Self, AddressError> {
        let mut all = Self::empty();
        let (user, list) = match text.rsplit_once('@').filter(|_| !text.contains('=')) {
            Some((user, list)) => (Some(user), list),
            None => (None, text),
        };
        let mut options = Vec::new();
        let mut hosts = Vec::new();
        for item in list.split([',', ';', ' ', '\n', '\t']).map(str::trim).filter(|item| !item.is_empty()) {
            match item.split_once('=') {
                Some((key, value)) => options.push((key.to_ascii_lowercase(), value)),
                None => hosts.push(item.split('/').next().unwrap_or_default()),
            }
        }
        for (key, value) in options {
            match key.as_str() {
                "password" => all.password = Some(Secret::new(value)),
                "user" => all.user = Some(value.to_owned()),
                "ssl" => all.tls = value.eq_ignore_ascii_case("true"),
                _ => {}
            }
        }
        for host in hosts {
            all.hosts.push(host_port(host, default_port(kind))?);
        }
        if let Some(user) = user {
            all.log_in(user)?;
        }
        Ok(all)
    }

    /// `user:password`, `:password` or `user`, percent-encoded.
    fn log_in(&mut self, text: &str) -> Result<(), AddressError> {
        let decoded = |text: &str| {
            percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).map_err(|_| BAD_USER)
        };
        let (user, password) = match text.split_once(':') {
            Some((user, password)) => (user, Some(decoded(password)?)),
            None => (text, None),
        };
        self.user = Some(decoded(user)?).filter(|user| !user.is_empty());
        self.password = password.filter(|password| !password.is_empty()).map(Secret::new);
        Ok(())
    }
}

fn default_port(kind: DependencyKind) -> Option<u16> {
    match kind {
        DependencyKind::Redis => Some(6379),
        DependencyKind::Auto | DependencyKind::Tcp | DependencyKind::Tls => None,
    }
}

/// Values of variables keep the quotes of the file that they were copied from.
fn unquoted(text: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote)) {
            return inner;
        }
    }
    text
}

/// Splits at commas behind which another URL begins.
fn urls(text: &str) -> Vec<&str> {
    let is_scheme = |text: &str| {
        let head = text.trim_start().split_once("://").map(|(head, _)| head);
        head.is_some_and(|head| {
            !head.is_empty() && head.chars().all(|c| c.is_ascii_alphanumeric() || "+.-_".contains(c))
        })
    };
    let mut urls = Vec::new();
    let mut begun = 0;
    for (at, _) in text.match_indices(',') {
        if is_scheme(&text[at + 1..]) {
            urls.push(text[begun..at].trim());
            begun = at + 1;
        }
    }
    urls.push(text[begun..].trim());
    urls
}

fn host_port(text: &str, default: Option<u16>) -> Result<HostPort, AddressError> {
    let text = text.trim();
    let (host, port) = if let Some(inner) = text.strip_prefix('[') {
        let (host, rest) = inner.split_once(']').ok_or(BAD_HOST)?;
        host.parse::<Ipv6Addr>().map_err(|_| BAD_HOST)?;
        match rest {
            "" => (host, None),
            rest => (host, Some(rest.strip_prefix(':').ok_or(BAD_HOST)?)),
        }
    } else if text.parse::<Ipv6Addr>().is_ok() {
        (text, None)
    } else {
        let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        match host {
            "" => return Err(NO_HOST),
            host if !host.chars().all(allowed) => return Err(BAD_HOST),
            host => (host, port),
        }
    };
    let port = match port {
        None => default.ok_or(NO_PORT)?,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(BAD_PORT)?,
    };
    Ok(HostPort { host: host.to_owned(), port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Address, AddressError> {
        Address::parse(text, DependencyKind::Auto)
    }

    fn hosts(address: &Address) -> String {
        let hosts = address.hosts.iter().map(|HostPort { host, port }| format!("{host} {port}"));
        hosts.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn every_form_that_applications_write() {
        for (text, expected, redis, tls) in [
            ("cache:6379", "cache 6379", false, false),
            ("redis://cache", "cache 6379", true, false),
            ("REDIS://cache:6380/0", "cache 6380", true, false),
            ("rediss://u:p@cache.example.com/2?x=y", "cache.example.com 6379", true, true),
            ("redis://:p%40s,s@[2001:db8::1]:6380", "2001:db8::1 6380", true, false),
            ("redis://[::1]", "::1 6379", true, false),
            ("amqp://u:p@mq/vhost", "mq 5672", false, false),
            ("amqps://mq", "mq 5671", false, true),
            ("amqp://u:p@a:1,b:2/vhost", "a 1, b 2", false, false),
            ("amqp://u:p@a/v, amqp://u:p@b:9/v", "a 5672, b 9", false, false),
            ("SASL_SSL://b1:9092,SASL_SSL://b2:9093", "b1 9092, b2 9093", false, true),
            ("kafka://b1,b2:9093", "b1 9092, b2 9093", false, false),
            ("b1:9092,b2:9092 , b3:9092", "b1 9092, b2 9092, b3 9092", false, false),
            ("m1:11211 m2:11211;m3:11211", "m1 11211, m2 11211, m3 11211", false, false),
            ("nats://n1:4222,nats://n2:4222", "n1 4222, n2 4222", false, false),
            ("https://api.example.com/a,b?c=http://x", "api.example.com 443", false, true),
            ("http://10.0.0.1:8080", "10.0.0.1 8080", false, false),
            ("cache:6379/0", "cache 6379", false, false),
            ("cache:6379,password=x=,ssl=True,abortConnect=false", "cache 6379", false, true),
            ("\"redis://cache:1\"", "cache 1", true, false),
            ("grpc://svc:50051", "svc 50051", false, false),
        ] {
            let address = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!((&*hosts(&address), address.redis, address.tls), (expected, redis, tls), "{text}");
        }
    }

    #[test]
    fn what_cannot_be_read_says_why_and_never_what() {
        for (text, gap) in [
            ("", GapReason::Unparsable),
            ("redis://", GapReason::Unparsable),
            ("cache", GapReason::Unparsable),
            ("tcp://cache", GapReason::Unparsable),
            ("cache:0", GapReason::Unparsable),
            ("cache:65536", GapReason::Unparsable),
            ("cache:x", GapReason::Unparsable),
            ("$(CACHE_HOST):6379", GapReason::Unparsable),
            ("redis://c4n4ry:6379:6379", GapReason::Unparsable),
            ("redis://:c4n4ry/x@cache", GapReason::Unparsable),
            ("redis://:%ff@cache", GapReason::Unparsable),
            ("[::1", GapReason::Unparsable),
            ("[x]:1", GapReason::Unparsable),
            ("a:1,,b", GapReason::Unparsable),
            ("unix:///run/redis.sock", GapReason::Unsupported),
            ("mongodb+srv://cluster.example.com", GapReason::Unsupported),
        ] {
            let error = read(text).expect_err(text);
            assert_eq!(error.0, gap, "{text}");
            assert!(!error.to_string().contains("c4n4ry"), "{error}");
        }
    }

    #[test]
    fn who_logs_in() {
        for (text, user, password) in [
            ("redis://cache", None, None),
            ("redis://:p%2Fw@cache", None, Some("p/w")),
            ("redis://u:p@cache", Some("u"), Some("p")),
            ("redis://u@cache", Some("u"), None),
            ("redis://u:a@b@cache", Some("u"), Some("a@b")),
            ("u:p@cache:6379", Some("u"), Some("p")),
            ("cache:6379,user=u,password=p", Some("u"), Some("p")),
        ] {
            let address = read(text).unwrap();
            let seen = (address.user.as_deref(), address.password.as_ref().map(Secret::expose));
            assert_eq!(seen, (user, password), "{text}");
        }
        assert!(!format!("{:?}", read("redis://:c4n4ry@cache")).contains("c4n4ry"));
    }

    #[test]
    fn the_kind_says_more_than_the_scheme() {
        let of = |text, kind| Address::parse(text, kind).map(|address| (address.redis, address.tls));
        assert_eq!(of("cache", DependencyKind::Redis), Ok((true, false)));
        assert_eq!(of("rediss://cache", DependencyKind::Redis), Ok((true, true)));
        assert_eq!(of("rediss://cache", DependencyKind::Tcp), Ok((false, false)));
        assert_eq!(of("b:9093", DependencyKind::Tls), Ok((false, true)));
        assert!(read("rediss://h?ssl_cert_reqs=CERT_NONE").unwrap().insecure);
        assert!(read("rediss://h/#insecure").unwrap().insecure);
        assert!(!read("rediss://h").unwrap().insecure);
    }
}
