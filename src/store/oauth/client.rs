//! Clients: apps and services that may ask for tokens.

use tokio_postgres::Row;

use crate::error::Error;
use crate::fhir::Instant;

use super::super::Store;
use super::super::rows::{JsonText, Timestamptz};
use super::{Hash, get, json_or_none, query, run, time, time_or_none};

macro_rules! columns {
    () => {
        "id, kind, app_type, name, logo_uri, redirect_uris, origins, launch_uri, scopes, jwks, \
         jwks_uri, secrets, created, disabled_at, is_registered, state_systems, purpose"
    };
}

const FIND: &str = concat!("SELECT ", columns!(), " FROM oauth_client WHERE id = $1");
const LIST: &str = concat!("SELECT ", columns!(), " FROM oauth_client ORDER BY id");
const INSERT: &str = concat!(
    "INSERT INTO oauth_client (",
    columns!(),
    ", registration) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18) \
     ON CONFLICT (id) DO NOTHING"
);
const REGISTERED: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM oauth_client WHERE id = $1 AND registration = $2 AND disabled_at IS NULL"
);
const UPDATE: &str = "UPDATE oauth_client SET name = $2, app_type = $3, logo_uri = $4, \
     redirect_uris = $5, origins = $6, launch_uri = $7, scopes = $8, jwks = $9, jwks_uri = $10 \
     WHERE id = $1 AND registration = $11 AND disabled_at IS NULL";
const SET_SECRETS: &str = "UPDATE oauth_client SET secrets = $2 WHERE id = $1";
const DISABLE: &str =
    "UPDATE oauth_client SET disabled_at = $2 WHERE id = $1 AND disabled_at IS NULL";
/// Also those of who is disabled: what they kept is nobody else's.
const STATE_SYSTEMS: &str = "SELECT id, unnest(state_systems) AS system FROM oauth_client \
     WHERE state_systems <> '{}' ORDER BY id, system";
const ORIGINS: &str =
    "SELECT DISTINCT unnest(origins) AS origin FROM oauth_client WHERE disabled_at IS NULL";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] =
    &[FIND, LIST, INSERT, REGISTERED, UPDATE, SET_SECRETS, DISABLE, STATE_SYSTEMS, ORIGINS];

/// How a client proves that it is itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientKind {
    /// By a signature with its private key.
    Key,
    /// It cannot.
    Public,
    /// By a secret.
    Secret,
}

impl ClientKind {
    /// Its name in the database and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Public => "public",
            Self::Secret => "secret",
        }
    }

    /// The kind of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Key, Self::Public, Self::Secret].into_iter().find(|it| it.as_str() == text)
    }
}

/// What sort of program a client is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AppType {
    /// A service without users.
    Backend,
    /// An EHR that launches apps.
    Ehr,
    /// An app on a device of its user.
    Native,
    /// An app in a browser or behind a web server.
    Web,
}

impl AppType {
    /// Its name in the database and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backend => "backend",
            Self::Ehr => "ehr",
            Self::Native => "native",
            Self::Web => "web",
        }
    }

    /// The type of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Backend, Self::Ehr, Self::Native, Self::Web]
            .into_iter()
            .find(|it| it.as_str() == text)
    }
}

/// A client.
#[derive(Clone, Debug)]
pub struct Client {
    /// `client_id`
    pub id: String,
    /// How it proves that it is itself.
    pub kind: ClientKind,
    /// What sort of program it is.
    pub app_type: AppType,
    /// Its name, for people.
    pub name: String,
    /// Its picture.
    pub logo_uri: Option<String>,
    /// Where codes may be sent.
    pub redirect_uris: Vec<String>,
    /// Web origins whose pages may call with its tokens.
    pub origins: Vec<String>,
    /// Where an EHR launches it.
    pub launch_uri: Option<String>,
    /// What it may be granted at most.
    pub scopes: String,
    /// Its public keys, as JSON.
    pub jwks: Option<String>,
    /// Where they are.
    pub jwks_uri: Option<String>,
    /// Its secrets, hashed, as JSON.
    pub secrets: String,
    /// When it was made.
    pub created: Instant,
    /// Since when it may do nothing.
    pub disabled_at: Option<Instant>,
    /// Whether it registered itself.
    pub is_registered: bool,
    /// Code systems by whose codes it keeps state of its own.
    pub state_systems: Vec<String>,
    /// What it uses data for when it acts by itself, as a code of v3-PurposeOfUse.
    pub purpose: Option<String>,
}

/// The client of that id, disabled or not.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn find(store: &Store, id: &str) -> Result<Option<Client>, Error> {
    // No text of the database has NUL.
    if id.contains('\0') {
        return Ok(None);
    }
    query(store, FIND, &[&id]).await?.first().map(client).transpose()
}

