//! The current image of code systems and value sets, loaded anew when a stored one changes.

use std::sync::{Arc, PoisonError, RwLock};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use crate::error::Error;
use crate::fhir::ResourceType;
use crate::fhir::json::{self, Value};
use crate::spec::R4_PACK;
use crate::spec::terminology::{Contains, Members, Terminology, TerminologyFault};
use crate::store::maintenance::Contents;
use crate::store::{Store, maintenance};
use crate::terminology::{Image, Source};

use super::database::StartError;

/// Keeps the image of what is stored. Its answers are those of the image that was loaded last.
pub struct Keeper {
    store: Store,
    types: [ResourceType; 2],
    /// What is loaded, with the mark of the definitions before it was: newer ones may be in it.
    current: RwLock<(String, Arc<Image>)>,
    loading: Mutex<()>,
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
        let types = [of("CodeSystem")?, of("ValueSet")?];
        Ok(Self {
            store,
            types,
            current: RwLock::new((String::new(), Arc::new(image))),
            loading: Mutex::new(()),
        })
    }

    /// The image, loaded anew where something was stored since.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn image(&self) -> Result<Arc<Image>, Error> {
        let mark = maintenance::definitions_mark(&self.store, self.types).await?;
        let (loaded_at, image) = self.loaded();
        if loaded_at == mark {
            return Ok(image);
        }
        // One after the other, so that an older image never takes the place of a newer one.
        let _loading = self.loading.lock().await;
        let mark = maintenance::definitions_mark(&self.store, self.types).await?;
        let (loaded_at, image) = self.loaded();
        if loaded_at == mark {
            return Ok(image);
        }
        let stored = maintenance::definitions(&self.store, self.types).await?;
        let count = stored.len();
        let image = Arc::new(image.with_resources(stored.iter().filter_map(resource)));
        tracing::info!(count, "loaded the stored code systems and value sets");
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = (mark, image.clone());
        Ok(image)
    }

    /// Whether an image is made of resources of this type.
    pub fn is_about(&self, resource_type: ResourceType) -> bool {
        self.types.contains(&resource_type)
    }

    fn loaded(&self) -> (String, Arc<Image>) {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Terminology for Keeper {
    fn members(&self, value_set: &str, limit: usize) -> Result<Members, TerminologyFault> {
        self.loaded().1.members(value_set, limit)
    }

    fn contains(
        &self,
        value_set: &str,
        system: Option<&str>,
        code: &str,
    ) -> Result<Contains, TerminologyFault> {
        self.loaded().1.contains(value_set, system, code)
    }

    fn subsumed(
        &self,
        system: &str,
        code: &str,
        is_below: bool,
        limit: usize,
    ) -> Result<Vec<Box<str>>, TerminologyFault> {
        self.loaded().1.subsumed(system, code, is_below, limit)
    }
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("types", &self.types).finish_non_exhaustive()
    }
}

impl Source for Keeper {
    fn current(&self) -> BoxFuture<'_, Result<Arc<dyn Terminology>, Error>> {
        self.image().map(|image| image.map(|image| image as Arc<dyn Terminology>)).boxed()
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
