//! The composition root: database, engine, endpoint and listener put together, and taken apart again.

mod export;
mod refusals;
mod subscriptions;
mod upkeep;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::access::interaction::Kind;
use crate::clock::{Clock, IdOrder, IdSource, SystemClock, SystemIds};
use crate::config::{AuthMode, ClientSource, Config, Ids};
use crate::engine::{Engine, Lookups, PageSize, Settings, Validators};
use crate::error::root_cause;
use crate::fhir::datetime::Zone;
use crate::fhir::query::MAX_URL_BYTES;
use crate::fulltext::FullText;
use crate::hl7v2::receive::Receiver;
use crate::http;
use crate::http::listener::Tls;
use crate::oauth::Authority;
use crate::search::extract::{self, Extractor};
use crate::search::values::quantity::Ucum;
use crate::spec::Spec;
use crate::spec::codes::Codes;
use crate::store::{PoolStatus, Store, maintenance};

use super::database::{Database, StartError};
use super::definitions;
use super::follow::{self, Follower};
use super::hl7v2::{self, Feed};
use super::labelling;
use super::listening::Listening;
use super::postgres::Health;
use super::search_parameters::{self, SearchParameters};
use super::signals::Signals;
use super::telemetry;
use super::terminology::Keeper;
use super::validation::{self, Judges};
use super::{audit, authority};

pub(super) use upkeep::Upkeep;

/// Longest wait for the database when health is asked: who asks gives up soon as well.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// A running server.
pub struct Server {
    address: SocketAddr,
    administration: Option<SocketAddr>,
    feed: Option<SocketAddr>,
    base: String,
    site: Site,
    database: Database,
    stop: watch::Sender<bool>,
    upkeep: Upkeep,
}

/// What serves the data of one store: all of a server's, or those of one tenant.
pub(super) struct Site {
    engine: Arc<Engine>,
    authority: Option<Arc<Authority>>,
    messages: Arc<Receiver>,
    full_text: Option<Arc<FullText>>,
    upkeep: Upkeep,
    /// See [`Config::digest`].
    settings: [u8; 32],
    /// Whose record says that it begins here, and is to say that it ends.
    begun: Option<Store>,
}

impl Site {
    /// Begins to serve `store` to a listener on `address`; the tasks that can end by themselves do so when
    /// `stop` says so.
    ///
    /// # Errors
    /// [`StartError`] says which part did not start.
    pub(super) async fn start(
        config: &Config,
        address: SocketAddr,
        (store, health): (&Store, Health),
        door: Feed,
        stop: &watch::Sender<bool>,
    ) -> Result<(Self, http::Routers), StartError> {
        let base = config.base_url(address);
        let full_text = index_of_words(config, store)?;
        let (keeper, structures) = definitions::keepers(config, store, &base)?;
        let lookups = Lookups {
            terminology: Some(keeper.clone()),
            definitions: Some(keeper.clone()),
            full_text: full_text.clone(),
        };
        let engine = engine(config, store.clone(), base.clone())?.with(lookups);
        let judging = validation::judging(engine, structures, keeper.clone()).await;
        let (engine, judges) = judging.map_err(|error| StartError::Store(root_cause(&error)))?;
        let mut parameters = SearchParameters::new(store.clone(), engine.core().clone());
        parameters.refresh().await.map_err(|error| StartError::Store(root_cause(&error)))?;
        Box::pin(parameters.during(build_index(store))).await?;
        let engine = Arc::new(engine);
        let authority = authority::of_server(config, store, engine.core(), &base).await?;
        let messages = Arc::new(hl7v2::receiver(config, engine.clone(), store.clone()).await?);
        let probe = Probe { store: store.clone(), postgres: health };
        let parts = parts(config, address, probe, &engine, &messages, authority.clone());
        let record = audit::keep(config, &engine, store, &base).await?;
        let rules = labelling::rules(config)?;
        let routers = http::router(parts).map_err(|error| StartError::Routes(error.to_string()))?;
        let mut listeners: Vec<_> = door.serve(&messages, stop).into_iter().map(spawn).collect();
        let held_back = refusals::tell(engine.clone(), authority.clone(), stop.subscribe());
        listeners.push(spawn(held_back));
        let mut tasks = vec![
            spawn(record),
            spawn(follow_systems(keeper.clone(), judges.clone())),
            spawn(keep_partitions(store.clone())),
            spawn(store.clone().attend_reads()),
            spawn(load_packages(store.clone(), judges.clone(), keeper.clone())),
            spawn(parameters.follow()),
            spawn(search_parameters::build(store.clone())),
            spawn(export::keep(engine.clone(), authority.clone(), config.export.workers)),
            spawn(subscriptions::keep(engine.clone(), authority.clone(), config.clone())),
            spawn(labelling::keep(rules, (engine.clone(), keeper.clone()), store.clone())),
        ];
        let about = follow::About { keeper, judges: Some(judges) };
        let words = full_text.clone();
        let follower = Follower::new(config, engine.clone(), store.clone(), about, words);
        tasks.push(spawn(follower.run()));
        tasks.extend(authority.iter().cloned().map(|authority| spawn(keep_authority(authority))));
        let upkeep = Upkeep { listeners, tasks };
        let settings = config.digest();
        Ok((
            Self { engine, authority, messages, full_text, upkeep, settings, begun: None },
            routers,
        ))
    }

