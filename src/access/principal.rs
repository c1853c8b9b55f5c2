//! Who asks: the authenticated party behind a request, and what its policy lets it do.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use crate::error::Error;
use crate::fhir::ResourceType;

use super::consent::Act;
use super::grant::{Grant, GrantError};
use super::interaction::{Interaction, Kind};
use super::policy::Policy;
use super::restriction::Restriction;
use super::roles::Roles;

/// The party behind a request. Made only here, from what was configured or granted.
#[derive(Clone, Debug)]
pub struct Principal(Arc<Party>);

#[derive(Debug)]
struct Party {
    actor: String,
    standing: Standing,
}

/// What a principal may do. There is no default: whoever makes a principal states it.
enum Standing {
    /// What was granted to it, and nothing else.
    Granted(Box<(Grant, Policy)>),
    /// Nothing at all: a name for the ledger.
    Nothing,
    /// Everything, because the operator turned authorization off (`auth.mode = "off"`).
    Open,
    /// Everything its configured service needs: imports and the generator of demo data.
    Service,
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granted(granted) => write!(f, "Granted({})", granted.0.scopes),
            Self::Nothing => f.write_str("Nothing"),
            Self::Open => f.write_str("Open"),
            Self::Service => f.write_str("Service"),
        }
    }
}

impl Principal {
    /// A party with an access token.
    ///
    /// # Errors
    /// [`GrantError`] when the scopes ask for a context that the grant does not have: such a token
    /// grants nothing at all.
    pub fn from_grant(grant: Grant, roles: &Roles) -> Result<Self, GrantError> {
        let policy = Policy::of(&grant, roles)?;
        let actor = match &grant.user {
            Some(user) => format!("user:{}", user.name),
            None => format!("client:{}", grant.client),
        };
        Ok(Self(Arc::new(Party { actor, standing: Standing::Granted(Box::new((grant, policy))) })))
    }

    /// Anybody, under `auth.mode = "off"`: an explicit open policy, not the absence of one.
    pub fn open() -> Self {
        Self(Arc::new(Party { actor: "anonymous".to_owned(), standing: Standing::Open }))
    }

    /// A part of the server that acts by itself, such as `import`.
    pub fn service(name: &str) -> Self {
        Self(Arc::new(Party { actor: format!("service:{name}"), standing: Standing::Service }))
    }

    /// The same service at work for a party that it knows by this name; anybody else stays as it is.
    #[must_use]
    pub fn on_behalf_of(&self, name: &str) -> Self {
        match self.0.standing {
            Standing::Service => {
                let actor = format!("{} {name}", self.0.actor);
                Self(Arc::new(Party { actor, standing: Standing::Service }))
            }
            _ => self.clone(),
        }
    }

    /// A party that may do nothing, for what the ledger has to say of it.
    pub(super) fn named(name: &str) -> Self {
        Self(Arc::new(Party { actor: name.to_owned(), standing: Standing::Nothing }))
    }

    /// The name under which the ledger knows the party.
    pub fn actor(&self) -> &str {
        &self.0.actor
    }

    /// What was granted; `None` to a party that no token stands for.
    pub fn grant(&self) -> Option<&Grant> {
        match &self.0.standing {
            Standing::Granted(granted) => Some(&granted.0),
            Standing::Nothing | Standing::Open | Standing::Service => None,
        }
    }

    /// Whether it is a part of the server, and not somebody who asks it.
    pub fn is_service(&self) -> bool {
        matches!(self.0.standing, Standing::Service)
    }

    /// The patients who deny it something.
    pub fn denied(&self) -> BTreeSet<i64> {
        match &self.0.standing {
            Standing::Granted(granted) => granted.1.deniers().collect(),
            Standing::Nothing | Standing::Open | Standing::Service => BTreeSet::new(),
        }
    }

    /// What of a type patients keep it from doing an act with: see [`super::Permit::kept_from`].
    pub(super) fn kept_from(&self, act: Act, of: ResourceType) -> Restriction {
        match &self.0.standing {
            Standing::Granted(granted) => granted.1.kept_from(act, of),
            Standing::Nothing | Standing::Open | Standing::Service => Restriction::nothing(),
        }
    }

    /// Whether patients keep it from doing an act with something.
    pub(super) fn is_kept_from(&self, act: Act) -> bool {
        match &self.0.standing {
            Standing::Granted(granted) => granted.1.is_kept_from(act),
            Standing::Nothing | Standing::Open | Standing::Service => false,
        }
    }

    /// The token that it came with.
    pub fn token(&self) -> Option<Uuid> {
        self.grant().map(|grant| grant.token)
    }

    /// Its name for the ledger: a UUID, or another text.
    pub fn token_on_record(&self) -> (Option<Uuid>, Option<&str>) {
        let Some(grant) = self.grant() else { return (None, None) };
        match grant.token_name.as_deref() {
            Some(name) => (None, Some(name)),
            None => (Some(grant.token), None),
        }
    }

    /// Refuses what would change an AuditEvent, whatever else was granted. A service of the server brings in
    /// what others recorded; where authorization is off a PUT may bring one into being, which the engine
    /// holds against what is there.
    ///
    /// # Errors
    /// [`Error::MethodNotAllowed`].
    pub fn refuse_change_of_record(&self, interaction: Interaction) -> Result<(), Error> {
        let may_update = matches!(self.0.standing, Standing::Open);
        let is_change = match interaction.kind {
            Kind::Update => !may_update,
            kind => kind.is_change(),
        };
        let is_of_record = interaction.resource_type == Some(ResourceType::AUDIT_EVENT);
        if is_of_record && is_change && !self.is_service() {
            return Err(unchangeable());
        }
        Ok(())
    }

    /// How far it may go with an interaction; `None`: it may not do that at all.
    pub fn reach(&self, interaction: Interaction) -> Option<Restriction> {
        match &self.0.standing {
            Standing::Open | Standing::Service => Some(Restriction::Everything),
            Standing::Granted(granted) => granted.1.reach(interaction),
            Standing::Nothing => None,
        }
    }
}

/// Why an AuditEvent is neither changed nor deleted.
pub fn unchangeable() -> Error {
    let text = "what happened is not changed: AuditEvent resources stay as they are";
    Error::MethodNotAllowed(text.to_owned())
}
