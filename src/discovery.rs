//! Where the application really looks, and what the cluster says about it.
//!
//! Watches feed an [`Inventory`]; everything else here is a pure function of it. Probes look things up at every
//! attempt, so that nothing has to be planned again when the cluster changes (ADR 0008).

pub mod cluster;
pub mod covering;
pub mod dsn;
pub mod feeds;
pub mod files;
pub mod fingerprints;
pub mod image;
pub mod inventory;
pub mod learnt;
pub mod lookup;
pub mod metrics_port;
pub mod objects;
pub mod prints;
pub mod read;
pub mod recipe;
pub mod references;
pub mod services;
mod stir;
pub mod surfaces;
#[cfg(test)]
pub(crate) mod testing;
pub mod variables;
pub mod watch;
pub mod workload;

pub use self::stir::stirred;
pub use cluster::Cluster;
pub use feeds::{Wanted, feeds};
pub use inventory::{ControllerKind, Feed, FeedState, Inventory, ObjectRef, Only, Sight, WorkloadRef};
pub use watch::keep_watching;

use crate::model::GapReason;
use crate::probe::Answer;

/// Why something could not be learnt from the cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Gap {
    /// Which kind of gap; `None` while the API server is away or has not answered yet, which is blindness, not a gap.
    pub reason: Option<GapReason>,
    /// One sentence: what was looked for, where, and what to do.
    pub detail: String,
}

// === impl Gap ===

impl Gap {
    /// Of that kind.
    pub fn new(reason: GapReason, detail: impl Into<String>) -> Self {
        Gap { reason: Some(reason), detail: detail.into() }
    }

    /// Nothing can be seen at the moment.
    pub fn blind(detail: impl Into<String>) -> Self {
        Gap { reason: None, detail: detail.into() }
    }

    /// As the answer to a question.
    pub fn answer(self) -> Answer {
        match self.reason {
            Some(reason) => Answer::gap(reason, self.detail),
            None => Answer::blind(crate::model::Reason::Unreachable, self.detail),
        }
    }
}

/// Whether what these feeds hold is what the cluster says, for whoever judges by it.
///
/// # Errors
///
/// The rule that our account lacks, or that the API server is away.
pub fn in_sight<'f>(inventory: &Inventory, feeds: impl IntoIterator<Item = &'f Feed>) -> Result<(), Gap> {
    let Some((feed, sight)) = inventory.blind_spot(feeds) else { return Ok(()) };
    Err(match sight {
        Sight::Forbidden => {
            Gap::new(GapReason::Forbidden, format!("forbidden: our account needs the rule {}", feed.rule()))
        }
        Sight::Unauthorized => {
            Gap::new(GapReason::Forbidden, "the Kubernetes API does not accept our account's token")
        }
        Sight::NoCluster => {
            let why = inventory.unavailable.as_deref().unwrap_or("there is no Kubernetes API to ask");
            Gap::new(GapReason::NotFound, format!("nothing can be learnt from a cluster: {why}"))
        }
        Sight::Lost => Gap::blind(format!(
            "the Kubernetes API cannot be reached, so {} are not known as they are now",
            feed.resource.plural()
        )),
        Sight::Starting | Sight::Live | Sight::NotServed => {
            Gap::blind(format!("the first list of {} is not here yet", feed.resource.plural()))
        }
    })
}
