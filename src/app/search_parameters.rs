//! Keeps a node's search parameters those that are in force: FHIR's own and those that clients define.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;

use crate::engine::Engine;
use crate::error::Error;
use crate::fhir::ResourceType;
use crate::fhir::json::{self, Object, Value};
use crate::search::extract::Extractor;
use crate::spec::Spec;
use crate::spec::search_parameter::{Custom, Progress, SearchParameter, asks_to_be_in_force};
use crate::store::Store;
use crate::store::maintenance::{self, InForce, StoredDefinition};

/// How often a node looks for changes.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a definition is in force before the resources from before are indexed, in seconds: one that
/// is corrected at once is not built twice.
const GRACE_S: f64 = 3.0;

/// What a definition keeps of its resource.
const KEPT: [&str; 7] = ["url", "code", "type", "expression", "base", "target", "component"];

/// Of which form the rows of composites are: those of before hold no more, and are made anew.
const COMPOSITE_ROWS: &str = "all parts together";

/// The search parameters of a node.
pub struct SearchParameters {
    store: Store,
    core: Arc<Extractor>,
    /// Of which stored definitions those in force were chosen.
    mark: Option<String>,
    /// Which definitions this node has, and whether the index has all of each.
    known: Vec<(i32, bool)>,
    progress: HashMap<i32, Arc<Progress>>,
}

impl SearchParameters {
    /// Nothing but FHIR's own parameters yet.
    pub fn new(store: Store, core: Arc<Extractor>) -> Self {
        let (known, progress) = (Vec::new(), HashMap::new());
        Self { store, core, mark: None, known, progress }
    }

    /// Brings this node to what is in force now.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn refresh(&mut self) -> Result<(), Error> {
        let of = [ResourceType::SEARCH_PARAMETER];
        let mark = maintenance::definitions_mark(&self.store, of).await?;
        if self.mark.as_ref() != Some(&mark) {
            let is_chosen = self.choose().await?;
            self.mark = is_chosen.then_some(mark);
        }
        self.load().await
    }

    /// Takes what is stored into what is in force; whether that could be done.
    async fn choose(&mut self) -> Result<bool, Error> {
        let (store, spec) = (self.store.clone(), self.core.spec().clone());
        let choose = |stored: &[StoredDefinition]| choose(&spec, stored);
        let mut choosing = pin!(maintenance::choose_parameters(&store, choose));
        loop {
            tokio::select! {
                chosen = choosing.as_mut() => return chosen,
                // Writes that were refused may hold every connection that this waits for.
                () = store.has_old_parameters() => self.load().await?,
            }
        }
    }

    /// Gives the store what is in force, where it has something else.
    async fn load(&mut self) -> Result<(), Error> {
        let (in_force, epoch) = maintenance::parameters_in_force(&self.store).await?;
        self.progress.retain(|of, _| in_force.iter().any(|it| it.generation == *of));
        for it in &in_force {
            self.progress.entry(it.generation).or_default().set(it.done, it.total);
        }
        let known: Vec<_> = in_force.iter().map(|it| (it.generation, it.is_active)).collect();
        let has_it = self.store.parameters().is_ok_and(|it| it.epoch == epoch);
        if has_it && known == self.known {
            return Ok(());
        }
        let more: Vec<_> = in_force.iter().filter_map(|it| self.definition(it)).collect();
        let (core, count) = (self.core.clone(), more.len());
        let extractor = spawn_blocking(move || core.with(more)).await.map_err(Error::internal)?;
        self.store.use_extractor(Arc::new(extractor.map_err(Error::internal)?), epoch);
        tracing::info!(count, "search parameters beside FHIR's own are in force");
        self.known = known;
        Ok(())
    }

    /// Follows what is in force, as long as the server runs.
    pub async fn follow(mut self) {
        self.keep().await;
    }

    async fn keep(&mut self) {
        loop {
            if let Err(error) = self.refresh().await {
                tracing::warn!(%error, "cannot load the search parameters; trying again");
            }
            // A write that waits for newer ones has them loaded at once.
            let _ = tokio::time::timeout(PAUSE, self.store.has_old_parameters()).await;
        }
    }

    /// Does `work`, following what is in force meanwhile.
    pub async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            () = self.keep() => std::future::pending().await,
        }
    }

    fn definition(&self, in_force: &InForce) -> Option<SearchParameter> {
        let value = json::parse(in_force.definition.as_bytes()).ok()?;
        let progress = self.progress.get(&in_force.generation).cloned();
        let custom = Custom {
            id: value.str_at("id")?.into(),
            generation: in_force.generation,
            progress: progress.filter(|_| !in_force.is_active),
        };
        SearchParameter::read(&value, custom)
    }
}

