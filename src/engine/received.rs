//! What is the server's word though clients say something: who sent an AuditEvent, and, where the
//! settings have it so, `meta.source`.
//!
//! Of an AuditEvent, the client of the token becomes the observer of the source. What the event said of
//! itself stays beside that, in an extension. When it was received is `meta.lastUpdated`, which is the
//! server's as well.
//!
//! Spec: security W9, W10

use crate::access::Permit;
use crate::error::Error;
use crate::fhir::json::{self, Object, Value};
use crate::fhir::{Identity, ResourceType};
use crate::store::Current;

use super::Engine;
use super::labelling::object;
use super::meta::stored_meta;
use super::prepare::Prepared;

/// What the sender called the observer of the event.
const CLAIMED: &str = "urn:kiln:claimed-observer";

/// Where a version comes from, and what may stand beside that.
const SOURCE: &str = "source";
const SOURCE_SIBLING: &str = "_source";

impl Engine {
    /// What is stored of a new resource that a client sent.
    pub(super) fn received(
        &self,
        identity: &Identity,
        prepared: Prepared,
        permit: &Permit<'_>,
    ) -> Result<Prepared, Error> {
        let is_event = identity.resource_type == ResourceType::AUDIT_EVENT;
        let Some(client) = permit.client().filter(|_| is_event) else { return Ok(prepared) };
        let mut event = object(&prepared.body)?;
        let claimed = event.remove("source");
        let source = source(claimed.as_ref(), client, &self.settings.base);
        event.set("source", source);
        event.set("resourceType", identity.resource_type.as_str().to_owned());
        if let Some(meta) = &prepared.meta {
            event.set("meta", json::parse(meta).map_err(Error::internal)?);
        }
        let notices = prepared.notices.clone();
        Ok(Prepared { notices, ..self.split(identity, Value::Object(event))? })
    }

    /// What is stored of a version where `meta.source` is not for clients to say: that of the version
    /// before, or none.
    pub(super) fn source_kept(
        &self,
        identity: &Identity,
        prior: Option<&Current>,
        prepared: Prepared,
        permit: &Permit<'_>,
    ) -> Result<Prepared, Error> {
        if !self.settings.ignores_source || permit.is_of_service() {
            return Ok(prepared);
        }
        let prior = prior.map(|prior| &prior.version).filter(|prior| !prior.is_deleted());
        let before = prior.map_or(Ok(Object::new()), stored_meta)?;
        let mut meta = prepared.meta.as_deref().map_or(Ok(Object::new()), object)?;
        let said = [SOURCE, SOURCE_SIBLING].map(|name| meta.remove(name));
        let kept = [SOURCE, SOURCE_SIBLING].map(|name| before.get(name).cloned());
        if said == kept {
            return Ok(prepared);
        }
        for (name, value) in [SOURCE, SOURCE_SIBLING].into_iter().zip(kept) {
            if let Some(value) = value {
                meta.set(name, value);
            }
        }
        let mut resource = object(&prepared.body)?;
        resource.set("resourceType", identity.resource_type.as_str().to_owned());
        resource.set("id", identity.id.to_string());
        if !meta.is_empty() {
            resource.set("meta", meta);
        }
        let notices = prepared.notices;
        Ok(Prepared { notices, ..self.split_labelled(identity, resource)? })
    }
}

/// Where an event comes from, as far as the server knows.
fn source<'v>(claimed: Option<&Value<'v>>, client: &str, base: &str) -> Value<'v> {
    let identifier = Object::new().with("system", base.to_owned()).with("value", client.to_owned());
    let observer = Object::new()
        .with("identifier", Value::from(identifier))
        .with("display", format!("client {client}"));
    let mut source = Object::new();
    if let Some(observer) = claimed.and_then(|claimed| claimed.get("observer")) {
        let claim = Object::new().with("url", CLAIMED).with("valueReference", observer.clone());
        source.set("extension", vec![Value::from(claim)]);
    }
    for name in ["site", "type"] {
        if let Some(kept) = claimed.and_then(|claimed| claimed.get(name)) {
            source.set(name, kept.clone());
        }
    }
    source.set("observer", Value::from(observer));
    source.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_the_client_and_what_it_said_is_kept_as_said() {
        let text = r#"{"site":"ward","observer":{"reference":"Device/d"}}"#;
        let claimed = json::parse(text.as_bytes()).expect("JSON");
        for (claimed, expected) in [
            (
                Some(&claimed),
                r#"{"extension":[{"url":"urn:kiln:claimed-observer","valueReference":{"reference":"Device/d"}}],"site":"ward","observer":{"identifier":{"system":"http://x/fhir","value":"feed"},"display":"client feed"}}"#,
            ),
            (
                None,
                r#"{"observer":{"identifier":{"system":"http://x/fhir","value":"feed"},"display":"client feed"}}"#,
            ),
        ] {
            assert_eq!(source(claimed, "feed", "http://x/fhir").to_text(), expected);
        }
    }
}
