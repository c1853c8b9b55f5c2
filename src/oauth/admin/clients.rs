//! Clients as an administrator makes and ends them.

use secrecy::SecretString;

use crate::access::Caller;
use crate::access::consent::purpose;
use crate::oauth::Authority;
use crate::oauth::client::{check, origin_of};
use crate::oauth::discovery;
use crate::store::oauth::client::{self, AppType, Client, ClientKind};

use super::Fault;

/// A client to be.
#[derive(Debug)]
pub struct NewClient {
    /// `client_id`
    pub id: String,
    /// Its name, for people. Default: its id.
    pub name: Option<String>,
    /// What sort of program it is.
    pub app_type: AppType,
    /// Whether it can keep no secret.
    pub is_public: bool,
    /// Its picture.
    pub logo_uri: Option<String>,
    /// Where codes may be sent.
    pub redirect_uris: Vec<String>,
    /// Web origins of its pages, beside those of its redirects.
    pub origins: Vec<String>,
    /// Where an EHR launches it.
    pub launch_uri: Option<String>,
    /// What it may be granted at most.
    pub scopes: String,
    /// Its public keys, as JSON.
    pub jwks: Option<String>,
    /// Where they are.
    pub jwks_uri: Option<String>,
    /// Code systems by whose codes it keeps state of its own.
    pub state_systems: Vec<String>,
    /// What it uses data for when it acts by itself, as a code of v3-PurposeOfUse.
    pub purpose: Option<String>,
}

/// A client with its new secret, where it has one: the only time that it can be told.
pub type WithSecret = (Client, Option<SecretString>);

/// Whether what a client is to use data for is such, and the client acts by itself.
fn check_purpose(client: &Client) -> Result<(), Fault> {
    let Some(code) = &client.purpose else { return Ok(()) };
    if !matches!(client.app_type, AppType::Backend | AppType::Ehr) {
        let text = "a purpose of use is of a service: what people use data for, their roles say";
        return Err(Fault::Invalid(text.to_owned()));
    }
    if purpose::find(code).is_none() {
        let text = format!(
            "{code:?} is no purpose of use (v3-PurposeOfUse) that a client has; BTG and ETREAT are of who breaks the glass"
        );
        return Err(Fault::Invalid(text));
    }
    Ok(())
}

impl Authority {
    /// Adds a client.
    ///
    /// # Errors
    /// Each [`Fault`]; so in all functions of this module.
    pub async fn admit_client(&self, new: NewClient, by: &Caller) -> Result<WithSecret, Fault> {
        let done = self.try_admit(new, by).await;
        self.acted(by, done).await
    }

    async fn try_admit(&self, new: NewClient, by: &Caller) -> Result<WithSecret, Fault> {
        let (client, secret) = self.described(new)?;
        let unknown = self.unknown_scopes(&client.scopes);
        if !unknown.is_empty() {
            return Err(Fault::Invalid(format!("not a scope: {}", unknown.join(" "))));
        }
        check(&client)?;
        check_purpose(&client)?;
        self.check_state(&client).await?;
        let taken = || Fault::Taken(format!("there is a client {} already", client.id));
        if client::find(&self.store, &client.id).await?.is_some() {
            return Err(taken());
        }
        self.act(by, &client.id).await?;
        if !client::insert(&self.store, &client).await? {
            return Err(taken());
        }
        Ok((client, secret))
    }

    /// Whether the systems by whose codes a client is to keep state are such, and nobody else's.
    async fn check_state(&self, client: &Client) -> Result<(), Fault> {
        let is_system = |system: &String| {
            system.contains(':') && system.bytes().all(|it| it.is_ascii_graphic() && it != b'|')
        };
        if let Some(unfit) = client.state_systems.iter().find(|system| !is_system(system)) {
            return Err(Fault::Invalid(format!("{unfit:?} is no code system")));
        }
        if !client.state_systems.is_empty() && !self.settings.offers(discovery::APP_STATE) {
            return Err(Fault::Invalid("apps keep no state here".to_owned()));
        }
        let known = client::state_systems(&self.store).await?;
        let is_own = |(_, system): &&(String, String)| client.state_systems.contains(system);
        match known.iter().find(is_own) {
            Some((other, system)) => {
                Err(Fault::Taken(format!("client {other} keeps its state by codes of {system}")))
            }
            None => Ok(()),
        }
    }

