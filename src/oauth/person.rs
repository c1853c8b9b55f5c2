//! A person as a party that looks for patients: for choosing one, and for launches.

use uuid::Uuid;

use crate::access::Principal;
use crate::access::consent::Asker;
use crate::access::grant::{Grant, Panels, User};
use crate::error::Error;
use crate::fhir::{Identity, LogicalId, ResourceType};

use super::Authority;
use super::login::Account;

/// What our own pages ask for by somebody's session.
const SCOPES: &str = "user/Encounter.rs user/Patient.rs user/Person.rs user/RelatedPerson.rs";
/// All that roles can allow.
const EVERYTHING: &str = "user/*.cruds";
/// Why it is asked for: these pages are about nothing else.
const OPERATING: &str = "to see to the messages of hospital systems";
/// The client that our own pages are in the ledger.
const CLIENT: &str = "kiln";

/// The resource that stands for an account.
pub fn fhir_user(account: &Account) -> Option<(ResourceType, LogicalId)> {
    let (name, id) = account.fhir_user.as_deref()?.split_once('/')?;
    Some((name.parse().ok()?, id.parse().ok()?))
}

impl Authority {
    /// The person of an account, with what its roles let it do, for the pages of a session.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when the account may do nothing; [`Error::Unavailable`] without a database.
    pub async fn principal_of(&self, account: &Account, session: Uuid) -> Result<Principal, Error> {
        self.principal_with(account, session, (SCOPES, None)).await
    }

    /// The same with all that its roles let it do, for the pages of who runs the server.
    ///
    /// # Errors
    /// As [`Authority::principal_of`].
    pub async fn operator_of(&self, account: &Account, session: Uuid) -> Result<Principal, Error> {
        self.principal_with(account, session, (EVERYTHING, Some(OPERATING))).await
    }

    async fn principal_with(
        &self,
        account: &Account,
        session: Uuid,
        (scopes, reason): (&str, Option<&str>),
    ) -> Result<Principal, Error> {
        let (fhir_user, now) = (fhir_user(account), self.clock.now());
        let (panels, organizations) = match &fhir_user {
            Some(user) => {
                (self.store.panels(user, now).await?, self.store.organizations(user, now).await?)
            }
            None => (Panels::default(), Vec::new()),
        };
        let purpose = self.persons.roles.purpose(&account.roles);
        let asker = Asker { user: fhir_user.as_ref(), organizations: &organizations, purpose };
        let denials = self.store.denials(&asker, now).await?;
        let user = User {
            account: account.id,
            name: account.name.clone(),
            fhir_user,
            roles: account.roles.clone(),
            panels,
        };
        let roles = &self.persons.roles;
        let grant = Grant {
            token: session,
            token_name: None,
            client: CLIENT.to_owned(),
            user: Some(user),
            scopes: roles.scopes(scopes),
            patient: None,
            purpose: purpose.map(str::to_owned),
            reason: reason.map(str::to_owned),
            survivor: None,
            is_emergency: false,
            is_fhir_user_readable: true,
            denials,
            state: self.app_state(CLIENT).await?,
        };
        let party = Principal::from_grant(grant, roles).map_err(|_| Error::Forbidden)?;
        self.record_decision(&party).await?;
        Ok(party)
    }
}

/// The identity of a patient.
pub fn patient(id: &LogicalId) -> Identity {
    Identity { resource_type: ResourceType::PATIENT, id: id.clone() }
}
