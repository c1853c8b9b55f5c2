//! How far a permit reaches: a small tree that the store compiles to SQL and [`super::judge`] holds
//! against a document.
//!
//! ```text
//! reached = one of (members and criteria), and not one of what is withheld
//! ```
//!
//! No clauses reach nothing; there is no value that stands for "no restriction" but
//! [`Restriction::Everything`], which a policy states.

use std::sync::Arc;

use crate::fhir::{LogicalId, ResourceType};
use crate::search::extract::Extractor;
use crate::search::request::Filter;

use super::consent::Expression;
use super::either::{each, either};
use super::membership;

/// How far a permit reaches.
#[derive(Clone, Debug, PartialEq)]
pub enum Restriction {
    /// All of the tenant's resources: stated by the policy, never a fallback.
    Everything,
    /// What these limits leave.
    Limited(Arc<Limits>),
}

/// What a limited permit reaches.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// One of these holds. Empty: nothing is reached.
    pub clauses: Vec<Clause>,
    /// None of these holds.
    pub withheld: Vec<Withheld>,
}

/// Resources, and what must hold for them.
#[derive(Clone, Debug, PartialEq)]
pub struct Clause {
    /// Whose they are.
    pub members: Members,
    /// All of these hold.
    pub criteria: Arc<[Filter]>,
}

/// Whose resources. Patients are hashes as the store keeps them; an empty list is nobody.
#[derive(Clone, Debug, PartialEq)]
pub enum Members {
    /// Collections of these patients and of nobody else, of which no member is somebody else's.
    Collections(Arc<[i64]>),
    /// What is a part of something: as far as the resource of its `securityContext` is reached, which
    /// for a patient is one of these, or, where it has none, all that it is attached to.
    Context(Arc<[i64]>),
    /// Documents about one of these patients.
    Documents(Arc<[i64]>),
    /// All of the type.
    Everyone,
    /// In the compartment of one of these patients, whoever else is in it: others are not shown.
    InPart(Arc<[i64]>),
    /// What refers to one of these patients by its element `patient`, or has none.
    OwnOrNobodys(Arc<[i64]>),
    /// In the compartments of these patients and of nobody else.
    Patients(Arc<[i64]>),
    /// As far as all that they are about is reached.
    Targets(Arc<[i64]>),
    /// These patients.
    Themselves(Arc<[i64]>),
}

/// What is kept back though a clause reaches it.
#[derive(Clone, Debug, PartialEq)]
pub struct Withheld {
    /// Of one of these patients, in the order of their hashes; `None`: of anybody.
    pub patients: Option<Arc<[i64]>>,
    /// The same as references name them, each at the place of its hash: of who is not stored nothing but
    /// references tells.
    pub ids: Arc<[LogicalId]>,
    /// What says whose it is.
    pub told_by: Belonging,
    /// What holds for it.
    pub filter: Arc<Filter>,
    /// What holds for a resource that it is made of, where it is made of some: of these patients the whole is
    /// kept back then, for nothing can be taken out of a document.
    pub within: Option<Arc<Expression>>,
}

/// What says of a resource whose it is, where something is withheld of somebody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Belonging {
    /// What a Binary is attached to; where it says so itself, the element `securityContext` alone.
    Attachment,
    /// The compartments that it is in.
    Compartment,
    /// The resources that it is made of, where they come from, and all that they refer to.
    Parts,
    /// Its element `patient`: it is in no compartment.
    Patient,
    /// All that it refers to: it is in no compartment.
    References,
    /// What it is about, wherever that is.
    Targets,
}

impl Belonging {
    /// How many references lead from a resource to what tells whose it is, at most: to a Task for which
    /// another one is done, that is about something of a patient.
    pub const STEPS: usize = 5;

    /// What says it of resources of a type.
    pub fn of(of: ResourceType, known: &Extractor) -> Self {
        match of {
            ResourceType::BINARY => Self::Attachment,
            ResourceType::BUNDLE | ResourceType::PARAMETERS => Self::Parts,
            ResourceType::DEVICE => Self::Patient,
            ResourceType::PROVENANCE => Self::Targets,
            _ if membership::is_everyones(of) => Self::Compartment,
            _ => {
                let patients = known.spec().compartment(ResourceType::PATIENT);
                let is_in_one = patients.is_some_and(|it| !it.parameters(of).is_empty());
                if is_in_one { Self::Compartment } else { Self::References }
            }
        }
    }

    /// Whether other resources tell it, which the document only names.
    pub fn is_by_others(self) -> bool {
        matches!(self, Self::Parts | Self::References | Self::Targets)
    }
}

impl Restriction {
    /// Nothing is reached.
    pub fn nothing() -> Self {
        Self::Limited(Arc::new(Limits::default()))
    }

