//! The current validator, made anew when a definition or a code system is stored; and what the
//! settings say of validation.

use std::sync::{Arc, PoisonError, RwLock};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::Mutex;

use crate::config::{self, ProfilePolicy, ValidationLevel};
use crate::engine::{Claim, Engine, Level, Rules, Validators};
use crate::error::Error;
use crate::fhir::Severity;
use crate::spec::Spec;
use crate::spec::structure::{self, Library};
use crate::spec::terminology::Terminology;
use crate::terminology;
use crate::validate::profile::Validator;

/// `engine` judging by what `structures` and `terminology` keep, and who keeps its validator.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub(super) async fn judging(
    engine: Engine,
    structures: Arc<dyn structure::Source>,
    terminology: Arc<dyn terminology::Source>,
) -> Result<(Engine, Arc<Judges>), Error> {
    let judges = Judges::new(engine.spec().clone(), structures, terminology).await?;
    let judges = Arc::new(judges);
    Ok((engine.judging_by(judges.clone()), judges))
}

/// Keeps the validator by what is stored.
pub struct Judges {
    structures: Arc<dyn structure::Source>,
    terminology: Arc<dyn terminology::Source>,
    current: RwLock<Arc<Validator>>,
    making: Mutex<()>,
}

impl Judges {
    /// The validator by what is stored now.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn new(
        spec: Arc<Spec>,
        structures: Arc<dyn structure::Source>,
        terminology: Arc<dyn terminology::Source>,
    ) -> Result<Self, Error> {
        let (library, codes) = (structures.current().await?, terminology.current().await?);
        let current = RwLock::new(Arc::new(Validator::new(spec, library, codes)));
        Ok(Self { structures, terminology, current, making: Mutex::default() })
    }

    async fn refreshed(&self) -> Result<Arc<Validator>, Error> {
        let loaded = self.loaded();
        let (library, codes) = self.sources().await?;
        if is_by(&loaded, &library, &codes) {
            return Ok(loaded);
        }
        // One after the other, so that an older one never takes the place of a newer one.
        let _making = self.making.lock().await;
        let loaded = self.loaded();
        let (library, codes) = self.sources().await?;
        if is_by(&loaded, &library, &codes) {
            return Ok(loaded);
        }
        let next = if Arc::ptr_eq(loaded.library(), &library) {
            loaded.with_terminology(codes)
        } else {
            Validator::new(loaded.spec().clone(), library, codes)
        };
        let next = Arc::new(next);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = next.clone();
        Ok(next)
    }

    async fn sources(&self) -> Result<(Arc<Library>, Arc<dyn Terminology>), Error> {
        Ok((self.structures.current().await?, self.terminology.current().await?))
    }
}

impl Validators for Judges {
    fn loaded(&self) -> Arc<Validator> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn current(&self) -> BoxFuture<'_, Result<Arc<Validator>, Error>> {
        self.refreshed().boxed()
    }
}

/// Whether a validator goes by these.
fn is_by(validator: &Validator, library: &Arc<Library>, codes: &Arc<dyn Terminology>) -> bool {
    Arc::ptr_eq(validator.library(), library)
        && std::ptr::addr_eq(Arc::as_ptr(validator.terminology()), Arc::as_ptr(codes))
}

/// What writes are held to, in the engine's words.
pub(super) fn rules(settings: &config::Validation) -> Rules {
    let level = |own: Option<ValidationLevel>| match own.unwrap_or(settings.level) {
        ValidationLevel::Base => Level::Base,
        ValidationLevel::Off => Level::Off,
        ValidationLevel::Profiles => Level::Profiles,
    };
    let claim = |policy| match policy {
        ProfilePolicy::Enforce => Claim::Enforce,
        ProfilePolicy::Ignore => Claim::Ignore,
        ProfilePolicy::Warn => Claim::Warn,
    };
    let severity = |policy| match policy {
        ProfilePolicy::Enforce => Severity::Error,
        ProfilePolicy::Ignore => Severity::Information,
        ProfilePolicy::Warn => Severity::Warning,
    };
    // What is no policy was refused when the settings were checked.
    let exceptions = settings.policies().unwrap_or_default();
    let exceptions =
        exceptions.into_iter().map(|(canonical, policy)| (canonical.to_owned(), claim(policy)));
    Rules {
        create: level(settings.create),
        update: level(settings.update),
        patch: level(settings.patch),
        clients_may_lower: settings.clients_may_lower,
        claims: claim(settings.profiles),
        exceptions: exceptions.collect(),
        unknown_claim: severity(settings.unknown_profiles),
        implicit_rules: severity(settings.implicit_rules),
        unknown_extension: severity(settings.unknown_extensions),
        unknown_system: severity(settings.unknown_code_systems),
        markup: severity(settings.markup),
        example_urls: severity(settings.example_urls),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn an_interaction_has_the_level_of_all_unless_it_has_its_own() {
        let set = |key: &str, text: &str| (key.to_owned(), text.to_owned());
        let flags = [
            set("validation.level", "base"),
            set("validation.patch", "off"),
            set("validation.profiles", "warn"),
            set("validation.exceptions", "http://p=enforce"),
            set("validation.markup", "enforce"),
            set("validation.unknown_code_systems", "enforce"),
        ];
        let config = Config::load(None, &flags).unwrap();
        let rules = rules(&config.validation);
        let levels = (rules.create, rules.update, rules.patch);
        assert_eq!(levels, (Level::Base, Level::Base, Level::Off));
        assert_eq!((rules.claims, rules.exceptions["http://p"]), (Claim::Warn, Claim::Enforce));
        assert_eq!(
            (rules.unknown_claim, rules.unknown_system),
            (Severity::Warning, Severity::Error)
        );
        let beyond = (rules.unknown_extension, rules.markup, rules.example_urls);
        assert_eq!(beyond, (Severity::Information, Severity::Error, Severity::Information));
    }
}
