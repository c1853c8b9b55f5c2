//! Who asks: the authenticated party behind a request, and what its policy lets it do.

use std::sync::Arc;

use crate::fhir::ResourceType;

use super::interaction::{Interaction, Kind};
use super::permit::Restriction;

/// The party behind a request. Made only here, from what was configured or granted.
#[derive(Clone, Debug)]
pub struct Principal(Arc<Party>);

#[derive(Debug)]
struct Party {
    actor: String,
    policy: Policy,
}

/// What a principal may do. There is no default: whoever makes a principal states it.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Policy {
    /// What was granted to it, and nothing else.
    Granted(Vec<Scope>),
    /// Everything, because the operator turned authorization off (`auth.mode = "off"`).
    Open,
    /// Everything its configured service needs: imports and the generator of demo data.
    Service,
}

/// Kinds of interactions that were granted, and how far they reach.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Scope {
    /// The kinds. A batch, a transaction and a search over several types take their own, and those
    /// of what they consist of.
    pub kinds: Vec<Kind>,
    /// With resources of this type; `None`: of every type.
    pub resource_type: Option<ResourceType>,
    /// With which of them.
    pub reach: Restriction,
}

impl Scope {
    fn covers(&self, interaction: Interaction) -> bool {
        // These consist of others, each of which is asked for by itself.
        let is_frame =
            matches!(interaction.kind, Kind::Batch | Kind::SearchSystem | Kind::Transaction);
        let is_of_type = match (self.resource_type, interaction.resource_type) {
            (None, _) => true,
            (Some(_), None) => is_frame,
            (granted, asked) => granted == asked,
        };
        is_of_type && self.kinds.contains(&interaction.kind)
    }
}

impl Principal {
    /// A party that was granted `scopes`.
    pub fn granted(actor: &str, scopes: Vec<Scope>) -> Self {
        Self(Arc::new(Party { actor: actor.to_owned(), policy: Policy::Granted(scopes) }))
    }

    /// Anybody, under `auth.mode = "off"`: an explicit open policy, not the absence of one.
    pub fn open() -> Self {
        Self(Arc::new(Party { actor: "anonymous".to_owned(), policy: Policy::Open }))
    }

    /// A part of the server that acts by itself, such as `import`.
    pub fn service(name: &str) -> Self {
        Self(Arc::new(Party { actor: format!("service:{name}"), policy: Policy::Service }))
    }

    /// A party that may do nothing, for what the ledger has to say of it.
    pub(super) fn named(name: &str) -> Self {
        Self(Arc::new(Party { actor: name.to_owned(), policy: Policy::Granted(Vec::new()) }))
    }

    /// The name under which the ledger knows the party.
    pub fn actor(&self) -> &str {
        &self.0.actor
    }

    /// How far it may go with an interaction; `None`: it may not do that at all.
    pub(super) fn reach(&self, interaction: Interaction) -> Option<Restriction> {
        match &self.0.policy {
            Policy::Open | Policy::Service => Some(Restriction::Everything),
            Policy::Granted(scopes) => {
                let covering = scopes.iter().filter(|scope| scope.covers(interaction));
                covering.map(|scope| scope.reach.clone()).reduce(Restriction::or)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_may_do_what_was_granted_and_no_more() {
        let scope = |kinds: &[Kind], resource_type, reach| Scope {
            kinds: kinds.to_vec(),
            resource_type,
            reach,
        };
        let mine = |patient| Restriction::Patients(vec![patient]);
        let patient = Some(ResourceType::PATIENT);
        let party = Principal::granted(
            "somebody",
            vec![
                scope(&[Kind::Read, Kind::SearchSystem, Kind::HistorySystem], patient, mine(1)),
                scope(&[Kind::Read], patient, mine(2)),
                scope(&[Kind::Vread], None, mine(1)),
                scope(&[Kind::Vread], patient, Restriction::Everything),
            ],
        );
        let observation: ResourceType = "Observation".parse().expect("a type");
        for (interaction, expected) in [
            (Kind::Read.of(ResourceType::PATIENT), Some(Restriction::Patients(vec![1, 2]))),
            (Kind::Read.of(observation), None),
            (Kind::Update.of(ResourceType::PATIENT), None),
            (Kind::Vread.of(observation), Some(mine(1))),
            (Kind::Vread.of(ResourceType::PATIENT), Some(Restriction::Everything)),
            // A search asks for each type again; a history of the system does not.
            (Kind::SearchSystem.of_system(), Some(mine(1))),
            (Kind::HistorySystem.of_system(), None),
        ] {
            assert_eq!(party.reach(interaction), expected, "{interaction:?}");
        }
    }
}
