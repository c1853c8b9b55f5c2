//! Keys of id_tokens as an administrator sees and replaces them.

use crate::access::Caller;
use crate::error::Error;
use crate::oauth::Authority;
use crate::oauth::discovery::OVERLAP;
use crate::store::oauth::key::{self, Listed};

use super::Fault;

impl Authority {
    /// The keys that are published, newest first, and the id of the one that this node signs with.
    ///
    /// # Errors
    /// [`Fault::Failed`]; so in all functions of this module.
    pub async fn list_keys(&self, by: &Caller) -> Result<(Vec<Listed>, String), Fault> {
        self.act(by, "keys").await?;
        let since = self.clock.now().plus_millis(-OVERLAP);
        Ok((key::listed(&self.store, since).await?, self.keys.current().id.clone()))
    }

    /// Makes a new key for this node; the one before is published for a day more. The id of the new.
    pub async fn rotate_key(&self, by: &Caller) -> Result<String, Fault> {
        self.act(by, "keys").await?;
        let keys = self.keys.clone();
        let made = tokio::task::spawn_blocking(move || keys.rotate()).await;
        let id = made.map_err(Error::internal)?.map_err(Error::internal)?;
        self.look_at_key().await?;
        Ok(id)
    }
}