    /// The client, and its secret when it is to have one.
    fn described(&self, new: NewClient) -> Result<WithSecret, Fault> {
        let has_keys = new.jwks.is_some() || new.jwks_uri.is_some();
        let kind = match (new.is_public, has_keys) {
            (true, true) => {
                let text = "a client without a secret of its own has no keys either";
                return Err(Fault::Invalid(text.to_owned()));
            }
            (true, false) => ClientKind::Public,
            (false, true) => ClientKind::Key,
            (false, false) => ClientKind::Secret,
        };
        let (secret, secrets) = if kind == ClientKind::Secret {
            let (secret, secrets) = self.fresh_secret("[]");
            (Some(secret), secrets)
        } else {
            (None, "[]".to_owned())
        };
        let mut origins = new.origins;
        origins.extend(new.redirect_uris.iter().filter_map(|uri| origin_of(uri)));
        origins.sort();
        origins.dedup();
        let client = Client {
            name: new.name.unwrap_or_else(|| new.id.clone()),
            id: new.id,
            kind,
            app_type: new.app_type,
            logo_uri: new.logo_uri,
            redirect_uris: new.redirect_uris,
            origins,
            launch_uri: new.launch_uri,
            scopes: new.scopes,
            jwks: new.jwks,
            jwks_uri: new.jwks_uri,
            secrets,
            created: self.clock.now(),
            disabled_at: None,
            is_registered: false,
            state_systems: new.state_systems,
            purpose: new.purpose,
        };
        Ok((client, secret))
    }

    /// Texts among scopes that are none, so that nobody waits for what can never be granted.
    pub fn unknown_scopes<'s>(&self, scopes: &'s str) -> Vec<&'s str> {
        let is_unknown = |scope: &&str| self.persons.roles.scopes(scope).is_empty();
        scopes.split_whitespace().filter(is_unknown).collect()
    }

    /// All clients.
    pub async fn list_clients(&self, by: &Caller) -> Result<Vec<Client>, Fault> {
        self.act(by, "clients").await?;
        Ok(client::list(&self.store).await?)
    }

    /// The client of an id, disabled or not.
    pub async fn show_client(&self, id: &str, by: &Caller) -> Result<Client, Fault> {
        let found = self.any_client(id).await;
        let client = self.acted(by, found).await?;
        self.act(by, id).await?;
        Ok(client)
    }

    async fn any_client(&self, id: &str) -> Result<Client, Fault> {
        let found = client::find(&self.store, id).await?;
        found.ok_or_else(|| Fault::Missing(format!("there is no client {id}")))
    }

    /// Lets a client do nothing any more: its tokens end within seconds.
    pub async fn disable_client(&self, id: &str, by: &Caller) -> Result<Client, Fault> {
        let done = self.try_disable(id, by).await;
        self.acted(by, done).await
    }

    async fn try_disable(&self, id: &str, by: &Caller) -> Result<Client, Fault> {
        let known = self.any_client(id).await?;
        if known.disabled_at.is_some() {
            let text = format!("there is no client {id} that could be disabled");
            return Err(Fault::Missing(text));
        }
        self.act(by, id).await?;
        let now = self.clock.now();
        client::disable(&self.store, id, now).await?;
        Ok(Client { disabled_at: Some(now), ..known })
    }

    /// Makes a new secret. The one before it counts until the next one is made, or until it expires.
    pub async fn rotate_secret(&self, id: &str, by: &Caller) -> Result<WithSecret, Fault> {
        let done = self.try_rotate(id, by).await;
        self.acted(by, done).await
    }

    async fn try_rotate(&self, id: &str, by: &Caller) -> Result<WithSecret, Fault> {
        let known = self.any_client(id).await?;
        if known.kind != ClientKind::Secret || known.disabled_at.is_some() {
            return Err(Fault::Missing(format!("there is no client {id} with a secret")));
        }
        let (secret, secrets) = self.fresh_secret(&known.secrets);
        self.act(by, id).await?;
        client::set_secrets(&self.store, id, &secrets).await?;
        Ok((Client { secrets, ..known }, Some(secret)))
    }
}
