//! Every static statement of the store is one that the database can prepare.

use kiln::app::postgres::Private;
use kiln::config::Config;
use kiln::store::{Address, Tenant, migrate, statements};

#[tokio::test]
async fn the_database_prepares_every_statement() {
    let folder = std::env::temp_dir().join(format!("kiln-sql-{}", std::process::id()));
    let flags = [("data_dir".to_owned(), folder.display().to_string())];
    let config = Config::load(None, &flags).expect("settings");
    let private = tokio::task::spawn_blocking(move || Private::start(&config));
    let private = private.await.expect("runs").expect("PostgreSQL starts");
    migrate(&Address::new(private.owner_url()).of(Tenant::ONLY)).await.expect("migrates");
    let connected = tokio_postgres::connect(&private.app_url(), tokio_postgres::NoTls).await;
    let (client, connection) = connected.expect("connects");
    let driver = tokio::spawn(connection);
    let mut count = 0;
    for sql in statements() {
        if let Err(error) = client.prepare(sql).await {
            panic!("{sql}\n{error:?}");
        }
        count += 1;
    }
    assert!(count >= 14, "only {count} statements");
    drop(client);
    let _ = driver.await;
    drop(private);
    std::fs::remove_dir_all(folder).expect("cleans up");
}
