//! One FHIR request on its way to the engine: what it says, read in one place.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, request};
use bytes::Bytes;

use crate::access::Caller;
use crate::engine::{Provenance, WriteOptions};
use crate::error::Error;
use crate::fhir::codec::{Format, xml};
use crate::fhir::json::{self, Limits, Value};
use crate::fhir::query::Query;
use crate::fhir::schema::Schema;
use crate::fhir::{Identity, IssueCode, ResourceType, VersionId};

use super::form::Form;
use super::negotiation::{self, MediaType};
use super::outcome::Failure;
use super::prefer::Preferences;
use super::server::Server;
use super::table::Target;
use super::{base, body, query};

/// A request with its caller.
pub struct Exchange {
    /// The endpoint.
    pub server: Arc<Server>,
    /// Method, URL and headers.
    pub parts: request::Parts,
    /// The body, unread.
    pub body: Body,
    /// What the path named.
    pub target: Target,
    /// The decoded query.
    pub query: Query,
    /// The `Prefer` headers.
    pub preferences: Preferences,
    /// Who asks.
    pub caller: Caller,
    /// The form that was negotiated; `None` when nothing that the client takes is served.
    pub(super) accepted: Option<MediaType>,
}

impl Exchange {
    /// The form of the answer.
    ///
    /// # Errors
    /// [`Failure::NotAcceptable`]; [`Error::Invalid`] for a bad `_pretty` under strict handling.
    pub fn form(&self) -> Result<Form, Failure> {
        let Some(media_type) = self.accepted else {
            // Asked again for the text of its refusal.
            let media_type = negotiation::answer(self.query.first("_format"), &self.parts.headers)?;
            return Ok(Form { media_type, is_pretty: false });
        };
        Ok(Form { media_type, is_pretty: query::is_pretty(&self.query, self.is_strict())? })
    }

    /// Whether what is not understood is refused rather than ignored.
    pub fn is_strict(&self) -> bool {
        self.preferences.is_strict == Some(true)
    }

    /// Refuses parameters outside `known` and the general ones, when the client wants that.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the first unknown parameter.
    pub fn check_known(&self, known: &[&str]) -> Result<(), Error> {
        if self.is_strict() {
            self.query.check_known(known)?;
        }
        Ok(())
    }

    /// What comes beside the resource of a write.
    pub fn write_options<'a>(&self, provenance: Option<&'a Provenance>) -> WriteOptions<'a> {
        WriteOptions { provenance, wish: self.preferences.wish() }
    }

    /// The element table.
    pub fn schema(&self) -> &Schema {
        self.server.schema()
    }

    /// The type in the path.
    ///
    /// # Errors
    /// [`Error::Internal`] for a route without `{type}`.
    pub fn resource_type(&self) -> Result<ResourceType, Failure> {
        let missing = || Failure::from(Error::internal("the route has no {type}"));
        self.target.resource_type.ok_or_else(missing)
    }

    /// Type and id in the path.
    ///
    /// # Errors
    /// For text that cannot be an id: [`Error::Invalid`] on PUT, else [`Error::NotFound`].
    pub fn identity(&self) -> Result<Identity, Failure> {
        let resource_type = self.resource_type()?;
        match &self.target.id {
            Some(Ok(id)) => Ok(Identity { resource_type, id: id.clone() }),
            Some(Err(invalid)) if self.parts.method == Method::PUT => {
                Err(Error::invalid(IssueCode::Value, invalid.to_string()).into())
            }
            Some(Err(invalid)) => {
                Err(Error::NotFound(format!("{resource_type}: {invalid}; it")).into())
            }
            None => Err(Error::internal("the route has no {id}").into()),
        }
    }

    /// The version in the path.
    ///
    /// # Errors
    /// [`Error::NotFound`] for text that no version has.
    pub fn version(&self) -> Result<VersionId, Failure> {
        let text = self.target.version.as_deref().unwrap_or_default();
        let version = text.parse();
        version.map_err(|invalid| Error::NotFound(format!("{invalid}; it")).into())
    }

    /// The base that this client sees.
    pub fn base(&self) -> String {
        base::of(&self.server.settings, &self.parts)
    }

    /// Reads the body, once.
    ///
    /// # Errors
    /// Those of reading, its bound and its coding.
    pub async fn read_body(&mut self) -> Result<Bytes, Failure> {
        self.read_at_most(self.most_bytes()).await
    }

    /// What the body of such a request may have.
    fn most_bytes(&self) -> usize {
        let settings = &self.server.settings;
        match self.target.resource_type {
            Some(ResourceType::BINARY) => settings.max_binary_bytes,
            _ => settings.max_body_bytes,
        }
    }

    /// The same where less than any body may have is enough.
    pub(super) async fn read_at_most(&mut self, bytes: usize) -> Result<Bytes, Failure> {
        self.read_within(bytes.min(self.most_bytes())).await
    }

    /// The same where the route has a bound of its own.
    pub(super) async fn read_within(&mut self, bytes: usize) -> Result<Bytes, Failure> {
        let body = std::mem::take(&mut self.body);
        body::read(body, &self.parts.headers, bytes).await
    }

    /// Parses a resource's text.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the place of the first fault.
    pub fn parse<'a>(&'a self, text: &'a [u8], format: Format) -> Result<Value<'a>, Error> {
        parse(text, format, self.server.settings.parsed(), self.schema())
    }
}

fn parse<'a>(
    text: &'a [u8],
    format: Format,
    limits: Limits,
    schema: &'a Schema,
) -> Result<Value<'a>, Error> {
    if text.trim_ascii().is_empty() {
        return Err(Error::invalid(IssueCode::Structure, "the body is empty"));
    }
    match format {
        Format::Json => json::parse_with(text, limits)
            .map_err(|error| Error::invalid(IssueCode::Structure, error.to_string())),
        Format::Xml => {
            xml::read(text, schema, limits).map_err(|error| Error::Invalid(vec![error.issue()]))
        }
    }
}
