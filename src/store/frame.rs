//! What a permit reaches, as far as the patients of a row tell it: the parameter of static statements.
//!
//! Most permits come down to a list of patients, which a statement compares with `pats`. Where only
//! consents and labels take something away, most rows are not touched by them, and a row tells so
//! itself: [`Frame::Guarded`]. What is left, and all rows of what asks for more (criteria, several
//! scopes: [`Frame::Beyond`]), is asked of the compiler of searches ([`super::search::reached`]) or,
//! where it is no current version, held against its document.

use std::collections::HashSet;

use crate::access::restriction::Members;
use crate::access::{Permit, Restriction};
use crate::fhir::{Identity, ResourceType, Version};

use super::hash::Hasher;

/// Up to how many patients who deny something are compared inside a statement.
const FEW: usize = 64;

/// What of the rows of a statement is reached.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Frame {
    /// More than patients counts: each row must be asked.
    Beyond,
    /// All rows.
    Everything,
    /// As a list of patients says, but for what is withheld.
    Guarded(Guard),
    /// Rows of these patients and of nobody else. Patients are rows of themselves.
    Patients(Vec<i64>),
}

/// What is withheld, as far as patients and labels tell of a row that it is not.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Guard {
    /// The rows that there are without it; `None`: all.
    reach: Option<Vec<i64>>,
    /// Of whom something is withheld.
    denied: HashSet<i64>,
}

/// What a statement needs to show only what is certainly reached.
pub(super) struct Sure<'f> {
    /// As [`Frame::bind`] has it.
    pub(super) reach: Option<&'f [i64]>,
    /// Of whom something is withheld, where something is.
    pub(super) denied: Option<Vec<i64>>,
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
        let reach = match limits.members_but_for_withheld() {
            Some(Members::Patients(patients) | Members::Themselves(patients)) => {
                Some(patients.to_vec())
            }
            Some(Members::Everyone) => None,
            _ => return Self::Beyond,
        };
        match reach {
            Some(patients) if limits.withheld.is_empty() => Self::Patients(patients),
            // A row is not sure where its patients do not tell whether something is withheld.
            _ if !limits.are_denied_by_compartment() => Self::Beyond,
            reach => Self::Guarded(Guard { reach, denied: limits.denied().collect() }),
        }
    }

    /// The frame of one resource: a patient is reached or not, whatever is stored.
    pub(super) fn at(identity: &Identity, permit: &Permit<'_>, hasher: &Hasher) -> Self {
        let frame = Self::of(permit);
        if identity.resource_type != ResourceType::PATIENT {
            return frame;
        }
        let own = hasher.patient(&identity.id);
        match frame {
            Self::Patients(patients) if patients.contains(&own) => Self::Everything,
            Self::Patients(_) => Self::Patients(Vec::new()),
            Self::Guarded(Guard { reach: Some(patients), denied }) => {
                let reach = if patients.contains(&own) { None } else { Some(Vec::new()) };
                Self::Guarded(Guard { reach, denied })
            }
            frame => frame,
        }
    }

    /// Whether it says of each row whether it is reached.
    pub(super) fn is_exact(&self) -> bool {
        matches!(self, Self::Everything | Self::Patients(_))
    }

    /// Whether a row that a statement found within it is certainly reached. A deletion no longer tells
    /// what its labels were.
    pub(super) fn is_sure(&self, version: &Version, patients: &[i64]) -> bool {
        match self {
            Self::Beyond => false,
            Self::Everything | Self::Patients(_) => true,
            Self::Guarded(guard) => {
                let is_labelled = |meta: &[u8]| meta.windows(LABEL.len()).any(|it| it == LABEL);
                !version.is_deleted()
                    && !version.meta.as_deref().is_some_and(is_labelled)
                    && !patients.iter().any(|patient| guard.denied.contains(patient))
            }
        }
    }

    /// The parameter of a statement whose rows are asked one by one where that is needed.
    pub(super) fn bind(&self) -> Option<&[i64]> {
        match self {
            Self::Patients(patients) => Some(patients),
            Self::Guarded(guard) => guard.reach.as_deref(),
            Self::Beyond | Self::Everything => None,
        }
    }

    /// The parameters of a statement that shows a row only if it is certainly reached; `None`: none can.
    pub(super) fn sure(&self) -> Option<Sure<'_>> {
        match self {
            Self::Everything | Self::Patients(_) => Some(Sure { reach: self.bind(), denied: None }),
            Self::Guarded(guard) if guard.denied.len() <= FEW => {
                let denied = guard.denied.iter().copied().collect();
                Some(Sure { reach: self.bind(), denied: Some(denied) })
            }
            Self::Beyond | Self::Guarded(_) => None,
        }
    }

    /// The parameter of a statement whose rows are not asked again: what is beyond finds nothing.
    pub(super) fn narrow(&self) -> Option<&[i64]> {
        match self {
            Self::Beyond | Self::Guarded(_) => Some(&[]),
            frame => frame.bind(),
        }
    }
}

/// What is in `meta` of whatever has a label.
const LABEL: &[u8] = b"\"security\"";

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::fhir::{Instant, Operation, VersionId};

    #[test]
    fn a_row_is_sure_where_nothing_of_it_can_be_withheld() {
        let resource_type = "Observation".parse().expect("a type");
        let identity = Identity { resource_type, id: "o".parse().expect("an id") };
        let version = |meta: Option<&'static str>, body: Option<&'static str>| Version {
            identity: identity.clone(),
            version: VersionId(1),
            last_updated: Instant::from_micros(0),
            operation: Operation::Created,
            is_relabeled: false,
            meta: meta.map(|meta| Bytes::from_static(meta.as_bytes())),
            body: body.map(|body| Bytes::from_static(body.as_bytes())),
        };
        let guard = Guard { reach: None, denied: HashSet::from([7]) };
        let frame = Frame::Guarded(guard);
        for (meta, body, patients, sure) in [
            (None, Some("{}"), &[8][..], true),
            (None, Some("{}"), &[], true),
            (Some(r#"{"tag":[{"code":"x"}]}"#), Some("{}"), &[8], true),
            (None, Some("{}"), &[7], false),
            (None, Some("{}"), &[8, 7], false),
            (Some(r#"{"security":[{"code":"V"}]}"#), Some("{}"), &[8], false),
            (None, None, &[8], false),
        ] {
            assert_eq!(
                frame.is_sure(&version(meta, body), patients),
                sure,
                "{meta:?} {patients:?}"
            );
            assert!(!Frame::Beyond.is_sure(&version(meta, body), patients));
            assert!(Frame::Everything.is_sure(&version(meta, body), patients));
        }
        assert_eq!((frame.narrow(), frame.bind()), (Some(&[][..]), None));
    }
}
