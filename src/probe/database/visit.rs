//! One visit, step by step: the connection string, the addresses, the login, the questions.

use std::net::IpAddr;

use tokio_postgres::SimpleQueryMessage;

use super::{
    APP_SESSIONS, CLOCK_OFFSET, CONFIG_MATCH, CONNECT_SECONDS, CONNECT_SUCCESS, Database, ENDPOINT_INFO,
    GOODBYE_WITHIN, QUERIES, REGION, success,
};
use crate::config::{Credentials, Endpoint};
use crate::discovery::Gap;
use crate::discovery::dsn::Settled;
use crate::discovery::read::connection;
use crate::model::{Fact, GapReason, Outcome, Reason, length, seconds};
use crate::net::dial::Fault;
use crate::net::dsn::{Dsn, Host, HostPort, Siblings};
use crate::net::postgres::{Login, Options, Session, connect};
use crate::net::region::RegionAnswer;
use crate::probe::db_endpoint_region::Found;
use crate::probe::synthetic_query::{Asked, Circumstances, ask};
use crate::probe::{Answer, Attempt};
use crate::secret::{Secret, SecretSource};

/// Where the application looks.
struct Located {
    dsn: Dsn,
    /// How it was learnt, as the label says it.
    source: &'static str,
    /// Where it was learnt, to be put behind a sentence; empty for what the configuration says.
    from: String,
}

/// What the server says of itself right after the login; what it refuses to say is simply not known.
#[derive(Default)]
struct Greeting {
    /// `None` if it did not say, `Some(None)` if it has no address: over a Unix socket.
    server: Option<Option<IpAddr>>,
    sessions: Option<f64>,
    clock: Option<f64>,
}

/// Where the server is: NULL over a Unix socket.
const WHERE: &str = "select inet_server_addr()::text";
/// The other sessions of this user, which may see its own, and the clock.
const AROUND: &str = "select count(*), extract(epoch from clock_timestamp()) from pg_stat_activity \
     where usename = current_user and application_name <> 'dr-exporter'";

impl Database {
    /// The whole visit. Answers as soon as something is known, so that a deadline finds what there is.
    pub(super) async fn visit(&self, attempt: &Attempt) {
        let Located { dsn, source, from } = match self.locate().await {
            Ok(located) => located,
            Err(answer) => {
                attempt.answer(QUERIES, answer.clone());
                return attempt.answer(REGION, answer);
            }
        };
        let mut facts = vec![self.endpoint_info(&dsn, source)];
        let expected = match self.compare_with_expected(&dsn).await {
            Ok(matches) => matches,
            Err(answer) => return attempt.answer_all(&answer),
        };
        facts.extend(expected.map(|same| Fact::flag(&CONFIG_MATCH, &[("db", self.db())], same)));
        let addresses = self.region_by_addresses(&dsn, attempt, expected == Some(false)).await;

        // Waiting for our own place is not the database's fault.
        let waiting = "another attempt of ours holds the one place at this endpoint";
        attempt.answer(QUERIES, Answer::blind(Reason::Limit, waiting));
        let half = self.spec.schedule.timeout / 2;
        let Ok(mut place) = self.tools.slots.acquire(&endpoint_of(&dsn), half).await else {
            let words = "the endpoint gave no answer to another attempt of ours at the same time";
            return attempt.answer(QUERIES, Answer::fail(Reason::Timeout, words).with(facts));
        };
        // With hardly any time left because of our own queue, silence says nothing of the database.
        let late = attempt.left() < half;
        if !late {
            attempt.retract(QUERIES);
        }

        let logged_in = self.log_in(&dsn, attempt).await;
        if !matches!(&logged_in, Err(fault) if fault.reason == Reason::Timeout) {
            place.answered();
        }
        let mut session = match logged_in {
            Ok(session) => session,
            Err(Fault { reason, ours, message }) => {
                let ours = ours || (late && reason == Reason::Timeout);
                let message = format!("{message}{from}");
                return attempt.answer(QUERIES, Answer::not_passed(ours, reason, message).with(facts));
            }
        };
        facts.push(Fact::flag(&CONNECT_SUCCESS, &[("db", self.db())], true));
        let timings = session.timings;
        let took = timings.dns + timings.tcp + timings.tls + timings.login;
        facts.push(Fact::span(&CONNECT_SECONDS, &[("db", self.db())], took));
        let greeting = greet(&mut session).await;
        self.region_by_server(&session.host, &greeting, &addresses, attempt, expected == Some(false));
        let label = [("db", self.db())];
        facts.extend(greeting.sessions.map(|count| Fact::new(&APP_SESSIONS, &label, count)));
        facts.extend(greeting.clock.map(|ahead| Fact::new(&CLOCK_OFFSET, &label, ahead)));
        let mut answer = self.ask_queries(session, &dsn, attempt, took).await;
        if late && answer.outcome == Outcome::Fail(Reason::Timeout) {
            answer.outcome = Outcome::Blind(Reason::Limit);
        }
        if matches!(answer.outcome, Outcome::Fail(_)) {
            answer.detail.push_str(&from);
        }
        attempt.answer(QUERIES, answer.with(facts));
    }

