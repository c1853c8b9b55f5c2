//! What goes on while the server runs: keys get old, and what counts no more goes away.

use std::time::Duration;

use crate::error::{Error, root_cause};
use crate::store::oauth::{key, sweep};

use super::Authority;

/// Between two looks at the key, and two sweeps.
const INTERVAL: Duration = Duration::from_mins(1);
/// How long what counts no more is kept, in milliseconds: a day.
const KEPT: i64 = 24 * 60 * 60 * 1000;

impl Authority {
    /// Publishes the key of this node; it must be done before something is signed with it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn publish_key(&self) -> Result<(), Error> {
        let own = self.keys.current();
        key::publish(&self.store, &own.id, &own.jwk, self.clock.now()).await
    }

    /// Keeps keys and tables in order; without end.
    pub async fn keep_order(&self) {
        let mut due = tokio::time::interval(INTERVAL);
        let mut round = 0_u32;
        loop {
            due.tick().await;
            if let Err(error) = self.look_at_key().await {
                let cause = root_cause(&error);
                tracing::warn!(cause, "cannot publish the key of id_tokens; trying again");
            }
            if round.is_multiple_of(60) {
                let limit = self.clock.now().plus_millis(-KEPT);
                if let Err(error) = sweep::sweep(&self.store, limit).await {
                    let cause = root_cause(&error);
                    tracing::warn!(cause, "cannot remove old tokens; trying again in an hour");
                }
            }
            round = round.wrapping_add(1);
        }
    }

    /// Looks at the file of the key again, and publishes what is in it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn look_at_key(&self) -> Result<(), Error> {
        let (keys, age) = (self.keys.clone(), self.settings.key_age);
        let looked = tokio::task::spawn_blocking(move || keys.refresh(age)).await;
        match looked.map_err(Error::internal)? {
            Ok(Some(replaced)) => {
                key::retire(&self.store, &replaced.id, self.clock.now()).await?;
                tracing::info!("id_tokens are signed with a new key");
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the key of id_tokens stays as it is"),
        }
        self.publish_key().await
    }
}
