//! Logging in: names, passwords, one-time links, and how often they may be tried.
//!
//! A wrong name and a wrong password cost the same time and are answered alike. Failures are counted
//! by name and address (of version 6: its network) together: each after the fifth doubles the wait, up
//! to a quarter of an hour, and nobody can lock another one out from elsewhere.
//!
//! The record names the account that a refused login was for. A name that is nobody's is not recorded: it
//! may be a password in the wrong field. The first row of a party costs the record a commit more, which
//! would tell that there is such an account: refusals are told at moments that hide it.
//!
//! Spec: security A7, A8, M2, M3, V36

use std::net::IpAddr;
use std::time::Duration;

use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use thiserror::Error as ThisError;
use tokio::time::Instant as Watch;
use unicode_normalization::UnicodeNormalization as _;
use uuid::Uuid;

use crate::access::grant::User;
use crate::access::interaction::Kind;
use crate::access::pace::Pace;
use crate::access::{Outcome, party_of};
use crate::error::Error;
use crate::fhir::Instant;
use crate::oauth::Authority;
use crate::oauth::secret::Fresh;
use crate::store::oauth::account::{self, NewAccount};
use crate::store::oauth::{attempt, factor, grant, session};

use super::handle;
use super::password::{self, SALT, Weakness};
use super::session::{Browser, Visitor};

pub use crate::store::oauth::account::{Account, Link};

/// How long a one-time link can be used.
const LINK_MILLIS: i64 = 24 * 60 * 60 * 1_000;
/// The longest name.
const LONGEST_NAME: usize = 100;

/// When it is told that a login is refused.
#[derive(Debug)]
pub(in crate::oauth) struct Paces {
    /// For a wrong name or password, which was hashed.
    wrong: Pace,
    /// For too many failures: apart, so that a flood of these does not shorten the step of those.
    waits: Pace,
}

impl Default for Paces {
    fn default() -> Self {
        let pace = |steps: [u64; 3]| {
            let [first, shortest, longest] = steps.map(Duration::from_millis);
            Pace::beginning(first, shortest, longest)
        };
        // A hash takes a twentieth of a second, and several times that where others are made beside it.
        Self { wrong: pace([512, 64, 2_048]), waits: pace([16, 16, 512]) }
    }
}

/// What came of a login.
pub enum LoggedIn {
    /// The password was right: the browser has a new session.
    Done(Box<Browser>),
    /// Too many failures: how many seconds to wait.
    Wait(i64),
    /// It was not, or there is no such account, or it is disabled.
    Wrong,
}

