//! A server with tenants: an endpoint for each, which comes and goes with the list of tenants.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Interval, MissedTickBehavior};

use crate::app::database::{Home, StartError};
use crate::app::hl7v2::Feed;
use crate::app::listening::Listening;
use crate::app::server::{self, Site, Upkeep, spawn};
use crate::app::signals::Signals;
use crate::app::{audit, telemetry, user};
use crate::config::{Config, TenancyMode};
use crate::http;
use crate::http::listener::tenants::{Endpoints, HeaderName, Said, routers};
use crate::store::{Directory, Listed, PoolStatus, Store, Tenant};

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
    /// Places of those who are being started.
    starting: Semaphore,
}

/// How it went when somebody was to be served.
enum State {
    /// They were, and what ran for them is being ended.
    Ending,
    /// They could not be, at that moment.
    Failed(Instant),
    /// They are.
    Running(Box<Running>),
    /// They are about to be, and still wanted or not: what is begun is not broken off in the middle.
    Starting { is_wanted: bool },
}

/// What is under way for tenants: each starts and ends beside the others, so that a slow one keeps
/// nobody from being served, and nobody from being kept out.
struct Work {
    starts: FuturesUnordered<BoxFuture<'static, ()>>,
    ends: FuturesUnordered<BoxFuture<'static, ()>>,
    looks: Interval,
}

struct Running {
    site: Site,
    store: Store,
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
        let starting = Semaphore::new(AT_ONCE);
        let tenants = Tenants { config, address, home, directory, endpoints, served, starting };
        let tenants = Arc::new(tenants);
        let mut work = Work::new();
        work.look(&tenants).await;
        ready.set(tenants.routers()?);
        while !work.starts.is_empty() {
            work.go_on(&tenants).await;
        }
        let mut upkeep = Upkeep { listeners, tasks: vec![spawn(server::follow_tls(tls))] };
        // It ends when told to, as listeners do: nobody is left behind half ended.
        upkeep.listeners.push(spawn(follow(work, tenants.clone(), stop.subscribe())));
        tracing::info!(%address, "ready");
        Ok(Self { address, administration, tenants, upkeep, stop })
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
        let known = std::mem::take(&mut *self.tenants.served());
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
    /// Puts on record that the tenant's record begins, and makes its first account, if it has none.
    async fn begin(&mut self, config: &Config) -> Result<(), StartError> {
        self.site.begin(&self.store).await?;
        let Some(authority) = self.site.authority() else { return Ok(()) };
        // The file says it; a terminal is not told, for there are several.
        let told = user::first_start(authority, &config.node_dir()).await;
        told.map(drop).map_err(|error| StartError::Store(error.to_string()))
    }

    async fn end(self, hurried: impl Future<Output = ()>) {
        let _ = self.stop.send(true);
        self.site.end(hurried).await;
    }
}

/// Looks at the list of tenants as long as the server runs, and then waits for those who are being ended.
/// Who is being started is not waited for: it may take as long as a migration.
async fn follow(mut work: Work, tenants: Arc<Tenants>, mut stopped: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            biased;
            _ = stopped.changed() => break,
            () = work.go_on(&tenants) => {}
        }
    }
    drop(work.starts);
    while work.ends.next().await.is_some() {}
}

impl Work {
    fn new() -> Self {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { starts: FuturesUnordered::new(), ends: FuturesUnordered::new(), looks }
    }

    /// Goes on until something ends or it is time to look at the list.
    async fn go_on(&mut self, tenants: &Arc<Tenants>) {
        tokio::select! {
            _ = self.looks.tick() => self.look(tenants).await,
            Some(()) = self.starts.next() => {}
            Some(()) = self.ends.next() => {}
        }
    }

    /// Begins what the list asks for.
    async fn look(&mut self, tenants: &Arc<Tenants>) {
        let (due, over) = tenants.look().await;
        for listed in due {
            let tenants = tenants.clone();
            self.starts.push(Box::pin(async move { tenants.start(listed).await }));
        }
        for (name, running) in over {
            let tenants = tenants.clone();
            self.ends.push(Box::pin(async move { tenants.end(name, *running).await }));
        }
    }
}

