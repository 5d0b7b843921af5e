//! From what may make a connection string, and from the Secrets that were read, to the one that holds. Pure.

use super::names::{self, Part};
use super::{Asked, Candidate, Gap, GapReason, Named, Wiring};
use crate::discovery::recipe::Read;
use crate::net::dsn::{Dsn, Siblings};
use crate::secret::Secret;

/// A connection string of a workload, complete.
#[derive(Debug)]
pub struct Settled {
    /// The connection string; paths in it are those of the container.
    pub dsn: Dsn,
    /// Which of the candidates it is.
    pub candidate: usize,
    /// Where it was learnt, for people.
    pub from: String,
    /// What is odd about it and may explain a failure, one sentence each.
    pub oddities: Vec<&'static str>,
}

/// What becomes of a candidate.
enum Fate {
    /// It turns out not to be there.
    Absent,
    /// It leads to something that is not PostgreSQL.
    Foreign,
    /// It holds.
    Found(Box<Settled>),
}

/// The texts of one candidate, cooked when they are needed.
struct Kitchen<'a> {
    candidate: &'a Candidate,
    read: &'a Read,
    given: Option<&'a Secret>,
    borrowed: Vec<String>,
    oddities: Vec<&'static str>,
}

const LINE_END: &str = "the password ends in a line end, which is a part of it";

// === impl Wiring ===

impl Wiring {
    /// The connection string that holds. `password` is the configured one, for an address that has none.
    ///
    /// # Errors
    ///
    /// A Secret is not there or cannot be read, the text is not understood, or there is more than one.
    pub fn settle(&self, read: &Read, password: Option<&Secret>) -> Result<Settled, Gap> {
        let (mut found, mut foreign) = (Vec::<Settled>::new(), 0);
        for (index, candidate) in self.candidates.iter().enumerate() {
            let kitchen = Kitchen { candidate, read, given: password, borrowed: vec![], oddities: vec![] };
            match kitchen.compose(self, index) {
                Ok(Fate::Found(settled)) => found.push(*settled),
                Ok(Fate::Absent) => {}
                Ok(Fate::Foreign) => foreign += 1,
                // Only a question by name is answered by what nobody understands.
                Err(gap) if gap.reason == Some(GapReason::Unparsable) && !candidate.sure => {}
                Err(gap) => {
                    let detail = format!("{}: {}", self.from(candidate), gap.detail);
                    return Err(Gap { detail, ..gap });
                }
            }
        }
        // An address says more than a group of single values, one of which may be left to the program's defaults.
        let is_group = |settled: &Settled| self.candidates[settled.candidate].address.is_none();
        found.sort_by_key(|settled| (is_group(settled), settled.dsn.password.is_none()));
        let mut rest = found.into_iter();
        let Some(first) = rest.next() else { return Err(self.none_left(foreign)) };
        let others: Vec<Settled> =
            rest.filter(|other| !self.is_same(&first.dsn, &other.dsn, is_group(other))).collect();
        if others.is_empty() { Ok(first) } else { Err(self.ambiguous(&first, &others)) }
    }

    /// Whether two candidates are one: the same place, user and password, and for a variable of one name also the rest.
    /// A group that says less is the same, as long as it says nothing else.
    fn is_same(&self, a: &Dsn, b: &Dsn, b_is_group: bool) -> bool {
        let password = a.password == b.password || a.password.is_none() || b.password.is_none();
        let tls = (a.ssl_mode, &a.ssl_root_cert, a.target_session_attrs)
            == (b.ssl_mode, &b.ssl_root_cert, b.target_session_attrs);
        if self.asked != Asked::Anything || !b_is_group {
            return a.fingerprint() == b.fingerprint() && password && (tls || self.asked == Asked::Anything);
        }
        let mut less = b.clone();
        less.database = less.database.or_else(|| a.database.clone());
        less.user = less.user.or_else(|| a.user.clone());
        if less.hosts.len() == a.hosts.len() {
            for (own, other) in less.hosts.iter_mut().zip(&a.hosts) {
                own.port = own.port.or(other.port);
            }
        }
        a.fingerprint() == less.fingerprint() && password
    }