    /// Puts on record that the record begins here, and when this ends that it does.
    ///
    /// # Errors
    /// [`StartError::Store`]
    pub(super) async fn begin(&mut self, store: &Store) -> Result<(), StartError> {
        let noted = audit::note_activity(store, Kind::Begin, &self.settings).await;
        noted.map_err(|error| StartError::Store(root_cause(&error)))?;
        self.begun = Some(store.clone());
        Ok(())
    }

    /// The authorization server, where tokens are asked for.
    pub(super) fn authority(&self) -> Option<&Arc<Authority>> {
        self.authority.as_ref()
    }

    /// Ends what was told to end, and then all else.
    pub(super) async fn end(self, hurried: impl Future<Output = ()>) {
        self.upkeep.end(hurried).await;
        refusals::told(&self.engine, self.authority.as_deref(), true).await;
        if let Some(store) = self.begun
            && let Err(error) = audit::note_activity(&store, Kind::End, &self.settings).await
        {
            tracing::warn!(%error, "that the record ends here is not on record");
        }
        if let Some(index) = self.full_text {
            // Its threads end: this may take as long as the commit of a batch.
            let _ = tokio::task::spawn_blocking(move || index.close()).await;
        }
    }
}

impl Server {
    /// Starts serving: the listeners answer 503 until the database is there and migrated.
    ///
    /// # Errors
    /// [`StartError`] says which part did not start.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        config.check()?;
        keep_metrics(&config);
        let Listening { address, administration, ready, stop, listeners, tls, feed: door } =
            Listening::start(&config).await?;
        let database = Database::open(&config, false).await?;
        audit::check_role(&config, &database.store).await?;
        let base = config.base_url(address);
        let feed = door.address();
        let stored = (&database.store, database.postgres_health());
        let (site, routers) = Box::pin(Site::start(&config, address, stored, door, &stop)).await?;
        ready.set(routers);
        let upkeep = Upkeep { listeners, tasks: vec![spawn(follow_tls(tls))] };
        tracing::info!(base, feed = feed.map(tracing::field::display), "ready");
        Ok(Self { address, administration, feed, base, site, database, stop, upkeep })
    }

    /// The address of the listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address of the listener for administration, when there is one.
    pub fn administration(&self) -> Option<SocketAddr> {
        self.administration
    }

    /// The address of the listener for HL7 version 2, when there is one.
    pub fn feed_address(&self) -> Option<SocketAddr> {
        self.feed
    }

    /// The FHIR base that clients see.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The interactions, for commands that share the process.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.site.engine
    }

    /// The authorization server, where tokens are asked for.
    pub fn authority(&self) -> Option<&Arc<Authority>> {
        self.site.authority()
    }

    /// What takes messages of HL7 version 2 in.
    pub fn messages(&self) -> &Arc<Receiver> {
        &self.site.messages
    }

    /// The index of words, when this node has one.
    pub fn full_text(&self) -> Option<&Arc<FullText>> {
        self.site.full_text.as_ref()
    }

    /// The store, for commands that share the process.
    pub fn store(&self) -> &Store {
        &self.database.store
    }

    /// The process id of the private PostgreSQL, when there is one.
    pub fn postgres_pid(&self) -> Option<u32> {
        self.database.postgres_pid()
    }

    /// Puts on record that the server begins, and when it stops that it does.
    ///
    /// # Errors
    /// [`StartError::Store`]
    pub async fn begin(&mut self) -> Result<(), StartError> {
        self.site.begin(&self.database.store).await
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

    /// The same, but once `hurried` is over no request is waited for.
    async fn stop_unless(self, hurried: impl Future<Output = ()>) {
        // Without receivers there is nobody left to tell.
        let _ = self.stop.send(true);
        let hurried = hurried.shared();
        self.upkeep.end(hurried.clone()).await;
        self.site.end(hurried).await;
        self.database.close().await;
    }
}