impl Tenants {
    /// Looks at who is on the list: who is not any more is nobody from now on. Gives those who are to be
    /// served, and what ran for those who are not.
    async fn look(&self) -> (Vec<Listed>, Vec<(String, Box<Running>)>) {
        let listed = match self.directory.list().await {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(%error, "the list of tenants cannot be read");
                return Default::default();
            }
        };
        let mut wanted: BTreeMap<String, Listed> = BTreeMap::new();
        wanted.extend(listed.into_iter().filter(Listed::is_served).map(|it| (it.name.clone(), it)));
        let mut served = self.served();
        let mut over = Vec::new();
        let known: Vec<String> = served.keys().cloned().collect();
        for name in known.into_iter().filter(|name| !wanted.contains_key(name)) {
            let is_news = match served.get_mut(&name) {
                Some(State::Starting { is_wanted }) => std::mem::replace(is_wanted, false),
                Some(State::Ending) | None => false,
                Some(state) => {
                    if let State::Running(running) = std::mem::replace(state, State::Ending) {
                        over.push((name.clone(), running));
                    } else {
                        served.remove(&name);
                    }
                    true
                }
            };
            if is_news {
                self.endpoints.remove(&name);
                tracing::info!(tenant = name, "is not served any more");
            }
        }
        wanted.retain(|name, _| match served.get_mut(name) {
            Some(State::Failed(at)) => at.elapsed() > AFTER_FAILURE,
            Some(State::Ending | State::Running(_)) => false,
            Some(State::Starting { is_wanted }) => {
                // Who was kept out and let in again during the start is served when it is done.
                if !std::mem::replace(is_wanted, true) {
                    self.endpoints.expect(name);
                }
                false
            }
            None => {
                self.endpoints.expect(name);
                true
            }
        });
        for name in wanted.keys() {
            served.insert(name.clone(), State::Starting { is_wanted: true });
        }
        (wanted.into_values().collect(), over)
    }

    fn served(&self) -> MutexGuard<'_, BTreeMap<String, State>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts to serve somebody, when it is their turn.
    async fn start(&self, listed: Listed) {
        let _place = self.starting.acquire().await;
        let started = Box::pin(self.serve(&listed)).await;
        if let Some(running) = self.settle(&listed.name, started) {
            self.end(listed.name, running).await;
        }
    }

    /// Keeps what became of a start; what runs for who is not wanted any more is given back.
    fn settle(
        &self,
        name: &str,
        started: Result<(Running, http::Routers), StartError>,
    ) -> Option<Running> {
        let mut served = self.served();
        let is_wanted = matches!(served.get(name), Some(State::Starting { is_wanted: true }));
        let state = match started {
            Ok((running, _)) if !is_wanted => {
                served.insert(name.to_owned(), State::Ending);
                return Some(running);
            }
            Ok((running, routers)) => {
                self.endpoints.add(name, routers);
                tracing::info!(tenant = name, "is served");
                Some(State::Running(Box::new(running)))
            }
            Err(error) => {
                tracing::error!(tenant = name, %error, "cannot be served");
                is_wanted.then(|| State::Failed(Instant::now()))
            }
        };
        match state {
            Some(state) => served.insert(name.to_owned(), state),
            None => served.remove(name),
        };
        None
    }

    /// Ends what ran for somebody who is not served any more.
    async fn end(&self, name: String, running: Running) {
        let store = running.store.clone();
        running.end(std::future::pending()).await;
        server::tell_pool(&store, PoolStatus { open: 0, idle: 0, waiting: 0 });
        self.served().remove(&name);
    }

    /// The endpoint of one tenant.
    async fn serve(&self, listed: &Listed) -> Result<(Running, http::Routers), StartError> {
        let config = self.config.of_tenant(&listed.name);
        let feed = Feed::bind(&config).await?;
        self.home.bring_up(listed.tenant).await?;
        let store = self.home.store(&config, listed.tenant).await?;
        audit::check_role(&config, &store).await?;
        let (stop, _) = watch::channel(false);
        let stored = (&store, self.home.health());
        let (site, routers) = Site::start(&config, self.address, stored, feed, &stop).await?;
        let mut running = Running { site, store, stop };
        if let Err(fault) = running.begin(&config).await {
            // What keeps the tenant's order runs already, and would go on beside the next try.
            running.end(std::future::pending()).await;
            return Err(fault);
        }
        Ok((running, routers))
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
        let probe: Arc<dyn http::Probe> =
            Arc::new(Probe { directory: self.directory.clone(), tenants: Arc::downgrade(self) });
        let with = (config.admin.listen.is_none(), config.admin.metrics_on_http);
        Ok(routers(&said, &self.endpoints, &probe, with))
    }
}

/// What health and metrics ask: whether the list can be read, and numbers of the process and of each tenant.
struct Probe {
    directory: Directory,
    tenants: Weak<Tenants>,
}

impl http::Probe for Probe {
    fn ready(&self) -> BoxFuture<'_, Result<(), String>> {
        let read = tokio::time::timeout(PATIENCE, self.directory.list());
        read.map(|answer| match answer {
            Ok(read) => read.map(drop).map_err(|error| error.to_string()),
            Err(_) => Err("the database does not answer".to_owned()),
        })
        .boxed()
    }

    fn metrics(&self) -> String {
        if let Some(tenants) = self.tenants.upgrade() {
            for state in tenants.served().values() {
                if let State::Running(running) = state {
                    server::tell_pool(&running.store, running.store.pool_status());
                }
            }
        }
        telemetry::render_metrics()
    }
}
