//! Subscriptions: this node's work on them, as long as it runs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all};

use crate::access::Principal;
use crate::config::{Config, UpdateMethod};
use crate::engine::Engine;
use crate::engine::subscription::{Desk, Owners, SERVICE, SubscriptionOwner, SubscriptionRules};
use crate::error::Error;
use crate::oauth::Authority;
use crate::outbound::{Endpoints, Outbound};

/// Between two looks at what has changed; the first worker wakes the others.
const LOOK: Duration = Duration::from_millis(250);
/// The same for all other workers.
const SELDOM: Duration = Duration::from_secs(5);
/// Between two attempts while the database is away.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// Between two looks at which subscriptions have nothing to tell: what they have then may have to wait as long.
const SKIP: Duration = Duration::from_secs(5);

/// The bounds that the settings name.
pub(super) fn rules(config: &Config) -> SubscriptionRules {
    let own = &config.subscriptions;
    SubscriptionRules {
        is_on: own.enabled,
        endpoints: Endpoints::new(own.networks.clone(), own.endpoints.clone()),
        is_put: own.update_method == UpdateMethod::Put,
        most_open: own.max_open.get(),
        most_tries: own.max_tries.get(),
        retry: Duration::from_millis(own.retry_ms.get().into()),
        patience: Duration::from_secs(own.timeout_s.get().into()),
    }
}

/// What the authorization server knows of parties; without one, anybody may do anything.
struct Parties(Option<Arc<Authority>>);

impl Owners for Parties {
    fn principal<'a>(
        &'a self,
        owner: &'a SubscriptionOwner,
    ) -> BoxFuture<'a, Result<Option<Principal>, Error>> {
        async move {
            match (&self.0, &owner.client, owner.token) {
                (Some(authority), Some(client), Some(token)) if !owner.has_user => {
                    authority.service(client, token, &owner.scopes).await
                }
                (Some(authority), Some(_), Some(token)) => match owner.grant {
                    Some(grant) => authority.user_service(grant, token, &owner.scopes).await,
                    // The token of an outside server, which cannot be asked about later.
                    None => Ok(None),
                },
                (None, None, None) if owner.actor == Principal::open().actor() => {
                    Ok(Some(Principal::open()))
                }
                // It was asked for when the other mode was on, or by a part of the server.
                _ => Ok(None),
            }
        }
        .boxed()
    }
}

/// Works on subscriptions, as many at a time as the settings say.
pub(super) async fn keep(engine: Arc<Engine>, authority: Option<Arc<Authority>>, config: Config) {
    let rules = rules(&config);
    if !rules.is_on {
        return;
    }
    let outbound = Outbound::new(config.subscriptions.networks.clone()).within(rules.patience);
    let desk = Desk {
        service: Principal::service(SERVICE),
        owners: Box::new(Parties(authority)),
        outbound,
    };
    let workers = 0..config.subscriptions.workers;
    let pauses = workers.map(|worker| if worker == 0 { LOOK } else { SELDOM });
    let work = pauses.map(|pause| work(&engine, &desk, pause));
    tokio::join!(join_all(work), skip(&engine));
}

async fn work(engine: &Engine, desk: &Desk, pause: Duration) {
    loop {
        match engine.work_on_subscription(desk).await {
            Ok(true) => {}
            Ok(false) => engine.subscriptions_are_due(pause).await,
            Err(error) => {
                tracing::warn!(%error, "cannot work on subscriptions; trying again");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

async fn skip(engine: &Engine) {
    let mut ticks = tokio::time::interval(SKIP);
    loop {
        ticks.tick().await;
        if let Err(error) = engine.skip_for_subscriptions().await {
            tracing::warn!(%error, "subscriptions cannot be moved on in the change feed");
        }
    }
}
