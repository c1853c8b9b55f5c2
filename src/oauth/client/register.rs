//! Clients that register themselves.
//!
//! Spec: RFC 7591, security R7

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};

use crate::access::scope::{Context, SmartScope, Special};
use crate::config::Registration;
use crate::oauth::Authority;
use crate::oauth::refusal::{Code, Refusal};
use crate::oauth::secret::{self, Fresh};
use crate::store::oauth::client::{self, AppType, Client, ClientKind};

use super::{check, kept, origin_of};

/// Most addresses of one client.
const MAX_URIS: usize = 20;

impl Authority {
    /// Registers a client, for who may.
    ///
    /// # Errors
    /// `invalid_token` without the right one; `access_denied` where nobody may; otherwise what is
    /// wrong with the client.
    pub async fn register(
        &self,
        asked: &Value,
        token: Option<&str>,
    ) -> Result<Map<String, Value>, Refusal> {
        self.may_register(token)?;
        let asked = asked.as_object();
        let asked = asked.ok_or_else(|| metadata("the body is no JSON object"))?;
        let mut client = self.asked_for(asked)?;
        let mut secret = None;
        if client.kind == ClientKind::Secret {
            let (text, secrets) = self.fresh_secret("[]");
            (secret, client.secrets) = (Some(text), secrets);
        }
        check(&client)?;
        let Fresh { text, hash } = Fresh::new(secret::REGISTRATION, &*self.ids);
        if !client::insert_with(&self.store, &client, Some(&hash)).await? {
            return Err(metadata("the client is there already"));
        }
        Ok(self.told(&client, asked, secret.as_ref(), text.expose_secret()))
    }

    fn may_register(&self, token: Option<&str>) -> Result<(), Refusal> {
        match (self.settings.registration, &self.settings.registration_token) {
            (Registration::Open, _) => Ok(()),
            (Registration::Token, Some(known)) => {
                let (known, shown) = (known.expose_secret(), token.unwrap_or_default());
                let is_known = secret::is_same(&secret::hash(known), &secret::hash(shown));
                let wrong = || Refusal::new(Code::InvalidToken, "registration needs its token");
                if is_known { Ok(()) } else { Err(wrong()) }
            }
            _ => Err(Refusal::new(Code::AccessDenied, "clients are registered by the operator")),
        }
    }

    pub(super) fn asked_for(&self, asked: &Map<String, Value>) -> Result<Client, Refusal> {
        let redirect_uris = texts(asked, "redirect_uris")?;
        if redirect_uris.is_empty() {
            return Err(Refusal::new(Code::InvalidRedirectUri, "redirect_uris is missing"));
        }
        let grants = texts(asked, "grant_types")?;
        let is_known = |it: &String| it == "authorization_code" || it == "refresh_token";
        if !grants.iter().all(is_known) {
            return Err(metadata("grant_types are authorization_code and refresh_token"));
        }
        let app_type = match text(asked, "application_type")? {
            None | Some("web") => AppType::Web,
            Some("native") => AppType::Native,
            Some(_) => return Err(metadata("application_type is web or native")),
        };
        let kind = match text(asked, "token_endpoint_auth_method")? {
            None | Some("client_secret_basic" | "client_secret_post") => ClientKind::Secret,
            Some("none") => ClientKind::Public,
            Some("private_key_jwt") => ClientKind::Key,
            Some(_) => return Err(metadata("token_endpoint_auth_method is not known")),
        };
        let origins = redirect_uris.iter().filter_map(|uri| origin_of(uri)).collect();
        let jwks = asked.get("jwks").filter(|jwks| !jwks.is_null()).map(Value::to_string);
        let name = text(asked, "client_name")?.unwrap_or("An app without a name").to_owned();
        Ok(Client {
            id: self.ids.ordered().to_string(),
            kind,
            app_type,
            name,
            logo_uri: text(asked, "logo_uri")?.map(str::to_owned),
            redirect_uris,
            origins,
            launch_uri: text(asked, "initiate_login_uri")?.map(str::to_owned),
            scopes: self.scopes_of(text(asked, "scope")?.unwrap_or_default()),
            jwks,
            jwks_uri: text(asked, "jwks_uri")?.map(str::to_owned),
            secrets: "[]".to_owned(),
            created: self.clock.now(),
            disabled_at: None,
            is_registered: true,
            state_systems: Vec::new(),
            purpose: None,
        })
    }

