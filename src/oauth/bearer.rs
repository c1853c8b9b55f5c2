//! Access tokens at the FHIR endpoint: what stands behind one.
//!
//! A node remembers for a few seconds what it looked up, and forgets it as soon as it hears that it
//! changed. So a token that was taken back is of no use within that time, on every node.
//!
//! Spec: security E1, T11, R4, R6

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::access::Principal;
use crate::clock::Clock;
use crate::error::Error;
use crate::fhir;
use crate::store::oauth::notice::{Notice, Notices};
use crate::store::oauth::token::{self, Token, TokenKind};

use super::Authority;
use super::secret;
use super::token::Decisions;

/// How long what was looked up counts.
const KEPT: Duration = Duration::from_secs(5);
/// Most tokens that are remembered.
const MAX_TOKENS: usize = 50_000;
/// How often it is kept that an app is used, in milliseconds.
const BETWEEN_USES: i64 = 60_000;
/// Between two attempts to hear what other nodes tell.
const BETWEEN_ATTEMPTS: Duration = Duration::from_secs(1);

/// What stands behind a token.
#[derive(Debug)]
pub struct Known {
    /// Who it is, and what that party may do.
    pub principal: Principal,
    /// Web origins of the client.
    pub origins: Vec<String>,
    /// Until when the token counts.
    pub expires: fhir::Instant,
    /// The grant it belongs to.
    pub grant: Uuid,
}

/// Why a token lets nobody in.
#[derive(Debug)]
pub enum Rejected {
    /// It counted once.
    Expired,
    /// The database does not answer.
    Fault(Error),
    /// It is not known, or was taken back.
    Unknown,
}

impl From<Error> for Rejected {
    fn from(error: Error) -> Self {
        Self::Fault(error)
    }
}

/// What a node remembers of tokens.
#[derive(Default)]
pub struct Tokens {
    known: RwLock<HashMap<secret::Hash, (Instant, Arc<Known>)>>,
    /// What consents came down to for tokens.
    pub(super) decisions: Decisions,
}

