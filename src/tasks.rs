//! The only place that spawns. Whoever spawns joins: every task is named and belongs to one [`Tasks`], and the
//! end of a long-lived task before it was asked to stop ends the process, loudly.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{Id, JoinSet};

/// All tasks of a running exporter.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<()>,
    names: HashMap<Id, &'static str>,
    stop: watch::Sender<bool>,
}

/// Tells a task that it should come to an end.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

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
        let handle = self.set.spawn(task);
        self.names.insert(handle.id(), name);
    }

    /// What a task holds to learn that it should stop.
    pub fn stop(&self) -> Stop {
        Stop(self.stop.subscribe())
    }

    /// Waits for the first task that ends early; pending for ever while all are well.
    pub async fn first_end(&mut self) -> EndedEarly {
        let (id, how) = match self.set.join_next_with_id().await {
            Some(Ok((id, ()))) => (id, "it returned"),
            Some(Err(error)) => (error.id(), "it panicked"),
            None => std::future::pending().await,
        };
        EndedEarly(self.names.remove(&id).unwrap_or("unnamed"), how)
    }

    /// Asks every task to stop, waits no longer than `patience`, then aborts and joins what is left.
    pub async fn shut_down(mut self, patience: Duration) {
        self.stop.send_replace(true);
        let _ = tokio::time::timeout(patience, async { while self.set.join_next().await.is_some() {} }).await;
        self.set.shutdown().await;
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
        let begun = tokio::time::Instant::now();
        tasks.shut_down(Duration::from_secs(3)).await;
        assert!(said.load(std::sync::atomic::Ordering::SeqCst));
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
    }
}
