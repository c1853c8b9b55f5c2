//! What the making of a principal must know of the data: whose patients a user has, and what patients
//! deny.
//!
//! These reads happen before there is a permit, because permits come of them. They tell hashes and
//! conditions, never resources.

mod denials;
mod panels;

pub(super) use denials::Directives;

/// Every statement of this module, for the test that prepares them.
pub(super) fn statements() -> impl Iterator<Item = &'static str> {
    denials::STATEMENTS.iter().chain(panels::STATEMENTS).copied()
}
