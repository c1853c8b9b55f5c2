//! A server in this process, on a port and a database of its own.

use std::net::SocketAddr;
use std::sync::Arc;

use kiln::app::server::Server;
use kiln::config::Config;
use kiln::engine::Engine;
use kiln::fulltext::FullText;
use kiln::hl7v2::receive::Receiver;
use kiln::oauth::Authority;
use kiln::store::Store;

use super::client::Client;
use super::database::{Database, keys_folder, node_folder};

/// A running server; it ends with the runtime of its test at the latest.
pub(crate) struct TestServer {
    pub(crate) client: Client,
    pub(crate) database: Database,
    server: Server,
}

impl TestServer {
    /// A server on a fresh database.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with settings (dotted key and text) of its own.
    pub(crate) async fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::on(Box::pin(Database::migrated()).await, settings).await
    }

    /// The same on this database.
    pub(crate) async fn on(database: Database, settings: &[(&str, &str)]) -> Self {
        let server = Box::pin(Server::start(config(&database, settings))).await;
        let server = server.unwrap_or_else(|error| panic!("{error}"));
        Self { client: Client::new(server.address()), database, server }
    }

    /// Its interactions, for another endpoint on the same data.
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        self.server.engine()
    }

    /// A client of its listener for administration, where it has one.
    pub(crate) fn administration(&self) -> Client {
        Client::new(self.server.administration().expect("a listener for administration"))
    }

    /// Its authorization server, where it has one.
    pub(crate) fn authority(&self) -> &Authority {
        self.server.authority().expect("the server asks for tokens")
    }

    /// Its store, for what only the server's own commands do.
    pub(crate) fn store(&self) -> &Store {
        self.server.store()
    }

    /// Its index of words.
    pub(crate) fn words(&self) -> &Arc<FullText> {
        self.server.full_text().expect("words are indexed")
    }

    /// What takes messages of HL7 version 2 in.
    pub(crate) fn messages(&self) -> &Arc<Receiver> {
        self.server.messages()
    }

    /// The address of its listener for HL7 version 2.
    pub(crate) fn feed(&self) -> SocketAddr {
        self.server.feed_address().expect("a listener for messages")
    }

    /// Stops it and gives its connections back.
    pub(crate) async fn stop(self) {
        // Idle connections of the client would keep the server waiting.
        drop(self.client);
        self.server.stop().await;
    }
}

/// The settings of a test server on `database`.
pub(crate) fn config(database: &Database, settings: &[(&str, &str)]) -> Config {
    let (folder, keys) = (node_folder(), keys_folder());
    let own = [
        ("auth.mode", "off"),
        ("auth.keys_dir", keys.to_str().unwrap()),
        ("data_dir", folder.to_str().unwrap()),
        ("http.listen", "127.0.0.1:0"),
        ("http.cors_origins", "*"),
        ("database.url", database.app.as_str()),
        ("database.owner_url", database.owner.as_str()),
        ("database.write_connections", "8"),
        ("database.read_connections", "2"),
        // A machine that runs other tests beside is slow: what ends by this time asks for a time of its own.
        ("database.search_timeout_ms", "50000"),
    ];
    let flags: Vec<_> = own
        .iter()
        .chain(settings)
        .map(|(key, text)| ((*key).to_owned(), (*text).to_owned()))
        .collect();
    Config::load(None, &flags).unwrap_or_else(|error| panic!("{error}"))
}
