//! A server with tenants: an endpoint for each, which comes and goes with the list of tenants.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use tokio::sync::{Mutex, watch};

use crate::app::database::{Home, StartError};
use crate::app::hl7v2::Feed;
use crate::app::listening::Listening;
use crate::app::server::{self, Site, Upkeep, spawn};
use crate::app::signals::Signals;
use crate::app::{telemetry, user};
use crate::config::{Config, TenancyMode};
use crate::http;
use crate::http::listener::tenants::{Endpoints, HeaderName, Said, routers};
use crate::store::{Directory, Listed, Tenant};

/// How often the list of tenants is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long after a tenant could not be served the next try is.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// How many are started at a time.
const AT_ONCE: usize = 4;
/// Longest wait for the list when health is asked.
const PATIENCE: Duration = Duration::from_secs(2);

/// A running server with tenants.
pub struct Host {
    address: SocketAddr,
    administration: Option<SocketAddr>,
    tenants: Arc<Tenants>,
    upkeep: Upkeep,
    stop: watch::Sender<bool>,
}

/// Those who are served, and what they are served with.
struct Tenants {
    config: Config,
    address: SocketAddr,
    home: Home,
    directory: Directory,
    endpoints: Endpoints,
    served: Mutex<BTreeMap<String, State>>,
}

/// How it went when somebody was to be served.
enum State {
    /// They could not be, at that moment.
    Failed(Instant),
    /// They are.
    Running(Running),
}

struct Running {
    site: Site,
    stop: watch::Sender<bool>,
}

impl Host {
    /// Starts serving: the listeners answer 503 until the database and the tenants are there.
    ///
    /// # Errors
    /// [`StartError`] says which part did not start. A tenant that cannot be served keeps nobody else
    /// from it: the log says why, and it is tried again.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.check()?;
        server::keep_metrics(&config);
        let Listening { address, administration, ready, stop, listeners, tls, feed: _ } =
            Listening::start(&config).await?;
        let home = Home::open(&config, false).await?;
        home.bring_up(Tenant::ONLY).await?;
        let directory = home.directory()?;
        let (endpoints, served) = (Endpoints::default(), Mutex::default());
        let tenants = Tenants { config, address, home, directory, endpoints, served };
        let tenants = Arc::new(tenants);
        let due = tenants.look().await;
        ready.set(tenants.routers()?);
        tenants.serve_all(due).await;
        let tasks = vec![spawn(server::follow_tls(tls)), spawn(follow(tenants.clone()))];
        tracing::info!(%address, "ready");
        Ok(Self { address, administration, tenants, upkeep: Upkeep { listeners, tasks }, stop })
    }

    /// The address of the listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the listener for administration, when there is one.
    pub fn administration(&self) -> Option<SocketAddr> {
        self.administration
    }

    /// Serves until the process is asked to end, then stops; asked again, it waits for no request.
    pub async fn until_interrupted(self, signals: &mut Signals) {
        signals.next().await;
        tracing::info!("stopping");
        self.stop_unless(signals.next()).await;
    }

    /// Takes no more requests, lets running ones finish, stops the private PostgreSQL.
    pub async fn stop(self) {
        self.stop_unless(std::future::pending()).await;
    }

    async fn stop_unless(self, hurried: impl Future<Output = ()>) {
        // Without receivers there is nobody left to tell.
        let _ = self.stop.send(true);
        let hurried = hurried.shared();
        self.upkeep.end(hurried.clone()).await;
        let known = std::mem::take(&mut *self.tenants.served.lock().await);
        for (name, state) in known {
            self.tenants.endpoints.remove(&name);
            if let State::Running(running) = state {
                running.end(hurried.clone()).await;
            }
        }
        self.tenants.directory.close().await;
        // The last one closes the private PostgreSQL, whoever that is.
        if let Some(tenants) = Arc::into_inner(self.tenants) {
            tenants.home.close().await;
        }
    }
}

impl Running {
    async fn end(self, hurried: impl Future<Output = ()>) {
        let _ = self.stop.send(true);
        self.site.end(hurried).await;
    }
}

/// Looks at the list of tenants as long as the server runs.
async fn follow(tenants: Arc<Tenants>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let due = tenants.look().await;
        tenants.serve_all(due).await;
    }
}

