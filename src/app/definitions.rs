//! The current library of structures: the guides in the program that count, installed packages and
//! stored StructureDefinitions. And who looks for packages that were installed.

use std::borrow::Cow;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use crate::config::Config;
use crate::error::Error;
use crate::fhir::ResourceType;
use crate::spec::GUIDE_PACKS;
use crate::spec::package::Pack;
use crate::spec::structure::{Library, Source};
use crate::store::{Store, maintenance};

use super::database::StartError;
use super::terminology::{self, resource};

/// How often a node looks for packages that were installed elsewhere.
const PAUSE: Duration = Duration::from_millis(500);

/// The packs of the guides in the program that count.
///
/// # Errors
/// [`StartError::Definitions`] when `definitions.without` names what is not there.
pub fn guides(config: &Config) -> Result<Vec<&'static [u8]>, StartError> {
    let mut counting = Vec::with_capacity(GUIDE_PACKS.len());
    let mut unknown = config.definitions.without.clone();
    let mut names = Vec::with_capacity(GUIDE_PACKS.len());
    for bytes in GUIDE_PACKS {
        let pack = Pack::open(bytes).map_err(|error| StartError::Definitions(error.to_string()))?;
        let name = format!("{}#{}", pack.name(), pack.version());
        let is_named = |without: &String| *without == name || *without == pack.name();
        if !config.definitions.without.iter().any(is_named) {
            counting.push(bytes);
        }
        unknown.retain(|without| !is_named(without));
        names.push(name);
    }
    match unknown.first() {
        None => Ok(counting),
        Some(other) => Err(StartError::Definitions(format!(
            "`definitions.without` names {other:?}, the program has {}",
            names.join(", ")
        ))),
    }
}

/// Who keeps codes and who keeps structures for a node whose public FHIR base is `base`.
///
/// # Errors
/// [`StartError::Definitions`] when the settings name a guide that is not there, or the embedded
/// definitions are damaged.
pub fn keepers(
    config: &Config,
    store: &Store,
    base: &str,
) -> Result<(Arc<terminology::Keeper>, Arc<Keeper>), StartError> {
    let guides = guides(config)?;
    let codes = terminology::Keeper::new(store.clone(), base, &guides)?;
    Ok((Arc::new(codes), Arc::new(Keeper::new(store.clone(), guides)?)))
}

/// Keeps the library of what is defined.
pub struct Keeper {
    store: Store,
    guides: Vec<&'static [u8]>,
    types: [ResourceType; 2],
    current: RwLock<Current>,
    loading: Mutex<()>,
}

/// What is loaded, with the mark of the definitions before it was: newer ones may be in it.
#[derive(Clone)]
struct Current {
    mark: String,
    library: Arc<Library>,
}

impl Keeper {
    /// A keeper that has loaded no stored definitions yet.
    ///
    /// # Errors
    /// [`StartError::Definitions`] when the embedded definitions are damaged.
    pub fn new(store: Store, guides: Vec<&'static [u8]>) -> Result<Self, StartError> {
        let packs = guides.iter().copied().map(Cow::Borrowed);
        let library = Library::with_packs(packs);
        let library = library.map_err(|error| StartError::Definitions(error.to_string()))?;
        let missing = |name| StartError::Definitions(format!("{name} is missing"));
        let of = |name: &'static str| name.parse().map_err(|_| missing(name));
        let types = [of("ImplementationGuide")?, of("StructureDefinition")?];
        let current = Current { mark: String::new(), library: Arc::new(library) };
        Ok(Self { store, guides, types, current: RwLock::new(current), loading: Mutex::default() })
    }

