//! Permits: proof that the gate allowed one interaction, and how far it reaches.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Mutex;

use crate::error::Error;
use crate::fhir::{Identity, ResourceType};

use super::caller::Caller;
use super::consent::Act;
use super::interaction::{Interaction, Kind};
use super::judge::{Purpose, Subject};
use super::restriction::{Clause, Limits, Members, Restriction};

/// Proof that the gate allowed one interaction. Only the gate makes one.
///
/// Its fields are private, so it cannot be built elsewhere:
///
/// ```compile_fail,E0451
/// use kiln::access::{Caller, Permit, Restriction, interaction::Kind};
/// fn forge(caller: &Caller) {
///     let permit = Permit {
///         interaction: Kind::Read.of_system(),
///         caller,
///         restriction: Restriction::Everything,
///         gate: std::marker::PhantomData,
///     };
/// }
/// ```
///
/// and it cannot be kept beyond the work it was made for:
///
/// ```compile_fail
/// use kiln::access::{Caller, Gate, Permit, Unaudited, Units, interaction::Kind};
/// async fn stash<U: Units>(gate: &Gate<U>, caller: &Caller) {
///     let mut kept: Option<&Permit<'_>> = None;
///     let _ = gate
///         .run(Kind::Read.of_system(), caller, async |permit: &Permit<'_>| {
///             kept = Some(permit);
///             Ok(Unaudited::nothing())
///         })
///         .await;
/// }
/// ```
#[derive(Debug)]
pub struct Permit<'gate> {
    interaction: Interaction,
    caller: &'gate Caller,
    restriction: Restriction,
    // Invariant in 'gate: a permit can be neither lengthened nor shortened into another.
    gate: PhantomData<&'gate Mutex<&'gate ()>>,
}

impl<'gate> Permit<'gate> {
    /// Decides.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when the policy does not cover the interaction; [`Error::MethodNotAllowed`]
    /// for what would change an AuditEvent.
    pub(super) fn decide(interaction: Interaction, caller: &'gate Caller) -> Result<Self, Error> {
        caller.principal.refuse_change_of_record(interaction)?;
        let restriction = caller.principal.reach(interaction).ok_or(Error::Forbidden)?;
        Ok(Self { interaction, caller, restriction, gate: PhantomData })
    }

    /// A permit of the same principal for an interaction that this one entails: an entry of a
    /// transaction, an included resource.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when the policy does not cover that interaction.
    pub fn derive(&self, kind: Kind, resource_type: ResourceType) -> Result<Self, Error> {
        Self::decide(kind.of(resource_type), self.caller)
    }

    /// The same for an interaction with the whole system.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when the policy does not cover that interaction.
    pub fn derive_system(&self, kind: Kind) -> Result<Self, Error> {
        Self::decide(kind.of_system(), self.caller)
    }

    /// What was allowed.
    pub fn interaction(&self) -> Interaction {
        self.interaction
    }

    /// As what kind of interaction it finds resources: by `$everything` and `$summary` what may be searched and
    /// read, else what may be searched.
    pub fn finds_by(&self) -> Kind {
        match self.interaction.kind {
            Kind::Everything | Kind::Summary => Kind::Everything,
            _ => Kind::SearchType,
        }
    }

    /// The type that was allowed.
    ///
    /// # Errors
    /// [`Error::Internal`] when the permit is for the whole system.
    pub fn resource_type(&self) -> Result<ResourceType, Error> {
        let missing = || Error::internal("a permit of the system was used for one type");
        self.interaction.resource_type.ok_or_else(missing)
    }

    /// Whose it is.
    pub(crate) fn caller(&self) -> &'gate Caller {
        self.caller
    }

    /// Whose it is, as the ledger names the party.
    pub fn actor(&self) -> &str {
        self.caller.principal.actor()
    }

    /// The address that the request came from.
    pub fn source(&self) -> Option<IpAddr> {
        self.caller.request.source
    }

    /// How far it reaches.
    pub fn restriction(&self) -> &Restriction {
        &self.restriction
    }

    /// The limits of its reach; `None`: it reaches everything.
    pub fn limits(&self) -> Option<&Limits> {
        self.restriction.limits()
    }

    /// What of its type patients keep the caller from doing an act with, beside what they keep back: a
    /// restriction that reaches nothing, to ask what it withholds.
    ///
    /// # Errors
    /// [`Error::Internal`] when the permit is for the whole system.
    pub fn kept_from(&self, act: Act) -> Result<Restriction, Error> {
        Ok(self.caller.principal.kept_from(act, self.resource_type()?))
    }

    /// Whether there is something of some type that patients keep the caller from doing an act with.
    pub fn is_kept_from(&self, act: Act) -> bool {
        self.caller.principal.is_kept_from(act)
    }

    /// Whether there may be resources that it does not reach.
    pub fn is_restricted(&self) -> bool {
        self.restriction != Restriction::Everything
    }

    /// The client that it came through, where one did.
    pub fn client(&self) -> Option<&str> {
        self.caller.principal.grant().map(|grant| grant.client.as_str())
    }

    /// Whether it is of a part of the server itself: a command of the operator, or a feed.
    pub fn is_of_service(&self) -> bool {
        self.caller.principal.is_service()
    }

    /// The code systems by whose codes the client keeps state of its own.
    pub fn state_systems(&self) -> &[Box<str>] {
        self.caller.principal.grant().map_or(&[], |grant| &grant.state.own)
    }

    /// Whether a token is about this patient: the one in context, the user, and whom the user stands for.
    pub fn is_about_patient(&self, patient: i64) -> bool {
        let Some(grant) = self.caller.principal.grant() else { return false };
        let in_context = grant.patient.as_ref().is_some_and(|(_, own)| *own == patient);
        in_context || grant.user.as_ref().is_some_and(|user| user.panels.own.contains(&patient))
    }

    /// Whether it is the resource that stands for the user.
    pub fn is_about(&self, identity: &Identity) -> bool {
        let user = self.caller.principal.grant().and_then(|grant| grant.user.as_ref());
        let fhir_user = user.and_then(|user| user.fhir_user.as_ref());
        fhir_user.is_some_and(|(of, id)| *of == identity.resource_type && *id == identity.id)
    }

    /// Whether it reaches patients because they, or who stands for them, ask, and for no other reason.
    pub fn is_of_patients_themselves(&self) -> bool {
        let is_own = |clause: &Clause| match &clause.members {
            Members::Themselves(mine) => mine.iter().all(|patient| self.is_about_patient(*patient)),
            _ => false,
        };
        self.limits().is_some_and(|limits| limits.clauses.iter().all(is_own))
    }

    /// Whether it reaches what is about nobody and has no label: the definitions of the packs.
    pub fn reaches_definitions(&self) -> bool {
        self.limits().is_none_or(Limits::has_everyones)
    }

    /// Whether what is to be stored, or was, lies within reach.
    pub fn admits(&self, subject: &Subject<'_>) -> bool {
        self.restriction.admits(subject, Purpose::Written)
    }
}
