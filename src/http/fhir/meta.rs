//! `$meta`, `$meta-add`, `$meta-delete`.
//!
//! Spec: <https://hl7.org/fhir/R4/resource-operations.html>, rest 2h

use axum::body::Body;
use axum::http::Response;

use crate::engine::{MetaChange, MetaOf};
use crate::fhir::json::{Object, Value};
use crate::http::exchange::Exchange;
use crate::http::headers;
use crate::http::negotiation;
use crate::http::outcome::Failure;

use super::{answer, provenance};

/// `GET $meta`, `GET [type]/$meta`, `GET [type]/[id]/$meta`, `GET [type]/[id]/_history/[vid]/$meta`
pub(in crate::http) async fn meta(exchange: Exchange) -> Result<Response<Body>, Failure> {
    let form = exchange.form()?;
    exchange.check_known(&[])?;
    let of = match (&exchange.target.id, exchange.target.resource_type) {
        (Some(_), _) => {
            let version = exchange.target.version.as_ref().map(|_| exchange.version());
            MetaOf::Instance(exchange.identity()?, version.transpose()?)
        }
        (None, Some(resource_type)) => MetaOf::Type(resource_type),
        (None, None) => MetaOf::System,
    };
    let meta = exchange.server.engine.meta(&of, &exchange.caller).await;
    let meta = meta.map_err(Failure::Interaction)?;
    let mut response = answer::resource(&parameters(meta), form, exchange.schema())?;
    headers::set_caching(response.headers_mut());
    Ok(response)
}

/// `POST [type]/[id]/$meta-add`, also on a version
pub(in crate::http) async fn add(exchange: Exchange) -> Result<Response<Body>, Failure> {
    change(exchange, MetaChange::Add).await
}

/// `POST [type]/[id]/$meta-delete`, also on a version
pub(in crate::http) async fn delete(exchange: Exchange) -> Result<Response<Body>, Failure> {
    change(exchange, MetaChange::Delete).await
}

async fn change(mut exchange: Exchange, change: MetaChange) -> Result<Response<Body>, Failure> {
    let form = exchange.form()?;
    exchange.check_known(&[])?;
    provenance::refuse(&exchange)?;
    let identity = exchange.identity()?;
    let version = exchange.target.version.as_ref().map(|_| exchange.version()).transpose()?;
    let format = negotiation::body(&exchange.parts.headers)?;
    let body = exchange.read_body().await?;
    let (engine, caller) = (&exchange.server.engine, &exchange.caller);
    let meta = engine.meta_of_parameters(&exchange.parse(&body, format)?)?;
    let changed = engine.change_meta(&identity, version, &meta, change, caller).await;
    let meta = changed.map_err(Failure::Interaction)?;
    answer::resource(&parameters(meta), form, exchange.schema())
}

/// A Parameters resource whose `return` is this Meta; without it when nothing is in use, because an
/// empty value is no FHIR.
pub(super) fn parameters(meta: Value<'static>) -> Value<'static> {
    let is_empty = meta.as_object().is_none_or(Object::is_empty);
    let returned = || Object::new().with("name", "return").with("valueMeta", meta);
    let returned = (!is_empty).then(|| vec![Value::from(returned())]);
    Object::new().with("resourceType", "Parameters").with_some("parameter", returned).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meta_is_returned_as_a_parameter_unless_it_is_empty() {
        for (meta, expected) in [
            (Object::new(), r#"{"resourceType":"Parameters"}"#),
            (
                Object::new().with("source", "x"),
                concat!(
                    r#"{"resourceType":"Parameters","parameter":[{"name":"return","#,
                    r#""valueMeta":{"source":"x"}}]}"#
                ),
            ),
        ] {
            assert_eq!(parameters(meta.into()).to_text(), expected);
        }
    }
}