    /// What of `asked` somebody whom nobody vouches for may be granted: nothing without a user.
    fn scopes_of(&self, asked: &str) -> String {
        let asked = self.persons.roles.scopes(asked);
        let without_system = |scope: &SmartScope| match scope {
            SmartScope::Resource(scope) => scope.context != Context::System,
            SmartScope::Special(special) => {
                !special.is_of_services() && *special != Special::AdministerAsUser
            }
        };
        asked.filtered(without_system).to_string()
    }
}

pub(super) fn metadata(text: &'static str) -> Refusal {
    Refusal::new(Code::InvalidClientMetadata, text)
}

pub(super) fn text<'a>(
    asked: &'a Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'a str>, Refusal> {
    match asked.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(metadata("a member that should be a text is none")),
    }
}

fn texts(asked: &Map<String, Value>, name: &'static str) -> Result<Vec<String>, Refusal> {
    let fault = || metadata("a member that should be a short list of texts is none");
    match asked.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(list)) if list.len() <= MAX_URIS => {
            list.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(fault)).collect()
        }
        Some(_) => Err(fault()),
    }
}

/// Members that are told and never sent.
pub(super) const TOLD: [&str; 4] = [
    "client_id_issued_at",
    "client_secret_expires_at",
    "registration_access_token",
    "registration_client_uri",
];

impl Authority {
    /// What the client hears: the only time that it sees its secret. `token` is what it manages its
    /// registration by.
    pub(super) fn told(
        &self,
        client: &Client,
        asked: &Map<String, Value>,
        secret: Option<&SecretString>,
        token: &str,
    ) -> Map<String, Value> {
        let mut told = described(client, asked);
        let mut tell = |name: &str, value: Value| told.insert(name.to_owned(), value);
        if let Some(secret) = secret {
            tell("client_secret", json!(secret.expose_secret()));
        }
        if client.kind == ClientKind::Secret {
            let newest = kept(&client.secrets).pop().and_then(|secret| secret.expires);
            let expires = newest.map_or(0, |at| at.as_micros().div_euclid(1_000_000));
            tell("client_secret_expires_at", json!(expires));
        }
        tell("registration_access_token", json!(token));
        let address = format!("{}/register/{}", self.settings.issuer, client.id);
        tell("registration_client_uri", json!(address));
        told
    }
}

/// A client as it registered itself.
fn described(client: &Client, asked: &Map<String, Value>) -> Map<String, Value> {
    let method = match client.kind {
        ClientKind::Key => "private_key_jwt",
        ClientKind::Public => "none",
        ClientKind::Secret => match asked.get("token_endpoint_auth_method") {
            Some(Value::String(method)) => method,
            _ => "client_secret_basic",
        },
    };
    let mut told = Map::new();
    let mut tell = |name: &str, value: Value| told.insert(name.to_owned(), value);
    tell("client_id", json!(client.id));
    tell("client_id_issued_at", json!(client.created.as_micros() / 1_000_000));
    tell("client_name", json!(client.name));
    tell("redirect_uris", json!(client.redirect_uris));
    tell("grant_types", json!(["authorization_code", "refresh_token"]));
    tell("response_types", json!(["code"]));
    tell("token_endpoint_auth_method", json!(method));
    tell("application_type", json!(client.app_type.as_str()));
    tell("scope", json!(client.scopes));
    for (name, value) in [
        ("logo_uri", &client.logo_uri),
        ("jwks_uri", &client.jwks_uri),
        ("initiate_login_uri", &client.launch_uri),
    ] {
        if let Some(value) = value {
            tell(name, json!(value));
        }
    }
    let keys = client.jwks.as_deref().and_then(|text| serde_json::from_str(text).ok());
    if let Some(keys) = keys {
        tell("jwks", keys);
    }
    told
}
