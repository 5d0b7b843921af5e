//! `site_identity`: is the cluster around us where the configuration says that this site is?

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use super::{Answer, Attempt, Kind, Probe, Question, Schedule, Tools};
use crate::discovery::{Feed, Inventory, in_sight, stirred};
use crate::model::{Check, CheckKey, GapReason, Metric, Reason, Resource};

/// What the documentation says.
pub static KIND: Kind = Kind {
    check: Check::SiteIdentity,
    about: "Whether this site is where it says it is: the values of a label of the cluster's nodes against \
            `site.region`. One site's configuration deployed in another makes every other answer one about the wrong \
            site. Nodes without the label are counted and accuse nobody; a cluster in which no node has it is a gap.",
    example: "site: {name: dr-west, region: us-west-2, role: standby, identity: {node_label: topology.kubernetes.io/region}}\nsystems:\n  - name: orders\n    surfaces: [{name: health, url: \"http://10.1.4.7:8080/health\"}]",
    metrics: &[&VERIFIED],
    reasons: &[&[Reason::WrongIdentity, Reason::Unreachable, Reason::Misconfigured]],
};

/// The answer for the site as a whole; the frame renders it from the check of any system, since all of them say the same.
pub static VERIFIED: Metric = Metric::gauge(
    "dr_site_identity_verified",
    &["site"],
    "1 if the nodes of the cluster say that they are in the site's region, 0 if they say otherwise; absent while unknown; \
     from a background check",
)
.withheld();

/// The identity of the site as planned.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// The question of each system, with the name of the site as its target.
    pub keys: Vec<CheckKey>,
    /// The region that the site is declared to be in.
    pub region: String,
    /// The label of nodes that holds the region.
    pub node_label: String,
    /// When to ask.
    pub schedule: Schedule,
}

/// What the nodes say.
type Census = Result<BTreeMap<Option<String>, usize>, crate::discovery::Gap>;

/// The identity of the site, asked of the nodes.
pub struct SiteIdentity {
    spec: Spec,
    tools: Arc<Tools>,
    questions: Vec<Question>,
    seen: Mutex<Option<Census>>,
}

// === impl SiteIdentity ===

impl SiteIdentity {
    /// Ready to ask; nothing is looked up before the first attempt.
    pub fn new(spec: Spec, tools: Arc<Tools>) -> Self {
        let question = |key: &CheckKey| Question { key: key.clone(), at_first: vec![], promised: vec![] };
        let questions = spec.keys.iter().map(question).collect();
        SiteIdentity { spec, tools, questions, seen: Mutex::new(None) }
    }
}

#[async_trait]
impl Probe for SiteIdentity {
    fn questions(&self) -> &[Question] {
        &self.questions
    }

    fn schedule(&self) -> Schedule {
        self.spec.schedule
    }

    async fn ask(&self, attempt: &Attempt) {
        let census = self.tools.cluster.read(|inventory| census(inventory, &self.spec.node_label));
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(census.clone());
        attempt.answer_all(&judge(census, &self.spec.node_label, &self.spec.region));
    }

    async fn stirred(&self) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(seen) = seen else { return std::future::pending().await };
        stirred(&self.tools.cluster, &seen, |inventory| census(inventory, &self.spec.node_label)).await;
    }
}

/// How many nodes have which value of the label; an empty value says nothing and counts as none.
fn census(inventory: &Inventory, label: &str) -> Census {
    in_sight(inventory, [&Feed::all(Resource::Nodes, None)])?;
    let mut census = BTreeMap::new();
    for (labels, _ready) in inventory.nodes.values() {
        let value = labels.get(label).filter(|value| !value.is_empty()).map(|value| value.to_string());
        *census.entry(value).or_default() += 1;
    }
    Ok(census)
}

