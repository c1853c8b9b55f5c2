//! Sessions of browsers: who is there, what was proved, and for how long that counts.
//!
//! A session is a row that the browser names by a cookie; when somebody logs in, or proves a second
//! factor, it is replaced by a new one, so that a cookie that was planted before is worth nothing.
//! One that lacks its second factor is half: it leads to the pages of second factors and nowhere else.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::access::interaction::Kind;
use crate::access::roles::Roles;
use crate::access::{Actor, Outcome, RequestContext};
use crate::error::Error;
use crate::fhir::Instant;
use crate::oauth::Authority;
use crate::oauth::secret::{self, Fresh};
use crate::store::oauth::account::{self, Account};
use crate::store::oauth::session::{self, NewSession, Session, Since};
use crate::store::oauth::{authorization, grant};

use super::handle;
use super::seal::Seal;

/// Passwords that are hashed at a time.
pub const HASHED_AT_ONCE: usize = 4;

/// What the authorization server needs to know persons.
pub struct Persons {
    /// Opens the secrets of authenticator apps.
    pub seal: Seal,
    /// How long a session lasts without a request.
    pub idle: Duration,
    /// How long in any case.
    pub absolute: Duration,
    /// Characters that a password has at least.
    pub shortest_password: usize,
    /// Turns at hashing passwords.
    pub hashing: Semaphore,
    /// The role of who sets the server up.
    pub first_role: String,
    /// What roles may do, and which need a second factor.
    pub roles: Roles,
}

/// Where a request of a browser comes from.
#[derive(Clone, Debug)]
pub struct Visitor(pub Arc<RequestContext>);

impl Visitor {
    /// The address.
    pub fn source(&self) -> Option<IpAddr> {
        self.0.source
    }

    /// For the ledger: nobody in particular.
    pub fn nobody(&self) -> Actor {
        Actor { name: "anonymous".to_owned(), request: self.0.clone() }
    }

    /// For the ledger: the person of an account.
    pub fn actor(&self, account: &Account) -> Actor {
        self.named(&account.name)
    }

    /// For the ledger: a person by name.
    pub fn named(&self, name: &str) -> Actor {
        Actor { name: format!("user:{name}"), request: self.0.clone() }
    }
}

/// A browser that has a session.
#[derive(Clone, Debug)]
pub struct Browser {
    /// What its cookie holds.
    pub cookie: SecretString,
    /// The session.
    pub session: Session,
    /// Who logged in.
    pub account: Option<Account>,
}

/// How far somebody is with logging in.
#[derive(Clone, Copy, Debug)]
pub enum Stage<'a> {
    /// Nobody has logged in.
    Nobody,
    /// The second factor is missing.
    Half(&'a Account),
    /// All that is needed was proved.
    Whole(&'a Account),
}

impl Browser {
    /// How far it is.
    pub fn stage(&self) -> Stage<'_> {
        match &self.account {
            None => Stage::Nobody,
            Some(account) if self.session.is_complete => Stage::Whole(account),
            Some(account) => Stage::Half(account),
        }
    }

    /// What its forms must repeat.
    pub fn csrf(&self) -> String {
        handle::csrf(&self.cookie)
    }

    /// When somebody logged in.
    pub fn auth_time(&self) -> Option<Instant> {
        self.session.auth_at.map(Instant::from_micros)
    }
}

impl Authority {
    /// The moments by which sessions are alive now.
    pub fn since(&self) -> Since {
        let now = self.clock.now();
        let before = |span: Duration| {
            let millis = i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
            now.plus_millis(-millis)
        };
        Since { now, seen: before(self.persons.idle), started: before(self.persons.absolute) }
    }

    /// The browser whose cookie this is, as long as its session is alive.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database; so in all functions of this module.
    pub async fn browser(&self, cookie: Option<&str>) -> Result<Option<Browser>, Error> {
        let Some((cookie, hash)) = cookie.and_then(|it| Some((it, handle::hash_of(it)?))) else {
            return Ok(None);
        };
        let Some(session) = session::find(&self.store, &hash, self.since()).await? else {
            return Ok(None);
        };
        let account = match session.account_id {
            Some(id) => account::by_id(&self.store, id).await?,
            None => None,
        };
        Ok(Some(Browser { cookie: SecretString::from(cookie.to_owned()), session, account }))
    }

