//! One change on its way to an endpoint: on record as a disclosure before it leaves.

use crate::access::interaction::Kind;
use crate::access::{Caller, Disclosed, Permit, Unaudited};
use crate::engine::Engine;
use crate::error::{Error, root_cause};
use crate::fhir::codec::{Format, xml};
use crate::fhir::json;
use crate::fhir::{Identity, Version, VersionId};
use crate::outbound::Parcel;
use crate::store::ServedSubscription;
use crate::store::veil::Opened;

use super::Desk;
use super::work::format_of;

/// Most bytes of an answer that are read, beside some times as many as were sent: who stores a resource
/// may send it back.
const ANSWER_BYTES: usize = 1 << 20;

/// What became of a change.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Told {
    /// The other side has it.
    Delivered,
    /// What is to be sent is granted no more.
    Denied,
    /// It could not be delivered; why.
    Failed(String),
    /// It is not for its party to see, or not any more.
    Withheld,
}

impl Engine {
    /// Tells a subscription of a version.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the subscription is held no more; [`Error::Unavailable`] when it cannot be put
    /// on record: then nothing is sent.
    pub(super) async fn notify(
        &self,
        served: &ServedSubscription,
        (identity, version): (&Identity, VersionId),
        caller: &Caller,
        desk: &Desk,
    ) -> Result<Told, Error> {
        if !self.store.keep_subscription(&served.own, self.subscription_lease()).await? {
            return Err(Error::Conflict("the subscription is held no more".to_owned()));
        }
        let of = identity.resource_type;
        let kind = if served.payload.is_some() { Kind::Read } else { Kind::SearchType };
        let find = async |permit: &Permit<'_>| {
            permit.derive(Kind::SearchType, of)?;
            let permit = permit.derive(kind, of)?;
            let found = self.store.version(&identity.id, version, &permit).await?;
            let entities = told_of(served);
            let about = Unaudited::new((), Disclosed { entities, ..Disclosed::default() });
            let both = found.and(about).ok_or_else(|| Error::internal("it is on record"))?;
            Ok(both.map(|(version, ())| version))
        };
        let version = match self.gate.run(Kind::Notify.of(of), caller, find).await {
            Ok(version) => version,
            Err(Error::Forbidden) => return Ok(Told::Denied),
            Err(Error::Deleted { .. } | Error::NotFound(_)) => return Ok(Told::Withheld),
            Err(error) => return Err(error),
        };
        if !self.tripwire(kind, caller)?.lets_by(&version)? {
            metrics::counter!("kiln_withheld_total").increment(1);
            self.alarm(&version, caller).await?;
            return Ok(Told::Withheld);
        }
        let failure = match self.send(served, &version, caller, desk).await {
            Ok(200..300) => None,
            Ok(status) => Some(format!("it answered {status}")),
            Err(why) => Some(why),
        };
        let event = if failure.is_none() { "delivered" } else { "failed" };
        metrics::counter!("kiln_subscription_events_total", "event" => event).increment(1);
        let Some(why) = failure else { return Ok(Told::Delivered) };
        let disclosed = self.not_delivered(served, &version)?;
        self.gate.note_about(Kind::Notify, caller, disclosed, Some(&why)).await?;
        Ok(Told::Failed(why))
    }

    /// Sends a version; the status of the answer, or why there is none.
    async fn send(
        &self,
        served: &ServedSubscription,
        version: &Version,
        caller: &Caller,
        desk: &Desk,
    ) -> Result<u16, String> {
        let rules = &self.settings.subscriptions;
        let veil = self.store.veil(&served.own.id);
        let party = served.owner.party();
        let mut headers = Vec::new();
        for line in &served.headers {
            match veil.open(line) {
                Some(Opened { party: whose, name, value }) if whose == party => {
                    headers.push((name, value));
                }
                _ => return Err("a header is of somebody else".to_owned()),
            }
        }
        let format = served.payload.as_deref().and_then(format_of);
        let body = match format {
            // What cannot be written is given up in the end, as what is not taken: else nothing behind it would
            // ever be told.
            Some(format) => self.payload(version, format, caller).map_err(|error| {
                tracing::warn!(error = root_cause(&error), "a version cannot be sent");
                "the version cannot be written as it was asked for".to_owned()
            })?,
            None => Vec::new(),
        };
        let is_put = rules.is_put && format.is_some();
        let url = if is_put {
            below(&served.endpoint, &version.identity)
        } else {
            served.endpoint.clone()
        };
        // The list may be another one than when it was asked for.
        if let Some(refusal) = rules.endpoints.refusal(&url) {
            return Err(refusal);
        }
        let limit = ANSWER_BYTES + 4 * body.len();
        let content_type = format.map(Format::media_type);
        let parcel = Parcel { is_put, url: &url, headers: &headers, content_type, body };
        let answered = desk.outbound.deliver(parcel, limit).await;
        answered.map_err(|error| error.to_string())
    }

    /// A version in the form that was asked for.
    fn payload(
        &self,
        version: &Version,
        format: Format,
        caller: &Caller,
    ) -> Result<Vec<u8>, Error> {
        let mut version = version.clone();
        self.reveal(&mut version, caller)?;
        let text = version.to_json();
        match format {
            Format::Json => Ok(text),
            Format::Xml => {
                let value = json::parse(&text).map_err(Error::internal)?;
                let mut out = Vec::new();
                xml::write(&value, &self.spec.schema, &mut out, false).map_err(Error::internal)?;
                Ok(out)
            }
        }
    }

    /// What the record says of a delivery that failed.
    fn not_delivered(
        &self,
        served: &ServedSubscription,
        version: &Version,
    ) -> Result<Disclosed, Error> {
        let Identity { resource_type, id } = version.identity.clone();
        let text = version.to_json();
        let value = json::parse(&text).map_err(Error::internal)?;
        let hasher = self.store.hasher();
        let found = self.spec.patient_compartment(resource_type, &value, &self.settings.base);
        Ok(Disclosed {
            subject: Some((resource_type, id, Some(version.version))),
            patients: found.iter().map(|patient| hasher.patient(patient)).collect(),
            entities: told_of(served),
            ..Disclosed::default()
        })
    }
}

/// Which subscription is told, and where: the server alone, for what stands behind it may be secret.
fn told_of(served: &ServedSubscription) -> Vec<String> {
    let end = served.endpoint.find("://").map_or(0, |at| at + 3);
    let rest = &served.endpoint[end..];
    let host = rest.find(['/', '?', '#']).map_or(rest, |at| &rest[..at]);
    vec![format!("Subscription/{}", served.own.id), format!("endpoint {host}")]
}

/// The address of a resource below an endpoint; a query stays behind it.
fn below(endpoint: &str, identity: &Identity) -> String {
    let (path, query) = match endpoint.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (endpoint, String::new()),
    };
    format!("{}/{identity}{query}", path.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::ResourceType;

    /// Covers: rest 8.5.
    #[test]
    fn a_resource_goes_to_its_type_and_id_below_the_endpoint() {
        let identity =
            Identity { resource_type: ResourceType::PATIENT, id: "p1".parse().expect("an id") };
        for (endpoint, expected) in [
            ("https://a.org", "https://a.org/Patient/p1"),
            ("https://a.org/fhir", "https://a.org/fhir/Patient/p1"),
            ("https://a.org/fhir/", "https://a.org/fhir/Patient/p1"),
            ("https://a.org/fhir?key=1", "https://a.org/fhir/Patient/p1?key=1"),
        ] {
            assert_eq!(below(endpoint, &identity), expected, "{endpoint}");
        }
    }
}
