//! Tenants of one server: what is one's is nobody else's, by any way of asking.

mod commands;
mod doors;
mod isolation;
mod routing;
mod rows;
mod sessions;
mod slow;

use kiln::app::database::Database as Opened;
use kiln::app::tenants::{self, Command, Host};
use kiln::config::Config;
use kiln::store::oauth::client;

use crate::harness::client::{Answer, Call, Client};
use crate::harness::database::Database;
use crate::harness::server::config;
use crate::oauth::browser::form;
use crate::oauth::tokens::client::{SECRET, service};

/// The tenants of a world.
const NAMES: [&str; 2] = ["north", "south"];
/// What a service of each may do.
const SCOPES: &str = "system/*.cruds";

/// A server with two tenants, each with a service and a token of it.
struct World {
    database: Database,
    settings: Config,
    host: Host,
    north: Guest,
    south: Guest,
}

/// A tenant as its own service sees it.
struct Guest {
    client: Client,
    token: String,
}

impl Guest {
    /// A request with the token of this tenant.
    fn call(&self, method: &str, url: &str) -> Call<'_> {
        self.client.call(method, url).header("Authorization", &self.token)
    }

    async fn get(&self, url: &str) -> Answer {
        self.call("GET", url).send().await
    }

    async fn send(&self, method: &str, url: &str, body: &str) -> Answer {
        self.call(method, url).json(body.to_owned()).send().await
    }
}

impl World {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// The same with more settings.
    async fn start_with(more: &[(&str, &str)]) -> Self {
        let database = Database::migrated().await;
        let mut all = vec![
            ("auth.mode", "smart"),
            ("tenancy.mode", "path"),
            ("database.search_connections", "2"),
        ];
        all.extend(more);
        let settings = config(&database, &all);
        for name in NAMES {
            add(&settings, name).await;
            register(&settings.of_tenant(name)).await;
        }
        let host = Host::start(settings.clone()).await.unwrap_or_else(|error| panic!("{error}"));
        let root = Client::new(host.address());
        let north = guest(&root, NAMES[0]).await;
        let south = guest(&root, NAMES[1]).await;
        Self { database, settings, host, north, south }
    }

    /// The server's own addresses.
    fn root(&self) -> Client {
        Client::new(self.host.address())
    }

    /// The schema of a tenant.
    async fn schema(&self, name: &str) -> String {
        let query = format!("SELECT id::bigint FROM tenant WHERE name = '{name}'");
        format!("kiln_t{}", self.database.number(&query).await)
    }

    async fn stop(self) {
        let Self { host, north, south, .. } = self;
        drop((north, south));
        host.stop().await;
    }
}

/// Makes a tenant, as an operator does.
async fn add(settings: &Config, name: &str) {
    run(settings, Command::Add { name: name.to_owned() }).await.unwrap();
}

/// What a command about tenants says.
async fn run(settings: &Config, command: Command) -> Result<String, String> {
    let mut said = Vec::new();
    let done = tenants::run(command, settings, &mut said).await;
    done.map_err(|error| error.to_string())?;
    Ok(String::from_utf8(said).unwrap())
}

/// Gives the tenant of these settings a service.
async fn register(settings: &Config) {
    let opened = Opened::open(settings, true).await.unwrap();
    assert!(client::insert(&opened.store, &service("job", SCOPES)).await.unwrap());
    opened.close().await;
}

async fn guest(root: &Client, name: &str) -> Guest {
    let client = root.below(&format!("/t/{name}"));
    let token = format!("Bearer {}", token(&client).await.expect(200).at("access_token").unwrap());
    Guest { client, token }
}

/// A token of the service.
async fn token(client: &Client) -> Answer {
    let fields = [
        ("grant_type", "client_credentials"),
        ("scope", SCOPES),
        ("client_id", "job"),
        ("client_secret", SECRET),
    ];
    let call = client.call("POST", &format!("{}/auth/token", client.root()));
    let call = call.header("Content-Type", "application/x-www-form-urlencoded");
    call.body(form(&fields)).send().await
}