    /// The library, loaded anew where something was stored or installed since.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn library(&self) -> Result<Arc<Library>, Error> {
        let mark = self.mark().await?;
        let loaded = self.loaded();
        if loaded.mark == mark {
            return Ok(loaded.library);
        }
        // One after the other, so that an older library never takes the place of a newer one.
        let _loading = self.loading.lock().await;
        let mark = self.mark().await?;
        let loaded = self.loaded();
        if loaded.mark == mark {
            return Ok(loaded.library);
        }
        let packed = if packages(&mark) == packages(&loaded.mark) {
            loaded.library
        } else {
            Arc::new(self.packed().await?)
        };
        let stored = maintenance::definitions(&self.store, self.types).await?;
        let count = stored.len();
        // Others go on meanwhile: there may be many.
        let read =
            spawn_blocking(move || packed.with_resources(stored.iter().filter_map(resource)));
        let library = Arc::new(read.await.map_err(Error::internal)?);
        tracing::info!(count, "loaded the stored structure definitions");
        let next = Current { mark, library: library.clone() };
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(library)
    }

    /// What the guides and the installed packages define.
    async fn packed(&self) -> Result<Library, Error> {
        let installed = maintenance::installed_packages(&self.store).await?;
        let sound = installed.into_iter().filter(|package| match Pack::open(&package.pack) {
            Ok(_) => true,
            Err(error) => {
                tracing::error!(name = package.name, %error, "an installed package is damaged");
                false
            }
        });
        let packs: Vec<_> = sound.map(|package| Cow::Owned(package.pack)).collect();
        let guides = self.guides.clone();
        // It takes a while, during which who waits for the database would wait for too long.
        let read = spawn_blocking(move || {
            Library::with_packs(guides.into_iter().map(Cow::Borrowed).chain(packs))
        });
        read.await.map_err(Error::internal)?.map_err(Error::internal)
    }

    async fn mark(&self) -> Result<String, Error> {
        maintenance::definitions_mark(&self.store, self.types).await
    }

    fn loaded(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Source for Keeper {
    fn current(&self) -> BoxFuture<'_, Result<Arc<Library>, Error>> {
        self.library().boxed()
    }
}

/// The part of a mark that changes with the packages alone.
fn packages(mark: &str) -> &str {
    mark.rsplit_once('/').map_or("", |(_, packages)| packages)
}

/// Calls `load` whenever a package was installed, on whichever node, as long as the server runs.
///
/// # Errors
/// None: what `load` says is logged, and it is called again.
pub async fn follow_packages<F>(store: Store, mut load: impl FnMut() -> F)
where
    F: Future<Output = Result<(), Error>>,
{
    let mut known = None;
    loop {
        let next = match maintenance::packages_mark(&store).await {
            Ok(mark) if known.as_ref() == Some(&mark) => Ok(()),
            Ok(mark) => load().await.map(|()| known = Some(mark)),
            Err(error) => Err(error),
        };
        if let Err(error) = next {
            tracing::warn!(%error, "cannot load the installed packages; trying again");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counting(without: &str) -> Result<Vec<String>, String> {
        let flags = [("definitions.without".to_owned(), without.to_owned())];
        let config = Config::load(None, &flags).expect("settings");
        let found = guides(&config).map_err(|error| error.to_string())?;
        let name = |bytes: &&[u8]| Pack::open(bytes).map(|pack| pack.file_name());
        found.iter().map(|bytes| name(bytes).map_err(|error| error.to_string())).collect()
    }

    #[test]
    fn guides_that_are_named_do_not_count() {
        assert_eq!(counting("").map(|all| all.len()), Ok(GUIDE_PACKS.len()));
        let some = counting("hl7.fhir.us.core#3.1.1,hl7.fhir.uv.ips").expect("known");
        assert!(some.contains(&"hl7.fhir.us.core-6.1.0.pack".to_owned()), "{some:?}");
        assert!(
            !some.iter().any(|name| name.contains("3.1.1") || name.contains("ips")),
            "{some:?}"
        );
        assert_eq!(counting("hl7.fhir.us.core").map(|all| all.len()), Ok(GUIDE_PACKS.len() - 3));
        let fault = counting("hl7.fhir.us.core#9").expect_err("is unknown");
        assert!(fault.contains("\"hl7.fhir.us.core#9\", the program has hl7."), "{fault}");
    }
}
