//! What a version of a Subscription means: for the status that it has, for who may ask for it, for the work on it,
//! and for what others are shown of it.

use bytes::Bytes;

use crate::access::interaction::Kind;
use crate::access::mask::label;
use crate::access::{Caller, Permit};
use crate::engine::Engine;
use crate::engine::labelling::object;
use crate::engine::prepare::Prepared;
use crate::engine::validation::header_fault;
use crate::error::Error;
use crate::fhir::json::{self, Object, Value};
use crate::fhir::{Identity, Instant, Issue, IssueCode, ResourceType, Version, VersionId};
use crate::store::veil::{HIDDEN, Opened, Veil, hidden, is_sealed, parts};
use crate::store::{AskedSubscription, SubscriptionChange, SubscriptionOwner, SubscriptionState};

use super::SERVICE;

/// Makes a request of what a client sends: whether a Subscription is active, and what went wrong with it, is for the
/// server to say (rest 8.1).
pub(in crate::engine) fn ask(subscription: &mut Value<'_>) {
    let is_told = matches!(subscription.str_at("status"), Some("active" | "error"));
    let Some(subscription) = subscription.as_object_mut() else { return };
    if is_told {
        subscription.set("status", "requested");
    }
    for name in ["error", "_error"] {
        subscription.remove(name);
    }
}

/// The party that headers belong to: a user of another client is another one.
fn party(actor: &str, client: Option<&str>) -> String {
    format!("{actor} {}", client.unwrap_or_default())
}

impl SubscriptionOwner {
    /// The party that its headers belong to.
    pub(super) fn party(&self) -> String {
        party(&self.actor, self.client.as_deref())
    }
}

impl Engine {
    /// What is stored of a version: its headers sealed for whoever writes it. The headers of somebody else are
    /// not taken over.
    ///
    /// # Errors
    /// [`Error::Unprocessable`] for headers that cannot be sent; [`Error::Forbidden`] for those of others.
    pub(in crate::engine) fn veiled(
        &self,
        identity: &Identity,
        prepared: Prepared,
        permit: &Permit<'_>,
    ) -> Result<Prepared, Error> {
        if identity.resource_type != ResourceType::SUBSCRIPTION {
            return Ok(prepared);
        }
        let mut body = object(&prepared.body)?;
        let Some(headers) = headers(&mut body) else { return Ok(prepared) };
        let veil = self.store.veil(&identity.id);
        let party = party(permit.actor(), permit.client());
        for (at, header) in headers.iter_mut().enumerate() {
            let Some(line) = header.as_str() else { continue };
            let kept = kept(&veil, line, &party, permit.is_of_service());
            *header = Value::from(kept.map_err(|fault| fault.at(at))?);
        }
        let body = Bytes::from(Value::Object(body).to_text());
        Ok(Prepared { body, ..prepared })
    }

    /// What a version that is staged means for the work; `body`: none of a deletion.
    ///
    /// # Errors
    /// [`Error::Forbidden`] where whoever asks may not search for what is waited for, or not read what is to be
    /// sent.
    pub(in crate::engine) fn subscribing(
        &self,
        identity: &Identity,
        version: VersionId,
        body: Option<&Bytes>,
        permit: &Permit<'_>,
    ) -> Result<SubscriptionChange, Error> {
        let id = identity.id.clone();
        let Some(body) = body else { return Ok(SubscriptionChange::Gone(id)) };
        let value = json::parse(body).map_err(Error::internal)?;
        let state = value.str_at("status").and_then(SubscriptionState::from_code);
        let state = state.unwrap_or(SubscriptionState::Off);
        if permit.is_of_service() && permit.actor() == format!("service:{SERVICE}") {
            return Ok(SubscriptionChange::Moved(id, version, state));
        }
        let text = |of: &Value<'_>, name: &str| of.str_at(name).map(str::to_owned);
        let criteria = text(&value, "criteria").unwrap_or_default();
        let channel = value.get("channel").cloned().unwrap_or(Value::Null);
        let payload = text(&channel, "payload");
        let of = criteria.split('?').next().and_then(|of| of.parse::<ResourceType>().ok());
        if let Some(of) = of.filter(|_| state == SubscriptionState::Requested) {
            permit.derive(Kind::SearchType, of)?;
            if payload.is_some() {
                permit.derive(Kind::Read, of)?;
            }
        }
        let lines = channel.items_at("header").iter();
        Ok(SubscriptionChange::Asked(Box::new(AskedSubscription {
            id,
            version,
            state,
            of,
            criteria,
            channel: text(&channel, "type").unwrap_or_default(),
            endpoint: text(&channel, "endpoint").unwrap_or_default(),
            payload,
            headers: lines.filter_map(|line| line.as_str().map(str::to_owned)).collect(),
            ends_at: value.str_at("end").and_then(Instant::parse),
            owner: SubscriptionOwner::of(permit),
            most: self.settings.subscriptions.most_open,
        })))
    }

