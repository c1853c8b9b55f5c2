//! Codes that a security key makes: for who has to prove a second factor in an app.
//!
//! A security key answers our own pages alone, so an app can ask it nothing. Who is logged in touches it at
//! such a page, and types the code that the page shows into the app. It works once, soon, and for that account.
//!
//! Spec: security S8, M4

use std::time::Duration;

use secrecy::SecretString;

use crate::access::Outcome;
use crate::access::interaction::Kind;
use crate::error::Error;
use crate::oauth::{Authority, secret};
use crate::store::oauth::account::{self, Account};

use super::factor::{KeyProof, plain, spoken};
use super::session::{Browser, Visitor};

/// How long a code works.
const LIFETIME: Duration = Duration::from_mins(2);

impl Authority {
    /// A code for a proof by a security key at this moment; `None`: the proof does not count, or has to wait.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn step_up(
        &self,
        browser: &Browser,
        account: &Account,
        key: KeyProof<'_>,
        visitor: &Visitor,
    ) -> Result<Option<SecretString>, Error> {
        let actor = visitor.actor(account);
        if self.try_factor(account).await?.is_some() {
            let text = "too many failures: the second factor has to wait";
            self.gate.note(Kind::SecondFactor, &actor, Outcome::Refused, text).await?;
            return Ok(None);
        }
        let factors = self.factors(account).await?;
        if self.prove_key(browser, account, &factors, key).await?.is_none() {
            let text = "a second factor was wrong";
            self.gate.note(Kind::SecondFactor, &actor, Outcome::Refused, text).await?;
            return Ok(None);
        }
        self.forget_tries(account).await?;
        let text = "webauthn, for a code to type into an app";
        self.gate.note(Kind::SecondFactor, &actor, Outcome::Success, text).await?;
        let code = self.typed_code();
        let until = i64::try_from(LIFETIME.as_millis()).unwrap_or(0);
        let expires = self.clock.now().plus_millis(until);
        account::add_code(&self.store, &hash(&code), account.id, expires).await?;
        Ok(Some(spoken(&code)))
    }

    /// Uses such a code up; whether it counted.
    pub(super) async fn take_step_up(&self, account: &Account, code: &str) -> Result<bool, Error> {
        account::use_link(&self.store, &hash(code), account.id, self.clock.now()).await
    }
}

/// What is kept of a code, however it is typed: never what is kept of a link, in which there is no space.
fn hash(code: &str) -> secret::Hash {
    secret::hash(&format!("kiln step-up {}", plain(code)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oauth::login::handle;

    #[test]
    fn a_code_is_no_link_and_the_same_however_it_is_typed() {
        let kept = hash("ABCDE-FGHIJ-KLMNO");
        assert_eq!(kept, hash(" abcde fghijklmno"));
        for link in ["ABCDE-FGHIJ-KLMNO", "ABCDEFGHIJKLMNO"] {
            assert!(handle::hash_of(link).is_some_and(|hash| hash.as_slice() != kept.as_slice()));
        }
        assert_eq!(handle::hash_of("kiln step-up ABCDEFGHIJKLMNO"), None);
    }
}
