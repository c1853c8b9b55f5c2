//! Published examples that break a rule, which rule, and why that is no fault of ours: file, part of
//! our message, reason.

type Listed = &'static [(&'static str, &'static str, &'static str)];

/// Of R4 itself.
pub(super) const R4: Listed = &[];

/// Of US Core, by version.
pub(super) const US_CORE: &[(&str, Listed)] = &[("3.1.1", &[]), ("6.1.0", &[]), ("7.0.0", &[])];

/// Of the International Patient Summary.
pub(super) const IPS: Listed = &[];