pub(super) fn keep_metrics(config: &Config) {
    telemetry::keep_metrics();
    if config.admin.listen.is_some() {
        telemetry::tell_version();
    }
}

/// How callers are known.
fn authenticator(oauth: Option<&Arc<Authority>>) -> Arc<dyn http::Authenticator> {
    match oauth {
        Some(authority) => Arc::new(http::Bearer::new(authority.clone())),
        None => Arc::new(http::Open::default()),
    }
}

/// What the authorization server does beside answering.
async fn keep_authority(authority: Arc<Authority>) {
    tokio::join!(authority.follow_notices(), authority.keep_order());
}

/// Reads the files of TLS anew when they change.
pub(super) async fn follow_tls(tls: Option<Tls>) {
    if let Some(tls) = tls {
        tls.follow().await;
    }
}

/// The index of words of this node, when it is to have one.
fn index_of_words(config: &Config, store: &Store) -> Result<Option<Arc<FullText>>, StartError> {
    let opened = follow::open(config, store).map(|index| index.map(Arc::new));
    opened.map_err(|cause| StartError::FullText { folder: follow::folder(config), cause })
}

/// Reads the code systems that are loaded while the server runs, and judges by them.
async fn follow_systems(terminology: Arc<Keeper>, judges: Arc<Judges>) {
    terminology.follow(|| judges.current()).await;
}

/// Loads the packages that are installed while the server runs.
async fn load_packages(store: Store, judges: Arc<Judges>, terminology: Arc<Keeper>) {
    let load = || async {
        terminology.image().await?;
        judges.current().await.map(drop)
    };
    definitions::follow_packages(store, load).await;
}

#[expect(clippy::disallowed_methods, reason = "the composition root starts the server's tasks")]
pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(task)
}

/// What the endpoint is made of.
fn parts(
    config: &Config,
    address: SocketAddr,
    probe: Probe,
    engine: &Arc<Engine>,
    messages: &Arc<Receiver>,
    oauth: Option<Arc<Authority>>,
) -> http::Parts {
    http::Parts {
        engine: engine.clone(),
        messages: messages.clone(),
        settings: settings(config, address),
        authenticator: authenticator(oauth.as_ref()),
        ids: Arc::new(SystemIds::default()),
        probe: Arc::new(probe),
        oauth,
    }
}

fn settings(config: &Config, address: SocketAddr) -> http::Settings {
    http::Settings {
        // Where tokens count, no request says by what name the server is known.
        base_url: match config.auth.mode {
            AuthMode::Off if config.tenant().is_none() => config.http.base_url.clone(),
            _ => Some(config.base_url(address)),
        },
        listener_base: config.listener_base(address),
        cors_origins: config.http.cors_origins.clone(),
        trusted_proxies: config.http.trusted_proxies.clone(),
        max_body_bytes: config.http.max_body_bytes,
        max_binary_bytes: config.http.max_binary_bytes,
        max_message_bytes: config.hl7v2.max_message_bytes,
        max_depth: config.http.max_depth,
        max_url_bytes: MAX_URL_BYTES,
        timeout: Duration::from_secs(u64::from(config.http.request_timeout_s.get())),
        // Health and metrics are the server's, not a tenant's.
        with_admin: config.admin.listen.is_none() && config.tenant().is_none(),
        with_metrics: config.admin.metrics_on_http,
    }
}

/// What health and metrics ask.
struct Probe {
    store: Store,
    postgres: Health,
}

