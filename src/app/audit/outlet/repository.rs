//! An audit record repository that takes AuditEvents.
//!
//! Spec: IHE ITI TF-2 3.20, the FHIR feed of [ITI-20]: single events or batch Bundles

use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::audit::balp::{Entry, Event};
use crate::outbound::Outbound;

use super::{OutletError, REPOSITORY, judge};

/// Largest answer that is read.
const ANSWER_BYTES: usize = 4 << 20;

/// A repository.
pub(super) struct Repository {
    pub(super) outbound: Outbound,
    pub(super) base: String,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) batch: usize,
}

impl Repository {
    /// Sends the events of rows, in their order.
    pub(super) async fn send(&self, rows: &[Entry], base: &str) -> Result<(), OutletError> {
        let mut events = Vec::new();
        for event in rows.iter().flat_map(|row| row.events(base)) {
            events.push(resource(event, base));
            if events.len() >= self.batch {
                self.post(std::mem::take(&mut events)).await?;
            }
        }
        self.post(events).await
    }

    async fn post(&self, mut events: Vec<Value>) -> Result<(), OutletError> {
        match events.len() {
            0 => Ok(()),
            1 => {
                let url = format!("{}/AuditEvent", self.base);
                let event = events.remove(0);
                let (status, _) = self.answered(&url, event.to_string()).await?;
                judge(status, REPOSITORY, source_of(&event))
            }
            _ => self.post_all(events).await,
        }
    }

    async fn post_all(&self, events: Vec<Value>) -> Result<(), OutletError> {
        let entries: Vec<Value> = events
            .iter()
            .map(|event| {
                json!({ "resource": event, "request": { "method": "POST", "url": "AuditEvent" } })
            })
            .collect();
        let bundle = json!({ "resourceType": "Bundle", "type": "batch", "entry": entries });
        let (status, answer) = self.answered(&self.base, bundle.to_string()).await?;
        if !(200..300).contains(&status) {
            return Err(OutletError::Refused(format!("the repository answered {status}")));
        }
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        for (at, event) in events.iter().enumerate() {
            judge(status_of(&answer["entry"][at]), REPOSITORY, source_of(event))?;
        }
        Ok(())
    }

    async fn answered(&self, url: &str, body: String) -> Result<(u16, bytes::Bytes), OutletError> {
        let answer = self.outbound.post_json(url, &self.headers, body, ANSWER_BYTES).await?;
        Ok((answer.status, answer.body))
    }
}

/// What became of an entry; 0 where the answer does not say.
fn status_of(entry: &Value) -> u16 {
    let status = entry["response"]["status"].as_str().and_then(|it| it.get(..3));
    status.and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// Which event it is.
fn source_of(event: &Value) -> &str {
    event["meta"]["source"].as_str().unwrap_or_default()
}

/// The event as a resource. Its id is the repository's to give: by `meta.source` it is known where the
/// event is from, and whether it has come before.
fn resource(event: Event, base: &str) -> Value {
    let mut resource = event.body;
    resource["resourceType"] = json!("AuditEvent");
    resource["meta"] = json!({ "source": format!("{base}/AuditEvent/{}", event.id) });
    if !event.profiles.is_empty() {
        resource["meta"]["profile"] = json!(event.profiles);
    }
    resource
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_for_itself_is_passed_over_and_all_else_waits() {
        let event = json!({});
        for (status, is_over) in [
            (200, true),
            (201, true),
            (400, true),
            (422, true),
            (401, false),
            (403, false),
            (404, false),
            (429, false),
            (500, false),
            (503, false),
            (0, false),
        ] {
            assert_eq!(judge(status, REPOSITORY, source_of(&event)).is_ok(), is_over, "{status}");
        }
        let answered = |status: &str| status_of(&json!({ "response": { "status": status } }));
        assert_eq!([answered("201 Created"), answered("x"), status_of(&Value::Null)], [201, 0, 0]);
    }
}
