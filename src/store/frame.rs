//! What a permit reaches, as far as the patients of a row tell it: the parameter of static statements.
//!
//! Most permits come down to a list of patients, which a statement compares with `pats`. What asks for
//! more (criteria, labels, consents, several scopes) is [`Frame::Beyond`]: then a statement finds
//! without a reach, and each row is asked of the compiler of searches ([`super::search::reached`]) or,
//! where it is no current version, held against its document.

use crate::access::restriction::Members;
use crate::access::{Permit, Restriction};
use crate::fhir::{Identity, ResourceType};

use super::hash::Hasher;

/// What of the rows of a statement is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Frame {
    /// More than patients counts: each row must be asked.
    Beyond,
    /// All rows.
    Everything,
    /// Rows of these patients and of nobody else. Patients are rows of themselves.
    Patients(Vec<i64>),
}

impl Frame {
    /// The frame of rows of the permit's type.
    pub(super) fn of(permit: &Permit<'_>) -> Self {
        Self::within(permit.restriction())
    }

    /// The frame of what a restriction reaches.
    pub(super) fn within(restriction: &Restriction) -> Self {
        let Some(limits) = restriction.limits() else { return Self::Everything };
        if limits.clauses.is_empty() {
            return Self::Patients(Vec::new());
        }
        match limits.plain_members() {
            Some(Members::Patients(patients) | Members::Themselves(patients)) => {
                Self::Patients(patients.to_vec())
            }
            _ => Self::Beyond,
        }
    }

    /// The frame of one resource: a patient is reached or not, whatever is stored.
    pub(super) fn at(identity: &Identity, permit: &Permit<'_>, hasher: &Hasher) -> Self {
        match Self::of(permit) {
            Self::Patients(patients) if identity.resource_type == ResourceType::PATIENT => {
                let own = hasher.patient(&identity.id);
                if patients.contains(&own) { Self::Everything } else { Self::Patients(Vec::new()) }
            }
            frame => frame,
        }
    }

    /// The parameter of a statement whose rows are asked one by one where that is needed.
    pub(super) fn bind(&self) -> Option<&[i64]> {
        match self {
            Self::Patients(patients) => Some(patients),
            Self::Beyond | Self::Everything => None,
        }
    }

    /// The parameter of a statement whose rows are not asked again: what is beyond finds nothing.
    pub(super) fn narrow(&self) -> Option<&[i64]> {
        match self {
            Self::Beyond => Some(&[]),
            frame => frame.bind(),
        }
    }
}
