//! Which rows are walked: the one decision that a search's speed hangs on.
//!
//! One filter of those that all must hold becomes the source of rows, the others are asked of each
//! row. A source in the order of `s` stops as soon as a page is full.
//!
//! | source | walks | in order |
//! |---|---|---|
//! | [`Driver::Compartment`] | `comp` of patients | yes |
//! | [`Driver::Systems`] | `tok` of systems | sorted |
//! | [`Driver::Tokens`] | `tok` of hashes | yes |
//! | [`Driver::OtherTokens`] | `tok` of all other hashes of parameters | yes |
//! | [`Driver::Links`] | `tok` of the references to targets that were found first | yes |
//! | [`Driver::Resources`] | `srow` of types | yes |
//! | the others | keys that were found first, joined to `srow` | sorted |

use crate::access::restriction::Members;
use crate::error::Error;
use crate::fhir::ResourceType;
use crate::search::request::compare::{AskedReference, Comparison};
use crate::search::request::{Filter, Test};

use super::atom::{Atom, Parameter};
use super::compile::{Compiler, Row, is_of_whole};
use super::sql::Cond;

/// Rows of `tok`: each a hash, and a system where that counts.
pub(super) type TokenKeys = Vec<(i64, Option<i32>)>;

/// What is walked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Driver {
    /// Alternatives, each with a source of its own.
    Alternatives,
    /// Rows of patients.
    Compartment(Vec<i64>),
    /// Resources above or below another.
    Hierarchy,
    /// Resources by id.
    Identities,
    /// Resources by the store's key.
    Keys,
    /// References to the targets of a chain.
    Links,
    /// Rows of tokens of these parameters but some, and of some beside.
    OtherTokens { parameters: Vec<i64>, without: TokenKeys, with: Vec<i64> },
    /// All resources of the types.
    Resources,
    /// Resources that others refer to.
    Referred,
    /// Tokens of systems, by the signs of those.
    Systems(Vec<i64>),
    /// Rows of tokens.
    Tokens(TokenKeys),
    /// Resources by when they changed.
    Updated,
    /// Resources by rows of several tables.
    Values,
}

impl Driver {
    /// What it walks, in words.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Alternatives => "alternatives, each found by itself",
            Self::Compartment(_) => "resources of patients",
            Self::Hierarchy => "resources of a hierarchy",
            Self::Identities => "resources by id",
            Self::Keys => "resources by key",
            Self::Links => "references to targets found before",
            Self::OtherTokens { .. } => "other tokens",
            Self::Resources => "resources by type",
            Self::Referred => "resources that others refer to",
            Self::Systems(_) => "tokens of systems",
            Self::Tokens(_) => "tokens",
            Self::Updated => "resources by time of change",
            Self::Values => "values",
        }
    }
}

/// A driver, and which of the conjuncts it stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Candidate {
    pub(super) driver: Driver,
    /// The place of the filter it is made of.
    pub(super) of: Option<usize>,
}

impl Candidate {
    /// What is walked when nothing better is known.
    pub(super) const RESOURCES: Self = Self { driver: Driver::Resources, of: None };

    /// Whether its rows come in the order of `s` at no cost.
    pub(super) fn is_ordered(&self) -> bool {
        matches!(
            self.driver,
            Driver::Compartment(_)
                | Driver::Links
                | Driver::OtherTokens { .. }
                | Driver::Resources
                | Driver::Systems(_)
                | Driver::Tokens(_)
        )
    }

    /// How much is expected of it where nothing is counted; less is better.
    fn rank(&self) -> u8 {
        match self.driver {
            Driver::Identities | Driver::Keys => 0,
            Driver::Compartment(_) => 1,
            Driver::Tokens(_) => 2,
            Driver::Hierarchy => 3,
            Driver::Systems(_) | Driver::Values => 4,
            Driver::Alternatives => 5,
            Driver::Links => 6,
            Driver::Referred => 7,
            Driver::Updated => 8,
            Driver::OtherTokens { .. } => 9,
            Driver::Resources => 10,
        }
    }
}

/// The filters that all must hold.
pub(super) fn conjuncts(filters: &[Filter]) -> Vec<&Filter> {
    let mut flat = Vec::new();
    for filter in filters {
        match filter {
            Filter::All(inner) => flat.extend(conjuncts(inner)),
            other => flat.push(other),
        }
    }
    flat
}

