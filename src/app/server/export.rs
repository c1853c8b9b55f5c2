//! Exports: this node's work on them, as long as it runs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};

use crate::access::Principal;
use crate::config::Export;
use crate::engine::Engine;
use crate::engine::export::{ExportJob, ExportRules, Standing};
use crate::error::Error;
use crate::oauth::Authority;

/// Between two looks at what other nodes were asked for, or left.
const LOOK: Duration = Duration::from_secs(2);
/// Between two attempts while the database is away.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Between two looks at what has expired.
const SWEEP: Duration = Duration::from_mins(1);

/// The bounds that the settings name.
pub(super) fn rules(own: &Export) -> ExportRules {
    ExportRules {
        most_open: own.max_open.get(),
        lines_of_file: own.file_resources.get(),
        longest: Duration::from_secs(own.max_seconds.get().into()),
        kept: i64::from(own.keep_hours.get()) * 3_600_000,
    }
}

/// What the authorization server knows of clients; without one, anybody may do anything.
struct Clients(Option<Arc<Authority>>);

impl Standing for Clients {
    fn principal<'a>(
        &'a self,
        of: &'a ExportJob,
    ) -> BoxFuture<'a, Result<Option<Principal>, Error>> {
        async move {
            match (&self.0, &of.client, of.token) {
                (Some(authority), Some(client), Some(token)) => {
                    authority.service(client, token, &of.scopes).await
                }
                (None, None, None) => Ok(Some(Principal::open())),
                // It was asked for when the other mode was on.
                _ => Ok(None),
            }
        }
        .boxed()
    }
}

/// Works on exports, so many at a time; none: they are left to other nodes.
pub(super) async fn keep(engine: Arc<Engine>, authority: Option<Arc<Authority>>, workers: u32) {
    let clients = Clients(authority);
    let work = (0..workers).map(|_| work(&engine, &clients));
    tokio::join!(join_all(work), sweep(&engine));
}

async fn work(engine: &Engine, clients: &Clients) {
    loop {
        match engine.work_on_export(clients).await {
            Ok(true) => {}
            Ok(false) => engine.export_is_asked(LOOK).await,
            Err(error) => {
                tracing::warn!(%error, "cannot work on exports; trying again");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

async fn sweep(engine: &Engine) {
    let mut ticks = tokio::time::interval(SWEEP);
    loop {
        ticks.tick().await;
        match engine.sweep_exports().await {
            Ok(0) => {}
            Ok(exports) => tracing::info!(exports, "removed exports that have expired"),
            Err(error) => tracing::warn!(%error, "cannot remove exports that have expired"),
        }
    }
}