/// Why a password was not set.
#[derive(Debug, ThisError)]
pub enum Unset {
    /// The link was used, is too old, or never was.
    #[error("this link cannot be used any more")]
    Link,
    /// The name cannot be one.
    #[error("a user name has 1 to 100 characters without white space and ://")]
    Name,
    /// The name is taken.
    #[error("there is an account of that name")]
    Taken,
    /// The password is too weak.
    #[error(transparent)]
    Weak(#[from] Weakness),
    /// Something else.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// A name and a password as they are kept.
pub(in crate::oauth) struct Prepared {
    /// The name as it is compared.
    pub(in crate::oauth) folded: String,
    /// The hash of the password, where there is one.
    pub(in crate::oauth) hash: Option<String>,
}

/// The name as two of them are compared; none when it cannot be one. Names with an address in them are those of
/// users of outside servers (`User::outside_name`).
pub fn folded(name: &str) -> Option<String> {
    let folded: String = name.nfkc().flat_map(char::to_lowercase).collect();
    let is_plain = |it: char| !it.is_whitespace() && !it.is_control();
    let is_fit = (1..=LONGEST_NAME).contains(&folded.chars().count());
    let is_fit = is_fit && !folded.contains(User::OUTSIDE);
    (is_fit && folded.chars().all(is_plain)).then_some(folded)
}

/// What failures are counted by.
fn attempt_key(what: &str, whose: &str, from: Option<IpAddr>) -> [u8; 32] {
    let from = from.map(|it| party_of(Some(it))).unwrap_or_default();
    Sha256::digest(format!("{what}\n{whose}\n{from}")).into()
}

impl Authority {
    /// Logs somebody in by a password, in place of the session that the browser has.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database; so in all functions of this module.
    pub async fn log_in(
        &self,
        name: &str,
        password: SecretString,
        browser: Option<&Browser>,
        visitor: &Visitor,
    ) -> Result<LoggedIn, Error> {
        let began = Watch::now();
        let folded = folded(name);
        let now = self.clock.now();
        let found = match &folded {
            Some(folded) => account::by_name(&self.store, folded).await?,
            None => None,
        };
        let tried = found.as_ref().map_or_else(|| visitor.nobody(), |it| visitor.actor(it));
        let key = attempt_key("login", folded.as_deref().unwrap_or_default(), visitor.source());
        let failures = match attempt::begin(&self.store, &key, now).await? {
            Ok(failures) => failures,
            Err(seconds) => {
                let text = "too many failures: the login has to wait";
                self.gate.note(Kind::Login, &tried, Outcome::Refused, text).await?;
                self.paces.waits.even_out(began).await;
                return Ok(LoggedIn::Wait(seconds));
            }
        };
        let kept = found.as_ref().and_then(|account| account.password.clone());
        let is_right = self.is_right(password, kept).await?;
        let Some(account) = found.filter(|account| is_right && !account.is_disabled) else {
            let text = match failures {
                attempt::FREE.. => "wrong name or password; the next attempt has to wait",
                _ => "wrong name or password",
            };
            self.gate.note(Kind::Login, &tried, Outcome::Refused, text).await?;
            self.paces.wrong.even_out(began).await;
            return Ok(LoggedIn::Wrong);
        };
        attempt::clear(&self.store, &key).await?;
        let actor = visitor.actor(&account);
        self.gate.note(Kind::Login, &actor, Outcome::Success, "by password").await?;
        let session = self.begin_session(account, vec!["password".to_owned()], browser).await?;
        Ok(LoggedIn::Done(Box::new(session)))
    }

    /// Counts an attempt at a second factor: how many seconds to wait, if that must be.
    ///
    /// By account alone: who gets here has the password, so nobody else can be in the way.
    pub(super) async fn try_factor(&self, account: &Account) -> Result<Option<i64>, Error> {
        let key = attempt_key("factor", &account.id.to_string(), None);
        Ok(attempt::begin(&self.store, &key, self.clock.now()).await?.err())
    }

    /// Forgets the failures of a second factor.
    pub(super) async fn forget_tries(&self, account: &Account) -> Result<(), Error> {
        attempt::clear(&self.store, &attempt_key("factor", &account.id.to_string(), None)).await
    }

    /// Compares beside the other tasks, and not too many at a time: each takes 19 MiB.
    async fn is_right(&self, password: SecretString, kept: Option<String>) -> Result<bool, Error> {
        let _turn = self.persons.hashing.acquire().await.map_err(Error::internal)?;
        let work = move || password::is_right(&password, kept.as_deref());
        tokio::task::spawn_blocking(work).await.map_err(Error::internal)?.map_err(Error::internal)
    }

    /// The hash of a password that may be one of the account `name`.
    async fn hashed(&self, name: &str, password: SecretString) -> Result<String, Unset> {
        password::check(&password, name, self.persons.shortest_password)?;
        let mut salt = [0; SALT];
        salt.copy_from_slice(&self.ids.secret()[..SALT]);
        let _turn = self.persons.hashing.acquire().await.map_err(Error::internal)?;
        let work = move || password::hash(&password, salt);
        let hashed = tokio::task::spawn_blocking(work).await.map_err(Error::internal)?;
        Ok(hashed.map_err(Error::internal)?)
    }

    /// A name and a password as they are kept, if they can be those of an account.
    ///
    /// # Errors
    /// [`Unset`] says why not.
    pub(in crate::oauth) async fn prepared(
        &self,
        name: &str,
        password: Option<SecretString>,
    ) -> Result<Prepared, Unset> {
        let folded = folded(name).ok_or(Unset::Name)?;
        let hash = match password {
            Some(password) => Some(self.hashed(&folded, password).await?),
            None => None,
        };
        Ok(Prepared { folded, hash })
    }

    /// Makes an account; without a password, the person chooses one by a link.
    ///
    /// # Errors
    /// [`Unset`] says why not.
    pub async fn add_account(
        &self,
        name: &str,
        password: Option<SecretString>,
        fhir_user: Option<&str>,
        roles: &[String],
    ) -> Result<Uuid, Unset> {
        let Prepared { folded, hash } = self.prepared(name, password).await?;
        let id = self.ids.ordered();
        let password = hash.as_deref();
        let new = NewAccount { id, name, folded: &folded, password, fhir_user, roles };
        let is_new = account::add(&self.store, new, self.clock.now()).await?;
        is_new.then_some(id).ok_or(Unset::Taken)
    }

    /// A link by which a password is chosen, once: of an account, or of the first one.
    pub async fn make_link(&self, account: Option<Uuid>) -> Result<SecretString, Error> {
        let Fresh { text, hash } = Fresh::new("", &*self.ids);
        let expires = self.clock.now().plus_millis(LINK_MILLIS);
        account::add_link(&self.store, &hash, account, expires).await?;
        Ok(text)
    }

    /// What a link is for, as long as it can be used.
    pub async fn link(&self, text: &str) -> Result<Option<Link>, Error> {
        let Some(hash) = handle::hash_of(text) else { return Ok(None) };
        account::find_link(&self.store, &hash, self.clock.now()).await
    }

    /// Sets a password by a link, or makes the first account, an administrator.
    ///
    /// # Errors
    /// [`Unset`] says why not; the link can be used again then.
    pub async fn use_link(
        &self,
        text: &str,
        name: &str,
        password: SecretString,
        visitor: &Visitor,
    ) -> Result<(), Unset> {
        let hash = handle::hash_of(text).ok_or(Unset::Link)?;
        let now = self.clock.now();
        let link = account::find_link(&self.store, &hash, now).await?.ok_or(Unset::Link)?;
        let name = link.name.as_deref().unwrap_or(name);
        let folded = folded(name).ok_or(Unset::Name)?;
        let hashed = self.hashed(&folded, password).await?;
        let (is_done, what) = if link.account_id.is_some() {
            let taken = account::take_link(&self.store, &hash, &hashed, now).await?;
            if let Some(id) = taken {
                self.end_access(id, "the password was set anew", now).await?;
            }
            (taken.is_some(), "a password was set by a link")
        } else {
            let roles = [self.persons.first_role.clone()];
            let id = self.ids.ordered();
            let password = Some(hashed.as_str());
            let new =
                NewAccount { id, name, folded: &folded, password, fhir_user: None, roles: &roles };
            let is_made = account::add_first(&self.store, new, &hash, now).await?;
            (is_made, "the first account was made")
        };
        if !is_done {
            return Err(Unset::Link);
        }
        let actor = visitor.named(name);
        self.gate.note(Kind::Admin, &actor, Outcome::Success, what).await?;
        Ok(())
    }

    /// Voids the password, the second factors and all access of an account, and makes a link.
    pub async fn reset_account(&self, id: Uuid) -> Result<SecretString, Error> {
        account::set_password(&self.store, id, None).await?;
        factor::remove_all(&self.store, id).await?;
        self.end_access(id, "the password was reset", self.clock.now()).await?;
        self.make_link(Some(id)).await
    }

    /// Ends the sessions of an account and whatever apps have by it.
    pub async fn end_access(&self, id: Uuid, why: &str, now: Instant) -> Result<(), Error> {
        session::end_of_account(&self.store, id).await?;
        grant::end_grants_of_account(&self.store, id, why, now).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_compared_without_case_and_form() {
        for (name, expected) in [
            ("Ada.Miller", Some("ada.miller")),
            ("ＡＤＡ", Some("ada")),
            ("e\u{301}lan", Some("\u{e9}lan")),
            ("a b", None),
            ("a\0", None),
            ("a#b", Some("a#b")),
            ("https://tokens.example#ada", None),
            ("", None),
            (&"x".repeat(101), None),
        ] {
            assert_eq!(folded(name).as_deref(), expected, "{name:?}");
        }
    }

    #[test]
    fn failures_are_counted_by_name_and_address() {
        let key = |name, ip: &str| attempt_key("login", name, Some(ip.parse().unwrap()));
        assert_eq!(key("a", "192.0.2.1"), key("a", "::ffff:192.0.2.1"));
        assert_ne!(key("a", "192.0.2.1"), key("b", "192.0.2.1"));
        assert_ne!(key("a", "192.0.2.1"), key("a", "192.0.2.2"));
        assert_eq!(key("a", "2001:db8::1"), key("a", "2001:db8::2:1"));
        assert_ne!(key("a", "2001:db8::1"), key("a", "2001:db8:0:1::1"));
    }
}