    fn db(&self) -> &str {
        &self.spec.queries_key.target
    }

    /// Where the application looks, read anew.
    async fn locate(&self) -> Result<Located, Answer> {
        let Endpoint { workload, env: _, file, url, expected_url: _, password, tls } = &self.spec.endpoint;
        // First of all, so that a change stirs this probe once, however the attempt ends.
        let wiring = self.spec.workload.as_ref().filter(|_| url.is_none()).map(|object| {
            let wiring = self.tools.cluster.read(|inventory| self.spec.wiring(inventory, object));
            self.known().wiring = Some(wiring.clone());
            wiring
        });
        let password = match password {
            Some(source) => Some(self.read(source, "the password").await?),
            None => None,
        };
        let Some(source) = url else {
            let Some(wiring) = wiring else {
                let name = workload.as_deref().unwrap_or_default();
                let words = format!(
                    "the workload {name} is no Deployment or StatefulSet with a namespace, so nothing can be learnt from it: give the endpoint's `url`"
                );
                return Err(Answer::gap(GapReason::Unsupported, words));
            };
            let ca_file = tls.as_ref().and_then(|tls| tls.ca_file.as_deref());
            let (cluster, secrets) = (&self.tools.cluster, &self.tools.secrets);
            let settled =
                connection(&wiring.map_err(Gap::answer)?, cluster, secrets, password.as_ref(), ca_file).await;
            let Settled { dsn, candidate: _, from, oddities } = settled.map_err(Gap::answer)?;
            let oddities: String = oddities.iter().map(|oddity| format!("; {oddity}")).collect();
            let source = if file.is_some() { "workload_file" } else { "workload_env" };
            return Ok(Located { dsn, source, from: format!(" (learnt from {from}{oddities})") });
        };
        let dsn = self.parse(source, "the connection string").await?;
        let source = match source {
            SecretSource::File(_) => "file",
            SecretSource::Env(_) => "env",
            SecretSource::Kubernetes { .. } => "secret",
            SecretSource::Value(_) => "config",
        };
        let dsn = dsn
            .with_siblings(&Siblings { password, ..Siblings::default() })
            .map_err(|error| Answer::gap(GapReason::Unparsable, format!("the connection string: {error}")))?;
        Ok(Located { dsn, source, from: String::new() })
    }

    async fn parse(&self, source: &SecretSource, what: &str) -> Result<Dsn, Answer> {
        let text = self.read(source, what).await?;
        Dsn::parse(text.expose()).map_err(|error| {
            Answer::gap(GapReason::Unparsable, format!("{what} from {}: {error}", source.describe()))
        })
    }

    async fn read(&self, source: &SecretSource, what: &str) -> Result<Secret, Answer> {
        let read = source.read(&self.tools.secrets).await;
        read.map_err(|error| Answer::unread(what, &error))
    }

    /// Whether the application is wired to what its owner expects; `None` if nothing is expected.
    async fn compare_with_expected(&self, dsn: &Dsn) -> Result<Option<bool>, Answer> {
        let Some(source) = &self.spec.endpoint.expected_url else { return Ok(None) };
        let expected = self.parse(source, "the expected connection string").await?;
        Ok(Some(places(&expected) == places(dsn) && expected.database == dsn.database))
    }

    fn endpoint_info(&self, dsn: &Dsn, source: &'static str) -> Fact {
        let literal = dsn.hosts.iter().any(|host| matches!(host.host, Host::Ip(_)));
        let literal = if literal { "true" } else { "false" };
        Fact::new(&ENDPOINT_INFO, &[("db", self.db()), ("source", source), ("is_ip_literal", literal)], 1.0)
    }

