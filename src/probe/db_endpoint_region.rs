//! `db_endpoint_region`: in which region is the database that the application is wired to? Pure; the database probe
//! brings the addresses.

use std::net::IpAddr;

use super::{Answer, Kind};
use crate::model::{Check, Fact, GapReason, Metric, Reason};
use crate::net::region::{RegionAnswer, RegionEvidence, Regions};

/// What the documentation says.
pub static KIND: Kind = Kind {
    check: Check::DbEndpointRegion,
    about: "The region that the application's database address is in. The address decides, by the longest prefix of \
            the configured networks, for all addresses of the name, resolved anew each time; a host name's suffix \
            counts only where no network holds the address. After login the server's own address outranks the dialled \
            one, so that a pooler hides nothing. Two regions are `ambiguous` and none is `unknown`: answers, not \
            guesses. While the server is down the last known region stays.",
    example: "regions:\n  us-east-1: {cidrs: [10.0.0.0/16]}\n  us-west-2: {cidrs: [10.1.0.0/16]}\nsystems:\n  - name: orders\n    databases:\n      - {name: orders, endpoint: {url: {file: /etc/orders/dsn}}, expected_regions: [us-west-2]}",
    metrics: &[&REGION, &MATCH],
    reasons: &[&[Reason::WrongRegion, Reason::Dns, Reason::Misconfigured]],
};

/// Every value of the `evidence` label.
pub const EVIDENCE: &[&str] =
    &["cidr", "server_address", "hostname", "node_topology", "cloud_api", "static", "none"];

/// The region as an info gauge.
pub static REGION: Metric = Metric::gauge(
    "dr_db_endpoint_region",
    &["site", "system", "db", "db_region", "expected_region", "evidence"],
    "Region of the database endpoint that the workload is wired to, always 1: a configured \
     region, unknown or ambiguous; the last known one stays while the server is down",
);

/// Whether it is an expected one.
pub static MATCH: Metric = Metric::gauge(
    "dr_db_endpoint_region_match",
    &["site", "system", "db"],
    "1 if the region of the database endpoint is an expected one; absent while it is unknown or \
     ambiguous; from a background check",
)
.withheld();

/// A region with what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The answer.
    pub region: RegionAnswer,
    /// On what it rests, as the label says it.
    pub evidence: &'static str,
    /// The addresses that were looked at.
    pub addresses: Vec<IpAddr>,
}

/// What is asked about a database.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The name of the database.
    pub db: &'a str,
    /// The regions in which it may be.
    pub regions: &'a [String],
}

// === impl Found ===

impl Found {
    /// Nothing is known.
    pub fn nothing() -> Self {
        Found {
            region: RegionAnswer::Unknown,
            evidence: RegionEvidence::None.as_str(),
            addresses: Vec::new(),
        }
    }

    /// By the addresses of hosts, each with its name: all of them must agree.
    pub fn by_addresses(regions: &Regions, hosts: &[(Option<String>, Vec<IpAddr>)]) -> Self {
        let mut found: Option<Found> = None;
        for (host, addresses) in hosts {
            let (region, evidence) = regions.of_addresses(host.as_deref(), addresses);
            let one = Found { region, evidence: evidence.as_str(), addresses: addresses.clone() };
            found = Some(match found {
                None => one,
                Some(before) => before.joined(one),
            });
        }
        found.unwrap_or_else(Found::nothing)
    }

    /// By the address that the server itself says it has, if a configured network holds it.
    pub fn by_server(regions: &Regions, server: IpAddr) -> Option<Self> {
        match regions.of_ip(server) {
            RegionAnswer::Unknown => None,
            region => Some(Found { region, evidence: "server_address", addresses: vec![server] }),
        }
    }

    fn joined(self, other: Found) -> Self {
        let mut addresses = self.addresses;
        addresses.extend(other.addresses);
        let region = match (self.region, other.region) {
            (a, b) if a == b => a,
            // One host whose region nobody knows makes the whole unknown, not ambiguous.
            (RegionAnswer::Unknown, _) | (_, RegionAnswer::Unknown) => RegionAnswer::Unknown,
            (a, b) => {
                let mut names = a.names();
                names.extend(b.names());
                names.sort();
                names.dedup();
                RegionAnswer::Ambiguous(names)
            }
        };
        Found { region, evidence: self.evidence, addresses }
    }

    /// The region as labels say it: its name, `ambiguous` or `unknown`.
    pub fn label(&self) -> &str {
        match &self.region {
            RegionAnswer::Known(name) => name,
            RegionAnswer::Ambiguous(_) => "ambiguous",
            RegionAnswer::Unknown => "unknown",
        }
    }
}

// === impl Expected ===

impl Expected<'_> {
    /// The info gauge.
    pub fn fact(&self, found: &Found) -> Fact {
        let mut expected = self.regions.to_vec();
        expected.sort();
        let expected = expected.join(",");
        let labels = [
            ("db", self.db),
            ("db_region", found.label()),
            ("expected_region", &expected),
            ("evidence", found.evidence),
        ];
        Fact::new(&REGION, &labels, 1.0)
    }

    /// The answer to what was found.
    pub fn answer(&self, found: &Found) -> Answer {
        let by = match found.evidence {
            "server_address" => " (by the server's own address)",
            "hostname" => " (by the name, no network holds the address)",
            _ => "",
        };
        let addresses: Vec<_> = found.addresses.iter().map(ToString::to_string).collect();
        let addresses = if addresses.is_empty() { "the endpoint".to_owned() } else { addresses.join(", ") };
        let expected = self.regions.join(" or ");
        let answer = match &found.region {
            RegionAnswer::Known(name) if self.regions.contains(name) => Answer::pass(format!(
                "{addresses} is in {name}{by}, as expected"
            ))
            .with([Fact::flag(&MATCH, &[("db", self.db)], true)]),
            RegionAnswer::Known(name) => Answer::fail(
                Reason::WrongRegion,
                format!("{addresses} is in {name}{by}, expected is {expected}"),
            )
            .with([Fact::flag(&MATCH, &[("db", self.db)], false)]),
            RegionAnswer::Ambiguous(names) => {
                let words = format!(
                    "{addresses} is in {}: nobody can tell which one the application gets",
                    names.join(" and ")
                );
                Answer::gap(GapReason::Ambiguous, words)
            }
            RegionAnswer::Unknown => {
                let words = format!("{addresses} is in none of the configured regions");
                Answer::gap(GapReason::NotFound, words)
            }
        };
        answer.with([self.fact(found)])
    }
}
