//! Permits: proof that the gate allowed one interaction, and how far it reaches.

use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::Mutex;

use crate::error::Error;
use crate::fhir::ResourceType;

use super::caller::Caller;
use super::interaction::{Interaction, Kind};

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

/// How far a permit reaches.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Restriction {
    /// All of the tenant's resources: stated by the policy, never a fallback.
    Everything,
    /// Versions in the compartment of one of these patients (hashes as the store keeps them).
    Patients(Vec<i64>),
}

impl Restriction {
    /// What one of both reaches.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Patients(mut patients), Self::Patients(others)) => {
                patients.extend(others);
                patients.sort_unstable();
                patients.dedup();
                Self::Patients(patients)
            }
            _ => Self::Everything,
        }
    }
}

impl<'gate> Permit<'gate> {
    /// Decides.
    ///
    /// # Errors
    /// [`Error::Forbidden`] when the policy does not cover the interaction.
    pub(super) fn decide(interaction: Interaction, caller: &'gate Caller) -> Result<Self, Error> {
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

    /// The type that was allowed.
    ///
    /// # Errors
    /// [`Error::Internal`] when the permit is for the whole system.
    pub fn resource_type(&self) -> Result<ResourceType, Error> {
        let missing = || Error::internal("a permit of the system was used for one type");
        self.interaction.resource_type.ok_or_else(missing)
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

    /// Whether there may be resources that it does not reach.
    pub fn is_restricted(&self) -> bool {
        self.restriction != Restriction::Everything
    }

    /// Whether the version with these patients lies within reach.
    pub fn reaches(&self, patients: &[i64]) -> bool {
        match &self.restriction {
            Restriction::Everything => true,
            Restriction::Patients(mine) => mine.iter().any(|patient| patients.contains(patient)),
        }
    }
}
