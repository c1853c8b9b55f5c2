//! `kiln key`: what id_tokens are signed with.

use std::error::Error;
use std::io::Write;

use clap::Subcommand;

use crate::config::Config;
use crate::store::oauth::key::Listed;

use super::authority::{self, operator};

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Say which keys are published.
    #[command(after_help = "Example:\n  kiln key list")]
    List,
    /// Make a new key; the old one is published for a day more.
    #[command(after_help = "Example:\n  kiln key rotate")]
    Rotate,
}

/// Runs a command about keys.
///
/// # Errors
/// Why it was not done.
pub(super) async fn run(
    command: Command,
    config: &Config,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    let (database, authority) = authority::of_command(config).await?;
    let done = match command {
        Command::List => authority.list_keys(&operator(&authority, "key list")).await.map(told),
        Command::Rotate => {
            let made = authority.rotate_key(&operator(&authority, "key rotate")).await;
            made.map(|id| format!("id_tokens are signed with {id} within a minute\n"))
        }
    };
    drop(authority);
    database.close().await;
    write!(out, "{}", done?)?;
    Ok(())
}

/// A line for each key.
fn told((keys, own): (Vec<Listed>, String)) -> String {
    let line = |key: &Listed| {
        let own = if key.id == own { " (signs on this node)" } else { "" };
        let end = key.retired_at.map(|at| format!(", retired {at}")).unwrap_or_default();
        format!("{}{own}: made {}{end}\n", key.id, key.created)
    };
    keys.iter().map(line).collect()
}
