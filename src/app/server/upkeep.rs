//! The tasks of a server, and how they end.

use tokio::task::JoinHandle;

/// The tasks of a server: those that end when told to, and those that are cut off. Where nobody ends it, all
/// are cut off.
#[derive(Default)]
pub(in crate::app) struct Upkeep {
    pub(in crate::app) listeners: Vec<JoinHandle<()>>,
    pub(in crate::app) tasks: Vec<JoinHandle<()>>,
}

impl Upkeep {
    /// Waits for those that end, but once `hurried` is over no more; then there is none left.
    pub(in crate::app) async fn end(mut self, hurried: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            _ = futures_util::future::join_all(std::mem::take(&mut self.listeners)) => {}
            () = hurried => tracing::warn!("asked again: running requests are cut off"),
        }
        for task in std::mem::take(&mut self.tasks) {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.listeners.iter().chain(&self.tasks).for_each(JoinHandle::abort);
    }
}