    /// What one of these clauses reaches, as far as nothing is withheld.
    pub(super) fn of(mut clauses: Vec<Clause>, withheld: Vec<Withheld>) -> Self {
        let is_all = |clause: &Clause| clause.members == Members::Everyone && clause.is_plain();
        if clauses.iter().any(is_all) {
            if withheld.is_empty() {
                return Self::Everything;
            }
            clauses.retain(is_all);
            clauses.truncate(1);
        }
        let plain: Vec<Members> =
            clauses.iter().filter(|it| it.is_plain()).map(|it| it.members.clone()).collect();
        let mut kept: Vec<Clause> = Vec::with_capacity(clauses.len());
        for clause in clauses {
            if !clause.is_plain() && plain.contains(&clause.members) {
                continue;
            }
            match kept.iter_mut().find(|it| it.members == clause.members) {
                None => kept.push(clause),
                Some(_) if clause.is_plain() => {}
                Some(known) => {
                    let both = [each(&known.criteria), each(&clause.criteria)];
                    known.criteria = Arc::new([either(both)]);
                }
            }
        }
        let withheld = together(within_reach(&kept, withheld));
        Self::Limited(Arc::new(Limits { clauses: kept, withheld }))
    }

    /// The limits; `None`: everything is reached.
    pub fn limits(&self) -> Option<&Limits> {
        match self {
            Self::Everything => None,
            Self::Limited(limits) => Some(limits),
        }
    }
}

/// What of `withheld` the clauses can reach: who sees some patients' resources and nobody else's need
/// not be asked about what others keep back.
fn within_reach(clauses: &[Clause], withheld: Vec<Withheld>) -> Vec<Withheld> {
    let mut reached: Vec<i64> = Vec::new();
    for clause in clauses {
        match &clause.members {
            Members::Patients(mine) | Members::Themselves(mine) => reached.extend(&**mine),
            _ => return withheld,
        }
    }
    reached.sort_unstable();
    let narrowed = withheld.into_iter().filter_map(|withheld| {
        let Some(patients) = &withheld.patients else { return Some(withheld) };
        let is_reached = |it: &i64| reached.binary_search(it).is_ok();
        let both: Arc<[i64]> = patients.iter().copied().filter(is_reached).collect();
        let ids = patients.iter().zip(&*withheld.ids).filter(|(it, _)| is_reached(it));
        let ids: Arc<[LogicalId]> = ids.map(|(_, id)| id.clone()).collect();
        (!both.is_empty()).then_some(Withheld { patients: Some(both), ids, ..withheld })
    });
    narrowed.collect()
}

/// The same with one filter for several that keep something back of the same patients.
fn together(all: Vec<Withheld>) -> Vec<Withheld> {
    let mut kept: Vec<Withheld> = Vec::with_capacity(all.len());
    for withheld in all {
        match kept.iter_mut().find(|known| known.goes_with(&withheld)) {
            None => kept.push(withheld),
            Some(known) => {
                let both = [&known.filter, &withheld.filter].map(|it| (**it).clone());
                known.filter = Arc::new(either(both));
            }
        }
    }
    kept
}

impl Withheld {
    /// Whether one filter may stand for that of both. What reads bodies is asked last, by itself.
    fn goes_with(&self, other: &Self) -> bool {
        let is_of_document = |it: &Self| {
            let reads_body = it.filter.has(&|part| matches!(part, Filter::Mentions { .. }));
            it.within.is_none() && it.told_by != Belonging::Attachment && !reads_body
        };
        self.patients.is_some()
            && (&self.patients, &self.ids, self.told_by)
                == (&other.patients, &other.ids, other.told_by)
            && is_of_document(self)
            && is_of_document(other)
    }
}

impl Clause {
    /// Whether nothing but membership counts.
    pub fn is_plain(&self) -> bool {
        self.criteria.is_empty()
    }
}

impl Limits {
    /// Whether a clause reaches all of the type, but for what is withheld.
    pub fn has_everyones(&self) -> bool {
        let is_open = |clause: &Clause| clause.members == Members::Everyone && clause.is_plain();
        self.clauses.iter().any(is_open)
    }

    /// The patients to whom it comes down where membership is all that counts.
    pub fn plain_members(&self) -> Option<&Members> {
        self.members_but_for_withheld().filter(|_| self.withheld.is_empty())
    }

    /// The same, whatever may be withheld.
    pub fn members_but_for_withheld(&self) -> Option<&Members> {
        match &self.clauses[..] {
            [clause] if clause.is_plain() => Some(&clause.members),
            _ => None,
        }
    }

