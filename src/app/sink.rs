//! Where imports go: the engine of this process, through the gate like every other caller.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::access::{Caller, Principal, RequestContext};
use crate::clock::{Clock as _, IdSource, SystemClock, SystemIds};
use crate::engine::{BundleOptions, Engine, EntryResult, NewIds};
use crate::error::Error;
use crate::fhir::json::{self, Object, Value};
use crate::fhir::{Identity, LogicalId, ResourceType};
use crate::store::Store;
use crate::store::hash::Hasher;

use super::import::{Away, Failure, Loaded, Origin, Sink, Unit, UnitKind};

/// How often a Bundle is tried that others are in the way of.
const TRIES: u32 = 20;
/// How long a database that is there may take to say so.
const PING: Duration = Duration::from_secs(5);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a database may be away: one that recovers from a crash reads much of its log.
const PATIENCE: Duration = Duration::from_mins(5);

/// Loads Bundles into an engine as a named service of the server.
pub struct EngineSink {
    engine: Arc<Engine>,
    store: Store,
    service: &'static str,
    ids: Option<UnitIds>,
    has_provenance: bool,
}

/// Makes the ids of what a unit creates, always the same ones: who finds them taken knows that an
/// earlier run, or a try whose answer was lost, has stored the unit.
struct UnitIds {
    hasher: Hasher,
    salt: String,
}

impl UnitIds {
    fn of(&self, unit: &Unit) -> NewIds {
        let hasher = self.hasher.clone();
        let origin = (unit.origin.path.to_string_lossy(), &unit.origin.entry);
        let content = hasher.seal(&unit.bytes);
        let name = format!("{}\0{}\0{}\0{content}", self.salt, origin.0, origin.1);
        // Ids of one unit begin alike, so that they sit side by side in the index.
        let first = hasher.seal(name.as_bytes()).to_be_bytes();
        Arc::new(move |index| {
            let second = hasher.seal(format!("{name}\0{index}").as_bytes()).to_be_bytes();
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&first);
            bytes[8..].copy_from_slice(&second);
            let id = uuid::Builder::from_random_bytes(bytes).into_uuid();
            LogicalId::of_uuid(id.hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()))
        })
    }
}

impl EngineSink {
    /// A sink that the ledger knows as `service:<service>`.
    pub fn new(engine: Arc<Engine>, store: Store, service: &'static str) -> Self {
        Self { engine, store, service, ids: None, has_provenance: false }
    }

    /// The same, loading a unit only once however often it comes; another `salt` makes it another
    /// unit.
    #[must_use]
    pub fn once(self, hasher: Hasher, salt: String) -> Self {
        Self { ids: Some(UnitIds { hasher, salt }), ..self }
    }

    /// The same, storing with what is loaded a Provenance that says from where it is: one with each
    /// transaction, and one with each entry of a batch, whose entries are stored each for itself.
    #[must_use]
    pub fn with_provenance(self, is_wanted: bool) -> Self {
        Self { has_provenance: is_wanted, ..self }
    }

    /// Loads one transaction; the number of its entries.
    ///
    /// # Errors
    /// Why it was not stored, as a sentence.
    pub async fn load_transaction(&self, bytes: bytes::Bytes) -> Result<u64, String> {
        let origin = Origin { path: PathBuf::new(), entry: String::new() };
        let unit = Unit { origin, kind: UnitKind::Transaction, bytes };
        let loaded = self.load(unit).await.map_err(|Away(reason)| reason)?;
        match loaded.failures.into_iter().next() {
            Some(failure) => Err(failure.message),
            None => Ok(loaded.resources),
        }
    }

    async fn is_away(&self) -> bool {
        let answer = tokio::time::timeout(PING, self.store.ping()).await;
        !answer.is_ok_and(|pinged| pinged.is_ok())
    }

