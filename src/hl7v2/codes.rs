//! A code that a sender has and the maps have not: it is added to the sender's profile, and the
//! messages in which it came are worked on again.
//!
//! Spec: v2 P3, B38

use uuid::Uuid;

use super::map::edit::{self, CodePlace};
use super::map::site::Sender;
use super::receive::Receiver;
use super::sites;
use super::tables::Target;
use super::types::id;
use crate::access::Caller;
use crate::engine::Replay;
use crate::error::Error;
use crate::fhir::IssueCode;
use crate::store::hl7v2::{NewSite, UnmappedCode};

/// A code, whose it is, and what it is in FHIR.
#[derive(Clone, Debug)]
pub struct NewCode {
    /// The sender as lists have it: MSH-3 and MSH-4 with a | between.
    pub site: String,
    /// The code set of the maps.
    pub set: String,
    /// The sender's name for the code system.
    pub system: String,
    /// The code.
    pub code: String,
    /// What it becomes.
    pub target: Target,
}

/// What a new code changed.
#[derive(Clone, Debug)]
pub struct Added {
    /// The profile.
    pub profile: String,
    /// Its version from now on.
    pub version: i32,
    /// The messages that are worked on again.
    pub replayed: Vec<Uuid>,
}

impl Receiver {
    /// Adds a code to the profile of its sender, which is begun where there is none.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the profile cannot be used with it; [`Error::Conflict`] when the profile
    /// was changed at the same time; [`Error::Forbidden`], [`Error::Unavailable`].
    pub async fn add_code(&self, new: &NewCode, caller: &Caller) -> Result<Added, Error> {
        self.sites.at_least(self.store.site_mark().await?).await?;
        let (application, facility) = new.site.split_once('|').unwrap_or((&new.site, ""));
        let sender = Sender { application, facility, ..Sender::default() };
        let known = self.sites.version_for(&sender);
        let (text, after) = match known {
            Some(version) => (version.toml.unwrap_or_default(), version.version),
            None => {
                let name = [application, facility].map(id::slug).join(".");
                let name: String = name.trim_matches('.').chars().take(60).collect();
                // It may have been withdrawn once.
                let before = self.engine.site_versions(Some(&name), caller).await?;
                let before = before.first().map_or(0, |version| version.version);
                (edit::begun(&name, application, facility), before)
            }
        };
        let NewCode { set, system, code, target, .. } = new;
        let place = CodePlace { set, system, code };
        let toml = edit::with_code(&text, place, target);
        let toml = toml.ok_or_else(|| Error::internal("a profile that cannot be read"))?;
        let bad = |fault: sites::ProfileFault| {
            Error::invalid(IssueCode::BusinessRule, fault.to_string())
        };
        let spec = self.sites.spec();
        let maps = sites::check(self.sites.base(), &toml, "profile", spec).map_err(bad)?;
        let profile = maps.site().id.clone();
        let new_site = NewSite {
            id: profile.clone(),
            toml: Some(toml),
            by: caller.principal.actor().to_owned(),
            note: format!("code {set}/{system}/{code}"),
            after: Some(after),
        };
        let version = self.engine.add_site(&new_site, caller).await?;
        let lacking = UnmappedCode {
            set: set.clone(),
            system: system.clone(),
            code: code.clone(),
            display: String::new(),
        };
        let of = Replay::Lacking { site: new.site.clone(), code: lacking };
        let replayed = self.engine.replay_messages(&of, caller).await?;
        self.wake();
        Ok(Added { profile, version, replayed })
    }
}
