//! Which exporter of several watches which system: rendezvous hashing, so that one more shard moves only the systems
//! that it takes. Pure, and the same in every release: two releases that disagree would leave a system unwatched.

use sha2::{Digest as _, Sha256};

use crate::config::{Config, Sharding};

/// Which of several exporters this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// From 0.
    pub ordinal: u32,
    /// How many there are; greater than the ordinal.
    pub shards: u32,
}

/// Nothing says which shard this exporter is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoShard {
    /// The host name has no number at its end.
    #[error(
        "sharding: nothing says which shard this is: the host name `{0}` does not end in a number as a StatefulSet's pods \
         do (dr-exporter-0), and `sharding.ordinal` is not set"
    )]
    NoNumber(String),
    /// The number is too great.
    #[error(
        "sharding: the host name `{host}` makes this shard {ordinal}, counted from 0, but `sharding.shards` is {shards}: \
         set `shards` to the replicas of the StatefulSet"
    )]
    TooGreat {
        /// The host name.
        host: String,
        /// Its number.
        ordinal: u64,
        /// How many shards there are.
        shards: u32,
    },
}

/// Writes into the configuration which shard this is, where the file leaves it to the host name; returns it, and `None`
/// if nothing is shared. The Lease of `high_availability` becomes that of the shard: `<name>-<ordinal>`.
///
/// # Errors
///
/// [`NoShard`] if the host name does not say it either.
pub fn settle(config: &mut Config, host: &str) -> Result<Option<Shard>, NoShard> {
    let Some(Sharding { shards, ordinal }) = &mut config.sharding else { return Ok(None) };
    let shard = Shard { ordinal: ordinal.map_or_else(|| of_host(host, *shards), Ok)?, shards: *shards };
    *ordinal = Some(shard.ordinal);
    if let Some(high_availability) = &mut config.high_availability {
        high_availability.lease.name = lease_name(&high_availability.lease.name, shard.ordinal);
    }
    Ok(Some(shard))
}

/// The shard that a configuration names; `None` if nothing is shared or the file leaves it open.
pub fn of(config: &Config) -> Option<Shard> {
    let Sharding { shards, ordinal } = config.sharding.as_ref()?;
    Some(Shard { ordinal: (*ordinal)?, shards: *shards })
}

/// The name of the Lease for which the replicas of one shard stand.
pub fn lease_name(name: &str, ordinal: u32) -> String {
    format!("{name}-{ordinal}")
}

/// Whether the system of that name belongs to this one of so many shards.
///
/// Source: Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous" (1996): the shard whose hash together
/// with the name is the greatest. Hashed is `<system> 0x00 <ordinal in decimal digits>` with SHA-256.
pub fn mine(system: &str, shards: u32, ordinal: u32) -> bool {
    let weight = |shard: u32| {
        Sha256::new().chain_update(system).chain_update([0]).chain_update(shard.to_string()).finalize()
    };
    (0..shards).max_by_key(|shard| weight(*shard)) == Some(ordinal)
}

fn of_host(host: &str, shards: u32) -> Result<u32, NoShard> {
    // A pod's name may be a whole domain name with `setHostnameAsFQDN`.
    let name = host.split('.').next().unwrap_or_default();
    let digits = name
        .rsplit_once('-')
        .map(|(_, end)| end)
        .filter(|end| !end.is_empty() && end.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse::<u64>().ok());
    let ordinal = number.ok_or_else(|| NoShard::NoNumber(host.to_owned()))?;
    match u32::try_from(ordinal) {
        Ok(small) if small < shards => Ok(small),
        Ok(_) | Err(_) => Err(NoShard::TooGreat { host: host.to_owned(), ordinal, shards }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owner(system: &str, shards: u32) -> u32 {
        let owners: Vec<u32> = (0..shards).filter(|shard| mine(system, shards, *shard)).collect();
        assert_eq!(owners.len(), 1, "{system} of {shards}");
        owners[0]
    }

    #[test]
    fn the_hash_is_the_same_in_every_release() {
        // Worked out by another program: `max(range(n), key=lambda k: sha256(s + b"\0" + str(k)).digest())` in Python.
        let golden = [
            ("orders", [1, 2, 7]),
            ("billing", [1, 1, 10]),
            ("a", [0, 0, 3]),
            ("ümlaut", [1, 1, 6]),
            ("team/orders-2", [0, 0, 7]),
        ];
        let found = golden.map(|(system, _)| (system, [2, 3, 16].map(|shards| owner(system, shards))));
        assert_eq!(found, golden);
    }

    #[test]
    fn shards_get_about_the_same() {
        let mut of_each = [0; 4];
        for n in 0..400 {
            of_each[owner(&format!("system-{n}"), 4) as usize] += 1;
        }
        assert!(of_each.iter().all(|count| (75..=125).contains(count)), "{of_each:?}");
    }

    #[test]
    fn the_host_name_says_which() {
        for (host, shards, expected) in [
            ("dr-exporter-0", 3, Some(0)),
            ("dr-exporter-2", 3, Some(2)),
            ("dr-exporter-12", 13, Some(12)),
            ("dr-exporter-1.dr-exporter.dr.svc.cluster.local", 2, Some(1)),
            ("a-b-007", 8, Some(7)),
            ("dr-exporter-3", 3, None),
            ("dr-exporter-99999999999", 3, None),
            ("dr-exporter-99999999999999999999999", 3, None),
            ("dr-exporter", 3, None),
            ("dr-exporter-", 3, None),
            ("node7", 8, None),
            ("dr-exporter-+1", 3, None),
            ("dr-exporter-6d5f8c7b9-x7k2p", 3, None),
            ("", 3, None),
        ] {
            assert_eq!(of_host(host, shards).ok(), expected, "{host} of {shards}");
        }
    }

    #[test]
    fn what_the_file_says_wins_and_the_lease_is_the_shards_own() {
        let text = |sharding: &str| {
            format!(
                "site: {{name: a, region: b, role: standby}}\nhigh_availability: {{lease: {{namespace: dr, name: dr-exporter}}}}\n\
                 {sharding}\nsystems: [{{name: orders}}]\n"
            )
        };
        let load = |sharding: &str| {
            crate::config::parse("f", &text(sharding), jiff::Timestamp::UNIX_EPOCH).unwrap().config
        };
        for (sharding, host, ordinal, lease) in [
            ("sharding: {shards: 3, ordinal: 2}", "dr-exporter-1", Some(2), "dr-exporter-2"),
            ("sharding: {shards: 3}", "dr-exporter-1", Some(1), "dr-exporter-1"),
            ("", "dr-exporter-1", None, "dr-exporter"),
        ] {
            let mut config = load(sharding);
            let shard = settle(&mut config, host).unwrap();
            assert_eq!(shard.map(|shard| shard.ordinal), ordinal, "{sharding}");
            assert_eq!(of(&config), shard);
            assert_eq!(config.high_availability.unwrap().lease.name, lease);
        }
        let error = settle(&mut load("sharding: {shards: 3}"), "laptop").unwrap_err().to_string();
        assert!(
            error.contains("`laptop` does not end in a number") && error.contains("`sharding.ordinal`"),
            "{error}"
        );
    }

    proptest! {
        /// One more shard takes systems, and moves none between the others.
        #[test]
        fn growth_moves_only_to_the_new_one(system in ".{0,20}", shards in 1u32..20) {
            let (before, after) = (owner(&system, shards), owner(&system, shards + 1));
            prop_assert!(after == before || after == shards);
        }
    }
}
