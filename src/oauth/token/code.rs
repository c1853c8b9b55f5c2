//! `authorization_code`: a code, once, for the tokens of what a user agreed to.
//!
//! Spec: RFC 6749 section 4.1.3, RFC 7636, security L5, L6

use crate::access::scope::{ScopeSet, Special};
use crate::fhir::Instant;
use crate::oauth::Authority;
use crate::oauth::form::Form;
use crate::oauth::refusal::{Code as Reason, Refusal};
use crate::oauth::secret;
use crate::store::oauth::client::{AppType, Client};
use crate::store::oauth::grant::{self, Code, Exchanged, NewGrant};

use super::answer::Answer;
use super::{Denied, Issued};

impl Authority {
    pub(super) async fn exchange_code(
        &self,
        client: &Client,
        form: &Form,
    ) -> Result<Issued, Denied> {
        if client.app_type == AppType::Backend {
            let text = "a backend service has no users";
            return Err(Refusal::new(Reason::UnauthorizedClient, text).into());
        }
        let hash = secret::hash(form.need("code")?);
        let now = self.clock.now();
        let decide = |code: &Code| {
            self.check_code(code, client, form, now)?;
            let grant = &code.granted.grant;
            let seconds = self.settings.access_token.as_secs();
            let (access, row) = self.new_access(&grant.scopes, seconds, now);
            let token = row.id;
            let mut rows = vec![row];
            let scopes = self.persons.roles.scopes(&grant.scopes);
            let refresh =
                is_refreshed(grant, &scopes).then(|| self.new_refresh(&grant.scopes, now));
            let refresh = refresh.map(|(fresh, row)| {
                rows.push(row);
                fresh.text
            });
            let id_token = self.id_token(grant, &scopes, now)?;
            let answer = Answer::new(
                (grant, self.settings.tenant.as_deref()),
                access.text,
                &grant.scopes,
                seconds,
            )
            .with_refresh(refresh)
            .with_id_token(id_token);
            Ok::<_, Refusal>((Issued { answer, grant: grant.id, token }, rows))
        };
        match grant::exchange(&self.store, &hash, now, decide).await? {
            Exchanged::Done(issued) => Ok(issued),
            Exchanged::Refused(refusal) => Err(refusal.into()),
            Exchanged::Reused(_) => {
                let text = "the code was used before; its tokens count no more";
                Err(Denied::alarm(Refusal::grant(text)))
            }
            Exchanged::Unknown => Err(Refusal::grant("the code is not known").into()),
        }
    }

    fn check_code(
        &self,
        code: &Code,
        client: &Client,
        form: &Form,
        now: Instant,
    ) -> Result<(), Refusal> {
        if code.granted.grant.client != client.id {
            return Err(Refusal::grant("the code is not known"));
        }
        if code.expires <= now || code.granted.ended_at.is_some() {
            return Err(Refusal::grant("the code has expired"));
        }
        if form.get("redirect_uri") != Some(code.redirect_uri.as_str()) {
            return Err(Refusal::grant("redirect_uri is not the one that the code was sent to"));
        }
        if code.aud.trim_end_matches('/') != self.settings.base {
            return Err(Refusal::grant("the code is for another server"));
        }
        let verifier = form.get("code_verifier").filter(|verifier| is_verifier(verifier));
        let verifier = verifier
            .ok_or_else(|| Refusal::grant("code_verifier is missing, or none of RFC 7636"))?;
        let challenge = secret::challenge(verifier);
        if !secret::is_same(challenge.as_bytes(), code.challenge.as_bytes()) {
            return Err(Refusal::grant("code_verifier does not fit the challenge"));
        }
        Ok(())
    }
}

/// Whether a user agreed that the app goes on without it.
fn is_refreshed(grant: &NewGrant, scopes: &ScopeSet) -> bool {
    let while_there = grant.session.is_some() && scopes.has(Special::OnlineAccess);
    grant.is_offline && scopes.has(Special::OfflineAccess) || while_there
}

fn is_verifier(text: &str) -> bool {
    let is_unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (43..=128).contains(&text.len()) && text.bytes().all(is_unreserved)
}
