//! An audit record repository that takes AuditEvents.
//!
//! Spec: IHE ITI TF-2 3.20, the FHIR feed of [ITI-20]: single events or batch Bundles

use hyper::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use crate::audit::balp::Event;
use crate::outbound::Outbound;

use super::{OutletError, REPOSITORY, is_for_content, judge};

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
    /// Sends events in one request; how many of them, from the first on, have been taken.
    pub(super) async fn send(&self, events: Vec<Event>, base: &str) -> Result<usize, OutletError> {
        let events: Vec<Value> = events.into_iter().map(|event| resource(event, base)).collect();
        match &events[..] {
            [] => Ok(0),
            [event] => {
                let url = format!("{}/AuditEvent", self.base);
                let (status, _) = self.answered(&url, event.to_string()).await?;
                judge(status, REPOSITORY, source_of(event)).map(|()| 1)
            }
            all => self.post_all(all).await,
        }
    }

    async fn post_all(&self, events: &[Value]) -> Result<usize, OutletError> {
        let entries: Vec<Value> = events
            .iter()
            .map(|event| {
                json!({ "resource": event, "request": { "method": "POST", "url": "AuditEvent" } })
            })
            .collect();
        let bundle = json!({ "resourceType": "Bundle", "type": "batch", "entry": entries });
        let (status, answer) = self.answered(&self.base, bundle.to_string()).await?;
        if is_for_content(status) {
            return Err(OutletError::TooMuch(status));
        }
        if !(200..300).contains(&status) {
            return Err(OutletError::Refused(format!("the repository answered {status}")));
        }
        taken(events, &serde_json::from_slice(&answer).unwrap_or_default())
    }

    async fn answered(&self, url: &str, body: String) -> Result<(u16, bytes::Bytes), OutletError> {
        let answer = self.outbound.post_json(url, &self.headers, body, ANSWER_BYTES).await?;
        Ok((answer.status, answer.body))
    }
}

/// How many events, from the first on, were taken by what is answered to a batch: those behind one that waits
/// are sent again with it.
fn taken(events: &[Value], answer: &Value) -> Result<usize, OutletError> {
    for (at, event) in events.iter().enumerate() {
        let status = status_of(&answer["entry"][at]);
        match judge(status, REPOSITORY, source_of(event)) {
            Err(_) if at > 0 => return Ok(at),
            judged => judged?,
        }
    }
    Ok(events.len())
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
        let answer = |statuses: &[&str]| {
            let entries = statuses.iter().map(|it| json!({ "response": { "status": it } }));
            json!({ "entry": entries.collect::<Vec<_>>() })
        };
        let events = [json!({}), json!({}), json!({})];
        for (statuses, expected) in [
            (&["201", "201 Created", "201"][..], Some(3)),
            (&["201", "422", "201"], Some(3)),
            (&["201", "503", "201"], Some(1)),
            (&["201", "422"], Some(2)),
            (&["503", "201", "201"], None),
            (&[], None),
        ] {
            assert_eq!(taken(&events, &answer(statuses)).ok(), expected, "{statuses:?}");
        }
        let answered = |status: &str| status_of(&json!({ "response": { "status": status } }));
        assert_eq!([answered("201 Created"), answered("x"), status_of(&Value::Null)], [201, 0, 0]);
    }
}
