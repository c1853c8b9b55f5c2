//! What one scope allows, as a rule.

use std::collections::HashMap;
use std::sync::Arc;

use crate::access::grant::{Grant, User};
use crate::access::interaction::{Interaction, Kind};
use crate::access::membership;
use crate::access::restriction::{Clause, Members};
use crate::access::roles::{Panel, Role};
use crate::access::scope::{Actions, Context, Criteria, ResourceScope, ScopeSet, SmartScope};
use crate::fhir::query::Query;
use crate::fhir::{Instant, ResourceType};
use crate::search::extract::Extractor;
use crate::search::request::{self, Filter, Limits as SearchLimits, SearchTarget};

/// What one scope allows, on behalf of one role where it is of a user.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) context: Context,
    pub(super) resource_type: Option<ResourceType>,
    pub(super) actions: Actions,
    pub(super) whose: Whose,
    pub(super) criteria: Compiled,
    /// Whether Consents may be written by it: by the patient, who stands for the patient, and who
    /// keeps them.
    pub(super) writes_consents: bool,
}

/// With whose resources.
#[derive(Clone, Debug)]
pub(super) enum Whose {
    /// Anybody's.
    Everyones,
    /// As [`membership`] has it for these patients.
    Patients(Arc<[i64]>),
}

/// Criteria as filters.
#[derive(Clone, Debug)]
pub(super) enum Compiled {
    /// There are none.
    None,
    /// For each type that can have them.
    ByType(HashMap<ResourceType, Arc<[Filter]>>),
}

impl Rule {
    pub(super) fn of(
        scope: &ResourceScope,
        (whose, writes_consents): (Whose, bool),
        extractor: &Extractor,
    ) -> Option<Self> {
        let criteria = Compiled::of(scope.resource_type, &scope.criteria, extractor)?;
        let ResourceScope { context, resource_type, actions, .. } = *scope;
        Some(Self { context, resource_type, actions, whose, criteria, writes_consents })
    }

    /// The rule, and beside it one by which the record is read that took the place of the patient's.
    pub(super) fn with_survivor(self, grant: &Grant) -> Vec<Self> {
        let reading = self.actions.and(Actions::R.or(Actions::S));
        let (Some((_, patient)), Some(survivor)) = (&grant.patient, grant.survivor) else {
            return vec![self];
        };
        let both = Self {
            actions: reading,
            whose: Whose::Patients(Arc::new([*patient, survivor])),
            criteria: self.criteria.clone(),
            ..self
        };
        let rest = Self {
            actions: self.actions.without(reading),
            whose: Whose::Patients(Arc::new([*patient])),
            ..self
        };
        vec![both, rest]
    }

    /// Whether it may stand for an interaction, beside its actions.
    pub(super) fn may(&self, interaction: Interaction) -> bool {
        let Some(of) = interaction.resource_type else { return true };
        if of.as_str() == "Consent" && interaction.kind.is_write() {
            return self.writes_consents;
        }
        // What happened is told by other systems, not by people.
        of != ResourceType::AUDIT_EVENT
            || interaction.kind != Kind::Create
            || self.context == Context::System
    }

    /// What a scope of a user and one of the user's roles allow both.
    pub(super) fn of_role(
        scope: &ResourceScope,
        (role, writes): (&Role, bool),
        user: &User,
        extractor: &Extractor,
    ) -> Vec<Self> {
        let asked: ScopeSet = [SmartScope::Resource(scope.clone())].into_iter().collect();
        let whose = match role.panel {
            Panel::All => Whose::Everyones,
            Panel::CareTeam => Whose::Patients(user.panels.care_team.as_slice().into()),
            Panel::Organization => Whose::Patients(user.panels.organization.as_slice().into()),
            Panel::Own => Whose::Patients(user.panels.own.as_slice().into()),
        };
        // The record of who did what is for whose role names it, whatever else the role grants.
        let is_record =
            |scope: &&ResourceScope| scope.resource_type == Some(ResourceType::AUDIT_EVENT);
        let record = role.scopes.resources().filter(is_record).cloned();
        let record: ScopeSet = record.map(SmartScope::Resource).collect();
        let (both, record) = (asked.intersect(&role.scopes), asked.intersect(&record));
        let others = both.resources().filter(|scope| !is_record(scope));
        let of = |scope| Self::of(scope, (whose.clone(), writes), extractor);
        others.chain(record.resources()).filter_map(of).collect()
    }

    /// What it allows with resources of a type; `None`: of all types at once.
    pub(super) fn actions_with(&self, of: Option<ResourceType>) -> Actions {
        match (self.resource_type, of) {
            (None, None) => self.actions,
            (Some(own), Some(of)) if own == of => self.actions,
            (Some(_), _) => Actions::NONE,
            (None, Some(of)) => match self.context {
                Context::Patient => membership::by_wildcard(of, self.actions),
                // The record of who did what is for whose role names it.
                Context::User if of == ResourceType::AUDIT_EVENT => Actions::NONE,
                Context::System | Context::User => self.actions,
            },
        }
    }

    /// What it reaches of a type; `None`: nothing.
    pub(super) fn clause(&self, of: Option<ResourceType>) -> Option<Clause> {
        let members = match (&self.whose, of) {
            (Whose::Everyones, _) => Members::Everyone,
            (Whose::Patients(patients), Some(of)) => membership::of(of, patients)?,
            // Which types it is about says whose they are.
            (Whose::Patients(_), None) => return None,
        };
        let criteria = match (&self.criteria, of) {
            (Compiled::None, _) => Arc::default(),
            (Compiled::ByType(all), Some(of)) => all.get(&of)?.clone(),
            (Compiled::ByType(_), None) => return None,
        };
        Some(Clause { members, criteria })
    }
}

impl Compiled {
    /// Criteria as filters; `None`: they cannot be asked of any type.
    pub(super) fn of(
        of: Option<ResourceType>,
        criteria: &Criteria,
        extractor: &Extractor,
    ) -> Option<Self> {
        if criteria.is_empty() {
            return Some(Self::None);
        }
        let context = request::Context {
            extractor,
            now: Instant::from_micros(0),
            strictness: request::Strictness::Criteria,
            // Who may see what does not hang on how searches are set.
            dates_overlap: false,
            limits: SearchLimits {
                chain_depth: 8,
                parameters: 100,
                values: 1_000,
                ..SearchLimits::default()
            },
        };
        let query = criteria
            .iter()
            .fold(Query::default(), |query, (name, value)| query.and(Query::of(name, value)));
        let types: Vec<ResourceType> =
            of.map_or_else(|| ResourceType::all().collect(), |of| vec![of]);
        let compiled = types.into_iter().filter_map(|of| {
            let request = request::parse(&SearchTarget::Type(of), &query, &context).ok()?;
            Some((of, Arc::from(request.filters)))
        });
        let all: HashMap<ResourceType, Arc<[Filter]>> = compiled.collect();
        (!all.is_empty()).then_some(Self::ByType(all))
    }
}
