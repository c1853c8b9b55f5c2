//! Who asks: the authenticated party behind a request, and what its policy lets it do.

use std::sync::Arc;

/// The party behind a request. Made only here, from what was configured or granted.
#[derive(Clone, Debug)]
pub struct Principal(Arc<Party>);

#[derive(Debug)]
struct Party {
    actor: String,
    policy: Policy,
}

/// What a principal may do. There is no default: whoever makes a principal states it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Policy {
    /// Everything, because the operator turned authorization off (`auth.mode = "off"`).
    Open,
    /// Everything its configured service needs: imports and the generator of demo data.
    Service,
}

impl Principal {
    /// Anybody, under `auth.mode = "off"`: an explicit open policy, not the absence of one.
    pub fn open() -> Self {
        Self(Arc::new(Party { actor: "anonymous".to_owned(), policy: Policy::Open }))
    }

    /// A part of the server that acts by itself, such as `import`.
    pub fn service(name: &str) -> Self {
        Self(Arc::new(Party { actor: format!("service:{name}"), policy: Policy::Service }))
    }

    /// The name under which the ledger knows the party.
    pub fn actor(&self) -> &str {
        &self.0.actor
    }

    /// What it may do.
    pub(super) fn policy(&self) -> Policy {
        self.0.policy
    }
}
