//! Who may come in: bcrypt users, as the exporters share them.
//!
//! A hash costs tens of milliseconds of CPU by design. So one is computed at a time, beside the runtime and never on it, whoever
//! waits for too long is sent away, and a wrong password leaves as long a pause: guessing takes half of one core at most.
//! A login that succeeded is remembered as a keyed hash, never as a password, so that a scrape costs nothing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::secret::Secret;
use crate::tasks;

/// How many logins that succeeded are remembered.
const REMEMBERED: usize = 100;
/// How long a login may wait for its turn.
const TURN_WITHIN: Duration = Duration::from_secs(5);
/// The hash of nobody's password, without version and cost.
const NOBODY: &str = "QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi";

/// Checks logins. Remembers those that succeeded.
#[derive(Debug)]
pub struct Logins {
    key: [u8; 32],
    succeeded: Mutex<VecDeque<[u8; 32]>>,
    turn: Arc<Semaphore>,
}

/// What became of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// Come in.
    Welcome,
    /// No login, or a wrong one.
    Refused,
    /// Too many at a time.
    Busy,
}

/// What a client says of itself.
struct Claimed {
    user: String,
    password: Secret,
}

// === impl Logins ===

impl Default for Logins {
    fn default() -> Self {
        Logins { key: rand::random(), succeeded: Mutex::default(), turn: Arc::new(Semaphore::new(1)) }
    }
}

impl Logins {
    /// Judges the header `Authorization`. A user who does not exist takes as long as one whose password is wrong.
    pub async fn judge(&self, users: &BTreeMap<String, Secret>, authorization: &str) -> Login {
        let Some(claimed) = Claimed::read(authorization) else { return Login::Refused };
        let hash = users.get(&claimed.user);
        let mark = hash.map(|hash| self.mark(&claimed, hash));
        if mark.is_some_and(|mark| self.is_remembered(&mark)) {
            return Login::Welcome;
        }
        let Ok(Ok(turn)) = tokio::time::timeout(TURN_WITHIN, self.turn.clone().acquire_owned()).await else {
            return Login::Busy;
        };
        let compared = hash.map_or_else(|| nobody(users), |hash| hash.expose().to_owned());
        let began = Instant::now();
        // The turn goes with the work: a client that hangs up does not make room for the next computation.
        let (right, turn) = tasks::compute(move || {
            (bcrypt::verify(claimed.password.expose(), &compared).unwrap_or(false), turn)
        })
        .await;
        match mark.filter(|_| right) {
            Some(mark) => {
                self.remember(mark);
                Login::Welcome
            }
            None => {
                tokio::time::sleep(began.elapsed()).await;
                drop(turn);
                Login::Refused
            }
        }
    }