    /// Shows a version as `caller` may see it: values of headers are for the party that sent them.
    ///
    /// # Errors
    /// [`Error::Internal`] when what is stored is no JSON.
    pub fn reveal(&self, version: &mut Version, caller: &Caller) -> Result<(), Error> {
        let identity = &version.identity;
        if identity.resource_type != ResourceType::SUBSCRIPTION {
            return Ok(());
        }
        let Some(mut body) = version.body.as_deref().map(object).transpose()? else {
            return Ok(());
        };
        let Some(headers) = headers(&mut body) else { return Ok(()) };
        let veil = self.store.veil(&identity.id);
        let grant = caller.principal.grant();
        let party = party(caller.principal.actor(), grant.map(|grant| grant.client.as_str()));
        let mut hides = false;
        for header in headers.iter_mut() {
            let Some(line) = header.as_str() else { continue };
            let own = veil.open(line).filter(|opened| opened.party == party);
            hides |= own.is_none();
            *header = match own {
                Some(Opened { name, value, .. }) => Value::from(format!("{name}: {value}")),
                None => Value::from(hidden(line)),
            };
        }
        if hides {
            let mut meta = version.meta.as_deref().map_or(Ok(Object::new()), object)?;
            label(&mut meta);
            version.meta = Some(Bytes::from(Value::Object(meta).to_text()));
        }
        version.body = Some(Bytes::from(Value::Object(body).to_text()));
        Ok(())
    }
}

/// The headers of the channel.
fn headers<'b, 'v>(body: &'b mut Object<'v>) -> Option<&'b mut Vec<Value<'v>>> {
    body.get_mut("channel")?.as_object_mut()?.get_mut("header")?.as_array_mut()
}

/// Why a header is not kept.
#[derive(Debug, Eq, PartialEq)]
enum HeaderFault {
    /// It cannot be sent.
    Unfit(&'static str),
    /// It is of somebody else.
    Others,
}

impl HeaderFault {
    fn at(self, place: usize) -> Error {
        match self {
            Self::Unfit(text) => {
                let place = format!("Subscription.channel.header[{place}]");
                Error::Unprocessable(vec![Issue::error_at(IssueCode::Value, text, place)])
            }
            Self::Others => Error::Forbidden,
        }
    }
}

/// A header line as it is stored when a party, or a service of the server, writes it.
fn kept(veil: &Veil, line: &str, writer: &str, is_service: bool) -> Result<String, HeaderFault> {
    if is_sealed(line) {
        return match veil.open(line) {
            Some(opened) if is_service || opened.party == writer => Ok(line.to_owned()),
            _ => Err(HeaderFault::Others),
        };
    }
    if let Some(text) = header_fault(line) {
        return Err(HeaderFault::Unfit(text));
    }
    match parts(line) {
        Some((_, HIDDEN)) => {
            Err(HeaderFault::Unfit("a value that is not shown cannot be stored: send the header"))
        }
        Some((name, value)) => Ok(veil.seal(writer, name, value)),
        None => Err(HeaderFault::Unfit("a header is a name, a colon and a value")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::json::parse;

    /// Covers: rest 8.1.
    #[test]
    fn whether_it_is_active_is_not_for_clients_to_say() {
        for (sent, asked) in [
            (r#"{"status":"requested"}"#, r#"{"status":"requested"}"#),
            (r#"{"status":"active"}"#, r#"{"status":"requested"}"#),
            (r#"{"status":"error","error":"x"}"#, r#"{"status":"requested"}"#),
            (r#"{"status":"off","error":"x","_error":{"id":"a"}}"#, r#"{"status":"off"}"#),
            (r#"{"status":"nonsense"}"#, r#"{"status":"nonsense"}"#),
            ("{}", "{}"),
            ("[]", "[]"),
        ] {
            let mut value = parse(sent.as_bytes()).expect("JSON");
            ask(&mut value);
            assert_eq!(value.to_text(), asked, "{sent}");
        }
    }

    /// Covers: security V29.
    #[test]
    fn headers_of_others_and_those_that_cannot_be_sent_are_not_kept() {
        let veil = Veil::new(&[1; 32], &"s".parse().expect("an id"));
        let sealed = kept(&veil, "Authorization: Bearer x", "ada", false).expect("it is sealed");
        assert!(is_sealed(&sealed));
        for (line, writer, is_service, is_kept) in [
            (sealed.as_str(), "ada", false, true),
            (sealed.as_str(), "bob", false, false),
            (sealed.as_str(), "bob", true, true),
            ("Authorization: kiln-sealed:abc", "ada", false, false),
            ("Authorization: kiln-sealed:abc", "ada", true, false),
            ("Authorization: ***", "ada", false, false),
            ("X-Key: a b", "ada", false, true),
            ("X-Key:", "ada", false, true),
            ("X-Key: a\r\nHost: b", "ada", false, false),
            ("Host: a", "ada", false, false),
            ("host : a", "ada", false, false),
            ("no header", "ada", false, false),
        ] {
            let found = kept(&veil, line, writer, is_service);
            assert_eq!(found.is_ok(), is_kept, "{line} {writer}: {found:?}");
        }
    }
}
