//! Who stands behind a token of an outside server.

use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use crate::access::Principal;
use crate::access::consent::Asker;
use crate::access::grant::{Grant, OPAQUE_TOKENS, Panels, User};
use crate::access::scope::{ScopeSet, SmartScope, Special};
use crate::fhir::{Instant, LogicalId, ResourceType};
use crate::oauth::Authority;
use crate::oauth::bearer::{Known, Rejected};
use crate::oauth::secret;

use super::{Claims, Context, Server};

/// How long a token counts whose end nobody says, in seconds: until it is looked up again.
const UNTOLD: i64 = 5;
/// Longest name of a token that is kept, in bytes.
const MAX_JTI: usize = 512;

impl Authority {
    /// The principal of a token that counts.
    pub(super) async fn known_by(
        &self,
        outside: &Server,
        claims: &Claims,
        text: &str,
        now: i64,
    ) -> Result<Known, Rejected> {
        let client = client_of(outside, claims)?;
        let patient = self.outside_patient(claims)?;
        let survivor = match &patient {
            Some((id, _)) => self.store.survivor(id).await?,
            None => None,
        };
        let user = self.outside_user(outside, claims).await?;
        let purpose = outside.purpose(&self.persons.roles, user.is_some());
        let who = user.as_ref().and_then(|user| user.fhir_user.as_ref());
        let organizations = match who {
            Some(who) => self.store.organizations(who, self.clock.now()).await?,
            None => Vec::new(),
        };
        let asker = Asker { user: who, organizations: &organizations, purpose };
        let denials = self.store.denials(&asker, self.clock.now()).await?;
        let scopes = self.outside_scopes(outside, &claims.scope);
        let hash = id_of(text);
        let (token, token_name) = name_of(&claims.jti, hash);
        let grant = Grant {
            survivor,
            is_emergency: false,
            token,
            token_name,
            user,
            is_fhir_user_readable: scopes.has(Special::OpenId) && scopes.has(Special::FhirUser),
            scopes,
            patient,
            purpose: purpose.map(str::to_owned),
            // Nobody outside is asked why, so nothing that is granted there is open here.
            reason: None,
            denials,
            state: self.app_state(&client).await?,
            client,
        };
        let principal = Principal::from_grant(grant, &self.persons.roles);
        let principal = principal.map_err(|_| Rejected::Unknown)?;
        self.record_decision(&principal).await?;
        let end = claims.exp.unwrap_or((now + UNTOLD) as f64);
        // Further than any token counts, and still a time.
        let end = (end as i64).clamp(0, now.saturating_add(1_000_000_000));
        Ok(Known {
            principal,
            origins: Vec::new(),
            expires: Instant::from_micros(end.saturating_mul(1_000_000)),
            grant: hash,
        })
    }

    /// The patient in context, with its hash.
    fn outside_patient(&self, claims: &Claims) -> Result<Option<(LogicalId, i64)>, Rejected> {
        let Some(text) = claims.context.patient.as_deref() else { return Ok(None) };
        // A patient that is none must not become the absence of one.
        let id: LogicalId = text.parse().map_err(|_| Rejected::Unknown)?;
        let hash = self.store.hasher().patient(&id);
        Ok(Some((id, hash)))
    }

    /// What of the scopes counts here: nothing beyond the configuration, and nothing about our own
    /// tokens and launches.
    fn outside_scopes(&self, outside: &Server, text: &str) -> ScopeSet {
        let roles = &self.persons.roles;
        let scopes = roles.scopes(text).intersect(&roles.scopes(&outside.scopes));
        scopes.filtered(|scope| match scope {
            SmartScope::Resource(_) => true,
            SmartScope::Special(special) => {
                !special.is_of_services() && *special != Special::AdministerAsUser
            }
        })
    }

