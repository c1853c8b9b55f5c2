//! Tenants: made, listed, let in and kept out by commands; served by [`Host`].
//!
//! Layer: 8. Imports `access`, `clock`, `config`, `http`, `store`.

mod host;

use std::error::Error;
use std::io::Write;
use std::sync::Arc;

use clap::Subcommand;

use crate::access::interaction::Kind;
use crate::access::{Actor, Gate, Outcome, RequestContext};
use crate::clock::{IdSource as _, SystemClock, SystemIds};
use crate::config::Config;
use crate::store::{Directory, Listed, Tenant};

use super::database::{Home, StartError};
use super::signals::Signals;

pub use host::Host;

type Done = Result<(), Box<dyn Error>>;

/// What can be done with tenants.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a tenant. Servers that run have it within seconds.
    #[command(after_help = "Example:\n  kiln tenant add north")]
    Add {
        /// What it is called in addresses: lower case letters, digits, and hyphens inside.
        name: String,
    },
    /// Serve a tenant no more: within seconds its addresses are nobody's. Its data stay.
    #[command(after_help = "Example:\n  kiln tenant disable north")]
    Disable {
        /// Its name.
        name: String,
    },
    /// Serve a tenant again.
    #[command(after_help = "Example:\n  kiln tenant enable north")]
    Enable {
        /// Its name.
        name: String,
    },
    /// Say which tenants there are.
    #[command(after_help = "Example:\n  kiln tenant list")]
    List,
}

/// Runs a command about tenants for who reads the standard output.
///
/// # Errors
/// As [`run`].
pub(super) async fn execute(command: Command, config: &Config) -> Done {
    Box::pin(run(command, config, &mut std::io::stdout())).await
}

/// Runs a command about tenants.
///
/// # Errors
/// Why it was not done, as a sentence.
pub async fn run(command: Command, config: &Config, out: &mut impl Write) -> Done {
    if !config.has_tenants() {
        return Err("there are no tenants: `tenancy.mode` is \"off\"".into());
    }
    let home = Home::open(config, true).await?;
    let done = match command {
        Command::Add { name } => add((&home, config), &name, out).await,
        Command::Disable { name } => switch((&home, config), &name, true, out).await,
        Command::Enable { name } => switch((&home, config), &name, false, out).await,
        Command::List => list(&home, out).await,
    };
    home.close().await;
    done
}

/// The list of tenants, as only the owner of the tables can change it.
fn own(home: &Home) -> Result<Directory, Box<dyn Error>> {
    let missing = "database.owner_url is not set: only the owner of the tables changes tenants";
    Ok(home.own_directory()?.ok_or(missing)?)
}

/// Puts what is done with a tenant into its own ledger.
async fn record((home, config): (&Home, &Config), tenant: Tenant, text: &str) -> Done {
    let store = home.store(config, tenant).await?;
    let ids = SystemIds::default();
    let request = RequestContext {
        id: ids.ordered().to_string(),
        method: "OTHER",
        path_and_query: "kiln tenant".to_owned(),
        source: None,
    };
    let actor = Actor { name: "service:operator".to_owned(), request: Arc::new(request) };
    let gate = Gate::new(store, Arc::new(SystemClock), Arc::new(ids));
    Ok(gate.note(Kind::Admin, &actor, Outcome::Success, text).await?)
}

async fn add(place: (&Home, &Config), name: &str, out: &mut impl Write) -> Done {
    let (home, _) = place;
    let directory = own(home)?;
    home.bring_up(Tenant::ONLY).await?;
    home.prepare_tenants().await?;
    let made = directory.make(name).await?;
    let tenant = made.ok_or_else(|| format!("there is a tenant {name} already"))?;
    home.bring_up(tenant).await?;
    record(place, tenant, &format!("tenant {name}: added")).await?;
    directory.is_whole(tenant).await?;
    writeln!(out, "tenant {name} was added")?;
    Ok(())
}

async fn switch(
    place: (&Home, &Config),
    name: &str,
    is_disabled: bool,
    out: &mut impl Write,
) -> Done {
    let directory = own(place.0)?;
    let found = directory.list().await?.into_iter().find(|it| it.name == name && it.is_ready);
    let tenant = found.ok_or_else(|| StartError::Tenant(name.to_owned()))?.tenant;
    let state = if is_disabled { "disabled" } else { "enabled" };
    record(place, tenant, &format!("tenant {name}: {state}")).await?;
    directory.switch(tenant, is_disabled).await?;
    writeln!(out, "tenant {name} is {state}")?;
    Ok(())
}

async fn list(home: &Home, out: &mut impl Write) -> Done {
    for it in home.directory()?.list().await? {
        let state = match &it {
            Listed { is_ready: false, .. } => " (not whole: run `kiln migrate`)",
            Listed { is_disabled: true, .. } => " (disabled)",
            _ => "",
        };
        writeln!(out, "{}{state}", it.name)?;
    }
    Ok(())
}

/// Serves all tenants until the process is asked to end: each has its own data and its own link to the
/// first account.
///
/// # Errors
/// What keeps the server from starting.
pub(super) async fn serve(config: Config, demo: bool) -> Done {
    if demo || config.tenancy.tenant.is_some() {
        let text = "where there are tenants, `serve` serves all: without --tenant and --demo";
        return Err(text.into());
    }
    let mut signals = Signals::new()?;
    let mut starting = Box::pin(Host::start(config));
    let host = tokio::select! {
        started = &mut starting => started?,
        () = signals.next() => {
            tracing::info!("stopping before the start was complete");
            drop(starting);
            return Ok(());
        }
    };
    host.until_interrupted(&mut signals).await;
    Ok(())
}

/// Brings the database to this version: where there are tenants, the data of each.
///
/// # Errors
/// As [`Home::migrate`]; those before the one that failed are migrated.
pub async fn migrate(config: &Config, home: &Home) -> Done {
    home.migrate(Tenant::ONLY).await?;
    if !config.has_tenants() {
        return Ok(());
    }
    let directory = own(home)?;
    for it in directory.list().await? {
        home.migrate(it.tenant).await?;
        if !it.is_ready {
            directory.is_whole(it.tenant).await?;
        }
    }
    Ok(())
}