    /// The patients who alone are shown of what others have a part in too; `None`: what is shown is
    /// shown whole.
    pub fn in_part(&self) -> Option<&Arc<[i64]>> {
        match &self.clauses[..] {
            [Clause { members: Members::InPart(mine), .. }] => Some(mine),
            _ => None,
        }
    }

    /// Whether compartments alone say of whom something is withheld.
    pub fn are_denied_by_compartment(&self) -> bool {
        self.withheld.iter().all(|it| it.told_by == Belonging::Compartment)
    }

    /// What other resources tell of whom something is withheld, where they do: [`Belonging::is_by_others`].
    pub fn told_by_others(&self) -> Option<Belonging> {
        self.withheld.iter().map(|it| it.told_by).find(|told_by| told_by.is_by_others())
    }

    /// Who keeps something of what is theirs back with which a Binary goes that is attached to it: hashes, and
    /// ids.
    pub fn denied_by_attachment(&self) -> (Vec<i64>, Vec<LogicalId>) {
        let all = || self.withheld.iter().filter(|it| it.told_by == Belonging::Attachment);
        let mut patients: Vec<i64> =
            all().filter_map(|it| it.patients.as_deref()).flatten().copied().collect();
        patients.sort_unstable();
        patients.dedup();
        let mut ids: Vec<LogicalId> = all().flat_map(|it| it.ids.iter().cloned()).collect();
        ids.sort_unstable();
        ids.dedup();
        (patients, ids)
    }

    /// Of whom something may be withheld, beside what is withheld of anybody.
    pub fn denied(&self) -> impl Iterator<Item = i64> + '_ {
        self.withheld.iter().filter_map(|it| it.patients.as_deref()).flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::search::request::compare::{AskedToken, Comparison};
    use crate::search::request::{ParameterKey, Test};
    use crate::spec::search_parameter::SearchType;

    fn test(systems: &[&str]) -> Filter {
        let key = ParameterKey { resource_type: ResourceType::PATIENT, code: "code".into() };
        let of = |it: &&str| Comparison::Token(AskedToken::System((*it).into()));
        let any = systems.iter().map(of).collect();
        Filter::Test(Test { parameters: vec![key], search_type: SearchType::Token, any })
    }

    fn clause(members: &Members, criteria: &[Filter]) -> Clause {
        Clause { members: members.clone(), criteria: criteria.into() }
    }

    fn withheld(patients: &[i64], told_by: Belonging, filter: Filter) -> Withheld {
        let (patients, filter) = (Some(patients.into()), Arc::new(filter));
        Withheld { patients, ids: Arc::default(), told_by, filter, within: None }
    }

    #[test]
    fn what_is_narrowed_for_the_same_members_is_one_clause() {
        let (mine, all) = (Members::Patients(Arc::new([7])), Members::Everyone);
        let clauses = vec![
            clause(&mine, &[test(&["a"])]),
            clause(&all, &[test(&["a"])]),
            clause(&mine, &[test(&["b"])]),
            clause(&mine, &[test(&["c"]), test(&["d"])]),
        ];
        let both = Filter::All(vec![test(&["c"]), test(&["d"])]);
        let narrow = [Filter::Any(vec![test(&["a", "b"]), both])];
        let expected = vec![clause(&mine, &narrow), clause(&all, &[test(&["a"])])];
        let reach = Restriction::of(clauses.clone(), Vec::new());
        assert_eq!(reach.limits().expect("limits").clauses, expected);
        // Who has all of somebody needs no criteria for a part of it.
        let reach = Restriction::of([clauses, vec![clause(&mine, &[])]].concat(), Vec::new());
        let expected = vec![clause(&all, &[test(&["a"])]), clause(&mine, &[])];
        assert_eq!(reach.limits().expect("limits").clauses, expected);
    }

    #[test]
    fn what_is_kept_back_of_the_same_patients_is_one_filter() {
        use Belonging::{Attachment, Compartment, Targets};
        let reached = vec![clause(&Members::Patients(Arc::new([7])), &[])];
        let denied = vec![
            withheld(&[3, 7], Compartment, test(&["a"])),
            withheld(&[7], Compartment, test(&["b"])),
            withheld(&[7], Targets, test(&["c"])),
            withheld(&[3], Compartment, test(&["d"])),
            withheld(&[7], Attachment, test(&["e"])),
            withheld(&[7], Attachment, test(&["f"])),
        ];
        let reach = Restriction::of(reached, denied);
        let expected = [
            withheld(&[7], Compartment, test(&["a", "b"])),
            withheld(&[7], Targets, test(&["c"])),
            withheld(&[7], Attachment, test(&["e"])),
            withheld(&[7], Attachment, test(&["f"])),
        ];
        assert_eq!(reach.limits().expect("limits").withheld, expected);
    }
}
