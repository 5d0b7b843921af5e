//! A name server on UDP whose answers a test changes while it runs (RFC 1035, sections 4.1.1 to 4.1.3).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::net::UdpSocket;

use super::http::Task;

/// What a name answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These addresses: A and AAAA records, as asked for.
    Addresses(Vec<IpAddr>),
    /// An alias; followed inside the server as far as it knows the names.
    Alias(String),
    /// NXDOMAIN.
    NoSuchName,
    /// SERVFAIL.
    Failure,
    /// No answer at all.
    Silence,
}

/// A small authoritative server; names it does not know are NXDOMAIN. Records live for `ttl` seconds.
pub struct FakeDns {
    address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
    _task: Task,
}

#[derive(Default)]
struct Zone {
    names: BTreeMap<String, Answer>,
    ttl: u32,
    asked: BTreeMap<String, usize>,
}

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;

// === impl FakeDns ===

impl FakeDns {
    /// Starts empty on a free UDP port of `ip`, TTL 0.
    pub async fn start(ip: IpAddr) -> Self {
        let socket = UdpSocket::bind((ip, 0)).await.expect("a free UDP port");
        let address = socket.local_addr().expect("a bound address");
        let zone: Arc<Mutex<Zone>> = Arc::default();
        let served = Arc::clone(&zone);
        let task = Task::spawn(async move {
            let mut buffer = [0; 1500];
            loop {
                let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
                let reply = served.lock().unwrap().reply(&buffer[..length]);
                if let Some(reply) = reply {
                    drop(socket.send_to(&reply, from).await);
                }
            }
        });
        Self { address, zone, _task: task }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What `name` answers from now on.
    pub fn set(&self, name: &str, answer: Answer) {
        self.zone.lock().unwrap().names.insert(canonical(name), answer);
    }

    /// Shorthand for one or more addresses.
    pub fn addresses(&self, name: &str, addresses: &[IpAddr]) {
        self.set(name, Answer::Addresses(addresses.to_vec()));
    }

    /// Shorthand for an alias.
    pub fn alias(&self, name: &str, target: &str) {
        self.set(name, Answer::Alias(target.to_owned()));
    }

    /// The TTL of every record from now on, in seconds.
    pub fn ttl(&self, seconds: u32) {
        self.zone.lock().unwrap().ttl = seconds;
    }

    /// How many questions it got for a name, of any type.
    pub fn asked(&self, name: &str) -> usize {
        self.zone.lock().unwrap().asked.get(&canonical(name)).copied().unwrap_or(0)
    }
}

// === impl Zone ===

impl Zone {
    fn reply(&mut self, query: &[u8]) -> Option<Vec<u8>> {
        let (name, end) = read_name(query)?;
        let question = query.get(12..end + 4)?;
        let kind = u16::from_be_bytes([*query.get(end)?, *query.get(end + 1)?]);
        *self.asked.entry(name.clone()).or_default() += 1;

        let mut records = Vec::new();
        let mut owner = name;
        let mut code = 0;
        // Eight hops: a loop of aliases ends as a chain without an address, as from a real server.
        for _ in 0..8 {
            match self.names.get(&owner) {
                Some(Answer::Silence) => return None,
                Some(Answer::Failure) => code = 2,
                Some(Answer::NoSuchName) => code = 3,
                // An alias that leaves the zone is for the resolver to follow.
                None => code = if records.is_empty() { 3 } else { 0 },
                Some(Answer::Alias(target)) => {
                    let target = canonical(target);
                    records.push(self.record(&owner, CNAME, &pack_name(&target)));
                    owner = target;
                    continue;
                }
                Some(Answer::Addresses(addresses)) => {
                    for address in addresses {
                        match address {
                            IpAddr::V4(v4) if kind == A => records.push(self.record(&owner, A, &v4.octets())),
                            IpAddr::V6(v6) if kind == AAAA => {
                                records.push(self.record(&owner, AAAA, &v6.octets()));
                            }
                            IpAddr::V4(_) | IpAddr::V6(_) => {}
                        }
                    }
                }
            }
            break;
        }

        // Response, authoritative, recursion desired and available.
        let mut reply = vec![query[0], query[1], 0x85, 0x80 | code, 0, 1];
        reply.extend(u16::try_from(records.len()).ok()?.to_be_bytes());
        reply.extend([0; 4]);
        reply.extend(question);
        reply.extend(records.concat());
        Some(reply)
    }

    fn record(&self, owner: &str, kind: u16, data: &[u8]) -> Vec<u8> {
        let mut record = pack_name(owner);
        record.extend(kind.to_be_bytes());
        record.extend(1_u16.to_be_bytes());
        record.extend(self.ttl.to_be_bytes());
        record.extend(u16::try_from(data.len()).expect("short data").to_be_bytes());
        record.extend(data);
        record
    }
}

/// The name of the first question, and the offset behind it. A query's name is not compressed.
fn read_name(query: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            return Some((canonical(&labels.join(".")), at));
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).into_owned());
        at += length;
    }
}

fn pack_name(name: &str) -> Vec<u8> {
    let mut packed = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        packed.push(u8::try_from(label.len()).expect("a label of at most 63 bytes"));
        packed.extend(label.as_bytes());
    }
    packed.push(0);
    packed
}

fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
