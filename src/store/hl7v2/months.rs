//! Months of messages whose time to be kept is over: they go with all that is known of their messages.
//!
//! By what messages are known when they come again goes together with the part of the table, in one transaction:
//! nothing is taken for a repetition of what is not there, and while a month cannot be dropped what comes again
//! is known. What they did and what was found goes after it; what a crash leaves of that goes with the next month.
//!
//! Spec: v2 P5, P6

use super::super::{Store, failure};
use crate::error::Error;

/// Months before $1 (six digits), by the names of their parts, each with whether a message of it, or of before,
/// waits for somebody.
const MONTHS: &str = "SELECT p.month, EXISTS (SELECT FROM v2_open o WHERE o.message_id < p.bound \
       AND (o.state IS NULL OR o.state IN ('failed', 'held'))) \
     FROM (SELECT right(c.relname::text, 6) AS month, kiln_first_id((to_date(right(c.relname::text, 6), 'YYYYMM') \
         + interval '1 month')::timestamp AT TIME ZONE 'UTC') AS bound \
         FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
        WHERE i.inhparent = 'v2_message'::regclass AND c.relname::text ~ '^v2_message_[0-9]{6}$') AS p \
     WHERE p.month < $1 ORDER BY 1";

/// The bound of a month: the least id of the next one.
macro_rules! bound {
    () => {
        "kiln_first_id((to_date($1, 'YYYYMM') + interval '1 month')::timestamp AT TIME ZONE 'UTC')"
    };
}

/// By what messages are known is looked through: nothing leads from a message to it.
const FORGET: &str = concat!("DELETE FROM v2_dedupe WHERE message_id < ", bound!());

const EFFECTS: &str = concat!(
    "DELETE FROM v2_effect WHERE (message_id, n) IN ( \
       SELECT message_id, n FROM v2_effect WHERE message_id < ",
    bound!(),
    " ORDER BY message_id, n LIMIT $2)"
);

const ISSUES: &str = concat!(
    "DELETE FROM v2_issue WHERE (message_id, n) IN ( \
       SELECT message_id, n FROM v2_issue WHERE message_id < ",
    bound!(),
    " ORDER BY message_id, n LIMIT $2)"
);

const UNMAPPED: &str = concat!(
    "DELETE FROM v2_unmapped WHERE (message_id, code_set, system, code) IN ( \
       SELECT message_id, code_set, system, code FROM v2_unmapped WHERE message_id < ",
    bound!(),
    " ORDER BY message_id LIMIT $2)"
);

const OPEN: &str = concat!(
    "DELETE FROM v2_open WHERE message_id IN ( \
       SELECT message_id FROM v2_open WHERE message_id < ",
    bound!(),
    " AND state IN ('duplicate', 'rejected', 'discarded', 'fragment') ORDER BY message_id LIMIT $2)"
);

/// Answers that nobody took in all that time.
const ANSWERS: &str = concat!(
    "DELETE FROM v2_answer WHERE message_id IN ( \
       SELECT message_id FROM v2_answer WHERE message_id < ",
    bound!(),
    " ORDER BY message_id LIMIT $2)"
);

const DROP: &str = "SELECT kiln_drop_messages($1)";

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] =
    &[MONTHS, FORGET, EFFECTS, ISSUES, UNMAPPED, OPEN, ANSWERS, DROP];

/// How many rows one statement takes away.
const WINDOW: i64 = 5_000;

/// A month of messages.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MessageMonth {
    /// Six digits. The oldest one has those before it too.
    pub month: String,
    /// Whether a message of it, or of before, waits, failed or is held.
    pub is_open: bool,
}

impl Store {
    /// The months of messages before one (six digits), the oldest first.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn message_months(&self, before: &str) -> Result<Vec<MessageMonth>, Error> {
        let pipeline = self.0.readers.pipeline().await?;
        let statement = pipeline.prepare(MONTHS).await?;
        let rows = pipeline.client().query(&statement, &[&before]).await.map_err(failure::error)?;
        let month = |row: &tokio_postgres::Row| {
            Ok(MessageMonth { month: row.try_get(0)?, is_open: row.try_get(1)? })
        };
        rows.iter().map(month).collect::<Result<_, _>>().map_err(failure::error)
    }

    /// Takes away a month of messages, and then what is known of them, in steps.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database; [`Error::Internal`] for a month that is not over, has a
    /// message that waits, or is read for longer than is waited for: then all of it stays.
    pub async fn drop_messages(&self, month: &str) -> Result<(), Error> {
        // Not on a connection with a bound on the time of a statement.
        let mut transaction = self.0.admin.begin().await.map_err(failure::sqlx_error)?;
        for sql in [FORGET, DROP] {
            let done = sqlx::query(sql).bind(month).execute(&mut *transaction).await;
            done.map_err(failure::sqlx_error)?;
        }
        transaction.commit().await.map_err(failure::sqlx_error)?;
        for sql in [EFFECTS, ISSUES, UNMAPPED, OPEN, ANSWERS] {
            loop {
                let gone = sqlx::query(sql).bind(month).bind(WINDOW).execute(&self.0.admin).await;
                if gone.map_err(failure::sqlx_error)?.rows_affected() == 0 {
                    break;
                }
            }
        }
        Ok(())
    }
}
