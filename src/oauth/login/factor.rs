//! Second factors: setting them up, proving them, recovery codes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::NONCE_LEN;
use secrecy::SecretString;
use uuid::Uuid;

use crate::access::Outcome;
use crate::access::interaction::Kind;
use crate::error::Error;
use crate::oauth::{Authority, secret};
use crate::store::oauth::account::Account;
use crate::store::oauth::factor::{self, NewFactor};
use crate::store::oauth::session as sessions;

use super::session::{Browser, Visitor, handle_of};
use super::totp;
use super::webauthn::{self, Expected};

pub use crate::store::oauth::factor::Factor;

/// Recovery codes that are made at a time.
const RECOVERY_CODES: usize = 10;

/// What somebody proves with.
pub enum Proof<'a> {
    /// A code of an app, or a recovery code.
    Code(&'a str),
    /// What a security key signed.
    Key(KeyProof<'a>),
}

/// What a security key signed, in base64url as the page sends it.
#[derive(Clone, Copy)]
pub struct KeyProof<'a> {
    /// Which credential.
    pub credential: &'a str,
    /// `clientDataJSON`
    pub client_data: &'a str,
    /// `authenticatorData`
    pub authenticator_data: &'a str,
    /// The signature.
    pub signature: &'a str,
}

/// What came of a proof.
pub enum Proved {
    /// It counts: the browser has a new session, which is whole.
    Done(Box<Browser>),
    /// Too many failures: how many seconds to wait.
    Wait(i64),
    /// It does not count.
    Wrong,
}

/// An authenticator app that is being set up.
pub struct NewApp {
    /// The secret, to type.
    pub secret: SecretString,
    /// The same for apps that take links.
    pub link: SecretString,
}

impl Authority {
    /// Proves the second factor of who has logged in by a password.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database; so in all functions of this module.
    pub async fn prove(
        &self,
        browser: &Browser,
        account: &Account,
        proof: Proof<'_>,
        visitor: &Visitor,
    ) -> Result<Proved, Error> {
        let actor = visitor.actor(account);
        if let Some(seconds) = self.try_factor(account).await? {
            let text = "too many failures: the second factor has to wait";
            self.gate.note(Kind::SecondFactor, &actor, Outcome::Refused, text).await?;
            return Ok(Proved::Wait(seconds));
        }
        let factors = factor::of_account(&self.store, account.id).await?;
        let proved = match proof {
            Proof::Code(code) => self.prove_code(account, &factors, code).await?,
            Proof::Key(key) => self.prove_key(browser, account, &factors, key).await?,
        };
        let Some(kind) = proved else {
            let text = "a second factor was wrong";
            self.gate.note(Kind::SecondFactor, &actor, Outcome::Refused, text).await?;
            return Ok(Proved::Wrong);
        };
        self.forget_tries(account).await?;
        self.gate.note(Kind::SecondFactor, &actor, Outcome::Success, kind).await?;
        let whole = self.complete(browser, account, kind).await?;
        Ok(Proved::Done(Box::new(whole)))
    }

    /// Whether a code of somebody who is logged in long since is right at this moment.
    pub async fn prove_again(
        &self,
        account: &Account,
        code: &str,
        visitor: &Visitor,
    ) -> Result<bool, Error> {
        let actor = visitor.actor(account);
        if self.try_factor(account).await?.is_some() {
            let text = "too many failures: the second factor has to wait";
            self.gate.note(Kind::SecondFactor, &actor, Outcome::Refused, text).await?;
            return Ok(false);
        }
        let factors = factor::of_account(&self.store, account.id).await?;
        let proved = match self.prove_code(account, &factors, code).await? {
            Some(kind) => Some(kind),
            None => self.take_step_up(account, code).await?.then_some("webauthn"),
        };
        let Some(kind) = proved else {
            let text = "a second factor was wrong";
            self.gate.note(Kind::SecondFactor, &actor, Outcome::Refused, text).await?;
            return Ok(false);
        };
        self.forget_tries(account).await?;
        self.gate.note(Kind::SecondFactor, &actor, Outcome::Success, kind).await?;
        Ok(true)
    }

    /// The whole session in place of a half one.
    async fn complete(
        &self,
        browser: &Browser,
        account: &Account,
        kind: &str,
    ) -> Result<Browser, Error> {
        let mut proved = browser.session.factors.clone();
        proved.push(kind.to_owned());
        self.begin_session(account.clone(), proved, Some(browser)).await
    }

