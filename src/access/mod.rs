//! Who may do what: the one gate between a caller and any FHIR data.
//!
//! A caller enters with a [`Principal`] and an [`Interaction`]. [`Gate::run`] decides, hands the
//! work a [`Permit`], and has the ledger row written before the result leaves. The store refuses to
//! work without a `Permit`, and its results come back as [`Unaudited`], which only the gate can
//! open. A route that skips enforcement or audit therefore does not compile. Work of [`Gate::show`]
//! gets the row as a [`Draft`] too, for a statement that finds and records at once.
//!
//! What a caller may do is worked out from a [`Grant`](grant::Grant) by the scopes and roles of it
//! (`policy`), by the tables of what interactions need (`need`) and of what belongs to patients
//! (`membership`), into a [`Restriction`], which `store` compiles to SQL and [`judge`] holds against
//! documents.
//!
//! Layer: 3. Imports `fhir`, `error`, `clock`, `search`, `spec`. No I/O of its own: the ledger is a
//! trait.
//!
//! Spec: R4 §6.1 Security, R4 AuditEvent; SMART App Launch 2.2; architecture section 4.

pub mod caller;
mod choice;
pub mod consent;
mod either;
pub mod gate;
pub mod grant;
pub mod interaction;
pub mod judge;
pub mod labelling;
pub mod ledger;
pub mod mask;
pub mod membership;
mod misses;
mod need;
pub mod pace;
pub mod permit;
mod policy;
pub mod principal;
mod refusals;
pub mod restriction;
pub mod roles;
pub mod scope;
pub mod unaudited;

pub use caller::{Actor, Caller, RequestContext, party_of, shown};
pub use gate::Gate;
pub use interaction::Interaction;
pub use ledger::{
    Attempted, CommitError, Disclosed, LedgerRow, Outcome, UnitOfWork, Units, named_only,
};
pub use permit::Permit;
pub use principal::Principal;
pub use restriction::Restriction;
pub use unaudited::{Draft, RowTaken, Unaudited};
