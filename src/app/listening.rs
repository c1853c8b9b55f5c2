//! The listeners of a server: their addresses, how much they bear, and TLS.

use std::net::SocketAddr;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::http;
use crate::http::listener::{self, Door, Limits, Ready, Tls, TlsError, TlsFiles};

use super::database::StartError;
use super::hl7v2::Feed;
use super::server::spawn;

/// Connections of the listener for health and metrics, and of the one for administration.
const ADMIN_CONNECTIONS: u32 = 64;

/// Files beside the connections: the index of words, the log, what else is open for a moment.
const SPARE_FILES: u32 = 200;

/// The listeners, which answer 503 until there is an endpoint.
pub(super) struct Listening {
    /// That of clients.
    pub(super) address: SocketAddr,
    /// That of administration.
    pub(super) administration: Option<SocketAddr>,
    /// What they answer with, once it is there.
    pub(super) ready: AllReady,
    /// Ends them.
    pub(super) stop: watch::Sender<bool>,
    /// Their tasks.
    pub(super) listeners: Vec<JoinHandle<()>>,
    /// TLS, where it is spoken.
    pub(super) tls: Option<Tls>,
    /// That of messages.
    pub(super) feed: Feed,
}

/// The endpoints of the listeners, once they are there.
#[derive(Default)]
pub(super) struct AllReady {
    fhir: Ready,
    admin: Ready,
    administration: Ready,
}

impl AllReady {
    /// Opens the endpoints.
    pub(super) fn set(&self, routers: http::Routers) {
        self.admin.set(routers.admin);
        self.fhir.set(routers.fhir);
        if let Some(router) = routers.administration {
            self.administration.set(router);
        }
    }
}

impl Listening {
    /// Begins to listen.
    ///
    /// # Errors
    /// [`StartError`] names the address that cannot be had, or what is wrong with TLS.
    pub(super) async fn start(config: &Config) -> Result<Self, StartError> {
        let listener = bind(config.http.listen).await?;
        let address = bound(&listener, config.http.listen)?;
        let (stop, stopped) = watch::channel(false);
        let ready = AllReady::default();
        let open_files = open_files();
        if open_files < needed(config) {
            let needed = needed(config);
            tracing::warn!(open_files, needed, "fewer files may be open than connections may want");
        }
        let limits = Limits::of(connections(config, open_files));
        let tls = tls(config).map_err(StartError::Tls)?;
        let door = Door { limits, tls: tls.clone() };
        let serving = listener::serve(listener, ready.fhir.clone(), door, stopped.clone());
        let mut listeners = vec![spawn(serving)];
        let few = Limits::of(ADMIN_CONNECTIONS);
        if let Some(admin) = config.admin.listen {
            let listener = bind(admin).await?;
            let ready = ready.admin.clone();
            listeners.push(spawn(listener::serve(listener, ready, few.into(), stopped.clone())));
        }
        let mut administration = None;
        if let Some(wanted) = config.administration.listen {
            let listener = bind(wanted).await?;
            administration = Some(bound(&listener, wanted)?);
            let door = Door { limits: few, tls: tls.clone() };
            let ready = ready.administration.clone();
            listeners.push(spawn(listener::serve(listener, ready, door, stopped)));
        }
        let feed = Feed::bind(config).await?;
        Ok(Self { address, administration, ready, stop, listeners, tls, feed })
    }
}

/// A listener at an address.
///
/// # Errors
/// [`StartError::Listen`] when it cannot be had.
pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|cause| StartError::Listen { address, cause })
}

fn bound(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|cause| StartError::Listen { address, cause })
}

/// TLS of the listener, when it is to have it.
fn tls(config: &Config) -> Result<Option<Tls>, TlsError> {
    let (Some(certificate), Some(key)) = (&config.tls.certificate, &config.tls.key) else {
        return Ok(None);
    };
    let files = TlsFiles {
        certificate: certificate.clone(),
        key: key.clone(),
        client_authorities: config.tls.client_authorities.clone(),
    };
    Tls::open(files).map(Some)
}

/// The most files and connections that this process may have open: as many as it may give itself.
fn open_files() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let all = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // Where it is not let, it goes on with what it has.
        let _ = setrlimit(Resource::Nofile, all);
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Files and connections that are not for clients and feeds.
fn kept(config: &Config) -> u64 {
    let spare = 2 * ADMIN_CONNECTIONS + SPARE_FILES;
    u64::from(config.database.connections().saturating_add(spare))
}

/// Files and connections that are open when all connections are taken that the settings allow.
fn needed(config: &Config) -> u64 {
    let feeds = config.hl7v2.listen.map_or(0, |_| config.hl7v2.max_connections.get());
    kept(config) + u64::from(config.http.max_connections.get()) + u64::from(feeds)
}

/// The most connections of clients: a part of the `open_files` is kept for the database.
fn connections(config: &Config, open_files: u64) -> u32 {
    let room = open_files.saturating_sub(kept(config)).max(1);
    let most = config.http.max_connections.get();
    u32::try_from(room).map_or(most, |room| room.min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_files_to_the_database() {
        let flags = [("http.max_connections".to_owned(), "5000".to_owned())];
        let config = Config::load(None, &flags).unwrap();
        let kept = u64::from(config.database.connections() + 2 * ADMIN_CONNECTIONS + SPARE_FILES);
        for (open_files, expected) in
            [(u64::MAX, 5000), (5000 + kept, 5000), (1000 + kept, 1000), (kept, 1), (0, 1)]
        {
            assert_eq!(connections(&config, open_files), expected, "{open_files}");
        }
        assert_eq!(needed(&config), 5000 + kept);
        let feed = ("hl7v2.listen".to_owned(), "127.0.0.1:2575".to_owned());
        let config = Config::load(None, &[flags[0].clone(), feed]).unwrap();
        assert_eq!(needed(&config), 5000 + kept + 1000);
    }

    #[test]
    fn as_many_files_may_be_open_as_the_system_lets() {
        let most = getrlimit(Resource::Nofile).maximum;
        assert_eq!(open_files(), most.unwrap_or(u64::MAX));
    }
}
