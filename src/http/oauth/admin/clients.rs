//! `/admin/clients`

use axum::http::StatusCode;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::oauth::admin::Fault;
use crate::oauth::admin::clients::NewClient;
use crate::oauth::client::{AppType, Client, ClientKind, kept};

use super::desk::{Desk, Done};

/// A client as it is sent; the names are those of RFC 7591 where it has one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    client_id: String,
    client_name: Option<String>,
    #[serde(default)]
    application_type: Sort,
    /// `none`: it can keep no secret.
    token_endpoint_auth_method: Option<String>,
    logo_uri: Option<String>,
    #[serde(default)]
    redirect_uris: Vec<String>,
    #[serde(default)]
    origins: Vec<String>,
    initiate_login_uri: Option<String>,
    scope: String,
    jwks: Option<Value>,
    jwks_uri: Option<String>,
    #[serde(default)]
    state_systems: Vec<String>,
    purpose_of_use: Option<String>,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Sort {
    Backend,
    Ehr,
    Native,
    #[default]
    Web,
}

impl Sort {
    fn app_type(self) -> AppType {
        match self {
            Self::Backend => AppType::Backend,
            Self::Ehr => AppType::Ehr,
            Self::Native => AppType::Native,
            Self::Web => AppType::Web,
        }
    }
}

impl Sent {
    /// What is to be made. How the client proves itself follows from its keys, and must fit them.
    fn client(self) -> Result<NewClient, Fault> {
        let has_keys = self.jwks.is_some() || self.jwks_uri.is_some();
        let method = self.token_endpoint_auth_method.as_deref();
        let is_fit = match method {
            None | Some("none") => true,
            Some("client_secret_basic" | "client_secret_post") => !has_keys,
            Some("private_key_jwt") => has_keys,
            Some(_) => false,
        };
        if !is_fit {
            let text = "token_endpoint_auth_method is none, client_secret_basic, or with keys \
                        private_key_jwt";
            return Err(Fault::Invalid(text.to_owned()));
        }
        Ok(NewClient {
            is_public: method == Some("none"),
            id: self.client_id,
            name: self.client_name,
            app_type: self.application_type.app_type(),
            logo_uri: self.logo_uri,
            redirect_uris: self.redirect_uris,
            origins: self.origins,
            launch_uri: self.initiate_login_uri,
            scopes: self.scope,
            jwks: self.jwks.as_ref().map(Value::to_string),
            jwks_uri: self.jwks_uri,
            state_systems: self.state_systems,
            purpose: self.purpose_of_use,
        })
    }
}

/// `GET /admin/clients`
pub(super) async fn list(desk: Desk) -> Done {
    let all = desk.authority.list_clients(&desk.by).await?;
    let all: Vec<Value> = all.iter().map(|client| told(client).into()).collect();
    Ok((StatusCode::OK, json!({ "clients": all })))
}

/// `POST /admin/clients`
pub(super) async fn add(mut desk: Desk) -> Done {
    let sent: Sent = desk.json().await?;
    let client = desk.authority.acted(&desk.by, sent.client()).await?;
    let (client, secret) = desk.authority.admit_client(client, &desk.by).await?;
    Ok((StatusCode::CREATED, with_secret(&client, secret.as_ref())))
}

/// `GET /admin/clients/{id}`
pub(super) async fn show(desk: Desk) -> Done {
    let client = desk.authority.show_client(&desk.name(), &desk.by).await?;
    Ok((StatusCode::OK, told(&client).into()))
}

/// `POST /admin/clients/{id}/disable`
pub(super) async fn disable(desk: Desk) -> Done {
    let client = desk.authority.disable_client(&desk.name(), &desk.by).await?;
    Ok((StatusCode::OK, told(&client).into()))
}

/// `POST /admin/clients/{id}/secret`
pub(super) async fn rotate(desk: Desk) -> Done {
    let (client, secret) = desk.authority.rotate_secret(&desk.name(), &desk.by).await?;
    Ok((StatusCode::OK, with_secret(&client, secret.as_ref())))
}

/// A client and its new secret, which is told this once.
fn with_secret(client: &Client, secret: Option<&SecretString>) -> Value {
    let mut all = told(client);
    if let Some(secret) = secret {
        all.insert("client_secret".to_owned(), json!(secret.expose_secret()));
    }
    all.into()
}

/// A client as it is told; of its secrets only from when to when they count.
fn told(client: &Client) -> Map<String, Value> {
    let method = match client.kind {
        ClientKind::Key => "private_key_jwt",
        ClientKind::Public => "none",
        ClientKind::Secret => "client_secret_basic",
    };
    let secrets = kept(&client.secrets).into_iter().map(|secret| {
        let expires = secret.expires.map(|at| at.to_string());
        json!({ "created": secret.created.to_string(), "expires": expires })
    });
    let keys = client.jwks.as_deref().and_then(|text| serde_json::from_str(text).ok());
    let all = [
        ("client_id", json!(client.id)),
        ("client_name", json!(client.name)),
        ("application_type", json!(client.app_type.as_str())),
        ("token_endpoint_auth_method", json!(method)),
        ("redirect_uris", json!(client.redirect_uris)),
        ("origins", json!(client.origins)),
        ("initiate_login_uri", json!(client.launch_uri)),
        ("logo_uri", json!(client.logo_uri)),
        ("scope", json!(client.scopes)),
        ("jwks", keys.unwrap_or(Value::Null)),
        ("jwks_uri", json!(client.jwks_uri)),
        ("state_systems", json!(client.state_systems)),
        ("purpose_of_use", json!(client.purpose)),
        ("secrets", secrets.collect()),
        ("created", json!(client.created.to_string())),
        ("disabled_at", json!(client.disabled_at.map(|at| at.to_string()))),
        ("registered_itself", json!(client.is_registered)),
    ];
    let is_there = |(_, value): &(&str, Value)| !value.is_null();
    all.into_iter().filter(is_there).map(|(name, value)| (name.to_owned(), value)).collect()
}
