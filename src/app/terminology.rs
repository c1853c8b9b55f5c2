//! The current image of code systems and value sets, loaded anew when a stored one changes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::error::Error;
use crate::fhir::ResourceType;
use crate::fhir::json::{self, Value};
use crate::spec::R4_PACK;
use crate::spec::terminology::{Contains, Members, Terminology, TerminologyFault};
use crate::store::maintenance::Contents;
use crate::store::{Store, maintenance};
use crate::terminology::{CodeSystem, Image, Source};

use super::database::StartError;
use super::release::rows::Assembly;

/// How often it is looked for code systems that were loaded.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Most images that were replaced of which it is kept which they were.
const MOST_REPLACED: usize = 4;

/// Keeps the image of what is stored. Its answers are those of the image that was loaded last.
pub struct Keeper {
    store: Store,
    types: [ResourceType; 3],
    current: RwLock<Current>,
    /// How many looks at what is stored were begun, and which of them ended last.
    begun: AtomicU64,
    looked: Mutex<u64>,
    /// Held while code systems are read.
    reading: Mutex<()>,
    /// What was current since somebody asked; `None` where nobody does.
    replaced: std::sync::Mutex<Option<Replaced>>,
}

/// Images in whose place others came.
#[derive(Debug, Default)]
pub struct Replaced {
    /// Some of them.
    pub images: Vec<Arc<Image>>,
    /// Whether there were more.
    pub are_more: bool,
}

/// What is loaded, each with its mark before it was: newer definitions may be in it.
#[derive(Clone)]
struct Current {
    image: Arc<Image>,
    mark: String,
    /// Those from releases, by the id of their row.
    systems: Vec<(i32, Arc<CodeSystem>)>,
    systems_mark: Option<String>,
}

impl Keeper {
    /// A keeper that has loaded nothing yet; `base` is the public FHIR base, `guides` are the packs
    /// that count beside R4's own.
    ///
    /// # Errors
    /// [`StartError::Definitions`] when the embedded definitions are damaged.
    pub fn new(store: Store, base: &str, guides: &[&'static [u8]]) -> Result<Self, StartError> {
        let definitions = |text: String| StartError::Definitions(text);
        let image = Image::new(R4_PACK, base).and_then(|image| image.with_guides(guides));
        let image = image.map_err(|error| definitions(error.to_string()))?;
        let of = |name: &str| name.parse().map_err(|_| definitions(format!("{name} is missing")));
        let types = [of("CodeSystem")?, of("ConceptMap")?, of("ValueSet")?];
        let (image, mark) = (Arc::new(image), String::new());
        let current = Current { image, mark, systems: Vec::new(), systems_mark: None };
        Ok(Self {
            store,
            types,
            current: RwLock::new(current),
            begun: AtomicU64::new(0),
            looked: Mutex::new(0),
            reading: Mutex::new(()),
            replaced: std::sync::Mutex::default(),
        })
    }

    /// What was current since this was asked before: something may have been done by each of them.
    pub fn replaced(&self) -> Replaced {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.replace(Replaced::default()).unwrap_or_default()
    }

    /// The image, loaded anew where something was stored since.
    ///
    /// Who comes while somebody looks waits for the next look and shares it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn image(&self) -> Result<Arc<Image>, Error> {
        let is_first = {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            current.systems_mark.is_none()
        };
        if is_first {
            self.refresh_systems().await?;
        }
        let came = self.begun.load(Ordering::SeqCst);
        let mut looked = self.looked.lock().await;
        if *looked > came {
            return Ok(self.at_hand());
        }
        let look = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let image = self.look().await?;
        *looked = look;
        Ok(image)
    }

    /// Loads stored definitions where there are others.
    async fn look(&self) -> Result<Arc<Image>, Error> {
        let mark = maintenance::definitions_mark(&self.store, self.types).await?;
        let loaded = self.loaded();
        if loaded.mark == mark {
            return Ok(loaded.image);
        }
        let stored = maintenance::definitions(&self.store, self.types).await?;
        let count = stored.len();
        let read =
            spawn_blocking(move || loaded.image.with_resources(stored.iter().filter_map(resource)));
        let image = read.await.map_err(Error::internal)?;
        tracing::info!(count, "loaded the stored code systems and value sets");
        Ok(self.put(|current| {
            let image = image.with_loaded(current.systems.iter().map(|(_, it)| it.clone()));
            Current { image: Arc::new(image), mark, ..current }
        }))
    }

