//! The only place that spawns. Whoever spawns joins: every task is named and belongs to one [`Tasks`], and the
//! end of a long-lived task before it was asked to stop ends the process, loudly.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// All tasks of a running exporter.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<&'static str>,
    stop: watch::Sender<bool>,
}

/// Tells a task that it should come to an end.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

/// A long-lived task that ended although nobody had asked it to.
#[derive(Debug, thiserror::Error)]
#[error("the task `{0}` ended early: {1}")]
pub struct EndedEarly(String, &'static str);

// === impl Tasks ===

impl Default for Tasks {
    fn default() -> Self {
        Tasks { set: JoinSet::new(), stop: watch::Sender::new(false) }
    }
}

impl Tasks {
    /// Spawns a task that is meant to run until it is asked to stop.
    #[allow(clippy::disallowed_methods)] // this is the one place
    pub fn spawn<F>(&mut self, name: &'static str, task: F) -> AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.set.spawn(async move {
            task.await;
            name
        })
    }

    /// What a task holds to learn that it should stop.
    pub fn stop(&self) -> Stop {
        Stop(self.stop.subscribe())
    }

    /// Waits for the first task that ends early; pending for ever while all are well.
    pub async fn first_end(&mut self) -> EndedEarly {
        loop {
            match self.set.join_next().await {
                Some(Ok(name)) => return EndedEarly(name.to_owned(), "it returned"),
                Some(Err(error)) if error.is_panic() => return EndedEarly("?".to_owned(), "it panicked"),
                // Aborted by whoever held its handle: that is an end somebody asked for.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
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
