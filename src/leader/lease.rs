//! The Lease at the API server: one request at a time, each with a limit of its own.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use rand::RngExt as _;
use tokio::time::{Instant, sleep_until, timeout};

use super::machine::{Claim, DURATION, Heard, Machine, Step, Write};
use super::{Change, Leadership, Seen};
use crate::config;
use crate::secret::Secrets;
use crate::tasks::Stop;

/// How long giving the Lease back may take when the process ends.
const RELEASE_WITHIN: Duration = Duration::from_secs(1);
/// What random ends of identities are made of; nothing that reads like something else.
const LETTERS: &[u8] = b"bcdfghjkmnpqrstvwxz23456789";

/// Everything that it takes to stand for election.
pub struct Election {
    /// Where the outcome is told.
    pub leadership: Leadership,
    /// Which Lease.
    pub lease: config::Lease,
    /// The way to the API server, and a connection of its own: no list of pods delays a renewal.
    pub secrets: Secrets,
    /// The wall clock, for people.
    pub now: fn() -> Timestamp,
}

/// Asks for the Lease and keeps it, until told to stop; then gives it back, so that another one takes over at once.
pub async fn keep_leading(election: Election, mut stop: Stop) {
    let origin = Instant::now();
    let me = election.leadership.me();
    let mut machine = Machine::new(Arc::clone(&me), Duration::ZERO);
    loop {
        let (at, step) = machine.next();
        tokio::select! {
            biased;
            () = stop.requested() => break,
            () = sleep_until(origin + at) => {}
        }
        let sent = origin.elapsed();
        let ended = machine.tick(sent);
        if ended.is_some() {
            election.note(ended.into_iter().collect(), &machine, origin);
            continue;
        }
        let heard = tokio::select! {
            biased;
            () = stop.requested() => break,
            heard = timeout(machine.patience(sent), election.ask(step, &machine)) => {
                heard.unwrap_or_else(|_| Heard::Silence("the Kubernetes API did not answer in time".to_owned()))
            }
        };
        let changes = machine.hear(step, sent, heard, origin.elapsed());
        election.note(changes, &machine, origin);
    }
    let ours = machine.release();
    // First nothing is probed any more, then somebody else may begin.
    election.leadership.note(
        (election.now)(),
        vec![Change::SteppedDown("this process ends".to_owned())],
        None,
        Seen { holder: None, obstacle: None },
    );
    if let Some(lease) = ours {
        let _ = timeout(RELEASE_WITHIN, election.give_back(lease)).await;
    }
}

/// A name that no other process has: that of the host, which is that of the pod, with a random end.
pub fn identity(host: &str) -> Arc<str> {
    let mut random = rand::rng();
    let end: String = (0..5).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect();
    Arc::from(format!("{host}-{end}"))
}

// === impl Election ===

impl Election {
    fn note(&self, changes: Vec<Change>, machine: &Machine<Lease>, origin: Instant) {
        let seen = Seen { holder: machine.holder(), obstacle: machine.obstacle() };
        if let Some(why) = seen.obstacle {
            tracing::warn!(lease = %self.lease.name, namespace = %self.lease.namespace, "the Lease could not be asked for: {why}");
        }
        let until = machine.until().map(|until| origin + until);
        self.leadership.note((self.now)(), changes, until, seen);
    }

    async fn api(&self) -> Result<Api<Lease>, String> {
        let client = self.secrets.client().await?;
        Ok(Api::namespaced(client, &self.lease.namespace))
    }