impl Tenants {
    /// Looks at who is on the list: who is not any more is served no longer. Gives those who are to be
    /// served from now on.
    async fn look(&self) -> Vec<Listed> {
        let listed = match self.directory.list().await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(%error, "the list of tenants cannot be read");
                return Vec::new();
            }
        };
        let mut wanted: BTreeMap<String, Listed> = BTreeMap::new();
        wanted.extend(listed.into_iter().filter(Listed::is_served).map(|it| (it.name.clone(), it)));
        let mut served = self.served.lock().await;
        let over = served.extract_if(.., |name, _| !wanted.contains_key(name));
        for (name, state) in over.collect::<Vec<_>>() {
            self.endpoints.remove(&name);
            if let State::Running(running) = state {
                running.end(std::future::pending()).await;
            }
            tracing::info!(tenant = name, "is not served any more");
        }
        wanted.retain(|name, _| match served.get(name) {
            Some(State::Failed(at)) => at.elapsed() > AFTER_FAILURE,
            Some(State::Running(_)) => false,
            None => {
                self.endpoints.expect(name);
                true
            }
        });
        wanted.into_values().collect()
    }

    /// Serves those who are due, some at a time.
    async fn serve_all(&self, due: Vec<Listed>) {
        let serving = |listed: Listed| async move {
            let served = Box::pin(self.serve(&listed)).await;
            self.keep(listed.name, served).await;
        };
        stream::iter(due).for_each_concurrent(AT_ONCE, serving).await;
    }

    /// Keeps what became of a start.
    async fn keep(&self, name: String, started: Result<(Running, http::Routers), StartError>) {
        let state = match started {
            Ok((running, routers)) => {
                self.endpoints.add(&name, routers);
                tracing::info!(tenant = name, "is served");
                State::Running(running)
            }
            Err(error) => {
                tracing::error!(tenant = name, %error, "cannot be served");
                State::Failed(Instant::now())
            }
        };
        self.served.lock().await.insert(name, state);
    }

    /// The endpoint of one tenant.
    async fn serve(&self, listed: &Listed) -> Result<(Running, http::Routers), StartError> {
        let config = self.config.of_tenant(&listed.name);
        self.home.bring_up(listed.tenant).await?;
        let store = self.home.store(&config, listed.tenant).await?;
        let (stop, _) = watch::channel(false);
        let stored = (&store, self.home.health());
        let (site, routers) =
            Site::start(&config, self.address, stored, Feed::none(), &stop).await?;
        if let Some(authority) = site.authority() {
            // The file says it; a terminal is not told, for there are several.
            let told = user::first_start(authority, &config.node_dir()).await;
            told.map_err(|error| StartError::Store(error.to_string()))?;
        }
        Ok((Running { site, stop }, routers))
    }

    /// What the listeners answer with.
    fn routers(self: &Arc<Self>) -> Result<http::Routers, StartError> {
        let config = &self.config;
        let said = match config.tenancy.mode {
            TenancyMode::Header => {
                let name = config.tenancy.header.parse::<HeaderName>();
                let name = name.map_err(|error| StartError::Routes(error.to_string()))?;
                Said::Header(name, config.http.trusted_proxies.clone())
            }
            TenancyMode::Off | TenancyMode::Path => Said::Path,
        };
        let probe: Arc<dyn http::Probe> = Arc::new(Probe(self.directory.clone()));
        let with = (config.admin.listen.is_none(), config.admin.metrics_on_http);
        Ok(routers(&said, &self.endpoints, &probe, with))
    }
}

/// What health and metrics ask: whether the list can be read, and numbers of the process.
struct Probe(Directory);

impl http::Probe for Probe {
    fn ready(&self) -> BoxFuture<'_, Result<(), String>> {
        let read = tokio::time::timeout(PATIENCE, self.0.list());
        read.map(|answer| match answer {
            Ok(read) => read.map(drop).map_err(|error| error.to_string()),
            Err(_) => Err("the database does not answer".to_owned()),
        })
        .boxed()
    }

    fn metrics(&self) -> String {
        telemetry::render_metrics()
    }
}