impl Tokens {
    /// What is remembered of a token.
    pub fn get(&self, hash: &secret::Hash) -> Option<Arc<Known>> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let (at, found) = known.get(hash)?;
        (at.elapsed() < KEPT).then(|| found.clone())
    }

    /// What is remembered of a token by its text, and whether it counts now; else the hash to look it up by.
    ///
    /// # Errors
    /// The hash; within, [`Rejected::Expired`].
    pub fn remembered(
        &self,
        text: &str,
        clock: &dyn Clock,
    ) -> Result<Result<Arc<Known>, Rejected>, secret::Hash> {
        let hash = secret::hash(text);
        let known = self.get(&hash).ok_or(hash)?;
        Ok(if known.expires > clock.now() { Ok(known) } else { Err(Rejected::Expired) })
    }

    /// Remembers what was looked up at `at`.
    pub fn keep(&self, hash: secret::Hash, at: Instant, found: Arc<Known>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_TOKENS {
            known.retain(|_, (at, _)| at.elapsed() < KEPT);
        }
        if known.len() < MAX_TOKENS {
            known.insert(hash, (at, found));
        }
    }

    /// Forgets the tokens of a grant.
    pub fn forget_grant(&self, grant: Uuid) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, (_, known)| known.grant != grant);
    }

    /// Forgets everything.
    pub fn forget_all(&self) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Authority {
    /// What stands behind an access token.
    ///
    /// # Errors
    /// Each [`Rejected`].
    pub async fn bearer(&self, text: &str) -> Result<Arc<Known>, Rejected> {
        let is_like_ours = text.starts_with(secret::ACCESS);
        if !is_like_ours && self.trusted.is_none() {
            return Err(Rejected::Unknown);
        }
        let hash = match self.tokens.remembered(text, &*self.clock) {
            Ok(known) => return known,
            Err(hash) => hash,
        };
        // What is told while the database answers may not be in its answer.
        let at = Instant::now();
        let turn = self.turn();
        let own = if is_like_ours { self.look_up_own(&hash).await } else { Err(Rejected::Unknown) };
        let known = Arc::new(match (own, &self.trusted) {
            // Another Kiln has tokens like ours.
            (Err(Rejected::Unknown), Some(outside)) => self.look_up_outside(outside, text).await?,
            (own, _) => own?,
        });
        if turn == self.turn() {
            self.tokens.keep(hash, at, known.clone());
        }
        Ok(known)
    }

    async fn look_up_own(&self, hash: &secret::Hash) -> Result<Known, Rejected> {
        let token = token::find(&self.store, hash).await?;
        let token = token.filter(|it| it.kind == TokenKind::Access && it.is_unrevoked());
        let token = token.ok_or(Rejected::Unknown)?;
        if token.expires <= self.clock.now() {
            return Err(Rejected::Expired);
        }
        let known = self.look_up(&token).await?;
        self.note_use(&token).await;
        Ok(known)
    }

    /// Keeps when a token was used, for the person who let the app in: seldom, and as far as that can be kept.
    async fn note_use(&self, token: &Token) {
        let now = self.clock.now();
        if now < token.used.plus_millis(BETWEEN_USES) {
            return;
        }
        let kept = token::note_use(&self.store, token.granted.grant.id, now).await;
        if let Err(error) = kept {
            tracing::warn!(%error, "cannot keep when an app was used last");
        }
    }

    async fn look_up(&self, token: &Token) -> Result<Known, Rejected> {
        let grant = self.grant_of(token).await?.ok_or(Rejected::Unknown)?;
        let client = self.client(&grant.client).await?.ok_or(Rejected::Unknown)?;
        // A grant whose scopes need what it does not have lets nobody in.
        let principal = Principal::from_grant(grant, &self.persons.roles);
        let principal = principal.map_err(|_| Rejected::Unknown)?;
        self.record_decision(&principal).await?;
        Ok(Known {
            principal,
            origins: client.origins,
            expires: token.expires,
            grant: token.granted.grant.id,
        })
    }

    /// Forgets what other nodes, and this one, say has changed; without end.
    pub async fn follow_notices(&self) {
        loop {
            let heard = self.hear().await;
            self.forget(&Notice::Anything);
            let Err(error) = heard;
            tracing::warn!(%error, "cannot hear of tokens that end; they are looked up instead");
            tokio::time::sleep(BETWEEN_ATTEMPTS).await;
        }
    }

    async fn hear(&self) -> Result<std::convert::Infallible, Error> {
        let mut notices = Notices::listen(&self.store).await?;
        self.forget(&Notice::Anything);
        loop {
            let notice = notices.next().await?;
            self.forget(&notice);
        }
    }

    fn forget(&self, notice: &Notice) {
        self.turns.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        match notice {
            Notice::Grant(grant) => self.tokens.forget_grant(*grant),
            Notice::Anything => {
                self.tokens.forget_all();
                self.origins.forget();
            }
        }
    }

    /// Changes with every word that is heard.
    fn turn(&self) -> u64 {
        self.turns.load(std::sync::atomic::Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(grant: u128) -> Arc<Known> {
        Arc::new(Known {
            principal: Principal::open(),
            origins: Vec::new(),
            expires: fhir::Instant::from_micros(0),
            grant: Uuid::from_u128(grant),
        })
    }

    #[test]
    fn a_node_forgets_in_time_and_what_it_is_told_to() {
        let (tokens, now) = (Tokens::default(), Instant::now());
        let hash = |text: &str| secret::hash(text);
        let old = now.checked_sub(KEPT).expect("a machine that runs for some seconds");
        tokens.keep(hash("a"), now, known(1));
        tokens.keep(hash("b"), now, known(2));
        tokens.keep(hash("old"), old, known(3));
        let has = |text: &str| tokens.get(&hash(text)).is_some();
        assert_eq!((has("a"), has("b"), has("old"), has("x")), (true, true, false, false));
        tokens.forget_grant(Uuid::from_u128(1));
        assert_eq!((has("a"), has("b")), (false, true));
        tokens.forget_all();
        assert!(!has("b"));
    }
}
