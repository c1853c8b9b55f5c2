//! Metrics of what waits and what has failed.
//!
//! Spec: v2 M12

use std::time::{Duration, Instant as Watch};

use super::receive::Receiver;
use crate::store::hl7v2::MessageState;

/// Between two counts for the metrics.
const COUNT: Duration = Duration::from_secs(10);

/// How many messages wait or have failed, by state and sender, for the metrics.
#[derive(Default)]
pub(super) struct Meters {
    last: Option<Watch>,
    seen: Vec<(MessageState, String)>,
}

impl Meters {
    /// Counts anew, when the last time is long enough ago.
    pub(super) async fn refresh(&mut self, receiver: &Receiver) {
        if self.last.is_some_and(|last| last.elapsed() < COUNT) {
            return;
        }
        self.last = Some(Watch::now());
        let Ok(counts) = receiver.store.message_counts().await else { return };
        // What is no longer counted is none.
        for (state, site) in self.seen.drain(..) {
            show(receiver, (state, &site), 0, 0.0);
        }
        let now = receiver.clock.now();
        for counted in counts {
            let age = (now.as_micros() - counted.oldest.as_micros()) as f64 / 1e6;
            show(receiver, (counted.state, &counted.site), counted.count, age);
            self.seen.push((counted.state, counted.site));
        }
    }
}

fn show(receiver: &Receiver, (state, site): (MessageState, &str), count: i64, age: f64) {
    let own = [("state", state.as_str().to_owned()), ("site", site.to_owned())];
    let labels: Vec<_> = own.into_iter().chain(receiver.store.labels()).collect();
    metrics::gauge!("kiln_v2_messages", &labels).set(count as f64);
    metrics::gauge!("kiln_v2_oldest_message_age_seconds", &labels).set(age);
}