    /// Who uses the client; `None`: it acts by itself. Where there is a patient there is somebody, even
    /// if nobody says who: then it is nobody who may see more than others.
    async fn outside_user(
        &self,
        outside: &Server,
        claims: &Claims,
    ) -> Result<Option<User>, Rejected> {
        let subject = claims.sub.as_deref().filter(|it| Some(*it) != claims.client());
        let Context { patient, fhir_user } = &claims.context;
        if subject.is_none() && patient.is_none() && fhir_user.is_none() {
            return Ok(None);
        }
        let fhir_user = match fhir_user {
            None => None,
            Some(text) => Some(self.outside_resource(text).ok_or(Rejected::Unknown)?),
        };
        let panels = match &fhir_user {
            Some(who) => self.store.panels(who, self.clock.now()).await?,
            None => Panels::default(),
        };
        let name = User::outside_name(&outside.issuer, subject.unwrap_or("somebody"));
        Ok(Some(User {
            account: id_of(&name),
            name,
            fhir_user,
            roles: outside.roles.clone(),
            panels,
        }))
    }

    /// A resource of this server by its URL or relative reference.
    fn outside_resource(&self, text: &str) -> Option<(ResourceType, LogicalId)> {
        let base = &self.settings.base;
        let below = text.strip_prefix(base.as_str()).and_then(|rest| rest.strip_prefix('/'));
        let (of, id) = below.unwrap_or(text).split_once('/')?;
        Some((of.parse().ok()?, id.parse().ok()?))
    }
}

/// What the client is called here: names of theirs are not names of ours.
fn client_of(outside: &Server, claims: &Claims) -> Result<String, Rejected> {
    let client = claims.client().or(claims.sub.as_deref()).ok_or(Rejected::Unknown)?;
    // Nobody is on record by a name that the database does not keep.
    if client.contains('\0') || claims.sub.as_deref().is_some_and(|sub| sub.contains('\0')) {
        return Err(Rejected::Unknown);
    }
    Ok(format!("{}#{client}", outside.issuer))
}

/// The names of a token with a digest: the `jti` by which its issuer knows it, as it stands. What has none, or one
/// that nobody would keep or that could be taken for a digest, goes by the digest.
fn name_of(jti: &Value, hash: Uuid) -> (Uuid, Option<Arc<str>>) {
    let is_name = |jti: &&str| {
        (1..=MAX_JTI).contains(&jti.len())
            && !jti.chars().any(char::is_control)
            && !jti.starts_with(OPAQUE_TOKENS)
    };
    match jti.as_str().filter(is_name) {
        Some(jti) => match jti.parse::<Uuid>() {
            Ok(id) if id.to_string() == jti => (id, None),
            _ => (hash, Some(jti.into())),
        },
        None => (hash, Some(format!("{OPAQUE_TOKENS}{}", hash.simple()).into())),
    }
}

/// An id that a text always has: its hash, in the form of ids that are made otherwise.
fn id_of(text: &str) -> Uuid {
    let hash = secret::hash(text);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_goes_by_its_jti_as_it_stands_or_by_a_digest() {
        let own = "01990000-0000-7000-8000-0000000000aa";
        let hash = id_of("token");
        let digest = format!("{OPAQUE_TOKENS}{}", hash.simple());
        assert_eq!(digest.len(), OPAQUE_TOKENS.len() + 32, "as many as BALP has of a token");
        for (jti, named) in [
            (json!(own.to_uppercase()), own.to_uppercase()),
            (json!("onrtac:7 ä"), "onrtac:7 ä".to_owned()),
            (json!("j".repeat(MAX_JTI)), "j".repeat(MAX_JTI)),
            (json!("j".repeat(MAX_JTI + 1)), digest.clone()),
            (json!("a\0"), digest.clone()),
            (json!(""), digest.clone()),
            (json!(digest), digest.clone()),
            (json!(format!("{OPAQUE_TOKENS}x")), digest.clone()),
            (json!(7), digest.clone()),
            (Value::Null, digest.clone()),
        ] {
            let (token, name) = name_of(&jti, hash);
            assert_eq!((token, name.as_deref()), (hash, Some(named.as_str())), "{jti}");
        }
        let (token, name) = name_of(&json!(own), hash);
        assert_eq!((token.to_string().as_str(), name), (own, None));
    }
}
