//! Versions cut to what their readers are shown, before anything else looks at them.

use bytes::Bytes;

use crate::access::interaction::Kind;
use crate::access::mask::{Mask, label};
use crate::access::membership::is_shown_in_part;
use crate::access::{Permit, Restriction};
use crate::error::Error;
use crate::fhir::json::{self, Object, Value};
use crate::fhir::{LogicalId, Version};

use super::Store;

impl Store {
    /// A version and its patients as a restriction shows them. Of what is withheld nothing is left, nor whose it
    /// is: what is of nobody is out of reach of whoever is shown parts.
    pub(super) fn cut(
        &self,
        (version, patients): (Version, Vec<i64>),
        restriction: &Restriction,
    ) -> Result<(Version, Vec<i64>), Error> {
        let mine = restriction.limits().and_then(|limits| limits.in_part());
        match (mine, &version.body) {
            (Some(mine), Some(body)) if !patients.iter().all(|it| mine.contains(it)) => {
                if self.keeps_back(&version, restriction)? {
                    let body = Some(Bytes::from_static(b"{}"));
                    return Ok((Version { meta: None, body, ..version }, Vec::new()));
                }
                let (meta, body) = self.cut_to(mine, version.meta.as_ref(), body)?;
                let patients = patients.into_iter().filter(|it| mine.contains(it)).collect();
                Ok((Version { meta: Some(meta), body: Some(body), ..version }, patients))
            }
            _ => Ok((version, patients)),
        }
    }

    /// The same as the caller of `permit` is shown it by an interaction of a kind.
    pub(super) fn cut_by(
        &self,
        (version, patients): (Version, Vec<i64>),
        kind: Kind,
        permit: &Permit<'_>,
    ) -> Result<(Version, Vec<i64>), Error> {
        let of = version.identity.resource_type;
        if !is_shown_in_part(of) {
            return Ok((version, patients));
        }
        match permit.derive(kind, of) {
            Ok(permit) => self.cut((version, patients), permit.restriction()),
            Err(Error::Forbidden) => Ok((version, patients)),
            Err(error) => Err(error),
        }
    }

    fn cut_to(
        &self,
        mine: &[i64],
        meta: Option<&Bytes>,
        body: &Bytes,
    ) -> Result<(Bytes, Bytes), Error> {
        let object = |text: &'_ Bytes| -> Result<Object<'static>, Error> {
            match json::parse(text).map_err(Error::internal)?.into_owned() {
                Value::Object(object) => Ok(object),
                _ => Err(Error::internal("what is stored is no JSON object")),
            }
        };
        let known = self.parameters()?;
        let hash = |id: &LogicalId| self.hasher().patient(id);
        let mut body = object(body)?;
        Mask { mine, hash: &hash, base: known.extractor.base() }.body(&mut body);
        let mut meta = meta.map_or_else(|| Ok(Object::new()), object)?;
        label(&mut meta);
        let text = |object: Object<'_>| Bytes::from(Value::from(object).to_text());
        Ok((text(meta), text(body)))
    }
}
