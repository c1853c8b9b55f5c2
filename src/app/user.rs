//! `kiln user`: persons who may log in; and the link by which the first one is made.

use std::error::Error;
use std::io::{ErrorKind, Read as _, Write};
use std::path::Path;

use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};
use uuid::Uuid;

use crate::access::Outcome;
use crate::access::interaction::Kind;
use crate::config::Config;
use crate::error;
use crate::fhir::{LogicalId, ResourceType};
use crate::oauth::Authority;
use crate::oauth::login::account::folded;
use crate::oauth::login::seal::write_private;
use crate::store::oauth::account;

use super::authority::{self, operator};

type Done = Result<(), Box<dyn Error>>;

/// The file with the link by which the first account is made.
const LINK_FILE: &str = "setup-link.txt";

/// What can be done with accounts.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make an account. Without --password-stdin, a link is printed by which its person chooses a
    /// password, once, within a day.
    #[command(after_help = "Examples:\n  \
        kiln user add ada --role practitioner --fhir-user Practitioner/ada\n  \
        kiln user add pat --role patient --fhir-user Patient/p1 --password-stdin < secret.txt")]
    Add(AddArgs),
    /// Keep an account from logging in: its sessions and tokens end within seconds.
    #[command(after_help = "Example:\n  kiln user disable ada")]
    Disable {
        /// Its name.
        name: String,
    },
    /// Let an account log in again.
    #[command(after_help = "Example:\n  kiln user enable ada")]
    Enable {
        /// Its name.
        name: String,
    },
    /// Let a user of the outside provider (`[upstream]`) log in as an account.
    #[command(after_help = "Example:\n  kiln user link ada 248289761001")]
    Link {
        /// The name of the account.
        name: String,
        /// `sub` of the user at the provider.
        subject: String,
    },
    /// Say which accounts there are.
    #[command(after_help = "Example:\n  kiln user list")]
    List,
    /// Void the password, the second factors and all access of an account, and print a link by which
    /// its person chooses a new password.
    #[command(after_help = "Example:\n  kiln user reset-password ada")]
    ResetPassword {
        /// Its name.
        name: String,
    },
    /// Set what an account may do, in place of what it might before; its access ends.
    #[command(after_help = "Example:\n  kiln user role ada practitioner privacy")]
    Role {
        /// Its name.
        name: String,
        /// Roles, as in `auth.roles`; none: it may do nothing.
        roles: Vec<String>,
    },
}

/// An account as an operator describes it.
#[derive(Args, Debug)]
pub struct AddArgs {
    /// What its person types to log in.
    name: String,
    /// What it may do, as in `auth.roles`; once for each role.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// The resource that stands for the person, such as Practitioner/ada.
    #[arg(long, value_name = "TYPE/ID")]
    fhir_user: Option<String>,
    /// Read the password from the standard input.
    #[arg(long)]
    password_stdin: bool,
}

/// Runs a command about accounts.
///
/// # Errors
/// Why it was not done.
pub async fn run(command: Command, config: &Config, out: &mut impl Write) -> Done {
    let (database, authority) = authority::of_command(config).await?;
    let done = match command {
        Command::Add(args) => add(args, &authority, out).await,
        Command::Disable { name } => disable(&name, &authority, out).await,
        Command::Enable { name } => enable(&name, &authority, out).await,
        Command::Link { name, subject } => {
            let issuer = config.upstream.issuer.as_deref();
            link(&name, issuer, &subject, &authority, out).await
        }
        Command::List => list(&authority, out).await,
        Command::ResetPassword { name } => reset(&name, &authority, out).await,
        Command::Role { name, roles } => set_roles(&name, &roles, &authority, out).await,
    };
    drop(authority);
    database.close().await;
    done
}

async fn add(args: AddArgs, authority: &Authority, out: &mut impl Write) -> Done {
    check_roles(&args.roles, authority)?;
    if let Some(user) = &args.fhir_user {
        check_user(user)?;
    }
    let password = if args.password_stdin { Some(password()?) } else { None };
    let has_password = password.is_some();
    let user = args.fhir_user.as_deref();
    let id = authority.add_account(&args.name, password, user, &args.roles).await?;
    note(authority, "user add", &args.name).await?;
    writeln!(out, "user {} was added", args.name)?;
    if has_password { Ok(()) } else { tell_link(id, authority, out).await }
}

/// The first line of the standard input.
fn password() -> Result<SecretString, Box<dyn Error>> {
    let mut text = String::new();
    std::io::stdin().take(4_096).read_to_string(&mut text)?;
    Ok(SecretString::from(text.lines().next().unwrap_or_default().to_owned()))
}

fn check_roles(roles: &[String], authority: &Authority) -> Done {
    let known = &authority.persons.roles;
    match roles.iter().find(|role| known.get(role).is_none()) {
        None => Ok(()),
        Some(role) => {
            let names: Vec<&str> = known.names().collect();
            Err(format!("there is no role {role}; there are {}", names.join(", ")).into())
        }
    }
}

