//! Waits until what a probe looks up in the cluster is no longer what it was.

use std::time::Duration;

use tokio::time::sleep;

use super::{Cluster, Inventory};

/// Between two looks, so that a cluster in which much happens costs little; a change is in force within 5 s.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Resolves when `look` sees something else than `last`; dropped at any time without harm.
pub async fn stirred<T: PartialEq>(cluster: &Cluster, last: &T, look: impl Fn(&Inventory) -> T) {
    let mut changes = cluster.changes();
    loop {
        // First, so that a probe whose attempts change nothing is asked once a second at most.
        sleep(LOOK_EVERY).await;
        changes.mark_unchanged();
        if cluster.read(&look) != *last {
            return;
        }
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::discovery::ObjectRef;

    fn data(inventory: &Inventory) -> usize {
        inventory.config_maps.len()
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_that_matters_stirs_and_others_do_not() {
        let cluster = Arc::new(Cluster::default());
        let long = Duration::from_secs(600);
        assert!(timeout(long, stirred(&cluster, &0, data)).await.is_err(), "nothing changed");
        let waiting = stirred(&cluster, &0, data);
        let writing = async {
            sleep(Duration::from_secs(10)).await;
            cluster.write(|inventory| inventory.nodes.insert(ObjectRef::new("", "n"), Default::default()));
            sleep(Duration::from_secs(10)).await;
            cluster.write(|inventory| {
                inventory.config_maps.insert(ObjectRef::new("a", "b"), Default::default())
            });
            Instant::now()
        };
        let (changed, ()) = tokio::join!(writing, waiting);
        assert!(changed.elapsed() <= LOOK_EVERY, "{:?}", changed.elapsed());
        // What changed while nobody waited is seen as well.
        assert!(timeout(long, stirred(&cluster, &0, data)).await.is_ok());
    }
}