impl Compiler<'_, '_> {
    /// What may be walked, the best first as far as its kind tells; never empty.
    pub(super) fn candidates(
        &self,
        conjuncts: &[&Filter],
        types: &[ResourceType],
    ) -> Result<Vec<Candidate>, Error> {
        let mut candidates = Vec::new();
        for (of, filter) in conjuncts.iter().enumerate() {
            let of = Some(of);
            let drivers = self.drivers(filter, types)?;
            candidates.extend(drivers.into_iter().map(|driver| Candidate { driver, of }));
        }
        if let Some(patients) = self.common_reach(types)?.filter(|_| !self.is_inside) {
            candidates.push(Candidate { driver: Driver::Compartment(patients), of: None });
        }
        // What most resources are is worth no count where something says more.
        let is_other = |it: &Candidate| matches!(it.driver, Driver::OtherTokens { .. });
        if !candidates.iter().all(is_other) {
            candidates.retain(|it| !is_other(it));
        }
        candidates.push(Candidate::RESOURCES);
        candidates.sort_by_key(Candidate::rank);
        Ok(candidates)
    }

    fn drivers(&self, filter: &Filter, types: &[ResourceType]) -> Result<Vec<Driver>, Error> {
        if self.is_inside && is_of_whole(filter) {
            return Ok(Vec::new());
        }
        Ok(match filter {
            Filter::Any(filters) => {
                if let Some(keys) = self.tokens_of(filters, types)? {
                    return Ok(vec![Driver::Tokens(keys)]);
                }
                let mut is_good = !filters.is_empty();
                for filter in filters {
                    let inner = self.candidates(&conjuncts(std::slice::from_ref(filter)), types)?;
                    is_good &= inner[0].driver != Driver::Resources;
                }
                if is_good { vec![Driver::Alternatives] } else { Vec::new() }
            }
            Filter::Chain { .. } => vec![Driver::Links],
            Filter::Compartment { code, id } if *code == ResourceType::PATIENT => {
                vec![Driver::Compartment(vec![self.hasher.patient(id)])]
            }
            Filter::Compartment { .. } => vec![Driver::Values],
            Filter::Has { .. } => vec![Driver::Referred],
            Filter::Hierarchy { .. } => vec![Driver::Hierarchy],
            Filter::Id(_) => vec![Driver::Identities],
            Filter::Keys(_) => vec![Driver::Keys],
            Filter::LastUpdated(_) => vec![Driver::Updated],
            Filter::Test(test) => self.test_drivers(test, types)?,
            Filter::Not(inner) => self.negative_drivers(inner, types)?,
            Filter::OfPatients(Some(whose)) => {
                let whose = whose.iter().map(|id| self.hasher.patient(id)).collect();
                vec![Driver::Compartment(whose)]
            }
            Filter::All(_)
            | Filter::FullText { .. }
            | Filter::List(_)
            | Filter::Mentions { .. }
            | Filter::OfPatients(None)
            | Filter::Type(_)
            | Filter::Unshared => Vec::new(),
        })
    }

    /// What finds all for which a test does not hold: what its parameters have instead, where that is
    /// known of all of them.
    fn negative_drivers(
        &self,
        inner: &Filter,
        types: &[ResourceType],
    ) -> Result<Vec<Driver>, Error> {
        let (Filter::Test(test), Some(given_up), false) = (inner, self.given_up, self.is_inside)
        else {
            return Ok(Vec::new());
        };
        let stored = self.stored(&test.parameters, types);
        let is_of_all = types.iter().all(|of| stored.iter().any(|(known, _)| known == of));
        let stored: Vec<_> = stored.into_iter().map(|(_, stored)| stored).collect();
        let absent: Vec<i64> = stored.iter().map(|it| self.hasher.absent(it.own)).collect();
        if !is_of_all || absent.iter().any(|it| given_up.contains(it)) {
            return Ok(Vec::new());
        }
        if *test.any == [Comparison::Present] {
            return Ok(vec![Driver::Tokens(absent.into_iter().map(|h| (h, None)).collect())]);
        }
        let parameters = Parameter::of(stored).values();
        let is_token = test.any.iter().all(|it| matches!(it, Comparison::Token(_)));
        if !is_token || parameters.iter().any(|it| given_up.contains(it)) {
            return Ok(Vec::new());
        }
        let atoms = self.scratch().atoms(test, types)?;
        let without = atoms.iter().map(token).collect::<Option<Vec<_>>>();
        let driver = |without| Driver::OtherTokens { parameters, without, with: absent };
        Ok(without.map(driver).into_iter().collect())
    }

