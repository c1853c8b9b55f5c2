//! Breaking the glass: who must see what a patient keeps back, and may, asks for it anew.
//!
//! A clinician whose app has a token sends it with the patient, the reason and a second factor that is
//! proved at this moment: a code of an app, a recovery code, or one that a security key makes at our pages
//! ([`super::step_up`]). The answer is another token: for that patient alone, for reading alone, no
//! wider than the first, of an hour at most. What patients deny does not count under it, but for denials that
//! name the purpose, where the operator has them heeded (`auth.heed_emergency_bans`). It is on record
//! as an alert that names the consents it went past, every use of it carries the purpose, and it waits
//! in a queue until somebody has reviewed it (`kiln emergency`).
//!
//! Spec: security S8, M8

use std::sync::Arc;
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::access::caller::Caller;
use crate::access::consent::{Asker, Denial, EMERGENCIES};
use crate::access::grant::{AppState, Grant, Panels, User};
use crate::access::interaction::Kind;
use crate::access::roles::EMERGENCY;
use crate::access::scope::{ScopeSet, SmartScope};
use crate::access::{Disclosed, Outcome, Principal, RequestContext};
use crate::fhir::LogicalId;
use crate::store::oauth::account::{self, Account};
use crate::store::oauth::emergency::{self, Emergency};
use crate::store::oauth::grant::NewGrant;
use crate::store::oauth::token::{self, NewToken, Token, TokenKind};

use crate::oauth::Authority;
use crate::oauth::form::Form;
use crate::oauth::person::fhir_user;
use crate::oauth::refusal::{Code, Refusal};
use crate::oauth::secret::{self, Fresh};

use super::session::Visitor;

/// How long it lasts.
const LIFETIME: Duration = Duration::from_hours(1);
/// The shortest reason, and the longest, in bytes.
const REASON: std::ops::RangeInclusive<usize> = 10..=2_000;

/// Whether a purpose of use is that of an emergency.
pub(in crate::oauth) fn is_purpose(code: &str) -> bool {
    EMERGENCIES.contains(&code)
}

/// What is asked, and by whom.
struct Asking<'f> {
    token: Token,
    account: Account,
    patient: LogicalId,
    purpose: &'f str,
    reason: &'f str,
}

impl Authority {
    /// Makes a token for an emergency; the JSON that the client is told.
    ///
    /// # Errors
    /// Why not: what is missing, or what the caller may not.
    pub async fn break_glass(
        &self,
        form: &Form,
        bearer: Option<&str>,
        request: &Arc<RequestContext>,
    ) -> Result<Value, Refusal> {
        let visitor = Visitor(request.clone());
        let known = self.clinician(bearer).await;
        let name = known.as_ref().ok().map(|(_, account)| account.name.clone());
        let done = match known {
            Ok((token, account)) => self.break_as(form, token, account, &visitor).await,
            Err(refusal) => Err(refusal),
        };
        match done {
            Err(refusal @ Refusal::Protocol { .. }) => {
                let actor = name.map_or_else(|| visitor.nobody(), |name| visitor.named(&name));
                let told = refusal.told();
                self.gate.note(Kind::BreakGlass, &actor, Outcome::Refused, &told).await?;
                Err(refusal)
            }
            other => other,
        }
    }

    async fn break_as(
        &self,
        form: &Form,
        token: Token,
        account: Account,
        visitor: &Visitor,
    ) -> Result<Value, Refusal> {
        // Nobody goes on from one emergency into the next.
        let is_emergency = token.granted.grant.purpose.as_deref().is_some_and(is_purpose);
        if is_emergency || !account.roles.iter().any(|role| role == EMERGENCY) {
            return Err(Refusal::new(Code::AccessDenied, "the user may not break the glass"));
        }
        let purpose = form.get("purpose").unwrap_or(EMERGENCIES[0]);
        if !is_purpose(purpose) {
            return Err(Refusal::request("the purpose is BTG or ETREAT"));
        }
        let reason = form.get("reason").map(str::trim).unwrap_or_default();
        if !REASON.contains(&reason.len()) {
            return Err(Refusal::request("a reason is needed, of ten letters at least"));
        }
        let patient = form.get("patient").and_then(|id| id.parse().ok());
        let patient = patient.ok_or_else(|| Refusal::request("patient is the id of one"))?;
        let code = form.get("code").ok_or_else(|| Refusal::request("a second factor is needed"))?;
        if !self.prove_again(&account, code, visitor).await? {
            return Err(Refusal::new(Code::AccessDenied, "the second factor is not right"));
        }
        if self.is_forbidden(&account, &patient, purpose).await? {
            let text = "the patient forbids access in an emergency too";
            return Err(Refusal::new(Code::AccessDenied, text));
        }
        self.issue_emergency(Asking { token, account, patient, purpose, reason }, visitor).await
    }

