//! `refresh_token`: each is used once, for its successor and a new access token.
//!
//! A client that lost the answer may ask again for a few seconds, and hears the same successor. Whoever
//! shows a used token otherwise may have stolen it, or had it stolen: then everything of the grant
//! ends.
//!
//! Spec: RFC 6749 section 6, security R1 to R3

use crate::access::scope::ScopeSet;
use crate::fhir::Instant;
use crate::oauth::Authority;
use crate::oauth::form::Form;
use crate::oauth::refusal::Refusal;
use crate::oauth::secret::{self, Fresh};
use crate::store::oauth::client::Client;
use crate::store::oauth::session;
use crate::store::oauth::token::{self, Rotation, Token, TokenKind};

use super::answer::Answer;
use super::{Denied, Issued};

/// How long a client may ask again, in milliseconds.
pub(in crate::oauth) const GRACE: i64 = 10_000;

impl Authority {
    pub(super) async fn refresh(&self, client: &Client, form: &Form) -> Result<Issued, Denied> {
        let shown = form.need("refresh_token")?;
        let asked = form.get("scope");
        let now = self.clock.now();
        let hash = secret::hash(shown);
        if let Some(token) = token::find(&self.store, &hash).await? {
            self.check_standing(&token).await?;
        }
        let decide = |token: &Token| self.rotation(token, shown, asked, client, now);
        let rotated = token::rotate(&self.store, &hash, now, decide).await?;
        rotated.unwrap_or_else(|| Err(unknown().into()))
    }

    /// Refuses what nobody stands behind any more as when it was granted.
    async fn check_standing(&self, token: &Token) -> Result<(), Refusal> {
        let grant = &token.granted.grant;
        if let Some(session) = grant.session
            && !session::is_alive(&self.store, session, self.since()).await?
        {
            return Err(Refusal::grant("the session of the user is over"));
        }
        let account = match self.user_of(token).await? {
            None => return Err(Refusal::grant("the user may do nothing any more")),
            Some(None) => return Ok(()),
            Some(Some(account)) => account,
        };
        // Of a time before that was asked.
        let scopes = self.persons.roles.scopes(&token.scopes);
        if grant.reason.is_none() && self.needs_reason(&account, &scopes) {
            return Err(Refusal::grant("the user has to say why: authorize again"));
        }
        if !self.has_patient(token, &account).await? {
            let text = "the user has no access to the patient any more: authorize again";
            return Err(Refusal::grant(text));
        }
        Ok(())
    }

    /// What becomes of a refresh token that a client shows.
    fn rotation(
        &self,
        token: &Token,
        shown: &str,
        asked: Option<&str>,
        client: &Client,
        now: Instant,
    ) -> Rotation<Issued, Denied> {
        let grant = &token.granted.grant;
        if token.kind != TokenKind::Refresh || grant.client != client.id {
            return Rotation::Refuse(unknown().into());
        }
        if !token.is_unrevoked() || token.expires <= now {
            return Rotation::Refuse(Refusal::grant("the refresh token counts no more").into());
        }
        let again = token.replaced_at.map(|at| successor_again(token, at, shown, now));
        if let Some(None) = again {
            let text = "the refresh token was used before; its tokens count no more";
            let denied = Denied::alarm(Refusal::grant(text));
            return Rotation::End("a refresh token was used twice", denied);
        }
        let scopes = match self.narrowed(&token.scopes, asked) {
            Ok(scopes) => scopes,
            Err(refusal) => return Rotation::Refuse(refusal.into()),
        };
        let seconds = self.settings.access_token.as_secs();
        let (access, row) = self.new_access(&scopes.to_string(), seconds, now);
        let id_token = match self.id_token(grant, &scopes, now) {
            Ok(id_token) => id_token,
            Err(refusal) => return Rotation::Refuse(refusal.into()),
        };
        let told = (grant, self.settings.tenant.as_deref());
        let answer = Answer::new(told, access.text, &row.scopes, seconds).with_id_token(id_token);
        let issued = |refresh| Issued {
            answer: answer.with_refresh(Some(refresh)),
            grant: grant.id,
            token: row.id,
        };
        if let Some(successor) = again.flatten() {
            let done = issued(successor.text);
            return Rotation::Again(row, done);
        }
        let (next, next_row) = self.new_refresh(&token.scopes, now);
        match next.sealed_for(secret::REFRESH, shown) {
            Some(successor) => {
                let done = issued(next.text);
                Rotation::Replace { next: next_row, successor, access: row, done }
            }
            None => Rotation::Refuse(unknown().into()),
        }
    }

    /// The scopes of a new access token: those of the refresh token, or what of them is asked for.
    fn narrowed(&self, granted: &str, asked: Option<&str>) -> Result<ScopeSet, Refusal> {
        let granted = self.persons.roles.scopes(granted);
        let Some(asked) = asked else { return Ok(granted) };
        let count = asked.split(' ').filter(|token| !token.is_empty()).count();
        let wider = || Refusal::scope("more is asked for than was granted");
        let asked = self.persons.roles.scopes(asked);
        let is_within = asked.iter().count() == count && asked.is_within(&granted);
        if is_within && count > 0 { Ok(asked) } else { Err(wider()) }
    }
}

fn unknown() -> Refusal {
    Refusal::grant("the refresh token is not known")
}

/// The successor of a used token, for a client that may have lost the answer.
fn successor_again(token: &Token, at: Instant, shown: &str, now: Instant) -> Option<Fresh> {
    if now > at.plus_millis(GRACE) || token.is_successor_used {
        return None;
    }
    Fresh::unsealed(secret::REFRESH, token.successor.as_deref()?, shown)
}
