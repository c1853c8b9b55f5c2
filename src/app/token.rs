//! `kiln token`: an access token for trying things out on this machine.

use std::error::Error;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use secrecy::ExposeSecret as _;

use crate::config::Config;
use crate::fhir::LogicalId;
use crate::oauth::development::Wanted;

use super::authority::{self, operator};

/// What the token is to grant.
#[derive(Args, Debug)]
pub(super) struct TokenArgs {
    /// Scopes, such as 'patient/*.rs' with --patient, or 'user/*.rs' with --user.
    #[arg(long, default_value = "system/*.cruds")]
    scope: String,
    /// The patient in context.
    #[arg(long, value_name = "ID")]
    patient: Option<LogicalId>,
    /// The account of the user.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Why, where everything of everybody is open to the user: it is kept in the record.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// How long it counts, in minutes.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: u32,
}

/// Prints a token.
///
/// # Errors
/// Where others can reach the server, such a token is not made; otherwise why it was not.
pub(super) async fn run(
    args: TokenArgs,
    config: &Config,
    out: &mut impl Write,
) -> Result<(), Box<dyn Error>> {
    if !config.http.listen.ip().is_loopback() {
        let text = "tokens for development are made for a server on a loopback address only; \
                    register a client instead (kiln client add)";
        return Err(text.into());
    }
    let (database, authority) = authority::of_command(config).await?;
    let made = async {
        let unknown = authority.unknown_scopes(&args.scope);
        if !unknown.is_empty() {
            return Err(format!("not a scope: {}", unknown.join(" ")).into());
        }
        let account = match &args.user {
            None => None,
            Some(name) => {
                let found = authority.account_named(name).await?;
                Some(found.ok_or_else(|| format!("there is no account {name}"))?)
            }
        };
        let wanted = Wanted {
            scopes: &args.scope,
            patient: args.patient.as_ref(),
            account: account.as_ref(),
            reason: args.reason.as_deref(),
            lifetime: Duration::from_mins(u64::from(args.minutes)),
        };
        let token = authority.development_token(wanted, &operator(&authority, "token")).await;
        token.map_err(|refusal| Box::<dyn Error>::from(refusal.told()))
    };
    let made = made.await;
    drop(authority);
    database.close().await;
    writeln!(out, "{}", made?.expose_secret())?;
    Ok(())
}
