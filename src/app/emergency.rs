//! `kiln emergency`: who broke the glass, for somebody to look at it.

use std::error::Error;
use std::io::Write;

use clap::Subcommand;
use uuid::Uuid;

use crate::access::Outcome;
use crate::access::interaction::Kind;
use crate::config::Config;
use crate::oauth::Authority;
use crate::store::oauth::emergency::{self, Review};

use super::authority::{self, operator};

type Done = Result<(), Box<dyn Error>>;

/// What can be done about emergencies.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say who broke the glass, for whom and why, as far as nobody has reviewed it.
    #[command(
        after_help = "Examples:\n  kiln emergency list\n  kiln emergency list --all --count 20 \
        --before 0198a3c2-7b9e-7000-8000-000000000000"
    )]
    List {
        /// Those that were reviewed too.
        #[arg(long)]
        all: bool,
        /// At most so many, the newest first.
        #[arg(long, default_value_t = 100)]
        count: u32,
        /// Those older than this one, which a list named.
        #[arg(long)]
        before: Option<Uuid>,
    },
    /// Keep what somebody found who looked at one.
    #[command(
        after_help = "Example:\n  kiln emergency review 0198a3c2-7b9e-7000-8000-000000000000 \
        --by privacy-officer 'the patient was unconscious'"
    )]
    Review {
        /// The grant that the list names.
        grant: Uuid,
        /// Who looked at it.
        #[arg(long)]
        by: String,
        /// What was found.
        finding: String,
    },
}

/// Runs a command about emergencies.
///
/// # Errors
/// Why it was not done.
pub async fn run(command: Command, config: &Config) -> Done {
    Box::pin(execute(command, config, &mut std::io::stdout())).await
}

async fn execute(command: Command, config: &Config, out: &mut impl Write) -> Done {
    let (database, authority) = authority::of_command(config).await?;
    let done = match command {
        Command::List { all, count, before } => list((all, count, before), &authority, out).await,
        Command::Review { grant, by, finding } => {
            review(grant, (by, finding), &authority, out).await
        }
    };
    drop(authority);
    database.close().await;
    done
}

async fn list(
    (all, count, before): (bool, u32, Option<Uuid>),
    authority: &Authority,
    out: &mut impl Write,
) -> Done {
    // One more tells that there are others.
    let page = (before, i64::from(count) + 1);
    let found = emergency::list(&authority.store, all, page).await?;
    let actor = operator(authority, "emergency list");
    let text = if all { "emergencies, all" } else { "emergencies to review" };
    authority.gate.note_by(Kind::Admin, &actor, Outcome::Success, text).await?;
    let count = usize::try_from(count)?;
    for it in found.iter().take(count) {
        writeln!(
            out,
            "{}  {} to {}  {} by {} for Patient/{}: {}",
            it.grant, it.at, it.until, it.purpose, it.account, it.patient, it.reason
        )?;
        if let Some(review) = &it.review {
            writeln!(out, "  reviewed {} by {}: {}", review.at, review.by, review.finding)?;
        }
    }
    if found.is_empty() {
        writeln!(out, "there is nothing to review")?;
    }
    if let Some(last) = found.get(count).and_then(|_| found[..count].last()) {
        writeln!(out, "there are more: --before {}", last.grant)?;
    }
    Ok(())
}

async fn review(
    grant: Uuid,
    (by, finding): (String, String),
    authority: &Authority,
    out: &mut impl Write,
) -> Done {
    let review = Review { at: authority.clock.now(), by, finding };
    let actor = operator(authority, "emergency review");
    let text = format!("emergency {grant}");
    authority.gate.note_by(Kind::Admin, &actor, Outcome::Success, &text).await?;
    if !emergency::review(&authority.store, grant, &review).await? {
        return Err(format!("{grant} names nothing that is left to review").into());
    }
    writeln!(out, "the review is kept")?;
    Ok(())
}