    /// Resolves every host and answers by the addresses, until the server itself says where it is.
    async fn region_by_addresses(
        &self,
        dsn: &Dsn,
        attempt: &Attempt,
        unexpected: bool,
    ) -> Vec<(HostPort, Vec<IpAddr>)> {
        let (mut hosts, mut unresolved) = (Vec::new(), None);
        for host in &dsn.hosts {
            match self.addresses_of(host).await {
                Ok(addresses) => hosts.push((host.clone(), addresses)),
                Err(fault) => unresolved = Some(fault),
            }
        }
        let named: Vec<_> =
            hosts.iter().map(|(host, addresses)| (name_of(host), addresses.clone())).collect();
        let found = Found::by_addresses(&self.tools.regions, &named);
        let before = {
            let known = self.known();
            known.region.clone().map(|region| (region, known.behind.clone()))
        };
        let answer = match (before, unresolved) {
            // The server told where it is when it last could, and nothing in front of it has changed since.
            (Some((before, behind)), None)
                if !behind.is_empty() && same_addresses(&behind, &found.addresses) =>
            {
                self.answer_region(&before, unexpected)
            }
            (Some((before, _)), Some(_)) if found.region == RegionAnswer::Unknown => {
                self.answer_region(&before, unexpected)
            }
            (None, Some(fault)) if found.region == RegionAnswer::Unknown => {
                Answer::not_passed(true, fault.reason, fault.message)
            }
            (_, _) => {
                if found.region != RegionAnswer::Unknown {
                    let mut known = self.known();
                    known.region = Some(found.clone());
                    known.behind.clear();
                }
                self.answer_region(&found, unexpected)
            }
        };
        attempt.answer(REGION, answer);
        hosts
    }

    async fn addresses_of(&self, host: &HostPort) -> Result<Vec<IpAddr>, Fault> {
        match (&host.host, host.hostaddr) {
            (_, Some(address)) => Ok(vec![address.to_canonical()]),
            (Host::Ip(address), None) => Ok(vec![address.to_canonical()]),
            (Host::Name(name), None) => self.tools.resolver.lookup(name).await,
            (Host::Unix(_), None) => Ok(Vec::new()),
        }
    }

    /// The server's own address, in a configured network, outranks the one that was dialled. It does not outrank a
    /// name that leads to several regions: the next connection may end elsewhere.
    fn region_by_server(
        &self,
        host: &HostPort,
        greeting: &Greeting,
        hosts: &[(HostPort, Vec<IpAddr>)],
        attempt: &Attempt,
        unexpected: bool,
    ) {
        let dialled: Vec<_> = hosts.iter().filter(|(known, _)| known == host).cloned().collect();
        let named: Vec<_> =
            dialled.iter().map(|(host, addresses)| (name_of(host), addresses.clone())).collect();
        let by_addresses = Found::by_addresses(&self.tools.regions, &named);
        // A pooler lets in although its server is gone: what the server once said of itself still stands.
        if greeting.server.is_none() && !self.known().behind.is_empty() {
            return;
        }
        let by_server =
            greeting.server.flatten().and_then(|server| Found::by_server(&self.tools.regions, server));
        let found = match (by_server, &by_addresses.region) {
            (Some(by_server), RegionAnswer::Known(_) | RegionAnswer::Unknown) => by_server,
            (Some(_), RegionAnswer::Ambiguous(_)) | (None, _) => by_addresses,
        };
        {
            let mut known = self.known();
            known.region = Some(found.clone());
            known.behind = hosts.iter().flat_map(|(_, addresses)| addresses.iter().copied()).collect();
        }
        attempt.answer(REGION, self.answer_region(&found, unexpected));
    }

    fn answer_region(&self, found: &Found, unexpected: bool) -> Answer {
        if self.tools.regions.is_empty() && !unexpected {
            let fact = self.spec.expected().fact(found);
            return Answer::skipped("no regions are configured, so that none can be told").with([fact]);
        }
        let answer = self.spec.expected().answer(found);
        if unexpected && answer.outcome == Outcome::Pass {
            let words = "the application is wired to another endpoint than the expected one";
            return Answer { facts: answer.facts, ..Answer::fail(Reason::Misconfigured, words) };
        }
        answer
    }

    async fn log_in(&self, dsn: &Dsn, attempt: &Attempt) -> Result<Session, Fault> {
        let login = match &self.spec.credentials {
            None => Login::default(),
            Some(Credentials { user, password }) => {
                let password = match password {
                    None => None,
                    Some(source) => Some(source.read(&self.tools.secrets).await.map_err(|error| {
                        Fault::ours(Reason::Misconfigured, format!("the password: {error}"))
                    })?),
                };
                Login { user: Some(user.clone()), password, ours: true }
            }
        };
        let options = Options {
            application_name: Some("dr-exporter".to_owned()),
            ca_files: self.spec.endpoint.tls.iter().filter_map(|tls| tls.ca_file.clone()).collect(),
        };
        let connected = connect(dsn, &login, &self.tools.resolver, &options, attempt.deadline).await;
        let session = connected.map_err(|error| error.fault)?;
        self.cancel.arm(session.cancel());
        Ok(session)
    }