    /// A session of nobody: what a form is bound to before somebody logs in.
    pub async fn begin_anonymous(&self) -> Result<Browser, Error> {
        self.begin(None, Vec::new(), false, None).await
    }

    /// The session of who just proved `factors`, in place of the one that the browser had. It is half
    /// when a second factor is needed and was not proved.
    pub(in crate::oauth) async fn begin_session(
        &self,
        account: Account,
        factors: Vec<String>,
        before: Option<&Browser>,
    ) -> Result<Browser, Error> {
        self.begin_session_at(self.clock.now(), account, factors, before).await
    }

    /// The same of who proved them then, elsewhere.
    pub(in crate::oauth) async fn begin_session_at(
        &self,
        auth_at: Instant,
        account: Account,
        factors: Vec<String>,
        before: Option<&Browser>,
    ) -> Result<Browser, Error> {
        let is_complete = factors.len() > 1 || !self.needs_factor(&account);
        self.begin(Some((account, auth_at)), factors, is_complete, before).await
    }

    /// Whether an account may not do without a second factor.
    pub fn needs_factor(&self, account: &Account) -> bool {
        account.has_factor || self.is_guarded(account)
    }

    /// Whether one of the account's roles asks for a second factor.
    pub(super) fn is_guarded(&self, account: &Account) -> bool {
        self.persons.roles.need_second_factor(account.roles.iter().map(String::as_str))
    }

    async fn begin(
        &self,
        person: Option<(Account, Instant)>,
        factors: Vec<String>,
        is_complete: bool,
        before: Option<&Browser>,
    ) -> Result<Browser, Error> {
        let Fresh { text, hash } = Fresh::new("", &*self.ids);
        let since = self.since();
        let (account, auth_at) = person.unzip();
        let id = self.ids.ordered();
        let account_id = account.as_ref().map(|it| it.id);
        let new = NewSession {
            hash: &hash,
            id,
            account: account_id,
            auth_at,
            factors: &factors,
            is_complete,
        };
        session::add(&self.store, new, since).await?;
        if let Some(before) = before {
            authorization::move_to(&self.store, before.session.id, id).await?;
            self.end_quietly(before).await?;
        }
        let auth_at = auth_at.map(Instant::as_micros);
        let session = Session { id, account_id, auth_at, factors, is_complete, challenge: None };
        Ok(Browser { cookie: text, session, account })
    }

    /// What stands for a session where a client acts for somebody who is not at a page of ours; `id` is
    /// what the ledger names it by.
    pub fn stand_in(&self, id: Uuid) -> Browser {
        let session = Session {
            id,
            account_id: None,
            auth_at: None,
            factors: Vec::new(),
            is_complete: false,
            challenge: None,
        };
        Browser { cookie: SecretString::default(), session, account: None }
    }

    /// Ends a session that another one replaces: what apps have by it ends with it, unless the same
    /// person just logged in again.
    async fn end_quietly(&self, browser: &Browser) -> Result<(), Error> {
        session::end(&self.store, &handle_of(browser)).await?;
        self.end_online(browser.session.id).await
    }

    async fn end_online(&self, session: Uuid) -> Result<(), Error> {
        let now = self.clock.now();
        let why = "the session ended";
        grant::end_grants_of_session(&self.store, session, why, now).await.map(drop)
    }

    /// Logs out: the session ends, and with it what apps may do only as long as it lasts.
    pub async fn log_out(&self, browser: &Browser, visitor: &Visitor) -> Result<(), Error> {
        session::end(&self.store, &handle_of(browser)).await?;
        self.end_online(browser.session.id).await?;
        let Some(account) = &browser.account else { return Ok(()) };
        let actor = visitor.actor(account);
        self.gate.note(Kind::Logout, &actor, Outcome::Success, "").await
    }
}

/// What is kept of the cookie.
pub(super) fn handle_of(browser: &Browser) -> [u8; 32] {
    use secrecy::ExposeSecret as _;
    secret::hash(browser.cookie.expose_secret())
}