    /// Reads code systems that were loaded from releases since; who asks meanwhile is answered from
    /// those before.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn refresh_systems(&self) -> Result<(), Error> {
        let mark = maintenance::code_systems_mark(&self.store).await?;
        if self.loaded().systems_mark.as_ref() == Some(&mark) {
            return Ok(());
        }
        let _reading = self.reading.lock().await;
        let mark = maintenance::code_systems_mark(&self.store).await?;
        let loaded = self.loaded();
        if loaded.systems_mark.as_ref() == Some(&mark) {
            return Ok(());
        }
        let started = Instant::now();
        let known: Vec<i32> = loaded.systems.iter().map(|(id, _)| *id).collect();
        let mut read: Vec<Assembly> = Vec::new();
        let rows = maintenance::read_code_systems(&self.store, &known, |system, concept| {
            if read.last().is_none_or(|last| last.id() != system.id) {
                read.push(Assembly::new(system.clone()));
            }
            if let Some(last) = read.last_mut() {
                last.add(concept);
            }
        })
        .await?;
        let built = spawn_blocking(move || {
            read.into_iter().map(|it| (it.id(), Arc::new(it.finish()))).collect::<Vec<_>>()
        });
        let built = built.await.map_err(Error::internal)?;
        if !built.is_empty() {
            let (count, took) = (built.len(), started.elapsed());
            tracing::info!(count, took_ms = took.as_millis() as u64, "read code systems");
        }
        self.put(|current| {
            let mut systems: Vec<_> = current.systems.into_iter().chain(built).collect();
            systems.retain(|(id, _)| rows.iter().any(|row| row.id == *id));
            let image = current.image.with_loaded(systems.iter().map(|(_, it)| it.clone()));
            let systems_mark = Some(mark);
            Current { image: Arc::new(image), systems, systems_mark, mark: current.mark }
        });
        Ok(())
    }

    /// Looks for code systems that were loaded, as long as the server runs: they are not in the feed.
    /// After each look it calls `then`, for those who keep what was made of the image.
    pub async fn follow<T, F>(self: Arc<Self>, then: impl Fn() -> F)
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut told = None;
        loop {
            tokio::time::sleep(LOOK_AGAIN).await;
            let read = async {
                self.refresh_systems().await?;
                let mark = self.loaded().systems_mark;
                if told != mark {
                    then().await?;
                    told = mark;
                }
                Ok::<(), Error>(())
            };
            if let Err(error) = read.await {
                tracing::warn!(%error, "cannot read code systems; trying again");
            }
        }
    }

    /// Whether an image is made of resources of this type.
    pub fn is_about(&self, resource_type: ResourceType) -> bool {
        self.types.contains(&resource_type)
    }

    fn at_hand(&self) -> Arc<Image> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).image.clone()
    }

    fn loaded(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts what `next` makes of the current image in its place.
    fn put(&self, next: impl FnOnce(Current) -> Current) -> Arc<Image> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let before = current.image.clone();
        *current = next(current.clone());
        if let Some(replaced) = &mut *self.replaced.lock().unwrap_or_else(PoisonError::into_inner) {
            if replaced.images.len() < MOST_REPLACED {
                replaced.images.push(before);
            } else {
                replaced.are_more = true;
            }
        }
        current.image.clone()
    }
}

impl Terminology for Keeper {
    fn members(&self, value_set: &str, limit: usize) -> Result<Members, TerminologyFault> {
        self.at_hand().members(value_set, limit)
    }

    fn contains(
        &self,
        value_set: &str,
        system: Option<&str>,
        code: &str,
    ) -> Result<Contains, TerminologyFault> {
        self.at_hand().contains(value_set, system, code)
    }

    fn subsumed(
        &self,
        system: &str,
        code: &str,
        is_below: bool,
        limit: usize,
    ) -> Result<Vec<Box<str>>, TerminologyFault> {
        self.at_hand().subsumed(system, code, is_below, limit)
    }

    fn displays(&self, system: &str, code: &str) -> Vec<Box<str>> {
        self.at_hand().displays(system, code)
    }

    fn is_only_shown(&self, value_set: &str, text: &str) -> bool {
        self.at_hand().is_only_shown(value_set, text)
    }

    fn kind_of(&self, canonical: &str) -> Option<&'static str> {
        self.at_hand().kind_of(canonical)
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("types", &self.types).finish_non_exhaustive()
    }
}

impl Source for Keeper {
    fn current(&self) -> BoxFuture<'_, Result<Arc<Image>, Error>> {
        self.image().boxed()
    }

    fn published(&self) -> Vec<(String, Option<String>)> {
        self.at_hand().published()
    }
}

/// The whole resource, with type, id and what was given of meta; `None` for a deletion.
pub(super) fn resource(contents: &Contents) -> Option<Value<'_>> {
    let body = contents.body.as_deref()?;
    let mut value = json::parse(body.as_bytes()).ok()?;
    let object = value.as_object_mut()?;
    if let Some(meta) = contents.meta.as_deref().and_then(|meta| json::parse(meta.as_bytes()).ok())
    {
        object.set_first("meta", meta);
    }
    object.set_first("id", contents.id.as_str());
    object.set_first("resourceType", contents.resource_type()?.as_str());
    Some(value)
}
