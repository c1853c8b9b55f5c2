//! `client_credentials`: a service by itself, with what the operator authorized it to.
//!
//! Spec: SMART Backend Services, security T9, T10

use crate::access::scope::{Context, ScopeSet, SmartScope};
use crate::oauth::Authority;
use crate::oauth::form::Form;
use crate::oauth::refusal::{Code, Refusal};
use crate::store::oauth::client::{AppType, Client, ClientKind};
use crate::store::oauth::grant::{self, NewGrant};

use super::answer::Answer;
use super::{Denied, Issued};

impl Authority {
    pub(super) async fn serve_backend(
        &self,
        client: &Client,
        form: &Form,
    ) -> Result<Issued, Denied> {
        let is_service = matches!(client.app_type, AppType::Backend | AppType::Ehr);
        if !is_service || client.kind == ClientKind::Public || client.is_registered {
            let text = "the client is no backend service";
            return Err(Refusal::new(Code::UnauthorizedClient, text).into());
        }
        let asked = form.get("scope").ok_or_else(|| Refusal::scope("scope is missing"))?;
        let scopes = authorized(
            &self.settings.offered(&self.persons.roles.scopes(asked)),
            &self.persons.roles.scopes(&client.scopes),
        )?;
        let now = self.clock.now();
        let seconds = self.settings.backend_token.as_secs();
        let scopes = scopes.to_string();
        let (access, row) = self.new_access(&scopes, seconds, now);
        let grant = NewGrant {
            id: self.ids.ordered(),
            client: client.id.clone(),
            account: None,
            scopes,
            patient: None,
            encounter: None,
            context: None,
            fhir_user: None,
            is_offline: false,
            session: None,
            auth_time: None,
            nonce: None,
            purpose: client.purpose.clone(),
            reason: None,
            created: now,
        };
        let token = row.id;
        grant::issue_tokens(&self.store, &grant, &[row]).await?;
        let answer = Answer::new(
            (&grant, self.settings.tenant.as_deref()),
            access.text,
            &grant.scopes,
            seconds,
        );
        Ok(Issued { answer, grant: grant.id, token })
    }
}

/// What of the scopes asked for the operator authorized.
fn authorized(asked: &ScopeSet, known: &ScopeSet) -> Result<ScopeSet, Refusal> {
    let is_of_users = |scope: &SmartScope| match scope {
        SmartScope::Resource(scope) => scope.context != Context::System,
        SmartScope::Special(_) => false,
    };
    if asked.iter().any(is_of_users) {
        return Err(Refusal::scope("a backend service has system/ scopes only"));
    }
    let is_of_services = |scope: &SmartScope| match scope {
        SmartScope::Resource(_) => true,
        SmartScope::Special(special) => special.is_of_services(),
    };
    let scopes = asked.intersect(known).filtered(is_of_services);
    if scopes.is_empty() {
        return Err(Refusal::scope("none of these scopes is authorized for the client"));
    }
    Ok(scopes)
}