/// Whether the text names a resource that can stand for a person.
fn check_user(text: &str) -> Done {
    const PERSONS: [&str; 5] =
        ["Patient", "Person", "Practitioner", "PractitionerRole", "RelatedPerson"];
    let parts = text.split_once('/');
    let is_fit = parts.is_some_and(|(of, id)| {
        let is_known = of.parse::<ResourceType>().is_ok() && id.parse::<LogicalId>().is_ok();
        PERSONS.contains(&of) && is_known
    });
    if is_fit { Ok(()) } else { Err(format!("{text} is none of {}", PERSONS.join("/1, ")).into()) }
}

async fn named(name: &str, authority: &Authority) -> Result<account::Account, Box<dyn Error>> {
    let found = match folded(name) {
        Some(folded) => account::by_name(&authority.store, &folded).await?,
        None => None,
    };
    found.ok_or_else(|| format!("there is no user {name}").into())
}

async fn disable(name: &str, authority: &Authority, out: &mut impl Write) -> Done {
    let found = named(name, authority).await?;
    note(authority, "user disable", name).await?;
    let now = authority.clock.now();
    account::disable(&authority.store, found.id, now).await?;
    authority.end_access(found.id, "the account was disabled", now).await?;
    writeln!(out, "user {name} is disabled")?;
    Ok(())
}

async fn enable(name: &str, authority: &Authority, out: &mut impl Write) -> Done {
    let found = named(name, authority).await?;
    note(authority, "user enable", name).await?;
    account::enable(&authority.store, found.id).await?;
    writeln!(out, "user {name} is enabled")?;
    Ok(())
}

async fn link(
    name: &str,
    issuer: Option<&str>,
    subject: &str,
    authority: &Authority,
    out: &mut impl Write,
) -> Done {
    let issuer = issuer.ok_or("`upstream.issuer` is not set")?;
    let found = named(name, authority).await?;
    note(authority, "user link", &format!("{name}: {issuer}")).await?;
    account::identify(&authority.store, issuer, subject, found.id).await?;
    writeln!(out, "user {name} logs in as {subject} of {issuer}")?;
    Ok(())
}

async fn list(authority: &Authority, out: &mut impl Write) -> Done {
    for it in account::all(&authority.store).await? {
        let state = match (it.is_disabled, &it.password) {
            (true, _) => " (disabled)",
            (false, None) => " (no password yet)",
            (false, Some(_)) => "",
        };
        let user = it.fhir_user.as_deref().unwrap_or("no resource");
        let factor = if it.has_factor { ", second factor" } else { "" };
        writeln!(out, "{}{state}: {user}; {}{factor}", it.name, it.roles.join(", "))?;
    }
    Ok(())
}

async fn reset(name: &str, authority: &Authority, out: &mut impl Write) -> Done {
    let found = named(name, authority).await?;
    note(authority, "user reset-password", name).await?;
    authority.reset_account(found.id).await?;
    tell_link(found.id, authority, out).await
}

async fn set_roles(
    name: &str,
    roles: &[String],
    authority: &Authority,
    out: &mut impl Write,
) -> Done {
    check_roles(roles, authority)?;
    let found = named(name, authority).await?;
    note(authority, "user role", &format!("{name}: {}", roles.join(" "))).await?;
    account::set_roles(&authority.store, found.id, roles).await?;
    authority.end_access(found.id, "the roles were changed", authority.clock.now()).await?;
    writeln!(out, "user {name} has the roles: {}", roles.join(", "))?;
    Ok(())
}

async fn note(authority: &Authority, command: &str, about: &str) -> Done {
    let actor = operator(authority, command);
    Ok(authority.gate.note(Kind::Admin, &actor, Outcome::Success, about).await?)
}

async fn tell_link(id: Uuid, authority: &Authority, out: &mut impl Write) -> Done {
    let link = authority.make_link(Some(id)).await?;
    writeln!(out, "to choose a password, once, within a day:")?;
    writeln!(out, "{}", address(authority, &link).expose_secret())?;
    Ok(())
}

fn address(authority: &Authority, link: &SecretString) -> SecretString {
    let issuer = &authority.settings.issuer;
    SecretString::from(format!("{issuer}/setup/{}", link.expose_secret()))
}

/// As long as there is no account, makes the link by which the first one is made: into a file that
/// only its owner can read, and for a terminal. It never gets into the log.
///
/// # Errors
/// What the database or the file system says.
pub async fn first_start(
    authority: &Authority,
    folder: &Path,
) -> Result<Option<SecretString>, Box<dyn Error>> {
    let path = folder.join(LINK_FILE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    if account::any(&authority.store).await? {
        return Ok(None);
    }
    let link = authority.make_link(None).await?;
    let address = address(authority, &link);
    std::fs::create_dir_all(folder)?;
    let text = format!("{}\n", address.expose_secret());
    write_private(&path, text.as_bytes()).map_err(error::Error::internal)?;
    tracing::info!(file = %path.display(), "there is no account yet: a link in this file makes one");
    Ok(Some(address))
}