    fn ambiguous(&self, first: &Settled, others: &[Settled]) -> Gap {
        let all =
            std::iter::once(first).chain(others).filter_map(|settled| self.candidates.get(settled.candidate));
        let words = match &self.asked {
            Asked::Variable(name) => {
                let all: Vec<String> = all.map(|candidate| candidate.containers.join(" and ")).collect();
                let all = all.join(" and ");
                format!(
                    "variable {name} of {} leads to different places in the containers {all}",
                    self.workload
                )
            }
            Asked::File(path) => {
                let all: Vec<String> = all.map(|candidate| candidate.containers.join(" and ")).collect();
                format!(
                    "file {path} of {} is not the same in the containers {}",
                    self.workload,
                    all.join(" and ")
                )
            }
            Asked::Anything => {
                let all: Vec<String> = all
                    .map(|candidate| {
                        format!("{} (container {})", candidate.names, candidate.containers.join(", "))
                    })
                    .collect();
                format!(
                    "{} has more than one database: {}; name one with `env`",
                    self.workload,
                    all.join("; ")
                )
            }
        };
        Gap::new(GapReason::Ambiguous, words)
    }

    fn none_left(&self, foreign: usize) -> Gap {
        let names: Vec<&str> = self.candidates.iter().map(|candidate| candidate.names.as_str()).collect();
        let mut names = names;
        names.dedup();
        let more = names.len().saturating_sub(6);
        names.truncate(6);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let (workload, names) = (&self.workload, names.join("; "));
        if foreign > 0 {
            let words = format!("{workload}: {names}{more} lead to something that is not PostgreSQL");
            return Gap::new(GapReason::Unsupported, words);
        }
        let words = format!("{workload}: its Secrets have none of what was looked for: {names}{more}");
        Gap::new(GapReason::NotFound, words)
    }
}

// === impl Kitchen ===

impl Kitchen<'_> {
    fn compose(mut self, wiring: &Wiring, index: usize) -> Result<Fate, Gap> {
        let text = match &self.candidate.address {
            Some(value) => value.recipe.cook(self.read)?.filter(|text| !text.expose().trim().is_empty()),
            None => None,
        };
        let dsn = match (&self.candidate.address, text) {
            (Some(_), None) => return Ok(Fate::Absent),
            (Some(_), Some(text)) if names::is_foreign(text.expose()) => return Ok(Fate::Foreign),
            (Some(_), Some(text)) => self.by_address(&text)?,
            (None, _) => match self.by_parts()? {
                Some(dsn) => dsn,
                None => return Ok(Fate::Absent),
            },
        };
        if dsn.hosts.is_empty() {
            return Err(unparsable("it names no host"));
        }
        let mut from = wiring.from(self.candidate);
        if !self.borrowed.is_empty() {
            from = format!("{from}; {}", self.borrowed.join(", "));
        }
        let Kitchen { oddities, .. } = self;
        Ok(Fate::Found(Box::new(Settled { dsn, candidate: index, from, oddities })))
    }

    /// From a connection string, and what it lacks from its siblings.
    fn by_address(&mut self, text: &Secret) -> Result<Dsn, Gap> {
        let dsn = parse(text, self.candidate)?;
        let mut siblings = Siblings::default();
        if dsn.hosts.is_empty() {
            siblings.host = self.text(Part::Host, true)?;
        }
        if dsn.hosts.is_empty() {
            siblings.port = self.text(Part::Port, true)?;
        } else if dsn.hosts.iter().any(|host| host.port.is_none()) {
            // A host without a port is complete: what cannot be told beside it is no gap.
            siblings.port = self.text(Part::Port, false).unwrap_or_default();
        }
        if dsn.user.is_none() {
            siblings.user = self.text(Part::User, true)?;
        }
        if dsn.database.is_none() {
            siblings.database = self.text(Part::Database, true)?;
        }
        if dsn.password.is_none() {
            siblings.password = self.password()?;
        }
        dsn.with_siblings(&siblings).map_err(|error| unparsable(error.to_string()))
    }

    /// From single values; nothing, if there is no host after all.
    fn by_parts(&mut self) -> Result<Option<Dsn>, Gap> {
        let mut host = self.text(Part::Host, false)?;
        if let Some(text) = host.as_deref().filter(|text| text.contains("://") || text.starts_with("jdbc:")) {
            if names::is_foreign(text) {
                return Err(unparsable("its host is the address of something that is not PostgreSQL"));
            }
            let text = Secret::new(text);
            return self.by_address(&text).map(Some);
        }
        let mut port = self.text(Part::Port, false)?;
        // `db:5433` in a host variable, which drivers that take `host:port` understand.
        let split = host.as_deref().and_then(|text| text.rsplit_once(':'));
        if let Some((name, number)) = split
            && !name.contains([':', ',', '/'])
            && number.parse::<u16>().is_ok()
        {
            if port.is_none() {
                port = Some(number.to_owned());
            }
            host = Some(name.to_owned());
        }
        let mut others = Vec::new();
        for part in self.candidate.parts.keys() {
            if let Part::Other(name) = part
                && let Some(text) = self.text(*part, false)?
            {
                others.push(((*name).to_owned(), text));
            }
        }
        let has_address = others.iter().any(|(name, _)| name == "hostaddr" || name == "service");
        if host.is_none() && !has_address {
            return Ok(None);
        }
        let user = self.text(Part::User, true)?;
        let siblings = Siblings {
            host,
            port,
            user,
            password: self.password()?,
            database: self.text(Part::Database, false)?,
            others,
        };
        Dsn::from_parts(&siblings).map(Some).map_err(|error| unparsable(error.to_string()))
    }

    /// The configured one, else that of the workload.
    fn password(&mut self) -> Result<Option<Secret>, Gap> {
        if let Some(given) = self.given {
            return Ok(Some(given.clone()));
        }
        let password = self.secret(Part::Password, true)?;
        if password.as_ref().is_some_and(|password| password.expose().ends_with('\n')) {
            self.oddities.push(LINE_END);
        }
        Ok(password)
    }

    fn text(&mut self, part: Part, spare: bool) -> Result<Option<String>, Gap> {
        Ok(self.secret(part, spare)?.map(|text| text.expose().to_owned()))
    }

    /// The value of a part: its own, else, where it may be one of another name, the only one that there is.
    fn secret(&mut self, part: Part, spare: bool) -> Result<Option<Secret>, Gap> {
        if let Some(named) = self.candidate.parts.get(&part)
            && let Some(text) = self.cooked(named)?
        {
            return Ok(Some(text));
        }
        let mut found: Option<(&str, Secret)> = None;
        let spares = self.candidate.spares.iter().filter(|(is, _)| *is == part && spare);
        for (_, named) in spares {
            let Some(text) = self.cooked(named)? else { continue };
            match &found {
                Some((_, before)) if *before == text => {}
                Some((before, _)) => {
                    let words = format!("its {} may be in {before} or in {}", word(part), named.name);
                    return Err(Gap::new(GapReason::Ambiguous, words));
                }
                None => found = Some((&named.name, text)),
            }
        }
        if let Some((name, _)) = &found {
            self.borrowed.push(format!("{} from variable {name}", word(part)));
        }
        Ok(found.map(|(_, text)| text))
    }

    fn cooked(&self, Named { name: _, value }: &Named) -> Result<Option<Secret>, Gap> {
        let value = value.as_ref().map_err(Clone::clone)?;
        let text = value.recipe.cook(self.read)?.filter(|text| !text.expose().is_empty());
        match text {
            Some(text) if is_unresolved(text.expose()) => Err(unparsable(UNRESOLVED)),
            text => Ok(text),
        }
    }
}

