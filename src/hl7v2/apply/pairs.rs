//! What each MRG goes with: the PID before it and the PV1 behind it.
//!
//! A patient that is told of in two PIDs is one draft, so that a place in the message says nothing: what
//! a segment is about is found by the numbers that it gives.
//!
//! Spec: v2 merge family

use super::Case;
use super::find::Found;
use super::keys::{is_same, keys_of};
use super::merge::key;
use crate::hl7v2::er7::{Message, Segment};
use crate::hl7v2::map::DraftResource;

/// Fields with the numbers of patients, those of their own list first.
const PATIENT: &[u16] = &[3, 2, 4];
/// The account of a patient.
const ACCOUNT: &[u16] = &[18];
/// The number of a visit.
const VISIT: &[u16] = &[19];

/// An MRG with its neighbours.
#[derive(Clone, Copy)]
pub(super) struct Pair<'m> {
    /// What ends, or is left.
    pub(super) merge: Segment<'m>,
    /// The patient that stays.
    pid: Option<Segment<'m>>,
    /// The visit that is told of.
    visit: Option<Segment<'m>>,
}

/// The MRG segments of a message, each with the PID before it and with the first PV1 behind it that is
/// no other's, else the one before it.
pub(super) fn pairs<'m>(message: &'m Message<'m>) -> Vec<Pair<'m>> {
    let segments: Vec<_> = message.segments().collect();
    let begins = |segment: &Segment<'_>| segment.is("PID") || segment.is("MRG");
    let mut pairs = Vec::new();
    for (at, merge) in segments.iter().enumerate().filter(|(_, segment)| segment.is("MRG")) {
        let (before, behind) = (&segments[..at], &segments[at + 1..]);
        let pid = before.iter().rev().find(|segment| segment.is("PID")).copied();
        let own = behind.iter().take_while(|segment| !begins(segment)).find(|it| it.is("PV1"));
        let earlier = || before.iter().rev().take_while(|it| !it.is("PID")).find(|it| it.is("PV1"));
        pairs.push(Pair { merge: *merge, pid, visit: own.or_else(earlier).copied() });
    }
    pairs
}

impl Pair<'_> {
    /// Whether it names what `draft` is of.
    pub(super) fn names(&self, draft: &DraftResource, case: &Case<'_>) -> bool {
        let (segment, fields) = match draft.rule.as_str() {
            "account" => (self.pid, ACCOUNT),
            "encounter" => (self.visit, VISIT),
            _ => (self.pid, PATIENT),
        };
        let Some(segment) = segment else { return false };
        let parts = fields.iter().flat_map(|field| segment.field(*field).repetitions());
        let numbers: Vec<_> =
            parts.filter_map(|part| key(part, case, &draft.resource_type)).collect();
        keys_of(draft).any(|own| numbers.iter().any(|number| is_same(&own, number)))
    }

    /// What it is about of all that a rule made; where that is one thing, it is that. `None`: nothing
    /// says which.
    pub(super) fn target<'a>(
        &self,
        rule: &str,
        case: &Case<'_>,
        found: &'a [Found],
    ) -> Option<&'a Found> {
        let all: Vec<_> = case
            .draft
            .resources
            .iter()
            .zip(found)
            .filter(|(draft, _)| draft.rule == rule)
            .collect();
        let named = all.iter().find(|(draft, _)| self.names(draft, case));
        named.or_else(|| all.first().filter(|_| all.len() == 1)).map(|(_, found)| *found)
    }
}
