//! The only place that spawns. Whoever spawns joins: every task is named and belongs to one [`Tasks`], and the
//! end of a long-lived task before it was asked to stop ends the process, loudly.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, timeout_at};

/// All tasks of a running exporter.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<End>,
    names: HashMap<Id, &'static str>,
    stop: watch::Sender<bool>,
}

/// Tells a task that it should come to an end.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// Ends one task on purpose; so does dropping it.
#[derive(Debug)]
pub struct Retire {
    tell: oneshot::Sender<()>,
    gone: oneshot::Receiver<()>,
}

/// How a task came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By itself.
    Returned,
    /// It was retired.
    Retired,
}

/// A long-lived task that ended although nobody had asked it to.
#[derive(Debug, thiserror::Error)]
#[error("the task `{0}` ended early: {1}")]
pub struct EndedEarly(&'static str, &'static str);

/// Computes beside the runtime what would hold one of its workers for longer than a moment, or reads a file. It cannot be
/// aborted: only what ends by itself.
///
/// # Panics
///
/// As the work does.
#[allow(clippy::disallowed_methods)] // this is the one place
pub async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down, and with it whoever waits here.
            Err(_) => std::future::pending().await,
        },
    }
}

// === impl Tasks ===

impl Default for Tasks {
    fn default() -> Self {
        Tasks { set: JoinSet::new(), names: HashMap::new(), stop: watch::Sender::new(false) }
    }
}

impl Tasks {
    /// Spawns a task that is meant to run until it is asked to stop.
    #[allow(clippy::disallowed_methods)] // this is the one place
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.set.spawn(async move {
            task.await;
            End::Returned
        });
        self.names.insert(handle.id(), name);
    }

    /// The same for a task that may be ended on purpose before the others are. When it is, `task` is dropped, and then
    /// `farewell` runs, which must be short.
    #[allow(clippy::disallowed_methods)] // this is the one place
    pub fn spawn_retirable(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
        farewell: impl Future<Output = ()> + Send + 'static,
    ) -> Retire {
        let (tell, told) = oneshot::channel();
        let (is_gone, gone) = oneshot::channel();
        let task = Box::pin(task);
        let handle = self.set.spawn(async move {
            let end = {
                let mut task = task;
                tokio::select! {
                    biased;
                    // An error means that whoever held the other end has dropped it.
                    _ = told => End::Retired,
                    () = &mut task => End::Returned,
                }
            };
            drop::<oneshot::Sender<()>>(is_gone);
            match end {
                End::Retired => farewell.await,
                End::Returned => {}
            }
            end
        });
        self.names.insert(handle.id(), name);
        Retire { tell, gone }
    }

    /// How many tasks there are; one that was retired counts until `first_end` has seen its end.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// What a task holds to learn that it should stop.
    pub fn stop(&self) -> Stop {
        Stop(self.stop.subscribe())
    }

    /// Waits for the first task that ends early; pending for ever while all are well.
    pub async fn first_end(&mut self) -> EndedEarly {
        loop {
            let (id, how) = match self.set.join_next_with_id().await {
                Some(Ok((id, End::Retired))) => {
                    self.names.remove(&id);
                    continue;
                }
                Some(Ok((id, End::Returned))) => (id, "it returned"),
                Some(Err(error)) => (error.id(), "it panicked"),
                None => std::future::pending().await,
            };
            return EndedEarly(self.names.remove(&id).unwrap_or("unnamed"), how);
        }
    }

    /// Asks every task to stop, waits no longer than `patience`, then aborts and joins what is left.
    pub async fn shut_down(mut self, patience: Duration) {
        self.stop.send_replace(true);
        let _ = tokio::time::timeout(patience, async { while self.set.join_next().await.is_some() {} }).await;
        self.set.shutdown().await;
    }
}

// === impl Retire ===

impl Retire {
    /// Ends these tasks, and returns once none of them works any more, or after `patience`. Their farewells go on.
    pub async fn all(retired: impl IntoIterator<Item = Retire>, patience: Duration) {
        let deadline = Instant::now() + patience;
        let gone: Vec<_> = retired
            .into_iter()
            .map(|Retire { tell, gone }| {
                // An error means that the task has ended already.
                let _ = tell.send(());
                gone
            })
            .collect();
        for gone in gone {
            let _ = timeout_at(deadline, gone).await;
        }
    }
}

// === impl Stop ===

impl Stop {
    /// Resolves when the exporter is to stop.
    pub async fn requested(&mut self) {
        // An error means that `Tasks` is gone, which is a stop too.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_early_end_is_told_by_name() {
        let mut tasks = Tasks::default();
        tasks.spawn("steady", std::future::pending());
        tasks.spawn("short", async {});
        assert_eq!(tasks.first_end().await.to_string(), "the task `short` ended early: it returned");
        tasks.spawn("brittle", async { panic!("on purpose") });
        assert_eq!(tasks.first_end().await.to_string(), "the task `brittle` ended early: it panicked");
        tasks.shut_down(Duration::from_millis(10)).await;
    }

    #[tokio::test]
    async fn the_end_of_a_retired_task_is_not_early_and_a_panic_of_its_farewell_is() {
        /// Notes that the work was dropped.
        struct Work(std::sync::Arc<std::sync::atomic::AtomicBool>);
        impl Drop for Work {
            fn drop(&mut self) {
                self.0.store(true, std::sync::atomic::Ordering::SeqCst);
            }
        }
        let mut tasks = Tasks::default();
        let dropped = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let work = Work(dropped.clone());
        let task = async move {
            let _work = work;
            std::future::pending::<()>().await;
        };
        let (said, heard) = oneshot::channel();
        let retire = tasks.spawn_retirable("old", task, async move {
            let _ = said.send("farewell");
        });
        let kept = tasks.spawn_retirable("kept", std::future::pending(), async {});
        Retire::all([retire], Duration::from_secs(5)).await;
        assert!(dropped.load(std::sync::atomic::Ordering::SeqCst), "gone means that the work was dropped");
        assert_eq!(heard.await, Ok("farewell"));
        let soon = Duration::from_millis(50);
        assert!(tokio::time::timeout(soon, tasks.first_end()).await.is_err(), "nothing ended early");
        assert_eq!(tasks.len(), 1);

        // One that ends by itself is early, whoever may retire it.
        let brief = tasks.spawn_retirable("brief", async {}, async {});
        assert_eq!(tasks.first_end().await.to_string(), "the task `brief` ended early: it returned");
        Retire::all([brief], Duration::from_secs(5)).await;
        let rude = tasks.spawn_retirable("rude", std::future::pending(), async { panic!("on purpose") });
        Retire::all([rude], Duration::from_secs(5)).await;
        assert_eq!(tasks.first_end().await.to_string(), "the task `rude` ended early: it panicked");
        drop(kept);
        assert!(tokio::time::timeout(soon, tasks.first_end()).await.is_err());
        assert!(tasks.is_empty(), "dropping the handle retires");
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_stop_when_asked_is_aborted() {
        let mut tasks = Tasks::default();
        let (mut stop, said) = (tasks.stop(), std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)));
        let heard = said.clone();
        tasks.spawn("polite", async move {
            stop.requested().await;
            heard.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        tasks.spawn("deaf", std::future::pending());
        let begun = Instant::now();
        tasks.shut_down(Duration::from_secs(3)).await;
        assert!(said.load(std::sync::atomic::Ordering::SeqCst));
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
    }
}