/// The search parameters in force, for a command: they must be followed as long as it writes.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn of(engine: &Engine, store: &Store) -> Result<SearchParameters, Error> {
    let mut parameters = SearchParameters::new(store.clone(), engine.core().clone());
    parameters.refresh().await?;
    Ok(parameters)
}

/// Indexes the resources from before for each definition that comes into force, and what clients ask
/// for, as long as the server runs.
pub async fn build(store: Store) {
    loop {
        match build_some(&store).await {
            Ok(true) | Err(Error::Conflict(_)) => {}
            Ok(false) => tokio::time::sleep(PAUSE).await,
            Err(error) => {
                tracing::warn!(%error, "cannot build the search index; trying again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Builds for some resources; whether there is anything to build.
async fn build_some(store: &Store) -> Result<bool, Error> {
    let was_there = maintenance::build_parameter(store, GRACE_S).await?;
    Ok(maintenance::reindex_some(store).await? || was_there)
}

/// The definitions that are in force of those that are stored: each with the others beside it.
fn choose(spec: &Spec, stored: &[StoredDefinition]) -> Vec<(i64, String)> {
    let mut chosen = Vec::new();
    let mut parameters: Vec<SearchParameter> = Vec::new();
    let mut known = spec.search_parameters.clone();
    // Parts of composites first.
    for takes_composites in [false, true] {
        for one in stored {
            let Ok(value) = json::parse(&one.body) else { continue };
            let is_composite = value.str_at("type") == Some("composite");
            if !asks_to_be_in_force(&value)
                || is_composite != takes_composites
                || known.is_own(&value)
            {
                continue;
            }
            if let Some(fault) = known.faults(&value, &one.id, &spec.schema).first() {
                // Packages repeat many that FHIR itself has.
                if one.key < 0 {
                    tracing::debug!(id = one.id, %fault, "a package's parameter is not in force");
                } else {
                    tracing::warn!(id = one.id, %fault, "a stored search parameter is not in force");
                }
                continue;
            }
            let custom = Custom { id: one.id.as_str().into(), generation: 0, progress: None };
            let Some(parameter) = SearchParameter::read(&value, custom) else { continue };
            let parts = parameter.components.iter().filter_map(|it| known.by_url(&it.definition));
            let parts: Vec<Value<'static>> = parts
                .map(|part| format!("{:?} {:?}", part.search_type, part.targets).into())
                .collect();
            chosen.push((one.key, definition(&one.id, &value, parts)));
            parameters.push(parameter);
            known = spec.search_parameters.with(parameters.clone(), &spec.schema);
        }
    }
    chosen
}

/// What of a resource decides what is indexed.
fn definition(id: &str, resource: &Value<'_>, parts: Vec<Value<'static>>) -> String {
    let mut kept = Object::new().with("id", id.to_owned());
    for name in KEPT {
        if let Some(value) = resource.get(name) {
            kept.set(name, value.clone());
        }
    }
    if !parts.is_empty() {
        kept.set("parts", Value::Array(parts));
        kept.set("rows", COMPOSITE_ROWS);
    }
    Value::Object(kept).to_text()
}