    async fn prove_code(
        &self,
        account: &Account,
        factors: &[Factor],
        code: &str,
    ) -> Result<Option<&'static str>, Error> {
        let now = self.clock.now();
        let seconds = now.as_micros().div_euclid(1_000_000);
        for app in factors.iter().filter(|it| it.kind == "totp" && it.is_confirmed) {
            let Some(secret) = self.unsealed(account, app) else { continue };
            let Some(step) = totp::step_of(&secret, code, seconds) else { continue };
            // A code that somebody has seen being typed is good for nothing.
            if factor::advance(&self.store, account.id, app.id, step, now).await? {
                return Ok(Some("totp"));
            }
        }
        let is_code = factor::take_recovery(&self.store, account.id, &recovery_hash(code)).await?;
        Ok(is_code.then_some("recovery"))
    }

    pub(super) async fn prove_key(
        &self,
        browser: &Browser,
        account: &Account,
        factors: &[Factor],
        key: KeyProof<'_>,
    ) -> Result<Option<&'static str>, Error> {
        let Some(challenge) = self.take_challenge(browser).await? else { return Ok(None) };
        let decoded = [key.credential, key.client_data, key.authenticator_data, key.signature]
            .map(|text| URL_SAFE_NO_PAD.decode(text).unwrap_or_default());
        let [credential, client_data, data, signature] = decoded;
        let is_it = |it: &&Factor| {
            it.is_confirmed && it.credential.as_deref() == Some(credential.as_slice())
        };
        let Some(known) = factors.iter().find(is_it) else { return Ok(None) };
        let expected = self.expected(&challenge);
        let asserted = webauthn::assert(&known.secret, &client_data, &data, &signature, expected);
        let Ok(count) = asserted else { return Ok(None) };
        let (id, now) = (known.id, self.clock.now());
        let is_new = factor::advance(&self.store, account.id, id, count.into(), now).await?;
        Ok(is_new.then_some("webauthn"))
    }

    /// A challenge for the security keys of this session.
    pub async fn challenge(&self, browser: &Browser) -> Result<String, Error> {
        let challenge = self.ids.secret();
        let hash = handle_of(browser);
        sessions::set_challenge(&self.store, &hash, Some(&challenge)).await?;
        Ok(URL_SAFE_NO_PAD.encode(challenge))
    }

    /// The challenge, which counts once.
    async fn take_challenge(&self, browser: &Browser) -> Result<Option<Vec<u8>>, Error> {
        sessions::set_challenge(&self.store, &handle_of(browser), None).await?;
        Ok(browser.session.challenge.clone())
    }

    /// What an answer of a security key must be for.
    fn expected<'a>(&'a self, challenge: &'a [u8]) -> Expected<'a> {
        let origin = self.origin();
        Expected { challenge, origin, relying_party: self.relying_party() }
    }

    /// The web origin of our pages.
    pub fn origin(&self) -> &str {
        let issuer = &self.settings.issuer;
        let host = issuer.find("://").map_or(0, |at| at + 3);
        let end = issuer[host..].find('/').map_or(issuer.len(), |at| host + at);
        &issuer[..end]
    }

    /// The name that security keys know us by: the host of our pages.
    pub fn relying_party(&self) -> &str {
        let origin = self.origin();
        let host = origin.split_once("://").map_or(origin, |(_, host)| host);
        match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        }
    }

    /// What security keys know an account by: nothing that tells who it is.
    pub fn key_user(&self, account: &Account) -> String {
        URL_SAFE_NO_PAD.encode(account.id.as_bytes())
    }

    /// The second factors of an account, those in the making too.
    pub async fn factors(&self, account: &Account) -> Result<Vec<Factor>, Error> {
        factor::of_account(&self.store, account.id).await
    }

    /// Begins to set up an authenticator app.
    pub async fn begin_app(&self, account: &Account) -> Result<NewApp, Error> {
        let random = self.ids.secret();
        let secret = &random[..totp::SECRET];
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&self.ids.secret()[..NONCE_LEN]);
        let sealed = self.persons.seal.seal(secret, account.id.as_bytes(), nonce);
        let sealed = sealed.ok_or_else(|| Error::internal("a secret cannot be sealed"))?;
        let new = NewFactor {
            id: self.ids.ordered(),
            kind: "totp",
            label: "Authenticator app",
            secret: &sealed,
            credential: None,
            counter: 0,
            is_confirmed: false,
        };
        factor::add(&self.store, account.id, new, self.clock.now()).await?;
        Ok(self.shown(account, secret))
    }

    /// The app that is being set up, to show again.
    pub async fn begun_app(&self, account: &Account) -> Result<Option<NewApp>, Error> {
        let factors = self.factors(account).await?;
        let begun = factors.iter().find(|it| it.kind == "totp" && !it.is_confirmed);
        let secret = begun.and_then(|app| self.unsealed(account, app));
        Ok(secret.map(|secret| self.shown(account, &secret)))
    }

    fn shown(&self, account: &Account, secret: &[u8]) -> NewApp {
        let text = totp::base32(secret);
        let host = self.relying_party();
        let name: String = account.name.chars().filter(char::is_ascii_alphanumeric).collect();
        let link = format!("otpauth://totp/Kiln:{name}?secret={text}&issuer=Kiln%20{host}");
        NewApp { secret: SecretString::from(text), link: SecretString::from(link) }
    }

    /// Ends setting up an app by a first code; `false` when it is wrong.
    pub async fn confirm_app(&self, account: &Account, code: &str) -> Result<bool, Error> {
        let factors = self.factors(account).await?;
        let now = self.clock.now();
        let seconds = now.as_micros().div_euclid(1_000_000);
        let begun = factors.iter().find(|it| it.kind == "totp" && !it.is_confirmed);
        let Some(app) = begun else { return Ok(false) };
        let secret = self.unsealed(account, app).unwrap_or_default();
        let Some(step) = totp::step_of(&secret, code, seconds) else { return Ok(false) };
        Ok(factor::advance(&self.store, account.id, app.id, step, now).await?
            && factor::confirm(&self.store, account.id, app.id, now).await?)
    }

    /// Registers a security key; `false` when what it sent cannot be taken.
    pub async fn add_key(
        &self,
        browser: &Browser,
        account: &Account,
        client_data: &str,
        attestation: &str,
    ) -> Result<bool, Error> {
        let Some(challenge) = self.take_challenge(browser).await? else { return Ok(false) };
        let [client_data, attestation] =
            [client_data, attestation].map(|it| URL_SAFE_NO_PAD.decode(it).unwrap_or_default());
        let expected = self.expected(&challenge);
        let registered = webauthn::register(&client_data, &attestation, expected);
        let Ok(credential) = registered else { return Ok(false) };
        let new = NewFactor {
            id: self.ids.ordered(),
            kind: "webauthn",
            label: "Security key",
            secret: &credential.key,
            credential: Some(&credential.id),
            counter: credential.count.into(),
            is_confirmed: true,
        };
        factor::add(&self.store, account.id, new, self.clock.now()).await
    }

    /// Ends the setting up of a factor: on record, and a half session becomes whole.
    pub async fn factor_added(
        &self,
        browser: &Browser,
        account: &Account,
        kind: &'static str,
        visitor: &Visitor,
    ) -> Result<Browser, Error> {
        let text = format!("a second factor was set up: {kind}");
        let actor = visitor.actor(account);
        self.gate.note(Kind::Admin, &actor, Outcome::Success, &text).await?;
        self.complete(browser, account, kind).await
    }

    /// New recovery codes in place of those before: shown once.
    pub async fn recovery_codes(
        &self,
        account: &Account,
        visitor: &Visitor,
    ) -> Result<Vec<SecretString>, Error> {
        factor::drop_recovery(&self.store, account.id).await?;
        let mut codes = Vec::new();
        for _ in 0..RECOVERY_CODES {
            let text = self.typed_code();
            let new = NewFactor {
                id: self.ids.ordered(),
                kind: "recovery",
                label: "",
                secret: &recovery_hash(&text),
                credential: None,
                counter: 0,
                is_confirmed: true,
            };
            factor::add(&self.store, account.id, new, self.clock.now()).await?;
            codes.push(spoken(&text));
        }
        let (actor, text) = (visitor.actor(account), "recovery codes were made anew");
        self.gate.note(Kind::Admin, &actor, Outcome::Success, text).await?;
        Ok(codes)
    }

    /// A code to type: 75 bits are too many to guess, and few enough to type.
    pub(super) fn typed_code(&self) -> String {
        totp::base32(&self.ids.secret()[..10])[..15].to_owned()
    }

    /// Removes a factor, unless it is the last one of an account that needs one.
    pub async fn remove_factor(
        &self,
        account: &Account,
        id: Uuid,
        visitor: &Visitor,
    ) -> Result<bool, Error> {
        let factors = self.factors(account).await?;
        let counts = |it: &&Factor| it.kind != "recovery" && it.is_confirmed;
        let is_last = factors.iter().filter(counts).all(|it| it.id == id);
        if is_last && self.is_guarded(account) {
            return Ok(false);
        }
        let is_done = factor::remove(&self.store, account.id, id).await?;
        if is_done {
            let actor = visitor.actor(account);
            let text = "a second factor was removed";
            self.gate.note(Kind::Admin, &actor, Outcome::Success, text).await?;
        }
        Ok(is_done)
    }

    fn unsealed(&self, account: &Account, app: &Factor) -> Option<Vec<u8>> {
        self.persons.seal.open_sealed(&app.secret, account.id.as_bytes())
    }
}

