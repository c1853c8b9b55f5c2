//! `kiln v2 list` and `kiln v2 replay`.

use std::error::Error;
use std::process::ExitCode;

use uuid::Uuid;

use crate::access::{Caller, Principal, RequestContext};
use crate::app::database::Database;
use crate::app::server;
use crate::clock::{IdSource as _, SystemIds};
use crate::config::Config;
use crate::engine::{MessageFilter, MessageState, Replay};

use super::{ListArgs, ReplayArgs};

/// Lists messages.
///
/// # Errors
/// What keeps them from being listed, as a sentence.
pub(super) async fn list(args: ListArgs, config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    let (kind, event) = match args.kind.as_deref().and_then(|kind| kind.split_once('^')) {
        Some((kind, event)) => (Some(kind.to_owned()), Some(event.to_owned())),
        None => (args.kind, None),
    };
    let state = args.state.map(|name| {
        MessageState::parse(&name).ok_or_else(|| format!("{name:?} is no state of messages"))
    });
    let filter = MessageFilter {
        state: state.transpose()?,
        site: args.site,
        kind,
        event,
        count: args.count.into(),
        ..MessageFilter::default()
    };
    let database = Database::open(config, true).await?;
    let engine = server::engine(config, database.store.clone(), String::new())?;
    let found = engine.messages(&filter, &caller("list")).await;
    drop(engine);
    database.close().await;
    for row in found? {
        let kind = format!("{}^{}", row.kind, row.event);
        println!(
            "{}  {}  {kind:<9} {:<22} {}  {}  {}",
            row.id,
            row.received_at,
            row.state.as_str(),
            row.site,
            row.control_id,
            row.reason
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts messages back into line: a server that runs works on them.
///
/// # Errors
/// What keeps them from being replayed, as a sentence.
pub(super) async fn replay(args: ReplayArgs, config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    let of = match &args.id {
        Some(id) => Replay::One(Uuid::try_parse(id).map_err(|_| format!("{id:?} is no id"))?),
        None => Replay::Failed { site: args.site, since: None },
    };
    let database = Database::open(config, true).await?;
    let engine = server::engine(config, database.store.clone(), String::new())?;
    let caller = caller("replay");
    let caller = match &args.reason {
        Some(reason) => caller.saying(reason),
        None => caller,
    };
    let done = engine.replay_messages(&of, args.prune, &caller).await;
    drop(engine);
    database.close().await;
    println!("{} messages wait to be worked on", done?.len());
    Ok(ExitCode::SUCCESS)
}

/// The command line, at work on messages.
pub(super) fn caller(what: &str) -> Caller {
    let request = RequestContext {
        id: SystemIds::default().ordered().to_string(),
        method: "CLI",
        path_and_query: format!("kiln v2 {what}"),
        source: None,
    };
    Caller::new(Principal::service("v2"), request)
}
