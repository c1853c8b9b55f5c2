//! What a database error means to a caller.

use tokio_postgres::error::{Severity, SqlState};

use crate::access::CommitError;
use crate::error::Error;

/// The code raised by `kiln_conflict()`.
const CONFLICT: &str = "KC001";
/// The code raised by `kiln_current()`.
const OLD_PARAMETERS: &str = "KC002";
/// The code raised by `kiln_outrun()`.
const OUTRUN: &str = "KC003";
/// `lock_not_available`
const NOT_IN_TIME: &str = "55P03";

/// An interaction error for a failed statement.
pub(super) fn error(cause: tokio_postgres::Error) -> Error {
    if is_unavailable(&cause) { Error::Unavailable(cause.into()) } else { Error::internal(cause) }
}

/// The same for a statement that is ended when it takes longer than one may.
pub(super) fn costly(cause: tokio_postgres::Error) -> Error {
    if is_timeout(&cause) {
        return Error::TimedOut(
            "this takes longer than one request may: narrow it, or ask for fewer values".to_owned(),
        );
    }
    error(cause)
}

/// An interaction error for what the pool says.
pub(super) fn pool_error(cause: deadpool_postgres::PoolError) -> Error {
    match cause {
        deadpool_postgres::PoolError::Backend(cause) => error(cause),
        deadpool_postgres::PoolError::Timeout(deadpool_postgres::TimeoutType::Wait) => {
            Error::Busy("the server is busy; try again".to_owned())
        }
        other => Error::Unavailable(other.into()),
    }
}

/// An interaction error for what sqlx says.
pub(super) fn sqlx_error(cause: sqlx::Error) -> Error {
    let is_away = match &cause {
        // A connection that ends in the middle of an answer is read as one that breaks the protocol.
        sqlx::Error::Io(_)
        | sqlx::Error::PoolClosed
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| is_away(&code)),
        _ => false,
    };
    if is_away { Error::Unavailable(cause.into()) } else { Error::internal(cause) }
}

/// The same for a statement that is a transaction of its own, or ends one: without an answer, it
/// may be committed.
pub(super) fn last_error(cause: tokio_postgres::Error) -> CommitError {
    // An ERROR is an answer: rolled back. Other ends of a connection are none.
    let severity = cause.as_db_error().and_then(tokio_postgres::error::DbError::parsed_severity);
    if severity == Some(Severity::Error) {
        return commit_error(cause);
    }
    CommitError::Failed(Error::Unconfirmed(cause.into()))
}

/// Whether a row was not added because its key is taken.
pub(super) fn is_taken(cause: &tokio_postgres::Error) -> bool {
    cause.code() == Some(&SqlState::UNIQUE_VIOLATION)
}

/// Whether trying a write again may help: another writer was faster.
pub(super) fn commit_error(cause: tokio_postgres::Error) -> CommitError {
    if let Some(database) = cause.as_db_error() {
        let code = database.code();
        let raced = [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE];
        // Writers race for names, and to supersede a version. Any other key that is taken stays taken.
        let is_contended = database.table().is_some_and(|t| t == "ident" || t.starts_with("hist_"));
        let is_taken = *code == SqlState::UNIQUE_VIOLATION && is_contended;
        let is_ours = [CONFLICT, OLD_PARAMETERS].contains(&code.code());
        if code.code() == OUTRUN {
            let text = "another message has had its effect on the same meanwhile";
            return CommitError::Failed(Error::Conflict(text.to_owned()));
        }
        if is_ours || raced.contains(code) || is_taken {
            return CommitError::Raced;
        }
    }
    CommitError::Failed(error(cause))
}

/// Whether what a message was worked out by has changed, or somebody else has the message.
pub(super) fn is_outrun(cause: &tokio_postgres::Error) -> bool {
    cause.code().is_some_and(|code| code.code() == OUTRUN)
}

/// Whether a write was refused because its index rows are of search parameters of before.
pub(super) fn has_old_parameters(cause: &tokio_postgres::Error) -> bool {
    cause.code().is_some_and(|code| code.code() == OLD_PARAMETERS)
}

/// Whether a lock was not to be had within `lock_timeout`.
pub(super) fn is_lock_timeout(error: &Error) -> bool {
    let (Error::Unavailable(cause) | Error::Internal(cause)) = error else { return false };
    let cause = cause.downcast_ref::<tokio_postgres::Error>();
    cause.and_then(tokio_postgres::Error::code).is_some_and(|code| code.code() == NOT_IN_TIME)
}

/// Whether a statement was ended because it took too long: it did nothing.
pub(super) fn is_timeout(cause: &(dyn std::error::Error + 'static)) -> bool {
    let cause = cause.downcast_ref::<tokio_postgres::Error>();
    cause.and_then(tokio_postgres::Error::code) == Some(&SqlState::QUERY_CANCELED)
}

/// Whether the database is away, starting, stopping or overloaded, as opposed to our fault.
fn is_unavailable(cause: &tokio_postgres::Error) -> bool {
    let Some(database) = cause.as_db_error() else {
        // Not an answer of the server: the connection broke or could not be made.
        return cause.is_closed() || std::error::Error::source(cause).is_some();
    };
    is_away(database.code().code())
}

/// Whether a code is of one of these classes: 08 connection, 53 resources, 57 operator (shutdown, start, timeout),
/// 58 system.
fn is_away(code: &str) -> bool {
    matches!(code.get(..2), Some("08" | "53" | "57" | "58"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cut that is noticed in the middle of an answer is no fault of ours.
    #[test]
    fn a_database_that_goes_away_is_unavailable_however_it_is_noticed() {
        let cut = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        for (cause, is_away) in [
            (sqlx::Error::Io(cut), true),
            (sqlx::Error::PoolTimedOut, true),
            (sqlx::Error::Protocol("0 bytes at the end".to_owned()), true),
            (sqlx::Error::WorkerCrashed, true),
            (sqlx::Error::RowNotFound, false),
            (sqlx::Error::ColumnNotFound("x".to_owned()), false),
        ] {
            let text = cause.to_string();
            assert_eq!(matches!(sqlx_error(cause), Error::Unavailable(_)), is_away, "{text}");
        }
        for (code, is_one) in [("57P01", true), ("08006", true), ("53300", true), ("23505", false)]
        {
            assert_eq!(is_away(code), is_one, "{code}");
        }
    }
}
