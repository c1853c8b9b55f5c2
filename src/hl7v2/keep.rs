//! How messages are kept: texts of before are sealed, data keys are turned, and months go whose time is over.
//!
//! Spec: v2 P5, P6

use std::time::{Duration, Instant as Watch};

use tokio::sync::watch;

use super::receive::Receiver;
use crate::error::{Error, root_cause};
use crate::fhir::Instant;
use crate::store::hl7v2::Sealing;

/// Between two looks for what is to be done.
const PAUSE: Duration = Duration::from_mins(1);
/// Between two steps while there is something left to be sealed: others write too.
const STEP: Duration = Duration::from_millis(100);
/// Between two looks at keys and months.
const SELDOM: Duration = Duration::from_hours(1);
/// How long a data key seals texts: fewer than a random nonce may have, at thousands a second.
const KEY_MS: i64 = 7 * 24 * 3_600_000;

impl Receiver {
    /// Keeps stored messages as the settings say, until told to stop.
    pub async fn keep(&self, mut stop: watch::Receiver<bool>) {
        let mut looked: Option<Watch> = None;
        loop {
            if looked.is_none_or(|at| at.elapsed() >= SELDOM) {
                looked = Some(Watch::now());
                self.turn_key().await;
                if let Err(error) = self.drop_months().await {
                    tracing::warn!(cause = root_cause(&error), "old months of messages stay");
                }
            }
            let pause = match self.store.seal_messages().await {
                Ok(Sealing::Some(count)) => {
                    metrics::counter!("kiln_v2_sealed_total").increment(count as u64);
                    STEP
                }
                Ok(Sealing::Done) => PAUSE,
                Err(error) => {
                    tracing::warn!(cause = root_cause(&error), "texts of before are not sealed");
                    PAUSE
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = stop.changed() => return,
            }
        }
    }

    async fn turn_key(&self) {
        let now = self.clock.now();
        match self.store.turn_data_key(now.plus_millis(-KEY_MS), now).await {
            Ok(true) => tracing::info!("texts of messages have a new data key"),
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "the data key of messages stays"),
        }
    }

    /// Takes away months of messages whose time is over, with a row of the ledger each; how many. One in which
    /// a message waits or has failed stays, and those after it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without a database.
    pub async fn drop_months(&self) -> Result<usize, Error> {
        let Some(months) = self.settings.months_kept else { return Ok(0) };
        let mut count = 0;
        for month in self.store.message_months(&month_before(self.clock.now(), months)).await? {
            let name = &month.month;
            if month.is_open {
                tracing::warn!(month = name, "messages stay: one waits, failed or is held");
                break;
            }
            let caller = self.caller(self.ids.ordered(), None, "");
            self.engine.drop_messages(name, &caller).await?;
            tracing::info!(month = name, "messages are kept no longer");
            count += 1;
        }
        Ok(count)
    }
}

/// The month that was so many months ago, in six digits.
fn month_before(now: Instant, months: u32) -> String {
    let text = now.to_string();
    let number = |from: usize, to: usize| text.get(from..to).and_then(|it| it.parse().ok());
    let (year, month): (u32, u32) = (number(0, 4).unwrap_or(0), number(5, 7).unwrap_or(1));
    let first = (year * 12 + month - 1).saturating_sub(months);
    format!("{:04}{:02}", first / 12, first % 12 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_counted_over_the_year() {
        for (now, months, expected) in [
            ("2026-11-29T02:00:00Z", 1, "202610"),
            ("2026-01-01T00:00:00Z", 1, "202512"),
            ("2026-12-31T23:59:59Z", 12, "202512"),
            ("2026-03-31T12:00:00Z", 27, "202312"),
        ] {
            assert_eq!(month_before(Instant::parse(now).unwrap(), months), expected, "{now}");
        }
    }
}