/// The security keys among factors, as a page names them.
pub fn key_ids(factors: &[Factor]) -> Vec<String> {
    let ids = factors.iter().filter(|it| it.is_confirmed).filter_map(|it| it.credential.as_ref());
    ids.map(|id| URL_SAFE_NO_PAD.encode(id)).collect()
}

/// What is kept of a recovery code, however it is typed.
fn recovery_hash(code: &str) -> [u8; 32] {
    secret::hash(&plain(code))
}

/// A code as it was made, however it is typed.
pub(super) fn plain(code: &str) -> String {
    let plain: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
    plain.to_ascii_uppercase()
}

/// A code in groups, as people read it.
pub(super) fn spoken(code: &str) -> SecretString {
    let letters: Vec<char> = code.chars().collect();
    let groups: Vec<String> = letters.chunks(5).map(String::from_iter).collect();
    SecretString::from(groups.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_code_is_the_same_however_it_is_typed() {
        for text in ["ABCDE-FGHIJ-KLMNO", "abcde fghij klmno", " abcdefghijklmno"] {
            assert_eq!(recovery_hash(text), recovery_hash("ABCDEFGHIJKLMNO"), "{text}");
        }
        assert_ne!(recovery_hash("ABCDE"), recovery_hash("ABCDF"));
    }
}
