//! `kiln user`: persons who may log in; and the link by which the first one is made.

use std::error::Error;
use std::io::{ErrorKind, Read as _, Write};
use std::path::Path;

use clap::{Args, Subcommand};
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::Config;
use crate::error;
use crate::oauth::Authority;
use crate::oauth::admin::accounts::NewPerson;
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
        Command::Link { name, subject } => link(&name, &subject, &authority, out).await,
        Command::List => list(&authority, out).await,
        Command::ResetPassword { name } => reset(&name, &authority, out).await,
        Command::Role { name, roles } => set_roles(&name, roles, &authority, out).await,
    };
    drop(authority);
    database.close().await;
    done
}

async fn add(args: AddArgs, authority: &Authority, out: &mut impl Write) -> Done {
    let password = if args.password_stdin { Some(password()?) } else { None };
    let AddArgs { name, roles, fhir_user, .. } = args;
    let new = NewPerson { name, roles, fhir_user, password };
    let (made, link) = authority.admit_person(new, &operator(authority, "user add")).await?;
    writeln!(out, "user {} was added", made.name)?;
    link.map_or(Ok(()), |link| tell(&link, out))
}

/// The first line of the standard input.
fn password() -> Result<SecretString, Box<dyn Error>> {
    let mut text = String::new();
    std::io::stdin().take(4_096).read_to_string(&mut text)?;
    Ok(SecretString::from(text.lines().next().unwrap_or_default().to_owned()))
}

async fn disable(name: &str, authority: &Authority, out: &mut impl Write) -> Done {
    authority.disable_person(name, &operator(authority, "user disable")).await?;
    writeln!(out, "user {name} is disabled")?;
    Ok(())
}

async fn enable(name: &str, authority: &Authority, out: &mut impl Write) -> Done {
    authority.enable_person(name, &operator(authority, "user enable")).await?;
    writeln!(out, "user {name} is enabled")?;
    Ok(())
}

async fn link(name: &str, subject: &str, authority: &Authority, out: &mut impl Write) -> Done {
    let by = operator(authority, "user link");
    let issuer = authority.link_person(name, subject, &by).await?;
    writeln!(out, "user {name} logs in as {subject} of {issuer}")?;
    Ok(())
}

async fn list(authority: &Authority, out: &mut impl Write) -> Done {
    for it in authority.list_people(&operator(authority, "user list")).await? {
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
    let by = operator(authority, "user reset-password");
    tell(&authority.reset_person(name, &by).await?, out)
}

async fn set_roles(
    name: &str,
    roles: Vec<String>,
    authority: &Authority,
    out: &mut impl Write,
) -> Done {
    let by = operator(authority, "user role");
    let given = authority.give_roles(name, roles, &by).await?;
    writeln!(out, "user {name} has the roles: {}", given.roles.join(", "))?;
    Ok(())
}

/// Shows the address of a one-time link to who asked for it.
fn tell(address: &SecretString, out: &mut impl Write) -> Done {
    writeln!(out, "to choose a password, once, within a day:")?;
    writeln!(out, "{}", address.expose_secret())?;
    Ok(())
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
    if let Err(error) = std::fs::remove_file(&path)
        && error.kind() != ErrorKind::NotFound
    {
        return Err(error.into());
    }
    if account::any(&authority.store).await? {
        return Ok(None);
    }
    let address = authority.setup_address(None).await?;
    std::fs::create_dir_all(folder)?;
    let text = format!("{}\n", address.expose_secret());
    write_private(&path, text.as_bytes()).map_err(error::Error::internal)?;
    tracing::info!(file = %path.display(), "there is no account yet: a link in this file makes one");
    Ok(Some(address))
}
