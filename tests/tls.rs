//! An outside PostgreSQL that wants TLS: what each `sslmode` lets in, the same for both drivers.

use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use kiln::app::postgres::Private;
use kiln::app::server::Server;
use kiln::config::Config;
use kiln::store::{Address, Flush, Integrity, Sizes, Store, Tenant, check_schema, migrate};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::harness::client::Client;
use crate::harness::database::{Database, connect, temporary};
use crate::harness::server::config;

/// Who may come over the network: into `kiln` with TLS only, into `plain` without it only.
const ACCESS: &str = "hostssl kiln all 127.0.0.1/32 scram-sha-256\n\
                      hostnossl plain all 127.0.0.1/32 scram-sha-256\n";

/// A PostgreSQL on a port of 127.0.0.1 whose certificate is in the name of `localhost`.
struct Outside {
    folder: PathBuf,
    port: u16,
    postgres: Option<Private>,
}

impl Drop for Outside {
    fn drop(&mut self) {
        drop(self.postgres.take());
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Outside {
    async fn start() -> Self {
        let folder = temporary("tls");
        let flags = [("data_dir".to_owned(), folder.display().to_string())];
        let settings = Config::load(None, &flags).unwrap();
        let postgres = Private::start(&settings).unwrap();
        migrate(&Address::new(postgres.owner_url()).of(Tenant::ONLY)).await.unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let client = connect(&postgres.superuser_url()).await;
        for statement in [
            "CREATE DATABASE plain OWNER kiln_owner TEMPLATE kiln",
            "ALTER ROLE kiln_app PASSWORD 'app'",
            "ALTER ROLE kiln_owner PASSWORD 'owner'",
            "ALTER SYSTEM SET listen_addresses = '127.0.0.1'",
            &format!("ALTER SYSTEM SET port = {port}"),
            "ALTER SYSTEM SET ssl = on",
            "ALTER SYSTEM SET ssl_cert_file = 'server.pem'",
            "ALTER SYSTEM SET ssl_key_file = 'server.key'",
        ] {
            client.batch_execute(statement).await.unwrap();
        }
        drop(client);
        postgres.stop();
        let cluster = folder.join("postgres");
        let access = std::fs::read_to_string(cluster.join("pg_hba.conf")).unwrap();
        std::fs::write(cluster.join("pg_hba.conf"), format!("{access}{ACCESS}")).unwrap();
        certify(&folder, &cluster);
        let postgres = Some(Private::start(&settings).unwrap());
        Self { folder, port, postgres }
    }

    fn url(&self, role: &str, host: &str, database: &str, query: &str) -> String {
        let query = query.replace("CA", &self.folder.join("ca.pem").display().to_string());
        let query = query.replace("OTHER", &self.folder.join("other.pem").display().to_string());
        format!("postgres://kiln_{role}:{role}@{host}:{}/{database}?{query}", self.port)
    }
}

/// An authority, a certificate of it for the server, and an authority that has nothing to do with it.
fn certify(folder: &Path, cluster: &Path) {
    let authority = || {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (ours, other) = (authority(), authority());
    std::fs::write(folder.join("ca.pem"), ours.pem()).unwrap();
    std::fs::write(folder.join("other.pem"), other.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &ours).unwrap();
    let owner = std::fs::metadata(cluster).unwrap();
    for (name, text) in [("server.pem", certificate.pem()), ("server.key", key.serialize_pem())] {
        let path = cluster.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
}

/// Covers: security K3.
#[tokio::test(flavor = "multi_thread")]
async fn each_sslmode_admits_the_same_servers_for_both_drivers() {
    let outside = Outside::start().await;
    let sizes = Sizes {
        readers: 1,
        writers: 1,
        feeds: 1,
        searchers: 1,
        exports: 1,
        statement_timeout_ms: 5_000,
        search_timeout_ms: 5_000,
        read_audit: Flush::Wait,
    };
    for (host, database, query, expected) in [
        ("localhost", "kiln", "", Ok(())),
        ("localhost", "kiln", "sslmode=prefer", Ok(())),
        ("localhost", "kiln", "sslmode=require", Ok(())),
        ("127.0.0.1", "kiln", "sslmode=require", Ok(())),
        ("localhost", "kiln", "sslmode=verify-full&sslrootcert=CA", Ok(())),
        ("localhost", "kiln", "sslmode=verify-ca&sslrootcert=CA", Ok(())),
        ("localhost", "kiln", "sslmode=require&sslrootcert=CA", Ok(())),
        ("localhost", "plain", "sslmode=disable", Ok(())),
        ("localhost", "kiln", "sslmode=disable", Err("no encryption")),
        ("localhost", "plain", "sslmode=require", Err("SSL encryption")),
        ("127.0.0.1", "kiln", "sslmode=verify-full&sslrootcert=CA", Err("not valid for name")),
        ("127.0.0.1", "kiln", "sslmode=verify-ca&sslrootcert=CA", Err("not valid for name")),
        ("localhost", "kiln", "sslmode=verify-full&sslrootcert=OTHER", Err("certificate")),
        ("localhost", "kiln", "sslmode=require&sslrootcert=OTHER", Err("certificate")),
        ("localhost", "kiln", "sslmode=verify-full", Err("certificate")),
        ("localhost", "kiln", "sslmode=verify-full&sslrootcert=/none", Err("/none")),
        ("localhost", "kiln", "sslmode=allow", Err("allow")),
        ("localhost", "kiln", "sslcert=/a.pem", Err("sslcert")),
    ] {
        let address = Address::new(outside.url("app", host, database, query)).of(Tenant::ONLY);
        let migrates = check_schema(&address).await.map_err(|error| all_of(&error));
        let serves = Store::connect(&address, sizes, Integrity::default())
            .await
            .map(drop)
            .map_err(|e| all_of(&e));
        for (driver, outcome) in [("sqlx", migrates), ("tokio-postgres", serves)] {
            match (&outcome, expected) {
                (Ok(()), Ok(())) => {}
                (Err(reason), Err(named)) if reason.contains(named) => {}
                _ => panic!("{driver}, {host}/{database}?{query}: {outcome:?}"),
            }
        }
    }
}

/// What an error says, with its causes.
fn all_of(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(all_of).unwrap_or_default();
    format!("{error}: {cause}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_migrates_and_serves_over_tls() {
    let outside = Outside::start().await;
    let postgres = outside.postgres.as_ref().unwrap();
    let superuser = postgres.url("postgres", "kiln");
    let url = |role| outside.url(role, "localhost", "kiln", "sslmode=verify-full&sslrootcert=CA");
    let database = Database { app: url("app"), owner: url("owner"), superuser };
    let server = Server::start(config(&database, &[])).await.unwrap();
    let client = Client::new(server.address());
    client.put("/Patient/p", r#"{"resourceType":"Patient","id":"p"}"#).await.expect(201);
    client.get("/Patient/p").await.expect(200);
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE usename = 'kiln_app' AND ssl";
    assert!(database.number(encrypted).await >= 2, "reads and writes have connections");
    let open = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                WHERE usename LIKE 'kiln%' AND NOT ssl";
    assert_eq!(database.number(open).await, 0);
    drop(client);
    server.stop().await;
}
