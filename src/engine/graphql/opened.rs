//! A stored resource as a tree that can be walked.

use crate::error::Error;
use crate::fhir::json::{self, Value};
use crate::fhir::schema::{Schema, TypeId};
use crate::fhir::{Identity, Instant, Version};

use super::fault::Place;
use super::walk::{At, Walk, Within};

/// Bytes of a text that are read or compared in the time of one look.
pub(super) const BYTES_A_LOOK: usize = 32;

/// The JSON of a version, which stands in a text of its own.
pub(super) struct Opened<'t> {
    value: Value<'t>,
    type_id: TypeId,
    identity: Identity,
}

impl<'t> Opened<'t> {
    /// Reads the text of a version, which is charged to the looks of the walk.
    ///
    /// # Errors
    /// [`Error::Internal`] when what is stored is no resource of R4.
    pub(super) fn new(
        text: &'t [u8],
        version: &Version,
        walk: &mut Walk<'_>,
        place: Place,
    ) -> Result<Self, Error> {
        walk.looks_at(text.len() / BYTES_A_LOOK, place);
        let value = json::parse(text).map_err(Error::internal)?;
        let identity = version.identity.clone();
        let missing = || Error::internal("a stored resource is of no type of R4");
        let type_id = walk.schema.by_name(identity.resource_type.as_str()).ok_or_else(missing)?;
        Ok(Self { value, type_id, identity })
    }

    /// What its elements stand in.
    pub(super) fn within<'v>(&'v self, schema: &'v Schema, now: Instant) -> Within<'v> {
        Within::new(&self.value, Some(self.identity.clone()), (schema, now))
    }

    /// The resource itself.
    pub(super) fn at<'v, 'a>(&'v self, within: &'a Within<'v>) -> At<'v, 'a> {
        At { value: &self.value, type_id: self.type_id, within }
    }
}
