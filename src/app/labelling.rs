//! The rules by which the server labels what is stored, and the labelling of what was stored before.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::access::labelling::Labelling;
use crate::access::{Caller, Principal, RequestContext};
use crate::clock::{IdSource as _, SystemIds};
use crate::config::Config;
use crate::engine::Engine;
use crate::error::Error;
use crate::store::{Store, maintenance};

use super::database::StartError;

/// How long to wait where the database was away.
const PAUSE: Duration = Duration::from_secs(5);

/// The rules that the settings name.
///
/// # Errors
/// [`StartError::Labels`].
pub(super) fn rules(config: &Config) -> Result<Option<Arc<Labelling>>, StartError> {
    let Some(path) = &config.auth.labels else { return Ok(None) };
    let fault = |reason: String| StartError::Labels { path: path.clone(), reason };
    let text = std::fs::read_to_string(path).map_err(|it| fault(it.to_string()))?;
    let rules = Labelling::load(&text).map_err(|it| fault(it.to_string()))?;
    Ok(Some(Arc::new(rules)))
}

/// Labels all that is stored by rules that are new here, until that is done once.
pub(super) async fn keep(rules: Option<Arc<Labelling>>, engine: Arc<Engine>, store: Store) {
    let Some(rules) = rules else { return };
    let digest = Sha256::digest(format!("{rules:?}"));
    loop {
        match once(&rules, &digest, &engine, &store).await {
            Ok(None) => return,
            Ok(Some(changed)) => {
                tracing::info!(changed, version = rules.version(), "labelled what was stored");
                return;
            }
            Err(error) => tracing::warn!(%error, "cannot label what is stored; trying again"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// How many resources were changed; `None` where all was done before.
async fn once(
    rules: &Labelling,
    digest: &[u8],
    engine: &Engine,
    store: &Store,
) -> Result<Option<u64>, Error> {
    if maintenance::is_labelled(store, digest).await? {
        return Ok(None);
    }
    let request = RequestContext {
        id: SystemIds::default().ordered().to_string(),
        method: "OTHER",
        path_and_query: format!("labels {}", rules.version()),
        source: None,
    };
    let caller = Caller::new(Principal::service("labelling"), request);
    let changed = engine.label_again(&caller).await?;
    maintenance::labelled(store, digest, rules.version(), changed).await?;
    Ok(Some(changed))
}
