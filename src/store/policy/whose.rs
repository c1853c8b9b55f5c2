//! Whose is what documents name, where that tells whose they are and not they alone: asked beside a permit
//! of what a statement did not find by its limits. It follows what is named as `store::search` does.

use std::collections::{HashMap, HashSet};

use crate::access::Restriction;
use crate::access::judge::names;
use crate::access::restriction::{Belonging, Limits};
use crate::error::Error;
use crate::fhir::reference::Target;
use crate::fhir::{Identity, ResourceType, Version, json};
use crate::store::connection::Reader;
use crate::store::resource::keys_of;
use crate::store::rows::JsonText;
use crate::store::search::followed;
use crate::store::{Store, TENANT, failure};

/// The patients of resources, deleted ones too: $2 types and $3 ids, each with a number in $4. 35 is Device,
/// which tells by an element whose it is; of types in $5, what they name tells it.
const WHOSE: &str = concat!(
    "SELECT w.place, r.pats, CASE WHEN r.rt = 35 THEN r.body#>>'{patient,reference}' END, r.rt, \
     CASE WHEN r.op <> 'D' AND r.rt = ANY($5::smallint[]) THEN r.body END \
     FROM unnest($2::smallint[], $3::text[], $4::bigint[]) w(rt, id, place) ",
    keys_of!("w", "id"),
    " JOIN res r ON r.rid = i.rid AND r.dk = i.dk \
     WHERE r.pats <> '{}' OR r.rt = 35 OR r.rt = ANY($5::smallint[])"
);

/// Every statement of this file, for the test that prepares them.
pub(super) const STATEMENTS: &[&str] = &[WHOSE];

/// Patients of resources that are about to be stored.
pub(in crate::store) type Made = HashMap<Identity, Vec<i64>>;

/// What is named by the version at a place of a list.
type Place = (i64, Identity);

/// What rows say of one step.
#[derive(Default)]
struct Step {
    patients: Vec<(i64, i64)>,
    /// What is named in turn, patients left out.
    named: Vec<Place>,
}

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
        let mut asked: Vec<Place> = Vec::new();
        for (place, (version, restriction)) in (0_i64..).zip(versions) {
            asked.extend(self.named_by(version, restriction)?.into_iter().map(|it| (place, it)));
        }
        let mut known: HashSet<Place> = asked.iter().cloned().collect();
        for left in (0..Belonging::STEPS).rev() {
            if asked.is_empty() {
                break;
            }
            let mut step = self.whose_are(reader, &asked, left > 0).await?;
            let being_made = asked.iter().filter_map(|(place, it)| Some((*place, made.get(it)?)));
            let being_made =
                being_made.flat_map(|(place, all)| all.iter().map(move |it| (place, *it)));
            step.patients.extend(being_made);
            for (place, patient) in step.patients {
                if let Some(found) = usize::try_from(place).ok().and_then(|at| all.get_mut(at)) {
                    found.push(patient);
                }
            }
            asked = step.named.into_iter().filter(|it| known.insert(it.clone())).collect();
        }
        Ok(all)
    }

    /// Whose resources are, by number; with `is_on` what they name too where that tells it.
    async fn whose_are(
        &self,
        reader: Reader<'_>,
        asked: &[Place],
        is_on: bool,
    ) -> Result<Step, Error> {
        let places: Vec<i64> = asked.iter().map(|(place, _)| *place).collect();
        let types: Vec<i16> = asked.iter().map(|(_, it)| it.resource_type.code()).collect();
        let ids: Vec<&str> = asked.iter().map(|(_, it)| it.id.as_str()).collect();
        let parameters = self.parameters()?;
        let (known, base) = (&parameters.extractor, parameters.extractor.base());
        let onward = if is_on { followed(known) } else { Vec::new() };
        let rows = reader.query(WHOSE, &[&TENANT, &types, &ids, &places, &onward]).await?;
        let mut step = Step::default();
        for row in &rows {
            let place: i64 = row.try_get(0).map_err(failure::error)?;
            let patients: Vec<i64> = row.try_get(1).map_err(failure::error)?;
            step.patients.extend(patients.into_iter().map(|patient| (place, patient)));
            let of_device: Option<&str> = row.try_get(2).map_err(failure::error)?;
            if let Some(Target::Local { resource_type: ResourceType::PATIENT, id, .. }) =
                of_device.map(|text| Target::parse(text, base))
            {
                step.patients.push((place, self.hasher().patient(&id)));
            }
            let of = ResourceType::from_code(row.try_get(3).map_err(failure::error)?);
            let body: Option<JsonText<'_>> = row.try_get(4).map_err(failure::error)?;
            let (Some(of), Some(body)) = (of, body) else { continue };
            let value = json::parse(body.0).map_err(Error::internal)?;
            for named in names(&value, Belonging::of(of, known), base) {
                if named.resource_type == ResourceType::PATIENT {
                    step.patients.push((place, self.hasher().patient(&named.id)));
                } else {
                    step.named.push((place, named));
                }
            }
        }
        Ok(step)
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
