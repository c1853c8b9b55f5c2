//! Principals with grants, as an authorization server would make them of access tokens.

use std::sync::Arc;

use kiln::access::Principal;
use kiln::access::consent::{Asker, Denial};
use kiln::access::grant::{AppState, Grant, GrantError, Panels, User};
use kiln::access::roles::Roles;
use kiln::clock::{Clock as _, SystemClock};
use kiln::fhir::{LogicalId, ResourceType};
use uuid::Uuid;

use super::client::Client;
use super::endpoint::endpoint_of;
use super::server::TestServer;

/// A token on its way to a principal.
#[derive(Clone)]
pub(crate) struct Token<'s> {
    server: &'s TestServer,
    scopes: String,
    patient: Option<LogicalId>,
    user: Option<User>,
    roles: Option<&'static str>,
    denials: Vec<Denial>,
    knows_user: bool,
    purpose: Option<&'static str>,
    survivor: Option<i64>,
}

impl<'s> Token<'s> {
    /// A token of a client with these scopes.
    pub(crate) fn new(server: &'s TestServer, scopes: &str) -> Self {
        let (patient, user, roles) = (None, None, None);
        let (denials, survivor) = (Vec::new(), None);
        let scopes = scopes.to_owned();
        let (knows_user, purpose) = (false, None);
        Self { server, scopes, patient, user, roles, denials, knows_user, purpose, survivor }
    }

    /// With this patient in context.
    pub(crate) fn patient(self, id: &str) -> Self {
        Self { patient: Some(id.parse().expect("an id")), ..self }
    }

    /// Used by somebody with these roles.
    pub(crate) fn user(self, fhir_user: &str, roles: &[&str]) -> Self {
        let (of, id) = fhir_user.split_once('/').expect("a reference");
        let fhir_user: (ResourceType, LogicalId) =
            (of.parse().expect("a type"), id.parse().expect("an id"));
        let hasher = self.server.store().hasher();
        let own = if fhir_user.0 == ResourceType::PATIENT {
            vec![hasher.patient(&fhir_user.1)]
        } else {
            Vec::new()
        };
        let user = User {
            account: Uuid::nil(),
            name: id.to_owned(),
            fhir_user: Some(fhir_user),
            roles: roles.iter().map(|role| (*role).to_owned()).collect(),
            panels: Panels { own, ..Panels::default() },
        };
        Self { user: Some(user), ..self }
    }

    /// Whose care team has these patients.
    pub(crate) fn care_team(mut self, patients: &[&str]) -> Self {
        let hashes = self.hashes(patients);
        self.user.as_mut().expect("a user").panels.care_team = hashes;
        self
    }

    /// Whose organizations care for these patients.
    pub(crate) fn organization(mut self, patients: &[&str]) -> Self {
        let hashes = self.hashes(patients);
        self.user.as_mut().expect("a user").panels.organization = hashes;
        self
    }

    fn hashes(&self, patients: &[&str]) -> Vec<i64> {
        let hasher = self.server.store().hasher();
        patients.iter().map(|id| hasher.patient(&id.parse().expect("an id"))).collect()
    }

    /// Under roles of this file, not the built-in ones.
    pub(crate) fn roles(self, text: &'static str) -> Self {
        Self { roles: Some(text), ..self }
    }

    /// Where patients deny this.
    pub(crate) fn denials(self, denials: Vec<Denial>) -> Self {
        Self { denials, ..self }
    }

    /// For this purpose of use.
    pub(crate) fn purpose(self, code: &'static str) -> Self {
        Self { purpose: Some(code), ..self }
    }

    /// With `openid fhirUser`.
    pub(crate) fn knowing_user(self) -> Self {
        Self { knows_user: true, ..self }
    }

    /// With what the patient in context says of who took its place.
    pub(crate) async fn with_survivor(self) -> Self {
        let patient = self.patient.clone().expect("a patient in context");
        let survivor = self.server.store().survivor(&patient).await.expect("a survivor or none");
        Self { survivor, ..self }
    }

    /// With the panels of its user, and under the consents of patients, as they are stored now.
    pub(crate) async fn with_what_is_stored(mut self) -> Self {
        let (store, now) = (self.server.store(), SystemClock.now());
        let who = self.user.as_ref().and_then(|user| user.fhir_user.clone());
        let mut organizations = Vec::new();
        if let (Some(user), Some(who)) = (&mut self.user, &who) {
            user.panels = store.panels(who, now).await.expect("panels");
            organizations = store.organizations(who, now).await.expect("organizations");
        }
        let asker =
            Asker { user: who.as_ref(), organizations: &organizations, purpose: self.purpose };
        let denials = store.denials(&asker, now).await.expect("consents");
        self.denials(denials.to_vec())
    }

    /// The principal that it stands for.
    pub(crate) fn try_principal(&self) -> Result<Principal, GrantError> {
        let roles = Roles::load(self.roles, self.server.engine().core().clone()).expect("roles");
        let hasher = self.server.store().hasher();
        let grant = Grant {
            token: Uuid::nil(),
            token_name: None,
            client: "app".to_owned(),
            user: self.user.clone(),
            scopes: roles.scopes(&self.scopes),
            patient: self.patient.clone().map(|id| {
                let hash = hasher.patient(&id);
                (id, hash)
            }),
            purpose: self.purpose.map(str::to_owned),
            reason: Some("to test what is open".to_owned()),
            survivor: self.survivor,
            is_emergency: false,
            is_fhir_user_readable: self.knows_user,
            denials: Arc::from(self.denials.clone()),
            state: AppState::default(),
        };
        Principal::from_grant(grant, &roles)
    }

    /// The same, which must be one.
    pub(crate) fn principal(&self) -> Principal {
        self.try_principal().expect("a principal")
    }

    /// A client with this token; the endpoint stops with the second.
    pub(crate) async fn client(&self) -> (Client, tokio::sync::watch::Sender<bool>) {
        endpoint_of(self.server, Some(self.principal())).await
    }
}