    async fn try_load(&self, unit: &Unit, caller: &Caller) -> Result<Loaded, Error> {
        let bundle = json::parse(&unit.bytes).map_err(|error| {
            Error::invalid(crate::fhir::IssueCode::Structure, error.to_string())
        })?;
        let new_ids = self.ids.as_ref().map(|ids| ids.of(unit));
        let created = new_ids.as_ref().map_or_else(Vec::new, |ids| created(&bundle, ids));
        let count = bundle.items_at("entry").len() as u64;
        let provenance = if self.has_provenance {
            let said = provenance(&unit.origin);
            Some(self.engine.provenance(said, ResourceType::BUNDLE)?)
        } else {
            None
        };
        let options = BundleOptions { new_ids, provenance, ..BundleOptions::default() };
        let outcome = match self.engine.bundle(bundle, &options, caller).await {
            Err(Error::Conflict(_)) if self.is_taken(created.first(), caller).await? => {
                return Ok(Loaded { resources: count, failures: Vec::new() });
            }
            other => other?,
        };
        let mut loaded = Loaded::default();
        for (at, entry) in outcome.entries.into_iter().enumerate() {
            match entry {
                // Nothing is wrong with the entry: under ids of its own, all can be tried again.
                EntryResult::Failed(away @ (Error::Unavailable(_) | Error::Unconfirmed(_)))
                    if self.ids.is_some() =>
                {
                    return Err(away);
                }
                EntryResult::Failed(Error::Conflict(_))
                    if self.is_taken(created.iter().find(|it| it.0 == at), caller).await? =>
                {
                    loaded.resources += 1;
                }
                EntryResult::Failed(error) => {
                    loaded.failures.push(Failure { entry: Some(at), message: error.to_string() });
                }
                _ => loaded.resources += 1,
            }
        }
        Ok(loaded)
    }

    /// Whether the resource that an entry was to create is there already, or was.
    async fn is_taken(
        &self,
        created: Option<&(usize, Identity)>,
        caller: &Caller,
    ) -> Result<bool, Error> {
        let Some((_, identity)) = created else { return Ok(false) };
        match self.engine.read(identity, caller).await {
            Ok(_) | Err(Error::Deleted { .. }) => Ok(true),
            Err(Error::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What is said of the origin of what is loaded. Of a file its name is told, not where it was.
fn provenance(origin: &Origin) -> Value<'static> {
    let coding = |system: &'static str, code: &'static str| {
        let coding = Object::new().with("system", system).with("code", code);
        Object::new().with("coding", vec![Value::Object(coding)])
    };
    let named = |display: String| Object::new().with("display", display);
    let agents = "http://terminology.hl7.org/CodeSystem/provenance-participant-type";
    let agent = Object::new()
        .with("type", coding(agents, "assembler"))
        .with("who", named("kiln import".to_owned()));
    let file = origin.path.file_name().unwrap_or(origin.path.as_os_str()).to_string_lossy();
    let source = match &*origin.entry {
        "" => file.into_owned(),
        entry => format!("{file}: {entry}"),
    };
    let entity = Object::new().with("role", "source").with("what", named(source));
    let activity = coding("http://terminology.hl7.org/CodeSystem/v3-DataOperation", "CREATE");
    let resource = Object::new()
        .with("resourceType", "Provenance")
        .with("recorded", SystemClock.now().to_string())
        .with("activity", activity.with("text", "import"))
        .with("agent", vec![Value::Object(agent)])
        .with("entity", vec![Value::Object(entity)]);
    Value::Object(resource)
}

/// What the entries of a Bundle create, by their place.
fn created(bundle: &Value<'_>, ids: &NewIds) -> Vec<(usize, Identity)> {
    let entries = bundle.items_at("entry").iter().enumerate();
    let created = entries.filter_map(|(at, entry)| {
        let request = entry.get("request").filter(|it| it.str_at("method") == Some("POST"))?;
        let resource_type: ResourceType = request.str_at("url")?.parse().ok()?;
        Some((at, Identity { resource_type, id: ids(at) }))
    });
    created.collect()
}

impl Sink for EngineSink {
    async fn load(&self, unit: Unit) -> Result<Loaded, Away> {
        let request = RequestContext {
            id: SystemIds::default().ordered().to_string(),
            method: "POST",
            path_and_query: String::new(),
            source: None,
        };
        let caller = Caller::new(Principal::service(self.service), request);
        let mut tried = 0;
        let mut away_since = None;
        loop {
            let error = match self.try_load(&unit, &caller).await {
                Ok(loaded) => return Ok(loaded),
                Err(error) => error,
            };
            let may_help = match &error {
                Error::Busy(_)
                | Error::Conflict(_)
                | Error::Throttled(_)
                | Error::Unavailable(_) => true,
                // Under ids of its own, what is stored already is recognized.
                Error::Unconfirmed(_) => self.ids.is_some(),
                _ => false,
            };
            // A database that answers is not away: it is this unit that it cannot take.
            if may_help && self.is_away().await {
                let since = away_since.get_or_insert_with(Instant::now);
                if since.elapsed() > PATIENCE {
                    return Err(Away(error.to_string()));
                }
            } else if may_help && tried < TRIES {
                (tried, away_since) = (tried + 1, None);
            } else {
                let failures = vec![Failure::whole(error.to_string())];
                return Ok(Loaded { resources: 0, failures });
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
