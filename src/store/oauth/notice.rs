//! What nodes tell each other: that tokens ended, or that clients changed.

use sqlx::postgres::PgListener;

use crate::error::Error;

use super::super::{Store, failure};
use super::query;

const TELL: &str = "SELECT pg_notify(kiln_channel(), $1)";

/// Of this tenant alone.
const CHANNEL: &str = "SELECT kiln_channel()";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[CHANNEL, TELL];

/// What a node heard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Notice {
    /// A grant ended, or a token of it.
    Grant(uuid::Uuid),
    /// Anything may have changed: words may have been missed.
    Anything,
}

/// Hears what other nodes, and this one, tell.
pub struct Notices(PgListener);

impl Notices {
    /// Listens from now on.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn listen(store: &Store) -> Result<Self, Error> {
        let listener = PgListener::connect_with(&store.0.admin).await;
        let mut listener = listener.map_err(failure::sqlx_error)?;
        let channel: Result<String, _> = sqlx::query_scalar(CHANNEL).fetch_one(&mut listener).await;
        let channel = channel.map_err(failure::sqlx_error)?;
        listener.listen(&channel).await.map_err(failure::sqlx_error)?;
        Ok(Self(listener))
    }

    /// The next word; [`Notice::Anything`] when the connection was lost meanwhile.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when it cannot be made again.
    pub async fn next(&mut self) -> Result<Notice, Error> {
        let heard = self.0.try_recv().await.map_err(failure::sqlx_error)?;
        let grant = heard.and_then(|word| word.payload().parse().ok());
        Ok(grant.map_or(Notice::Anything, Notice::Grant))
    }
}

/// Tells all nodes that something other than a grant changed.
pub(super) async fn tell(store: &Store, word: &str) -> Result<(), Error> {
    query(store, TELL, &[&word]).await.map(drop)
}
