//! `kiln client`: who may ask for tokens.

use std::error::Error;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::Config;
use crate::oauth::Authority;
use crate::oauth::admin::clients::NewClient;
use crate::oauth::client::{AppType, kept};

use super::authority::{self, operator};

type Done = Result<(), Box<dyn Error>>;

/// What can be done with clients.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Register a client. A secret that is made for it is shown this once.
    #[command(after_help = "Examples:\n  \
        kiln client add growth --name 'Growth chart' --redirect https://growth.example.org/cb \\\n      \
        --scope 'launch openid fhirUser patient/*.rs' --public\n  \
        kiln client add loader --type backend --jwks-uri https://loader.example.org/jwks \\\n      \
        --scope 'system/Patient.cruds system/Observation.cruds'")]
    Add(Box<AddArgs>),
    /// Let a client do nothing any more: its tokens end within seconds.
    #[command(after_help = "Example:\n  kiln client disable growth")]
    Disable {
        /// Its id.
        id: String,
    },
    /// Say which clients there are.
    #[command(after_help = "Example:\n  kiln client list")]
    List,
    /// Make a new secret. The one before it counts until the next one is made.
    #[command(after_help = "Example:\n  kiln client rotate-secret reports")]
    RotateSecret {
        /// The id of the client.
        id: String,
    },
}

/// A client as an operator describes it.
#[derive(Args, Debug)]
pub(super) struct AddArgs {
    /// Its id (client_id): letters, digits and - . _ ~
    id: String,
    /// Its name, which users see.
    #[arg(long)]
    name: Option<String>,
    /// What sort of program it is.
    #[arg(long = "type", value_enum, default_value = "web")]
    app_type: Type,
    /// It cannot keep a secret: an app in a browser or on a device.
    #[arg(long, conflicts_with_all = ["jwks", "jwks_uri"])]
    public: bool,
    /// It proves itself by a key: this file has its public keys (JWKS).
    #[arg(long, value_name = "FILE", conflicts_with = "jwks_uri")]
    jwks: Option<PathBuf>,
    /// It proves itself by a key: this address has its public keys.
    #[arg(long, value_name = "URL")]
    jwks_uri: Option<String>,
    /// Where users may be sent back to; once for each address.
    #[arg(long = "redirect", value_name = "URL")]
    redirect_uris: Vec<String>,
    /// Origins of web pages that call with its tokens, beside those of its redirects.
    #[arg(long = "origin", value_name = "ORIGIN")]
    origins: Vec<String>,
    /// Where an EHR launches it.
    #[arg(long, value_name = "URL")]
    launch: Option<String>,
    /// A picture of it.
    #[arg(long, value_name = "URL")]
    logo: Option<String>,
    /// A code system by whose codes it keeps state of its own, as Basic resources that no other client sees.
    #[arg(long = "state-system", value_name = "URI")]
    state_systems: Vec<String>,
    /// What a service uses data for (v3-PurposeOfUse, as TREAT): consents are told, and the record tells it.
    #[arg(long, value_name = "CODE")]
    purpose: Option<String>,
    /// Scopes that it may be granted at most.
    #[arg(long, value_name = "SCOPES")]
    scope: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Type {
    /// A service without users.
    Backend,
    /// An EHR that launches apps.
    Ehr,
    /// An app on a device.
    Native,
    /// An app in a browser or behind a web server.
    Web,
}

impl Type {
    fn app_type(self) -> AppType {
        match self {
            Self::Backend => AppType::Backend,
            Self::Ehr => AppType::Ehr,
            Self::Native => AppType::Native,
            Self::Web => AppType::Web,
        }
    }
}

/// Runs a command about clients.
///
/// # Errors
/// Why it was not done.
pub(super) async fn run(command: Command, config: &Config, out: &mut impl Write) -> Done {
    let (database, authority) = authority::of_command(config).await?;
    let done = match command {
        Command::Add(args) => add(*args, &authority, out).await,
        Command::Disable { id } => disable(&id, &authority, out).await,
        Command::List => list(&authority, out).await,
        Command::RotateSecret { id } => rotate(&id, &authority, out).await,
    };
    drop(authority);
    database.close().await;
    done
}

async fn add(args: AddArgs, authority: &Authority, out: &mut impl Write) -> Done {
    let by = operator(authority, "client add");
    let (client, secret) = authority.admit_client(described(args)?, &by).await?;
    writeln!(out, "client {} was added", client.id)?;
    tell(secret.as_ref(), out)
}

/// The client that the arguments are about.
fn described(args: AddArgs) -> Result<NewClient, std::io::Error> {
    Ok(NewClient {
        jwks: args.jwks.as_ref().map(std::fs::read_to_string).transpose()?,
        id: args.id,
        name: args.name,
        app_type: args.app_type.app_type(),
        is_public: args.public,
        logo_uri: args.logo,
        redirect_uris: args.redirect_uris,
        origins: args.origins,
        launch_uri: args.launch,
        scopes: args.scope,
        jwks_uri: args.jwks_uri,
        state_systems: args.state_systems,
        purpose: args.purpose,
    })
}

async fn disable(id: &str, authority: &Authority, out: &mut impl Write) -> Done {
    authority.disable_client(id, &operator(authority, "client disable")).await?;
    writeln!(out, "client {id} is disabled")?;
    Ok(())
}

async fn list(authority: &Authority, out: &mut impl Write) -> Done {
    for client in authority.list_clients(&operator(authority, "client list")).await? {
        let state = if client.disabled_at.is_some() { " (disabled)" } else { "" };
        let (kind, of) = (client.kind.as_str(), client.app_type.as_str());
        writeln!(out, "{}{state}: {} ({of}, {kind})", client.id, client.name)?;
        writeln!(out, "  scopes: {}", client.scopes)?;
        for secret in kept(&client.secrets) {
            match secret.expires {
                Some(expires) => {
                    writeln!(out, "  secret of {}, until {expires}", secret.created)?;
                }
                None => writeln!(out, "  secret of {}", secret.created)?,
            }
        }
        for uri in &client.redirect_uris {
            writeln!(out, "  redirect: {uri}")?;
        }
        for system in &client.state_systems {
            writeln!(out, "  keeps state by codes of {system}")?;
        }
        if let Some(purpose) = &client.purpose {
            writeln!(out, "  purpose of use: {purpose}")?;
        }
    }
    Ok(())
}

async fn rotate(id: &str, authority: &Authority, out: &mut impl Write) -> Done {
    let by = operator(authority, "client rotate-secret");
    let (_, secret) = authority.rotate_secret(id, &by).await?;
    tell(secret.as_ref(), out)
}

/// Shows a secret to who asked for it, which is the only time.
fn tell(secret: Option<&SecretString>, out: &mut impl Write) -> Done {
    if let Some(secret) = secret {
        writeln!(out, "client_secret (shown this once): {}", secret.expose_secret())?;
    }
    Ok(())
}
