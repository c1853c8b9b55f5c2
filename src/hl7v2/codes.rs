//! A code that a sender has and the maps have not: it is added to the sender's profile, and the
//! messages in which it came are worked on again.
//!
//! Spec: v2 P3, B38

use super::map::edit::{self, CodePlace};
use super::map::site::Sender;
use super::receive::Receiver;
use super::sites;
use super::tables::Target;
use super::types::id;
use crate::engine::Lacking;
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

/// A profile that has the code, to be stored.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The version to be.
    pub site: NewSite,
    /// The messages that are to be worked on again.
    pub lacking: Lacking,
}

impl Receiver {
    /// The profile of a sender with a code more; it is begun where there is none.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the profile cannot be used with it; [`Error::Unavailable`].
    pub async fn with_code(&self, new: &NewCode, by: &str) -> Result<Prepared, Error> {
        self.sites.at_least(self.store.site_mark().await?).await?;
        let (application, facility) = new.site.split_once('|').unwrap_or((&new.site, ""));
        let sender = Sender { application, facility, ..Sender::default() };
        let (text, after) = if let Some(version) = self.sites.version_for(&sender) {
            (version.toml.unwrap_or_default(), version.version)
        } else {
            let name = [application, facility].map(id::slug).join(".");
            let name: String = name.trim_matches('.').chars().take(60).collect();
            // It may have been withdrawn once.
            let all = self.store.site_profiles().await?.all;
            let before = all.iter().find(|version| version.id == name);
            (edit::begun(&name, application, facility), before.map_or(0, |it| it.version))
        };
        let NewCode { set, system, code, target, .. } = new;
        let toml = edit::with_code(&text, CodePlace { set, system, code }, target);
        let toml = toml.ok_or_else(|| Error::internal("a profile that cannot be read"))?;
        let bad =
            |fault: sites::ProfileFault| Error::invalid(IssueCode::BusinessRule, fault.to_string());
        let spec = self.sites.spec();
        // What else is in the profile is in force.
        let (maps, _) = sites::installed(self.sites.base(), &toml, "profile", spec).map_err(bad)?;
        let site = NewSite {
            id: maps.site().id.clone(),
            toml: Some(toml),
            by: by.to_owned(),
            note: format!("code {set}/{system}/{code}"),
            after: Some(after),
        };
        let code = UnmappedCode {
            set: set.clone(),
            system: system.clone(),
            code: code.clone(),
            display: String::new(),
        };
        Ok(Prepared { site, lacking: Lacking { site: new.site.clone(), code } })
    }
}
