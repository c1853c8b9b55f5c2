//! Where imports go: the engine of this process, through the gate like every other caller.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::access::{Caller, Principal, RequestContext};
use crate::clock::{IdSource, SystemIds};
use crate::engine::{BundleOptions, Engine, EntryResult};
use crate::error::Error;
use crate::fhir::json;

use super::import::{Failure, Loaded, Origin, Sink, Unit, UnitKind};

/// How often a Bundle is tried while the database is away or busy, and for how long each time.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// Loads Bundles into an engine as a named service of the server.
pub struct EngineSink {
    engine: Arc<Engine>,
    service: &'static str,
}

impl EngineSink {
    /// A sink that the ledger knows as `service:<service>`.
    pub fn new(engine: Arc<Engine>, service: &'static str) -> Self {
        Self { engine, service }
    }

    /// Loads one transaction; the number of its entries.
    ///
    /// # Errors
    /// Why it was not stored, as a sentence.
    pub async fn load_transaction(&self, bytes: bytes::Bytes) -> Result<u64, String> {
        let origin = Origin { path: PathBuf::new(), entry: String::new() };
        let loaded = self.load(Unit { origin, kind: UnitKind::Transaction, bytes }).await;
        match loaded.failures.into_iter().next() {
            Some(failure) => Err(failure.message),
            None => Ok(loaded.resources),
        }
    }

    async fn try_load(&self, bytes: &[u8], caller: &Caller) -> Result<Loaded, Error> {
        let bundle = json::parse(bytes).map_err(|error| {
            Error::invalid(crate::fhir::IssueCode::Structure, error.to_string())
        })?;
        let outcome = self.engine.bundle(bundle, &BundleOptions::default(), caller).await?;
        let mut loaded = Loaded::default();
        for (at, entry) in outcome.entries.iter().enumerate() {
            match entry {
                EntryResult::Failed(error) => {
                    loaded.failures.push(Failure { entry: Some(at), message: error.to_string() });
                }
                _ => loaded.resources += 1,
            }
        }
        Ok(loaded)
    }
}

impl Sink for EngineSink {
    async fn load(&self, unit: Unit) -> Loaded {
        let request = RequestContext {
            id: SystemIds::default().ordered().to_string(),
            method: "POST",
            path_and_query: String::new(),
            source: None,
        };
        let caller = Caller::new(Principal::service(self.service), request);
        let mut tried = 0;
        loop {
            tried += 1;
            match self.try_load(&unit.bytes, &caller).await {
                Ok(loaded) => return loaded,
                Err(Error::Conflict(_) | Error::Unavailable(_)) if tried < TRIES => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => {
                    let failures = vec![Failure::whole(error.to_string())];
                    return Loaded { resources: 0, failures };
                }
            }
        }
    }
}