    /// The rows of tokens that alternatives are, where all of them are nothing else.
    fn tokens_of(
        &self,
        filters: &[Filter],
        types: &[ResourceType],
    ) -> Result<Option<TokenKeys>, Error> {
        let mut all = Vec::new();
        for filter in filters {
            let Filter::Test(test) = filter else { return Ok(None) };
            let drivers = self.test_drivers(test, types)?;
            let keys = drivers.into_iter().find_map(|driver| match driver {
                Driver::Tokens(keys) => Some(keys),
                _ => None,
            });
            let Some(keys) = keys else { return Ok(None) };
            all.extend(keys);
        }
        all.sort_unstable();
        all.dedup();
        Ok((!all.is_empty()).then_some(all))
    }

    fn test_drivers(&self, test: &Test, types: &[ResourceType]) -> Result<Vec<Driver>, Error> {
        // The values are not kept: this only tells the kinds.
        let mut scratch = self.scratch();
        let atoms = scratch.atoms(test, types)?;
        let mut drivers = Vec::new();
        if let Some(patients) = self.patients(test, types).filter(|_| !self.is_inside) {
            drivers.push(Driver::Compartment(patients));
        }
        let is_value =
            |atom: &Atom| matches!(atom, Atom::System(_) | Atom::Token { .. } | Atom::Value { .. });
        // A span of `s` is no source of its own: it bounds the others.
        let row = Row::resource("d", types);
        if scratch.span(test, &row) != Cond::False {
            return Ok(drivers);
        }
        if let Some(mut keys) = atoms.iter().map(token).collect::<Option<Vec<_>>>() {
            keys.sort_unstable();
            keys.dedup();
            drivers.push(Driver::Tokens(keys));
        } else if let Some(signs) = atoms.iter().map(Atom::system).collect::<Option<Vec<_>>>() {
            drivers.push(Driver::Systems(signs));
        } else if atoms.iter().all(is_value) {
            drivers.push(Driver::Values);
        }
        Ok(drivers)
    }

    /// The patients in whose compartments the resources are that a test of references finds.
    fn patients(&self, test: &Test, types: &[ResourceType]) -> Option<Vec<i64>> {
        let is_member = types.iter().all(|&of| {
            let mut keys = test.parameters.iter().filter(|key| key.resource_type == of);
            keys.all(|key| self.definitions.is_member(of, &key.code))
        });
        let patient = |comparison: &Comparison| match comparison {
            Comparison::Reference(AskedReference::Local { resource_type, id, .. })
                if *resource_type == ResourceType::PATIENT =>
            {
                Some(self.hasher.patient(id))
            }
            _ => None,
        };
        if !is_member {
            return None;
        }
        test.any.iter().map(patient).collect()
    }

    /// The patients beyond whom the permit reaches nothing of these types.
    pub(super) fn common_reach(&self, types: &[ResourceType]) -> Result<Option<Vec<i64>>, Error> {
        let mut common: Option<Vec<i64>> = None;
        for &of in types {
            let Some(reach) = self.reach(of)? else { continue };
            let Some(limits) = reach.limits() else { return Ok(None) };
            for clause in &limits.clauses {
                let (Members::InPart(patients)
                | Members::Patients(patients)
                | Members::Themselves(patients)) = &clause.members
                else {
                    return Ok(None);
                };
                let known = common.get_or_insert_default();
                known.extend(
                    patients.iter().filter(|it| !known.contains(it)).copied().collect::<Vec<_>>(),
                );
            }
        }
        Ok(common)
    }
}

/// The row of `tok` that an atom is.
fn token(atom: &Atom) -> Option<(i64, Option<i32>)> {
    match atom {
        Atom::Token { h, system, .. } => Some((*h, *system)),
        _ => None,
    }
}