/// All clients.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn list(store: &Store) -> Result<Vec<Client>, Error> {
    query(store, LIST, &[]).await?.iter().map(client).collect()
}

/// Adds a client; whether its id was free.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn insert(store: &Store, client: &Client) -> Result<bool, Error> {
    insert_with(store, client, None).await
}

/// The same for a client that manages its registration itself, by what has this hash.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn insert_with(
    store: &Store,
    client: &Client,
    registration: Option<&Hash>,
) -> Result<bool, Error> {
    let registration = registration.map(Hash::as_slice);
    let jwks = client.jwks.as_ref().map(|text| JsonText(text.as_bytes()));
    let disabled = client.disabled_at.map(Timestamptz);
    let is_new = run(
        store,
        INSERT,
        &[
            &client.id,
            &client.kind.as_str(),
            &client.app_type.as_str(),
            &client.name,
            &client.logo_uri,
            &client.redirect_uris,
            &client.origins,
            &client.launch_uri,
            &client.scopes,
            &jwks,
            &client.jwks_uri,
            &JsonText(client.secrets.as_bytes()),
            &Timestamptz(client.created),
            &disabled,
            &client.is_registered,
            &client.state_systems,
            &client.purpose,
            &registration,
        ],
    )
    .await?
        == 1;
    if is_new {
        super::notice::tell(store, "clients").await?;
    }
    Ok(is_new)
}

/// The client of that id that manages its registration by what has this hash.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn registered(
    store: &Store,
    id: &str,
    registration: &Hash,
) -> Result<Option<Client>, Error> {
    if id.contains('\0') {
        return Ok(None);
    }
    query(store, REGISTERED, &[&id, &registration.as_slice()])
        .await?
        .first()
        .map(client)
        .transpose()
}

/// Replaces what a client says of itself; whether there is a client with this id and registration.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn update(store: &Store, client: &Client, registration: &Hash) -> Result<bool, Error> {
    let jwks = client.jwks.as_ref().map(|text| JsonText(text.as_bytes()));
    let is_there = run(
        store,
        UPDATE,
        &[
            &client.id,
            &client.name,
            &client.app_type.as_str(),
            &client.logo_uri,
            &client.redirect_uris,
            &client.origins,
            &client.launch_uri,
            &client.scopes,
            &jwks,
            &client.jwks_uri,
            &registration.as_slice(),
        ],
    )
    .await?
        == 1;
    super::notice::tell(store, "clients").await?;
    Ok(is_there)
}

/// Replaces the hashed secrets of a client; whether there is such a client.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn set_secrets(store: &Store, id: &str, secrets: &str) -> Result<bool, Error> {
    Ok(run(store, SET_SECRETS, &[&id, &JsonText(secrets.as_bytes())]).await? == 1)
}

/// Lets a client do nothing from now on: its grants end too. Whether that changed anything.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn disable(store: &Store, id: &str, now: Instant) -> Result<bool, Error> {
    let is_changed = run(store, DISABLE, &[&id, &Timestamptz(now)]).await? == 1;
    super::grant::end_grants_of_client(store, id, "the client was disabled", now).await?;
    super::notice::tell(store, "clients").await?;
    Ok(is_changed)
}

/// The code systems by whose codes clients keep state of their own: the client, and one of its systems.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn state_systems(store: &Store) -> Result<Vec<(String, String)>, Error> {
    let rows = query(store, STATE_SYSTEMS, &[]).await?;
    rows.iter().map(|row| Ok((get(row, "id")?, get(row, "system")?))).collect()
}

/// Web origins of all clients that are not disabled.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn origins(store: &Store) -> Result<Vec<String>, Error> {
    query(store, ORIGINS, &[]).await?.iter().map(|row| get(row, "origin")).collect()
}

fn client(row: &Row) -> Result<Client, Error> {
    let unknown = || Error::internal("a client of an unknown kind");
    Ok(Client {
        id: get(row, "id")?,
        kind: ClientKind::parse(get(row, "kind")?).ok_or_else(unknown)?,
        app_type: AppType::parse(get(row, "app_type")?).ok_or_else(unknown)?,
        name: get(row, "name")?,
        logo_uri: get(row, "logo_uri")?,
        redirect_uris: get(row, "redirect_uris")?,
        origins: get(row, "origins")?,
        launch_uri: get(row, "launch_uri")?,
        scopes: get(row, "scopes")?,
        jwks: json_or_none(row, "jwks")?,
        jwks_uri: get(row, "jwks_uri")?,
        secrets: json_or_none(row, "secrets")?.unwrap_or_default(),
        created: time(row, "created")?,
        disabled_at: time_or_none(row, "disabled_at")?,
        is_registered: get(row, "is_registered")?,
        state_systems: get(row, "state_systems")?,
        purpose: get(row, "purpose")?,
    })
}