impl http::Probe for Probe {
    fn ready(&self) -> BoxFuture<'_, Result<(), String>> {
        let ping = tokio::time::timeout(PING_TIMEOUT, self.store.ping());
        let why = |said: String| match self.postgres.fault() {
            Some(fault) => format!("PostgreSQL does not start: {fault}"),
            None => said,
        };
        ping.map(move |answer| match answer {
            Ok(pinged) => pinged.map_err(|error| why(error.to_string())),
            Err(_) => Err(why("the database does not answer".to_owned())),
        })
        .boxed()
    }

    fn metrics(&self) -> String {
        tell_pool(&self.store, self.store.pool_status());
        telemetry::render_metrics()
    }
}

/// Puts into the metrics how busy the connections of a store are.
pub(super) fn tell_pool(store: &Store, pool: PoolStatus) {
    for (state, count) in [("open", pool.open), ("idle", pool.idle)] {
        let state = [("state", state.to_owned())];
        let labels: Vec<_> = state.into_iter().chain(store.labels()).collect();
        metrics::gauge!("kiln_database_connections", &labels).set(count as f64);
    }
    metrics::gauge!("kiln_database_waiting_writes", &store.labels()).set(pool.waiting as f64);
}

/// An engine on `store` whose references are relative to `base`.
///
/// # Errors
/// [`StartError::Definitions`] when the embedded definitions are damaged, [`StartError::Zone`].
pub fn engine(config: &Config, store: Store, base: String) -> Result<Engine, StartError> {
    let spec = Spec::r4().map_err(damaged)?;
    let zone = &config.search.zone;
    let zone = Zone::parse(zone).ok_or_else(|| StartError::Zone(zone.clone()))?;
    let extractor = Arc::new(extractor(&spec, &base, zone)?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let order = match (config.ids, config.auth.mode) {
        (Ids::Random, _) | (Ids::Auto, AuthMode::Smart) => IdOrder::Random,
        (Ids::Time, _) | (Ids::Auto, AuthMode::Off) => IdOrder::Time,
    };
    let ids: Arc<dyn IdSource> = Arc::new(SystemIds(order));
    let (default, max) = (config.http.default_page.get(), config.http.max_page.get());
    let settings = Settings {
        base,
        max_bundle_entries: config.http.max_bundle_entries,
        page: PageSize { default, max },
        max_conditional_delete: config.http.max_conditional_delete.get(),
        dates_overlap: config.search.dates_overlap,
        searches: (&config.search).into(),
        events_need_date: config.atna.requires_date,
        provenance_of_transactions: config.http.transaction_provenance,
        ignores_source: config.http.client_source == ClientSource::Ignore,
        shows_definitions: config.definitions.readable,
        validation: validation::rules(&config.validation),
        exports: export::rules(&config.export),
        graphql: (&config.graphql).into(),
        subscriptions: subscriptions::rules(config),
    };
    let labels = labelling::rules(config)?;
    Ok(Engine::new(store, spec, extractor, clock, ids, settings).labelling_by(labels))
}

/// What makes index rows of resources.
fn extractor(spec: &Arc<Spec>, base: &str, zone: Zone) -> Result<Extractor, StartError> {
    let codes = Codes::r4().map_err(damaged)?;
    let settings = extract::Settings { base: base.into(), units: Box::new(Ucum), zone };
    Extractor::new(spec.clone(), codes, settings).map_err(damaged)
}

fn damaged(error: impl std::fmt::Display) -> StartError {
    StartError::Definitions(error.to_string())
}

/// Builds the search index where another version of this program, or none, has filled it.
pub(super) async fn build_index(store: &Store) -> Result<(), StartError> {
    let mut told = Instant::now();
    let progress = |resources| {
        if told.elapsed() > Duration::from_secs(5) {
            told = Instant::now();
            tracing::info!(resources, "building the search index");
        }
    };
    let built = maintenance::build_index(store, false, progress).await;
    built.map_err(|error| StartError::Store(root_cause(&error)))
}

/// Makes the partitions of coming months, every day, as long as the server runs.
async fn keep_partitions(store: Store) {
    let mut daily = tokio::time::interval(Duration::from_hours(24));
    loop {
        daily.tick().await;
        if let Err(error) = maintenance::make_partitions(&store).await {
            tracing::warn!(%error, "cannot make partitions; trying again tomorrow");
        }
    }
}