    /// The hash of the password is part of it, so that a changed password is asked for at once.
    fn mark(&self, claimed: &Claimed, hash: &Secret) -> [u8; 32] {
        #[allow(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("a key");
        for part in [claimed.user.as_str(), hash.expose(), claimed.password.expose()] {
            mac.update(&part.len().to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.finalize().into_bytes().into()
    }

    fn is_remembered(&self, mark: &[u8; 32]) -> bool {
        self.succeeded.lock().unwrap_or_else(PoisonError::into_inner).contains(mark)
    }

    fn remember(&self, mark: [u8; 32]) {
        let mut succeeded = self.succeeded.lock().unwrap_or_else(PoisonError::into_inner);
        if !succeeded.contains(&mark) {
            succeeded.push_back(mark);
        }
        if succeeded.len() > REMEMBERED {
            succeeded.pop_front();
        }
    }
}

/// A hash that no password fits, as costly as that of a user.
fn nobody(users: &BTreeMap<String, Secret>) -> String {
    let cost = |hash: &Secret| hash.expose().parse::<bcrypt::HashParts>().ok().map(|parts| parts.get_cost());
    let cost = users.values().filter_map(cost).max().unwrap_or(10);
    format!("$2y${cost:02}${NOBODY}")
}

// === impl Claimed ===

impl Claimed {
    /// Source: RFC 7617.
    fn read(authorization: &str) -> Option<Self> {
        let (scheme, token) = authorization.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(token.trim()).ok()?).ok()?;
        let (user, password) = text.split_once(':')?;
        Some(Claimed { user: user.to_owned(), password: Secret::new(password) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of `right`, at the lowest cost.
    fn users() -> BTreeMap<String, Secret> {
        let hash = bcrypt::hash("right", 4).unwrap();
        BTreeMap::from([("alice".to_owned(), Secret::new(hash))])
    }

    fn basic(login: &str) -> String {
        format!("Basic {}", STANDARD.encode(login))
    }

    #[tokio::test]
    async fn only_the_right_password_of_a_user_comes_in() {
        let (logins, users) = (Logins::default(), users());
        for (header, expected) in [
            (basic("alice:right"), Login::Welcome),
            (basic("alice:right").replace("Basic", "bAsIc"), Login::Welcome),
            (basic("alice:wrong"), Login::Refused),
            (basic("alice:right "), Login::Refused),
            (basic("alice:"), Login::Refused),
            (basic("bob:right"), Login::Refused),
            (basic("Alice:right"), Login::Refused),
            (basic(":right"), Login::Refused),
            (basic("alice"), Login::Refused),
            ("Bearer right".to_owned(), Login::Refused),
            ("Basic %%%".to_owned(), Login::Refused),
            ("Basic".to_owned(), Login::Refused),
            (String::new(), Login::Refused),
        ] {
            assert_eq!(logins.judge(&users, &header).await, expected, "{header}");
        }
        // Neither is the password of nobody known.
        assert_eq!(logins.judge(&users, &basic("bob:fakepassword")).await, Login::Refused);
    }

    #[tokio::test]
    async fn what_succeeded_is_remembered_without_the_password_and_no_longer_than_it_is_right() {
        let (logins, mut users) = (Logins::default(), users());
        assert_eq!(logins.judge(&users, &basic("alice:right")).await, Login::Welcome);
        assert_eq!(logins.judge(&users, &basic("alice:wrong")).await, Login::Refused);
        assert_eq!(logins.succeeded.lock().unwrap().len(), 1);
        // No turn is to be had: who is remembered needs none.
        let turn = logins.turn.clone().try_acquire_owned().unwrap();
        assert_eq!(logins.judge(&users, &basic("alice:right")).await, Login::Welcome);
        drop(turn);
        users.insert("alice".to_owned(), Secret::new(bcrypt::hash("new", 4).unwrap()));
        assert_eq!(logins.judge(&users, &basic("alice:right")).await, Login::Refused);
        assert_eq!(logins.judge(&users, &basic("alice:new")).await, Login::Welcome);
        users.clear();
        assert_eq!(logins.judge(&users, &basic("alice:new")).await, Login::Refused);
        assert!(!format!("{logins:?}").contains("right"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_sent_away() {
        let (logins, users) = (Logins::default(), users());
        let _turn = logins.turn.clone().try_acquire_owned().unwrap();
        assert_eq!(logins.judge(&users, &basic("alice:right")).await, Login::Busy);
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let logins = Logins::default();
        (0..=255u8).for_each(|n| logins.remember([n; 32]));
        assert_eq!(logins.succeeded.lock().unwrap().len(), REMEMBERED);
        assert!(logins.is_remembered(&[255; 32]) && !logins.is_remembered(&[0; 32]));
    }

    #[test]
    fn nobody_costs_as_much_as_somebody() {
        let costly = BTreeMap::from([("a".to_owned(), Secret::new(bcrypt::hash("x", 5).unwrap()))]);
        assert_eq!(nobody(&costly).parse::<bcrypt::HashParts>().unwrap().get_cost(), 5);
    }
}
