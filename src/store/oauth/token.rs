//! Access and refresh tokens, as hashes.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::error::Error;
use crate::fhir::Instant;

use super::super::Store;
use super::super::connection::Transaction;
use super::super::failure;
use super::super::rows::Timestamptz;
use super::grant::{Granted, grant_columns, granted};
use super::{Hash, get, query, time, time_or_none};

/// The columns of a token `t`, with its grant, its client and its successor.
macro_rules! token_of {
    ($rest:literal) => {
        concat!(
            "SELECT t.id, t.kind, t.scopes, t.created, t.expires, t.revoked_at, t.replaced_at, \
             t.successor, s.replaced_at IS NOT NULL AS is_successor_used, c.disabled_at, g.used, ",
            grant_columns!(),
            " FROM oauth_token t JOIN oauth_grant g ON g.id = t.grant_id \
             JOIN oauth_client c ON c.id = g.client_id \
             LEFT JOIN oauth_token s ON s.hash = t.replaced_by WHERE t.hash = $1",
            $rest
        )
    };
}

const FIND: &str = token_of!("");
const LOCK: &str = token_of!(" FOR UPDATE OF t");

const INSERT: &str = "INSERT INTO oauth_token (hash, id, kind, grant_id, scopes, created, expires) \
     VALUES ($1, $2, $3, $4, $5, $6, $7)";

const REPLACE: &str = "UPDATE oauth_token SET replaced_by = $2, replaced_at = $3, successor = $4 \
     WHERE hash = $1";

/// What an older token knows of this one is of no use any more.
const FORGET: &str = "UPDATE oauth_token SET successor = NULL WHERE replaced_by = $1";

const USED: &str = "UPDATE oauth_grant SET used = $2 WHERE id = $1";

/// Of two that do so within a minute one writes.
const USED_AGAIN: &str = "UPDATE oauth_grant SET used = $2::timestamptz WHERE id = $1 \
     AND used < $2::timestamptz - interval '1 minute'";

const REVOKE: &str = "WITH revoked AS (UPDATE oauth_token SET revoked_at = $2 WHERE hash = $1 \
     AND revoked_at IS NULL RETURNING grant_id) \
     SELECT pg_notify(kiln_channel(), grant_id::text)::text FROM revoked";

const END: &str = "WITH ended AS (UPDATE oauth_grant SET ended_at = $2, ended_why = $3 WHERE id = $1 \
     AND ended_at IS NULL RETURNING id) SELECT pg_notify(kiln_channel(), id::text)::text FROM ended";

/// A grant that stands, of which a token counts still: an access token, or a refresh token that brings new ones.
const STANDING: &str = concat!(
    "SELECT c.disabled_at, ",
    grant_columns!(),
    " FROM oauth_grant g JOIN oauth_client c ON c.id = g.client_id WHERE g.id = $1 AND g.ended_at IS NULL \
     AND EXISTS (SELECT FROM oauth_token t WHERE t.grant_id = g.id AND t.revoked_at IS NULL \
       AND t.replaced_at IS NULL AND t.expires > $2)"
);

const IS_REVOKED: &str = "SELECT FROM oauth_token t JOIN oauth_grant g ON g.id = t.grant_id \
     WHERE t.id = $1 AND (t.revoked_at IS NOT NULL OR g.ended_at IS NOT NULL)";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] =
    &[FIND, LOCK, INSERT, REPLACE, FORGET, USED, USED_AGAIN, REVOKE, END, STANDING, IS_REVOKED];

/// What a token is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TokenKind {
    /// To call with.
    Access,
    /// To get access tokens with.
    Refresh,
}

impl TokenKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
        }
    }
}

/// A token that is to be.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Its hash.
    pub hash: Hash,
    /// What others name it by.
    pub id: Uuid,
    /// What it is for.
    pub kind: TokenKind,
    /// Its scopes.
    pub scopes: String,
    /// Until when it counts.
    pub expires: Instant,
}

/// A token as it is stored.
#[derive(Clone, Debug)]
pub struct Token {
    /// What others name it by.
    pub id: Uuid,
    /// What it is for.
    pub kind: TokenKind,
    /// Its scopes.
    pub scopes: String,
    /// When it was made.
    pub created: Instant,
    /// Until when it counts.
    pub expires: Instant,
    /// When it was taken back.
    pub revoked_at: Option<Instant>,
    /// When it was exchanged for its successor.
    pub replaced_at: Option<Instant>,
    /// The successor, readable with this token alone.
    pub successor: Option<Vec<u8>>,
    /// Whether the successor has been exchanged too.
    pub is_successor_used: bool,
    /// Since when its client may do nothing.
    pub disabled_at: Option<Instant>,
    /// When a token of its grant was last used, to a minute.
    pub used: Instant,
    /// What it belongs to.
    pub granted: Granted,
}

impl Token {
    /// Whether it counts at `now`.
    pub fn is_live(&self, now: Instant) -> bool {
        self.is_unrevoked() && self.replaced_at.is_none() && self.expires > now
    }

    /// Whether neither it, its grant nor its client was taken away.
    pub fn is_unrevoked(&self) -> bool {
        self.revoked_at.is_none() && self.granted.ended_at.is_none() && self.disabled_at.is_none()
    }
}

