//! The profiles of senders: kept in the database, compiled once, chosen for each message.
//!
//! Every node looks often whether there is a new version, and loads it beside those in use; what a
//! message began with stays with it. A message that waited in line is never read by older profiles than
//! those that were there when it was taken up, so what is replayed after a change has the change. A
//! profile that this program cannot use keeps its sender's messages waiting, and says why in the log, on the
//! page of messages and among the metrics: without it they would become something else. One with rules that can have no effect is used without them.
//!
//! Spec: v2 P2, P3

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::Mutex;

use super::heading::Heading;
use super::map::site::{Matching, Sender, Wishes};
use super::map::{MapError, Maps, edit};
use crate::error::{Error, root_cause};
use crate::spec::Spec;
use crate::store::Store;
use crate::store::hl7v2::SiteVersion;

/// Between two looks for new versions.
const PAUSE: Duration = Duration::from_millis(500);

/// Longest name of a profile.
const LONGEST_ID: usize = 64;

/// Why a text cannot be the profile of a site.
#[derive(Debug)]
pub enum ProfileFault {
    /// The faults, each with file, line and key.
    Faults(Vec<MapError>),
    /// It says not for whom it is.
    NoMatch,
    /// Its name is none: letters, digits, dots, dashes and underscores, 64 at most.
    NoName(String),
}

impl std::fmt::Display for ProfileFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Faults(faults) => {
                let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::NoMatch => f.write_str("site.match: for whom the profile is is missing"),
            Self::NoName(name) => write!(
                f,
                "site.id: {name:?} is no name of letters, digits, dots, dashes and underscores"
            ),
        }
    }
}

/// Checks a profile that is to be installed.
///
/// # Errors
/// [`ProfileFault`] says what is wrong.
pub fn check(base: &Maps, text: &str, file: &str, spec: &Spec) -> Result<Arc<Maps>, ProfileFault> {
    let (maps, idle) = installed(base, text, file, spec)?;
    if idle.is_empty() { Ok(maps) } else { Err(ProfileFault::Faults(idle)) }
}

/// Reads a profile that is installed, or was: it can be used with rules that can have no effect, which are told.
///
/// # Errors
/// [`ProfileFault`] says what else is wrong.
pub fn installed(
    base: &Maps,
    text: &str,
    file: &str,
    spec: &Spec,
) -> Result<(Arc<Maps>, Vec<MapError>), ProfileFault> {
    let laid = base.with_installed(file, text, &spec.schema);
    let (maps, idle) = laid.map_err(ProfileFault::Faults)?;
    let id = &maps.site().id;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    // The name of the maps without a profile is that of none.
    if id == &base.site().id || id.is_empty() || id.len() > LONGEST_ID || !id.bytes().all(is_plain)
    {
        return Err(ProfileFault::NoName(id.clone()));
    }
    if maps.site().matching.is_empty() { Err(ProfileFault::NoMatch) } else { Ok((maps, idle)) }
}

/// Why there are no maps for a message.
#[derive(Debug, Eq, PartialEq)]
pub struct Unusable;

/// The profiles of a node.
pub struct Sites {
    store: Store,
    spec: Arc<Spec>,
    base: Arc<Maps>,
    current: RwLock<Arc<Loaded>>,
    loading: Mutex<()>,
}

#[derive(Default)]
struct Loaded {
    mark: i64,
    sites: Vec<Loading>,
}

/// A profile, or why it cannot be used.
struct Loading {
    version: SiteVersion,
    matching: Matching,
    maps: Result<Arc<Maps>, String>,
}

/// A profile that is installed and cannot be used: the messages of its senders wait.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Broken {
    /// The site.
    pub id: String,
    /// The version.
    pub version: i32,
    /// Why, a fault a line, most with the name of the profile and the version.
    pub fault: String,
}

impl Sites {
    /// Profiles over these maps; none is loaded yet.
    pub fn new(store: Store, spec: Arc<Spec>, base: Maps) -> Self {
        let (base, current) = (Arc::new(base), RwLock::default());
        Self { store, spec, base, current, loading: Mutex::default() }
    }

    /// The maps for who has no profile.
    pub fn base(&self) -> &Arc<Maps> {
        &self.base
    }

    /// The definitions that profiles are checked by.
    pub fn spec(&self) -> &Arc<Spec> {
        &self.spec
    }

    /// The maps for a sender.
    ///
    /// # Errors
    /// [`Unusable`] when the profile for it cannot be used.
    pub fn of(&self, sender: &Sender<'_>) -> Result<Arc<Maps>, Unusable> {
        match self.loaded().best(sender) {
            None => Ok(self.base.clone()),
            Some(site) => site.maps.clone().map_err(|_| Unusable),
        }
    }

