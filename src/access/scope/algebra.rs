//! What scopes have in common: narrowing to what is registered, consented or asked for again.

use super::{Actions, Context, ResourceScope, ScopeSet, SmartScope};

impl ResourceScope {
    /// What is granted by both, in the version of this one.
    fn meet(&self, bound: &Self) -> Option<Self> {
        let actions = self.actions.and(bound.actions);
        if self.context != bound.context || actions.is_empty() {
            return None;
        }
        let resource_type = match (self.resource_type, bound.resource_type) {
            (Some(own), Some(other)) if own != other => return None,
            (own, other) => own.or(other),
        };
        let criteria = self.criteria.and(&bound.criteria);
        Some(Self { resource_type, actions, criteria, ..self.clone() })
    }

    /// Whether `bound` grants what this one does, as far as types and criteria go.
    fn is_covered_by(&self, bound: &Self) -> bool {
        self.context == bound.context
            && (bound.resource_type.is_none() || self.resource_type == bound.resource_type)
            && self.criteria.is_within(&bound.criteria)
    }

    fn is_like(&self, other: &Self) -> bool {
        self.context == other.context
            && self.resource_type == other.resource_type
            && self.criteria == other.criteria
    }
}

impl ScopeSet {
    /// What of these scopes `bounds` grant, in the order and the version of these.
    ///
    /// A scope that is granted in part comes back narrower: with fewer actions, as one for each type
    /// that is granted instead of all, or with the criteria of the bound.
    #[must_use]
    pub fn intersect(&self, bounds: &Self) -> Self {
        let mut met = Self::default();
        for scope in self.iter() {
            match scope {
                SmartScope::Special(special) if bounds.has(*special) => met.add(scope.clone()),
                SmartScope::Special(_) => {}
                SmartScope::Resource(scope) => {
                    for part in scope.met(bounds) {
                        met.add(SmartScope::Resource(part));
                    }
                }
            }
        }
        met
    }

    /// Whether everything that these scopes grant is granted by `bounds`.
    pub fn is_within(&self, bounds: &Self) -> bool {
        self.iter().all(|scope| match scope {
            SmartScope::Special(special) => bounds.has(*special),
            SmartScope::Resource(scope) => {
                let covering = bounds.resources().filter(|bound| scope.is_covered_by(bound));
                covering.fold(Actions::NONE, |all, bound| all.or(bound.actions)).has(scope.actions)
            }
        })
    }
}

impl ResourceScope {
    /// The parts of the scope that `bounds` grant: none that another one covers, and of those that
    /// differ in actions alone one.
    fn met(&self, bounds: &ScopeSet) -> Vec<Self> {
        let mut parts: Vec<Self> = Vec::new();
        for part in bounds.resources().filter_map(|bound| self.meet(bound)) {
            match parts.iter_mut().find(|known| known.is_like(&part)) {
                Some(known) => known.actions = known.actions.or(part.actions),
                None => parts.push(part),
            }
        }
        let all = parts.clone();
        parts.retain(|part| {
            let wider = |other: &&Self| !other.is_like(part) && part.is_covered_by(other);
            let more = all.iter().filter(wider);
            !more.fold(Actions::NONE, |sum, other| sum.or(other.actions)).has(part.actions)
        });
        parts
    }
}

impl ResourceScope {
    /// What of it is reading, with the resources of one patient; `None`: none of it.
    pub fn reading_of_patient(&self) -> Option<Self> {
        let actions = self.actions.and(Actions::R.or(Actions::S));
        (!actions.is_empty()).then(|| Self { context: Context::Patient, actions, ..self.clone() })
    }
}