/// What is to become of a refresh token that somebody showed.
#[derive(Debug)]
pub enum Rotation<T, E> {
    /// It was used before, not long ago: its successor is told once more, with a new access token.
    Again(NewToken, T),
    /// It was used before: everything that came of its grant ends.
    End(&'static str, E),
    /// It does not fit; nothing happens.
    Refuse(E),
    /// It is exchanged.
    Replace {
        /// The new refresh token.
        next: NewToken,
        /// The same, readable with the old one alone.
        successor: Vec<u8>,
        /// The new access token.
        access: NewToken,
        /// What the caller needs of it.
        done: T,
    },
}

/// The token of that hash, whatever became of it.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn find(store: &Store, hash: &Hash) -> Result<Option<Token>, Error> {
    query(store, FIND, &[&&hash[..]]).await?.first().map(token).transpose()
}

/// Whether a token that others name by `id` was taken back; one that has gone by itself was not.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn is_revoked(store: &Store, id: Uuid) -> Result<bool, Error> {
    Ok(!query(store, IS_REVOKED, &[&id]).await?.is_empty())
}

/// What stands at `now` of a grant for who had its token `id` with these scopes, as an access token would; `None`
/// when the grant has ended, or nothing of it counts any more.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn standing(
    store: &Store,
    (grant, id, scopes): (Uuid, Uuid, &str),
    now: Instant,
) -> Result<Option<Token>, Error> {
    let rows = query(store, STANDING, &[&grant, &Timestamptz(now)]).await?;
    let token = |row: &Row| {
        Ok(Token {
            id,
            kind: TokenKind::Access,
            scopes: scopes.to_owned(),
            created: time(row, "grant_created")?,
            expires: now,
            revoked_at: None,
            replaced_at: None,
            successor: None,
            is_successor_used: false,
            disabled_at: time_or_none(row, "disabled_at")?,
            used: now,
            granted: granted(row)?,
        })
    };
    rows.first().map(token).transpose()
}

/// Does with the refresh token of that hash what `decide` says; no other does so at the same time.
/// `None`: there is no such token.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn rotate<T, E>(
    store: &Store,
    hash: &Hash,
    now: Instant,
    decide: impl FnOnce(&Token) -> Rotation<T, E>,
) -> Result<Option<Result<T, E>>, Error> {
    let transaction = store.0.writers.begin("BEGIN").await?;
    let rows = transaction.all(LOCK, &[&&hash[..]]).await?;
    let Some(row) = rows.first() else {
        transaction.roll_back().await;
        return Ok(None);
    };
    let token = token(row)?;
    let (grant, at) = (token.granted.grant.id, Timestamptz(now));
    let result = match decide(&token) {
        Rotation::Again(access, done) => {
            insert(&transaction, grant, &[access], now).await?;
            Ok(done)
        }
        Rotation::End(why, refused) => {
            transaction.all(END, &[&grant, &at, &why]).await?;
            Err(refused)
        }
        Rotation::Refuse(refused) => {
            transaction.roll_back().await;
            return Ok(Some(Err(refused)));
        }
        Rotation::Replace { next, successor, access, done } => {
            let replaced: [&(dyn ToSql + Sync); 4] = [&&hash[..], &&next.hash[..], &at, &successor];
            transaction.run(REPLACE, &replaced).await?;
            transaction.run(FORGET, &[&&hash[..]]).await?;
            transaction.run(USED, &[&grant, &at]).await?;
            insert(&transaction, grant, &[next, access], now).await?;
            Ok(done)
        }
    };
    transaction.commit().await.map_err(failure::error)?;
    Ok(Some(result))
}

/// Keeps that a token of a grant is used, unless that was kept less than a minute ago.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn note_use(store: &Store, grant: Uuid, now: Instant) -> Result<(), Error> {
    query(store, USED_AGAIN, &[&grant, &Timestamptz(now)]).await.map(drop)
}

/// Takes back one token, and tells all nodes; whether it counted until then.
///
/// # Errors
/// [`Error::Unavailable`] without a database.
pub async fn revoke(store: &Store, hash: &Hash, now: Instant) -> Result<bool, Error> {
    Ok(!query(store, REVOKE, &[&&hash[..], &Timestamptz(now)]).await?.is_empty())
}

/// Adds tokens of a grant.
pub(super) async fn insert(
    transaction: &Transaction,
    grant: Uuid,
    tokens: &[NewToken],
    now: Instant,
) -> Result<(), Error> {
    for token in tokens {
        let (hash, kind) = (&token.hash[..], token.kind.as_str());
        let (created, expires) = (Timestamptz(now), Timestamptz(token.expires));
        let values: [&(dyn ToSql + Sync); 7] =
            [&hash, &token.id, &kind, &grant, &token.scopes, &created, &expires];
        transaction.run(INSERT, &values).await?;
    }
    Ok(())
}

fn token(row: &Row) -> Result<Token, Error> {
    let kind = match get(row, "kind")? {
        "access" => TokenKind::Access,
        _ => TokenKind::Refresh,
    };
    Ok(Token {
        id: get(row, "id")?,
        kind,
        scopes: get(row, "scopes")?,
        created: time(row, "created")?,
        expires: time(row, "expires")?,
        revoked_at: time_or_none(row, "revoked_at")?,
        replaced_at: time_or_none(row, "replaced_at")?,
        successor: get(row, "successor")?,
        is_successor_used: get(row, "is_successor_used")?,
        disabled_at: time_or_none(row, "disabled_at")?,
        used: time(row, "used")?,
        granted: granted(row)?,
    })
}