    /// The maps of the profile of this name.
    pub fn named(&self, id: &str) -> Option<Arc<Maps>> {
        let loaded = self.loaded();
        let site = loaded.sites.iter().find(|site| site.version.id == id);
        site.and_then(|site| site.maps.clone().ok())
    }

    /// The profiles that cannot be used.
    pub fn broken(&self) -> Vec<Broken> {
        let loaded = self.loaded();
        let all = loaded.sites.iter().filter_map(|site| {
            let fault = site.maps.as_ref().err()?.clone();
            let SiteVersion { id, version, .. } = &site.version;
            Some(Broken { id: id.clone(), version: *version, fault })
        });
        all.collect()
    }

    /// The version of the profile for a sender.
    pub fn version_for(&self, sender: &Sender<'_>) -> Option<SiteVersion> {
        self.loaded().best(sender).map(|site| site.version.clone())
    }

    /// How the messages of a sender are taken in.
    pub fn wishes(&self, sender: &Sender<'_>) -> Wishes {
        let loaded = self.loaded();
        let maps = loaded.best(sender).and_then(|site| site.maps.as_ref().ok());
        maps.map(|maps| maps.site().wishes).unwrap_or_default()
    }

    fn loaded(&self) -> Arc<Loaded> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sees to it that no older profiles than those of `mark` are in use.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn at_least(&self, mark: i64) -> Result<(), Error> {
        if self.loaded().mark >= mark {
            return Ok(());
        }
        let _loading = self.loading.lock().await;
        if self.loaded().mark >= mark {
            return Ok(());
        }
        self.load().await
    }

    /// Loads what is new, as long as the server runs.
    pub async fn follow(&self) {
        let mut is_told = false;
        loop {
            let next = match self.store.site_mark().await {
                Ok(mark) => self.at_least(mark).await,
                Err(error) => Err(error),
            };
            match next {
                Ok(()) => is_told = false,
                Err(error) if !is_told => {
                    is_told = true;
                    tracing::warn!(
                        cause = root_cause(&error),
                        "profiles of senders are not looked for"
                    );
                }
                Err(_) => {}
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn load(&self) -> Result<(), Error> {
        let found = self.store.site_profiles().await?;
        let before = self.loaded();
        let mut sites = Vec::new();
        for version in found.all {
            let Some(toml) = &version.toml else { continue };
            let known = before.sites.iter().find(|site| site.version == version);
            let (matching, maps) = match known {
                Some(site) => (site.matching.clone(), site.maps.clone()),
                None => self.compiled(&version, toml),
            };
            sites.push(Loading { version, matching, maps });
        }
        tracing::info!(profiles = sites.len(), mark = found.mark, "profiles of senders are loaded");
        let loaded = Arc::new(Loaded { mark: found.mark, sites });
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = loaded;
        let labels = self.store.labels();
        metrics::gauge!("kiln_v2_profiles_unusable", &labels).set(self.broken().len() as f64);
        Ok(())
    }

    /// A profile as it is used. One that cannot be used still says for whom it is.
    fn compiled(&self, version: &SiteVersion, toml: &str) -> (Matching, Result<Arc<Maps>, String>) {
        let file = format!("{} {}", version.id, version.version);
        match installed(&self.base, toml, &file, &self.spec) {
            Ok((maps, idle)) => {
                for fault in idle {
                    tracing::warn!(profile = file, %fault, "a rule of a profile has no effect");
                }
                (maps.site().matching.clone(), Ok(maps))
            }
            Err(fault) => {
                tracing::error!(profile = file, %fault, "a profile cannot be used: its messages wait");
                (edit::matching(toml), Err(fault.to_string()))
            }
        }
    }
}

impl Loaded {
    /// The profile for a sender that asks for most; of equal ones the first by name.
    fn best(&self, sender: &Sender<'_>) -> Option<&Loading> {
        let mut best: Option<&Loading> = None;
        for site in self.sites.iter().filter(|site| site.matching.is_for(sender)) {
            if best.is_none_or(|best| site.matching.weight() > best.matching.weight()) {
                best = Some(site);
            }
        }
        best
    }
}

/// Who sends, by the header of a message and the way it came.
pub fn sender<'a>(heading: &'a Heading, listener: &'a str, certificate: &'a str) -> Sender<'a> {
    let Heading { application, facility, .. } = heading;
    Sender { application, facility, listener, certificate }
}