    /// Whether a patient forbids all access to somebody for this purpose, where that is heeded.
    async fn is_forbidden(
        &self,
        account: &Account,
        patient: &LogicalId,
        purpose: &str,
    ) -> Result<bool, Refusal> {
        if !self.settings.heeds_bans {
            return Ok(false);
        }
        let (who, now) = (fhir_user(account), self.clock.now());
        let organizations = match &who {
            Some(who) => self.store.organizations(who, now).await?,
            None => Vec::new(),
        };
        let purpose = Some(purpose);
        let asker = Asker { user: who.as_ref(), organizations: &organizations, purpose };
        let denials = self.store.denials(&asker, now).await?;
        let whose = self.store.hasher().patient(patient);
        let survivor = self.store.survivor(patient).await?;
        let is_theirs = |denial: &Denial| {
            denial.patient == whose || survivor.is_some_and(|survivor| survivor == denial.patient)
        };
        let mut binding = denials.iter().filter(|denial| denial.is_binding);
        Ok(binding.any(|denial| denial.is_of_everything() && is_theirs(denial)))
    }

    /// The token, and the account of its user.
    async fn clinician(&self, bearer: Option<&str>) -> Result<(Token, Account), Refusal> {
        let missing = || Refusal::new(Code::InvalidToken, "an access token of a user is needed");
        let text = bearer.ok_or_else(missing)?;
        let found = token::find(&self.store, &secret::hash(text)).await?;
        let live = found.filter(|it| it.kind == TokenKind::Access && it.is_live(self.clock.now()));
        let token = live.ok_or_else(missing)?;
        let id = token.granted.grant.account.ok_or_else(missing)?;
        let account = account::by_id(&self.store, id).await?.filter(|it| !it.is_disabled);
        let account = account.ok_or_else(missing)?;
        Ok((token, account))
    }

    async fn issue_emergency(
        &self,
        asking: Asking<'_>,
        visitor: &Visitor,
    ) -> Result<Value, Refusal> {
        let Asking { token, account, patient, purpose, reason } = asking;
        let asked = self.persons.roles.scopes(&token.scopes);
        let scopes: ScopeSet = asked
            .resources()
            .filter_map(|scope| scope.reading_of_patient().map(SmartScope::Resource))
            .collect();
        if scopes.is_empty() {
            return Err(Refusal::scope("the token lets nobody read"));
        }
        let now = self.clock.now();
        let until = now.plus_millis(i64::try_from(LIFETIME.as_millis()).unwrap_or(0));
        let before = token.granted.grant;
        let grant = NewGrant {
            id: self.ids.ordered(),
            scopes: scopes.to_string(),
            patient: Some(patient.to_string()),
            encounter: None,
            context: None,
            is_offline: false,
            purpose: Some(purpose.to_owned()),
            reason: Some(reason.to_owned()),
            created: now,
            ..before
        };
        let fresh = Fresh::new(secret::ACCESS, &*self.ids);
        let new = NewToken {
            hash: fresh.hash,
            id: self.ids.ordered(),
            kind: TokenKind::Access,
            scopes: grant.scopes.clone(),
            expires: until,
        };
        let emergency = Emergency {
            grant: grant.id,
            account: account.name.clone(),
            client: grant.client.clone(),
            patient: patient.to_string(),
            purpose: purpose.to_owned(),
            reason: reason.to_owned(),
            at: now,
            until,
            review: None,
        };
        self.record_emergency(&grant, &new, &account, &patient, visitor).await?;
        emergency::issue(&self.store, &grant, new, &emergency).await?;
        metrics::counter!("kiln_break_glass_total").increment(1);
        tracing::warn!(grant = %grant.id, "the glass was broken; see `kiln emergency list`");
        Ok(json!({
            "access_token": fresh.text.expose_secret(),
            "token_type": "Bearer",
            "expires_in": LIFETIME.as_secs(),
            "scope": grant.scopes,
            "patient": emergency.patient,
        }))
    }

    /// Puts the alert on record, before there is a token to use.
    async fn record_emergency(
        &self,
        grant: &NewGrant,
        new: &NewToken,
        account: &Account,
        patient: &LogicalId,
        visitor: &Visitor,
    ) -> Result<(), Refusal> {
        let hash = self.store.hasher().patient(patient);
        let consents = self.store.consents_of(&[hash]).await?;
        let consents = consents.into_iter().flat_map(|(_, ids)| ids);
        let mut entities: Vec<String> =
            consents.into_iter().map(|id| format!("Consent/{id}")).collect();
        entities.push(format!("grant {} token {}", grant.id, new.id));
        let party = Grant {
            token: new.id,
            token_name: None,
            client: grant.client.clone(),
            user: Some(User {
                account: account.id,
                name: account.name.clone(),
                fhir_user: fhir_user(account),
                roles: account.roles.clone(),
                panels: Panels::default(),
            }),
            scopes: ScopeSet::default(),
            patient: Some((patient.clone(), hash)),
            purpose: grant.purpose.clone(),
            reason: None,
            survivor: None,
            is_emergency: true,
            is_fhir_user_readable: false,
            denials: Arc::default(),
            state: AppState::default(),
        };
        let principal = Principal::from_grant(party, &self.persons.roles)
            .map_err(|_| Refusal::new(Code::AccessDenied, "the user may not break the glass"))?;
        let caller = Caller { principal, request: visitor.0.clone() };
        let disclosed = Disclosed { patients: vec![hash], entities, ..Disclosed::default() };
        Ok(self.gate.note_about(Kind::BreakGlass, &caller, disclosed, None).await?)
    }
}
