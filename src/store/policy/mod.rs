//! What the making of a principal must know of the data: whose patients a user has, and what patients
//! deny.
//!
//! These reads happen before there is a permit, because permits come of them, or beside one (`whose`). They
//! tell hashes and conditions, never resources.

mod denials;
mod panels;
mod whose;

pub(super) use denials::Directives;
pub(super) use whose::Made;

/// Every statement of this module, for the test that prepares them.
pub(super) fn statements() -> impl Iterator<Item = &'static str> {
    let all = [denials::STATEMENTS, panels::STATEMENTS, whose::STATEMENTS];
    all.into_iter().flatten().copied()
}