fn judge(census: Census, label: &str, region: &str) -> Answer {
    let census = match census {
        Ok(census) => census,
        Err(gap) => return gap.answer(),
    };
    let all: usize = census.values().sum();
    let mute = census.get(&None).copied().unwrap_or_default();
    let values: Vec<(&str, usize)> =
        census.iter().filter_map(|(value, count)| Some((value.as_deref()?, *count))).collect();
    let nodes = |count: usize| if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") };
    let without =
        if mute == 0 { String::new() } else { format!("; {} of {all} have no such label", nodes(mute)) };
    match values.as_slice() {
        [] if all == 0 => {
            Answer::gap(GapReason::NotFound, "the cluster shows no node, so none can say where it is")
        }
        [] => Answer::gap(
            GapReason::NotFound,
            format!("none of {} has the label {label}: is `site.identity.node_label` right?", nodes(all)),
        ),
        [(value, count)] if *value == region => {
            Answer::pass(format!("{} in {region}, as declared{without}", nodes(*count)))
        }
        [(value, count)] => Answer::fail(
            Reason::WrongIdentity,
            format!("{} in {value}, but this site is declared to be in {region}{without}", nodes(*count)),
        ),
        several => {
            let several: Vec<_> =
                several.iter().map(|(value, count)| format!("{} in {value}", nodes(*count))).collect();
            Answer::fail(
                Reason::WrongIdentity,
                format!("{}, but this site is declared to be in {region}{without}", several.join(", ")),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::discovery::{FeedState, ObjectRef, Sight};
    use crate::model::Outcome;

    const LABEL: &str = "topology.kubernetes.io/region";

    fn cluster(sight: Sight, nodes: &[Option<&str>]) -> Inventory {
        let mut inventory = Inventory::default();
        let state = FeedState { sight, since: Timestamp::UNIX_EPOCH, heard: None, skipped: 0 };
        inventory.feeds.insert(Feed::all(Resource::Nodes, None), state);
        for (number, value) in nodes.iter().enumerate() {
            let labels = value.iter().map(|value| (LABEL.into(), (*value).into())).collect();
            inventory.nodes.insert(ObjectRef::new("", &format!("n{number}")), (labels, true));
        }
        inventory
    }

    fn asked(sight: Sight, nodes: &[Option<&str>]) -> Answer {
        judge(census(&cluster(sight, nodes), LABEL), LABEL, "us-west-2")
    }

    #[test]
    fn l97_the_values_of_east_deployed_in_west_are_told() {
        let east = asked(Sight::Live, &[Some("us-east-1"), Some("us-east-1")]);
        assert_eq!(east.outcome, Outcome::Fail(Reason::WrongIdentity));
        assert_eq!(east.detail, "2 nodes in us-east-1, but this site is declared to be in us-west-2");
        let mixed = asked(Sight::Live, &[Some("us-west-2"), Some("us-east-1"), None]);
        assert_eq!(mixed.outcome, Outcome::Fail(Reason::WrongIdentity));
        assert!(mixed.detail.starts_with("1 node in us-east-1, 1 node in us-west-2"), "{}", mixed.detail);
    }

    #[test]
    fn l97_twin_nodes_of_the_declared_region_pass() {
        let answer = asked(Sight::Live, &[Some("us-west-2"), None, Some("")]);
        assert_eq!(answer.outcome, Outcome::Pass);
        assert_eq!(answer.detail, "1 node in us-west-2, as declared; 2 nodes of 3 have no such label");
    }

    #[test]
    fn l97_gap_nobody_is_accused_without_a_label_a_right_or_a_cluster() {
        for (sight, nodes, gap) in [
            (Sight::Live, &[None, None][..], Some(GapReason::NotFound)),
            (Sight::Live, &[], Some(GapReason::NotFound)),
            (Sight::Forbidden, &[Some("us-east-1")], Some(GapReason::Forbidden)),
            (Sight::Lost, &[Some("us-east-1")], None),
            (Sight::Starting, &[], None),
        ] {
            let answer = asked(sight, nodes);
            assert_eq!(answer.gap, gap, "{sight:?} {nodes:?}");
            assert!(matches!(answer.outcome, Outcome::Blind(_)), "{sight:?} {nodes:?}: {}", answer.detail);
        }
    }
}
