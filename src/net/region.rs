//! Which region an address is in. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

/// What belongs to one region, as the configuration names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegionMembers {
    /// The networks.
    pub cidrs: Vec<IpNet>,
    /// Ends of host names, with or without the leading dot.
    pub host_suffixes: Vec<String>,
}

/// All regions that are known.
#[derive(Clone, Debug, Default)]
pub struct Regions {
    cidrs: Vec<(IpNet, String)>,
    suffixes: Vec<(String, String)>,
}

/// The region of an address; not knowing is an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RegionAnswer {
    /// Exactly this one.
    Known(String),
    /// More than one; sorted, at least two.
    Ambiguous(Vec<String>),
    /// None, or not of every address.
    Unknown,
}

/// What an answer rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionEvidence {
    /// The networks hold every address.
    Cidr,
    /// At least one address is only placed by the name.
    Hostname,
    /// Nothing.
    None,
}

// === impl RegionAnswer ===

impl RegionAnswer {
    /// The regions that are spoken of.
    pub fn names(self) -> Vec<String> {
        match self {
            RegionAnswer::Known(name) => vec![name],
            RegionAnswer::Ambiguous(names) => names,
            RegionAnswer::Unknown => Vec::new(),
        }
    }
}

// === impl Regions ===

impl Regions {
    /// Takes the regions by name.
    pub fn new(regions: impl IntoIterator<Item = (String, RegionMembers)>) -> Self {
        let mut all = Self::default();
        for (name, RegionMembers { cidrs, host_suffixes }) in regions {
            all.cidrs.extend(cidrs.into_iter().map(|cidr| (canonical(cidr.trunc()), name.clone())));
            all.suffixes.extend(host_suffixes.iter().map(|suffix| (plain_name(suffix), name.clone())));
        }
        all.suffixes.retain(|(suffix, _)| !suffix.is_empty());
        all
    }

    /// Whether no region is configured at all.
    pub fn is_empty(&self) -> bool {
        self.cidrs.is_empty() && self.suffixes.is_empty()
    }

    /// The region whose network holds the address most narrowly; two with the same prefix are ambiguous.
    pub fn of_ip(&self, ip: IpAddr) -> RegionAnswer {
        let ip = ip.to_canonical();
        let holding = self.cidrs.iter().filter(|(cidr, _)| cidr.contains(&ip));
        longest(holding.map(|(cidr, name)| (usize::from(cidr.prefix_len()), name)))
    }

    /// The region that the name speaks of, by the longest end that fits.
    pub fn of_host(&self, host: &str) -> RegionAnswer {
        let host = plain_name(host);
        let fits = |suffix: &str| {
            host.strip_suffix(suffix).is_some_and(|head| head.is_empty() || head.ends_with('.'))
        };
        let fitting = self.suffixes.iter().filter(|(suffix, _)| fits(suffix));
        longest(fitting.map(|(suffix, name)| (suffix.len(), name)))
    }

    /// The region of all addresses of one endpoint: every one must be placed, and in the same region.
    ///
    /// The name counts only for addresses that no network holds, and alone when there is no address.
    pub fn of_addresses(&self, host: Option<&str>, ips: &[IpAddr]) -> (RegionAnswer, RegionEvidence) {
        let by_name = || host.map_or(RegionAnswer::Unknown, |host| self.of_host(host));
        let mut answers: Vec<RegionAnswer> = ips.iter().map(|ip| self.of_ip(*ip)).collect();
        let mut evidence = RegionEvidence::Cidr;
        if answers.is_empty() {
            answers.push(RegionAnswer::Unknown);
        }
        for answer in answers.iter_mut().filter(|answer| **answer == RegionAnswer::Unknown) {
            *answer = by_name();
            evidence = RegionEvidence::Hostname;
        }
        let mut names = BTreeSet::new();
        let mut gap = false;
        for answer in answers {
            match answer {
                RegionAnswer::Known(name) => drop(names.insert(name)),
                RegionAnswer::Ambiguous(several) => names.extend(several),
                RegionAnswer::Unknown => gap = true,
            }
        }
        // Two regions stay two whatever the unplaced address turns out to be.
        match RegionAnswer::of_names(names) {
            RegionAnswer::Ambiguous(several) => (RegionAnswer::Ambiguous(several), evidence),
            RegionAnswer::Known(name) if !gap => (RegionAnswer::Known(name), evidence),
            RegionAnswer::Known(_) | RegionAnswer::Unknown => (RegionAnswer::Unknown, RegionEvidence::None),
        }
    }
}

// === impl RegionAnswer ===

impl RegionAnswer {
    fn of_names(names: BTreeSet<String>) -> Self {
        let mut names: Vec<String> = names.into_iter().collect();
        match names.len() {
            0 => Self::Unknown,
            1 => names.pop().map_or(Self::Unknown, Self::Known),
            _ => Self::Ambiguous(names),
        }
    }
}

// === impl RegionEvidence ===

impl RegionEvidence {
    /// The value of the `evidence` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cidr => "cidr",
            Self::Hostname => "hostname",
            Self::None => "none",
        }
    }
}

fn longest<'a>(candidates: impl Iterator<Item = (usize, &'a String)> + Clone) -> RegionAnswer {
    let best = candidates.clone().map(|(length, _)| length).max();
    let names = candidates.filter(|(length, _)| Some(*length) == best).map(|(_, name)| name.clone());
    RegionAnswer::of_names(names.collect())
}