const UNRESOLVED: &str = "a reference such as $(NAME) or ${NAME} is left in the value: Kubernetes replaces only $(NAME), and only by what is set before";

fn parse(text: &Secret, candidate: &Candidate) -> Result<Dsn, Gap> {
    let text = text.expose();
    if is_unresolved(text) {
        return Err(unparsable(UNRESOLVED));
    }
    Dsn::parse(text).map_err(|error| {
        let joined = candidate.address.as_ref().is_some_and(|value| value.origin.starts_with("with "));
        let hint = if text.trim_start().starts_with(['"', '\'']) {
            "; the quotes around it are a part of the value"
        } else if joined {
            "; Kubernetes joins the pieces as they are: a password with @ / : # ? or % in it must be percent-encoded in the Secret"
        } else {
            ""
        };
        unparsable(format!("{error}{hint}"))
    })
}

/// Whether a reference is left that nobody replaced.
fn is_unresolved(text: &str) -> bool {
    [("$(", ')'), ("${", '}')].iter().any(|(open, close)| {
        let name =
            text.split_once(open).and_then(|(_, after)| after.split_once(*close)).map(|(name, _)| name);
        let plain = |c: char| c.is_ascii_alphanumeric() || "_.-:".contains(c);
        name.is_some_and(|name| !name.is_empty() && name.chars().all(plain))
    })
}

fn word(part: Part) -> &'static str {
    match part {
        Part::Host => "host",
        Part::Port => "port",
        Part::User => "user",
        Part::Password => "password",
        Part::Database => "database",
        Part::Other(name) => name,
    }
}

fn unparsable(words: impl Into<String>) -> Gap {
    Gap::new(GapReason::Unparsable, words)
}
