//! Who may do what: the one gate between a caller and any FHIR data.
//!
//! A caller enters with a [`Principal`] and an [`Interaction`]. [`Gate::run`] decides, hands the
//! work a [`Permit`], and has the ledger row written before the result leaves. The store refuses to
//! work without a `Permit`, and its results come back as [`Unaudited`], which only the gate can
//! open. A route that skips enforcement or audit therefore does not compile. Work of [`Gate::show`]
//! gets the row as a [`Draft`] too, for a statement that finds and records at once.
//!
//! Layer: 3. Imports `fhir`, `error`, `clock`. No I/O of its own: the ledger is a trait.
//!
//! Spec: R4 §6.1 Security, R4 AuditEvent; architecture section 4.

pub mod caller;
pub mod gate;
pub mod interaction;
pub mod ledger;
pub mod permit;
pub mod principal;
pub mod unaudited;

pub use caller::{Actor, Caller, RequestContext};
pub use gate::Gate;
pub use interaction::Interaction;
pub use ledger::{Attempted, CommitError, Disclosed, LedgerRow, Outcome, UnitOfWork, Units};
pub use permit::{Permit, Restriction};
pub use principal::{Principal, Scope};
pub use unaudited::{Draft, RowTaken, Unaudited};
