//! How often parties were held back goes on record when their minute is over, and when the server ends.
//!
//! Spec: security A3

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::engine::Engine;
use crate::error::root_cause;
use crate::oauth::Authority;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(10);

/// Looks for minutes that are over, until told to stop. What is being written then is written.
pub(super) async fn tell(
    engine: Arc<Engine>,
    authority: Option<Arc<Authority>>,
    mut stop: watch::Receiver<bool>,
) {
    let mut looks = tokio::time::interval(LOOK);
    while !*stop.borrow() {
        tokio::select! {
            _ = looks.tick() => told(&engine, authority.as_deref(), false).await,
            changed = stop.changed() => if changed.is_err() { return },
        }
    }
}

/// Looks once; where the server ends, what is not over is told too.
pub(super) async fn told(engine: &Engine, authority: Option<&Authority>, is_end: bool) {
    let mut untold = engine.tell_refusals(is_end).await.err();
    if let Some(authority) = authority {
        untold = untold.or(authority.gate.tell_refusals(is_end).await.err());
    }
    if let Some(error) = untold {
        let cause = root_cause(&error);
        tracing::warn!(cause, "how often parties were held back is not on record yet");
    }
}