    async fn ask(&self, step: Step, machine: &Machine<Lease>) -> Heard<Lease> {
        let api = match self.api().await {
            Ok(api) => api,
            Err(why) => return Heard::Silence(why),
        };
        let answer = match step {
            Step::Read => api.get(&self.lease.name).await.map_err(|error| self.failure("get", &error, false)),
            Step::Write => {
                let write = machine.write();
                let (verb, makes) = if write.over.is_some() { ("update", false) } else { ("create", true) };
                let lease = self.claimed(write);
                let answer = match makes {
                    true => api.create(&PostParams::default(), &lease).await,
                    // With the version that it was read with: the server refuses if there is a newer one.
                    false => api.replace(&self.lease.name, &PostParams::default(), &lease).await,
                };
                answer.map_err(|error| self.failure(verb, &error, makes))
            }
        };
        answer.map_or_else(
            |heard| heard,
            |lease| {
                let claim = claim(&lease);
                Heard::Lease(lease, claim)
            },
        )
    }

    /// The Lease as we claim it; what others wrote into it stays.
    fn claimed(&self, write: Write<Lease>) -> Lease {
        let Write { over, is_new, transitions } = write;
        let mut lease = over.unwrap_or_else(|| Lease {
            metadata: ObjectMeta { name: Some(self.lease.name.clone()), ..ObjectMeta::default() },
            spec: None,
        });
        let now = MicroTime((self.now)());
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        spec.holder_identity = Some(self.leadership.me().to_string());
        spec.lease_duration_seconds = Some(DURATION.as_secs() as i32);
        spec.lease_transitions = Some(transitions);
        spec.renew_time = Some(now.clone());
        if is_new || spec.acquire_time.is_none() {
            spec.acquire_time = Some(now);
        }
        lease
    }

    /// Empties the Lease, also if somebody wrote beside us into it meanwhile.
    async fn give_back(&self, lease: Lease) {
        let Ok(api) = self.api().await else { return };
        let mut result = self.emptied(&api, lease).await;
        if result.is_err()
            && let Ok(lease) = api.get(&self.lease.name).await
            && claim(&lease).holder == Some(self.leadership.me())
        {
            result = self.emptied(&api, lease).await;
        }
        // If it was not taken, the others wait until it has run out.
        match result {
            Ok(()) => tracing::info!("the Lease was given back"),
            Err(()) => tracing::warn!("the Lease could not be given back: it has to run out"),
        }
    }

    async fn emptied(&self, api: &Api<Lease>, mut lease: Lease) -> Result<(), ()> {
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = None;
            spec.renew_time = Some(MicroTime((self.now)()));
        }
        let answer = api.replace(&self.lease.name, &PostParams::default(), &lease).await;
        answer.map(drop).map_err(drop)
    }

    /// Why there is no Lease in the answer. Other people's error texts are not repeated.
    fn failure(&self, verb: &str, error: &kube::Error, makes: bool) -> Heard<Lease> {
        let config::Lease { namespace, name } = &self.lease;
        let kube::Error::Api(status) = error else {
            return Heard::Silence("the Kubernetes API cannot be reached".to_owned());
        };
        Heard::Silence(match status.code {
            404 if makes => format!("there is no namespace `{namespace}` for the Lease"),
            404 => return Heard::Missing,
            409 => return Heard::Conflict,
            401 => "the Kubernetes API does not accept our account's token".to_owned(),
            403 if makes => {
                format!("forbidden: our account needs the rule `create` on `leases` in namespace {namespace}")
            }
            403 => format!(
                "forbidden: our account needs the rule `{verb}` on `leases` with resourceNames [{name}] in namespace {namespace}"
            ),
            code => format!("the Kubernetes API answered {code}"),
        })
    }
}

/// What the Lease says. An empty holder is none: that is how some give it back.
fn claim(lease: &Lease) -> Claim {
    let Some(spec) = &lease.spec else { return Claim::default() };
    let holder = spec.holder_identity.as_deref().filter(|holder| !holder.is_empty());
    Claim {
        holder: holder.map(Arc::from),
        acquired: spec.acquire_time.as_ref().map(|time| time.0),
        renewed: spec.renew_time.as_ref().map(|time| time.0),
        transitions: spec.lease_transitions.unwrap_or_default(),
    }
}
