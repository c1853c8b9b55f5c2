//! What a permit reaches, at every row of a search.
//!
//! A type that the caller may not search has no rows: neither for the matches nor for what a chain,
//! `_has` or an include goes through. So a search tells nothing that another search would not.

use crate::access::interaction::Kind;
use crate::access::{Permit, Restriction};
use crate::error::Error;
use crate::fhir::ResourceType;
use crate::store::index::inside;

use super::compile::{Compiler, Row};
use super::sql::Cond;

/// How far a caller reaches into one type.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Reach {
    Everything,
    Nothing,
    Patients(Vec<i64>),
}

/// What of a type may be found under `permit`: as a match, on the way to one, or along with one.
/// `None`: none of them may be searched for.
pub(super) fn searchable(
    permit: &Permit<'_>,
    of: ResourceType,
) -> Result<Option<Restriction>, Error> {
    match permit.derive(Kind::SearchType, of) {
        Ok(permit) => Ok(Some(permit.restriction().clone())),
        Err(Error::Forbidden) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Compiler<'_, '_> {
    /// How far the permit reaches into a type.
    pub(super) fn reach(&self, of: ResourceType) -> Result<Reach, Error> {
        Ok(match searchable(self.permit, of)? {
            None => Reach::Nothing,
            Some(Restriction::Everything) => Reach::Everything,
            Some(Restriction::Patients(patients)) => Reach::Patients(patients),
        })
    }

    /// The condition that the permit reaches the row.
    pub(super) fn visible(&mut self, row: &Row<'_>) -> Result<Cond, Error> {
        if row.is_reached {
            return Ok(Cond::True);
        }
        if self.is_inside {
            return self.within(false, |it| it.is_container_visible(row));
        }
        let mut groups: Vec<(Reach, Vec<ResourceType>)> = Vec::new();
        for &of in row.types.iter() {
            let reach = self.reach(of)?;
            match groups.iter_mut().find(|(known, _)| *known == reach) {
                Some((_, types)) => types.push(of),
                None => groups.push((reach, vec![of])),
            }
        }
        let mut any = Vec::new();
        for (reach, types) in groups {
            let of_type = self.is_type_of(&types, row);
            any.push(match reach {
                Reach::Everything => of_type,
                Reach::Nothing => Cond::False,
                Reach::Patients(patients) => {
                    let reached = self.is_member(&patients, row);
                    Cond::all([of_type, reached])
                }
            });
        }
        Ok(Cond::any(any))
    }

    /// The condition that the permit reaches the container of the contained resource.
    fn is_container_visible(&mut self, row: &Row<'_>) -> Result<Cond, Error> {
        let container = self.alias();
        let types: Vec<ResourceType> = ResourceType::all().collect();
        Ok(match self.visible(&Row::resource(&container, types))? {
            Cond::Sql(reached) => {
                let rid = inside::container(&row.rid);
                Cond::exists(&format!(
                    "srow {container} WHERE {container}.rid = {rid} AND {reached}"
                ))
            }
            decided => decided,
        })
    }

    /// The condition that the row lies in the compartment of one of the patients.
    pub(super) fn is_member(&mut self, patients: &[i64], row: &Row<'_>) -> Cond {
        if patients.is_empty() {
            return Cond::False;
        }
        let (alias, rid) = (self.alias(), &row.rid);
        // A row's place among those of a patient is known where its date is.
        let Some(s) = &row.s else {
            let patients = self.binds.longs(patients.iter().copied());
            return Cond::exists(&format!(
                "res {alias} WHERE {alias}.rid = {rid} AND {alias}.pats && {patients}"
            ));
        };
        let is_theirs = self.binds.is_one_of(&format!("{alias}.pat"), patients);
        let codes: Vec<i16> = row.types.iter().map(|of| of.code()).collect();
        let of_type = self.binds.is_type(&format!("{alias}.rt"), &codes);
        Cond::exists(&format!(
            "comp {alias} WHERE {is_theirs} AND {of_type} AND {alias}.s = {s} AND {alias}.rid = {rid}"
        ))
    }
}