/// A network of IPv4-mapped addresses is one of IPv4 (RFC 4291, 2.5.5.2).
fn canonical(net: IpNet) -> IpNet {
    match (net.addr().to_canonical(), net.prefix_len().checked_sub(96), net.addr().is_ipv6()) {
        (IpAddr::V4(ip), Some(prefix), true) => Ipv4Net::new(ip, prefix).map_or(net, IpNet::V4),
        _ => net,
    }
}

fn plain_name(name: &str) -> String {
    name.trim().trim_start_matches('.').trim_end_matches('.').to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn regions(list: &[(&str, &[&str], &[&str])]) -> Regions {
        Regions::new(list.iter().map(|(name, cidrs, suffixes)| {
            let cidrs = cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
            let host_suffixes = suffixes.iter().map(|suffix| (*suffix).to_owned()).collect();
            ((*name).to_owned(), RegionMembers { cidrs, host_suffixes })
        }))
    }

    fn known(name: &str) -> RegionAnswer {
        RegionAnswer::Known(name.to_owned())
    }

    fn both() -> RegionAnswer {
        RegionAnswer::Ambiguous(vec!["east".to_owned(), "west".to_owned()])
    }

    #[test]
    fn the_longest_prefix_wins_and_equal_ones_are_ambiguous() {
        let all = regions(&[
            ("east", &["10.0.0.0/8", "10.9.0.0/16", "::ffff:192.168.0.0/112"], &[]),
            ("west", &["10.1.0.0/16", "10.9.0.0/16", "2001:db8::/32"], &[]),
        ]);
        for (ip, expected) in [
            ("10.0.0.1", known("east")),
            ("10.1.0.1", known("west")),
            ("10.9.0.1", both()),
            ("::ffff:10.1.0.1", known("west")),
            ("192.168.3.4", known("east")),
            ("192.169.3.4", RegionAnswer::Unknown),
            ("2001:db8::1", known("west")),
            ("172.16.0.1", RegionAnswer::Unknown),
        ] {
            assert_eq!(all.of_ip(ip.parse().unwrap()), expected, "{ip}");
        }
    }

    #[test]
    fn l13_the_address_outranks_the_name() {
        let all =
            regions(&[("east", &["10.0.0.0/16"], &[".east.db"]), ("west", &["10.1.0.0/16"], &["west.db"])]);
        let of = |host: &str, ips: &[&str]| {
            let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
            all.of_addresses(Some(host), &ips)
        };
        assert_eq!(of("pg.west.db", &["10.0.0.5"]), (known("east"), RegionEvidence::Cidr));
        assert_eq!(of("PG.West.DB.", &["172.16.0.1"]), (known("west"), RegionEvidence::Hostname));
        assert_eq!(of("pg.west.db", &[]), (known("west"), RegionEvidence::Hostname));
        assert_eq!(of("notwest.db", &[]), (RegionAnswer::Unknown, RegionEvidence::None));
        assert_eq!(of("x", &["10.0.0.5", "10.1.0.5"]), (both(), RegionEvidence::Cidr));
        assert_eq!(of("x", &["10.0.0.5", "172.16.0.1"]), (RegionAnswer::Unknown, RegionEvidence::None));
        assert_eq!(of("a.west.db", &["10.0.0.5", "172.16.0.1"]), (both(), RegionEvidence::Hostname));
    }

    proptest! {
        #[test]
        fn the_order_of_regions_and_addresses_is_irrelevant(
            nets in prop::collection::vec((any::<u32>(), 0u8..=32, 0usize..3), 0..12),
            ips in prop::collection::vec(any::<u32>(), 0..5),
        ) {
            let named: Vec<(String, RegionMembers)> = nets.iter().map(|(ip, prefix, region)| {
                let net = IpNet::V4(Ipv4Net::new((*ip).into(), *prefix).unwrap());
                (format!("r{region}"), RegionMembers { cidrs: vec![net], host_suffixes: vec![] })
            }).collect();
            let forward = Regions::new(named.clone());
            let backward = Regions::new(named.into_iter().rev());
            let ips: Vec<IpAddr> = ips.into_iter().map(|ip| IpAddr::V4(ip.into())).collect();
            let reversed: Vec<IpAddr> = ips.iter().rev().copied().collect();
            prop_assert_eq!(forward.of_addresses(None, &ips), backward.of_addresses(None, &reversed));
            for ip in ips {
                let IpAddr::V4(v4) = ip else { unreachable!() };
                prop_assert_eq!(forward.of_ip(ip), forward.of_ip(IpAddr::V6(v4.to_ipv6_mapped())));
                // The narrowest network of a region that holds it decides.
                let best = nets.iter().filter(|(net, prefix, _)| Ipv4Net::new((*net).into(), *prefix).unwrap().contains(&v4));
                let longest = best.clone().map(|(_, prefix, _)| *prefix).max();
                let names: BTreeSet<String> =
                    best.filter(|(_, prefix, _)| Some(*prefix) == longest).map(|(_, _, region)| format!("r{region}")).collect();
                prop_assert_eq!(forward.of_ip(ip), RegionAnswer::of_names(names));
            }
        }
    }
}
