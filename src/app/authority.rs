//! The authorization server of this process, put together from the settings.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::access::consent::purpose;
use crate::access::roles::Roles;
use crate::access::{Caller, Principal, RequestContext};
use crate::clock::{Clock, IdSource, SystemClock, SystemIds};
use crate::config::{AuthMode, Config, ConfigError};
use crate::fhir::ResourceType;
use crate::oauth::keys::Keys;
use crate::oauth::login::Persons;
use crate::oauth::login::seal::Seal;
use crate::oauth::login::session::HASHED_AT_ONCE;
use crate::oauth::{Authority, Parts};
use crate::search::extract::Extractor;
use crate::store::Store;

use super::database::{Database, StartError};
use super::server;

/// The role of who sets a server up.
const FIRST_ROLE: &str = "administrator";

/// The authorization server, where tokens are asked for.
///
/// # Errors
/// [`StartError`] when keys or roles cannot be used, or the database does not answer.
pub(super) async fn of_server(
    config: &Config,
    store: &Store,
    extractor: &Arc<Extractor>,
    base: &str,
) -> Result<Option<Arc<Authority>>, StartError> {
    if config.auth.mode == AuthMode::Off {
        return Ok(None);
    }
    let authority = of(config, store, extractor, base).await?;
    let published = authority.publish_key().await;
    published.map_err(|error| StartError::Store(crate::error::root_cause(&error)))?;
    Ok(Some(Arc::new(authority)))
}

async fn of(
    config: &Config,
    store: &Store,
    extractor: &Arc<Extractor>,
    base: &str,
) -> Result<Authority, StartError> {
    let ids: Arc<dyn IdSource> = Arc::new(SystemIds::default());
    let folder = config.keys_dir();
    let fresh = ids.secret();
    // Making a key takes a while.
    let opened = tokio::task::spawn_blocking(move || {
        let keys = Keys::open(&folder).map_err(StartError::Keys)?;
        let seal = Seal::open(&folder, fresh).map_err(StartError::Seal)?;
        Ok::<_, StartError>((keys, seal))
    });
    let (keys, seal) = opened.await.map_err(|error| StartError::Store(error.to_string()))??;
    let auth = &config.auth;
    let roles = roles(config, extractor)?;
    let persons = Persons {
        seal,
        idle: Duration::from_mins(u64::from(auth.session_idle_minutes.get())),
        absolute: Duration::from_hours(u64::from(auth.session_hours.get())),
        shortest_password: shortest_password(config, &roles)?,
        hashing: Semaphore::new(HASHED_AT_ONCE),
        first_role: FIRST_ROLE.to_owned(),
        roles,
    };
    check_purposes(config)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let parts = Parts { store: store.clone(), clock, ids, persons, keys: Arc::new(keys) };
    let mut config = config.clone();
    if config.tenant().is_some() {
        // What an outside server says of a token without an audience would count at each tenant.
        for server in config.trusted.values_mut() {
            server.audience = Some(base.to_owned());
        }
    }
    Ok(Authority::new(parts, &config, base))
}

fn roles(config: &Config, extractor: &Arc<Extractor>) -> Result<Roles, StartError> {
    let fault = |reason: String| StartError::Roles { path: config.auth.roles.clone(), reason };
    let text = match &config.auth.roles {
        Some(path) => Some(std::fs::read_to_string(path).map_err(|it| fault(it.to_string()))?),
        None => None,
    };
    let roles = Roles::load(text.as_deref(), extractor.clone());
    let roles = roles.map_err(|error| fault(error.to_string()))?;
    let of = |name: &String| {
        let reason = format!("{name:?} is no type of resource");
        name.parse::<ResourceType>().map_err(|_| ConfigError::Rule { key: "auth.by_name", reason })
    };
    let by_name: Vec<ResourceType> =
        config.auth.by_name.iter().map(of).collect::<Result<_, ConfigError>>()?;
    Ok(roles.with_by_name(by_name))
}

/// The shortest password, which is as long as the roles want it at least.
fn shortest_password(config: &Config, roles: &Roles) -> Result<usize, ConfigError> {
    let (asked, least) =
        (config.auth.password_min_length.get() as usize, roles.shortest_password());
    if asked >= least {
        return Ok(asked);
    }
    let reason = format!(
        "{asked} is too short: {least} at least, or 8 where each role wants a second factor"
    );
    Err(ConfigError::Rule { key: "auth.password_min_length", reason })
}

/// What tokens of outside servers are used for is what an operator can say.
fn check_purposes(config: &Config) -> Result<(), StartError> {
    for (name, server) in &config.trusted {
        let unfit = server.purpose.as_deref().filter(|code| purpose::find(code).is_none());
        if let Some(code) = unfit {
            let reason = format!(
                "`{name}` has the `purpose` {code:?}, which is no purpose of use (v3-PurposeOfUse) that tokens have; BTG and ETREAT are of who breaks the glass"
            );
            return Err(ConfigError::Rule { key: "trusted", reason }.into());
        }
    }
    Ok(())
}

/// The authorization server for a command, with the database that it uses.
///
/// # Errors
/// [`StartError`].
pub(super) async fn of_command(config: &Config) -> Result<(Database, Authority), StartError> {
    let database = Database::open(config, true).await?;
    let base = config.base_url(config.http.listen);
    let engine = server::engine(config, database.store.clone(), base.clone())?;
    let authority = of(config, &database.store, engine.core(), &base).await?;
    Ok((database, authority))
}

/// The operator at the command line, for the ledger.
pub(super) fn operator(authority: &Authority, command: &str) -> Caller {
    let request = RequestContext {
        id: authority.ids.ordered().to_string(),
        method: "OTHER",
        path_and_query: format!("kiln {command}"),
        source: None,
    };
    Caller::new(Principal::service("operator"), request)
}
