//! Names to addresses, asked anew every time.
//!
//! Both ways go through hickory-resolver, not through `getaddrinfo`: that one holds a thread of tokio's blocking pool
//! until it ends and cannot be aborted, so that a dead name server and a thousand targets would exhaust the pool that
//! reads secrets, too. Dropping a hickory lookup ends it. The price: of the system's sources only `/etc/resolv.conf`
//! and `/etc/hosts` are respected, no other NSS module; inside a pod there is none.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::read_system_conf;

use super::dial::Fault;
use crate::model::Reason;

/// How long one name server gets for one question; there are two attempts.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks names up; holds no answer from one call to the next.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    servers: Vec<SocketAddr>,
}

// === impl Resolver ===

impl Resolver {
    /// Asks these name servers only; with none, does as the system is configured.
    pub fn new(servers: Vec<SocketAddr>) -> Self {
        Self { servers }
    }

    /// All addresses of a name, IPv4 first, none twice; a literal is its own address.
    ///
    /// # Errors
    /// [`Fault`] with `dns`; ours when the system's configuration cannot be read.
    pub async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, Fault> {
        if let Ok(ip) = name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Ok(vec![ip.to_canonical()]);
        }
        let found = match self.build()?.lookup_ip(name).await {
            Ok(found) => found,
            Err(error) if error.is_nx_domain() => {
                return Err(Fault::theirs(Reason::Dns, format!("{name} does not exist")));
            }
            Err(error) if error.is_no_records_found() => {
                return Err(Fault::theirs(Reason::Dns, format!("{name} has no address")));
            }
            Err(_) => {
                return Err(Fault::theirs(Reason::Dns, format!("no name server gave an answer for {name}")));
            }
        };
        let mut addresses: Vec<IpAddr> = Vec::new();
        for ip in found.iter().map(|ip| ip.to_canonical()) {
            if !addresses.contains(&ip) {
                addresses.push(ip);
            }
        }
        addresses.sort_by_key(IpAddr::is_ipv6);
        if addresses.is_empty() {
            return Err(Fault::theirs(Reason::Dns, format!("{name} has no address")));
        }
        Ok(addresses)
    }

    /// Built for every lookup: the files are read again, no connection and no memory of a name server is kept.
    fn build(&self) -> Result<TokioResolver, Fault> {
        let broken =
            || Fault::ours(Reason::Internal, "the resolver cannot be set up: is /etc/resolv.conf readable?");
        let (config, mut options) = if self.servers.is_empty() {
            // Without the file (a scratch image) the hosts file still works.
            read_system_conf().unwrap_or_else(|_| (ResolverConfig::default(), ResolverOpts::default()))
        } else {
            let servers = self.servers.iter().map(|server| {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = server.port();
                    connection
                });
                NameServerConfig::new(server.ip(), true, connections.into())
            });
            let mut options = ResolverOpts::default();
            options.use_hosts_file = ResolveHosts::Never;
            (ResolverConfig::from_parts(None, Vec::new(), servers.collect()), options)
        };
        options.cache_size = 0;
        options.timeout = PATIENCE;
        options.attempts = 2;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        builder.with_options(options).build().map_err(|_| broken())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UdpSocket;

    /// Answers the next questions: type A with the given address, type AAAA with nothing.
    async fn answer(socket: &UdpSocket, address: Option<[u8; 4]>) {
        let mut buffer = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let end = 12 + buffer[12..length].iter().position(|byte| *byte == 0).unwrap() + 5;
            let is_a = buffer[end - 3] == 1;
            let mut reply = buffer[..end].to_vec();
            let code = if address.is_none() { 3 } else { 0 };
            reply[2..12].copy_from_slice(&[
                0x85,
                code,
                0,
                1,
                0,
                u8::from(is_a && address.is_some()),
                0,
                0,
                0,
                0,
            ]);
            if let (true, Some(address)) = (is_a, address) {
                reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4]);
                reply.extend(address);
            }
            socket.send_to(&reply, from).await.unwrap();
        }
    }

    #[tokio::test]
    async fn nothing_is_remembered_between_two_lookups() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let resolver = Resolver::new(vec![socket.local_addr().unwrap()]);
        for address in [[10, 0, 0, 1], [10, 1, 0, 1]] {
            let found = tokio::select! {
                found = resolver.lookup("db.example.") => found.unwrap(),
                () = answer(&socket, Some(address)) => unreachable!(),
            };
            assert_eq!(found, [IpAddr::from(address)]);
        }
        let error = tokio::select! {
            found = resolver.lookup("db.example.") => found.unwrap_err(),
            () = answer(&socket, None) => unreachable!(),
        };
        assert_eq!((error.reason, error.message.as_str()), (Reason::Dns, "db.example. does not exist"));
    }

    #[tokio::test]
    async fn literals_and_the_hosts_file() {
        let resolver = Resolver::default();
        assert_eq!(
            resolver.lookup("::ffff:10.0.0.1").await.unwrap(),
            ["10.0.0.1".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(resolver.lookup("[::1]").await.unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
        assert!(resolver.lookup("localhost").await.unwrap().contains(&"127.0.0.1".parse().unwrap()));
    }
}