    /// Every query, one after the other; a connection that is full of rows nobody wants is replaced.
    async fn ask_queries(
        &self,
        session: Session,
        dsn: &Dsn,
        attempt: &Attempt,
        connected: std::time::Duration,
    ) -> Answer {
        let mut session = Some(session);
        let (mut facts, mut withheld, mut worst) = (Vec::new(), Vec::new(), None::<Answer>);
        let mut skipped = 0;
        for query in &self.spec.queries {
            let mut current = match session.take() {
                Some(session) => session,
                None => match self.log_in(dsn, attempt).await {
                    Ok(session) => session,
                    Err(fault) => {
                        worst = worse(worst, Answer::not_passed(fault.ours, fault.reason, fault.message));
                        break;
                    }
                },
            };
            let Session { client, driver, budget, .. } = &mut current;
            budget.refill();
            let circumstances = Circumstances {
                db: self.db(),
                query: &query.name,
                role: self.spec.role,
                now: attempt.now,
                left: attempt.left(),
                budget,
            };
            let mut asked = driver.drive(ask(client, query, circumstances)).await;
            // The question itself only learnt that the connection is closed.
            if let (Outcome::Fail(Reason::Other), Some(fault)) = (asked.outcome, driver.broken()) {
                asked = Asked { facts: asked.facts, ..Asked::broken(fault) };
            }
            let Asked { outcome, detail, facts: learnt, spent } = asked;
            facts.extend(learnt);
            let detail = format!("{}: {detail}", query.name);
            match outcome {
                Outcome::Pass => {}
                Outcome::Skipped => {
                    skipped += 1;
                    withheld.push(success(self.db(), query));
                }
                Outcome::Fail(reason) => worst = worse(worst, Answer::fail(reason, detail)),
                Outcome::Blind(reason) => worst = worse(worst, Answer::blind(reason, detail)),
            }
            if !spent {
                session = Some(current);
            }
        }
        if let Some(session) = session {
            session.goodbye(GOODBYE_WITHIN.min(attempt.left())).await;
        }
        self.cancel.take();
        let asked = self.spec.queries.len();
        let answer = worst.unwrap_or_else(|| match asked - skipped {
            0 if asked == 0 => {
                Answer::pass(format!("logged in after {}; no query is configured", length(connected)))
            }
            0 => Answer::skipped("a standby must refuse every query that is configured, and did"),
            1 => Answer::pass(format!(
                "the query was answered as expected; logged in after {}",
                length(connected)
            )),
            many => Answer::pass(format!(
                "{many} queries were answered as expected; logged in after {}",
                length(connected)
            )),
        });
        Answer { withheld, ..answer.with(facts) }
    }
}

async fn greet(session: &mut Session) -> Greeting {
    let Session { client, driver, .. } = session;
    let mut ask = async |sql| {
        let answered = driver.drive(client.simple_query(sql)).await.ok()?;
        answered.into_iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        })
    };
    let (place, around) = (ask(WHERE).await, ask(AROUND).await);
    let number = |column: usize| around.as_ref()?.get(column)?.parse::<f64>().ok();
    // As text the address carries its prefix length: 10.1.0.5/32.
    let server = |text: &str| text.split('/').next()?.parse::<IpAddr>().ok();
    Greeting {
        server: place.map(|row| row.get(0).and_then(server).map(|server| server.to_canonical())),
        sessions: number(0),
        clock: number(1).map(|clock| clock - seconds(crate::clock::now())),
    }
}

/// The answer that says more: a proven failure outranks blindness, the first of its kind stays.
fn worse(before: Option<Answer>, now: Answer) -> Option<Answer> {
    match before {
        Some(before)
            if matches!(before.outcome, Outcome::Fail(_)) || !matches!(now.outcome, Outcome::Fail(_)) =>
        {
            Some(before)
        }
        _ => Some(now),
    }
}

/// The name under which a certificate or a suffix would know a host.
fn name_of(host: &HostPort) -> Option<String> {
    match &host.host {
        Host::Name(name) => Some(name.clone()),
        Host::Ip(_) | Host::Unix(_) => None,
    }
}

fn same_addresses(a: &[IpAddr], b: &[IpAddr]) -> bool {
    let sorted = |all: &[IpAddr]| {
        let mut all = all.to_vec();
        all.sort_unstable();
        all.dedup();
        all
    };
    sorted(a) == sorted(b)
}

/// Hosts and ports, without who logs in.
fn places(dsn: &Dsn) -> Vec<String> {
    let place = |host: &HostPort| format!("{}:{}", host.host, host.port()).to_ascii_lowercase();
    dsn.hosts.iter().map(place).collect()
}

/// Under which name the places at an endpoint are counted.
pub fn endpoint_of(dsn: &Dsn) -> String {
    let mut places = places(dsn);
    places.sort();
    places.join(",")
}
