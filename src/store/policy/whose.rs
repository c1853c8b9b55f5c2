//! Whose is what documents name, where that tells whose they are and not they alone: asked beside a permit
//! of what a statement did not find by its limits.

use std::collections::HashMap;

use crate::access::Restriction;
use crate::access::judge::names;
use crate::access::restriction::{Belonging, Limits};
use crate::error::Error;
use crate::fhir::reference::Target;
use crate::fhir::{Identity, ResourceType, Version, json};
use crate::store::connection::Reader;
use crate::store::resource::keys_of;
use crate::store::{Store, TENANT, failure};

/// The patients of resources, deleted ones too: $2 types and $3 ids, each with a number in $4. 35 is Device,
/// which tells by an element whose it is.
const WHOSE: &str = concat!(
    "SELECT w.place, r.pats, CASE WHEN r.rt = 35 THEN r.body#>>'{patient,reference}' END FROM unnest($2::smallint[], $3::text[], $4::bigint[]) w(rt, id, place) ",
    keys_of!("w", "id"),
    " JOIN res r ON r.rid = i.rid AND r.dk = i.dk WHERE r.pats <> '{}' OR r.rt = 35"
);

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[WHOSE];

/// Patients of resources that are about to be stored.
pub(in crate::store) type Made = HashMap<Identity, Vec<i64>>;

impl Store {
    /// For each version the patients of what it names, as far as a restriction that it is held against lets
    /// that count. `made` counts beside what is stored.
    pub(in crate::store) async fn whose(
        &self,
        reader: Reader<'_>,
        versions: &[(&Version, &Restriction)],
        made: &Made,
    ) -> Result<Vec<Vec<i64>>, Error> {
        let mut all = vec![Vec::new(); versions.len()];
        let (mut types, mut ids, mut places) = (Vec::new(), Vec::new(), Vec::new());
        for ((place, patients), (version, restriction)) in (0_i64..).zip(&mut all).zip(versions) {
            for named in self.named_by(version, restriction)? {
                patients.extend(made.get(&named).into_iter().flatten());
                types.push(named.resource_type.code());
                ids.push(named.id.to_string());
                places.push(place);
            }
        }
        if places.is_empty() {
            return Ok(all);
        }
        let rows = reader.query(WHOSE, &[&TENANT, &types, &ids, &places]).await?;
        let base = self.parameters()?.extractor.base().to_owned();
        for row in &rows {
            let place: i64 = row.try_get(0).map_err(failure::error)?;
            let mut patients: Vec<i64> = row.try_get(1).map_err(failure::error)?;
            let of_device: Option<&str> = row.try_get(2).map_err(failure::error)?;
            if let Some(Target::Local { resource_type: ResourceType::PATIENT, id, .. }) =
                of_device.map(|text| Target::parse(text, &base))
            {
                patients.push(self.hasher().patient(&id));
            }
            if let Some(found) = usize::try_from(place).ok().and_then(|at| all.get_mut(at)) {
                found.extend(patients);
            }
        }
        Ok(all)
    }

    fn named_by(
        &self,
        version: &Version,
        restriction: &Restriction,
    ) -> Result<Vec<Identity>, Error> {
        let told_by = restriction.limits().and_then(Limits::told_by_others);
        let Some(told_by) = told_by.filter(|_| !version.is_deleted()) else {
            return Ok(Vec::new());
        };
        let text = version.to_json();
        let value = json::parse(&text).map_err(Error::internal)?;
        let mut named = names(&value, told_by, self.parameters()?.extractor.base());
        // Patients the document tells itself, and who is linked with one is another one.
        if told_by != Belonging::Targets {
            named.retain(|it| it.resource_type != ResourceType::PATIENT);
        }
        Ok(named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statement_has_the_number_of_devices() {
        let device = format!("r.rt = {}", ResourceType::DEVICE.code());
        assert_eq!(WHOSE.matches(&device).count(), 2, "{WHOSE}");
    }
}
