//! Messages that their senders number (MSH-13).
//!
//! Spec: v2 S23

use std::time::Duration;

use tokio::time::Instant;

use super::ack::{Code, Condition, Issue};
use super::er7::{Place, SegmentName};
use super::heading::Heading;
use super::receive::{Receiver, Settings};
use crate::error::Error;

/// Between two looks for the messages before one that waits for them.
const LOOK_FOR_NUMBER: Duration = Duration::from_millis(100);

impl Receiver {
    /// Holds the number of a message (MSH-13) against what is expected, where senders number them: what is
    /// worth knowing of it. One that comes too early waits for those before it, if it may.
    pub(super) async fn number(
        &self,
        settings: &Settings,
        site: &str,
        heading: &mut Heading,
        refused: &mut Option<(Code, Issue)>,
    ) -> Result<Option<Issue>, Error> {
        let number = heading.sequence.parse::<i64>().ok().filter(|number| *number >= -1);
        let Some(number) = number.filter(|_| self.settings.is_numbered && refused.is_none()) else {
            return Ok(None);
        };
        let until = settings.gap.map(|gap| Instant::now() + gap);
        let mut expected = self.store.expect_message(site, number).await?;
        // What came before is told by its bytes.
        while number >= expected && until.is_some_and(|until| Instant::now() < until) {
            tokio::time::sleep(LOOK_FOR_NUMBER).await;
            expected = self.store.expect_message(site, number).await?;
        }
        let is_gap = number >= expected;
        if is_gap && until.is_some() {
            expected = self.store.pass_over_messages(site, number).await?;
        }
        heading.expected = u64::try_from(expected).ok();
        let place = Place::segment(SegmentName::MSH, 1).with_field(13);
        match until {
            _ if !is_gap => {}
            Some(_) => {
                let issue = Issue::warning(Condition::ApplicationError);
                return Ok(Some(issue.at(place).named("sequence-gap")));
            }
            None => {
                let issue = Issue::error(Condition::ApplicationError).at(place);
                *refused = Some((Code::AE, issue.named("sequence-gap")));
            }
        }
        Ok(None)
    }
}
