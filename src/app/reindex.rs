//! `kiln reindex`: builds anew what is derived from the resources.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use crate::config::Config;
use crate::fulltext::FullTextError;
use crate::store::maintenance;

use super::database::Database;
use super::follow::{self, About, Follower};
use super::terminology::Keeper;
use super::{search_parameters, server};

/// Builds the index of words anew, or the search index.
///
/// # Errors
/// What keeps it from being built, as a sentence.
pub(super) async fn run(is_of_words: bool, config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    if is_of_words { full_text(config).await } else { search(config).await }
}

/// Builds the index of words of this node anew, or has the server do so that has it open.
async fn full_text(config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    if !config.fulltext.enabled {
        return Err("this node has no full text index: fulltext.enabled is false".into());
    }
    let database = Database::open(config, true).await?;
    let outcome = rebuild(config, &database).await;
    database.close().await;
    println!("{}", outcome?);
    Ok(ExitCode::SUCCESS)
}

/// Builds the search index anew: each resource's rows are replaced in place. What is done stays done.
async fn search(config: &Config) -> Result<ExitCode, Box<dyn Error>> {
    let database = Database::open(config, true).await?;
    let store = &database.store;
    let base = config.base_url(config.http.listen);
    // It gives the store the search parameters.
    let engine = server::engine(config, store.clone(), base)?;
    let mut parameters = search_parameters::of(&engine, store).await?;
    let mut count = 0;
    let building = maintenance::build_index(store, true, |done| count = done);
    let built = Box::pin(parameters.during(building)).await;
    database.close().await;
    built?;
    println!("the search index has the rows of {count} resources");
    Ok(ExitCode::SUCCESS)
}

async fn rebuild(config: &Config, database: &Database) -> Result<String, Box<dyn Error>> {
    let store = &database.store;
    let index = match follow::open(config, store) {
        Ok(index) => index.map(Arc::new),
        Err(FullTextError::Locked) => {
            std::fs::write(follow::request(&follow::folder(config)), b"")?;
            return Ok("the server that has the full text index open builds it anew".to_owned());
        }
        Err(error) => return Err(error.into()),
    };
    let base = config.base_url(config.http.listen);
    let keeper = Arc::new(Keeper::new(store.clone(), &base, &[])?);
    let engine = Arc::new(server::engine(config, store.clone(), base)?);
    let count = Follower::new(config, engine, store.clone(), About { keeper, judges: None }, index)
        .rebuild()
        .await?;
    Ok(format!("the full text index has the words of {count} resources"))
}
